"""Calibration: what a score is worth, measured on labelled candidates and fitted for run time.

Fitting needs numpy and scipy, imported when it runs; what it makes (`budgets.calibrators`) needs neither.
"""

from __future__ import annotations

from .combining import FittedEnsemble, fit_ensemble
from .drifting import fit_drift
from .fitting import Fitted, fit_calibrator
from .measures import (
    Interval,
    Row,
    auc,
    brier,
    expected_calibration_error,
    log_loss,
    rates,
    reliability,
    wilson,
)
from .scoring import score_model
from .selecting import FittedSelected, Winners, fit_selected, fit_winners

__all__ = [
    "Fitted",
    "FittedEnsemble",
    "FittedSelected",
    "Interval",
    "Row",
    "Winners",
    "auc",
    "brier",
    "expected_calibration_error",
    "fit_calibrator",
    "fit_drift",
    "fit_ensemble",
    "fit_selected",
    "fit_winners",
    "log_loss",
    "rates",
    "reliability",
    "score_model",
    "wilson",
]
