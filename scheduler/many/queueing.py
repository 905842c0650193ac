"""The queue of a stream: who waits, who goes next, and who is refused at once.

Tenants share dollars by weight (`budgets.sharing.fairness`); inside a tenant the higher priority goes first, then the
earlier deadline. A request whose deadline cannot be kept is refused when it comes, with the time at which it could be
done, rather than when it is too late. No more requests wait than was said.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

from ...budgets.sharing.admission import Due, Speed, admit
from ...budgets.sharing.fairness import FairShares, Grant
from ...core.errors import CallerError, QueueFull, SatisficeError, TooLate

MOST = 10_000  # requests that may wait, where nobody says


@dataclass(slots=True, eq=False)
class Ticket:
    """A request in the queue. `due`: its rank and its deadline; `error`: why it was refused while it waited."""

    tenant: str
    due: Due
    grant: Grant | None = None
    error: SatisficeError | None = None
    wake: Any = None  # set when it is let through, or refused
    waits: bool = False
    place: Any = None  # the stream's: what it was taken for, and in which window

    def __lt__(self, other: Ticket) -> bool:
        return self.due.rank < other.due.rank


@dataclass(slots=True)
class FairQueue:
    """`weights` of tenants; one that is not named has weight `default` (0: only those that are named may come).
    `most`: requests that may wait in all, `most_each`: of any one tenant. `at_once`: requests that are served at the
    same time; `paced`: nano-dollars per second that are to be spent (inf: nothing limits them).

    Raises `CallerError` for weights that are negative, no numbers, or sum to zero.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    default: float = 1.0
    most: int = MOST
    most_each: int | None = None
    at_once: int = 32
    paced: float = inf
    fair: FairShares = field(init=False)
    speed: Speed = field(default_factory=Speed)
    waiting: dict[str, list[Ticket]] = field(default_factory=dict)
    count: int = 0
    open: int = 0
    _order: int = 0
    _due: list[tuple[float, int, Ticket]] = field(default_factory=list)  # a heap of deadlines; some no longer wait
    _tidy: int = 1024  # tenants on the books at which those of whom nothing is owed are dropped

    def __post_init__(self) -> None:
        for name in ("most", "at_once", "most_each"):
            value = getattr(self, name)
            if name == "most_each" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise CallerError(f"{name}={value!r}: expected a whole number, 1 or more")
        self.fair = FairShares(self.weights, self.default)

    def submit(
        self,
        now: float,
        nanos: int,
        tenant: str = "",
        priority: int = 0,
        deadline: float | None = None,
        opens: float | None = None,
    ) -> Ticket:
        """A request that may hold up to `nanos` joins the queue. `deadline`: the time by which it has to be done;
        `opens`: the time from which on there is money again (None: there is some).

        Raises `CallerError` (a deadline that is no number or in the past, a tenant without a weight), `QueueFull`, and
        `TooLate` with `earliest`, in seconds from now."""
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise CallerError(f"priority={priority!r}: expected a whole number (higher goes first)")
        if deadline is not None and (isinstance(deadline, bool) or not isfinite(deadline)):
            raise CallerError(f"deadline={deadline!r}: expected seconds")
        if deadline is not None and deadline <= now:
            raise CallerError(f"the deadline has passed {now - deadline:.3g} s ago", late=now - deadline)
        if not isinstance(tenant, str):
            raise CallerError(f"tenant={tenant!r:.60}: expected text")
        self.fair.weight(tenant)
        queue = self.waiting.get(tenant, [])
        self._check_room(tenant, len(queue))
        due = Due(priority, inf if deadline is None else deadline, max(1, nanos), self._order)
        if deadline is not None:
            self._check_time(tenant, queue, due, now, now if opens is None else max(now, opens))
        self._order += 1
        ticket = Ticket(tenant, due)
        self._join(ticket)
        return ticket

    def again(self, ticket: Ticket) -> None:
        """A request that was let through and could not begin takes its old place."""
        ticket.grant = None
        self._join(ticket)

    def next(self, now: float) -> Ticket | None:
        """The next request, let through and counted at its hold; None where nobody waits. One whose deadline has passed
        is returned with its error."""
        tenant = self.fair.next()
        if tenant is None:
            return None
        ticket = self.waiting[tenant][0]
        if ticket.due.deadline <= now:
            ticket.error = _expired(ticket, now)
        else:
            ticket.grant = self.fair.grant(tenant)
            self.open += 1
        self._leave(ticket)
        return ticket

    @property
    def soonest(self) -> float:
        """The earliest deadline of those that wait; inf: none has one."""
        while self._due and not self._due[0][2].waits:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else inf

    def late(self, now: float) -> list[Ticket]:
        """Those whose deadline passed while they waited: out of the queue, with their error."""
        found = []
        while self.soonest <= now:
            ticket = heapq.heappop(self._due)[2]
            ticket.error = _expired(ticket, now)
            self._leave(ticket)
            found.append(ticket)
        return found

    def close(self, error: Callable[[], SatisficeError]) -> list[Ticket]:
        """All that wait, out of the queue, with an error."""
        found = [ticket for queue in self.waiting.values() for ticket in queue]
        for ticket in found:
            ticket.error = error()
            self._leave(ticket)
        return found

    def cancel(self, ticket: Ticket) -> None:
        """Whoever asked does not want it any more. Nothing happens to one that does not wait."""
        if ticket.waits:
            self._leave(ticket)

    def settle(self, ticket: Ticket, nanos: int, seconds: float | None = None) -> None:
        """A request that was let through is over and came to `nanos`. `seconds`: how long it took; None: it never
        began, and teaches nothing."""
        if ticket.grant is None or not ticket.grant.open:
            return
        self.open -= 1
        self.fair.settle(ticket.grant, nanos)
        if seconds is not None:
            self.speed.saw(ticket.grant.nanos, nanos, seconds)
        self._forget()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _join(self, ticket: Ticket) -> None:
        queue = self.waiting.setdefault(ticket.tenant, [])
        insort(queue, ticket)
        self.count += 1
        ticket.waits = True
        if ticket.due.deadline < inf:
            if len(self._due) > 2 * self.count + 64:  # most of them are gone
                self._due = [one for one in self._due if one[2].waits]
                heapq.heapify(self._due)
            heapq.heappush(self._due, (ticket.due.deadline, ticket.due.order, ticket))
        self.fair.head(ticket.tenant, queue[0].due.nanos)

    def _leave(self, ticket: Ticket) -> None:
        queue = self.waiting[ticket.tenant]
        queue.remove(ticket)
        self.count -= 1
        ticket.waits = False
        self.fair.head(ticket.tenant, queue[0].due.nanos if queue else None)
        if not queue:
            del self.waiting[ticket.tenant]
            if ticket.grant is None:  # else it is forgotten when it is over
                self._forget()

    def _forget(self) -> None:
        if len(self.fair.shares) > self._tidy:
            self.fair.forget()
            self._tidy = max(1024, 2 * len(self.fair.shares))  # so that it costs little for each

    def _check_room(self, tenant: str, here: int) -> None:
        if self.count >= self.most:
            raise QueueFull(
                f"{self.count} requests wait already, and no more may: try again later, or raise queue=",
                waiting=self.count,
            )
        if self.most_each is not None and here >= self.most_each:
            raise QueueFull(f"{here} requests of tenant {tenant!r} wait already, and no more may", waiting=here)

    def _check_time(self, tenant: str, queue: list[Ticket], due: Due, now: float, opens: float) -> None:
        """Raises `TooLate`. What a tenant can count on is its share among those that wait now, once there is money."""
        weight = self.fair.weight(tenant)
        others = sum(share.weight for name, share in self.fair.backlogged.items() if name != tenant)
        part = weight / (weight + others) if weight > 0 else float(not others)
        rate = self.speed.rate(self.at_once, self.paced) * part if part else 0.0
        busy = self.open >= self.at_once or self.count > 0
        found = admit([one.due for one in queue], due, opens, rate if busy else inf, self.speed.seconds)
        if not found.ok:
            known = isfinite(found.earliest)
            when = (
                f"it could be done in {found.earliest - now:.3g} s" if known else "nobody knows when it could be done"
            )
            why = found.why if opens <= now else f"there is no money for the next {opens - now:.3g} s"
            text = f"it cannot be done by its deadline, in {due.deadline - now:.3g} s: {why}; {when}"
            raise TooLate(text, earliest=found.earliest - now if known else None)


def _expired(ticket: Ticket, now: float) -> TooLate:
    return TooLate(f"its deadline passed {now - ticket.due.deadline:.3g} s ago, while it waited", earliest=None)
