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
    from .verdict import Judgement

T = TypeVar("T")

if TYPE_CHECKING:
    Plan: TypeAlias = Generator[Effect[Any], Any, T]
else:  # effects are defined on top of plans; a user's annotation is evaluated all the same
    Plan = Generator[Any, Any, T]


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
    """What a strategy run inside a share of the purse came to. `found` is every candidate that was paid for, `judged`
    what verifiers said of them, `p` P(right) of the answer in the state in which it stopped (None: not known). A
    `part` answered another question than the plan that ran it, and so adds no candidates to its pool. `fault` is what
    ended it, where it failed."""

    answer: Answer | None
    found: tuple[Candidate, ...] = ()
    spent: Amounts = ZERO
    reason: str = "finished"
    judged: tuple[Judgement, ...] = ()
    p: float | None = None
    part: bool = False
    fault: str = ""

    @property
    def candidate(self) -> Candidate | None:
        """The answer's candidate, if there is one."""
        return self.answer.candidate if self.answer is not None else None


class Strategy(Protocol):
    """A callable from task to plan. Its configuration is its dataclass fields; it does no I/O, reads no clock and
    uses no global random state.

    Optional attributes: `name`; `needs(task)`, the effects of the least that it can give an answer with, by which a
    plan that runs it inside a `Within` is priced; `pays`, a sentence on when it is worth its price.
    """

    def __call__(self, task: Task, /) -> Plan[Answer]: ...
