"""Self-consistency: sample several answers and take the one that most agree on (Wang et al. 2022, 2203.11171)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..budgets.beliefs import Committed
from ..budgets.voting import HORIZON, VotingBelief
from ..core.belief import Belief
from ..core.completions import Params
from ..core.effects import Effect, Gather, Offer
from ..core.plans import Answer, Plan
from ..core.task import Candidate, Task
from .prompting import draw


@dataclass(slots=True)
class Votes:
    """Counts of canonical keys in the order they were first seen, which breaks ties."""

    first: dict[str, Candidate] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    blanks: int = 0

    def add(self, candidates: Iterable[Candidate | None]) -> None:
        """Counts candidates; one without an answer is a blank, a failed branch (None) is nothing."""
        for candidate in candidates:
            if candidate is None:
                continue
            if candidate.key is None:
                self.blanks += 1
                continue
            self.first.setdefault(candidate.key, candidate)
            self.counts[candidate.key] = self.counts.get(candidate.key, 0) + 1

    def leader(self) -> Candidate | None:
        """The first candidate of the key with the most votes; the key seen first among equals."""
        if not self.counts:
            return None
        return self.first[max(self.counts, key=self.counts.__getitem__)]

    def belief(self, limit: int) -> VotingBelief:
        ranked = sorted(self.counts.values(), reverse=True)
        first, second = [*ranked, 0, 0][:2]
        return VotingBelief(first, second, sum(ranked[2:]), self.blanks, limit)


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """Votes over samples, in waves whose size the run decides. `samples`: exactly so many (the fixed-n baseline);
    None: as many as pay for themselves, `most` at the most. Candidates that the task already knows count."""

    samples: int | None = None
    most: int = HORIZON
    model: str | None = None
    params: Params = Params(temperature=0.7)
    name: ClassVar[str] = "self_consistency"
    pays: ClassVar[str] = "where answers are short, nothing can check them, and the model is right more often than not"

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return (draw(task, self.model, self.params),) * (self.samples or 1)

    def __call__(self, task: Task) -> Plan[Answer]:
        votes = Votes()
        votes.add(task.known)
        sample = draw(task, self.model, self.params)
        drawn = 0
        while True:
            leader = votes.leader()
            answer = Answer(leader, "agreed") if leader else None
            belief: Belief = votes.belief(self.most)
            if drawn >= (self.most if self.samples is None else self.samples):
                return Answer(leader, "agreed" if leader else "unreadable", belief)
            if self.samples is not None:
                belief = Committed(self.samples - drawn, belief)
            size = yield from Offer(answer, belief, (sample,))
            votes.add((yield from Gather((sample,) * size, at_least=1)))
            drawn += size
