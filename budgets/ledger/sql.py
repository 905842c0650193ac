"""A ledger in SQL: loads the part of the book that a batch of operations touches, lets it work, keeps what has changed.

One batch is one transaction and a handful of statements, whatever its size: lists go to the database as JSON. Writers
stand in line (`ledger_meta` is locked first), so what was loaded is what the database holds until the commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ...core.errors import StoreError, UnknownName
from .accounts import ROOT, Account
from .book import Book
from .meters import UNLIMITED, Meter
from .migrations import VERSION, check_version
from .operations import Freeze, Grant, Hold, Note, Open, Operation, Reserve, Result, Settle, Void
from .queries import CLEAR, LINES, MERGE, NAMED, SELECT_HOLDS, SLOTS, TREE, Asked, Dialect, past_of, select_holds
from .rows import (
    ACCOUNTS,
    COUNTERS,
    HOLDS,
    LIMITS,
    NOTES,
    PRICES,
    Row,
    Table,
    accounts_of,
    hold_of,
    hold_row,
    limit_row,
    window_text,
)
from .stores import Query, Standing, standings_of
from .windows import DAY, PARTS, TOTAL, Window

T = TypeVar("T")


class BadRow(StoreError):
    """The database refuses what is to be written: one of the operations is to blame, not the store."""


class Database(Protocol):
    """One connection. `transaction` runs `work` in a transaction and returns what it returned once that is durable; it
    may run it again where the connection was lost. `ask` sends queries together; `put` and `run` write, at the latest
    when the transaction ends. Raises `StoreError`, `BadRow`."""

    @property
    def name(self) -> str: ...
    @property
    def dialect(self) -> Dialect: ...
    def transaction(self, work: Callable[[], T], *, writes: bool) -> T: ...
    def ask(self, *queries: Asked) -> list[list[Row]]: ...
    def put(self, table: Table, rows: Sequence[Row]) -> None: ...
    def run(self, statement: str, values: Sequence[object]) -> None: ...
    def close(self) -> None: ...


_NOTHING = (0,) * 7


@dataclass(slots=True)
class Wanted:
    """What a batch of operations needs to see."""

    names: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    grants: list[Grant] = field(default_factory=list)

    @classmethod
    def by(cls, operations: Iterable[Operation]) -> Wanted:
        wanted = cls()
        for op in operations:
            if isinstance(op, Reserve | Settle | Void):
                if "\0" in op.id:  # JSON in SQLite would end there
                    raise BadRow(f"the id {op.id!r} has a null character")
                wanted.ids.add(op.id)
                if isinstance(op, Reserve):
                    wanted.models.add(op.model)
                if not isinstance(op, Void) and op.account:
                    wanted.names.add(op.account)
            elif isinstance(op, Open):
                wanted.names |= {op.account.name, op.account.parent or ROOT}
            elif isinstance(op, Grant | Freeze):
                wanted.names.add(op.account)
                if isinstance(op, Grant) and op.limit is not None:
                    wanted.grants.append(op)
        return wanted


class SqlStore:
    """A `Store` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._db, self.name = database, database.name
        d = database.dialect
        self._lock = f"SELECT version FROM ledger_meta{d.lock}"
        self._by_id = f"{SELECT_HOLDS} WHERE id {d.among}"
        self._lines = LINES.format(among=d.among)
        self._named = NAMED.format(among=d.among)
        self._versions = f"SELECT model, version FROM ledger_prices WHERE model {d.among}"
        self._counters = SLOTS.format(keys=d.keys)

    def apply(self, operations: Sequence[Operation], at: int) -> list[Result]:
        """All in one transaction; should the database refuse a row, in two halves, so that only the guilty fail."""
        try:
            return self._db.transaction(lambda: self._batch(operations, at), writes=True)
        except BadRow as error:
            if len(operations) == 1:
                return [error]
            half = len(operations) // 2
            return self.apply(operations[:half], at) + self.apply(operations[half:], at)

    def room(self, account: str, at: int) -> tuple[int, int, int]:
        def read() -> tuple[int, int, int]:
            names = json.dumps([account])
            book = Book(accounts_of(self._db.ask((self._lines, (names, "[]")))[0]), slice_=True)
            self._need(account, book)
            self._load(book, at)
            return book.room(account, at)

        return self._db.transaction(read, writes=False)

    def accounts(self, names: Sequence[str]) -> list[Account]:
        wanted = (self._named, (json.dumps(sorted(set(names))),))
        return accounts_of(self._db.transaction(lambda: self._db.ask(wanted)[0], writes=False))

    def standings(self, at: int) -> list[Standing]:
        def read() -> list[Standing]:
            book = Book(accounts_of(self._db.ask((TREE, ()))[0]), slice_=True)
            self._load(book, at)
            return standings_of(book, at)

        return self._db.transaction(read, writes=False)

    def holds(self, query: Query) -> list[Hold]:
        statement, values = select_holds(query, self._db.dialect)

        def read() -> list[Hold]:
            if query.account is not None:
                names = json.dumps([query.account])
                self._need(query.account, Book(accounts_of(self._db.ask((self._lines, (names, "[]")))[0])))
            return [hold_of(row) for row in self._db.ask((statement, values))[0]]

        return self._db.transaction(read, writes=False)

    def notes(self, limit: int) -> list[Note]:
        last = f"SELECT {', '.join(NOTES.columns)} FROM ledger_notes ORDER BY seq DESC LIMIT ?"
        rows = self._db.transaction(lambda: self._db.ask((last, (max(0, limit),)))[0], writes=False)
        return [Note(*row) for row in reversed(rows)]

    def close(self) -> None:
        self._db.close()

    # -- a batch, inside a transaction ----------------------------------------------------------------------------

    def _batch(self, operations: Sequence[Operation], at: int) -> list[Result]:
        wanted = Wanted.by(operations)
        ids, names, models = (json.dumps(sorted(x)) for x in (wanted.ids, wanted.names, wanted.models))
        (meta, holds, lines, versions) = self._db.ask(
            (self._lock, ()), (self._by_id, (ids,)), (self._lines, (names, ids)), (self._versions, (models,))
        )
        if check_version(meta[0][0] if meta else None, self.name) != VERSION:
            raise StoreError(f"{self.name} was put back to schema {meta[0][0]}: open it again")
        book = Book(accounts_of(lines), slice_=True)
        book.holds = {row[0]: hold_of(row) for row in holds}
        for model, version in versions:
            book.priced.setdefault(model, set()).add(version)
        known = {model: set(found) for model, found in book.priced.items()}
        limited = {name: {limit.window for limit in node.account.limits} for name, node in book.nodes.items()}
        loaded = self._load(book, at, self._new_meters(book, wanted.grants))
        results = book.apply(operations, at)
        self._keep(book, loaded, limited, known, at)
        return self._nearest(results)

    @staticmethod
    def _new_meters(book: Book, grants: Iterable[Grant]) -> list[Meter]:
        """Meters over windows that their accounts have had no limit in."""
        new: list[Meter] = []
        for op in grants:
            node = book.nodes.get(op.account)
            if node is not None and all(meter.window != op.window for meter in node.meters):
                new += [meter for meter in book.metered(op.account, op.window) if meter.window == op.window]
        return new

    def _load(self, book: Book, at: int, new: Sequence[Meter] = ()) -> dict[tuple[str, str, int], Row]:
        """Fills the meters with the counters that matter at `at`, and for the unresolved holds; new ones from the
        holds. What the database has, by account, window and slot."""
        ranges = {
            (m.account, window_text(m.window), *_range(m, at)) for node in book.nodes.values() for m in node.meters
        }
        for hold in book.holds.values():
            if hold.state != "settled":
                for m in book.nodes[hold.account].line:
                    slot = m.window.slot(hold.at)
                    low, high = _range(m, at)
                    if not low <= slot <= high:
                        ranges.add((m.account, window_text(m.window), slot, slot))
        rows, *pasts = self._db.ask((self._counters, (json.dumps(list(ranges)),)), *(past_of(m, at) for m in new))
        loaded = {(row[0], row[1], row[2]): row[3:] for row in rows}
        meters = {(m.account, window_text(m.window)): m for node in book.nodes.values() for m in node.meters}
        for (account, window, slot), values in loaded.items():
            meters[account, window].load(slot, values)
        for meter, past in zip(new, pasts, strict=True):
            _fill(meter, past)
        return loaded

    def _keep(
        self,
        book: Book,
        loaded: dict[tuple[str, str, int], Row],
        limited: dict[str, set[Window]],
        known: dict[str, set[str]],
        at: int,
    ) -> None:
        db = self._db
        accounts = [book.nodes[name].account for name in {account.name: None for account in book.opened}]
        db.put(ACCOUNTS, [(a.name, a.parent, int(a.frozen)) for a in accounts])
        for account in accounts:
            for window in limited.get(account.name, set()) - {limit.window for limit in account.limits}:
                db.run(
                    "DELETE FROM ledger_limits WHERE account = ? AND time_window = ?",
                    (account.name, window_text(window)),
                )
                if window != TOTAL:  # what a window without a limit has used is in the holds
                    gone = (account.name, window_text(window))
                    db.run("DELETE FROM ledger_counters WHERE account = ? AND time_window = ?", gone)
        db.put(LIMITS, [limit_row(a.name, i, limit) for a in accounts for i, limit in enumerate(a.limits)])
        counters: list[Row] = []
        for name, node in book.nodes.items():
            kept = {TOTAL, *(limit.window for limit in node.account.limits)}
            for meter in node.meters:
                if meter.window in kept:
                    counters += self._changed(name, meter, loaded)
        db.put(COUNTERS, counters)
        self._merge(book, loaded, at)
        db.put(HOLDS, [hold_row(hold) for hold in book.changed.values()])
        db.put(NOTES, [(n.at, n.kind, n.account, n.text, n.by) for n in book.notes])
        db.put(PRICES, [(m, v) for m, versions in book.priced.items() for v in versions - known.get(m, set())])

    def _merge(self, book: Book, loaded: dict[tuple[str, str, int], Row], at: int) -> None:
        """Now and then, with a new slot of a rolling window, puts old ones together."""
        for name, node in book.nodes.items():
            for meter in node.meters:
                window, slot = window_text(meter.window), meter.window.slot(at)
                if meter.back and slot % 16 == 0 and slot in meter.slots and (name, window, slot) not in loaded:
                    # Where there are few slots, all of them stay.
                    old = (name, window, slot - 2 * PARTS, name, window, 3 * PARTS)
                    self._db.run(MERGE, (*old, *old, *old, name, window, *old))
                    self._db.run(CLEAR, (*old, *old))

    @staticmethod
    def _changed(name: str, meter: Meter, loaded: dict[tuple[str, str, int], Row]) -> list[Row]:
        """The counters to write."""
        window, rows = window_text(meter.window), []
        for slot, counter in meter.slots.items():
            values, before = counter.values, loaded.get((name, window, slot))
            if values != (before or _NOTHING):
                rows.append((name, window, slot, *values))
        return rows

    def _need(self, account: str, book: Book) -> None:
        if account not in book.nodes:
            raise UnknownName.of("account", account, self._names())

    def _nearest(self, results: list[Result]) -> list[Result]:
        """A slice knows too few names to suggest one."""
        lost = [i for i, r in enumerate(results) if isinstance(r, UnknownName) and r.details["kind"] == "account"]
        names = self._names() if lost else []
        for i in lost:
            results[i] = UnknownName.of("account", getattr(results[i], "details", {})["name"], names)
        return results

    def _names(self) -> list[str]:
        return [name for (name,) in self._db.ask(("SELECT name FROM ledger_accounts ORDER BY seq LIMIT 1000", ()))[0]]


def _range(meter: Meter, at: int) -> tuple[int, int]:
    """First and last slot that count at `at`; slots ahead of a clock that went back count in a rolling window."""
    slot = meter.window.slot(at)
    return (slot - meter.back, UNLIMITED) if meter.back else (slot, slot)


def _fill(meter: Meter, past: Iterable[Row]) -> None:
    """The same arithmetic as `Meter.count`."""
    part = meter.window.length // PARTS if meter.back else DAY
    for number, pn, pt, pk, hn, ht, hk in past:
        c = meter.at(number * part)
        posted_n, posted_t, posted_k, pending_n, pending_t, pending_k, told = c.values
        posted = (posted_n + pn, posted_t + pt, posted_k + pk)
        meter.load(c.slot, (*posted, pending_n + hn, pending_t + ht, pending_k + hk, told))
