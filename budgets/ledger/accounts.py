"""Accounts: a tree of limits. What is spent at a leaf counts at every account above it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.amounts import NANO, nanos
from ...core.errors import BadBudget, CallerError, UnknownName
from .windows import TOTAL, Window

ROOT = "global"
MOST = 1 << 60  # of any one amount: sums of a few of them still fit into 64 bits
LENGTH = 64  # the most characters, and decimal places, of an amount as text
NAME = re.compile(r"[^\s/,\x00-\x1f][^/,\x00-\x1f]{0,119}")


@dataclass(frozen=True, slots=True)
class Limit:
    """A hard cap over one window: nano-dollars, tokens (prompt + completion) and calls, None for none of its own.
    `alerts`: percentages of the cap at which somebody is told. Raises `BadBudget`."""

    window: Window = TOTAL
    nanos: int | None = None
    tokens: int | None = None
    calls: int | None = None
    alerts: tuple[int, ...] = (80, 100)

    def __post_init__(self) -> None:
        for name in ("nanos", "tokens", "calls"):
            value = getattr(self, name)
            if value is not None:
                check_amount(name, value)
        if self.nanos is None and self.tokens is None and self.calls is None:
            raise BadBudget("a limit needs an amount: usd, tokens or calls")
        wrong = [x for x in self.alerts if not isinstance(x, int) or isinstance(x, bool) or not 0 < x <= 100]
        if wrong:
            raise BadBudget(f"alerts={wrong[0]!r}: expected whole percentages of the limit, 1 to 100")
        object.__setattr__(self, "alerts", tuple(sorted(set(self.alerts))))

    @classmethod
    def of(
        cls,
        per: str = "total",
        usd: float | str | None = None,
        tokens: int | None = None,
        calls: int | None = None,
        alerts: Iterable[int] = (80, 100),
    ) -> Limit:
        """From dollars and the name of a window ("total", "day", "month", "24h"). Raises `BadBudget`."""
        return cls(Window.parse(per), None if usd is None else money(usd), tokens, calls, tuple(alerts))

    @property
    def said(self) -> str:
        """The amounts in words."""
        usd = None if self.nanos is None else f"${usd_text(self.nanos)}"
        others = [f"{n} {what}" for n, what in ((self.tokens, "tokens"), (self.calls, "calls")) if n is not None]
        return ", ".join(([usd] if usd else []) + others)

    def to_dict(self) -> dict[str, Any]:
        return {
            "per": str(self.window),
            "usd": None if self.nanos is None else usd_text(self.nanos),
            "nanos": self.nanos,
            "tokens": self.tokens,
            "calls": self.calls,
            "alerts": list(self.alerts),
        }


@dataclass(frozen=True, slots=True)
class Account:
    """One account: its parent (None for the root) and its limits, one for each window at the most. `frozen` refuses
    every new reservation at it and below."""

    name: str
    parent: str | None = ROOT
    limits: tuple[Limit, ...] = ()
    frozen: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name) or not self.name.isprintable():
            text = "expected a name of 1 to 120 printable characters, without '/' or ','"
            raise CallerError(f"account {self.name!r}: {text}")
        if (self.name == ROOT) != (self.parent is None):
            raise CallerError(f"account {self.name!r}: only {ROOT!r} has no parent, and every other account has one")
        windows = [str(limit.window) for limit in self.limits]
        if len(set(windows)) < len(windows):
            raise BadBudget(f"account {self.name!r} has two limits over the same window: {', '.join(windows)}")


def money(usd: float | str) -> int:
    """Dollars as nano-dollars, exact where they are written as text. Raises `BadBudget`."""
    try:
        whole = nanos(usd) if isinstance(usd, float) else _exact(str(usd).strip().removeprefix("$"))
    except (ArithmeticError, ValueError, TypeError):  # a whole number may be too long to be shown
        shown = repr(usd)[:80] if isinstance(usd, str | float | bool) else f"this {type(usd).__name__}"
        raise BadBudget(f"{shown}: expected an amount of dollars") from None
    return check_amount("usd", whole)


def _exact(text: str) -> int:
    """Nano-dollars of a decimal number. Raises `BadBudget`, `ArithmeticError`, `ValueError`."""
    from decimal import Context, Decimal

    number = Decimal(text) if len(text) <= LENGTH else Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > LENGTH:  # before anything is reckoned with it
        raise ValueError
    exact = Context(prec=2 * LENGTH).multiply(number, Decimal(NANO))
    whole = int(exact.to_integral_value())
    if exact != whole:
        raise BadBudget(f"{text!r}: finer than a nano-dollar ($0.000000001)")
    return whole


def usd_text(amount: int) -> str:
    """Nano-dollars as dollars, exact."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    return f"{sign}{amount // NANO}.{amount % NANO:09d}"


def said(amounts: tuple[int, int, int]) -> str:
    """Nano-dollars, tokens and calls in words."""
    return f"${usd_text(amounts[0])}, {amounts[1]} tokens, {amounts[2]} calls"


def check_amount(name: str, value: object) -> int:
    """`value` if it can be held. Raises `BadBudget` for what is negative, too large or no whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadBudget(f"{name}={value!r}: expected a whole number (money in nano-dollars)", field=name)
    if not 0 <= value <= MOST:
        what = "negative" if value < 0 else f"above {MOST:,}, the most that an account can hold"
        shown = value if value.bit_length() < 128 else "..."  # one that is very long cannot be shown
        raise BadBudget(f"{name}={shown}: {what}", field=name)
    return value


def in_order(accounts: Iterable[Account], known: Mapping[str, str | None] | None = None) -> list[Account]:
    """The accounts with every parent before its children. `known`: parents of accounts that exist already. Raises
    `CallerError` for a cycle or a name given twice, `UnknownName` for a parent that is none."""
    waiting: dict[str, Account] = {}
    for account in accounts:
        if account.name in waiting:
            raise CallerError(f"account {account.name!r} is declared twice")
        waiting[account.name] = account
    known = known or {}
    names = {*waiting, *known, ROOT}
    for account in waiting.values():
        if account.parent is not None and account.parent not in names:
            raise UnknownName.of("account", account.parent, names)
    placed: dict[str, Account] = {}
    for name in waiting:
        trail: list[str] = []
        at: str | None = name
        while at is not None and at in waiting and at not in placed:
            if at in trail:
                loop = " > ".join((*trail[trail.index(at) :], at))
                raise CallerError(f"accounts in a circle: {loop}; one of them needs a parent outside of it")
            trail.append(at)
            at = waiting[at].parent
        for step in reversed(trail):
            placed[step] = waiting[step]
    return list(placed.values())
