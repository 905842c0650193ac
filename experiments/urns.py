"""The urn of wrong answers (`budgets.portfolio_world`): how often arms make the same mistake, by maximum likelihood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from ..budgets.allocation_policy import DECLARED
from ..budgets.portfolio_world import RANGE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

Votes: TypeAlias = Sequence[tuple[int, str]]  # (arm, answer)
URN_SPREAD = (1.0, 0.3, 0.3, 1.0)  # of the logs of kappa, of its and the weight's slopes, of `again`
SOME = 400  # questions that the urn is fitted on


@dataclass(frozen=True, slots=True)
class Urn:
    """Where wrong answers come from: fields as in `AllocationPolicy`."""

    kappa: float
    alike: tuple[float, float]
    middle: float
    again: float


def urn(votes: Sequence[Votes], choices: Sequence[int], costs: Sequence[float], bias: Floats, seed: int = 0) -> Urn:
    """Of each question's wrong `votes`, with so many `choices`, the penalised maximum of the likelihood of which wrong
    answers were given, cheap arms first, on no more than `SOME` questions."""
    import numpy as np
    from scipy.optimize import minimize

    order = {int(a): i for i, a in enumerate(np.argsort(costs, kind="stable"))}
    rows = [
        (sorted(said, key=lambda vote: order[vote[0]]), options)
        for said, options in zip(votes, choices, strict=True)
        if len(said) > 1
    ]
    rows = Random(f"urn/{seed}").sample(rows, SOME) if len(rows) > SOME else rows
    middle = float(np.mean(bias))
    skill = np.clip(bias - middle, -RANGE, RANGE)
    repeated = any(len({arm for arm, _ in said}) < len(said) for said, _ in rows)

    def loss(x: Floats) -> float:
        kappa, weight = np.exp(x[0] + x[1] * skill).tolist(), np.exp(x[2] * skill).tolist()
        again = float(np.exp(x[3])) if repeated else DECLARED.again
        found = -sum(_chosen(said, options, kappa, weight, again) for said, options in rows)
        off = (x - start) / np.asarray(URN_SPREAD)
        return found + 0.5 * float(off @ off)

    start = np.array([np.log(DECLARED.kappa), *DECLARED.alike, np.log(DECLARED.again)])
    simplex = np.vstack([start, start + np.diag([0.5, -0.3, 0.4, 0.7])])
    options = {"initial_simplex": simplex, "maxfev": 150, "xatol": 0.01, "fatol": 0.05}
    best = minimize(loss, start, method="Nelder-Mead", options=options).x if rows else start
    return Urn(float(np.exp(best[0])), (float(best[1]), float(best[2])), middle, float(np.exp(best[3])))


def _chosen(
    votes: Sequence[tuple[int, str]], choices: int, kappas: list[float], weights: list[float], again: float
) -> float:
    """Log-likelihood of which wrong answers were given, in this order."""
    total: dict[str, float] = {}
    own: Counter[tuple[int, str]] = Counter()
    by_arm: Counter[int] = Counter()
    value, done = 0.0, 0.0
    for arm, answer in votes:
        kappa, weight = kappas[arm], weights[arm]
        more = (again - 1.0) * weight
        each, below = kappa / (choices - 1) if choices > 1 else 0.0, kappa + done + more * by_arm[arm]
        known = total.get(answer)
        if known is None:
            value += log((each if choices > 1 else kappa) / below)
        else:
            value += log((each + known + more * own[arm, answer]) / below)
        total[answer] = (known or 0.0) + weight
        own[arm, answer] += 1
        by_arm[arm] += 1
        done += weight
    return value
