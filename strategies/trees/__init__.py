"""The parts of a tree search: the tree, what grows it (expanders), what values it, and which node is next.

The tree and the choice of nodes are plain data and arithmetic (`nodes`, `tot`, `mcts`, `abmcts`); what asks a model
yields effects (`expanders`, `valuing`). `strategies.tree_search` puts them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .expanders import Continue, Expander, Finish, Leaf, Moves, Propose, Refine
    from .nodes import Step, Tree
    from .valuing import Scored, Value, Valuer, Vote

_HOMES = {
    "Continue": "expanders",
    "Expander": "expanders",
    "Finish": "expanders",
    "Leaf": "expanders",
    "Moves": "expanders",
    "Propose": "expanders",
    "Refine": "expanders",
    "Scored": "valuing",
    "Step": "nodes",
    "Tree": "nodes",
    "Value": "valuing",
    "Valuer": "valuing",
    "Vote": "valuing",
}
__all__ = [
    "Continue",
    "Expander",
    "Finish",
    "Leaf",
    "Moves",
    "Propose",
    "Refine",
    "Scored",
    "Step",
    "Tree",
    "Value",
    "Valuer",
    "Vote",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
