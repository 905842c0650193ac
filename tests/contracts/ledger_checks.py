"""How the tests of a ledger ask a store, and `audit`: all that it says of itself, held against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..budgets.ledger.accounts import Account, Limit
from ..budgets.ledger.operations import (
    Alert,
    Done,
    Open,
    Operation,
    Refusal,
    Reserve,
    Result,
    Settle,
)
from ..budgets.ledger.stores import Query, Standing, Store
from ..budgets.ledger.windows import TOTAL, Window
from ..core.amounts import Amounts
from ..core.errors import SatisficeError

NOON = 1_767_268_800_000  # 2026-01-01 12:00 UTC
HOUR = 3_600_000
PER_DAY = Window("day")
PER_HOUR = Window.parse("1h")
Triple = tuple[int, int, int]


def one(store: Store, operation: Operation, at: int = NOON) -> Result:
    """Does one operation."""
    (result,) = store.apply([operation], at)
    return result


def done(store: Store, operation: Operation, at: int = NOON) -> Done:
    result = one(store, operation, at)
    assert isinstance(result, Done), result
    return result


def refused(store: Store, operation: Operation, at: int = NOON) -> Refusal:
    result = one(store, operation, at)
    assert isinstance(result, Refusal), result
    return result


def failed(store: Store, operation: Operation, error: type[SatisficeError], at: int = NOON) -> SatisficeError:
    """The operation fails with this error, and nothing that the store says has changed."""
    before = picture(store, at)
    result = one(store, operation, at)
    assert isinstance(result, error), result
    assert picture(store, at) == before
    return result


def picture(store: Store, at: int) -> tuple[object, ...]:
    """All that a store says, to compare."""
    return store.standings(at), store.holds(Query()), store.notes(1 << 20)


def reserve(
    id: str, nanos: int = 10, tokens: int = 0, calls: int = 1, account: str = "run", ttl: int = HOUR
) -> Reserve:
    return Reserve(id, account, Amounts(nanos, tokens, calls), ttl)


def settle(id: str, nanos: int = 10, tokens: int = 0, calls: int = 1, account: str = "") -> Settle:
    return Settle(id, Amounts(nanos, tokens, calls), account=account)


def balance(store: Store, account: str, window: Window = TOTAL, at: int = NOON) -> tuple[Triple, Triple]:
    """Posted and pending."""
    (standing,) = (s for s in store.standings(at) if s.account.name == account)
    (found,) = (b for b in standing.balances if b.window == window)
    return found.posted, found.pending


def put(store: Store, *accounts: Account, at: int = NOON) -> None:
    for account in accounts:
        done(store, Open(account), at)


def audit(store: Store, at: int = NOON) -> None:
    """What the holds say adds up to what the counters say, to the nano-dollar, at every account and in every window."""
    standings, holds = store.standings(at), store.holds(Query())
    lines = lines_of(standings)
    for standing in standings:
        below = [hold for hold in holds if standing.account.name in lines[hold.account]]
        assert [h.id for h in below] == [h.id for h in store.holds(Query(account=standing.account.name))]
        for found in standing.balances:
            counted = [h for h in below if counts(found.window, h.at, at)]
            assert found.posted == total(h.spent for h in counted if h.state == "settled"), (
                standing.account.name,
                found,
            )
            assert found.pending == total(h.held for h in counted if h.state == "pending"), (
                standing.account.name,
                found,
            )
            if found.limit is not None and found.window == TOTAL:
                within(found.limit, total((found.posted, found.pending)), total(h.over for h in counted))


def within(limit: Limit, used: Triple, over: Triple) -> None:
    """The invariant: posted + pending - over <= limit."""
    for cap, u, o in zip((limit.nanos, limit.tokens, limit.calls), used, over, strict=True):
        assert cap is None or u - o <= cap, (limit, used, over)


def lines_of(standings: Sequence[Standing]) -> dict[str, list[str]]:
    """Each account with all above it."""
    parents = {s.account.name: s.account.parent for s in standings}
    lines: dict[str, list[str]] = {}
    for name in parents:
        at: str | None = name
        lines[name] = []
        while at is not None:
            lines[name].append(at)
            at = parents[at]
    return lines


def counts(window: Window, held: int, now: int) -> bool:
    """Whether what was reserved at `held` counts at `now`: in a rolling window, later slots do too."""
    slot, present = window.slot(held), window.slot(now)
    return slot >= present - window.back if window.kind == "rolling" else slot == present


def total(amounts: Iterator[Triple] | Sequence[Triple]) -> Triple:
    n, t, k = 0, 0, 0
    for a in amounts:
        n, t, k = n + a[0], t + a[1], k + a[2]
    return n, t, k


def alerts(store: Store, operations: Sequence[Operation], at: int = NOON) -> list[Alert]:
    return [alert for result in store.apply(operations, at) if isinstance(result, Done) for alert in result.alerts]
