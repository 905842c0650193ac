"""The parent's side of the mathematics process: one, started when first needed, killed at the time limit."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

START = 120.0  # seconds that the process may take to load sympy, on a busy machine
# The package without what stands above it: importing satisfice would cost what the worker does not need.
_BOOT = """
import importlib.util, json, sys
paths, folder = json.loads(sys.stdin.readline())
sys.path[:] = paths
spec = importlib.util.spec_from_file_location("algebra", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["algebra"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
importlib.import_module("algebra.worker").serve()
"""


class Worker:
    """Thread safe: calls wait for one another. What a call may take begins when its turn has come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.started = 0

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The reply, or {"failed": why}: out of time, out of memory, or the process died."""
        with self._lock:
            try:
                return self._ask(request, seconds)
            except (OSError, ValueError) as error:
                self._kill()
                return {"failed": f"the mathematics process failed ({type(error).__name__})"}

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        line = json.dumps({**request, "seconds": seconds}).encode() + b"\n"
        for _ in range(2):
            fresh = self._process is None or self._process.poll() is not None
            if fresh and not self._start():
                return {"failed": "the mathematics process does not start"}
            try:
                reply, late = self._exchange(line, seconds)
            except BrokenPipeError:
                reply, late = b"", False
            if reply and not late:
                found = json.loads(reply)
                return found if isinstance(found, dict) else {"failed": "a reply that is none"}
            self._kill()
            if late:
                return {"failed": f"it takes longer than {seconds:g} s"}
            if fresh:
                break
        return {"failed": "the mathematics process died"}

    def _exchange(self, line: bytes, seconds: float) -> tuple[bytes, bool]:
        """What comes back, and whether the time was over."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise OSError("no process")
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            return process.stdout.readline(1 << 16), late.is_set()
        finally:
            timer.cancel()

    def _start(self) -> bool:
        self._kill()
        self.started += 1
        # A clean environment, and one order of sets: the same question, the same reply.
        env = {"PYTHONHASHSEED": "0"} | {k: v for k, v in os.environ.items() if k in ("SYSTEMROOT", "LD_LIBRARY_PATH")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-c", _BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
        )
        folder = str(Path(__file__).resolve().parent)
        paths = [str(Path(path).resolve()) for path in sys.path if path]
        reply, late = self._exchange(json.dumps([paths, folder]).encode() + b"\n", START)
        if late or b"ready" not in reply:
            self._kill()
            return False
        return True

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.wait()

    def close(self) -> None:
        """Ends the process. The next call starts another."""
        with self._lock:
            self._kill()

    def forget(self) -> None:
        """In a forked child: the process belongs to the parent."""
        process, self._process = self._process, None
        self._lock = threading.Lock()
        if process is not None:
            process.returncode = 0  # not ours to wait for
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    os.close(stream.detach().detach())  # type: ignore[attr-defined]


shared = Worker()
atexit.register(shared.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shared.forget)
