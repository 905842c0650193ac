"""The books of a run: journal rows, what each call was held at and settled at, and what each frame has spent."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

from ..core.amounts import ZERO, Amounts
from ..core.completions import Usage
from ..core.effects import Ask, Sample
from ..core.task import Candidate
from .journal import Row
from .log import Entry
from .nodes import Call, Frame, Path, Reply, Resolved, line
from .paths import encode
from .tariff import Tariff


class Books:
    """Writes rows (none without a journal), moves holds, and keeps the clock."""

    def __init__(self, run_id: str, root: Frame, tariff: Tariff, journaled: bool, now: float) -> None:
        self.run_id, self.root, self.tariff, self.journaled = run_id, root, tariff, journaled
        self.now = now
        self.open: set[Call] = set()  # calls that wait for the world
        self.rows: list[Row] = []
        self.calls: list[Call] = []
        self.resolved: list[Resolved] = []  # calls that left, or were about to, and are over

    def clock(self, now: float) -> None:
        self.now = max(self.now, now)

    def send(self, call: Call) -> None:
        """Puts a call on the way: its intent and hold are on record first."""
        if self.journaled:
            amounts = call.hold.amounts if call.hold else ZERO
            asked = "{}"
            if isinstance(call.effect, Ask):
                asked = json.dumps({"ask": call.effect.question, "options": call.effect.options})
            self.row(call.path, call.attempt, "intent", call.kind, asked, amounts, call.fingerprint)
        self.open.add(call)
        self.calls.append(call)

    def settle(self, call: Call, spent: Amounts, payload: str) -> None:
        """Closes a call: its hold gives way to what was spent, and the row says so."""
        self.pay(call, spent)
        self.close(call, spent, payload)

    def pay(self, call: Call, spent: Amounts) -> None:
        """The hold gives way to what was spent."""
        if call.hold is not None:
            call.frame.purse.settle(call.hold, spent)
            self.resolved.append(Resolved(call, spent, call.usage, call.price))
            for frame in line(call.frame):
                frame.spent += spent

    def close(self, call: Call, spent: Amounts, payload: str) -> None:
        """The call is over, and the row says so."""
        call.state = "done"
        self.open.discard(call)
        if self.journaled:
            self.row(call.path, call.attempt, "reply", call.kind, payload, spent, call.fingerprint)

    def drop(self, call: Call) -> None:
        """Takes back a call that never left: no hold, no row."""
        call.state = "done"
        if call.hold is not None:
            call.frame.purse.void(call.hold)
        self.open.discard(call)
        self.calls = [c for c in self.calls if c is not call]
        place = encode(call.path)
        self.rows = [r for r in self.rows if (r.path, r.attempt, r.kind) != (place, call.attempt, "intent")]

    def take_over(self, call: Call, entry: Entry) -> None:
        """What an earlier process spent at this place becomes this frame's; its purse has it since it was opened."""
        self.carry(call.frame, entry.spent)
        call.attempt = entry.attempts

    def remember(self, call: Call, candidate: Candidate) -> None:
        """What an earlier process learnt of a model's replies: estimates must be what they were."""
        if isinstance(call.effect, Sample) and candidate.tokens is not None and not candidate.cached:
            if candidate.model != self.tariff.name(call.effect):  # a fallback's
                if candidate.model not in getattr(self.tariff, "rungs", lambda _: ())(call.effect):
                    return
                call.effect = replace(call.effect, model=candidate.model)
            usage = Usage(candidate.spent.tokens - candidate.tokens, candidate.tokens)
            self._observe(call, usage, candidate.spent.seconds, candidate.finish)

    @staticmethod
    def carry(frame: Frame, spent: Amounts) -> None:
        """Spend of an earlier process, which the purses have already."""
        for each in line(frame):
            each.spent += spent

    def turn_away(self, call: Call, cap: str) -> None:
        """An account above the run has no room for a call that was about to leave."""
        call.state = "done"
        self.open.discard(call)
        if call.hold is not None:
            call.frame.purse.void(call.hold)
        # Not the last word: a run that is resumed asks again.
        facts = json.dumps({"refused": cap, "retry": True})
        self.row(call.path, call.attempt, "reply", call.kind, facts, ZERO, call.fingerprint)

    def refuse(self, call: Call, cap: str) -> None:
        self.row(call.path, call.attempt, "reply", call.kind, json.dumps({"refused": cap}), ZERO, call.fingerprint)

    def bill(self, call: Call, reply: Reply) -> Amounts:
        """What a reply cost: nothing if it was known already. One that does not say what it used, or says what cannot
        be, is billed at its hold."""
        assert call.hold is not None
        assert isinstance(call.effect, Sample)
        usage = reply.usage
        if reply.cached:
            return ZERO
        if usage is None or not _sound(usage, reply.nanos):
            return call.hold.amounts
        cost = reply.nanos if reply.nanos is not None else self.tariff.cost(call.effect, usage)
        call.usage, call.price = usage, reply.price
        self._observe(call, usage, reply.seconds, reply.completion.finish)
        return Amounts(cost, usage.prompt + usage.completion, 1)

    def _observe(self, call: Call, usage: Usage, seconds: float, finish: str) -> None:
        """A reply that was cut short would have been as long as was first asked for, or longer."""
        asked, sent = call.asked or call.effect, call.effect
        assert isinstance(asked, Sample)
        assert isinstance(sent, Sample)
        self.tariff.observe(asked, usage, seconds, finish == "length" or usage.completion >= sent.params.max_tokens)

    def candidate(self, call: Call, reply: Reply, spent: Amounts) -> Candidate:
        """The candidate that a completion is: its answer is read by the task's contract."""
        assert isinstance(call.effect, Sample)
        completion = reply.completion
        text = completion.text
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be stored
        task = call.effect.task
        reading = reply.reading
        if task is not None and not reply.recorded and completion.finish != "cut":  # what was cut says nothing
            reading = task.contract.read(text)
        return Candidate(
            text,
            reading.answer if reading else None,
            reading.key if reading else None,
            self.tariff.name(call.effect),
            call.frame.name,
            encode(call.path),
            completion.finish,
            completion.logprobs,
            completion.alternatives,
            reply.usage.completion if reply.usage else None,
            Amounts(spent.nanos, spent.tokens, spent.calls, reply.seconds),
            task is None or (reading is None and task.contract.interim(text)),
            cached=reply.cached,
        )

    def row(
        self,
        path: Path,
        attempt: int,
        kind: Literal["intent", "reply"],
        effect: str,
        payload: str,
        spent: Amounts = ZERO,
        fingerprint: str = "",
    ) -> None:
        if self.journaled:
            place = encode(path)
            amounts = (spent.nanos, spent.tokens, spent.calls)
            self.rows.append(Row(self.run_id, place, attempt, kind, effect, fingerprint, payload, *amounts, self.now))


MOST = 1 << 53  # of anything that a reply says it used


def _sound(usage: Usage, nanos: int | None) -> bool:
    """Whether a reply can have used that. What some server makes up must cost neither the run nor its accounts."""
    for x in (usage.prompt, usage.completion, usage.cached, usage.reasoning, 0 if nanos is None else nanos):
        if not isinstance(x, int) or not 0 <= x <= MOST:
            return False
    return True
