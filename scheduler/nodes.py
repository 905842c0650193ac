"""The parts of a running plan: frames (a plan being advanced), fans (branches under way) and calls (the world's)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ..budgets.purse import Hold, Purse
from ..core.amounts import ZERO, Amounts
from ..core.answers import Reading
from ..core.belief import Belief, Terms
from ..core.completions import Completion, Usage
from ..core.effects import CallTool, Effect, Gather, Race, Sample, Score
from ..core.plans import Answer, Outcome
from ..core.task import Candidate
from ..core.verdict import Judgement
from .paths import seed_of

Path: TypeAlias = tuple[int, ...]
HEDGE = 1000  # is added to the number of an attempt that hedges another


class Refused(Exception):
    """Internal: the purse cannot pay. Never reaches a plan: it stops it."""

    def __init__(self, cap: str, error: Exception | None = None) -> None:
        super().__init__(cap)
        self.cap, self.error = cap, error


@dataclass(slots=True, eq=False)
class Frame:
    """A plan being advanced: a strategy's, or a verifier's."""

    path: Path
    plan: Any  # the generator
    kind: Literal["strategy", "verifier"]
    name: str
    purse: Purse
    price: float | None
    deadline: float | None
    slot: Slot | None
    fingerprint: str = ""
    started: float = 0.0
    step: int = 0
    alive: bool = True
    waiting: Node | None = None
    offer: Answer | None = None
    belief: Belief | None = None
    terms: Terms | None = None
    ways: list[tuple[str, Belief, Terms]] = field(default_factory=list)  # what the last choice was between
    found: list[Candidate] = field(default_factory=list)
    judged: list[Judgement] = field(default_factory=list)
    part: bool = False  # answers another question than the plan that runs it
    worth: float | None = None  # of a right answer, where nobody says: of the run's outermost frame
    spent: Amounts = ZERO
    score: Score | None = None  # what a verifier's plan was asked
    halt: str | None = None  # a journaled stop that is due once the journal has nothing more to say


@dataclass(slots=True, eq=False)
class Fan:
    """Branches of a Gather or Race."""

    effect: Gather | Race
    path: Path
    frame: Frame
    slot: Slot
    results: list[Any]
    children: list[Node | None]
    open: int
    errors: list[Exception] = field(default_factory=list)
    refused: Refused | None = None
    winners: list[int] = field(default_factory=list)
    came: set[int] = field(default_factory=set)  # branches that replied, with whatever value
    below: dict[int, tuple[Any, ...]] = field(default_factory=dict)  # what the fans in its branches have paid for
    started: bool = False
    alive: bool = True

    def succeeded(self, i: int) -> bool:
        """A strategy run within counts as a success if it has an answer."""
        value = self.results[i]
        if isinstance(value, Outcome):
            return value.answer is not None and value.answer.candidate is not None
        return i in self.came

    def paid(self) -> tuple[Any, ...]:
        """What was paid for, by position: never in the order of arrival."""
        return tuple(item for i, result in enumerate(self.results) for item in (*self.below.get(i, ()), result))

    def positions(self) -> tuple[Any, ...]:
        """The reply: results in place, None where a branch failed. A strategy without an answer has still found what
        it paid for, and so is told."""
        return tuple(r if self.succeeded(i) or isinstance(r, Outcome) else None for i, r in enumerate(self.results))


@dataclass(slots=True, eq=False)
class Call:
    """An effect that the world performs. `delay`: seconds to wait before sending (a retry's back-off)."""

    effect: Effect[Any]
    path: Path
    frame: Frame
    slot: Slot
    run_seed: int = 0
    attempt: int = 0
    hold: Hold | None = None
    delay: float = 0.0
    leaves: float = 0.0  # when it is sent at the earliest, in seconds since the run began
    fingerprint: str = ""
    state: Literal["open", "sent", "parked", "done"] = "open"
    handle: Any = None  # the driver's
    nth: int = 1  # of a tool's calls in the run
    asked: Sample | None = None  # what was first asked for, where the budget could not hold that much
    usage: Usage | None = None  # as the provider reported it
    price: str = ""  # the version of the price that it was billed by
    stands_for: CallTool | None = None  # the lost tool call whose result a person is asked for
    came: tuple[str | None, str | None] | None = None  # (answer, error), for those who watch
    draw: int = 0  # equal samples of the run that came before it
    rungs: tuple[str, ...] = ()  # the models of its attempts, once there was more than one
    twin: Call | None = None  # a hedge, or the call that it hedges, as long as both are under way
    cached: bool = False  # the reply was known already

    @property
    def kind(self) -> str:
        return type(self.stands_for or self.effect).__name__.lower()

    @property
    def seed(self) -> int:
        """Of its place in the run, whatever attempt it is."""
        return seed_of(self.run_seed, self.path)


Node: TypeAlias = "Frame | Fan | Call"
Slot: TypeAlias = "tuple[Frame | Fan, int]"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a driver brings back for a Sample. Without `usage` the hold is billed; `nanos` is a recorded cost that
    stands instead of the price list's, `reading` a recorded reading (`recorded`: it stands even if it is None)
    instead of the contract's."""

    completion: Completion
    usage: Usage | None
    seconds: float = 0.0
    nanos: int | None = None
    reading: Reading | None = None
    recorded: bool = False
    price: str = ""  # the version of the price that `nanos` was reckoned by
    cached: bool = False  # it was known already, and costs nothing


@dataclass(frozen=True, slots=True)
class Resolved:
    """A call that is over, and what it came to: `ZERO` where it never left. `price`: the version that it was billed by,
    "" for the one that it was held by."""

    call: Call
    spent: Amounts
    usage: Usage | None = None
    price: str = ""


@dataclass(slots=True)
class Result:
    """A value, or the error that is thrown in its place."""

    value: Any = None
    error: Exception | None = None


def line(frame: Frame) -> list[Frame]:
    """The frame and those it runs in, innermost first."""
    if frame.slot is None:
        return [frame]
    frames: list[Frame] = []
    at: Frame | None = frame
    while at is not None:
        frames.append(at)
        owner = at.slot[0] if at.slot else None
        at = owner.frame if isinstance(owner, Fan) else owner
    return frames
