"""The distribution of calibrated scores among right and wrong candidates: what a check will probably say."""

from __future__ import annotations

from typing import Any

from ...budgets.calibrators import ScoreModel
from .data import Labelled
from .families import base_rate
from .measures import bins_of

LEVELS = 16


def score_model(p: Any, labels: Any, groups: Any = None, levels: int = LEVELS) -> ScoreModel:
    """A histogram of calibrated `p` in at most `levels` levels of about equal mass, neighbours pooled where their
    rates would fall (PAVA). One item's worth of the base rate is added to every level, so that no level is certain.
    Without items, one level at 1/2. Raises CallerError where the lengths differ."""
    import numpy as np
    from scipy.optimize import isotonic_regression  # type: ignore[import-untyped, unused-ignore]

    data = Labelled.of(p, labels, groups)
    base = base_rate(data.labels)
    if not len(data):
        return ScoreModel.of(((0.5, 0.5),))
    codes = bins_of(data.scores, max(1, levels))
    right = np.bincount(codes, data.labels) + base
    total = np.bincount(codes) + 1.0
    starts = isotonic_regression(right / total, weights=total).blocks[:-1]
    right, total = np.add.reduceat(right, starts), np.add.reduceat(total, starts)
    return ScoreModel.of(tuple(zip(right.tolist(), (total - right).tolist(), strict=True)))
