"""The families of calibrators, each fitted by maximum likelihood. Simplest first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from ...budgets.calibrators import SURE, Beta, Constant, Identity, Isotonic, Platt

if TYPE_CHECKING:
    from .data import Floats

Family: TypeAlias = "Callable[[Floats, Floats], Constant | Identity | Platt | Beta | Isotonic]"


def base_rate(labels: Floats) -> float:
    """The share of right items, smoothed (Laplace)."""
    return min(max(float((labels.sum() + 1) / (len(labels) + 2)), SURE), 1 - SURE)


def constant(scores: Floats, labels: Floats) -> Constant:
    return Constant(base_rate=base_rate(labels))


def identity(scores: Floats, labels: Floats) -> Identity:
    return Identity(base_rate=base_rate(labels))


def platt(scores: Floats, labels: Floats) -> Platt:
    """Sigmoid in the score, with Platt's smoothed targets."""
    import numpy as np

    slope, offset = logistic(np.column_stack([scores, np.ones_like(scores)]), smoothed(labels), lowest=(0.0, None))
    return Platt(slope=slope, offset=offset, base_rate=base_rate(labels))


def beta(scores: Floats, labels: Floats) -> Beta:
    """Beta calibration: a, b >= 0, so that it rises."""
    import numpy as np

    s = np.clip(scores, 1e-6, 1 - 1e-6)
    features = np.column_stack([np.log(s), -np.log1p(-s), np.ones_like(s)])
    a, b, c = logistic(features, smoothed(labels), lowest=(0.0, 0.0, None), start=(1.0, 1.0, 0.0))
    return Beta(a=a, b=b, c=c, base_rate=base_rate(labels))


def isotonic(scores: Floats, labels: Floats) -> Isotonic:
    """Blocks by PAVA; each block's rate is drawn toward the base rate by two items' worth (so that 0 and 1 are never
    said), and the smoothed rates are pooled again where that made them fall."""
    import numpy as np
    from scipy.optimize import isotonic_regression  # type: ignore[import-untyped, unused-ignore]

    base = base_rate(labels)
    values, codes = np.unique(scores, return_inverse=True)
    count, right = np.bincount(codes).astype(float), np.bincount(codes, labels).astype(float)
    blocks = _blocks(isotonic_regression(right / count, weights=count).blocks, count, right, values * count)
    rate = (blocks[1] + 2 * base) / (blocks[0] + 2)
    again = isotonic_regression(rate, weights=blocks[0])
    count, right, sums = _blocks(again.blocks, *blocks)
    where = np.clip(sums / count, 0.0, 1.0)
    heights = np.clip(again.x[again.blocks[:-1]], SURE, 1 - SURE)
    heights = np.maximum.accumulate(heights)
    rising = np.r_[True, np.diff(where) > 0]  # rounding may bring two blocks' means together
    return Isotonic(scores=tuple(where[rising].tolist()), rates=tuple(heights[rising].tolist()), base_rate=base)


def _blocks(starts: Any, *sums: Floats) -> tuple[Floats, ...]:
    import numpy as np

    return tuple(np.add.reduceat(column, starts[:-1]) for column in sums)


FAMILIES: dict[str, Family] = {
    "constant": constant,
    "identity": identity,
    "platt": platt,
    "beta": beta,
    "isotonic": isotonic,
}


def smoothed(labels: Floats) -> Floats:
    """Platt's targets: not 1 and 0, but what a uniform prior makes of so many right and wrong items."""
    import numpy as np

    right, wrong = labels.sum(), len(labels) - labels.sum()
    found: Floats = np.where(labels > 0.5, (right + 1) / (right + 2), 1 / (wrong + 2))
    return found


def logistic(
    features: Floats,
    targets: Floats,
    *,
    lowest: tuple[float | None, ...],
    start: tuple[float, ...] | None = None,
    ridge: Floats | None = None,
    toward: Floats | None = None,
    weights: Floats | None = None,
) -> tuple[float, ...]:
    """Coefficients of a logistic regression of `targets` in [0, 1] on `features` (items, k), each at least its
    `lowest` (None: free), by SLSQP. Minimises the mean log loss plus `ridge` (k,) times half the squared distance
    from `toward` (k,; None: from 0)."""
    import numpy as np
    from scipy.optimize import minimize  # type: ignore[import-untyped, unused-ignore]

    k = features.shape[1]
    w = np.full(len(features), 1 / len(features)) if weights is None else weights / weights.sum()
    pull = np.zeros(k) if ridge is None else ridge
    home = np.zeros(k) if toward is None else toward

    def loss(x: Floats) -> tuple[float, Floats]:
        z = features @ x
        gap = x - home
        value = w @ (np.logaddexp(0.0, z) - targets * z) + 0.5 * float(pull @ (gap * gap))
        p = 0.5 * (1 + np.tanh(0.5 * z))
        return float(value), (w * (p - targets)) @ features + pull * gap

    first = np.zeros(k) if start is None else np.asarray(start, dtype=float)
    bounds = [(low, None) for low in lowest]
    # Not L-BFGS-B: with a threaded BLAS it takes a hundred times as long on a busy machine.
    found = minimize(loss, first, jac=True, method="SLSQP", bounds=bounds, options={"ftol": 1e-10, "maxiter": 300})
    if not found.success or not np.isfinite(found.x).all():
        found = minimize(loss, first, jac=True, method="TNC", bounds=bounds, options={"maxfun": 2000})
    floor = [-np.inf if low is None else low for low in lowest]
    return tuple(np.maximum(found.x, floor).tolist())


def apply(calibrator: Callable[[float], float], scores: Floats) -> Floats:
    """The run-time map over an array; equal scores are mapped once."""
    import numpy as np

    values, codes = np.unique(scores, return_inverse=True)
    found: Floats = np.array([calibrator(v) for v in values.tolist()], dtype=float)[codes]
    return found
