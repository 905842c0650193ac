"""Voting: from the counts of the answers so far to P(right) and the best adaptive continuation.

One model of the world gives both (`voting_world`), so that the expected P(right) of a fixed answer does not change by
drawing, and no gain is a phantom. The continuation is dynamic programming over the counts and the blanks
(`voting_tables`). Where there are tables made beforehand for the prior (`voting_stops`), it is read from them: a
look-up. Else the tables of the two prices nearest to this one are made once, and kept (`voting_kept`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from ..core.belief import STOP, Continuation, Priors, Terms
from .priors import DEFAULT_PRIORS
from .voting_kept import tables_of
from .voting_stops import Stops, declared, read
from .voting_tables import WIDEST
from .voting_world import State, World

__all__ = ["HORIZON", "WIDEST", "VotingBelief"]

HORIZON = 40  # draws that the tables look ahead to; DESIGN measured no gain from more at one model
AHEAD, SLIGHT = 4, 1e-6  # draws that a rejected course may have, and the gain below which it had none
# Tables of waves cost as many times more as waves are wide: they end at the first of these that is FEWER draws away.
FEWER, BLOCKS = 12, (24, 32, HORIZON)
NOTHING = 0.02  # share of a draw's price below which a wave's is as good as none: draws are then taken one by one
# Draws that a purse must pay for each one that a course is expected to take, for that course to be as good as it is
# where nothing ends it: within .002 (`benchmarks/stopping_speed.py short`).
ROOM = 6.0
SHORT = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, HORIZON)  # draws ahead that tables are made for where a purse ends sooner


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
        steps = self._left(terms)
        if steps <= 0 or terms.step_price + terms.wave_price >= 1.0:  # no answer is worth more than 1
            return STOP
        known = _known(terms.priors)
        state = known.state(self)
        widest = min(WIDEST, terms.at_once or WIDEST)
        waves = widest > 1 and terms.wave_price > NOTHING * terms.step_price
        way, whole = None, False
        if known.stops is not None and not terms.wrong:
            most = self._most(steps)
            way = known.stops.look_up(state, self.blanks, terms, most)
            price = terms.step_price + terms.wave_price
            whole = way is not None and known.stops.longest(state, self.blanks, price) <= most
        if way is not None and whole and not waves:
            return way
        made = self._made(known, state, steps, terms, widest if waves else 1)
        return made if way is None or made.net(terms) >= way.net(terms) else way

    def rejected(self, terms: Terms) -> Continuation:
        """The course that came nearest to being worth its price, of a state that stops: from the tables made
        beforehand where they decided, else of up to four more draws taken blindly. `STOP` where nothing that the purse
        can pay would have brought anything."""
        steps = self._left(terms)
        if steps <= 0:
            return STOP
        known = _known(terms.priors)
        state = known.state(self)
        if known.stops is not None and not terms.wrong:
            way = known.stops.rejected(state, self.blanks, terms, self._most(steps))
            if way is not None and way.size and way.net(terms) <= 0:
                return way
        dearer, ways = self._dearer(known), []
        for m, gain in enumerate(known.ahead(state, self.blanks, terms.wrong)[: min(steps, AHEAD)], start=1):
            waves = ceil(m / (terms.at_once or m)) if terms.per_second else m
            ways.append(Continuation(m, gain, m * terms.cost * dearer, waves * terms.seconds))
        ways = [way for way in ways if way.gain > SLIGHT and way.net(terms) <= 0]
        return max(ways, key=lambda way: way.net(terms), default=STOP)

    def _left(self, terms: Terms) -> int:
        """Draws that may still be taken."""
        drawn = self.first + self.second + self.rest + self.blanks
        return min(terms.steps, self.limit - drawn, HORIZON - drawn)

    def _most(self, steps: int) -> float:
        """Draws that a course of the tables made beforehand may be expected to take."""
        whole = self.first + self.second + self.rest + self.blanks + steps == HORIZON
        return inf if whole else steps / ROOM

    def _dearer(self, known: _Known) -> float:
        """Draws for a vote. Where blanks are not modelled a vote costs as many as it has so far."""
        votes = self.first + self.second + self.rest
        return (votes + self.blanks + 1) / (votes + 1) if known.world.blind else 1.0

    def _made(self, known: _Known, state: State, steps: int, terms: Terms, widest: int) -> Continuation:
        """The best way on by tables made on demand: the better of the two that are made for prices near to this."""
        votes, dearer = self.first + self.second + self.rest, self._dearer(known)
        drawn = votes if known.world.blind else votes + self.blanks
        whole = votes + self.blanks + steps == HORIZON
        horizon = drawn + (steps if whole else max(n for n in SHORT if n <= steps))
        if widest > 1 and not known.world.blind:
            horizon = min(horizon, next((n for n in BLOCKS if n >= drawn + FEWER), HORIZON))
        step, wave = terms.step_price * dearer, terms.wave_price
        if widest == 1:
            step, wave = step + wave * dearer, 0.0
        best, most = STOP, 0.0
        for table in tables_of(known.world, step, wave, terms.wrong, horizon, widest):
            way = table.look_up(state, self.blanks, terms)
            if way.size:
                seconds = way.seconds * dearer if not wave else way.seconds
                way = Continuation(min(way.size, steps), way.gain, way.cost * dearer, seconds)
                if way.net(terms) > most:
                    best, most = way, way.net(terms)
        return best

    def counts(self) -> tuple[int, ...]:
        """How often each answer was given, the highest first."""
        others = self.others or (1,) * self.rest
        return tuple(count for count in (self.first, self.second, *others) if count)


class _Known:
    """What is made of some priors."""

    def __init__(self, priors: Priors) -> None:
        self.priors, self.world = priors, World.of(priors)
        text = priors.stops or (declared() if priors.kinds == DEFAULT_PRIORS.kinds else "")
        self.stops: Stops | None = read(text) if text else None
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
