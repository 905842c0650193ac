"""Strategies as JSON and back: what a journal keeps of one, and how a person writes one inside another.

A dataclass is stored as its fields and, under "@", the name of the strategy or the address of its class, so that
strategies nest in strategies. A person may also write the text `NAME:key=value,...` or `{"strategy": NAME, ...}`
wherever a setting takes a strategy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

from ..core.completions import Cut, Params
from ..core.errors import CallerError, UnknownName

Find = Callable[..., Any]
OURS = "satisfice."  # addresses of this package's own classes
_DATA = frozenset(("str", "int", "float", "bool", "None", "Literal", "tuple", "list", "dict", "Mapping", "Sequence"))


def stored(value: Any, address_of: Callable[[Any], str]) -> Any:
    """A setting as JSON. Raises `ValueError` for what has no form there, such as a function that no module holds."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, tuple | list):
        return [stored(one, address_of) for one in value]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("@") for key in value):
            return {key: stored(one, address_of) for key, one in value.items()}
        raise ValueError("a mapping with keys that cannot be stored")
    address = address_of(value)
    if not address:
        raise ValueError(f"{value!r:.80} cannot be found again")
    if is_dataclass(value) and not isinstance(value, type):
        settings = {f.name: stored(getattr(value, f.name), address_of) for f in fields(value) if f.init}
        return {"@": address, **settings}
    return {"@": address}


def revived(value: Any, kind: str, find: Find, trusted: bool = True, ours: bool = False) -> Any:
    """A setting from JSON. `kind` is the annotation of the field that takes it, `find(name, **settings)` finds a
    strategy by its name. What is not `trusted` imports nothing and reads no file: there "@" and addresses are refused,
    but for this package's own classes where `ours` is set. Raises as `find` does, and `CallerError` for parameters that
    are none, and for an object where none is taken."""
    if isinstance(value, list | tuple):
        return tuple(revived(one, kind, find, trusted, ours) for one in value)
    if isinstance(value, str):
        if "Strategy" in kind:
            return spelled(value, find, trusted) if trusted or ours else find(value)
        return loaded(value) if trusted and ":" in value and "Callable" in kind else value
    if not isinstance(value, Mapping):
        return value
    if "@" in value or ("strategy" in value and "Strategy" in kind):
        return _object(dict(value), kind, find, trusted or (ours and str(value.get("@", "")).startswith(OURS)))
    if "Params" in kind and "Mapping" not in kind:
        return params_of(value)
    return {key: revived(one, kind, find, trusted, ours) for key, one in value.items()}


def _object(settings: dict[str, Any], kind: str, find: Find, trusted: bool) -> Any:
    name = settings.pop("@" if "@" in settings else "strategy")
    if not isinstance(name, str):
        raise CallerError(f"{name!r:.60}: expected the name of a strategy, or the address of a class")
    words = set(re.findall(r"\w+", re.sub(r"[\"'][^\"']*[\"']", "", kind)))  # without what a Literal lists
    if "Strategy" not in kind and not trusted:
        raise CallerError(f"{name!r:.60}: an object by its address needs a trusted workflow (trusted=true)")
    if words and words <= _DATA:
        raise CallerError(f"{name!r:.60}: an object where {kind} is expected")
    return find(name, **settings)


def params_of(given: Mapping[str, Any]) -> Params:
    """Sampling parameters from JSON. Raises `CallerError` for one that is none."""
    settings: dict[str, Any] = {key: _hashable(one) for key, one in given.items()}
    if isinstance(extra := settings.get("extra"), Mapping):
        settings["extra"] = tuple(sorted(extra.items()))
    try:
        if isinstance(cut := settings.get("cut"), Mapping):
            settings["cut"] = Cut(**cut)
        return Params(**settings)
    except (TypeError, ValueError) as error:
        raise CallerError(f"params: {error}") from error


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def spelled(text: str, find: Find, files: bool = True) -> Any:
    """The strategy that `NAME[:key=value,...]` or `module:attribute` stands for. `files`: whether "@file" as a value is
    read. Raises as `find` does."""
    from ..verifiers.settings import parsed

    name, colon, rest = text.partition(":")
    if not colon or "=" not in rest:
        return find(text)
    return find(name, **parsed(rest, name, {}, files))


def loaded(address: str) -> Any:
    """What `module:attribute` names. Raises `UnknownName`."""
    module, _, attribute = address.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownName(f"cannot load {address!r}: {error}", kind="strategy", name=address) from error
