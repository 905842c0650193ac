"""Votes and verdicts in one posterior: which of the answers so far is right, if any.

The world is that of `budgets.voting`: a question is of a kind (theta, phi), not known; a draw is right with theta, hits
the one systematic mistake with phi, else is fresh and wrong. A verdict on an answer multiplies the odds that it is
right by the verifier's likelihood ratio. Verdicts are independent given which answer is right, as far as each
channel's `trust` says. Because every candidate's evidence bears on theta, low scores of the others pull the best one
down: the winner of many is worse than its own score (the optimiser's curse, Smith & Winkler 2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import TYPE_CHECKING

from ..core.belief import Priors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST = 64  # votes that are counted; beyond, proportions say what counts would
AGAIN = 0.02  # the chance that a fresh wrong answer comes again, beside a draw that is fresh


@dataclass(frozen=True, slots=True)
class Evidence:
    """One distinct answer: how often it was drawn, and what verifiers said of it as (name, P(right)). `refuted`: an
    exact check failed, so that it is one of the wrong answers for certain."""

    count: int = 1
    said: tuple[tuple[str, float], ...] = ()
    refuted: bool = False

    def ratio(self, priors: Priors) -> float:
        """The likelihood ratio, right to wrong, of all that was said."""
        ratio = 0.0 if self.refuted else 1.0
        for name, p in self.said:
            ratio *= priors.channel(name).ratio(p)
        return ratio


Answers = tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """`masses` (kinds x answers + 1): unnormalised, of each answer being the right one; the last column is that none
    so far is. `theta` (kinds,): the chance that a draw is right. `evidence`: the log-likelihood of all that was seen,
    to weigh what may be seen next."""

    masses: Floats
    theta: Floats
    evidence: float

    @property
    def total(self) -> float:
        return float(self.masses.sum())

    @property
    def answers(self) -> list[float]:
        """Mass of each answer, over all kinds."""
        return [float(x) for x in self.masses.sum(axis=0)[:-1]]

    @property
    def leader(self) -> int:
        """The likeliest answer, the first of equals."""
        answers = self.answers
        return max(range(len(answers)), key=lambda i: answers[i])

    def p(self, i: int) -> float:
        """P(answer i is right)."""
        return self.answers[i] / self.total


def posterior(answers: Answers, priors: Priors) -> Posterior:
    """The posterior of the answers so far."""
    return _posterior(tuple(a.count for a in answers), tuple(a.ratio(priors) for a in answers), priors.voting)


@lru_cache(maxsize=4096)
def _posterior(
    counts: tuple[int, ...], ratios: tuple[float, ...], voting: tuple[tuple[float, float, float], ...]
) -> Posterior:
    import numpy as np

    kinds = np.asarray(voting, dtype=float)
    theta, phi = np.maximum(kinds[:, 0], 1e-6), np.maximum(kinds[:, 1], 1e-6)
    fresh = np.maximum(1.0 - theta - phi, 1e-6)
    t, f, q = (np.log(x)[:, None] for x in (theta, phi, fresh))
    seen = np.asarray(_capped(counts), dtype=float)[None, :]
    as_fresh = seen * q + (seen - 1) * log(AGAIN)  # log-likelihoods (kinds x answers) of an answer's draws
    as_mistake = seen * f - as_fresh  # against being fresh
    base = as_fresh.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        told = np.log(np.asarray(ratios, dtype=float))[None, :]
    # Which answer is the mistake, if any of those seen: any but the right one.
    right = seen * t + base - as_fresh + _log1p_others(as_mistake) + told
    none = base + _log1p_sum(as_mistake)[:, None]
    logs = np.concatenate([right, none], axis=1) + np.log(np.maximum(kinds[:, 2:3], 1e-300))
    top = float(logs.max())
    masses = np.exp(logs - top)
    return Posterior(masses, theta, top + log(float(masses.sum())))


def _log1p_sum(logs: Floats) -> Floats:
    """log(1 + sum(exp(logs))) over the last axis."""
    import numpy as np

    found: Floats = np.logaddexp(0.0, np.logaddexp.reduce(logs, axis=-1, initial=-np.inf))
    return found


def _log1p_others(logs: Floats) -> Floats:
    """For each column log(1 + the sum of exp of the others in its row)."""
    import numpy as np

    if not logs.shape[1]:
        return logs
    rows, first = np.arange(len(logs)), logs.argmax(axis=1)
    scale = np.maximum(logs.max(axis=1), 0.0)[:, None]
    parts = np.exp(logs - scale)
    found: Floats = np.log(np.maximum(np.exp(-scale) + parts.sum(axis=1, keepdims=True) - parts, 1e-300)) + scale
    without = logs.copy()  # taking the largest part away by subtraction would leave nothing but rounding
    without[rows, first] = -np.inf
    found[rows, first] = _log1p_sum(without)
    return found


def _capped(counts: tuple[int, ...]) -> tuple[int, ...]:
    votes = sum(counts)
    if votes <= MOST:
        return counts
    return tuple(max(1, count * MOST // votes) for count in counts)
