"""How long replies are: an upper quantile, learned, so that less money lies idle in holds.

A hold at a quantile is safe only because the call is then sent with `max_tokens` set to it: it is a cap, not a hope.
The quantile is the conformal one (Vovk, Gammerman & Shafer 2005): of n replies so far the next is longer with a chance
of at most 1 - q, whatever their distribution, as long as it does not change.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

QUANTILE = 0.99


def _edges() -> tuple[int, ...]:
    """Lengths are counted in steps of a tenth, rounded up: 1, 2, ... 10, 11, 13, ... 10**7."""
    edges, at = [1], 1.0
    while edges[-1] < 10_000_000:
        at *= 1.1
        if ceil(at) > edges[-1]:
            edges.append(ceil(at))
    return tuple(edges)


EDGES = _edges()


@dataclass(slots=True)
class Lengths:
    """Completion tokens of replies to one kind of request, as a histogram. One that was cut short counts as long as it
    had asked to be, so that a cap that cuts too many lifts itself."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, tokens: int) -> None:
        self.counts[min(bisect_left(EDGES, tokens), len(EDGES) - 1)] += 1

    def __iadd__(self, other: Lengths) -> Lengths:
        self.counts.update(other.counts)
        return self

    @property
    def longest(self) -> int:
        return EDGES[max(self.counts)] if self.counts else 0

    def upper(self, q: float = QUANTILE) -> int | None:
        """The `max_tokens` that a reply ends below, by itself, with a chance of `q`; None while there are too few
        replies to say so."""
        total = self.counts.total()
        rank = ceil((total + 1) * q)
        if rank > total:
            return None
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                return EDGES[bucket] + 1
        return None

    @classmethod
    def of(cls, tokens: Iterable[int]) -> Lengths:
        lengths = cls()
        for each in tokens:
            lengths.add(each)
        return lengths
