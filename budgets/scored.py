"""Scored sampling: when to stop drawing candidates that an imperfect check grades.

Where a bank holds draws with their verdicts, `fit` learns a chain (`core.belief.Chain`): after n readable draws, how
likely the likeliest answer looks (votes and verdicts weighed in one posterior) falls on one of a few levels; each state
has the share of such answers that was right, and the chances of the next state. That is the world that draws of this
model and this verifier live in, whatever a model of them assumes, and stopping in it is exact backward induction: the
value of a state is that of the best adaptive course from there. Past the recorded draws the last of them stand for all.
A level does not tell a question that has been stuck on it from one that has just come to it, and what the stuck one may
still rise to is promised again after every draw. `Chain.kept` is the share of such promises that came true on questions
that the chain was not fitted on, and no more than that is believed once there is an answer.

Where nothing was learnt of a verifier, its scores are taken as they are, and the distribution of one request's own
scores is learnt on the way: UCB-Pandora (Kalayci, Raman & Dughmi 2025, 2510.01394). The upper half of the scores is
taken for exponential; its mean excess, made larger by a confidence bound, gives an upper bound of what another draw may
add to the best score so far. With the distribution known that is Weitzman's rule (1979): stop once the best exceeds the
reservation value at which E[(X - value)+] is the price of a draw.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, isnan
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

from ..core.belief import STOP, Belief, Chain, Continuation, Terms, picked_by
from .beliefs import widest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

NOTHING = 1e-9  # a gain below it is none
FEWEST = 2  # scores from which a tail can be told
TAIL = 0.5  # share of the scores that is taken for its upper tail
BOUND = 1.0  # standard errors by which the tail's mean is made larger
AHEAD = 16  # draws past the recorded ones that are looked ahead


def place(chain: Chain, n: int, p: float) -> tuple[int, int]:
    """The state of `n` readable draws whose likeliest answer has this posterior probability."""
    return min(n, len(chain.right) - 1), bisect_right(chain.cuts, p)


def settled(chain: Chain, n: int, p: float) -> float:
    """P(right) of that answer: what came of such states."""
    n, level = place(chain, n, p)
    return chain.right[n][level]


def course(chain: Chain, n: int, p: float, terms: Terms, limit: int) -> Continuation:
    """The best adaptive course from a state, by backward induction. A blank reply costs a draw and shows nothing, so
    that a readable one costs as many draws as it takes to get it."""
    n, level = place(chain, n, p)
    most = min(len(chain.right) - 1 + AHEAD, n + min(terms.steps, limit))
    if most <= n:
        return STOP
    each = terms.cost / (1.0 - chain.blank)
    wave = terms.price * terms.seconds * terms.per_second
    found = _solved(chain, most, _rounded(terms.price * each), _rounded(wave), terms.wrong, widest(terms))
    size, gain, draws, waves = (float(table[n][level]) for table in found)
    way = Continuation(int(size), gain, draws * each, waves * terms.seconds)
    return way if size and gain > NOTHING and way.net(terms) > 0 else STOP


def table(chain: Chain, most: int, step: float) -> tuple[Floats, Floats]:
    """(size of the next wave, expected gain of the best course) of each state, (`most` + 1, levels), where a readable
    draw costs `step` and no more than `most` may be bought in all; time is free, a wrong answer costs nothing."""
    size, gain, _, _ = _solved(chain, most, _rounded(step), 0.0, 0.0, 1)
    return size, gain


def _rounded(price: float) -> float:
    """Three significant digits: prices drift with every call's length, tables should not."""
    return float(f"{price:.2e}") if price > 1e-12 else 0.0


@lru_cache(maxsize=256)
def _solved(
    chain: Chain, most: int, step: float, wave: float, wrong: float, wide: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """(size of the next wave, expected gain, draws and waves of the best course), each (draws + 1, levels).

    A share of a gain at a price is that share of the gain at the price over the share. Only draws before there is any
    answer are taken at their full value: what is right after n draws in all is a share that was counted."""
    import numpy as np

    recorded = np.asarray(chain.right)
    right = recorded[np.minimum(np.arange(most + 1), len(recorded) - 1)]
    moves = np.asarray(chain.moves)[np.minimum(np.arange(most), len(chain.moves) - 1)]
    worth = np.maximum(0.0, right - (1.0 - right) * wrong)
    worth[0] = 0.0
    size, value, draws, waves = (np.zeros(right.shape) for _ in range(4))
    value[most] = worth[most]
    full, (step, wave) = (step, wave), (step / chain.kept, wave / chain.kept)
    for n in range(most - 1, -1, -1):
        if n == 0:
            value, (step, wave) = worth + chain.kept * (value - worth), full
        best = worth[n].copy()
        value[n], into = worth[n], np.eye(right.shape[1])
        for m in range(1, min(wide, most - n) + 1):
            into = into @ moves[n + m - 1]
            cost = m * step + wave
            net = into @ (value[n + m] - step * draws[n + m] - wave * waves[n + m]) - cost
            better = net > best + 1e-13 if m == 1 else net >= np.where(size[n] > 0, best - 1e-13, best + 1e-13)
            best = np.where(better, net, best)
            size[n] = np.where(better, m, size[n])
            value[n] = np.where(better, into @ value[n + m], value[n])
            draws[n] = np.where(better, m + into @ draws[n + m], draws[n])
            waves[n] = np.where(better, 1 + into @ waves[n + m], waves[n])
    return size, value - worth, draws, waves


@dataclass(frozen=True, slots=True)
class PandoraBelief:
    """The best of `scores` is on offer, and another draw may beat it; nothing is known but these scores, each taken for
    P(right). `evidence`: what P(right) of the offer is read from, if anything."""

    scores: tuple[float, ...]
    limit: int = 1 << 30
    evidence: Belief | None = None

    def p(self, terms: Terms) -> float | None:
        return self.evidence.p(terms) if self.evidence else None

    def pick(self, terms: Terms) -> int:
        return picked_by(self.evidence, terms)

    def best(self, terms: Terms) -> Continuation:
        """The best number of further draws; the upper bound of what they bring."""
        most = min(terms.steps, self.limit, WAVE)
        if most <= 0 or len(self._known()) < FEWEST or terms.wrong == inf:
            return STOP
        wide, best = widest(terms), STOP
        # Up to where U is zero a better score is worth nothing; from there on it rises by 1 + wrong.
        for m, added in enumerate(self.gains(most, terms.wrong / (1.0 + terms.wrong)), start=1):
            gain = added * (1.0 + terms.wrong)
            size, wait = (min(m, wide), terms.waves(m)) if wide > 1 else (1, m)
            way = Continuation(size, gain, m * terms.cost, wait * terms.seconds)
            if gain > NOTHING and way.net(terms) > max(0.0, best.net(terms)):
                best = way
        return best

    def _known(self) -> tuple[float, ...]:
        """A verifier that could not tell may have said NaN."""
        return tuple(score for score in self.scores if not isnan(score))

    def gains(self, most: int, floor: float = 0.0) -> list[float]:
        """E[(the best of m more draws - the best so far, or `floor` if that is higher)+] for m = 1 to `most`, in the
        tail's upper bound."""
        known = self._known()
        if not known:
            return [0.0] * most
        start, excess = tail(known)
        top = max(*known, floor)
        if excess <= 0:
            return [0.0] * most
        above = TAIL * exp(-(top - start) / excess)  # P(one more beats the best)
        found, missed, total = [], 1.0, 0.0
        for k in range(1, most + 1):
            missed *= 1.0 - above
            total += (1.0 - missed) / k
            found.append(min(excess * total, 1.0 - top))
        return found


WAVE = 32  # draws that are looked ahead


def tail(scores: tuple[float, ...]) -> tuple[float, float]:
    """(where the upper half of the scores begins, an upper bound of its mean excess). Where that half is all alike,
    a small one all the same: n equal scores say that another one is rare, about 1 in n + 1 (Laplace), not that there is
    none, and it is taken to be above them by 1 / (n + 1) of what is left."""
    start = median(scores)
    upper = [score - start for score in scores if score >= start]
    mean = sum(upper) / len(upper)
    if mean <= NOTHING:
        return start, (1.0 - start) / (len(scores) + 1) ** 2
    return start, mean * (1.0 + BOUND / len(upper) ** 0.5)


def reservation(levels: tuple[tuple[float, float], ...], price: float) -> float:
    """Weitzman's index of a box: the value z with E[(X - z)+] = price, for X with (value, probability) rows; below zero
    where no value is worth the price."""
    ranked = sorted(levels, reverse=True)
    mass = total = 0.0
    for i, (value, weight) in enumerate(ranked):
        mass, total = mass + weight, total + weight * value
        z = (total - price) / mass if mass > 0 else value
        if i + 1 == len(ranked) or z >= ranked[i + 1][0]:
            return z
    return -price
