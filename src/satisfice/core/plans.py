"""Plans and strategies: thinking as a generator of effects, without I/O."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from .amounts import ZERO, Amounts

if TYPE_CHECKING:
    from .belief import Belief
    from .effects import Effect
    from .task import Candidate, Task

T = TypeVar("T")

Plan: TypeAlias = "Generator[Effect[Any], Any, T]"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a plan offers or returns: a candidate (None: nothing worth saying), why it is the one, and, where a plan
    returns without offering, the evidence that P(right) is read from. Where the evidence decides which of several
    candidates is the likeliest, they are `among`, in the order of the belief's answers: its `pick(terms)` says which.
    """

    candidate: Candidate | None
    reason: str = "finished"
    belief: Belief | None = None
    among: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a strategy run inside a share of the purse came to. `found` is every candidate that was paid for."""

    answer: Answer | None
    found: tuple[Candidate, ...] = ()
    spent: Amounts = ZERO
    reason: str = "finished"


class Strategy(Protocol):
    """A callable from task to plan. Its configuration is its dataclass fields; it does no I/O, reads no clock and
    uses no global random state."""

    def __call__(self, task: Task, /) -> Plan[Answer]: ...
