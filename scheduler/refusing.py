"""Refusals: why something cannot be paid, in words and as an error."""

from __future__ import annotations

from ..core.amounts import Amounts, amount_said
from ..core.errors import BudgetTooSmall
from .nodes import Frame, Refused


def first_of(frame: Frame) -> bool:
    """Whether nothing was bought in this frame so far: then a refusal is an error, not a stop."""
    return not (frame.found or any(frame.purse.posted))


def refusal(frame: Frame, worst: Amounts) -> tuple[Refused, str]:
    """Why the purse cannot pay `worst`, with the error to raise where not even a first call fits; and the same as a
    note."""
    cap = frame.purse.short_of(worst) or "usd"
    note, left, whose = lacking(frame, worst, cap)
    if not first_of(frame):
        return Refused(cap), note
    text = (
        f"one call costs up to ${worst.nanos / 1e9:.9f} and {worst.tokens} tokens, but {whose} allows {left}: "
        "raise it, lower max_tokens, or use a cheaper model"
    )
    facts = {"needed_usd": worst.nanos / 1e9, "needed_tokens": worst.tokens, "cap": cap}
    return Refused(cap, BudgetTooSmall(text, **facts)), note


def lacking(frame: Frame, worst: Amounts, cap: str) -> tuple[str, str, str]:
    """A note for people why the next step was not bought; what is left of the cap; and whose it is."""
    room, needs = frame.purse.room(), (worst.nanos, worst.tokens, worst.calls)
    left, most = (amount_said(cap, *amounts) for amounts in (room, needs))
    whose = frame.purse.tightest(cap).name or "the budget"
    return f"{left} of {whose} were left, and the next step may take up to {most}", left, whose
