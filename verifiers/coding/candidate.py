"""The candidate as the tests see it: a process that gives values. What it says is checked, and made again here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

from .faults import Faults, describe
from .handles import Handle
from .pipe import Gone, Pipe
from .wire import BadMessage, CannotSend, decode, encode

TYPE_CHECKING = False  # importing typing would take as long as all the rest
if TYPE_CHECKING:
    from typing import Any


class Candidate:
    """The other side, as seen from here. `touched`: whether it had a part in anything yet; `refuted`: an
    assert that failed in a function which a test passed in."""

    def __init__(self, module: str, classes: list[str]) -> None:
        self._module, self._classes = module, classes
        self._pipe = Pipe(3, 4, self._serve)
        self._handles: dict[int, Handle] = {}
        self._functions: list[Callable[..., Any]] = []
        self._faults = Faults()
        self.touched = False
        self.refuted: AssertionError | None = None

    @property
    def dead(self) -> str:
        return self._pipe.dead

    def load(self) -> None:
        """Raises what the candidate raises when it is loaded."""
        self._take(self._pipe.ask({"do": "load"}), (), "result")

    def named(self, name: str) -> Any:
        """A top-level name of the candidate's. Raises `AttributeError`."""
        under_test = name in self._classes or name.lstrip("_")[:1].isupper()
        value = self._take(self._pipe.ask({"do": "global", "name": name}), (), "class" if under_test else "result")
        self.touched |= not isinstance(value, Handle | type)
        return value

    def do(self, name: str, args: tuple[Any, ...], named: dict[str, Any], role: str) -> Any:
        """Has something done; `role` is that of an object that comes back."""
        self.touched = True
        call = {
            "do": name,
            "keep": role == "object",
            "args": [encode(a, self._foreign) for a in args],
        }
        if named:
            call["named"] = {k: encode(v, self._foreign) for k, v in named.items()}
        return self._take(self._pipe.ask(call), args, role, ends=name == "next")

    def _take(self, reply: dict[str, Any], args: tuple[Any, ...], role: str, ends: bool = False) -> Any:
        """What a reply says. Unless the operation may end an iteration (`ends`), a StopIteration becomes a
        RuntimeError, as in a generator (PEP 479): a loop of the test's would end before its assert."""

        def known(tag: str, payload: Any) -> Any:
            return self._known(tag, payload, args, role)

        try:
            if isinstance(out := reply.get("out"), str):
                sys.stdout.write(out)
            raised = self._faults.made(reply["err"], known) if "err" in reply else None
            value = None
            if raised is None:
                for i, data in reply.get("changed", {}).items():
                    _change(args[int(i)], decode(data, known))
                value = decode(reply["ok"], known)
        except (BadMessage, KeyError, AttributeError, TypeError, ValueError, LookupError) as error:
            self._pipe.dead = f"its reply is none: {error!s:.100}"
            raise Gone(self._pipe.dead) from None
        if isinstance(raised, StopIteration | StopAsyncIteration) and not ends:
            raise RuntimeError(f"the candidate raised {type(raised).__name__}") from raised
        if raised is not None:
            raise raised
        return value

    def _known(self, tag: str, payload: Any, args: tuple[Any, ...], role: str) -> Any:
        if tag == "fault":
            return self._faults.named(payload)
        if type(payload) is not int or payload < 0:
            raise BadMessage(f"bad {tag!r:.20}")
        if tag == "obj":
            handle = self._handles.get(payload)
            if handle is None:
                handle = self._handles[payload] = Handle(self, payload, role)
            elif role == "result":
                object.__setattr__(handle, "_sf_role", "result")
            return handle
        if tag == "arg":
            return args[payload]
        if tag == "fn":
            return self._functions[payload]
        raise BadMessage(f"unknown {tag!r:.20}")

    def _foreign(self, value: Any) -> Any:
        if isinstance(value, Handle):
            return ["obj", object.__getattribute__(value, "_sf_number")]
        if callable(value) and not isinstance(value, type):
            self._functions.append(value)
            return ["fn", len(self._functions) - 1]
        raise CannotSend(f"the test passes a {type(value).__name__}: only plain data and functions reach the candidate")

    def _serve(self, message: dict[str, Any]) -> dict[str, Any]:
        """A call of a function that a test has passed in."""

        def known(tag: str, payload: Any) -> Any:
            return self._known(tag, payload, (), "result")

        number, sent, named = message.get("fn"), message.get("args"), message.get("named")
        if type(number) is not int or not 0 <= number < len(self._functions):
            raise BadMessage("a call of nothing")
        if not isinstance(sent, list) or not isinstance(named, dict):
            raise BadMessage("a call without arguments")
        args = [decode(a, known) for a in sent]
        words = {k: decode(v, known) for k, v in named.items()}
        try:
            return {"ok": encode(self._functions[number](*args, **words), self._foreign)}
        except Exception as error:
            if isinstance(error, AssertionError):
                self.refuted = error  # the candidate may catch it; the test has failed all the same
            return {"err": describe(error, self._foreign)}


def _change(target: Any, new: Any) -> None:
    """Gives an argument that the candidate has changed in place its new content."""
    if type(target) is not type(new) or not isinstance(target, list | dict | set):
        raise BadMessage("it changed an argument into something else")
    if isinstance(target, list):
        target[:] = new
    else:
        target.clear()
        target.update(new)


class Solution(ModuleType):
    """The module by whose name tests import the candidate."""

    def __init__(self, name: str, candidate: Candidate) -> None:
        super().__init__(name)
        self.__dict__.update(_candidate=candidate, __all__=[])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        candidate: Candidate = self.__dict__["_candidate"]
        try:
            return candidate.named(name)
        except AttributeError:
            candidate.touched = True
            raise AttributeError(f"the candidate does not define {name!r}") from None
