"""Fit a calibrator: the family is chosen by log loss on held-out questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...budgets.calibrators import Calibration, Calibrator, Constant, Identity
from ...core.errors import CallerError
from .data import Labelled, folds_of, losses_of, mean_error, simplest
from .families import FAMILIES, apply, base_rate
from .measures import Interval, by_error

if TYPE_CHECKING:
    from .data import Floats, Ints

FEWEST = 10  # groups below which nothing but the base rate is fitted
FEWEST_OF_KIND = 30  # groups of one kind of task below which it has no calibrator of its own


@dataclass(frozen=True)
class Fitted:
    """A fitted calibration and what speaks for it.

    `family` was chosen for the pooled one; `losses` are the families' mean log losses on held-out groups (nats), in
    order from the simplest; `gain` is how much lower that of the chosen calibration (kinds included) is than the raw
    scores' (kept in [0.001, 0.999]), with a 95% interval by group. `held_out` are the cross-fitted probabilities in
    the order of the caller's items, NaN where an item was left out: measure calibration on these.
    """

    calibration: Calibration
    family: str
    losses: dict[str, float]
    gain: Interval
    held_out: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def calibrator(self) -> Calibrator:
        """The pooled one."""
        return self.calibration.pooled


def fit_calibrator(
    scores: Any,
    labels: Any,
    groups: Any = None,
    kinds: Any = None,
    seed: int = 0,
    families: tuple[str, ...] = tuple(FAMILIES),
) -> Fitted:
    """The calibration that (items,) `scores` and `labels` (true: right) teach. `groups` are question ids: draws of one
    question share its difficulty, so that folds never split one. Five folds; the simplest family within one standard
    error of the best. `kinds` of task, where given: a kind with 30 groups or more has a calibrator of its own where
    that beats the pooled one on held-out groups by more than its standard error.

    Where nothing can be learnt (one label only, all scores equal, fewer than 10 groups) it is the base rate, and a
    note says so. Raises CallerError only where the lengths differ or a family is unknown.
    """
    unknown = set(families) - set(FAMILIES)
    if unknown or not families:
        raise CallerError(f"families must be some of {', '.join(FAMILIES)}, not {sorted(unknown)}")
    data = Labelled.of(scores, labels, groups)
    if kinds is not None and len(kinds) != len(data.kept):
        raise CallerError(f"kinds must be as many as scores: {len(kinds)} against {len(data.kept)}")
    reason = _hopeless(data)
    if reason:
        return _fallback(data, reason)
    order = [name for name in FAMILIES if name in families]
    fold = folds_of(data.groups, seed)
    held = {name: cross_fitted(name, data, fold) for name in order}
    losses = {name: losses_of(p, data.labels) for name, p in held.items()}
    family = simplest(losses, data.groups)
    p, pooled = held[family].copy(), FAMILIES[family](data.scores, data.labels)
    own: dict[str, Calibrator] = {}
    notes = list(data.notes)
    if kinds is not None:
        names = [str(kind) for kind, kept in zip(kinds, data.kept.tolist(), strict=True) if kept]
        for kind in sorted(set(names)):
            at = _where(names, kind)
            better = _of_kind(data, at, fold, losses[family][at], order)
            if isinstance(better, str):
                notes.append(f"{kind}: {better}")
            else:
                own[kind], p[at] = better
    raw = losses_of(apply(Identity(), data.scores), data.labels)
    gain = by_error(raw - losses_of(p, data.labels), data.groups)
    means = {name: float(loss.mean()) for name, loss in losses.items()}
    return Fitted(Calibration(pooled=pooled, kinds=own), family, means, gain, _spread(data, p), tuple(notes))


def cross_fitted(family: str, data: Labelled, fold: Ints) -> Floats:
    """The probability of each item, by a calibrator that was fitted without its group."""
    import numpy as np

    p = np.empty(len(data))
    for k in np.unique(fold):
        out = fold == k
        p[out] = apply(FAMILIES[family](data.scores[~out], data.labels[~out]), data.scores[out])
    return p


def _of_kind(data: Labelled, at: Ints, fold: Ints, pooled: Floats, order: list[str]) -> tuple[Calibrator, Floats] | str:
    """A kind's own calibrator and its cross-fitted probabilities, or why it has none. `pooled`: the loss of the
    pooled one on these items."""
    part = Labelled(data.scores[at], data.labels[at], data.groups[at], data.kept)
    if part.clusters < FEWEST_OF_KIND:
        return f"{part.clusters} groups, {FEWEST_OF_KIND} are needed: pooled"
    if reason := _hopeless(part):
        return f"{reason}: pooled"
    held = {name: cross_fitted(name, part, fold[at]) for name in order}
    losses = {name: losses_of(p, part.labels) for name, p in held.items()}
    family = simplest(losses, part.groups)
    gain, error = mean_error(pooled - losses[family], part.groups)
    if gain <= error:
        return f"its own is not better (gain {gain:.4f}, standard error {error:.4f}): pooled"
    return FAMILIES[family](part.scores, part.labels), held[family]


def _hopeless(data: Labelled) -> str:
    """Why nothing but the base rate can be learnt, if so."""
    if not len(data):
        return "no labelled scores"
    if data.clusters < FEWEST:
        return f"only {data.clusters} groups, {FEWEST} are needed"
    if data.labels.min() == data.labels.max():
        return f"all labels are {'right' if data.labels[0] else 'wrong'}"
    if data.scores.min() == data.scores.max():
        return f"all scores are {data.scores[0]:.4g}"
    return ""


def _fallback(data: Labelled, reason: str) -> Fitted:
    import numpy as np

    rate = base_rate(data.labels)
    p = np.full(len(data), rate)
    raw = losses_of(apply(Identity(), data.scores), data.labels) if len(data) else p
    gain = by_error(raw - losses_of(p, data.labels), data.groups)
    pooled = Calibration(pooled=Constant(base_rate=rate))
    return Fitted(pooled, "constant", {}, gain, _spread(data, p), (*data.notes, f"{reason}: the base rate is all"))


def _spread(data: Labelled, p: Floats) -> tuple[float, ...]:
    """Back in the order of the caller's items."""
    import numpy as np

    full = np.full(len(data.kept), np.nan)
    full[data.kept] = p
    return tuple(full.tolist())


def _where(names: list[str], kind: str) -> Ints:
    import numpy as np

    return np.array([i for i, name in enumerate(names) if name == kind], dtype=np.int64)
