"""Scores of the steps of a reasoning trace, and one score of them all (process reward: Lightman et al. 2023,
arXiv:2305.20050)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from math import isfinite, prod
from statistics import fmean
from typing import Any, Literal, get_args

from ..core.completions import Params
from ..core.effects import Effect, Gather, Sample
from ..core.errors import CallerError, GatherFailed
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from .judge import BRIEF, LEAST_COVERAGE, check_asking, clip, failed
from .opinions import opinion, word_said
from .prompting import asked, fence_for, hopeless, question, quoted, render
from .splitting import steps_of

Aggregate = Literal["min", "product", "last", "mean"]
Scores = Sequence[float | None]
Scorer = Callable[[str, tuple[str, ...]], "Scores | Awaitable[Scores]"]
_LABELS = {"yes": "yes", "no": "no", "true": "yes", "false": "no", "right": "yes", "wrong": "no", "correct": "yes"}


@dataclass(frozen=True, slots=True)
class Process:
    """Splits a candidate into steps and scores each: by a model that is asked whether the step is right given those
    before it (P(Yes), one call a step, all at once), or by `scorer(query, steps)`, which returns one score in [0, 1] a
    step (None: unknown) and may be async, such as `HttpPRM`.

    `aggregate`: "min" (a chain is as good as its worst step), "product" (all are right, if independent), "last", or
    "mean". The evidence names the worst step. More than `most_steps` are merged. Prompt: "step".
    """

    scorer: Scorer | None = None
    model: str | None = None
    aggregate: Aggregate = "min"
    most_steps: int = 32
    params: Params | None = None
    least_coverage: float = LEAST_COVERAGE
    most_chars: int = 8_000
    name: str = "process"

    def __post_init__(self) -> None:
        if self.aggregate not in get_args(Aggregate):
            raise CallerError(f"aggregate={self.aggregate!r}: expected one of {', '.join(get_args(Aggregate))}")
        if self.scorer is not None and not callable(self.scorer):
            raise CallerError(f"scorer: expected a callable of query and steps, not {type(self.scorer).__name__}")
        if self.most_steps < 1:
            raise CallerError(f"most_steps={self.most_steps!r}: expected 1 or more")
        check_asking((), "", self.least_coverage, self.most_chars)

    @property
    def blocking(self) -> bool:
        """A user's scorer may take long or do I/O; a model is asked by effects."""
        return self.scorer is not None

    @property
    def is_async(self) -> bool:
        return iscoroutinefunction(self.scorer) or iscoroutinefunction(getattr(self.scorer, "acall", None))

    def __call__(self, task: Task, candidate: Candidate) -> Verdict | Plan[Verdict]:
        if self.scorer is None:
            return self._asking(task, candidate)
        if (verdict := hopeless(candidate)) is not None:
            return verdict
        steps = steps_of(candidate.text, self.most_steps)
        try:
            return self._verdict(steps, _checked(self.scorer(task.query, steps), len(steps)))
        except Exception as error:
            return failed(self.name, error)

    async def acall(self, task: Task, candidate: Candidate) -> Verdict:
        """The same for an async scorer."""
        if (verdict := hopeless(candidate)) is not None:
            return verdict
        steps = steps_of(candidate.text, self.most_steps)
        score: Any = getattr(self.scorer, "acall", self.scorer)
        try:
            return self._verdict(steps, _checked(await score(task.query, steps), len(steps)))
        except Exception as error:
            return failed(self.name, error)

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """The calls on a trace of eight steps of a usual length; none for a scorer of the user's own."""
        steps = ("word " * 50,) * min(8, self.most_steps)
        return () if self.scorer is not None else self._questions(task, steps)

    def _asking(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        if (verdict := hopeless(candidate)) is not None:
            return verdict
        steps = steps_of(candidate.text, self.most_steps)
        try:
            replies: tuple[Candidate | None, ...] = yield from Gather(self._questions(task, steps), at_least=1)
        except GatherFailed as error:
            return failed(self.name, error)
        return self._verdict(steps, [self._read(reply) for reply in replies])

    def _questions(self, task: Task, steps: tuple[str, ...]) -> tuple[Sample, ...]:
        fence = fence_for(*steps)
        return tuple(
            asked(
                render(
                    "step",
                    task.prompts,
                    query=question(task),
                    before=quoted("\n".join(steps[:i]), self.most_chars, fence=fence).text,
                    step=quoted(step, self.most_chars, fence=fence).text,
                    number=i + 1,
                    total=len(steps),
                    fence=fence,
                ),
                self.model,
                self.params or BRIEF,
            )
            for i, step in enumerate(steps)
        )

    def _read(self, reply: Candidate | None) -> float | None:
        if reply is None:
            return None
        told = opinion(reply, _LABELS, word_said(reply.text, _LABELS), self.least_coverage)
        return None if told is None else told.mean({"yes": 1.0, "no": 0.0})

    def _verdict(self, steps: tuple[str, ...], scores: Scores) -> Verdict:
        known = [(score, i) for i, score in enumerate(scores) if score is not None]
        missing = f"; {len(scores) - len(known)} of them unknown" if len(known) < len(scores) else ""
        if not known or (self.aggregate == "last" and scores[-1] is None):
            return Verdict(None, evidence=f"{self.name}: {len(steps)} steps{missing}")
        values = [score for score, _ in known]
        whole = _WHOLE[self.aggregate](values)
        worst, place = min(known)
        where = f"worst is step {place + 1} ({worst:.2f}): {clip(steps[place], 120)!r}"
        return Verdict(float(whole), evidence=f"{self.name}: {self.aggregate} of {len(steps)} steps{missing}; {where}")


_WHOLE: dict[Aggregate, Callable[[list[float]], float]] = {
    "min": min,
    "product": prod,
    "mean": fmean,
    "last": lambda scores: scores[-1],
}


def _checked(scores: Any, n: int) -> Scores:
    """The scores as they should be. Raises TypeError or ValueError."""
    made = [None if score is None else float(score) for score in scores]
    if len(made) != n:
        raise ValueError(f"the scorer returned {len(made)} scores for {n} steps")
    if bad := [score for score in made if score is not None and not (isfinite(score) and 0 <= score <= 1)]:
        raise ValueError(f"the scorer returned {bad[0]!r}: expected scores from 0 to 1")
    return made
