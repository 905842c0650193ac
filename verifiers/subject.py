"""What a text verifier looks at: the answer or the whole completion, if it is there and not too large."""

from __future__ import annotations

from typing import Literal

from ..core.task import Candidate
from ..core.verdict import Verdict

On = Literal["answer", "text"]
LIMIT = 100_000  # characters: what the readers of answers look at, too


def subject(candidate: Candidate, on: On = "answer", limit: int = LIMIT) -> str | Verdict:
    """The text to check, or the verdict where there is none (exactly wrong) or too much of it (unknown)."""
    text = candidate.answer if on == "answer" else candidate.text
    if text is None:
        return Verdict(0.0, exact=True, evidence="the completion holds no answer")
    if len(text) > limit:
        return Verdict(None, evidence=f"{len(text):,} characters are more than are looked at ({limit:,})")
    return text


def shown(text: str, most: int = 60) -> str:
    """A text as evidence quotes it: short, on one line, and printable (lone surrogates are escaped)."""
    return repr(text[:most]) + ("..." if len(text) > most else "")
