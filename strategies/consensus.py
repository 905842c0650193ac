"""Universal self-consistency: a model is shown the answers and says which is the most consistent with the others, where
answers are free text that no key can count (Chen et al. 2023, arXiv:2311.17311).

It is asked twice, with the answers in one order and in the reverse, and is followed where both times it means the same
answer: one that prefers a place contradicts itself, and then the plain count stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.completions import Params
from ..core.effects import Gather, Sample
from ..core.errors import GatherFailed, ModelError
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..verifiers.prompting import fence_for, quoted
from .prompting import thinking
from .steps import dice

_SAID = re.compile(
    r"\W*(?:(?:the\s+)?(?:most\s+consistent\s+)?(?:answer|response|choice)\W+(?:is\W+)?"
    r"(?:(?:answer|response|number)\W+)?)?#?(\d{1,4})\W*$",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Panel:
    """The answers as they are shown: `orders` are two orders of their indices, one the reverse of the other."""

    answers: tuple[Candidate, ...]
    samples: tuple[Sample, Sample]
    orders: tuple[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def of(cls, task: Task, answers: Sequence[Candidate], model: str | None, params: Params, most: int) -> Panel:
        """`most`: characters of all answers together."""
        order = list(range(len(answers)))
        dice(task, "consensus").shuffle(order)
        orders = (tuple(order), tuple(reversed(order)))
        fence = fence_for(*(answer.text for answer in answers))
        each = max(80, most // max(1, len(answers)))
        texts = [quoted(answer.text, each, inert=_SAID, fence=fence).text for answer in answers]
        first, second = (
            thinking(task, "consensus", model, params, answers=[texts[i] for i in order], fence=fence)
            for order in orders
        )
        return cls(tuple(answers), (first, second), orders)

    def ask(self) -> Plan[Candidate | None]:
        """The answer that is chosen in both orders; None where there is none."""
        try:
            replies: tuple[Candidate | None, ...] = yield from Gather(self.samples)
        except (GatherFailed, ModelError):
            return None
        chosen = [self._chosen(reply, order) for reply, order in zip(replies, self.orders, strict=True)]
        one, other = chosen
        if one is None or other is None:
            return None
        return one if one is other or (one.key is not None and one.key == other.key) else None

    def _chosen(self, reply: Candidate | None, order: tuple[int, ...]) -> Candidate | None:
        place = said(reply.text, len(order)) if reply is not None else None
        return self.answers[order[place - 1]] if place is not None else None


def said(text: str, count: int) -> int | None:
    """The number of the answer that a reply names, 1 to `count`: the last line that says one and nothing else. Never
    raises."""
    lines = (_SAID.match(line.strip()) for line in reversed(text[-4000:].splitlines()))
    found = next((int(line[1]) for line in lines if line is not None), None)
    return found if found is not None and 1 <= found <= count else None
