"""What became of the tests: read from what the trusted side told, merged over attempts, and made into a verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.verdict import Verdict

LATE = "no result within"  # how the message of a test begins whose time was up
SHOWN = 8  # tests that the evidence names


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test's end. `final`: running it again would only take its time again (a limit was met)."""

    passed: bool
    message: str = ""
    final: bool = False


@dataclass(slots=True)
class Report:
    """What one or several runs told. `broken`: why the tests cannot run; `unloaded`: why the candidate cannot;
    `died`: why its process ended before the tests did; `lingers`: it goes on where it was to end, up to the limits
    of a whole run, so that another run would take as long."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    known: dict[str, None] = field(default_factory=dict)  # names of all tests, in order
    skipped: dict[str, str] = field(default_factory=dict)
    flaky: dict[str, str] = field(default_factory=dict)
    broken: str = ""
    unloaded: str = ""
    died: str = ""
    done: bool = False
    lingers: bool = False

    def tests(self) -> list[str]:
        """The names of all tests that are known, in order."""
        return list(self.known | dict.fromkeys(self.outcomes))


def read(stdout: str, status: str, why: str) -> Report:
    """What the trusted side told before it ended with `status`; `why` says what became of the candidate."""
    report, begun = Report(), ""
    for line in stdout.splitlines():
        try:
            facts: dict[str, Any] = json.loads(line)
        except ValueError:
            continue  # cut at the output limit
        begun = facts.get("begin", begun)
        _take(report, facts, why)
    if not report.done and not (report.died or report.broken or report.unloaded):
        # The side that we trust was stopped in the middle: by what it was sent, or by its own tests.
        said = f"the tests' process ended ({status})"
        met = status not in ("ok", "error")  # it does not end by itself, unless a test ends it
        if met and begun and begun not in report.outcomes:
            report.outcomes[begun], report.died = Outcome(False, said, final=True), said
        else:
            report.broken = said
    return report


def _take(report: Report, facts: Mapping[str, Any], why: str) -> None:
    report.known |= dict.fromkeys(facts.get("all", ()))
    report.broken = report.broken or facts.get("broken", "") or facts.get("crashed", "")
    report.died = report.died or (facts.get("died") and (why or facts["died"])) or ""
    report.done |= "done" in facts
    if "unloaded" in facts:
        report.unloaded = facts["unloaded"] + (f" ({why})" if facts.get("died") and why else "")
    name = facts.get("unit")
    if name is None:
        if report.died and report.outcomes:  # the test in which it died says why
            last = next(reversed(report.outcomes))
            said = report.outcomes[last].message
            late = said.startswith(LATE)
            message = said if late or not why else f"{said} ({why})"
            report.outcomes[last] = Outcome(False, message, final=late or "more than" in why)
    elif facts["outcome"] == "skipped":
        report.skipped[name] = facts.get("message", "")
    else:
        report.outcomes[name] = Outcome(facts["outcome"] == "passed", facts.get("message", ""))


def verdict(reports: Iterable[Report], complete: bool) -> Verdict:
    """The share of tests that pass; a flaky one does not: code that guesses right now and then is not right. Exact
    where the tests are `complete` and nothing is in doubt: a failure is certain as soon as one steady test fails."""
    passed, failed, flaky, skipped = 0, dict[str, str](), dict[str, str](), dict[str, str]()
    for report in reports:
        if report.broken:
            return Verdict(None, evidence=f"the tests cannot run: {report.broken}")
        if report.unloaded:
            text = f"no test passes: the candidate cannot be loaded: {report.unloaded}"
            return Verdict(0.0, exact=complete, evidence=clean(text))
        flaky |= report.flaky
        skipped |= report.skipped
        for name in report.tests():
            if name in report.flaky or name in report.skipped:
                continue
            outcome = report.outcomes.get(name) or Outcome(False, f"not run: {report.died}")
            if outcome.passed:
                passed += 1
            else:
                failed[name] = outcome.message
    total = passed + len(failed) + len(flaky)
    if not total:
        why = _list("skipped", skipped) or "there are none"
        return Verdict(None, evidence=clean(f"no test tells anything: {why}"))
    parts = [f"{passed} of {total} tests pass", _list("failing", failed), _list("flaky, not passed", flaky)]
    parts.append(_list("skipped", skipped))
    exact = complete and (bool(failed) or not flaky)
    return Verdict(passed / total, exact=exact, evidence=clean("; ".join(p for p in parts if p)))


def _list(title: str, named: Mapping[str, str]) -> str:
    if not named:
        return ""
    shown = [f"{name}: {message}" if message else name for name, message in list(named.items())[:SHOWN]]
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return f"{title}: " + "; ".join(shown) + more


MOST_SAID = 2000  # characters of evidence


def clean(text: str) -> str:
    """Text that can be stored and shown: no lone surrogates, and not without end."""
    return text[:MOST_SAID].encode("utf-8", "replace").decode()
