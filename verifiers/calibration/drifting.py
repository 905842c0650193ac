"""The reference that drift is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...budgets.drift import Drift
from .data import Labelled
from .families import base_rate
from .measures import bins_of

if TYPE_CHECKING:
    from .data import Floats, Ints

BINS = 10
HALF_LIFE = 150.0  # independent scores
ONCE_IN = 1e-7  # P(a chi-square above the threshold by chance), at one look; there is one at every score


def fit_drift(scores: Any, labels: Any = None, groups: Any = None, bins: int = BINS) -> Drift:
    """The drift detector for (items,) raw scores: bins of equal mass (fewer where scores repeat). `labels` give the
    base rate that probabilities are drawn to (without them 1/2). `groups` are question ids: the more alike the scores
    of one question are, the fewer independent scores a stream holds, and the longer it takes to tell."""
    import numpy as np
    from scipy.stats import chi2  # type: ignore[import-untyped, unused-ignore]

    given = np.asarray(scores, dtype=float)
    data = Labelled.of(given, np.zeros(len(given)) if labels is None else labels, groups)
    base = 0.5 if labels is None else base_rate(data.labels)
    if not len(data):
        return Drift(edges=(), shares=(1.0,), base_rate=base, count=1.0, threshold=1.0)
    values = np.unique(data.scores)
    if len(values) == 1:  # anything else is drift; one in fifty may be
        near = values[0] - 1e-9, values[0] + 1e-9
        at = {"edges": near, "shares": (0.01, 0.98, 0.01)}
        return Drift(**at, base_rate=base, count=float(len(data)), threshold=float(chi2.isf(ONCE_IN, 2)))
    codes = bins_of(data.scores, bins)
    lowest = [data.scores[codes == k].min() for k in range(1, int(codes.max()) + 1)]
    highest = [data.scores[codes == k].max() for k in range(int(codes.max()))]
    shares = np.bincount(codes) / len(data)
    alike, freedom = _design(codes, shares, data)
    return Drift(
        edges=tuple(((a + b) / 2).item() for a, b in zip(highest, lowest, strict=True)),
        shares=tuple(shares.tolist()),
        base_rate=base,
        count=len(data) / alike,
        threshold=float(chi2.isf(ONCE_IN, freedom)),
        clustering=alike,
        half_life=HALF_LIFE * alike,
    )


def _design(codes: Ints, shares: Floats, data: Labelled) -> tuple[float, float]:
    """(design effect, degrees of freedom) with which Pearson's chi-square of clustered scores is nearly one of
    independent ones (Satterthwaite's correction of Rao & Scott 1981, with the clustered covariance of the shares)."""
    import numpy as np

    free = max(1, len(shares) - 1)
    groups = np.unique(data.groups, return_inverse=True)[1]
    clusters = int(groups.max()) + 1
    if clusters < 2 or len(shares) < 2:
        return 1.0, float(free)
    off = (np.eye(len(shares))[codes] - shares) / np.sqrt(shares)
    sums = np.zeros((clusters, len(shares)))
    np.add.at(sums, groups, off)
    covariance = clusters / (clusters - 1) * sums.T @ sums / len(data)
    effects, squares = float(np.trace(covariance)), float((covariance**2).sum())
    return max(1.0, squares / effects), min(float(free), effects * effects / squares)
