"""The journal: what runs have asked and got, durable before anybody acts on it.

    async with Journal.open("runs.db") as journal:
        await journal.begin(record)          # this journal now owns the run
        await journal.commit([intent])       # durable when it returns
        await journal.finish(record.id, "done", result, spent, [reply])

Calls are carried out in the order in which they are made, whatever loop or thread makes them. A call that raises has
written nothing; a call that is cancelled while it waits is carried out all the same. Every method may raise StoreError.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from . import store_feedback
from . import store_sqlite as store
from .owner import enrol, retire
from .store_feedback import Explored, Given
from .store_sqlite import Kind, Row, RunRecord, Status
from .writer import Job, Writer

__all__ = ["Explored", "Given", "Journal", "Kind", "Row", "RunRecord", "Status"]

T = TypeVar("T")


class Journal:
    """A log of runs in one SQLite file, for any number of tasks, event loops and processes at once."""

    def __init__(self, connection: Connection, path: Path) -> None:
        """Not to be called: see `open`."""
        self.path = path
        self.owner = enrol()
        leave = partial(store.release, owner=self.owner)
        ended = partial(retire, self.owner)
        self._writer = Writer(connection, store.INSERT_ROW, f"journal {path}", leave, ended)
        # A journal that was forgotten, not closed: its thread must not hold the file and the runs for ever.
        weakref.finalize(self, self._writer.dismiss).atexit = False

    @classmethod
    def open(cls, path: Path | str, *, durable: bool = False) -> Journal:
        """Open the file, made with its folders if absent. `durable`: what is committed survives a power cut too, as it
        must where a ledger takes the journal's word. StoreError if it is no journal, newer, or not writable."""
        file = Path(path).expanduser().absolute()
        return cls(store.connect(file, durable), file)

    async def commit(self, rows: Sequence[Row]) -> None:
        """Add the rows, all or none; without rows, wait for what was posted. StoreError if one of them is there
        already, or, once, if earlier rows of one of these runs (without rows: of any) were lost, see `post`."""
        await self._writer.perform(Job(_tuples(rows)))

    def post(self, rows: Sequence[Row]) -> None:
        """Add the rows without waiting. A failure is raised by the next commit or finish of the same run, which then
        writes nothing either, or by `close`. So is that of a commit whose caller was cancelled."""
        self._writer.submit(Job(_tuples(rows)))

    async def begin(self, record: RunRecord) -> None:
        """Add a run, owned by this journal. StoreError if the id is taken."""
        await self._write(partial(store.begin, record=replace(record, owner=self.owner)))

    async def finish(
        self, run_id: str, status: Status, result: str | None, spent_nanos: int, rows: Sequence[Row] = ()
    ) -> None:
        """Set how the run stands and add its last rows, together. Unless it is still running, it is released.
        UnknownName; RunIsActive if another took it over."""
        work = partial(
            store.finish, run=run_id, owner=self.owner, status=status, result=result, spent_nanos=spent_nanos
        )
        await self._writer.perform(Job(_tuples(rows), work, run=run_id))

    async def load(self, run_id: str) -> tuple[RunRecord, list[Row]]:
        """The run and its rows by path, attempt, kind. UnknownName."""
        return await self._read(partial(store.load, run=run_id))

    async def runs(self, limit: int, status: Status | None = None) -> list[RunRecord]:
        """The newest runs, newest first."""
        return await self._read(partial(store.runs, limit=limit, status=status))

    async def find(self, prefix: str) -> RunRecord:
        """The one run whose id begins so. UnknownName if there is none or more than one (then in `matches`)."""
        return await self._read(partial(store.find, prefix=prefix))

    async def claim(self, run_id: str, *, force: bool = False) -> None:
        """Own the run. RunIsActive if another journal owns it and is alive, or on a host that cannot be asked: then
        `force` takes it over. Two tasks with one journal are one owner. UnknownName."""
        await self._write(partial(store.claim, run=run_id, owner=self.owner, force=force))

    async def release(self, run_id: str) -> None:
        """Own the run no longer; nothing happens if it is not ours."""
        await self._write(partial(store.release, run=run_id, owner=self.owner))

    async def remember(self, scope: str, topic: str, value_json: str, rows: Sequence[Row] = ()) -> None:
        """Keep a value, together with the rows that say so, so that a resumed run does not keep it twice."""
        await self._write(partial(store.remember, scope=scope, topic=topic, value=value_json), rows)

    async def recall(self, scope: str, topic: str) -> list[str]:
        """The values kept there, oldest first."""
        return await self._read(partial(store.recall, scope=scope, topic=topic))

    async def give(self, given: Given, *, revise: bool = False) -> tuple[Given, bool]:
        """Keep what was said of a run's answer: (what stands, whether it is new). The same word again changes nothing.
        CallerError for another one, unless it is to `revise`."""
        work = partial(store_feedback.give, given=given, revise=revise)
        result: tuple[Given, bool] = await self._writer.perform(Job(work=work, run=given.run))
        return result

    async def given(self, after: int = 0, limit: int = 20_000) -> list[Given]:
        """What was said of runs since the word with the id `after`, the newest `limit` words, oldest first."""
        return await self._read(partial(store_feedback.given, after=after, limit=limit))

    async def trail(self, run_id: str) -> list[Given]:
        """All that was ever said of a run, oldest first; the last word stands."""
        return await self._read(partial(store_feedback.trail, run=run_id))

    async def explored(self) -> Explored:
        """What exploring has cost, over all runs that were counted."""
        return await self._read(store_feedback.explored)

    def count(self, more: Explored) -> None:
        """Add to what exploring has cost, without waiting."""
        self._writer.submit(Job(work=partial(store_feedback.count, more=more)))

    async def overheads(self, since: str = "") -> list[tuple[str, str, float, float, int, int]]:
        """Of each closed run since then (UTC, ISO 8601), oldest first: id, strategy, our own seconds, seconds in all,
        calls, decisions."""
        return await self._read(partial(store_feedback.overheads, since=since))

    def close(self) -> None:
        """Write what is queued, release this journal's runs and stop; again is nothing. Blocks for the time of the
        writes: `aclose` does not. StoreError for posted rows that failed and that no commit has reported."""
        self._writer.stop()

    async def aclose(self) -> None:
        """`close` that does not block the event loop, and that a cancellation does not interrupt."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.close)

    async def __aenter__(self) -> Journal:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _write(self, work: Callable[[Connection], None], rows: Sequence[Row] = ()) -> None:
        await self._writer.perform(Job(_tuples(rows), work))

    async def _read(self, work: Callable[[Connection], T]) -> T:
        result: T = await self._writer.perform(Job(work=work, reads=True))
        return result


def _tuples(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return [store.as_row_tuple(row) for row in rows]
