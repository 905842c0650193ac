"""An engine's ledger: which one it is, which account a request is charged to, and the limit over all its requests."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from ..budgets.budget import Budget
from ..budgets.ledger.accounts import ROOT, Account, Limit
from ..budgets.ledger.ledger import Ledger, OnAlert
from ..budgets.ledger.windows import TOTAL
from ..budgets.purse import UNLIMITED, Purse
from ..core.amounts import nanos
from ..core.errors import BadSettings, CallerError, StoreError
from ..models.accounts import accounts_of, ledger_place
from ..models.settings import Settings
from . import accounting
from .tariff import PriceList


class Accounts:
    """An async context manager: opens the ledger, if there is to be one, and closes what it has opened."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger | bool | str | Path | None,
        limit: Budget | float | None,
        account: str | None,
        on_alert: OnAlert | None,
    ) -> None:
        place = ledger_place(ledger, settings) if not isinstance(ledger, Ledger) else None
        self._given = ledger if isinstance(ledger, Ledger) else None
        self._place, self._on_alert = place, on_alert
        self._declared: list[Account] = accounts_of(settings)
        self._limit = _limit_of(Budget.of(limit)) if limit is not None else None
        if self._limit is not None and (place is not None or self._given is not None):
            raise CallerError("limit= is for an engine without a ledger: grant the limit to an account instead")
        if ledger is None and place is None and self._limit is None:
            _needs_none(account, settings)
        self._default = account or settings.account
        self._ledger: Ledger | None = None
        self._stack = AsyncExitStack()

    @property
    def ledger(self) -> Ledger:
        """Raises `StoreError` where there is none."""
        if self._ledger is None:
            raise StoreError("this engine keeps no ledger: open it with `async with`, and with ledger=...")
        return self._ledger

    @property
    def durable(self) -> bool:
        """Whether the ledger outlives this process."""
        return self._place is not None or (self._given is not None and self._given.name != "memory")

    def named(self, account: str | None) -> str:
        """The account of a request that says this. Raises `CallerError` where there is no ledger to charge."""
        if account is not None and self._ledger is None:
            raise CallerError(f"account={account!r}: this engine keeps no ledger; give it one with ledger=...")
        return account or self._default

    def of(self, name: str, run_id: str, tariff: PriceList, shared: Purse | None = None) -> accounting.Account | None:
        """The account of one run; None where no ledger is kept. `shared`: a purse above it that other runs share."""
        if self._ledger is None:
            return None
        headroom = Purse((UNLIMITED, UNLIMITED, UNLIMITED), shared, hint=True)
        return accounting.Account(self._ledger, name or self._default, run_id, tariff, headroom)

    async def __aenter__(self) -> Accounts:
        if self._given is not None:
            self._ledger = self._given
            await self._given.declare(self._declared)
        elif self._limit is not None:
            limited = Account(ROOT, None, (self._limit,))
            others = [account for account in self._declared if account.name != ROOT]
            self._ledger = await Ledger.open(None, [limited, *others], on_alert=self._on_alert)
            self._stack.push_async_exit(self._ledger)
        elif self._place is not None:
            self._ledger = await Ledger.open(self._place, self._declared, on_alert=self._on_alert)
            self._stack.push_async_exit(self._ledger)
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._ledger = None
        await self._stack.aclose()


def _needs_none(account: str | None, settings: Settings) -> None:
    """Raises `CallerError` where accounts are named and nothing would charge them: limits that bound nothing. Who says
    `ledger = false` or ledger=False means it."""
    if account is not None and account != ROOT:
        raise CallerError(f"account={account!r}: there is no ledger to charge; pass ledger=True, a file or a URL")
    if settings.ledger is False:
        return
    if settings.accounts or settings.account != ROOT:
        key = "[accounts]" if settings.accounts else f"account = {settings.account!r}"
        text = "without a ledger no account is charged, and no limit holds: write `ledger = true` into satisfice.toml"
        raise BadSettings(f"{key}: {text} (or a file, or postgresql://...; `ledger = false` to do without)")


def _limit_of(budget: Budget) -> Limit:
    usd = None if budget.usd is None else nanos(budget.usd)
    tokens, calls = (None if x is None else int(x) for x in (budget.tokens, budget.calls))
    return Limit(TOTAL, usd, tokens, calls)
