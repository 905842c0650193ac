"""Where a ledger is kept: the protocol of a store, and the one in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from threading import Lock
from typing import Protocol

from .accounts import ROOT, Account, Limit
from .book import Book
from .operations import Hold, Note, Operation, Result, State
from .tree import root
from .windows import TOTAL, Window

KEPT = 100_000  # resolved holds that the store in memory remembers
SLICE = 64  # of the holds that it looks at to forget old ones, with each batch: nobody waits for all of them
TIDY = 1000  # batches between two times at which it puts old slots of rolling windows together


@dataclass(frozen=True, slots=True)
class Balance:
    """One account over one window: what is posted and pending in it now (nano-dollars, tokens, calls)."""

    window: Window
    limit: Limit | None
    posted: tuple[int, int, int]
    pending: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """An account and its balances, that over all time first."""

    account: Account
    balances: tuple[Balance, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """Which holds: of the account and all below it, of one run, in one state, reserved from `since` to before `until`
    (milliseconds), expired and unresolved by `ambiguous`. The oldest first, `limit` at the most."""

    account: str | None = None
    run: str | None = None
    state: State | None = None
    since: int | None = None
    until: int | None = None
    ambiguous: int | None = None
    limit: int | None = None
    ids: tuple[str, ...] = ()


class Store(Protocol):
    """Used by one thread at a time. `apply` does all operations in one transaction that is durable when it returns.

    `apply` raises `StoreError` where that is not known: then the same operations may be sent again, since ids make them
    happen once. A single operation that cannot be done is an error in its place among the results, and the others go
    on. `accounts`: those of the names that there are, in any order. Reading raises `UnknownName`, `StoreError`.
    """

    def apply(self, operations: Sequence[Operation], at: int) -> list[Result]: ...
    def room(self, account: str, at: int) -> tuple[int, int, int]: ...
    def accounts(self, names: Sequence[str]) -> list[Account]: ...
    def standings(self, at: int) -> list[Standing]: ...
    def holds(self, query: Query) -> list[Hold]: ...
    def notes(self, limit: int) -> list[Note]: ...
    def close(self) -> None: ...


class MemoryStore:
    """A ledger that ends with the process. It remembers the last hundred thousand resolved holds at least, so that
    what is sent twice is known; its counters forget nothing. Safe from several threads."""

    def __init__(self) -> None:
        self._book = Book([root()])
        self._lock = Lock()
        self._full = KEPT + KEPT // 4  # resolved holds, at which it begins to forget the oldest
        self._old: Iterator[str] | None = None  # the ids among which it does so now
        self._batches = 0

    def apply(self, operations: Sequence[Operation], at: int) -> list[Result]:
        with self._lock:
            book = self._book
            results = book.apply(operations, at)
            if self._old is not None or len(book.holds) - len(book.pending) > self._full:
                self._forget(len(operations))
            self._batches += 1
            if self._batches % TIDY == 0:
                self._tidy(at)
        return results

    def room(self, account: str, at: int) -> tuple[int, int, int]:
        with self._lock:
            return self._book.room(account, at)

    def accounts(self, names: Sequence[str]) -> list[Account]:
        with self._lock:
            nodes = self._book.nodes
            return [nodes[name].account for name in dict.fromkeys(names) if name in nodes]

    def standings(self, at: int) -> list[Standing]:
        with self._lock:
            return standings_of(self._book, at)

    def holds(self, query: Query) -> list[Hold]:
        with self._lock:
            if query.account is not None:
                self._book.account(query.account)
            found = [hold for hold in self._among(query) if self._meant(hold, query)]
        return [replace(hold) for hold in sorted(found, key=lambda hold: hold.at)[: query.limit]]

    def notes(self, limit: int) -> list[Note]:
        with self._lock:
            return self._book.notes[-limit:] if limit > 0 else []

    def close(self) -> None:
        """Nothing is kept."""

    def _among(self, query: Query) -> Iterable[Hold]:
        """The holds to look at, in the order in which they were first made: not all of them where only unresolved ones
        are asked for."""
        book = self._book
        if query.state != "pending" and query.ambiguous is None:
            return book.holds.values()
        book.remade = {id for id in book.remade if id in book.pending}
        return book.holds.values() if book.remade else book.pending.values()

    def _meant(self, hold: Hold, query: Query) -> bool:
        return (
            (query.account in (None, ROOT) or query.account in self._book.line(hold.account))
            and query.run in (None, hold.run)
            and query.state in (None, hold.state)
            and (query.since is None or hold.at >= query.since)
            and (query.until is None or hold.at < query.until)
            and (query.ambiguous is None or hold.ambiguous(query.ambiguous))
            and (not query.ids or hold.id in query.ids)
        )

    def _forget(self, size: int) -> None:
        """Drops the oldest resolved holds, after each batch a few of them, but more than it can have brought."""
        book = self._book
        if self._old is None:
            self._old = iter(list(book.holds))
        some = [*islice(self._old, SLICE + 2 * size)]
        for id in some:
            if len(book.holds) - len(book.pending) <= KEPT:
                break
            if id not in book.pending:
                book.forget(id)
        else:
            self._old = self._old if some else None
            return
        self._old = None

    def _tidy(self, at: int) -> None:
        """Now and then: keeps notes, and the slots of rolling windows, from growing with every second."""
        book = self._book
        del book.notes[:-KEPT]
        for node in book.nodes.values():
            for meter in node.meters:
                meter.merge(at)


def standings_of(book: Book, at: int) -> list[Standing]:
    """Every account of a book with what its meters show now."""
    found = []
    for node in book.nodes.values():
        limits = {limit.window: limit for limit in node.account.limits}
        balances = []
        for meter in node.meters:
            if meter.window not in limits and meter.window != TOTAL:  # of a limit that was taken away
                continue
            (un, ut, uk), (hn, ht, hk) = meter.used(at), meter.pending(at)
            posted = (un - hn, ut - ht, uk - hk)
            balances.append(Balance(meter.window, limits.get(meter.window), posted, (hn, ht, hk)))
        found.append(Standing(node.account, tuple(balances)))
    return found
