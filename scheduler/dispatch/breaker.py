"""Circuit breakers (Nygard, Release It!, 2007): a model that keeps failing is left alone for a while. Pure; time comes
in as an argument."""

from __future__ import annotations

from collections import deque
from math import inf

SHARE, AMONG = 0.7, 20  # it also opens where this share of so many calls failed
LONGEST = 8  # waits double up to this many times the first


class Breaker:
    """Closed, open until a time, or half open: one call is let through to see. `failures` in a row open it (0: it
    never opens), for `seconds`, twice as long after each failed probe."""

    __slots__ = ("_counted_at", "_failed", "_probe", "_row", "_times", "failures", "opened_until", "seconds")

    def __init__(self, failures: int, seconds: float) -> None:
        self.failures, self.seconds = failures, seconds
        self.opened_until: float | None = None
        self._row, self._times = 0, 1
        self._failed: deque[bool] = deque(maxlen=max(AMONG, failures))
        self._counted_at = -inf
        self._probe = False

    def refuses(self, now: float) -> float | None:
        """When to try again, if a call that would leave now must not; None where it may."""
        if self.opened_until is None:
            return None
        if now < self.opened_until:
            return self.opened_until
        return now + self.seconds if self._probe else None

    def sent(self) -> bool:
        """A call leaves. True for the first after an open time: it is the probe."""
        probes = self.opened_until is not None and not self._probe
        self._probe |= probes
        return probes

    def worked(self) -> None:
        """A reply came."""
        self._row, self.opened_until, self._probe, self._times = 0, None, False, 1
        self._failed.append(False)

    def gave_up(self, probe: bool = True) -> None:
        """A call was cancelled or refused for the rate: neither a success nor a failure. `probe`: it was the probe."""
        if probe:
            self._probe = False

    def failed(self, began: float, now: float, probe: bool = True) -> None:
        """A call that left at `began` failed; `probe`: it was the probe, if one is out. Calls under way together that
        fail together are one failure: what counts is that it goes on failing."""
        if not self.failures:
            return
        if self.opened_until is not None:
            if self._probe and probe:
                self._probe = False
                self._times = min(2 * self._times, LONGEST)
                self.opened_until = now + self.seconds * self._times
            return
        if began < self._counted_at:
            return
        self._counted_at = now
        self._row += 1
        self._failed.append(True)
        full = len(self._failed) == self._failed.maxlen
        if self._row >= self.failures or (full and sum(self._failed) >= SHARE * len(self._failed)):
            self.opened_until = now + self.seconds
            self._failed.clear()
