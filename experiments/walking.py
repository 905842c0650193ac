"""Walking: votes replayed without their plan, and with its very figures.

What a plain vote does next depends on how many draws each answer has, not on the question: a run of the plan in a
state tells what every run in that state does. So the plan is run wherever a state is met for the first time, what it
did in each state on its way is kept, and a run all of whose states are known is a matter of counting. Nothing here
knows a rule for stopping: whatever the plan's is, it is the plan that was asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from ..budgets.budget import Budget
from ..scheduler.nodes import Reply
from ..scheduler.run import Run
from ..strategies.self_consistency import SelfConsistency
from ..strategies.single_shot import SingleShot
from .replaying import Deck

BLANK, THOUGHT = -1, -2  # of draws without an answer: one that says so, and one that is still thinking
KEPT = 64  # walks that are remembered, and what they were learnt from with them

State: TypeAlias = "tuple[tuple[int, ...], int, int, int]"  # counts, blanks, thoughts, how often the last in a row


class Stop(NamedTuple):
    """How runs end in a state: why, whether with the leading answer, and its P(right)."""

    reason: str
    answered: bool
    claimed: float | None


class Walked(NamedTuple):
    """A run by counting: how many draws it took, the place of the leader among them (None: nobody leads), its end."""

    draws: int
    leader: int | None
    stop: Stop


def walkable(strategy: Any, budget: Budget, arms: int) -> bool:
    """Whether what the strategy does in a state of its votes depends on that state alone."""
    if arms != 1 or (budget.usd, budget.tokens, budget.seconds) != (None, None, None):
        return False  # what is left of them depends on what these very draws cost
    if type(strategy) is SingleShot:
        return not strategy.waits and not strategy.ending
    if type(strategy) is not SelfConsistency:
        return False
    s = strategy
    return s.weights is None and not s.universal and s.vote_on is None and s.cut_below is None


def symbols_of(deck: Deck) -> tuple[int, ...] | None:
    """Which answer each recorded draw of the deck's one model holds, numbered from 0; None where a draw has something
    that a count does not tell: an unknown cost or answer, or an early end."""
    ((model, draws),) = deck.draws.items()
    ids: dict[str, int] = {}
    found = []
    for draw, reply in zip(draws, deck.replies[model], strict=True):
        if draw.answer is None or reply.nanos is None or reply.nanos < 0 or reply.completion.finish == "cut":
            return None
        if reply.reading is not None:
            found.append(ids.setdefault(reply.reading.key or "", len(ids)))
        else:
            found.append(THOUGHT if deck.task.contract.interim(reply.completion.text) else BLANK)
    return tuple(found)


@dataclass(slots=True, eq=False)
class Walk:
    """What one strategy, under one policy and prices and with one number of draws, does in each state."""

    strategy: SelfConsistency | SingleShot
    sizes: dict[State, int] = field(default_factory=dict)
    stops: dict[State, Stop] = field(default_factory=dict)
    broken: bool = False  # a run did otherwise than another had done in the same state: counts are not all of it
    wide: bool = False  # some draws were made at once

    def along(self, symbols: Sequence[int]) -> Walked | None:
        """The run that meets these draws, or None where it comes to a state that no run has been in."""
        count = _Count(bool(getattr(self.strategy, "window", None)))
        while (size := self.sizes.get(count.state)) is not None and count.drawn + size <= len(symbols):
            for symbol in symbols[count.drawn : count.drawn + size]:
                count.take(symbol)
        stop = self.stops.get(count.state)
        return None if stop is None or size is not None else Walked(count.drawn, count.leader, stop)

    def ahead(self, symbols: Sequence[int]) -> int:
        """How many of these draws a run is known to make at least: up to the last state in which one went on. 0 where
        the plan doesn't take as many in one wave."""
        count, drawn = _Count(bool(getattr(self.strategy, "window", None))), 0
        while (size := self.sizes.get(count.state)) is not None and count.drawn + size <= len(symbols):
            drawn = count.drawn
            for symbol in symbols[count.drawn : count.drawn + size]:
                count.take(symbol)
        return drawn if drawn <= self._wave(0) else 0

    def learn(
        self, symbols: Sequence[int], run: Run, took: int, place: int | None, claimed: float | None, ahead: int = 0
    ) -> None:
        """Takes in a run of the plan that met these draws: `took` of them, with the one at `place` as its answer. The
        first `ahead` were made at once, because they were known to be made."""
        assert run.outcome is not None
        count = _Count(bool(getattr(self.strategy, "window", None)))
        for symbol in symbols[:ahead]:
            count.take(symbol)
        for decision in run.decisions:
            if not decision.size:
                break
            size = min(decision.size, self._wave(count.drawn))
            self._keep(self.sizes, count.state, size)
            self.wide |= size > 1
            for symbol in symbols[count.drawn : count.drawn + size]:
                count.take(symbol)
        self._keep(self.stops, count.state, Stop(run.outcome.reason, place is not None, claimed))
        self.broken |= run.error is not None or count.drawn != took or count.state in self.sizes
        self.broken |= place is not None and place != count.leader

    def _wave(self, drawn: int) -> int:
        made = self.strategy
        if isinstance(made, SingleShot):
            return 1
        return made._wave((made.most if made.samples is None else made.samples) - drawn, drawn, 0)

    def _keep(self, known: dict[State, Any], state: State, value: Any) -> None:
        self.broken |= known.setdefault(state, value) != value


class _Count:
    """Votes as they come in."""

    __slots__ = ("blanks", "counts", "drawn", "first", "last", "tail", "thoughts", "windowed")

    def __init__(self, windowed: bool) -> None:
        self.windowed = windowed
        self.counts: dict[int, int] = {}
        self.first: dict[int, int] = {}
        self.blanks = self.thoughts = self.drawn = self.tail = 0
        self.last = BLANK

    def take(self, symbol: int) -> None:
        if symbol >= 0:
            self.first.setdefault(symbol, self.drawn)
            self.counts[symbol] = self.counts.get(symbol, 0) + 1
            self.tail = self.tail + 1 if symbol == self.last else 1
            self.last = symbol
        elif symbol == BLANK:
            self.blanks += 1
            self.tail, self.last = 0, BLANK
        else:
            self.thoughts += 1  # it is as if it had not been drawn
        self.drawn += 1

    @property
    def state(self) -> State:
        counts = tuple(sorted(self.counts.values(), reverse=True))
        return counts, self.blanks, self.thoughts, self.tail if self.windowed else 0

    @property
    def leader(self) -> int | None:
        """The place of the first draw of the answer with the most votes, the one seen first of equals."""
        return self.first[max(self.counts, key=self.counts.__getitem__)] if self.counts else None


_WALKS: OrderedDict[tuple[Any, ...], tuple[tuple[object, ...], Walk]] = OrderedDict()


def walk_of(strategy: Any, of: Sequence[object], count: int, checks: int) -> Walk:
    """The walk of a strategy under the objects `of` (its budget, policy and tariff), where `count` draws were
    recorded: one, as long as these very objects are in use."""
    key = (id(strategy), *map(id, of), count, checks)
    if key not in _WALKS:
        _WALKS[key] = (strategy, *of), Walk(strategy)  # holding the objects keeps their ids theirs
        while len(_WALKS) > KEPT:
            _WALKS.popitem(last=False)
    _WALKS.move_to_end(key)
    return _WALKS[key][1]


def bill_of(replies: Sequence[Reply]) -> tuple[int, int, int, float]:
    """What these replies come to one after the other: nano-dollars, tokens, calls, seconds."""
    seconds, tokens, nanos = 0.0, 0, 0
    for reply in replies:
        seconds += reply.seconds
        nanos += reply.nanos or 0
        if reply.usage is not None:
            tokens += reply.usage.prompt + reply.usage.completion
    return nanos, tokens, len(replies), seconds
