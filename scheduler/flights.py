"""Calls on their way: those that go out together, and what is asked of a model with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from ..core.completions import Request
from ..core.effects import Sample
from ..core.errors import SatisficeError
from .journal import Row
from .nodes import Call
from .nursery import Task
from .paths import encode
from .tariff import Rate


@dataclass(slots=True, eq=False)
class Flight:
    """Calls that went out together, when they count as lost and when they are hedged (seconds since the run began)."""

    calls: list[Call]
    expires: float = inf
    hedges: float = inf
    since: float = 0.0
    task: Task | None = None


def request_of(sample: Sample, calls: Sequence[Call], rate: Rate) -> Request:
    """One request for calls of the same sample."""
    return Request(sample.messages, rate.params(sample), len(calls), calls[0].seed)


def held(intents: list[Row], calls: Sequence[Call]) -> list[Row]:
    """The intents of the calls that are held, at what they are held at by now: some were cut."""
    holds = {(encode(call.path), call.attempt): call.hold.amounts for call in calls if call.hold is not None}
    rows = [(row, holds.get((row.path, row.attempt))) for row in intents]
    return [replace(row, nanos=a.nanos, tokens=a.tokens, calls=a.calls) for row, a in rows if a is not None]


def first_fault(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The fault that counts in a group of them: ours, if there is one."""
    leaves: list[BaseException] = []

    def walk(error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                walk(inner)
        else:
            leaves.append(error)

    walk(group)
    return next((e for e in leaves if isinstance(e, SatisficeError)), leaves[0])
