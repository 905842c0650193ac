"""Searching: Optuna (Akiba et al. 2019, 1907.10902) looks for the choice of the highest net utility on some questions.

Its sampler is TPE (Bergstra et al. 2011), seeded, without storage. A choice that has to be replayed run by run is given
up as soon as it is clearly worse than the best so far on the questions replayed until then (a race, as in Maron &
Moore 1993); of the others it is known by its difference from the best, on the same questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

from ...core.errors import MissingExtra, TraceMiss
from .choices import Choice, Space
from .playing import QUICK, Player

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

LAPS = (30, 80, 160)  # questions after which a race is judged; the last is where it ends
REPEATS = 25  # trials in a row that name what was looked at before, after which nothing new is expected
CLEAR = 1.0  # standard errors by which the best has to beat the single shot in training, to be preferred to it
WORSE = 2.0  # standard errors below the best so far at which a choice is given up

Told = Callable[[int, str, float], None]  # trials done, the best so far and its value


@dataclass(slots=True)
class Found:
    """What a search came to: the best `choice` (the single shot, unless that is beaten by a standard error: Breiman et
    al. 1984), the best `rival` that is no single shot (None: the bank has none), the best single shot as the
    `baseline`, and what each of the choices that were looked at is worth on the training questions (net utility in
    right answers, mean). `lost`: how many were given up, or could not be replayed."""

    choice: Choice
    baseline: Choice
    rival: Choice | None
    values: dict[Choice, float] = field(default_factory=dict)
    lost: int = 0
    interrupted: bool = False


def optuna() -> Any:
    """The library, quiet. Raises `MissingExtra`."""
    try:
        import optuna as found
    except ImportError:
        raise MissingExtra.of("tune", "tuning") from None
    found.logging.set_verbosity(found.logging.ERROR)
    return found


def search(player: Player, folds: Sequence[int], *, trials: int, seed: int = 0, told: Told | None = None) -> Found:
    """The best choice on the questions of `folds`, by policies that were fitted on these. The single shots are always
    looked at, whatever `trials` says; trials are different choices, as far as there are so many. An interrupt (Ctrl-C)
    ends the search with the best so far."""
    import warnings

    library = optuna()
    race = _Race(player, tuple(folds), seed)
    for shot in player.space.shots():
        race.enter(shot)
    baseline = race.best
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is experimental, and of duplicates
        study = library.create_study(direction="maximize", sampler=library.samplers.TPESampler(seed=seed))
    for parameters in player.space.starts():
        study.enqueue_trial(parameters)

    def judged(trial: Any) -> float:
        choice = player.space.choice(trial)
        value = race.enter(choice) if choice not in race.seen else None
        race.seen.add(choice)
        if value is None:  # what was looked at already counts as a miss, so that the sampler looks elsewhere
            raise library.TrialPruned
        return value

    interrupted, wanted = False, max(trials, sum(1 for _ in player.space.starts()))
    repeats = 0
    try:
        while len(race.seen) < wanted and repeats < REPEATS:
            before = len(race.seen)
            study.optimize(judged, n_trials=1)
            repeats = repeats + 1 if len(race.seen) == before else 0
            if told is not None and not repeats:
                told(len(race.seen), race.best.label, race.values[race.best])
    except KeyboardInterrupt:
        interrupted = True
    best = race.best if race.beats(baseline) else baseline
    rivals = {choice: value for choice, value in race.values.items() if choice.name != "single_shot"}
    rival = max(rivals, key=lambda choice: rivals[choice]) if rivals else None
    return Found(best, baseline, rival, race.values, len(race.lost), interrupted)


@dataclass
class _Race:
    player: Player
    folds: tuple[int, ...]
    seed: int
    values: dict[Choice, float] = field(default_factory=dict)
    lost: set[Choice] = field(default_factory=set)
    seen: set[Choice] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.at = places(self.player.space, self.player, self.folds)
        self.mixed = Random(f"{self.seed}/race").sample(self.at, len(self.at))

    @property
    def best(self) -> Choice:
        """The first of equals."""
        return max(self.values, key=lambda choice: self.values[choice])

    def enter(self, choice: Choice) -> float | None:
        """Mean net utility of a choice; None where it was given up, or where the bank cannot answer it."""
        if choice in self.values or choice in self.lost:
            return self.values.get(choice)
        try:
            value = self._whole(choice) if choice.name in QUICK else self._raced(choice)
        except TraceMiss:
            value = None
        if value is None:
            self.lost.add(choice)
        else:
            self.values[choice] = value
        return value

    def beats(self, baseline: Choice) -> bool:
        """Whether the best is better than the baseline by a standard error of their difference."""
        if self.best == baseline:
            return False
        at = self.at if self.best.name in QUICK else self.mixed[: LAPS[-1]]
        mine, its = (self.player.gains(c, self.folds, at).mean(axis=1) for c in (self.best, baseline))
        return float((mine - its).mean()) > CLEAR * _error(mine - its)

    def _whole(self, choice: Choice) -> float | None:
        """Over all worths, unless it is clearly worse than the best at the middle one."""
        import numpy as np

        if self.values and choice.name == "self_consistency" and not choice.fixed and self.best.name in QUICK:
            train, middle = tuple(sorted(self.folds)), self.player.worths[len(self.player.worths) // 2]
            mine, its = (self.player.quick(c, train, middle)[np.asarray(self.at)] for c in (choice, self.best))
            if _worse(mine - its):
                return None
        return float(self.player.gains(choice, self.folds, self.at).mean())

    def _raced(self, choice: Choice) -> float | None:
        import numpy as np

        best, mean = self.best, self.values[self.best]
        gaps: Floats = np.zeros(0)
        for lap in LAPS:
            some = self.mixed[len(gaps) : lap]
            if some:
                mine, its = (self.player.gains(c, self.folds, some).mean(axis=1) for c in (choice, best))
                gaps = np.concatenate([gaps, mine - its])
            if _worse(gaps):
                return None
        return mean + float(gaps.mean())


def _worse(gaps: Floats) -> bool:
    """Whether these differences from the best are clearly below 0."""
    return len(gaps) > 1 and float(gaps.mean()) + WORSE * _error(gaps) < 0


def _error(gaps: Floats) -> float:
    return float(gaps.std(ddof=1)) / len(gaps) ** 0.5 if len(gaps) > 1 else float("inf")


def places(space: Space, player: Player, folds: Sequence[int]) -> list[int]:
    """Which of the space's questions are in these folds."""
    return [i for i, question in enumerate(space.questions) if player.bank.questions[question].fold in set(folds)]
