"""The ledger in a SQLite file: the embedded default.

Durable means WAL with synchronous=FULL: every transaction is on the disk before anybody hears of it. It survives the
death of the process at any instant, and a power cut (NORMAL, as the journal has it, may lose the last transactions
then: for money that would be room that is not there).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ...core.errors import StoreError
from ...core.sqlite_errors import as_store_error
from .migrations import check_version, steps
from .queries import Asked, Dialect
from .rows import Row, Table
from .sql import BadRow, SqlStore

T = TypeVar("T")
PATIENCE = 10.0  # seconds that a lock of another process is waited for
SERIAL = "INTEGER PRIMARY KEY"
DIALECT = Dialect(
    among="IN (SELECT value FROM json_each(?))",
    keys="(SELECT json_extract(value, '$[0]') AS account, json_extract(value, '$[1]') AS time_window, "
    "json_extract(value, '$[2]') AS low, json_extract(value, '$[3]') AS high FROM json_each(?))",
    lock="",
)


class SqliteStore(SqlStore):
    """A `Store` in the file `path`, made if absent (mode 0600; its directory is there). Several processes may use it:
    one writes at a time, the others wait `patience` seconds. `apply` returns when the transaction is on the disk.
    Raises `StoreError` if the file is no ledger or cannot be written."""

    def __init__(self, path: str | Path, *, patience: float = PATIENCE) -> None:
        super().__init__(SqliteDatabase(Path(path), patience))


class SqliteDatabase:
    """A connection to the file; used by one thread at a time."""

    dialect = DIALECT

    def __init__(self, path: Path, patience: float) -> None:
        self.name = f"ledger {path}"
        self._db = _connect(path, self.name, patience)
        try:
            _prepare(self._db, self.name, patience)
        except Exception as error:
            self._db.close()
            raise as_store_error(error, self.name) from error

    def transaction(self, work: Callable[[], T], *, writes: bool) -> T:
        """BEGIN IMMEDIATE is the lock. Whatever fails is rolled back, and the next transaction is tried afresh."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            result = work()
            db.execute("COMMIT")
            return result
        except BaseException as error:
            if _in_transaction(db):  # a full disk has rolled back already
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | OverflowError | UnicodeError):
                raise BadRow(f"{self.name} cannot hold this: {error}") from error
            if isinstance(error, sqlite3.Error):
                raise as_store_error(error, self.name) from error
            raise

    def ask(self, *queries: Asked) -> list[list[Row]]:
        return [self._db.execute(statement, values).fetchall() for statement, values in queries]

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            places = ", ".join("?" * len(table.columns))
            columns = ", ".join(table.columns)
            self._db.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({places}){table.conflict}", rows)

    def run(self, statement: str, values: Sequence[object]) -> None:
        self._db.execute(statement, values)

    def close(self) -> None:
        self._db.close()


def _in_transaction(db: sqlite3.Connection) -> bool:
    try:
        return db.in_transaction
    except sqlite3.ProgrammingError:  # closed
        return False


def _connect(path: Path, name: str, patience: float) -> sqlite3.Connection:
    if path.name == ":memory:":
        raise StoreError("a ledger in SQLite is a file; for one that ends with the process give no place at all")
    if not path.parent.is_dir():
        raise StoreError(f"{name} cannot be opened: there is no directory {path.parent}; make it first")
    try:
        # SQLite would make it readable for all; its -wal and -shm files take over the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        return sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    except (OSError, ValueError, sqlite3.Error) as error:
        raise StoreError(f"{name} cannot be opened: {error}") from error


def _prepare(db: sqlite3.Connection, name: str, patience: float) -> None:
    """WAL, durability, and the present schema."""
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk there
    deadline = time.monotonic() + patience
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # The switch to WAL does not wait for a process that makes the same switch: busy_timeout is not asked.
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    db.execute("BEGIN IMMEDIATE")  # fails at once if the file cannot be written
    tables = {table for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "ledger_meta" not in tables:
        raise StoreError(f"{name} is a SQLite database, but no ledger: give the ledger a file of its own")
    have = check_version(db.execute("SELECT max(version) FROM ledger_meta").fetchone()[0], name) if tables else 0
    for statement in steps(have, SERIAL):
        db.execute(statement)
    db.execute("COMMIT")
