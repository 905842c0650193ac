"""One request at the dispatcher: whose it is, and what it may share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Protocol

from ...core.errors import Killed
from ..nodes import Call, line
from .switches import Identity

if TYPE_CHECKING:
    from .cache import Cache
    from .dispatcher import Dispatcher, Gate, Stoppable, Turn


class Host(Protocol):
    """The driver of a run, as those see it who perform its calls."""

    def now(self) -> float: ...
    def arm(self) -> None: ...
    def launch(self, calls: list[Call]) -> None: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """`store`: replies may be kept for later requests of the same tenant, and taken from earlier ones."""

    dispatcher: Dispatcher
    identity: Identity
    store: bool = True

    @property
    def cache(self) -> Cache | None:
        return self.dispatcher.cache if self.store else None

    def admit(self) -> None:
        """Raises `Killed`, `StoreError`."""
        self.dispatcher.admit(self.identity)

    def part_stopped(self, strategy: str) -> Killed | None:
        """The error of a strategy that may not start as a part of this request."""
        return self.dispatcher.part_stopped(strategy)

    def enter(self, run: Stoppable) -> None:
        self.dispatcher.enter(run)

    def leave(self, run: Stoppable) -> None:
        self.dispatcher.leave(run)

    def patrol(self, run: Stoppable) -> None:
        self.dispatcher.patrol(run)

    def gate(self, name: str, others: Sequence[str]) -> Gate:
        """Raises `ModelKilled`, `CircuitOpen`."""
        return self.dispatcher.check(name, others)

    def calm(self, name: str) -> bool:
        """Whether a call to this model could leave right now: then a hedge is no burden."""
        gate, now = self.dispatcher.gate(name), self.dispatcher.clock()
        closed = gate.breaker.opened_until is None and self.dispatcher.turns.waiting(name) == 0
        return closed and all(lane.ready(0, now) <= now for lane in gate.lanes)

    def at_once(self, gate: Gate, tokens: int) -> Turn | None:
        return self.dispatcher.at_once(gate, tokens)

    async def wait(self, gate: Gate, tokens: int, seconds: float) -> Turn:
        """Raises `ModelBusy`, `CircuitOpen`, `ModelKilled`."""
        return await self.dispatcher.wait(gate, tokens, seconds)


def seconds_left(call: Call, now: float) -> float:
    """Until the nearest deadline of the plans that wait for the call; inf without any."""
    deadlines = [frame.deadline for frame in line(call.frame) if frame.deadline is not None]
    return min(deadlines) - now if deadlines else inf


def tokens_bound(calls: Sequence[Call], most: int) -> int:
    """The most tokens that one request for these calls may use: what the first is held at, and the others' replies."""
    hold = calls[0].hold
    return (hold.amounts.tokens if hold is not None else most) + (len(calls) - 1) * most
