"""Watches programs from outside: their output, their time, their end. It believes nothing that they say."""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import math
import os
import selectors
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...core.errors import CallerError
from .launch import Worker
from .programs import Limits, Program, Ran, Status

GRACE = 0.5  # seconds that the second of two programs has when the first has ended
TICK = 0.05  # seconds between two looks at the clock, at `stop` and at the scratch folders
PATIENCE = 60.0  # for an interpreter that has its job and does not get ready
GRACE = 5.0  # for the last pipe to close once the guard is gone
MOST_FILES = 10_000  # files and folders in the scratch folder: they take kernel memory that its size does not count
DESCRIPTORS = 128
STACK_MB = 8


class NotStarted(Exception):
    """The sandbox ended before the program began."""


@dataclass(slots=True, eq=False)
class Watched:
    """A program in its worker and what we have seen of it. `folder` is its scratch folder, open, to be looked at;
    `guard` a descriptor that tells of the guard's end; `pipes` how many of its two are open."""

    worker: Worker
    limits: Limits
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    folder: int = -1
    guard: int = -1
    sent: float = 0.0
    began: float | None = None
    ended: float | None = None
    met: Status | None = None
    code: int | None = None
    left: float = 0.0
    pipes: int = 2
    refused: str = ""

    def send(self, program: Program, ends: Sequence[int], extra_processes: int) -> None:
        """Hands the job over. BrokenPipeError where the worker is dead."""
        limits = _rlimits(self.limits, extra_processes, self.worker.isolation)
        job = {"source": program.source, "files": dict(program.files), "limits": limits}
        given = [_file(marshal.dumps(job)), _file(program.stdin.encode("utf-8", "replace"))]
        try:
            socket.send_fds(self.worker.control, [b"job"], [*given, *ends])
        finally:
            for number in given:
                os.close(number)
        self.sent = time.monotonic()

    def stop(self, status: Status) -> None:
        """Kills it. The first reason stands."""
        if self.met is None and self.ended is None:
            self.met, self.ended = status, time.monotonic()
        self.worker.kill()

    def look(self, now: float) -> None:
        """Holds it to the limits that the kernel does not know."""
        if self.began is None:
            if now - self.sent > PATIENCE:
                self.stop("timeout")
        elif now - self.began > self.limits.seconds:
            self.stop("timeout")
        elif self.folder >= 0:
            state = os.fstatvfs(self.folder)
            if state.f_files - state.f_ffree > MOST_FILES:
                self.stop("memory")

    def settle(self, now: float) -> None:
        """Notes the guard's end. Popen's own wait would call a lost exit status a success."""
        process = self.worker.process
        if self.code is None:
            try:
                pid, status = os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else took it: unknown is not a success
                pid, status = process.pid, int(signal.SIGKILL)
            if pid:
                self.code = process.returncode = os.waitstatus_to_exitcode(status)
                self.left = now
        elif self.pipes and now > self.left + GRACE:
            self.pipes = 0  # a forked child of the host may hold the other end open: not to be waited for
        if self.code is not None and not self.pipes and self.ended is None:
            self.ended = now

    def close(self) -> None:
        for number in (self.folder, self.guard):
            if number >= 0:
                os.close(number)
        self.folder = self.guard = -1
        self.worker.close()

    def ran(self, total: float) -> Ran:
        """The result. NotStarted where the program never began, CallerError where its files cannot be made."""
        stdout, stderr = self.out.decode(errors="replace"), self.err.decode(errors="replace")
        if self.refused:
            raise CallerError(f"the program's files cannot be made: {self.refused}")
        if self.began is None and self.met != "killed":
            raise NotStarted(stderr.strip()[-500:] or f"exit code {self.code}")
        status, code = self._judged(stderr)
        seconds = 0.0 if self.began is None or self.ended is None else self.ended - self.began
        return Ran(status, code, stdout, stderr, seconds, max(0.0, total - seconds), self.worker.isolation)

    def _judged(self, stderr: str) -> tuple[Status, int | None]:
        """bubblewrap's guard gives 128 + n for a program killed by signal n, which a program can also return: then it
        has called itself killed, never right."""
        code = self.code
        if self.met is not None or code is None:
            return self.met or "killed", None
        if code == 0:
            return "ok", 0
        number = -code if code < 0 else code - 128
        lived = (self.ended or 0.0) - (self.began or 0.0)
        if number == signal.SIGXCPU or (number == signal.SIGKILL and lived >= self.limits.cpu_seconds):
            return "cpu", None  # who ignores SIGXCPU is killed a second later
        if number in signal.valid_signals():
            return "killed", None
        last = stderr.rstrip().rpartition("\n")[2]
        return ("memory" if last.startswith("MemoryError") else "error"), code


def supervise(watched: Sequence[Watched], stop: threading.Event | None) -> None:
    """Returns when every one has ended, by itself or by a limit, with all its processes. Once the first has ended the
    other has half a second more."""
    with selectors.DefaultSelector() as selector:
        for one in watched:
            _register(selector, one)
        running = list(watched)
        while running:
            for key, _ in selector.select(TICK):
                one, into = key.data
                if isinstance(into, bytearray) and not _read(one, key.fd, into):
                    continue  # there may be more
                selector.unregister(key.fileobj)
                if into == "control":
                    _ready(one)
                elif into != "guard":
                    one.pipes -= 1
            now = time.monotonic()
            for one in running:
                one.look(now)
                if one is not watched[0] and watched[0].ended is not None and now - watched[0].ended > GRACE:
                    one.stop("timeout")  # nobody is left to converse with
                if stop is not None and stop.is_set():
                    one.stop("killed")
                one.settle(now)
            running = [one for one in running if one.code is None or one.pipes]


def _register(selector: selectors.BaseSelector, one: Watched) -> None:
    process = one.worker.process
    selector.register(one.worker.control, selectors.EVENT_READ, (one, "control"))
    for pipe, into in ((process.stdout, one.out), (process.stderr, one.err)):
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
        selector.register(pipe, selectors.EVENT_READ, (one, into))
    if hasattr(os, "pidfd_open"):  # elsewhere its end is seen at the next tick
        with contextlib.suppress(OSError):
            one.guard = os.pidfd_open(process.pid)
            selector.register(one.guard, selectors.EVENT_READ, (one, "guard"))


def _ready(one: Watched) -> None:
    """The one message that a worker may send, before it becomes the program."""
    with contextlib.suppress(OSError):
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        said, folders, *_ = socket.recv_fds(one.worker.control, 1000, 1, flags)
        if said != b"ready":
            one.refused = said.decode(errors="replace")
        elif folders:
            one.began = time.monotonic()
            if one.worker.scratch:
                os.close(folders[0])  # a folder of the host's: its file system is not the program's
            else:
                one.folder = folders[0]


def _read(one: Watched, number: int, into: bytearray) -> bool:
    """Takes what is there; whether that was the end. What is over the limit is read and dropped."""
    try:
        piece = os.read(number, 1 << 16)
    except BlockingIOError:
        return False
    room = one.limits.output_kb * 1024 - len(into)
    into += piece[:room] if room > 0 else b""
    if len(piece) > room:
        one.stop("output")
    return not piece


def _rlimits(limits: Limits, extra_processes: int, isolation: str) -> dict[str, int]:
    most = {
        "RLIMIT_CPU": max(1, math.ceil(limits.cpu_seconds)),
        "RLIMIT_AS": limits.memory_mb << 20,
        "RLIMIT_FSIZE": limits.file_mb << 20,
        "RLIMIT_NOFILE": DESCRIPTORS,
        "RLIMIT_STACK": STACK_MB << 20,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
    if isolation != "unsafe":  # outside a namespace all processes of this user count
        most["RLIMIT_NPROC"] = limits.processes + extra_processes
    return most


def _file(data: bytes) -> int:
    """A descriptor to read `data` from. Where the kernel can, nobody can write through it."""
    if not hasattr(os, "memfd_create"):
        number, path = tempfile.mkstemp()
        os.unlink(path)
    else:
        number = os.memfd_create("job", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(number, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(number, 0, os.SEEK_SET)
    if hasattr(os, "memfd_create"):
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(number, fcntl.F_ADD_SEALS, seals)
    return number
