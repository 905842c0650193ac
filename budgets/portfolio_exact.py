"""Which arm next, where an exact check settles every draw: failures are all that there is to know.

The first pass ends the run, so that until then there is one course of events: whatever is bought fails. The best
adaptive way is therefore one sequence of purchases, and a place in it to stop. Where arms did not bear on one another
the highest index (chance per dollar) would always go first (Gittins 1979; Weitzman 1979); they share the question's
difficulty, and purchases come in lumps, so that the sequence is searched for: by dynamic programming over how often
each arm has failed, where that is few enough states, else by rollouts of the index rule (Tesauro & Galperin 1996), which
are never worse than the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, inf, prod
from typing import TYPE_CHECKING, Any, TypeAlias

from ..core.belief import STOP, Continuation, Terms
from .beliefs import WIDEST
from .successes import Successes, declared

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .portfolio import Portfolio

    Floats: TypeAlias = NDArray[np.float64]

DRAWS = 128  # of one arm that are looked ahead
STATES, SIZES = 60_000, 8  # of the dynamic programme; sizes of a wave that are tried
LONGEST, SHORT = 32, 8  # purchases of a rollout; arms that are rolled out, those of the highest index
NOTHING = 1e-9  # a net below it is none


@dataclass(frozen=True, slots=True)
class Buy:
    """A way to buy: `draws` draws of an arm of the world for `cost` dollars and, a wave of them, `seconds`; at most
    `most` times. `share`: of the purse, at its worst."""

    source: int
    draws: int
    cost: float
    seconds: float
    most: int
    share: float
    at_once: int = 0


@dataclass(frozen=True, slots=True)
class _Move:
    """A wave of `size` purchases `buy`: `units` further along axis `axis`."""

    buy: int
    size: int
    axis: int
    units: int
    cost: float
    seconds: float
    asked: float  # what it must bring, in value
    share: float


def exact_jointly(portfolio: Portfolio, terms: Sequence[Terms]) -> tuple[Continuation, ...]:
    """For each arm the best course that begins with it, `STOP` where that is not worth its price.

    A vote is a purchase that failed, `portfolio.batch` draws at once. The world is what `terms[0].priors.allocation`
    knows (`exact(portfolio, terms)`), else `successes.declared`.
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
    priors = terms[0].priors
    exact = getattr(getattr(priors, "allocation", None), "exact", None)
    known: Successes | None = exact(portfolio, terms) if exact is not None else None
    if known is not None and all(known.place(key) is not None for key in portfolio.arms):
        return known
    return declared(priors, portfolio.arms, [one.cost for one in terms])


def _place(world: Successes, portfolio: Portfolio, arm: int) -> tuple[int, int]:
    place = world.place(portfolio.arms[arm])
    assert place is not None
    return place[0], portfolio.batch[arm] if portfolio.batch else place[1]


@lru_cache(maxsize=4096)
def courses(
    world: Successes, failed: tuple[int, ...], buys: tuple[Buy, ...], price: float, per_second: float = 0.0
) -> tuple[Continuation, ...]:
    """For each of `buys` the best course that begins with it, after so many failed draws of each arm of the world.
    Of purchases of the same arm the one that may be bought the most draws of says how far that can go."""
    search = _Search.of(world, failed, buys, price, per_second)
    if not search.moves:
        return (STOP,) * len(buys)
    ways = search.planned() if prod(d + 1 for d in search.depths) <= STATES else search.rolled()
    nets = [way.gain - price * (way.cost + way.seconds * per_second) for way in ways]
    return tuple(way if net > NOTHING else STOP for way, net in zip(ways, nets, strict=True))


@dataclass(frozen=True, slots=True)
class _Search:
    """`weights`: of the classes after what failed, sum 1. `missed[axis]`: P(units more fail | class), (classes, depth +
    1). `depths`: units that an axis can go."""

    buys: tuple[Buy, ...]
    weights: Any
    missed: tuple[Any, ...]
    depths: tuple[int, ...]
    moves: tuple[_Move, ...]

    @classmethod
    def of(
        cls, world: Successes, failed: tuple[int, ...], buys: tuple[Buy, ...], price: float, per_second: float
    ) -> _Search:
        import numpy as np

        live = [buy for buy in buys if buy.most > 0]
        sources = sorted({buy.source for buy in live})
        weights = np.asarray(world.weights)
        for source, often in enumerate(failed):
            if often:
                weights = weights * world.missed(source, often)[:, -1]
        total = weights.sum()
        if total <= 0:
            return cls(buys, weights, (), (), ())  # what never fails has failed: nothing is known any more
        units = [gcd(*(buy.draws for buy in live if buy.source == s)) for s in sources]
        most = [max(min(buy.most, DRAWS) * buy.draws for buy in live if buy.source == s) for s in sources]
        depths = [min(m, max(DRAWS, u)) // u for m, u in zip(most, units, strict=True)]
        tables = []
        for source, unit, depth in zip(sources, units, depths, strict=True):
            table = world.missed(source, failed[source] + depth * unit)[:, failed[source] :: unit]
            with np.errstate(invalid="ignore", divide="ignore"):
                tables.append(np.where(table[:, :1] > 0, table / table[:, :1], 0.0))
        moves = []
        for i, buy in enumerate(buys):
            if buy.most <= 0:
                continue
            axis = sources.index(buy.source)
            for size in _sizes(buy, per_second):
                along = size * buy.draws // units[axis]
                if along <= depths[axis]:
                    wait = -(-size // buy.at_once) * buy.seconds if buy.at_once > 0 else buy.seconds
                    asked = price * (size * buy.cost + wait * per_second)
                    moves.append(_Move(i, size, axis, along, size * buy.cost, wait, asked, size * buy.share))
        found = cls(buys, weights / total, tuple(tables), tuple(depths), tuple(moves))
        return found if prod(d + 1 for d in depths) <= STATES else found.shallower()

    def shallower(self) -> _Search:
        """The same, each axis only as far as a purchase there can be worth its price if nothing else is bought: what
        fails elsewhere makes it rarer still. Draws of one arm pass ever more rarely, the more have failed."""
        depths = []
        for axis, (table, depth) in enumerate(zip(self.missed, self.depths, strict=True)):
            lost = self.weights @ table
            far = 0
            for move in (m for m in self.moves if m.axis == axis):
                gains = lost[: depth + 1 - move.units] - lost[move.units :]
                good = (gains > move.asked * lost[: len(gains)]).nonzero()[0]
                far = max(far, int(good[-1]) + move.units if len(good) else move.units)
            depths.append(min(depth, far))
        cut = tuple(table[:, : depth + 1] for table, depth in zip(self.missed, depths, strict=True))
        moves = tuple(move for move in self.moves if move.units <= depths[move.axis])
        return _Search(self.buys, self.weights, cut, tuple(depths), moves)

    # -- dynamic programming -------------------------------------------------------------------------------------------

    def planned(self) -> tuple[Continuation, ...]:
        """Backwards over the lattice of failures, all states of as many units at once. `alive`: P(all has failed) at
        each state; values there are times that, so that nothing is divided."""
        import numpy as np

        shape = tuple(depth + 1 for depth in self.depths)
        alive = self._alive().ravel()
        coordinates = np.indices(shape).reshape(len(shape), -1)
        strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        offsets = np.asarray([move.units * strides[move.axis] for move in self.moves])
        asked = np.asarray([move.asked for move in self.moves])
        spent = self._spent(coordinates)
        open_ = np.stack(
            [
                (coordinates[m.axis] + m.units <= self.depths[m.axis]) & (spent + m.share <= 1 + NOTHING)
                for m in self.moves
            ],
            axis=1,
        )
        values, chosen = np.zeros(len(alive)), np.full(len(alive), -1)
        level = coordinates.sum(axis=0)
        order = np.argsort(-level, kind="stable")
        bounds = np.flatnonzero(np.diff(level[order])) + 1
        for states in np.split(order, bounds):
            after = np.where(open_[states], states[:, None] + offsets, states[:, None])
            net = alive[states, None] * (1.0 - asked) - alive[after] + values[after]
            net = np.where(open_[states], net, -inf)
            best = net.argmax(axis=1)
            value = net[np.arange(len(states)), best]
            good = value > NOTHING * alive[states]
            values[states], chosen[states] = np.where(good, value, 0.0), np.where(good, best, -1)
        firsts: dict[int, tuple[float, int]] = {}
        for index, move in enumerate(self.moves):
            if open_[0, index]:
                net0 = float(1.0 - asked[index] - alive[offsets[index]] + values[offsets[index]])
                if move.buy not in firsts or net0 > firsts[move.buy][0]:
                    firsts[move.buy] = net0, index
        return tuple(
            self._course(firsts[i][1], alive, chosen, offsets) if i in firsts else STOP for i in range(len(self.buys))
        )

    def _alive(self) -> Floats:
        """P(everything so far has failed) at each state of the lattice."""
        import numpy as np

        def joined(tables: Sequence[Any]) -> Any:
            found = np.ones((len(self.weights), 1))
            for table in tables:
                found = (found[:, :, None] * table[:, None, :]).reshape(len(found), -1)
            return found

        half = len(self.missed) // 2
        return np.asarray((joined(self.missed[:half]) * self.weights[:, None]).T @ joined(self.missed[half:]))

    def _spent(self, coordinates: Any) -> Any:
        """Shares of the purse that are gone at each state, if every unit was bought in the cheapest way."""
        each = [
            min((m.share / m.units for m in self.moves if m.axis == axis), default=0.0)
            for axis in range(len(self.depths))
        ]
        return sum(share * coordinates[axis] for axis, share in enumerate(each))

    def _course(self, first: int, alive: Any, chosen: Any, offsets: Any) -> Continuation:
        state, index, gain, cost, seconds = 0, first, 0.0, 0.0, 0.0
        while index >= 0:
            move = self.moves[index]
            reached = float(alive[state])
            state += int(offsets[index])
            gain += reached - float(alive[state])
            cost, seconds = cost + reached * move.cost, seconds + reached * move.seconds
            index = int(chosen[state])
        return Continuation(self.moves[first].size, gain, cost, seconds)

    # -- rollouts ------------------------------------------------------------------------------------------------------

    def rolled(self) -> tuple[Continuation, ...]:
        """Each arm of a short list first, then always the highest chance per value asked, as long as it is above 1.
        Arms that are not on it end with their first wave."""
        import numpy as np

        lost = np.asarray([float(self.weights @ self.missed[m.axis][:, m.units]) for m in self.moves])
        asked = np.asarray([move.asked for move in self.moves])
        shares = np.asarray([move.share for move in self.moves])
        worth = _index(1.0 - lost, asked)
        firsts: dict[int, int] = {}
        for index, move in enumerate(self.moves):
            if shares[index] <= 1 + NOTHING and (move.buy not in firsts or worth[index] > worth[firsts[move.buy]]):
                firsts[move.buy] = index
        listed = set(sorted(firsts, key=lambda buy: -worth[firsts[buy]])[:SHORT])
        return tuple(
            self._rollout(firsts[i], i in listed, asked, shares) if i in firsts else STOP for i in range(len(self.buys))
        )

    def _rollout(self, index: int, on: bool, asked: Any, shares: Any) -> Continuation:
        import numpy as np

        at, weights, spent = [0] * len(self.depths), self.weights, 0.0
        gain = cost = seconds = 0.0
        size = self.moves[index].size
        for _ in range(LONGEST if on else 1):
            move, reached = self.moves[index], float(weights.sum())
            table = self.missed[move.axis]
            now = table[:, at[move.axis]]
            at[move.axis] += move.units
            with np.errstate(invalid="ignore", divide="ignore"):
                weights = np.where(now > 0, weights * table[:, at[move.axis]] / now, 0.0)
            left = float(weights.sum())
            gain, spent = gain + reached - left, spent + move.share
            cost, seconds = cost + reached * move.cost, seconds + reached * move.seconds
            if left <= NOTHING:
                break
            worth = _index(self._hits(at, weights / left), asked)
            worth[spent + shares > 1 + NOTHING] = -inf
            index = int(worth.argmax())
            if worth[index] <= 1.0 + NOTHING:
                break
        return Continuation(size, gain, cost, seconds)

    def _hits(self, at: list[int], weights: Any) -> Any:
        """P(a pass within each wave) after so many units of each axis; below 0 where an axis ends."""
        import numpy as np

        found = np.full(len(self.moves), -1.0)
        for index, move in enumerate(self.moves):
            table, here = self.missed[move.axis], at[move.axis]
            if here + move.units <= self.depths[move.axis]:
                now = table[:, here]
                with np.errstate(invalid="ignore", divide="ignore"):
                    rest = np.where(now > 0, table[:, here + move.units] / now, 0.0)
                found[index] = 1.0 - float(weights @ rest)
        return found


def _index(hits: Any, asked: Any) -> Any:
    """Chance per value asked; of what costs nothing, infinite."""
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(hits <= NOTHING, -inf, np.where(asked > 0, hits / asked, inf))


def _sizes(buy: Buy, per_second: float) -> tuple[int, ...]:
    """Sizes of a wave that may be the best: one where time is free, else powers of two as well."""
    most = min(buy.most, WIDEST, buy.at_once if buy.at_once > 0 else WIDEST)
    if per_second == 0 or buy.seconds == 0:
        return (1,)
    return tuple(2**k for k in range(SIZES) if 2**k <= most)
