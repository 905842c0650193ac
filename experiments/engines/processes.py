"""Jobs in new processes of this machine."""

from __future__ import annotations

import pickle
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from .attempting import AGAIN, attempt, came, dying, unsendable

AHEAD = 2  # jobs under way for each worker: one at work, one waiting


def spread_processes(
    jobs: Iterable[Any], work: Callable[[Any], Any], workers: int, told: Callable[[Any], None]
) -> Generator[Any, None, None]:
    """See `engines.spread`. However the caller stops listening, the processes are gone afterwards."""
    pool, deaths = _pool(workers), 0
    left = iter(jobs)
    under_way: deque[tuple[Any, bytes, Future[Any]]] = deque()
    try:
        while True:
            while len(under_way) < AHEAD * workers:
                job = next(left, _NONE)
                if job is _NONE:
                    break
                packed = _packed(work, job)
                try:
                    future = pool.submit(_unpacked, packed)
                except BrokenProcessPool as error:  # noticed only now: it counts below, with those that broke it
                    future = Future()
                    future.set_exception(error)
                future.add_done_callback(_telling(told, job))
                under_way.append((job, packed, future))
            if not under_way:
                return
            try:
                value = under_way[0][2].result()
            except BrokenProcessPool:
                deaths += 1
                if deaths >= AGAIN:
                    raise dying(deaths) from None
                _end(pool)
                pool = _pool(workers)
                under_way = deque(_again(pool, told, *row) for row in under_way)
                continue
            under_way.popleft()
            yield came(value)
    finally:
        _end(pool)


_NONE = object()


def _again(
    pool: ProcessPoolExecutor, told: Callable[[Any], None], job: Any, packed: bytes, future: Future[Any]
) -> tuple[Any, bytes, Future[Any]]:
    if future.done() and not isinstance(future.exception(), BrokenProcessPool):
        return job, packed, future
    fresh = pool.submit(_unpacked, packed)
    fresh.add_done_callback(_telling(told, job))
    return job, packed, fresh


def _telling(told: Callable[[Any], None], job: Any) -> Callable[[Future[Any]], None]:
    def tell(future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            told(job)

    return tell


def _packed(work: Callable[[Any], Any], job: Any) -> bytes:
    try:
        return pickle.dumps((work, job))
    except Exception as error:
        raise unsendable(error) from error


def _unpacked(packed: bytes) -> Any:
    work, job = pickle.loads(packed)
    return attempt(work, job)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork copies the locks of other threads in whatever state they are.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_deaf)


def _deaf() -> None:
    """Ctrl-C reaches every process of the terminal: here the parent alone answers it, by ending the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(pool: ProcessPoolExecutor) -> None:
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()
