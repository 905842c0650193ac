"""What fitting starts from: clean scores, labels and groups; folds that never split a group; clustered errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any, TypeAlias

from ...core.errors import CallerError

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]
    Bools: TypeAlias = NDArray[np.bool_]

FOLDS = 5


@dataclass(frozen=True)
class Labelled:
    """Scores in [0, 1] and labels (1.0 right, 0.0 wrong), (items,) each, with whole numbers from 0 for the groups.
    `kept` says which of the caller's items are here; `notes` what was done to the others."""

    scores: Floats
    labels: Floats
    groups: Ints
    kept: Bools
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, scores: Any, labels: Any, groups: Any = None) -> Labelled:
        """Items without a score or label (NaN, None) are left out, scores outside [0, 1] clipped. `groups` None: each
        item by itself. Raises CallerError where the three are not of one length."""
        import numpy as np

        one, two = numbers(scores, "scores"), numbers(labels, "labels")
        if one.ndim != 1 or one.shape != two.shape or (groups is not None and len(groups) != len(one)):
            lengths = f"{one.shape}, {two.shape} and {'none' if groups is None else len(groups)}"
            raise CallerError(f"scores, labels and groups must be lists of one length, not {lengths}")
        codes = group_codes(groups, len(one))
        kept = ~(np.isnan(one) | np.isnan(two))
        notes = [] if kept.all() else [f"{int((~kept).sum())} of {len(one)} items have no score or no label: left out"]
        inside = np.clip(one[kept], 0.0, 1.0)
        if (outside := int((inside != one[kept]).sum())) > 0:
            notes.append(f"{outside} scores lie outside [0, 1]: clipped")
        return cls(inside, (two[kept] > 0.5).astype(float), codes[kept], kept, tuple(notes))

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def base_rate(self) -> float:
        """The share of right items, smoothed so that it is never 0 or 1."""
        return float((self.labels.sum() + 1) / (len(self.labels) + 2))

    @property
    def clusters(self) -> int:
        return len(set(self.groups.tolist()))


def numbers(values: Any, name: str) -> Floats:
    """An array of floats; None counts as NaN. Raises CallerError for what holds no numbers."""
    import numpy as np

    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise CallerError(f"{name} must be numbers: {error}") from error


def group_codes(groups: Sequence[Any] | None, count: int) -> Ints:
    """Whole numbers from 0 for any hashable group names, in order of first appearance."""
    import numpy as np

    if groups is None:
        return np.arange(count)
    names = list(groups.tolist() if hasattr(groups, "tolist") else groups)
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], dtype=np.int64)


def dice_of(seed: int, purpose: int) -> Generator:
    """Random numbers of our own: a caller who made his data with `default_rng(seed)` must not meet them again."""
    import numpy as np

    return np.random.default_rng((seed, 0xCA1, purpose))


def folds_of(groups: Ints, seed: int, folds: int = FOLDS) -> Ints:
    """A fold for each item, whole groups together, folds of about equally many groups. Fewer groups than folds: as
    many folds as groups."""
    import numpy as np

    names, codes = np.unique(groups, return_inverse=True)
    order = dice_of(seed, 1).permutation(len(names))
    found: Ints = (order % max(1, min(folds, len(names))))[codes]
    return found


def mean_error(values: Floats, groups: Ints, weights: Floats | None = None) -> tuple[float, float]:
    """(mean, standard error) of values that are alike within groups: the sandwich of a ratio (Liang & Zeger 1986).
    The error is infinite with fewer than two groups."""
    import numpy as np

    if not len(values):
        return float("nan"), float("inf")
    w = np.ones(len(values)) if weights is None else weights
    mean = float(w @ values / w.sum())
    _, codes = np.unique(groups, return_inverse=True)
    sums = np.bincount(codes, w * (values - mean))
    if len(sums) < 2:
        return mean, float("inf")
    return mean, sqrt(len(sums) / (len(sums) - 1) * float(sums @ sums)) / float(w.sum())


def losses_of(p: Floats, labels: Floats) -> Floats:
    """Log loss of each item in nats; probabilities are kept 1e-12 away from 0 and 1."""
    import numpy as np

    q = np.clip(np.where(labels > 0.5, p, 1 - p), 1e-12, 1.0)
    loss: Floats = -np.log(q)
    return loss


def simplest(losses: dict[str, Floats], groups: Ints, weights: Floats | None = None) -> str:
    """The first name, in order, whose held-out loss is within one standard error of the best's (Breiman et al.
    1984). The error is that of the paired difference, by group."""
    import numpy as np

    w = None if weights is None else weights
    best = min(losses, key=lambda name: float(np.average(losses[name], weights=w)))
    for name, loss in losses.items():
        gap, error = mean_error(loss - losses[best], groups, weights)
        if name == best or gap <= error:
            return name
    return best
