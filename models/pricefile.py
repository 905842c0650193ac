"""Reads price files: rows of TOML or JSON into prices. The format is described in `pricebook`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from math import ceil
from pathlib import Path
from typing import Any, NoReturn

from ..budgets.hours import WEEK, Window
from ..budgets.prices import OffPeak, Price, Tier, pico
from ..core.amounts import NANO
from ..core.errors import BadSettings, CallerError

_FIGURES = ("prompt", "completion", "cached", "cache_write", "reasoning")
_KEYS = ("model", "from", "until", *_FIGURES, "per_call", "tiers", "batch", "off_peak")
_TIER, _BATCH, _PEAK = (
    ("above", *_FIGURES),
    (*_FIGURES, "per_call", "tiers"),
    ("hours", "days", "zone", *_FIGURES, "per_call"),
)
_MOST_USD = 1000  # for one call


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One row: the price of `model` from `since` (in) until `until` (out)."""

    model: str
    price: Price
    since: datetime | None
    until: datetime | None
    origin: str
    file: str

    def holds(self, when: datetime) -> bool:
        return (self.since is None or self.since <= when) and (self.until is None or when < self.until)

    def overlaps(self, other: PriceRow) -> bool:
        """Whether both are in force at some moment."""
        starts = [row.since for row in (self, other) if row.since]
        ends = [row.until for row in (self, other) if row.until]
        return not starts or not ends or max(starts) < min(ends)

    def span(self) -> str:
        """From when until when, in words."""
        since = f"from {self.since:%Y-%m-%d}" if self.since else "from the beginning"
        return since + (f" until {self.until:%Y-%m-%d}" if self.until else " on")


def read_rows(file: Path) -> list[PriceRow]:
    """The rows of one file. Raises `BadSettings`, which names the file, the row and the key."""
    data = _parsed(file)
    rows = data.get("price") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        kind = '{"price": [{"model": ...}]}' if file.suffix == ".json" else "[[price]] tables"
        raise BadSettings(f"{file}: no prices in it: expected {kind}", file=str(file))
    for key in data:
        if key != "price":
            raise BadSettings(f"{file}: {key}: unknown key (known: price)", file=str(file), keys=[key])
    return [_Row(file, number, row).read() for number, row in enumerate(rows, 1)]


def _parsed(file: Path) -> Any:
    try:
        text = file.read_bytes().decode("utf-8-sig")
        if file.suffix == ".toml":
            return tomllib.loads(text, parse_float=Decimal)
        if file.suffix == ".json":
            return json.loads(text, parse_float=Decimal, parse_constant=Decimal, object_pairs_hook=_unique)
    except OSError as error:
        raise BadSettings(f"{file}: cannot be read: {error.strerror or error}", file=str(file)) from None
    except UnicodeDecodeError as error:
        raise BadSettings(f"{file}: not UTF-8 (byte {error.start}): save it as UTF-8", file=str(file)) from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise BadSettings(f"{file}: not {file.suffix[1:].upper()}: {error}", file=str(file)) from None
    raise BadSettings(f"{file}: a price file ends in .toml or .json", file=str(file))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return found


class _Row:
    """One row while it is read: knows where it stands, for what it has to say."""

    def __init__(self, file: Path, number: int, data: Any) -> None:
        self.file, self.number, self.data = file, number, data

    def read(self) -> PriceRow:
        row = self._table(self.data, "", _KEYS)
        model = row.get("model")
        if not isinstance(model, str) or not model.strip():
            self.fail("model", 'missing: expected a name, as "openai/gpt-4o-mini"')
        since, until = self._date(row, "from"), self._date(row, "until")
        if since and until and until <= since:
            self.fail("until", f"{until:%Y-%m-%d} is not after from, {since:%Y-%m-%d}")
        batch = row.get("batch")
        price = self._price(
            row,
            "",
            batch=None if batch is None else self._price(self._table(batch, "batch", _BATCH), "batch."),
            off_peak=self._off_peak(row),
        )
        return PriceRow(model, price, since, until, f"{self.file}, row {self.number}", str(self.file))

    def fail(self, key: str, text: str) -> NoReturn:
        where = f"{self.file}, row {self.number}"
        named = self.data.get("model") if isinstance(self.data, dict) else None
        about = f" ({named})" if isinstance(named, str) else ""
        raise BadSettings(
            f"{where}{about}: {key}: {text}", file=str(self.file), row=self.number, keys=[key] if key else []
        )

    def _table(self, data: Any, key: str, known: Iterable[str]) -> Mapping[str, Any]:
        names = list(known)
        if not isinstance(data, dict):
            self.fail(key or "(row)", f"expected a table of {', '.join(names)}")
        for name in data:
            if name not in names:
                near = get_close_matches(name, names, n=1)
                hint = f", did you mean {near[0]!r}?" if near else ""
                self.fail(f"{key}.{name}" if key else name, f"unknown key{hint} (known: {', '.join(names)})")
        return data

    def _list(self, data: Any, key: str) -> list[Any]:
        if not isinstance(data, list) or not data:
            self.fail(key, "expected a list, with something in it")
        return data

    def _price(
        self, table: Mapping[str, Any], at: str, batch: Price | None = None, off_peak: tuple[OffPeak, ...] = ()
    ) -> Price:
        tiers: list[Tier] = []
        if "tiers" in table:
            for i, entry in enumerate(self._list(table["tiers"], f"{at}tiers")):
                tiers.append(self._tier(entry, f"{at}tiers[{i}]"))
                if tiers[1:] and tiers[-1].above <= tiers[-2].above:
                    self.fail(f"{at}tiers[{i}].above", "expected more than in the tier before")
        per_call = self._number(table, "per_call", at) if "per_call" in table else Decimal(0)
        if per_call > _MOST_USD:
            self.fail(f"{at}per_call", f"{per_call} USD for one call: expected {_MOST_USD} at the most")
        figures = self._figures(table, at)
        made = Price(**figures, per_call=ceil(per_call * NANO), tiers=tuple(tiers), source="file")
        return replace(made, batch=batch, off_peak=off_peak)

    def _figures(self, table: Mapping[str, Any], at: str) -> dict[str, Any]:
        for name in ("prompt", "completion"):
            if name not in table:
                self.fail(f"{at}{name}", "missing: expected USD per million tokens")
        found = {}
        for name in _FIGURES:
            if name in table:
                number = self._number(table, name, at)
                try:
                    found[name] = pico(number)
                except CallerError as error:
                    self.fail(f"{at}{name}", str(error))
        return found

    def _number(self, table: Mapping[str, Any], key: str, at: str) -> Decimal:
        value = table[key]
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self.fail(f"{at}{key}", f"expected a number of USD, not {type(value).__name__}")
        if not Decimal(value).is_finite() or value < 0:
            self.fail(f"{at}{key}", f"{value}: expected 0 or more")
        return Decimal(value)

    def _tier(self, data: Any, at: str) -> Tier:
        table = self._table(data, at, _TIER)
        above = table.get("above")
        if isinstance(above, bool) or not isinstance(above, int) or above < 1:
            self.fail(f"{at}.above", "expected a whole number of tokens, 1 or more")
        return Tier(above, **self._figures(table, f"{at}."))

    def _off_peak(self, row: Mapping[str, Any]) -> tuple[OffPeak, ...]:
        found: list[OffPeak] = []
        for i, entry in enumerate(self._list(row["off_peak"], "off_peak") if "off_peak" in row else ()):
            at = f"off_peak[{i}]"
            table = self._table(entry, at, _PEAK)
            windows = self._windows(table, at, [w for peak in found for w in peak.windows])
            figures = table if "per_call" in table or "per_call" not in row else {**table, "per_call": row["per_call"]}
            found.append(OffPeak(windows, self._price(figures, f"{at}.")))
        return tuple(found)

    def _windows(self, table: Mapping[str, Any], at: str, taken: list[Window]) -> tuple[Window, ...]:
        hours, days = table.get("hours"), self._list(table.get("days", list(WEEK)), f"{at}.days")
        if any(isinstance(day, bool) or not isinstance(day, int) for day in days):
            self.fail(f"{at}.days", "expected ISO weekdays, 1 (Monday) to 7 (Sunday)")
        windows: list[Window] = []
        for text in [hours] if isinstance(hours, str) else self._list(hours, f"{at}.hours"):
            try:
                window = Window.parse(text, days, table.get("zone", "UTC"))
            except CallerError as error:
                said = str(error)
                self.fail(f"{at}.{said.split('=')[0] if said.startswith(('days=', 'zone=')) else 'hours'}", said)
            for other in [*taken, *windows]:
                if window.overlaps(other):
                    self.fail(f"{at}.hours", f"{window} overlaps {other}")
            windows.append(window)
        return tuple(windows)

    def _date(self, row: Mapping[str, Any], key: str) -> datetime | None:
        value = row.get(key)
        if value is None:
            return None
        try:
            if isinstance(value, str):
                value = date.fromisoformat(value)
        except ValueError:
            value = None
        if not isinstance(value, date) or isinstance(value, datetime):
            self.fail(key, "expected a day, as 2026-07-01 (in TOML without quotes or with; no time of day)")
        return datetime.combine(value, time(), UTC)
