"""Limited: any strategy, its calls kept to so many output tokens, whatever parameters it or a strategy in it uses."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from ..core.completions import Params
from ..core.effects import Choose, Effect, Gather, Offer, Race, Sample, Within
from ..core.plans import Answer, Plan, Strategy
from ..core.task import Task
from ..core.verdict import name_of
from .steps import strategy, whole


@dataclass(frozen=True, slots=True)
class Limited:
    """Another strategy, whose completions have at most `max_tokens` tokens each: its own, those of strategies that it
    runs, and those of steps that it only offers. Parameters that ask for less stay as they are."""

    strategy: Strategy
    max_tokens: int

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        strategy("strategy", self.strategy)
        whole("max_tokens", self.max_tokens)

    @property
    def name(self) -> str:
        """The strategy's own."""
        return name_of(self.strategy)

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        """As the strategy says, with the limit; nothing where it does not say."""
        said = getattr(self.strategy, "needs", None)
        return tuple(map(self._of, said(task))) if said is not None else ()

    def __call__(self, task: Task) -> Plan[Answer]:
        return self._through(self.strategy(task))

    def _through(self, plan: Plan[Answer]) -> Generator[Effect[Any], Any, Answer]:
        """The plan with the limit on what it yields; replies and errors reach it as they are."""
        try:
            effect = next(plan)
            while True:
                try:
                    reply = yield self._of(effect)
                except GeneratorExit:
                    raise
                except BaseException as error:
                    effect = plan.throw(error)
                else:
                    effect = plan.send(reply)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer
        finally:
            plan.close()

    def _of(self, effect: Effect[Any]) -> Effect[Any]:
        match effect:
            case Sample(params=params) if params.max_tokens > self.max_tokens:
                return replace(effect, params=replace(params, max_tokens=self.max_tokens))
            case Gather(branches=branches) | Race(branches=branches):
                return replace(effect, branches=tuple(map(self._of, branches)))
            case Within(strategy=inner) if not isinstance(inner, Limited) or inner.max_tokens > self.max_tokens:
                return replace(effect, strategy=Limited(inner, self.max_tokens))
            case Offer(step=step):
                return replace(effect, step=tuple(map(self._of, step)))
            case Choose(options=options):
                made = tuple(replace(one, step=tuple(map(self._of, one.step))) for one in options)
                return replace(effect, options=made)
        return effect


def with_params(strategy: Strategy, max_tokens: int | None, temperature: float | None) -> Strategy:
    """The strategy with `max_tokens` on every call that it makes, and `temperature` for the answers that it draws: the
    setting `params` of its own and of strategies inside it. Its own `params` may so get more tokens than they have;
    all others only fewer. Raises `CallerError` for what no model can take."""
    found: Any = strategy
    if temperature is not None:
        found = _warmed(found, temperature)
    if max_tokens is None:
        return found  # type: ignore[no-any-return]
    if isinstance(params := getattr(found, "params", None), Params):
        found = replace(found, params=replace(params, max_tokens=max_tokens))
    return Limited(found, max_tokens)


def _warmed(value: Any, temperature: float) -> Any:
    if isinstance(value, tuple):
        return tuple(_warmed(one, temperature) for one in value)
    if not callable(value) or isinstance(value, type) or not hasattr(value, "__dataclass_fields__"):
        return value
    changed = {}
    for name in value.__dataclass_fields__:
        old = getattr(value, name)
        new = replace(old, temperature=temperature) if name == "params" and isinstance(old, Params) else old
        if (new := _warmed(new, temperature)) != old:
            changed[name] = new
    return replace(value, **changed) if changed else value
