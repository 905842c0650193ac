"""Beliefs without tables: exact checks, graded scores, a committed number of draws, a first answer.

Each is frozen evidence; given the terms it knows the best continuation and P(right) (see `core.belief`).
"""

from __future__ import annotations

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
        n = min(terms.steps, self.limit, COURSE if _widest(terms) == 1 else WIDEST)
        course = [STOP] * (n + 1)  # after so many more failures
        for k in range(n - 1, -1, -1):
            best, missed = STOP, 1.0
            for m in range(1, min(n - k, _widest(terms)) + 1):
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


@dataclass(frozen=True, slots=True)
class ScoredBelief:
    """Graded scores of the draws so far, taken as chances of being right; new draws come from what was seen and,
    as two draws' worth, from anywhere in [0, 1]. With recall (the best so far can always be taken) one wave ahead
    is the optimal look (Weitzman 1979); gain and cost are of that wave only, a lower bound on the course."""

    scores: tuple[float, ...]
    limit: int = 1 << 30

    def p(self, terms: Terms) -> float | None:
        return None  # a raw score is not a calibrated probability

    def best(self, terms: Terms) -> Continuation:
        top = max(self.scores, default=0.0)
        weight = 1.0 / (len(self.scores) + 2)
        # P(draw <= x) on a grid above the best so far; E[max] of m draws from it.
        grid = [top + (1 - top) * i / 32 for i in range(33)]
        below = [2 * weight * x + weight * sum(s <= x for s in self.scores) for x in grid]

        gains, powers = [], [1.0] * len(below)
        for _ in range(min(terms.steps, self.limit, _widest(terms))):
            powers = [p * q for p, q in zip(powers, below, strict=True)]
            gains.append(sum((1 - (powers[i] + powers[i + 1]) / 2) * (grid[i + 1] - grid[i]) for i in range(32)))
        return best_wave(gains, terms)


def best_wave(gains: list[float], terms: Terms) -> Continuation:
    """The wave of 1..len(gains) draws with the highest net; ties go to the larger. `gains[i]`: of i + 1 draws."""
    best, net = STOP, 0.0
    for i, gain in enumerate(gains, start=1):
        way = Continuation(i, gain, i * terms.cost, terms.seconds)
        if (worth := way.net(terms)) > 0 and worth >= net - 1e-15:
            best, net = way, worth
    return best


def _widest(terms: Terms) -> int:
    """Where time is free a wave of one loses nothing: what it shows can still save the next draw."""
    return 1 if terms.per_second == 0 or terms.price == 0 else WIDEST
