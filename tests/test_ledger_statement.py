"""Statements add up to the nano-dollar, whatever was held, settled, given back or came late, or they are an error."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.budgets.ledger.accounts import Account
from satisfice.budgets.ledger.figures import said_time, total
from satisfice.budgets.ledger.ledger import Ledger
from satisfice.budgets.ledger.operations import Hold, Operation, Reserve, Settle, Void
from satisfice.budgets.ledger.statement import COLUMNS, Statement, statement
from satisfice.budgets.ledger.stores import MemoryStore, Query, Standing
from satisfice.budgets.ledger.windows import DAY
from satisfice.core.amounts import Amounts
from satisfice.core.completions import Usage
from satisfice.core.errors import BadBudget, StoreError, UnknownName

NOON = 1_767_268_800_000  # 2026-01-01 12:00 UTC
ACCOUNTS = (Account("acme"), Account("ci", "acme"), Account("other"))


class Clock:
    def __init__(self, at: int = NOON) -> None:
        self.at = at

    def __call__(self) -> int:
        return self.at


async def opened(place: Path | None, clock: Clock) -> Ledger:
    return await Ledger.open(place, ACCOUNTS, clock=clock)


def reserve(id: str, account: str = "acme", nanos: int = 5_000, ttl: int = 60_000, **facts: str) -> Reserve:
    return Reserve(id, account, Amounts(nanos, 100, 1), ttl, **facts)


def of(n: int, t: int = 80) -> Amounts:
    return Amounts(n, t, 1)


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "ledger.db" if request.param == "file" else None


def test_a_month_call_by_call(place: Path | None) -> None:
    clock = Clock()

    async def main() -> tuple[Statement, Statement, Statement]:
        async with await opened(place, clock) as ledger:
            await ledger.perform([reserve("r0/a0/0", run="r0"), Settle("r0/a0/0", of(3))])  # New Year
            clock.at += DAY
            await ledger.perform(
                [
                    reserve("r1/a0/0", run="r1", model="m", price="book:1"),
                    reserve("r1/a1/0", "ci", run="r1", model="n", price="book:2"),
                    reserve("r1/a2/0", run="r1"),
                    reserve("r2/a0/0", "ci", ttl=1, run="r2", model="m"),
                    reserve("r2/a1/0", "other", run="r2"),
                    reserve("r3/a0/0", run="r3", model="m"),
                ]
            )
            clock.at += 1000
            await ledger.perform(
                [
                    Settle("r1/a0/0", of(4_999), Usage(60, 20, 10, 5)),
                    Settle("r1/a1/0", of(5_001, 120)),
                    Void("r1/a2/0"),
                    Settle("r9/x/0", of(7), account="acme", by="somebody"),
                ]
            )
            clock.at += DAY
            await ledger.perform([reserve("r4/a0/0", run="r4"), Settle("r4/a0/0", of(11))])
            day = (NOON // DAY + 1) * DAY
            whole = await statement(ledger, "acme")
            return whole, await statement(ledger, "acme", day, day + DAY), await statement(ledger, "acme", run="r1")

    whole, made, run = anyio.run(main)
    assert made.exact
    assert made.opening == (3, 80, 1)
    assert [(line.hold, line.state, line.spent[0]) for line in made.lines] == [
        ("r1/a0/0", "settled", 4_999),
        ("r1/a1/0", "settled", 5_001),
        ("r1/a2/0", "voided", 0),
        ("r9/x/0", "settled", 7),
    ]
    first, above, _, late = made.lines
    assert (first.usage, first.price, first.model, first.held) == ((60, 20, 10, 5), "book:1", "m", (5_000, 100, 1))
    assert (above.over, above.late) == ((1, 20, 0), False)
    assert (late.late, late.by, late.held) == (True, "somebody", (0, 0, 0))
    assert made.spent == (10_007, 280, 3)
    assert made.closing == (10_010, 360, 4)
    assert {name: (s.lines, s.spent[0]) for name, s in made.accounts.items()} == {"acme": (2, 5_006), "ci": (1, 5_001)}
    assert {name: s.spent[0] for name, s in made.models.items()} == {"": 7, "m": 4_999, "n": 5_001}
    assert {name: s.spent[0] for name, s in made.days.items()} == {"2026-01-02": 10_007}
    # r2's call of the sub-account is ambiguous, and r3's: its time is over by now too.
    assert (made.pending, made.ambiguous) == ((10_000, 200, 2), (10_000, 200, 2))
    assert whole.closing == (10_021, 440, 5)
    assert (run.opening, run.spent, run.closing) == ((0, 0, 0), (10_000, 200, 2), (10_000, 200, 2))


def test_as_data_and_as_csv(place: Path | None) -> None:
    async def main() -> Statement:
        async with await opened(place, Clock()) as ledger:
            await ledger.perform([reserve("r/a0/0", model='m,"x"'), Settle("r/a0/0", of(1_234_567_891))])
            await ledger.perform([reserve("r/a1/0"), Settle("r/a1/0", of(9))])
            return await statement(ledger, "acme", NOON, NOON + DAY)

    made = anyio.run(main)
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert tuple(rows[0]) == COLUMNS
    assert [row["entry"] for row in rows] == ["opening", "settled", "settled", "closing"]
    assert rows[1]["model"] == 'm,"x"'
    assert [row["balance_usd"] for row in rows] == ["0.000000000", "1.234567891", "1.234567900", "1.234567900"]
    assert sum(Decimal(row["spent_usd"] or 0) for row in rows) == Decimal("1.2345679")
    data = json.loads(json.dumps(made.to_dict()))
    assert data["closing"] == {"nanos": 1_234_567_900, "usd": "1.234567900", "tokens": 160, "calls": 2}
    assert data["lines"][0]["spent"]["usd"] == "1.234567891"
    assert data["since"] == said_time(NOON) == "2026-01-01T12:00:00.000Z"
    assert "e-" not in made.to_csv()


def test_an_account_without_calls_and_a_time_without(place: Path | None) -> None:
    async def main() -> tuple[Statement, Statement]:
        async with await opened(place, Clock()) as ledger:
            await ledger.perform([reserve("r/a0/0"), Settle("r/a0/0", of(9))])
            return await statement(ledger, "other"), await statement(ledger, "acme", NOON - 2 * DAY, NOON - DAY)

    for made in anyio.run(main):
        assert (made.opening, made.lines, made.closing, made.models) == ((0, 0, 0), (), (0, 0, 0), {})


def test_bad_input() -> None:
    async def main(*args: Any, **options: Any) -> Statement:
        async with await opened(None, Clock()) as ledger:
            return await statement(ledger, *args, **options)

    with pytest.raises(UnknownName, match="'acme'"):
        anyio.run(main, "acm")
    with pytest.raises(BadBudget, match="no time at all"):
        anyio.run(main, "acme", NOON, NOON)
    with pytest.raises(UnknownName, match="no calls of a run 'r7'"):
        anyio.run(main, "acme", None, None, "r7")


class Forgetful(MemoryStore):
    """A store that has lost a hold, or a nano-dollar of one."""

    lost: str = ""
    off: int = 0

    def holds(self, query: Query) -> list[Hold]:
        found = [hold for hold in super().holds(query) if hold.id != self.lost]
        first = found[0]
        return [replace(first, spent=(first.spent[0] + self.off, *first.spent[1:])), *found[1:]]


@pytest.mark.parametrize(("lost", "off", "says"), [("", 1, r"\$0\.000000001"), ("r/a1/0", 0, r"-\$0\.000000009")])
def test_what_does_not_add_up_is_an_error_that_says_by_how_much(lost: str, off: int, says: str) -> None:
    async def main() -> None:
        store = Forgetful()
        async with Ledger(store, clock=Clock()) as ledger:
            await ledger.declare(ACCOUNTS)
            await ledger.perform([reserve("r/a0/0"), Settle("r/a0/0", of(5)), reserve("r/a1/0")])
            await ledger.perform([Settle("r/a1/0", of(9))])
            assert (await statement(ledger, "acme")).closing[0] == 14
            store.lost, store.off = lost, off
            await statement(ledger, "acme")

    with pytest.raises(StoreError, match=f"the difference is {says}") as caught:
        anyio.run(main)
    assert caught.value.details["difference"]["nanos"] == (off or -9)


class Busy(MemoryStore):
    """Whenever it is looked at, another node has just written; `wrong`: and what it wrote is not among the holds."""

    wrong = False
    looks = 0

    def standings(self, at: int) -> list[Standing]:
        self.looks += 1
        id = f"other/{self.looks}/0"
        self.apply([reserve(id), Settle(id, of(self.looks))], at)
        return super().standings(at)

    def holds(self, query: Query) -> list[Hold]:
        return [] if self.wrong else super().holds(query)


def test_while_others_write_the_lines_lie_between_two_readings_of_the_counter() -> None:
    async def main() -> Statement:
        store = Busy()
        async with Ledger(store, clock=Clock()) as ledger:
            await ledger.declare(ACCOUNTS)
            made = await statement(ledger, "acme")
            store.wrong = True
            with pytest.raises(StoreError, match="does not add up"):
                await statement(ledger, "acme")
            return made

    made = anyio.run(main)
    assert not made.exact
    assert made.closing[0] == total(line.spent for line in made.lines)[0] > 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "void", "late", "wait"]),
        st.integers(0, 9),
        st.sampled_from(["acme", "ci", "other"]),
        st.integers(0, 10**12),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(STEPS)
def test_the_days_of_any_history_are_its_whole(steps: Sequence[tuple[str, int, str, int]]) -> None:
    async def main() -> None:
        clock = Clock()
        async with await opened(None, clock) as ledger:
            for kind, i, account, amount in steps:
                id = f"r{i % 3}/a{i}/0"
                operations: dict[str, Operation] = {
                    "reserve": reserve(id, account, amount, ttl=DAY, run=f"r{i % 3}", model=f"m{i % 2}"),
                    "settle": Settle(id, of(amount)),
                    "void": Void(id),
                    "late": Settle(f"late/{i}/0", of(amount), account=account),
                }
                if kind == "wait":
                    clock.at += DAY // 3 * (1 + i)
                else:
                    await ledger.perform([operations[kind]])
            posted = {s.account.name: s.balances[0].posted for s in await ledger.standings()}
            first, last = NOON // DAY, clock.at // DAY
            for name in ("global", "acme", "ci", "other"):
                whole = await statement(ledger, name)
                assert whole.closing == whole.spent == posted[name]
                days = [await statement(ledger, name, day * DAY, (day + 1) * DAY) for day in range(first, last + 1)]
                assert total(day.spent for day in days) == whole.spent
                assert sum(len(day.lines) for day in days) == len(whole.lines)
                for earlier, later in pairwise(days):
                    assert earlier.closing == later.opening
                runs = {line.run for line in whole.lines if line.run}
                apart = [await statement(ledger, name, run=run) for run in runs]
                late = total(line.spent for line in whole.lines if not line.run)
                assert total((late, *(each.spent for each in apart))) == whole.spent

    anyio.run(main)
