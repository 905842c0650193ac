"""The price book: what a model charges at a given time, from price files first and litellm's list second.

A price file is TOML or JSON (by its suffix), named by `prices = "prices.toml"` in satisfice.toml (relative to that
file; a list for several) or by SATISFICE_PRICES. Each row is one model for one span of time, in USD per million
tokens:

    [[price]]
    model = "openai/gpt-4o-mini"   # as satisfice.toml and litellm write it
    from = 2026-01-01              # optional: in force from the start of this day, UTC
    until = 2026-07-01             # optional: up to the start of this day, so that the next row can start on it
    prompt = 0.15
    completion = 0.60
    cached = 0.075                 # read from the provider's cache; as prompt, if left out
    cache_write = 0.1875           # written to it; as prompt, if left out
    reasoning = 0.60               # hidden reasoning; as completion, if left out
    per_call = 0.001               # USD for each call

    tiers = [{above = 200_000, prompt = 0.30, completion = 1.20, cached = 0.15}]   # prompts longer than `above`
    batch = {prompt = 0.075, completion = 0.30}                                    # the provider's batch mode
    off_peak = [{hours = ["16:30-00:30"], days = [1, 2, 3, 4, 5], prompt = 0.075, completion = 0.30}]

`hours` are UTC and may wrap midnight; `days` are ISO weekdays of the moment, all if left out, on the calendar of
`zone` ("Asia/Shanghai") if that is given. Off-peak figures replace all others, tiers too. In JSON the rows stand in
{"price": [...]}, dates as "2026-01-01". Where no row is in force, litellm's list counts; where that has none, there is
no price, and the model is not called. Figures are read as decimals, never through binary floats.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ..budgets.prices import Price
from ..core.errors import BadSettings, CallerError
from . import pricelist

if TYPE_CHECKING:
    from .pricefile import PriceRow

AHEAD = timedelta(days=1)  # how long before a change a price says what it will become


@dataclass(frozen=True, slots=True)
class Quoted:
    """A price, where it stands (`origin`: "prices.toml, row 2" or "litellm") and from when until when it is in force
    (None: without end)."""

    price: Price
    origin: str
    since: datetime | None = None
    until: datetime | None = None


class PriceBook:
    """Prices by model and time. Safe from many threads. Raises `BadSettings` for a file that cannot be read, is not in
    the format, or has two rows for a model in force at once; it names file, row and key."""

    def __init__(self, files: Sequence[Path | str] = ()) -> None:
        self.files = tuple(Path(file) for file in files)
        self._rows = _by_model(_read(self.files))
        self._known: dict[tuple[str, datetime], Price] = {}
        self._lock = Lock()

    def price(self, model: str, when: datetime | None = None) -> Price | None:
        """What `model` charges at `when` (now, if left out), or None. A change within a day of `when` is in its
        `then`. The same object as long as nothing changes. Raises `CallerError` for a time without a zone."""
        when = _checked(when)
        rows = self._rows.get(pricelist.canonical(model)) if self._rows else None
        if not rows:
            return _listed(model)
        now, change = self.quoted(model, when), _change(rows, when)
        if now is None or change is None or change - when > AHEAD:
            return now.price if now else None
        later = self.quoted(model, change)
        if later is None or later.price == now.price:
            return now.price
        with self._lock:
            if (model, change) not in self._known:
                self._known[model, change] = replace(now.price, then=(change, later.price))
            return self._known[model, change]

    def quoted(self, model: str, when: datetime | None = None) -> Quoted | None:
        """As `price`, with where it stands and how long it is in force, and without what comes after."""
        when = _checked(when)
        rows = self._rows.get(pricelist.canonical(model), ())
        for row in rows:
            if row.holds(when):
                return Quoted(row.price, row.origin, row.since, row.until)
        listed = _listed(model)
        if listed is None:
            return None
        since = max((row.until for row in rows if row.until and row.until <= when), default=None)
        until = min((row.since for row in rows if row.since and row.since > when), default=None)
        return Quoted(listed, "litellm", since, until)

    def dated(self, model: str) -> bool:
        """Whether the price of `model` may change with the date."""
        return any(row.since or row.until for row in self._rows.get(pricelist.canonical(model), ()))


def _read(files: Sequence[Path]) -> list[PriceRow]:
    if not files:
        return []
    from .pricefile import read_rows  # brings tomllib, which few need

    return [row for file in files for row in read_rows(file)]


def _listed(model: str) -> Price | None:
    found = pricelist.look_up(model)
    return found.price if found else None


def _checked(when: datetime | None) -> datetime:
    if when is None:
        return datetime.now(UTC)
    if when.tzinfo is None:
        raise CallerError("a time without a zone: give one in UTC, as datetime.now(UTC)")
    return when


def _change(rows: Sequence[PriceRow], when: datetime) -> datetime | None:
    marks = sorted({mark for row in rows for mark in (row.since, row.until) if mark is not None})
    after = bisect_right(marks, when)
    return marks[after] if after < len(marks) else None


def _by_model(rows: Iterable[PriceRow]) -> dict[str, list[PriceRow]]:
    found: dict[str, list[PriceRow]] = {}
    for row in rows:
        others = found.setdefault(pricelist.canonical(row.model), [])
        for other in others:
            if row.overlaps(other):
                raise BadSettings(
                    f"{row.origin}: from, until: {row.model} has a price in {other.origin} at the same time"
                    f" ({other.span()}): end one before the other begins, `until` is the first day that is out",
                    file=row.file,
                    rows=[other.origin, row.origin],
                )
        others.append(row)
    return found
