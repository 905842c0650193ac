"""What a provider saw against what a journal says was paid, call by call.

The provider's account is its own: what it was asked, how it failed, which usage it told. Nothing of it comes from the
engine, so a fault of the engine's bookkeeping cannot hide behind itself.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..budgets.prices import Price
from ..core.completions import Usage
from ..models.limits import RETRIES
from ..scheduler.journal import Row
from ..scheduler.nodes import HEDGE

PRICES = {"chaos": Price.per_million(100, 400), "chaos-2": Price.per_million(200, 800)}  # by the provider's names
TRANSIENT = ("429", "500", "hang", "truncate", "dies")
LATE = ("ModelTimeout", "ModelKilled", "cancelled", "hedged")  # such calls may have left and never arrived
ATTEMPTS = 2 * (RETRIES + 1)  # two models
BURST = 10  # calls that a busy machine may let go after they had their turn, in a whole storm


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that arrived. `at`: seconds; `told`: the usage in the reply, as far as it makes sense."""

    question: int
    model: str
    fault: str
    at: float
    told: Usage | None = None

    @property
    def cost(self) -> int | None:
        """What it would bill for the reply, in nano-dollars; None where it did not say."""
        return None if self.told is None else PRICES[self.model].cost(self.told)


@dataclass(slots=True)
class Paid:
    """What a journal says of one run. `whole`: nobody stopped it. `plain`: that, one sample, no hedges, no cache."""

    question: int
    rows: list[Row]
    whole: bool = True
    plain: bool = False

    def calls(self) -> Iterator[tuple[Row, Row | None]]:
        """Each sample's intent with its reply."""
        samples = [row for row in self.rows if row.effect == "sample"]
        replies = {(row.path, row.attempt): row for row in samples if row.kind == "reply"}
        for row in samples:
            if row.kind == "intent":
                yield row, replies.get((row.path, row.attempt))


@dataclass(slots=True)
class _Tally:
    """Of one question. `certain`: billed calls that must have arrived; `free`: refused ones, at no cost."""

    found: list[str] = field(default_factory=list)
    costs: Counter[int] = field(default_factory=Counter)
    billed: int = 0
    certain: int = 0
    free: int = 0
    vague: int = 0  # replies that may be billed at their hold


def outcome(reply: Row) -> tuple[str, dict[str, Any]]:
    """How a call ended: "reply", "cached", "hedged", "cancelled", "refused", or the type of its error."""
    data = json.loads(reply.payload)
    if "error" in data:
        return str(data["error"]["type"]), data
    for name in ("hedged", "cancelled", "refused"):
        if name in data:
            return name, data
    return "cached" if data.get("cached") else "reply", data


def audit(seen: Sequence[Seen], runs: Sequence[Paid], *, funded: bool = True) -> list[str]:
    """What was billed wrongly, or not tried again. `funded`: money never kept a call from being tried again."""
    asked: dict[int, list[Seen]] = defaultdict(list)
    paid: dict[int, list[Paid]] = defaultdict(list)
    for each in seen:
        asked[each.question].append(each)
    for run in runs:
        paid[run.question].append(run)
    found: list[str] = []
    for question in sorted({*asked, *paid}):
        found += _bills(question, asked[question], paid[question])
        if funded:
            found += [text for run in paid[question] if run.whole for text in _retries(run)]
            if len(paid[question]) == 1 and paid[question][0].plain:
                found += _asked_again(asked[question], paid[question][0])
    return found


def _bills(question: int, asked: Sequence[Seen], runs: Sequence[Paid]) -> list[str]:
    tally = _Tally()
    tally.costs.update(each.cost for each in asked if each.cost is not None)
    tally.vague = sum(each.fault == "usage" for each in asked)
    for run in runs:
        for intent, reply in run.calls():
            if reply is None:
                tally.found.append(f"question {question}: call {intent.path}/{intent.attempt} has no end on record")
            else:
                _bill(question, intent, reply, tally)
    worked = sum(each.fault != "429" for each in asked)
    if tally.billed < worked:
        tally.found.append(f"question {question}: the provider worked on {worked} calls, {tally.billed} are billed")
    if tally.certain > worked:
        tally.found.append(f"question {question}: the provider worked on {worked} calls, {tally.certain} are billed")
    if tally.free > len(asked) - worked:
        tally.found.append(f"question {question}: {tally.free} calls cost nothing, {len(asked) - worked} were refused")
    return tally.found


def _bill(question: int, intent: Row, reply: Row, tally: _Tally) -> None:
    """One call: a good reply at its usage, what was turned away at nothing, all else at its hold."""
    (how, _), nanos, hold = outcome(reply), reply.nanos, intent.nanos
    tally.billed += nanos > 0
    tally.certain += nanos > 0 and how not in LATE
    tally.free += nanos == 0 and how in ("ModelUnavailable", "BadCompletion", "reply")
    place = f"question {question}: call {reply.path}/{reply.attempt} ({how}, held at {hold})"
    if how in ("cached", "refused"):
        if nanos:
            tally.found.append(f"{place} is billed at {nanos}")
    elif how != "reply":
        if nanos not in (0, hold):
            tally.found.append(f"{place} is billed at {nanos}")
    elif tally.costs[nanos] > 0:
        tally.costs[nanos] -= 1
    elif nanos == hold and tally.vague > 0:
        tally.vague -= 1
    else:
        tally.found.append(f"{place} is billed at {nanos}, the provider told {sorted(tally.costs.elements())}")


def _retries(run: Paid) -> Iterator[str]:
    """Each place whose last call failed for a moment, with attempts left."""
    places: dict[str, list[tuple[Row, Row]]] = defaultdict(list)
    for intent, reply in run.calls():
        if reply is not None:
            places[intent.path].append((intent, reply))
    for path, calls in places.items():
        last = max((reply for _, reply in calls), key=lambda row: row.attempt)
        how, _ = outcome(last)
        if how in ("ModelUnavailable", "ModelTimeout") and last.attempt < min(HEDGE, ATTEMPTS) - 1:
            yield f"question {run.question}: {path} failed at attempt {last.attempt} ({how}) and was not tried again"


def _asked_again(asked: Sequence[Seen], run: Paid) -> Iterator[str]:
    """The provider's word on it: one more call for each that failed for a moment."""
    failed = sum(each.fault in TRANSIENT for each in asked)
    hows = [outcome(reply)[0] for _, reply in run.calls() if reply is not None]
    if len(hows) >= ATTEMPTS or {"CircuitOpen", "ModelBusy", "ModelKilled"} & set(hows):
        return  # no attempts were left, or some were passed over
    if len(asked) < 1 + failed:
        yield f"question {run.question}: {failed} calls failed for a moment, the provider was asked {len(asked)} times"


@dataclass(slots=True)
class Manners:
    """When calls left for each model, and when it was heard to ask for how many seconds (any one clock)."""

    left: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    told: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def waits(self) -> int:
        """How often a model asked to wait."""
        return sum(map(len, self.told.values()))

    @property
    def early(self) -> int:
        """Calls that left for a model within the time for which it had asked."""
        return sum(
            any(heard < at < heard + 0.9 * wait for heard, wait in self.told[model])
            for model, times in self.left.items()
            for at in times
        )

    def faults(self) -> list[str]:
        """Calls that had their turn when the word came may still leave: on a busy machine two for each are, and, where
        a model asked once or twice, as many as one moment's burst."""
        if self.early <= 2 * self.waits + BURST:
            return []
        return [f"{self.early} calls left before the time that a model had asked for ({self.waits} times)"]
