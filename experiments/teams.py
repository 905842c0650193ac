"""Which recorded models a strategy is replayed on, and why a bank could not answer it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from ..budgets.policy import Policy
from ..core.errors import CallerError, TraceMiss, UnknownName
from ..strategies.arms import draws_of
from ..strategies.auto import Auto
from ..strategies.cascade import Cascade
from ..strategies.registry import models_of
from .bank import Bank
from .cascading import fit_cascades, main_arms


def casts_of(strategy: Any, bank: Bank) -> list[tuple[str, ...]]:
    """Of each row that it gets, the models that it asks, the default one first: those that its settings name, and,
    where a part of it names none, each model of the bank in turn beside them. [()] for a strategy that names no model:
    it runs on every model alone. Raises `UnknownName`."""
    named = models_of(strategy)
    known = sorted({model for model, _ in bank.arms})
    for model in named:
        if model not in known:
            raise UnknownName.of("recorded model", model, known)
    if named and asks_default(strategy):
        return [tuple(dict.fromkeys((default, *named))) for default in known]
    return [tuple(named)]


def armed_on(strategy: Any, bank: Bank) -> Any:
    """The allocator without arms of its own, with a draw of each of the bank's models, as an engine that allows them
    all
    would give it; where they were never recorded on a question together, and any other strategy, as it is."""
    models = sorted({model for model, _ in bank.arms})
    if not isinstance(strategy, Auto) or strategy.arms or len(models) < 2:
        return strategy
    with suppress(CallerError):
        teams_of(bank, tuple(models))
        return replace(strategy, arms=draws_of(models, strategy.params))
    return strategy


def main_only(bank: Bank, asked: Collection[str] = ()) -> tuple[Bank, list[str]]:
    """The bank with only the main arm of each model, and those of `asked`, and what is left out, as "model, arm". The
    main one has the most
    draws; of equals it is the one whose single draw is right most often (in hindsight: little is made of it), then the
    first by name."""
    sizes: dict[tuple[str, str], list[float]] = {}
    for (_, model, arm), row in bank.draws.items():
        sums = sizes.setdefault((model, arm), [0.0, 0.0])
        sums[0] += len(row)
        sums[1] += sum(draw.correct for draw in row) / len(row)
    kept: dict[str, str] = {}
    for model, arm in sorted(sizes, key=lambda place: (-sizes[place][0], -sizes[place][1], place)):
        kept.setdefault(model, arm)
    stays = {(model, arm) for model, arm in sizes if kept[model] == arm or arm in asked}
    left = [f"{model}, {arm}" for model, arm in sorted(sizes) if (model, arm) not in stays]
    if not left:
        return bank, []
    draws = {group: row for group, row in bank.draws.items() if group[1:] in stays}
    known = {question for question, _, _ in draws} | {question for question, _ in bank.runs}
    questions = {name: question for name, question in bank.questions.items() if name in known}
    verdicts = {place: said for place, said in bank.verdicts.items() if place[1:3] in stays}
    return replace(bank, questions=questions, draws=draws, verdicts=verdicts), left


def asked_at(bank: Bank, strategy: Any) -> tuple[str, ...] | None:
    """The arms that were recorded at the temperature at which a strategy asks ("direct@0.7"); None, for all of them,
    where there are none."""
    warm = getattr(getattr(strategy, "params", None), "temperature", None)
    found = tuple(sorted({arm for _, arm in bank.arms if warm is not None and arm.endswith(f"@{warm:g}")}))
    return found or None


def asks_default(strategy: Any) -> bool:
    """Whether a part of it leaves its `model` open, and does not name several `models` instead."""
    if not is_dataclass(strategy):
        return False
    values = {f.name: getattr(strategy, f.name) for f in fields(strategy)}
    if "model" in values and values["model"] is None and not values.get("models"):
        return True
    return any(asks_default(one) for value in values.values() for one in _each(value))


def teams_of(bank: Bank, cast: tuple[str, ...]) -> list[dict[str, str]]:
    """The arm of each model: one team for each arm under which all were recorded on some question; without such an
    arm, each model under its main one. Raises `CallerError` where no question has them all."""
    every = sorted({arm for _, arm in bank.arms})
    found = [team for arm in every if bank.common(team := dict.fromkeys(cast, arm))]
    if found:
        return found
    main = main_arms(bank)
    team = {model: main[model] for model in cast}
    if not bank.common(team):
        raise CallerError(f"no question of this bank was recorded on all of {', '.join(cast)}")
    return [team]


def with_ladders(
    policies: Mapping[int, Policy], bank: Bank, strategy: Any, arms: Mapping[str, str]
) -> dict[int, Policy]:
    """The policy of each fold, with the ladders of the strategy's own cascades, fitted on the other folds of these
    arms; a chain with too few questions goes without one."""
    chains = dict(chains_of(strategy, next(iter(arms))))
    made: dict[int, Policy] = {}
    for fold, policy in policies.items():
        others = [other for other in bank.folds if other != fold]
        ladders = dict(policy.cascades)
        for key, chain in chains.items():
            with suppress(CallerError):
                (ladders[key],) = fit_cascades(bank, [chain], arms=dict(arms), folds=others).values()
        made[fold] = policy.model_copy(update={"cascades": ladders}) if chains else policy
    return made


def without_ladder(strategy: Any, policy: Policy) -> str:
    """What to say of a cascade for which a policy that has ladders has none; "" otherwise."""
    missing = [
        one.chain for one in cascades_in(strategy) if one.thresholds is None and one.chain not in policy.cascades
    ]
    if not policy.cascades or not missing:
        return ""
    if models_of(strategy):
        return f"the policy has no ladder for the cascade {missing[0]!r}"
    known = next(iter(policy.cascades))
    stages = ",".join(f'"single_shot:model={model}"' for model in known.split(">"))
    return (
        f"its stages name no models, so that each model was asked alone and the policy's {len(policy.cascades)} "
        f"ladder(s) went unused: name them, as in cascade:stages=[{stages}]"
    )


def chains_of(strategy: Any, default: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Of each cascade in a strategy whose stages ask one model each: its key in a policy, and these models."""
    for cascade in cascades_in(strategy):
        stages = [models_of(stage) or (default,) for stage in cascade.stages]
        if all(len(models) == 1 for models in stages):
            yield cascade.chain, tuple(models[0] for models in stages)


def cascades_in(strategy: Any) -> Iterator[Cascade]:
    """The cascades in a strategy, itself included."""
    if isinstance(strategy, Cascade):
        yield strategy
    for field_ in fields(strategy) if is_dataclass(strategy) else ():
        for one in _each(getattr(strategy, field_.name)):
            yield from cascades_in(one)


def _each(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


@dataclass(slots=True)
class Missed:
    """Runs that the bank could not answer, by the reason, and how many `ended` because its draws did."""

    ended: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return self.reasons.total()

    def add(self, miss: TraceMiss) -> None:
        why = str(miss.details.get("why", ""))
        self.reasons[why] += 1
        self.examples.setdefault(why, str(miss))

    def take(self, other: Missed) -> None:
        """Takes in what another part of the questions missed."""
        self.ended += other.ended
        self.reasons.update(other.reasons)
        for why, example in other.examples.items():
            self.examples.setdefault(why, example)

    def told(self, runs: int) -> str:
        """In words, "" where nothing was missed. `runs`: those that were replayed."""
        found = []
        if self.count:
            why, often = self.reasons.most_common(1)[0]
            example = self.examples[why]
            rest = "the figures are of the others, which need not be like them"
            share = f"{often} of {runs + self.count} runs could not be replayed ({rest})"
            found.append(f"{share if runs else 'cannot be replayed on this bank'}: {example}")
        if self.ended:
            more = "what the strategy would ask next was not recorded"
            found.append(
                f"{self.ended} of {runs} runs ended before a step that the recorded draws do not suffice for: {more}"
            )
        return "; ".join(found)
