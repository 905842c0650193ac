"""Voting: from the counts of the answers so far to P(right) and the best adaptive continuation.

One model of the world gives both (`voting_world`), so that the expected P(right) of a fixed answer does not change by
drawing, and no gain is a phantom. The continuation is dynamic programming over the counts and the blanks
(`voting_tables`). Where the policy brings tables for its prior (`voting_stops`), it is read from them: a look-up.
Else the table of this price is made once, and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..core.belief import STOP, Continuation, Priors, Terms
from .voting_stops import Stops, read
from .voting_tables import WIDEST, Grid, Table
from .voting_world import State, World

__all__ = ["HORIZON", "WIDEST", "VotingBelief"]

HORIZON = 40  # draws that the tables look ahead to; DESIGN measured no gain from more at one model
AHEAD, SLIGHT = 4, 1e-6  # draws that a rejected course may have, and the gain below which it had none
FEWER = 24  # the same where waves are weighed: tables of waves cost as many times more as waves are wide


@dataclass(frozen=True, slots=True)
class VotingBelief:
    """Votes so far: the leader's count, the runner-up's, all others, and completions without an answer. `limit` is
    the most draws in all. `others`: the other answers' counts one by one, the highest first, where they are known;
    else each is taken for having been given once."""

    first: int = 0
    second: int = 0
    rest: int = 0
    blanks: int = 0
    limit: int = HORIZON
    others: tuple[int, ...] = ()

    def p(self, terms: Terms) -> float | None:
        if not self.first:
            return None
        known = _known(terms.priors)
        return known.world.p(known.state(self), self.blanks)

    def best(self, terms: Terms) -> Continuation:
        votes = self.first + self.second + self.rest
        drawn = votes + self.blanks
        steps = min(terms.steps, self.limit - drawn, HORIZON - drawn)
        if steps <= 0:
            return STOP
        known = _known(terms.priors)
        state = known.state(self)
        if known.stops is not None and drawn + steps == HORIZON and not terms.wrong and not terms.wave_price:
            way = known.stops.look_up(state, self.blanks, terms)
            if way is not None:
                return way
        # Where blanks are not modelled a vote costs as many draws as it has so far.
        blind = known.world.blind
        dearer = (drawn + 1) / (votes + 1) if blind and self.blanks else 1.0
        widest = min(WIDEST, terms.at_once or WIDEST)
        asked = terms.step_price * dearer, terms.wave_price, terms.wrong, (votes if blind else drawn) + steps, widest
        table = known.tables.get(asked) or known.table(*asked, drawn)
        way = table.look_up(state, self.blanks, terms)
        if dearer == 1.0 and way.size <= steps:
            return way
        return Continuation(min(way.size, steps), way.gain, way.cost * dearer, way.seconds)

    def rejected(self, terms: Terms) -> Continuation:
        """The course that came nearest to being worth its price, of a state that stops: from the policy's tables, else
        of up to four more draws taken blindly."""
        known = _known(terms.priors)
        state = known.state(self)
        if known.stops is not None and not terms.wrong:
            way = known.stops.rejected(state, self.blanks, terms)
            if way is not None:
                return way
        draws = min(terms.steps, self.limit - self.first - self.second - self.rest - self.blanks, AHEAD)
        if draws <= 0:
            return STOP
        gains = known.ahead(state, self.blanks, terms.wrong)[:draws]
        m = max(range(len(gains)), key=lambda i: gains[i] - (i + 1) * terms.step_price)
        if gains[m] <= SLIGHT:
            m = max(range(len(gains)), key=lambda i: gains[i])
        if gains[m] <= SLIGHT:
            return STOP
        return Continuation(m + 1, gains[m], (m + 1) * terms.cost, terms.seconds)

    def counts(self) -> tuple[int, ...]:
        """How often each answer was given, the highest first."""
        others = self.others or (1,) * self.rest
        return tuple(count for count in (self.first, self.second, *others) if count)


class _Known:
    """What is made of some priors."""

    def __init__(self, priors: Priors) -> None:
        self.priors, self.world = priors, World.of(priors)
        self.stops: Stops | None = read(priors.stops) if priors.stops else None
        self.tables: dict[tuple[float, float, float, int, int], Table] = {}  # by the very prices asked at
        self.states: dict[tuple[int, int, int, tuple[int, ...]], State] = {}
        self._gains: dict[tuple[State, int, float], tuple[float, ...]] = {}

    def ahead(self, state: State, blanks: int, wrong: float) -> tuple[float, ...]:
        key = state, blanks, wrong
        found = self._gains.get(key)
        if found is None:
            if len(self._gains) >= 1 << 14:
                self._gains.clear()
            found = self._gains[key] = self.world.ahead(state, blanks, wrong, AHEAD)
        return found

    def state(self, votes: VotingBelief) -> State:
        key = votes.first, votes.second, votes.rest, votes.others
        found = self.states.get(key)
        if found is None:
            if len(self.states) >= 1 << 16:
                self.states.clear()
            found = self.states[key] = self.world.state(_scaled(votes.counts()))
        return found

    def table(self, step: float, wave: float, wrong: float, horizon: int, widest: int, drawn: int) -> Table:
        far = horizon if not wave or self.world.blind else min(horizon, max(FEWER, drawn + 1))
        found = _table(self.world, _rounded(step), _rounded(wave), _rounded(wrong), far, widest if wave else 1)
        if len(self.tables) >= 4096:
            self.tables.clear()
        self.tables[step, wave, wrong, horizon, widest] = found
        return found


def _scaled(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Beyond the tables' reach proportions say what counts would."""
    votes = sum(counts)
    if votes <= HORIZON:
        return counts
    fewer = [max(1, count * HORIZON // votes) for count in counts[1:HORIZON]]
    while sum(fewer) >= HORIZON:
        fewer[-1:] = [fewer[-1] - 1] if fewer[-1] > 1 else []
    return tuple(sorted((HORIZON - sum(fewer), *fewer), reverse=True))


_kept: dict[int, _Known] = {}


def _known(priors: Priors) -> _Known:
    """By identity: hashing a prior takes longer than a decision."""
    found = _kept.get(id(priors))
    if found is None or found.priors is not priors:
        if len(_kept) >= 64:
            _kept.clear()
        found = _kept[id(priors)] = _Known(priors)
    return found


@lru_cache(maxsize=64)
def _grid(world: World) -> Grid:
    return Grid(world)


@lru_cache(maxsize=512)
def _table(world: World, step: float, wave: float, wrong: float, horizon: int, widest: int) -> Table:
    return Table(_grid(world), step, wave, wrong, horizon, widest)


def _rounded(price: float) -> float:
    """Two significant digits: prices drift with every call's length, tables should not."""
    return float(f"{price:.1e}") if price > 1e-12 else 0.0
