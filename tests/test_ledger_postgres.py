"""What is particular to the ledger in PostgreSQL: its schema, opening it, and what must never be said."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from satisfice.budgets.ledger.accounts import ROOT, Account
from satisfice.budgets.ledger.ledger import store_at
from satisfice.budgets.ledger.migrations import VERSION, steps
from satisfice.budgets.ledger.operations import Done, Open, Operation, Reserve, Settle
from satisfice.budgets.ledger.postgres import SERIAL, PostgresStore
from satisfice.budgets.ledger.stores import Query
from satisfice.core.amounts import Amounts
from satisfice.core.errors import MissingExtra, StoreError

from .test_ledger_sqlite import FIRST, NOON, ONE, check_second

psycopg = pytest.importorskip("psycopg")


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(postgres_url, patience=2.0)
    yield store
    store.close()


def raw(store: PostgresStore) -> Any:
    return store._db._connected()  # type: ignore[attr-defined]


def do(url: str, *statements: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def make_first(url: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in (*steps(0, SERIAL, upto=1), *FIRST):
            connection.execute(statement)


def test_a_ledger_of_the_first_schema_is_brought_forward(postgres_url: str) -> None:
    make_first(postgres_url)
    store = PostgresStore(postgres_url)
    check_second(store)
    assert raw(store).execute("SELECT version FROM ledger_meta").fetchall() == [(VERSION,)]
    store.close()


def test_a_step_forward_that_fails_changes_nothing(postgres_url: str) -> None:
    make_first(postgres_url)
    do(postgres_url, "CREATE TABLE ledger_prices (something TEXT)")
    with pytest.raises(StoreError, match='"ledger_prices" already exists'):
        PostgresStore(postgres_url, patience=0.2)
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'ledger_holds'"
    assert ("late",) not in do(postgres_url, columns)
    do(postgres_url, "DROP TABLE ledger_prices")
    store = PostgresStore(postgres_url)
    check_second(store)
    store.close()


def test_a_newer_schema_is_left_alone(store: PostgresStore, postgres_url: str) -> None:
    do(postgres_url, "UPDATE ledger_meta SET version = 99")
    with pytest.raises(StoreError, match=f"schema 99.*knows up to {VERSION}"):
        PostgresStore(postgres_url)
    with pytest.raises(StoreError, match="schema 99"):  # nor is it written to by one that was open before
        store.apply([Open(Account("a"))], NOON)


@pytest.mark.parametrize("first", [False, True])
def test_several_nodes_open_it_at_once(postgres_url: str, first: bool) -> None:
    if first:
        make_first(postgres_url)
    start, said = threading.Barrier(4), []

    def node(i: int) -> None:
        start.wait()
        store = PostgresStore(postgres_url)
        said.extend(store.apply([Reserve(f"h{i}", ROOT, ONE)], NOON))
        store.close()

    threads = [threading.Thread(target=node, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [Done()] * 4
    store = PostgresStore(postgres_url)
    assert store.standings(NOON)[0].balances[0].pending == (4000 + 1000 * first, 40 + 10 * first, 4 + first)
    store.close()


def test_each_schema_has_a_ledger_of_its_own(postgres_url: str) -> None:
    do(postgres_url, "CREATE SCHEMA one", "CREATE SCHEMA two")
    stores = [PostgresStore(f"{postgres_url}&options=-csearch_path%3D{name}") for name in ("one", "two", "public")]
    stores[0].apply([Reserve("a", ROOT, ONE)], NOON)
    assert [len(store.holds(Query())) for store in stores] == [1, 0, 0]
    for store in stores:
        store.close()
    with pytest.raises(StoreError, match="no schema of the search path exists"):
        PostgresStore(f"{postgres_url}&options=-csearch_path%3Dabsent")
    do(postgres_url, "DROP SCHEMA one CASCADE", "DROP SCHEMA two CASCADE")


def test_commits_are_durable_whatever_the_connection_was_told(postgres_url: str) -> None:
    for asked, has in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        store = PostgresStore(f"{postgres_url}&options=-csynchronous_commit%3D{asked}")
        assert raw(store).execute("SHOW synchronous_commit").fetchone() == (has,)
        store.close()


def test_a_commit_that_was_not_confirmed_is_not_done_twice(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reserved and settled in one batch: sent again, the reservation would be refused as settled already."""
    database: Any = store._db
    commit, lost = database._commit, ["after", "before"]

    def lose_it() -> None:
        when = lost.pop() if lost else ""
        if when == "after":
            commit()
        if when:
            do(postgres_url, f"SELECT pg_terminate_backend({database._db.info.backend_pid})")
        if when != "after":
            commit()
        else:
            database._db.execute("SELECT 1")

    monkeypatch.setattr(database, "_commit", lose_it)
    batch: list[Operation] = [Open(Account("k")), Reserve("a", "k", ONE), Settle("a", Amounts(2000, 10, 1))]
    results = store.apply(batch, NOON)
    assert not lost and [type(r) for r in results] == [Done] * 3 and not any(r.repeated for r in results)
    assert [note.kind for note in store.notes(10)] == ["open", "overrun"]
    assert store.standings(NOON)[1].balances[0].posted == (2000, 10, 1)


def test_a_node_that_keeps_the_lock(store: PostgresStore, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT version FROM ledger_meta FOR UPDATE")
        raw(store).execute("SET lock_timeout = 100")
        raw(store).commit()
        with pytest.raises(StoreError, match="another node has held the ledger"):
            store.apply([Reserve("a", ROOT, ONE)], NOON)
        assert store.holds(Query()) == []  # reading does not wait
    assert store.apply([Reserve("a", ROOT, ONE)], NOON) == [Done()]


def test_a_node_that_is_stuck_in_its_transaction_is_thrown_out(postgres_url: str) -> None:
    stuck, other = PostgresStore(postgres_url, patience=0.4), PostgresStore(postgres_url, patience=20)
    raw(stuck).execute("SELECT version FROM ledger_meta FOR UPDATE")  # and now nothing, for more than 0.2 s
    assert other.apply([Reserve("a", ROOT, ONE)], NOON) == [Done()]
    assert stuck.apply([Reserve("a", ROOT, ONE)], NOON) == [Done(repeated=True)]  # with a new connection
    stuck.close()
    other.close()


def test_a_server_that_hangs_without_hanging_up(postgres_url: str) -> None:
    store = PostgresStore(postgres_url, patience=0.1)
    backend = raw(store).info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises(StoreError):
            store.apply([Reserve("a", ROOT, ONE)], NOON)
    finally:
        os.kill(backend, signal.SIGCONT)
    (result,) = store.apply([Reserve("a", ROOT, ONE)], NOON)  # with a new connection; the old one may have done it
    assert isinstance(result, Done) and len(store.holds(Query())) == 1
    store.close()


def test_no_server_there() -> None:
    with pytest.raises(StoreError, match=r"ledger postgresql://127\.0\.0\.1/ledger: .*refused"):
        PostgresStore("postgresql://127.0.0.1:1/ledger", patience=0.3)


def test_only_what_cannot_be_held_fails(store: PostgresStore) -> None:
    operations: list[Operation] = [Reserve(f"h{i}", ROOT, ONE) for i in range(7)]
    operations[2] = Reserve("h2", ROOT, ONE, run="with \0 in it")
    operations[5] = Reserve("h5", ROOT, ONE, run="half of a pair: \ud800")
    results = store.apply(operations, NOON)
    assert [i for i, result in enumerate(results) if isinstance(result, StoreError)] == [2, 5]
    assert store.standings(NOON)[0].balances[0].pending == (5000, 50, 5)


def test_the_password_is_never_said() -> None:
    for url in (
        "postgresql://me:hunter2@127.0.0.1:1/ledger?connect_timeout=2",
        "postgresql://me:hunter2@no such host/ledger",
        "postgresql://me:hunter2@[::1/ledger",
        "postgresql://me:hunter2@localhost/ledger?no_such_option=hunter2",
        "postgresql://me:hunter2@localhost:port/ledger",
        "postgresql:///ledger?password=hunter2&host=/no/such/folder",
    ):
        with pytest.raises(StoreError) as caught:
            PostgresStore(url, patience=0.01)
        said = "".join(traceback.format_exception(caught.value)) + repr(caught.value.details)
        assert "hunter2" not in said.replace(url, ""), said


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"satisfice\[postgres\]"):
        store_at("postgresql://localhost/ledger")
