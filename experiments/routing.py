"""Routing between a weak and a strong arm: how much of the strong one's lead is kept at which share of its calls.

Metrics of RouteLLM (Ong et al. 2024, 2406.18665). PGR = (accuracy - weak's) / (strong's - weak's); APGR its mean over
all shares of strong calls (random routing: .5; one that knows both outcomes: above 1); CPT(p) the smallest share with
PGR >= p. All of them in calls and in dollars: a router that sends long questions to the strong arm looks better in
calls than it is. Where scores tie, questions are sent in random order, in expectation.

Intervals resample whole clusters of questions, the numerator and the denominator of PGR together, and all routers on
the same resamples. A threshold belongs to the training folds (`sent`, `sent_for`): the first crossing of a curve that
is measured on the same questions is biased low.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..core.errors import CallerError
from .intervals import RESAMPLES, Interval, _resampled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Bools: TypeAlias = NDArray[np.bool_]

Unit = Literal["calls", "usd"]
GRID = 21  # points of a curve that is reported


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two arms on the same questions, (questions,) each: whether they were `right`, in 0 to 1, and their dollars.
    `clusters`: which questions belong together (None: each is its own). Raises `CallerError`."""

    weak: Floats
    strong: Floats
    weak_usd: Floats
    strong_usd: Floats
    clusters: Any = None

    def __post_init__(self) -> None:
        import numpy as np

        for name in ("weak", "strong", "weak_usd", "strong_usd"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=float))
            if getattr(self, name).shape != self.weak.shape or not np.isfinite(getattr(self, name)).all():
                raise CallerError(f"a pair of arms: {name} must be one finite number a question")
        if self.weak.ndim != 1 or not len(self.weak):
            raise CallerError("a pair of arms needs questions")
        if self.gap.sum() <= 0:
            raise CallerError("the strong arm is not better than the weak one here: PGR has no meaning")
        places = range(len(self.weak)) if self.clusters is None else _numbered(self.clusters)
        object.__setattr__(self, "clusters", np.asarray(places))
        if self.clusters.shape != self.weak.shape:
            raise CallerError("a pair of arms: one cluster a question")

    @property
    def gap(self) -> Floats:
        """The strong arm's lead on each question, (questions,)."""
        return self.strong - self.weak

    def extra(self, by: Unit) -> Floats:
        """What asking the strong arm instead costs, in calls or dollars, (questions,)."""
        import numpy as np

        return np.ones(len(self.weak)) if by == "calls" else self.strong_usd - self.weak_usd


def _numbered(names: Sequence[Hashable]) -> list[int]:
    known: dict[Hashable, int] = {}
    return [known.setdefault(name, len(known)) for name in names]


@dataclass(frozen=True, slots=True)
class Curve:
    """A router's whole curve: PGR at shares of what all strong calls cost beyond all weak ones."""

    shares: tuple[float, ...]
    pgr: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Routed:
    """A router's figures with intervals: `apgr` and `pgr`, that at `share`, in units of `by`; `over`: how much its APGR
    and PGR are above those of other routers, paired."""

    name: str
    by: Unit
    share: float
    apgr: Interval
    pgr: Interval
    over: Mapping[str, tuple[Interval, Interval]]


def _path(pair: Pair, scores: Any, weights: Floats, by: Unit) -> tuple[Floats, Floats]:
    """Shares and PGR, (resamples, points), as questions are sent to the strong arm by falling score. Points are the
    ends of ties, and straight lines between them what a random order does."""
    import numpy as np

    score = np.asarray(scores, dtype=float)
    if score.shape != pair.weak.shape or np.isnan(score).any():
        raise CallerError(f"a router's scores are one number a question, not {score.shape}")
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    drawn = weights[:, order]
    zero = np.zeros((len(weights), 1))
    gained = np.cumsum(drawn * pair.gap[order], axis=1)[:, ends]
    spent = np.cumsum(drawn * pair.extra(by)[order], axis=1)[:, ends]
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample without any lead has no figure
        shares, kept = spent / spent[:, -1:], gained / gained[:, -1:]
    return np.concatenate([zero, shares], axis=1), np.concatenate([zero, kept], axis=1)


def curve(pair: Pair, scores: Any, by: Unit = "calls", points: int = GRID) -> Curve:
    """The curve of a router that sends questions to the strong arm by falling score."""
    import numpy as np

    shares, pgr = _path(pair, scores, np.ones((1, len(pair.weak))), by)
    grid = np.linspace(0, 1, points)
    return Curve(tuple(grid.tolist()), tuple(np.interp(grid, shares[0], pgr[0]).tolist()))


def _figures(pair: Pair, scores: Any, weights: Floats, by: Unit, share: float) -> Floats:
    """(resamples, 2): APGR, and PGR at the share."""
    import numpy as np

    shares, pgr = _path(pair, scores, weights, by)
    area = np.trapezoid(pgr, shares, axis=1)
    at = [np.interp(share, x, y) for x, y in zip(shares, pgr, strict=True)]
    return np.stack([area, np.asarray(at)], axis=1)


def apgr(pair: Pair, scores: Any, by: Unit = "calls") -> float:
    """The area under the curve."""
    import numpy as np

    return float(_figures(pair, scores, np.ones((1, len(pair.weak))), by, 0.5)[0, 0])


def pgr_at(pair: Pair, scores: Any, share: float, by: Unit = "calls") -> float:
    """PGR at a share."""
    import numpy as np

    return float(_figures(pair, scores, np.ones((1, len(pair.weak))), by, share)[0, 1])


def cpt(pair: Pair, scores: Any, target: float, by: Unit = "calls") -> float:
    """The smallest share at which PGR reaches `target`, on these very questions, and so biased low: for an operating
    point use `sent_for`."""
    import numpy as np

    shares, pgr = _path(pair, scores, np.ones((1, len(pair.weak))), by)
    high = int(np.argmax(pgr[0] >= target))
    if not high:
        return 0.0 if target <= 0 else float("nan")
    x, y = shares[0], pgr[0]
    return float(x[high - 1] + (x[high] - x[high - 1]) * (target - y[high - 1]) / (y[high] - y[high - 1]))


def compare(
    pair: Pair,
    routers: Mapping[str, Any],
    *,
    by: Unit = "calls",
    share: float = 0.4,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Routed]:
    """Every router (its score of each question, by name) with 95% intervals, and paired differences between them."""
    import numpy as np

    def figures(weights: Floats) -> dict[str, Floats]:
        return {name: _figures(pair, scores, weights, by, share) for name, scores in routers.items()}

    exact = figures(np.ones((1, len(pair.weak))))
    parts = [figures(weights) for weights in _drawn(pair, resamples, seed)]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in routers}

    def pairs(one: Floats, many: Floats) -> tuple[Interval, Interval]:
        return _interval(one[0, 0], many[:, 0]), _interval(one[0, 1], many[:, 1])

    return [
        Routed(
            name,
            by,
            share,
            *pairs(exact[name], drawn[name]),
            {rest: pairs(exact[name] - exact[rest], drawn[name] - drawn[rest]) for rest in routers if rest != name},
        )
        for name in routers
    ]


def _drawn(pair: Pair, resamples: int, seed: int) -> Any:
    """How often each question was drawn, (some resamples, questions) at a time."""
    for weights in _resampled(int(pair.clusters.max()) + 1, resamples, seed):
        for start in range(0, len(weights), 200):
            yield weights[start : start + 200, pair.clusters]


def _interval(estimate: Any, drawn: Floats) -> Interval:
    import numpy as np

    low, high = np.quantile(drawn[np.isfinite(drawn)], [0.025, 0.975])
    return Interval(float(estimate), float(low), float(high))


# -- operating points ---------------------------------------------------------------------------------------------


def sent(scores: Any, folds: Sequence[int], share: float) -> Bools:
    """Which questions go to the strong arm where each fold's threshold is what sends `share` of the others there."""
    import numpy as np

    score, of = np.asarray(scores, dtype=float), np.asarray(folds)
    found = np.zeros(len(score), dtype=bool)
    for fold in np.unique(of):
        found[of == fold] = score[of == fold] > np.quantile(score[of != fold], 1 - share)
    return found


def sent_for(pair: Pair, scores: Any, folds: Sequence[int], target: float) -> Bools:
    """Which questions go to the strong arm where each fold's threshold is the highest with PGR >= `target` on the
    others; all of them where there is none."""
    import numpy as np

    score, of = np.asarray(scores, dtype=float), np.asarray(folds)
    found = np.zeros(len(score), dtype=bool)
    for fold in np.unique(of):
        rest = of != fold
        order = np.argsort(-score[rest], kind="stable")
        gained = np.cumsum(pair.gap[rest][order]) / pair.gap[rest].sum()
        reached = np.flatnonzero(gained >= target)
        least = score[rest][order][reached[0]] if len(reached) else -np.inf
        found[of == fold] = score[of == fold] >= least
    return found


@dataclass(frozen=True, slots=True)
class Kept:
    """What a way of answering gets: `pgr`, the share of questions on which the strong arm was asked (`calls`), and its
    dollars, checks included, as a share of asking the strong arm alone (`usd`)."""

    pgr: Interval
    calls: Interval
    usd: Interval
    accuracy: Interval


def kept(
    pair: Pair, asked: Any, right: Any = None, usd: Any = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> Kept:
    """The figures of a router or a cascade that asked the strong arm where `asked` (questions,) says. `right` and
    `usd`: what came of each question and what all was paid for it (None: a router, which asks one of the two)."""
    import numpy as np

    on = np.asarray(asked, dtype=float)
    got = pair.weak + on * pair.gap if right is None else np.asarray(right, dtype=float)
    paid = pair.weak_usd + on * pair.extra("usd") if usd is None else np.asarray(usd, dtype=float)

    def figures(weights: Floats) -> Floats:
        total = weights.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            lead = (weights @ (got - pair.weak)) / (weights @ pair.gap)
        return np.stack(
            [lead, weights @ on / total, (weights @ paid) / (weights @ pair.strong_usd), weights @ got / total], axis=1
        )

    exact = figures(np.ones((1, len(on))))[0]
    drawn = np.concatenate([figures(weights) for weights in _drawn(pair, resamples, seed)])
    return Kept(*(_interval(exact[i], drawn[:, i]) for i in range(4)))


# -- baselines ----------------------------------------------------------------------------------------------------


def cross_means(values: Any, topics: Sequence[str], folds: Sequence[int], shrink: float = 20.0) -> Floats:
    """The mean of `values` (questions,) by topic on the other folds, drawn toward the mean of all as by `shrink`
    questions: the domain prior of PGR where values are the gaps."""
    import numpy as np

    value, of, places = np.asarray(values, dtype=float), np.asarray(folds), np.asarray(_numbered(topics))
    found = np.zeros(len(value))
    for fold in np.unique(of):
        rest = of != fold
        mean = value[rest].mean()
        size = np.bincount(places[rest], minlength=places.max() + 1)
        total = np.bincount(places[rest], value[rest], minlength=places.max() + 1)
        found[~rest] = ((total + shrink * mean) / (size + shrink))[places[~rest]]
    return found


def neighbours(seen: Any, values: Any, folds: Sequence[int], k: int = 50) -> Floats:
    """The mean of `values` over the k questions of other folds with the most similar vectors (cosine)."""
    import numpy as np

    table, value, of = np.asarray(seen, dtype=float), np.asarray(values, dtype=float), np.asarray(folds)
    table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    found = np.zeros(len(value))
    for fold in np.unique(of):
        rest, here = np.flatnonzero(of != fold), np.flatnonzero(of == fold)
        near = np.argpartition(-(table[here] @ table[rest].T), min(k, len(rest)) - 1, axis=1)[:, :k]
        found[here] = value[rest][near].mean(axis=1)
    return found


def aiq(points: Sequence[tuple[float, float]], low: float, high: float) -> float:
    """The mean accuracy over costs from `low` to `high` on the non-decreasing concave envelope of (cost, accuracy)
    points (RouterBench, Hu et al. 2024, 2403.12031): 0 left of the cheapest point, level right of the best one. All
    routers that are compared must be given the same range."""
    import numpy as np

    if not points or not low < high:
        raise CallerError("aiq needs points and a range of costs")
    hull: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points):
        if hull and accuracy <= hull[-1][1]:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-2], (cost, accuracy)):
            hull.pop()
        if hull and hull[-1][0] == cost:
            hull.pop()
        hull.append((cost, accuracy))
    costs, accuracies = np.asarray(hull).T
    inside = np.concatenate([[low], costs[(costs > low) & (costs < high)], [high]])
    heights = np.interp(inside, costs, accuracies)
    area = 0.0
    for a, b, u, v in zip(inside, inside[1:], heights, heights[1:], strict=False):
        area += (b - a) * (u + v) / 2 if a >= costs[0] else 0.0
    return float(area / (high - low))


def _slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[1] - one[1]) / max(other[0] - one[0], 1e-300)
