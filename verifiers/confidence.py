"""What a candidate says of itself without being asked: its tokens' probabilities, and its agreement with the others.
`PTrue`, which asks, is a judge; it can be imported from here too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, fsum
from typing import Literal, get_args

from ..core.completions import Params
from ..core.errors import CallerError
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from .judge import PTrue

__all__ = ["Agreement", "Confidence", "PTrue", "agreement"]

Kind = Literal["mean", "tail", "group", "bottom", "min"]
By = Literal["probability", "alternatives"]


@dataclass(frozen=True, slots=True)
class Confidence:
    """Confidence from the probabilities of a candidate's tokens (asked for by `Params(logprobs=True)`), as in DeepConf
    (Fu et al. 2025, arXiv:2508.15260). A score to be calibrated, not a probability of being right.

    `kind`: "mean" over all tokens, "tail" over the last `window`, "group" over the worst `window` in a row, "bottom"
    over the worst tenth of such windows, "min" the worst token. Shorter candidates are one window (the paper's is 2048
    tokens, for long traces). `by`: "probability" takes the chosen tokens', and the score is their geometric mean;
    "alternatives" takes the paper's token confidence c, minus the mean log-probability of the likeliest alternatives
    (`Params(top_logprobs=k)`), which is high where one token stands out, and the score is c / (1 + c). Scores by
    different k or by different `by` are not comparable.
    """

    kind: Kind = "mean"
    window: int = 64
    by: By = "probability"
    name: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or self.by not in get_args(By):
            raise CallerError(
                f"kind={self.kind!r}, by={self.by!r}: expected one of {get_args(Kind)}, of {get_args(By)}"
            )
        if self.window < 1:
            raise CallerError(f"window={self.window!r}: expected 1 or more tokens")
        if not self.name:
            suffix = "" if self.by == "probability" else "_of_alternatives"
            object.__setattr__(self, "name", f"confidence_{self.kind}{suffix}")

    def wants(self, params: Params) -> Params:
        """What a draw has to be asked for, so that there is something to read."""
        tops = max(params.top_logprobs, 5 if self.by == "alternatives" and not params.top_logprobs else 0)
        return replace(params, logprobs=True, top_logprobs=tops)

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        tokens = self._tokens(candidate)
        if not tokens:
            asked = "logprobs=True" + (", top_logprobs=5" if self.by == "alternatives" else "")
            return Verdict(None, evidence=f"{self.name}: the candidate has none: ask for them by Params({asked})")
        value = self._reduced(tokens)
        score = exp(min(0.0, value)) if self.by == "probability" else max(0.0, value) / (1.0 + max(0.0, value))
        return Verdict(score, evidence=f"{self.name}: {value:.3f} over {len(tokens)} tokens")

    def _tokens(self, candidate: Candidate) -> Sequence[float]:
        if self.by == "probability":
            return candidate.logprobs or ()
        return [-fsum(lp for _, lp in top) / len(top) for top in candidate.alternatives or () if top]

    def _reduced(self, tokens: Sequence[float]) -> float:
        if self.kind == "mean":
            return fsum(tokens) / len(tokens)
        if self.kind == "min":
            return min(tokens)
        if self.kind == "tail":
            tail = tokens[-self.window :]
            return fsum(tail) / len(tail)
        groups = sorted(_windows(tokens, self.window))
        worst = groups[: 1 if self.kind == "group" else max(1, len(groups) // 10)]
        return fsum(worst) / len(worst)


def _windows(values: Sequence[float], width: int) -> list[float]:
    """The means of all runs of `width` values; of all the values where there are fewer. Linear: by running sums."""
    width = min(width, len(values))
    total = fsum(values[:width])
    means = [total / width]
    for new, old in zip(values[width:], values, strict=False):
        total += new - old
        means.append(total / width)
    return means


def agreement(candidates: Iterable[Candidate]) -> dict[str, float]:
    """The share of each key among the candidates that hold an answer, the largest first, ties by the key."""
    votes = Counter(c.key for c in candidates if c.key is not None)
    return {key: n / votes.total() for key, n in sorted(votes.items(), key=lambda vote: (-vote[1], vote[0]))}


@dataclass(frozen=True, slots=True)
class Agreement:
    """The share of the other known candidates that give the same answer (by key)."""

    name: str = "agreement"

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        if candidate.key is None:
            return Verdict(None, evidence=f"{self.name}: the candidate holds no answer")
        others = [c for c in others_of(task.known, candidate) if c.key is not None]
        if not others:
            return Verdict(None, evidence=f"{self.name}: no other candidate is known")
        same = sum(c.key == candidate.key for c in others)
        return Verdict(same / len(others), evidence=f"{self.name}: {same} of {len(others)} others")


def others_of(known: Iterable[Candidate], candidate: Candidate) -> list[Candidate]:
    """The known candidates but for this one (the same place in the run, else one that is equal)."""
    others = list(known)
    for i, other in enumerate(others):
        if (other.path == candidate.path) if candidate.path else (other == candidate):
            return others[:i] + others[i + 1 :]
    return others
