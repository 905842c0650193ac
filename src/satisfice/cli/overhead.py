"""`satisfice runs overhead`: how many seconds of each request were our own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import click

from ..core.errors import CallerError
from .output import emit, table

UNITS = {"h": 3600.0, "d": 86400.0, "w": 604800.0}
QUANTILES = (0.5, 0.9, 0.99)


def since_of(text: str | None, now: datetime) -> str:
    """The moment that is meant: a date or time (UTC), or how long ago ("24h", "7d"). Raises `CallerError`."""
    if not text:
        return ""
    unit = UNITS.get(text[-1])
    try:
        if unit is not None:
            return (now - timedelta(seconds=float(text[:-1]) * unit)).isoformat(timespec="milliseconds")
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise CallerError(f"--since {text!r}: expected a date (2026-11-22), a time, or 24h, 7d, 2w") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")


def measured(runs: Sequence[tuple[str, str, float, float, int, int]]) -> list[dict[str, Any]]:
    """By strategy, and of all: quantiles of our own seconds for each request, and by choice, JSON-ready. `runs`: (id,
    strategy, our own seconds, seconds in all, calls, decisions)."""
    by: dict[str, list[tuple[float, float, int, int]]] = {}
    for _, strategy, own, seconds, calls, decisions in runs:
        row = (own or 0.0, seconds or 0.0, calls or 0, decisions)
        by.setdefault(strategy, []).append(row)
        by.setdefault("all", []).append(row) if strategy != "all" else None
    whole = by.pop("all", [])
    return [_row(name, rows) for name, rows in [*sorted(by.items()), ("all", whole)] if rows]


def _row(name: str, rows: Sequence[tuple[float, float, int, int]]) -> dict[str, Any]:
    own = [row[0] for row in rows]
    each = [row[0] / row[3] for row in rows if row[3]]
    calls = [row[0] / row[2] for row in rows if row[2]]
    seconds = sum(row[1] for row in rows)
    quantiles = {f"p{round(100 * q)}": quantile(own, q) for q in QUANTILES}
    per = {"per_decision_p50": quantile(each, 0.5), "per_call_p50": quantile(calls, 0.5)}
    return {
        "strategy": name,
        "requests": len(rows),
        **quantiles,
        **per,
        "decisions": sum(row[3] for row in rows),
        "share": sum(own) / seconds if seconds > 0 else None,
    }


def quantile(values: Sequence[float], q: float) -> float | None:
    """The smallest value that at least a share `q` of them does not pass; None of nothing."""
    return sorted(values)[max(0, ceil(q * len(values)) - 1)] if values else None


def tell(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Shows it: seconds, in the unit that fits."""
    if as_json:
        emit(list(rows))
        return
    if not rows:
        click.echo("no finished runs on record")
        return
    keys = ("p50", "p90", "p99", "per_decision_p50", "per_call_p50")
    cells = [
        (
            row["strategy"],
            row["requests"],
            *(_time(row[key]) for key in keys),
            "" if row["share"] is None else f"{100 * row['share']:.1f}%",
        )
        for row in rows
    ]
    titles = ["strategy", "requests", "p50", "p90", "p99", "per choice", "per call", "of all time"]
    table(titles, cells, right="requests p50 p90 p99")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return (
        f"{1e6 * seconds:.0f} us"
        if seconds < 1e-3
        else f"{1e3 * seconds:.1f} ms"
        if seconds < 1
        else f"{seconds:.2f} s"
    )
