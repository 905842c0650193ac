"""What a bank taught of many arms: the serialisable form of `budgets.portfolio_world.World`."""

from __future__ import annotations

from functools import lru_cache, partial
from math import log
from operator import mul
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .portfolio_world import Arm, World, logistic
from .predictor import Predictor, PredictorPolicy

TINY = 1e-9

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


class AllocationPolicy(BaseModel):
    """What is known of several arms together: each by its key, and of the urn of wrong answers (`kappa`, `alike`,
    `middle`, `again`: see `budgets.portfolio_world.World`).
    `curve` (b0, b1, sd) stands in for arms that are not known: their bias by what they cost relative to the cheapest.
    `ease`: what features tell of a question; `weights`: how
    often it is how much easier than that (empty: as a normal distribution says). `settled` (a, b): a claim of
    P(right) p is read as sigmoid(a + b logit p) (empty: as it is).
    `predictor`: what features tell of each arm, in place of `ease`. `provenance` tells what it was fitted
    on, and how well it predicted what was held out. What is declared was read off nine models on ten exams (recorded by
    Renze & Guven 2024, 2405.06682): figures of the fit, rounded; `own` cannot be told from one draw of each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arms: dict[str, ArmPolicy] = {}
    curve: tuple[Finite, Finite, Annotated[float, Field(ge=0)]] = (0.4, 1.1, 0.8)
    loading: Finite = 2.0
    own: Positive = 3.0
    blank: Share = 0.01
    kappa: Positive = 3.0
    alike: tuple[Finite, Finite] = (-0.25, 0.4)
    middle: Finite = 1.4
    again: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    ease: EasePolicy | None = None
    weights: tuple[Share, ...] = ()
    settled: tuple[Finite, Finite] | None = None
    predictor: PredictorPolicy | None = None
    fitted: bool = True
    provenance: dict[str, str | int | float] = {}

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
        predictor=Predictor(policy.predictor) if policy.predictor is not None else None,
        settled=partial(_read, *policy.settled) if policy.settled is not None else None,
        fitted=policy.fitted,
    )


def _read(a: float, b: float, p: float) -> float:
    """What is left of a claim of P(right)."""
    p = min(max(p, 0.0), 1.0 - TINY)
    return logistic(a + b * log(p / (1.0 - p))) if p > TINY else p


DECLARED = AllocationPolicy(fitted=False)


def declared() -> World:
    """What is believed of arms that nobody has measured."""
    return DECLARED.world()
