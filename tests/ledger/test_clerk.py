"""The clerk's thread: who hears of what it did when nobody waits any more, and what happens should it die."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence

import anyio
import pytest

from satisfice.budgets.ledger.accounts import Account, Limit
from satisfice.budgets.ledger.clerk import Clerk, Job
from satisfice.budgets.ledger.ledger import Ledger
from satisfice.budgets.ledger.operations import Alert, Open, Operation, Result
from satisfice.budgets.ledger.stores import MemoryStore, Query, Store
from satisfice.core.errors import StoreError
from satisfice.testing.ledger_checks import NOON, reserve, settle

RUN = Account("run", limits=(Limit(calls=10),))
SECONDS = 20  # after which a wait counts as one for ever


class Held(MemoryStore):
    """Waits at a gate, where one is set, before it does anything; then it may fail as nothing should."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.fault: BaseException | None = None

    def apply(self, operations: Sequence[Operation], at: int) -> list[Result]:
        self.entered.set()
        assert self.gate.wait(SECONDS)
        if self.fault is not None:
            raise self.fault
        return super().apply(operations, at)


def ledger_over(store: Store, on_alert: Callable[[Alert], None] | None = None) -> Ledger:
    """With a clerk, as over a store on a disk."""
    ledger = Ledger(store, on_alert=on_alert, clock=lambda: NOON)
    ledger._clerk = Clerk(store, lambda: NOON, ledger._told)
    return ledger


def run(main: Callable[[], object]) -> None:
    async def in_time() -> None:
        with anyio.fail_after(SECONDS):
            await main()  # type: ignore[misc]

    anyio.run(in_time)


def test_a_callback_that_exits_in_the_thread_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def on_alert(alert: Alert) -> None:
        heard.append(alert.kind)
        sys.exit("over the limit")

    async def main() -> None:
        async with ledger_over(MemoryStore(), on_alert) as ledger:
            await ledger.do(Open(RUN))
            await ledger.do(reserve("a"))
            ledger.post([settle("a", 30)])
            ledger.post([settle("late", 5, account="run")])
            assert (await ledger.room("run"))[2] == 8

    with caplog.at_level(logging.ERROR):
        run(main)
    assert heard == ["overrun", "late"]  # each of them, the first one's fault notwithstanding
    assert "on_alert raised" in caplog.text


def test_all_who_wait_hear_that_the_thread_has_died() -> None:
    async def main() -> None:
        store = Held()
        ledger = ledger_over(store)
        await ledger.do(Open(RUN))
        errors: list[str] = []

        async def asks(operation: Operation) -> None:
            with pytest.raises(StoreError) as caught:
                await ledger.do(operation)
            errors.append(str(caught.value))

        async def reads() -> None:
            with pytest.raises(StoreError) as caught:
                await ledger.holds(Query())
            errors.append(str(caught.value))

        store.gate.clear()
        store.entered.clear()
        store.fault = SystemExit("gone")
        async with anyio.create_task_group() as group:
            group.start_soon(asks, reserve("a"))
            await anyio.to_thread.run_sync(store.entered.wait, SECONDS)
            group.start_soon(asks, reserve("b"))
            group.start_soon(reads)
            await anyio.wait_all_tasks_blocked()
            ledger.post([settle("z", 1, account="run")])
            store.gate.set()
        assert len(errors) == 3
        await asks(reserve("c"))  # and those who come later
        with pytest.raises(StoreError, match="has died"):
            ledger.post([settle("y", 1, account="run")])
        assert all("the ledger's thread has died: SystemExit: gone" in error for error in errors)
        with pytest.raises(StoreError, match="1 settlements could not be written"):
            await ledger.aclose()

    run(main)


def test_a_loop_that_fails_leaves_the_thread_alive() -> None:
    async def main() -> None:
        async with ledger_over(MemoryStore()) as ledger:
            await ledger.do(Open(RUN))
            assert ledger._clerk is not None
            lost = Job([reserve("a", calls=9)])

            def soon(call: object) -> None:
                raise ValueError("no loop")

            lost.soon, lost.event = soon, anyio.Event()
            ledger._clerk.submit(lost)
            assert (await ledger.room("run"))[2] == 1

    run(main)


@pytest.mark.parametrize("late", [False, True])
def test_alerts_of_a_reservation_that_nobody_waits_for_are_told_once(late: bool) -> None:
    """Cancelled while the store works, or when the answer is on its way."""
    heard: list[str] = []

    async def main() -> None:
        store = Held()
        async with ledger_over(store, lambda alert: heard.append(alert.kind)) as ledger:
            await ledger.do(Open(RUN))
            store.gate.clear()
            store.entered.clear()
            async with anyio.create_task_group() as group:
                group.start_soon(ledger.perform, [reserve("a", calls=9)])
                await anyio.to_thread.run_sync(store.entered.wait, SECONDS)
                if late:
                    store.gate.set()
                    assert ledger._clerk is not None
                    read = Job(work=lambda store: done.set())
                    done = threading.Event()
                    ledger._clerk.submit(read)
                    assert done.wait(SECONDS)  # the loop stands still meanwhile: the answer is there, and not heard
                group.cancel_scope.cancel()
            store.gate.set()
            await ledger.do(reserve("b", calls=0))
            assert (await ledger.room("run"))[2] == 1

    run(main)
    assert heard == ["share"]


def test_a_wait_for_nothing_that_is_cancelled_late_ends_cancelled() -> None:
    """A run waits so for its last settlements."""

    async def main() -> None:
        async with ledger_over(Held()) as ledger:
            await ledger.do(Open(RUN))
            clerk = ledger._clerk
            assert clerk is not None
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(ledger.perform, [])
                    await anyio.wait_all_tasks_blocked()
                    done = threading.Event()
                    clerk.submit(Job(work=lambda store: done.set()))
                    assert done.wait(SECONDS)  # the loop stands still meanwhile
                    scope.cancel()
            assert scope.cancelled_caught

    run(main)
