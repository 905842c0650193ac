"""Attempts: what follows a failed call, and calls that hedge another.

Who is asked depends on the number of the attempt alone, so that a resumed run goes on where it was: each model as often
as its `retries` say, then the next of its fallbacks, held and billed at that one's price. A hedge is a second equal
call at the same place in the run; its attempt is numbered `HEDGE` higher. Whichever replies first is the reply, and is
on record before the other is cancelled, which is billed at its hold if it had left.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from ...core.amounts import ZERO
from ...core.effects import Sample
from ...core.errors import ModelError
from ..nodes import HEDGE, Call, Fan
from ..paths import seed_of
from ..refusing import shrink

if TYPE_CHECKING:
    from ..run import Run

LONGEST = 60.0  # seconds that a provider may ask us to wait
BACKOFF = 0.5  # seconds before the first retry, doubled for each further one, half of it jitter


class Attempts:
    """Of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def place(self, call: Call, sample: Sample) -> Sample:
        """Makes a call that is taken up again that of its attempt, and returns the sample that it asks for."""
        rungs = self._rungs(call) if call.attempt else ()
        if rungs:
            call.rungs = rungs
            self._ask(call, rungs[min(call.attempt, len(rungs) - 1)])
        return call.effect if isinstance(call.effect, Sample) else sample

    def after(self, call: Call, error: Exception) -> Call | None:
        """The next attempt, held; None where there is none, or none that the purse can pay."""
        if not isinstance(error, ModelError) or not (error.transient or error.skip) or call.hold is None:
            return None
        rungs, attempt = self._rungs(call), call.attempt % HEDGE
        if not rungs:
            if error.skip or attempt >= self._run.retries:
                return None
            rungs = (self._run.tariff.name(call.effect),) * (attempt + 2) if isinstance(call.effect, Sample) else ()
        asked = rungs[min(attempt, len(rungs) - 1)]
        for number in range(attempt + 1, len(rungs)):
            if rungs[number] == asked and error.skip:
                continue
            again = self._next(call, number, rungs, error)
            if again is not None:
                return again
        return None

    def _rungs(self, call: Call) -> tuple[str, ...]:
        find = getattr(self._run.tariff, "rungs", None)
        return call.rungs or (find(call.effect) if find is not None else ())

    def _next(self, call: Call, number: int, rungs: tuple[str, ...], error: ModelError) -> Call | None:
        run = self._run
        again = replace(
            call,
            attempt=number,
            state="open",
            handle=None,
            came=None,
            usage=None,
            price="",
            twin=None,
            rungs=rungs,
        )
        other = self._ask(again, rungs[number])
        assert call.hold is not None
        assert isinstance(again.effect, Sample)
        worst = run.tariff.quote(again.effect).worst if other else call.hold.amounts
        again.hold = call.frame.purse.reserve(worst)
        if again.hold is None and other:
            again.hold = shrink(run, again, call.frame.purse.room())
        if again.hold is None:
            return None
        again.delay = 0.0 if other else backoff(call, error)
        again.leaves = run.books.now + again.delay
        return again

    def _ask(self, call: Call, name: str) -> bool:
        """Makes it a call of that model; True if it was another's."""
        sample = call.asked or call.effect
        assert isinstance(sample, Sample)
        if self._run.tariff.name(sample) == name:
            return False
        call.effect, call.asked = replace(sample, model=name), None
        return True

    def stand_in(self, call: Call, other: Call | None) -> None:
        """Puts `other` into the place of a call that is over: who gives up the place gives up that one."""
        owner, i = call.slot
        if isinstance(owner, Fan):
            owner.children[i] = other
        else:
            owner.waiting = other

    # -- hedges ---------------------------------------------------------------------------------------------------

    def hedge(self, call: Call) -> Call | None:
        """A second equal call, held; None where the purse cannot pay it, or there is one."""
        if call.state != "sent" or call.twin is not None or call.attempt >= HEDGE or call.hold is None:
            return None
        hold = call.frame.purse.reserve(call.hold.amounts)
        if hold is None:
            return None
        now = self._run.books.now
        number = HEDGE + call.attempt
        twin = replace(call, attempt=number, hold=hold, state="open", delay=0.0, leaves=now, handle=None, twin=call)
        call.twin = twin
        self._run.books.send(twin)
        return twin

    def part(self, call: Call) -> Call | None:
        """The other one of a pair, if it is under way still; they are no pair from now on."""
        other, call.twin = call.twin, None
        if other is None:
            return None
        other.twin = None
        return other if other.state != "done" else None

    def lost(self, call: Call) -> None:
        """The other one has replied: this one is cancelled, and billed if it had left."""
        run = self._run
        if call.state == "open":
            run.books.drop(call)
            return
        left = call.hold is not None and run.books.now >= call.leaves
        run.books.settle(call, call.hold.amounts if left and call.hold else ZERO, json.dumps({"hedged": True}))
        run.cancel(call)


def backoff(call: Call, error: ModelError) -> float:
    """Seconds until the same model is asked again: doubled each time, half of it jitter, and what it asks for."""
    attempt = call.attempt % HEDGE
    jitter = seed_of(call.seed, (attempt,)) / 2**31
    delay: float = BACKOFF * 2**attempt * (0.5 + jitter / 2)
    asked = error.details.get("retry_after")
    if isinstance(asked, int | float) and asked > 0:
        delay = max(delay, min(float(asked), LONGEST))
    return delay
