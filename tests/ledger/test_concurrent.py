"""Thousands of tasks on one ledger: never above the limit, and up to it exactly."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import anyio
import anyio.lowlevel
import pytest

from satisfice.budgets.ledger.accounts import ROOT, Account, Limit
from satisfice.budgets.ledger.ledger import Ledger
from satisfice.budgets.ledger.operations import Done, Refusal, Reserve, Settle, Void
from satisfice.budgets.ledger.stores import Standing, Store
from satisfice.budgets.ledger.windows import TOTAL
from satisfice.core.amounts import Amounts
from satisfice.testing.ledger_checks import NOON, PER_DAY, audit
from satisfice.testing.model import BACKENDS
from satisfice.testing.places import Place

LIMIT = 10_000
TREE = (
    Account("team", limits=(Limit(nanos=LIMIT), Limit(PER_DAY, calls=1 << 40))),
    Account("left", "team"),
    Account("right", "team", (Limit(nanos=6000, calls=2000),)),
)


def used(standings: Sequence[Standing]) -> int:
    (team,) = (s for s in standings if s.account.name == "team")
    (total,) = (b for b in team.balances if b.window == TOTAL)
    return total.posted[0] + total.pending[0]


async def watch(ledger: Ledger, seen: list[int]) -> None:
    """Reads in between, as often as it can."""
    while True:
        seen.append(used(await ledger.standings()))
        await anyio.sleep(0.001)


def check(place: Place, store: Store | None) -> list[Standing]:
    """After the end, read anew where that can be done."""
    again = place.open() if store is None else store
    audit(again, NOON)
    standings = again.standings(NOON)
    again.close()
    return standings


@pytest.mark.parametrize("backend", BACKENDS)
def test_as_many_as_fit_are_admitted(place: Place, backend: str) -> None:
    admitted, refused, seen = [], [], [0]

    async def call(ledger: Ledger, i: int) -> None:
        (result,) = await ledger.perform([Reserve(f"h{i}", ("left", "right")[i % 2], Amounts(10, 0, 1))])
        if isinstance(result, Done):
            admitted.append(i)
            await anyio.lowlevel.checkpoint()
            ledger.post([Settle(f"h{i}", Amounts(10, 0, 1))])
        else:
            assert isinstance(result, Refusal)
            refused.append(i)

    async def main() -> Store:
        store = place.open()
        async with Ledger(store, clock=lambda: NOON) as ledger:
            await ledger.declare(TREE)
            async with anyio.create_task_group() as group:
                group.start_soon(watch, ledger, seen)
                async with anyio.create_task_group() as calls:
                    for i in range(3000):
                        calls.start_soon(call, ledger, i)
                group.cancel_scope.cancel()
            seen.append(used(await ledger.standings()))
        return store

    store = anyio.run(main, backend=backend)
    assert (len(admitted), len(refused)) == (LIMIT // 10, 3000 - LIMIT // 10)
    assert max(seen) == seen[-1] == LIMIT
    assert used(check(place, store if place.kind == "memory" else None)) == LIMIT


@pytest.mark.parametrize("backend", BACKENDS)
def test_settled_voided_and_cancelled_it_adds_up(place: Place, backend: str) -> None:
    """A third of the tasks is cancelled at some moment, and gives back what it may have held."""
    seen, posted, resolved = [0], [0], [0]

    async def call(ledger: Ledger, i: int) -> None:
        dice = Random(i)
        account, worst = ("left", "right")[i % 2], dice.randint(1, 40)
        id = f"h{i}"
        try:
            (result,) = await ledger.perform([Reserve(id, account, Amounts(worst, 0, 1))])
            for _ in range(dice.randrange(3)):
                await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            ledger.post([Void(id)])  # behind the reservation in the queue
            raise
        if isinstance(result, Done):
            resolved[0] += 1
            if dice.random() < 0.3:
                ledger.post([Void(id)])
            else:
                spent = dice.randint(0, worst)
                posted[0] += spent
                ledger.post([Settle(id, Amounts(spent, 0, 1))])

    async def cancelled(ledger: Ledger, i: int) -> None:
        with anyio.move_on_after(Random(-i).random() * 0.2 if i % 3 == 0 else None):
            await call(ledger, i)

    async def main() -> Store:
        store = place.open()
        async with Ledger(store, clock=lambda: NOON) as ledger:
            await ledger.declare(TREE)
            async with anyio.create_task_group() as group:
                group.start_soon(watch, ledger, seen)
                async with anyio.create_task_group() as calls:
                    for i in range(3000):
                        calls.start_soon(cancelled, ledger, i)
                group.cancel_scope.cancel()
        return store

    store = anyio.run(main, backend=backend)
    standings = check(place, store if place.kind == "memory" else None)
    assert max(seen) <= LIMIT
    assert resolved[0] > 150
    for standing in standings:
        if standing.account.name in (ROOT, "team"):
            assert standing.balances[0].pending == (0, 0, 0)
            assert standing.balances[0].posted[0] == posted[0]
