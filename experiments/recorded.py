"""A recorded verifier: what it said of each recorded draw, asked for and billed as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core.completions import Message, Params
from ..core.effects import Effect, Sample
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict

PREFIX = "verifier:"  # of the name under which a tariff prices a recorded verifier


@dataclass(frozen=True, slots=True)
class RecordedVerifier:
    """Replays the verdicts of verifier `name` from a bank: a plan whose one call the bank answers, at the recorded
    cost."""

    name: str

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        reply = yield from self._ask(candidate.path)
        if not reply.text:
            return Verdict(None, evidence=f"{self.name}: it could not tell when it was recorded")
        return Verdict(float(reply.text), evidence=f"{self.name}: recorded")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return (self._ask(""),)

    def _ask(self, path: str) -> Sample:
        return Sample((Message("user", path),), None, PREFIX + self.name, Params(max_tokens=1))


@dataclass(frozen=True, slots=True)
class FreeVerifier:
    """The same of one that cost nothing when it was recorded: it is asked at once, without a call. `look` gives the
    recorded score of the candidate at a path (None: it could not tell)."""

    name: str
    look: Callable[[str, str], float | None]

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        score = self.look(self.name, candidate.path)
        return Verdict(score, evidence=f"{self.name}: {'it could not tell when it was ' * (score is None)}recorded")
