"""Looking ahead over many answers: the heaviest are followed one by one, the others count as one.

Looking ahead over answers takes time and memory that grow with the square of how many there are: with 60 different ones
a decision would take seconds. One that few draws gave, and that no verdict speaks for, is next to never what another
draw or two would make the answer. What P(right) is read from, and which answer is picked, weighs them all: that is
cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .evidence import Evidence

if TYPE_CHECKING:
    from ..core.belief import Terms
    from .portfolio import Portfolio

HEAVIEST = 8  # answers that are followed one by one


def lumped(weights: Sequence[float], most: int = HEAVIEST) -> tuple[int, ...]:
    """A new index for each answer: the heaviest `most` keep their order, and all others share the index `most`. Where
    no more than one would have it, all keep their own. Of equals the first are kept."""
    if len(weights) <= most + 1:
        return tuple(range(len(weights)))
    ranked = sorted(range(len(weights)), key=lambda i: -weights[i])
    places = {i: place for place, i in enumerate(sorted(ranked[:most]))}
    return tuple(places.get(i, most) for i in range(len(weights)))


def near(portfolio: Portfolio, terms: Sequence[Terms]) -> Portfolio:
    """The portfolio to look ahead from; the same one where its answers are few. `terms`: one for each arm.

    The answers that share an index count as refuted: as one answer with all of their votes they would be the likeliest,
    and there is none that could be given. The urn of wrong answers stays as it is. P(each of the heaviest is right)
    does too: what the others had goes to "none so far is right", by evidence against all of the heaviest in the name of
    a verifier that nobody has measured, whose word is taken as it is."""
    if portfolio.exact or len(portfolio.said) <= HEAVIEST + 1:
        return portfolio
    told = replace(terms[0], others=tuple(one.cost for one in terms))
    chances = portfolio.chances(told)
    places = lumped(chances)
    kept = [i for i, place in enumerate(places) if place < HEAVIEST]
    rest = [i for i, place in enumerate(places) if place == HEAVIEST]
    none = max(0.0, 1.0 - sum(chances))
    among = none + sum(chances[i] for i in rest)
    ratio = none / among if among > 0 else 1.0
    against = (("", ratio / (1.0 + ratio)),) if ratio < 1.0 else ()
    said = [replace(portfolio.said[i], said=portfolio.said[i].said + against) for i in kept]
    count = sum(portfolio.said[i].count for i in rest)
    votes = tuple((arm, places[answer] if answer >= 0 else -1) for arm, answer in portfolio.votes)
    return replace(portfolio, votes=votes, said=(*said, Evidence(count, refuted=True)))
