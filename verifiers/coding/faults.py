"""Exceptions over the pipe: by the names of their classes and what they hold as plain data."""

from __future__ import annotations

import builtins

from .wire import BadMessage, decode, encode

TYPE_CHECKING = False  # importing typing would take as long as all the rest
if TYPE_CHECKING:
    from typing import Any

    from .wire import Foreign, Known

_BUILTIN = {n: v for n, v in vars(builtins).items() if isinstance(v, type) and issubclass(v, BaseException)}
# What carries exceptions, or needs more than a message to be made, is known by its nearest plain ancestor.
for _name in ("BaseExceptionGroup", "ExceptionGroup"):
    _BUILTIN.pop(_name, None)
_HELD = 16  # attributes of an exception that are sent


def describe(error: BaseException, foreign: Foreign) -> Any:
    """JSON-ready: the names of its classes, its arguments, its attributes, its text."""
    names = lineage(type(error))
    try:
        args = encode(list(error.args), foreign)
    except Exception:
        args = ["l", []]
    held: dict[str, Any] = {}
    for name, value in list(vars(error).items())[:_HELD] if hasattr(error, "__dict__") else ():
        try:
            held[str(name)] = encode(value, foreign)
        except Exception:
            continue
    try:
        text = str(error)[:2000]
    except BaseException:
        text = ""
    return [names, args, held, text]


def lineage(kind: type[Any]) -> list[str]:
    """The names of an exception class and of its ancestors, nearest first."""
    return [str(c.__name__) for c in kind.__mro__ if issubclass(c, BaseException)]


class Faults:
    """The exception classes that the other side has named: a builtin one, or one made here under its nearest builtin
    ancestor, so that `except` and `assertRaises` find it."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, ...], type[BaseException]] = {}

    def named(self, names: Any) -> type[BaseException]:
        """The class for a lineage. Raises `BadMessage`."""
        if not (isinstance(names, list) and 0 < len(names) < 50 and all(isinstance(n, str) for n in names)):
            raise BadMessage("an exception without a name")
        if not names[0].isidentifier():
            raise BadMessage("an exception without a name")
        known = _BUILTIN.get(names[0])
        if known is not None:
            return known
        key = tuple(names)
        if key not in self._made:
            parent = self.named(names[1:]) if len(names) > 1 else Exception
            self._made[key] = type(names[0], (parent,), {"__str__": _told})
        return self._made[key]

    def made(self, data: Any, known: Known) -> BaseException:
        """The exception again. Raises `BadMessage`."""
        if not (isinstance(data, list) and len(data) == 4 and isinstance(data[2], dict)):
            raise BadMessage("an exception that is none")
        kind = self.named(data[0])
        args = decode(data[1], known)
        try:
            error = kind(*args)
        except Exception:
            error = _plainest(kind, data[3])
        if data[0][0] not in _BUILTIN:
            error.__dict__["_told"] = str(data[3])
        for name, value in data[2].items():
            if not name.startswith("_"):
                try:
                    setattr(error, name, decode(value, known))
                except (AttributeError, TypeError):
                    continue
        return error


def _told(error: BaseException) -> str:
    """What the other side's `str` made of it."""
    return str(error.__dict__.get("_told", ", ".join(map(str, error.args))))


def _plainest(kind: type[BaseException], text: Any) -> BaseException:
    """For classes that want more to be made (UnicodeDecodeError)."""
    error = kind.__new__(kind)
    error.args = (str(text),)
    return error
