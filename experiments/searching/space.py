"""What a search may put into a workflow: models, prompts, numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...core.errors import CallerError
from ...strategies.workflows.caps import Caps
from .documents import Document

SMALL = Caps(chars=16_384, nodes=40, depth=8, rounds=8, branches=8, buys=24, moves=256)
AGREEMENTS = (0.51, 0.6, 0.67, 0.75, 0.9, 1.0)
VOTES = (2, 3, 4, 5)
CHANCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
PROMPTS: tuple[Mapping[str, Any], ...] = (
    {"prompt": "Think step by step, then answer.\n\n$query"},
    {"prompt": "Answer with as few words as possible.\n\n$query"},
    {"prompt": "List what is given and what is asked, then work it out.\n\n$query"},
    {"prompt": "$query\n\nCheck every step of your work before you answer."},
    {"role": "a careful expert who checks each step"},
    {"role": "a teacher who solves the problem as an example"},
)
TEMPERATURES = (0.0, 0.3, 0.7, 1.0)


@dataclass(frozen=True, slots=True)
class Space:
    """The space that a grammar draws from. `models`: names that steps may carry (empty: none, the run's own model
    answers). `prompts`: keys of a `sample` step, and `temperatures`: both only where a model is really asked (a bank
    replays draws on the bare question, and would not notice). `thoughts`: plans, reviews and strategies inside, too.
    `checks`: there are verifiers, so that `verify` steps and conditions on P(right) mean something. `draws`: how often
    a model can be asked the same (a bank holds so many draws). `max_tokens`: of each new step (None: the model's
    usual). `caps` bound every document. Raises `CallerError` for
    names and numbers that make no sense."""

    models: tuple[str, ...] = ()
    prompts: tuple[Mapping[str, Any], ...] = ()
    temperatures: tuple[float, ...] = ()
    thoughts: bool = False
    checks: bool = False
    draws: int = 16
    max_tokens: int | None = None
    agreements: tuple[float, ...] = AGREEMENTS
    votes: tuple[int, ...] = VOTES
    caps: Caps = SMALL

    def __post_init__(self) -> None:
        if not all(isinstance(model, str) and model for model in self.models):
            raise CallerError(f"models={self.models!r:.80}: expected names of models")
        if not self.agreements or not all(0 < share <= 1 for share in self.agreements) or not self.votes:
            raise CallerError("agreements are shares above 0, votes numbers: expected at least one of each")

    @classmethod
    def live(cls, models: Sequence[str] = (), max_tokens: int | None = None, caps: Caps = SMALL) -> Space:
        """Where every prompt can be asked."""
        return cls(tuple(models), PROMPTS, TEMPERATURES, thoughts=True, max_tokens=max_tokens, caps=caps)

    def sample(self, model: str | None = None) -> dict[str, Any]:
        """The plainest step."""
        params = {"params": {"max_tokens": self.max_tokens}} if self.max_tokens is not None else {}
        return {"do": "sample", **({"model": model} if model is not None else {}), **params}


def usual_seeds(space: Space) -> dict[str, Document]:
    """What people would write by hand, by name: each model alone; votes of the same model, where there are so many
    draws of it; votes of three models; and cascades that ask two models and a third where they differ. The space's
    models are taken to be in the order of their prices, the cheapest first."""
    found: dict[str, Document] = {}
    models: tuple[str | None, ...] = space.models or (None,)
    for model in models:
        one, called = space.sample(model), model or "the model"
        found[f"single {called}"] = {"steps": [one]}
        for n in (3, 5):
            if space.draws >= n:
                found[f"vote of {n} {called}"] = {"steps": [{"do": "parallel", "branches": [one] * n}]}
        if space.draws >= 3:
            found[f"two of three {called}"] = cascade(model, model, model, space)
    for a, b, c in zip(models, models[1:], models[2:], strict=False):
        branches = [space.sample(model) for model in (a, b, c)]
        found[f"vote {a}, {b}, {c}"] = {"steps": [{"do": "parallel", "branches": branches}]}
    for i, (a, b) in enumerate(pairwise(models)):
        for c in models[i + 2 :]:
            found[f"cascade {a}, {b} > {c}"] = cascade(a, b, c, space)
    return found


def cascade(a: str | None, b: str | None, c: str | None, space: Space) -> Document:
    """Asks a and b, and c where they differ, whose answer then stands."""
    ask = {"do": "parallel", "branches": [space.sample(a), space.sample(b)]}
    vote: Document = {"do": "vote"}
    return {"steps": [ask, {"do": "if", "when": {"agreement": 1.0}, "then": [vote], "else": [space.sample(c)]}]}
