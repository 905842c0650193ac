"""One statement in a debate: claim, critique, synthesis, read from whatever an agent wrote."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ..core.task import Candidate
from ..verifiers.prompting import Quoted, quoted

_LABEL = re.compile(r"^[ \t>*#\-_]*(claim|critique|synthesis|answer)[ \t*_]*:[ \t*_]*", re.IGNORECASE | re.MULTILINE)
PARTS = ("critique", "synthesis", "claim")
LONGEST = 20_000  # characters that are searched for JSON


@dataclass(frozen=True, slots=True)
class Statement:
    """What an agent said last. An unformatted reply is all claim."""

    agent: int
    candidate: Candidate
    claim: str
    critique: str = ""
    synthesis: str = ""

    @classmethod
    def of(cls, agent: int, candidate: Candidate) -> Statement:
        """Reads a reply. Total: any text makes a statement."""
        said = parts_of(candidate.text)
        return cls(agent, candidate, said.pop("claim", "") or candidate.text.strip(), **said)

    @property
    def key(self) -> str | None:
        return self.candidate.key

    def shown(self, most: int) -> Quoted:
        """As another agent sees it: claim, synthesis and critique in at most `most` characters, and the answer in
        full, which is what matters most."""
        lines = [self.claim, *(f"{n}: {t}" for n, t in (("But", self.critique), ("So", self.synthesis)) if t)]
        text = quoted("\n".join(line for line in lines if line), most).text
        answer = self.candidate.answer
        if answer is not None and not text.endswith(answer):
            text = f"{text}\nAnswer: {quoted(answer, most).text}".lstrip()
        return quoted(text, 4 * most)


def parts_of(text: str) -> dict[str, str]:
    """The labelled parts of a reply: from lines that begin with "Claim:" and so on, or from a JSON object."""
    found: dict[str, str] = {}
    marks = list(_LABEL.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    for mark, end in zip(marks, ends, strict=False):
        name, said = mark[1].lower(), text[mark.end() : end].strip()
        if name in PARTS and said:
            found[name] = said  # the last one stands, as with answers
    return found or _from_json(text)


def _from_json(text: str) -> dict[str, str]:
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end <= start or len(text) > LONGEST:
        return {}
    try:
        data = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    lower = {str(name).lower(): said for name, said in data.items()}
    return {
        n: str(lower[n]).strip() for n in PARTS if isinstance(lower.get(n), str | int | float) and str(lower[n]).strip()
    }
