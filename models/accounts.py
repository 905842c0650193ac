"""The keys `ledger` and `accounts` of satisfice.toml: where the ledger is, and which accounts it opens.

    ledger = true                     # or a SQLite file, or postgresql://...; false or absent: none
    account = "acme"                  # whose money a request spends when the caller does not say

    [accounts.global]                 # the root: above all others
    limits = [{usd = "500.00", per = "month", alerts = [50, 80, 100]}]

    [accounts.acme]
    parent = "global"
    limits = [{usd = "100.00", per = "month"}, {tokens = 1000000, per = "day"}]

Dollars are exact, as text or as a number; what is finer than a nano-dollar is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from ..budgets.ledger.accounts import ROOT, Account, Limit, in_order
from ..budgets.ledger.places import SERVERS as SERVERS
from ..budgets.ledger.places import place_of
from ..core.errors import CallerError

if TYPE_CHECKING:
    from .settings import Settings


class AccountLimit(BaseModel):
    """A hard cap over one window: total, day, month, or a rolling length as 24h. `alerts`: percentages of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: str | int | float | None = None
    tokens: int | None = None
    calls: int | None = None
    per: str = "total"
    alerts: tuple[int, ...] = (80, 100)

    @field_validator("usd", "tokens", "calls", mode="before")
    @classmethod
    def _no_truth(cls, value: Any) -> Any:
        if isinstance(value, bool):  # it would pass for 0 or 1
            raise ValueError("expected an amount, not true or false")
        return value

    @model_validator(mode="after")
    def _sound(self) -> AccountLimit:
        self.limit()
        return self

    def limit(self) -> Limit:
        """Raises `ValueError`, as pydantic wants it."""
        # A number means the digits that stand in the file; as a float it would be rounded up.
        usd = repr(self.usd) if isinstance(self.usd, float) else self.usd
        try:
            return Limit.of(self.per, usd, self.tokens, self.calls, self.alerts)
        except CallerError as error:
            raise ValueError(str(error)) from None


class AccountSettings(BaseModel):
    """One account: its parent (`global` if it is not named) and its limits, one for each window at the most."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parent: str | None = None
    limits: tuple[AccountLimit, ...] = ()


def declared(tables: Mapping[str, AccountSettings]) -> list[Account]:
    """The accounts of a settings file, parents first. Raises `CallerError`: a cycle, an unknown parent, two limits over
    one window, a name that is none."""
    accounts = []
    for name, table in tables.items():
        parent = table.parent if name == ROOT else table.parent or ROOT
        accounts.append(Account(name, parent, tuple(each.limit() for each in table.limits)))
    return in_order(accounts)


def accounts_of(settings: Settings) -> list[Account]:
    """The accounts that the settings declare, parents first; they were checked when the settings were read."""
    return declared(settings.accounts)


def ledger_place(ledger: bool | str | Path | None, settings: Settings) -> str | Path | None:
    """Where the ledger is: a postgresql:// URL, a file, None for none. `ledger` None: what the settings say; True: the
    default place, beside the journal. Raises `CallerError` for a URL of something else."""
    wanted = settings.ledger if ledger is None else ledger
    if wanted is None or wanted is False:
        return None
    if wanted is True:
        return Path(settings.home) / "ledger.db"
    place = place_of(wanted)
    return place.expanduser() if isinstance(place, Path) else place
