"""Exact match of normalised text, as SQuAD's evaluation does it (Rajpurkar et al., 2016)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..core.errors import CallerError
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from .subject import On, shown, subject

_ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Exact:
    """Whether the answer is one of the accepted texts (`reference`: one, or several).

    Both sides are put into Unicode's NFKC form with single blanks. `case`, `accents`, `punctuation` and `articles`
    say what else counts; by default case, punctuation and the English articles do not, accents do. What would be
    left empty (a lone "A", "!") is compared as it stands. Signs are no punctuation: -5 is not 5, and 1.5 not 15.
    """

    reference: str | Sequence[str]
    case: bool = False
    accents: bool = True
    punctuation: bool = False
    articles: bool = False
    on: On = "answer"
    accepted: frozenset[str] = field(init=False, repr=False, compare=False)
    name: ClassVar[str] = "exact"

    def __post_init__(self) -> None:
        given = (self.reference,) if isinstance(self.reference, str) else tuple(self.reference)
        if not given or not all(isinstance(text, str) and text.strip() for text in given):
            raise CallerError(f"reference={self.reference!r:.80}: expected a text, or several, none of them empty")
        if self.on not in ("answer", "text"):
            raise CallerError(f"on={self.on!r}: expected 'answer' or 'text'")
        object.__setattr__(self, "reference", given)
        object.__setattr__(self, "accepted", frozenset(self.normal(text) for text in given))

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        """1.0 or 0.0, exact."""
        text = subject(candidate, self.on)
        if isinstance(text, Verdict):
            return text
        if self.normal(text) in self.accepted:
            return Verdict(1.0, exact=True, evidence=f"{shown(text)} is accepted")
        first = shown(next(iter(self.reference)))
        return Verdict(0.0, exact=True, evidence=f"{shown(text)} is not {first}")

    def normal(self, text: str) -> str:
        """The form in which texts are compared."""
        text = unicodedata.normalize("NFKC", text)
        if not self.case:
            text = unicodedata.normalize("NFKC", text.casefold())
        if not self.accents:
            bare = (c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
            text = unicodedata.normalize("NFC", "".join(bare))
        whole = " ".join(text.split())
        if not self.punctuation:
            text = "".join(c if _keeps(whole, i) else " " if c in "-/_" else "" for i, c in enumerate(whole))
        if not self.articles:
            text = _ARTICLES.sub(" ", text)
        return " ".join(text.split()) or whole


def _keeps(text: str, at: int) -> bool:
    """Whether a character counts: no punctuation, or the sign or the point of a number."""
    c = text[at]
    if not unicodedata.category(c).startswith("P"):
        return True
    after = text[at + 1 : at + 2]
    before = text[at - 1 : at] if at else ""
    if c == "-":
        return after.isdigit() and not before.isalnum()
    return (c in ".," and before.isdigit() and after.isdigit()) or c in "%#&@"
