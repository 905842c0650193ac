"""Recorded answers' keys, and what kind of answer a data set has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from ...core.answers import choice, number, text
from ...core.task import AnswerKind, Contract

MOSTLY = 0.9  # share of a dataset's golds and answers that must look like its kind
_LABEL = re.compile(r"[A-J]|[1-9]")
_NUMBER = re.compile(r"[-+]?\$?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?%?|[-+]?\.\d+")


def kind_of(golds: Sequence[str], answers: Sequence[str]) -> AnswerKind:
    """A data set's kind of answer, where nearly all golds and answers look like it; text otherwise. Exams call the
    options of some questions 1 to 4 and those of others A to D."""
    if not golds:
        return "text"
    lettered = sum(g.strip().isalpha() for g in golds) > len(golds) / 2
    if lettered and _mostly(_LABEL, golds) and _mostly(_LABEL, answers):
        return "choice"
    return "number" if _mostly(_NUMBER, golds) and _mostly(_NUMBER, answers) else "text"


def _mostly(like: re.Pattern[str], texts: Sequence[str]) -> bool:
    return sum(bool(like.fullmatch(text.strip())) for text in texts) >= MOSTLY * len(texts)


@lru_cache(maxsize=1 << 16)
def key_of(kind: AnswerKind, answer: str) -> str:
    """The canonical key of a bare answer. One that its reader cannot read keeps its own text's key: recorded answers
    were already found, so none is dropped. JSON and code, normalised by whoever recorded them, compare as they are."""
    contract = Contract(kind)
    found: tuple[str, str, object] | None = None
    try:
        if kind == "choice" and _LABEL.fullmatch(answer.upper()):
            found = choice.read(contract, answer)
        elif kind == "number":
            found = number.read(contract, answer)
        elif kind in ("json", "code"):
            return answer
    except number.TooBig:
        found = None
    return found[1] if found else text.normal(answer) or answer
