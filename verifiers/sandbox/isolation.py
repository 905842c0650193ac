"""Which isolation works here, found by trying to escape from it."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from functools import partial

from .launch import NOBODY, Bubblewrap, Worker, installed, supported
from .programs import Limits, Program
from .supervise import NotStarted, Watched, supervise

# Each line must come out False but the last two, which show that an ordinary program works.
PROBE = """
import _socket, ctypes, json, os, sys, time

def works(attempt):
    try:
        return attempt() is not False
    except OSError:
        return False

def fork(count):
    for _ in range(count):
        if os.fork() == 0:
            time.sleep(0.2)
            os._exit(0)

canary, most = CANARY
print(json.dumps({
    "reads a file of the host": works(lambda: open(canary).close()),
    "reads /etc/passwd": works(lambda: open("/etc/passwd").close()),
    "writes outside the scratch folder": works(lambda: open("/x", "w").close()),
    "sees an environment": bool(os.environ),
    "sees the host's processes": os.getpid() > 50,
    "opens an internet socket": works(lambda: _socket.socket(_socket.AF_INET).close()),
    "opens a unix socket": works(lambda: _socket.socket(_socket.AF_UNIX).close()),
    "makes a user namespace": works(lambda: ctypes.CDLL(None).unshare(0x10000000) == 0),
    "becomes root": works(lambda: os.setuid(0)),
    "starts more processes than allowed": works(lambda: fork(most)),
    "writes a file": works(lambda: open("x", "w").close()),
    "is not root": os.getuid() == NOBODY,
}))
"""
EXPECTED = {"writes a file", "is not root"}

_lock = threading.Lock()
_found: tuple[Bubblewrap | None, str] | None = None


def found() -> tuple[Bubblewrap | None, str]:
    """The isolation that holds here, or None and why not. Tried once for each process (about 0.3 s)."""
    global _found
    if _found is None:
        with _lock:
            if _found is None:
                _found = _search()
    return _found


def _search() -> tuple[Bubblewrap | None, str]:
    why = supported()
    if why:
        return None, why
    for path in installed():
        for mapped in (True, False) if os.geteuid() == 0 else (False,):
            candidate = Bubblewrap(path, mapped)
            failure = weakness(candidate)
            if not failure:
                return candidate, ""
            why = f"{why}; {failure}" if why else failure
    return None, why


def weakness(candidate: Bubblewrap) -> str:
    """What an escape from it achieved, or why it does not start; empty where it holds."""
    limits = Limits(seconds=20, cpu_seconds=10, processes=4)
    with tempfile.NamedTemporaryFile("w", prefix="canary-") as canary:
        os.fchmod(canary.fileno(), 0o644)
        source = PROBE.replace("CANARY", repr((canary.name, limits.processes))).replace("NOBODY", str(NOBODY))
        try:
            watched = _watch(partial(candidate.start, limits.file_mb), Program(source), limits, candidate)
            ran = watched.ran(0.0)
            facts = json.loads(ran.stdout.splitlines()[-1])
        except (OSError, NotStarted) as error:
            return f"{candidate.path} does not start: {error}"
        except (ValueError, IndexError):
            return f"{candidate.path} does not run a program: {ran.status} {ran.stderr.strip()[-300:]}"
    broken = [name for name, works in facts.items() if works != (name in EXPECTED)]
    return f"{candidate.path} does not contain: a program {', '.join(broken)}" if broken else ""


def _watch(start: partial[Worker], program: Program, limits: Limits, way: Bubblewrap) -> Watched:
    """Runs the probe in a thread that outlives it: the sandbox dies with the thread that started it."""
    watched = Watched(start(), limits)
    try:
        watched.send(program, (), way.extra_processes)
        supervise([watched], None)
    finally:
        watched.close()
    return watched
