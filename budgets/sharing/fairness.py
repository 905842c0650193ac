"""Fair shares of dollars: weighted, work-conserving, never further from the weights than one request.

Worst-case fair weighted fair queueing (WF2Q+, Bennett & Zhang 1996), with dollars in the place of bits: of the tenants
that are not ahead of their share the one goes first whose next request would be due first if all were served a little
at a time. Start-time fair queueing (Goyal, Vin & Cheng 1996) lets a tenant run ahead of its share by as much as all
others lag behind theirs; here nobody is ever ahead by more than one request. What a request costs is known only when
it is over: it is counted at its hold, and set right then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

from ...core.errors import CallerError

NEAR = 1e-9


def weights_of(weights: Mapping[str, float]) -> dict[str, float]:
    """Raises `CallerError` for weights that are negative, no numbers, or sum to zero."""
    if not isinstance(weights, Mapping):
        raise CallerError(f"weights={weights!r:.60}: expected a mapping of tenants to their weights")
    for tenant, weight in weights.items():
        if not isinstance(tenant, str):
            raise CallerError(f"weights: {tenant!r:.60} is no tenant: expected text")
        good = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not good or not isfinite(weight) or weight < 0:
            raise CallerError(f"weights: {tenant!r} has {weight!r}: expected a finite number, 0 or more")
    if weights and sum(weights.values()) <= 0:
        raise CallerError("weights sum to zero: nobody would ever be served; give one tenant a weight above 0")
    return {tenant: float(weight) for tenant, weight in weights.items()}


@dataclass(slots=True)
class Share:
    """One tenant's account. `served`: nano-dollars posted or held. `start`: the virtual time, in nano-dollars per unit
    of weight, at which its next request is due to begin."""

    weight: float
    served: int = 0
    start: float = 0.0
    heads: int = 0  # nano-dollars that its next request would be held at; 0: nothing waits
    open: int = 0  # requests that were let through and are not over


@dataclass(slots=True)
class Grant:
    """A request that was let through: what it was counted at."""

    tenant: str
    nanos: int
    total: float  # the weight of all that were backlogged then
    open: bool = True


@dataclass(slots=True)
class FairShares:
    """Who is next. `weights`: of tenants; one that is not named has weight `default` (0: it is refused). A tenant with
    weight 0 is served when nobody else waits.

    Raises `CallerError` for weights that make no sense."""

    weights: Mapping[str, float] = field(default_factory=dict)
    default: float = 1.0
    virtual: float = 0.0
    shares: dict[str, Share] = field(default_factory=dict)
    backlogged: dict[str, Share] = field(default_factory=dict)
    _total: float = 0.0  # weight of those that wait

    def __post_init__(self) -> None:
        good = isinstance(self.default, int | float) and not isinstance(self.default, bool)
        if not good or not isfinite(self.default) or self.default < 0:
            raise CallerError(f"default weight {self.default!r}: expected a finite number, 0 or more")
        self.weights = weights_of(self.weights)

    def share(self, tenant: str) -> Share:
        """Raises `CallerError` for a tenant without a weight where only those that are named have one."""
        found = self.shares.get(tenant)
        if found is None:
            found = self.shares[tenant] = Share(self.weight(tenant))
        return found

    def weight(self, tenant: str) -> float:
        """A tenant's weight; nothing is kept of it. Raises as `share`."""
        if tenant not in self.weights and not self.default:
            raise CallerError(f"tenant {tenant!r} has no weight: known are {', '.join(sorted(self.weights))}")
        return self.weights.get(tenant, self.default)

    def head(self, tenant: str, nanos: int | None) -> None:
        """What the tenant's next request would be held at; None: it has none. Who comes back after a pause begins at
        the present: time that was not asked for is not owed."""
        share = self.share(tenant)
        if nanos is None:
            if self.backlogged.pop(tenant, None) is not None:
                share.heads = 0
                self._total = sum(s.weight for s in self.backlogged.values())
            return
        if tenant not in self.backlogged:
            share.start = max(share.start, self.virtual)
            self.backlogged[tenant] = share
            self._total = sum(s.weight for s in self.backlogged.values())
        share.heads = max(1, nanos)

    def next(self, skip: frozenset[str] | set[str] = frozenset()) -> str | None:
        """The tenant whose next request goes first, None where nobody waits. `skip`: tenants that may not go now."""
        waiting = [(tenant, share) for tenant, share in self.backlogged.items() if tenant not in skip]
        weighty = [(tenant, share) for tenant, share in waiting if share.weight > 0]
        if not weighty:
            return min(waiting, key=lambda one: one[1].served, default=(None, None))[0]
        now = max(self.virtual, min(share.start for _, share in weighty))
        due = [(t, s) for t, s in weighty if s.start <= now + NEAR * max(1.0, now)]
        return min(due, key=lambda one: (one[1].start + one[1].heads / one[1].weight, one[0]))[0]

    def grant(self, tenant: str) -> Grant:
        """The tenant's next request is let through, and counted at its hold."""
        share = self.backlogged[tenant]
        made = Grant(tenant, share.heads, self._total)
        if share.weight > 0:
            self.virtual = max(self.virtual, min(s.start for s in self.backlogged.values() if s.weight > 0))
            self.virtual += made.nanos / made.total
            share.start += made.nanos / share.weight
        share.served += made.nanos
        share.open += 1
        return made

    def settle(self, grant: Grant, nanos: int) -> None:
        """The request is over, and came to `nanos`. A second time is ignored."""
        if not grant.open:
            return
        grant.open = False
        share, over = self.shares[grant.tenant], grant.nanos - nanos
        share.served -= over
        share.open -= 1
        if share.weight > 0:
            self.virtual -= over / grant.total
            share.start -= over / share.weight

    def forget(self) -> None:
        """Drops tenants of whom nothing waits and who are not ahead: they come back as they would have been. So memory
        does not grow with everybody who was ever here."""
        gone = [
            tenant
            for tenant, share in self.shares.items()
            if tenant not in self.backlogged and not share.open and share.start <= self.virtual
        ]
        for tenant in gone:
            del self.shares[tenant]
