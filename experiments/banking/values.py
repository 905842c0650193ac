"""Values of rows that others wrote: read strictly, and named where they are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

MOST = 2**63  # a bank's amounts are 64-bit integers


class BadRow(Exception):
    """What is wrong with one row; whoever knows the row's number says it."""


def text(raw: Mapping[str, Any], name: str) -> str | None:
    """The value as text, None where there is none."""
    value = raw.get(name)
    return None if value is None else str(value)


def name_of(raw: Mapping[str, Any], name: str) -> str:
    """A name: text that is not blank. Raises `BadRow`."""
    value = text(raw, name)
    if value is None or not value.strip():
        raise BadRow(f"{name} is empty")
    return value.strip()


def missing(value: Any) -> bool:
    """Whether a value is null, "" or NaN."""
    return value is None or value == "" or value != value


def real(raw: Mapping[str, Any], name: str, *, negative: bool = False) -> float | None:
    """A number of at least 0 (`negative`: any); empty, null and NaN are None. Raises `BadRow`."""
    value = raw.get(name)
    if missing(value):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise BadRow(f"{name}={value!r}: expected a number") from None
    if number != number:
        return None
    if not isfinite(number) or (number < 0 and not negative):
        raise BadRow(f"{name}={value!r}: expected a finite number{'' if negative else ', 0 or more'}")
    return number


def whole(raw: Mapping[str, Any], name: str) -> int | None:
    """A whole number from 0 to what a bank's column holds, or None. Raises `BadRow`."""
    number = real(raw, name)
    if number is not None and (number != int(number) or number >= MOST):
        raise BadRow(f"{name}={raw.get(name)!r}: expected a whole number below 2^63")
    return None if number is None else int(number)


def truth(raw: Mapping[str, Any], name: str) -> bool:
    """0 or 1, as a number, a word or a boolean. Raises `BadRow`."""
    value = str(raw.get(name)).strip().lower()
    if value in ("1", "1.0", "true"):
        return True
    if value in ("0", "0.0", "false"):
        return False
    raise BadRow(f"{name}={raw.get(name)!r}: expected 0 or 1")
