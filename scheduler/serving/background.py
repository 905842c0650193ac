"""Work beside the requests, which no answer waits for: one thread, started by the first job, with a short queue."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import Empty, Full, Queue

from ...core.errors import SatisficeError

logger = logging.getLogger("satisfice")

MOST = 200  # jobs that wait; what comes beyond is dropped
IDLE = 2.0  # seconds after which a thread without work ends


class Background:
    """Jobs in the order in which they came. `dropped` counts those that found no place, `failed` those that raised."""

    def __init__(self, most: int = MOST) -> None:
        self._jobs: Queue[Callable[[], None]] = Queue(most)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.dropped = self.failed = 0

    def post(self, job: Callable[[], None]) -> bool:
        """Queues a job, or drops it where too many wait: whether it was queued."""
        with self._lock:
            try:
                self._jobs.put_nowait(job)
            except Full:
                self.dropped += 1
                return False
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="satisfice-serving", daemon=True)
                self._thread.start()
            return True

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE)
            except Empty:
                with self._lock:
                    if self._jobs.empty():
                        self._thread = None
                        return
                continue
            try:
                job()
            except Exception as error:
                self.failed += 1
                level = logging.WARNING if isinstance(error, SatisficeError) else logging.ERROR
                logger.log(level, "beside the requests: %s: %s", type(error).__name__, error)
            finally:
                self._jobs.task_done()

    @property
    def busy(self) -> bool:
        """Whether anything is under way or waits."""
        return self._jobs.unfinished_tasks > 0

    def drain(self, seconds: float) -> bool:
        """Blocks until all is done, so long at the most: whether it is."""
        with self._jobs.all_tasks_done:
            return self._jobs.all_tasks_done.wait_for(lambda: not self._jobs.unfinished_tasks, seconds)
