"""Single-shot: ask once. The plain baseline, and often the best buy. With as much thinking as is asked for: a
model's own effort or thinking budget where it has one, and budget forcing where it has none (s1, Muennighoff et al.
2025, arXiv:2501.19393)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from ..budgets.beliefs import Unstarted
from ..budgets.rounds import RoundsBelief
from ..budgets.voting import VotingBelief
from ..core import templates
from ..core.completions import Message, Params
from ..core.effects import Effect, Offer, Sample
from ..core.errors import CallerError, ModelRefused
from ..core.plans import Answer, Plan
from ..core.task import Candidate, Task
from .prompting import draw
from .steps import one_of, parameters, whole

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
Step = Literal["wait", "end"]


@dataclass(frozen=True, slots=True)
class SingleShot:
    """One completion, greedy unless a temperature is given. A completion without a readable answer is no answer.
    The task's checks are not made: an answer that one would refute is given. `best_of_n` makes them.

    `effort` ("low", "medium", "high", ...) and `thinking` (tokens, fewer than `params.max_tokens`) are the model's own
    reasoning effort and thinking budget; providers that have none ignore them. With either, a temperature of 0 is left
    to the provider, as most reasoning models take none.

    Budget forcing, for models without: `waits` times at the most the end of the reply is suppressed, which goes back
    as the assistant's words and "Wait" (prompt "forcing_wait"), for the model to go on from there. A reply that
    `max_tokens` cut off is brought to its end with `ending` tokens after "Final answer:" ("forcing_end"). Each is a
    call of its own, made where it is worth its price; the latest readable answer is on offer. `prefill`: the model goes
    on in the middle of its own reply, as llama.cpp and several providers let it. One that takes such a message for a
    finished one answers anew after reading itself; one that refuses it is asked by a turn of the user, as all are with
    `prefill=False`.
    """

    model: str | None = None
    params: Params = Params(temperature=0.0)
    effort: str | None = None
    thinking: int | None = None
    waits: int = 0
    ending: int = 0
    prefill: bool = True
    name: ClassVar[str] = "single_shot"
    pays: ClassVar[str] = "nearly always, as a first buy: the baseline that every other way has to beat per dollar"

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        parameters("params", self.params)
        for what in ("waits", "ending"):
            whole(what, getattr(self, what), 0)
        whole("thinking", self.thinking, optional=True)
        one_of("prefill", self.prefill, (True, False))
        if self.effort is not None and self.effort not in EFFORTS:
            raise CallerError(f"effort={self.effort!r}: expected one of {', '.join(EFFORTS)}")
        if self.thinking is not None and not self.thinking < self.params.max_tokens:
            most = self.params.max_tokens
            raise CallerError(f"thinking={self.thinking!r}: expected tokens, above 0 and fewer than max_tokens={most}")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return (draw(task, self.model, self.drawn),)

    def __call__(self, task: Task) -> Plan[Answer]:
        sample = draw(task, self.model, self.drawn)
        yield from Offer(None, Unstarted(), (sample,))
        candidate = yield from sample
        if not self.waits and not self.ending:
            if candidate.key is None:
                return Answer(None, "unreadable")
            return Answer(candidate, belief=VotingBelief(1))
        answer = yield from self._forced(task, sample, candidate)
        return answer

    def _forced(self, task: Task, sample: Sample, last: Candidate) -> Plan[Answer]:
        """Goes on from the first reply. `said` is all that the model has said, our own words in it included."""
        best = last if last.key is not None else None
        said, waited, stalled, prefill = last.text, 0, 0, self.prefill
        while True:
            cut = last.finish == "length"
            if not cut and waited >= self.waits:
                break
            if cut and not self.ending:
                break
            step: Step = "end" if cut else "wait"
            messages, spoken = _going_on(task, sample, said, step, prefill)
            params = replace(sample.params, max_tokens=self.ending) if cut else sample.params
            following = replace(sample, messages=messages, params=params)
            evidence = VotingBelief(1) if best else None
            left = 1 if cut else self.waits - waited
            belief = RoundsBelief(stalled, left, evidence)
            yield from Offer(Answer(best, belief=evidence) if best else None, belief, (following,))
            try:
                last = yield from following
            except ModelRefused:
                if not prefill:
                    raise
                prefill = False  # it takes no reply to go on from
                continue
            said = f"{spoken}{last.text}"
            waited += not cut
            if last.key is not None:
                stalled = stalled + 1 if best is not None and best.key == last.key else 0
                best = last
            if cut:
                break
        return Answer(best, belief=VotingBelief(1)) if best else Answer(None, "unreadable")

    @property
    def drawn(self) -> Params:
        """The parameters of its completions: effort and thinking budget put in."""
        params = self.params
        if self.effort is not None or self.thinking is not None:
            params = replace(params, temperature=params.temperature or None, effort=self.effort or params.effort)
        if self.thinking is not None:
            extra = dict(params.extra) | {"thinking_budget": self.thinking}
            params = replace(params, extra=tuple(sorted(extra.items())))
        return params


def _going_on(task: Task, sample: Sample, said: str, step: Step, prefill: bool) -> tuple[tuple[Message, ...], str]:
    """The messages with which a model goes on after what it has said, and what it will have said before its next
    word. Only what the model said itself is put in its mouth, and our few words after it."""
    name = f"forcing_{step}"
    words = templates.render(__package__ or "", name, task.prompts.get(name), prefill=prefill, query=task.query).strip()
    if not prefill:
        so_far = (Message("assistant", said),) if said.strip() else ()
        return (*sample.messages, *so_far, Message("user", words)), f"{said.rstrip()}\n\n".lstrip()
    spoken = f"{said.rstrip()}\n{words}".lstrip()
    return (*sample.messages, Message("assistant", spoken)), spoken
