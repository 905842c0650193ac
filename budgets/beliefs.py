"""Beliefs without tables: exact checks, graded scores, a committed number of draws, a first answer.

Each is frozen evidence; given the terms it knows the best continuation and P(right) (see `core.belief`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import inf

from ..core.belief import STOP, Belief, Continuation, Terms, picked_by

COURSE, WIDEST = 128, 64  # draws that are looked ahead one by one, and in waves


@dataclass(frozen=True, slots=True)
class Committed:
    """Exactly `left` more draws, whatever they show: the fixed-n baseline. P(right) is what `evidence` says."""

    left: int
    evidence: Belief | None = None

    def p(self, terms: Terms) -> float | None:
        return self.evidence.p(terms) if self.evidence else None

    def pick(self, terms: Terms) -> int:
        return picked_by(self.evidence, terms)

    def best(self, terms: Terms) -> Continuation:
        size = min(self.left, terms.steps)
        return Continuation(size, inf, size * terms.cost, terms.seconds) if size > 0 else STOP


@dataclass(frozen=True, slots=True)
class Unstarted:
    """Nothing bought yet, and one draw is all that is wanted: answering needs a first answer."""

    def p(self, terms: Terms) -> float | None:
        return None

    def best(self, terms: Terms) -> Continuation:
        theta = sum(weight * right for right, _, weight in terms.priors.voting)
        return Continuation(1, terms.value(theta), terms.cost, terms.seconds) if terms.steps > 0 else STOP


@dataclass(frozen=True, slots=True)
class ExactBelief:
    """`failures` draws failed an exact check; theta, the chance that a draw passes, is shared and unknown, with
    theta ~ Beta(a, b), so that the chance of a pass falls with each failure."""

    failures: int
    limit: int = 1 << 30

    def p(self, terms: Terms) -> float | None:
        return None  # there is no answer on offer until one passes

    def best(self, terms: Terms) -> Continuation:
        """Backwards from the last draw that can be paid: at each number of failures the best wave, and the gain, cost
        and seconds of the course from there. Where time is free a wave is one draw."""
        wide = widest(terms)
        n = min(terms.steps, self.limit, COURSE if wide == 1 else WIDEST)
        if n <= 0:
            return STOP
        money = (terms.price, terms.cost, terms.seconds, terms.per_second)
        return Continuation(*_course(*terms.priors.success, self.failures, n, wide, *money))


@lru_cache(maxsize=4096)
def _course(
    a: float,
    b: float,
    failures: int,
    n: int,
    wide: int,
    price: float,
    cost: float,
    seconds: float,
    per_second: float,
) -> tuple[int, float, float, float]:
    """Size of the next wave, and gain, cost and seconds of the best course of at most `n` draws. Runs ask for the same
    course at every offer that taught them nothing, and so do runs at the same prices."""
    gains, costs, times = [0.0] * (n + 1), [0.0] * (n + 1), [0.0] * (n + 1)  # after so many more failures
    size = 0
    for k in range(n - 1, -1, -1):
        size, net, missed = 0, 0.0, 1.0
        for m in range(1, min(n - k, wide) + 1):
            lost = b + failures + k + m - 1
            missed *= lost / (a + lost)
            gain = 1 - missed + missed * gains[k + m]
            dollars = m * cost + missed * costs[k + m]
            wait = seconds + missed * times[k + m]
            worth = gain - price * (dollars + wait * per_second)
            if worth > 0 and worth >= net - 1e-15:
                size, net = m, worth
                gains[k], costs[k], times[k] = gain, dollars, wait
    return size, gains[0], costs[0], times[0]


def widest(terms: Terms) -> int:
    """Where time is free a wave of one loses nothing: what it shows can still save the next draw."""
    return 1 if terms.per_second == 0 or terms.price == 0 else WIDEST
