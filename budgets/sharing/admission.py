"""Admission: whether a request can be served by its deadline, and if not, when it could be.

Served earliest deadline first (Liu & Layland 1973) a set of requests can be met if, in the order of their deadlines,
none is due before the work ahead of it is done (the demand criterion, Baruah et al. 1990). So a newcomer is let in if
that still holds for it and for everyone who was promised before; else it is refused at once, with the time at which
the work that is ahead of it will be done.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

WEIGHT = 0.1  # of one more observation of how fast requests are served
SEEN = 5  # requests that have to be over before anything is said of the speed


@dataclass(frozen=True, slots=True)
class Due:
    """A request that waits: when it has to be done (inf: whenever), what it is held at in nano-dollars, and the order
    in which it came. Higher `priority` goes first, then the earlier deadline, then who came first."""

    priority: int
    deadline: float
    nanos: int
    order: int

    @property
    def rank(self) -> tuple[int, float, int]:
        return -self.priority, self.deadline, self.order


@dataclass(frozen=True, slots=True)
class Admission:
    """`ok`, or `earliest`: the time at which the newcomer could be done; `why` in words."""

    ok: bool
    earliest: float
    why: str = ""


def admit(waiting: Sequence[Due], newcomer: Due, now: float, rate: float, seconds: float) -> Admission:
    """Whether `newcomer` can be done by its deadline, and those that were promised still can.

    `waiting`: the tenant's queue by rank, without it. `rate`: nano-dollars per second that the tenant can count on (inf
    where nothing limits them). `seconds`: what one request takes once it has begun.
    """
    at = bisect_right([one.rank for one in waiting], newcomer.rank)
    ahead = sum(one.nanos for one in waiting[:at])
    done = now + _time(ahead, rate) + seconds
    if done > newcomer.deadline:
        return Admission(False, done, "the work ahead of it takes longer")
    last = now + _time(sum(one.nanos for one in waiting), rate) + seconds
    for one in waiting[at:]:
        before, after = (now + _time(work, rate) + seconds for work in (ahead, ahead + newcomer.nanos))
        if before <= one.deadline < after:
            return Admission(False, last, "one that was promised before would be late")
        ahead += one.nanos
    return Admission(True, done)


def _time(nanos: float, rate: float) -> float:
    return nanos / rate if rate > 0 else (inf if nanos > 0 else 0.0)


@dataclass(slots=True)
class Speed:
    """How fast requests are served: running means of what one comes to and of how long one takes. `share`: what a
    request comes to as a part of what it is held at."""

    nanos: float = 0.0
    seconds: float = 0.0
    share: float = 1.0
    count: int = 0

    def saw(self, held: int, nanos: int, seconds: float) -> None:
        """A request is over."""
        self.count += 1
        weight = max(WEIGHT, 1 / self.count)
        self.nanos += weight * (nanos - self.nanos)
        self.seconds += weight * (seconds - self.seconds)
        if held > 0:
            self.share += weight * (min(1.0, nanos / held) - self.share)

    def rate(self, at_once: int, paced: float) -> float:
        """Nano-dollars of holds per second that `at_once` places and `paced` nano-dollars a second get through."""
        if self.count < SEEN:
            return paced
        slots = at_once * self.nanos / self.seconds if self.seconds > 0 else inf
        return min(slots, paced) / max(self.share, 1e-3)
