"""The ledger in PostgreSQL (13 or newer): one set of accounts for many nodes.

A batch takes three round trips: lock and read, read the counters, write and commit. Every writer first locks the one
row of `ledger_meta`, so there is one at a time over all nodes. READ COMMITTED is enough then: each statement after the
lock sees everything that was committed before it, and nobody else can change it until the commit.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Timer
from typing import TYPE_CHECKING, Any, TypeVar

from ...core.errors import MissingExtra, StoreError
from .migrations import check_version, steps
from .queries import Asked, Dialect
from .rows import Row, Table
from .sql import BadRow, SqlStore

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")
PATIENCE = 10.0  # seconds that a lost connection, or the lock, is waited for
OLDEST = 130_000
SERIAL = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
DIALECT = Dialect(
    among="= ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(? AS jsonb))))",
    keys="(SELECT r->>0 AS account, r->>1 AS time_window, CAST(r->>2 AS bigint) AS low, CAST(r->>3 AS bigint) AS high "
    "FROM jsonb_array_elements(CAST(? AS jsonb)) r)",
    lock=" FOR UPDATE",
)
_HINTS = {
    "55P03": "another node has held the ledger for too long",
    "57014": "it took too long",
    "53100": "the server's disk is full",
    "42501": "its user may not do this",
    "42P01": "its tables are gone: open it again",
}
_HOPELESS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")
_AGAIN = ("40001", "40P01", "25006")  # serialization, deadlock, a standby where the primary was


class PostgresStore(SqlStore):
    """A `Store` in the database of a libpq URL, its tables in the first schema of the search path. A lost connection,
    in mid-transaction or at the commit too, is made again for up to `patience` seconds. Raises `StoreError`,
    `MissingExtra`."""

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        super().__init__(PostgresDatabase(url, patience))


class PostgresDatabase:
    """A connection that is made again when it is lost; used by one thread at a time."""

    dialect = DIALECT

    def __init__(self, url: str, patience: float) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtra.of("postgres", "a ledger in PostgreSQL") from None
        self._pg, self._patience = psycopg, patience
        try:
            given = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error:  # its text quotes the URL
            text = "the ledger's URL cannot be read: expected postgresql://user:password@host:port/database"
            raise StoreError(text) from None
        self._secrets = [str(given[key]) for key in ("password", "sslpassword") if given.get(key)]
        self.name = f"ledger postgresql://{given.get('host') or ''}/{given.get('dbname') or ''}"
        defaults: dict[str, Any] = {
            "connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
            "tcp_user_timeout": int(patience * 2000), "application_name": "satisfice",
            "target_session_attrs": "read-write",
        }  # fmt: skip
        self._options = {**defaults, **given}
        self._db: psycopg.Connection[Row] | None = None
        self._writes: list[Asked] = []
        self._first = False  # whether the next `ask` opens the transaction
        self._writing = False
        self._xid: str | None = None
        self._patiently(self._migrate)

    # -- `Database` -----------------------------------------------------------------------------------------------

    def transaction(self, work: Callable[[], T], *, writes: bool) -> T:
        """Where the connection is lost at the commit, the server is asked what became of it."""
        done: list[T] = []

        def once() -> T:
            if done and self._happened():
                return done[0]
            done.clear()
            self._first, self._writing, self._writes, self._xid = True, writes, [], None
            result = work()
            done.append(result)
            self._commit()
            return result

        return self._patiently(once)

    def ask(self, *queries: Asked) -> list[list[Row]]:
        db = self._connected()
        first, self._first = self._first, False
        with db.pipeline():
            if first and not self._writing:
                db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursors = [db.execute(_sql(statement), values) for statement, values in queries]
            xid = db.execute("SELECT pg_current_xact_id()::text") if first and self._writing else None
            rows = [cursor.fetchall() for cursor in cursors]
            if xid is not None:
                self._xid = str(xid.fetchall()[0][0])
        return rows

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            columns = ", ".join(table.columns)
            picked = ", ".join(
                f"CAST(r->>{i} AS bigint)" if column in table.whole else f"r->>{i}"
                for i, column in enumerate(table.columns)
            )
            source = "jsonb_array_elements(CAST(? AS jsonb)) WITH ORDINALITY AS rows (r, n) ORDER BY n"
            statement = f"INSERT INTO {table.name} ({columns}) SELECT {picked} FROM {source}{table.conflict}"
            self._writes.append((statement, (json.dumps(rows),)))

    def run(self, statement: str, values: Sequence[object]) -> None:
        self._writes.append((statement, values))

    def close(self) -> None:
        if self._db is not None:
            with suppress(self._pg.Error):
                self._db.close()
            self._db = None

    # -- the connection -------------------------------------------------------------------------------------------

    def _connected(self) -> psycopg.Connection[Row]:
        if self._db is not None and not self._db.closed:
            return self._db
        db = self._pg.connect(**self._options, autocommit=True)
        if db.info.server_version < OLDEST:
            db.close()
            raise StoreError(f"{self.name}: PostgreSQL 13 or newer is needed")
        limit = int(self._patience * 1000)
        # A writer that is stuck in its transaction is thrown out before those behind it lose patience.
        db.execute(
            "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false), "
            "set_config('idle_in_transaction_session_timeout', %s, false), set_config('jit', 'off', false), "
            "CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') "
            "THEN set_config('synchronous_commit', 'on', false) END",
            (str(limit), str(3 * limit), str(max(1, limit // 2))),
        )
        db.autocommit = False
        self._db = db
        return db

    def _commit(self) -> None:
        db, writes = self._connected(), self._writes
        with db.pipeline():
            for statement, values in writes:
                db.execute(_sql(statement), values)
            db.commit()

    def _happened(self) -> bool:
        """Whether the transaction whose commit was not confirmed took place after all."""
        xid = self._xid
        if xid is None:
            return False
        db = self._connected()
        try:
            row = db.execute("SELECT pg_xact_status(%s::xid8)", (xid,)).fetchone()
            status = row[0] if row else None
        except self._pg.DataError:  # another server, that does not know it: what is sent again is known by its ids
            status = None
        db.rollback()
        if status == "in progress":
            raise self._pg.OperationalError("the server has not ended the transaction yet")
        return bool(status == "committed")

    def _patiently(self, once: Callable[[], T]) -> T:
        """Tries again, with growing pauses, while it is the connection or the server that fails."""
        deadline, pause = time.monotonic() + self._patience, 0.05
        while True:
            watchdog = Timer(4 * self._patience, self._cut)  # later than what the server itself would end
            watchdog.daemon = True
            watchdog.start()
            try:
                return once()
            except BaseException as error:
                failure = self._failure(error)
                self._roll_back()
                if failure is None:
                    raise
                if isinstance(failure, BadRow) or not self._again(error) or time.monotonic() + pause > deadline:
                    hidden = any(secret in str(error) for secret in self._secrets)
                    raise failure from (None if hidden else error)
            finally:
                watchdog.cancel()
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def _roll_back(self) -> None:
        if self._db is not None and not self._db.closed:
            try:
                self._db.rollback()
            except self._pg.Error:
                self.close()

    def _cut(self) -> None:
        """A server that hangs without hanging up: who waits for it, in another thread, finds the connection lost."""
        with suppress(OSError, self._pg.Error):
            if self._db is not None:
                with socket.socket(fileno=os.dup(self._db.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)

    def _again(self, error: BaseException) -> bool:
        state = getattr(error, "sqlstate", None)
        if state is None:  # no answer from the server, or none to the wish to connect
            hopeless = any(text in str(error) for text in _HOPELESS)
            return isinstance(error, self._pg.OperationalError | self._pg.InterfaceError) and not hopeless
        # 08: connection; 57P: shut down, crashed, starting; 25P03: was thrown out; 53300: too many connections.
        return state in _AGAIN or state[:2] == "08" or state[:3] == "57P" or state in ("25P03", "53300")

    def _failure(self, error: BaseException) -> StoreError | None:
        """As an error of the store, without the password; None for what is none of its own."""
        text = str(error).strip()
        for secret in self._secrets:
            text = text.replace(secret, "***")
        if isinstance(error, self._pg.DataError | self._pg.IntegrityError | OverflowError | UnicodeError):
            return BadRow(f"{self.name} cannot hold this: {text}")
        if not isinstance(error, self._pg.Error):
            return None
        state = getattr(error, "sqlstate", None)
        hint = _HINTS.get(state or "")
        return StoreError(f"{self.name}: {hint} ({text})" if hint else f"{self.name}: {text}", reason=state)

    def _migrate(self) -> None:
        db = self._connected()
        # Two nodes that open a new database at once: one makes the tables, the other then finds them.
        db.execute("SELECT pg_advisory_xact_lock(hashtext('satisfice.ledger'))")
        row = db.execute(
            "SELECT current_schema(), EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema() "
            "AND tablename = 'ledger_meta')"
        ).fetchone()
        schema, there = row or (None, False)
        if schema is None:
            raise StoreError(f"{self.name}: no schema of the search path exists; make it first: CREATE SCHEMA ...")
        have = 0
        if there:
            found = db.execute("SELECT version FROM ledger_meta FOR UPDATE").fetchone()
            have = check_version(found[0] if found else None, self.name)
        for statement in steps(have, SERIAL):
            db.execute(statement)
        db.commit()


def _sql(statement: str) -> str:
    """With psycopg's placeholders."""
    return statement.replace("%", "%%").replace("?", "%s")
