"""The value of several rounds at once, where none needs what another brings: all states of one level of a search."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core.belief import STOP, Continuation, Terms
from .beliefs import COURSE, widest
from .rounds import NOTHING, SETTLED, RoundsBelief


@dataclass(frozen=True, slots=True)
class WaveBelief:
    """The next `most` of these `rounds` may be taken at once. A wave takes one member more as long as that one, bought
    whatever the others bring, is worth its money: so it takes no more time, and where money is no object all are in.
    Where a second has its price, no wave is wider than what the provider performs at once."""

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
        if terms.at_once > 0 and terms.per_second > 0:
            most = min(most, widest(terms))
        if not way.size or most <= 1:
            return way
        p = self.p(terms)
        doubt = 1.0 - (p or 0.0)
        if doubt <= SETTLED:
            return STOP
        if p is not None and self.rounds.reads(terms):
            return self._read(p, most, terms)
        rounds, missed, size = self.rounds, 1.0, 0
        for lost in self.rounds.missed(terms, most):
            if size and doubt * missed * (1.0 - lost) <= terms.price * terms.cost:
                break
            missed *= lost
            size += 1
        later = replace(rounds, stalled=rounds.stalled + size, left=rounds.left - size, done=rounds.done + size)
        after = later.best(replace(terms, steps=terms.steps - size))
        gain = doubt * (1.0 - missed) + missed * after.gain
        wait = terms.waves(size) * terms.seconds + missed * after.seconds
        return Continuation(size, gain, size * terms.cost + missed * after.cost, wait)

    def _read(self, p: float, most: int, terms: Terms) -> Continuation:
        """By the strategy's curve: as many at once as each, one more, is worth its money, and after them one by one."""
        values = [terms.value(then) for then in self.rounds.after(p, terms, min(terms.steps, self.rounds.left, COURSE))]
        size, best, most = 1, STOP, min(most, len(values) - 1)
        while size < most and values[size + 1] - values[size] > terms.price * terms.cost:
            size += 1
        for m in range(size, len(values)):
            wait = (terms.waves(size) + m - size) * terms.seconds
            way = Continuation(size, values[m] - values[0], m * terms.cost, wait)
            if way.gain > NOTHING and way.net(terms) > max(0.0, best.net(terms)):
                best = way
        return best if best.size else self.rounds.best(terms)
