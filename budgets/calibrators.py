"""Calibrators at run time: what a verifier's score is worth as a probability.

Small frozen models that go into a policy as JSON. Applying one is plain Python and takes about a microsecond; they are
fitted in `verifiers.calibration`, with numpy and scipy. Every calibrator is a total, monotone map from a score (what
lies outside [0, 1] is clipped, NaN gives the base rate) to P(right), and never says 0 or 1.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import pairwise
from math import exp, fsum, log, log1p
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .drift import Drift, Watch

__all__ = [
    "Beta",
    "Calibration",
    "Calibrator",
    "Constant",
    "Drift",
    "EnsembleModel",
    "Identity",
    "Isotonic",
    "Part",
    "Platt",
    "Rates",
    "ScoreModel",
    "Selected",
    "Step",
    "Watch",
    "logit",
    "sigmoid",
]

SURE = 1e-4  # a fitted map stays so far from 0 and 1
RAW = 1e-3  # a raw score that nobody checked is believed no further than this
_TINY = 1e-6  # scores are kept so far from 0 and 1 before their logarithm is taken

Probability = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Mass = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rising = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


def logit(p: float) -> float:
    """Log-odds; `p` is kept a millionth away from 0 and 1."""
    p = min(max(p, _TINY), 1 - _TINY)
    return log(p) - log1p(-p)


def sigmoid(x: float) -> float:
    """P from log-odds, kept away from 0 and 1."""
    p = 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))
    return min(max(p, SURE), 1 - SURE)


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Map(_Frozen):
    """`base_rate`: the share of right candidates where it was fitted; what is said of a score that is none."""

    base_rate: Probability = 0.5

    def __call__(self, score: float) -> float:
        """P(right) of a candidate with this score."""
        return self.base_rate if score != score else self._p(min(max(score, 0.0), 1.0))

    def _p(self, score: float) -> float:
        raise NotImplementedError


class Constant(_Map):
    """The base rate whatever the score: the honest fallback where a score has shown nothing."""

    kind: Literal["constant"] = "constant"

    def _p(self, score: float) -> float:
        return self.base_rate


class Identity(_Map):
    """The score itself, kept in [0.001, 0.999]."""

    kind: Literal["identity"] = "identity"

    def _p(self, score: float) -> float:
        return min(max(score, RAW), 1 - RAW)


class Platt(_Map):
    """A sigmoid in the score (Platt 1999): logit p = slope * s + offset."""

    kind: Literal["platt"] = "platt"
    slope: Rising
    offset: Finite

    def _p(self, score: float) -> float:
        return sigmoid(self.slope * score + self.offset)


class Beta(_Map):
    """Beta calibration (Kull, Silva Filho & Flach 2017): logit p = a ln s - b ln(1 - s) + c."""

    kind: Literal["beta"] = "beta"
    a: Rising
    b: Rising
    c: Finite

    def _p(self, score: float) -> float:
        s = min(max(score, _TINY), 1 - _TINY)
        return sigmoid(self.a * log(s) - self.b * log1p(-s) + self.c)


class Isotonic(_Map):
    """Isotonic regression (Ayer et al. 1955), one point (mean score, smoothed rate) per block and straight lines
    between them (Oron & Flournoy 2017), level beyond the ends."""

    kind: Literal["isotonic"] = "isotonic"
    scores: Annotated[tuple[Mass, ...], Field(min_length=1)]
    rates: tuple[Probability, ...]

    @model_validator(mode="after")
    def _rises(self) -> Isotonic:
        if len(self.scores) != len(self.rates):
            raise ValueError("scores and rates must have the same length")
        if any(a >= b for a, b in pairwise(self.scores)):
            raise ValueError("scores must rise")
        if any(a > b for a, b in pairwise(self.rates)):
            raise ValueError("rates must not fall")
        return self

    def _p(self, score: float) -> float:
        after = bisect_right(self.scores, score)
        if after in (0, len(self.scores)):
            return self.rates[max(0, after - 1)]
        x, y, x1, y1 = self.scores[after - 1], self.rates[after - 1], self.scores[after], self.rates[after]
        return min(y1, y + (y1 - y) * ((score - x) / (x1 - x)))


class Step(_Map):
    """A verdict cut in two: P(right) `below` the threshold, and `above` (at it included)."""

    kind: Literal["step"] = "step"
    threshold: Mass
    below: Probability
    above: Probability

    @model_validator(mode="after")
    def _rises(self) -> Step:
        if self.below > self.above:
            raise ValueError("below must not exceed above")
        return self

    def _p(self, score: float) -> float:
        return self.above if score >= self.threshold else self.below


Calibrator: TypeAlias = Annotated[
    Constant | Identity | Platt | Beta | Isotonic | Step,
    Field(discriminator="kind"),
]


class Calibration(_Frozen):
    """One verifier's calibration: `pooled`, and `kinds` of task where their own beat it on held-out questions."""

    pooled: Calibrator
    kinds: dict[str, Calibrator] = {}

    def __call__(self, score: float, kind: str = "") -> float:
        """P(right) of a candidate with this score on a task of this kind."""
        return self.kinds.get(kind, self.pooled)(score)


class Selected(_Frozen):
    """P(right) of the best-scored of n candidates, from its own calibrated p.

    The winner of many is worse than its p says, as far as the draws of a question share its difficulty: on a hard
    question there are many wrong ones for the check to be wrong about (the optimiser's curse, Smith & Winkler 2006).

    `rows` are (n, slope, offset) with n rising from 1: the log-odds of the winner of n are slope * logit p + offset,
    the least over all rows up to n, so that they never rise with n, and rise with p at every n; between two rows they
    go straight in ln n. Beyond the last row they fall by `tail` per unit of ln n.
    """

    rows: Annotated[tuple[tuple[Annotated[int, Field(ge=1)], Rising, Finite], ...], Field(min_length=1)] = (
        (1, 1.0, 0.0),
    )
    tail: Rising = 0.0

    @model_validator(mode="after")
    def _rises(self) -> Selected:
        sizes = [n for n, _, _ in self.rows]
        if sizes[0] != 1 or any(a >= b for a, b in pairwise(sizes)):
            raise ValueError("rows must start at n = 1 and rise")
        return self

    def __call__(self, p: float, n: int) -> float:
        """P(right) of the winner among `n` scored candidates, whose own calibrated probability is `p`."""
        x, size = logit(p if p == p else 0.5), max(1, n)
        at, low = 1, self.rows[0][1] * x + self.rows[0][2]
        for m, slope, offset in self.rows[1:]:
            then = min(low, slope * x + offset)
            if m > size:
                return sigmoid(low + (then - low) * log(size / at) / log(m / at))
            at, low = m, then
        return sigmoid(low - self.tail * log(size / at))


class Rates(_Frozen):
    """Error rates of a verifier that says "right" at scores of `threshold` and above: the share of right candidates
    that it passes, and of wrong ones. Both with 95% intervals; `right` and `wrong` are how many there were."""

    threshold: Finite
    tpr: Mass
    fpr: Mass
    tpr_interval: tuple[Mass, Mass]
    fpr_interval: tuple[Mass, Mass]
    right: Count
    wrong: Count

    @property
    def n(self) -> int:
        return self.right + self.wrong


class ScoreModel(_Frozen):
    """What a score will say before it is drawn: `levels` of (p, mass of right candidates, mass of wrong ones), p
    rising. Consistent with Bayes' rule by construction: all masses sum to 1, those of the right ones to `base_rate`,
    and p = right / (right + wrong) at each level."""

    levels: Annotated[tuple[tuple[Probability, Mass, Mass], ...], Field(min_length=1, max_length=64)]
    base_rate: Probability

    @classmethod
    def of(cls, masses: tuple[tuple[float, float], ...]) -> ScoreModel:
        """From (right, wrong) counts or masses per level, in any scale."""
        total = fsum(right + wrong for right, wrong in masses)
        shares = [(right / total, wrong / total) for right, wrong in masses]
        levels = tuple((right / (right + wrong), right, wrong) for right, wrong in shares)
        return cls(levels=tuple(sorted(levels)), base_rate=fsum(right for _, right, _ in levels))

    @model_validator(mode="after")
    def _adds_up(self) -> ScoreModel:
        if abs(fsum(right + wrong for _, right, wrong in self.levels) - 1) > 1e-9:
            raise ValueError("the masses must sum to 1")
        if abs(fsum(right for _, right, _ in self.levels) - self.base_rate) > 1e-9:
            raise ValueError("the masses of right candidates must sum to the base rate")
        if any(p != right / (right + wrong) for p, right, wrong in self.levels):
            raise ValueError("p must be right / (right + wrong) at each level")
        if any(a[0] > b[0] for a, b in pairwise(self.levels)):
            raise ValueError("p must not fall from level to level")
        return self

    def checked(self, prior: float) -> tuple[tuple[float, float], ...]:
        """What checking a candidate with P(right) = `prior` will show: (probability, posterior) per level. The
        posteriors' mean is the prior: checking by itself changes nothing that is expected."""
        base, found = self.base_rate, []
        for _, right, wrong in self.levels:
            yes, no = prior * right / base, (1 - prior) * wrong / (1 - base)
            found.append((yes + no, yes / (yes + no) if yes + no > 0 else prior))
        return tuple(found)

    def level(self, p: float) -> int:
        """The level whose p is nearest to this calibrated probability."""
        ps = [level[0] for level in self.levels]
        after = bisect_left(ps, p)
        return min({max(0, after - 1), min(after, len(ps) - 1)}, key=lambda i: (abs(ps[i] - p), i))


class Part(_Frozen):
    """One verifier of an ensemble: how its score becomes a probability, and the weight of its log-odds."""

    name: str
    calibrator: Calibrator
    weight: Rising = 1.0

    def evidence(self, score: float | None) -> float:
        """What the score adds to the log-odds of being right; 0 for an unknown one."""
        if score is None or score != score:
            return 0.0
        return self.weight * (logit(self.calibrator(score)) - logit(self.calibrator.base_rate))


class EnsembleModel(_Frozen):
    """Many verifiers' scores as one probability: log-odds add up, each with its weight, so that a missing score is
    no evidence. Weights below 1 are what verifiers that make the same mistakes are worth. `dropped` names those that
    were left out, with the reason. `base_rate` is what holds before any score."""

    method: Literal["stacked", "dawid_skene"]
    parts: tuple[Part, ...]
    bias: Finite
    dropped: dict[str, str] = {}

    def __call__(self, scores: Mapping[str, float | None]) -> float | None:
        """P(right) given scores by name; names that are no part are ignored. None where no part has a score."""
        known = [(part, scores.get(part.name)) for part in self.parts]
        if all(score is None or score != score for _, score in known):
            return None
        return sigmoid(self.bias + fsum(part.evidence(score) for part, score in known))

    @property
    def base_rate(self) -> float:
        return sigmoid(self.bias)
