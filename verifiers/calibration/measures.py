"""How good probabilities are, with intervals. Questions are the unit: whole groups are drawn with replacement (Field
& Welsh 2007), since draws of one question share its difficulty. Levels are 95% unless said otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any

from ...budgets.calibrators import Rates
from .data import Labelled, dice_of, losses_of, mean_error

if TYPE_CHECKING:
    from .data import Floats, Ints

RESAMPLES = 1000
LEVEL = 0.95
_CHUNK = 1 << 21  # weights held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its two-sided bounds; NaN where there is nothing to estimate from."""

    estimate: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return {"estimate": self.estimate, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True, slots=True)
class Row:
    """One bin of a reliability diagram: mean score, share of right items with Wilson's interval, number of items."""

    score: float
    rate: float
    count: int
    low: float
    high: float


def wilson(successes: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) of a proportion of independent trials (Wilson 1927). (0, 1) without trials."""
    from statistics import NormalDist

    if trials <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def by_error(values: Floats, groups: Ints, level: float = LEVEL) -> Interval:
    """A mean with the normal interval of its clustered standard error."""
    from statistics import NormalDist

    mean, error = mean_error(values, groups)
    if not isfinite(error):
        return Interval(mean, float("nan"), float("nan"))
    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    return Interval(mean, mean - half, mean + half)


def log_loss(p: Any, labels: Any, groups: Any = None, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean negative log-likelihood in nats; probabilities are kept 1e-12 away from 0 and 1."""
    data = Labelled.of(p, labels, groups)
    return _mean(losses_of(data.scores, data.labels), data, resamples, seed)


def brier(p: Any, labels: Any, groups: Any = None, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean squared difference of probability and label (Brier 1950)."""
    data = Labelled.of(p, labels, groups)
    return _mean((data.scores - data.labels) ** 2, data, resamples, seed)


def expected_calibration_error(
    p: Any, labels: Any, groups: Any = None, bins: int = 15, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Mean absolute difference of mean probability and rate over bins of equal mass (adaptive: cut at the quantiles of
    p, ties stay together, so that there may be fewer), weighted by their mass. It is biased upward on few items:
    resamples are more so, and so the interval is the basic bootstrap's (reflected), which corrects for that."""
    import numpy as np

    data = Labelled.of(p, labels, groups)
    if not len(data):
        return _NOTHING
    codes = bins_of(data.scores, bins)
    inside = codes[:, None] == np.arange(codes.max() + 1)
    gaps = inside * (data.labels - data.scores)[:, None]

    def ece(weights: Floats) -> Floats:
        found: Floats = np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)
        return found

    estimate, found = _bootstrap(ece, data, resamples, seed)
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(estimate, float(max(0.0, 2 * estimate - high)), float(np.clip(2 * estimate - low, estimate, 1.0)))


def reliability(scores: Any, labels: Any, groups: Any = None, bins: int = 10) -> tuple[Row, ...]:
    """Rows of a reliability diagram, in bins of equal mass as above, from the lowest scores up. The interval is
    Wilson's with the effective number of items where draws of a group are alike (Korn & Graubard 1998)."""
    import numpy as np

    data = Labelled.of(scores, labels, groups)
    if not len(data):
        return ()
    codes = bins_of(data.scores, bins)
    rows = []
    for k in range(int(codes.max()) + 1):
        at = codes == k
        rate, count = float(data.labels[at].mean()), int(at.sum())
        low, high = _proportion(data.labels[at], data.groups[at])
        rows.append(Row(float(np.mean(data.scores[at])), rate, count, low, high))
    return tuple(rows)


def auc(scores: Any, labels: Any, groups: Any = None, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """P(a right item scores above a wrong one), ties counting half (Mann & Whitney 1947). NaN with one label only."""
    import numpy as np

    data = Labelled.of(scores, labels, groups)
    if not 0 < data.labels.sum() < len(data):
        return _NOTHING
    values, codes = np.unique(data.scores, return_inverse=True)
    starts = np.searchsorted(np.sort(codes), np.arange(len(values)))
    order = np.argsort(codes, kind="stable")
    right = data.labels[order]

    def area(weights: Floats) -> Floats:
        w = weights[:, order]
        yes = np.add.reduceat(w * right, starts, axis=1)
        no = np.add.reduceat(w * (1 - right), starts, axis=1)
        below = np.cumsum(no, axis=1) - no / 2
        with np.errstate(invalid="ignore"):
            found: Floats = (yes * below).sum(axis=1) / (yes.sum(axis=1) * no.sum(axis=1))
        return found

    return _percentiles(*_bootstrap(area, data, resamples, seed))


def rates(scores: Any, labels: Any, threshold: float, groups: Any = None) -> Rates:
    """True and false positive rate of saying "right" at scores of `threshold` and above; intervals as in
    `reliability`. A rate without a single candidate to measure it on is 0 in [0, 1]."""
    data = Labelled.of(scores, labels, groups)
    passed, right = (data.scores >= threshold).astype(float), data.labels > 0.5
    found = []
    for at in (right, ~right):
        rate = float(passed[at].mean()) if at.any() else 0.0
        found.append((rate, _proportion(passed[at], data.groups[at])))
    (tpr, of_right), (fpr, of_wrong) = found
    counts = {"right": int(right.sum()), "wrong": int((~right).sum())}
    return Rates(threshold=threshold, tpr=tpr, fpr=fpr, tpr_interval=of_right, fpr_interval=of_wrong, **counts)


def bins_of(scores: Floats, bins: int) -> Ints:
    """The bin of each item, from 0, cut at quantiles so that bins hold about equally many; equal scores share one."""
    import numpy as np

    cuts = np.unique(np.quantile(scores, np.arange(1, bins) / bins, method="inverted_cdf"))
    codes = np.searchsorted(cuts, scores, side="left")
    found: Ints = np.unique(codes, return_inverse=True)[1]
    return found


_NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def _proportion(hits: Floats, groups: Ints) -> tuple[float, float]:
    """Wilson's interval with as many trials as the clustered standard error says there are; all alike (rate 0 or 1):
    as many as groups."""
    rate, error = mean_error(hits, groups)
    clusters = len(set(groups.tolist()))
    if not len(hits) or not 0 < rate < 1 or not isfinite(error):
        trials: float = clusters
    else:
        # never more than there are items, nor fewer than one group's worth
        trials = min(len(hits), max(1.0, rate * (1 - rate) / error**2 if error else len(hits)))
    return wilson((rate if len(hits) else 0.0) * trials, trials)


def _mean(values: Floats, data: Labelled, resamples: int, seed: int) -> Interval:
    if not len(data):
        return _NOTHING
    return _percentiles(*_bootstrap(lambda w: w @ values / w.sum(axis=1), data, resamples, seed))


def _percentiles(estimate: float, found: Floats) -> Interval:
    import numpy as np

    found = found[np.isfinite(found)]  # a resample may hold one label only
    if not len(found):
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(estimate, float(low), float(high))


def _bootstrap(figure: Callable[[Floats], Floats], data: Labelled, resamples: int, seed: int) -> tuple[float, Floats]:
    """The figure of the sample and of each resample. `figure` maps (resamples, items) weights to (resamples,)."""
    import numpy as np

    names, codes = np.unique(data.groups, return_inverse=True)
    dice, even = dice_of(seed, 2), np.full(len(names), 1 / len(names))
    estimate = float(figure(np.ones((1, len(data))))[0])
    step, found = max(1, _CHUNK // max(1, len(data))), []
    for start in range(0, resamples, step):
        drawn = dice.multinomial(len(names), even, size=min(step, resamples - start))
        found.append(figure(drawn[:, codes].astype(float)))
    return estimate, np.concatenate(found)
