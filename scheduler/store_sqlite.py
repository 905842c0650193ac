"""What the journal's tables are and what is done to them. Every function but `connect` runs inside a transaction."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Literal

from ..core.errors import RunIsActive, StoreError, UnknownName
from ..core.sqlite_errors import as_store_error
from .owner import describe, is_alive
from .store_feedback import MIGRATION

VERSION = 2
BUSY_SECONDS = 10.0

Kind = Literal["intent", "reply"]
Status = Literal["running", "waiting", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Row:
    """One write of a run: that an effect is about to be performed, or what came of it."""

    run: str
    path: str  # encoded, see `paths`
    attempt: int
    kind: Kind
    effect: str
    fingerprint: str
    payload: str  # JSON
    nanos: int
    tokens: int
    calls: int
    at: float  # seconds since the run began, monotone across resumes


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run: what it is, how far it got, what it cost."""

    id: str
    created: str  # UTC, ISO 8601
    status: Status
    spec: str  # JSON: how to rebuild the run
    result: str | None  # JSON: the solution or the error
    query: str  # the first 200 characters, for lists
    strategy: str
    spent_nanos: int
    fingerprint: str
    owner: str | None


ROW_FIELDS = ("run", "path", "attempt", "kind", "effect", "fingerprint", "payload", "nanos", "tokens", "calls", "at")
RUN_FIELDS = ("id", "created", "status", "spec", "result", "query", "strategy", "spent_nanos", "fingerprint", "owner")
INSERT_ROW = f"INSERT INTO rows ({', '.join(ROW_FIELDS)}) VALUES ({', '.join('?' * len(ROW_FIELDS))})"
_INSERT_RUN = f"INSERT INTO runs ({', '.join(RUN_FIELDS)}) VALUES ({', '.join('?' * len(RUN_FIELDS))})"
_SELECT_RUN = f"SELECT {', '.join(RUN_FIELDS)} FROM runs"

_SCHEMA = (
    "CREATE TABLE meta (version INTEGER NOT NULL)",
    "INSERT INTO meta VALUES (1)",
    """CREATE TABLE runs (
        id TEXT NOT NULL PRIMARY KEY,
        created TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('running', 'waiting', 'done', 'failed', 'cancelled')),
        spec TEXT NOT NULL,
        result TEXT,
        query TEXT NOT NULL,
        strategy TEXT NOT NULL,
        spent_nanos INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        owner TEXT
    )""",
    "CREATE INDEX runs_created ON runs (created)",
    """CREATE TABLE rows (
        run TEXT NOT NULL,
        path TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('intent', 'reply')),
        effect TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        payload TEXT NOT NULL,
        nanos INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        calls INTEGER NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (run, path, attempt, kind)
    ) WITHOUT ROWID""",
    "CREATE TABLE memory (id INTEGER PRIMARY KEY, scope TEXT NOT NULL, topic TEXT NOT NULL, value TEXT NOT NULL)",
    "CREATE INDEX memory_topic ON memory (scope, topic)",
)

MIGRATIONS = (MIGRATION,)  # what makes version 2 of version 1, and so on
as_row_tuple = attrgetter(*ROW_FIELDS)
_as_run_tuple = attrgetter(*RUN_FIELDS)


def connect(path: Path, durable: bool = False) -> sqlite3.Connection:
    """Open the journal's file, made if absent (mode 0600). StoreError if it is no journal or cannot be written."""
    name = f"journal {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite would make it readable for all; its -wal and -shm files take over the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{name} cannot be opened: {error}") from error
    try:
        _prepare(connection, name, durable)
    except sqlite3.Error as error:
        connection.close()
        raise as_store_error(error, name) from error
    except StoreError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, name: str, durable: bool) -> None:
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # The switch to WAL does not wait for a process that makes the same switch: busy_timeout is not asked.
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("BEGIN IMMEDIATE")  # fails at once if the file cannot be written
    tables = {table for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        version = 1
        for statement in _SCHEMA:
            connection.execute(statement)
    elif not {"meta", "runs", "rows", "memory"} <= tables:
        raise StoreError(f"{name} is a SQLite database, but no journal")
    else:
        (version,) = connection.execute("SELECT max(version) FROM meta").fetchone()
        if not isinstance(version, int) or version > VERSION:
            message = f"{name} has schema {version}, written by a newer satisfice; this one knows up to {VERSION}"
            raise StoreError(message, schema=version)
    for statements in MIGRATIONS[version - 1 :]:
        for statement in statements:
            connection.execute(statement)
    connection.execute("COMMIT")


def begin(connection: sqlite3.Connection, record: RunRecord) -> None:
    connection.execute(_INSERT_RUN, _as_run_tuple(record))


def claim(connection: sqlite3.Connection, run: str, owner: str, force: bool = False) -> None:
    """Make `owner` the owner of the run. RunIsActive if another is and may be alive."""
    _check_owner(connection, run, owner, force)
    connection.execute("UPDATE runs SET owner = ? WHERE id = ?", (owner, run))


def _check_owner(connection: sqlite3.Connection, run: str, owner: str, force: bool = False) -> None:
    found = connection.execute("SELECT owner FROM runs WHERE id = ?", (run,)).fetchone()
    if found is None:
        raise unknown_run(connection, run)
    if found[0] not in (None, owner) and not force and is_alive(found[0]):
        raise RunIsActive(f"run {run} belongs to {describe(found[0])}", run=run, owner=found[0])


def release(connection: sqlite3.Connection, owner: str, run: str | None = None) -> None:
    """Give up the run, or all of the owner's."""
    if run is None:
        connection.execute("UPDATE runs SET owner = NULL WHERE owner = ?", (owner,))
    else:
        connection.execute("UPDATE runs SET owner = NULL WHERE id = ? AND owner = ?", (run, owner))


def finish(
    connection: sqlite3.Connection, run: str, owner: str, status: Status, result: str | None, spent_nanos: int
) -> None:
    """Set how the run stands; unless it is still running, nobody owns it any more."""
    _check_owner(connection, run, owner)
    connection.execute(
        "UPDATE runs SET status = ?, result = ?, spent_nanos = ?, owner = ? WHERE id = ?",
        (status, result, spent_nanos, owner if status == "running" else None, run),
    )


def load(connection: sqlite3.Connection, run: str) -> tuple[RunRecord, list[Row]]:
    found = connection.execute(f"{_SELECT_RUN} WHERE id = ?", (run,)).fetchone()
    if found is None:
        raise unknown_run(connection, run)
    select = f"SELECT {', '.join(ROW_FIELDS)} FROM rows WHERE run = ? ORDER BY path, attempt, kind"
    return RunRecord(*found), [Row(*values) for values in connection.execute(select, (run,))]


def runs(connection: sqlite3.Connection, limit: int, status: Status | None = None) -> list[RunRecord]:
    select = f"{_SELECT_RUN} WHERE ? IS NULL OR status = ? ORDER BY created DESC, rowid DESC LIMIT ?"
    return [RunRecord(*values) for values in connection.execute(select, (status, status, max(limit, 0)))]


def find(connection: sqlite3.Connection, prefix: str) -> RunRecord:
    """The run whose id is, or alone begins with, `prefix`."""
    select = f"{_SELECT_RUN} WHERE id >= ? AND substr(id, 1, ?) = ? ORDER BY id LIMIT 6"
    found = [RunRecord(*values) for values in connection.execute(select, (prefix, len(prefix), prefix))]
    if not found:
        raise unknown_run(connection, prefix)
    if len(found) > 1 and found[0].id != prefix:
        ids = [record.id for record in found]
        listing = ", ".join(ids[:5]) + (" ..." if len(ids) > 5 else "")
        message = f"run {prefix!r} is ambiguous: {listing}"
        raise UnknownName(message, kind="run", name=prefix, nearest=ids[0], matches=ids[:5])
    return found[0]


def unknown_run(connection: sqlite3.Connection, run: str) -> UnknownName:
    """Names no other run: whose they are is not known here."""
    several = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    text = f"unknown run {run!r}: it is not among the {several} on record here (a request with store=False never is)"
    return UnknownName(text, kind="run", name=run)


def remember(connection: sqlite3.Connection, scope: str, topic: str, value: str) -> None:
    connection.execute("INSERT INTO memory (scope, topic, value) VALUES (?, ?, ?)", (scope, topic, value))


def recall(connection: sqlite3.Connection, scope: str, topic: str) -> list[str]:
    select = "SELECT value FROM memory WHERE scope = ? AND topic = ? ORDER BY id"
    return [value for (value,) in connection.execute(select, (scope, topic))]
