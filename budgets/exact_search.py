"""The search for the best sequence of purchases under an exact check (`budgets.portfolio_exact`): dynamic programming
over how often each arm has failed, or rollouts of the index rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd, inf, prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..core.belief import STOP, Continuation
from .beliefs import WIDEST
from .successes import Successes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

DRAWS = 128  # of one arm that are looked ahead
STATES, SIZES = 6_000, 8  # of the dynamic programme; sizes of a wave that are tried
LONGEST, SHORT = 16, 6  # purchases of a rollout; arms that are rolled out, those of the highest index
NOTHING = 1e-9  # a net below it is none
SURER = 0.5  # standard errors that a course must be worth more than nothing


class Buy(NamedTuple):  # many are made for each decision, and hashed: a tuple is the quickest to do so
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
class Move:
    """A wave of `size` purchases `buy`: `units` further along axis `axis`."""

    buy: int
    size: int
    axis: int
    units: int
    cost: float
    seconds: float
    asked: float  # what it must bring, in value
    share: float


@dataclass(frozen=True, slots=True)
class Search:
    """One search. An axis is an arm of the world that can still be bought, in units of its smallest purchases.

    `weights`: of the classes after what has failed, sum 1. `missed[axis]`: P(units more fail | class), (classes,
    depth + 1). `depths`: how many units an axis can go. `shares`: of the classes before anything failed; `questions`:
    how many those are shares of (0: declared)."""

    buys: tuple[Buy, ...]
    weights: Any
    missed: tuple[Any, ...]
    depths: tuple[int, ...]
    moves: tuple[Move, ...]
    shares: Any = None
    questions: int = 0

    @classmethod
    def of(
        cls, world: Successes, failed: tuple[int, ...], buys: tuple[Buy, ...], price: float, per_second: float
    ) -> Search:
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
                    moves.append(Move(i, size, axis, along, size * buy.cost, wait, asked, size * buy.share))
        known = np.asarray(world.weights), world.questions
        found = cls(buys, weights / total, tuple(tables), tuple(depths), tuple(moves), *known)
        return found if prod(d + 1 for d in depths) <= STATES else found.shallower()

    def ways(self) -> tuple[Continuation, ...]:
        """The best course that begins with each of the purchases, whatever it is worth."""
        if not self.moves:
            return (STOP,) * len(self.buys)
        return self.planned() if prod(d + 1 for d in self.depths) <= STATES else self.rolled()

    def shallower(self) -> Search:
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
        return replace(self, missed=cut, depths=tuple(depths), moves=moves)

    def course(self, path: tuple[int, ...]) -> Continuation:
        """What a sequence of moves brings and costs while everything fails; `STOP` where that cannot be told from
        nothing. What cannot be told from nothing at its end speaks for nothing before it either."""
        import numpy as np

        alive, at = [np.ones(len(self.weights))], [0] * len(self.depths)
        for index in path:
            axis = self.moves[index].axis
            before = self.missed[axis][:, at[axis]]
            at[axis] += self.moves[index].units
            with np.errstate(invalid="ignore", divide="ignore"):
                alive.append(np.where(before > 0, alive[-1] * self.missed[axis][:, at[axis]] / before, 0.0))
        rest = np.zeros(len(self.weights))  # value of what follows, by class
        for step in range(len(path) - 1, -1, -1):
            rest = rest + alive[step] * (1.0 - self.moves[path[step]].asked) - alive[step + 1]
            if self._doubtful(rest, alive[step]):
                rest = np.zeros(len(self.weights))
        if self.questions and not rest.any():
            return STOP
        reached = [float(self.weights @ one) for one in alive]
        moves = [self.moves[index] for index in path]
        cost = sum(move.cost * share for move, share in zip(moves, reached, strict=False))
        seconds = sum(move.seconds * share for move, share in zip(moves, reached, strict=False))
        return Continuation(moves[0].size, reached[0] - reached[-1], cost, seconds)

    def _doubtful(self, rest: Any, alive: Any) -> bool:
        """Whether a mean over classes is within `SURER` standard errors of 0 or below, the weights of the classes
        being shares of so many questions. `rest` holds the chance to come so far, which is `alive`."""
        import numpy as np

        if not self.questions:
            return False
        mass = self.weights * alive
        total = mass.sum()
        if total <= 0:
            return True
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(alive > 0, rest / alive, 0.0)
        mean = float(mass @ value / total)
        # Of a ratio of means over questions: each class counts by how many of its questions have come so far.
        spread = float((mass / total) ** 2 / self.shares @ (value - mean) ** 2) / self.questions
        return bool(mean < SURER * spread**0.5)

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
            self.course(self._followed(firsts[i][1], chosen, offsets)) if i in firsts else STOP
            for i in range(len(self.buys))
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

    def _followed(self, first: int, chosen: Any, offsets: Any) -> tuple[int, ...]:
        state, index, path = 0, first, []
        while index >= 0:
            path.append(index)
            state += int(offsets[index])
            index = int(chosen[state])
        return tuple(path)

    # -- rollouts ------------------------------------------------------------------------------------------------------

    def rolled(self) -> tuple[Continuation, ...]:
        """Each arm of a short list first, then always the highest chance per value asked, as long as it is above 1.
        Arms that are not on it end with their first wave."""
        import numpy as np

        roller = Roller.of(self)
        worth = roller.worth(np.zeros(len(self.depths), dtype=int), self.weights, 0.0)
        firsts: dict[int, int] = {}
        for index, move in enumerate(self.moves):
            if worth[index] > -inf and (move.buy not in firsts or worth[index] > worth[firsts[move.buy]]):
                firsts[move.buy] = index
        listed = set(sorted(firsts, key=lambda buy: -worth[firsts[buy]])[:SHORT])
        paths = {i: roller.path(at, self.weights) if i in listed else (at,) for i, at in firsts.items()}
        return tuple(self.course(paths[i]) if i in paths else STOP for i in range(len(self.buys)))


@dataclass(frozen=True, slots=True)
class Roller:
    """The index rule, all moves at once. `tables`: (axes, depth + 1, classes), 0 beyond an axis' own depth."""

    tables: Any
    axes: Any
    units: Any
    depths: Any
    asked: Any
    shares: Any

    @classmethod
    def of(cls, search: Search) -> Roller:
        import numpy as np

        deepest, moves = max(search.depths), search.moves
        tables = np.zeros((len(search.depths), deepest + 1, len(search.weights)))
        for axis, table in enumerate(search.missed):
            tables[axis, : table.shape[1]] = table.T
        columns = [np.asarray([getattr(m, name) for m in moves]) for name in ("axis", "units", "asked", "share")]
        return cls(tables, columns[0], columns[1], np.asarray(search.depths)[columns[0]], columns[2], columns[3])

    def worth(self, at: Any, weights: Any, spent: float) -> Any:
        """Chance of a pass per value asked of each move, once so many units of each axis have failed; -inf where it
        cannot be made or brings nothing."""
        import numpy as np

        here = at[self.axes]
        after = here + self.units
        can = (after <= self.depths) & (spent + self.shares <= 1 + NOTHING)
        now, then = self.tables[self.axes, here], self.tables[self.axes, np.minimum(after, self.depths)]
        with np.errstate(invalid="ignore", divide="ignore"):
            hits = 1.0 - np.where(now > 0, then / now, 0.0) @ weights
            found = np.where(self.asked > 0, hits / self.asked, inf)
        return np.where(can & (hits > NOTHING), found, -inf)

    def path(self, index: int, weights: Any) -> tuple[int, ...]:
        """The moves from `index` on while everything fails. `weights` of the classes sum to 1."""
        import numpy as np

        at, spent, found = np.zeros(len(self.tables), dtype=int), 0.0, [index]
        while len(found) < LONGEST:
            axis = self.axes[index]
            now = self.tables[axis, at[axis]]
            at[axis] += self.units[index]
            spent += float(self.shares[index])
            with np.errstate(invalid="ignore", divide="ignore"):
                weights = np.where(now > 0, weights * self.tables[axis, at[axis]] / now, 0.0)
            left = float(weights.sum())
            if left <= NOTHING:
                break
            weights = weights / left
            worth = self.worth(at, weights, spent)
            index = int(worth.argmax())
            if worth[index] <= 1.0 + NOTHING:
                break
            found.append(index)
        return tuple(found)


def _sizes(buy: Buy, per_second: float) -> tuple[int, ...]:
    """Sizes of a wave that may be the best: one where time is free, else powers of two as well."""
    most = min(buy.most, WIDEST, buy.at_once if buy.at_once > 0 else WIDEST)
    if per_second == 0 or buy.seconds == 0:
        return (1,)
    return tuple(2**k for k in range(SIZES) if 2**k <= most)
