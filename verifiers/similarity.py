"""Free-text answers by meaning: how many agree, votes over meanings, and semantic entropy (Kuhn, Gal & Farquhar 2023,
arXiv:2302.09664; Farquhar et al. 2024, Nature 630)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, log
from typing import Any

from ..core.effects import Effect
from ..core.errors import CallerError
from ..core.plans import Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from .confidence import others_of
from .grouping import Embedding, Entailment, Grouping, Labels, Lexical, cluster, spelling
from .judge import failed

__all__ = [
    "Embedding",
    "Entailment",
    "Grouping",
    "Labels",
    "Lexical",
    "Similarity",
    "cluster",
    "keys",
    "semantic_entropy",
    "spelling",
]


@dataclass(frozen=True, slots=True)
class Similarity:
    """The share of the other candidates (`candidates`, or those that the task knows) that mean the same as this one.
    What is compared are the answers; a candidate without one is left out."""

    by: Grouping = Lexical()
    candidates: tuple[Candidate, ...] = ()
    name: str = "similarity"

    @property
    def blocking(self) -> bool:
        """A grouping that asks no model compares every pair, or calls what the user gave."""
        return bool(getattr(self.by, "blocking", False))

    def __call__(self, task: Task, candidate: Candidate) -> Verdict | Plan[Verdict]:
        if not candidate.answer:
            return Verdict(None, evidence=f"{self.name}: the candidate holds no answer")
        others = [c.answer for c in others_of(self.candidates or task.known, candidate) if c.answer]
        if not others:
            return Verdict(None, evidence=f"{self.name}: no other candidate is known")
        try:
            labels = self.by(task, (candidate.answer, *others))
        except Exception as error:
            return failed(self.name, error)
        return self._verdict(labels) if isinstance(labels, tuple) else self._waiting(labels)

    def _waiting(self, plan: Plan[Labels]) -> Plan[Verdict]:
        return self._verdict((yield from plan))

    def _verdict(self, labels: Labels) -> Verdict:
        same, others = labels[1:].count(labels[0]), len(labels) - 1
        how = str(getattr(self.by, "name", type(self.by).__name__))
        evidence = f"{self.name}: {same} of {others} others mean the same ({how}), {max(labels) + 1} meanings in all"
        return Verdict(same / others, evidence=evidence)

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """What its grouping needs."""
        needs = getattr(self.by, "needs", None)
        made: tuple[Effect[Any], ...] = tuple(needs(task)) if needs is not None else ()
        return made


def semantic_entropy(labels: Sequence[int], weights: Iterable[float] | None = None) -> float:
    """The entropy over meanings, in nats: 0 where all mean the same. `weights` are the texts' probabilities (e.g.
    exp of the sum of a candidate's logprobs), not normalised; without them each text counts once (the discrete variant
    of Farquhar et al. 2024). Raises `CallerError`."""
    given = [1.0] * len(labels) if weights is None else [float(w) for w in weights]
    if len(given) != len(labels) or not labels:
        raise CallerError(f"{len(given)} weights for {len(labels)} labels: expected one each, and at least one")
    if not all(isfinite(w) and w >= 0 for w in given) or not (total := fsum(given)) > 0:
        raise CallerError("weights: expected finite numbers, 0 or more, not all of them 0")
    mass: defaultdict[int, float] = defaultdict(float)
    for label, weight in zip(labels, given, strict=True):
        mass[label] += weight / total
    return max(0.0, -fsum(p * log(p) for p in mass.values() if p > 0))


def keys(candidates: Sequence[Candidate], labels: Sequence[int]) -> dict[str, str]:
    """From each candidate's key to the key of its meaning: the commonest of its group, ties by spelling. With
    `replace(c, key=found[c.key])` a vote counts meanings. `labels` are of the candidates that hold an answer, in
    order."""
    answered = [c.key for c in candidates if c.key is not None]
    if len(answered) != len(labels):
        raise CallerError(f"{len(labels)} labels for {len(answered)} candidates with an answer")
    votes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for key, label in zip(answered, labels, strict=True):
        votes[label][key] += 1
    head = {label: min(count, key=lambda key: (-count[key], key)) for label, count in votes.items()}
    return {key: head[label] for key, label in zip(answered, labels, strict=True)}
