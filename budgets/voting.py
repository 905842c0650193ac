"""Voting: from the counts of the answers so far to P(right) and the best adaptive continuation.

One model of the world gives both. A question is of a kind (theta, phi): a draw is right with probability theta, hits
the one systematic mistake with phi, and is otherwise some fresh wrong answer that nobody repeats. The kind is not
known: weights over kinds are declared, or fitted on a bank. A state is (first, second, rest): the leader's count,
the runner-up's, and all others'. Because transitions and P(right) come from the same
model, the expected P(right) of a fixed answer does not change by drawing, so that no gain is a phantom.

The continuation is dynamic programming over the states (Adaptive-Consistency, Aggarwal et al. 2023, stops by a
threshold instead), tabulated once for each price and read in O(1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ..core.belief import STOP, Continuation, Terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

HORIZON = 40  # draws that the tables look ahead to; DESIGN measured no gain from more at one model
WIDEST = 16  # the widest wave that is considered

Voting = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, slots=True)
class VotingBelief:
    """Votes so far: the leader's count, the runner-up's, all others, and completions without an answer. `limit` is
    the most draws in all. A blank says nothing of the others, but that a vote costs more than one draw."""

    first: int = 0
    second: int = 0
    rest: int = 0
    blanks: int = 0
    limit: int = HORIZON

    def p(self, terms: Terms) -> float | None:
        return world(terms.priors.voting).p(self._state()) if self.first else None

    def best(self, terms: Terms) -> Continuation:
        votes = self.first + self.second + self.rest
        steps = min(terms.steps, self.limit - votes - self.blanks, HORIZON - votes)
        if steps <= 0:
            return STOP
        dearer = (votes + self.blanks + 1) / (votes + 1)
        prices = _rounded(terms.step_price * dearer), _rounded(terms.wave_price)
        way = table(terms.priors.voting, *prices, _rounded(terms.wrong), votes + steps).look_up(self._state(), terms)
        return Continuation(min(way.size, steps), way.gain, way.cost * dearer, way.seconds)

    def _state(self) -> tuple[int, int, int]:
        # Beyond the tables' reach proportions say what counts would.
        votes = self.first + self.second + self.rest
        if votes <= HORIZON:
            return self.first, self.second, self.rest
        first = max(1, self.first * HORIZON // votes)
        if self.second == 0:
            return HORIZON, 0, 0
        second = min(first, max(1, self.second * HORIZON // votes), HORIZON - first)
        return first, second, HORIZON - first - second


def _rounded(price: float) -> float:
    """Two significant digits: prices drift with every call's length, tables should not."""
    return float(f"{price:.1e}") if price > 1e-12 else 0.0


@lru_cache(maxsize=64)
def world(voting: Voting) -> World:
    return World(voting)


@lru_cache(maxsize=512)
def table(voting: Voting, step: float, wave: float, wrong: float, horizon: int) -> Table:
    return Table(world(voting), step, wave, wrong, horizon)


class World:
    """The states with up to HORIZON votes: P(leader is right) of each, and where one more vote leads."""

    def __init__(self, voting: Voting) -> None:
        import numpy as np

        kinds = np.asarray(voting, dtype=float)
        theta, phi = np.maximum(kinds[:, 0], 1e-9), np.maximum(kinds[:, 1], 1e-9)
        kind = (theta, phi, np.maximum(1.0 - theta - phi, 1e-9))
        self.levels = [_states(n) for n in range(HORIZON + 1)]
        self.index = [{s: i for i, s in enumerate(level)} for level in self.levels]
        self.evidence, self.right = [], []
        for level in self.levels:
            right, wrong = (x @ kinds[:, 2] for x in _likelihoods(np.array(level), *kind))
            self.evidence.append(right + wrong)
            self.right.append(right / np.maximum(right + wrong, 1e-300))
        self.moves = [self._moves(n) for n in range(HORIZON)]

    def p(self, state: tuple[int, int, int]) -> float:
        n = sum(state)
        return float(self.right[n][self.index[n][state]])

    def _moves(self, n: int) -> tuple[NDArray[np.intp], Floats]:
        """For each state with n votes: its successors' places among those with n + 1, and their probabilities."""
        import numpy as np

        level, after = self.levels[n], self.index[n + 1]
        places = np.zeros((len(level), 3), dtype=np.intp)
        ways = np.zeros((len(level), 3))
        for i, state in enumerate(level):
            for j, (count, following) in enumerate(_successors(*state)):
                places[i, j], ways[i, j] = after[following], count
        odds = ways * self.evidence[n + 1][places]
        return places, odds / np.maximum(odds.sum(axis=1, keepdims=True), 1e-300)


def _likelihoods(states: NDArray[np.intp], t: Floats, f: Floats, q: Floats) -> tuple[Floats, Floats]:
    """Evidence (states x kinds) of one arrangement of the votes with the leader right, and with it not right,
    summed over which other answer is the right one or the mistake."""
    import numpy as np

    a, b, r = (states[:, i : i + 1] for i in range(3))
    n = a + b + r

    def spare(k: NDArray[np.intp], special: Floats) -> Floats:
        """k answers that were given once each: one of them may be the special one, or none."""
        return np.where(k > 0, q**k + k * special * q ** np.maximum(k - 1, 0), 1.0)

    def both(k: NDArray[np.intp]) -> Floats:
        """k answers that were given once each: the mistake and the right one may be among them."""
        two = k * (k - 1) * t * f * q ** np.maximum(k - 2, 0)
        return np.where(k > 0, q**k + k * (t + f) * q ** np.maximum(k - 1, 0) + two, 1.0)

    agreed = (t**a * f**b * q**r, f**a * t**b * q**r)
    leading = (t**a * spare(b + r, f), f**a * spare(b + r, t))
    single = t * spare(n - 1, f)
    scattered = (single, both(n) - single)
    cases = [a == 0, (a >= 2) & (b >= 2), a >= 2]
    empty = (np.zeros_like(single), np.ones_like(single))
    right, wrong = (np.select(cases, [empty[i], agreed[i], leading[i]], default=scattered[i]) for i in range(2))
    return right, wrong


def _states(n: int) -> list[tuple[int, int, int]]:
    """(leader, runner-up, rest) with n votes. Without a runner-up there is no rest."""
    if n == 0:
        return [(0, 0, 0)]
    pairs = [(a, b) for a in range(1, n + 1) for b in range(1, min(a, n - a) + 1)]
    return [(n, 0, 0), *((a, b, n - a - b) for a, b in pairs)]


def _successors(a: int, b: int, r: int) -> list[tuple[int, tuple[int, int, int]]]:
    """(ways, state) after one more vote. In the model a fresh wrong answer is never repeated, so only the leader,
    the runner-up and answers given once can come again."""
    if a == 0:
        return [(1, (1, 0, 0))]
    fresh = (a, b, r + 1) if b else (a, 1, 0)
    if a == 1:
        others = b + r
        return [(1 + others, (2, 1, others - 1) if others else (2, 0, 0)), (1, fresh)]
    if b == 0:
        return [(1, (a + 1, 0, 0)), (1, fresh)]
    if b == 1:
        return [(1, (a + 1, 1, r)), (1 + r, (a, 2, r)), (1, fresh)]
    return [(1, (a + 1, b, r)), (1, (a, b + 1, r) if b < a else (a + 1, b, r)), (1, fresh)]


class Table:
    """The best continuation of every state at one price: wave sizes, gains, expected draws and waves."""

    def __init__(self, world: World, step: float, wave: float, wrong: float, horizon: int) -> None:
        import numpy as np

        self.world, self.horizon = world, horizon
        widest = WIDEST if wave > 0 else 1
        count = horizon + 1
        self.size: list[NDArray[np.intp]] = [np.zeros(0, dtype=np.intp)] * count
        self.gain: list[Floats] = [np.zeros(0)] * count
        self.draws: list[Floats] = [np.zeros(0)] * count
        self.waves: list[Floats] = [np.zeros(0)] * count
        # ahead[m]: (value, utility, draws, waves) expected after m draws taken blindly from here.
        ahead: list[list[Floats]] = []
        for n in range(horizon, -1, -1):
            p = world.right[n]
            stop = np.maximum(0.0, p - (1.0 - p) * wrong)
            zero = np.zeros_like(stop)
            best = [stop, stop, zero, zero]
            size = np.zeros(len(stop), dtype=np.intp)
            blind: list[list[Floats]] = []
            if n < horizon:
                places, odds = world.moves[n]
                blind = [[(row[places] * odds).sum(axis=1) for row in rows] for rows in ahead[:widest]]
                for m, (value, utility, draws, waves) in enumerate(blind, start=1):
                    net = value - m * step - wave
                    better = net >= best[0] - 1e-13 if m > 1 else net > best[0] + 1e-13
                    better &= net > stop + 1e-13
                    size[better] = m
                    fresh = [net, utility, draws + m, waves + 1]
                    best = [np.where(better, new, old) for new, old in zip(fresh, best, strict=True)]
            self.size[n], self.gain[n] = size, best[1] - stop
            self.draws[n], self.waves[n] = best[2], best[3]
            ahead = [best, *blind]

    def look_up(self, state: tuple[int, int, int], terms: Terms) -> Continuation:
        n = sum(state)
        i = self.world.index[n][state]
        size = int(self.size[n][i])
        if size == 0:
            return STOP
        cost, seconds = float(self.draws[n][i]) * terms.cost, float(self.waves[n][i]) * terms.seconds
        return Continuation(size, float(self.gain[n][i]), cost, seconds)
