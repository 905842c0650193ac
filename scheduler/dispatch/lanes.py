"""Rate limits of one model or provider: pure bookkeeping, time comes in as an argument (seconds on any one clock).

Limits per minute hold in every window of 60 seconds, not only on average: a token bucket would let twice the limit
through around its refill. What a provider says about its own limits is followed at once (`pause`), and where it only
says no, the rate is found by additive increase and multiplicative decrease (`Pace`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from math import inf

WINDOW = 60.0  # seconds
LEAST = 0.2  # calls a second: the pace is never cut below
CUT = 0.5  # what a refusal multiplies the pace by
STEPS = 13  # replies in which the pace is back at what it was
FRESH = 12  # outcomes that show what the last cut has done
JUST_NOW = 10.0  # seconds over which the pace is measured


@dataclass(slots=True, eq=False)
class Slot:
    """A call that has left: when, what it counts as, and whether it counts still."""

    at: float
    tokens: int
    counted: bool = True
    active: bool = True


class Pace:
    """Calls per second that the provider turned out to take; no bound until it refuses one."""

    __slots__ = ("_cut_at", "_fresh", "_next", "_sent", "_took", "_top", "rate")

    def __init__(self) -> None:
        self.rate = inf
        self._next = self._top = 0.0
        self._cut_at = -inf
        self._fresh = 0  # outcomes since the last cut
        self._sent: deque[float] = deque(maxlen=256)  # when calls left, and when they were answered
        self._took: deque[float] = deque(maxlen=256)

    def ready(self, now: float) -> float:
        """The earliest time of the next call."""
        return now if self.rate == inf else max(now, self._next)

    def sent(self, now: float) -> None:
        """A call leaves."""
        self._sent.append(now)
        if self.rate != inf:
            self._next = max(self._next, now) + 1.0 / self.rate

    def took(self, now: float) -> None:
        """A call was answered: a little faster."""
        self._took.append(now)
        self._fresh += 1
        if self.rate != inf:
            self.rate += self._top / STEPS
            if self.rate >= 2 * self._top:
                self.rate = inf

    def refused(self, began: float, now: float) -> None:
        """A call was refused for the rate: slower, but never below what was answered just now, as that is what the
        provider takes. Calls that left before the last cut say nothing of the new pace, and a few say nothing."""
        if began < self._cut_at:
            return
        self._fresh += 1
        if self._fresh < FRESH:
            return
        self._top = min(self.rate, _per_second(self._sent, now))
        self.rate = max(LEAST, self._top * CUT, min(self._top, _per_second(self._took, now)))
        self._cut_at, self._next, self._fresh = now, now + 1.0 / self.rate, 0


def _per_second(times: deque[float], now: float) -> float:
    """Of what happened just now."""
    recent = [at for at in times if at > now - JUST_NOW]
    return len(recent) / max(now - recent[0], 1.0) if recent else 0.0


class Lane:
    """One model's or provider's limits: requests and tokens per minute, calls at once (None: none)."""

    __slots__ = ("_tokens", "_window", "active", "concurrency", "name", "pace", "paused_until", "rpm", "tpm")

    def __init__(self, name: str, rpm: int | None, tpm: int | None, concurrency: int | None) -> None:
        self.name, self.rpm, self.tpm, self.concurrency = name, rpm, tpm, concurrency
        self.active = 0
        self.pace = Pace()
        self.paused_until = -inf
        self._window: deque[Slot] = deque()
        self._tokens = 0

    def ready(self, tokens: int, now: float) -> float:
        """When a call of so many tokens may leave, as things are: `now`, later, or inf where one has to come back."""
        if self.concurrency is not None and self.active >= self.concurrency:
            return inf
        at = max(self.paused_until, self.pace.ready(now))
        if self.rpm is None and self.tpm is None:
            return max(now, at)
        self._forget(now)
        if self.rpm is not None and len(self._window) >= self.rpm:
            at = max(at, self._window[len(self._window) - self.rpm].at + WINDOW)
        if self.tpm is not None:
            at = max(at, self._room_for(min(tokens, self.tpm)))
        return max(now, at)

    def sooner_than(self, ahead: int, now: float) -> float:
        """A lower bound on when the call behind `ahead` others may leave."""
        at = max(now, self.paused_until)
        if self.pace.rate != inf:
            at = max(at, self.pace.ready(now) + ahead / self.pace.rate)
        if self.rpm is not None:
            self._forget(now)
            beyond = len(self._window) + ahead - self.rpm  # calls that have to be forgotten before, less one
            if beyond >= 0:
                rounds, i = divmod(beyond, self.rpm)
                first = self._window[i].at if i < len(self._window) else now
                at = max(at, first + WINDOW * (rounds + 1))
        return at

    def take(self, tokens: int, now: float) -> Slot:
        """A call leaves: it counts from now on."""
        slot = Slot(now, tokens if self.tpm is None else min(tokens, self.tpm))
        self.active += 1
        self.pace.sent(now)
        if self.rpm is not None or self.tpm is not None:
            self._window.append(slot)
            self._tokens += slot.tokens
        else:
            slot.counted = False
        return slot

    def give(self, slot: Slot, used: int | None) -> None:
        """A call is over. It had been counted at its bound; from now on at what it `used` (None: not known)."""
        if not slot.active:
            return
        slot.active = False
        self.active -= 1
        if used is not None and slot.counted:
            less = slot.tokens - max(0, min(used, slot.tokens))
            slot.tokens -= less
            self._tokens -= less

    def pause(self, seconds: float, now: float) -> None:
        """The provider asks all callers to wait."""
        self.paused_until = max(self.paused_until, now + seconds)

    def _forget(self, now: float) -> None:
        while self._window and self._window[0].at + WINDOW <= now:
            slot = self._window.popleft()
            slot.counted = False
            self._tokens -= slot.tokens

    def _room_for(self, tokens: int) -> float:
        assert self.tpm is not None
        over = self._tokens + tokens - self.tpm
        if over <= 0:
            return -inf
        for slot in islice(self._window, len(self._window)):
            over -= slot.tokens
            if over <= 0:
                return slot.at + WINDOW
        return -inf
