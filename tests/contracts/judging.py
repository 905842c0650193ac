"""For tests of verifiers that ask a model: replies with the probabilities of their tokens, and one verdict of a run.

says = Says(lambda prompt: told("4", {"4": 0.7, "5": 0.2}))
verdict, run = judged(Judge(), task, candidate, says)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from math import log
from typing import Any

from ..budgets.budget import Budget
from ..core.completions import Completion, Usage
from ..core.effects import Sample, Score
from ..core.plans import Answer
from ..core.task import Candidate, Task
from ..core.verdict import Verdict, Verifier
from ..scheduler.nodes import Call, Reply
from ..scheduler.offline import perform
from ..scheduler.run import Run
from .driver import make_run

Said = str | Completion | Exception


def told(text: str, first: Mapping[str, float], *rest: str) -> Completion:
    """A completion whose first token had these alternatives (token -> probability), the likeliest chosen; `rest` are
    the tokens after it, each of them certain."""
    options = tuple(sorted(((token, log(p)) for token, p in first.items()), key=lambda option: -option[1]))
    tops = (options, *(((token, 0.0),) for token in rest))
    return Completion(text, "stop", len(tops), tuple(top[0][1] for top in tops), tops)


@dataclass
class Says:
    """A model: `reply` makes of a prompt what it says. `asked` records the prompts."""

    reply: Callable[[str], Said]
    asked: list[str] = field(default_factory=list)

    def answer(self, call: Call) -> Reply | Exception:
        """As the source of an offline driver."""
        assert isinstance(call.effect, Sample)
        assert call.effect.task is None, "a judge's reply is no candidate"
        prompt = call.effect.messages[-1].content
        self.asked.append(prompt)
        said = self.reply(prompt)
        if isinstance(said, Exception):
            return said
        completion = Completion(said) if isinstance(said, str) else said
        return Reply(completion, Usage(len(prompt.split()), len(completion.text.split())), 0.5)


def judged(
    verifier: Verifier, task: Task, candidate: Candidate, says: Says | None = None, budget: Budget | float = 1.0
) -> tuple[Verdict, Run]:
    """The verdict of one Score in a run of its own."""
    seen: list[Verdict] = []

    def strategy(task: Task) -> Generator[Any, Any, Answer]:
        seen.append((yield from Score(verifier, task, candidate)))
        return Answer(candidate)

    run = perform(
        make_run(strategy, task, budget), says or Says(lambda prompt: AssertionError("nobody is to be asked"))
    )
    assert seen, run.error
    return seen[0], run
