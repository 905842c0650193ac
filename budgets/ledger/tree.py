"""The tree: accounts in their places, each with its meters and those of the whole line up to the root."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...core.errors import UnknownName
from .accounts import ROOT, Account, Limit
from .meters import Counter, Meter
from .operations import Hold
from .windows import TOTAL, Window

HOUR = 3_600_000


@dataclass(slots=True)
class Node:
    """An account in its place: its meters, and those of the whole line up to the root."""

    account: Account
    line: tuple[Meter, ...] = ()
    frozen: str = ""  # the account at or above it that is frozen
    meters: list[Meter] = field(default_factory=list)


class Tree:
    """The accounts, and the holds that their meters count. `sliced`: only a part of a store's is here."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.holds: dict[str, Hold] = {}
        self.pending: dict[str, Hold] = {}  # those of them that nobody has resolved; a slice does not keep it
        self.remade: set[str] = set()  # given back and made again: in `holds` they stand where they were made first
        self.sliced = False
        self.born: set[str] = set()  # accounts opened since it was loaded: all that was held there is here
        self.past: dict[tuple[str, int], tuple[int, int, int]] = {}  # by account and hour: of holds that are forgotten

    def add(self, account: Account) -> None:
        """Puts an account in place, with empty counters. Its parent is there already."""
        self.nodes[account.name] = Node(account)
        self._wire(account.name)

    def account(self, name: str) -> Node:
        """Raises `UnknownName`."""
        node = self.nodes.get(name)
        if node is None:
            raise UnknownName.of("account", name, () if self.sliced else self.nodes)
        return node

    def line(self, name: str) -> Iterator[str]:
        """The account and all above it."""
        at: str | None = name
        while at is not None:
            yield at
            at = self.nodes[at].account.parent

    def room(self, name: str, at: int) -> tuple[int, int, int]:
        """What is left for an account: (nano-dollars, tokens, calls), the least of its line; nothing where it is
        frozen. Raises `UnknownName`."""
        node = self.account(name)
        if node.frozen:
            return 0, 0, 0
        n, t, k = (max(0, min(left)) for left in zip(*(meter.room(at) for meter in node.line), strict=True))
        return n, t, k

    def counters(self) -> Iterator[Counter]:
        """All counters that are loaded."""
        for node in self.nodes.values():
            for meter in node.meters:
                yield from meter.slots.values()

    def metered(self, name: str, window: Window) -> list[Meter]:
        """The account's meters, with one over `window` among them; that one may be new, and then empty: a store fills
        it with what the holds in it say before the limit is set."""
        node = self.account(name)
        if all(meter.window != window for meter in node.meters):
            meter = Meter(name, window, None)
            if not self.sliced or name in self.born:
                self._backfill(meter)
            node.meters.append(meter)
            self._rewire()
        return node.meters

    def _backfill(self, meter: Meter) -> None:
        for hold in self.holds.values():
            if meter.account in self.line(hold.account):
                meter.count(hold)
        for (account, hour), spent in self.past.items():
            if meter.account in self.line(account):
                meter.add((hour + 1) * HOUR - 1, spent)

    def forget(self, id: str) -> None:
        """Drops a resolved hold. What it spent is kept by the hour, for limits that are granted later: exact over days
        and months, and in a rolling window it may count an hour longer."""
        hold = self.holds.pop(id)
        if hold.state == "settled":
            key = hold.account, hold.at // HOUR
            (n, t, k), (n2, t2, k2) = hold.spent, self.past.get(key, (0, 0, 0))
            self.past[key] = n + n2, t + t2, k + k2

    def _wire(self, name: str) -> None:
        node = self.nodes[name]
        limits: dict[Window, Limit] = {limit.window: limit for limit in node.account.limits}
        have = {meter.window: meter for meter in node.meters}
        for window in (TOTAL, *limits):
            have.setdefault(window, Meter(name, window, None))
        for window, meter in have.items():
            meter.set(limits.get(window))
        # In the order of the limits: which of them refuses first does not depend on what was granted before.
        node.meters = [have[window] for window in dict.fromkeys((TOTAL, *limits, *have))]
        above = self.nodes[node.account.parent] if node.account.parent is not None else None
        node.line = (*node.meters, *(above.line if above else ()))
        node.frozen = (above.frozen if above else "") or (name if node.account.frozen else "")

    def _rewire(self) -> None:
        """After a change in the tree: parents stand before their children."""
        for name in self.nodes:
            self._wire(name)


def root() -> Account:
    """The account that all others are under."""
    return Account(ROOT, None)
