"""Several checks as one: all of them, any of them, or their weighted mean.

A plain callable is a check already (`Check`, or the callable itself); what is here only combines. Each combination is
a plan that scores its parts in order, so that a part may itself be a plan, blocking, or async.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..core.effects import Effect, Score
from ..core.errors import CallerError
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict, Verifier, name_of
from .check import as_verifier


@dataclass(frozen=True, slots=True, init=False)
class AllOf:
    """Every check must hold: the lowest score, exact if all parts are. An exact failure decides at once, and what
    comes after it is not run; put cheap and exact checks first. Failing that, an unknown part makes it unknown."""

    checks: tuple[Verifier, ...]
    name: str

    def __init__(self, *checks: Any, name: str = "") -> None:
        _set(self, "all_of", checks, name)

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        """The verdict on all of them, in order."""
        told: list[tuple[Verifier, Verdict]] = []
        for check in self.checks:
            verdict = yield from Score(check, task, candidate)
            told.append((check, verdict))
            if verdict.exact and verdict.score == 0.0:
                return Verdict(0.0, exact=True, evidence=_evidence(told, len(self.checks)))
        scores = [verdict.score for _, verdict in told]
        known = [score for score in scores if score is not None]
        exact = all(verdict.exact for _, verdict in told)
        whole = len(known) == len(scores)
        return Verdict(min(known) if whole else None, exact=exact and whole, evidence=_evidence(told))

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """What all parts may ask for."""
        return _needs(self.checks, task)


@dataclass(frozen=True, slots=True, init=False)
class AnyOf:
    """One check is enough: the highest score. An exact pass decides at once, and what comes after it is not run.
    Failing that, an unknown part makes it unknown, for it might have held. Exact if all parts are."""

    checks: tuple[Verifier, ...]
    name: str

    def __init__(self, *checks: Any, name: str = "") -> None:
        _set(self, "any_of", checks, name)

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        """The verdict on any of them, in order."""
        told: list[tuple[Verifier, Verdict]] = []
        for check in self.checks:
            verdict = yield from Score(check, task, candidate)
            told.append((check, verdict))
            if verdict.passed:
                return Verdict(1.0, exact=True, evidence=_evidence(told, len(self.checks)))
        scores = [verdict.score for _, verdict in told]
        known = [score for score in scores if score is not None]
        exact = all(verdict.exact for _, verdict in told)
        whole = len(known) == len(scores)
        return Verdict(max(known) if whole else None, exact=exact and whole, evidence=_evidence(told))

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """What all parts may ask for."""
        return _needs(self.checks, task)


@dataclass(frozen=True, slots=True, init=False)
class Weighted:
    """The mean of the scores that are known, by weight; unknown if none is. All parts are run.

    It is exact only where every part is and all agree: a mean of 0.7 is evidence, not truth.
    """

    checks: tuple[Verifier, ...]
    weights: tuple[float, ...]
    name: str

    def __init__(self, weighted: Mapping[Any, float] | Iterable[tuple[Any, float]], *, name: str = "") -> None:
        try:
            pairs = [(c, w) for c, w in (weighted.items() if isinstance(weighted, Mapping) else weighted)]
        except (TypeError, ValueError):
            raise CallerError("Weighted: expected {check: weight} or (check, weight) pairs") from None
        for check, weight in pairs:
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not (isfinite(weight) and weight > 0):
                raise CallerError(f"Weighted: the weight {weight!r} of {name_of(check)!r}: expected a number above 0")
        object.__setattr__(self, "weights", tuple(float(weight) for _, weight in pairs))
        _set(self, "weighted", tuple(check for check, _ in pairs), name)

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        """The weighted verdict."""
        told: list[tuple[Verifier, Verdict]] = []
        for check in self.checks:
            verdict = yield from Score(check, task, candidate)
            told.append((check, verdict))
        known = [(v.score, w) for (_, v), w in zip(told, self.weights, strict=True) if v.score is not None]
        if not known:
            return Verdict(None, evidence=_evidence(told))
        total = sum(weight for _, weight in known)
        mean = min(1.0, max(0.0, sum(score * (weight / total) for score, weight in known)))
        agree = all(verdict.exact for _, verdict in told) and len({score for score, _ in known}) == 1
        return Verdict(known[0][0] if agree else mean, exact=agree, evidence=_evidence(told))

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """What all parts may ask for."""
        return _needs(self.checks, task)


def _set(made: Any, kind: str, checks: tuple[Any, ...], name: str) -> None:
    """The common fields of a combination. Raises CallerError."""
    if not checks:
        raise CallerError(f"{kind}: expected at least one check")
    for check in checks:
        if not callable(check):
            raise CallerError(f"{kind}: a check must be callable, not {type(check).__name__}")
    parts = tuple(as_verifier(check) for check in checks)
    object.__setattr__(made, "checks", parts)
    object.__setattr__(made, "name", name or f"{kind}({', '.join(name_of(part) for part in parts)})")


def _needs(checks: tuple[Verifier, ...], task: Task) -> tuple[Effect[Any], ...]:
    return tuple(effect for check in checks if hasattr(check, "needs") for effect in check.needs(task))


def _evidence(told: list[tuple[Verifier, Verdict]], of: int = 0) -> str:
    """Each part's outcome, and what was not run."""
    parts = []
    for check, verdict in told:
        score = "unknown" if verdict.score is None else f"{verdict.score:.3g}"
        parts.append(f"{name_of(check)}: {score}{f' ({verdict.evidence[:200]})' if verdict.evidence else ''}")
    if of > len(told):
        parts.append(f"{of - len(told)} not run")
    return "; ".join(parts)
