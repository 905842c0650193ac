"""What the judging models are shown: packaged templates, and other people's text where it can do no harm.

A candidate is hostile until shown otherwise: it may carry instructions for the judge, a score in the judge's own form,
a forged end of its quotation, or the control tokens of a chat template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from ..core import templates
from ..core.completions import Message, Params
from ..core.effects import Sample
from ..core.task import Candidate, Task
from ..core.verdict import Verdict

LONGEST = 200_000  # characters; what is longer is no answer to be read by a model
USUAL = 2048  # characters of the candidate that stands in where a check is priced before there is one

# Control tokens of chat templates (ChatML, Llama 2 and 3, Mistral, Gemma, ...): where a template is applied as text,
# they would end our message and open another in the system's name.
_CONTROL = re.compile(r"<(?=\|[\w ./:-]{1,60}\|>)|<(?=[|\uff5c])|<(?=/?(?:s|bos|eos|start_of_turn|end_of_turn|SYS)>)"
                      r"|<(?=<SYS>>|</SYS>>)|\[(?=/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS)\])")  # fmt: skip
_UNPRINTED = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]")


def render(name: str, overrides: Mapping[str, str], /, **values: Any) -> str:
    """The packaged template `name`, or the override of that name. Raises `BadSettings` for a bad template."""
    return templates.render(__package__ or "", name, overrides.get(name), **values)


def asked(text: str, model: str | None, params: Params) -> Sample:
    """The effect that asks a judging model. It has no task: its reply is no candidate."""
    return Sample((Message("user", text),), None, model, params)


def question(task: Task) -> str:
    """What the task asks, earlier messages included, without control tokens."""
    if len(task.messages) == 1:
        return defang(task.query)
    return defang("\n\n".join(f"[{m.role}] {m.content}" for m in task.messages))


def defang(text: str) -> str:
    """The same text for a reader, with the control tokens of chat templates broken up."""
    return _CONTROL.sub(lambda m: m[0] + " ", text)


@dataclass(frozen=True, slots=True)
class Quoted:
    """Text inside a fence: `text` between two lines `fence`, which does not occur in it."""

    text: str
    fence: str
    cut: int = 0  # characters left out


def quoted(text: str, most: int = 8_000, *, inert: re.Pattern[str] | None = None, fence: str | None = None) -> Quoted:
    """`text` as it is shown to a judge: at most `most` characters (head and tail), lines that match `inert` (the form
    of a judge's own reply) marked as quotations, and a fence of its own unless one is given."""
    shown, cut = shortened(text, most)
    shown = defang(shown)
    if inert is not None:
        shown = "\n".join(f"> {line}" if inert.match(line) else line for line in shown.splitlines())
    return Quoted(shown, fence or fence_for(text), cut)


def fence_for(*texts: str) -> str:
    """A line that occurs in none of the texts. It is derived from them, so that the same texts give the same prompt: to
    forge it, a text would have to hold its own hash, and then another fence is taken."""
    seed = "\x1e".join(texts).encode("utf-8", "surrogatepass")
    tries = 0
    while True:
        mark = _letters(blake2b(seed, digest_size=4, salt=str(tries).encode()).hexdigest())
        if not any(mark in text for text in texts):
            return f"=== {mark} ==="
        tries += 1


def _letters(digits: str) -> str:
    """Hexadecimal digits as letters: a digit in the prompt is one that a small judge may repeat as its grade."""
    return digits.translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop"))


def shortened(text: str, most: int) -> tuple[str, int]:
    """At most `most` characters of a text, its head and its tail, and how many were left out between them."""
    cut = len(text) - most
    if cut <= 0:
        return text, 0
    head, tail = most - most // 2, most // 2
    return f"{text[:head]}\n[... {cut:,} characters left out ...]\n{text[len(text) - tail :]}", cut


def hopeless(candidate: Candidate) -> Verdict | None:
    """The verdict on what no model needs to read, at no cost; None for what can be judged. Nothing and binary data
    score 0: they are no answer. What is too long is unknown."""
    text = candidate.text
    if len(text) > LONGEST:
        return Verdict(None, evidence=f"{len(text):,} characters: too long to be judged (at most {LONGEST:,})")
    if not text.strip():
        return Verdict(0.0, evidence="the candidate is empty")
    if (odd := len(_UNPRINTED.findall(text))) * 20 > len(text):
        return Verdict(0.0, evidence=f"not text: {odd:,} of {len(text):,} characters cannot be printed")
    return None


def standing_in(task: Task, most: int) -> Candidate:
    """A candidate for pricing: as long as the longest known one, or of a usual length."""
    longest = max((len(c.text) for c in task.known), default=USUAL)
    return Candidate("word " * (max(1, min(longest, most)) // 5 + 1))
