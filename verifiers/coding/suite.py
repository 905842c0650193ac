"""Plans that run tests in the sandbox: again where the candidate's process has died, and again to find flaky ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...core.effects import CallTool
from ...core.plans import Plan
from ..sandbox.programs import Limits
from . import bundle
from .outcomes import Report, read

TOOL = "sandbox"
RESTARTS = 3  # processes that the candidate may lose before what is left of the tests counts as failed


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests of one kind of candidate: what the trusted side is told."""

    tests: str = ""
    entry: str = ""
    calls: tuple[Any, ...] = ()  # encoded
    tolerance: float | None = None
    module: str = "solution"
    classes: tuple[str, ...] = ()
    seconds: float = 5.0
    seed: int = 0
    lenient: bool = False  # a test that fails by itself has failed, instead of making all of them unknown

    def job(self, only: Sequence[str] | None, skip: Sequence[str]) -> str:
        """The trusted side's stdin."""
        return json.dumps({**asdict(self), "only": only, "skip": skip})


def tested(suite: Suite, source: str, limits: Limits, unsafe: bool, repeat: int) -> Plan[Report]:
    """Runs all tests. Those that fail are run once more, those that pass `repeat` times in all; a test whose outcome
    is not the same each time is flaky. All attempts have the same seed: a candidate must not be able to tell them
    apart. Raises what the tool raises."""
    report = yield from attempts(suite, source, limits, unsafe)
    if report.broken or report.unloaded:
        return report
    for attempt in range(1, max(2, repeat)):
        steady = {n: o for n, o in report.outcomes.items() if n not in report.flaky and not o.final}
        names = [n for n, o in steady.items() if (attempt < repeat if o.passed else attempt == 1)]
        if not names:
            continue
        second = yield from attempts(suite, source, limits, unsafe, names)
        for name in names:
            outcome = second.outcomes.get(name)
            if outcome is not None and outcome.passed != steady[name].passed:
                report.flaky[name] = outcome.message or steady[name].message
    return report


def attempts(
    suite: Suite, source: str, limits: Limits, unsafe: bool, only: Sequence[str] | None = None
) -> Plan[Report]:
    """Goes on behind a test in which the candidate's process died, in a new one."""
    report = Report()
    for _ in range(1 + RESTARTS):
        before = report.outcomes
        job = suite.job(only, [*before, *report.skipped])
        part = yield from _converse(suite, job, source, limits, unsafe)
        report.outcomes, report.skipped = before | part.outcomes, report.skipped | part.skipped
        report.known |= part.known
        report.died = part.died or report.died
        if not part.died or not part.outcomes or part.broken or part.unloaded or part.lingers:
            report.broken = part.broken
            report.unloaded = "" if before else part.unloaded
            return report
    return report


def _converse(suite: Suite, job: str, source: str, limits: Limits, unsafe: bool) -> Plan[Report]:
    told = {"source": source, "module": suite.module, "seed": suite.seed, "seconds": suite.seconds}
    programs = [{"source": bundle.host(), "stdin": job}, {"source": bundle.guest(), "stdin": json.dumps(told)}]
    ran = yield from ran_of(programs, limits, unsafe, converse=True)
    report = read(ran[0]["stdout"], ran[0]["status"], ending(ran[1], limits))
    report.lingers = ran[1]["status"] in ("timeout", "cpu")
    return report


def ran_of(
    programs: list[dict[str, Any]], limits: Limits, unsafe: bool, converse: bool = False
) -> Plan[list[Mapping[str, Any]]]:
    """What the sandbox tool replies. Raises `ToolError`."""
    reply = yield from CallTool(
        TOOL,
        (("programs", programs), ("limits", asdict(limits)), ("converse", converse), ("unsafe", unsafe)),
        idempotent=True,
    )
    ran: list[Mapping[str, Any]] = reply["ran"]
    return ran


def ending(ran: Mapping[str, Any], limits: Limits) -> str:
    """Which limit a program met, or how else it ended; "" where it ended well."""
    named = {
        "timeout": f"it took more than {limits.seconds:g} s",
        "cpu": f"it used more than {limits.cpu_seconds:g} s of CPU",
        "memory": f"it used more than {limits.memory_mb} MB of memory",
        "output": f"it printed more than {limits.output_kb} KB",
        "killed": "it was killed by a signal",
    }
    if ran["status"] in named:
        return named[ran["status"]]
    return "" if ran["status"] == "ok" else f"it ended with exit code {ran['exit']}"
