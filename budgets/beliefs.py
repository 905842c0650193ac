"""Beliefs without tables: exact checks, graded scores, a committed number of draws, a first answer.

Each is frozen evidence; given the terms it knows the best continuation and P(right) (see `core.belief`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from ..core.belief import STOP, Belief, Continuation, Terms

COURSE, WIDEST = 128, 64  # draws that are looked ahead one by one, and in waves


@dataclass(frozen=True, slots=True)
class Committed:
    """Exactly `left` more draws, whatever they show: the fixed-n baseline. P(right) is what `evidence` says."""

    left: int
    evidence: Belief | None = None

    def p(self, terms: Terms) -> float | None:
        return self.evidence.p(terms) if self.evidence else None

    def pick(self, terms: Terms) -> int:
        pick: Callable[[Terms], int] | None = getattr(self.evidence, "pick", None)
        return pick(terms) if pick else 0

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
        a, b = terms.priors.success
        n = min(terms.steps, self.limit, COURSE if widest(terms) == 1 else WIDEST)
        course = [STOP] * (n + 1)  # after so many more failures
        for k in range(n - 1, -1, -1):
            best, missed = STOP, 1.0
            for m in range(1, min(n - k, widest(terms)) + 1):
                missed *= (b + self.failures + k + m - 1) / (a + b + self.failures + k + m - 1)
                then = course[k + m]
                way = Continuation(
                    m,
                    1 - missed + missed * then.gain,
                    m * terms.cost + missed * then.cost,
                    terms.seconds + missed * then.seconds,
                )
                if way.net(terms) > 0 and way.net(terms) >= best.net(terms) - 1e-15:
                    best = way
            course[k] = best
        return course[0]


def widest(terms: Terms) -> int:
    """Where time is free a wave of one loses nothing: what it shows can still save the next draw."""
    return 1 if terms.per_second == 0 or terms.price == 0 else WIDEST
