"""Workflow documents as plain data: one form for equal ones, and the places in them where an edit can be made."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias

from ...core.errors import CallerError
from ...strategies.workflow import Workflow
from ...strategies.workflows.caps import Caps
from ..tuning.standing import temperature

Document: TypeAlias = "dict[str, Any]"
Steps: TypeAlias = "list[dict[str, Any]]"

WITHIN = ("steps", "branches", "then", "else")  # keys under which a step holds others


class Slot(NamedTuple):
    """A step in a document: the list that holds it, where in it, and under which key that list stands."""

    steps: Steps
    at: int
    key: str

    @property
    def step(self) -> dict[str, Any]:
        return self.steps[self.at]


def slots(document: Document) -> list[Slot]:
    """Every step, from the outside in."""
    found = list(_within(document["steps"], "steps"))
    for steps in document.get("define", {}).values():
        found += _within(steps, "steps")
    return found


def _within(steps: Steps, key: str) -> Iterator[Slot]:
    for i, step in enumerate(steps):
        yield Slot(steps, i, key)
        for inner in WITHIN:
            if inner in step:
                yield from _within(step[inner], inner)


def lists(document: Document) -> list[tuple[Steps, str]]:
    """Every list of steps, with its key."""
    found: list[tuple[Steps, str]] = [(document["steps"], "steps")]
    found += [(steps, "steps") for steps in document.get("define", {}).values()]
    for slot in slots(document):
        found += [(slot.step[key], key) for key in WITHIN if key in slot.step]
    return found


def made(data: Any, models: Sequence[str], caps: Caps, *, committed: bool = True) -> Workflow:
    """The workflow of a document that nobody vouches for: built-in strategies only, `models` only. Raises
    `CallerError`."""
    flow = Workflow.of(data, models=tuple(models), caps=caps)
    if not models and flow.models:
        raise CallerError(f"workflow: {flow.models[0]!r} is not allowed here: leave `model` out")
    document = {k: v for k, v in flow.to_dict().items() if k not in ("name", "note", "committed")}
    document = {"committed": True, **document} if committed else document
    return Workflow.of(tidy(document), models=tuple(models), caps=caps)


def digest(flow: Workflow) -> str:
    """Equal documents have equal digests: 12 hexadecimal digits of SHA-256."""
    return sha256(flow.source.encode()).hexdigest()[:12]


def copied(document: Document) -> Document:
    """A copy that may be edited."""
    return copy.deepcopy(document)


def tidy(document: Document) -> Document:
    """The same workflow without what does nothing: sequences in sequences, branches of one, a vote before anything was
    said, two votes in a row, an `else` without steps, definitions that nobody calls."""
    found = copied(document)
    found["steps"] = _tidied(found["steps"])
    for name, steps in found.get("define", {}).items():
        found["define"][name] = _tidied(steps)
    called = {slot.step.get("workflow") for slot in slots(found)}
    kept = {name: steps for name, steps in found.get("define", {}).items() if name in called}
    found.pop("define", None)
    return {**found, "define": kept} if kept else found


def _tidied(steps: Steps, branches: bool = False) -> Steps:
    out: Steps = []
    for step in steps:
        for key in WITHIN:
            if key in step:
                step[key] = _tidied(step[key], key == "branches")
                if key == "else" and not step[key]:
                    del step[key]
        out += _opened(step, branches)
    if branches:
        return out
    return [s for i, s in enumerate(out) if not (s == {"do": "vote"} and i and out[i - 1] == {"do": "vote"})]


def _opened(step: dict[str, Any], branches: bool) -> Steps:
    """The step, or what stands for it."""
    do, bare = step["do"], "as" not in step
    if do == "sequence" and bare and (not branches or len(step["steps"]) == 1):
        return list(step["steps"])
    if do == "parallel":
        if len(step["branches"]) == 1 and bare:
            return [step["branches"][0]]
        if step.get("at_least", 1) > len(step["branches"]):
            step["at_least"] = len(step["branches"])
    return [step]


def warmed(document: Document, arms: Mapping[str, str]) -> Document:
    """The document with the temperature of the recorded conditions (`arms`, by model: "direct@0.3") in every `sample`
    step that says none: live it asks as it was measured."""
    found = copied(document)
    for step in (slot.step for slot in slots(found)):
        warm = temperature(arms.get(step.get("model", ""), "")) if step["do"] == "sample" else None
        if warm is not None:
            step["params"] = {"temperature": warm, **(step.get("params") or {})}
    return found


def difference(before: Workflow, after: Workflow, names: tuple[str, str] = ("before", "after")) -> str:
    """What an edit changed, as a unified diff of the two YAML texts."""
    one, two = before.to_yaml().splitlines(), after.to_yaml().splitlines()
    return "\n".join(difflib.unified_diff(one, two, *names, lineterm="", n=2))
