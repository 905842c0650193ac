"""The gate of `Experts`: from cheap features of a question to how promising each arm is. Pure Python: it runs on every
request. `experiments.gating` fits one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isfinite
from zlib import crc32

from ..budgets.features import BUCKETS, PLAIN
from ..budgets.features import gate_features as features
from ..core.errors import CallerError
from ..core.task import Task

__all__ = ["BUCKETS", "PLAIN", "Gate", "features", "ranking", "softmax"]


@dataclass(frozen=True, slots=True)
class Gate:
    """A softmax over linear scores of the features: the gate of Shazeer et al. (2017, 1701.06538) without its noise.

    `weights`: (arms, PLAIN + buckets). There the noise spreads the load while the experts are trained along with the
    gate. Here the arms are fixed and every arm of a bank's question is on record, so that the gate is fitted on the
    dense softmax, and noise at run time would only send questions to worse arms, differently on each replay. Load is
    spread by the loss of the fit (`balance`).
    """

    weights: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        rows = self.weights if isinstance(self.weights, tuple | list) else ()
        if not rows or not all(isinstance(row, tuple | list) for row in rows):
            raise CallerError("Gate: weights are one row of numbers for each arm (fit_gate makes them)")
        if len({len(row) for row in rows}) != 1 or len(rows[0]) < PLAIN:
            raise CallerError(f"Gate: weights are one row for each arm, all of the same length, {PLAIN} or more")
        if not all(isinstance(x, int | float) and isfinite(x) for row in rows for x in row):
            raise CallerError("Gate: weights are finite numbers")
        object.__setattr__(self, "weights", tuple(map(tuple, rows)))

    def scores(self, task: Task) -> tuple[float, ...]:
        """The linear score of each arm."""
        seen = features(task, len(self.weights[0]) - PLAIN)
        return tuple(sum(w * x for w, x in zip(row, seen, strict=True)) for row in self.weights)


def ranking(gate: Gate | None, arms: int, task: Task) -> tuple[list[int], list[float]]:
    """The arms, best first, and the gate's weight of each arm by its index. Without a gate all weigh the same, and
    questions are dealt out to the arms in turn by their hash."""
    if gate is None:
        start = crc32(task.id.encode("utf-8", "surrogatepass")) % arms
        return [(start + i) % arms for i in range(arms)], [1 / arms] * arms
    scores = gate.scores(task)
    order = sorted(range(arms), key=lambda i: (-scores[i], i))
    return order, softmax(scores)


def softmax(scores: tuple[float, ...]) -> list[float]:
    """Weights that sum to 1."""
    top = max(scores)
    odds = [exp(score - top) for score in scores]
    total = sum(odds)
    return [x / total for x in odds]
