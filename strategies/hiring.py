"""What strategies share that run other strategies: their settings, what a step of them costs, running several at once,
and the answer that stands afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from ..budgets.beliefs import Committed
from ..core.effects import Choose, Effect, Gather, Option, Score, Within
from ..core.errors import CallerError, GatherFailed
from ..core.plans import Answer, Outcome, Plan, Strategy
from ..core.task import Task
from .pool import Judged, Pool
from .steps import checks_of, strategies

UNKNOWN = Committed(0)  # no more to buy, and P(right) not known


def hands(name: str, what: str, given: Any) -> tuple[Strategy, ...]:
    """The strategies of a setting: a tuple, a list, or one alone. Raises `CallerError` for none, and for what is no
    strategy."""
    many = tuple(given) if isinstance(given, tuple | list) else (given,)
    text = next((one for one in many if isinstance(one, str)), None)
    if text is not None:
        form = f'{name}:{what}=["single_shot","self_consistency:samples=3"]'
        raise CallerError(
            f"{name}: {text!r:.60} in {what} is text, not a strategy: give objects, such as {what}=(SingleShot(),), or "
            f"have it read from text, as in find({name!r}, {what}=[{text!r:.60}]) or --strategy '{form}'"
        )
    if not many:
        raise CallerError(f"{name}: {what} is empty: give one strategy or more, such as (SingleShot(),)")
    strategies(f"{name}: {what}", many)
    return many


def check_share(name: str, share: Any, seconds: Any = None) -> None:
    """Raises `CallerError` unless `share` is in (0, 1] and `seconds` above 0 or None."""
    if not _figure(share) or not 0 < share <= 1:
        raise CallerError(f"{name}: share={share!r}, expected above 0, 1 at the most")
    if seconds is not None and (not _figure(seconds) or not seconds > 0):
        raise CallerError(f"{name}: seconds={seconds!r}, expected above 0, or None")


def check_model(name: str, what: str, value: Any) -> None:
    """Raises `CallerError` unless `value` is a model's name or None."""
    if value is not None and not (isinstance(value, str) and value):
        raise CallerError(f"{name}: {what}={value!r:.80}, expected a model's name, or None for the run's first")


def checked(panel: Sequence[Within]) -> tuple[Effect[Any], ...]:
    """The step that runs these: each, and the checks that its answer meets, where it does not make them itself."""
    step: list[Effect[Any]] = []
    for one in panel:
        needs = getattr(one.strategy, "needs", None)
        own = any(isinstance(effect, Score) for effect in _least(needs, one.task))
        step += [one, *(() if own else checks_of(one.task))]
    return tuple(step)


def _least(needs: Any, task: Task) -> tuple[Effect[Any], ...]:
    """What a strategy says that it needs; nothing where it cannot say: running it shows why."""
    try:
        return tuple(needs(task)) if needs is not None else ()
    except Exception:
        return ()


def hire(pool: Pool, panel: tuple[Within, ...], at_least: int) -> Plan[tuple[Outcome | None, ...]]:
    """Runs the panel side by side, or as many of its first as the purse can pay, `at_least` of them; None
    for one without an answer. Raises `GatherFailed` where none has one and some have failed."""
    sizes = range(len(panel), at_least - 1, -1)
    evidence = pool.belief if pool.best else None
    options = tuple(Option(Committed(1, evidence), checked(panel[:size]), f"ask {size}") for size in sizes)
    choice = yield from Choose(pool.answer(), options)
    asked = panel[: sizes[choice.index]]
    try:
        outcomes: tuple[Outcome | None, ...] = yield from Gather(asked, at_least=1)
    except GatherFailed as error:
        if error.errors:
            raise
        return (None,) * len(asked)  # they replied, and nothing that could be given
    return outcomes


def settled(pool: Pool, one: Judged, reason: str) -> Answer:
    """This one as the answer. P(right) is known where the evidence, too, finds it the likeliest."""
    answer = pool.answer(reason) if pool.best is one else None
    return answer or Answer(one.candidate, reason, UNKNOWN)


def _figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
