"""Settings of strategies against what their fields are annotated with: is this a value that the field takes?

A setting that comes as text or JSON is put right where what was meant is clear (one name for a field of several), and
refused, with what was expected, where it is not.
"""

from __future__ import annotations

import builtins
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from functools import lru_cache
from inspect import formatannotation, get_annotations
from typing import Any, Literal, Union, get_args, get_origin

from ..core.completions import Params
from ..core.errors import CallerError
from ..core.plans import Strategy

_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "none",
}
_PARAMS = 'parameters, such as {"temperature": 0.7, "max_tokens": 256}'
_STRATEGY = 'a strategy, such as "single_shot" or "self_consistency:samples=3"'
_READ = ("source",)  # text, or data that its strategy reads and checks itself
_BARE = re.compile(r"\[\s*([A-Za-z_][\w./:-]*(?:\s*,\s*[A-Za-z_][\w./:-]*)*)\s*\]")


class _Names(dict[str, Any]):
    """The names of a module; one that is imported for type checkers only may be anything."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


@lru_cache(maxsize=256)
def kinds_of(made: type[Any]) -> Mapping[str, Any]:
    """The types of a dataclass's fields by name; `Any` for those that cannot be evaluated."""
    homes = {name: base for base in reversed(made.__mro__) for name in get_annotations(base)}
    return {f.name: _kind(f.type, homes.get(f.name, made)) for f in fields(made)} if is_dataclass(made) else {}


def _kind(annotation: Any, home: type[Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    names = _Names(getattr(sys.modules.get(home.__module__), "__dict__", {}))
    try:
        return eval(annotation, {"__builtins__": {}}, names)  # of a class that is imported: its own module's names
    except Exception:  # what only a type checker understands
        return Any


def written(annotation: Any) -> str:
    """A field's type as it is written."""
    return annotation if isinstance(annotation, str) else formatannotation(annotation)


def fits(value: Any, kind: Any) -> bool:
    """Whether a field of this type takes the value. Only what is plain to see is refused: what a type variable, a
    function's signature or a protocol asks for is left to the strategy."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in args)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(args) == 2 and args[1] is ...:
            return all(fits(one, args[0]) for one in value)
        return len(args) == len(value) and all(map(fits, value, args))
    if kind is None or kind is type(None):
        return value is None
    if kind in (int, float):
        return not isinstance(value, bool) and isinstance(value, int | kind)
    if kind is Strategy or Callable in (kind, origin):
        return callable(value) and not (kind is Strategy and isinstance(value, type))
    if kind in (bool, str) or is_dataclass(kind):
        return isinstance(value, kind)
    return True


def expected(kind: Any) -> str:
    """What a field of this type takes, in words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        said = [expected(one) for one in args if one is not type(None)]
        return " or ".join(dict.fromkeys(said)) + (", or none" if type(None) in args else "")
    if origin is Literal:
        return ("one of " if len(args) > 1 else "") + ", ".join(map(str, args))
    if origin is tuple and args:
        if args[0] is Strategy:
            return 'strategies, such as ["single_shot", "self_consistency:samples=3"]'
        one = {str: 'texts, such as ["a", "b"]', int: "whole numbers, such as [1, 2]", float: "numbers, as [0.5, 0.9]"}
        return f"a list of {one.get(args[0], 'values' if args[0] is Any else getattr(args[0], '__name__', 'values'))}"
    if kind is Params:
        return _PARAMS
    if kind is Strategy:
        return _STRATEGY
    words = _WORDS.get(kind)
    return words or str("a function" if Callable in (kind, origin) else getattr(kind, "__name__", "a value"))


def prepared(settings: Mapping[str, Any], made: Any, name: str) -> dict[str, Any]:
    """Settings as a person writes them, checked for what can be told before anything is made of them: names of
    settings and of parameters, and lists without quotes. Raises `CallerError`."""
    known = {f.name: f for f in fields(made) if f.init}
    for key in settings:
        if key not in known:
            raise CallerError(
                f"{name}: no setting {key!r}.{_near(key, known)} Its settings: {', '.join(known) or 'none'}"
            )
    if isinstance(made, type):
        _needed(settings, made, name)
    return {key: _prepared(value, written(known[key].type), f"{name}: {key}") for key, value in settings.items()}


def _needed(settings: Mapping[str, Any], made: Any, name: str) -> None:
    for field in fields(made):
        if field.init and is_needed(field) and field.name not in settings:
            kind = expected(kinds_of(made)[field.name])
            raise CallerError(
                f"{name}: the setting {field.name!r} has to be given, as {name}:{field.name}=VALUE ({kind})"
            )


def is_needed(field: Field[Any]) -> bool:
    """Whether a setting has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def _prepared(value: Any, kind: str, where: str) -> Any:
    if isinstance(value, Mapping) and "Params" in kind and "Mapping" not in kind and "@" not in value:
        _parameters(value, where)
    if isinstance(value, str) and value.startswith("[") and "tuple" in kind:
        if (bare := _BARE.fullmatch(value.strip())) is None:
            example = '["single_shot","self_consistency:samples=3"]' if "Strategy" in kind else '["a","b"]'
            raise CallerError(f"{where}={value:.80}: not a JSON list. Put its texts in quotes: {example}")
        return [one.strip() for one in bare[1].split(",")]
    return value


def _parameters(given: Mapping[str, Any], where: str) -> None:
    known = kinds_of(Params)
    for key, value in given.items():
        if key not in known:
            raise CallerError(f"{where}: no parameter {key!r}.{_near(key, known)} Known: {', '.join(known)}")
        plain = known[key] in (int, float, bool, str) or get_origin(known[key]) is types.UnionType
        if plain and not isinstance(value, Mapping) and not fits(value, known[key]):
            raise CallerError(f"{where}: {key}={value!r:.80}: expected {expected(known[key])}")


def taken(settings: Mapping[str, Any], made: Any, name: str) -> dict[str, Any]:
    """Settings of which objects were made, as the fields take them: one thing for a field of several is a tuple of
    one. Raises `CallerError` for a value that does not fit."""
    kinds = kinds_of(made if isinstance(made, type) else type(made))
    found = {}
    for key, value in settings.items():
        kind = Any if key in _READ else kinds.get(key, Any)
        if not fits(value, kind):
            if isinstance(value, tuple) or not fits((value,), kind):
                raise CallerError(f"{name}: {key}={value!r:.80}: expected {expected(kind)}")
            value = (value,)
        found[key] = value
    return found


def described_settings(made: Any, stored: Callable[[Any], Any]) -> dict[str, dict[str, Any]]:
    """Of each setting: its `type` as it is written, what it `expects` in words, whether it is `needed`, its `default`
    (`stored`, or its text where that cannot be) and the `values` where there are only so many."""
    kinds = kinds_of(made if isinstance(made, type) else type(made)) if is_dataclass(made) else {}
    found = {}
    for field in fields(made) if is_dataclass(made) else ():
        if not field.init:
            continue
        kind = kinds[field.name]
        row: dict[str, Any] = {"type": written(field.type), "expects": expected(kind), "needed": is_needed(field)}
        if not row["needed"]:
            default = _default(field)
            try:
                row["default"] = stored(default)
            except ValueError:
                row["default"] = repr(default)
        if values := _values(kind):
            row["values"] = list(values)
        found[field.name] = row
    return found


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _values(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    several = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()
    return tuple(value for one in several for value in _values(one))


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
