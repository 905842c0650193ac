"""The value of several rounds at once, where none needs what another brings: all states of one level of a search."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core.belief import STOP, Continuation, Terms
from .rounds import SETTLED, RoundsBelief


@dataclass(frozen=True, slots=True)
class WaveBelief:
    """The next `most` of these `rounds` may be taken at once. A wave takes one member more as long as that one, bought
    whatever the others bring, is worth its money: so it takes no more time, and where money is no object all are in."""

    rounds: RoundsBelief
    most: int = 1

    def p(self, terms: Terms) -> float | None:
        return self.rounds.p(terms)

    def pick(self, terms: Terms) -> int:
        return self.rounds.pick(terms)

    def best(self, terms: Terms) -> Continuation:
        """The size of the wave; gain, cost and seconds of it and of the rounds after it."""
        way = self.rounds.best(terms)
        most = min(self.most, self.rounds.left, terms.steps)
        if not way.size or most <= 1:
            return way
        doubt = 1.0 - (self.p(terms) or 0.0)
        if doubt <= SETTLED:
            return STOP
        a, b = terms.priors.success
        lost = b + self.rounds.stalled
        missed, size = lost / (a + lost), 1
        while size < most and doubt * missed * a / (a + lost + size) > terms.price * terms.cost:
            missed *= (lost + size) / (a + lost + size)
            size += 1
        rounds = self.rounds
        later = replace(rounds, stalled=rounds.stalled + size, left=rounds.left - size)
        after = later.best(replace(terms, steps=terms.steps - size))
        gain = doubt * (1.0 - missed) + missed * after.gain
        return Continuation(size, gain, size * terms.cost + missed * after.cost, terms.seconds + missed * after.seconds)
