"""The book: the ledger's arithmetic, without any storage. Stores keep it whole (memory), or load the part that a batch
of operations touches, let it work, and keep what has changed (SQLite, PostgreSQL).

For every account and every slot of its windows: posted + pending <= limit, after each operation. Only what a provider
bills above its hold can pass the limit; it is posted all the same, counted apart (`Hold.over`), and told.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...core.amounts import Amounts
from ...core.errors import BudgetError, CallerError, LedgerConflict, SatisficeError, StoreError, UnknownName
from .accounts import Account, said
from .meters import UNLIMITED, Meter
from .operations import (
    Alert,
    Done,
    Freeze,
    Grant,
    Hold,
    Note,
    Open,
    Operation,
    Refusal,
    Reserve,
    Result,
    Settle,
    Void,
)
from .tree import Tree
from .windows import LAST


class Book(Tree):
    """Accounts, counters and holds. `slice_`: only a part of a store's is here, and what changes is noted."""

    def __init__(self, accounts: Iterable[Account] = (), *, slice_: bool = False) -> None:
        super().__init__()
        self.sliced = slice_
        self.changed: dict[str, Hold] = {}  # holds that a slice has made, resolved or given another owner
        self.opened: list[Account] = []  # accounts made, granted or frozen since it was loaded
        self.notes: list[Note] = []  # since it was loaded
        self.priced: dict[str, set[str]] = {}  # versions of the price that holds were reckoned by, for each model
        for account in accounts:
            self.add(account)

    # -- operations -----------------------------------------------------------------------------------------------

    def apply(self, operations: Iterable[Operation], at: int) -> list[Result]:
        """Does one after the other; one that fails changes nothing, and the others go on. Raises `StoreError` for a
        time that no clock should show."""
        if not 0 <= at < LAST:
            raise StoreError(f"the clock says {at} ms since 1970, which is no time that can be: set it right")
        results: list[Result] = []
        for operation in operations:
            try:
                results.append(self.perform(operation, at))
            except SatisficeError as error:
                results.append(error)
        return results

    def perform(self, operation: Operation, at: int) -> Result:
        """Raises `UnknownName`, `LedgerConflict`, `BudgetError`, `CallerError`; then nothing has changed."""
        if isinstance(operation, Reserve):
            return self.reserve(operation, at)
        if isinstance(operation, Settle):
            return self.settle(operation, at)
        if isinstance(operation, Void):
            return self.void(operation, at)
        if isinstance(operation, Open):
            return self._open(operation.account, at)
        if isinstance(operation, Grant):
            return self._grant(operation, at)
        if isinstance(operation, Freeze):
            return self._freeze(operation, at)
        raise CallerError(f"{operation!r:.80} is no operation of a ledger")

    def reserve(self, op: Reserve, at: int) -> Done | Refusal:
        """Holds on every level or on none."""
        node = self.nodes.get(op.account) or self.account(op.account)
        amounts = op.amounts
        n, t, k = amounts.nanos, amounts.tokens, amounts.calls
        known = self.holds.get(op.id)
        if known is not None and known.state != "voided":  # one that was given back may be made again
            return self._again(known, op, (n, t, k))
        if node.frozen:
            return Refusal(node.frozen, "total", "frozen")
        line = node.line
        near = False
        for meter in line:
            c = meter.now
            if not c.start <= at < c.end:
                c = meter.turn(at)
            if c.un + n > c.low_n or c.ut + t > c.low_t or c.uk + k > c.low_k:
                left = meter.room(at)
                if n > left[0] or t > left[1] or k > left[2]:
                    return meter.refusal((n, t, k), left, at)
                near = True
        for meter in line:
            c = meter.now
            c.un += n
            c.ut += t
            c.uk += k
            c.hn += n
            c.ht += t
            c.hk += k
        held = (n, t, k)
        hold = Hold(
            op.id, op.account, at, at + op.ttl, held, "pending", op.run, op.model, op.price,
            None, _NOTHING, _NOTHING, None, False, op.owner,
        )  # fmt: skip
        self.holds[op.id] = hold
        if self.sliced:
            self.changed[op.id] = hold
        else:
            self.pending[op.id] = hold
            if known is not None:
                self.remade.add(op.id)
        news = op.price and op.price not in self.priced.get(op.model, ())
        return self._told(hold, near, at) if near or news else _DONE

    def settle(self, op: Settle, at: int) -> Done:
        """Posts in the slot in which it was reserved."""
        hold = self.holds.get(op.id)
        amounts = op.amounts
        spent = (amounts.nanos, amounts.tokens, amounts.calls)
        if hold is None:
            return self._unmatched(op, spent, at)
        if hold.state == "settled":
            if hold.spent != spent:
                raise LedgerConflict(
                    f"hold {op.id} was settled at {said(hold.spent)} already, now {said(spent)} is said: the first "
                    "stands",
                    hold=op.id,
                )
            return Done(repeated=True)
        line = self._line_of(hold)
        late = hold.state == "voided" or at > hold.expires
        held = _NOTHING if hold.state == "voided" else hold.held
        (n, t, k), (hn, ht, hk) = spent, held
        dn, dt, dk = n - hn, t - ht, k - hk
        start = hold.at
        above = dn > 0 or dt > 0 or dk > 0
        if above:
            self._check_sums(line, (dn, dt, dk), start)
        for meter in line:
            c = meter.now
            if not c.start <= start < c.end:
                c = meter.at(start)
            c.un += dn
            c.ut += dt
            c.uk += dk
            c.hn -= hn
            c.ht -= ht
            c.hk -= hk
        hold.state, hold.spent, hold.resolved, hold.late = "settled", spent, at, late
        if op.price:
            hold.price = op.price
        hold.by = op.by
        if op.by:
            self.notes.append(Note(at, "settle", hold.account, f"hold {hold.id} settled at {said(spent)}", op.by))
        if op.usage is not None:
            u = op.usage
            hold.usage = (u.prompt, u.completion, u.cached, u.reasoning)
        if self.sliced:
            self.changed[op.id] = hold
        else:
            self.pending.pop(op.id, None)
        if not above:
            return _DONE
        return self._above(hold, held, line, at)

    def void(self, op: Void, at: int) -> Done:
        """Where none was made, or another owner has it now, there is nothing to give back. Raises `LedgerConflict` for
        a hold that was settled."""
        hold = self.holds.get(op.id)
        if hold is None:
            return Done(repeated=True)
        if hold.state == "settled":
            raise LedgerConflict(f"hold {op.id} was settled at {said(hold.spent)}: it cannot be given back", hold=op.id)
        if hold.state == "voided" or (op.owner and op.owner != hold.by):
            return Done(repeated=True)
        n, t, k = hold.held
        for meter in self._line_of(hold):
            c = meter.at(hold.at)
            c.un -= n
            c.ut -= t
            c.uk -= k
            c.hn -= n
            c.ht -= t
            c.hk -= k
        hold.state, hold.resolved, hold.by = "voided", at, op.by
        if op.by:
            self.notes.append(Note(at, "void", hold.account, f"hold {hold.id} given back", op.by))
        if self.sliced:
            self.changed[op.id] = hold
        else:
            del self.pending[op.id]
        return Done()

    def _told(self, hold: Hold, near: bool, at: int) -> Done:
        """What somebody should know of a reservation: shares of limits, another price than the one known."""
        alerts = self._shares(self.nodes[hold.account].line, at) if near else ()
        known = self.priced.setdefault(hold.model, set())
        if hold.price and hold.price not in known:
            if known:
                was = ", ".join(sorted(known))
                text = (
                    f"{hold.model} is now priced by {hold.price}, until now by {was}: have all nodes the same prices?"
                )
                alerts = (*alerts, self._note(Alert("price", hold.account, text, at)))
            known.add(hold.price)
        return Done(alerts=alerts)

    # -- what is rarer --------------------------------------------------------------------------------------------

    def _again(self, hold: Hold, op: Reserve, held: tuple[int, int, int]) -> Done:
        if hold.state != "pending":
            raise LedgerConflict(f"hold {op.id} was settled already: a new call needs a new id", hold=op.id)
        if (hold.account, hold.held) != (op.account, held):
            raise LedgerConflict(
                f"hold {op.id} is there already, at account {hold.account} with {said(hold.held)}", hold=op.id
            )
        if hold.by != op.owner:  # a resumed attempt: what the former owner still wants to give back is no longer its
            hold.by = op.owner
            if self.sliced:
                self.changed[op.id] = hold
        return Done(repeated=True)

    def _unmatched(self, op: Settle, spent: tuple[int, int, int], at: int) -> Done:
        """Usage for a call that was never held here: it was spent, so it is posted."""
        if not op.account:
            raise UnknownName.of("hold", op.id, ())
        node = self.account(op.account)
        hold = Hold(op.id, op.account, at, at, (0, 0, 0), "voided", op.run, op.model, op.price)
        self._check_sums(node.line, spent, at)  # before there is a hold: what fails changes nothing
        self.holds[op.id] = hold
        return self.settle(op, at)

    def _line_of(self, hold: Hold) -> tuple[Meter, ...]:
        return self.nodes[hold.account].line

    def _above(self, hold: Hold, held: tuple[int, int, int], line: tuple[Meter, ...], at: int) -> Done:
        """More was billed than was held: posted, noted and told."""
        n, t, k = (max(0, a - b) for a, b in zip(hold.spent, held, strict=True))
        hold.over = (n, t, k)
        kind, what = ("late", "usage came late for") if held is _NOTHING else ("overrun", "a provider billed above")
        text = f"{what} hold {hold.id}: {said(hold.spent)} against {said(held)}"
        alert = self._note(Alert(kind, hold.account, text, at))  # type: ignore[arg-type]
        return Done(overrun=Amounts(n, t, k), alerts=(alert, *self._shares(line, at)))

    @staticmethod
    def _check_sums(line: tuple[Meter, ...], spent: tuple[int, int, int], at: int) -> None:
        for meter in line:
            c = meter.at(at)
            if max(c.un + spent[0], c.ut + spent[1], c.uk + spent[2]) >= UNLIMITED:
                raise BudgetError(
                    f"account {meter.account} cannot count that far: with {said(spent)} more it would be above what "
                    "64 bits hold",
                    account=meter.account,
                )

    def _shares(self, line: tuple[Meter, ...], at: int) -> tuple[Alert, ...]:
        return tuple(self._note(alert) for meter in line if (alert := meter.alert(at)) is not None)

    def _note(self, alert: Alert) -> Alert:
        self.notes.append(Note(alert.at, alert.kind, alert.account, alert.text))
        return alert

    # -- the tree -------------------------------------------------------------------------------------------------

    def _open(self, account: Account, at: int) -> Done:
        known = self.nodes.get(account.name)
        if known is not None:
            if known.account.parent != account.parent:
                text = f"account {account.name!r} is under {known.account.parent!r}, not {account.parent!r}"
                raise LedgerConflict(f"{text}: an account stays where it was opened", account=account.name)
            return Done(repeated=True)
        if account.parent is not None:
            self.account(account.parent)
        self.add(account)
        self.born.add(account.name)
        self.opened.append(account)
        self.notes.append(Note(at, "open", account.name, f"opened under {account.parent}"))
        return Done()

    def _grant(self, op: Grant, at: int) -> Done:
        """A meter over a new window starts with what the holds say: `backfilled` by the store before."""
        account = self.account(op.account).account
        limits = {limit.window: limit for limit in account.limits}
        if op.limit is None:
            if limits.pop(op.window, None) is None:
                raise CallerError(f"account {op.account!r} has no limit {op.window.per}")
        else:
            meter = next(m for m in self.metered(op.account, op.window) if m.window == op.window)
            if limits.get(op.window) == op.limit:
                return Done(repeated=True)
            used, caps = meter.used(at), (op.limit.nanos, op.limit.tokens, op.limit.calls)
            # A provider may have billed past the present cap: a higher one is welcome even below that.
            if any(c is not None and c < min(u, old) for u, c, old in zip(used, caps, meter.caps, strict=True)):
                raise LedgerConflict(
                    f"account {op.account} has used or holds {said(used)} {op.window.per}, more than this limit: "
                    f"grant at least that, or stop it with `satisfice ledger grant {op.account} --freeze`",
                    account=op.account,
                )
            limits[op.window] = op.limit
        new = Account(account.name, account.parent, tuple(limits.values()), account.frozen)
        self.nodes[op.account].account = new
        self.opened.append(new)
        self._rewire()
        if op.limit is not None:
            meter.retell(at)
        what = "no limit" if op.limit is None else op.limit.said
        self.notes.append(Note(at, "grant", op.account, f"{what} {op.window.per}", op.by))
        return Done()

    def _freeze(self, op: Freeze, at: int) -> Done:
        account = self.account(op.account).account
        if account.frozen == op.frozen:
            return Done(repeated=True)
        new = Account(account.name, account.parent, account.limits, op.frozen)
        self.nodes[op.account].account = new
        self.opened.append(new)
        self._rewire()
        self.notes.append(Note(at, "freeze" if op.frozen else "unfreeze", op.account, "", op.by))
        return Done()


_DONE = Done()
_NOTHING = (0, 0, 0)
