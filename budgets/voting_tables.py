"""Tables of the best continuation of every state of a vote, at one price each, by dynamic programming.

A state is (votes, blanks); a table ends at `horizon` draws of either. Adaptive-Consistency (Aggarwal et al. 2023) and
ESC (Li et al. 2024) stop by a threshold instead, which knows neither the price of a draw nor how draws of the question
at hand go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.belief import STOP, Continuation, Terms
from .voting_world import State, World, moves, states

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .voting_world import Floats, Whole

WIDEST = 16  # the widest wave that is considered


class Grid:
    """The states of a world by the number of draws, P(right) of each and where a draw leads: what all its tables share.
    A level holds the states with as many draws, block by block: no blanks first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.index: list[dict[State, int]] = []
        self.offsets: list[list[int]] = []  # of the block of each number of blanks
        self.evidence: list[Floats] = []
        self.right: list[Floats] = []
        self.moves: list[tuple[Whole, Floats]] = []
        self._parts: list[tuple[Floats, Floats]] = []

    def grow(self, horizon: int) -> None:
        """Makes the levels up to `horizon` draws."""
        import numpy as np

        world, first = self.world, len(self.right)
        if horizon < first:
            return
        # The evidence of all new levels at once: most of its time on small ones goes into calls.
        fresh = [states(draws, world.close, world.open) for draws in range(first, horizon + 1)]
        cuts = np.cumsum([len(here) for here in fresh])[:-1].tolist()
        both = world.evidence(np.array([state for here in fresh for state in here]))
        self._parts += zip(*(np.split(part, cuts) for part in both), strict=True)
        for draws, here in enumerate(fresh, first):
            self.index.append({state: i for i, state in enumerate(here)})
            blocks = [(draws, 0)] if world.blind else [(draws - blanks, blanks) for blanks in range(draws + 1)]
            sizes = [len(self.index[votes]) for votes, _ in blocks]
            self.offsets.append([0, *np.cumsum(sizes)[:-1].tolist()])
            fades = [world.fade(*block) for block in blocks]
            good, every = (
                np.concatenate([self._parts[v][i] @ fade for (v, _), fade in zip(blocks, fades, strict=True)])
                for i in range(2)
            )
            self.evidence.append(every)
            self.right.append(good / np.maximum(every, 1e-300))
            if draws:
                self.moves.append(self._moves(draws - 1))

    def _moves(self, draws: int) -> tuple[Whole, Floats]:
        """(states x ways) twice: the successors' places on the next level, and their probabilities."""
        import numpy as np

        world, after, all_places, all_ways = self.world, self.offsets[draws + 1], [], []
        for blanks in range(len(self.offsets[draws])):
            places, ways = moves(draws - blanks, world.close, world.open)
            places = places + after[blanks]
            if not world.blind:
                blank = np.arange(len(places))[:, None] + after[blanks + 1]
                places, ways = np.hstack([places, blank]), np.hstack([ways, np.ones_like(blank)])
            all_places.append(places)
            all_ways.append(ways)
        places, ways = np.concatenate(all_places), np.concatenate(all_ways)
        odds = ways * self.evidence[draws + 1][places]
        return places, odds / np.maximum(odds.sum(axis=1, keepdims=True), 1e-300)

    def place(self, state: State, blanks: int) -> tuple[int, int]:
        """(level, place on it) of a state."""
        votes = sum(state)
        if self.world.blind:
            return votes, self.index[votes][state]
        return votes + blanks, self.offsets[votes + blanks][blanks] + self.index[votes][state]


class Table:
    """The best continuation of every state at one price: wave sizes (at most `widest`; where a wave costs nothing, 1),
    gains, expected draws and waves. Figures are kept of the states that go on; `nbytes`: what that takes."""

    def __init__(self, grid: Grid, step: float, wave: float, wrong: float, horizon: int, widest: int = WIDEST) -> None:
        import numpy as np

        grid.grow(horizon)
        self.grid, self.horizon = grid, horizon
        widest = widest if wave > 0 else 1
        self.size: list[NDArray[np.uint8]] = [np.zeros(0, dtype=np.uint8)] * (horizon + 1)
        self.figures: list[Floats] = [np.zeros((0, 3))] * (horizon + 1)  # (states that go on x gain, draws, waves)
        # ahead[m]: (states x 4) value, utility, draws and waves expected after m draws taken blindly from here.
        ahead: list[Floats] = []
        for n in range(horizon, -1, -1):
            p = grid.right[n]
            stop = np.maximum(0.0, p - (1.0 - p) * wrong)
            best = np.stack([stop, stop, np.zeros_like(stop), np.zeros_like(stop)], axis=1)
            size = np.zeros(len(stop), dtype=np.uint8)
            blind: list[Floats] = []
            if n < horizon:
                places, odds = grid.moves[n]
                blind = [np.einsum("sjk,sj->sk", rows[places], odds) for rows in ahead[:widest]]
                for m, rows in enumerate(blind, start=1):
                    net = rows[:, 0] - m * step - wave
                    better = net >= best[:, 0] - 1e-13 if m > 1 else net > best[:, 0] + 1e-13
                    better &= net > stop + 1e-13
                    size[better] = m
                    fresh = np.stack([net, rows[:, 1], rows[:, 2] + m, rows[:, 3] + 1], axis=1)
                    best = np.where(better[:, None], fresh, best)
            self.size[n] = size
            self.figures[n] = (best[:, 1:] - np.stack([stop, 0 * stop, 0 * stop], axis=1))[size > 0]
            ahead = [best, *blind]
        self.nbytes = sum(size.nbytes + rows.nbytes for size, rows in zip(self.size, self.figures, strict=True))

    @property
    def gain(self) -> list[Floats]:
        """Of each level, (states,): the gain of the best way on."""
        return [self._whole(n, 0) for n in range(self.horizon + 1)]

    @property
    def draws(self) -> list[Floats]:
        """Of each level, (states,): the draws expected of the best way on."""
        return [self._whole(n, 1) for n in range(self.horizon + 1)]

    def _whole(self, level: int, column: int) -> Floats:
        import numpy as np

        found: Floats = np.zeros(len(self.size[level]))
        found[self.size[level] > 0] = self.figures[level][:, column]
        return found

    def look_up(self, state: State, blanks: int, terms: Terms) -> Continuation:
        level, i = self.grid.place(state, blanks)
        size = int(self.size[level][i])
        if size == 0:
            return STOP
        row = int((self.size[level][:i] > 0).sum())
        gain, draws, waves = self.figures[level][row].tolist()
        return Continuation(size, gain, draws * terms.cost, waves * terms.seconds)
