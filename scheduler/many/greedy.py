"""Marginal greedy: everyone's next step is ranked by what a dollar buys in it, and the best is bought until the money
ends.

A query goes on at a price just under the index of the next one, so that it stops where the other is the better buy;
then both are ranked again. For requests that do not bear on one another the index rule is optimal up to the last step
(Gittins 1979; Weber & Weiss 1990 for many at once), and it needs no forecast of how much money a query will take: what
a hopeless one does not use is there for the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic

import anyio

from ...budgets.purse import UNLIMITED, Purse
from ...budgets.sharing.envelopes import Envelope, Relaxed, relaxed
from ...core.amounts import NANO
from ...core.errors import Killed, SatisficeError
from .advancing import Advance, Step
from .asked import Item

SLACK = 0.02  # how far under the next one's index a query goes on: fewer parts for next to nothing
NONE = 1e-12
FALL = 0.5  # and how far under its own: a better buy may be under way
BOLD = 3.0  # times the predicted price: above it everything is expected to be bought, and need not wait its turn
OUT = 8  # queries in a row that are refused money, after which there is none
PAUSES = ("value", "abstained")  # why a run stops that would go on at a lower price
AHEAD = 2.0  # first purchases of all that have not begun that must still be there for the price to be believed
FEW = 8  # queries that must have begun before anything is believed of what they cost
IDLE = 5  # parts in a row that bring nothing, after which a query is left alone


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is: queries that are over or that have an answer (`answered`), of how many, dollars spent, the
    price at which the last part was bought, seconds so far, and parts under way."""

    answered: int
    total: int
    spent_usd: float
    budget_usd: float | None
    price: float
    seconds: float
    under_way: int

    @property
    def left(self) -> float | None:
        """Seconds that are left at the speed so far, by the share of the money or of the queries that is done."""
        share = self.answered / self.total if self.total else 1.0
        if self.budget_usd:
            share = max(share * self.spent_usd / self.budget_usd, self.spent_usd / self.budget_usd)
        return self.seconds * (1 - share) / share if share > 0 else None


OnProgress = Callable[[Progress], None]
OnStep = Callable[[Item, Step], None]


@dataclass(slots=True)
class Greedy:
    """Shares one purse among items. `floor`: value per dollar below which nothing is bought (1 / worth). `price`: the
    highest index that was left without money: what a dollar more would have bought."""

    items: Sequence[Item]
    purse: Purse
    advance: Advance
    concurrency: int
    floor: float = 0.0
    on_progress: OnProgress | None = None
    on_step: OnStep | None = None
    bound: Relaxed | None = None
    price: float = 0.0
    under_way: int = 0
    refusal: SatisficeError | None = None  # why the first part that could not be paid could not be
    killed: bool = False  # a kill switch stopped one of them
    _halted: bool = False  # and it stops all the others, too
    _heap: list[tuple[float, int, Item]] = field(default_factory=list)
    _refused: list[Item] = field(default_factory=list)
    _wake: anyio.Event = field(default_factory=anyio.Event)
    _began: float = field(default_factory=monotonic)
    _refusals: int = 0  # in a row
    _forecast: float = inf  # the price that is expected at the end
    _seen: int = 0  # queries that have begun, what they cost, and what was expected of them, in dollars
    _cost: float = 0.0
    _guess: float = 0.0
    _finished: set[int] = field(default_factory=set)  # places of those that are over or have an answer
    _unseen: int = 0  # items of unknown index that have not begun

    def rank(self) -> None:
        """Looks at what is expected of everyone, and at the price that this makes for all."""
        known: list[Envelope] = []
        for item in self.items:
            if item.over:
                self._note(item)
                continue
            if not item.parts:
                item.envelope = self.advance.look(item)
            if item.envelope is not None:
                item.index, item.value = item.envelope.index, max(item.value, item.envelope.base / item.weight)
                known.append(item.envelope)
            self._unseen += item.envelope is None and not item.parts
            self._push(item)
            self._note(item)
        usd = self._usd
        if usd is not None and len(known) == len(self.items) and all(e.whole for e in known):
            self.bound = relaxed(known, usd)

    async def run(self) -> None:
        """Buys until there is no money, or nothing that is worth it."""
        async with anyio.create_task_group() as group:
            while True:
                while self._heap and self.under_way < self.concurrency and self._refusals < OUT and not self._halted:
                    _, _, item = heapq.heappop(self._heap)
                    price = self._price(item)
                    self._share(item)
                    self.under_way += 1
                    group.start_soon(self._part, item, price)
                if not self.under_way:
                    break
                self._wake = anyio.Event()
                await self._wake.wait()
        left = [*self._refused, *(item for _, _, item in self._heap)]
        self.price = max((item.index for item in left if item.index < inf), default=0.0)

    # -- inside ---------------------------------------------------------------------------------------------------

    async def _part(self, item: Item, price: float) -> None:
        try:
            before = item.spent
            step = await self.advance(item, max(0.0, price / item.weight - self.floor))
            self._take(item, step, item.spent > before, price)
            self._note(item)
            self._learn(item, item.spent - before, price)
            if self.on_step is not None:
                self.on_step(item, step)
        finally:
            self.under_way -= 1
            self._again()
            self._wake.set()
        if self.on_progress is not None:
            self.on_progress(self.progress(price))

    def _take(self, item: Item, step: Step, bought: bool, price: float) -> None:
        """What a part came to, and whether another one may follow. One that would go on at this price and did not is
        short of money, as one that was refused some."""
        if step.solution is not None:
            item.parts.append(step.solution)
            item.found, item.judged, item.value = item.found + step.found, item.judged + step.judged, step.value
            item.error = None
        elif step.error is not None and not self._poor(item, step):
            item.error = step.error
            if isinstance(step.error, Killed):
                self.killed = True
                self._halted = self._halted or step.error.details.get("level") in ("global", "tenant", "key")
        if step.index is not None:
            item.index = step.index * item.weight
        if step.solution is not None and (step.index in (None, inf) or step.reason not in PAUSES):
            # It came to its own end, or cannot say what more would bring.
            item.over = item.done = not step.reason.startswith("budget_")
        item.idle = 0 if bought else item.idle + 1
        self._refusals = 0 if bought else self._refusals
        short = not bought and step.solution is not None and item.index > price
        if step.reason.startswith("budget_") or short:
            own = min(
                x - p - h for x, p, h in zip(item.purse.limit, item.purse.posted, item.purse.pending, strict=True)
            )
            item.refused_at = self.purse.room()[0]
            item.over = item.over or own <= 0 or item.error is not None or step.reason == "budget_seconds"
            if not item.over:
                self._refused.append(item)
                self._refusals += 1
        elif step.error is not None or item.idle >= IDLE:
            item.over = True
        elif not item.over:
            self._push(item)

    def _poor(self, item: Item, step: Step) -> bool:
        """Whether a part could not be paid by what all share; what is more than its own cap is its own error."""
        if not step.reason.startswith("budget_"):
            return False
        needed = step.error.details.get("needed_usd", 0.0) if step.error is not None else 0.0
        self.refusal = self.refusal or step.error
        return bool(item.parts) or needed * NANO <= item.purse.limit[0]

    def _push(self, item: Item) -> None:
        if item.index > self.floor:
            heapq.heappush(self._heap, (-item.index, item.place, item))
        else:
            item.over = True

    def _note(self, item: Item) -> None:
        """Counted as it changes: a look at everyone after each part would cost more than the parts of a large batch."""
        if item.over or (item.parts and item.parts[-1].answer is not None):
            self._finished.add(item.place)
        else:
            self._finished.discard(item.place)

    def _again(self) -> None:
        """Those that were refused money while others held it try again, as soon as some came back."""
        room = self.purse.room()[0]
        if any(room > one.refused_at for one in self._refused):
            self._refusals = 0
        for item in [one for one in self._refused if room > one.refused_at]:
            self._refused.remove(item)
            item.refused_at = -1
            self._push(item)
            self._note(item)

    def _price(self, item: Item) -> float:
        """The price down to which an item goes on."""
        others = -self._heap[0][0] if self._heap else 0.0
        price = min(others, item.index) * (1 - SLACK)
        if price == inf:
            return 0.0
        if item.index < inf:  # not too far down at once: what is under way may come back as a better buy
            price = max(price, item.index * FALL)
        return max(min(price, BOLD * self._forecast), self.floor)

    def _learn(self, item: Item, spent: int, price: float) -> None:
        """What the price will come to, once more: first purchases show what queries really cost, and the money that is
        left has to do for those that have not begun."""
        if self.bound is None or item.envelope is None or not spent or item.spent > spent:
            return
        self._seen += 1
        self._cost += spent / NANO
        self._guess += item.envelope.at(max(price, NONE))[0]
        if self._seen < FEW or self._guess <= 0 or self._seen % max(1, len(self.items) // 20):
            return
        dearer, usd = max(1.0, self._cost / self._guess), self.purse.room()[0] / NANO
        fresh = [one.envelope for one in self.items if not one.spent and not one.over and one.envelope is not None]
        whole = [one.envelope for one in self.items if one.envelope is not None]
        price = max(relaxed(fresh, usd / dearer).price, relaxed(whole, (self._usd or 0.0) / dearer).price) / dearer
        scarce = usd < AHEAD * len(fresh) * self._cost / self._seen
        self._forecast = inf if scarce or price <= 0 else price

    def _share(self, item: Item) -> None:
        """Where nobody can say what an item will take, it may have its equal part of what is left."""
        if item.index < inf or item.parts:
            return
        limit, room = item.purse.limit, self.purse.room()[0]
        if room < UNLIMITED >> 1 and self._unseen:
            item.purse.limit = (min(limit[0], room // self._unseen), *limit[1:])
        self._unseen = max(0, self._unseen - 1)

    @property
    def _usd(self) -> float | None:
        room = self.purse.limit[0]
        return room / NANO if room < UNLIMITED >> 1 else None

    def progress(self, price: float) -> Progress:
        spent, usd = self.purse.posted[0] / NANO, self._usd
        return Progress(
            len(self._finished), len(self.items), spent, usd, price, monotonic() - self._began, self.under_way
        )
