"""The side that holds the candidate: loads it, and performs what the tests ask for.

Nothing here decides anything, so nothing here needs to be safe from the candidate: whatever it breaks, forges or
prints, all that the other side takes are values.
"""

from __future__ import annotations

import builtins
import copy
import io
import json
import operator
import random
import signal
import sys
from contextlib import redirect_stdout, suppress
from types import ModuleType

from .faults import Faults, describe, lineage
from .pipe import Gone, Pipe
from .wire import BINARY, BadMessage, decode, encode, is_plain

TYPE_CHECKING = False  # importing typing would take as long as all the rest
if TYPE_CHECKING:
    from typing import Any

PRINTED = 64_000  # characters that are passed on of what one call prints


def _enter(thing: Any) -> Any:
    return type(thing).__enter__(thing)


def _exit(thing: Any) -> Any:
    return type(thing).__exit__(thing, None, None, None)


_OPERATORS = "eq ne lt le gt ge neg pos abs invert index contains getitem setitem delitem"
_BUILTINS = (
    "bool int float complex len str repr hash round iter next reversed getattr setattr delattr isinstance issubclass "
    "divmod format"
)
_DO: dict[str, Any] = {name: getattr(operator, name) for name in (*BINARY, *_OPERATORS.split())}
_DO |= {name: getattr(builtins, name) for name in _BUILTINS.split()}
_DO |= {
    "call": lambda fn, *args, **named: fn(*args, **named),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "enter": _enter,
    "exit": _exit,
}


class Guest:
    """Holds the candidate's module and, by number, its objects that are no plain data."""

    def __init__(self, source: str, module: str, seconds: float) -> None:
        self._source, self._module, self._seconds = source, ModuleType(module), seconds
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._keep = False
        self._faults = Faults()
        self._pipe = Pipe(3, 4, self.serve)

    def listen(self) -> None:
        self._pipe.listen()

    def serve(self, message: dict[str, Any]) -> dict[str, Any]:
        """Performs one call; whatever it raises is the reply."""
        printed = io.StringIO()
        before = self._keep
        self._keep = bool(message.get("keep"))
        # A call that nobody waits for any more ends the process, which would else go on to the limits of all.
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        try:
            with redirect_stdout(printed):
                reply = self._perform(message)
        except BaseException as error:
            reply = {"err": describe(error, self._foreign)}
        finally:
            self._keep = before
            signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            if text := printed.getvalue():
                reply["out"] = text[:PRINTED]
        except ValueError:  # the candidate has closed it
            pass
        return reply

    def _perform(self, message: dict[str, Any]) -> dict[str, Any]:
        name = message["do"]
        if name == "load":
            self._load()
            return {"ok": None}
        if name == "global":
            return {"ok": self._global(message["name"])}
        sent: list[Any] = message["args"]
        args = [decode(a, self._known) for a in sent]
        named = {k: decode(v, self._known) for k, v in message.get("named", {}).items()}
        value = _DO[name](*args, **named)
        same = next((i for i, a in enumerate(args) if a is value and isinstance(a, list | dict | set)), None)
        reply: dict[str, Any] = {"ok": ["arg", same] if same is not None else self._encode(value)}
        changed = {}
        for i, arg in enumerate(args):
            if type(arg) in (list, dict, set) and (now := encode(arg, self._foreign)) != sent[i]:
                changed[str(i)] = now
        if changed:
            reply["changed"] = changed
        return reply

    def _load(self) -> None:
        sys.modules[self._module.__name__] = self._module
        exec(compile(self._source, self._module.__name__ + ".py", "exec"), self._module.__dict__)

    def _global(self, name: str) -> Any:
        value = getattr(self._module, name)
        if isinstance(value, type) and issubclass(value, BaseException):
            return ["fault", lineage(value)]
        return encode(value, self._foreign)

    def _encode(self, value: Any) -> Any:
        if self._keep and not is_plain(type(value)):
            return self._foreign(value)
        return encode(value, self._foreign)

    def _foreign(self, value: Any) -> Any:
        if isinstance(value, _Caller):
            return ["fn", value.number]
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)  # kept, so that its id stays its own
        return ["obj", number]

    def _known(self, tag: str, payload: Any) -> Any:
        if tag == "obj":
            return self._objects[payload]
        if tag == "fn":
            return _Caller(self, payload)
        raise BadMessage(f"unknown {tag!r:.20}")

    def back(self, number: int, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Calls a function of the test's."""
        call = {"fn": number, "args": [encode(a, self._foreign) for a in args]}
        reply = self._pipe.ask({**call, "named": {k: encode(v, self._foreign) for k, v in named.items()}})
        if "err" in reply:
            raise self._faults.made(reply["err"], self._known)
        return decode(reply["ok"], self._known)


class _Caller:
    """Stands for a function of the test's."""

    def __init__(self, guest: Guest, number: int) -> None:
        self._guest, self.number = guest, number

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._guest.back(self.number, args, named)


def main() -> None:
    """Reads what to load from stdin, then serves until the tests are done."""
    job = json.loads(sys.stdin.read())
    random.seed(job["seed"])
    with suppress(BadMessage, OSError, Gone):
        Guest(job["source"], job["module"], job["seconds"] + 0.25).listen()
