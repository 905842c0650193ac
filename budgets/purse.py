"""The purse: what may still be spent, held in two phases and never overdrawn.

Reserve the worst case before a call, settle from the reported usage after it, void what never left. A purse carved
out of another one holds in both, all or none. At every instant posted + pending <= limit, on every level.
"""

from __future__ import annotations

from threading import Lock

from ..core.amounts import NANO, Amounts, nanos
from .budget import Budget

UNLIMITED = 1 << 62


class Hold:
    """A reservation. It resolves once: settled or voided."""

    __slots__ = ("amounts", "open", "purse")

    def __init__(self, purse: Purse, amounts: Amounts) -> None:
        self.purse, self.amounts, self.open = purse, amounts, True


class Purse:
    """Limits, posted spend and pending holds in (nano-dollars, tokens, calls). Safe from several threads. `hint`: it
    shows what an account of the ledger was last seen to have; the ledger decides, this one refuses nothing."""

    __slots__ = ("_lock", "hint", "limit", "overrun", "parent", "pending", "posted")

    def __init__(self, limit: tuple[int, int, int], parent: Purse | None = None, hint: bool = False) -> None:
        self.limit, self.hint = limit, hint
        self.parent = parent
        self.posted = [0, 0, 0]
        self.pending = [0, 0, 0]
        self.overrun = 0  # nano-dollars that a provider billed above the worst case it was held at
        self._lock: Lock = parent._lock if parent is not None else Lock()

    @classmethod
    def of(cls, budget: Budget, parent: Purse | None = None) -> Purse:
        """A purse with the budget's caps."""
        usd = UNLIMITED if budget.usd is None else int(budget.usd * NANO + 1e-6)
        if usd < 1 and budget.usd is not None:
            usd = nanos(budget.usd)
        return cls((usd, int(budget.tokens or UNLIMITED), int(budget.calls or UNLIMITED)), parent)

    def room(self, hints: bool = False) -> tuple[int, int, int]:
        """What is neither posted nor pending here and on every level above (nano-dollars, tokens, calls); with `hints`
        also by what accounts were last seen to have."""
        n, t, c = self._left(hints)
        return max(0, n), max(0, t), max(0, c)

    def _left(self, hints: bool = False) -> tuple[int, int, int]:
        """The same, below 0 where a level is overdrawn: a call came dearer than it was held at."""
        if self.hint and not hints:
            return self.parent._left() if self.parent is not None else (UNLIMITED, UNLIMITED, UNLIMITED)
        (ln, lt, lc), (n, t, c), (hn, ht, hc) = self.limit, self.posted, self.pending
        n, t, c = ln - n - hn, lt - t - ht, lc - c - hc
        if self.parent is not None:
            pn, pt, pc = self.parent._left(hints)
            n, t, c = min(n, pn), min(t, pt), min(c, pc)
        return n, t, c

    def allow(self, room: tuple[int, int, int]) -> None:
        """Sets the limit so that `room` is left: what an account was last seen to have."""
        with self._lock:
            n, t, c = (p + h + r for p, h, r in zip(self.posted, self.pending, room, strict=True))
            self.limit = n, t, c

    def short_of(self, amounts: Amounts) -> str | None:
        """The first dimension in which `amounts` does not fit, or None. An overdrawn level has no room for nothing,
        either: what seems free may be what overdrew it."""
        n, t, c = self._left()
        if amounts.nanos > n:
            return "usd"
        if amounts.tokens > t:
            return "tokens"
        return "calls" if amounts.calls > c else None

    def reserve(self, amounts: Amounts) -> Hold | None:
        """Holds `amounts` on every level, or on none: then None."""
        with self._lock:
            if self.short_of(amounts) is not None:
                return None
            self._shift(self, amounts, 1, "pending")
        return Hold(self, amounts)

    def settle(self, hold: Hold, actual: Amounts) -> None:
        """Posts what was really spent in the hold's place. A second resolution is ignored."""
        with self._lock:
            if not hold.open:
                return
            hold.open = False
            self._shift(hold.purse, hold.amounts, -1, "pending")
            self._shift(hold.purse, actual, 1, "posted")
            hold.purse.overrun += max(0, actual.nanos - hold.amounts.nanos)

    def void(self, hold: Hold) -> None:
        """Gives back a hold whose call never left."""
        with self._lock:
            if hold.open:
                hold.open = False
                self._shift(hold.purse, hold.amounts, -1, "pending")

    def post(self, amounts: Amounts, sign: int = 1) -> None:
        """Posts spend that is known already (a resumed run's), or takes such a posting back."""
        with self._lock:
            self._shift(self, amounts, sign, "posted")

    def carve(self, share: float) -> Purse:
        """A purse inside this one, limited to `share` of what is left."""
        n, t, c = self.room()
        limit = tuple(UNLIMITED if x >= UNLIMITED >> 1 else max(0, int(x * share)) for x in (n, t, c))
        # A share of two calls that rounds to none could never start: the last call goes whole.
        calls = max(1, limit[2]) if c else 0
        return Purse((limit[0], limit[1], calls), self)

    @staticmethod
    def _shift(purse: Purse, amounts: Amounts, sign: int, account: str) -> None:
        level: Purse | None = purse
        while level is not None:
            row = level.pending if account == "pending" else level.posted
            row[0] += sign * amounts.nanos
            row[1] += sign * amounts.tokens
            row[2] += sign * amounts.calls
            level = level.parent
