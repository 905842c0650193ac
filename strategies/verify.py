"""Verify: no thinking, only checking. What is there already is put before every verifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..budgets.beliefs import Committed
from ..core.effects import Effect, Gather, Offer, Race, Sample, Score
from ..core.errors import BadQuery
from ..core.plans import Answer, Plan
from ..core.task import Task
from ..core.verdict import Verdict, Verifier


@dataclass(frozen=True, slots=True)
class Verify:
    """Asks every check of the task about the first candidate that it knows; the others are there to compare with.

    Checks that ask no model come first, those that ask for the fewest calls before the others. All are asked: one
    that cannot be paid or fails is unknown and stops none of the rest. The answer is the candidate, and the reason
    "verified" (every verdict is an exact pass), "refuted" (an exact one is not) or "checked".
    """

    name: ClassVar[str] = "verify"

    def __call__(self, task: Task) -> Plan[Answer]:
        if not task.known:
            raise BadQuery("verify needs a candidate: use Engine.verify, or a task with known=(candidate,)")
        if not task.checks:
            raise BadQuery("verify needs a verifier: pass at least one")
        return self._plan(task)

    def _plan(self, task: Task) -> Plan[Answer]:
        candidate = task.known[0]
        # On offer from the start: whatever ends the run early, the candidate and the verdicts so far are kept.
        yield from Offer(Answer(candidate, "checked"), Committed(1), ())
        reason = "verified"
        for check in in_order(task.checks, task):
            verdict: Verdict = yield from Score(check, task, candidate)
            if verdict.exact and not verdict.passed:
                reason = "refuted"
            elif not verdict.passed and reason == "verified":
                reason = "checked"
        return Answer(candidate, reason)


def in_order(checks: Sequence[Verifier], task: Task) -> list[Verifier]:
    """Those that ask for the fewest completions first, people last; equals as they are given."""
    return sorted(checks, key=lambda check: (getattr(check, "late", False), len(samples_of(check, task))))


def samples_of(verifier: Verifier, task: Task) -> list[Sample]:
    """The completions that a verifier declares as its worst case; none where it declares nothing."""
    needs = getattr(verifier, "needs", None)
    try:
        return [] if needs is None else _samples(tuple(needs(task)))
    except Exception:  # a verifier's fault, which its verdict will show
        return []


def _samples(effects: Sequence[Effect[Any]]) -> list[Sample]:
    found: list[Sample] = []
    for effect in effects:
        if isinstance(effect, Sample):
            found.append(effect)
        elif isinstance(effect, Gather | Race):
            found += _samples(effect.branches)
        elif isinstance(effect, Score):
            found += samples_of(effect.verifier, effect.task)
    return found
