"""What is wrong with a judge: biases, measured on recorded scores. Arrays of n candidates (or pairs) each; intervals
are percentiles of a bootstrap over them (95%), the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import CallerError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bias:
    """A bias, 0 where there is none, its 95% interval, and of how many candidates or pairs."""

    value: float
    low: float
    high: float
    n: int

    @property
    def shown(self) -> bool:
        """The interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def verbosity_bias(
    scores: Sequence[float], lengths: Sequence[float], labels: Sequence[Any], *, resamples: int = 1000, seed: int = 0
) -> Bias:
    """Does the judge like length? The correlation of the score with the logarithm of the length at equal correctness:
    partial in [-1, 1], of what is left of both after their means among the right and among the wrong are taken off.
    The cause may be another one that goes with length; Zheng et al. 2023 (arXiv:2306.05685) test by padding."""
    import numpy as np

    columns = _columns(scores, lengths, labels)
    columns[1] = np.log1p(np.maximum(columns[1], 0.0))

    def measure(score: Floats, length: Floats, label: Floats) -> float:
        x, y = _centred(score, label), _centred(length, label)
        scale = float(np.sqrt((x @ x) * (y @ y)))
        return float(x @ y) / scale if scale > 1e-12 else 0.0

    return _bootstrap(measure, columns, resamples, seed)


def self_preference(
    scores: Sequence[float], own: Sequence[bool], labels: Sequence[Any], *, resamples: int = 1000, seed: int = 0
) -> Bias:
    """Does the judge like its own model's answers? Mean score of its own minus that of the others' at equal
    correctness, in score units (Panickssery et al. 2024, arXiv:2404.13076). The right and the wrong are weighed by how
    much each can tell (n_own * n_other / n); 0 where no label has both."""

    def measure(score: Floats, mine: Floats, label: Floats) -> float:
        total = weight = 0.0
        for value in set(label.tolist()):
            here = label == value
            ours, theirs = score[here & (mine > 0)], score[here & (mine <= 0)]
            if len(ours) and len(theirs):
                part = len(ours) * len(theirs) / (len(ours) + len(theirs))
                total += part * float(ours.mean() - theirs.mean())
                weight += part
        return total / weight if weight else 0.0

    return _bootstrap(measure, _columns(scores, own, labels), resamples, seed)


def position_bias(first: Sequence[float], second: Sequence[float], *, resamples: int = 1000, seed: int = 0) -> Bias:
    """Does the judge like a place? P(what is shown first wins) - 1/2, in [-1/2, 1/2], from pairs judged in both orders:
    `first[i]` is P(a wins) with a shown first, `second[i]` with a shown second (`Preference.first`, `.second`)."""

    def measure(one: Floats, two: Floats) -> float:
        return float((one - two).mean()) / 2

    return _bootstrap(measure, _columns(first, second), resamples, seed)


def contradictions(first: Sequence[float], second: Sequence[float]) -> float:
    """The share of pairs on which the two orders contradict each other; arguments as of `position_bias`."""
    one, two = _columns(first, second)
    return float((((one - 0.5) * (two - 0.5)) < 0).mean())


def _centred(values: Floats, label: Floats) -> Floats:
    import numpy as np

    _, group = np.unique(label, return_inverse=True)
    means = np.bincount(group, values) / np.bincount(group)
    centred: Floats = values - means[group]
    return centred


def _columns(*columns: Sequence[Any]) -> list[Floats]:
    """The columns as floats, without the rows of which something is unknown (None or NaN). Raises `CallerError`."""
    import numpy as np

    try:
        made = [np.asarray([np.nan if v is None else v for v in column], dtype=np.float64) for column in columns]
    except (TypeError, ValueError) as error:
        raise CallerError(f"expected sequences of numbers: {error}") from None
    if len({column.shape for column in made}) != 1 or made[0].ndim != 1:
        raise CallerError(f"expected columns of one length, not of {', '.join(str(len(c)) for c in made)}")
    known = np.isfinite(np.stack(made)).all(axis=0)
    if known.sum() < 2:
        raise CallerError(f"a bias cannot be measured on {int(known.sum())} known rows")
    return [column[known] for column in made]


def _bootstrap(measure: Callable[..., float], columns: list[Floats], resamples: int, seed: int) -> Bias:
    import numpy as np

    if resamples < 1:
        raise CallerError(f"resamples={resamples!r}: expected 1 or more")
    random, n = np.random.default_rng(seed), len(columns[0])
    drawn = [measure(*(column[rows] for column in columns)) for rows in random.integers(0, n, (resamples, n))]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Bias(measure(*columns), float(low), float(high), n)
