"""The clerk: one thread that owns a store. What is asked while it works becomes its next transaction (group commit).

What is posted (settlements) is not lost when the store cannot be reached: it is owed, goes before everything else as
soon as the store answers, and until then its hold counts in full. Should the thread die, nobody goes on waiting for it.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import anyio

from ...core.errors import SatisficeError, StoreError
from ...core.loops import set_all, way_back
from .operations import Operation, Result
from .stores import Store

GROUP = 2048  # the most operations in a transaction: bounds what the first of them waits for the last
AGAIN = 1.0  # seconds after which what is owed is tried again where nothing else is asked
Told = Callable[[Sequence[Result]], None]


class Job:
    """Operations, or work to do with the store (a read), and who waits for it."""

    __slots__ = ("done", "error", "event", "gone", "operations", "result", "soon", "work")

    def __init__(self, operations: Sequence[Operation] = (), work: Callable[[Store], Any] | None = None) -> None:
        self.operations, self.work = operations, work
        self.soon: Callable[..., object] | None = None  # how to reach the waiter's loop; None: nobody waits
        self.event: anyio.Event | None = None
        self.done = self.gone = False  # there is a result; whoever waited does so no more
        self.result: Any = None
        self.error: Exception | None = None


class Clerk:
    """`clock`: milliseconds since 1970. `told`: called with the results that nobody waits for: in the thread for what
    was posted and for waits that were cancelled, in the loop for a wait that is cancelled when the result is there."""

    def __init__(self, store: Store, clock: Callable[[], int], told: Told) -> None:
        self._store, self._clock, self._told = store, clock, told
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()  # nothing is queued behind the end; `done` and `gone` of jobs
        self._taken: list[Job] = []  # what the thread has in hand
        self._owed: deque[Operation] = deque()
        self._dead: BaseException | None = None  # what has ended the thread
        self._why: Exception | None = None
        self._stopped = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="satisfice-ledger", daemon=True)
        self._thread.start()
        # A daemon thread dies with the interpreter: what was posted is kept before that.
        atexit.register(self._stop_quietly)

    def submit(self, job: Job) -> None:
        """Queues the job, first come first served. StoreError when closed, or when the thread has died."""
        if os.getpid() != self._pid:
            raise StoreError("the ledger was opened before a fork: open it again in the child")
        with self._lock:
            if self._stopped:
                raise StoreError("the ledger is closed") if self._dead is None else _died(self._dead)
            self._queue.put(job)

    async def perform(self, job: Job) -> Any:
        """Queues the job and waits until it is durable. Cancelling the wait does not take the job back."""
        job.soon, job.event = way_back(), anyio.Event()
        self.submit(job)
        try:
            await job.event.wait()
        except BaseException:
            if self._leave(job):
                self._told(job.result)
            raise
        if job.error is not None:
            raise job.error
        return job.result

    def _leave(self, job: Job) -> bool:
        """Nobody waits any more. Whether there are results already, which nobody has heard of."""
        with self._lock:
            before, job.gone = job.gone, True
            return not before and job.done and job.error is None and job.work is None

    def stop(self) -> None:
        """Does what is queued, and ends. StoreError if something is still owed: it is in the journal, and `satisfice
        ledger reconcile` finds it there."""
        atexit.unregister(self._stop_quietly)
        if os.getpid() != self._pid:
            return
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._queue.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()
        if self._owed:
            count, self._owed = len(self._owed), deque()
            raise StoreError(
                f"{count} settlements could not be written: {self._why}. Their holds count in full until `satisfice "
                "ledger reconcile` finds them in the journal",
                owed=count,
            ) from self._why

    def _stop_quietly(self) -> None:
        try:
            self.stop()
        except StoreError:
            import logging

            logging.getLogger("satisfice").exception("the ledger could not be closed")

    # -- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._die(error)
        finally:
            self._store.close()

    def _die(self, error: BaseException) -> None:
        """Nothing is done any more, and everybody hears of it."""
        import logging

        logging.getLogger("satisfice").critical("the ledger's thread has died", exc_info=error)
        left = [job for job in self._taken if not job.done]
        with self._lock:
            self._stopped, self._dead, self._why = True, error, _died(error)
            while not self._queue.empty():
                job = self._queue.get()
                left += [] if job is None else [job]
        for job in left:
            job.error = _died(error)
            if job.soon is None:
                self._owed.extend(job.operations)
        self._wake(left)

    def _work(self) -> None:
        ending = False
        while not ending:
            self._taken, ending = self._next()
            batch: list[Job] = []
            for job in self._taken:
                if job.work is None:
                    batch.append(job)
                else:  # reads see what was asked before them
                    self._write(batch)
                    batch = []
                    self._read(job, job.work)
            self._write(batch)
            self._taken = []

    def _next(self) -> tuple[list[Job], bool]:
        """What is queued, and whether that was all."""
        jobs: list[Job] = []
        size = 0
        try:
            item = self._queue.get(timeout=AGAIN if self._owed else None)
            while item is not None:
                jobs.append(item)
                size += len(item.operations)
                if size >= GROUP:
                    return jobs, False
                item = self._queue.get_nowait()
        except Empty:
            return jobs, False
        return jobs, True

    def _write(self, jobs: list[Job]) -> None:
        """All in one transaction, what is owed first. If the store fails, those who wait are told, the rest is owed."""
        owed = list(self._owed)
        operations = [*owed, *(op for job in jobs for op in job.operations)]
        if not operations:
            for job in jobs:
                job.result = []  # whoever is cancelled meanwhile is told of it
            self._wake(jobs)
            return
        try:
            results = self._store.apply(operations, self._clock())
        except Exception as error:
            self._why = error if isinstance(error, SatisficeError) else StoreError(f"ledger: {error}")
            for job in jobs:
                if job.soon is None:
                    self._owed.extend(job.operations)
                else:
                    job.error = self._why
            self._wake(jobs)
            return
        self._owed.clear()
        first = len(owed)
        posted: list[Result] = list(results[:first])
        for job in jobs:
            job.result = results[first : first + len(job.operations)]
            first += len(job.operations)
            if job.soon is None:
                posted.extend(job.result)
        for job in self._wake(jobs):
            posted.extend(job.result)
        if posted:
            self._told(posted)

    def _read(self, job: Job, work: Callable[[Store], Any]) -> None:
        try:
            job.result = work(self._store)
        except SatisficeError as error:
            job.error = error
        except Exception as error:
            job.error = StoreError(f"ledger: {error}")
        self._wake([job])

    def _wake(self, jobs: list[Job]) -> list[Job]:
        """Calls each loop once for all of its waiters. Returns the jobs whose waiters are gone."""
        loops: dict[Callable[..., object], list[Job]] = {}
        with self._lock:
            gone = [job for job in jobs if job.gone]
            for job in jobs:
                job.done = True
                if job.soon is not None and not job.gone:
                    loops.setdefault(job.soon, []).append(job)
        for soon, waiting in loops.items():
            try:
                soon(partial(set_all, [job.event for job in waiting if job.event is not None]))
            except Exception:  # the loop is closed, and its waiters with it
                with self._lock:
                    gone += [job for job in waiting if not job.gone]
                    for job in waiting:
                        job.gone = True
        return gone


def _died(error: BaseException) -> StoreError:
    return StoreError(f"the ledger's thread has died: {type(error).__name__}: {error}; open the ledger again")
