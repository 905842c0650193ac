"""Training a coordinator: CMA-ES over the weights of a linear head (Trinity 2025, 2512.04695), which needs no
gradients, only the outcomes of whole runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any, TypeAlias

from ..budgets.budget import Budget
from ..budgets.policy import Policy
from ..budgets.prices import Price
from ..budgets.purse import Purse
from ..core.errors import CallerError, MissingExtra
from ..core.plans import Strategy
from ..core.task import Task
from ..scheduler.decisions import Economics
from ..scheduler.offline import Source, perform
from ..scheduler.run import Run
from ..scheduler.tariff import PriceList, Rate

SEPARABLE = 100  # weights from which on only variances are learnt (sep-CMA-ES, Ros & Hansen 2008), no covariances

Evaluate: TypeAlias = Callable[[tuple[float, ...], int], float]
"""(weights, generation) to a score, higher is better. Within a generation all weights meet the same luck, so that they
differ by what they do."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The weights found: the mean of the last distribution, which noise flatters less than the best of all draws.
    `scores`: the mean score of each generation."""

    weights: tuple[float, ...]
    scores: tuple[float, ...]
    evaluations: int
    seed: int

    def save(self, place: str | Path) -> None:
        """Writes JSON."""
        Path(place).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, place: str | Path) -> Trained:
        """Raises `CallerError` for a file that holds no training."""
        try:
            data = json.loads(Path(place).read_text(encoding="utf-8"))
            weights, scores = tuple(map(float, data["weights"])), tuple(map(float, data["scores"]))
            return cls(weights, scores, int(data["evaluations"]), int(data["seed"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CallerError(f"{place}: no trained coordinator: {error}") from error


def train(
    evaluate: Evaluate,
    size: int,
    *,
    evaluations: int = 1_000,
    seed: int = 0,
    spread: float = 0.5,
    start: Sequence[float] | None = None,
    population: int | None = None,
    separable: bool | None = None,
) -> Trained:
    """Weights (`size` of them) that `evaluate` scores highly, within so many evaluations; the same for the same seed.

    `spread`: standard deviation around `start` (zeros) in the first generation. `separable`: learn no covariances
    (None: from `SEPARABLE` weights on). Raises `CallerError`, `MissingExtra` without the package `cmaes`.
    """
    if size < 1 or evaluations < 1 or not 0 < spread < inf:
        raise CallerError(f"train: size={size}, evaluations={evaluations}, spread={spread}: expected above 0")
    if start is not None and (len(start) != size or not all(map(isfinite, start))):
        raise CallerError(f"train: start has {len(start)} weights: expected {size} finite ones")
    if (population is not None and population < 2) or not 0 <= seed < 2**32:
        raise CallerError(f"train: population={population}, seed={seed}: expected 2 or more, and 0 to 2**32 - 1")
    search = _search(size, start, spread, seed, population, size >= SEPARABLE if separable is None else separable)
    scores: list[float] = []
    spent = 0
    while spent + search.population_size <= evaluations and not search.should_stop():
        drawn = [search.ask() for _ in range(search.population_size)]
        worth = [evaluate(tuple(map(float, one)), len(scores)) for one in drawn]
        if not all(map(isfinite, worth)):
            raise CallerError(f"train: the evaluation gave {worth}: expected finite scores")
        search.tell([(one, -score) for one, score in zip(drawn, worth, strict=True)])
        scores.append(sum(worth) / len(worth))
        spent += len(drawn)
    if not scores:
        raise CallerError(
            f"train: one generation takes {search.population_size} evaluations, {evaluations} are allowed"
        )
    return Trained(tuple(map(float, search.mean)), tuple(scores), spent, seed)


def _search(
    size: int, start: Sequence[float] | None, spread: float, seed: int, population: int | None, separable: bool
) -> Any:
    try:
        import cmaes
    except ImportError:
        raise MissingExtra.of("train", "training a coordinator") from None
    import numpy as np

    mean = np.zeros(size) if start is None else np.asarray(start, dtype=float)
    if size < 2:  # the package wants two dimensions at least
        raise CallerError("train: one weight is no head: use a line search")
    made = cmaes.SepCMA if separable else cmaes.CMA
    return made(mean=mean, sigma=spread, seed=seed, population_size=population)


@dataclass(frozen=True, slots=True)
class Question:
    """A task to train on, and the key of its right answer, which no run sees."""

    task: Task
    gold: str


def score(
    strategy: Strategy, questions: Sequence[Question], source: Source, *, seed: int = 0, dear: float = 0.0,
    budget: Budget | None = None, models: Sequence[str] = ("m",),
) -> float:  # fmt: skip
    """The mean over questions of right (1) or wrong (0), less `dear` for each call, of offline runs of the strategy:
    the real plan, answered by `source`. Every question has its own seed, derived from `seed`. Raises `CallerError`
    where the strategy refuses a task, which is no wrong answer."""
    total = 0.0
    for number, question in enumerate(questions):
        run = _run(strategy, question.task, budget or Budget(usd=1.0), models, seed * len(questions) + number)
        outcome = perform(run, source).outcome
        if isinstance(run.error, CallerError):
            raise run.error
        candidate = outcome.answer.candidate if outcome is not None and outcome.answer is not None else None
        right = candidate is not None and candidate.key == question.gold
        total += right - dear * run.root.purse.posted[2]
    return total / len(questions) if questions else 0.0


def _run(strategy: Strategy, task: Task, budget: Budget, models: Sequence[str], seed: int) -> Run:
    tariff = PriceList({name: Rate(Price.per_million(1, 1), name) for name in models})
    economics = Economics(budget, Policy(), tariff)
    return Run(strategy(task), purse=Purse.of(budget), economics=economics, seed=seed)
