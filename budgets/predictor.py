"""What the features of a question tell of each arm, before anything is spent: a logistic model for every arm.

log odds that arm a is right = bias_a + weights_a . (features - centre) + the effect of the topic, which was drawn
toward 0 by empirical Bayes: a topic with few questions says little, one that was never seen says nothing.
`experiments.predicting` fits one. `PredictorPolicy` is its file, `Predictor` what runs on requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import exp, sqrt
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..core.task import Task
from .features import HASHED, MARKS, VERSION, embedded, embedding_size, features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

Finite = Annotated[float, Field(allow_inf_nan=False)]
Spread = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FARTHEST = 4.0  # logits that features may move an arm by: a question unlike all others is no certainty


class ArmPredictor(BaseModel):
    """One arm's logistic model. `bias` is the log odds at the mean of the features, `sd` its standard deviation;
    `weights` and their standard deviations `errors`, (features,) each (empty: none are used); `topics`: the effect and
    its standard deviation of each topic, `spread` the standard deviation between topics, which is that of a new one.
    `questions`: on how many it was fitted; `loss`, `brier` and `ece` of predictions for questions left out of the fit,
    beside `base`, the loss of always predicting the mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bias: Finite
    sd: Spread = 0.0
    weights: tuple[Finite, ...] = ()
    errors: tuple[Spread, ...] = ()
    topics: dict[str, tuple[Finite, Spread]] = {}
    spread: Spread = 0.0
    questions: int = 0
    loss: Spread = 0.0
    base: Spread = 0.0
    brier: Spread = 0.0
    ece: Spread = 0.0


class PredictorPolicy(BaseModel):
    """Arms by their keys. `version`: of the features; `buckets`: of hashed words; `embedding`: the registered name of
    the embedding that comes after them, of `size` numbers ("": none). `centre`: the features' means. `plain` is the
    predictor without the embedding, for when it is missing. `provenance` tells what it was fitted on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = VERSION
    buckets: Annotated[int, Field(ge=0)] = 0
    embedding: str = ""
    size: Annotated[int, Field(ge=0)] = 0
    centre: tuple[Finite, ...] = ()
    arms: dict[str, ArmPredictor] = {}
    plain: PredictorPolicy | None = None
    provenance: dict[str, str | int | float] = {}

    @model_validator(mode="after")
    def _fits(self) -> PredictorPolicy:
        for key, arm in self.arms.items():
            if len(arm.weights) not in (0, len(self.centre)) or len(arm.errors) != len(arm.weights):
                raise ValueError(f"arm {key!r} has {len(arm.weights)} weights for {len(self.centre)} features")
        if bool(self.embedding) != bool(self.size):
            raise ValueError("an embedding has a name and a size")
        if self.plain is not None and self.plain.embedding:
            raise ValueError("plain is the predictor without an embedding")
        return self


@dataclass(frozen=True, eq=False)
class Predictor:
    """Predictions for one question after another. Loads numpy at the first one."""

    policy: PredictorPolicy
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def see(self, task: Task) -> tuple[tuple[float, ...], str]:
        """(what `logits` wants of a question, a warning or ""). Without the embedding that the policy was fitted with
        these are the features that need none."""
        policy = self.policy
        if not policy.embedding:
            return features(task, policy.buckets), ""
        found = embedded(task, policy.embedding)
        if found is not None and len(found) == policy.size:
            return (*features(task, policy.buckets), *found), ""
        state = "gave no vector" if embedding_size(policy.embedding) else "is not registered"
        rest = "the other features alone" if policy.plain else "no features at all"
        warning = f"the policy was fitted with the embedding {policy.embedding!r}, which {state}: going by {rest}"
        return features(task, policy.plain.buckets if policy.plain else policy.buckets), warning

    def logits(self, seen: Sequence[float], topic: str = "") -> Mapping[str, float]:
        """By arm: how many logits above its mean over questions its chance is, on a question with these features (as
        `see` or `features` gives them) and this topic. A predictor without hashed words leaves those of the usual
        features out. Features of another length say nothing, topics apart."""
        return self._part(seen)._offsets(self._own(seen), topic)

    def spreads(self, seen: Sequence[float], topic: str = "") -> Mapping[str, float]:
        """By arm: the standard deviation of bias and logit together, in logits (Laplace, weights as if independent)."""
        return self._part(seen)._deviations(self._own(seen), topic)

    def chances(self, seen: Sequence[float], topic: str = "") -> dict[str, float]:
        """By arm: P(a draw of it is right)."""
        told = self.logits(seen, topic)
        biases = {key: arm.bias for key, arm in self._part(seen).policy.arms.items()}
        return {key: 1 / (1 + exp(-(bias + told.get(key, 0.0)))) for key, bias in biases.items()}

    def _part(self, seen: Sequence[float]) -> Predictor:
        plain = self._plain
        return plain if plain is not None and len(seen) != len(self.policy.centre) else self

    def _own(self, seen: Sequence[float]) -> Sequence[float]:
        """What it was fitted on, of what whoever knows nothing of it gives: `features(task)`."""
        bare = not self.policy.buckets and not self.policy.embedding
        return seen[:MARKS] if bare and len(seen) == MARKS + HASHED else seen

    @cached_property
    def _plain(self) -> Predictor | None:
        return Predictor(self.policy.plain) if self.policy.plain is not None else None

    def _offsets(self, seen: Sequence[float], topic: str) -> dict[str, float]:
        found = self._effects(topic)
        tables = self._tables
        if tables is not None and len(seen) == len(self.policy.centre):
            import numpy as np

            moved = tables[1] @ (np.asarray(seen) - tables[0])
            found = [a + b for a, b in zip(found, moved.tolist(), strict=True)]
        return dict(zip(self.policy.arms, (min(FARTHEST, max(-FARTHEST, x)) for x in found), strict=True))

    def _deviations(self, seen: Sequence[float], topic: str) -> dict[str, float]:
        arms = self.policy.arms.values()
        found = [arm.sd**2 + arm.topics.get(topic, (0.0, arm.spread))[1] ** 2 for arm in arms]
        tables = self._tables
        if tables is not None and len(seen) == len(self.policy.centre):
            import numpy as np

            more = tables[2] @ (np.asarray(seen) - tables[0]) ** 2
            found = [a + b for a, b in zip(found, more.tolist(), strict=True)]
        return dict(zip(self.policy.arms, map(sqrt, found), strict=True))

    def _effects(self, topic: str) -> list[float]:
        known: list[float] | None = self._kept.get(topic)
        if known is None:
            known = [arm.topics.get(topic, (0.0, 0.0))[0] for arm in self.policy.arms.values()]
            if len(self._kept) < 1024:  # topics are the caller's own words
                self._kept[topic] = known
        return known

    @cached_property
    def _tables(self) -> tuple[Floats, Floats, Floats] | None:
        """(centre, weights, squared errors): (features,), (arms, features) twice. None where no arm has weights."""
        if not any(arm.weights for arm in self.policy.arms.values()):
            return None
        import numpy as np

        none = (0.0,) * len(self.policy.centre)
        weights = np.asarray([arm.weights or none for arm in self.policy.arms.values()])
        errors = np.asarray([arm.errors or none for arm in self.policy.arms.values()])
        return np.asarray(self.policy.centre), weights, errors**2
