"""run() and converse(): programs in, what became of them out."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Sequence
from pathlib import PurePosixPath

from ...core.errors import CallerError, SandboxUnavailable
from .isolation import found
from .launch import Bubblewrap, Worker, start_unsafe
from .pool import Pool
from .programs import Limits, Program, Ran
from .supervise import NotStarted, Watched, supervise

DEFAULT = Limits()
SMALLEST_MB = 48

_lock = threading.Lock()
_pool: Pool | None = None


def run(
    program: Program, limits: Limits = DEFAULT, *, unsafe: bool = False, stop: threading.Event | None = None
) -> Ran:
    """Runs `program` in a sandbox of its own and waits for its end. Thread safe; call it in a thread.

    Setting `stop` ends it within about 50 ms with the status "killed". With `unsafe` it is a plain process with
    resource limits and nothing else, also where isolation exists: at the caller's risk. Raises `SandboxUnavailable`
    where there is no isolation, `CallerError` for limits or file names that make no sense."""
    return _perform((program,), (limits,), unsafe, stop)[0]


def converse(
    first: Program,
    second: Program,
    limits: Limits = DEFAULT,
    *,
    second_limits: Limits | None = None,
    unsafe: bool = False,
    stop: threading.Event | None = None,
) -> tuple[Ran, Ran]:
    """Runs two programs at once, in two sandboxes that share two pipes and nothing else.

    What one writes to descriptor 4 the other reads from descriptor 3. When one ends, the other reads to the end and
    gets BrokenPipeError where it writes. `limits` applies to each (`second_limits` to the second, where given): one
    that meets its limit is killed. The first is the one that is waited for: when it has ended, the second has half a
    second more. Raises what `run` raises."""
    ran = _perform((first, second), (limits, second_limits or limits), unsafe, stop)
    return ran[0], ran[1]


def _perform(
    programs: Sequence[Program], limits: Sequence[Limits], unsafe: bool, stop: threading.Event | None
) -> list[Ran]:
    for program, most in zip(programs, limits, strict=True):
        _check(program, most)
    way = None if unsafe else _way()
    began = time.monotonic()
    for attempt in (1, 2):
        try:
            return _attempt(programs, limits, way, stop, began)
        except (OSError, NotStarted) as error:  # a waiting worker may have been killed by the kernel, short of memory
            if attempt == 2:
                raise SandboxUnavailable(f"the sandbox did not start: {error}") from error
    raise AssertionError


def _attempt(
    programs: Sequence[Program],
    limits: Sequence[Limits],
    way: Bubblewrap | None,
    stop: threading.Event | None,
    began: float,
) -> list[Ran]:
    watched: list[Watched] = []
    ends: list[tuple[int, ...]] = [()] * len(programs)
    try:
        if len(programs) == 2:
            ends = _crossed()
        for most in limits:
            worker = _worker(most, way, stop)
            if worker is None:
                return [Ran("killed", None, "", "", 0.0, time.monotonic() - began)] * len(programs)
            watched.append(Watched(worker, most))
        for one, program, pair in zip(watched, programs, ends, strict=True):
            one.send(program, pair, way.extra_processes if way is not None else 0)
        _close(ends)
        supervise(watched, stop)
        total = time.monotonic() - began
        return [one.ran(total) for one in watched]
    finally:
        _close(ends)
        for one in watched:
            one.close()
        if way is not None:
            pool().done(len(watched))


def _crossed() -> list[tuple[int, ...]]:
    """(read end, write end) for each of two programs."""
    there, back = os.pipe(), os.pipe()
    return [(back[0], there[1]), (there[0], back[1])]


def _close(ends: list[tuple[int, ...]]) -> None:
    while ends:
        for end in ends.pop():
            os.close(end)


def _worker(limits: Limits, way: Bubblewrap | None, stop: threading.Event | None) -> Worker | None:
    return start_unsafe() if way is None else pool().take(limits.file_mb, stop)


def _way() -> Bubblewrap:
    way, why = found()
    if way is None:
        raise SandboxUnavailable.of(why)
    return way


def pool() -> Pool:
    """The pool of this process, made on first use."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = Pool(_way().start, spare=min(4, max(2, os.cpu_count() or 1)))
            atexit.register(_pool.close)
        return _pool


def _after_fork() -> None:
    """A forked child has the pool's memory but not its thread: it makes a pool of its own when it needs one."""
    global _pool, _lock
    _lock = threading.Lock()
    if _pool is not None:
        _pool.abandon()
        atexit.unregister(_pool.close)
        _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _check(program: Program, limits: Limits) -> None:
    numbers = (limits.seconds, limits.cpu_seconds, limits.memory_mb, limits.processes, limits.file_mb, limits.output_kb)
    if not all(0 < n < 1 << 40 for n in numbers):
        raise CallerError("every limit must be above zero", limits=repr(limits))
    if limits.memory_mb < SMALLEST_MB:
        raise CallerError(f"memory_mb={limits.memory_mb} does not hold the interpreter: {SMALLEST_MB} or more")
    for name in program.files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name or name.endswith("/"):
            raise CallerError(f"a file's name must be relative and stay in the folder, not {name!r:.100}")
    size = sum(len(text.encode("utf-8", "replace")) for text in program.files.values())
    if size > limits.file_mb << 20:
        raise CallerError(f"the program's files hold {size} bytes, its limit is {limits.file_mb} MB")
