"""A recorded verifier: what it said of each recorded draw, asked for and billed as it was."""

from __future__ import annotations

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
    cost. `free`: it cost nothing when it was recorded, and is asked at once."""

    name: str
    free: bool = False

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        reply = yield from self._ask(candidate.path)
        if not reply.text:
            return Verdict(None, evidence=f"{self.name}: it could not tell when it was recorded")
        return Verdict(float(reply.text), evidence=f"{self.name}: recorded")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return () if self.free else (self._ask(""),)

    def _ask(self, path: str) -> Sample:
        return Sample((Message("user", path),), None, PREFIX + self.name, Params(max_tokens=1))
