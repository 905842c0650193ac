"""Beliefs without tables: exact checks, graded scores, a committed number of draws, a first answer.

Each is frozen evidence; given the terms it knows the best continuation and P(right) (see `core.belief`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, log1p

from ..core.belief import STOP, Belief, Continuation, Priors, Terms, picked_by

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
        wait = terms.waves(size) * terms.seconds
        return Continuation(size, inf, size * terms.cost, wait) if size > 0 else STOP


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
    """`failures` draws failed an exact check; theta, the chance that a draw passes, is shared and unknown: the priors'
    mixture `chances`, where a bank taught one, else theta ~ Beta(a, b). So the chance of a pass falls with each
    failure, and a request on which nothing passes is given up."""

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
        missed = misses(terms.priors, self.failures, n)
        return Continuation(*course(missed, wide, terms.price, terms.cost, terms.seconds, terms.per_second))

    def reserve(self, terms: Terms) -> float:
        """The price at which one more draw is just worth it. One step says it all, as the chance of a pass falls."""
        spent = terms.cost + terms.seconds * terms.per_second
        if terms.steps <= 0 or self.limit <= 0:
            return 0.0
        (missed,) = misses(terms.priors, self.failures, 1)
        return (1.0 - missed) / spent if spent > 0 else inf


def misses(priors: Priors, failures: int, n: int) -> tuple[float, ...]:
    """P(the next draw fails | all before it failed), for each of the `n` draws after so many failures."""
    return _misses(priors.success, priors.chances, failures, n)


@lru_cache(maxsize=4096)
def _misses(
    success: tuple[float, float], chances: tuple[tuple[float, float], ...], failures: int, n: int
) -> tuple[float, ...]:
    if not chances:
        a, b = success
        return tuple((b + k) / (a + b + k) for k in range(failures, failures + n))
    kinds = [(log1p(-theta), weight) for theta, weight in chances if theta < 1.0 and weight > 0.0]
    if failures == 0 and len(kinds) < len(chances):
        found = [sum(weight * exp(log) for log, weight in kinds) / sum(weight for _, weight in chances)]
    else:
        found = []
    for k in range(failures + len(found), failures + n):
        top = max((log for log, _ in kinds), default=0.0) * k  # the rest may be too small for a float
        masses = [(log, weight * exp(log * k - top)) for log, weight in kinds]
        total = sum(mass for _, mass in masses)
        found.append(sum(mass * exp(log) for log, mass in masses) / total if total else 1.0)
    return tuple(found)


@lru_cache(maxsize=4096)
def course(
    missed: tuple[float, ...], wide: int, price: float, cost: float, seconds: float, per_second: float
) -> tuple[int, float, float, float]:
    """Size of the next wave, and gain, cost and seconds of the best course of draws of which each fails with the given
    chance once all before it did. Runs ask for the
    same course at every offer that taught them nothing, and so do runs at the same prices."""
    n = len(missed)
    gains, costs, times = [0.0] * (n + 1), [0.0] * (n + 1), [0.0] * (n + 1)  # after so many more failures
    size = 0
    for k in range(n - 1, -1, -1):
        size, net, lost = 0, 0.0, 1.0
        for m in range(1, min(n - k, wide) + 1):
            lost *= missed[k + m - 1]
            gain = 1 - lost + lost * gains[k + m]
            dollars = m * cost + lost * costs[k + m]
            wait = seconds + lost * times[k + m]
            worth = gain - price * (dollars + wait * per_second)
            if worth > 0 and worth >= net - 1e-15:
                size, net = m, worth
                gains[k], costs[k], times[k] = gain, dollars, wait
    return size, gains[0], costs[0], times[0]


def widest(terms: Terms) -> int:
    """The widest wave that can be the best one. Where time is free a wave of one loses nothing: what it shows can still
    save the next draw. Where the provider performs only so many at once, more would wait for them anyway."""
    if terms.per_second == 0 or terms.price == 0:
        return 1
    return min(WIDEST, terms.at_once) if terms.at_once > 0 else WIDEST
