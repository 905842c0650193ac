"""Effects: the frozen requests that a plan yields and a driver performs.

`reply = yield from Sample(...)` has the type of the reply (the sans-IO idea of h11, the plans of bluesky).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from .belief import Belief
from .completions import Message, Params
from .plans import Answer, Outcome, Strategy
from .task import Candidate, Task
from .verdict import Verdict, Verifier

R = TypeVar("R")


class Effect(Generic[R]):
    """A request. Iterating it yields it once and returns the driver's reply."""

    __slots__ = ()

    def __iter__(self) -> Generator[Effect[Any], Any, R]:
        reply: R = yield self
        return reply


@dataclass(frozen=True, slots=True)
class Sample(Effect[Candidate]):
    """One completion. With a `task` it is a candidate: its answer is read by the task's contract and it joins the
    run's pool. `model` is a configured name; None is the run's first model. Raises `ModelError` at the yield."""

    messages: tuple[Message, ...]
    task: Task | None = None
    model: str | None = None
    params: Params = Params()


@dataclass(frozen=True, slots=True)
class Score(Effect[Verdict]):
    """A verdict. A verifier that fails gives an unknown verdict, not a failed run."""

    verifier: Verifier
    task: Task
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Gather(Effect[tuple[Any, ...]]):
    """All branches at once. The reply keeps their positions, None where one failed or the purse could not pay it. A
    strategy run within survives if it has an answer; its `Outcome` is told in any case, with what it found.
    Raises `GatherFailed` if fewer than `at_least` survive (None: all must)."""

    branches: tuple[Effect[Any], ...]
    at_least: int | None = None


@dataclass(frozen=True, slots=True)
class Race(Effect[tuple[Any, ...]]):
    """The first `first` branches to succeed; the rest are cancelled, and billed. Positions as in `Gather`."""

    branches: tuple[Effect[Any], ...]
    first: int = 1


@dataclass(frozen=True, slots=True)
class Within(Effect[Outcome]):
    """Runs a strategy inside `share` (0 to 1] of what the purse has left, and inside `seconds` where given.
    `price` is value per dollar; None inherits the parent's. `part`: the task is a part of the question, so that its
    candidates are none of the parent's."""

    strategy: Strategy
    task: Task
    share: float = 1.0
    seconds: float | None = None
    price: float | None = None
    part: bool = False


@dataclass(frozen=True, slots=True)
class Offer(Effect[int]):
    """The best answer so far, the belief about going on, and the effects of one more step. The reply is the size
    of the next wave, at least 1; where going on is not worth it, the plan is closed and the answer returned."""

    answer: Answer | None
    belief: Belief
    step: tuple[Effect[Any], ...]


@dataclass(frozen=True, slots=True)
class Option:
    """One way on: a belief about it and the effects of one step of it."""

    belief: Belief
    step: tuple[Effect[Any], ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which option, and how many steps of it at once."""

    index: int
    size: int


@dataclass(frozen=True, slots=True)
class Choose(Effect[Choice]):
    """Alternatives. The reply is the one with the highest net value; none worth its price closes the plan."""

    answer: Answer | None
    options: tuple[Option, ...]


Scope = Literal["run", "session", "tenant"]


@dataclass(frozen=True, slots=True)
class Recall(Effect[tuple[Any, ...]]):
    """What was remembered under `topic`, oldest first (JSON values)."""

    topic: str
    scope: Scope = "run"


@dataclass(frozen=True, slots=True)
class Remember(Effect[None]):
    """Appends a JSON value to `topic`."""

    topic: str
    value: Any
    scope: Scope = "run"


@dataclass(frozen=True, slots=True)
class CallTool(Effect[Any]):
    """Calls a tool by name with JSON arguments; replies its JSON result. Raises `ToolError`. A call that is not
    idempotent and was in flight when the process died is not repeated: a person is asked. `approved`: a person has
    said yes, which a tool with the policy "ask" needs."""

    tool: str
    arguments: tuple[tuple[str, Any], ...] = ()
    idempotent: bool = False
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Ask(Effect[str]):
    """Asks a person. The run waits, durably, until someone answers."""

    question: str
    options: tuple[str, ...] = ()
