"""What strategies share: the checks that a candidate will meet, seeded dice, settings that make sense."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Any

from ..core.completions import Params
from ..core.effects import Effect, Score
from ..core.errors import CallerError, GatherFailed, ModelError, ToolError
from ..core.task import Candidate, Task

NOBODY = Candidate("")  # stands in the step that prices a check, before there is a candidate
FAULTS = (ModelError, GatherFailed, ToolError)  # of one step: the others may still do without it


def checks_of(task: Task, candidate: Candidate = NOBODY) -> tuple[Effect[Any], ...]:
    """The checks that a new candidate of this task meets: part of every step that brings one."""
    return tuple(Score(check, task, candidate) for check in task.checks)


def dice(task: Task, *what: Any) -> Random:
    """A generator for this question and purpose, the same on every machine and in every process."""
    text = "\x1f".join((task.id, *map(str, what)))
    return Random(int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"))


def whole(name: str, value: Any, least: int = 1, *, optional: bool = False) -> None:
    """Raises `CallerError` unless `value` is a whole number of at least `least` (or None, where `optional`)."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise CallerError(f"{name}={value!r}: expected a whole number, {least} or more{' (or none)' * optional}")


def names(name: str, value: Any) -> None:
    """Raises `CallerError` unless `value` is a tuple of names."""
    if not isinstance(value, tuple) or not all(isinstance(one, str) and one for one in value):
        raise CallerError(f'{name}={value!r:.80}: expected several names, such as ("a", "b")')


def one_of(name: str, value: Any, known: Sequence[Any]) -> None:
    """Raises `CallerError` unless `value` is one of `known`."""
    if value not in known:
        raise CallerError(f"{name}={value!r:.80}: expected one of {', '.join(map(repr, known))}")


def parameters(name: str, value: Any) -> None:
    """Raises `CallerError` unless `value` are sampling parameters."""
    if not isinstance(value, Params):
        raise CallerError(f"{name}={value!r:.80}: expected Params, such as Params(temperature=0.7, max_tokens=256)")


def strategies(name: str, value: Any, least: int = 1) -> None:
    """Raises `CallerError` unless `value` is a tuple of at least so many strategies."""
    if not isinstance(value, tuple) or len(value) < least:
        raise CallerError(f"{name}: expected {least} strategies or more in a tuple, such as (SingleShot(),)")
    for one in value:
        strategy(f"one of {name}", one)


def strategy(name: str, value: Any, *, optional: bool = False) -> None:
    """Raises `CallerError` unless `value` is a strategy (or None, where `optional`)."""
    if value is None and optional:
        return
    if isinstance(value, type):
        raise CallerError(f"{name}: {value.__name__} is a class: make one of it, {value.__name__}()")
    if not callable(value):
        raise CallerError(f"{name}={value!r:.80}: expected a strategy; names are understood by find(..., {name}=...)")
