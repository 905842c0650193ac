from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from satisfice.core.errors import RunIsActive, StoreError, UnknownName
from satisfice.scheduler.journal import Journal, Row, RunRecord
from satisfice.scheduler.writer import Job

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "journal.db"


@pytest.fixture
def journal(file: Path) -> Iterator[Journal]:
    opened = Journal.open(file)
    yield opened
    opened.close()


def row(path: str = "a0", run: str = "r1", **changes: object) -> Row:
    made = Row(run, path, 0, "intent", "Sample", "f" * 8, '{"x": 1}', 5, 7, 1, 0.5)
    return replace(made, **changes)  # type: ignore[arg-type]


def record(run: str = "r1", created: str = "2026-01-01T00:00:00Z") -> RunRecord:
    return RunRecord(run, created, "running", "{}", None, "why?", "vote", 0, "fp", None)


def stored(file: Path) -> list[str]:
    connection = sqlite3.connect(file)
    try:
        return [path for (path,) in connection.execute("SELECT path FROM rows ORDER BY run, path")]
    finally:
        connection.close()


def fill_disk(journal: Journal) -> None:
    """From here on not one page more."""

    def work(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    on_thread(journal, work)


def on_thread(journal: Journal, work: object) -> None:
    done = threading.Event()

    def run(connection: sqlite3.Connection) -> None:
        work(connection)  # type: ignore[operator]
        done.set()

    journal._writer.submit(Job(work=run, reads=True))
    assert done.wait(10)


def hold(journal: Journal) -> threading.Event:
    """Hold the writer thread until the event is set: what is queued meanwhile is one group."""
    go = threading.Event()
    held = threading.Event()

    def work(_: sqlite3.Connection) -> None:
        held.set()
        go.wait(10)

    journal._writer.submit(Job(work=work, reads=True))
    assert held.wait(10)
    return go


async def queued(journal: Journal, count: int) -> None:
    """Until so many jobs wait behind the held one."""
    with anyio.fail_after(10):
        while journal._writer._queue.qsize() < count:
            await anyio.lowlevel.checkpoint()


BIG = "x" * 200_000


async def test_a_run_comes_back_as_it_was_written(journal: Journal) -> None:
    rows = [
        row("b10"),
        row("a9", kind="reply", at=2.25),
        row("a9"),
        row("a9", attempt=1),
        row("a9.a0", payload="é\x00"),
    ]
    await journal.begin(record())
    await journal.commit(rows)
    await journal.commit([row("a1", run="other")])
    found, back = await journal.load("r1")
    assert found == replace(record(), owner=journal.owner)
    assert back == sorted(rows, key=lambda r: (r.path, r.attempt, r.kind))


async def test_the_file_is_private_and_in_wal_mode(journal: Journal, file: Path) -> None:
    await journal.commit([row()])
    for name in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        assert stat.S_IMODE(name.stat().st_mode) == 0o600
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_a_duplicate_is_an_error_and_replaces_nothing(journal: Journal) -> None:
    await journal.begin(record())
    await journal.commit([row()])
    with pytest.raises(StoreError, match="already"):
        await journal.commit([row("a5"), row(payload="2")])
    with pytest.raises(StoreError, match="already"):
        await journal.begin(record())
    assert (await journal.load("r1"))[1] == [row()]


@pytest.mark.parametrize("bad", [{"nanos": 2**63}, {"payload": "\ud800"}, {"kind": "guess"}, {"payload": None}])
async def test_what_cannot_be_stored_is_refused(journal: Journal, file: Path, bad: dict[str, object]) -> None:
    with pytest.raises(StoreError):
        await journal.commit([row(**bad)])
    await journal.commit([row()])
    assert stored(file) == ["a0"]


async def test_one_bad_batch_does_not_poison_its_neighbours(journal: Journal, file: Path) -> None:
    await journal.commit([row("a1")])
    failed: list[int] = []

    async def commit(number: int) -> None:
        try:
            await journal.commit([row(f"a{number}")])
        except StoreError:
            failed.append(number)

    go = hold(journal)
    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(commit, number)
        await queued(journal, 4)
        go.set()
    assert failed == [1]
    assert stored(file) == ["a0", "a1", "a2", "a3"]


async def test_what_waits_together_is_one_transaction(journal: Journal) -> None:
    seen: list[str] = []
    on_thread(journal, lambda connection: connection.set_trace_callback(seen.append))
    go = hold(journal)
    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(journal.commit, [row(f"b{number + 10}")])
        await queued(journal, 50)
        go.set()
    on_thread(journal, lambda connection: connection.set_trace_callback(None))
    assert seen.count("BEGIN IMMEDIATE") == 1


async def test_calls_are_carried_out_in_the_order_they_were_made(journal: Journal) -> None:
    seen: list[str] = []
    on_thread(journal, lambda connection: connection.set_trace_callback(seen.append))
    for number in range(10, 40, 3):
        journal.post([row(f"b{number}")])
        await journal.commit([row(f"b{number + 1}")])
        await journal.remember("s", "t", f"b{number + 2}")
    on_thread(journal, lambda connection: connection.set_trace_callback(None))
    order = [text for text in seen if text.startswith("INSERT")]
    assert [number for number in range(10, 40) if f"'b{number}'" in order[number - 10]] == list(range(10, 40))


async def test_a_cancelled_commit_is_written_all_the_same(journal: Journal, file: Path) -> None:
    go = hold(journal)
    async with anyio.create_task_group() as group:
        group.start_soon(journal.commit, [row()])
        await queued(journal, 1)
        group.cancel_scope.cancel()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await journal.commit([row("a1")])
    go.set()
    await journal.commit([])
    assert stored(file) == ["a0", "a1"]


async def test_a_cancelled_commit_that_fails_is_reported_to_the_next(journal: Journal) -> None:
    await journal.begin(record())
    await journal.commit([row()])
    go = hold(journal)
    async with anyio.create_task_group() as group:
        group.start_soon(journal.commit, [row()])
        await queued(journal, 1)
        group.cancel_scope.cancel()
    go.set()
    with pytest.raises(StoreError, match="earlier rows of run r1"):
        await journal.finish("r1", "done", "{}", 1)
    await journal.finish("r1", "failed", "{}", 1)


async def test_a_failed_post_stops_the_next_commit_of_its_run_once(journal: Journal, file: Path) -> None:
    await journal.commit([row()])
    journal.post([row()])
    await journal.commit([row("a1", run="r2")])
    with pytest.raises(StoreError, match="earlier rows of run r1"):
        await journal.commit([row("a2")])
    await journal.commit([row("a3")])
    assert stored(file) == ["a0", "a3", "a1"]
    journal.post([row()])
    with pytest.raises(StoreError, match="earlier rows of run r1"):
        await journal.commit([])
    await journal.commit([])


async def test_close_writes_the_queue_and_tells_of_losses(file: Path) -> None:
    async with Journal.open(file) as journal:
        for number in range(100, 600):
            journal.post([row(f"c{number}")])
    assert len(stored(file)) == 500
    journal.close()
    with pytest.raises(StoreError, match="closed"):
        await journal.commit([row()])
    with pytest.raises(StoreError, match="closed"):
        journal.post([row()])
    again = Journal.open(file)
    again.post([row("c100")])
    with pytest.raises(StoreError, match="not written"):
        again.close()
    again.close()


async def test_a_full_disk_fails_who_asks_for_room_and_nobody_else(journal: Journal, file: Path) -> None:
    await journal.begin(record())
    fill_disk(journal)
    failed: list[str] = []

    async def commit(path: str, payload: str) -> None:
        try:
            await journal.commit([row(path, payload=payload)])
        except StoreError as error:
            failed.append(f"{path} {error.details['reason']}")

    go = hold(journal)
    async with anyio.create_task_group() as group:
        for path, payload in (("a0", "1"), ("a1", BIG), ("a2", "2")):
            group.start_soon(commit, path, payload)
        await queued(journal, 3)
        go.set()
    assert failed == ["a1 SQLITE_FULL"]
    with pytest.raises(StoreError, match="disk is full"):
        await journal.finish("r1", "done", "{}", 5, [row("a3", payload=BIG)])
    found, rows = await journal.load("r1")
    assert (found.status, [r.path for r in rows]) == ("running", ["a0", "a2"])
    on_thread(journal, lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    await journal.commit([row("a1", payload=BIG)])
    assert stored(file) == ["a0", "a1", "a2"]


async def test_a_read_only_store_says_so(journal: Journal) -> None:
    on_thread(journal, lambda connection: connection.execute("PRAGMA query_only = ON"))
    with pytest.raises(StoreError, match="read-only"):
        await journal.commit([row()])
    on_thread(journal, lambda connection: connection.execute("PRAGMA query_only = OFF"))
    await journal.commit([row()])


async def test_finish_sets_status_and_rows_and_releases(journal: Journal) -> None:
    await journal.begin(record())
    await journal.finish("r1", "running", None, 3)
    assert (await journal.load("r1"))[0].owner == journal.owner
    await journal.finish("r1", "done", '{"a": 1}', 42, [row(kind="reply")])
    found, rows = await journal.load("r1")
    assert (found.status, found.result, found.spent_nanos, found.owner) == ("done", '{"a": 1}', 42, None)
    assert len(rows) == 1
    with pytest.raises(UnknownName):
        await journal.finish("r9", "done", None, 0, [row("a7")])
    assert len((await journal.load("r1"))[1]) == 1


async def test_runs_are_listed_newest_first(journal: Journal) -> None:
    for run, second in (("one", 1), ("three", 3), ("two", 2), ("same", 3)):
        await journal.begin(record(run, f"2026-01-01T00:00:0{second}Z"))
    await journal.finish("two", "waiting", None, 0)
    assert [r.id for r in await journal.runs(3)] == ["same", "three", "two"]
    assert [r.id for r in await journal.runs(9, status="waiting")] == ["two"]


async def test_find_takes_a_unique_prefix(journal: Journal) -> None:
    for run in ("abc1", "abd2", "abd", "x%y"):
        await journal.begin(record(run))
    assert (await journal.find("abc")).id == "abc1"
    assert (await journal.find("abd")).id == "abd"
    assert (await journal.find("x%")).id == "x%y"
    with pytest.raises(UnknownName, match=r"ambiguous: abc1, abd, abd2") as ambiguous:
        await journal.find("ab")
    assert ambiguous.value.details["matches"] == ["abc1", "abd", "abd2"]
    for wrong in ("abx1", "%bc", "ABC1"):
        with pytest.raises(UnknownName):
            await journal.find(wrong)
    with pytest.raises(UnknownName, match="unknown run"):
        await journal.load("abc12")


async def test_memory_keeps_the_order_and_goes_with_its_rows(journal: Journal, file: Path) -> None:
    for value in ("3", "1", "2"):
        await journal.remember("scope", "topic", value)
    await journal.remember("scope", "else", "9", [row()])
    with pytest.raises(StoreError):
        await journal.remember("scope", "topic", "4", [row()])
    assert await journal.recall("scope", "topic") == ["3", "1", "2"]
    assert await journal.recall("none", "topic") == []


async def test_one_owner_at_a_time(journal: Journal, file: Path) -> None:
    await journal.begin(record())
    await journal.claim("r1")
    async with Journal.open(file) as other:
        with pytest.raises(RunIsActive, match=f"process {os.getpid()}"):
            await other.claim("r1")
        with pytest.raises(RunIsActive):
            await other.finish("r1", "done", None, 0)
        await other.release("r1")
        with pytest.raises(RunIsActive):
            await other.claim("r1")
        await journal.release("r1")
        await other.claim("r1")
        with pytest.raises(RunIsActive):
            await journal.claim("r1")
        with pytest.raises(UnknownName):
            await other.claim("r9")
    assert (await journal.load("r1"))[0].owner is None
    await journal.claim("r1")


async def test_owners_that_are_gone_or_cannot_be_asked(journal: Journal) -> None:
    await journal.begin(record())
    host, pid, started, token = journal.owner.rsplit("/", 3)
    gone = subprocess.Popen([sys.executable, "-c", ""])  # noqa: ASYNC220
    gone.wait()

    async def owned_by(owner: str) -> None:
        on_thread(journal, lambda connection: connection.execute("UPDATE runs SET owner = ?", (owner,)))

    for owner in (f"{host}/{gone.pid}/{started}/x", f"{host}/{pid}/{started}/x", f"{host}/{os.getppid()}/1/x"):
        await owned_by(owner)
        await journal.claim("r1")
    await owned_by(f"elsewhere/{pid}/{started}/{token}")
    with pytest.raises(RunIsActive, match="elsewhere"):
        await journal.claim("r1")
    await journal.claim("r1", force=True)


async def test_several_loops_in_several_threads(journal: Journal, file: Path) -> None:
    def loop(number: int, backend: str) -> None:
        async def work() -> None:
            async with anyio.create_task_group() as group:
                for path in range(10, 60):
                    group.start_soon(journal.commit, [row(f"b{path}", run=f"r{number}")])

        anyio.run(work, backend=backend)

    async with anyio.create_task_group() as group:
        for number, backend in enumerate(("asyncio", "trio", "asyncio", "trio")):
            group.start_soon(anyio.to_thread.run_sync, loop, number, backend)
        for path in range(10, 60):
            await journal.commit([row(f"b{path}", run="here")])
    assert len(stored(file)) == 250


async def test_a_dead_loop_does_not_kill_the_writer(journal: Journal, file: Path) -> None:
    go = hold(journal)

    def doomed() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(journal.commit([row()]))
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()

    await anyio.to_thread.run_sync(doomed)
    go.set()
    await journal.commit([row("a1")])
    assert stored(file) == ["a0", "a1"]


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to have a header" * 50)
    with pytest.raises(StoreError, match="no SQLite database"):
        Journal.open(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE cats (name)")
    other.close()
    with pytest.raises(StoreError, match="but no journal"):
        Journal.open(tmp_path / "other")
    Journal.open(tmp_path / "new").close()
    newer = sqlite3.connect(tmp_path / "new")
    newer.execute("UPDATE meta SET version = 99")
    newer.commit()
    newer.close()
    with pytest.raises(StoreError, match="schema 99, written by a newer satisfice"):
        Journal.open(tmp_path / "new")
    for impossible in (tmp_path, tmp_path / "text" / "journal.db"):
        with pytest.raises(StoreError, match="cannot be opened"):
            Journal.open(impossible)


def test_processes_may_make_the_file_at_once(file: Path) -> None:
    code = "import sys; from satisfice.scheduler.journal import Journal; input(); Journal.open(sys.argv[1]).close()"
    command = [sys.executable, "-c", code, str(file)]
    makers = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(4)]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("\n")
        maker.stdin.flush()
    assert [maker.wait(20) for maker in makers] == [0] * 4


def test_posts_are_written_when_the_process_ends_without_close(file: Path) -> None:
    code = """
import sys
from satisfice.scheduler.journal import Journal, Row
journal = Journal.open(sys.argv[1])
for number in range(1000, 3000):
    journal.post([Row("r", f"d{number}", 0, "intent", "e", "f", "{}", 0, 0, 0, 0.0)])
"""
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, timeout=20)
    assert len(stored(file)) == 2000


def test_a_forgotten_journal_lets_go_of_its_file_and_runs(file: Path) -> None:
    journal = Journal.open(file)
    anyio.run(journal.begin, record())
    thread = journal._writer._thread
    del journal
    thread.join(10)
    assert not thread.is_alive()
    with_new = Journal.open(file)
    anyio.run(with_new.claim, "r1")
    with_new.close()


COMMITTER = """
import sys, anyio
from satisfice.scheduler.journal import Journal, Row, RunRecord
async def main():
    journal = Journal.open(sys.argv[1])
    await journal.begin(RunRecord("r", "2026", "running", "{}", None, "q", "s", 0, "f", None))
    async def branch(b):
        for number in range(10**6, 10**7):
            path = f"a{b}.g{number}"
            await journal.commit([Row("r", path, 0, "intent", "e", "f", "{}", 0, 0, 0, 0.0)])
            print(path, flush=True)
    async with anyio.create_task_group() as group:
        for b in range(4):
            group.start_soon(branch, b)
anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_was_acknowledged_survives_a_kill(file: Path, anyio_backend: str, seed: int) -> None:
    victim = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", COMMITTER, str(file), anyio_backend], stdout=subprocess.PIPE, text=True
    )
    assert victim.stdout is not None
    acknowledged = [victim.stdout.readline().strip() for _ in range(random.Random(seed).randrange(1, 1500))]
    async with Journal.open(file) as journal:
        with pytest.raises(RunIsActive):
            await journal.claim("r")
        victim.send_signal(signal.SIGKILL)
        lines = victim.stdout.read().split("\n")  # the last may be cut short
        acknowledged += lines[:-1]
        os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
        await journal.claim("r")  # not reaped yet: a zombie is dead
        found, rows = await journal.load("r")
        victim.wait()
    assert found.owner == journal.owner
    assert set(acknowledged) <= {r.path for r in rows}
    victim.stdout.close()
