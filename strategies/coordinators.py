"""Coordinators: who does what next, in `Roles`. Each is a policy object: fixed, learned, or a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log
from typing import Any, ClassVar, Literal, Protocol

from ..core.completions import Params
from ..core.effects import Effect, Sample
from ..core.errors import CallerError
from ..core.plans import Plan
from ..core.task import KINDS, Candidate, Task
from .prompting import thinking

Role = Literal["thinker", "worker", "verifier"]
Sees = Literal["all", "last", "none"]
ROLES: tuple[Role, ...] = ("thinker", "worker", "verifier")
SEES: tuple[Sees, ...] = ("all", "last", "none")


@dataclass(frozen=True, slots=True)
class Turn:
    """Who speaks next: the role, the model (None: the run's first) and what of the talk it sees: all, the last thing
    said, or none."""

    role: Role
    model: str | None = None
    sees: Sees = "all"

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        if self.role not in ROLES or self.sees not in SEES:
            raise CallerError(
                f"Turn({self.role!r}, sees={self.sees!r}): roles are {', '.join(ROLES)}; sees is {', '.join(SEES)}"
            )


@dataclass(frozen=True, slots=True)
class Said:
    """What was said in a turn. `answer` is a worker's, None where it gave none; `accepted` a verifier's word on the
    answer, None where it cannot be read."""

    turn: Turn
    text: str
    answer: str | None = None
    accepted: bool | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What a coordinator sees of a run: `turn` of `turns`, the talk so far, the models that may speak, and of the
    answer that stands (None: there is none) its share of the votes and P(right) by the task's checks, where known."""

    turn: int
    turns: int
    said: tuple[Said, ...] = ()
    models: tuple[str, ...] = ()
    answer: str | None = None
    agreement: float = 0.0
    p: float | None = None

    @property
    def last(self) -> Said | None:
        return self.said[-1] if self.said else None


class Coordinator(Protocol):
    """Says whose turn it is, or is a plan that does, so that what it asks of a model is billed like everything else.
    Optional: `needs(task, state)`, the effects that saying so takes."""

    def __call__(self, task: Task, state: State, /) -> Turn | Plan[Turn]: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same order again and again. An entry is a role, or a whole turn."""

    order: tuple[Turn | Role, ...] = ROLES

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        if not self.order:
            raise CallerError("Fixed: the order is empty, name at least one role")
        for one in self.order:
            if not isinstance(one, Turn):
                Turn(one)

    def __call__(self, task: Task, state: State) -> Turn:
        one = self.order[state.turn % len(self.order)]
        return one if isinstance(one, Turn) else Turn(one)


def features(task: Task, state: State) -> tuple[float, ...]:
    """What the linear head sees, each about -1 to 1: a constant, how far the turns have come, whether it is the first,
    who spoke last (one-hot), whether there is an answer, its agreement and P(right), the verifier's last word, the
    length of the query (logarithm), and the kind of answer (one-hot)."""
    last = state.last
    heard = next((s.accepted for s in reversed(state.said) if s.turn.role == "verifier"), None)
    return (
        1.0,
        state.turn / max(1, state.turns - 1),
        float(state.turn == 0),
        *(float(last is not None and last.turn.role == role) for role in ROLES),
        float(state.answer is not None),
        state.agreement,
        0.0 if state.p is None else 2 * state.p - 1,
        0.0 if heard is None else 2.0 * heard - 1,
        log(1 + len(task.query)) / 4 - 1,
        *(float(task.contract.kind == kind) for kind in KINDS),
    )


WIDTH = 16  # features


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear head over `features`, as Trinity (2025, 2512.04695) puts one over a small model's hidden state: the
    highest score of each group of rows says the role, what it sees, and the model. `weights`: rows of `WIDTH`, those of
    the roles, then of `SEES`, then, where there are several models, of each. Learned by `experiments.coordinating`."""

    weights: tuple[float, ...]
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        want = self.size(len(self.models))
        if len(self.weights) != want:
            raise CallerError(f"Linear: {len(self.weights)} weights, expected {want} for {len(self.models)} models")
        if not all(isfinite(weight) for weight in self.weights):
            raise CallerError("Linear: weights have to be finite numbers")

    @staticmethod
    def size(models: int = 0) -> int:
        """How many weights a head over so many models has."""
        return WIDTH * (len(ROLES) + len(SEES) + (models if models > 1 else 0))

    def __call__(self, task: Task, state: State) -> Turn:
        seen = features(task, state)
        rows = [self.weights[i : i + WIDTH] for i in range(0, len(self.weights), WIDTH)]
        scores = [sum(w * x for w, x in zip(row, seen, strict=True)) for row in rows]
        roles, sees = len(ROLES), len(ROLES) + len(SEES)
        model = self.models[0] if self.models else None
        if len(self.models) > 1:
            model = self.models[_highest(scores[sees:])]
        return Turn(ROLES[_highest(scores[:roles])], model, SEES[_highest(scores[roles:sees])])


def _highest(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)


@dataclass(frozen=True, slots=True)
class Conductor:
    """A model says whose turn it is (Conductor, 2025, 2512.04388), in a line such as "verifier, m2, last". What cannot
    be read is as `Fixed` would have it."""

    model: str | None = None
    params: Params = Params(temperature=0.0, max_tokens=24)
    otherwise: ClassVar[Fixed] = Fixed()

    def needs(self, task: Task, state: State) -> tuple[Effect[Any], ...]:
        return (self._ask(task, state),)

    def __call__(self, task: Task, state: State) -> Plan[Turn]:
        reply: Candidate = yield from self._ask(task, state)
        return read_turn(reply.text, state.models) or self.otherwise(task, state)

    def _ask(self, task: Task, state: State) -> Sample:
        from .roles import shown

        told = {"said": shown(state.said, "all"), "models": state.models, "left": state.turns - state.turn}
        return thinking(task, "roles_conductor", self.model, self.params, **told)


_WORDS = re.compile(rf"\b({'|'.join(ROLES)})\b", re.IGNORECASE)


def read_turn(text: str, models: Sequence[str]) -> Turn | None:
    """The turn that a line names: its first role, the first of the models in it, and what it sees. None without a
    role."""
    line = next((one for one in text.splitlines() if _WORDS.search(one)), "")
    role = _WORDS.search(line)
    if role is None:
        return None
    places = {name: re.search(rf"(?<![\w/.:-]){re.escape(name)}(?![\w/:-])", line) for name in models}
    named = sorted((place.start(), -len(name), name) for name, place in places.items() if place)
    rest = line[role.end() :].lower()
    sees: Sees = next((one for one in SEES if re.search(rf"\b{one}\b", rest)), "all")
    said: Any = role[1].lower()
    return Turn(said, named[0][2] if named else None, sees)
