"""Orchestrate: a model writes a workflow for this very question, which is then run (Fugu 2026, 2606.21228)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar

from ..budgets.beliefs import Unstarted
from ..budgets.rounds import RoundsBelief
from ..core.belief import Belief
from ..core.completions import Params
from ..core.effects import Effect, Offer, Sample
from ..core.errors import CallerError
from ..core.plans import Answer, Plan
from ..core.task import Candidate, Task
from ..verifiers.prompting import defang, shortened
from .pool import Pool
from .prompting import draw, thinking
from .steps import FAULTS, checks_of, names, parameters, whole
from .workflow import Workflow
from .workflows.caps import Caps

SMALL = Caps(chars=16_384, nodes=24, depth=6, rounds=4, branches=6, buys=16)
LONGEST = 4_000  # characters of a broken workflow that its writer is shown again
READ = 65_536  # characters of a reply that are looked through for one
TRIES, FENCES = 64, 8  # brackets of one part, and fenced parts, that are tried


@dataclass(frozen=True, slots=True)
class Orchestrate:
    """`model` writes a workflow: subtasks that build on one another, each with its role and one of `models`. It is
    checked against the schema and `caps`; what does not pass goes back to its writer with the error, `repairs` times,
    and if that fails too the question is asked once, plainly. `writing` are the writer's parameters, `params` those of
    the steps. What was written is the writer's reply in the journal; the answer's reason says what came of it:
    "orchestrated", "orchestrated_repaired", or "fallback" ("verified" where checks settle it)."""

    model: str | None = None
    models: tuple[str, ...] = ()
    params: Params = Params(temperature=0.7)
    writing: Params = Params(temperature=0.2, max_tokens=768)
    repairs: int = 1
    caps: Caps = SMALL
    name: ClassVar[str] = "orchestrate"
    pays: ClassVar[str] = (
        "with a writer strong enough to plan, and questions of several parts that differ in what they take"
    )

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        whole("orchestrate: repairs", self.repairs, 0)
        models: Any = self.models
        object.__setattr__(self, "models", tuple(models) if isinstance(models, list) else models)
        names("orchestrate: models", self.models)
        parameters("orchestrate: params", self.params)
        parameters("orchestrate: writing", self.writing)
        if not isinstance(self.caps, Caps):
            raise CallerError(f"orchestrate: caps={self.caps!r:.60}, expected Caps(...)")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return (self._write(task), draw(task, None, self.params), *checks_of(task))

    def __call__(self, task: Task) -> Plan[Answer]:
        pool = Pool.of(task)
        passed = yield from pool.start()
        if passed is not None and passed.passed:
            return Answer(passed.candidate, "verified")
        flow, reason = yield from self._written(task, pool)
        if flow is not None:
            try:
                answer = yield from flow(task)
            except (*FAULTS, CallerError):  # what cannot be run here, such as tools that there are none of, too
                answer = Answer(None)
            if answer.candidate is not None:
                return answer if answer.reason == "verified" else replace(answer, reason=reason)
        return (yield from self._fallback(task, pool))

    def _written(self, task: Task, pool: Pool) -> Plan[tuple[Workflow | None, str]]:
        """The workflow that the model writes, None if it cannot, and what to call what comes of it."""
        ask, reason = self._write(task), "orchestrated"
        for attempt in range(1 + self.repairs):
            answer, left = pool.answer(), 1 + self.repairs - attempt
            evidence = answer.belief if answer is not None else None
            belief: Belief = RoundsBelief(attempt, left, evidence) if answer is not None or attempt else Unstarted()
            yield from Offer(answer, belief, (ask, draw(task, None, self.params), *checks_of(task)))
            try:
                reply: Candidate = yield from ask
            except FAULTS:
                return None, reason
            try:
                return self.read(reply.text), reason
            except CallerError as error:
                ask, reason = self._write(task, reply.text, str(error)), "orchestrated_repaired"
        return None, reason

    def read(self, text: str) -> Workflow:
        """The workflow in a model's reply. Raises `CallerError` that says what is wrong with it."""
        data = answering_last(found_in(text))
        data.pop("committed", None)  # whether a step is worth its price is not for its writer to say
        flow = Workflow.of(data, models=self.models, params=self.params, caps=self.caps)
        if flow.models and not self.models:
            raise CallerError(f"workflow: {flow.models[0]!r} is not allowed here, leave `model` out")
        return flow

    def _write(self, task: Task, broken: str = "", error: str = "") -> Sample:
        told = {"broken": defang(shortened(broken, LONGEST)[0]), "error": error[:600], "models": self.models}
        return thinking(task, "orchestrate_write", self.model, self.writing, caps=self.caps, **told)

    def _fallback(self, task: Task, pool: Pool) -> Plan[Answer]:
        sample = draw(task, None, self.params)
        answer, step = pool.answer(), (sample, *checks_of(task))
        yield from Offer(answer, RoundsBelief(0, 1, answer.belief if answer is not None else None), step)
        one = yield from pool.take((yield from sample))
        return pool.end(None if one is not None and one.passed else "fallback")


def found_in(text: str) -> Any:
    """The first JSON mapping or list of steps in a reply: fenced, or wherever it opens. Raises `CallerError`."""
    error: Exception | None = None
    text = text[:READ]
    for part in (*islice(_fenced(text), FENCES), text):
        for place in (m.start() for m in islice(re.finditer(r"[{\[]", part), TRIES)):
            try:
                value, _ = json.JSONDecoder().raw_decode(part, place)
            except (ValueError, RecursionError) as caught:
                error = error or caught
                continue
            if isinstance(value, dict) and ("steps" in value or "do" in value):
                return value if "steps" in value else {"steps": [value]}
            if isinstance(value, list) and value and all(isinstance(one, dict) and "do" in one for one in value):
                return {"steps": value}
    said = f"the JSON breaks off: {error}" if error is not None else "no JSON object with `steps`"
    raise CallerError(f"workflow: {said}")


def answering_last(data: dict[str, Any]) -> dict[str, Any]:
    """The same workflow, its last sample an answer if nothing in it is one: a writer that was told that the last step
    answers often marks it as a thought all the same."""
    samples = [step for step in _steps(data) if step.get("do") == "sample"]
    if not samples or any(step.get("candidate", True) for step in samples) or "strategy" in _kinds(data):
        return data
    last = samples[-1]
    last.pop("candidate")
    return data


def _steps(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict):
        if "do" in data:
            yield data
        for value in data.values():
            yield from _steps(value)
    elif isinstance(data, list):
        for value in data:
            yield from _steps(value)


def _kinds(data: Any) -> set[Any]:
    return {kind for step in _steps(data) if isinstance(kind := step["do"], str)}


def _fenced(text: str) -> Iterator[str]:
    for found in re.finditer(r"```[\w-]*\n(.*?)(?:```|\Z)", text, re.DOTALL):
        yield found[1]
