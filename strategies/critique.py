"""What a plan may tell a model of what is wrong with an answer: its own criticism, or what the checks said."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

from ..core.completions import Params
from ..core.effects import Effect, Sample
from ..core.errors import ModelError
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict, Verifier, name_of
from ..verifiers.prompting import hopeless, quoted, standing_in
from .approval import LONGEST, leanings
from .pool import Judged
from .prompting import thinking

RIGHT, WRONG = 0.6, 0.4  # models hardly know when they are wrong (Huang et al. 2023, arXiv:2310.01798)
_VERDICT = re.compile(r"\bverdict\b(?:[ \t]+is\b)?[^\w\n]{0,8}([^\n]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SelfCritique:
    """A verifier: the model looks for a mistake in an answer, and says whether it is right. Its word weighs little
    (.6 or .4) until it is calibrated. Where no verdict can be read the score is unknown. Prompt:
    "reflexion_critique"."""

    model: str | None = None
    params: Params = Params(temperature=0.0, max_tokens=160)
    most_chars: int = 4_000
    name: ClassVar[str] = "self_critique"

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return (self._ask(task, standing_in(task, self.most_chars)),)

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        if (verdict := hopeless(candidate)) is not None:
            return verdict
        try:
            reply: Candidate = yield from self._ask(task, candidate)
        except ModelError as error:
            return Verdict(None, evidence=f"self_critique: {type(error).__name__}: {error}"[:500])
        right = said_right(reply.text)
        score = None if right is None else RIGHT if right else WRONG
        return Verdict(score, evidence=" ".join(reply.text.split())[:1000])

    def _ask(self, task: Task, candidate: Candidate) -> Sample:
        shown = quoted(candidate.text, self.most_chars, inert=_LINE)
        return thinking(task, "reflexion_critique", self.model, self.params, attempt=shown)


_LINE = re.compile(r"\s*\W*verdict\b", re.IGNORECASE)


def said_right(text: str) -> bool | None:
    """Whether a criticism finds the answer right: the first word of its last verdict line that says so, else the last
    such word of its last line. None where that does not tell."""
    for said in reversed(_VERDICT.findall(text[-LONGEST:])):
        if found := leanings(said):
            return found[0]
    lines = [line for line in text[-LONGEST:].splitlines() if line.strip()]
    found = leanings(lines[-1]) if lines else []
    return found[-1] if found else None


def tellable(one: Judged, task: Task) -> str:
    """What the checks said of an answer, for a model that is to do better: evidence, but not of a check that holds a
    reference answer, which its evidence may repeat."""
    parts = []
    for place, check in enumerate(task.checks):
        if place not in one.asked:
            continue
        name, evidence = name_of(check), one.evidence.get(place, "")
        parts.append(f"{name}: {evidence}" if evidence and not holds_reference(check) else "")
    told = "\n".join(part for part in parts if part)
    if one.refuted:
        return f"The answer is wrong.\n{told}".rstrip()
    return told or "The answer is probably wrong."


def holds_reference(check: Verifier | Any, depth: int = 4) -> bool:
    """Whether a check, or one inside it, was given a right answer to compare with."""
    if getattr(check, "reference", None) not in (None, ""):
        return True
    if depth <= 0 or not is_dataclass(check) or isinstance(check, type):
        return False
    inside: list[Any] = []
    for one in fields(check):
        value = getattr(check, one.name)
        inside += value if isinstance(value, tuple | list) else [value]
    return any(holds_reference(value, depth - 1) for value in inside)
