"""The queue of a stream: who waits, who goes next, and who is refused at once.

Tenants share dollars by weight (`budgets.sharing.fairness`); inside a tenant the higher priority goes first, then the
earlier deadline. A request whose deadline cannot be kept is refused when it comes, with the time at which it could be
done, rather than when it is too late. No more requests wait than was said.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
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

    def __post_init__(self) -> None:
        for name in ("most", "at_once"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise CallerError(f"{name}={value!r}: expected a whole number, 1 or more")
        self.fair = FairShares(self.weights, self.default)

    def submit(
        self, now: float, nanos: int, tenant: str = "", priority: int = 0, deadline: float | None = None
    ) -> Ticket:
        """A request that may hold up to `nanos` joins the queue. `deadline`: the time by which it has to be done.

        Raises `CallerError` (a deadline that is no number or in the past, a tenant without a weight), `QueueFull`, and
        `TooLate` with `earliest`, in seconds from now."""
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise CallerError(f"priority={priority!r}: expected a whole number (higher goes first)")
        if deadline is not None and (isinstance(deadline, bool) or not isfinite(deadline)):
            raise CallerError(f"deadline={deadline!r}: expected seconds")
        if deadline is not None and deadline <= now:
            raise CallerError(f"the deadline has passed {now - deadline:.3g} s ago", late=now - deadline)
        self.fair.share(tenant)
        queue = self.waiting.get(tenant, [])
        self._check_room(tenant, len(queue))
        due = Due(priority, inf if deadline is None else deadline, max(1, nanos), self._order)
        if deadline is not None:
            self._check_time(tenant, queue, due, now)
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
            late = f"its deadline passed {now - ticket.due.deadline:.3g} s ago, while it waited"
            ticket.error = TooLate(late, earliest=None)
        else:
            ticket.grant = self.fair.grant(tenant)
            self.open += 1
        self._leave(ticket)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Whoever asked does not want it any more. Nothing happens to one that does not wait."""
        if ticket in self.waiting.get(ticket.tenant, ()):
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
        if len(self.fair.shares) > 2 * len(self.fair.backlogged) + 1024:
            self.fair.forget()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _join(self, ticket: Ticket) -> None:
        queue = self.waiting.setdefault(ticket.tenant, [])
        insort(queue, ticket)
        self.count += 1
        self.fair.head(ticket.tenant, queue[0].due.nanos)

    def _leave(self, ticket: Ticket) -> None:
        queue = self.waiting[ticket.tenant]
        queue.remove(ticket)
        self.count -= 1
        self.fair.head(ticket.tenant, queue[0].due.nanos if queue else None)
        if not queue:
            del self.waiting[ticket.tenant]

    def _check_room(self, tenant: str, here: int) -> None:
        if self.count >= self.most:
            raise QueueFull(
                f"{self.count} requests wait already, and no more may: try again later, or raise queue=",
                waiting=self.count,
            )
        if self.most_each is not None and here >= self.most_each:
            raise QueueFull(f"{here} requests of tenant {tenant!r} wait already, and no more may", waiting=here)

    def _check_time(self, tenant: str, queue: list[Ticket], due: Due, now: float) -> None:
        """Raises `TooLate`. What a tenant can count on is its share among those that wait now."""
        weight = self.fair.share(tenant).weight
        others = sum(share.weight for name, share in self.fair.backlogged.items() if name != tenant)
        part = weight / (weight + others) if weight > 0 else float(not others)
        rate = self.speed.rate(self.at_once, self.paced) * part if part else 0.0
        busy = self.open >= self.at_once or self.count > 0
        found = admit([one.due for one in queue], due, now, rate if busy else inf, self.speed.seconds)
        if not found.ok:
            known = isfinite(found.earliest)
            when = (
                f"it could be done in {found.earliest - now:.3g} s" if known else "nobody knows when it could be done"
            )
            text = f"it cannot be done by its deadline, in {due.deadline - now:.3g} s: {found.why}; {when}"
            raise TooLate(text, earliest=found.earliest - now if known else None)
