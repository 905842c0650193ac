"""Interpreters started ahead, each used once. One thread starts them all, because a sandbox dies with its starter."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .launch import Worker

SIZES = 2  # different scratch sizes that are kept warm
HOLD = 0.25  # seconds that replacing waits for the program in the taken one to end, so as not to compete with it


@dataclass(slots=True, eq=False)
class _Order:
    """Somebody waits for a worker. Whoever stops waiting sets `dropped`."""

    size: int
    done: threading.Event = field(default_factory=threading.Event)
    worker: Worker | None = None
    error: Exception | None = None
    dropped: bool = False


class Pool:
    """`take(size)` gives a worker with a scratch folder of `size` MB, warm where one waits, and has it replaced.

    `spare` of each of the last sizes asked for are kept waiting; 0 keeps none. Thread safe."""

    def __init__(self, start: Callable[[int], Worker], spare: int = 2) -> None:
        self._start, self._spare = start, spare
        self._turn = threading.Condition()
        self._waiting: OrderedDict[int, deque[Worker]] = OrderedDict()
        self._orders: deque[_Order] = deque()
        self._thread: threading.Thread | None = None
        self._closed = self._failing = False
        self._in_use = 0
        self._hold_until = 0.0

    def take(self, size: int, stop: threading.Event | None = None) -> Worker | None:
        """A worker that nobody has used; None where `stop` was set first. OSError where none can be started.

        Each worker that it gives is followed by one `done`."""
        worker = None
        try:
            worker = self._take(size, stop)
        finally:
            if worker is None:
                self.done()
        return worker

    def _take(self, size: int, stop: threading.Event | None) -> Worker | None:
        with self._turn:
            self._in_use += 1
            if self._closed:
                raise OSError("the pool is closed")
            self._ensure_thread()
            warm = self._retarget(size)
            self._failing = False
            self._hold_until = time.monotonic() + HOLD
            while warm:
                worker = warm.popleft()
                if worker.process.poll() is None:
                    self._turn.notify_all()
                    return worker
                worker.close()
            order = _Order(size)
            self._orders.append(order)
            self._turn.notify_all()
        return self._await(order, stop)

    def done(self, count: int = 1) -> None:
        """As many programs as were taken for have ended."""
        with self._turn:
            self._in_use -= count
            self._turn.notify_all()

    def close(self) -> None:
        """Kills what waits. Workers in use die with the pool's thread."""
        with self._turn:
            self._closed = True
            workers = [w for warm in self._waiting.values() for w in warm]
            self._waiting.clear()
            self._turn.notify_all()
            thread = self._thread
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.close()
        if thread is not None and thread is not threading.current_thread():
            thread.join(10)

    def abandon(self) -> None:
        """Closes the descriptors and leaves the workers alone: for a forked child, whose they are not."""
        for warm in self._waiting.values():
            for worker in warm:
                worker.abandon()
        self._waiting.clear()
        self._closed = True

    def waiting(self) -> list[Worker]:
        """The workers that wait now."""
        with self._turn:
            return [w for warm in self._waiting.values() for w in warm]

    def _retarget(self, size: int) -> deque[Worker]:
        warm = self._waiting.setdefault(size, deque())
        self._waiting.move_to_end(size)
        while len(self._waiting) > SIZES:
            for worker in self._waiting.popitem(last=False)[1]:
                worker.close()
        return warm

    def _await(self, order: _Order, stop: threading.Event | None) -> Worker | None:
        taken = False
        try:
            while not order.done.wait(0.02 if stop is not None else None):
                if stop is not None and stop.is_set():
                    return None
            taken = True
        finally:
            if not taken:  # it may have come in this very moment
                with self._turn:
                    order.dropped = True
                if order.worker is not None:
                    order.worker.close()
        if order.error is not None:
            raise order.error
        return order.worker

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="satisfice-sandbox", daemon=True)
            self._thread.start()

    def _short(self) -> int | None:
        if self._failing:
            return None
        return next((size for size, warm in reversed(self._waiting.items()) if len(warm) < self._spare), None)

    def _held(self) -> float:
        return self._hold_until - time.monotonic() if self._in_use else 0.0

    def _serve(self) -> None:
        while True:
            with self._turn:
                while not self._closed and not self._orders and (self._short() is None or self._held() > 0):
                    self._turn.wait(None if self._short() is None else self._held())
                if self._closed:
                    self._refuse()
                    return
                order = self._orders.popleft() if self._orders else None
                size = order.size if order is not None else self._short()
            assert size is not None
            worker, error = None, None
            try:
                worker = self._start(size)
            except Exception as problem:
                error = problem
            with self._turn:
                self._deliver(order, size, worker, error)

    def _deliver(self, order: _Order | None, size: int, worker: Worker | None, error: Exception | None) -> None:
        """Gives the worker to who ordered it, else keeps it, unless nobody wants it any more."""
        if order is not None and not order.dropped:
            order.worker, order.error = worker, error
            order.done.set()
        elif worker is None:
            self._failing = True  # until the next order: do not try in a loop
        elif not self._closed and size in self._waiting:
            self._waiting[size].append(worker)
        else:
            worker.close()

    def _refuse(self) -> None:
        for order in self._orders:
            order.error = OSError("the pool is closed")
            order.done.set()
        self._orders.clear()
