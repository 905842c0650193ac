"""What is particular to the ledger in a SQLite file: its schema, opening it, and what a file can do to it."""

from __future__ import annotations

import json
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from satisfice.budgets.ledger.accounts import ROOT, Account, Limit
from satisfice.budgets.ledger.migrations import VERSION, steps
from satisfice.budgets.ledger.operations import Done, Freeze, Grant, Open, Operation, Reserve, Settle, Void
from satisfice.budgets.ledger.sqlite import SERIAL, SqliteStore
from satisfice.budgets.ledger.stores import MemoryStore, Query
from satisfice.budgets.ledger.windows import TOTAL, Window
from satisfice.core.amounts import Amounts
from satisfice.core.completions import Usage
from satisfice.core.errors import LedgerConflict, SatisficeError, StoreError

NOON = 1_767_268_800_000  # 2026-01-01 12:00 UTC
ONE = Amounts(1000, 10, 1)

# A ledger of schema 1: key "k" below "global", one hold settled above what was held and too late, one pending, one
# given back. The counters agree with them.
FIRST = (
    "INSERT INTO ledger_accounts (name, parent, frozen) VALUES ('k', 'global', 0)",
    "INSERT INTO ledger_limits VALUES ('k', 'total', 0, 10000, NULL, 5, '80,100')",
    *(
        f"INSERT INTO ledger_counters VALUES ('{account}', 'total', 0, 1500, 10, 1, 1000, 10, 1, 0)"
        for account in ("global", "k")
    ),
    *(
        "INSERT INTO ledger_holds (id, account, at_ms, expires_ms, held_nanos, held_tokens, held_calls, state, run, "
        "model, price, resolved_ms, spent_nanos, spent_tokens, spent_calls, usage_prompt, usage_completion, "
        f"usage_cached, usage_reasoning) VALUES ('{id}', 'k', {NOON}, {NOON + 100}, 1000, 10, 1, '{state}', 'r', 'm', "
        f"'v1', {resolved}, {spent}, {usage})"
        for id, state, resolved, spent, usage in (
            ("settled", "settled", NOON + 200, "1500, 10, 1", "6, 4, 0, 0"),
            ("pending", "pending", "NULL", "0, 0, 0", "NULL, NULL, NULL, NULL"),
            ("voided", "voided", NOON + 50, "0, 0, 0", "NULL, NULL, NULL, NULL"),
        )
    ),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path, patience=0.05)
    yield store
    store.close()


def raw(store: SqliteStore) -> sqlite3.Connection:
    connection: sqlite3.Connection = store._db._db  # type: ignore[attr-defined]
    return connection


def make_first(path: Path) -> None:
    with sqlite3.connect(path) as db:
        for statement in (*steps(0, SERIAL, upto=1), *FIRST):
            db.execute(statement)
    db.close()


def test_every_transaction_is_on_the_disk_and_nobody_else_may_read_it(store: SqliteStore, path: Path) -> None:
    assert raw(store).execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert raw(store).execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("ledger.db-wal").stat().st_mode) == 0o600


def test_what_is_no_place_for_a_ledger(tmp_path: Path) -> None:
    other, garbage = tmp_path / "other.db", tmp_path / "garbage.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE meta (version INTEGER)")
    db.close()
    garbage.write_bytes(b"not a database at all, but long enough to have a header" * 20)
    (tmp_path / "folder").mkdir()
    for place, why in (
        (Path(":memory:"), "give no place"),
        (tmp_path / "absent" / "l.db", "there is no directory"),
        (tmp_path / "folder", "cannot be opened"),
        (other, "but no ledger"),
        (garbage, "it is no SQLite database"),
    ):
        with pytest.raises(StoreError, match=why):
            SqliteStore(place)
    assert not (tmp_path / "absent").exists()
    with sqlite3.connect(other) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("meta",)]
    db.close()


def test_a_newer_schema_is_left_alone(store: SqliteStore, path: Path) -> None:
    raw(store).execute("UPDATE ledger_meta SET version = 99")
    with pytest.raises(StoreError, match=f"schema 99.*knows up to {VERSION}"):
        SqliteStore(path)
    with pytest.raises(StoreError, match="schema 99"):  # nor is it written to by one that was open before
        store.apply([Open(Account("a"))], NOON)
    raw(store).execute("DELETE FROM ledger_meta")
    with pytest.raises(StoreError, match="has no version"):
        SqliteStore(path)


def check_second(store: Any) -> None:
    """What schema 1 held is there, what schema 2 has more follows from it, and it goes on."""
    settled, pending, voided = store.holds(Query())
    assert settled.over == (500, 0, 0) and settled.late and settled.usage == (6, 4, 0, 0) and settled.by == ""
    assert pending.over == voided.over == (0, 0, 0) and not pending.late and not voided.late
    assert store.room("k", NOON) == (7500, (1 << 62) - 20, 3)
    (first,) = store.apply([Reserve("new", "k", ONE, model="m", price="v2")], NOON)
    assert [alert.kind for alert in first.alerts] == ["price"] and "v1" in first.alerts[0].text
    results = store.apply([Settle("pending", ONE, by="me"), Void("new"), Settle("voided", ONE)], NOON + 10)
    assert all(isinstance(result, Done) for result in results)
    assert [b.posted for s in store.standings(NOON) for b in s.balances] == [(3500, 30, 3)] * 2
    assert all(b.pending == (0, 0, 0) for s in store.standings(NOON) for b in s.balances)


def test_a_ledger_of_the_first_schema_is_brought_forward(path: Path) -> None:
    make_first(path)
    store = SqliteStore(path)
    check_second(store)
    assert raw(store).execute("SELECT version FROM ledger_meta").fetchall() == [(VERSION,)]
    store.close()
    again = SqliteStore(path)
    assert len(again.holds(Query())) == 4
    again.close()


def test_a_step_forward_that_fails_changes_nothing(path: Path) -> None:
    make_first(path)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE ledger_prices (something TEXT)")
    with pytest.raises(StoreError, match="ledger_prices already exists"):
        SqliteStore(path)
    assert db.execute("SELECT version FROM ledger_meta").fetchall() == [(1,)]
    assert "late" not in [row[1] for row in db.execute("PRAGMA table_info(ledger_holds)")]
    db.execute("DROP TABLE ledger_prices")
    db.close()
    store = SqliteStore(path)
    check_second(store)
    store.close()


CHILD = f"""
import os, sys
from satisfice.budgets.ledger.ledger import store_at
from satisfice.budgets.ledger.operations import Reserve
from satisfice.core.amounts import Amounts
print("ready", flush=True)
sys.stdin.readline()
store = store_at(sys.argv[1])
print(store.apply([Reserve(f"of {{os.getpid()}}", "global", Amounts(1000, 10, 1))], {NOON}))
store.close()
"""


@pytest.mark.parametrize("first", [False, True])
def test_several_processes_open_it_at_once(path: Path, first: bool) -> None:
    if first:
        make_first(path)
    command = [sys.executable, "-c", CHILD, str(path)]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=60)[0] for child in children]
    assert all(text.startswith("[Done(repeated=False") for text in said), said
    store = SqliteStore(path)
    assert len(store.holds(Query(state="pending"))) == 3 + first
    assert store.standings(NOON)[0].balances[0].pending == (3000 + 1000 * first, 30 + 10 * first, 3 + first)
    store.close()


def test_it_goes_on_after_a_full_disk(store: SqliteStore) -> None:
    store.apply([Open(Account("k", limits=(Limit(nanos=1_000_000),)))], NOON)
    (pages,) = raw(store).execute("PRAGMA page_count").fetchone()
    raw(store).execute(f"PRAGMA max_page_count = {pages}")
    many = [Reserve(f"h{i}", "k", Amounts(100), run="r" * 100) for i in range(500)]
    with pytest.raises(StoreError, match="the disk is full") as caught:
        store.apply(many, NOON)
    assert caught.value.details["reason"] == "SQLITE_FULL"
    assert store.holds(Query()) == [] and store.room("k", NOON)[0] == 1_000_000
    raw(store).execute("PRAGMA max_page_count = 1000000")
    assert all(isinstance(result, Done) and not result.repeated for result in store.apply(many, NOON))
    assert store.room("k", NOON)[0] == 950_000


def test_a_lock_that_lasts_too_long(store: SqliteStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process has locked it"):
        store.apply([Reserve("a", ROOT, ONE)], NOON)
    assert store.holds(Query()) == []  # reading does not wait
    other.execute("ROLLBACK")
    other.close()
    assert store.apply([Reserve("a", ROOT, ONE)], NOON) == [Done()]


def test_read_only_and_damaged(store: SqliteStore, path: Path) -> None:
    store.apply([Reserve(f"h{i}", ROOT, ONE, run="r" * 50) for i in range(200)], NOON)
    raw(store).execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="it is read-only"):
        store.apply([Reserve("a", ROOT, ONE)], NOON)
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError, match="it is damaged"):
        SqliteStore(path).holds(Query())


def test_only_what_cannot_be_held_fails(store: SqliteStore) -> None:
    operations: list[Operation] = [Reserve(f"h{i}", ROOT, ONE) for i in range(7)]
    operations[2] = Reserve("with \0 in it", ROOT, ONE)
    operations[5] = Reserve("h5", ROOT, ONE, run="half of a pair: \ud800")
    results = store.apply(operations, NOON)
    assert [i for i, result in enumerate(results) if isinstance(result, StoreError)] == [2, 5]
    assert store.standings(NOON)[0].balances[0].pending == (5000, 50, 5)
    assert len(store.holds(Query())) == 5


def test_the_tables_refuse_what_can_never_be(store: SqliteStore) -> None:
    store.apply([Reserve("a", ROOT, ONE)], NOON)
    for wrong in (
        "UPDATE ledger_counters SET pending_nanos = -1",
        "UPDATE ledger_counters SET posted_nanos = 4611686018427387905",
        "UPDATE ledger_holds SET state = 'lost'",
        "UPDATE ledger_holds SET state = 'settled'",  # but not resolved
        "UPDATE ledger_accounts SET frozen = 2",
        "INSERT INTO ledger_accounts (name, parent, frozen) VALUES ('global', NULL, 0)",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            raw(store).execute(wrong)


def test_the_number_of_statements_does_not_grow_with_the_batch(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    database: Any = store._db
    asked: list[int] = []
    ask = database.ask
    monkeypatch.setattr(database, "ask", lambda *queries: asked.append(len(queries)) or ask(*queries))
    counts = []
    for size in (1, 300):
        store.apply([Reserve(f"{size}-{i}", ROOT, ONE, model=f"m{i}") for i in range(size)], NOON)
        counts.append(asked.copy())
        asked.clear()
    assert counts[0] == counts[1] and sum(counts[0]) < 8


def test_counters_and_holds_are_found_by_their_indexes(store: SqliteStore) -> None:
    for statement, values in (
        (store._counters, (json.dumps([["a", "total", 0, 0]]),)),
        (store._by_id, ('["a"]',)),
        (store._lines, ('["a"]', '["a"]')),
    ):
        plan = [row[3] for row in raw(store).execute(f"EXPLAIN QUERY PLAN {statement}", values)]
        tables = [step for step in plan if "ledger_" in step or step.startswith(("SEARCH", "SCAN c ", "SCAN h"))]
        assert tables and not [step for step in tables if step.startswith(("SCAN ledger", "SCAN c ", "SCAN h "))], plan


def test_old_slots_of_a_rolling_window_are_cleared_away(store: SqliteStore) -> None:
    memory = MemoryStore()
    minute = Limit(Window("rolling", 60_000), nanos=20_000)
    held: list[Operation] = [Reserve("never resolved", "k", ONE, ttl=1)]
    for one in (store, memory):
        one.apply([Open(Account("k", limits=(minute,))), *held], NOON)
    for i in range(280):
        batch = [Reserve(f"h{i}", "k", ONE), Settle(f"h{i}", ONE)]
        at = NOON + i * 7_000
        assert store.apply(batch, at) == memory.apply(deepcopy(batch), at)
    assert store.room("k", at) == memory.room("k", at)
    slots = raw(store).execute("SELECT slot, pending_calls FROM ledger_counters WHERE time_window = '60000ms'")
    kept = sorted(slots.fetchall())
    assert len(kept) < 230 and kept[0][1] == 1  # what is pending stays


def test_windows_are_kept_to_the_millisecond(store: SqliteStore, path: Path) -> None:
    limits = tuple(Limit(Window("rolling", length), calls=9) for length in (60, 90_060, 10**12 * 60))
    store.apply([Open(Account("k", limits=limits))], NOON)
    again = SqliteStore(path)
    assert again.standings(NOON)[1].account.limits == limits
    again.close()


def test_an_account_opened_filled_and_limited_in_one_batch(store: SqliteStore) -> None:
    day = Window("day")
    results = store.apply(
        [Open(Account("k")), Reserve("a", "k", ONE), Grant("k", day, Limit(day, nanos=999)),
         Grant("k", day, Limit(day, nanos=1500)), Reserve("b", "k", ONE)], NOON,
    )  # fmt: skip
    assert isinstance(results[2], LedgerConflict)
    assert (
        str(results[4])
        == "account k has $0.000000500 left of $0.000001500 per day, and this may take up to $0.000001000"
    )
    assert store.standings(NOON)[1].balances[1].pending == (1000, 10, 1)


def _any(rng: random.Random, i: int) -> Operation:
    account, id = rng.choice(["a", "b", "c", ROOT]), f"h{rng.randrange(i + 2)}"
    amounts = Amounts(rng.randrange(60), rng.randrange(60), 1)
    drawn = rng.random()
    if drawn < 0.45:
        model, price = rng.choice("mn"), rng.choice(["", "p", "q"])
        return Reserve(id, account, amounts, rng.choice([1000, 900_000]), rng.choice(["", "r"]), model, price)
    if drawn < 0.7:
        usage = rng.choice([None, Usage(1, 2)])
        return Settle(id, amounts, usage, account=rng.choice(["", "b"]), by="x")
    if drawn < 0.82:
        return Void(id)
    if drawn < 0.9:
        window = Window.parse(rng.choice(["total", "day", "month", "6h", "24h"]))
        limit = Limit(window, rng.randrange(300, 9000), None, rng.choice([None, 200]))
        return Grant(account, window, rng.choice([None, limit, limit]))
    if drawn < 0.94:
        return Freeze(account, rng.random() < 0.2)
    name = rng.choice("abcd")
    parent = {"a": ROOT, "b": "a", "c": "b", "d": "b"}[name]
    return Open(Account(name, parent, (Limit(Window("day"), 500, 900),)))


def _said(results: list[Any]) -> list[Any]:
    return [str(r).partition(".")[0] if isinstance(r, SatisficeError) else r for r in results]


@pytest.mark.parametrize("seed", range(6))
def test_a_part_of_the_book_reckons_as_the_whole(seed: int, store: SqliteStore) -> None:
    """Any operations, by batches, under a clock that jumps ahead and back: as the store in memory has it."""
    rng, memory, at = random.Random(seed), MemoryStore(), NOON
    for i in range(60):
        at += rng.choice([0, 1, 500, 30_000, 1_800_000, 90_000_000, -40_000, -4_000_000])
        operations = [_any(rng, i) for _ in range(rng.randrange(1, 8))]
        assert _said(store.apply(operations, at)) == _said(memory.apply(deepcopy(operations), at))
        assert store.standings(at) == memory.standings(at)
        assert store.holds(Query()) == memory.holds(Query())
        assert store.holds(Query(account="a" if memory.standings(at)[1:] else ROOT, state="pending", limit=3))[:3] == (
            memory.holds(Query(account="a" if memory.standings(at)[1:] else ROOT, state="pending", limit=3))
        )
        assert store.holds(Query(ambiguous=at, run="r")) == memory.holds(Query(ambiguous=at, run="r"))
        assert store.notes(10_000) == memory.notes(10_000)
        for standing in memory.standings(at):
            assert store.room(standing.account.name, at) == memory.room(standing.account.name, at)
    assert TOTAL in {balance.window for standing in store.standings(at) for balance in standing.balances}
