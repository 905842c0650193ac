"""Following a registry: what its file said last, and whether it has changed since.

A look costs microseconds: SQLite's `data_version` tells whether another connection has committed anything, and the
file's inode whether it is another file. What could not be read leaves everything as it was.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from ...budgets.registry import sql
from ...budgets.registry.registry import Registry
from ...budgets.registry.versions import Standing, Version
from ...core.errors import StoreError

logger = logging.getLogger("satisfice")

SHORT = 0.5  # seconds that a running engine waits for a lock of another process


class Follower:
    """One channel of the registry in `path`. `trouble` is what went wrong at the last look, "" for nothing. The first
    reading raises `StoreError`; those after it keep what was known. `versions`: those that serve and could be read."""

    def __init__(self, path: Path, channel: str) -> None:
        self.registry, self.channel = Registry(path, patience=SHORT), channel
        self.path = self.registry.path
        self.standing = Standing(channel)
        self.versions: dict[str, Version] = {}
        self.trouble = ""
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._mark = self._last = -1  # `data_version`, and the number of the last row, when it was read last

    def read(self) -> None:
        """Reads how the channel stands, with those of the versions that serve that can be read. No file yet is a
        registry without versions. Raises `StoreError`."""
        if not self.path.exists():
            if self.standing.n:
                raise StoreError(f"policy registry {self.path}: there is no such file any more")
            return
        now = self.registry.standing(self.channel)
        found: dict[str, Version] = {}
        for name in (now.production, now.canary, now.shadow):
            with suppress(Exception):  # `version` says what is wrong with it
                found |= {name: self.version(name)} if name is not None else {}
        self.standing, self.versions = now, found

    def version(self, name: str) -> Version:
        """A version that serves. Raises `StoreError` and `UnknownName` where it cannot be read."""
        return self.versions.get(name) or self.registry.get(name)

    def changed(self) -> bool:
        """Whether the log has grown since `read`, as far as can be told."""
        try:
            if self._db is None or os.stat(self.path).st_ino != self._inode:
                return self._open()
            mark = self._db.execute("PRAGMA data_version").fetchone()[0]
            if mark == self._mark:
                return False
            grown = sql.newest(self._db) != self._last
            if not grown:
                self._mark = mark
            self._fine()
            return grown
        except FileNotFoundError:
            self.close()
            if self.standing.n:
                self.fail(StoreError(f"policy registry {self.path}: there is no such file any more"))
            return False
        except Exception as error:  # whatever the file may hold: no request fails by it
            self.close()
            self.fail(error)
            return False

    def _open(self) -> bool:
        self.close()
        inode = os.stat(self.path).st_ino
        self._db = sql.connect(self.path, make=False, patience=0.0)
        self._inode, self._mark, self._last = inode, -1, -1
        return True

    def look(self) -> bool:
        """Reads again what has changed: whether anything did. What cannot be read leaves all as it was."""
        try:
            mark = self._db.execute("PRAGMA data_version").fetchone()[0] if self._db is not None else -1
            last = sql.newest(self._db) if self._db is not None else -1
            before = self.standing
            self.read()
        except Exception as error:  # as above
            self.fail(error)
            return False
        self._mark, self._last = mark, last
        self._fine()
        return self.standing != before

    def fail(self, error: Exception) -> None:
        """Notes trouble, and tells it once."""
        text = f"{error}; the policies known last go on serving"
        if text != self.trouble:
            logger.warning("%s", text)
        self.trouble = text

    def _fine(self) -> None:
        if self.trouble:
            logger.warning("policy registry %s can be read again", self.path)
        self.trouble = ""

    def close(self) -> None:
        """Lets go of the file; a later look opens it again."""
        db, self._db = self._db, None
        if db is not None:
            db.close()
