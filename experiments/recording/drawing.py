"""Draws: the plan that only draws, to be recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...core.completions import Params
from ...core.effects import Effect, Gather, Sample
from ...core.plans import Answer, Plan
from ...core.task import Task
from ...strategies.prompting import draw


@dataclass(frozen=True, slots=True)
class Draws:
    """`count` equal samples at once, and no answer: nothing is decided here. Where a provider bills a prompt once for
    several completions they go out together."""

    count: int = 16
    params: Params = Params(temperature=0.7)
    name: ClassVar[str] = "draws"

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return self._samples(task)

    def __call__(self, task: Task) -> Plan[Answer]:
        yield from Gather(self._samples(task), at_least=0)
        return Answer(None, "recorded")

    def _samples(self, task: Task) -> tuple[Sample, ...]:
        return (draw(task, None, self.params),) * self.count
