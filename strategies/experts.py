"""Experts: a gate picks k of many arms for each question, and their answers are weighed by it.

The sparse mixture of experts (Shazeer et al. 2017, 1701.06538; Fedus et al. 2021, 2101.03961) at the level of models
and strategies. `experiments.fit_gate` learns the gate, with a loss that spreads the load.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..core.effects import Effect, Within
from ..core.errors import CallerError, GatherFailed
from ..core.plans import Answer, Outcome, Plan, Strategy
from ..core.task import Task
from .gating import Gate, ranking
from .hiring import check_share, checked, hands, hire, settled
from .pool import Judged, Pool
from .self_consistency import SelfConsistency
from .single_shot import SingleShot
from .steps import whole

_ARMS = (SingleShot(), SelfConsistency(samples=3))


@dataclass(frozen=True, slots=True)
class Experts:
    """Runs the `k` arms that the gate finds best for the question side by side, each inside `share` of what is left and
    inside `seconds`.

    Each has one vote of its gate's weight, renormalised over those that answered, times the odds of what checks said of
    its answer. Where none of the k has an answer the next k are asked. Without a `gate` all arms weigh the same and
    take turns over the questions.
    """

    arms: tuple[Strategy, ...] = _ARMS
    k: int = 1
    gate: Gate | None = None
    share: float = 1.0
    seconds: float | None = None
    name: ClassVar[str] = "experts"
    pays: ClassVar[str] = "where arms are good at different kinds of questions, and a bank has shown the gate which"

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        object.__setattr__(self, "arms", hands("experts", "arms", self.arms))
        arms = len(self.arms)
        check_share("experts", self.share, self.seconds)
        whole("experts: k", self.k)
        if self.gate is not None and not isinstance(self.gate, Gate):
            raise CallerError(f"experts: gate={self.gate!r:.80}, expected a Gate (fit_gate makes one), or None")
        if self.k > arms:
            raise CallerError(f"experts: k={self.k}, expected 1 to {arms}, the number of arms")
        if self.gate is not None and len(self.gate.weights) != arms:
            raise CallerError(f"experts: the gate is for {len(self.gate.weights)} arms, and there are {arms}")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        order, _ = ranking(self.gate, len(self.arms), task)
        return checked((self._within(task, order[0]),))

    def __call__(self, task: Task) -> Plan[Answer]:
        pool = Pool.of(task)
        passed = yield from pool.start()
        if passed is not None:
            return Answer(passed.candidate, "verified")
        order, weights = ranking(self.gate, len(self.arms), task)
        failed: GatherFailed | None = None
        for start in range(0, len(order), self.k):
            chosen = order[start : start + self.k]
            try:
                outcomes = yield from hire(pool, tuple(self._within(task, i) for i in chosen), 1)
            except GatherFailed as error:
                failed = error
                continue
            for outcome in outcomes:
                passed = yield from pool.absorb(outcome)
                if passed is not None:
                    return Answer(passed.candidate, "verified")
            best = weighed(pool, outcomes, [weights[i] for i in chosen])
            if best is not None:
                return settled(pool, best, "weighed")
        if pool.best is None and failed is not None:
            raise failed
        return pool.end()

    def _within(self, task: Task, i: int) -> Within:
        return Within(self.arms[i], task, self.share, self.seconds)


def weighed(pool: Pool, outcomes: Sequence[Outcome | None], weights: Sequence[float]) -> Judged | None:
    """The answer with the most weight among those that may be given: the arms' weights, renormalised over those that
    answered, times the odds of what was said of it. The better arm's answer among equals."""
    given = [(o.candidate.key, w) for o, w in zip(outcomes, weights, strict=False) if o is not None and o.candidate]
    total = sum(weight for _, weight in given) or 1.0
    votes: Mapping[str | None, float] = _summed([(key, weight / total) for key, weight in given])
    offered = [one for one in pool.offered if one.candidate.key in votes]
    odds = {one.candidate.key: one.promise / one.count for one in offered}
    place = {key: -i for i, key in enumerate(votes)}
    keyed = {one.candidate.key: one for one in offered}
    if not keyed:
        return None
    return keyed[max(keyed, key=lambda key: (keyed[key].passed, votes[key] * odds[key], place[key]))]


def _summed(pairs: Sequence[tuple[str | None, float]]) -> dict[str | None, float]:
    found: dict[str | None, float] = defaultdict(float)
    for key, weight in pairs:
        found[key] += weight
    return dict(found)
