"""Hours: the windows of the day in which a provider charges otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from re import fullmatch
from typing import TYPE_CHECKING

from ..core.errors import CallerError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

WEEK = (1, 2, 3, 4, 5, 6, 7)
DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """A span of the day, in minutes since midnight UTC, `start` in it and `end` not; one that ends before it starts
    wraps midnight, one that ends where it starts is the whole day. `days` are ISO weekdays (Monday is 1) of the
    moment that is asked about, on the calendar of `zone`. Raises `CallerError`."""

    start: int
    end: int
    days: tuple[int, ...] = WEEK
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if not all(0 <= minute < DAY for minute in (self.start, self.end)):
            raise CallerError(f"a window from minute {self.start} to {self.end}: a day has minutes 0 to {DAY - 1}")
        if not self.days or not set(self.days) <= set(WEEK):
            raise CallerError(f"days={list(self.days)!r}: expected ISO weekdays, 1 (Monday) to 7 (Sunday)")
        object.__setattr__(self, "days", tuple(sorted(set(self.days))))
        if self.zone != "UTC":
            _zone(self.zone)

    @classmethod
    def parse(cls, hours: str, days: Iterable[int] = WEEK, zone: str = "UTC") -> Window:
        """From "16:30-00:30", in UTC. Raises `CallerError`."""
        found = fullmatch(r"\s*(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)\s*", hours) if isinstance(hours, str) else None
        parts = [int(part) for part in found.groups()] if found else []
        if not found or any(m > 59 for m in parts[1::2]) or parts[0] > 23 or parts[2:] > [24, 0]:
            raise CallerError(f'{hours!r}: expected hours as "HH:MM-HH:MM", in UTC')
        start, end = parts[0] * 60 + parts[1], parts[2] * 60 + parts[3]
        return cls(start, end % DAY, tuple(days), zone)

    def holds(self, when: datetime) -> bool:
        """Whether the window is open at `when`, which has a time zone."""
        utc = when.astimezone(UTC)
        minute = utc.hour * 60 + utc.minute
        inside = any(start <= minute < end for start, end in self._spans())
        if not inside or self.days == WEEK:
            return inside
        return (utc if self.zone == "UTC" else utc.astimezone(_zone(self.zone))).isoweekday() in self.days

    def overlaps(self, other: Window) -> bool:
        """Whether some moment can be in both; of windows on different calendars the days are not told apart."""
        if self.zone == other.zone and not set(self.days) & set(other.days):
            return False
        return any(a < d and c < b for a, b in self._spans() for c, d in other._spans())

    def _spans(self) -> list[tuple[int, int]]:
        if self.start < self.end:
            return [(self.start, self.end)]
        return [(self.start, DAY), (0, self.end)]

    def __str__(self) -> str:
        hours = f"{self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02} UTC"
        if self.days == WEEK:
            return hours
        names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
        said = " ".join(names[day - 1] for day in self.days)
        return f"{hours} {said}" + ("" if self.zone == "UTC" else f" in {self.zone}")


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):  # ZoneInfoNotFoundError is a KeyError
        raise CallerError(f"zone={name!r}: no such time zone on this machine (as in Asia/Shanghai)") from None
