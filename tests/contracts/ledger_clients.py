"""Clients of a ledger whose steps a seeded dice interleaves: they crash, their messages are lost, come twice or late,
and the clock jumps. One `Interleaving` is one such history; the invariant is checked after each of its steps."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from ..budgets.ledger.accounts import Account, Limit
from ..budgets.ledger.operations import Done, Hold, Open, Operation, Refusal, Reserve, Result, Settle, Void
from ..budgets.ledger.stores import Query, Store
from ..budgets.ledger.windows import TOTAL, Window
from ..core.amounts import Amounts
from ..core.errors import LedgerConflict, UnknownName
from .ledger_checks import total

LIMIT = 40
WINDOWS = (TOTAL, Window("day"), Window("rolling", 6000))
JUMPS = (1, 50, 3000, 6100, 86_400_000)
Client: TypeAlias = Generator[Operation, Result | None, None]


@dataclass(slots=True)
class Counts:
    """What happened, over many interleavings."""

    interleavings: int = 0
    steps: int = 0
    admitted: int = 0
    refused: int = 0
    lost: int = 0
    repeated: int = 0
    crashed: int = 0
    jumps: int = 0

    def __iadd__(self, other: Counts) -> Counts:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@dataclass(slots=True)
class Interleaving:
    """Some clients that share a limit of `LIMIT` nano-dollars, over all time, a day, or 6 rolling seconds, at an
    account `name` of their own with two branches."""

    store: Store
    name: str
    dice: Random
    now: int
    clients: int = 4
    counts: Counts = field(default_factory=Counts)
    truth: dict[str, Hold] = field(default_factory=dict)  # what the store must have, by what it was told

    def run(self) -> Counts:
        """Raises AssertionError where the limit is passed, or the store knows anything otherwise."""
        dice, window = self.dice, self.dice.choice(WINDOWS)
        branches = [Account(f"{self.name}{side}", self.name) for side in "ab"]
        top = Account(self.name, limits=(Limit(window, LIMIT),))
        self.store.apply([Open(top), *(Open(branch) for branch in branches)], self.now)
        waiting = [(client, next(client)) for client in (self._client(i) for i in range(self.clients))]
        late: list[Operation] = []
        while waiting:
            at = dice.randrange(len(waiting))
            client, operation = waiting.pop(at)
            chance = dice.random()
            if late and chance < 0.1:  # a message that was sent twice, or was long under way
                self._deliver(late.pop(dice.randrange(len(late))), window)
            if chance > 0.9:
                self.now += dice.choice(JUMPS) * dice.choice((1, 1, -1))
                self.counts.jumps += 1
            result: Result | None = None
            if chance < 0.15:
                self.counts.lost += 1  # on its way there
            else:
                result = self._deliver(operation, window)
                if chance < 0.25:
                    self.counts.lost += 1  # the answer, on its way back
                    result = None
                elif chance < 0.4:
                    late.append(operation)
            try:
                waiting.append((client, client.send(result)))
            except StopIteration:
                continue
        for operation in late:
            self._deliver(operation, window)
        self._reconcile(window)
        self.counts.interleavings += 1
        return self.counts

    def _client(self, number: int) -> Client:
        """Reserves and resolves, two times; sends again what it heard nothing of; may die at any step."""
        dice = self.dice
        for turn in range(2):
            id, worst = f"{self.name}.{number}.{turn}", dice.randint(5, 25)
            reserve = Reserve(id, f"{self.name}{'ab'[number % 2]}", Amounts(worst, 0, 1), dice.choice((1, 1000, 10**8)))
            result = yield reserve
            while result is None:
                result = yield reserve
            if isinstance(result, Refusal):
                continue
            if dice.random() < 0.1:
                self.counts.crashed += 1
                return
            spent = dice.choice((0, worst // 2, worst, worst, worst + 3))
            resolve: Operation = Void(id) if dice.random() < 0.25 else Settle(id, Amounts(spent, 0, 1))
            while (yield resolve) is None:
                pass

    def _deliver(self, operation: Operation, window: Window) -> Result:
        """What the store makes of it, and that it is right."""
        (result,) = self.store.apply([operation], self.now)
        self.counts.steps += 1
        if isinstance(result, Done) and result.repeated:
            self.counts.repeated += 1
        elif isinstance(result, Done):
            self._note(operation)
            if isinstance(operation, Reserve):
                self._check(window)
        elif isinstance(result, Refusal):
            self.counts.refused += 1
            assert isinstance(operation, Reserve)
            assert self._used(window) + operation.amounts.nanos > LIMIT, "refused without need"
        else:  # a message that came late: what was first stands
            assert isinstance(result, LedgerConflict | UnknownName), result
        return result

    def _note(self, op: Operation) -> None:
        if isinstance(op, Reserve):
            self.counts.admitted += 1
            assert op.id not in self.truth or self.truth[op.id].state == "voided"  # such may be made again
            held = (op.amounts.nanos, 0, 1)
            self.truth[op.id] = Hold(op.id, op.account, self.now, self.now + op.ttl, held)
        elif isinstance(op, Settle):
            hold = self.truth[op.id]
            hold.late = hold.state == "voided" or self.now > hold.expires
            over = op.amounts.nanos - (0 if hold.state == "voided" else hold.held[0])
            calls = int(hold.state == "voided")
            hold.state, hold.spent, hold.over = "settled", (op.amounts.nanos, 0, 1), (max(0, over), 0, calls)
            hold.resolved = self.now
        elif isinstance(op, Void):
            self.truth[op.id].state, self.truth[op.id].resolved = "voided", self.now

    def _used(self, window: Window) -> int:
        """What counts now by the store's rule."""
        slot = window.slot(self.now)
        if window.kind == "rolling":
            return sum(used(hold) for hold in self.truth.values() if window.slot(hold.at) >= slot - window.back)
        return sum(used(hold) for hold in self.truth.values() if window.slot(hold.at) == slot)

    def _check(self, window: Window) -> None:
        """The invariant, the slow way: in every slot, in every stretch of a rolling window. It can only be broken by
        what was just admitted, but all of it is looked at."""
        holds = self.truth.values()
        for start in {hold.at if window.kind == "rolling" else window.slot(hold.at) for hold in holds}:
            if window.kind == "rolling":
                inside = [hold for hold in holds if start <= hold.at < start + window.length]
            else:
                inside = [hold for hold in holds if window.slot(hold.at) == start]
            assert sum(used(hold) - hold.over[0] for hold in inside) <= LIMIT, (window, inside)

    def _reconcile(self, window: Window) -> None:
        """Somebody says what became of the calls of those who died. The store then has what it was told, to the
        nano-dollar."""
        found = {hold.id: hold for hold in self.store.holds(Query(account=self.name))}
        assert found == self.truth
        for hold in found.values():
            if hold.state == "pending":
                self._deliver(Settle(hold.id, Amounts(hold.held[0], 0, 1)), window)
        left = self.store.room(self.name, self.now)[0]
        assert left == max(0, LIMIT - self._used(window))
        spent = total(hold.spent for hold in self.store.holds(Query(account=self.name, state="settled")))
        assert spent == total(hold.spent for hold in self.truth.values() if hold.state == "settled")


def used(hold: Hold) -> int:
    return hold.held[0] if hold.state == "pending" else hold.spent[0]
