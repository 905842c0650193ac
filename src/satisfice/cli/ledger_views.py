"""How accounts look on the command line: as data, as a table, as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..budgets.ledger.accounts import ROOT, usd_text
from ..budgets.ledger.figures import Three, amounts_dict, total
from ..budgets.ledger.operations import Hold
from ..budgets.ledger.stores import Balance, Standing
from .ledger_common import amounts_cell, money_said
from .output import table

KINDS = ("usd", "tokens", "calls")


@dataclass(frozen=True, slots=True)
class View:
    """One account in the tree: how deep, which account at or above it is frozen, what may still be reserved (None: no
    limit), and for each of its balances what is ambiguous in it."""

    standing: Standing
    depth: int
    frozen: str
    room: tuple[int | None, int | None, int | None]
    ambiguous: tuple[Three, ...]

    @property
    def name(self) -> str:
        return self.standing.account.name

    def to_dict(self) -> dict[str, Any]:
        n, t, k = self.room
        return {
            "account": self.name,
            "parent": self.standing.account.parent,
            "depth": self.depth,
            "frozen": bool(self.frozen),
            "frozen_at": self.frozen or None,
            "room": {"nanos": n, "usd": None if n is None else usd_text(n), "tokens": t, "calls": k},
            "windows": [_window(b, a) for b, a in zip(self.standing.balances, self.ambiguous, strict=True)],
        }


def views(standings: Sequence[Standing], ambiguous: Iterable[Hold], now: int) -> list[View]:
    """All accounts, each after its parent, by name."""
    by_name = {standing.account.name: standing for standing in standings}
    children: dict[str, list[str]] = {}
    for standing in standings:
        if standing.account.parent is not None:
            children.setdefault(standing.account.parent, []).append(standing.account.name)
    holds: dict[str, list[Hold]] = {}
    for hold in ambiguous:
        at: str | None = hold.account
        while at is not None and at in by_name:
            holds.setdefault(at, []).append(hold)
            at = by_name[at].account.parent
    found: list[View] = []

    def walk(name: str, above: View | None) -> None:
        standing = by_name[name]
        frozen = (above.frozen if above else "") or (name if standing.account.frozen else "")
        counted = tuple(_in_window(balance, holds.get(name, ()), now) for balance in standing.balances)
        view = View(standing, above.depth + 1 if above else 0, frozen, _room(standing, above, frozen), counted)
        found.append(view)
        for child in sorted(children.get(name, ())):
            walk(child, view)

    walk(ROOT, None)
    return found


def _in_window(balance: Balance, holds: Iterable[Hold], now: int) -> Three:
    window = balance.window
    first, last = window.slot(now) - window.back, None if window.back else window.slot(now)
    return total(h.held for h in holds if first <= window.slot(h.at) and (last is None or window.slot(h.at) == last))


def _caps(balance: Balance) -> tuple[int | None, int | None, int | None]:
    limit = balance.limit
    return (limit.nanos, limit.tokens, limit.calls) if limit else (None, None, None)


def _left(balance: Balance) -> tuple[int | None, int | None, int | None]:
    """Of the limit; below nothing where a provider has billed above its hold."""
    n, t, k = (
        None if cap is None else cap - posted - pending
        for cap, posted, pending in zip(_caps(balance), balance.posted, balance.pending, strict=True)
    )
    return n, t, k


def _room(standing: Standing, above: View | None, frozen: str) -> tuple[int | None, int | None, int | None]:
    if frozen:
        return 0, 0, 0
    every = [_left(balance) for balance in standing.balances] + ([above.room] if above else [])
    n, t, k = (
        min((max(0, left) for left in column if left is not None), default=None) for column in zip(*every, strict=True)
    )
    return n, t, k


def _window(balance: Balance, ambiguous: Three) -> dict[str, Any]:
    n, t, k = _left(balance)
    return {
        "per": str(balance.window),
        "limit": balance.limit.to_dict() if balance.limit else None,
        "posted": amounts_dict(balance.posted),
        "pending": amounts_dict(balance.pending),
        "ambiguous": amounts_dict(ambiguous),
        "used": amounts_dict(total((balance.posted, balance.pending))),
        "left": {"nanos": n, "usd": None if n is None else usd_text(n), "tokens": t, "calls": k}
        if balance.limit
        else None,
    }


def show_accounts(found: Sequence[View]) -> None:
    """A row for each window of each account. Pending amounts include the ambiguous ones."""
    rows: list[Sequence[str]] = []
    top = min((view.depth for view in found), default=0)
    for view in found:
        for i, (balance, ambiguous) in enumerate(zip(view.standing.balances, view.ambiguous, strict=True)):
            state = "" if not view.frozen else "frozen" if view.frozen == view.name else f"frozen at {view.frozen}"
            name = "  " * (view.depth - top) + view.name if i == 0 else ""
            rows.append((name, str(balance.window), *_cells(balance, ambiguous), state if i == 0 else ""))
    columns = ["account", "window", "limit", "spent", "pending", "ambiguous", "left", "state"]
    table(columns, rows, right="limit spent pending ambiguous left")


def _cells(balance: Balance, ambiguous: Three) -> tuple[str, ...]:
    kinds = [kind for kind, cap in zip(KINDS, _caps(balance), strict=True) if cap is not None]
    shown = kinds or ["usd"]
    left = ", ".join(
        money_said(value) if kind == "usd" else f"{value} {kind}"
        for kind, value in zip(KINDS, _left(balance), strict=True)
        if value is not None
    )
    caps = amounts_cell(tuple(cap or 0 for cap in _caps(balance)), kinds) if kinds else "none"  # type: ignore[arg-type]
    amounts = (amounts_cell(each, shown) if any(each) else "" for each in (balance.pending, ambiguous))
    return caps, amounts_cell(balance.posted, shown), *amounts, left


CSV_COLUMNS = (
    "account",
    "parent",
    "frozen_at",
    "window",
    *(f"{what}_{kind}" for what in ("limit", "posted", "pending", "ambiguous", "left") for kind in KINDS),
)


def csv_rows(found: Sequence[View]) -> Iterator[list[Any]]:
    """A row for each window of each account; empty cells where there is no limit."""
    for view in found:
        account = view.standing.account
        for balance, ambiguous in zip(view.standing.balances, view.ambiguous, strict=True):
            row: list[Any] = [account.name, account.parent or "", view.frozen, str(balance.window)]
            for n, t, k in (_caps(balance), balance.posted, balance.pending, ambiguous, _left(balance)):
                row += ["" if n is None else usd_text(n), "" if t is None else t, "" if k is None else k]
            yield row
