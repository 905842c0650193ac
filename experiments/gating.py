"""Learning the gate of `Experts` from a bank: which arm is right on which kind of question, and a load that is spread.

The gate is a softmax over cheap features (`strategies.gating`). What is maximised is the gate-weighted success of the
arms less what they cost, less `balance` times a loss of imbalance: the squared coefficient of variation of the arms'
importance (Shazeer et al. 2017, 1701.06538, equation 6), or arms * sum(f * P) with f the share of questions that an arm
is first for and P its mean weight (Switch, Fedus et al. 2021, 2101.03961, equation 4).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ..core.errors import CallerError, UnknownName, UnpricedModel
from ..core.task import Task
from ..strategies.gating import BUCKETS, Gate, features, ranking
from ..strategies.steps import whole
from .bank import Bank, Draw
from .cascading import main_arms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

Balance = Literal["importance", "switch"]
STEPS, RATE = 400, 0.05  # of Adam (Kingma & Ba 2015), over all questions at once: small and deterministic
FEWEST = 30


@dataclass(frozen=True, slots=True)
class Rows:
    """What is learnt from: questions, `success` (questions, arms) of each arm there, `dollars` likewise (NaN: unknown),
    and folds."""

    tasks: tuple[Task, ...]
    success: tuple[tuple[float, ...], ...]
    dollars: tuple[tuple[float, ...], ...]
    folds: tuple[int, ...]

    def take(self, places: Collection[int]) -> Rows:
        """Those at these places."""
        return Rows(
            tuple(self.tasks[i] for i in places),
            tuple(self.success[i] for i in places),
            tuple(self.dollars[i] for i in places),
            tuple(self.folds[i] for i in places),
        )


@dataclass(frozen=True, slots=True)
class Gated:
    """How a gate does: `accuracy` of the arm that it finds best, its mean `dollars`, the share of questions that each
    arm is among the `k` chosen for (`loads`, summing to k), and their coefficient of variation (0: even)."""

    accuracy: float
    dollars: float
    loads: tuple[float, ...]
    variation: float


def rows_of(bank: Bank, models: Sequence[str], arms: dict[str, str] | None = None) -> Rows:
    """The questions on which all `models` were recorded; an arm of `Experts` for each, in this order. `arms`: the
    recorded condition of each (None: the one with the most questions). Raises `UnknownName`."""
    chosen = arms or main_arms(bank)
    for model in models:
        if model not in chosen:
            raise UnknownName.of("model", model, chosen)
    drawn = [bank.of_arm(model, chosen[model]) for model in models]
    shared = [q for q in bank.questions if all(q in rows for rows in drawn)]
    cells = [[rows[q] for rows in drawn] for q in shared]
    return Rows(
        tuple(bank.questions[q].task() for q in shared),
        tuple(tuple(sum(d.correct for d in row) / len(row) for row in cell) for cell in cells),
        tuple(tuple(map(_dollars, cell)) for cell in cells),
        tuple(bank.questions[q].fold for q in shared),
    )


def _dollars(row: tuple[Draw, ...]) -> float:
    costs = [draw.nanos for draw in row if draw.nanos is not None]
    return sum(costs) / len(costs) / 1e9 if len(costs) == len(row) else nan


def fit_gate(
    rows: Rows,
    *,
    balance: float = 0.0,
    loss: Balance = "importance",
    price: float = 0.0,
    buckets: int = BUCKETS,
    decay: float = 0.003,
) -> Gate:
    """The gate for these arms. `balance`: weight of the loss of imbalance. `price`: accuracy that a dollar must buy
    (1 / worth). `buckets`: hashed words it looks at. `decay`: weight of the squared weights, constants aside.

    Raises `CallerError` for fewer than 30 questions or two arms, and for settings that make no sense; `UnpricedModel`
    for a price where the cost of some arm is not known.
    """
    if len(rows.tasks) < FEWEST or len(rows.success[0]) < 2:
        raise CallerError(f"a gate needs {FEWEST} questions and two arms or more, and there are {len(rows.tasks)}")
    if loss not in get_args(Balance):
        raise CallerError(f"loss={loss!r}: expected one of {', '.join(get_args(Balance))}")
    whole("buckets", buckets, 0)
    if not all(0 <= x < inf for x in (balance, price, decay)):
        raise CallerError("balance, price and decay are 0 or more")
    if price and any(isnan(cost) for row in rows.dollars for cost in row):
        raise UnpricedModel("a price weighs dollars, and the cost of some arm is not known on some question")
    import numpy as np

    seen = np.asarray([features(task, buckets) for task in rows.tasks])
    gain = np.asarray(rows.success) - (price * np.asarray(rows.dollars) if price else 0.0)
    scale = np.maximum(np.abs(seen).max(axis=0), 1e-9)  # features of like size learn at a like rate
    x = seen / scale
    weights = np.zeros((x.shape[1], gain.shape[1]))
    slope, curve = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, STEPS + 1):
        down = _gradient(weights, x, gain, balance, loss, decay)
        slope, curve = 0.9 * slope + 0.1 * down, 0.999 * curve + 0.001 * down**2
        weights -= RATE * (slope / (1 - 0.9**step)) / (np.sqrt(curve / (1 - 0.999**step)) + 1e-8)
    found = (weights / scale[:, None]).T
    return Gate(tuple(tuple(float(f"{w:.6g}") for w in row) for row in found))


def _gradient(weights: Floats, x: Floats, gain: Floats, balance: float, loss: Balance, decay: float) -> Floats:
    """Of minus the objective, (features, arms)."""
    import numpy as np

    scores = x @ weights
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    gates = odds / odds.sum(axis=1, keepdims=True)
    questions, arms = gates.shape
    if loss == "importance":
        # CV^2 of the mean gates m: arms * sum((m - 1/arms)^2), as they sum to 1
        pull = 2 * arms * (gates.mean(axis=0) - 1 / arms)
    else:
        pull = arms * np.bincount(gates.argmax(axis=1), minlength=arms) / questions
    down = balance * pull - gain
    through = gates * (down - (gates * down).sum(axis=1, keepdims=True))
    kept = np.where(np.arange(len(weights)) > 0, decay, 0.0)[:, None]
    found: Floats = x.T @ through / questions + 2 * kept * weights
    return found


def measure_gate(gate: Gate | None, rows: Rows, k: int = 1) -> Gated:
    """How the gate does on these questions; None is the untrained one, which takes turns. Raises `CallerError` where
    there are no questions, or the gate is of other arms."""
    arms = len(rows.success[0]) if rows.success else 0
    if not arms or (gate is not None and len(gate.weights) != arms) or not 1 <= k <= arms:
        of = f"a gate of {len(gate.weights)} arms" if gate is not None else "no gate"
        raise CallerError(f"measure_gate: {of}, k={k}, {len(rows.tasks)} questions with {arms} arms: do not fit")
    counts, right, dollars = [0.0] * arms, 0.0, 0.0
    for task, success, cost in zip(rows.tasks, rows.success, rows.dollars, strict=True):
        order, _ = ranking(gate, arms, task)
        right += success[order[0]]
        dollars += cost[order[0]]
        for i in order[:k]:
            counts[i] += 1
    n = len(rows.tasks)
    loads = tuple(count / n for count in counts)
    mean = sum(loads) / arms
    spread = (sum((load - mean) ** 2 for load in loads) / arms) ** 0.5
    return Gated(right / n, dollars / n, loads, spread / mean if mean else 0.0)


def cross_fitted(rows: Rows, **settings: Any) -> tuple[int, ...]:
    """The arm that is first for each question, by a gate that was fitted on the other folds. Raises as `fit_gate`."""
    chosen = [0] * len(rows.tasks)
    for fold in sorted(set(rows.folds)):
        gate = fit_gate(rows.take([i for i, f in enumerate(rows.folds) if f != fold]), **settings)
        for i, f in enumerate(rows.folds):
            if f == fold:
                chosen[i] = ranking(gate, len(gate.weights), rows.tasks[i])[0][0]
    return tuple(chosen)
