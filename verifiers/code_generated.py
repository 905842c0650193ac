"""CodeT: tests that a model writes, and what solutions and tests agree on (Chen et al. 2022, arXiv:2207.10397)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..core.completions import Message, Params
from ..core.effects import Effect, Gather, Recall, Remember, Sample
from ..core.errors import CallerError, SatisficeError
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from .code import source_of
from .coding.asserted import entry_in, parse_tests
from .coding.outcomes import clean
from .coding.suite import Suite, attempts
from .prompting import render
from .sandbox.programs import Limits

__all__ = ["Consensus", "GeneratedTests", "agreement", "entry_in", "generate_tests", "parse_tests"]

WARM = Params(temperature=0.8, max_tokens=512)
MOST = 100  # tests that are kept
LIMITS = Limits(seconds=30.0, cpu_seconds=20.0, output_kb=1024)
SECONDS = 2.0  # for each test


def asking(task: Task, entry: str, model: str | None = None, params: Params = WARM, count: int = 10) -> Sample:
    """The effect that asks for `count` tests of the function `entry`. Its reply is no candidate."""
    text = render("tests", task.prompts, query=task.query, entry=entry, count=count)
    return Sample((Message("user", text),), None, model, params)


def generate_tests(
    task: Task, entry: str = "", model: str | None = None, n: int = 4, params: Params = WARM
) -> Plan[tuple[str, ...]]:
    """Asks `n` times for tests of `entry` (by default the function that the query names) and reads what can be used:
    lines `assert entry(...) == literal`, each once, at most `MOST`. Raises `CallerError` without an entry, and what
    a Gather raises where no reply comes."""
    entry = entry or entry_in(task.query)
    if not entry:
        raise CallerError('which function is tested? Pass entry="name" or give its signature in the query')
    replies: tuple[Candidate | None, ...] = yield from Gather((asking(task, entry, model, params),) * n, at_least=1)
    found: dict[str, None] = {}
    for reply in replies:
        if reply is not None:
            found |= dict.fromkeys(parse_tests(reply.text, entry))
    return tuple(found)[:MOST]


def passed_by(source: str, tests: Sequence[str], unsafe: bool = False) -> Plan[frozenset[int]]:
    """The tests (by index) that a source passes, in the sandbox. One conversation, and one more for each time that
    the candidate's process dies. Raises `ToolError`."""
    suite = Suite(tests="\n".join(tests), seconds=SECONDS, lenient=True)
    report = yield from attempts(suite, source, LIMITS, unsafe)
    names = {f"line {i + 1}": i for i in range(len(tests))}
    return frozenset(names[n] for n, outcome in report.outcomes.items() if outcome.passed and n in names)


@dataclass(frozen=True, slots=True)
class Consensus:
    """Candidates (by index) that pass the same tests (by index). `score` is the product of how many there are."""

    candidates: tuple[int, ...]
    tests: tuple[int, ...]

    @property
    def score(self) -> int:
        return len(self.candidates) * len(self.tests)


def agreement(
    task: Task, candidates: Sequence[Candidate], tests: Sequence[str], unsafe: bool = False
) -> Plan[tuple[Consensus, ...]]:
    """Dual execution agreement: runs every candidate on every test and groups the candidates by what they pass, the
    highest score first (ties: the group that holds the earliest candidate). Equal candidates are run once and count
    each. A right solution agrees with others on many tests; wrong ones are wrong each in its own way. Raises
    `ToolError` where nothing can be run."""
    passing: dict[str, frozenset[int]] = {}
    groups: dict[frozenset[int], list[int]] = {}
    for i, candidate in enumerate(candidates):
        source = source_of(task, candidate)
        if isinstance(source, Verdict):
            passed: frozenset[int] = frozenset()
        elif (key := candidate.key or source) in passing:
            passed = passing[key]
        else:
            passed = passing[key] = yield from passed_by(source, tests, unsafe)
        groups.setdefault(passed, []).append(i)
    found = [Consensus(tuple(members), tuple(sorted(passed))) for passed, members in groups.items()]
    return tuple(sorted(found, key=lambda c: (-c.score, c.candidates[0])))


@dataclass(frozen=True)
class GeneratedTests:
    """A verifier: the share of a model's own tests that the candidate passes. Evidence, never exact: the tests may be
    as wrong as the candidate. They are asked for once a run (`n` replies) and remembered for its other candidates."""

    entry: str = ""
    model: str | None = None
    n: int = 4
    params: Params = WARM
    unsafe: bool = False
    name: ClassVar[str] = "generated_tests"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise CallerError(f"n={self.n}: expected 1 or more")
        if self.entry and not self.entry.isidentifier():
            raise CallerError(f"entry={self.entry!r}: expected a function's name")

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        """The verdict; unknown where there is no test or nothing to run it in."""
        source = source_of(task, candidate)
        if isinstance(source, Verdict):
            return Verdict(source.score, evidence=source.evidence)
        try:
            entry = self.entry or entry_in(task.query, [source])
            tests = yield from self._tests(task, entry)
            if not tests:
                return Verdict(None, evidence="no test could be read from what the model wrote")
            passed = yield from passed_by(source, tests, self.unsafe)
        except SatisficeError as error:
            return Verdict(None, evidence=clean(f"no tests were run: {error}"))
        failing = [test for i, test in enumerate(tests) if i not in passed]
        shown = "; ".join(failing[:5]) + (f" and {len(failing) - 5} more" if len(failing) > 5 else "")
        evidence = f"{len(passed)} of {len(tests)} generated tests pass" + (f"; not: {shown}" if shown else "")
        return Verdict(len(passed) / len(tests), evidence=clean(evidence[:2000]))

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """The replies that hold the tests, where they were not asked for yet."""
        return (asking(task, self.entry or entry_in(task.query) or "f", self.model, self.params),) * self.n

    def _tests(self, task: Task, entry: str) -> Plan[tuple[str, ...]]:
        topic = f"tests {task.id} {entry} {self.model} {self.n}"
        known = yield from Recall(topic)
        if known:
            return tuple(known[0])
        tests = yield from generate_tests(task, entry, self.model, self.n, self.params)
        yield from Remember(topic, list(tests))
        return tests
