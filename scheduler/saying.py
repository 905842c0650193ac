"""Decisions in words: why a run went on, and why it stopped, with the numbers that decided.

A right answer is worth 1 / price dollars, so that "+0.4% x $0.05 = $0.0002 < $0.0011" says all that was weighed: what
the course was expected to gain, what that is worth, and what it was expected to cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from ..budgets.resort import BARELY
from ..core.effects import Effect, Sample, Score
from .decisions import Alternative, Decision

if TYPE_CHECKING:
    from ..core.plans import Outcome

DIGITS = 4  # that are shown at most, where fewer would make two sides look alike
ENDS = {
    "verified": "an exact check passed the answer",
    "abstained": "a wrong answer costs more than this one was expected to bring",
    "checks_failed": "no check could tell anything of the answers",
    "unverified": "exact checks refuted every answer, or no verdict could be had",
    "unreadable": "no answer could be read in any reply",
    "fault": "a call failed, and the plan with it",
    "cancelled": "it was interrupted",
}


def noun_of(step: Sequence[Effect[Any]]) -> str:
    """What one more step is called: a sample, a check, or a round of several calls."""
    calls = [effect for effect in step if not isinstance(effect, Score)]
    if not calls:
        return "check"
    return "sample" if len(calls) == 1 and isinstance(calls[0], Sample) else "round"


def say(
    decision: Decision, noun: str = "step", *, per_second: float = 0.0, offered: bool = True, lack: str = ""
) -> str:
    """One line. `per_second`: dollars that a second was worth. `offered`: there is an answer that is worth giving.
    `lack`: of a stop by a budget, what was needed and what was left."""
    way = decision.alternatives[decision.index]
    if decision.size > 0:
        return _going(decision, way, noun, per_second)
    verb = "stop" if offered else "folded: no answer is worth giving"
    if decision.reason != "value":
        return f"{verb}: {lack}" if lack else f"{verb}: {decision.reason}"
    if way.gain <= 0 or not isfinite(way.gain):
        return f"{verb}: no other {noun} that can be paid is expected to gain anything"
    return f"{verb}: {_what(way, noun)}: {_weighed(way, decision.price, per_second)}"


def ended(outcome: Outcome, decisions: Sequence[Decision], lacked: str) -> str:
    """Why a run ended: the words of the decision that stopped it, else of what else did."""
    last = decisions[-1] if decisions else None
    if last is not None and last.size == 0 and last.reason == outcome.reason and last.said:
        return last.said
    if outcome.reason.startswith("budget_") and lacked:
        return lacked
    if outcome.reason == "fault" and outcome.fault:
        return f"{ENDS['fault']}: {outcome.fault}"
    return ENDS.get(outcome.reason, "the plan came to its end")


def _going(decision: Decision, way: Alternative, noun: str, per_second: float) -> str:
    now = _count(decision.size, noun, way.name)
    if way.gain == inf:
        return f"{now}: their number was fixed beforehand"
    if decision.reason == "first answer":
        return f"{now}: a first answer is bought where only caps are set"
    if 0 < way.net <= 2 * BARELY:
        return f"{now}: the only way left"
    steps = way.cost / way.each if way.each > 0 else 0.0
    more = f" ({_number(steps, 2)} from now on)" if steps > decision.size * 1.05 else ""
    return f"{now}{more}: {_weighed(way, decision.price, per_second)}"


def _weighed(way: Alternative, price: float, per_second: float) -> str:
    gain = f"+{_number(100 * way.gain, 2)}%"
    if price <= 0:
        return f"{gain}, whatever it costs"
    value, spent = way.gain / price, way.cost + way.seconds * per_second
    sign = ">" if value > spent else "<" if value < spent else "="
    left, right = next(
        (pair for n in range(2, DIGITS + 1) if (pair := (_number(value, n), _number(spent, n))) and pair[0] != pair[1]),
        (_number(value, DIGITS), _number(spent, DIGITS)),
    )
    sign = f"just {sign}" if left == right and sign != "=" else sign
    bill = f"${right}"
    if per_second > 0 and way.seconds > 0:
        bill += f" (${_number(way.cost, 2)} + {_number(way.seconds, 2)} s x ${_number(per_second, 2)})"
    return f"{gain} x ${_number(1 / price, 2)} = ${left} {sign} {bill}"


def _what(way: Alternative, noun: str) -> str:
    return _count(way.cost / way.each, noun, way.name) if way.each > 0 and way.cost > 0 else f"another {noun}"


def _count(steps: float, noun: str, name: str) -> str:
    figure = _number(steps, 2)
    text = f"{'one' if figure == '1' else figure} more {noun}{'' if figure == '1' else 's'}"
    return text if name in ("", "go on") else f"{text} ({name})"


def _number(x: float, digits: int) -> str:
    """Plain decimals, never 1e-06."""
    if not isfinite(x):
        return "inf"
    text = f"{float(f'{x:.{digits}g}'):.12f}"
    return text.rstrip("0").rstrip(".") or "0"
