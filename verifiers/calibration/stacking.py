"""An ensemble from labels: calibrated log-odds, weighted by a logistic regression (stacking, Wolpert 1992)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...budgets.calibrators import Calibrator, EnsembleModel, Part, logit
from .data import folds_of, losses_of, mean_error, simplest
from .families import FAMILIES, apply, base_rate, logistic
from .fitting import FEWEST, fit_calibrator

if TYPE_CHECKING:
    from .data import Floats, Ints

RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0)  # strongest (simplest) first


@dataclass(frozen=True)
class Stacked:
    """`held_out`: cross-fitted probabilities of the ensemble, in the order of the items."""

    model: EnsembleModel
    losses: dict[str, float]
    held_out: Floats
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Fold:
    """One fold: evidence (items, verifiers) in log-odds, by calibrators fitted without the held-out items."""

    out: Ints
    inside: Floats
    outside: Floats
    labels: Floats


def fit_stacked(scores: Floats, labels: Floats, groups: Ints, names: tuple[str, ...], seed: int) -> Stacked:
    """Each verifier's family of calibrator is chosen on its own scores. The ridge is chosen on held-out groups with
    all verifiers; then the verifier whose absence is missed least is dropped, again and again, as long as the
    held-out loss stays within one standard error of the best seen."""
    import numpy as np

    fits = [fit_calibrator(column, labels, groups, seed=seed) for column in scores.T]
    dropped = {name: _flat(fit.notes) for name, fit in zip(names, fits, strict=True) if fit.family == "constant"}
    kept = [i for i, name in enumerate(names) if name not in dropped]
    base = base_rate(labels)
    rates = np.full(len(labels), base)
    if not kept or len(np.unique(groups)) < FEWEST:
        model = EnsembleModel(method="stacked", parts=(), bias=logit(base), dropped=dropped)
        return Stacked(model, {}, rates, ("no verifier tells right from wrong: the base rate is all",))
    families = [fit.family for fit in fits]
    folds = [_fold(scores, labels, families, fold) for fold in _split(groups, seed)]
    ridges = {str(ridge): losses_of(_held_out(folds, kept, ridge), labels) for ridge in RIDGES}
    ridge = float(simplest(ridges, groups))
    everything = losses_of(_held_out(folds, kept, ridge), labels)
    alone = {names[i]: losses_of(_held_out(folds, [i], 0.0), labels) for i in kept}
    naive = losses_of(_held_out(folds, kept, None), labels)
    kept, useless = _without_useless(folds, kept, ridge, labels, groups, everything)
    dropped |= {names[i]: reason for i, reason in useless.items()}
    final = _held_out(folds, kept, ridge)
    calibrators: list[Calibrator] = [fits[i].calibrator for i in kept]
    evidence = np.column_stack([_evidence(c, scores[:, i]) for c, i in zip(calibrators, kept, strict=True)])
    *weights, bias = _weights(evidence, labels, ridge)
    rows = sorted(zip(kept, calibrators, weights, strict=True))
    for i, _, weight in rows:
        if weight == 0:
            dropped[names[i]] = "the others say all that it says (weight 0)"
    parts = tuple(Part(name=names[i], calibrator=c, weight=w) for i, c, w in rows if w > 0)
    model = EnsembleModel(method="stacked", parts=parts, bias=bias, dropped=dropped)
    losses = {
        "ensemble": losses_of(final, labels),
        "all verifiers": everything,
        "naive Bayes": naive,
        **alone,
        "base rate": losses_of(rates, labels),
    }
    return Stacked(model, {name: float(loss.mean()) for name, loss in losses.items()}, final, (f"ridge {ridge:g}",))


def _flat(notes: Sequence[str]) -> str:
    return notes[-1] if notes else "its score tells nothing of right and wrong on held-out groups"


def _split(groups: Ints, seed: int) -> list[Ints]:
    import numpy as np

    fold = folds_of(groups, seed)
    return [np.flatnonzero(fold == k) for k in np.unique(fold)]


def _fold(scores: Floats, labels: Floats, families: list[str], out: Ints) -> Fold:
    import numpy as np

    into = np.setdiff1d(np.arange(len(labels)), out)
    inside, outside = np.zeros((len(into), scores.shape[1])), np.zeros((len(out), scores.shape[1]))
    for i, family in enumerate(families):
        column = scores[into, i]
        known = ~np.isnan(column)
        calibrator = FAMILIES[family](column[known], labels[into][known])
        inside[:, i], outside[:, i] = _evidence(calibrator, column), _evidence(calibrator, scores[out, i])
    return Fold(out, inside, outside, labels[into])


def _evidence(calibrator: Calibrator, scores: Floats) -> Floats:
    """Log-odds that each score adds; 0 where there is none."""
    import numpy as np

    found = np.zeros(len(scores))
    known = ~np.isnan(scores)
    p = apply(calibrator, scores[known])
    found[known] = np.log(p) - np.log1p(-p) - logit(calibrator.base_rate)
    return found


def _weights(evidence: Floats, labels: Floats, ridge: float) -> tuple[float, ...]:
    """Weights of the columns, none negative, then the bias, which is not shrunk."""
    import numpy as np

    k = evidence.shape[1]
    features = np.column_stack([evidence, np.ones(len(evidence))])
    start = (*(1 / k,) * k, logit(base_rate(labels)))
    pull = np.r_[np.full(k, ridge + 1e-6), 0.0]
    return logistic(features, labels, lowest=(*(0.0,) * k, None), start=start, ridge=pull)


def _held_out(folds: list[Fold], kept: list[int], ridge: float | None) -> Floats:
    """Cross-fitted probabilities of these verifiers together. `ridge` None: naive Bayes, all weights 1."""
    import numpy as np

    p = np.empty(sum(len(fold.out) for fold in folds))
    for fold in folds:
        *weights, bias = (
            (*(1.0,) * len(kept), logit(base_rate(fold.labels)))
            if ridge is None
            else _weights(fold.inside[:, kept], fold.labels, ridge)
        )
        p[fold.out] = 1 / (1 + np.exp(-np.clip(fold.outside[:, kept] @ np.array(weights) + bias, -9.2, 9.2)))
    return p


def _without_useless(
    folds: list[Fold], kept: list[int], ridge: float, labels: Floats, groups: Ints, best: Floats
) -> tuple[list[int], dict[int, str]]:
    """Backward elimination; the last one stays. Returns who is kept, and why the others are not."""
    dropped: dict[int, str] = {}
    while len(kept) > 1:
        without = {i: losses_of(_held_out(folds, [j for j in kept if j != i], ridge), labels) for i in kept}
        least = min(without, key=lambda i: float(without[i].mean()))
        gap, error = mean_error(without[least] - best, groups)
        if gap > error:
            break
        best = without[least] if gap < 0 else best
        kept = [i for i in kept if i != least]
        dropped[least] = f"it does not help on held-out groups (log loss {gap:+.4f} without it, error {error:.4f})"
    return kept, dropped
