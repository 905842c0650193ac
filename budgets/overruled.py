"""Where something else than the count decides which answer is given."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.belief import Belief, Continuation, Terms


@dataclass(frozen=True, slots=True)
class Overruled:
    """The evidence of `votes`, whose leader is not the answer that is given: weights or a model's choice stand against
    the count. How often that is right nobody has measured, so P(right) is not known; what one more draw is worth is
    still read from the votes."""

    votes: Belief

    def p(self, terms: Terms) -> float | None:
        return None

    def best(self, terms: Terms) -> Continuation:
        return self.votes.best(terms)
