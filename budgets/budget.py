"""Budget: what one request may spend, and what a right answer is worth to the caller."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, isnan
from typing import Any

from ..core.amounts import nanos
from ..core.errors import BadBudget


@dataclass(frozen=True, slots=True)
class Budget:
    """Caps bound and don't value: a safer cap never raises the bill.

    Caps: `usd` dollars, `tokens` (prompt + completion), `calls`, `seconds` of wall time; at least one of the first
    three. Values: `worth` is what a right answer is worth in dollars (None: the policy's, or 100 times one call of
    the dearest allowed model; inf: the best that the caps allow), `wrong` what a wrong answer costs in dollars (so
    that abstaining can be the result), `per_second` what a second of waiting costs in dollars.

    Raises `BadBudget` for what is negative, zero, NaN or without a cap.
    """

    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None
    worth: float | None = None
    wrong: float = 0.0
    per_second: float = 0.0

    def __post_init__(self) -> None:
        for name in ("usd", "tokens", "calls", "seconds"):
            _check_cap(name, getattr(self, name))
        for name in ("worth", "wrong", "per_second"):
            value = getattr(self, name)
            if value is not None and (not _number(value) or isnan(value) or value < 0):
                raise BadBudget(f"{name}={value!r}: expected a number of dollars, 0 or more", field=name)
            if name != "worth" and value == inf:
                raise BadBudget(f"{name}={value!r}: expected a finite number of dollars", field=name)
        if self.worth == 0:
            raise BadBudget("worth=0: an answer that is worth nothing is not worth a call", field="worth")
        if self.usd is not None and nanos(self.usd) < 1:
            raise BadBudget(f"usd={self.usd!r} is less than a nano-dollar", field="usd")
        if self.usd is None and self.tokens is None and self.calls is None:
            raise BadBudget("a budget needs a cap on spending: a number of dollars, or usd=, tokens= or calls=")

    @classmethod
    def of(cls, budget: Any) -> Budget:
        """A Budget as it is; a number as a cap in dollars."""
        if isinstance(budget, Budget):
            return budget
        if _number(budget):
            return cls(usd=float(budget))
        raise BadBudget(f"budget={budget!r}: expected a number of dollars or a Budget")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _floats(value)


def _floats(value: float) -> bool:
    """Whether it is a float, or an integer that one can hold."""
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _check_cap(name: str, value: object) -> None:
    if value is None:
        return
    if not _number(value) or not isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
        raise BadBudget(f"{name}={value!r}: expected a finite number above 0", field=name)
    if name in ("tokens", "calls") and value != int(value):  # type: ignore[call-overload]
        raise BadBudget(f"{name}={value!r}: expected a whole number", field=name)
