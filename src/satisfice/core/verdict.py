"""Verdicts: what a check says of a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .amounts import ZERO, Amounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .completions import Params
    from .plans import Plan
    from .task import Candidate, Task


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's word on one candidate.

    `score` lies in [0, 1]; None means unknown (the verifier failed or cannot tell). `p` is the calibrated
    probability that the candidate is right, None while uncalibrated. `exact` says that the score is the truth:
    1.0 is right and 0.0 is wrong. `evidence` is for people.
    """

    score: float | None
    p: float | None = None
    exact: bool = False
    evidence: str = ""
    spent: Amounts = ZERO

    @property
    def passed(self) -> bool:
        """An exact pass: no further candidate is needed."""
        return self.exact and self.score == 1.0


def sound(verdict: Verdict) -> Verdict:
    """The verdict if its figures are ones: score and p None or in [0, 1]. Else an unknown one that says why."""
    for what, value in (("score", verdict.score), ("p", verdict.p)):
        figure = isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0
        if value is not None and not figure:
            said = f"a verifier gave a {what} of {value!r:.60}, expected 0 to 1. {str(verdict.evidence)[:200]}".rstrip()
            return Verdict(None, evidence=said, spent=verdict.spent)
    return verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who said what of which candidate (its path in the run)."""

    verifier: str
    candidate: str
    verdict: Verdict


class Verifier(Protocol):
    """A pure function of task and candidate, or a plan (a generator of effects that returns a Verdict), so that
    whatever it asks of a model is billed, journaled and replayed like everything else.

    Optional attributes: `name`; `blocking = True` for a callable that may take long or do I/O of its own (it is
    run off the event loop and its verdict is journaled); `needs(task)`, the effects of its worst case;
    `wants(params)`, the parameters that a draw has to be asked for with, so that it can judge it (log-probabilities).
    """

    def __call__(self, task: Task, candidate: Candidate, /) -> Verdict | Plan[Verdict]: ...


def wanted(verifiers: Iterable[Verifier], params: Params) -> Params:
    """The parameters with what these verifiers want of a draw."""
    for verifier in verifiers:
        wants: Callable[[Params], Params] | None = getattr(verifier, "wants", None)
        params = wants(params) if wants is not None else params
    return params


def name_of(thing: Any) -> str:
    """The name of a verifier or strategy: its `name`, else what Python calls it."""
    return str(getattr(thing, "name", None) or getattr(thing, "__name__", None) or type(thing).__name__)


def label_of(check: Verifier, checks: Iterable[Verifier]) -> str:
    """What tells a check from the others of a task: its name, and where several have the same one its place among
    these ("judge#1", "judge#2"). Its name, too, where it is none of them."""
    name = name_of(check)
    alike = [one for one in {id(c): c for c in checks}.values() if name_of(one) == name]
    place = next((i for i, one in enumerate(alike, 1) if one is check), 0)
    return f"{name}#{place}" if len(alike) > 1 and place else name
