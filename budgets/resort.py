"""A way on that is second to others, however cheap it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core.belief import STOP, Belief, Continuation, Terms, picked_by
from .switching import rejected

BARELY = 1e-9  # value above its price: more than rounding, less than any other way that is worth its price


@dataclass(frozen=True, slots=True)
class LastResort:
    """A makeshift for the way that `usual` is the belief about: taken where that one cannot be paid or is not worth its
    price, and this one can and is. It brings what the usual way brings, at a price of its own."""

    usual: Belief

    def p(self, terms: Terms) -> float | None:
        return self.usual.p(terms)

    def pick(self, terms: Terms) -> int:
        return picked_by(self.usual, terms)

    def best(self, terms: Terms) -> Continuation:
        way = self.usual.best(terms)
        price = terms.price * (way.cost + way.seconds * terms.per_second)
        return replace(way, gain=price + BARELY) if way.size and way.gain - price > BARELY else STOP

    def reserve(self, terms: Terms) -> float:
        """No other way is left for it, however much a dollar buys here."""
        return BARELY if self.best(terms).size else 0.0

    def rejected(self, terms: Terms) -> Continuation:
        return rejected(self.usual, terms)
