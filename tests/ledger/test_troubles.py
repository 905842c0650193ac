"""Stores in trouble: disks that are full, locks that are held, files that are damaged, servers that go away. A clear
error, nothing lost, and on it goes when the cause is gone."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from satisfice.budgets.ledger.accounts import Account, Limit
from satisfice.budgets.ledger.ledger import Ledger
from satisfice.budgets.ledger.operations import Done, Open, Operation, Result
from satisfice.budgets.ledger.sqlite import SqliteStore
from satisfice.budgets.ledger.stores import MemoryStore, Query, Store
from satisfice.core.errors import StoreError
from satisfice.testing.ledger_checks import NOON, audit, balance, done, reserve, settle
from satisfice.testing.places import Place, PostgresServer

RUN = Account("run", limits=(Limit(nanos=1000),))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A ledger with one settled and one pending hold."""
    path = tmp_path / "ledger.db"
    store = SqliteStore(path)
    for operation in (Open(RUN), reserve("a"), settle("a", 7), reserve("b", 20)):
        done(store, operation)
    store.close()
    return path


def as_it_was(store: Store) -> None:
    assert balance(store, "run") == ((7, 0, 1), (20, 0, 1))
    audit(store)


def many(name: str, count: int = 400) -> list[Operation]:
    return [reserve(f"{name}{i}" + "x" * 200, 0) for i in range(count)]


# -- SQLite -----------------------------------------------------------------------------------------------------------


def test_a_full_disk(file: Path) -> None:
    store = SqliteStore(file)
    connection = store._db._db  # type: ignore[attr-defined]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match="full"):
        store.apply(many("m"), NOON)
    as_it_was(store)
    done(store, settle("b", 20))  # what needs no more room is done
    connection.execute("PRAGMA max_page_count = 100000")
    assert all(isinstance(result, Done) for result in store.apply(many("m"), NOON))
    audit(store)
    store.close()


FULL = """
import resource, sys
from pathlib import Path
from satisfice.budgets.ledger.sqlite import SqliteStore
from satisfice.budgets.ledger.stores import Query
from satisfice.core.errors import StoreError
from satisfice.testing.ledger_checks import NOON, audit, reserve

path = Path(sys.argv[1])
store = SqliteStore(path)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))  # no file may grow beyond
done = []
try:
    for i in range(10_000):
        store.apply([reserve(f"m{i}" + "x" * 500, 0)], NOON)
        done.append(i)
except StoreError as error:
    print(error)
else:
    sys.exit("nothing was in the way")
audit(store)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.apply([reserve("last", 0)], NOON)
store.close()
store = SqliteStore(path)
audit(store)
assert len(store.holds(Query())) in (2 + len(done) + 1, 2 + len(done) + 2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files there")
def test_files_that_cannot_grow(file: Path) -> None:
    """The operating system refuses to write, in the log before the file."""
    child = subprocess.run([sys.executable, "-c", FULL, str(file)], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr + child.stdout
    assert "ledger" in child.stdout


def test_locked_for_too_long_by_another(file: Path) -> None:
    store = SqliteStore(file, patience=0.05)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="lock"):
        store.apply([reserve("c")], NOON)
    as_it_was(store)  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    done(store, reserve("c"))
    store.close()


@pytest.mark.parametrize("where", [0, 16, 1000, 4096, 8192, 12288, 20480])
def test_a_damaged_file(file: Path, where: int) -> None:
    """A clear error or the right figures, whichever page is hit: never wrong figures, never a bare error of SQLite."""
    with file.open("r+b") as raw:
        raw.seek(where)
        raw.write(bytes(range(256)) * 8)
    try:
        store = SqliteStore(file)
    except StoreError as error:
        assert str(file) in str(error)
        return
    try:
        store.apply([reserve("c", 1)], NOON)
        posted, pending = balance(store, "run")
        assert (posted[0], pending[0]) == (7, 21)
    except StoreError as error:
        assert str(file) in str(error)
    finally:
        store.close()


@pytest.mark.parametrize(
    "content", [b"no database", b"", b"SQLite format 3\x00" + b"\x00" * 500, bytes(range(256)) * 40]
)
def test_not_a_database(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.db"
    file.write_bytes(content)
    if content == b"":
        SqliteStore(file).close()  # a new one
        return
    with pytest.raises(StoreError, match=r"x\.db"):
        SqliteStore(file)
    assert file.read_bytes()[:16] == content[:16]


def test_the_directory_is_gone(file: Path) -> None:
    shutil.rmtree(file.parent)
    with pytest.raises(StoreError, match="directory"):
        SqliteStore(file)
    file.parent.mkdir()
    with pytest.raises(StoreError):
        SqliteStore(file.parent)


# -- the clerk --------------------------------------------------------------------------------------------------------


class Moody(MemoryStore):
    """Stays away while `away`, before or after it has done what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.after = False, False

    def apply(self, operations: Sequence[Operation], at: int) -> list[Result]:
        if self.away and not self.after:
            raise StoreError("no answer")
        results = super().apply(operations, at)
        if self.away:
            raise StoreError("the answer is lost")
        return results


def durable_ledger(store: Store) -> Ledger:
    """With a clerk, as over a store on a disk."""
    from satisfice.budgets.ledger.clerk import Clerk

    ledger = Ledger(store, clock=lambda: NOON)
    if ledger._clerk is None:
        ledger._clerk = Clerk(store, lambda: NOON, ledger._told)
    return ledger


@pytest.mark.parametrize("after", [False, True])
def test_what_was_posted_is_owed_while_the_store_is_away(after: bool) -> None:
    async def main() -> None:
        store = Moody()
        store.after = after
        async with durable_ledger(store) as ledger:
            await ledger.do(Open(RUN))
            await ledger.do(reserve("a"))
            await ledger.do(reserve("b"))
            store.away = True
            ledger.post([settle("a", 7)])
            with pytest.raises(StoreError):
                await ledger.perform([reserve("c")])
            ledger.post([settle("b", 8)])
            with pytest.raises(StoreError):
                await ledger.do(reserve("d"))
            store.away = False
            await ledger.do(reserve("d"))  # the same again
            assert balance(store, "run")[0] == (15, 0, 2)
            assert len(store.holds(Query())) == (4 if after else 3)
            audit(store)

    anyio.run(main)


def test_what_is_still_owed_at_the_end_is_said() -> None:
    async def main() -> None:
        store = Moody()
        ledger = durable_ledger(store)
        await ledger.do(Open(RUN))
        await ledger.do(reserve("a"))
        store.away = True
        ledger.post([settle("a", 7)])
        with pytest.raises(StoreError, match="1 settlements"):
            await ledger.aclose()
        assert balance(store, "run") == ((0, 0, 0), (10, 0, 1))  # it counts in full

    anyio.run(main)


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture
def postgres(places: Callable[[str], Place]) -> Place:
    place = places("postgres")
    store = place.open()
    for operation in (Open(RUN), reserve("a"), settle("a", 7), reserve("b", 20)):
        done(store, operation)
    store.close()
    return place


def database_of(place: Place) -> str:
    assert place.url is not None
    return place.url.split("/")[3].split("?")[0]


@pytest.mark.parametrize(("method", "nth"), [("ask", 1), ("ask", 2), ("put", 1), ("put", 2), ("_commit", 1)])
@pytest.mark.parametrize("after", [False, True])
def test_the_connection_ends_in_mid_transaction(
    postgres: Place, postgres_server: PostgresServer, method: str, nth: int, after: bool
) -> None:
    """Before and after each of its steps: it is made again, and everything happens once."""
    store = postgres.open()
    database: Any = store._db  # type: ignore[attr-defined]
    step, calls = getattr(database, method), [0]

    def until(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth and not after:
            assert postgres_server.hang_up(database_of(postgres)) > 0
        result = step(*arguments)
        if calls[0] == nth and after:
            assert postgres_server.hang_up(database_of(postgres)) > 0
        return result

    setattr(database, method, until)
    results = store.apply([reserve("c", 30), settle("b", 20), reserve("d", 944)], NOON)
    setattr(database, method, step)
    assert [type(result).__name__ for result in results] == ["Done", "Done", "Refusal"]
    assert balance(store, "run") == ((27, 0, 2), (30, 0, 1))
    assert len(store.holds(Query())) == 3
    audit(store)
    store.close()


@pytest.mark.parametrize("known", [True, False])
def test_it_is_not_known_whether_the_commit_happened(
    postgres: Place, postgres_server: PostgresServer, known: bool
) -> None:
    """The answer to COMMIT is lost. The server is asked; where it does not know, the ids make it happen once."""
    store = postgres.open()
    database: Any = store._db  # type: ignore[attr-defined]
    commit, lost = database._commit, [0]

    def committed() -> None:
        commit()
        lost[0] += 1
        if lost[0] == 1:
            postgres_server.hang_up(database_of(postgres))
            database._db.execute("SELECT 1")  # fails, as the answer to COMMIT would have

    database._commit = committed
    if not known:
        database._happened = lambda: False
    results = store.apply([reserve("c", 30), reserve("d", 30), settle("b", 19)], NOON)
    assert [(type(r).__name__, getattr(r, "repeated", None)) for r in results] == [("Done", not known)] * 3
    assert balance(store, "run") == ((26, 0, 2), (60, 0, 2))
    audit(store)
    store.close()


def test_the_server_dies_and_comes_back(postgres: Place, postgres_server: PostgresServer) -> None:
    """Crashed in the middle of many transactions: what was acknowledged is there, nothing twice."""
    from satisfice.budgets.ledger.postgres import PostgresStore

    assert postgres.url is not None
    # A server may need long to come back on a machine that is busy.
    store, acknowledged, errors = PostgresStore(postgres.url, patience=120), [], []
    going, over = threading.Event(), threading.Event()

    def write() -> None:
        i = 0
        while not over.is_set():
            results = store.apply([reserve(f"w{i}-{j}", 0) for j in range(20)], NOON)
            acknowledged.append(i)
            errors.extend(result for result in results if not isinstance(result, Done))
            i += 1
            if i == 5:
                going.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert going.wait(30)
    postgres_server.stop()
    postgres_server.start()
    reached = len(acknowledged) + 2
    while writer.is_alive() and len(acknowledged) < reached:
        writer.join(0.01)
    over.set()
    writer.join()
    assert errors == []
    assert len(store.holds(Query())) == 2 + 20 * len(acknowledged)
    assert balance(store, "run") == ((7, 0, 1), (20, 0, 1 + 20 * len(acknowledged)))
    audit(store)
    store.close()


def test_a_server_that_stays_away(postgres: Place, postgres_server: PostgresServer) -> None:
    from satisfice.budgets.ledger.postgres import PostgresStore

    async def main() -> None:
        assert postgres.url is not None
        store = PostgresStore(postgres.url, patience=0.3)
        async with Ledger(store, clock=lambda: NOON) as ledger:
            await ledger.do(reserve("c"))
            postgres_server.stop()
            try:
                ledger.post([settle("c", 9), settle("b", 20)])
                with pytest.raises(StoreError):
                    await ledger.perform([reserve("d")])
            finally:
                postgres_server.start()
            await ledger.do(reserve("d"))
            (run,) = (s for s in await ledger.standings() if s.account.name == "run")
            assert run.balances[0].posted == (36, 0, 3)
            assert run.balances[0].pending == (10, 0, 1)
        store = PostgresStore(postgres.url)
        audit(store)
        store.close()

    anyio.run(main)


def test_no_server_at_all(tmp_path: Path) -> None:
    from satisfice.budgets.ledger.postgres import PostgresStore

    with pytest.raises(StoreError) as caught:
        PostgresStore(f"postgresql://u:secret@/x?host={tmp_path}", patience=0.1)
    assert "secret" not in str(caught.value)
    assert os.fspath(tmp_path) in str(caught.value)
