"""Drift: scores that no longer come from where the calibration was fitted.

`Drift` is the frozen reference in a policy; `Watch` is the mutable detector that one process feeds with raw scores.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from math import fsum
from threading import Lock
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

TOTAL = 1.0  # Cohen's w squared of total drift: what a shift of normal scores by 0.8 standard deviations comes to
EARLIEST = 30  # independent scores' worth, before which nothing is said
_LARGE = 1e100  # weights grow instead of all counts shrinking; rescaled here
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Drift(BaseModel):
    """Raw scores in fitting, in bins of about equal mass, and when to worry.

    Bin i lies between `edges[i - 1]` (included) and `edges[i]`; `shares` are the bins' expected masses. `count` is the
    effective number of scores they were measured on; `clustering` (a design effect, Kish 1965) how many scores of the
    stream are worth one independent score, since those of one question resemble each other. `half_life` in scores:
    how fast the detector forgets. It speaks where Pearson's chi-square of the recent scores, corrected for both (Rao &
    Scott 1981), is above `threshold`, which is set high enough to be looked at after every score.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    edges: tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
    shares: Annotated[tuple[Share, ...], Field(min_length=1, max_length=64)]
    base_rate: Annotated[float, Field(gt=0, lt=1)]
    count: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    clustering: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    half_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 150.0

    @model_validator(mode="after")
    def _fits(self) -> Drift:
        if len(self.shares) != len(self.edges) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError("edges must rise, and be one fewer than shares")
        if abs(fsum(self.shares) - 1) > 1e-6:
            raise ValueError("shares must sum to 1")
        return self

    def watch(self) -> Watch:
        """A new detector that has seen nothing."""
        return Watch(self)


@dataclass(slots=True)
class Watch:
    """Feeds on raw scores and says how far they have drifted. Memory is one number per bin. Safe to share between
    threads; the same scores in the same order say the same."""

    drift: Drift
    seen: int = 0
    _masses: list[float] = field(default_factory=list, repr=False)
    _weight: float = field(default=1.0, repr=False)
    _squares: float = field(default=0.0, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._masses = [0.0] * len(self.drift.shares)

    def feed(self, score: float | None) -> None:
        """Takes one raw score in. An unknown one (None, NaN) is not counted."""
        if score is None or score != score:
            return
        with self._lock:
            self.seen += 1
            self._weight *= 2 ** (1 / self.drift.half_life)
            if self._weight > _LARGE:
                self._masses = [mass / _LARGE for mass in self._masses]
                self._squares, self._weight = self._squares / _LARGE / _LARGE, self._weight / _LARGE
            self._masses[bisect_right(self.drift.edges, score)] += self._weight
            self._squares += self._weight * self._weight

    @property
    def widen(self) -> float:
        """From 0 (no drift shown) to 1 (nothing is left of the calibration)."""
        with self._lock:
            masses, squares = list(self._masses), self._squares
        total, drift = fsum(masses), self.drift
        if not squares:
            return 0.0
        recent = total / squares * total / drift.clustering  # worth so many independent scores
        if recent < EARLIEST:
            return 0.0
        worth = 1 / (1 / recent + 1 / drift.count)
        effect = fsum((m / total - share) ** 2 / share for m, share in zip(masses, drift.shares, strict=True))
        if effect * worth <= drift.threshold:
            return 0.0
        chance = (len(drift.shares) - 1) / worth  # what chance alone makes of it
        return min(1.0, max(0.0, effect - chance) / TOTAL)

    def __call__(self, p: float) -> float:
        """A calibrated probability, drawn toward the base rate as far as the scores have drifted."""
        widen = self.widen
        return p if not widen else (1 - widen) * p + widen * self.drift.base_rate

    @property
    def note(self) -> str:
        """What to tell people; empty while there is nothing to tell."""
        widen = self.widen
        if not widen:
            return ""
        return (
            f"the last scores differ from those that the calibration was fitted on (drift {widen:.0%}): probabilities "
            f"are drawn toward the base rate of {self.drift.base_rate:.2f}; fit it again on recent data"
        )
