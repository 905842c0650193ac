"""Plain data as JSON, between the process that holds the tests and the one that holds the candidate.

Both sides use it; neither trusts what it reads. None, bool, small int, float and str are themselves; everything else
is `[tag, payload]`. What is no plain data goes to `foreign`, which names it by a number or refuses.
"""

from __future__ import annotations

import importlib
import sys
from collections import namedtuple
from collections.abc import Callable
from math import isfinite

TYPE_CHECKING = False  # importing typing would take as long as all the rest
if TYPE_CHECKING:
    from typing import Any

    Foreign = Callable[[Any], Any]
    Known = Callable[[str, Any], Any]

SIZE = 8_000_000  # characters of one message
DEPTH = 120  # levels of nesting
_SAFE = 2**53

_WORDS = "add sub mul truediv floordiv mod pow matmul lshift rshift and_ or_ xor"
BINARY = tuple(_WORDS.split())
# Methods of text and sets that say yes or no about their argument or themselves.
_WORDS = "startswith endswith issubset issuperset isdisjoint is_integer"
PREDICATES = {n for n in dir(str) if n.startswith("is")} | set(_WORDS.split())


class BadMessage(Exception):
    """What came over the pipe is not what the other side may say."""


class CannotSend(TypeError):
    """A value that is no plain data and that nothing stands for."""


_SEQUENCES: dict[str, type[Any]] = {"l": list, "t": tuple, "s": set, "fs": frozenset}
_TAGS = {kind: tag for tag, kind in _SEQUENCES.items()}

# Types of the standard library that are data too: where they live, how they are taken apart, and how they are made
# again. Their modules are imported when a value needs them: they take longer to import than most tests to run.
_STANDARD: dict[str, tuple[str, Callable[[Any], list[Any]], str]] = {
    "Counter": ("collections", lambda v: [dict(v)], ""),
    "OrderedDict": ("collections", lambda v: [list(v.items())], ""),
    "deque": ("collections", lambda v: [list(v), v.maxlen], ""),
    "Decimal": ("decimal", lambda v: [str(v)], ""),
    "Fraction": ("fractions", lambda v: [v.numerator, v.denominator], ""),
    "range": ("builtins", lambda v: [v.start, v.stop, v.step], ""),
    "slice": ("builtins", lambda v: [v.start, v.stop, v.step], ""),
    "bytearray": ("builtins", lambda v: [bytes(v)], ""),
    "date": ("datetime", lambda v: [v.year, v.month, v.day], ""),
    "datetime": ("datetime", lambda v: [v.isoformat()], "fromisoformat"),
    "time": ("datetime", lambda v: [v.isoformat()], "fromisoformat"),
    "timedelta": ("datetime", lambda v: [v.days, v.seconds, v.microseconds], ""),
}


def _standard(kind: type[Any]) -> str:
    """The name under which a type is standard data, "" where it is not."""
    name = str(kind.__name__)
    module = _STANDARD[name][0] if name in _STANDARD else ""
    return name if module and getattr(sys.modules.get(module), name, None) is kind else ""


_TYPES: dict[str, type[Any]] = {
    t.__name__: t
    for t in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, object, type(None))
}

# A subclass counts as what it holds: read by the base class itself, whatever the subclass says of itself.
_BASES: tuple[tuple[type[Any], Callable[[Any], Any]], ...] = (
    (int, int.__pos__),
    (float, float.__pos__),
    (complex, complex.__pos__),
    (str, str.__str__),
    (bytes, lambda v: bytes.__getitem__(v, slice(None))),
    (list, lambda v: list(list.__iter__(v))),
    (tuple, lambda v: tuple(tuple.__iter__(v))),
    (dict, lambda v: dict(dict.items(v))),
    (set, lambda v: set(set.__iter__(v))),
    (frozenset, lambda v: frozenset(frozenset.__iter__(v))),
)


def encode(value: Any, foreign: Foreign, depth: int = 0) -> Any:
    """JSON-ready data. Raises `CannotSend` for what is nested too deeply or what `foreign` refuses."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        if len(value) > SIZE:
            raise CannotSend(f"a text of {len(value):,} characters (at most {SIZE:,})")
        return value
    if kind is int:
        return value if -_SAFE <= value <= _SAFE else ["i", hex(value)]
    if kind is float:
        return value if isfinite(value) else ["f", repr(value)]
    if depth > DEPTH:
        raise CannotSend(f"a value nested more than {DEPTH} levels deep")
    deeper = depth + 1
    if kind in _TAGS:
        return [_TAGS[kind], [encode(v, foreign, deeper) for v in value]]
    if kind is dict:
        return ["d", [[encode(k, foreign, deeper), encode(v, foreign, deeper)] for k, v in value.items()]]
    if kind is bytes:
        return ["b", value.hex()]
    if kind is complex:
        return ["c", [encode(value.real, foreign), encode(value.imag, foreign)]]
    if name := _standard(kind):
        return ["x", [name, encode(_STANDARD[name][1](value), foreign, deeper)]]
    fields = getattr(kind, "_fields", None)
    if issubclass(kind, tuple) and isinstance(fields, tuple):
        items = [encode(v, foreign, deeper) for v in tuple.__iter__(value)]
        return ["n", [str(kind.__name__), list(fields), items]]
    if isinstance(value, type) and value in _TYPES.values():
        return ["type", kind.__name__ if value is None else str(value.__name__)]
    for base, plain in _BASES:
        if issubclass(kind, base):
            return encode(plain(value), foreign, depth)
    return foreign(value)


def is_plain(kind: type[Any]) -> bool:
    """Whether values of exactly this type cross as data and come back as the same type."""
    named = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return named or bool(_standard(kind)) or kind in (bool, type(None), dict, *(base for base, _ in _BASES))


def decode(data: Any, known: Known, depth: int = 0) -> Any:
    """The value again. `known` makes the value of a tag that is not ours. Raises `BadMessage`."""
    if data is None or isinstance(data, bool | str | int | float):
        return data
    if depth > 2 * DEPTH:
        raise BadMessage("nested too deeply")
    if not (isinstance(data, list) and len(data) == 2 and isinstance(data[0], str)):
        raise BadMessage(f"no value: {data!r:.60}")
    tag, payload = data
    try:
        return _made(tag, payload, known, depth + 1)
    except BadMessage:
        raise
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise BadMessage(f"bad {tag!r:.20}: {error!s:.100}") from None


def _made(tag: str, payload: Any, known: Known, depth: int) -> Any:
    if tag in _SEQUENCES:
        return _SEQUENCES[tag]([decode(v, known, depth) for v in _listed(payload)])
    match tag:
        case "d":
            return {decode(k, known, depth): decode(v, known, depth) for k, v in _listed(payload)}
        case "i":
            return int(payload, 16)
        case "f":
            return float(payload)
        case "b":
            return bytes.fromhex(payload)
        case "c":
            real, imag = payload
            return complex(decode(real, known, depth), decode(imag, known, depth))
        case "x":
            name, inner = payload
            module, _, maker = _STANDARD[name]
            made = getattr(importlib.import_module(module), name)
            return (getattr(made, maker) if maker else made)(*decode(inner, known, depth))
        case "n":
            name, fields, items = payload
            return _named(name, tuple(fields))(*(decode(v, known, depth) for v in _listed(items)))
        case "type":
            return _TYPES[payload]
        case _:
            return known(tag, payload)


def _listed(payload: Any) -> list[Any]:
    if not isinstance(payload, list):
        raise BadMessage(f"no list: {payload!r:.60}")
    return payload


def _named(name: str, fields: tuple[str, ...]) -> type[Any]:
    key = (name, fields)
    if not PREDICATES.isdisjoint(fields):
        raise BadMessage("a tuple with a field that is named like a method of text")
    if key not in _MADE:
        _MADE[key] = namedtuple(name, fields)  # checks that they are identifiers
    return _MADE[key]


_MADE: dict[tuple[str, tuple[str, ...]], type[Any]] = {}
