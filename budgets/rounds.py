"""The value of one more round: of revising, debating, searching on.

A round turns a wrong answer into a right one with probability theta, shared by the rounds of one question and unknown:
theta ~ Beta(a, b), as for draws under an exact check. A right answer stays (plans keep the best that they have). So the
gain of a course of rounds is (1 - P(right)) times that of draws against an exact check, and a round that brought
nothing better counts as a failure: rounds stop when they stop helping, in units of value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core.belief import STOP, Belief, Continuation, Terms, picked_by
from .beliefs import ExactBelief

SETTLED = 1e-9  # doubt below which nothing is left to win


@dataclass(frozen=True, slots=True)
class RoundsBelief:
    """`stalled` rounds in a row brought nothing better; `left` more are possible at the most. P(right) of the answer on
    offer is what `evidence` says (None: there is no answer yet)."""

    stalled: int
    left: int
    evidence: Belief | None = None

    def p(self, terms: Terms) -> float | None:
        return self.evidence.p(terms) if self.evidence else None

    def pick(self, terms: Terms) -> int:
        return picked_by(self.evidence, terms)

    def best(self, terms: Terms) -> Continuation:
        """One round at a time: each needs what the last one brought. Gain is what is lacking to certainty, times what
        the rounds are expected to make good."""
        doubt = 1.0 - (self.p(terms) or 0.0)
        if doubt <= SETTLED:
            return STOP
        scaled = replace(terms, price=terms.price / doubt, per_second=0.0, cost=terms.cost + _time(terms))
        way = ExactBelief(self.stalled, self.left).best(scaled)
        if not way.size:
            return STOP
        rounds = way.cost / scaled.cost if scaled.cost else 1.0
        return Continuation(1, doubt * way.gain, rounds * terms.cost, rounds * terms.seconds)


def _time(terms: Terms) -> float:
    """Rounds follow one another, so that their time adds up like their money."""
    return terms.seconds * terms.per_second
