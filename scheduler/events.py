"""Events: what `on_event` receives while a run goes on. Frozen, typed, told once their rows are with the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .decisions import Decision


@dataclass(frozen=True, slots=True)
class Started:
    """A run begins (or is resumed)."""

    run_id: str
    strategy: str
    models: tuple[str, ...]
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """A call is on its way. `effect` is its kind: sample, calltool, ask ..."""

    run_id: str
    path: str
    effect: str
    model: str | None
    attempt: int


@dataclass(frozen=True, slots=True)
class Received:
    """A call came back, or failed (`error`). `spent_usd` and `tokens` are the run's so far. `cached`: the reply was
    known already."""

    run_id: str
    path: str
    effect: str
    answer: str | None
    error: str | None
    spent_usd: float
    tokens: int
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Decided:
    """The run has decided to go on or to stop."""

    run_id: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Waiting:
    """A person is asked, and the run waits. `path` names the question for `runs answer`."""

    run_id: str
    path: str
    question: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over."""

    run_id: str
    reason: str
    answer: str | None
    spent_usd: float


Event: TypeAlias = Started | Sent | Received | Decided | Waiting | Ended
