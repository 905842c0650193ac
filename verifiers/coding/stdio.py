"""Cases of standard input and expected output: the candidate is run as a program, its output is compared out here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isclose
from typing import Any

from ...core.plans import Plan
from ..sandbox.programs import Limits
from .outcomes import Outcome, Report
from .suite import ending, ran_of

Compare = Callable[[str, str], bool]
Case = tuple[str, str]


def alike(expected: str, actual: str, tolerance: float | None = None) -> bool:
    """The same lines but for white space around words and empty lines at the end; with a `tolerance`, words that are
    numbers may differ by it (absolute or relative)."""
    lines = [[line.split() for line in text.rstrip().splitlines()] for text in (expected, actual)]
    if len(lines[0]) != len(lines[1]):
        return False
    return all(
        len(want) == len(got) and all(_alike(w, g, tolerance) for w, g in zip(want, got, strict=True))
        for want, got in zip(*lines, strict=True)
    )


def _alike(want: str, got: str, tolerance: float | None) -> bool:
    if want == got or tolerance is None:
        return want == got
    try:
        return isclose(float(want), float(got), rel_tol=tolerance, abs_tol=tolerance)
    except ValueError:
        return False


def ran_cases(
    source: str, cases: Sequence[Case], same: Compare, limits: Limits, unsafe: bool, repeat: int
) -> Plan[Report]:
    """Runs the cases; failing ones once more, passing ones `repeat` times in all. Raises what the tool raises."""
    names = [f"case {i}" for i in range(1, len(cases) + 1)]
    by_name = dict(zip(names, cases, strict=True))
    report = Report(known=dict.fromkeys(names), done=True)
    report.outcomes = yield from _run(source, by_name, same, limits, unsafe)
    for attempt in range(1, max(2, repeat)):
        steady = {n: o for n, o in report.outcomes.items() if n not in report.flaky and not o.final}
        again = [n for n, o in steady.items() if (attempt < repeat if o.passed else attempt == 1)]
        if not again:
            continue
        second = yield from _run(source, {n: by_name[n] for n in again}, same, limits, unsafe)
        for name in again:
            if second[name].passed != steady[name].passed:
                report.flaky[name] = second[name].message or steady[name].message
    return report


def _run(
    source: str, cases: Mapping[str, Case], same: Compare, limits: Limits, unsafe: bool
) -> Plan[dict[str, Outcome]]:
    programs: list[dict[str, Any]] = [{"source": source, "stdin": stdin} for stdin, _ in cases.values()]
    ran = yield from ran_of(programs, limits, unsafe)
    return {
        name: _outcome(one, expected, same, limits)
        for (name, (_, expected)), one in zip(cases.items(), ran, strict=True)
    }


def _outcome(ran: Mapping[str, Any], expected: str, same: Compare, limits: Limits) -> Outcome:
    if why := ending(ran, limits):
        last = ran["stderr"].strip().rpartition("\n")[2][:200] if ran["status"] == "error" else ""
        return Outcome(False, f"{why}: {last}" if last else why, final=ran["status"] in ("timeout", "cpu"))
    if same(expected, ran["stdout"]):
        return Outcome(True)
    return Outcome(False, f"printed {ran['stdout'].strip()!r:.120}, expected {expected.strip()!r:.120}")
