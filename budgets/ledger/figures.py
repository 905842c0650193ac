"""Figures of the ledger as they are written down: exact text for money, ISO 8601 for times."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from .accounts import usd_text

Three: TypeAlias = tuple[int, int, int]
"""Nano-dollars, tokens, calls."""
NOTHING: Three = (0, 0, 0)


def total(amounts: Iterable[Three]) -> Three:
    """The sum."""
    n = t = k = 0
    for nanos, tokens, calls in amounts:
        n, t, k = n + nanos, t + tokens, k + calls
    return n, t, k


def amounts_dict(amounts: Three) -> dict[str, Any]:
    """(nano-dollars, tokens, calls) as JSON-ready data; dollars as exact text."""
    return {"nanos": amounts[0], "usd": usd_text(amounts[0]), "tokens": amounts[1], "calls": amounts[2]}


def amounts_said(amounts: Three) -> str:
    """The same in words."""
    sign, n = ("-", -amounts[0]) if amounts[0] < 0 else ("", amounts[0])
    return f"{sign}${usd_text(n)}, {amounts[1]} tokens, {amounts[2]} calls"


def said_time(at: int) -> str:
    """Milliseconds since 1970 as ISO 8601, UTC."""
    seconds, ms = divmod(at, 1000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms:03d}Z"
