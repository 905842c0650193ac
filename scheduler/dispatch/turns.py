"""Turns: calls that wait until their model's and provider's limits let them leave, in the order in which they came.

No task runs beside the callers: whoever is at the head of a line waits until its lanes are ready, and whoever gives a
place back lets the next ones through. So nothing is left over when the callers are gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import anyio

from .lanes import Lane, Slot


@dataclass(slots=True, eq=False)
class Waiter:
    """A call that waits: at `lanes` (its model's first), for so many tokens."""

    lanes: tuple[Lane, ...]
    tokens: int
    number: int
    slots: tuple[Slot, ...] = ()
    gone: bool = False
    wakes: float = inf  # when it will look again by itself
    shut: bool = False  # only a call that came before it holds it up
    event: anyio.Event = field(default_factory=anyio.Event)


class Turns:
    """All lines of one engine. `clock`: seconds, the event loop's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lines: dict[str, deque[Waiter]] = {}
        self._number = 0

    def waiting(self, name: str) -> int:
        """How many calls wait for the lane of this name."""
        return sum(not waiter.gone for waiter in self._lines.get(name, ()))

    def at_once(self, lanes: tuple[Lane, ...], tokens: int) -> tuple[Slot, ...] | None:
        """A place, if there is one right now and nobody waits for it."""
        now = self._clock()
        if any(line and any(lane in line[0].lanes for lane in lanes) for line in self._lines.values()):
            return None  # those came before
        if any(lane.ready(tokens, now) > now for lane in lanes):
            return None
        return tuple(lane.take(tokens, now) for lane in lanes)

    def sooner_than(self, lanes: tuple[Lane, ...]) -> float:
        """A lower bound on when a call that joins the line now may leave."""
        now = self._clock()
        ahead = len(self._lines.get(lanes[0].name, ()))
        return max(lane.sooner_than(ahead if lane is lanes[0] else 0, now) for lane in lanes)

    async def wait(self, lanes: tuple[Lane, ...], tokens: int, until: float) -> tuple[Slot, ...] | None:
        """A place, or None if there was none until then. A caller that is cancelled leaves the line."""
        self._number += 1
        waiter = Waiter(lanes, tokens, self._number)
        self._lines.setdefault(lanes[0].name, deque()).append(waiter)
        try:
            self.move()
            while not waiter.slots:
                now = self._clock()
                if now >= until:
                    return None
                waiter.event = anyio.Event()
                waiter.wakes = min(until, self._ready(waiter, now))
                with anyio.move_on_after(max(0.0, waiter.wakes - now)):
                    await waiter.event.wait()
                waiter.wakes = inf
                if not waiter.slots:
                    self.move()
            return waiter.slots
        except BaseException:
            if waiter.slots:  # it was let through while it was cancelled
                self.give(lanes, waiter.slots, 0)
            raise
        finally:
            waiter.gone = True
            self.move()

    def give(self, lanes: tuple[Lane, ...], slots: tuple[Slot, ...], used: int | None) -> None:
        """A call is over; `used`: tokens, None where that is not known."""
        for lane, slot in zip(lanes, slots, strict=True):
            lane.give(slot, used)
        if self._lines:
            self.move()

    def move(self) -> None:
        """Lets through whoever may leave, and wakes those who have become the head of a line."""
        now = self._clock()
        shut: set[Lane] = set()
        lines = {name: self._lines[name] for name in list(self._lines) if self._head(name) is not None}
        while lines:
            name = min(lines, key=lambda n: lines[n][0].number)
            waiter = lines[name][0]
            claimed = [lane for lane in waiter.lanes if lane in shut]
            late = [lane for lane in waiter.lanes if lane.ready(waiter.tokens, now) > now]
            waiter.shut = bool(claimed) and not late
            if late or claimed:
                shut.update(late)
                del lines[name]
                if waiter.wakes > self._ready(waiter, now):
                    waiter.event.set()
                continue
            waiter.slots = tuple(lane.take(waiter.tokens, now) for lane in waiter.lanes)
            waiter.event.set()
            waiter.gone = True
            if self._head(name) is None:
                del lines[name]

    def _head(self, name: str) -> Waiter | None:
        line = self._lines[name]
        while line and line[0].gone:
            line.popleft()
        if not line:
            del self._lines[name]
            return None
        return line[0]

    def _ready(self, waiter: Waiter, now: float) -> float:
        """When the head of a line should look again; others are woken."""
        line = self._lines.get(waiter.lanes[0].name)
        if not line or line[0] is not waiter or waiter.shut:
            return inf  # whoever is before it in a lane that they share lets it through
        return max(lane.ready(waiter.tokens, now) for lane in waiter.lanes)
