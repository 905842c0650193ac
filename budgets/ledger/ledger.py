"""The ledger as the engine and the command line use it: from coroutines, over any store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import anyio

from ...core.errors import CallerError, SatisficeError, UnknownName
from .accounts import ROOT, Account, in_order
from .clerk import Clerk, Job
from .declared import differences
from .operations import Alert, Done, Grant, Hold, Note, Open, Operation, Result
from .places import named, place_of
from .stores import MemoryStore, Query, Standing, Store

logger = logging.getLogger("satisfice")
OnAlert = Callable[[Alert], None]


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class Ledger:
    """Accounts that cannot be overdrawn, over one store: in memory, in a SQLite file, in PostgreSQL.

    `on_alert`: called with each `Alert`, in the loop that reserved, or in the ledger's thread for what was posted, and
    for a reservation whose waiter was cancelled.
    `clock`: milliseconds since 1970. An async context manager; `aclose` writes what was posted.
    """

    def __init__(
        self, store: Store, *, on_alert: OnAlert | None = None, clock: Callable[[], int] = now_ms, name: str = "memory"
    ) -> None:
        self.name, self._store, self._clock, self._on_alert = name, store, clock, on_alert
        self._clerk = None if isinstance(store, MemoryStore) else Clerk(store, clock, self._told)

    @classmethod
    async def open(
        cls,
        place: str | Path | None = None,
        accounts: Iterable[Account] = (),
        *,
        on_alert: OnAlert | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> Ledger:
        """`place`: None for memory, "postgresql://..." for a server, else a SQLite file, made if absent. `accounts`:
        those that are not there yet are opened, the others stay as they are. Raises `StoreError`, `CallerError`."""
        wanted = list(accounts)
        where = None if place is None else place_of(place)
        store = await anyio.to_thread.run_sync(store_at, where)
        ledger = cls(store, on_alert=on_alert, clock=clock, name=named(where))
        try:
            await ledger.declare(wanted)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await ledger.aclose()
            raise
        return ledger

    async def declare(self, accounts: Sequence[Account]) -> None:
        """Opens those that are not there yet. Limits declared for the root are granted where it has none over that
        window. Other limits of what is there stay as they are; a warning says where they differ. Raises `CallerError`,
        `StoreError`."""
        if not accounts:
            return
        names = {name for account in accounts for name in (account.name, account.parent) if name is not None}
        have = {account.name: account for account in await self._read(lambda store: store.accounts([*names]))}
        try:
            ordered = in_order(accounts, {name: known.parent for name, known in have.items()})
        except UnknownName:  # again, with all names there are, to suggest one
            ordered = in_order(accounts, {s.account.name: s.account.parent for s in await self.standings()})
        operations: list[Operation] = []
        for account in ordered:
            known = have.get(account.name)
            if known is None or known.parent != account.parent:  # opening it again says what is wrong
                operations.append(Open(account))
                continue
            over = {limit.window for limit in known.limits}
            free = [limit for limit in account.limits if account.name == ROOT and limit.window not in over]
            operations += [Grant(ROOT, limit.window, limit, by="declared") for limit in free]
            for text in differences(account, known):
                logger.warning("ledger: %s", text)
        for result in await self.perform(operations) if operations else ():
            if isinstance(result, SatisficeError):
                raise result

    async def perform(self, operations: Sequence[Operation]) -> list[Result]:
        """Does them in one durable transaction, in order; a result for each: `Done`, a `Refusal`, or an error in its
        place. Raises `StoreError` where the store cannot be reached: then nothing may be sent."""
        if self._clerk is None:
            results = self._store.apply(operations, self._clock())
        else:
            results = await self._clerk.perform(Job(operations)) or []
        self._alerts(results)
        return results

    def post(self, operations: Sequence[Operation]) -> None:
        """The same without waiting. What the store cannot take now is owed, and tried again."""
        if self._clerk is None:
            self._told(self._store.apply(operations, self._clock()))
        else:
            self._clerk.submit(Job(operations))

    async def do(self, operation: Operation) -> Done:
        """One operation. Raises its error."""
        (result,) = await self.perform([operation])
        if isinstance(result, SatisficeError):
            raise result
        if not isinstance(result, Done):
            raise CallerError(str(result))
        return result

    async def room(self, account: str) -> tuple[int, int, int]:
        """What is left for the account: (nano-dollars, tokens, calls). Raises `UnknownName`, `StoreError`."""
        at = self._clock()
        room: tuple[int, int, int] = await self._read(lambda store: store.room(account, at))
        return room

    async def standings(self) -> list[Standing]:
        """All accounts, with what is posted and pending in each of their windows now."""
        at = self._clock()
        found: list[Standing] = await self._read(lambda store: store.standings(at))
        return found

    async def holds(self, query: Query | None = None) -> list[Hold]:
        """Holds, the oldest first."""
        found: list[Hold] = await self._read(lambda store: store.holds(query or Query()))
        return found

    async def notes(self, limit: int = 100) -> list[Note]:
        """The last lines of the ledger's own record, the oldest first."""
        found: list[Note] = await self._read(lambda store: store.notes(limit))
        return found

    def now(self) -> int:
        return self._clock()

    async def aclose(self) -> None:
        """Writes what was posted. Raises `StoreError` for what could not be written."""
        if self._clerk is not None:
            clerk = self._clerk
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(clerk.stop)

    async def __aenter__(self) -> Ledger:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _read(self, work: Callable[[Store], Any]) -> Any:
        return work(self._store) if self._clerk is None else await self._clerk.perform(Job(work=work))

    def _told(self, results: Sequence[Result]) -> None:
        """Results of what was posted: nobody waits for them."""
        for result in results:
            if isinstance(result, SatisficeError):
                logger.error("ledger: %s", result)
        # Whoever posts, or the ledger's thread, is not to end for it: sys.exit() there would end nothing else.
        self._alerts(results, BaseException)

    def _alerts(self, results: Sequence[Result], caught: type[BaseException] = Exception) -> None:
        for result in results:
            for alert in result.alerts if isinstance(result, Done) else ():
                logger.warning("ledger: %s", alert.text)
                if self._on_alert is not None:
                    try:
                        self._on_alert(alert)
                    except caught:  # its fault must not cost the run
                        logger.exception("on_alert raised")


def store_at(place: str | Path | None) -> Store:
    """The store that a place means. Blocks. Raises `CallerError` for a URL of something else, `StoreError`,
    `MissingExtra`."""
    if place is None:
        return MemoryStore()
    where = place_of(place)
    if isinstance(where, str):
        from .postgres import PostgresStore

        return PostgresStore(where)
    from .sqlite import SqliteStore

    return SqliteStore(where)
