"""The side that holds the tests: runs them one by one and tells on stdout, a line of JSON each, what became of them.

The candidate is another process: see `candidate`.
"""

from __future__ import annotations

import ast
import importlib
import io
import json
import os
import random
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from .asserts import Telling, expected_names, library_names, missing_modules
from .calls import calls
from .candidate import Candidate, Solution
from .pipe import Gone
from .units import Skipped, functions, statements, tell

TYPE_CHECKING = False  # importing typing would take as long as all the rest
if TYPE_CHECKING:
    from typing import Any

MESSAGE = 300  # characters of one test's message


class Stopped(BaseException):
    """A test's time is up."""


class Host:
    """One run over the tests of a job."""

    def __init__(self, job: dict[str, Any], out: int) -> None:
        self._job, self._out = job, out
        self._candidate = Candidate(job["module"], job["classes"])
        self._expected: set[str] = set()
        self._inherited = False  # whether what the tests share was made by the candidate

    def tell(self, **facts: Any) -> None:
        os.write(self._out, json.dumps(facts).encode() + b"\n")

    def run(self) -> None:
        """Tells `broken` (the tests cannot run), `unloaded` (the candidate cannot), or the outcomes; at last `done`,
        or `died` where the candidate's process has ended or hangs."""
        job, module = self._job, self._job["module"]
        try:
            tree = ast.parse(job["tests"])
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            self.tell(broken=f"{type(error).__name__}: {error}"[:MESSAGE])
            return
        if missing := missing_modules(tree, module):
            self.tell(broken=f"they import {', '.join(missing)}, and there is only the standard library")
            return
        if (failed := self._timed(self._candidate.load)) is not None:
            self.tell(unloaded=_text(failed)[:MESSAGE], died=self._candidate.dead)
            return
        solution = Solution(module, self._candidate)
        sys.modules[module] = solution
        self._expected = expected_names(tree)
        space: dict[str, Any] = {
            "__name__": "tests",
            Telling.TELL: tell,
            ".entry": lambda: find(solution, job["entry"]),
        }
        space |= {name: importlib.import_module(name) for name in library_names(tree)}
        if (failed := self._timed(lambda: self._inject(space))) is not None:
            self.tell(unloaded=_text(failed)[:MESSAGE], died=self._candidate.dead)
            return
        self._candidate.touched |= bool(job["skip"])
        self._module(tree, space)

    def _inject(self, space: dict[str, Any]) -> None:
        for name in sorted(self._expected):
            with suppress(Exception):  # what is missing fails the test that uses it
                space[name] = self._candidate.named(name)

    def _module(self, tree: ast.Module, space: dict[str, Any]) -> None:
        job = self._job
        body = list(statements(tree, space, job["entry"]))
        self.tell(all=[name for name, is_test, _ in body if is_test])
        for name, is_test, run in body:
            if not self._unit(name, is_test, run):
                return
        self._inherited = self._candidate.touched
        units = list(functions(space, tree, job["seed"]))
        units += calls(job["calls"], space[".entry"], job["entry"], job["tolerance"])
        self.tell(all=[name for name, _ in units])
        for name, run in units:
            self._candidate.touched = self._inherited
            if not self._unit(name, True, run):
                return
        self.tell(done=True)

    def _unit(self, name: str, is_test: bool, run: Callable[[], Any]) -> bool:
        """Runs one, and tells; False where there is no going on."""
        only = self._job["only"]
        if name in self._job["skip"] or (is_test and only is not None and name not in only):
            return True
        if is_test:
            self.tell(begin=name)
        random.seed(self._job["seed"])
        self._candidate.refuted = None
        error = self._timed(run) or self._candidate.refuted
        if self._candidate.dead:
            self.tell(unit=name, outcome="failed", message=_text(error)[:MESSAGE] if error else self._candidate.dead)
            self.tell(died=self._candidate.dead)
            return False
        if isinstance(error, NameError) and error.name in self._expected:
            error, self._candidate.touched = AttributeError(f"the candidate does not define {error.name!r}"), True
        if error is None:
            if is_test:
                self.tell(unit=name, outcome="passed")
        elif _skips(error):
            self.tell(unit=name, outcome="skipped", message=_text(error)[:MESSAGE])
        elif self._candidate.touched or self._job["lenient"]:
            self.tell(unit=name, outcome="failed", message=_text(error)[:MESSAGE])
        else:
            self.tell(broken=f"{name}: {_text(error)}"[:MESSAGE])
            return False
        return True

    def _timed(self, run: Callable[[], Any]) -> BaseException | None:
        """What it raises, None where it is fine."""

        def alarm(*_: Any) -> None:
            raise Stopped(f"no result within {self._job['seconds']:g} s")

        signal.signal(signal.SIGALRM, alarm)
        try:
            # It rings again, for a test that catches everything.
            signal.setitimer(signal.ITIMER_REAL, self._job["seconds"], 1.0)
            try:
                run()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except BaseException as error:
            return error
        return None


def find(solution: Any, entry: str) -> Any:
    """The entry: a function of the candidate's, or with `Class.method` that of a new object."""
    owner, _, method = entry.partition(".")
    return getattr(getattr(solution, owner)(), method) if method else getattr(solution, owner)


def _skips(error: BaseException) -> bool:
    unittest = sys.modules.get("unittest")
    return isinstance(error, Skipped) or (unittest is not None and isinstance(error, unittest.SkipTest))


def _text(error: BaseException) -> str:
    """What is said of a failure, without addresses: the same failure is told in the same words."""
    try:
        text = re.sub(r"\b0x[0-9a-fA-F]{6,}", "0x...", str(error)[:5000])
    except Exception:
        text = ""
    if isinstance(error, AssertionError | Stopped | Gone):
        return text or "assertion failed"
    return f"{type(error).__name__}: {text}"


class _Sink(io.TextIOBase):
    """Takes what tests print: stdout is for outcomes."""

    def write(self, text: str) -> int:
        return len(text)


def main() -> None:
    """Reads the job from stdin."""
    job = json.loads(sys.stdin.read())
    out = os.dup(1)
    sys.stdout = sys.stderr = _Sink()
    host = Host(job, out)
    try:
        host.run()
    except BaseException as error:
        host.tell(crashed=_text(error)[:MESSAGE])
