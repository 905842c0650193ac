"""The two sides of a comparison, before anything is replayed: what each thinks by, and on which recorded model and
condition it is measured.

A policy that was tuned names its model and its temperature. What it is compared with mostly names neither, and is then
asked of the same model at the same temperature: otherwise the difference would be that of the models.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...budgets.policy import Policy
from ...core.errors import CallerError
from ...core.plans import Strategy
from ...strategies.registry import models_of, recorded_strategy, strategy_of
from ..bank import Bank
from ..report import RECORDED
from ..retracing import recorded_as
from ..teams import asked_at, casts_of, main_only, teams_of

PolicyOf: TypeAlias = Policy | Literal["fit"] | None
PLAIN = "self_consistency"  # what a policy is judged by that says nothing of it, as in `evaluate`


@dataclass(frozen=True, slots=True)
class Side:
    """One of two ways to answer. `name`: as a person called it. `policy`: None is the declared one. `strategy`: what it
    thinks by, `called` so. `bank`: the part of the bank on which it is replayed."""

    name: str
    policy: PolicyOf
    strategy: Strategy
    called: str
    bank: Bank

    @property
    def places(self) -> list[tuple[str, str]]:
        """(model, arm) of each row that it gets, without the baselines."""
        if runs := recorded_as(self.bank, self.strategy):
            return [(model, RECORDED) for model in sorted(runs)]
        casts, found = casts_of(self.strategy, self.bank), []
        for model, arm in self.bank.arms:
            found += [(model, arm)] * any(cast in ((), (model,)) for cast in casts)
        for cast in (cast for cast in casts if len(cast) > 1):
            for team in teams_of(self.bank, cast):
                found.append((" + ".join(team), " + ".join(dict.fromkeys(team.values()))))
        return found


def side(name: str, policy: PolicyOf, bank: Bank, asked: Sequence[str] = ()) -> Side:
    """A policy, thinking by what is `asked`, else by its own strategy, else by self_consistency. Raises `UnknownName`,
    and `CallerError` where several are asked for."""
    if len(asked) > 1:
        raise CallerError(f"--strategy was given {len(asked)} times: a comparison has one on each side, as in: A B")
    own = policy.strategy if isinstance(policy, Policy) else ""
    text = asked[0] if asked else own or PLAIN
    return Side(name, policy, recorded_strategy(text) if text == own else strategy_of(text), text, bank)


def alike(a: Side, b: Side, *, arms: Collection[str] = (), every_arm: bool = False) -> tuple[Side, Side]:
    """Both, each on its own models and temperature, or on the other's where it names none. `arms`: those that were
    asked for; `every_arm`: do not leave out any. Raises `CallerError` where either fits several rows or none."""
    told = bool(arms) or every_arm
    made = _on(a, b, told), _on(b, a, told)
    for one in made:
        places = [f"{model} ({arm})" for model, arm in one.places]
        if not places:
            raise CallerError(f"{one.name}: this bank has no draws that {one.called} could be replayed on")
        if len(places) > 1:
            where = ", ".join(places[:6]) + (f" and {len(places) - 6} more" if len(places) > 6 else "")
            raise CallerError(f"{one.name} may be measured on {where}: choose one with --model and --arm")
    return made


def _on(one: Side, other: Side, told: bool) -> Side:
    models = models_of(one.strategy) or _lent(one, other)
    warm = asked_at(one.bank, one.strategy) or asked_at(other.bank, other.strategy) or ()
    bank = one.bank.select(models=models) if models else one.bank
    warm = tuple(arm for arm in warm if any(arm == known for _, known in bank.arms))
    if told:
        pass
    elif warm and len(models) < 2:
        bank, _ = main_only(bank.select(arms=warm))
    else:
        bank, _ = main_only(bank, warm)
    return Side(one.name, one.policy, one.strategy, one.called, bank)


def _lent(one: Side, other: Side) -> tuple[str, ...]:
    """The model that a side takes from the other: of several, the one on which that policy was judged."""
    models = models_of(other.strategy)
    if len(models) < 2:
        return models
    facts = other.policy.provenance if isinstance(other.policy, Policy) else {}
    judged = models_of(recorded_strategy(str(facts["baseline"]))) if facts.get("baseline") else ()
    if len(judged) != 1 or judged[0] not in {model for model, _ in one.bank.arms}:
        raise CallerError(
            f"{other.name} asks {len(models)} models and {one.name} names none: name one, as in "
            f"{one.called.partition(':')[0]}:model={models[0]}"
        )
    return judged
