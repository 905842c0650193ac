"""Reading what models say in a tree search. Every reader has a fallback: no reply raises, and none is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ...core.task import Candidate, Task
from ...core.verdict import Judgement
from .nodes import Step

_BULLET = re.compile(
    r"^\s*(?:[-*•+>]|\(?(?:\d{1,2}|[a-zA-Z])[.):]|(?:step|option|thought|next step)\s*\d*\s*[:.)])\s+", re.I
)
_ANSWER = re.compile(r"^[\s*_#>]*(?:the\s+)?(?:final\s+)?answer\b[*_]*\s*(?:is\b\s*:?|[:=])", re.I)
_WORD = re.compile(r"[a-z]+")
_BEST = re.compile(
    r"best\s+(?:choice|option|path|one)\s*(?:is|:)?\s*[*_\"'(]*(?:choice|option|number)?\s*#?\s*(\d+)", re.I
)
_NUMBER = re.compile(r"\d+")
LONGEST = 2_000  # characters of one thought


def listed(task: Task, reply: Candidate, most: int) -> list[Step]:
    """The thoughts that a reply lists, one a line. Where its lines are marked as a list, the other lines are talk; a
    reply without a line that could be a thought is one thought."""
    lines = [line for line in reply.text.splitlines() if line.strip() and not line.strip().startswith("```")]
    marked = [line for line in lines if _BULLET.match(line) or _ANSWER.match(line)]
    steps: list[Step] = []
    for line in marked or [line for line in lines if not line.rstrip().endswith(":")]:
        text = _BULLET.sub("", line).strip()
        if text:
            steps.append(ends(task, reply, text, len(steps)))
    if not steps and reply.text.strip():
        steps = [ends(task, reply, reply.text.strip())]
    return steps[:most]


def ends(task: Task, reply: Candidate, text: str, place: int = 0) -> Step:
    """The thought, with its candidate where one of its lines states the answer."""
    text = text[:LONGEST]
    line = next((line for line in reversed(text.splitlines()) if _ANSWER.match(line)), None)
    if line is None:
        return Step(text)
    reading = task.contract.read(text if task.contract.kind in ("json", "code") else line)
    if reading is None:
        return Step(text)
    found = replace(reply, text=text, answer=reading.answer, key=reading.key, thought=False)
    return Step(text, replace(found, path=f"{reply.path}#{place}"))


def graded(text: str, labels: Sequence[str]) -> str | None:
    """The grade that a reply ends with: the last of the labels in its last lines, else anywhere; None for none."""
    lines = [line for line in text.lower().splitlines() if line.strip()]
    for part in (*reversed(lines[-2:]), " ".join(lines)):
        found = [str(word) for word in _WORD.findall(part) if word in labels]
        if found:
            return found[-1]
    return None


def voted(text: str, n: int) -> int | None:
    """The place (from 0) of the choice that a reply calls the best: by its form, else the last number that is one."""
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
