"""Fit P(right) of the best-scored of n candidates, from recorded draws of which several were scored per question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...budgets.calibrators import Identity, Selected
from .data import Labelled, dice_of, folds_of, losses_of, simplest
from .families import apply, logistic
from .measures import Interval, by_error

if TYPE_CHECKING:
    from .data import Floats, Ints

SIZES = (1, 2, 4, 8, 16)
REPEATS = 8  # subsets of each size drawn per question
FEWEST = 30  # questions with two scored draws or more, below which n is ignored
RIDGE = 1e-3  # pull toward the plain p, per row


@dataclass(frozen=True)
class Winners:
    """Winners of resampled subsets: calibrated p, how many candidates there were, label and question, (rows,) each;
    `weights` make all sizes count the same."""

    p: Floats
    n: Ints
    labels: Floats
    groups: Ints
    weights: Floats

    def at(self, rows: Any) -> Winners:
        return Winners(self.p[rows], self.n[rows], self.labels[rows], self.groups[rows], self.weights[rows])


@dataclass(frozen=True)
class FittedSelected:
    """`form` is "ignored" (the winner's own p), "log n" or "per n"; `losses` their mean log losses on held-out
    questions; `gain` how much lower the chosen one's is than that of the winner's own p, with a 95% interval.
    `gaps`: (n, claimed, claimed now, true): the mean p of the winners of n, what the model makes of it on held-out
    questions, and the share that is right."""

    model: Selected
    form: str
    losses: dict[str, float]
    gain: Interval
    gaps: tuple[tuple[int, float, float, float], ...]
    notes: tuple[str, ...] = ()


def fit_selected(
    scores: Any,
    labels: Any,
    groups: Any,
    calibrator: Callable[[float], float] | None = None,
    sizes: tuple[int, ...] = SIZES,
    seed: int = 0,
) -> FittedSelected:
    """The calibration of a selected candidate. `scores`, `labels`, `groups` (questions): (items,), several items per
    question. `calibrator` makes probabilities of scores (None: they are probabilities). For each n of `sizes`
    subsets of each question's draws are drawn without replacement, the highest score wins (ties by chance), and the
    winners' labels are regressed on p and n; p up never means down, n up never means up. Among ignoring n, a term in
    ln n, and a line per n, the simplest within one standard error of the best on held-out questions is taken.

    Too few questions with two draws, or labels all alike: n is ignored and a note says so. Raises CallerError only
    where the lengths differ.
    """
    data = Labelled.of(scores, labels, groups)
    winners = resampled(data, apply(calibrator or Identity(), data.scores) if len(data) else data.scores, sizes, seed)
    return fit_winners(winners, seed, data.notes)


def fit_winners(winners: Winners, seed: int = 0, notes: tuple[str, ...] = ()) -> FittedSelected:
    """The same of winners that were chosen in any other way: of n draws, the one that a state made likeliest."""
    import numpy as np

    several = len(np.unique(winners.groups[winners.n > 1]))
    if several < FEWEST or winners.labels.min() == winners.labels.max():
        why = f"{several} questions have two scored draws or more, {FEWEST} are needed"
        why = why if several < FEWEST else "all labels are alike"
        nothing = Interval(0.0, float("nan"), float("nan"))
        return FittedSelected(Selected(), "ignored", {}, nothing, (), (*notes, f"{why}: n is ignored"))
    fold = folds_of(winners.groups, seed)
    held = {form: np.empty(len(winners.p)) for form in FORMS}
    for k in np.unique(fold):
        for form, fit in FORMS.items():
            held[form][fold == k] = _apply(fit(winners.at(fold != k)), winners.at(fold == k))
    losses = {form: losses_of(p, winners.labels) for form, p in held.items()}
    form = simplest(losses, winners.groups, winners.weights)
    even = len(winners.p) * winners.weights / winners.weights.sum()
    gain = by_error(even * (losses["ignored"] - losses[form]), winners.groups)
    gaps = []
    for n in np.unique(winners.n):
        at = winners.n == n
        figures = (winners.p[at], held[form][at], winners.labels[at])
        gaps.append((int(n), *(float(np.mean(f)) for f in figures)))
    means = {name: float(np.average(loss, weights=winners.weights)) for name, loss in losses.items()}
    return FittedSelected(FORMS[form](winners), form, means, gain, tuple(gaps), notes)  # type: ignore[arg-type]


def resampled(data: Labelled, p: Floats, sizes: tuple[int, ...], seed: int) -> Winners:
    """The winners of random subsets. A question with fewer draws than n has none of that size."""
    import numpy as np

    dice = dice_of(seed, 3)
    order = np.argsort(data.groups, kind="stable")
    _, starts, counts = np.unique(data.groups[order], return_index=True, return_counts=True)
    rows: list[tuple[Ints, Ints]] = []
    for m in np.unique(counts):
        these = starts[counts == m]  # all questions with m draws at once
        for n in sorted({n for n in sizes if 1 <= n <= m}):
            for _ in range(REPEATS if n < m else 1):  # all of them are one subset
                shuffled = np.argsort(dice.random((len(these), m)), axis=1)[:, :n]
                chosen = order[these[:, None] + shuffled]
                winner = chosen[np.arange(len(these)), np.argmax(data.scores[chosen], axis=1)]
                rows.append((winner, np.full(len(winner), n)))
    if not rows:
        none = np.empty(0)
        return Winners(none, none.astype(np.int64), none, none.astype(np.int64), none)
    items, many = (np.concatenate(column) for column in zip(*rows, strict=True))
    _, codes, seen = np.unique(many, return_inverse=True, return_counts=True)
    return Winners(p[items], many, data.labels[items], data.groups[items], 1.0 / seen[codes])


def _ignored(winners: Winners) -> Selected:
    return Selected()


def _log_n(winners: Winners) -> Selected:
    """logit P = slope * logit p + offset - tail * ln n."""
    import numpy as np

    x = _logits(winners.p)
    features = np.column_stack([x, np.ones_like(x), -np.log(winners.n)])
    slope, offset, tail = logistic(
        features,
        winners.labels,
        lowest=(0.0, None, 0.0),
        start=(1.0, 0.0, 0.0),
        ridge=np.array([RIDGE, RIDGE, RIDGE]),
        toward=np.array([1.0, 0.0, 0.0]),
        weights=winners.weights,
    )
    return Selected(rows=((1, slope, offset),), tail=tail)


def _per_n(winners: Winners) -> Selected:
    """A line per n, each pulled toward that of the n before."""
    import numpy as np

    rows: list[tuple[int, float, float]] = []
    home = np.array([1.0, 0.0])
    for n in np.unique(winners.n):
        at = winners.at(winners.n == n)
        features = np.column_stack([_logits(at.p), np.ones(len(at.p))])
        slope, offset = logistic(
            features, at.labels, lowest=(0.0, None), start=tuple(home), ridge=np.full(2, RIDGE), toward=home
        )
        rows.append((int(n), slope, offset))
        home = np.array([slope, offset])
    if rows[0][0] != 1:
        rows.insert(0, (1, 1.0, 0.0))
    return Selected(rows=tuple(rows), tail=_log_n(winners).tail)


FORMS: dict[str, Callable[[Winners], Selected]] = {"ignored": _ignored, "log n": _log_n, "per n": _per_n}


def _logits(p: Floats) -> Floats:
    import numpy as np

    q = np.clip(p, 1e-6, 1 - 1e-6)
    found: Floats = np.log(q) - np.log1p(-q)
    return found


def _apply(model: Selected, winners: Winners) -> Floats:
    import numpy as np

    found = np.empty(len(winners.p))
    for n in np.unique(winners.n):
        at = winners.n == n
        found[at] = apply(lambda p, n=int(n): model(p, n), winners.p[at])  # type: ignore[misc]
    return found
