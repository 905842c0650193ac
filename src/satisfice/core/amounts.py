"""Amounts: what something costs, in the four things a purse holds."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

NANO = 1_000_000_000  # nano-dollars in a dollar


def nanos(usd: float) -> int:
    """Dollars as integer nano-dollars, rounded up, so that a hold is never short. A float's own noise (0.1 * 1e9 is
    a hair off a whole number) is not money: what is below a thousandth of a nano-dollar is dropped."""
    return ceil(round(usd * NANO, 3))


def dollars(amount: int) -> float:
    """Nano-dollars as dollars."""
    return amount / NANO


@dataclass(frozen=True, slots=True)
class Amounts:
    """Money (integer nano-dollars), tokens (prompt + completion), calls, and wall seconds."""

    nanos: int = 0
    tokens: int = 0
    calls: int = 0
    seconds: float = 0.0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.nanos + other.nanos,
            self.tokens + other.tokens,
            self.calls + other.calls,
            self.seconds + other.seconds,
        )

    @property
    def usd(self) -> float:
        return self.nanos / NANO


ZERO = Amounts()


def amount_said(cap: str, nanos: int, tokens: int, calls: int) -> str:
    """One of the three amounts in words."""
    said = {"usd": f"${nanos / NANO:.9f}", "tokens": f"{tokens} tokens"}
    return said.get(cap, f"{calls} call{'' if calls == 1 else 's'}")
