"""Code: candidate code against tests, in the sandbox. The candidate is never in the process that decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..core.effects import Effect
from ..core.errors import CallerError, SatisficeError
from ..core.plans import Plan
from ..core.task import Candidate, Contract, Task
from ..core.verdict import Verdict
from .coding.outcomes import Report, clean, verdict
from .coding.stdio import Case, alike, ran_cases
from .coding.suite import Suite, tested
from .coding.wire import CannotSend, encode
from .sandbox.programs import Limits

LONGEST = 1_000_000  # characters of source that are run
PYTHON = ("python", "py", "python3")


@dataclass(frozen=True)
class Code:
    """Runs a candidate's Python against tests; the score is the share that pass.

    `tests`: source with plain asserts (each counts by itself), `test_*` functions, unittest classes, or a
    `check(candidate)` function as in HumanEval (with `entry`). Names that it does not bind itself are the
    candidate's; `from solution import f` (`module`) works too. Properties are functions `prop_*` whose annotated
    parameters (`xs: list[int]`) are drawn 100 times, or tests that loop over `random`, which is seeded. Only the
    standard library is there. Objects of the candidate's classes can be used where the test makes them from a class
    with a capital letter (or one in `classes`); from a function data is expected.
    `calls`: (arguments, expected) pairs for `entry`, a function or `Class.method`; arguments are a sequence, or a
    mapping of names. `cases`: (stdin, expected stdout) pairs for the code as a program; white space is normalised,
    `compare(expected, actual)` replaces that. `tolerance` applies to numbers in calls and cases.

    `complete` says that the tests decide: the verdict is then exact. A partial score stays what it is, below 1.0, so
    that a search can climb; no exact score below 1.0 is a pass. A test that fails is run once more, and one that
    passes `repeat` times in all: where the outcomes differ it is flaky, named, and counts as failed, though not as an
    exact failure. `seconds` are for each test, `limits` for a whole run; a test that met a limit is not run again.
    Tests that cannot run, code in another language and a missing sandbox give an unknown verdict. Without isolation
    nothing is run, unless `unsafe` says that it may be, at the caller's risk.
    """

    tests: str = ""
    entry: str = ""
    calls: Sequence[tuple[Any, Any]] = ()
    cases: Sequence[Case] = ()
    complete: bool = True
    repeat: int = 1
    tolerance: float | None = None
    compare: Callable[[str, str], bool] | None = None
    module: str = "solution"
    classes: tuple[str, ...] = ()
    seconds: float = 5.0
    limits: Limits = Limits(seconds=30.0, cpu_seconds=20.0, output_kb=1024)
    unsafe: bool = False
    name: ClassVar[str] = "code"

    def __post_init__(self) -> None:
        """Raises `CallerError` for settings that make no sense."""
        if not isinstance(self.tests, str):
            raise CallerError(f"tests= is one text of Python source (join several by newlines), not {self.tests!r:.80}")
        if not (self.tests.strip() or self.calls or self.cases):
            raise CallerError("Code needs tests=, calls= or cases=")
        if self.calls and not self.entry:
            raise CallerError('calls= needs entry="name", the function that is called')
        if not self.seconds > 0 or self.repeat < 1:
            raise CallerError(f"seconds={self.seconds!r}, repeat={self.repeat!r}: expected above 0 and 1 or more")
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise CallerError(f"tolerance={self.tolerance!r}: expected 0 or more, below 1")
        if not all(part.isidentifier() for part in (self.module, *(self.entry or "f").split("."))):
            raise CallerError(f"entry={self.entry!r}, module={self.module!r}: expected names")
        for pair in self.cases:
            if not (isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(t, str) for t in pair)):
                raise CallerError(f"cases= takes (stdin, expected stdout) pairs of texts, not {pair!r:.80}")
        object.__setattr__(self, "_calls", tuple(_encoded(call) for call in self.calls))

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        """The verdict; unknown, with the reason, where the tests cannot be run."""
        source = source_of(task, candidate)
        if isinstance(source, Verdict):
            return replace(source, exact=source.exact and self.complete)
        try:
            reports = yield from self._reports(source)
        except SatisficeError as error:
            return Verdict(None, evidence=clean(f"not run: {error}"))
        except Exception as error:  # a `compare` of the user's
            return Verdict(None, evidence=clean(f"the tests cannot run: {type(error).__name__}: {error}"))
        return verdict(reports, self.complete)

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """Nothing that costs money."""
        return ()

    def _reports(self, source: str) -> Plan[list[Report]]:
        reports: list[Report] = []
        if self.tests.strip() or self.calls:
            suite = Suite(
                tests=self.tests,
                entry=self.entry,
                calls=self._calls,  # type: ignore[attr-defined]
                tolerance=self.tolerance,
                module=self.module,
                classes=self.classes,
                seconds=self.seconds,
            )
            reports.append((yield from tested(suite, source, self.limits, self.unsafe, self.repeat)))
        if self.cases:
            limits = replace(self.limits, seconds=self.seconds, cpu_seconds=min(self.seconds, self.limits.cpu_seconds))
            same = self.compare or self._alike
            reports.append((yield from ran_cases(source, self.cases, same, limits, self.unsafe, self.repeat)))
        return reports

    def _alike(self, expected: str, actual: str) -> bool:
        return alike(expected, actual, self.tolerance)


def source_of(task: Task, candidate: Candidate) -> str | Verdict:
    """The candidate's source, or the verdict on a candidate that has none that can be run."""
    language = task.contract.language.lower()
    if task.contract.kind == "code" and language not in PYTHON:
        return Verdict(None, evidence=f"only Python is run, not {language}")
    if len(candidate.text) > LONGEST or len(candidate.answer or "") > LONGEST:
        return Verdict(None, evidence=f"not run: more than {LONGEST:,} characters")
    source = candidate.answer
    if task.contract.kind != "code":
        reading = Contract("code").read(candidate.text)
        if reading is None or reading.answer.strip() != (candidate.answer or "").strip():
            # What would be verified is not what is given as the answer.
            return Verdict(None, evidence='Code checks code: pass answer="code"')
        source = reading.answer
    if source is None or not source.strip():
        return Verdict(0.0, exact=True, evidence="there is no code in the completion")
    return source


def _encoded(call: Any) -> list[Any]:
    """A call as `[arguments, named arguments, expected]`."""
    try:
        args, expected = call
        named = dict(args) if isinstance(args, dict) else {}
        positional = [] if named or isinstance(args, dict) else list(args)
        if isinstance(args, str | bytes):
            raise TypeError("the arguments must be a sequence: (text,)")
        return [encode(value, _refuse) for value in (positional, named, expected)]
    except (TypeError, ValueError) as error:
        raise CallerError(
            f"calls= takes (arguments, expected) pairs of plain data, not {call!r:.80}: {error}"
        ) from None


def _refuse(value: Any) -> Any:
    raise CannotSend(f"{type(value).__name__} is no plain data")
