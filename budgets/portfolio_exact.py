"""Which arm next, where an exact check settles every draw: failures are all that there is to know.

The first pass ends the run, so that until then there is one course of events: whatever is bought fails. The best
adaptive way is therefore one sequence of purchases, and a place in it to stop. Where arms did not bear on one another
the highest index (chance per dollar) would always go first (Gittins 1979; Weitzman 1979); they share the question's
difficulty, and purchases come in lumps, so that the sequence is searched for: by dynamic programming over how often
each arm has failed, where that is few enough states, else by rollouts of the index rule (Tesauro & Galperin 1996),
which are never worse than the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

from ..core.belief import STOP, Continuation, Terms
from .exact_search import NOTHING, Buy, Search
from .portfolio_world import Tables, World
from .successes import OWN, Successes, beta_rows, declared

if TYPE_CHECKING:
    from .portfolio import Portfolio

LEAST = 1e-4  # of a mean chance


def exact_jointly(portfolio: Portfolio, terms: Sequence[Terms]) -> tuple[Continuation, ...]:
    """For each arm the best course that begins with it, `STOP` where that is not worth its price.

    A vote is a purchase that failed, `portfolio.batch` draws at once. What is known of the arms is what the policy's
    allocation has fitted for exact checks (`exact(portfolio, terms)`, where it has that), else its world of votes, else
    `successes.declared`.
    """
    world = _world(portfolio, terms)
    failed = [0] * len(world.arms)
    places = [_place(world, portfolio, i) for i in range(len(portfolio.arms))]
    for arm, _ in portfolio.votes:
        source, draws = places[arm]
        failed[source] += draws
    buys = []
    for i, (one, (source, draws)) in enumerate(zip(terms, places, strict=True)):
        most = min(one.steps, portfolio.left[i]) if portfolio.left else one.steps
        share = 1.0 / one.steps if one.steps > 0 else inf
        buys.append(Buy(source, draws, one.cost, one.seconds, most, share, one.at_once))
    return courses(world, tuple(failed), tuple(buys), terms[0].price, terms[0].per_second)


def _world(portfolio: Portfolio, terms: Sequence[Terms]) -> Successes:
    allocation = terms[0].priors.allocation
    exact = getattr(allocation, "exact", None)
    known: Successes | None = exact(portfolio, terms) if exact is not None else None
    if known is not None and all(known.place(key) is not None for key in portfolio.arms):
        return known
    costs = tuple(one.cost for one in terms)
    if isinstance(allocation, World):
        return _of_tables(portfolio.arms, portfolio.tables(terms[0], costs))
    return declared(terms[0].priors, portfolio.arms, costs)


@lru_cache(maxsize=256)
def _of_tables(arms: tuple[str, ...], tables: Tables) -> Successes:
    """The allocator's world as far as exact checks go: a draw passes where it holds an answer and is right."""
    import numpy as np

    mu = np.clip(tables.mu, LEAST, 1 - LEAST)
    rates = tuple(
        tuple(
            tuple((theta * (1.0 - blank), weight) for theta, weight in beta_rows(m * own, (1 - m) * own, OWN))
            for m in map(float, row)
        )
        for row, own, blank in zip(mu, map(float, tables.own), map(float, tables.blank), strict=True)
    )
    return Successes(arms, tuple(map(float, tables.weights)), rates)


def _place(world: Successes, portfolio: Portfolio, arm: int) -> tuple[int, int]:
    place = world.place(portfolio.arms[arm])
    assert place is not None
    return place[0], portfolio.batch[arm] if portfolio.batch else place[1]


@lru_cache(maxsize=4096)
def courses(
    world: Successes, failed: tuple[int, ...], buys: tuple[Buy, ...], price: float, per_second: float = 0.0
) -> tuple[Continuation, ...]:
    """For each of `buys` the best course that begins with it, after so many failed draws of each arm of the world.
    Of purchases of the same arm the one that may be bought the most draws of says how far that can go. Where the world
    was fitted on few questions, a course must be worth more than `SURER` standard errors of what it is worth."""
    ways = Search.of(world, failed, buys, price, per_second).ways()
    nets = [way.gain - price * (way.cost + way.seconds * per_second) for way in ways]
    return tuple(way if net > NOTHING else STOP for way, net in zip(ways, nets, strict=True))


def sequence(
    world: Successes, failed: tuple[int, ...], buys: tuple[Buy, ...], price: float, per_second: float = 0.0
) -> tuple[tuple[int, int], ...]:
    """What is bought as long as everything fails: (index of the purchase, how many of it at once), in order; empty
    where nothing is worth its price. What a run does, as its terms stay as they are."""
    found: list[tuple[int, int]] = []
    while True:
        ways = courses(world, failed, buys, price, per_second)
        nets = [way.gain - price * (way.cost + way.seconds * per_second) for way in ways]
        best = max(range(len(nets)), key=lambda i: nets[i], default=-1)
        if best < 0 or not ways[best].size:
            return tuple(found)
        size, bought = ways[best].size, buys[best]
        found.append((best, size))
        spent = size * bought.draws
        failed = tuple(n + spent * (s == bought.source) for s, n in enumerate(failed))
        buys = tuple(
            buy._replace(most=buy.most - (size if i == best else -(-spent // buy.draws)))
            if buy.source == bought.source
            else buy
            for i, buy in enumerate(buys)
        )
