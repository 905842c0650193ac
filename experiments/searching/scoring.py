"""What a workflow scores: its figures on each question, and who says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple, Protocol

from ...core.errors import CallerError
from ...strategies.workflow import Workflow

CHANCE = 1.645  # standard errors (one-sided, 95%) below the best at which a workflow is given up


class Figure(NamedTuple):
    """One question, each a mean over its runs: share right, dollars, share that gave an answer."""

    right: float
    usd: float
    answered: float = 1.0


class Scorer(Protocol):
    """Runs a workflow on questions, by their ids, and tells its figures in the same order. Raises `Unanswerable` where
    a bank cannot say, `Spent` where the budget is used up but for what `keep` was told to leave (it returns whether
    there is more than that). `spent`: dollars really paid so far (replay pays none)."""

    @property
    def spent(self) -> float: ...

    def keep(self, usd: float) -> bool: ...

    def score(self, flow: Workflow, questions: Sequence[str]) -> list[Figure]: ...


class Unanswerable(Exception):
    """Internal: the bank does not hold what a workflow asks. That is no wrong answer."""


class Spent(Exception):
    """Internal: the budget of a live search is used up."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is to be maximised: the mean over questions of right answers, less dollars per `worth` of a right answer,
    less wrong answers at `wrong` dollars per worth. In units of a right answer. Raises `CallerError`."""

    worth: float
    wrong: float = 0.0

    def __post_init__(self) -> None:
        if not self.worth > 0 or self.wrong < 0:
            raise CallerError(f"worth={self.worth}, wrong={self.wrong}: expected dollars, worth above 0")

    def value(self, one: Figure) -> float:
        """Net utility of one question. An infinite worth counts right answers only."""
        return one.right - (one.usd + self.wrong * (one.answered - one.right)) / self.worth

    def values(self, figures: Sequence[Figure]) -> list[float]:
        return [self.value(one) for one in figures]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def hopeless(values: Sequence[float], best: Sequence[float]) -> bool:
    """Whether a workflow that was tried on the first questions only is below the best one, which was tried on them
    too: the paired mean is `CHANCE` standard errors below 0 (the test of F-Race, Birattari et al. 2002, on rungs that
    double as in successive halving, Jamieson & Talwalkar 2016)."""
    gaps = [a - b for a, b in zip(values, best, strict=False)]
    middle = mean(gaps)
    if len(gaps) < 2:
        return False
    spread = sqrt(sum((gap - middle) ** 2 for gap in gaps) / (len(gaps) - 1) / len(gaps))
    return middle < 0 and middle + CHANCE * spread < 0


def rungs(total: int, first: int) -> list[int]:
    """How many questions a workflow is tried on before it is looked at again: `first`, twice as many, ..., all."""
    found, size = [], max(2, first)
    while size < total:
        found.append(size)
        size *= 2
    return [*found, total]
