"""Evidence about one question over several arms, and what each of them would be worth next.

An arm is one way to get a candidate: a draw of a model, or a whole strategy or agent. Votes of all arms are weighed in
one posterior (`budgets.portfolio_world`), and the next arm is bought only where its vote can change the outcome enough,
looking up to three purchases ahead (`budgets.portfolio_ahead`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..core.belief import STOP, Belief, Continuation, Terms
from .evidence import Evidence
from .portfolio_world import State, Tables, World, next_right, state

if TYPE_CHECKING:
    import numpy as np

    from .portfolio_ahead import Floats, Places

NOTHING = 1e-9  # a gain below it is none
SHORT, DEEP = 5, 4  # arms that are looked at two purchases ahead, and three
ALWAYS = False
DEPTH = 3
WIDE = 1 << 20
CHEAPER = 6  # prices that are tried for what was rejected


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Evidence about one question over several arms.

    `arms`: their keys. `votes`: (arm, index of the answer; -1: it held none), in order; answers are numbered as in
    `said`, what verifiers said of each. `seen`: features of the question, `topic` what it is about. `choices`: number
    of options of a choice (0: open). `exact`: every draw is settled by exact checks. `left`: purchases that each arm
    may still make (empty: no limit; 0: it is gone). `batch`: draws that one purchase of each arm brings (empty: 1).
    """

    arms: tuple[str, ...]
    votes: tuple[tuple[int, int], ...] = ()
    said: tuple[Evidence, ...] = ()
    seen: tuple[float, ...] = ()
    topic: str = ""
    choices: int = 0
    exact: bool = False
    left: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()

    def p(self, terms: Terms) -> float | None:
        """P(right) of the likeliest answer; None where there is none, or where exact checks settle it."""
        if self.exact:
            return None
        found = self.state(terms)
        if len(found.masses) < 2:
            return None
        p, world = float(found.answers[:-1].max()), _world(terms)
        return world.settled(p) if world.settled is not None else p

    def pick(self, terms: Terms) -> int:
        """The likeliest answer, the first of equals."""
        found = self.state(terms)
        return int(found.answers[:-1].argmax()) if len(found.masses) > 1 else 0

    def chances(self, terms: Terms) -> tuple[float, ...]:
        """P(right) of each answer so far."""
        return tuple(float(p) for p in self.state(terms).answers[:-1])

    def predicted(self, terms: Terms) -> tuple[float, ...]:
        """P(right) of the next draw of each arm that holds an answer, after all that was seen."""
        tables = self.tables(terms)
        return tuple(float(p) for p in next_right(self.state(terms, tables), tables))

    def jointly(self, terms: Sequence[Terms]) -> tuple[Continuation, ...]:
        """One for each arm, in order: the best course that begins with it, and the size of its next wave. `terms`: one
        for each arm, all at the same price and priors."""
        if self.exact:
            from .portfolio_exact import exact_jointly

            return exact_jointly(self, terms)
        return _jointly(self, terms)

    def rejected(self, terms: Sequence[Terms]) -> tuple[Continuation, ...]:
        """The same at lower prices, for arms that are not worth their own: the course of each that was rejected."""
        found, price = list(self.jointly(terms)), terms[0].price
        for _ in range(CHEAPER):
            price /= 4.0
            if all(way.size for way in found):
                break
            more = self.jointly([replace(one, price=price) for one in terms])
            found = [way if way.size else other for way, other in zip(found, more, strict=True)]
        return tuple(found)

    def tables(self, terms: Terms, costs: tuple[float, ...] = ()) -> Tables:
        costs = costs or (terms.others if len(terms.others) == len(self.arms) else ())
        return _world(terms).tables(self.arms, costs, self.seen, self.topic, terms.priors.shifts)

    def state(self, terms: Terms, tables: Tables | None = None) -> State:
        """The posterior of what was seen."""
        ratios = tuple(one.ratio(terms.priors) for one in self.said) if any(map(_told, self.said)) else ()
        ratios += (1.0,) * (len(self.said) - len(ratios))
        return state(tables or self.tables(terms), self.votes, ratios, self.choices)


@dataclass(frozen=True, slots=True)
class ArmBelief:
    """One arm of a portfolio, as a `core.belief.Belief`. Alone it says what a course of this arm's purchases is worth;
    `scheduler.decisions.judge` asks the arms of one portfolio together."""

    portfolio: Portfolio
    arm: int

    def p(self, terms: Terms) -> float | None:
        return self.portfolio.p(terms)

    def pick(self, terms: Terms) -> int:
        return self.portfolio.pick(terms)

    def best(self, terms: Terms) -> Continuation:
        """The best course of this arm's own purchases."""
        n = len(self.portfolio.arms)
        none = replace(terms, steps=0)
        costs = terms.others if len(terms.others) == n else (terms.cost,) * n
        every = [replace(none, cost=cost) for cost in costs]
        every[self.arm] = terms
        return self.portfolio.jointly(every)[self.arm]


def _told(one: Evidence) -> bool:
    return one.refuted or bool(one.said)


def _world(terms: Terms) -> World:
    from .allocation_policy import declared

    found = terms.priors.allocation
    return found if isinstance(found, World) else declared()


def _jointly(portfolio: Portfolio, terms: Sequence[Terms]) -> tuple[Continuation, ...]:
    import numpy as np

    from .portfolio_ahead import ahead, root, shop_of

    first, n = terms[0], len(terms)
    costs = [one.cost for one in terms]
    tables = portfolio.tables(first, tuple(costs))
    at = portfolio.state(first, tables)
    spent, steps = np.array(costs), np.array([one.steps for one in terms])
    if first.per_second:
        spent = spent + first.per_second * np.array([one.seconds for one in terms])
    can = steps > 0
    if portfolio.left:
        left = np.array(portfolio.left)
        can &= left > 0
    which, now = np.flatnonzero(can), _now(at, first)
    if not len(which) or 1.0 - now <= first.price * spent[which].min():  # no more than that can be gained
        return (STOP,) * n
    spent = spent[which]
    most = at.own.sum(axis=1)[which] + left[which] if portfolio.left else np.full(len(which), float(WIDE))
    after = ((steps[which] - 1.0) * spent >= spent[:, None]).astype(float)
    shop = shop_of(tables, which, first.price * spent, portfolio.choices, first.wrong, after, most)
    net, bought = ahead(root(at, tables, which), shop, 1)
    nets, counts, places = net[0] - now, [(which, bought[0])], np.zeros(len(which), dtype=np.int64)
    for depth, widest in ((2, SHORT), (3, DEEP)):
        if depth > DEPTH or (depth == 3 and nets.max() > NOTHING and not ALWAYS):
            break
        short = _short(widest, nets, -shop.mu @ tables.weights, -(nets + shop.price) / shop.price) if len(nets) > widest else np.arange(len(nets))
        net, bought = ahead(root(at, tables, which[short]), shop.only(short), depth)
        better = net[0] - now > nets[short] + NOTHING
        nets[short[better]] = net[0][better] - now
        places[short[better]] = len(counts) * WIDE + np.flatnonzero(better)
        counts.append((which[short], bought[0]))
    found: list[Continuation] = [STOP] * n
    for i in np.flatnonzero(nets > NOTHING).tolist():
        batch, row = divmod(int(places[i]), WIDE)
        arms, often = counts[batch]
        found[which[i]] = _way(float(nets[i]), often[row if batch else i], arms, terms)
    return tuple(found)


def _short(most: int, nets: Floats, *others: Floats) -> Places:
    """The arms of the best nets, and in turn those that are first by something else, lowest first."""
    import numpy as np

    ranked = [np.argsort(-nets, kind="stable")[:most].tolist()]
    ranked += [np.argsort(other, kind="stable")[:most].tolist() for other in others]
    found = dict.fromkeys(arm for row in zip(*ranked, strict=True) for arm in row)
    return np.array(list(found)[:most])


def _way(net: float, bought: Floats, arms: Places, terms: Sequence[Terms]) -> Continuation:
    """The course on which each of `arms` is bought so often."""
    cost = seconds = 0.0
    for arm, often in zip(arms.tolist(), bought.tolist(), strict=True):
        if often:
            cost += often * terms[arm].cost
            seconds += often * terms[arm].seconds
    first = terms[0]
    return Continuation(1, net + first.price * (cost + seconds * first.per_second), cost, seconds)


def _now(at: State, terms: Terms) -> float:
    """The value of answering now."""
    answers = at.answers[:-1]
    return terms.value(float(answers.max())) if len(answers) else 0.0
