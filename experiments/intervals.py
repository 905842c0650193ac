"""Intervals: how far a measured figure may be off. Questions are the unit: draws of one question share its
difficulty, so that resampling draws would claim a precision that is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from ..verifiers.calibration.measures import Interval, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Interval", "best", "clustered", "paired", "wilson"]

RESAMPLES = 2000
LEVEL = 0.95
_CHUNK = 1 << 22  # weights held at once


def clustered(
    values: Any,
    *,
    weights: Any = None,
    statistic: Callable[[Floats], Floats] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a mean, whole clusters (questions) drawn with replacement (Field & Welsh 2007).

    `values`: (clusters,) means per cluster, or (clusters, k) for k figures measured on the same clusters. `weights`:
    (clusters,) sizes, where the mean over cluster members is meant instead of that over clusters. `statistic` maps
    (resamples, k) means to (resamples,) figures, so that a choice made in hindsight (the best of k) is made again in
    every resample; needed where k > 1. The estimate is the statistic of the sample itself. NaN without clusters.
    """
    import numpy as np

    table = np.asarray(values, dtype=float)
    table = table.reshape(len(table), -1) if len(table) else table.reshape(0, 1)
    size = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=float)
    if statistic is None and table.shape[1] != 1:
        raise ValueError("several figures need a statistic that makes one of them")
    figure = statistic or (lambda means: means[:, 0])
    if not len(table) or not size.sum():
        return Interval(float("nan"), float("nan"), float("nan"))
    estimate = float(figure((size @ table / size.sum())[None, :])[0])
    if weights is None:
        found = [figure(w @ table / len(table)) for w in _resampled(len(table), resamples, seed)]
    else:
        found = [figure((w * size) @ table / (w @ size)[:, None]) for w in _resampled(len(table), resamples, seed)]
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(found), [tail, 1 - tail])
    return Interval(estimate, float(low), float(high))


def paired(a: Any, b: Any, **settings: Any) -> Interval:
    """The difference a - b of two figures measured on the same clusters, in the same order: (clusters,) each."""
    import numpy as np

    one, other = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if one.shape != other.shape:
        raise ValueError(f"a paired difference needs the same clusters: {one.shape} against {other.shape}")
    return clustered(one - other, **settings)


def best(means: Floats) -> Floats:
    """The statistic of the best of k, chosen in hindsight."""
    highest: Floats = means.max(axis=1)
    return highest


def _resampled(clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each cluster was drawn, (some resamples, clusters) at a time. Figures on the same clusters share
    their resamples, and drawing those is most of the work."""
    if clusters * resamples <= _CHUNK:
        yield _kept(clusters, resamples, seed)
    else:
        yield from _drawn(clusters, resamples, seed)


@lru_cache(maxsize=2)
def _kept(clusters: int, resamples: int, seed: int) -> Floats:
    return next(_drawn(clusters, resamples, seed))


def _drawn(clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    import numpy as np

    dice = np.random.default_rng(seed)
    even = np.full(clusters, 1 / clusters)
    step = max(1, _CHUNK // clusters)
    for start in range(0, resamples, step):
        yield dice.multinomial(clusters, even, size=min(step, resamples - start)).astype(float)
