"""Reading answers: find the candidate in a completion and give it a key, so that equal answers vote together.

Everything here is pure, total and bounded: any text gives a Reading or None, never an exception and never a hang,
because what is read was written by a model and may be anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import choice, code, json_, locate, number, text

if TYPE_CHECKING:
    from ..task import AnswerKind, Contract

__all__ = ["Reading", "read", "value_of"]

# What a reader gives back: the answer, its key, its value.
_Found = tuple[str, str, Any]
_READERS: Mapping[AnswerKind, Callable[[Contract, str], _Found | None]] = MappingProxyType(
    {"number": number.read, "choice": choice.read, "text": text.read, "json": json_.read, "code": code.read}
)


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer as people write it, its canonical key (equal answers have equal keys), and its Python value.

    `value` is what a user's check receives: a number is an int if whole, else a float; a choice is the option's
    label (or the option as given, if it has none); text and code are str; json is the parsed object.
    """

    answer: str
    key: str
    value: Any


def read(contract: Contract, text: str) -> Reading | None:
    """The answer in a completion, or None where there is none."""
    seen = locate.visible(text)
    if not seen.strip():
        return None
    try:
        for span in locate.spans(contract.kind, seen, contract.language):
            if found := _READERS[contract.kind](contract, span):
                return Reading(*found)
    except number.TooBig:
        # The answer is there but cannot be held; another number of the text would be a wrong vote.
        return None
    return None


def value_of(contract: Contract, answer: str) -> Any:
    """The Python value of a bare answer (a Reading's `answer`), None if it is not one."""
    try:
        found = _READERS[contract.kind](contract, answer[: locate.LIMIT])
    except number.TooBig:
        return None
    if found:
        return found[2]
    reading = read(contract, answer)
    return reading.value if reading else None
