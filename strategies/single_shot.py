"""Single-shot: ask once. The plain baseline, and often the best buy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..budgets.beliefs import Unstarted
from ..budgets.voting import VotingBelief
from ..core.completions import Params
from ..core.effects import Effect, Offer
from ..core.plans import Answer, Plan
from ..core.task import Task
from .prompting import draw


@dataclass(frozen=True, slots=True)
class SingleShot:
    """One completion, greedy unless a temperature is given. A completion without a readable answer is no answer."""

    model: str | None = None
    params: Params = Params(temperature=0.0)
    name: ClassVar[str] = "single_shot"
    pays: ClassVar[str] = "nearly always, as a first buy: the baseline that every other way has to beat per dollar"

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return (draw(task, self.model, self.params),)

    def __call__(self, task: Task) -> Plan[Answer]:
        sample = draw(task, self.model, self.params)
        yield from Offer(None, Unstarted(), (sample,))
        candidate = yield from sample
        if candidate.key is None:
            return Answer(None, "unreadable")
        return Answer(candidate, belief=VotingBelief(1))
