"""How to think: one file per strategy, each a pure plan.

A strategy is a callable from a `Task` to a plan (a generator of effects that returns an `Answer`). Its configuration
is its dataclass fields. It does no I/O, reads no clock, and knows no economics: it offers what it has and how it
believes going on would help, and is told how many more to draw, or closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .auto import Auto
    from .best_of_n import BestOfN
    from .cascade import Cascade
    from .debate import Debate, Debater
    from .experts import Experts
    from .fusion import Fusion
    from .orchestrate import Orchestrate
    from .react import React
    from .reflexion import Reflexion
    from .registry import find, listing
    from .roles import Roles
    from .self_consistency import SelfConsistency
    from .single_shot import SingleShot
    from .tree_search import TreeSearch
    from .verify import Verify
    from .workflow import Workflow

_HOMES = {
    "Auto": "auto",
    "BestOfN": "best_of_n",
    "Cascade": "cascade",
    "Debate": "debate",
    "Debater": "debate",
    "Experts": "experts",
    "Fusion": "fusion",
    "Orchestrate": "orchestrate",
    "React": "react",
    "Reflexion": "reflexion",
    "Roles": "roles",
    "SelfConsistency": "self_consistency",
    "SingleShot": "single_shot",
    "TreeSearch": "tree_search",
    "Verify": "verify",
    "Workflow": "workflow",
    "find": "registry",
    "listing": "registry",
}
__all__ = [
    "Auto",
    "BestOfN",
    "Cascade",
    "Debate",
    "Debater",
    "Experts",
    "Fusion",
    "Orchestrate",
    "React",
    "Reflexion",
    "Roles",
    "SelfConsistency",
    "SingleShot",
    "TreeSearch",
    "Verify",
    "Workflow",
    "find",
    "listing",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
