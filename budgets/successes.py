"""How often draws of several arms pass an exact check: one distribution over all arms of a question.

Arms share the question's difficulty, so that failures of one lower the chances of the others. Questions are of classes;
within a class arms are independent, and the draws of one arm share a chance of their own. Both the logistic world with
a latent difficulty (Rasch 1960; Lord 1980) and a mixture over recorded questions (Laird 1978) are of this form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log10
from typing import TYPE_CHECKING, Any, TypeAlias

from ..core.belief import Priors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

CLASSES, OWN = 15, 7  # nodes of difficulty, and of an arm's own part of it
# Declared, for arms that nobody has measured: logits that ten times the price buys, and how far arms differ on a
# question beside its difficulty.
DEARER, APART = 1.0, 1.0
SLOTS = 24  # of a declared Beta
NODES = 12  # of a class's Beta


@dataclass(frozen=True, eq=False)
class Successes:
    """Chances of a pass by class of question and arm. `weights`: (classes,), sum 1. `rates[arm][class]`: (theta,
    weight) rows, weights sum 1: what a draw's chance of a pass may be there. `questions`: how many it was fitted on (0:
    declared), which is how far it is to be trusted. Equal only to itself, so that what is computed from it can be
    kept. What the rates were made of, where they were fitted: `betas[arm][class]` (a, b), or of each arm its `logits`
    (mean, loading, own) as `of_logits` takes them."""

    arms: tuple[str, ...]
    weights: tuple[float, ...]
    rates: tuple[tuple[tuple[tuple[float, float], ...], ...], ...]
    questions: int = 0
    betas: tuple[tuple[tuple[float, float], ...], ...] = ()
    logits: tuple[tuple[float, float, float], ...] = ()

    def place(self, key: str) -> tuple[int, int] | None:
        """Arm and draws per purchase of a key: "NAME xN" is N draws of NAME at a time. None: not known."""
        if key in self.arms:
            return self.arms.index(key), 1
        name, _, often = key.rpartition(" x")
        if name in self.arms and often.isdecimal() and int(often) > 0:
            return self.arms.index(name), int(often)
        return None

    def missed(self, arm: int, most: int) -> Floats:
        """P(the first n draws of an arm all fail | class), (classes, most + 1)."""
        return _missed(self, arm, most)

    def shifted(self, shifts: Mapping[str, float]) -> Successes:
        """The same with each arm's chances moved by so many logits; the same object for the same shifts."""
        moved = tuple(round(shifts.get(arm, 0.0), 6) for arm in self.arms)
        return _shifted(self, moved) if any(moved) else self


@lru_cache(maxsize=64)
def _shifted(world: Successes, moved: tuple[float, ...]) -> Successes:
    def of(theta: float, odds: float) -> float:
        return odds * theta / (1.0 - theta + odds * theta)

    rates = tuple(
        tuple(tuple((of(theta, exp(shift)), weight) for theta, weight in own) for own in rows)
        for rows, shift in zip(world.rates, moved, strict=True)
    )
    return Successes(world.arms, world.weights, rates, world.questions)


@lru_cache(maxsize=512)
def _missed(world: Successes, arm: int, most: int) -> Floats:
    import numpy as np

    rows = world.rates[arm]
    wide = max(map(len, rows))
    padded = np.asarray([(*row, *((0.0, 0.0),) * (wide - len(row))) for row in rows])
    theta, weight = padded[:, :, 0], padded[:, :, 1]
    found: Floats = np.einsum("kj,kjn->kn", weight, (1.0 - theta)[:, :, None] ** np.arange(most + 1))
    found.flags.writeable = False
    return found


@lru_cache(maxsize=1024)
def of_logits(
    arms: tuple[str, ...],
    means: tuple[float, ...],
    loadings: tuple[float, ...],
    owns: tuple[float, ...],
    blanks: tuple[float, ...] = (),
) -> Successes:
    """The logistic world: logit P(a draw of arm a is right) = means[a] + loadings[a] z + owns[a] u, z and each arm's u
    standard normal; `blanks`: the share of draws that say nothing. By Gauss-Hermite quadrature."""
    import numpy as np

    z, weights = normal(CLASSES)
    u, masses = normal(OWN)
    rates = []
    for a in range(len(arms)):
        theta = 1 / (1 + np.exp(-(means[a] + loadings[a] * z[:, None] + owns[a] * u[None, :])))
        theta *= 1.0 - (blanks[a] if blanks else 0.0)
        rates.append(tuple(tuple(zip(map(float, row), map(float, masses), strict=True)) for row in theta))
    made = () if blanks else tuple(zip(means, loadings, owns, strict=True))
    return Successes(arms, tuple(map(float, weights)), tuple(rates), logits=made)


def of_betas(
    arms: tuple[str, ...], weights: tuple[float, ...], betas: tuple[tuple[tuple[float, float], ...], ...]
) -> Successes:
    """Classes with a Beta(a, b) for each arm: `betas[arm][class]`."""
    rates = tuple(tuple(beta_rows(a, b, NODES) for a, b in rows) for rows in betas)
    return Successes(arms, weights, rates, betas=betas)


def normal(nodes: int) -> tuple[Any, Any]:
    """Nodes and weights of the standard normal."""
    import numpy as np

    x, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return x, weights / weights.sum()


def declared(priors: Priors, arms: Sequence[str], costs: Sequence[float]) -> Successes:
    """What is believed where no bank says more: the cheapest arm is as `priors` have a draw, theta from `chances` or
    Beta(success); each tenfold of price adds a logit; all share the question's place in that distribution, and differ
    by an own part of standard deviation one. One arm alone is as in `budgets.beliefs.ExactBelief`."""
    cheapest = min((cost for cost in costs if cost > 0), default=0.0)
    steps = tuple(round(DEARER * log10(cost / cheapest), 2) if cost > 0 else 0.0 for cost in costs)
    return _declared(tuple(arms), steps, priors.chances, priors.success)


@lru_cache(maxsize=256)
def _declared(
    arms: tuple[str, ...],
    steps: tuple[float, ...],
    chances: tuple[tuple[float, float], ...],
    success: tuple[float, float],
) -> Successes:
    import numpy as np

    rows = chances or _beta_rows(*success)
    u, masses = normal(OWN) if len(arms) > 1 else (np.zeros(1), np.ones(1))
    rates = []
    for step in steps:
        own = []
        for theta, _ in rows:
            odds = theta / (1 - theta) * np.exp(step + APART * u) if theta < 1 else np.full(len(u), np.inf)
            with np.errstate(invalid="ignore"):
                right = np.where(np.isinf(odds), 1.0, odds / (1 + odds))
            own.append(tuple(zip(map(float, right), map(float, masses), strict=True)))
        rates.append(tuple(own))
    return Successes(arms, tuple(weight for _, weight in rows), tuple(rates))


def _beta_rows(a: float, b: float) -> tuple[tuple[float, float], ...]:
    """Beta(a, b) as (theta, weight) rows that have all its moments up to twice their number (Gauss-Jacobi)."""
    return beta_rows(a, b, SLOTS)


@lru_cache(maxsize=4096)
def beta_rows(a: float, b: float, nodes: int) -> tuple[tuple[float, float], ...]:
    """(theta, weight) rows of Beta(a, b): P(n draws all fail) is exact for n < 2 nodes (Golub & Welsch 1969)."""
    import numpy as np

    # Jacobi matrix of the Beta weight on [0, 1], from the recurrence of the Jacobi polynomials.
    p, q = b - 1.0, a - 1.0
    n = np.arange(nodes, dtype=float)
    both = 2 * n + p + q
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = (q * q - p * p) / (both * (both + 2))
        k, after = n[1:], both[1:]
        side = 4 * k * (k + p) * (k + q) * (k + p + q) / (after**2 * (after + 1) * (after - 1))
    middle[0] = (q - p) / (p + q + 2)
    if nodes > 1:
        side[0] = 4 * (1 + p) * (1 + q) / ((2 + p + q) ** 2 * (3 + p + q))
    matrix = np.diag(middle) + np.diag(np.sqrt(side), 1) + np.diag(np.sqrt(side), -1)
    values, vectors = np.linalg.eigh(matrix)
    theta, weight = np.clip((1 + values) / 2, 0.0, 1.0), vectors[0] ** 2
    return tuple(zip(map(float, theta), map(float, weight), strict=True))
