"""The value of one more round: of revising, debating, searching on.

Where `fit` has seen the strategy's rounds, its *policy curve* says how often a round with this index turns a wrong
answer right and a right one wrong: from P(right) of the answer on offer, which is what agreement and verdicts of this
very run say, it follows what P(right) will be after each number of rounds, and the best number is what going on is
worth. A round that changed nothing makes the next one worth less (`Rounds.fade`).

Else a round turns a wrong answer into a right one with probability theta, shared by the rounds of one question and
unknown, as for draws under an exact check. A right answer stays (plans keep the best that they have). So the gain of a
course of rounds is (1 - P(right)) times that of draws against an exact check, and a round that brought nothing better
counts as a failure. Either way rounds stop when they stop helping, in units of value.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.belief import STOP, Belief, Continuation, Rounds, Terms, picked_by
from .beliefs import COURSE, course, misses

SETTLED = 1e-9  # doubt below which nothing is left to win
NOTHING = 1e-9  # a gain below it is none


@dataclass(frozen=True, slots=True)
class RoundsBelief:
    """`stalled` rounds in a row brought nothing better; `left` more are possible at the most. P(right) of the answer on
    offer is what `evidence` says (None: there is no answer yet). `done` rounds of the strategy `name` came before."""

    stalled: int
    left: int
    evidence: Belief | None = None
    name: str = ""
    done: int = 0

    def p(self, terms: Terms) -> float | None:
        return self.evidence.p(terms) if self.evidence else None

    def pick(self, terms: Terms) -> int:
        return picked_by(self.evidence, terms)

    def best(self, terms: Terms) -> Continuation:
        """One round at a time: each needs what the last one brought."""
        p, most = self.p(terms), min(terms.steps, self.left, COURSE)
        doubt = 1.0 - (p or 0.0)
        if doubt <= SETTLED or most <= 0:
            return STOP
        if p is not None and self.reads(terms):
            return self._read(p, most, terms)
        # Rounds follow one another, so that their time adds up like their money.
        spent = terms.cost + terms.seconds * terms.per_second
        size, gain, cost, _ = course(self.missed(terms, most), 1, terms.price / doubt, spent, 0.0, 0.0)
        if not size:
            return STOP
        rounds = cost / spent if spent else 1.0
        return Continuation(1, doubt * gain, rounds * terms.cost, rounds * terms.seconds)

    def curve(self, terms: Terms) -> Rounds | None:
        """What is known of the strategy's rounds."""
        return terms.priors.rounds.get(self.name) if self.name else None

    def reads(self, terms: Terms) -> bool:
        """Whether rounds are worth what U gains by them: by a curve, or where a wrong answer costs something, so that a
        rise of P(right) may be worth less than itself (nothing, below the point where abstaining is as good), or more.
        Only where there is no answer yet is one that passes an exact check right."""
        return self.curve(terms) is not None or terms.wrong > 0

    def missed(self, terms: Terms, n: int) -> tuple[float, ...]:
        """P(a round leaves a wrong answer wrong | so did all before), for each of the next `n`."""
        curve = self.curve(terms)
        if curve is None:
            return misses(terms.priors, self.stalled, n)
        return tuple(1.0 - heal for heal, _ in curve.ahead(self.done, self.stalled, n))

    def after(self, p: float, terms: Terms, n: int) -> list[float]:
        """P(right) after 0 to `n` rounds, by the curve; without one right answers stay."""
        found, curve = [p], self.curve(terms)
        if curve is not None:
            turns = curve.ahead(self.done, self.stalled, n)
        else:
            turns = tuple((1.0 - lost, 0.0) for lost in self.missed(terms, n))
        for heal, hurt in turns:
            p = p * (1.0 - hurt) + (1.0 - p) * heal
            found.append(p)
        return found

    def _read(self, p: float, most: int, terms: Terms) -> Continuation:
        """The best number of rounds without a look in between: what looking is worth comes on top."""
        now, best = terms.value(p), STOP
        for m, then in enumerate(self.after(p, terms, most)[1:], start=1):
            way = Continuation(1, terms.value(then) - now, m * terms.cost, m * terms.seconds)
            if way.gain > NOTHING and way.net(terms) > max(0.0, best.net(terms)):
                best = way
        return best
