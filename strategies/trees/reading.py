"""Reading what models say in a tree search. Every reader has a fallback: no reply raises, and none is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...core.task import Candidate, Contract, Task
from ...core.verdict import Judgement
from .nodes import Step

if TYPE_CHECKING:
    from ...core.answers import Reading

# No two parts of a pattern can share out the same characters without a bound: a flood of them is read in linear time.
_BULLET = re.compile(
    r"\s*(?:[-*•+>]|\(?(?:\d{1,2}|[a-zA-Z])[.):]|(?:step|option|thought|next step)\s{0,3}\d{0,4}\s{0,3}[:.)])\s+", re.I
)
_ANSWER = re.compile(r"^[\s*_#>]*(?:the\s+)?(?:final\s+)?answer\b[*_]*\s*(?:is\b\s*:?|[:=])", re.I)
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[.,:;!?()]")
_NOT = re.compile(r"not|no|never|cannot|hardly|neither|nor|[a-z]+n't")
_BREAKS = (*".,:;!?()", "but", "so", "yet", "hence", "therefore")
REACH = 3  # words after it that a negation may speak of
_BEST = re.compile(
    r"best (?:choice|option|path|one) ?(?:is)? ?:? ?[*_\"'(]{0,4}(?:choice|option|number)? ?#? ?(\d+)", re.I
)
_NUMBER = re.compile(r"\d+")
LONGEST = 2_000  # characters of one thought, and of the end of a reply in which its verdict is looked for


@dataclass(frozen=True, slots=True)
class Thoughts(Contract):
    """The contract of a reply that holds thoughts: the answer of the first that states one, so that it is a candidate
    of the run like any other. `most`: of how many thoughts, one a line; 0: the reply is one thought."""

    most: int = 0

    @classmethod
    def of(cls, contract: Contract, most: int = 0) -> Thoughts:
        return cls(contract.kind, contract.choices, contract.schema, contract.language, most)

    def read(self, text: str) -> Reading | None:
        """The first answer that a thought states, None where none does."""
        found = (_stated(self, thought) for thought in (lines(text, self.most) if self.most else [text.strip()]))
        return next((reading for reading in found if reading is not None), None)

    def interim(self, text: str) -> bool:
        """Thoughts without an answer are thoughts."""
        return True


def lines(text: str, most: int) -> list[str]:
    """The thoughts that a text lists, one a line. Where its lines are marked as a list, the other lines are talk; a
    text without a line that could be a thought is one thought."""
    found = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("```")]
    marked = [line for line in found if _BULLET.match(line) or _ANSWER.match(line)]
    plain = (_unmarked(line) for line in marked or [x for x in found if not x.rstrip().endswith(":")])
    thoughts = [line for line in plain if line] or ([text.strip()] if text.strip() else [])
    return thoughts[:most]


def _unmarked(line: str) -> str:
    mark = _BULLET.match(line)
    return line[mark.end() :].strip() if mark else line.strip()


def listed(task: Task, reply: Candidate, most: int) -> list[Step]:
    """The thoughts that a reply lists, as steps."""
    steps: list[Step] = []
    for text in lines(reply.text, most):
        steps.append(ends(task, reply, text, sum(step.candidate is not None for step in steps)))
    return steps


def ends(task: Task, reply: Candidate, text: str, place: int = 0) -> Step:
    """The thought, with its candidate where it states the answer. `place`: how many answers of the reply come before
    it; the first one is the reply's own."""
    reading = _stated(task.contract, text)
    text = text[:LONGEST]
    if reading is None:
        return Step(text)
    found = replace(reply, text=text, answer=reading.answer, key=reading.key, thought=False)
    return Step(text, replace(found, path=f"{reply.path}#{place}") if place else found)


def _stated(contract: Contract, text: str) -> Reading | None:
    text = text[:LONGEST]
    line = next((line for line in reversed(text.splitlines()) if _ANSWER.match(line)), None)
    if line is None:
        return None
    return Contract.read(contract, text if contract.kind in ("json", "code") else line)


def graded(text: str, labels: Sequence[str]) -> str | None:
    """The grade that a reply ends with: the last of the labels in its last lines, else anywhere in its last 2,000
    characters; None for none. A label that is negated ("not sure") is none."""
    lines = [line for line in text[-LONGEST:].lower().replace("\u2019", "'").splitlines() if line.strip()]
    for part in (*reversed(lines[-2:]), ". ".join(lines)):
        found = [word for word in _asserted(part) if word in labels]
        if found:
            return found[-1]
    return None


def _asserted(text: str) -> list[str]:
    """The words of which no negation shortly before them, in the same clause, says the opposite."""
    words, since = [], REACH
    for word in _WORD.findall(text):
        if _NOT.fullmatch(word):
            since = 0
        elif word in _BREAKS:
            since = REACH
        else:
            since += 1
            if since > REACH:
                words.append(word)
    return words


def voted(text: str, n: int) -> int | None:
    """The place (from 0) of the choice that a reply calls the best: by its form, else the last number that is one.
    Only the last 2,000 characters are read."""
    text = " ".join(text[-LONGEST:].split())
    for numbers in (_BEST.findall(text), _NUMBER.findall(text)):
        for number in reversed(numbers):
            if len(number) < 6 and 1 <= int(number) <= n:
                return int(number) - 1
    return None


def said(judgement: Judgement) -> str:
    """A verdict in words for the model that is to do better."""
    verdict = judgement.verdict
    what = "" if verdict.score is None else "passed" if verdict.passed else f"score {verdict.score:.2f} of 1"
    if verdict.exact and not verdict.passed:
        what = "failed"
    told = verdict.evidence.strip()[:1_000]
    return f"{judgement.verifier}: {'; '.join(part for part in (what, told) if part)}" if what or told else ""
