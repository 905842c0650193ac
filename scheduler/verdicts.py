"""Verdicts on their way through a run: what a verifier replied, who asked for it, and what is kept of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.amounts import ZERO
from ..core.effects import Score
from ..core.verdict import Judgement, Verdict, label_of, name_of
from .nodes import Fan, Frame


@dataclass(slots=True)
class Verdicts:
    """What strategies were told of their candidates, and the verdicts that could not be had, by what stood in the
    way."""

    told: list[Judgement] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)

    def add(self, score: Score, frame: Frame, verdict: Verdict) -> Judgement | None:
        """Keeps a verdict. What a strategy was told, None of what an ensemble's part said."""
        name = name_of(score.verifier)
        if verdict.score is None:
            self.troubles[verdict.evidence or f"{name} could not tell"] += 1
        if frame.kind == "strategy":  # the parts of an ensemble stand in its own evidence
            path = score.candidate.path
            if any(check is score.verifier for check in score.task.checks):
                label = label_of(score.verifier, score.task.checks)
            else:  # of a plan's own
                like = sum(told.verifier.partition("#")[0] == name and told.candidate == path for told in self.told)
                label = f"{name}#{like + 1}" if like else name
            self.told.append(Judgement(label, path, verdict))
            return self.told[-1]
        return None

    def of(self, candidate: str) -> tuple[Judgement, ...]:
        """Of the candidate with this path, in the order in which they came."""
        return tuple(told for told in self.told if told.candidate == candidate)


def asking(frame: Frame) -> Frame:
    """The frame whose plan asked for this verifier."""
    assert frame.slot is not None
    owner = frame.slot[0]
    return owner.frame if isinstance(owner, Fan) else owner


def verdict_of(value: Any, frame: Frame) -> Verdict:
    """What a verifier replied, with what its plan spent; unknown where that is no verdict."""
    if not isinstance(value, Verdict):
        return unknown(TypeError(f"a verifier returned {type(value).__name__}, not a Verdict"))
    return replace(value, spent=frame.spent) if frame.kind == "verifier" and frame.spent != ZERO else value


def unknown(error: Exception) -> Verdict:
    """A failed verifier gives an unknown verdict, not a failed run."""
    return Verdict(None, evidence=f"{type(error).__name__}: {error}")
