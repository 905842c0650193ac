"""JSON: the value as data, so that spacing, order of keys and 1.0 for 1 do not make another answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..task import Contract

TRIES = 200  # brackets at which a value is looked for
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "integer": (int, float),
    "null": type(None),
}


def read(contract: Contract, span: str) -> tuple[str, str, Any] | None:
    """The JSON value of a span, the last that fits the schema: answer, key and value."""
    found = None
    for written, value in _values(span):
        if _fits(value, contract):
            try:
                found = (written, json.dumps(_plain(value), sort_keys=True, separators=(",", ":")), value)
            except (RecursionError, ValueError, TypeError):
                continue
    return found


def _values(span: str) -> Iterator[tuple[str, Any]]:
    """The span itself if it is JSON, else the outermost objects and arrays in it."""
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
    whole = span.strip()
    try:
        yield whole, decoder.decode(whole)
        return
    except (ValueError, RecursionError):
        pass
    at = 0
    for _ in range(TRIES):
        bracket = re.compile(r"[{\[]").search(whole, at)
        if not bracket:
            return
        at = bracket.start()
        try:
            value, end = decoder.raw_decode(whole, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        yield whole[at:end], value
        at = end


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


def _plain(value: Any) -> Any:
    """The value with its numbers in one form."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    # Beyond 2**53 a float does not name one whole number.
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _fits(value: Any, contract: Contract) -> bool:
    """A light look at the top: its type and its required keys. The rest of the schema is a verifier's work."""
    schema = contract.schema or {}
    kinds = schema.get("type", "object" if "properties" in schema or "required" in schema else None)
    names = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list | tuple) else []
    known = [name for name in names if isinstance(name, str) and name in _TYPES]
    if known and not any(_is(value, name) for name in known):
        return False
    required = schema.get("required")
    if isinstance(value, dict) and isinstance(required, list | tuple):
        return all(isinstance(key, str) and key in value for key in required)
    return True


def _is(value: Any, name: str) -> bool:
    if name in ("number", "integer") and isinstance(value, bool):
        return False
    if name == "integer" and isinstance(value, float) and not value.is_integer():
        return False
    return isinstance(value, _TYPES[name])
