"""The candidate pool of a run: what each plan has paid for, in the order in which the plan is given it."""

from __future__ import annotations

from typing import Any

from ..core.effects import Gather
from ..core.plans import Outcome
from ..core.task import Candidate
from .nodes import Fan, Frame, Node


def pool(frame: Frame, given: tuple[Any, ...]) -> None:
    """Keeps the candidates that were paid for, and what was said of them. Thoughts are none, and what answers a part of
    the question is none of this one's."""
    for item in given:
        if isinstance(item, Candidate) and not item.thought:
            frame.found.append(item)
        elif isinstance(item, Outcome) and not item.part:
            frame.found.extend(item.found)
            frame.judged.extend(item.judged)


def underway(node: Node | None) -> tuple[Any, ...]:
    """What was paid for below a plan, if too late for it. A race's branches are not part of the run until it is
    decided; what a verifier asks for is no candidate."""
    if isinstance(node, Frame) and node.alive and node.kind == "strategy" and not node.part:
        return (*node.found, *underway(node.waiting))
    if isinstance(node, Fan) and node.alive and isinstance(node.effect, Gather):
        below = {i: underway(child) for i, child in enumerate(node.children) if child is not None}
        node.below |= below
        return node.paid()
    return ()
