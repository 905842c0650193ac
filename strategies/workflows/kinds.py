"""What kind of step a step is: whether it is to answer the question, and what steps are in it."""

from __future__ import annotations

from typing import Any


def answers(step: Any, define: dict[str, tuple[Any, ...]] | None = None) -> bool:
    """Whether a step is meant to bring a candidate."""
    if step.do in ("sample", "strategy"):
        return not aside(step)
    return any(answers(one, define) for one in inside(step, define or {}))


def aside(step: Any) -> bool:
    """Whether what a step says is no answer to the question."""
    return not step.candidate if step.do == "sample" else step.do == "strategy" and bool(step.ask)


def inside(step: Any, define: dict[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    """The steps in a step, those that it calls included; of an `if`, those that it does where its condition holds."""
    if step.do == "call":
        return define.get(step.workflow, ())
    if step.do == "if":
        return tuple(step.then)
    return tuple(getattr(step, "steps", ()) or getattr(step, "branches", ()))
