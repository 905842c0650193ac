"""Comparing candidates with one another: which is the best, where nothing scores them one by one, or scores are alike.

Each pair is asked about in both orders, so that a judge that prefers a place decides nothing; candidates whose answer
stands at the end of their working (numbers, choices) are shown at equal length, so that one that prefers the longer
text does not either. Ties stand for those that were drawn more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Any

from ..core.effects import Effect, Score
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from ..verifiers.pairwise import Pairwise, tournament
from ..verifiers.prompting import standing_in

EQUAL = 1e-6  # strengths nearer than this are rounding
ALL_PAIRS = 5  # candidates up to which `verifiers.pairwise.tournament` compares every pair


@dataclass(frozen=True, slots=True)
class Pair:
    """P(a candidate is better than `against`), by a model, in both orders."""

    against: Candidate
    model: str
    rubric: str | None = None
    name: str = "pairwise"

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        one, other = alike(task, candidate, self.against)
        verdict = yield from Pairwise(other, self.model, self.rubric, name=self.name)(task, one)
        return verdict

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        against = self.against if self.against.text else standing_in(task, 8_000)
        return Pairwise(against, self.model, self.rubric).needs(task)


@dataclass(frozen=True, slots=True)
class Tournament:
    """Finds the best of several candidates by a model's comparisons."""

    model: str
    rubric: str | None = None

    def step(self, task: Task, rivals: Sequence[Candidate]) -> tuple[Effect[Any], ...]:
        """What a whole tournament asks for."""
        n = len(rivals)
        pairs = n * (n - 1) // 2 if n <= ALL_PAIRS else (ceil(log2(n)) + 1) * (n // 2)
        longest = max(rivals, key=lambda c: len(c.text))
        return (Score(Pair(longest, self.model, self.rubric), task.knowing((longest,)), longest),) * pairs

    def winner(self, task: Task, rivals: Sequence[Candidate]) -> Plan[Candidate | None]:
        """The strongest, the first in the list of equals. None where nothing could be told."""
        ranking = yield from tournament(task, rivals, lambda other: Pair(other, self.model, self.rubric))
        if not ranking.compared:
            return None
        top = max(ranking.strength)
        return next(c for c, strength in zip(rivals, ranking.strength, strict=True) if strength >= top - EQUAL)


def alike(task: Task, a: Candidate, b: Candidate) -> tuple[Candidate, Candidate]:
    """Both at the length of the shorter, from the end, where the answer is a number or a choice; else as they are: a
    text or a program that is cut is another one."""
    if task.contract.kind not in ("number", "choice"):
        return a, b
    texts = [c.text.strip() for c in (a, b)]
    length = min(map(len, texts))
    if any(c.answer is not None and c.answer not in text[-length:] for c, text in zip((a, b), texts, strict=True)):
        texts = [c.answer or text for c, text in zip((a, b), texts, strict=True)]  # the end does not hold it
        length = max(map(len, texts))
    return replace(a, text=texts[0][-length:] or a.text), replace(b, text=texts[1][-length:] or b.text)
