"""Who runs a run: a host, a process, its start time, and one journal object in it."""

from __future__ import annotations

import os
import socket
from uuid import uuid4

_here: set[str] = set()
"""The owners that are open in this process."""


def enrol() -> str:
    """A new owner in this process, alive until `retire` or the end of the process."""
    pid = os.getpid()
    owner = f"{socket.gethostname()}/{pid}/{_started(pid)}/{uuid4().hex[:12]}"
    _here.add(owner)
    return owner


def retire(owner: str) -> None:
    """Say that this owner will not come back."""
    _here.discard(owner)


def is_alive(owner: str) -> bool:
    """Whether the owner may still be at work. One on another host cannot be asked and counts as alive."""
    host, pid, started, _ = owner.rsplit("/", 3)
    if host != socket.gethostname():
        return True
    if int(pid) == os.getpid():
        return owner in _here
    # A pid is used again; a pid with its start time is not.
    return _exists(int(pid)) and _started(int(pid)) == started


def describe(owner: str) -> str:
    """The owner for a person."""
    host, pid, _, _ = owner.rsplit("/", 3)
    return f"process {pid} on {host}"


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third on (the name before them may hold spaces and brackets)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _started(pid: int) -> str:
    """Field 22, clock ticks since boot; 0 where the system does not say."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else "0"


def _exists(pid: int) -> bool:
    if fields := _stat(pid):
        return fields[0] not in "ZX"  # killed, and nobody has waited for it yet
    if os.path.exists("/proc/self/stat"):
        return False
    if os.name == "nt":
        return True  # os.kill(pid, 0) is no question there: it would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
