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
from .portfolio_world import State, Tables, World, state

if TYPE_CHECKING:
    import numpy as np

    from .portfolio_ahead import Floats, Places

NOTHING = 1e-9  # a gain below it is none
SHORT, DEEP = 6, 4  # arms that are looked at two purchases ahead, and three
WIDE = 1 << 20


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
        """P(a draw that holds an answer is right), of each arm, before anything was seen."""
        return tuple(float(p) for p in self.tables(terms).chance)

    def jointly(self, terms: Sequence[Terms]) -> tuple[Continuation, ...]:
        """One for each arm, in order: the best course that begins with it, and the size of its next wave. `terms`: one
        for each arm, all at the same price and priors."""
        if self.exact:
            from .portfolio_exact import exact_jointly

            return exact_jointly(self, terms)
        return _jointly(self, terms)

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

    from .portfolio_ahead import Shop, ahead, root

    first = terms[0]
    costs = tuple([t.cost for t in terms])
    tables = portfolio.tables(first, costs)
    at = portfolio.state(first, tables)
    spent = np.array([t.cost + t.seconds * t.per_second for t in terms])
    price = first.price * spent
    steps = np.array([t.steps for t in terms])
    left = np.array(portfolio.left) if portfolio.left else np.full(len(terms), WIDE)
    can = (steps > 0) & (left > 0)
    if not can.any() or _ceiling(at, first) <= price[can].min():
        return (STOP,) * len(terms)
    which = np.flatnonzero(can)
    after = (steps - 1.0)[None, :] * spent[None, :] >= spent[:, None]
    most = at.own.sum(axis=1) + left
    found: list[Continuation] = [STOP] * len(terms)
    best: dict[int, tuple[float, Continuation]] = {}
    for depth, widest in ((1, len(which)), (2, SHORT), (3, DEEP)):
        if depth > 1:
            which = which[np.argsort(-nets, kind="stable")[:widest]]
        shop = Shop.of(tables, which, price[which], portfolio.choices, first.wrong, after[np.ix_(which, which)], most[which])
        nets, bought = (x[0] for x in ahead(root(at, which), shop, depth))
        nets = nets - _now(at, first)
        for i, arm in enumerate(which.tolist()):
            if nets[i] > best.get(arm, (NOTHING,))[0]:
                way = _way(float(nets[i]), bought[i], which, terms, first.price)
                if way.gain > NOTHING:
                    best[arm] = float(nets[i]), way
                    found[arm] = way
    return tuple(found)


def _way(net: float, bought: Floats, which: Places, terms: Sequence[Terms], price: float) -> Continuation:
    cost = seconds = money = 0.0
    for arm, often in zip(which.tolist(), bought.tolist(), strict=True):
        one = terms[arm]
        cost += often * one.cost
        seconds += often * one.seconds
        money += often * (one.cost + one.seconds * one.per_second)
    return Continuation(1, net + price * money, cost, seconds)


def _now(at: State, terms: Terms) -> float:
    """The value of answering now."""
    answers = at.answers[:-1]
    return terms.value(float(answers.max())) if len(answers) else 0.0


def _ceiling(at: State, terms: Terms) -> float:
    """More than this nothing can gain: what perfect information would be worth."""
    return 1.0 - _now(at, terms)
