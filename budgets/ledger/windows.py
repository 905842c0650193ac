"""Windows: over which stretch of time a limit counts. Times are integer milliseconds since 1970, UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

from ...core.errors import BadBudget

DAY = 86_400_000
PARTS = 60  # slots of a rolling window: it may count up to a sixtieth more than its length, never less
ALWAYS = (-(1 << 62), 1 << 62)
LAST = 253_370_764_800_000  # the year 9999: a calendar window after it has no end
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY}


@dataclass(frozen=True, slots=True)
class Window:
    """`total` counts all time, `day` and `month` calendar ones (UTC), `rolling` the last `length` milliseconds.

    A hold counts in the slot in which it was reserved, and what comes of it is posted to the same one.
    """

    kind: Literal["total", "day", "month", "rolling"] = "total"
    length: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("total", "day", "month", "rolling"):
            raise BadBudget(
                f"window {self.kind!r}: expected total, day, month, or a rolling length as 90s, 15m, 24h, 7d"
            )
        if (self.kind == "rolling") != (self.length > 0) or self.length % PARTS:
            raise BadBudget("a rolling window needs a length above 0, in steps of 60 ms; the others have none")

    @classmethod
    def parse(cls, text: str) -> Window:
        """ "total", "day", "month", or a rolling length: "90s", "15m", "24h", "7d". Raises `BadBudget`."""
        if match := re.fullmatch(r"([1-9]\d{0,6})([smhd])", text):
            return cls("rolling", int(match[1]) * _UNITS[match[2]])
        return cls(text)  # type: ignore[arg-type]

    def __str__(self) -> str:
        if self.kind != "rolling":
            return self.kind
        unit = next(u for u in ("d", "h", "m", "s") if self.length % _UNITS[u] == 0 or u == "s")
        return f"{self.length // _UNITS[unit]}{unit}"

    @property
    def back(self) -> int:
        """How many earlier slots count together with the present one."""
        return PARTS if self.kind == "rolling" else 0

    def slot(self, at: int) -> int:
        """The number of the slot that `at` falls into."""
        if self.kind == "total":
            return 0
        if self.kind == "rolling":
            return at // (self.length // PARTS)
        if self.kind == "day":
            return at // DAY
        return _month(at // DAY)

    def bounds(self, slot: int) -> tuple[int, int]:
        """First millisecond of the slot, and the first one after it."""
        if self.kind == "total":
            return ALWAYS
        if self.kind == "rolling":
            part = self.length // PARTS
            return slot * part, (slot + 1) * part
        if self.kind == "day":
            return slot * DAY, (slot + 1) * DAY
        return _first_of(slot), _first_of(slot + 1)

    @property
    def per(self) -> str:
        """In words: "in all", "per day"."""
        return "in all" if self.kind == "total" else f"per {self}"

    def resets(self, at: int) -> int | None:
        """When what counts now counts no more, at the latest; None: never."""
        if self.kind == "total":
            return None
        if self.kind == "rolling":
            return at + self.length + self.length // PARTS
        return self.bounds(self.slot(at))[1]


TOTAL = Window()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=64)
def _month(day: int) -> int:
    date = _EPOCH + timedelta(days=day)
    return date.year * 12 + date.month - 1


def _first_of(month: int) -> int:
    return int((datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) - _EPOCH).total_seconds() * 1000)
