"""Metrics of accuracy against spend, with intervals that mean what they say.

All are functions of the same table: which questions each way of answering got right, and what it spent on each. Whole
clusters of questions are drawn with replacement, all ways of answering on the same resamples; numerators and
denominators are resampled together, and what is chosen in hindsight (the best arm, the points of an envelope) is chosen
again in every resample. A mix of two ways, question by question at random, gets any point between them, and leaving
questions unanswered costs nothing: envelopes are concave, never fall, and begin at (0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ..core.errors import CallerError
from .intervals import RESAMPLES, Interval, _resampled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Ways of answering, by `names`, on the same questions: `right` (questions, ways) in 0 to 1 and `usd` (questions,
    ways) in dollars (or tokens, or calls: whatever is spent). `clusters`: which questions belong together (None: each
    is its own). `folds`: of each question, for choices that must not see what they are judged on. Raises
    `CallerError`."""

    names: tuple[str, ...]
    right: Any
    usd: Any
    clusters: Any = None
    folds: Any = None

    def __post_init__(self) -> None:
        import numpy as np

        for name in ("right", "usd"):
            table = np.asarray(getattr(self, name), dtype=float)
            object.__setattr__(self, name, table)
            if table.ndim != 2 or table.shape[1] != len(self.names) or not len(table) or not np.isfinite(table).all():
                raise CallerError(f"points: {name} must be one finite number for each question and way of answering")
        if len(set(self.names)) < len(self.names) or self.right.shape != self.usd.shape:
            raise CallerError("points: expected different names, and as many rows of `right` as of `usd`")
        if (self.usd < 0).any():
            raise CallerError("points: spend cannot be negative")
        places: dict[Any, int] = {}
        raw = range(len(self.right)) if self.clusters is None else list(self.clusters)
        numbers = np.array([places.setdefault(one, len(places)) for one in raw])
        object.__setattr__(self, "clusters", numbers)
        if self.folds is not None:
            object.__setattr__(self, "folds", np.asarray(self.folds))
        if len(numbers) != len(self.right) or (self.folds is not None and len(self.folds) != len(self.right)):
            raise CallerError("points: one cluster and one fold for each question")

    def places(self, names: Sequence[str]) -> list[int]:
        """The columns of these ways. Raises `CallerError` for a name that is not among them."""
        for name in names:
            if name not in self.names:
                raise CallerError(f"no way of answering is called {name!r}: {', '.join(self.names)}")
        return [self.names.index(name) for name in names]

    def means(self, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Floats, Floats]:
        """(1 + resamples, ways) twice: accuracy and spend, of the sample itself first."""
        import numpy as np

        count = int(self.clusters.max()) + 1
        sums = np.zeros((count, 2 * len(self.names) + 1))
        np.add.at(sums, self.clusters, np.hstack([self.right, self.usd, np.ones((len(self.right), 1))]))
        drawn = [sums.sum(axis=0)[None, :], *(weights @ sums for weights in _resampled(count, resamples, seed))]
        table = np.concatenate(drawn)
        table = table[:, :-1] / table[:, -1:]
        return table[:, : len(self.names)], table[:, len(self.names) :]


def interval(values: Any, level: float = 0.95) -> Interval:
    """The percentile interval of (1 + resamples,) figures, the sample's own first. Figures may be infinite (a cost that
    is never enough); undefined ones (NaN, 0 / 0) count as the worst at either end, not as if they had not been drawn.
    """
    import numpy as np

    drawn, tail = np.asarray(values[1:], dtype=float), (1 - level) / 2
    low = np.quantile(np.where(np.isnan(drawn), -np.inf, drawn), tail, method="lower")
    high = np.quantile(np.where(np.isnan(drawn), np.inf, drawn), 1 - tail, method="higher")
    return Interval(float(values[0]), float(low), float(high))


# -- the frontier -------------------------------------------------------------------------------------------------


def frontier(points: Points) -> tuple[str, ...]:
    """The ways that no other one beats (at least as right, for no more, and better in one of both), cheap first."""
    accuracy, spend = points.right.mean(axis=0), points.usd.mean(axis=0)
    return tuple(points.names[i] for i in _undominated(accuracy, spend))


def held_out_frontier(points: Points) -> dict[str, float]:
    """How often each way is on the frontier when that is drawn on the other folds: share of folds, for all ways that
    ever are. A point that is there by luck comes and goes. Raises `CallerError` without two folds."""
    found: dict[str, float] = {}
    folds = _folds(points)
    for fold in folds:
        rest = points.folds != fold
        for i in _undominated(points.right[rest].mean(axis=0), points.usd[rest].mean(axis=0)):
            found[points.names[i]] = found.get(points.names[i], 0.0) + 1 / len(folds)
    return found


def _undominated(accuracy: Floats, spend: Floats) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(spend)), key=lambda i: (spend[i], -accuracy[i])):
        if not kept or accuracy[i] > accuracy[kept[-1]]:
            kept.append(i)
    return kept


def envelope(accuracy: Any, spend: Any, at: Any) -> Floats:
    """The height of the non-decreasing concave envelope of points (rows, ways), with (0, 0), at spends (rows, places).
    Rows are resamples: each has an envelope of its own."""
    import numpy as np

    y = np.concatenate([np.zeros((len(accuracy), 1)), accuracy], axis=1)
    x = np.concatenate([np.zeros((len(spend), 1)), spend], axis=1)
    found = np.zeros(np.shape(at))
    for i in range(x.shape[1]):
        reached = x[:, i, None] <= at
        found = np.maximum(found, np.where(reached, y[:, i, None], 0.0))
        for j in range(x.shape[1]):
            run = (x[:, j] - x[:, i])[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                share = (at - x[:, i, None]) / run
                mixed = y[:, i, None] + share * (y[:, j] - y[:, i])[:, None]
            found = np.where(reached & (at < x[:, j, None]), np.fmax(found, mixed), found)
    return found


def needed(accuracy: Any, spend: Any, target: Any) -> Floats:
    """(rows,): the least spend at which the envelope of (rows, ways) is as high as `target` (rows,); infinite where it
    never is."""
    import numpy as np

    y = np.concatenate([np.zeros((len(accuracy), 1)), accuracy], axis=1)
    x = np.concatenate([np.zeros((len(spend), 1)), spend], axis=1)
    found = np.full(len(y), np.inf)
    for i in range(y.shape[1]):
        found = np.minimum(found, np.where(y[:, i] >= target, x[:, i], np.inf))
        for j in range(y.shape[1]):
            with np.errstate(divide="ignore", invalid="ignore"):
                mixed = x[:, i] + (target - y[:, i]) / (y[:, j] - y[:, i]) * (x[:, j] - x[:, i])
            found = np.where((y[:, i] < target) & (target <= y[:, j]), np.fmin(found, mixed), found)
    return found


# -- figures ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Matched:
    """A way beside a baseline's envelope. `accuracy`: what the baseline has at the way's spend; `lead` how much the way
    is above that. `spend`: what the baseline needs for the way's accuracy (infinite: it never gets there); `share` the
    way's spend as a share of that (below 1: cheaper)."""

    accuracy: Interval
    lead: Interval
    spend: Interval
    share: Interval


def matched(points: Points, way: str, baseline: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> Matched:
    """Accuracy at matched cost and cost at matched accuracy, of `way` against the concave envelope of `baseline`, whose
    points are weighed anew in every resample."""
    import numpy as np

    (own,), others = points.places([way]), points.places(baseline)
    right, usd = points.means(resamples, seed)
    theirs = envelope(right[:, others], usd[:, others], usd[:, own, None])[:, 0]
    cost = needed(right[:, others], usd[:, others], right[:, own])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(np.isinf(cost), 0.0, usd[:, own] / cost)
    return Matched(interval(theirs), interval(right[:, own] - theirs), interval(cost), interval(share))


@dataclass(frozen=True, slots=True)
class Area:
    """AIQ over spends from `low` to `high`: `aiq`, the area under the envelope divided by high - low (the paper), and
    `by_high`, the same area divided by high (the paper's code): the two rank alike, and only the first is a mean
    accuracy."""

    low: float
    high: float
    aiq: Interval
    by_high: Interval


def aiq(
    points: Points, ways: Sequence[str], low: float, high: float, *, resamples: int = RESAMPLES, seed: int = 0
) -> Area:
    """Average improvement in quality (RouterBench, Hu et al. 2024, 2403.12031): the mean height of the non-decreasing
    concave envelope of some ways over a range of spend. All that are compared must be given the same range; left of the
    cheapest way the envelope is the line from (0, 0). Raises `CallerError` for an empty range."""
    columns = points.places(ways)
    if not 0 <= low < high or not columns:
        raise CallerError(f"AIQ needs ways of answering and a range of spend, not {low} to {high}")
    right, usd = points.means(resamples, seed)
    found = _area(right[:, columns], usd[:, columns], low, high)
    return Area(low, high, interval(found / (high - low)), interval(found / high))


def _area(right: Floats, usd: Floats, low: float, high: float) -> Floats:
    """(rows,): the exact area, since an envelope bends only where a point is."""
    import numpy as np

    ends = np.tile([low, high], (len(usd), 1))
    grid = np.sort(np.concatenate([ends, np.clip(usd, low, high)], axis=1), axis=1)
    found: Floats = np.trapezoid(envelope(right, usd, grid), grid, axis=1)
    return found


@dataclass(frozen=True, slots=True)
class HeldOut:
    """AIQ on questions that had no say in the vertices, and how much more than it should the mixes spent on them, as a
    share (0.02: 2% too much, so that the AIQ is a little too good)."""

    aiq: Interval
    overspend: Interval


def held_out_aiq(
    points: Points,
    ways: Sequence[str],
    low: float,
    high: float,
    *,
    places: int = 33,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> HeldOut:
    """AIQ with the vertices of the envelope chosen on the other folds: at each of `places` spends, the mix of two ways
    that is best there on the training folds is what the held-out questions get. The choices stand still while questions
    are resampled. Raises `CallerError` without two folds, or for an empty range."""
    import numpy as np

    if not 0 <= low < high:
        raise CallerError(f"AIQ needs a range of spend, not {low} to {high}")
    columns, grid = points.places(ways), np.linspace(low, high, places)
    ends = np.array([0.5, *[1.0] * (places - 2), 0.5]) / (places - 1)  # the trapezoid rule's weights
    got, paid = (np.zeros((len(points.right), 1)) for _ in range(2))
    for fold in _folds(points):
        rest, here = points.folds != fold, points.folds == fold
        means = points.right[rest][:, columns].mean(axis=0), points.usd[rest][:, columns].mean(axis=0)
        mix = np.array([_mix(*means, spend) for spend in grid]).T @ ends  # of the ways, over the whole range
        got[here, 0], paid[here, 0] = points.right[here][:, columns] @ mix, points.usd[here][:, columns] @ mix
    right, usd = Points(("mix",), got, paid, points.clusters).means(resamples, seed)
    return HeldOut(interval(right[:, 0]), interval(usd[:, 0] / (grid @ ends) - 1))


def _mix(accuracy: Floats, spend: Floats, at: float) -> Floats:
    """The weights of the ways (the rest: unanswered) that are on the envelope at this spend."""
    import numpy as np

    y, x = np.append(accuracy, 0.0), np.append(spend, 0.0)
    best, weights = -1.0, np.zeros(len(y))
    for i in np.flatnonzero(x <= at):
        for j in (i, *np.flatnonzero(x > at)):
            share = (at - x[i]) / (x[j] - x[i]) if j != i else 0.0
            height = (1 - share) * y[i] + share * y[j]
            if height > best:
                best, weights = height, np.zeros(len(y))
                weights[j] = share
                weights[i] = 1 - share
    return weights[:-1]


def gap_closed(
    points: Points, way: str, bases: Sequence[str], oracle: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The share of the way from the best of `bases` (chosen again in every resample) to `oracle` that `way` goes:
    (accuracy - base) / (oracle - base). NaN where there is no gap."""
    import numpy as np

    (own, top), others = points.places([way, oracle]), points.places(bases)
    right, _ = points.means(resamples, seed)
    base = right[:, others].max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = right[:, top] - base
        return interval(np.where(gap > 0, (right[:, own] - base) / gap, np.nan))


def _folds(points: Points) -> list[Any]:
    import numpy as np

    found = [] if points.folds is None else np.unique(points.folds).tolist()
    if len(found) < 2:
        raise CallerError("choices on other folds need questions in two folds or more")
    return found
