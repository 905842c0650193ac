"""Evidence about one question over several arms, and what each of them would be worth next.

An arm is one way to get a candidate: a draw of a model, or a whole strategy or agent. Votes of all arms are weighed in
one posterior (`budgets.portfolio_world`), and the next arm is bought only where its vote can change the outcome enough,
looking up to three purchases ahead (`budgets.portfolio_ahead`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from ..core.belief import STOP, Continuation, Terms
from .evidence import Evidence
from .portfolio_world import State, Tables, World, next_right, state

if TYPE_CHECKING:
    from .portfolio_ahead import Floats, Places

NOTHING = 1e-9  # a gain below it is none
SHORT, DEEP = 6, 5  # arms that are looked at two purchases ahead, and three
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

    def predicted(self, terms: Terms, costs: tuple[float, ...] = ()) -> tuple[float, ...]:
        """P(right) of the next draw of each arm that holds an answer, after all that was seen. `costs`: expected
        dollars of a purchase of each arm, where `terms` do not say."""
        tables = self.tables(terms, costs)
        return tuple(next_right(self.state(terms, tables), tables).tolist())

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

    from .portfolio_ahead import ahead, first_draws, root, shop_of

    first, n = terms[0], len(terms)
    costs = [one.cost for one in terms]
    tables = portfolio.tables(first, tuple(costs))
    at = portfolio.state(first, tables)
    steps = np.array([one.steps for one in terms])
    asked = np.array((costs, portfolio.left or (WIDE,) * n, costs, [one.seconds for one in terms]))
    which = np.flatnonzero(np.minimum(steps, asked[1]) > 0)
    if len(which) < n:
        asked, steps = asked[:, which], steps[which]
    price, each = asked[0], asked[2:]
    if first.per_second:
        price += first.per_second * each[1]
    price *= first.price
    if not len(which) or 1.0 - _now(at, first) <= price.min():  # no more than that can be gained
        return (STOP,) * n
    purse = (steps - 1.0) * each[0]  # what is left of it after one purchase of each at its own worst
    after = None if purse.min() >= each[0].max() else purse >= each[0][:, None]
    shop = shop_of(tables, which, asked, portfolio.choices, first.wrong, after)
    here = root(at, tables, which)
    known = first_draws(here, shop) if portfolio.votes else None
    if known is None:
        chance = tables.chance[which]
        value = chance if not first.wrong else np.maximum(chance - first.wrong * (1.0 - chance), 0.0)
        nets, paid = shop.rows[3, :-1] * value - price, each.copy()
    else:
        net, cost = ahead(here, shop, 1, known)
        nets, paid = net[0], cost[:, 0]
    ranked = tables.ranked if len(which) == n else (-tables.chance[which]).argsort(kind="stable").tolist()
    for depth, widest in ((2, SHORT), (3, DEEP)) if len(at.masses) > 1 else ((3, DEEP),):
        if depth == 3 and len(at.masses) > 1 and len(nets) > DEEP and nets.max() > NOTHING:
            break  # among many arms three ahead is for what is bought first, and for whether to stop
        ends = _short(widest, nets, price, ranked)
        net, cost = ahead(here.only(ends), shop.only(ends), depth, known and known.only(ends))
        for arm, more, dollars, wait in zip(ends.tolist(), net[0].tolist(), *cost[:, 0].tolist(), strict=False):
            if more > nets[arm] + NOTHING:
                nets[arm], paid[0, arm], paid[1, arm] = more, dollars, wait
    found: list[Continuation] = [STOP] * n
    for i, gain, dollars, wait in zip(which.tolist(), nets.tolist(), *paid.tolist(), strict=True):
        if gain > NOTHING:
            found[i] = Continuation(1, gain + first.price * (dollars + first.per_second * wait), dollars, wait)
    return tuple(found)


def _short(most: int, nets: Floats, price: Floats, ranked: Sequence[int]) -> Places:
    """Arms that are looked at further: in turn that of the best net, of the best gain for its price where any has one,
    and of the best chance, as a cheap one and a strong one may be good together and neither of them alone. The last
    place is that after all of them."""
    import numpy as np

    n = len(nets)
    if n <= most:
        return np.arange(n + 1)
    rows = [(-nets).argsort(kind="stable")[:most].tolist(), ranked[:most]]
    gains = nets + price
    if gains.max() > NOTHING:
        ratios = gains / -np.maximum(price, 1e-12)
        best = ratios.argsort(kind="stable")[:most].tolist()
        rows.insert(1, [arm for arm in best if gains[arm] > NOTHING])
    arms = [arm for arm in dict.fromkeys(chain(*zip_longest(*rows))) if arm is not None]
    return np.array([*arms[:most], n])


def _now(at: State, terms: Terms) -> float:
    """The value of answering now."""
    answers = at.answers[:-1]
    return terms.value(float(answers.max())) if len(answers) else 0.0
