"""Bounds by betting: how sure it is that one policy is better, or worse, than another (Waudby-Smith & Ramdas 2024,
arXiv 2010.09686: estimating means of bounded random variables by betting).

Whoever bets against a hypothesis that holds has no more than his stake to expect, however he bets and whenever he
looks: a fortune of 1/alpha comes with a chance of at most alpha (Ville 1939).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, inf, log, sqrt

STAKES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 0.9)
CAUTION = 0.5  # of the most that may be bet without ruin
STEPS = 24  # halvings of the interval in which a bound is looked for


def lower_bound(
    values: Sequence[float], alpha: float, low: float = 0.0, high: float = 1.0, *, fixed: bool = True
) -> float:
    """A lower bound of the mean that all `values`, in [low, high], are drawn around: above it with a chance of at most
    `alpha`. Their order may depend on nothing that they say. `fixed`: for this many values and one look (a bank); else
    for any number, looked at as they come, and the bound holds at every look. `low` without values."""
    if not low < high:
        raise ValueError(f"expected low < high, not {low} and {high}")
    unit = [(min(max(x, low), high) - low) / (high - low) for x in values]
    if not unit:
        return low
    stakes, goal = _stakes(unit, alpha, fixed), log(1 / alpha)
    below, above = 0.0, 1.0
    if not _reached(unit, stakes, 1e-12, goal, fixed):
        return low
    for _ in range(STEPS):
        middle = (below + above) / 2
        if _reached(unit, stakes, middle, goal, fixed):
            below = middle
        else:
            above = middle
    return low + min(below, sum(unit) / len(unit)) * (high - low)  # never beyond what was seen


def upper_bound(
    values: Sequence[float], alpha: float, low: float = 0.0, high: float = 1.0, *, fixed: bool = True
) -> float:
    """The same from above."""
    return -lower_bound([-x for x in values], alpha, -high, -low, fixed=fixed)


def _stakes(unit: Sequence[float], alpha: float, fixed: bool) -> list[float]:
    """The predictable plug-in bets: each knows the values before it (equations 24-26 and 15 of the paper)."""
    made, total, squares = [], 0.5, 0.25
    for t, x in enumerate(unit, 1):
        variance = squares / t
        rounds = len(unit) if fixed else t * log(t + 1)
        made.append(sqrt(2 * log(1 / alpha) / (variance * rounds)))
        total += x
        squares += (x - total / (t + 1)) ** 2
    return made


def _reached(unit: Sequence[float], stakes: Sequence[float], mean: float, goal: float, fixed: bool) -> bool:
    """Whether betting that the mean is higher than this made 1/alpha: in the end, or, unless `fixed`, ever."""
    most, fortune = CAUTION / mean, 0.0
    for x, stake in zip(unit, stakes, strict=True):
        fortune += log(1 + min(stake, most) * (x - mean))
        if fortune >= goal and not fixed:
            return True
    return fortune >= goal


@dataclass(slots=True)
class Race:
    """Two streams of outcomes in [0, 1], as they come: is the first one worse? Each outcome of the canary is compared
    with the mean of those of production since the one before (or, where it is ahead, with the next one of production):
    differences whose mean is not below 0 where the canary is not worse. Against that is bet, with a mixture of stakes.

    What is dealt to a side at random is a key (an account, say), and all requests with it follow: so a key is one
    observation, its first outcome (Donner & Klar 2000 on trials randomised by cluster). Were each outcome one, a few
    hard accounts on the canary's side would look like a bad canary. `repeats` counts the outcomes that were left out.

    `evidence` is the fortune: "not worse" is rejected at alpha when it reaches 1/alpha, at any look. `differences` are
    those that were bet on. Assumes that whether and when an outcome becomes known does not depend on what it is."""

    differences: list[float] = field(default_factory=list)
    canaries: int = 0
    productions: int = 0
    peak: float = 1.0
    repeats: int = 0
    _logs: list[float] = field(default_factory=lambda: [0.0] * len(STAKES))
    _ahead: list[float] = field(default_factory=list)  # outcomes of the canary that have none to be compared with
    _block: list[float] = field(default_factory=list)  # those of production since the last of the canary
    _keys: set[str] = field(default_factory=set)

    def add(self, canary: bool, value: float, key: str = "") -> None:
        """Takes in the next outcome, unless its key has had one ("": it stands alone). Raises ValueError for one that
        is not in [0, 1]."""
        if not 0 <= value <= 1:
            raise ValueError(f"expected an outcome from 0 to 1, not {value}")
        if key in self._keys:
            self.repeats += 1
            return
        if key:
            self._keys.add(key)
        if canary:
            self.canaries += 1
            self._ahead.append(value)
        else:
            self.productions += 1
            self._block.append(value)
        if self._ahead and self._block:
            self._bet(self._ahead.pop(0) - sum(self._block) / len(self._block))
            self._block = []

    def _bet(self, difference: float) -> None:
        self.differences.append(difference)
        self._logs = [one + log(1 - stake * difference) for one, stake in zip(self._logs, STAKES, strict=True)]
        self.peak = max(self.peak, self.evidence)

    @property
    def evidence(self) -> float:
        """The fortune of whoever bets that the canary is worse: 1 at the start."""
        most = max(self._logs)
        return inf if most > 700 else exp(most) * sum(exp(one - most) for one in self._logs) / len(STAKES)

    def worse(self, alpha: float) -> bool:
        """Whether it has ever been sure enough."""
        return self.peak >= 1 / alpha

    def gain(self, alpha: float) -> tuple[float, float, float]:
        """The mean difference, canary less production, and bounds of it, each beyond it with a chance of at most
        `alpha`, at every look. (0, -1, 1) before the first."""
        seen = self.differences
        if not seen:
            return 0.0, -1.0, 1.0
        bounds = lower_bound(seen, alpha, -1, 1, fixed=False), upper_bound(seen, alpha, -1, 1, fixed=False)
        return sum(seen) / len(seen), *bounds
