"""`Engine.verify`: what verifiers say of a candidate that is there already. A run like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from ..budgets.budget import Budget
from ..core.effects import Sample
from ..core.errors import CallerError, NoModelConfigured
from ..core.task import Candidate, Contract, Task
from ..strategies.registry import models_of
from ..strategies.verify import Verify, samples_of
from .spec import candidate_of, contract_of, listed, task_of, verifiers_of

if TYPE_CHECKING:
    from ..core.plans import Strategy
    from .engine import Engine
    from .solution import Solution
    from .world import OnEvent


class _NoModels(tuple[str, ...]):
    """Unlike any other empty tuple, which means the default."""


NO_MODELS = _NoModels()  # a request that may use none at all


async def verify(
    self: Engine,
    query: Any,
    candidate: str | Candidate,
    verifiers: Any = (),
    *,
    budget: float | Budget | None = None,
    answer: str | Contract = "text",
    choices: Sequence[str] = (),
    schema: Mapping[str, Any] | None = None,
    models: str | Sequence[str] | None = None,
    seed: int | None = None,
    scope: Sequence[str] = (),
    on_event: OnEvent | None = None,
    on_cancel: Literal["raise", "best"] = "raise",
) -> Solution:
    """What `verifiers` say of a candidate (a completion's text, or a Candidate): `Solution.verdicts`, in the order in
    which they were asked, those that ask no model first. All are asked; each verdict is billed, journaled and
    calibrated by the policy. `stop_reason` is "verified" (every verdict is an exact pass), "refuted" (an exact one is
    not) or "checked".

    `verifiers`: one or several, each a verifier, a callable on the answer, or a name with its settings
    ("regex:pattern=^4"). Models and a budget are needed only where one asks a model; a model that a verifier names
    itself is allowed. Other options, and what is raised, as of `solve`.
    """
    verifiers = listed(verifiers)
    task = task_of(query, contract_of(answer, choices, schema), (), self.settings.prompts, scope)
    if not task.checks and not verifiers:
        raise CallerError("nothing to verify with: pass at least one verifier")
    task = replace(task, known=(candidate_of(candidate, task.contract), *task.known))
    asked = asked_of(replace(task, checks=task.checks + verifiers_of(verifiers)))
    return await self.solve(
        task,
        checks=verifiers,  # as they were given: what is text is kept
        budget=budget if budget is not None or asked else Budget(calls=1),
        strategy=Verify(),
        models=_models(self, asked, models),
        seed=seed,
        on_event=on_event,
        on_cancel=on_cancel,
    )


def asked_of(task: Task) -> list[Sample]:
    """The completions that the task's checks declare."""
    return [sample for check in task.checks for sample in samples_of(check, task)]


def named_by(task: Task, strategy: Strategy) -> tuple[str, ...]:
    """The models that checks and strategy name themselves: who passes them allows these."""
    asked = (sample.model for sample in asked_of(task) if sample.model is not None)
    return tuple(dict.fromkeys((*asked, *models_of(strategy))))


def _models(engine: Engine, asked: Sequence[Sample], models: str | Sequence[str] | None) -> tuple[str, ...]:
    """The allowed models; none at all where none is configured, and none needed."""
    try:
        return engine.names(models)
    except NoModelConfigured:
        if any(sample.model is None for sample in asked):
            raise
        return NO_MODELS
