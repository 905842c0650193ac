"""Evidence that one policy is better than another: exact bounds on figures that are paired by question.

Each question is one observation, whatever a policy drew for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import ceil, isfinite, log
from typing import TYPE_CHECKING, Any

from ..budgets.registry.betting import lower_bound, upper_bound
from ..core.errors import CallerError

if TYPE_CHECKING:
    from .report import Each

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Bound:
    """A mean difference per question, candidate less production, and one-sided bounds, each beyond the truth with a
    chance of at most alpha. `method` is "mcnemar" (for net utility: beside a bet on the dollars) or "betting"."""

    estimate: float
    low: float
    high: float
    method: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured of a candidate beside production. `accuracy` in shares of questions, `net` in dollars of net
    utility per question at this `worth`, `saved` dollars of spend less per question (None: dollars are not known).
    `only_candidate`, `only_production`: questions that one alone has right (None: shares of several runs each), and
    `p_value` of McNemar's exact one-sided test on them. `missed`: questions that could not be replayed with both.
    `held_out`: False where the candidate was fitted on any of these questions, or may have been. `needed`: about how
    many questions it would take to show an improvement of this size (None: what was seen is none)."""

    candidate: str
    production: str
    source: str
    questions: int
    alpha: float
    accuracy: Bound
    net: Bound | None = None
    saved: Bound | None = None
    worth: float | None = None
    only_candidate: int | None = None
    only_production: int | None = None
    p_value: float | None = None
    missed: int = 0
    held_out: bool = True
    needed: int | None = None
    margin: float | None = None

    @property
    def gain(self) -> Bound:
        """What is to be above 0: net utility, else accuracy."""
        return self.net or self.accuracy

    @property
    def worse(self) -> bool:
        """Whether it is clearly worse."""
        return self.gain.high < 0

    @property
    def better(self) -> bool:
        """Whether it is shown to be better, or, within the margin, as good and cheaper."""
        cheaper = self.saved is not None and self.saved.low > 0
        as_good = self.margin is not None and self.accuracy.low > -self.margin and cheaper
        return self.gain.low > 0 or as_good

    @property
    def said(self) -> str:
        """In words, with the figures."""
        a, n, s = self.accuracy, self.net, self.saved
        level = f"{1 - self.alpha:.0%}"
        parts = [f"accuracy {a.estimate:+.2%} (at least {a.low:+.2%}, at most {a.high:+.2%}; {a.method})"]
        if n is not None:
            parts.append(f"net utility {_usd(n.estimate)} a question (at least {_usd(n.low)}, at most {_usd(n.high)})")
        if s is not None:
            parts.append(f"spend {_usd(-s.estimate)} (at most {_usd(-s.low)})")
        if self.p_value is not None:
            alone = f"right alone on {self.only_candidate} questions against {self.only_production}"
            parts.append(f"{alone}: p = {self.p_value:.3g} (McNemar, exact, one-sided)")
        return f"{self.questions} questions of {self.source}, each bound at {level}: " + "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {**asdict(self), "better": self.better, "worse": self.worse}


def _usd(dollars: float) -> str:
    return f"{'-' if dollars < 0 else '+'}${abs(dollars):.3g}"


def paired_evidence(
    candidate: Mapping[str, Each],
    production: Mapping[str, Each],
    *,
    worth: float | None = None,
    wrong: float = 0.0,
    alpha: float = ALPHA,
    margin: float | None = None,
    source: str = "a bank",
    names: tuple[str, str] = ("candidate", "production"),
    priced: bool = True,
    most: float | None = None,
) -> Evidence:
    """Evidence from two rows' `each`, paired by question. `worth`, `wrong`: dollars of a right and of a wrong answer.
    `priced`: dollars spent are known. `most`: dollars that a question can cost at most with either, known beforehand (a
    cap); from what was seen no bound of dollars follows, as the dearest question may be yet to come. None: nothing is
    claimed of dollars. Raises `CallerError` without a question in common, for settings that make no sense, and for a
    worth without `most`."""
    if not 0 < alpha < 1 or (margin is not None and not 0 <= margin < 1):
        raise CallerError(f"alpha={alpha}, margin={margin}: expected 0 < alpha < 1 and 0 <= margin < 1")
    if worth is not None and not (worth > 0 and isfinite(worth)):
        raise CallerError(f"worth={worth}: expected dollars above 0")
    if priced and worth is not None and most is None:
        raise CallerError("net utility is bounded by what a question can cost at most: give most=, the cap in dollars")
    both = sorted((q for q in candidate if q in production), key=lambda q: sha256(q.encode()).digest())
    if not both:
        raise CallerError("no question was answered by both policies: nothing can be compared")
    pairs = [(candidate[q], production[q]) for q in both]
    right = [a.right - b.right for a, b in pairs]
    accuracy, (gained, lost, p_value) = _accuracy([(a.right, b.right) for a, b in pairs], alpha)
    net = saved = None
    seen = right
    if priced and most is not None:
        if (dearest := max(each.usd for pair in pairs for each in pair)) > most * (1 + 1e-9):
            raise CallerError(f"a question cost ${dearest:.3g}, more than the most that one can cost: ${most:.3g}")
        saved = _bet([b.usd - a.usd for a, b in pairs], most, alpha)
        if worth is not None:
            seen = [_net(a, worth, wrong) - _net(b, worth, wrong) for a, b in pairs]
            if p_value is not None and not wrong:
                net = _added(sum(seen) / len(seen), right, [b.usd - a.usd for a, b in pairs], worth, most, alpha)
            else:
                net = _bet(seen, worth + wrong + most, alpha)
    return Evidence(
        *names,
        source,
        len(both),
        alpha,
        accuracy,
        net,
        saved,
        worth,
        gained,
        lost,
        p_value,
        missed=len(set(candidate) | set(production)) - len(both),
        needed=needed_of(seen, alpha),
        margin=margin,
    )


def _net(each: Each, worth: float, wrong: float) -> float:
    return each.right * worth - max(0.0, each.answered - each.right) * wrong - each.usd


def _added(
    estimate: float, right: Sequence[float], saved: Sequence[float], worth: float, most: float, alpha: float
) -> Bound:
    """Net utility as right answers at their worth, less dollars: each part's bound at its part of alpha, nine tenths to
    right answers. Tighter than one bet on the sum, as it uses that an answer is right or wrong."""
    gained, lost, part = right.count(1.0), right.count(-1.0), 0.9 * alpha
    money = _bet(saved, most, 0.1 * alpha)
    low = worth * mcnemar_bound(gained, lost, len(right), part) + money.low
    high = -worth * mcnemar_bound(lost, gained, len(right), part) + money.high
    return Bound(estimate, low, high, "mcnemar")


def _bet(values: Sequence[float], most: float, alpha: float) -> Bound:
    """Of values in [-most, most], by betting."""
    estimate = sum(values) / len(values)
    if most <= 0:
        return Bound(estimate, 0.0, 0.0, "betting")
    low, high = lower_bound(values, alpha, -most, most), upper_bound(values, alpha, -most, most)
    return Bound(estimate, low, high, "betting")


def _accuracy(
    pairs: Sequence[tuple[float, float]], alpha: float
) -> tuple[Bound, tuple[int | None, int | None, float | None]]:
    """McNemar's exact test and bound where each question is right or wrong; else a betting bound."""
    values = [a - b for a, b in pairs]
    if any(x not in (0.0, 1.0) for pair in pairs for x in pair):
        return _bet(values, 1.0, alpha), (None, None, None)
    gained, lost = values.count(1.0), values.count(-1.0)
    low = mcnemar_bound(gained, lost, len(values), alpha)
    high = -mcnemar_bound(lost, gained, len(values), alpha)
    from scipy.stats import binom

    p = float(binom.sf(gained - 1, gained + lost, 0.5)) if gained + lost else 1.0
    return Bound((gained - lost) / len(values), low, high, "mcnemar"), (gained, lost, p)


def mcnemar_bound(gained: int, lost: int, n: int, alpha: float) -> float:
    """A lower bound of the difference of two shares measured on the same n questions, of which one alone has `gained`
    right and the other alone `lost` (McNemar 1947; each part by Clopper & Pearson 1934).

    The difference is (2 t - 1) d: d is the share of questions on which they differ, t the first one's part of them. Of
    alpha, nine tenths go to t, whose sign decides, and the rest to d."""
    from scipy.stats import beta

    differ = gained + lost
    if not differ:
        return -float(beta.ppf(1 - alpha, 1, n)) if n else -1.0
    t = float(beta.ppf(0.9 * alpha, gained, lost + 1)) if gained else 0.0
    if t >= 0.5:
        share = float(beta.ppf(0.1 * alpha, differ, n - differ + 1))
    else:
        share = float(beta.ppf(1 - 0.1 * alpha, differ + 1, n - differ)) if differ < n else 1.0
    return (2 * t - 1) * share


def needed_of(values: Sequence[float], alpha: float) -> int | None:
    """About how many questions a bound takes to be above 0 with these values' mean and spread."""
    mean = sum(values) / len(values)
    if mean <= 0:
        return None
    spread = sum((x - mean) ** 2 for x in values) / len(values)
    return max(1, ceil(2 * log(1 / alpha) * spread / mean**2))
