"""Evolving the gate of `Experts` on a bank: CMA-ES over its weights for the net utility of the model that it picks.

`fit_gate` climbs the gradient of a soft choice. Here the choice is scored as it is made (the best arm alone), which has
no gradient (Trinity 2025, 2512.04695, trains its coordinator so). What comes of it is judged by cross-fitting: each
question's model is picked by a gate that was evolved on the other folds, and compared, paired, with the single model
that is best there, and with a model picked by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from ..core.errors import CallerError, UnpricedModel
from ..strategies.gating import Gate, features
from .coordinating import Trained, train
from .gating import FEWEST, Rows
from .intervals import Interval, clustered, paired
from .tuning.standing import asked

if TYPE_CHECKING:
    from ..budgets.policy import Policy

DECAY = 0.01  # by which the mean square of the weights counts against a gate
GROUPS = 5


@dataclass(frozen=True, slots=True)
class Evolved:
    """A gate, and how its training went."""

    gate: Gate
    trained: Trained


@dataclass(frozen=True, slots=True)
class GateJudgement:
    """Cross-fitted figures of a learned gate, 95% intervals by question: net utility in right answers, share right,
    dollars. `gain`: its net less that of the single model chosen on the same training questions, `over_random`: less a
    model drawn by chance. `loads`: the share of questions that each model was picked for."""

    questions: int
    net: Interval
    right: Interval
    usd: float
    single_net: Interval
    single_right: Interval
    single_usd: float
    gain: Interval
    over_random: Interval
    loads: dict[str, float]

    @property
    def beats(self) -> bool:
        return self.gain.low > 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "beats": self.beats}


def evolve_gate(
    rows: Rows, worth: float, *, evaluations: int = 4_000, buckets: int = 0, seed: int = 0, decay: float = DECAY
) -> Evolved:
    """The gate over the arms of `rows` whose pick has the highest mean of right - dollars / worth, less `decay` times
    the mean square of its weights (features scaled to at most 1). `buckets`: hashed words beside the plain features.
    The same for the same seed. Raises `CallerError`, `MissingExtra` without the package `cmaes`, `UnpricedModel`."""
    gains = _gains(rows, worth)
    import numpy as np

    arms = gains.shape[1]
    seen = np.asarray([features(task, buckets) for task in rows.tasks])
    scale = np.maximum(np.abs(seen).max(axis=0), 1e-9)
    x, places = seen / scale, np.arange(len(gains))

    def evaluate(weights: tuple[float, ...], generation: int) -> float:
        head = np.asarray(weights).reshape(arms, -1)
        picked = (x @ head.T).argmax(axis=1)
        return float(gains[places, picked].mean() - decay * (head**2).mean())

    start = np.zeros((arms, x.shape[1]))
    start[int(gains.mean(axis=0).argmax()), 0] = 0.5  # the first feature is constant: the best single model leads
    trained = train(evaluate, start.size, evaluations=evaluations, seed=seed, spread=0.3, start=start.ravel().tolist())
    head = np.asarray(trained.weights).reshape(arms, -1) / scale
    return Evolved(Gate(tuple(tuple(float(f"{w:.6g}") for w in row) for row in head)), trained)


def judge_gate(
    rows: Rows, models: Sequence[str], worth: float, *, groups: int = GROUPS, **settings: Any
) -> GateJudgement:
    """How gates that were evolved on the other groups of folds do. `settings`: of `evolve_gate`. Raises likewise."""
    gains = _gains(rows, worth)
    import numpy as np

    kinds = sorted(set(rows.folds))
    groups = min(groups, len(kinds))
    if groups < 2:
        raise CallerError("a gate is judged on folds that it was not trained on, and there is one fold")
    group = np.asarray([kinds.index(fold) % groups for fold in rows.folds])
    picked, single = np.zeros(len(gains), dtype=int), np.zeros(len(gains), dtype=int)
    for one in range(groups):
        here = group == one
        gate = evolve_gate(rows.take(np.flatnonzero(~here).tolist()), worth, **settings).gate
        scores = np.asarray([gate.scores(rows.tasks[i]) for i in np.flatnonzero(here)])
        picked[here] = scores.argmax(axis=1)
        single[here] = gains[~here].mean(axis=0).argmax()
    places = np.arange(len(gains))
    right, usd = np.asarray(rows.success), np.asarray(rows.dollars)
    net, alone = gains[places, picked], gains[places, single]
    return GateJudgement(
        len(gains),
        clustered(net),
        clustered(right[places, picked]),
        float(usd[places, picked].mean()),
        clustered(alone),
        clustered(right[places, single]),
        float(usd[places, single].mean()),
        paired(net, alone),
        paired(net, gains.mean(axis=1)),
        {model: float((picked == i).mean()) for i, model in enumerate(models)},
    )


def policy_of(
    evolved: Evolved, models: Sequence[str], worth: float, facts: dict[str, Any], arms: Mapping[str, str] | None = None
) -> Policy:
    """A policy whose strategy is `experts` with the gate: `solve --policy FILE` asks the model that it picks, at the
    temperature at which it was recorded. `facts`: of where it comes from. `arms`: the recorded condition of each model
    that the gate was evolved on ("direct@0.7"; None: not known)."""
    import json

    from ..budgets.policy import Policy

    gate = {"@": "satisfice.strategies.gating:Gate", "weights": evolved.gate.weights}
    shots = [{"strategy": "single_shot", **asked((model, (arms or {}).get(model, "")))} for model in models]
    text = f"experts:arms={json.dumps(shots)},gate={json.dumps(gate)}"
    return Policy(name="experts", strategy=text, worth=worth, provenance=facts)


def _gains(rows: Rows, worth: float) -> Any:
    """Net utility (questions, arms) in right answers."""
    if not worth > 0:
        raise CallerError(f"worth={worth}: expected dollars above 0")
    if len(rows.tasks) < FEWEST or len(rows.success[0]) < 2:
        raise CallerError(f"a gate needs {FEWEST} questions and two arms or more, and there are {len(rows.tasks)}")
    if any(isnan(cost) for row in rows.dollars for cost in row):
        raise UnpricedModel("what some arm costs is not known on some question: import the bank with prices")
    import numpy as np

    return np.asarray(rows.success) - np.asarray(rows.dollars) / worth
