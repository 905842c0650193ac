"""A shadow: another policy on the draws of a request that is over. It costs nothing, and no answer waits for it.

The shadow's plan runs as any does, and is answered from the journal of the finished run: equal requests get equal
replies, in the order in which they came. Where it asks for what was not asked then, that is a miss, and counted.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...budgets.policy import Policy
from ...budgets.purse import Purse
from ...core.completions import Completion, Usage
from ...core.effects import Recall, Remember, Sample, Score
from ...core.errors import TraceMiss
from ...core.plans import Strategy
from ...core.task import Candidate
from .. import codec
from ..decisions import Economics
from ..driving import first_draw
from ..journal import Row
from ..nodes import Call, Reply
from ..offline import Memory
from ..run import Run
from ..spec import Spec, plan_of
from ..tariff import Tariff


class Record:
    """The replies of a finished run, by what was asked: a fingerprint, as the journal has it."""

    def __init__(self, rows: Sequence[Row], default: str | None) -> None:
        self._default = default
        self._replies: dict[str, deque[str]] = defaultdict(deque)
        for row in sorted(rows, key=lambda r: (r.path, r.attempt)):
            if row.kind != "reply" or row.effect not in ("sample", "score"):
                continue
            facts = json.loads(row.payload)
            if not (facts.get("retry") or facts.get("cancelled") or facts.get("hedged") or "error" in facts):
                self._replies[row.fingerprint].append(row.payload)

    def answer(self, call: Call) -> Any:
        """What came of the next equal request: a Candidate or a Verdict. Raises `TraceMiss`."""
        effect = call.effect
        for asked in self._alike(effect):
            found = self._replies.get(codec.fingerprint(asked))
            if found:
                # A verdict on the same text is the same however often it is asked.
                payload = found.popleft() if isinstance(effect, Sample) else found[0]
                return codec.decode_reply(asked, payload)
        raise TraceMiss(f"the finished run has no such {type(effect).__name__.lower()}, or no further one")

    def _alike(self, effect: Any) -> list[Any]:
        """The same request with the default model named, and not."""
        if not isinstance(effect, Sample) or self._default is None:
            return [effect]
        if effect.model is None:
            return [effect, replace(effect, model=self._default)]
        return [effect, replace(effect, model=None)] if effect.model == self._default else [effect]


def replayed(record: Record, spec: Spec, strategy: Strategy, policy: Policy, tariff: Tariff) -> Run:
    """A run of `policy` on what was recorded. Raises `TraceMiss` where that does not answer it."""
    run = Run(
        plan_of(strategy, spec.task),
        purse=Purse.of(spec.budget),
        economics=Economics(spec.budget, policy, tariff, spec.shadow),
        id="shadow",
        seed=spec.seed,
    )
    run.drawn_from = first_draw(spec.task)
    memory = Memory()
    run.start()
    while run.outcome is None:
        calls = run.take().calls
        if not calls:
            raise TraceMiss("the shadow waits for what no record answers")
        for call in calls:
            if call.state == "done":
                continue
            if isinstance(call.effect, Sample):
                run.reply(call, _reply(record.answer(call)), run.books.now)
            elif isinstance(call.effect, Score):
                run.deliver(call, record.answer(call), run.books.now)
            elif isinstance(call.effect, Recall | Remember):
                run.deliver(call, memory.perform(call.effect), run.books.now)
            else:
                raise TraceMiss(f"nothing replays {type(call.effect).__name__}")
    return run


def _reply(one: Candidate) -> Reply:
    tokens = one.tokens or 0
    completion = Completion(one.text, one.finish, one.tokens, one.logprobs, one.alternatives)
    return Reply(completion, Usage(max(0, one.spent.tokens - tokens), tokens), one.spent.seconds, one.spent.nanos)


def compared(
    record: Record, spec: Spec, strategy: Strategy, policy: Policy, tariff: Tariff, served: Any
) -> dict[str, int]:
    """What a shadow came to beside the solution that was `served`, as counts to be added: requests, misses, equal
    answers, and nano-dollars of either where there was no miss."""
    try:
        run = replayed(record, spec, strategy, policy, tariff)
    except TraceMiss:
        return {"requests": 1, "misses": 1}
    outcome = run.outcome
    found = outcome.answer.candidate if outcome is not None and outcome.answer is not None else None
    best = served.best
    same = (found.key if found else None) == (best.key if best else None)
    return {
        "requests": 1,
        "replayed": 1,
        "same": int(same),
        "answered": int(found is not None),
        "nanos_shadow": run.root.purse.posted[0],
        "nanos_served": served.spend.nanos,
    }
