"""What is believed of ways that differ in how much of the same is bought at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from ...core.belief import STOP, Belief, Continuation, Terms


@dataclass(frozen=True, slots=True)
class Widest:
    """Makes of equal ways, the widest first, the first that is worth its price by itself and can be paid."""

    each: Belief

    def p(self, terms: Terms) -> float | None:
        return self.each.p(terms)

    def pick(self, terms: Terms) -> int:
        pick = getattr(self.each, "pick", None)
        return pick(terms) if pick else 0

    def best(self, terms: Terms) -> Continuation:
        way = self.each.best(terms)
        return replace(way, gain=inf) if way.size and way.net(terms) > 0 else STOP
