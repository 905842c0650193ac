"""One thread that owns the connection: what is queued while it works becomes its next transaction (group commit).

Durable means what WAL with synchronous=NORMAL means: it survives the death of the process at any instant, and the file
survives a power cut, which may take the last transactions before it (with FULL, where there is a ledger, it may not).
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import anyio

from ..core.errors import SatisficeError, StoreError
from ..core.loops import set_all, way_back
from ..core.sqlite_errors import as_store_error

Work = Callable[[sqlite3.Connection], Any]
RowTuple = tuple[Any, ...]

GROUP = 1024
"""The most jobs in a transaction: bounds what the first of them waits for the last."""


class Job:
    """Rows to add (their run comes first), then work to do, on `run` if that is about one, in one transaction.
    With `reads`, the work changes nothing. Without anything, it waits for what is queued before it."""

    __slots__ = ("abandoned", "error", "event", "reads", "result", "rows", "run", "soon", "work")

    def __init__(
        self,
        rows: Sequence[RowTuple] = (),
        work: Work | None = None,
        *,
        run: str | None = None,
        reads: bool = False,
    ) -> None:
        self.rows = rows
        self.work = work
        self.run = run
        self.reads = reads
        self.soon: Callable[..., object] | None = None  # how to reach the waiter's loop; None: nobody waits
        self.event: anyio.Event | None = None
        self.abandoned = False
        self.result: Any = None
        self.error: SatisficeError | None = None


class Writer:
    """The thread. `insert` is the statement for a row, `name` what errors call the store, `last` its last work,
    `ended` what is called when all is over."""

    def __init__(
        self, connection: sqlite3.Connection, insert: str, name: str, last: Work, ended: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._insert = insert
        self._name = name
        self._last = last
        self._ended = ended
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()  # between `submit` and `stop`: nothing is queued behind the end
        self._stopped = False
        self._lost: dict[str, SatisficeError] = {}  # by run: failures that nobody was there to hear
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="satisfice-journal", daemon=True)
        self._thread.start()
        # A daemon thread dies with the interpreter: what was posted is written before that.
        atexit.register(self.stop)

    def submit(self, job: Job) -> None:
        """Queue the job, first come first served. StoreError when closed."""
        if os.getpid() != self._pid:
            raise StoreError(f"{self._name} was opened before a fork: open it again in the child")
        with self._lock:
            if self._stopped:
                raise StoreError(f"{self._name} is closed")
            self._queue.put(job)

    async def perform(self, job: Job) -> Any:
        """Queue the job and wait until it is durable. Cancelling the wait does not take the job back."""
        job.soon = way_back()
        job.event = anyio.Event()
        self.submit(job)
        try:
            await job.event.wait()
        except BaseException:
            # The thread sets the error and then looks at the flag; here it is the other way round: one of both sees it.
            job.abandoned = True
            if job.error is not None:
                self._lose(job, job.error)
            raise
        if job.error is not None:
            raise job.error
        return job.result

    def dismiss(self) -> None:
        """Let the thread end after what is queued."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._queue.put(None)

    def stop(self) -> None:
        """Write what is queued and end. StoreError, once, for a failure that nobody has heard of."""
        atexit.unregister(self.stop)
        if os.getpid() != self._pid:
            return
        self.dismiss()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        lost, self._lost = self._lost, {}
        for error in lost.values():
            raise StoreError(f"rows that were posted are not written: {error}", runs=sorted(lost)) from error

    def _run(self) -> None:
        ending = False
        while not ending:
            jobs: list[Job] = []
            item = self._queue.get()
            while item is not None:
                jobs.append(item)
                if len(jobs) == GROUP:
                    break
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            ending = item is None
            writes: list[Job] = []
            for job in jobs:  # reads stand between the transactions: they see what was queued before them
                if job.reads:
                    self._group(writes)
                    writes = []
                    self._group([job])
                else:
                    writes.append(job)
            self._group(writes)
        self._group([Job(work=self._last)])
        self._ended()
        atexit.unregister(self.stop)
        self._connection.close()

    def _group(self, jobs: list[Job]) -> None:
        if jobs:
            # A lost row is reported to the next writer of its run: then that must not be written as if all were well.
            self._settle([job for job in jobs if not self._reject_for_lost(job)] if self._lost else jobs)
            self._wake(jobs)

    def _settle(self, jobs: list[Job]) -> None:
        """All in one transaction; if that fails, each in its own, so that only the guilty fail."""
        if not jobs:
            return
        try:
            self._connection.execute("BEGIN" if jobs[0].reads else "BEGIN IMMEDIATE")
        except Exception as error:
            for job in jobs:
                self._reject(job, error)
            return
        try:
            self._write(jobs)
            self._connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            if len(jobs) == 1:
                self._reject(jobs[0], error)
                return
            for job in jobs:
                if not (self._lost and self._reject_for_lost(job)):
                    self._settle([job])

    def _write(self, jobs: Iterable[Job]) -> None:
        rows: list[RowTuple] = []
        for job in jobs:
            rows.extend(job.rows)
            if job.work is not None:
                self._connection.executemany(self._insert, rows)
                rows = []
                job.result = job.work(self._connection)
        if rows:
            self._connection.executemany(self._insert, rows)

    def _roll_back(self) -> None:
        # A full disk has rolled back already.
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _reject(self, job: Job, error: Exception) -> None:
        job.result = None
        job.error = failure = as_store_error(error, self._name)
        if job.soon is None or job.abandoned:
            self._lose(job, failure)

    def _lose(self, job: Job, error: SatisficeError) -> None:
        for row in job.rows:
            self._lost.setdefault(row[0], error)

    def _reject_for_lost(self, job: Job) -> bool:
        if job.rows or job.work:
            runs = {row[0] for row in job.rows} | {job.run}
            lost = [run for run in self._lost if run in runs]
        else:
            lost = list(self._lost)
        if not lost or job.reads:
            return False
        message = f"earlier rows of run {lost[0]} are not written, so neither is this: {self._lost[lost[0]]}"
        failure = StoreError(message, runs=lost)
        if job.soon is not None:
            for run in lost:
                del self._lost[run]
        self._reject(job, failure)
        return True

    def _wake(self, jobs: list[Job]) -> None:
        """Call each loop once for all of its waiters."""
        loops: dict[Callable[..., object], list[anyio.Event]] = {}
        for job in jobs:
            if job.soon is not None and job.event is not None:
                loops.setdefault(job.soon, []).append(job.event)
        for soon, events in loops.items():
            try:
                soon(partial(set_all, events))
            except RuntimeError:
                # The loop is closed, and its waiters with it (trio's RunFinishedError is a RuntimeError as well).
                for job in jobs:
                    if job.soon == soon and job.error is not None:
                        self._lose(job, job.error)
