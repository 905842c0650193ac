"""From what a caller asks to the spec of a run: everything is checked here, before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from secrets import randbits
from typing import TYPE_CHECKING, Any

from ..budgets.budget import Budget
from ..budgets.lengths import QUANTILE
from ..budgets.policy import Policy
from ..budgets.predictor import Predictor
from ..core.errors import CallerError
from ..core.plans import Strategy
from ..core.task import Contract, Task
from ..core.verdict import name_of
from ..strategies.arms import armed
from ..strategies.auto import Auto
from ..strategies.limiting import Limited
from ..strategies.registry import recorded_strategy, strategy_of
from .spec import Spec, contract_of, listed, task_of
from .tools import specs_of
from .verification import NO_MODELS, named_by

if TYPE_CHECKING:
    from .engine import Engine
    from .serving.served import Served


DEFAULT = "auto"


def own_strategy(policy: Policy) -> Strategy:
    """How requests think that name no strategy. Raises `UnknownName` and `CallerError`."""
    return recorded_strategy(policy.strategy or DEFAULT)


def prepare(
    engine: Engine,
    query: Any,
    *,
    budget: float | Budget | None,
    answer: str | Contract,
    choices: Sequence[str],
    schema: Mapping[str, Any] | None,
    checks: Any,
    strategy: str | Strategy | None,
    models: str | Sequence[str] | None,
    seed: int | None,
    scope: Sequence[str],
    account: str | None,
    topic: str,
    shadow: float | None,
    explore: bool,
    store: bool,
    served: Served | None = None,
) -> Spec:
    """The spec of one request, decided by the policy that is `served` (None: the engine's). Raises `CallerError` and
    its kind."""
    plain = isinstance(shadow, int | float) and not isinstance(shadow, bool)
    if shadow is not None and not (plain and 0 <= shadow < float("inf")):
        raise CallerError(f"shadow={shadow!r}: expected value per dollar, 0 or more")
    if not isinstance(topic, str):
        raise CallerError(f"topic={topic!r:.60}: expected text")
    contract, checks = contract_of(answer, choices, schema), listed(checks)
    task = task_of(query, contract, checks, engine.settings.prompts, scope, specs_of(engine.tools))
    task = replace(task, topic=topic) if topic else task
    served = served or engine.serving.production
    policy = served.policy
    made = strategy_of(strategy) if isinstance(strategy, str) else strategy or own_strategy(policy)
    names = engine.names(models) if models is not NO_MODELS else NO_MODELS
    made = armed_for(made, names, policy, task)
    names = tuple(dict.fromkeys((*names, *named_by(task, made))))
    seed = randbits(31) if seed is None else seed
    spending = engine.budget_of(budget)
    explore = explore and engine.keeps(store) and _counts(spending, policy, shadow)
    return Spec(
        task,
        spending,
        made,
        names,
        seed,
        served.json if engine.keeps(store) else "",
        name_of(made),
        engine.habits.guesses(names, policy),
        served.watches.widen(),
        tuple(check if isinstance(check, str) else None for check in checks),
        engine.accounts.named(account),
        engine.habits.upper(names, policy, engine.settings.limits.length_quantile or QUANTILE),
        shadow,
        engine.shifts(seed, explore, _keys(made), served),
        store,
        served.key,
    )


def _counts(budget: Budget, policy: Policy, shadow: float | None) -> bool:
    """Whether dollars count beside a right answer. Where they do not, what exploring gives up cannot be counted in
    them, and nothing would ever be too much."""
    worth = budget.worth if budget.worth is not None else policy.worth
    return worth is None or worth < float("inf") or bool(shadow)


def _keys(strategy: Strategy) -> tuple[str, ...]:
    """The keys of the arms that are weighed."""
    inner = strategy.strategy if isinstance(strategy, Limited) else strategy
    return inner.keys if isinstance(inner, Auto) else ()


def armed_for(strategy: Strategy, names: Sequence[str], policy: Policy, task: Task) -> Strategy:
    """The allocator with the arms of this request, where it has none of its own, and with what its policy wants to know
    of the question; any other strategy as it is."""
    if isinstance(strategy, Limited):
        return replace(strategy, strategy=armed_for(strategy.strategy, names, policy, task))
    if not isinstance(strategy, Auto):
        return strategy
    allocation = policy.allocation
    if not strategy.arms and names:
        known = tuple(allocation.arms) if allocation is not None else ()
        strategy = replace(strategy, arms=armed(names, known, recorded_strategy, strategy.params))
    predictor = allocation.predictor if allocation is not None else None
    if predictor is not None and not strategy.seen:
        strategy = replace(strategy, seen=Predictor(predictor).see(task)[0])
    return strategy
