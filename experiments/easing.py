"""How easy a question is, by what can be seen of it: a latent regression (explanatory item response theory, De Boeck &
Wilson 2004). All arms share it, so that each question counts as often as arms were asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..budgets.allocation_policy import EasePolicy
from ..budgets.features import MARKS, VERSION

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

RIDGES = (30.0, 100.0, 300.0, 1000.0)
WORDS = (0.0, 2.0)  # scales of hashed words beside marks of standard deviation 1
TOPIC = 5.0  # scale of a topic: with a ridge of 100 it is shrunk as by 4 questions of the mean
PARTS = 5  # of the questions, where they have no folds
TELLS = 0.01  # share of the variance of ease that features must tell, of questions held out


class Seen(Protocol):
    """What is known of the questions (`experiments.allocating.Records`)."""

    @property
    def seen(self) -> tuple[tuple[float, ...], ...]: ...

    @property
    def topics(self) -> tuple[str, ...]: ...

    @property
    def folds(self) -> tuple[int, ...]: ...


def ease_of(records: Seen, ease: Floats) -> tuple[EasePolicy, Floats] | None:
    """The regression of `ease` (questions,) on features and topics, and what it says of each question when it was made
    from the other folds; a second one without topics is for questions of a topic that nobody knows. Ridge and the
    weight of words are those that predict best what is held out. None where features tell nothing."""
    import numpy as np

    topics = sorted(set(records.topics) - {""})
    named = TOPIC * np.array([[topic == name for name in topics] for topic in records.topics], dtype=float)
    parts = np.asarray(records.folds if len(set(records.folds)) > 1 else np.arange(len(ease)) % PARTS)
    known = _Regression.best(records, ease, parts, named.reshape(len(ease), -1))
    if known.told < TELLS:
        return None
    alone = _Regression.best(records, ease, parts, named[:, :0].reshape(len(ease), 0)) if topics else known
    policy = EasePolicy(
        version=VERSION,
        base=known.base,
        weights=known.weights,
        topics={name: round(float(x) * TOPIC, 5) for name, x in zip(topics, known.topics, strict=True)},
        told=round(known.told, 4),
        alone=(alone.base, *alone.weights) if alone.told >= TELLS else (),
        told_alone=round(alone.told, 4),
    )
    return policy, known.held


@dataclass(frozen=True, slots=True, eq=False)
class _Regression:
    """`held` (questions,): predictions from the other folds; `told`: the share of the variance that these tell."""

    told: float
    held: Floats
    base: float
    weights: tuple[float, ...]
    topics: Floats

    @classmethod
    def best(cls, records: Seen, ease: Floats, parts: Floats, named: Floats) -> _Regression:
        import numpy as np

        seen = np.array(records.seen)
        marks, words = seen[:, :MARKS], seen[:, MARKS:]
        mean, sd = marks.mean(axis=0), marks.std(axis=0)
        scale = np.where(sd > 1e-6, 1.0 / np.maximum(sd, 1e-6), 0.0)
        tables = {w: np.concatenate([(marks - mean) * scale, w * words, named], axis=1) for w in WORDS}
        tried = []
        for weight, table in tables.items():
            for ridge, held in zip(RIDGES, _held(table, ease, parts), strict=True):
                tried.append((1.0 - float(((ease - held) ** 2).mean() / ease.var()), weight, ridge, held))
        told, weight, ridge, held = max(tried, key=lambda one: one[0])
        slope, base = next(_ridges(tables[weight], ease, (ridge,)))
        of_marks, many = slope[:MARKS] * scale, seen.shape[1]
        weights = np.concatenate([of_marks, weight * slope[MARKS:many]])
        rounded = tuple(round(float(w), 5) for w in weights)
        return cls(told, held, round(base - float(of_marks @ mean), 5), rounded, slope[many:])


def _held(table: Floats, ease: Floats, parts: Floats) -> Floats:
    """(ridges, questions): predictions of each part from the others."""
    import numpy as np

    found = np.empty((len(RIDGES), len(ease)))
    for part in np.unique(parts):
        here = parts == part
        for row, (slope, base) in zip(found, _ridges(table[~here], ease[~here], RIDGES), strict=True):
            row[here] = table[here] @ slope + base
    return found


def _ridges(table: Floats, ease: Floats, ridges: tuple[float, ...]) -> Iterator[tuple[Floats, float]]:
    """(weights, base) of ridge regressions, all from one decomposition."""
    import numpy as np

    mean, middle = table.mean(axis=0), float(ease.mean())
    off = table - mean
    values, vectors = np.linalg.eigh(off.T @ off)
    along = vectors.T @ (off.T @ (ease - middle))
    for ridge in ridges:
        slope: Floats = vectors @ (along / (np.maximum(values, 0.0) + ridge))
        yield slope, middle - float(slope @ mean)
