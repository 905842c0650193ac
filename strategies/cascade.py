"""Cascade: cheap first, and on to the next stage only where the answer is in doubt.

FrugalGPT (Chen, Zaharia & Zou 2023, 2305.05176); language model cascades with agreement as the signal (Yue et al. 2023,
2310.03094). A stage is any strategy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from ..budgets.beliefs import Committed
from ..budgets.escalating import EscalatingBelief
from ..core.belief import Belief
from ..core.effects import Effect, Offer, Within
from ..core.errors import CallerError, GatherFailed
from ..core.plans import Answer, Outcome, Plan, Strategy
from ..core.task import Candidate, Task
from .hiring import check_share, checked, hands, settled
from .pool import Judged, Pool
from .self_consistency import SelfConsistency
from .single_shot import SingleShot

_STAGES = (SingleShot(), SelfConsistency())


@dataclass(frozen=True, slots=True)
class Cascade:
    """Runs `stages` one after the other, cheap ones first, until an answer is good enough.

    `thresholds`: one for each stage but the last; an answer is accepted at its threshold or above it. What is compared
    is, by `accept`, "p": P(right) as the stage and the checks know it; or "agreement": the share of all draws so far
    that gave this answer. Without thresholds the next stage is asked as long as it is worth its price, by what
    `fit(bank)` has learnt of these models, or by what is believed of any.
    A stage without a readable answer, or whose answer a check refutes, is never accepted. `carry`: a stage starts from
    what those before it have found (False: only where there are checks, so that votes of a weak model do not count
    as votes of a strong one). The later stage's answer stands, unless verdicts and votes together speak for another.
    """

    stages: tuple[Strategy, ...] = _STAGES
    thresholds: tuple[float, ...] | None = None
    accept: Literal["p", "agreement"] = "p"
    carry: bool = False
    share: float = 1.0
    seconds: float | None = None
    name: ClassVar[str] = "cascade"
    pays: ClassVar[str] = "where a cheap model answers much of what is asked, and agreement or a check shows where not"

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        object.__setattr__(self, "stages", hands("cascade", "stages", self.stages))
        stages = len(self.stages)
        check_share("cascade", self.share, self.seconds)
        if self.accept not in ("p", "agreement"):
            raise CallerError(f"cascade: accept={self.accept!r}, expected 'p' or 'agreement'")
        if not isinstance(self.carry, bool):
            raise CallerError(f"cascade: carry={self.carry!r:.80}, expected True or False")
        if self.thresholds is None:
            return
        if not isinstance(self.thresholds, tuple | list):
            raise CallerError(f"cascade: thresholds={self.thresholds!r:.80}, expected numbers, such as (0.8,), or None")
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        if len(self.thresholds) != stages - 1:
            text = f"cascade: {len(self.thresholds)} thresholds for {stages} stages: give {stages - 1}, one for each"
            raise CallerError(f"{text} stage but the last, or None for those that the policy has learnt")
        if not all(isinstance(t, int | float) and not isinstance(t, bool) and 0 <= t <= 1 for t in self.thresholds):
            raise CallerError(f"cascade: thresholds={self.thresholds!r}, expected numbers from 0 to 1")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return checked((self._stage(task, 0),))

    @property
    def chain(self) -> str:
        """By what a policy knows these stages: their models, in order."""
        from .registry import models_of

        return ">".join("+".join(models_of(stage)) for stage in self.stages)

    def __call__(self, task: Task) -> Plan[Answer]:
        pool = Pool.of(task)
        passed = yield from pool.start()
        if passed is not None:
            return Answer(passed.candidate, "verified")
        one, faults, reason = pool.best, [], "last_stage"
        for i in range(len(self.stages)):
            step = self._stage(task, i)
            yield from Offer(_answer(pool, one, "escalated"), self._belief(pool, one, i), checked((step,)))
            outcome: Outcome = yield from step
            passed = yield from pool.absorb(outcome)
            if passed is not None:
                return Answer(passed.candidate, "verified")
            if self.carry or task.checks:
                task = pool.onward()
            faults += [outcome.fault] if outcome.fault else []
            one = _standing(pool, outcome.candidate, one)
            if self._accepted(pool, one, outcome, i):
                reason = "accepted"
                break
        if one is None and len(faults) == len(self.stages):
            raise GatherFailed(f"all {len(faults)} stages of the cascade failed: {'; '.join(dict.fromkeys(faults))}")
        if one is None:
            return pool.end()
        belief = self._belief(pool, one, i + 1)
        return replace(settled(pool, one, reason), belief=belief)

    def _stage(self, task: Task, i: int) -> Within:
        return Within(self.stages[i], task, self.share, self.seconds)

    def _belief(self, pool: Pool, one: Judged | None, stage: int) -> Belief:
        left = len(self.stages) - stage
        if one is None:
            belief = EscalatingBelief(self.chain, stage, left)
        else:
            answer = _answer(pool, one, "")
            agreement = one.count / (pool.votes + pool.blanks + 1)
            told = one.p if one.said else None
            belief = EscalatingBelief(self.chain, stage, left, agreement, told, answer.belief if answer else None)
        return belief if self.thresholds is None else Committed(left, belief)

    def _accepted(self, pool: Pool, one: Judged | None, outcome: Outcome, stage: int) -> bool:
        if self.thresholds is None or stage >= len(self.thresholds) or one is None or outcome.candidate is None:
            return False
        if self.accept == "agreement":
            score: float | None = one.count / (pool.votes + pool.blanks)
        else:
            same = one.candidate.key == outcome.candidate.key
            score = outcome.p if same and outcome.p is not None else one.p
        return score is not None and score >= self.thresholds[stage]


def _standing(pool: Pool, candidate: Candidate | None, before: Judged | None) -> Judged | None:
    """The answer after a stage: what verdicts and votes speak for, else what the stage gave, if it may be given."""
    if any(one.said for one in pool.offered):
        return pool.best
    key = candidate.key if candidate is not None else None
    return next((one for one in pool.offered if one.candidate.key == key), before)


def _answer(pool: Pool, one: Judged | None, reason: str) -> Answer | None:
    return settled(pool, one, reason) if one is not None else None
