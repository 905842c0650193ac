"""Units: what is recorded as one run of the engine, and so either wholly on record or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from ...core.completions import Message
from ...core.task import Task
from ..bank import Question
from .conditions import Condition

Kind = Literal["draws", "run"]


@dataclass(frozen=True, slots=True)
class Unit:
    """The draws of a question under one condition, or one run of a strategy on it (`run` counts them)."""

    kind: Kind
    question: str
    model: str
    arm: str  # of draws: the arm; of a run: the strategy as it is written
    run: int = 0

    @property
    def key(self) -> str:
        """Names it, and does so for ever. (In the journal with what was asked: `asked_as`.)"""
        return "\x1f".join((self.kind, self.question, self.model, self.arm, str(self.run)))

    @property
    def seed(self) -> int:
        """From 0 to 2**31 - 1: the same unit asks for the same thing, whenever it is recorded."""
        return int.from_bytes(blake2b(self.key.encode(), digest_size=4).digest(), "big") >> 1

    @classmethod
    def of(cls, key: str) -> Unit | None:
        """The unit that a key names, None where it is none."""
        parts = key.split("\x1f")
        if len(parts) != 5 or parts[0] not in ("draws", "run") or not parts[4].isdecimal():
            return None
        kind: Kind = "draws" if parts[0] == "draws" else "run"
        return cls(kind, parts[1], parts[2], parts[3], int(parts[4]))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be recorded: `conditions` x `samples` of every model, and `runs` runs of every strategy with it.
    `verifiers`: specs of those that judge each different answer of a draw; `judges`: the models that they ask."""

    models: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    samples: int = 16
    strategies: tuple[str, ...] = ()
    runs: int = 1
    verifiers: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()  # arms whose draws are judged; none: all
    prompts: Mapping[str, str] = field(default_factory=dict)  # of whole strategies

    def units(self, questions: Sequence[Question]) -> Iterator[Unit]:
        """Arm by arm, so that what is there when it is stopped is whole arms, and the questions in their order."""
        for model in self.models:
            for condition in self.conditions:
                yield from (Unit("draws", q.id, model, condition.arm) for q in questions)
            for strategy in self.strategies:
                for run in range(self.runs):
                    yield from (Unit("run", q.id, model, strategy, run) for q in questions)


def asked_as(key: str, task: Task, *how: Any) -> str:
    """The name in the journal of what is recorded as `key`: with a hash of all that is asked (`how`: JSON-ready), so
    that another text, model or condition under the same name never gets replies that were not its own."""
    contract = (task.contract.kind, task.contract.choices, task.contract.schema)
    told = [[(m.role, m.content) for m in task.messages], contract, dict(task.prompts), how]
    text = json.dumps(told, sort_keys=True, default=str)
    return f"{key}\x1f{blake2b(text.encode(), digest_size=12).hexdigest()}"


def task_of(question: Question, prompts: Mapping[str, str], prefill: str = "") -> Task:
    """The task as it is asked, without its gold answer."""
    bare = question.task()
    begun = (Message("assistant", prefill),) if prefill else ()
    said = (*bare.messages, *begun)
    return Task(said, bare.contract, prompts=dict(prompts), label=question.id, topic=bare.topic)
