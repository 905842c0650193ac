"""Refusals: why something cannot be paid, in words and as an error; and calls that are cut to what can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..budgets.purse import Hold
from ..core.amounts import Amounts, amount_said
from ..core.effects import Sample
from ..core.errors import BudgetTooSmall
from .nodes import Call, Frame, Refused

if TYPE_CHECKING:
    from .run import Run


def first_of(frame: Frame) -> bool:
    """Whether nothing was bought in this frame so far: then a refusal is an error, not a stop."""
    return not (frame.found or any(frame.purse.posted))


def refusal(frame: Frame, worst: Amounts) -> tuple[Refused, str]:
    """Why the purse cannot pay `worst`, with the error to raise where not even a first call fits; and the same as a
    note."""
    cap = frame.purse.short_of(worst) or "usd"
    note, left = lacking(frame, worst, cap)
    if not first_of(frame):
        return Refused(cap), note
    text = (
        f"one call costs up to ${worst.nanos / 1e9:.9f} and {worst.tokens} tokens, but the budget allows {left}: "
        "raise it, lower max_tokens, or use a cheaper model"
    )
    facts = {"needed_usd": worst.nanos / 1e9, "needed_tokens": worst.tokens, "cap": cap}
    return Refused(cap, BudgetTooSmall(text, **facts)), note


def lacking(frame: Frame, worst: Amounts, cap: str) -> tuple[str, str]:
    """A note for people why the next step was not bought, and what is left of the cap."""
    room, needs = frame.purse.room(), (worst.nanos, worst.tokens, worst.calls)
    left, most = (amount_said(cap, *amounts) for amounts in (room, needs))
    return f"{left} of the budget were left, and the next step may take up to {most}", left


def shrink(run: Run, call: Call, room: tuple[int, int, int]) -> Hold | None:
    """A hold for the same call with fewer `max_tokens`, where it may be cut to `room`. The call is that one from then
    on."""
    sample = call.effect
    assert isinstance(sample, Sample)
    smaller = run.tariff.shrunk(sample, room)
    hold = call.frame.purse.reserve(run.tariff.quote(smaller).worst) if smaller is not None else None
    if hold is not None and smaller is not None:
        asked, most = sample.params.max_tokens, smaller.params.max_tokens
        said = f"max_tokens was cut from {asked} to {most}, which is what the budget could hold"
        run.verdicts.troubles[said] += 1
        call.asked, call.effect = call.asked or sample, smaller
    return hold


def reshape(run: Run, call: Call, room: tuple[int, int, int]) -> bool:
    """The same for a call that is held already."""
    before = call.hold
    assert before is not None
    call.frame.purse.void(before)
    own = call.frame.purse.room()
    call.hold = shrink(run, call, (min(room[0], own[0]), min(room[1], own[1]), min(room[2], own[2])))
    if call.hold is None:  # what was just given back is still there: nothing has come between
        call.hold = call.frame.purse.reserve(before.amounts)
        return False
    return True
