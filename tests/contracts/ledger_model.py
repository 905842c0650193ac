"""What a ledger should say, reckoned the slow way: a list of holds, summed up anew for every question."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from ..budgets.ledger.accounts import ROOT, Account, Limit
from ..budgets.ledger.operations import (
    Done,
    Freeze,
    Grant,
    Hold,
    Open,
    Operation,
    Refusal,
    Reserve,
    Result,
    Settle,
    Void,
)
from ..budgets.ledger.stores import Query, Store
from ..budgets.ledger.windows import TOTAL, Window
from ..core.amounts import Amounts
from .ledger_checks import counts, total

Triple = tuple[int, int, int]
WINDOWS = (TOTAL, Window("day"), Window("month"), Window.parse("1h"), Window("rolling", 6000))
KINDS = (
    *("reserve",) * 8,
    *("settle",) * 4,
    *("void",) * 2,
    *("again",) * 2,
    *("grant",) * 2,
    *("late", "open", "ungrant", "freeze"),
)
OWNERS = ("", "", "p", "q")
STEPS = (0, 1, 50, 100, 1000, 5900, 6000, 6100, 3_600_000, 3_660_000, 86_400_000, 31 * 86_400_000)


@dataclass
class Known:
    """An account. `before`: the holds as they were when the limit of a window was set: it binds from then on."""

    parent: str | None
    limits: dict[Window, Limit] = field(default_factory=dict)
    frozen: bool = False
    before: dict[Window, list[Hold]] = field(default_factory=dict)


class LedgerModel:
    """Does every operation as a store should, and says what should come of it."""

    def __init__(self) -> None:
        self.accounts: dict[str, Known] = {ROOT: Known(None)}
        self.holds: dict[str, Hold] = {}

    # -- sums -----------------------------------------------------------------------------------------------------

    def line(self, name: str) -> list[str]:
        parent = self.accounts[name].parent
        return [name, *(self.line(parent) if parent is not None else ())]

    def below(self, name: str) -> list[Hold]:
        return [hold for hold in self.holds.values() if name in self.line(hold.account)]

    def balance(self, name: str, window: Window, now: int) -> tuple[Triple, Triple]:
        """Posted and pending."""
        counted = [h for h in self.below(name) if counts(window, h.at, now)]
        posted = total(h.spent for h in counted if h.state == "settled")
        return posted, total(h.held for h in counted if h.state == "pending")

    def left(self, name: str, window: Window, now: int) -> Triple:
        used, limit = total(self.balance(name, window, now)), self.accounts[name].limits[window]
        n, t, k = (
            (1 << 62) - u if c is None else c - u
            for u, c in zip(used, (limit.nanos, limit.tokens, limit.calls), strict=True)
        )
        return n, t, k

    def stretches(self, name: str, window: Window, below: list[Hold] | None = None) -> dict[int, Triple]:
        """posted + pending - over in every slot, in a rolling window in every stretch of its length, by the start. Of
        `below`, where they are given; the starts are those of all holds now."""
        below = self.below(name) if below is None else below
        found: dict[int, Triple] = {}
        for start in {h.at if window.kind == "rolling" else window.slot(h.at) for h in self.below(name)}:
            if window.kind == "rolling":
                inside = [h for h in below if start <= h.at < start + window.length]
            else:
                inside = [h for h in below if window.slot(h.at) == start]
            used = total((h.held if h.state == "pending" else h.spent) for h in inside)
            over = total(h.over for h in inside)
            found[start] = (used[0] - over[0], used[1] - over[1], used[2] - over[2])
        return found

    def hold_true(self) -> None:
        """The invariant, at every account, in every window, at all times."""
        for name, known in self.accounts.items():
            for window, limit in known.limits.items():
                then = self.stretches(name, window, known.before.get(window, []))
                for start, used in self.stretches(name, window).items():
                    before = then[start]
                    for cap, u, b in zip((limit.nanos, limit.tokens, limit.calls), used, before, strict=True):
                        assert cap is None or u <= max(cap, b), (name, window, start, u, cap)

    # -- operations -----------------------------------------------------------------------------------------------

    def perform(self, op: Operation, now: int) -> str:
        """What should come of it: "Done", "repeated", "Refusal ACCOUNT", or the name of an error."""
        if isinstance(op, Reserve):
            return self.reserve(op, now)
        if isinstance(op, Settle):
            return self.settle(op, now)
        if isinstance(op, Void):
            return self.void(op, now)
        if isinstance(op, Open):
            return self.open(op.account)
        if op.account not in self.accounts:
            return "UnknownName"
        known = self.accounts[op.account]
        if isinstance(op, Freeze):
            said = "repeated" if known.frozen == op.frozen else "Done"
            known.frozen = op.frozen
            return said
        return self.grant(op, known, now)

    def reserve(self, op: Reserve, now: int) -> str:
        if op.account not in self.accounts:
            return "UnknownName"
        asked = (op.amounts.nanos, op.amounts.tokens, op.amounts.calls)
        known = self.holds.get(op.id)
        if known is not None and known.state != "voided":  # one that was given back may be made again
            same = (known.account, known.held, known.state) == (op.account, asked, "pending")
            if same:
                known.by = op.owner
            return "repeated" if same else "LedgerConflict"
        line = self.line(op.account)
        for name in reversed(line):
            if self.accounts[name].frozen:
                return f"Refusal {name}"
        for name in line:
            for window in self.accounts[name].limits:
                if any(a > left for a, left in zip(asked, self.left(name, window, now), strict=True)):
                    return f"Refusal {name}"
        hold = Hold(op.id, op.account, now, now + op.ttl, asked, "pending", op.run, op.model, op.price, by=op.owner)
        self.holds[op.id] = hold
        return "Done"

    def settle(self, op: Settle, now: int) -> str:
        spent = (op.amounts.nanos, op.amounts.tokens, op.amounts.calls)
        hold = self.holds.get(op.id)
        if hold is None:
            if op.account not in self.accounts:
                return "UnknownName"
            hold = self.holds[op.id] = Hold(
                op.id, op.account, now, now, (0, 0, 0), "voided", op.run, op.model, op.price
            )
        if hold.state == "settled":
            return "repeated" if hold.spent == spent else "LedgerConflict"
        held = hold.held if hold.state == "pending" else (0, 0, 0)
        n, t, k = (max(0, s - h) for s, h in zip(spent, held, strict=True))
        late = hold.state == "voided" or now > hold.expires
        hold.state, hold.spent, hold.over, hold.late, hold.resolved = "settled", spent, (n, t, k), late, now
        hold.price, hold.by = op.price or hold.price, op.by
        return "Done"

    def void(self, op: Void, now: int) -> str:
        hold = self.holds.get(op.id)
        if hold is None:
            return "repeated"
        if hold.state != "pending":
            return "repeated" if hold.state == "voided" else "LedgerConflict"
        if op.owner not in ("", hold.by):
            return "repeated"
        hold.state, hold.resolved, hold.by = "voided", now, op.by
        return "Done"

    def open(self, account: Account) -> str:
        known = self.accounts.get(account.name)
        if known is not None:
            return "repeated" if known.parent == account.parent else "LedgerConflict"
        if account.parent is not None and account.parent not in self.accounts:
            return "UnknownName"
        limits = {limit.window: limit for limit in account.limits}
        self.accounts[account.name] = Known(account.parent, limits, account.frozen)
        return "Done"

    def grant(self, op: Grant, known: Known, now: int) -> str:
        if op.limit is None:
            return "Done" if known.limits.pop(op.window, None) else "CallerError"
        old = known.limits.get(op.window)
        if old == op.limit:
            return "repeated"
        used = total(self.balance(op.account, op.window, now))
        for name, u in zip(("nanos", "tokens", "calls"), used, strict=True):
            cap, was = getattr(op.limit, name), old and getattr(old, name)
            if cap is not None and cap < u and (was is None or cap < was):
                return "LedgerConflict"
        known.limits[op.window] = op.limit
        known.before[op.window] = [replace(hold) for hold in self.below(op.account)]
        return "Done"

    # -- against a store ------------------------------------------------------------------------------------------

    def agree(self, store: Store, now: int) -> None:
        """The store says the same."""
        standings = {s.account.name: s for s in store.standings(now)}
        assert standings.keys() == self.accounts.keys()
        for name, known in self.accounts.items():
            standing = standings[name]
            account = standing.account
            assert (account.parent, account.frozen) == (known.parent, known.frozen)
            assert {limit.window: limit for limit in account.limits} == known.limits
            assert {b.window for b in standing.balances} == {TOTAL, *known.limits}
            for b in standing.balances:
                assert (b.posted, b.pending) == self.balance(name, b.window, now), (name, b)
                assert b.limit == known.limits.get(b.window)
        assert {hold.id: hold for hold in store.holds(Query())} == self.holds
        pending = {id: hold for id, hold in self.holds.items() if hold.state == "pending"}
        assert {hold.id: hold for hold in store.holds(Query(state="pending"))} == pending
        assert [hold.id for hold in store.holds(Query(ambiguous=now))] == [
            hold.id for hold in store.holds(Query()) if hold.ambiguous(now)
        ]
        names = [*list(self.accounts)[::2], "nobody"]
        assert {a.name: a for a in store.accounts(names)} == {n: standings[n].account for n in names[:-1]}


def said(result: Result) -> str:
    """As the model says it."""
    if isinstance(result, Refusal):
        return f"Refusal {result.account}"
    if isinstance(result, Done):
        return "repeated" if result.repeated else "Done"
    return type(result).__name__


class Script:
    """Makes operations out of numbers, such as fit to what a model knows by now: most of them can be done."""

    def __init__(self, model: LedgerModel) -> None:
        self.model, self.count = model, 0
        self.sent: list[Operation] = []

    def next(self, kind: str, a: int, b: int, amounts: Triple) -> Operation:
        operation = self._make(kind, a, b, amounts)
        self.sent.append(operation)
        return operation

    def _make(self, kind: str, a: int, b: int, amounts: Triple) -> Operation:
        names = [*self.model.accounts, "nobody"] if b % 16 == 0 else list(self.model.accounts)
        account = names[a % len(names)]
        if kind == "again" and self.sent:
            before = self.sent[-1 - a % len(self.sent)]
            return replace(before, owner=OWNERS[b % 4]) if isinstance(before, Reserve) else before
        if kind in ("settle", "void") and (hold := self._hold(a)) is not None:
            return self._resolution(kind, hold, b, amounts)
        if kind == "late":
            self.count += 1
            return Settle(f"late{self.count}", Amounts(*amounts), account=account)
        if kind == "open":
            self.count += 1
            limits = tuple(self._limit(WINDOWS[(b + i) % 5], amounts) for i in range(b % 3))
            return Open(Account(f"a{self.count % 8}", account, limits))
        if kind == "grant":
            window = WINDOWS[b % 5]
            return Grant(account, window, self._limit(window, amounts))
        if kind == "ungrant":
            windows = list(self.model.accounts[account].limits) if account in self.model.accounts else []
            return Grant(account, windows[b % len(windows)] if windows else TOTAL, None)
        if kind == "freeze":
            return Freeze(account, b % 3 == 1)
        self.count += 1
        return Reserve(f"h{self.count}", account, Amounts(*amounts), 1 + b * 1000, owner=OWNERS[b % 4])

    def _hold(self, a: int) -> Hold | None:
        pending = [hold for hold in self.model.holds.values() if hold.state == "pending"]
        holds = pending if pending and a % 8 else list(self.model.holds.values())
        return holds[a % len(holds)] if holds else None

    @staticmethod
    def _resolution(kind: str, hold: Hold, b: int, amounts: Triple) -> Operation:
        if kind == "void":
            return Void(hold.id, owner=OWNERS[b // 4 % 4])
        n, t, k = hold.held
        spent = ((n, t, k), (n // 2, t // 2, k), (n // 2, t // 2, k), (0, 0, k), (n + amounts[0], t, k), amounts)[b % 6]
        return Settle(hold.id, Amounts(*spent), by="x" * (b % 2))

    @staticmethod
    def _limit(window: Window, amounts: Triple) -> Limit:
        n, t, k = amounts
        return Limit(window, 4 * n, None if t % 2 else 4 * t, None if k % 2 else 4 * k)


def amounts_of(dice: Random) -> Triple:
    return dice.randrange(20), dice.randrange(20), dice.randrange(4)


def play(store: Store, dice: Random, steps: int, now: int, *, check: int = 8) -> tuple[int, int]:
    """`steps` random operations, some of them in batches, under a clock that runs, jumps and goes back. Compares with
    the model after each, and looks at all of it every `check` times. How many were done, and how many refused."""
    model = LedgerModel()
    script = Script(model)
    done = refused = sent = 0
    while sent < steps:
        size = dice.choice((1, 1, 1, 2, 5))
        batch: list[Operation] = []
        wanted: list[str] = []
        for _ in range(size):
            batch.append(script.next(dice.choice(KINDS), dice.randrange(64), dice.randrange(64), amounts_of(dice)))
            wanted.append(model.perform(batch[-1], now))
        got = [said(result) for result in store.apply(batch, now)]
        assert got == wanted, list(zip(batch, got, wanted, strict=True))
        sent += size
        done += sum(g == "Done" for g in got)
        refused += sum(g.startswith("Refusal") for g in got)
        if dice.random() < 1 / check:
            model.agree(store, now)
            model.hold_true()
        if dice.random() < 0.4:
            now += dice.choice(STEPS) * dice.choice((1, 1, 1, -1))
    model.agree(store, now)
    model.hold_true()
    return done, refused
