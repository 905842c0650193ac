"""What a state of a search is worth: a number in [0, 1] for each path.

A valuer is any callable `(task, paths) -> values`: a plan or a plain function; None stands for "cannot tell", which is
no error and worth as much as an even chance. Built in: Tree of Thoughts' `Value` and `Vote`, and `Scored` by a
verifier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

from ...core.completions import Params
from ...core.effects import Effect, Gather, Score
from ...core.errors import CallerError, GatherFailed
from ...core.plans import Plan
from ...core.task import Candidate, Task
from ...core.verdict import Verdict, Verifier
from ..prompting import thinking
from ..steps import parameters, whole
from .expanders import Path, harmless
from .reading import graded, voted

NEUTRAL = 0.5
LABELS = ("sure", "likely", "impossible")
GRADES = (20.0, 1.0, 0.001)  # the paper's weights of the three, found by trial
EVEN = (1.0, 0.5, 0.0)  # where values are averaged, as in Monte Carlo tree search


class Valuer(Protocol):
    """The worth of each path. Optional attributes: `needs(task, path)`, the effects that valuing one path takes, and,
    where several are not valued one by one, `asks(task, paths)`: what valuing all of them takes."""

    def __call__(
        self, task: Task, paths: tuple[Path, ...], /
    ) -> Plan[Sequence[float | None]] | Sequence[float | None]: ...


@dataclass(frozen=True, slots=True)
class Value:
    """Each state is graded on its own: sure, likely or impossible (Tree of Thoughts' value prompt), `votes` times.
    `scale`: what the three grades are worth; values are the mean of those that can be read, as a share of the first.
    Where none can be, the state is worth a "likely". `prompt`: "tree_value" asks of the way so far, "tree_worth" of a
    whole answer."""

    votes: int = 1
    scale: tuple[float, float, float] = GRADES
    model: str | None = None
    params: Params = Params(temperature=0.7, max_tokens=192)
    prompt: str = "tree_value"

    def __post_init__(self) -> None:
        whole("Value: votes", self.votes)
        parameters("Value: params", self.params)
        high, middle, low = self.scale
        if not (isfinite(high) and high > 0 and high >= middle >= low >= 0):
            raise CallerError(f"Value(scale={self.scale!r}): expected three falling weights, the first above 0")

    def needs(self, task: Task, path: Path) -> tuple[Effect[Any], ...]:
        return (thinking(task, self.prompt, self.model, self.params, steps=harmless(path)),) * self.votes

    def __call__(self, task: Task, paths: tuple[Path, ...]) -> Plan[tuple[float, ...]]:
        asked = tuple(sample for path in paths for sample in self.needs(task, path))
        replies = yield from _all(asked)
        told = [graded(reply.text, LABELS) if reply is not None else None for reply in replies]
        return tuple(self.worth(told[i : i + self.votes]) for i in range(0, len(told), self.votes))

    def worth(self, grades: Sequence[str | None]) -> float:
        """The value of these grades."""
        weights = [self.scale[LABELS.index(grade)] for grade in grades if grade is not None]
        return (sum(weights) / len(weights) if weights else self.scale[1]) / self.scale[0]


@dataclass(frozen=True, slots=True)
class Vote:
    """All states are shown together, and `votes` replies each name the most promising one (Tree of Thoughts' vote
    prompt). A state's value is its share of the votes. Each vote sees the states in another order (rotated), so that
    a model that prefers a position prefers no state. Prompt: "tree_vote"."""

    votes: int = 3
    model: str | None = None
    params: Params = Params(temperature=0.7, max_tokens=256)

    def __post_init__(self) -> None:
        whole("Vote: votes", self.votes)
        parameters("Vote: params", self.params)

    def needs(self, task: Task, path: Path) -> tuple[Effect[Any], ...]:
        return (self._ask(task, (path,)),) * self.votes

    def asks(self, task: Task, paths: tuple[Path, ...]) -> tuple[Effect[Any], ...]:
        """One path alone is not voted on."""
        return (self._ask(task, paths),) * self.votes if len(paths) > 1 else ()

    def __call__(self, task: Task, paths: tuple[Path, ...]) -> Plan[tuple[float | None, ...]]:
        n = len(paths)
        if n == 1:
            return (NEUTRAL,)
        turns = [vote * n // self.votes if self.votes < n else vote % n for vote in range(self.votes)]
        replies = yield from _all(tuple(self._ask(task, paths[turn:] + paths[:turn]) for turn in turns))
        counts, valid = [0] * n, 0
        for turn, reply in zip(turns, replies, strict=True):
            choice = voted(reply.text, n) if reply is not None else None
            if choice is not None:
                counts[(choice + turn) % n] += 1
                valid += 1
        return tuple(count / valid for count in counts) if valid else (None,) * n

    def _ask(self, task: Task, paths: tuple[Path, ...]) -> Effect[Any]:
        return thinking(task, "tree_vote", self.model, self.params, paths=[harmless(path) for path in paths])


@dataclass(frozen=True, slots=True)
class Scored:
    """A verifier's word on the steps so far, as if they were a candidate: a process reward model, or code that tells
    a dead end. Its calibrated probability where there is one, else its score."""

    verifier: Verifier | Callable[..., Any]

    def __post_init__(self) -> None:
        if not callable(self.verifier):
            raise CallerError(f"Scored: expected a verifier, not {type(self.verifier).__name__}")

    def needs(self, task: Task, path: Path) -> tuple[Effect[Any], ...]:
        return (self._score(task, path),)

    def __call__(self, task: Task, paths: tuple[Path, ...]) -> Plan[tuple[float | None, ...]]:
        verdicts: Sequence[Verdict | None] = yield from _all(tuple(self._score(task, path) for path in paths))
        return tuple(None if v is None else v.score if v.p is None else v.p for v in verdicts)

    def _score(self, task: Task, path: Path) -> Score:
        text = "\n".join(path)
        return Score(self.verifier, task, Candidate(text, text, strategy="tree_search"))


def asked_for(valuer: Any, task: Task, paths: tuple[Path, ...]) -> tuple[Effect[Any], ...]:
    """What a valuer takes to value these paths, as far as it says."""
    asks, needs = getattr(valuer, "asks", None), getattr(valuer, "needs", None)
    if asks is not None:
        return tuple(asks(task, paths))
    return tuple(effect for path in paths for effect in needs(task, path)) if needs is not None else ()


def _all(asked: tuple[Effect[Any], ...]) -> Plan[Sequence[Any]]:
    """The replies, None for each that failed."""
    try:
        replies: Sequence[Any] = yield from Gather(asked, at_least=1)
    except GatherFailed:
        return (None,) * len(asked)
    return replies


def checked(values: Any, n: int) -> list[float]:
    """A valuer's values as they should be, None as an even chance. Raises `CallerError`."""
    found = list(values)
    if len(found) != n:
        raise CallerError(f"a valuer gave {len(found)} values for {n} paths: expected one each")
    for value in found:
        if value is not None and not (isinstance(value, int | float) and isfinite(value) and 0 <= value <= 1):
            raise CallerError(f"a valuer gave {value!r:.60}: expected numbers from 0 to 1, or None")
    return [NEUTRAL if value is None else float(value) for value in found]
