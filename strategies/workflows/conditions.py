"""Conditions of `if` and `loop`, on what a run has come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .schema import Condition


@dataclass(frozen=True, slots=True)
class View:
    """What a condition can see: of the answer that stands now whether its checks take it for right, its share of the
    votes in [0, 1], P(right) where known and its votes; and the texts so far, by name."""

    answered: bool
    passed: bool
    agreement: float
    p: float | None
    votes: int
    names: Mapping[str, str]


def holds(condition: Condition, view: View) -> bool:
    """Whether all that the condition gives holds."""
    c = condition
    return all(
        (
            c.passed is None or c.passed == view.passed,
            c.answered is None or c.answered == view.answered,
            c.agreement is None or (view.answered and view.agreement >= c.agreement),
            c.p is None or (view.p is not None and view.p >= c.p),
            c.votes is None or view.votes >= c.votes,
            c.says is None or all(_says(view.names.get(name, ""), words) for name, words in c.says.items()),
            c.any is None or any(holds(one, view) for one in c.any),
            c.negated is None or not holds(c.negated, view),
        )
    )


def _says(text: str, words: str) -> bool:
    return words.casefold() in text.casefold()
