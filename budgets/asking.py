"""What asking verifiers of an answer is worth, among answers that several arms gave (`budgets.portfolio`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..core.belief import STOP, Channel, Continuation, Terms
from .checking import NOTHING, joint
from .portfolio import Portfolio


@dataclass(frozen=True, slots=True)
class AskBelief:
    """About asking `verifiers` of the answer with index `answer`. The expected value of sample information (Raiffa &
    Schlaifer 1961): what the best choice is expected to be worth once they have spoken, less what it is worth now."""

    portfolio: Portfolio
    answer: int
    verifiers: tuple[str, ...]

    def p(self, terms: Terms) -> float | None:
        return self.portfolio.p(terms)

    def pick(self, terms: Terms) -> int:
        return self.portfolio.pick(terms)

    def best(self, terms: Terms) -> Continuation:
        if terms.steps <= 0:
            return STOP
        chances = self.portfolio.chances(terms)
        now = terms.value(max(chances))
        gain = after(chances, self.answer, joint(terms.priors, self.verifiers), terms.wrong) - now
        return Continuation(1, gain, terms.cost, terms.seconds) if gain > NOTHING else STOP


@lru_cache(maxsize=4096)
def after(chances: tuple[float, ...], asked: int, channel: Channel, wrong: float) -> float:
    """The value expected of the best choice after a verdict on the answer `asked`. `chances`: P(right) of each answer
    now, at most one of which is right."""
    p = chances[asked]
    others = max((q for i, q in enumerate(chances) if i != asked), default=0.0)
    total = 0.0
    for right, deceived in channel.levels:
        said = p * right + (1 - p) * deceived
        if said > 0:
            best = max(p * right, others * deceived) / said
            total += said * max(0.0, best - (1 - best) * wrong)
    return total
