"""Simulate: declared distributions answer, seeded by each call's place in the run, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from ..core.completions import Completion, Usage
from ..core.effects import Sample
from ..core.errors import ModelUnavailable, TraceMiss
from .nodes import Call, Reply


@dataclass(frozen=True, slots=True)
class Declared:
    """How a model behaves. `answers`: text -> probability (scaled to sum to 1); `failure`: chance that a call fails
    as unavailable; `tokens`: mean completion tokens (geometric); `seconds`: mean latency (exponential)."""

    answers: Mapping[str, float]
    failure: float = 0.0
    tokens: float = 20.0
    seconds: float = 1.0


@dataclass(slots=True)
class Simulator:
    """A source of made-up replies. The same run seed gives the same replies, whatever the order of arrival."""

    models: Mapping[str, Declared]
    calls: int = field(default=0, init=False)

    def answer(self, call: Call) -> Reply | Exception:
        sample = call.effect
        assert isinstance(sample, Sample)
        name = sample.model if sample.model is not None else next(iter(self.models))
        if name not in self.models:
            raise TraceMiss(f"no distribution is declared for model {name!r}")
        self.calls += 1
        declared, dice = self.models[name], Random(f"{call.seed}/{call.attempt}")
        if dice.random() < declared.failure:
            return ModelUnavailable(f"{name} is down (simulated)")
        text = dice.choices(list(declared.answers), list(declared.answers.values()))[0]
        tokens = min(sample.params.max_tokens, 1 + int(dice.expovariate(1 / max(declared.tokens - 1, 1e-9))))
        prompt = sum(len(m.content.split()) for m in sample.messages)
        finish = "length" if tokens == sample.params.max_tokens else "stop"
        seconds = dice.expovariate(1 / declared.seconds) if declared.seconds > 0 else 0.0
        return Reply(Completion(text, finish, tokens), Usage(prompt, tokens), seconds)
