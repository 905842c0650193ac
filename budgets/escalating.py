"""The value of the next stage of a cascade: a dearer way of answering, asked only where the cheap one is in doubt.

Fitted ladders (`experiments.cascading`) say how often each stage is right, given how far the answers so far agree, so
that what escalating gains is read off for any price: FrugalGPT's thresholds (Chen, Zaharia & Zou 2023, 2305.05176)
follow from it, and need not be fitted anew for each worth. Where a verdict was heard it is P(right) that decides, with
the chances that the next stage is right after a right and after a wrong answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.belief import STOP, Belief, Continuation, Ladder, Terms, picked_by
from .beliefs import Unstarted
from .rounds import RoundsBelief

NOTHING = 1e-9  # a gain below it is none


@dataclass(frozen=True, slots=True)
class EscalatingBelief:
    """About the stage with index `stage` of the chain called `chain`, of which `left` stages are still to come.

    `agreement`: count / (draws + 1) of the answer on offer, over all stages so far (0: they gave none). `told`: what
    verdicts say of it, None where nothing was said. `evidence`: what P(right) is read from where a verdict was heard or
    the chain was not fitted; None before there is an answer.
    """

    chain: str
    stage: int
    left: int
    agreement: float = 0.0
    told: float | None = None
    evidence: Belief | None = None

    def p(self, terms: Terms) -> float | None:
        if self.evidence is None:
            return None
        ladder = self._ladder(terms)
        if self.told is not None or ladder is None or self.stage == 0:
            return self.evidence.p(terms)
        return ladder.reach(self.stage - 1, self.agreement)[0]

    def pick(self, terms: Terms) -> int:
        return picked_by(self.evidence, terms)

    def best(self, terms: Terms) -> Continuation:
        """The best of going on by one stage, by two, ... without a look in between: a lower bound of what looking
        after each is worth."""
        if terms.steps <= 0 or self.left <= 0:
            return STOP
        ladder = self._ladder(terms)
        if ladder is None:
            way = RoundsBelief(0, self.left, self.evidence).best(terms) if self.evidence else Unstarted().best(terms)
            return way if way.net(terms) > 0 else STOP
        p = self.p(terms)
        now = terms.value(p if p is not None else self.told or 0.0)
        best, paid = STOP, 0.0
        for ahead, right in enumerate(self._then(ladder, p)):
            paid += terms.cost * ladder.times(self.stage, self.stage + ahead)
            way = Continuation(1, terms.value(right) - now, paid, terms.seconds * (ahead + 1))
            if way.gain > NOTHING and way.net(terms) > max(0.0, best.net(terms)):
                best = way
        return best

    def _then(self, ladder: Ladder, p: float | None) -> tuple[float, ...]:
        """P(right) of this stage's answer, and of each after it."""
        if self.stage == 0:
            return ladder.alone
        if self.told is None:
            return ladder.reach(self.stage - 1, self.agreement)[1:]
        p = p if p is not None else self.told
        return tuple(p * right + (1 - p) * wrong for right, wrong in ladder.follows[self.stage - 1])

    def _ladder(self, terms: Terms) -> Ladder | None:
        return terms.priors.ladders.get(self.chain)
