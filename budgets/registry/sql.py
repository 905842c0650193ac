"""The registry's file: its tables, and what is read from and written to them inside a transaction."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ...core.errors import StoreError
from ...core.sqlite_errors import as_store_error
from .versions import GENESIS, MAIN, Entry, Standing, Version, broken, canonical, standing_of

SCHEMA = 1
PATIENCE = 10.0  # seconds that a lock of another process is waited for
_ONCE = "SELECT RAISE(ABORT, 'the registry is append-only')"
_TABLES = (
    "CREATE TABLE meta (version INTEGER NOT NULL)",
    f"INSERT INTO meta VALUES ({SCHEMA})",
    """CREATE TABLE versions (
        id TEXT NOT NULL PRIMARY KEY,
        hash TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        created TEXT NOT NULL,
        "by" TEXT NOT NULL,
        parents TEXT NOT NULL,
        bank TEXT NOT NULL,
        metrics TEXT NOT NULL,
        policy TEXT NOT NULL
    )""",
    """CREATE TABLE log (
        n INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        "by" TEXT NOT NULL,
        what TEXT NOT NULL,
        channel TEXT NOT NULL,
        version TEXT NOT NULL,
        stage TEXT NOT NULL,
        share REAL,
        why TEXT NOT NULL,
        override INTEGER NOT NULL,
        evidence TEXT NOT NULL,
        previous TEXT NOT NULL,
        hash TEXT NOT NULL
    )""",
    """CREATE TABLE outcomes (
        id INTEGER PRIMARY KEY,
        channel TEXT NOT NULL,
        trial INTEGER NOT NULL,
        run TEXT NOT NULL,
        arm TEXT NOT NULL CHECK (arm IN ('canary', 'production')),
        value REAL NOT NULL CHECK (value BETWEEN 0 AND 1),
        key TEXT NOT NULL DEFAULT '',
        at TEXT NOT NULL,
        UNIQUE (channel, trial, run)
    )""",
    """CREATE TABLE shadows (
        channel TEXT NOT NULL,
        version TEXT NOT NULL,
        against TEXT NOT NULL,
        what TEXT NOT NULL,
        amount INTEGER NOT NULL,
        PRIMARY KEY (channel, version, against, what)
    )""",
    *(
        f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} BEGIN {_ONCE}; END"
        for table in ("versions", "log", "outcomes")
        for verb in ("UPDATE", "DELETE")
    ),
    # INSERT OR REPLACE deletes what is there without asking the triggers of DELETE.
    *(
        f"CREATE TRIGGER {table}_insert BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {there}) BEGIN {_ONCE}; END"
        for table, there in (
            ("versions", "id = NEW.id OR hash = NEW.hash OR rowid = NEW.rowid"),
            ("log", "n = NEW.n"),
            ("outcomes", "id = NEW.id OR (channel = NEW.channel AND trial = NEW.trial AND run = NEW.run)"),
        )
    ),
)
_VERSION = ("id", "hash", "name", "created", "by", "parents", "bank", "metrics", "policy")
_ENTRY = (
    "n",
    "at",
    "by",
    "what",
    "channel",
    "version",
    "stage",
    "share",
    "why",
    "override",
    "evidence",
    "previous",
    "hash",
)


def names(columns: tuple[str, ...]) -> str:
    """Columns as SQL writes them."""
    return ", ".join(f'"{name}"' for name in columns)


def connect(path: Path, *, make: bool, patience: float = PATIENCE) -> sqlite3.Connection:
    """Opens the file; with `make` it is made where it is absent (mode 0600), else it is only read. Raises `StoreError`
    if it is no registry, is of a newer satisfice, or cannot be opened."""
    name = f"policy registry {path}"
    try:
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        elif not path.is_file():
            raise StoreError(f"{name}: there is no such file: `satisfice policy add FILE` makes it", path=str(path))
        uri = f"{path.absolute().as_uri()}?mode={'rw' if make else 'ro'}"
        db = sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{name} cannot be opened: {error}") from error
    try:
        _prepare(db, name, make)
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.Error):
            raise as_store_error(error, name) from error
        raise
    return db


def _prepare(db: sqlite3.Connection, name: str, make: bool) -> None:
    tables = {table for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables and make:
        db.execute("PRAGMA synchronous = FULL")
        _wal(db)
        with transaction(db):
            if not db.execute("SELECT 1 FROM sqlite_master").fetchone():  # another process may have been first
                for statement in _TABLES:
                    db.execute(statement)
        return
    if not {"meta", "versions", "log", "outcomes", "shadows"} <= tables:
        raise StoreError(f"{name}: " + ("it is a SQLite database, but no policy registry" if tables else "it is empty"))
    (version,) = db.execute("SELECT max(version) FROM meta").fetchone()
    if not isinstance(version, int) or version > SCHEMA:
        text = f"{name} has schema {version}, written by a newer satisfice; this one knows {SCHEMA}: update satisfice"
        raise StoreError(text, schema=version)
    if make:
        db.execute("PRAGMA synchronous = FULL")


def _wal(db: sqlite3.Connection) -> None:
    """The switch to WAL does not wait for a process that makes the same switch."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """One writer at a time, all of it or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has rolled back already
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise


def put_version(db: sqlite3.Connection, one: Version) -> None:
    values = (one.id, one.hash, one.name, one.created, one.by, json.dumps(one.parents), one.bank)
    marks = ", ".join("?" * len(_VERSION))
    db.execute(
        f"INSERT INTO versions ({names(_VERSION)}) VALUES ({marks})",
        (*values, canonical(dict(one.metrics)), one.text),
    )


def versions(db: sqlite3.Connection, where: str = "1", *values: str) -> list[Version]:
    """The versions of which this holds, oldest first. Raises `StoreError` for rows that cannot be read."""
    found = db.execute(f"SELECT {names(_VERSION)} FROM versions WHERE {where} ORDER BY rowid", values)
    return [_version(*row) for row in found]


def _version(
    i: str, h: str, name: str, created: str, by: str, parents: str, bank: str, metrics: str, text: str
) -> Version:
    try:
        made, facts = tuple(json.loads(parents)), json.loads(metrics)
        if not isinstance(facts, dict) or not all(isinstance(one, str) for one in (*made, name, h, text)):
            raise ValueError("not the kinds of values that belong there")
    except (TypeError, ValueError) as error:
        raise StoreError(f"version {i} of the registry cannot be read: {error}", id=str(i)) from error
    return Version(i, h, name, created, by, made, bank, facts, text)


def append(db: sqlite3.Connection, entry: Entry) -> Entry:
    """Adds a row to the log, at the end of its chain."""
    last = db.execute("SELECT n, hash FROM log ORDER BY n DESC LIMIT 1").fetchone() or (0, None)
    row = replace(entry, n=last[0] + 1).sealed(last[1] or GENESIS)
    values = [getattr(row, name) for name in _ENTRY]
    values[_ENTRY.index("evidence")] = canonical(dict(row.evidence))
    values[_ENTRY.index("override")] = int(row.override)
    db.execute(f"INSERT INTO log ({names(_ENTRY)}) VALUES ({', '.join('?' * len(_ENTRY))})", values)
    return row


def log(db: sqlite3.Connection) -> list[Entry]:
    """All rows, oldest first. Raises `StoreError` for rows that cannot be read."""
    found = []
    for row in db.execute(f"SELECT {names(_ENTRY)} FROM log ORDER BY n"):
        facts = dict(zip(_ENTRY, row, strict=True))
        try:
            facts["evidence"], facts["override"] = dict(json.loads(facts["evidence"])), bool(facts["override"])
        except (TypeError, ValueError) as error:
            raise StoreError(f"row {facts['n']} of the registry's log cannot be read: {error}") from error
        found.append(Entry(**facts))
    return found


def standing(db: sqlite3.Connection, channel: str = MAIN) -> Standing:
    """How the channel stands by a log that is whole. Raises `StoreError` for one that is not: who follows it, or builds
    on it, would do what nobody decided."""
    entries = log(db)
    if wrong := broken(entries):
        text = f"the registry's log is not whole: {wrong}: put a copy of the file back, or begin another registry"
        raise StoreError(text)
    return standing_of(entries, channel)


def newest(db: sqlite3.Connection) -> int:
    """The number of the last row of the log."""
    found: int = db.execute("SELECT coalesce(max(n), 0) FROM log").fetchone()[0]
    return found
