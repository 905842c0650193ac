"""What a bank taught of many arms: the serialisable form of `budgets.portfolio_world.World`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from math import log
from operator import mul
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .portfolio_world import NODES, Arm, World, logistic
from .predictor import Predictor, PredictorPolicy
from .successes import Successes, of_betas, of_logits

TINY = 1e-9
RARE = 1e-6  # weight of a class that is not kept

Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ArmPolicy(BaseModel):
    """What is known of one arm (`budgets.portfolio_world.Arm` says what the figures are). `usd`: mean dollars of a
    purchase; `calls`: model calls of one; `kind`: whether it is a draw of a model or a whole strategy or agent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bias: Finite
    sd: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    loading: Finite = 1.3
    own: Positive = 1.5
    blank: Share = 0.0
    usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    calls: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    kind: Literal["draw", "opaque"] = "draw"
    questions: int = 0

    def arm(self) -> Arm:
        return Arm(self.bias, self.loading, self.own, self.blank, self.sd)


class EasePolicy(BaseModel):
    """How many standard deviations easier than the mean a question is, by its features (of this `version` of
    `budgets.features`) and its topic: `gain` * (base + weights . features + topics[topic]). `told`: the share of the
    variance of ease that this told of questions held out. `alone`: (base, weights) for a topic that is not known,
    fitted without topics (`told_alone`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    base: Finite = 0.0
    weights: tuple[Finite, ...] = ()
    topics: dict[str, Finite] = {}
    gain: Finite = 1.0
    told: Finite = 0.0
    alone: tuple[Finite, ...] = ()
    told_alone: Finite = 0.0

    def __call__(self, seen: tuple[float, ...], topic: str) -> float:
        """The ease of a question; without features, or with those of another version, what its topic tells."""
        fits, told = len(seen) == len(self.weights), 0.0
        if topic in self.topics:
            told = self.topics[topic] + (self.base + sum(map(mul, self.weights, seen)) if fits else 0.0)
        elif fits and self.alone:
            told = self.alone[0] + sum(map(mul, self.alone[1:], seen))
        return self.gain * told


class SuccessesPolicy(BaseModel):
    """How often draws of `arms` pass an exact check, jointly (`budgets.successes.Successes`): classes of questions by
    their `weights` with a Beta(a, b) of each arm, `betas[arm][class]`; or of each arm (mean, loading, own) of a
    normal difficulty, `logits`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arms: tuple[str, ...]
    weights: tuple[Share, ...] = ()
    betas: tuple[tuple[tuple[Positive, Positive], ...], ...] = ()
    logits: tuple[tuple[Finite, Finite, Positive], ...] = ()
    questions: int = 0

    @model_validator(mode="after")
    def _fits(self) -> SuccessesPolicy:
        rows = self.betas or self.logits
        if bool(self.betas) == bool(self.logits) or len(rows) != len(self.arms):
            raise ValueError("successes: either betas or logits, and a row for each arm")
        if self.betas and ({*map(len, self.betas)} != {len(self.weights)} or not sum(self.weights) > 0):
            raise ValueError("successes: a weight for each class, not all of them 0, and a Beta of each arm there")
        return self

    @classmethod
    def of(cls, known: Successes) -> SuccessesPolicy:
        """The file of what was fitted. Classes that hardly ever come are left out."""
        if known.logits:
            return cls(arms=known.arms, logits=known.logits, questions=known.questions)
        kept = [k for k, weight in enumerate(known.weights) if weight > RARE]
        return cls(
            arms=known.arms,
            weights=tuple(float(f"{known.weights[k]:.6g}") for k in kept),
            betas=tuple(tuple(row[k] for k in kept) for row in known.betas),
            questions=known.questions,
        )

    def successes(self) -> Successes:
        """What runs. Loads numpy."""
        if self.logits:
            means, loadings, owns = zip(*self.logits, strict=True)
            return replace(of_logits(self.arms, means, loadings, owns), questions=self.questions)
        total = sum(self.weights)
        found = of_betas(self.arms, tuple(weight / total for weight in self.weights), self.betas)
        return replace(found, questions=self.questions)


class AllocationPolicy(BaseModel):
    """What is known of several arms together: each by its key, and of the urn of wrong answers (`kappa`, `alike`,
    `middle`, `again`: see `budgets.portfolio_world.World`). `curve` (b0, b1, sd) stands in for arms that are not known:
    their bias by what they cost relative to the cheapest. `ease`: what features tell of a question; `weights`: how
    often it is how much easier than that (empty: as a normal distribution says). `settled` (a, b): a claim of P(right)
    p is read as sigmoid(a + b logit p) (empty: as it is). `predictor`: what features tell of each arm, in place of
    `ease`, given the difficulty `gain` times as much; `alone` was fitted without topics, and is for those that are not
    known. `successes`: how often draws pass exact checks (None: as votes say). `provenance` tells what it was fitted
    on, and how well it predicted what was held out. What is declared was read off nine models on ten exams (recorded by
    Renze & Guven 2024, 2405.06682): figures of the fit, rounded; `own` and `again`, which one draw of each cannot tell,
    so that repeated draws of one arm claim what the declared prior of votes does (`budgets.priors`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arms: dict[str, ArmPolicy] = {}
    curve: tuple[Finite, Finite, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = (0.4, 1.1, 0.8)
    loading: Finite = 2.0
    own: Positive = 6.0
    blank: Share = 0.01
    kappa: Annotated[float, Field(ge=1e-3, allow_inf_nan=False)] = 3.0
    alike: tuple[Finite, Finite] = (-0.25, 0.4)
    middle: Finite = 1.4
    again: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    ease: EasePolicy | None = None
    weights: tuple[Share, ...] = ()
    settled: tuple[Finite, Finite] | None = None
    predictor: PredictorPolicy | None = None
    alone: PredictorPolicy | None = None
    gain: Finite = 1.0
    successes: SuccessesPolicy | None = None
    fitted: bool = True
    provenance: dict[str, str | int | float] = {}

    @model_validator(mode="after")
    def _makes_sense(self) -> AllocationPolicy:
        if self.weights and (len(self.weights) != NODES or sum(self.weights) <= 0):
            raise ValueError(f"allocation: weights are {NODES} shares, not all of them 0, or none")
        if self.settled is not None and self.settled[1] <= 0:
            raise ValueError("allocation: settled must rise: its second figure is above 0")
        return self

    def world(self) -> World:
        """The runtime of this policy, the same one each time, with the tables that it keeps."""
        return _world(_Same(self))


class _Same:
    """A policy by identity: policies hold dicts, and are not hashable."""

    def __init__(self, policy: AllocationPolicy) -> None:
        self.policy = policy

    def __hash__(self) -> int:
        return id(self.policy)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.policy is self.policy


@lru_cache(maxsize=64)
def _world(same: _Same) -> World:
    policy = same.policy
    return World(
        {key: arm.arm() for key, arm in policy.arms.items()},
        policy.curve,
        Arm(0.0, policy.loading, policy.own, policy.blank),
        policy.kappa,
        policy.alike,
        policy.middle,
        policy.again,
        policy.ease if policy.predictor is None else None,  # both tell of difficulty: it would count twice
        weights=policy.weights,
        predictor=_Told.of(policy),
        settled=partial(_read, *policy.settled) if policy.settled is not None else None,
        fitted=policy.fitted,
        successes=partial(_successes, same) if policy.successes is not None else None,
    )


@lru_cache(maxsize=64)
def _successes(same: _Same) -> Successes:
    assert same.policy.successes is not None
    return same.policy.successes.successes()


class _Told:
    """What features tell of each arm, given the difficulty (`budgets.portfolio_world.Predicting`)."""

    def __init__(self, known: Predictor, alone: Predictor | None, gain: float) -> None:
        self.known, self.alone, self.gain = known, alone, gain
        self.topics = {topic for arm in known.policy.arms.values() for topic in arm.topics}

    @classmethod
    def of(cls, policy: AllocationPolicy) -> _Told | None:
        alone = Predictor(policy.alone) if policy.alone is not None else None
        return cls(Predictor(policy.predictor), alone, policy.gain) if policy.predictor is not None else None

    def logits(self, seen: tuple[float, ...], topic: str) -> Mapping[str, float]:
        """By arm."""
        by = self.known if topic in self.topics or self.alone is None else self.alone
        return {arm: self.gain * logit for arm, logit in by.logits(seen, topic).items()}


def _read(a: float, b: float, p: float) -> float:
    """What is left of a claim of P(right)."""
    p = min(max(p, 0.0), 1.0 - TINY)
    return logistic(a + b * log(p / (1.0 - p))) if p > TINY else p


DECLARED = AllocationPolicy(fitted=False)


def declared() -> World:
    """What is believed of arms that nobody has measured."""
    return DECLARED.world()
