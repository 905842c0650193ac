"""A stream of requests with so many dollars for each window of time, shared fairly between tenants.

One price steers how much thought each request gets (`budgets.sharing.pacing`), a fair queue says who is next, and the
window's purse, in which every call is held, is never passed. A request belongs to the window in which it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import anyio

from ...budgets.budget import Budget
from ...budgets.purse import UNLIMITED, Purse
from ...budgets.sharing.pacing import Pacer
from ...core.amounts import NANO, dollars
from ...core.errors import BudgetTooSmall, CallerError, StoreError
from .asked import check_request
from .queueing import MOST, FairQueue, Ticket

if TYPE_CHECKING:
    from ..engine import Engine
    from ..solution import Solution


class Clock(Protocol):
    """Tells the time in seconds, and waits. Simulations bring their own."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class EventLoopClock:
    """The time of the event loop."""

    def now(self) -> float:
        return anyio.current_time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class _Place:
    """A request that was let through: in which window, and what it was taken for."""

    number: int
    purse: Purse
    taken: float


class Stream:
    """Solves requests as they come, within `usd_per_window` dollars for each window of `window_seconds`; an async
    context manager. `engine` is open.

    `worth`: dollars that a right answer is worth, below which nothing is bought (None: the policy's; where that says
    nothing either, only the stream's price counts). `weights`: shares of tenants, any others have `default_weight` (0:
    they are refused). `each`: dollars that one request may take, where it does not say. `concurrency`: requests that
    are under way at the same time; `queue`: requests that may wait, `queue_each`: of any one tenant.

    Tenants share the stream's money; they are no accounts. Where the engine keeps a ledger that has an account of a
    tenant's name as the stream opens, its requests are charged to that one, unless they name another.

    Raises `CallerError` for bad targets, amounts, sizes and weights.
    """

    def __init__(
        self,
        engine: Engine,
        usd_per_window: float,
        window_seconds: float,
        *,
        worth: float | None = None,
        weights: Mapping[str, float] | None = None,
        default_weight: float = 1.0,
        each: float | None = None,
        concurrency: int = 32,
        queue: int = MOST,
        queue_each: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        worth = worth if worth is not None else engine.policy.worth
        _check(usd_per_window=usd_per_window, window_seconds=window_seconds, each=each)
        _check(whole=True, concurrency=concurrency, queue=queue, queue_each=queue_each)
        if worth != inf:
            _check(worth=worth)
        self.engine, self.clock = engine, clock or EventLoopClock()
        self.pacer = Pacer(usd_per_window, window_seconds)
        self.target = int(usd_per_window * NANO + 1e-6)
        self.each = min(self.target, int((usd_per_window if each is None else each) * NANO))
        if self.each < 1:
            raise CallerError(f"each={each!r}, usd_per_window={usd_per_window!r}: less than a nano-dollar")
        self.worth = inf if worth is None else worth
        paced = self.target / window_seconds
        self.queue = FairQueue(
            {} if weights is None else weights, default_weight, queue, queue_each, concurrency, paced
        )
        self.purse = self._purse()
        self.windows: list[Purse] = [self.purse]  # the latest ones
        self._number, self._open, self._entered = 0, False, False
        self._accounts: frozenset[str] = frozenset()  # the ledger's, by name
        self._until = inf  # when the ticker wakes
        self._asleep: anyio.CancelScope | None = None  # cancelled, it wakes now
        self._short = -1  # nano-dollars that were left of the window when a first call did not fit; -1: it did
        self._stack = AsyncExitStack()

    @property
    def price(self) -> float:
        """Value per dollar that is asked of requests now, beside what `worth` asks."""
        return self.pacer.price

    @property
    def spent(self) -> float:
        """Dollars posted in this window."""
        return dollars(self.purse.posted[0])

    async def __aenter__(self) -> Self:
        if self._entered:
            raise CallerError("a stream is opened once: make another one")
        ledger = None
        with suppress(StoreError):  # there is none
            ledger = self.engine.ledger
        if ledger is not None:
            self._accounts = frozenset(one.account.name for one in await ledger.standings())
        self._entered = True
        self.pacer.start = self.clock.now()
        group = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(group.cancel_scope.cancel)
        group.start_soon(self._tick)
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        for ticket in self.queue.close(_closed):
            ticket.wake.set()
        await self._stack.__aexit__(kind, error, trace)

    async def solve(
        self,
        query: Any,
        *,
        tenant: str = "",
        priority: int = 0,
        deadline: float | None = None,
        budget: float | Budget | None = None,
        **request: Any,
    ) -> Solution:
        """Answers one query, when it is its turn. `deadline`: seconds from now by which the answer is needed. `budget`:
        what this one may take at the most. `request`: what `Engine.solve` takes, `account=` for instance.

        Raises as `Engine.solve`, and `QueueFull`, `TooLate` (it could not be done by its deadline, and when it could),
        `CallerError` (a deadline in the past, a tenant without a weight, a stream that is closed while it waits)."""
        if not self._open:
            raise CallerError("open the stream first: `async with engine.stream(...) as stream:`")
        if deadline is not None and (isinstance(deadline, bool) or not isinstance(deadline, int | float)):
            raise CallerError(f"deadline={deadline!r}: expected seconds from now")
        check_request(request, ("budget", "shadow", "purse"))
        if tenant in self._accounts:
            request.setdefault("account", tenant)
        caps = self._caps(budget)
        hold = self.each if caps.usd is None else min(self.target, int(caps.usd * NANO + 1e-6))
        now = self.clock.now()
        self._turn_window(now)
        opens = self.pacer.opens(now, self.purse.room()[0] > max(0, self._short))
        due = None if deadline is None else now + deadline
        ticket = self.queue.submit(now, hold, tenant, priority, due, opens)
        if due is not None and due < self._until and self._asleep is not None:
            self._asleep.cancel()
        while True:
            await self._turn(ticket)
            try:
                return await self._serve(ticket, hold, caps, query, request)
            except BudgetTooSmall as error:
                if ticket.grant is not None or error.details.get("needed_usd", inf) * NANO > hold:
                    raise
            if not self._open:
                raise _closed()
            self.queue.again(ticket)  # the window was nearly used up: it goes first in the next one

    # -- inside ---------------------------------------------------------------------------------------------------

    def _caps(self, budget: float | Budget | None) -> Budget:
        caps = Budget(usd=dollars(self.each)) if budget is None else Budget.of(budget)
        return caps if caps.worth is not None else replace(caps, worth=self.worth)

    async def _turn(self, ticket: Ticket) -> None:
        """Waits until the request is let through. Raises `TooLate` where its time passes first."""
        ticket.wake = anyio.Event()
        self._pump()
        try:
            await ticket.wake.wait()
        except BaseException:
            self.queue.cancel(ticket)
            if ticket.grant is not None:
                self._over(ticket, 0, None)
            raise
        if ticket.error is not None:
            raise ticket.error

    async def _serve(self, ticket: Ticket, hold: int, caps: Budget, query: Any, request: dict[str, Any]) -> Solution:
        """One request that was let through, in the window that was then. Its grant is taken back where not even a first
        call fits into what is left of the window."""
        began, place = self.clock.now(), ticket.place
        purse = Purse((hold, UNLIMITED, UNLIMITED), place.purse)
        if ticket.due.deadline < inf:
            left = max(1e-3, ticket.due.deadline - began)
            caps = replace(caps, seconds=min(left, caps.seconds or left))
        seconds: float | None = 0.0
        try:
            return await self.engine.solve(query, budget=caps, shadow=self.price, purse=purse, **request)
        except BudgetTooSmall:
            room = place.purse.room()[0]
            if not purse.posted[2] and room < hold:
                self._short = max(self._short, room) if place.number == self._number else self._short
                seconds = None
            raise
        finally:
            self._over(ticket, purse.posted[0], None if seconds is None else self.clock.now() - began)

    def _over(self, ticket: Ticket, nanos: int, seconds: float | None) -> None:
        """A request that was let through is over, or did not begin (`seconds` None): then its grant is taken back."""
        now, place = self.clock.now(), ticket.place
        if seconds is not None:
            self.pacer.done(dollars(nanos), place.taken, place.number, now)
        elif place.number == self._number:
            self.pacer.spent -= place.taken
        self.queue.settle(ticket, nanos, seconds)
        if seconds is None:
            ticket.grant = None
        self._pump()

    def _pump(self) -> None:
        """Lets requests through while there are places and money."""
        now = self.clock.now()
        self._turn_window(now)
        for ticket in self.queue.late(now):
            ticket.wake.set()
        while self.queue.count and self.queue.open < self.queue.at_once and self._room(now):
            found = self.queue.next(now)
            if found is None:
                return
            found.place = _Place(self._number, self.purse, self.pacer.commit())
            found.wake.set()

    def _room(self, now: float) -> bool:
        """Whether there is money for one more request: by the hour, and in the window's purse."""
        pacer, left = self.pacer, self.purse.room()[0]
        return left > max(0, self._short) and pacer.spent + pacer.scale <= pacer.allowed(now) + 1e-12

    def _turn_window(self, now: float) -> None:
        self.pacer.advance(now, self.queue.count)
        number = self.pacer.window(now)
        if number > self._number:
            self._number, self._short, self.purse = number, -1, self._purse()
            self.windows = [*self.windows[-99:], self.purse]

    def _purse(self) -> Purse:
        return Purse((self.target, UNLIMITED, UNLIMITED))

    async def _tick(self) -> None:
        """The price steps, new money at the hour, and deadlines of those that wait."""
        while True:
            now = self.clock.now()
            self._until = min(self.pacer.next_step(now), self.queue.soonest)
            with anyio.CancelScope() as self._asleep:
                await self.clock.sleep(max(0.0, self._until - now))
            self._pump()


def _closed() -> CallerError:
    return CallerError("the stream was closed while the request waited")


def _check(*, whole: bool = False, **values: Any) -> None:
    """Raises `CallerError` for what is no finite number above 0 (`whole`: no whole one). None: nobody says."""
    for name, value in values.items():
        good = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if value is not None and not (good and 0 < value < 1e300):
            what = "a whole number, 1 or more" if whole else "a finite number above 0"
            raise CallerError(f"{name}={value!r:.60}: expected {what}")
