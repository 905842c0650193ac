"""What a recording will cost: at most, and as it is expected to, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.amounts import NANO
from ...core.effects import Effect
from ...scheduler.engine import Engine
from ...scheduler.tariff import PriceList, price_list, quote_step
from ...strategies.registry import strategy_of
from ...verifiers.registry import verifier_of
from ..banking.appending import Appender, Known
from ..tables import MANIFEST
from .asked import Asked
from .drawing import Draws
from .judging import Judging
from .naming import facts_of
from .units import Plan, task_of

PROBED = 40  # questions whose prompts are priced; the others are taken to be like them


@dataclass(frozen=True, slots=True)
class Cost:
    """One line of the estimate: how many calls are asked for, dollars as expected and at the most. `open`: the calls
    of a strategy depend on what it sees, so that the expectation is of its first step alone."""

    what: str
    calls: int
    usd: float
    most: float
    open: bool = False


def estimate(engine: Engine, plan: Plan, asked: Asked, folder: Path, calls: int) -> list[Cost]:
    """The cost of what the bank at `folder` does not have yet. Raises as `Catalog.entry` does, and `CallerError` where
    the bank has another question, model or condition by one of these names."""
    known = Known()
    if (folder / MANIFEST).exists():
        known = _known(folder, facts_of(engine, plan, asked, calls), asked)
    probes = asked.questions[:PROBED]
    found: list[Cost] = []
    for model in plan.models:
        tariff = price_list(engine.catalog, plan.models, {})
        for condition in plan.conditions:
            left = sum(
                (q.id, model, condition.arm, i) not in known.draws for q in asked.questions for i in range(plan.samples)
            )
            tasks = [task_of(q, condition.prompts, condition.prefill) for q in probes]
            one = Draws(1, condition.params())
            quotes = [_quoted(tariff, one.needs(task), model) for task in tasks]
            found.append(_cost(f"{model} {condition.arm}", left, quotes))
        for strategy in plan.strategies:
            left = sum((q.id, strategy, run) not in known.runs for q in asked.questions for run in range(plan.runs))
            made: Any = strategy_of(strategy)
            needs = getattr(made, "needs", lambda _: ())
            quotes = [_quoted(tariff, tuple(needs(task_of(q, plan.prompts))), model) for q in probes]
            first = _cost(f"{model} {strategy}", left, quotes)
            dearest = max((most / max(1, n) for _, most, n in quotes), default=0.0)
            found.append(Cost(first.what, first.calls, first.usd, left * calls * dearest, True))
    return [*found, *_judged(engine, plan, asked)]


def _judged(engine: Engine, plan: Plan, asked: Asked) -> list[Cost]:
    """At the most every draw is another answer; expected is half as many."""
    judging = Judging.of(plan)
    most = len(asked.questions) * plan.samples * len(judging.arms) * len(plan.models)
    found = []
    for spec in judging.verifiers:
        verifier: Any = verifier_of(spec)
        for judge in judging.judges:
            tariff = price_list(engine.catalog, (judge,), {})
            tasks = [task_of(q, plan.prompts) for q in asked.questions[:PROBED]]
            quotes = [_quoted(tariff, tuple(verifier.needs(task)), judge) for task in tasks]
            cost = _cost(judging.named(spec, judge), most, quotes)
            found.append(Cost(cost.what, cost.calls, cost.usd / 2, cost.most))
    return found


def _quoted(tariff: PriceList, step: tuple[Effect[Any], ...], model: str) -> tuple[float, float, int]:
    """Dollars as expected and at the most, and calls, of a step asked of `model` where it names none."""
    rates = {model: tariff.rates[model], **tariff.rates}
    quote = quote_step(PriceList(rates), step)
    return quote.usd, quote.worst.nanos / NANO, quote.worst.calls


def _cost(what: str, times: int, quotes: list[tuple[float, float, int]]) -> Cost:
    n = max(1, len(quotes))
    calls = round(times * sum(c for _, _, c in quotes) / n)
    return Cost(
        what, calls, times * sum(usd for usd, _, _ in quotes) / n, times * max((m for _, m, _ in quotes), default=0.0)
    )


def _known(folder: Path, facts: Mapping[str, Any], asked: Asked) -> Known:
    bank = Appender(folder, facts)
    try:
        bank.check(asked.questions)
        return bank.known()
    finally:
        bank.close()  # nothing is written: the facts go in with the first draws
