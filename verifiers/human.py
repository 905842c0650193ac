"""A person as verifier: the run waits, durably, until someone says whether the answer is right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from ..core.effects import Ask
from ..core.errors import CallerError
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from .judge import clip
from .prompting import hopeless, shortened

_WORDS: dict[str, float | None] = {
    **dict.fromkeys(("right", "yes", "y", "true", "correct", "ok", "good", "pass", "1", "100%"), 1.0),
    **dict.fromkeys(("wrong", "no", "n", "false", "incorrect", "bad", "fail", "0", "0%"), 0.0),
    **dict.fromkeys(("unsure", "unknown", "?", "maybe", "skip", "don't know", "dont know", "i don't know"), None),
}
_NUMBER = re.compile(r"(\d{1,3}(?:\.\d{1,6})?|\.\d{1,6})\s*(%?)")
# Escape sequences and other control characters could rewrite the terminal of whoever is asked.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Human:
    """Asks a person, who is shown the query and the candidate.

    The first of `options` means right, the second wrong, the third that the person cannot tell; plain forms of these
    ("yes", "n", "0.8", "80%") are understood too. Right and wrong are the truth unless `exact` is off; a number between
    is a score. What is none of these is asked for once more, and then unknown. With `strict` only the options are
    taken, and whoever answers sees them as a choice.
    """

    late: ClassVar[bool] = True  # a person is asked after everything else, and not of what has failed

    question: str | None = None
    options: tuple[str, str, str] = ("right", "wrong", "unsure")
    exact: bool = True
    strict: bool = False
    most_chars: int = 8_000
    name: str = "human"

    def __post_init__(self) -> None:
        if len(self.options) != 3 or len({option.strip().lower() for option in self.options if option.strip()}) != 3:
            raise CallerError(f"options={self.options!r}: expected three different words: right, wrong, cannot tell")
        if self.most_chars < 100:
            raise CallerError(f"most_chars={self.most_chars!r}: expected 100 or more")

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        if (verdict := hopeless(candidate)) is not None:
            return verdict
        text = self._text(task, candidate)
        said: str = yield from Ask(text, self.options if self.strict else ())
        understood, score = self._read(said)
        if not understood:
            again = f"{clip(said, 60)!r} was not understood. Reply {', '.join(self.options)}, or a number from 0 to 1."
            said = yield from Ask(f"{again}\n\n{text}", self.options if self.strict else ())
            understood, score = self._read(said)
        if not understood:
            return Verdict(None, evidence=f"{self.name}: not understood: {clip(said)!r}")
        return Verdict(score, exact=self.exact and score in (0.0, 1.0), evidence=f"{self.name}: {clip(said)}")

    def _text(self, task: Task, candidate: Candidate) -> str:
        asked = self.question or "Is this answer right?"
        how = "" if self.strict else f"\nReply {', '.join(self.options)}, or a number from 0 to 1."
        shown, query = _visible(candidate.text, self.most_chars), _visible(task.query, self.most_chars)
        read = f"\n\nAnswer, as read from it: {_visible(candidate.answer, 400)}" if candidate.answer else ""
        if candidate.answer is not None and candidate.answer.strip() == candidate.text.strip():
            read = ""
        return f"{asked}{how}\n\nQuestion:\n{query}\n\nReply of the model:\n{shown}{read}"

    def _read(self, said: object) -> tuple[bool, float | None]:
        """Whether a reply is understood, and the score that it gives."""
        word = " ".join(str(said).strip().strip("\"'").rstrip(".!").lower().split())
        for option, score in zip(self.options, (1.0, 0.0, None), strict=True):
            if word == option.strip().lower():
                return True, score
        if self.strict:
            return False, None
        if word in _WORDS:
            return True, _WORDS[word]
        if found := _NUMBER.fullmatch(word):
            number = float(found[1]) / (100.0 if found[2] else 1.0)
            return (True, number) if number <= 1 else (False, None)
        return False, None


def _visible(text: str, most: int) -> str:
    return _CONTROL.sub("", shortened(text, most)[0])
