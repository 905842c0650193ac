"""Ensemble: many weak verifiers as one calibrated probability (Weaver: Saad-Falcon et al. 2025, arXiv 2506.18203)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..budgets.calibrators import EnsembleModel, logit
from ..core.completions import Params
from ..core.effects import Effect, Gather, Race, Score
from ..core.errors import CallerError
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict, Verifier, name_of, wanted


@dataclass(frozen=True)
class Ensemble:
    """Scores each part that `model` knows, the cheapest first, and adds up their evidence: a plan.

    `model` comes from `verifiers.calibration.fit_ensemble`; parts are matched by name, and those that fitting dropped
    are not asked. A part that cannot tell is no evidence. An exact verdict of a part decides at once. The verdict is
    unknown where no part could tell.
    """

    parts: tuple[Verifier, ...]
    model: EnsembleModel
    name: ClassVar[str] = "ensemble"

    def __post_init__(self) -> None:
        names = [name_of(part) for part in self.parts]
        fitted = {part.name for part in self.model.parts}
        if len(set(names)) != len(names):
            raise CallerError(f"two parts of an ensemble have the same name: {', '.join(sorted(names))}")
        if strange := sorted(set(names) - fitted - set(self.model.dropped)):
            raise CallerError(f"the ensemble was not fitted with {', '.join(strange)}: fit it again, or leave them out")
        if not fitted & set(names):
            raise CallerError(f"no part of the ensemble is in its model, which knows: {', '.join(sorted(fitted))}")

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        scores: dict[str, float | None] = {}
        told: list[str] = []
        for part in self._kept(task):
            name = name_of(part)
            verdict: Verdict = yield from Score(part, task, candidate)
            if verdict.exact and verdict.score is not None:
                p = 1.0 if verdict.passed else 0.0
                return Verdict(verdict.score, p, exact=True, evidence=f"{name}, exact: {verdict.evidence}".rstrip(": "))
            scores[name] = verdict.score
            told.append(self._line(name, verdict))
        p_right = self.model(scores)
        evidence = "; ".join([f"before any: {logit(self.model.base_rate):+.2f}", *told])
        if p_right is None:
            return Verdict(None, evidence=f"no part of the ensemble could tell: {evidence}")
        return Verdict(p_right, p_right, evidence=f"log-odds: {evidence}")

    def needs(self, task: Task) -> tuple[Effect[Verdict], ...]:
        """Each part once."""
        return tuple(Score(part, task, _NOBODY) for part in self._kept(task))

    def wants(self, params: Params) -> Params:
        """What its parts want of a draw."""
        return wanted(self.parts, params)

    def _kept(self, task: Task) -> list[Verifier]:
        """The parts that the model knows, those that ask for the fewest completions first."""
        fitted = {part.name for part in self.model.parts}
        return sorted((p for p in self.parts if name_of(p) in fitted), key=lambda part: _calls(part, task))

    def _line(self, name: str, verdict: Verdict) -> str:
        if verdict.score is None:
            return f"{name} cannot tell ({verdict.evidence:.200})"
        adds = next(part.evidence(verdict.score) for part in self.model.parts if part.name == name)
        return f"{name} {verdict.score:.2f}: {adds:+.2f}"


_NOBODY = Candidate("")  # stands in where parts are priced, before there is a candidate


def _calls(verifier: Verifier, task: Task) -> int:
    """How many calls a verifier asks for at its worst; 0 where it declares none."""
    needs = getattr(verifier, "needs", None)
    return sum(_leaves(effect, task) for effect in needs(task)) if needs is not None else 0


def _leaves(effect: Effect[Any], task: Task) -> int:
    if isinstance(effect, Gather | Race):
        return sum(_leaves(branch, task) for branch in effect.branches)
    return _calls(effect.verifier, task) if isinstance(effect, Score) else 1
