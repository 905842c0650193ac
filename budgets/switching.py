"""Which arm next, where the purse is the limit: the one whose money buys the most.

The reservation price of a belief is the highest price of value at which one more step of it is still worth buying: for
arms that do not bear on one another a Gittins index (Gittins 1979), here in value per dollar, and the highest goes
first. Of ways that do bear on one another the one with the highest net is the best where the purse can pay for all that
is worth its price; where it cannot, the money itself is scarce, and what each dollar buys decides: fractional
knapsack's greedy order, with indices in place of weights. A large item may no longer fit behind small ones that each
buy more for a dollar: greedy order is kept to as long as the best way still fits, else that goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil, inf, log

from ..core.belief import STOP, Belief, Continuation, Terms

ENOUGH = 1 << 20  # steps of a purse that is no limit
TRIES, NEAR = 16, 1e-9
SCARCE = 0.05  # share of its net that a course must lose to the purse's limit for money to count as scarce


def reserve(belief: Belief, terms: Terms) -> float:
    """The highest price at which `belief` still goes on, 0 where it does at none, by its own `reserve(terms)` or
    from below: what the best way on at one price breaks even at is a higher one (Dinkelbach 1967), a handful of tries
    in all."""
    own: Callable[[Terms], float] | None = getattr(belief, "reserve", None)
    if own is not None:
        return own(terms)
    spent = terms.cost + terms.seconds * terms.per_second
    if spent <= 0:
        return inf if _goes(belief, terms) else 0.0
    # Value is at most 1 + wrong: no step can be worth more than that.
    high = (1.0 + terms.wrong) / spent
    if terms.steps <= 0:
        return 0.0
    if _goes(belief, replace(terms, price=2 * high)):
        return inf  # it was told to go on, whatever that buys
    low = 0.0
    for price in (terms.price, NEAR * high):
        for _ in range(TRIES):
            at = replace(terms, price=price)
            way = belief.best(at)
            paid = way.cost + way.seconds * terms.per_second
            if not way.size or way.net(at) <= 0.0 or paid <= 0:
                break
            low = max(low, price)
            price = way.gain / paid
            if price <= low * (1 + NEAR):
                break
            low = price
        if low > 0:
            return low
    return 0.0


def apart(ways: Sequence[tuple[Belief, Terms, Continuation]]) -> bool:
    """Whether all ways that are worth their price are arms of their own, none of which bears on another: those that
    know their index. After one of them the others are still there, so that the index says where to begin."""
    good = [belief for belief, terms, way in ways if way.size > 0 and way.net(terms) > 0.0]
    return len(good) > 1 and all(hasattr(belief, "reserve") for belief in good)


def scarce(ways: Sequence[tuple[Belief, Terms, Continuation]], best: int) -> bool:
    """Whether the purse binds: the way of the best net would be worth more if there were more money."""
    belief, terms, way = ways[best]
    if len(ways) < 2 or not way.size or way.gain == inf:
        return False
    free = replace(terms, steps=ENOUGH)
    return belief.best(free).net(free) > way.net(terms) * (1 + SCARCE) + NEAR


def dearest(ways: Sequence[tuple[Belief, Terms, Continuation]]) -> int:
    """Of the ways that are worth their price, the one with the highest reservation price: the first of equals."""
    worth = [way.size > 0 and way.net(terms) > 0.0 for _, terms, way in ways]
    found = [reserve(belief, terms) if ok else -1.0 for ok, (belief, terms, _) in zip(worth, ways, strict=True)]
    return max(range(len(found)), key=lambda i: found[i])


def leaves(ways: Sequence[tuple[Belief, Terms, Continuation]], first: int, best: int) -> bool:
    """Whether the next wave of way `best` can still be paid after that of way `first`. What the purse holds is read
    from the steps that it can pay, whole steps of the dearest at the least."""
    if first == best:
        return True
    purse = max(terms.steps * terms.cost for _, terms, _ in ways)
    (_, spent, one), (_, wanted, other) = ways[first], ways[best]
    return one.size * spent.cost + other.size * wanted.cost <= purse * (1 + NEAR)


def _goes(belief: Belief, terms: Terms) -> bool:
    way = belief.best(terms)
    return way.size > 0 and way.net(terms) > 0.0


AHEAD = 8  # steps that a rejected course may have
STEPS, CHEAPER = 10, 4.0  # prices that are tried for what was rejected, each so many times lower than the last


def rejected(belief: Belief, terms: Terms) -> Continuation:
    """The course that a belief which stops has rejected, `STOP` where nothing would have been gained: what it would do
    at the highest price at which it still goes on, as far as a few tries tell (its own `rejected(terms)` where it has
    one). At the terms' own price it is worth less than it costs."""
    own: Callable[[Terms], Continuation] | None = getattr(belief, "rejected", None)
    if own is not None:
        return own(terms)
    cheaper: Callable[[Terms], float] | None = getattr(belief, "reserve", None)
    if cheaper is not None:
        price = cheaper(terms)
        return belief.best(replace(terms, price=price * (1 - NEAR))) if 0 < price < inf else STOP
    if terms.price <= 0 or terms.steps <= 0:
        return STOP
    # Powers of four of a step's price, the same for all runs: beliefs keep tables by price.
    each = terms.cost if terms.cost > 0 else 1.0
    first = ceil(log(terms.price * each, CHEAPER)) - 1
    for power in range(first, first - STEPS, -1):
        price = CHEAPER**power / each
        way = belief.best(replace(terms, price=price, steps=min(terms.steps, AHEAD)))
        if way.size and way.gain > 0:
            return way
    return STOP
