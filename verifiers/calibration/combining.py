"""Fit an ensemble: many weak verifiers into one probability, with labels or without (Weaver: Saad-Falcon et al. 2025,
arXiv 2506.18203)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...budgets.calibrators import EnsembleModel
from ...core.errors import CallerError
from .data import group_codes, numbers
from .skene import fit_dawid_skene
from .stacking import fit_stacked

MOST = 64  # verifiers


@dataclass(frozen=True)
class FittedEnsemble:
    """A fitted ensemble. `losses`: mean log losses on held-out groups (nats) of the ensemble, of its verifiers one by
    one, of naive Bayes over all of them and of the base rate; empty without labels, as is `held_out`: cross-fitted
    probabilities in the order of the items. `rates`: per kept verifier its estimated (true, false) positive rate,
    where it was learnt without labels. `model.dropped` says which verifiers were left out, and why."""

    model: EnsembleModel
    losses: dict[str, float] = field(default_factory=dict)
    held_out: tuple[float, ...] = ()
    rates: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def fit_ensemble(
    scores: Any,
    labels: Any = None,
    groups: Any = None,
    names: Sequence[str] | None = None,
    base_rate: float | None = None,
    seed: int = 0,
) -> FittedEnsemble:
    """An ensemble from raw (items, verifiers) `scores` in [0, 1], NaN where one is missing. `names` of the verifiers
    (None: "0", "1", ...) are those by which `verifiers.Ensemble` finds them. `groups`: question ids.

    With `labels` (true: right): each score is calibrated, and a logistic regression with non-negative weights on their
    log-odds learns what agreement between dependent verifiers is worth; verifiers that do not help on held-out groups
    are dropped. Without: Dawid & Skene (1979) by EM on thresholded scores; `base_rate` is the share of right
    candidates where it is known. That assumes that most verifiers are better than chance and that errors
    are independent; verifiers that visibly repeat another one are dropped.

    Raises CallerError for shapes that do not match, names that repeat, a base rate outside (0, 1), and fewer than
    three verifiers without labels, whose error rates nothing can tell.
    """
    import numpy as np

    table = numbers(scores, "scores")
    if table.ndim != 2 or not 1 <= table.shape[1] <= MOST:
        raise CallerError(f"scores must be (items, verifiers) with 1 to {MOST} verifiers, not {table.shape}")
    items, count = table.shape
    called = tuple(map(str, range(count))) if names is None else tuple(names)
    if len(called) != count or len(set(called)) != count:
        raise CallerError(f"names must be {count} different ones, one per verifier, not {list(called)}")
    if groups is not None and len(groups) != items:
        raise CallerError(f"groups must be as many as items: {len(groups)} against {items}")
    if base_rate is not None and not 0 < base_rate < 1:
        raise CallerError(f"base_rate must lie between 0 and 1, not {base_rate}")
    inside = np.clip(table, 0.0, 1.0)  # NaN stays
    if labels is None:
        if count < 3:
            raise CallerError(f"without labels at least 3 verifiers are needed, not {count}: give labels")
        model, found, notes = fit_dawid_skene(inside, called, base_rate)
        return FittedEnsemble(model, rates=found, notes=notes)
    truth = numbers(labels, "labels")
    if truth.shape != (items,):
        raise CallerError(f"labels must be one per item: {truth.shape} against {items}")
    known = ~np.isnan(truth)
    codes = group_codes(groups, items)[known]
    stacked = fit_stacked(inside[known], (truth[known] > 0.5).astype(float), codes, called, seed)
    held = np.full(items, np.nan)
    held[known] = stacked.held_out
    return FittedEnsemble(stacked.model, stacked.losses, tuple(held.tolist()), notes=stacked.notes)
