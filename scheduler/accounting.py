"""A run's dealings with the ledger: what its calls are held and settled at, on the accounts above the run itself.

The run's own purse, and the branches in it, live in this process and in the journal; key, tenant and global accounts
are shared, and the ledger decides. A call leaves only when both hold it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING

from anyio import move_on_after

from ..budgets.ledger.ledger import Ledger
from ..budgets.ledger.operations import Operation, Refusal, Reserve, Settle, Void
from ..budgets.ledger.stores import Query
from ..budgets.purse import Purse
from ..core.amounts import ZERO
from ..core.effects import Sample
from ..core.errors import BudgetTooSmall, SatisficeError, StoreError
from .log import Log
from .nodes import HEDGE, Call, Resolved
from .paths import encode
from .refusing import reshape
from .tariff import PriceList

if TYPE_CHECKING:
    from .run import Run

logger = logging.getLogger("satisfice")

QUEUE = 600.0  # seconds that a call may wait for its turn beside its timeout, before its hold counts as ambiguous
LONGEST = 604_800.0  # seconds that a hold may stand
PATIENCE = 1.0  # seconds that the end of a run waits for its last settlements


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that an account has no room for, or that could not be held at all (`error`)."""

    call: Call
    cap: str
    text: str
    error: SatisficeError


class Account:
    """One run's account. `headroom`: a hint above the run's own purse of what the account had left when it was last
    asked, so that waves are no wider than that."""

    def __init__(self, ledger: Ledger, name: str, run_id: str, tariff: PriceList, headroom: Purse) -> None:
        self.ledger, self.name, self.run_id, self._tariff = ledger, name, run_id, tariff
        self.headroom = headroom
        self._owner = token_hex(4)  # another process that takes the run over makes its holds its own

    async def look(self) -> tuple[int, int, int]:
        """Takes in what is left, and returns it. Raises `UnknownName`, `StoreError`."""
        room = await self.ledger.room(self.name)
        self.headroom.allow(room)
        return room

    async def admit(self, run: Run, calls: Sequence[Call]) -> list[Refused]:
        """Holds `calls` in one transaction; returns those that may not be sent. One that does not fit is cut to what is
        left, where it may be. Where the ledger cannot be reached none may be sent."""
        refused = await self._hold([call for call in calls if call.hold is not None])
        if not refused or refused[0].cap == "ledger":
            return refused
        try:
            room = await self.look()
        except StoreError:
            return refused
        alive = [each for each in refused if each.call.state != "done"]
        cut = [e.call for e in alive if e.cap in ("usd", "tokens") and e.call.attempt < HEDGE]  # a hedge is equal
        smaller = [call for call in cut if reshape(run, call, room)]
        again = await self._hold(smaller) if smaller else []
        return [*(each for each in alive if each.call not in smaller), *again]

    async def _hold(self, calls: Sequence[Call]) -> list[Refused]:
        try:
            results = await self.ledger.perform([self._reservation(call) for call in calls])
        except StoreError as error:
            # Whether the holds were made is not known: what was is given back, as soon as the ledger is there again.
            ids = [self._id(call.path, call.attempt) for call in calls]
            self._post([Void(id, by="unreachable", owner=self._owner) for id in ids])
            self.headroom.allow((0, 0, 0))
            text = f"the ledger cannot be reached, so nothing is sent: {error}"
            return [Refused(call, "ledger", text, error) for call in calls]
        refused = []
        for call, result in zip(calls, results, strict=True):
            if isinstance(result, Refusal):
                refused.append(Refused(call, result.cap, str(result), _too_small(result)))
            elif isinstance(result, SatisficeError):
                refused.append(Refused(call, "ledger", str(result), result))
        return refused

    def settle(self, resolved: Sequence[Resolved]) -> None:
        """Settles what is over, without waiting: until it is written its holds count. A ledger that cannot be reached
        is owed it."""
        self._post([self._resolution(each) for each in resolved])

    async def close(self) -> None:
        """Waits for what was posted, but not for ever."""
        with move_on_after(PATIENCE), suppress(StoreError):
            await self.ledger.perform([])

    async def take_up(self, log: Log) -> None:
        """What the journal says of an earlier process's calls: those that were lost count as spent at their hold, and
        holds that it has no word of were made for calls that never left. The ledger may know all of it."""
        operations: list[Operation] = [
            Settle(self._id(path, attempt), spent, account=self.name, run=self.run_id, by="resumed")
            for path, attempt, spent in log.posted
        ]
        known = {self._id(path, attempt) for path, attempt in log.known}
        pending = await self.ledger.holds(Query(run=self.run_id, state="pending"))
        unsent = {self._id(path, attempt) for path, attempt in log.unsent}
        operations += [Void(h.id, by="resumed") for h in pending if h.id not in known or h.id in unsent]
        for start in range(0, len(operations), 1000):
            await self.ledger.perform(operations[start : start + 1000])

    def _post(self, operations: Sequence[Operation]) -> None:
        if not operations:
            return
        try:
            self.ledger.post(operations)
        except StoreError as error:  # it is closed: the journal has it, and reconciling finds it there
            logger.error("ledger: %d settlements of run %s are not written: %s", len(operations), self.run_id, error)

    def _id(self, path: tuple[int, ...] | str, attempt: int) -> str:
        return f"{self.run_id}/{path if isinstance(path, str) else encode(path)}/{attempt}"

    def _reservation(self, call: Call) -> Reserve:
        sample = call.effect
        assert call.hold is not None
        assert isinstance(sample, Sample)
        rate = self._tariff.rate(sample)
        ttl = int(1000 * min(call.delay + rate.timeout + QUEUE, LONGEST))
        what = (self._id(call.path, call.attempt), self.name, call.hold.amounts, ttl, self.run_id)
        return Reserve(*what, rate.name, rate.price.version, owner=self._owner)

    def _resolution(self, resolved: Resolved) -> Operation:
        call, spent = resolved.call, resolved.spent
        id = self._id(call.path, call.attempt)
        if spent == ZERO:
            return Void(id, owner=self._owner)
        rate = self._tariff.rate(call.effect) if isinstance(call.effect, Sample) else None
        price, model = (resolved.price or rate.price.version, rate.name) if rate else ("", "")
        return Settle(id, spent, resolved.usage, price, self.name, self.run_id, model)


def _too_small(refusal: Refusal) -> BudgetTooSmall:
    facts = {"account": refusal.account, "window": refusal.window, "cap": refusal.cap, "left": refusal.left}
    return BudgetTooSmall(str(refusal), **facts, needed=refusal.needed, limit=refusal.limit, resets=refusal.resets)
