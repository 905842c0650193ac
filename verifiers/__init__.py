"""Is it right? One file per verifier. Verifiers see the task and the candidate, never the gold answer.

Importing this package loads none of them: names load when first used. `registry` finds them by name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .check import Check, as_verifier
    from .choice import Choice
    from .code import Code
    from .code_generated import GeneratedTests
    from .confidence import Agreement, Confidence
    from .constraint import AllOf, AnyOf, Weighted
    from .ensemble import Ensemble
    from .exact import Exact
    from .grounding import Grounding
    from .grouping import Embedding, Entailment, Lexical
    from .http_prm import HttpPRM
    from .human import Human
    from .judge import Judge, Panel, PTrue
    from .math_ import Equation, Math
    from .pairwise import Pairwise, tournament
    from .process import Process
    from .regex import Regex
    from .registry import find_verifier, listing, verifier_of
    from .schema import Schema
    from .similarity import Similarity, semantic_entropy

_HOMES = {
    "check": "Check as_verifier",
    "choice": "Choice",
    "code": "Code",
    "code_generated": "GeneratedTests",
    "confidence": "Agreement Confidence",
    "constraint": "AllOf AnyOf Weighted",
    "ensemble": "Ensemble",
    "exact": "Exact",
    "grounding": "Grounding",
    "grouping": "Embedding Entailment Lexical",
    "http_prm": "HttpPRM",
    "human": "Human",
    "judge": "Judge PTrue Panel",
    "math_": "Equation Math",
    "pairwise": "Pairwise tournament",
    "process": "Process",
    "regex": "Regex",
    "registry": "find_verifier listing verifier_of",
    "schema": "Schema",
    "similarity": "Similarity semantic_entropy",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = [
    "Agreement",
    "AllOf",
    "AnyOf",
    "Check",
    "Choice",
    "Code",
    "Confidence",
    "Embedding",
    "Ensemble",
    "Entailment",
    "Equation",
    "Exact",
    "GeneratedTests",
    "Grounding",
    "HttpPRM",
    "Human",
    "Judge",
    "Lexical",
    "Math",
    "PTrue",
    "Pairwise",
    "Panel",
    "Process",
    "Regex",
    "Schema",
    "Similarity",
    "Weighted",
    "as_verifier",
    "find_verifier",
    "listing",
    "semantic_entropy",
    "tournament",
    "verifier_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
