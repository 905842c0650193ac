"""satisfice: test-time compute that stops while the next thought is worth more than it costs.

    from satisfice import solve
    solve("What is 17 + 25?", budget=0.01, models="openai/gpt-4o-mini", answer="number").answer

Every public name is importable from here, and loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .budgets.beliefs import Committed, ExactBelief, Unstarted
    from .budgets.budget import Budget
    from .budgets.features import register_embedding
    from .budgets.ledger.accounts import Account, Limit
    from .budgets.ledger.ledger import Ledger
    from .budgets.ledger.operations import Alert
    from .budgets.policy import Policy
    from .budgets.prices import Price
    from .budgets.purse import Purse
    from .budgets.registry.registry import Registry
    from .budgets.rounds import RoundsBelief
    from .budgets.voting import VotingBelief
    from .core.amounts import Amounts
    from .core.belief import Belief, Continuation, Priors, Terms
    from .core.completions import Completion, Cut, Message, Model, Params, Request, Response, Usage
    from .core.effects import (
        Ask,
        CallTool,
        Choice,
        Choose,
        Effect,
        Gather,
        Offer,
        Option,
        Race,
        Recall,
        Remember,
        Sample,
        Score,
        Within,
    )
    from .core.errors import (
        BadBudget,
        BadCompletion,
        BadQuery,
        BadSettings,
        BudgetError,
        BudgetTooSmall,
        CallerError,
        CircuitOpen,
        GatherFailed,
        JournalMismatch,
        Killed,
        LedgerConflict,
        MissingExtra,
        MissingKey,
        ModelBusy,
        ModelError,
        ModelKilled,
        ModelRefused,
        ModelTimeout,
        ModelUnavailable,
        NoAnswer,
        NobodyToAsk,
        NoModelConfigured,
        PromotionRefused,
        QueueFull,
        RegistryConflict,
        RunIsActive,
        SandboxUnavailable,
        SatisficeError,
        StoreError,
        TooLate,
        ToolError,
        TraceMiss,
        UnknownName,
        UnpricedModel,
    )
    from .core.plans import Answer, Outcome, Plan, Strategy
    from .core.task import Candidate, Contract, Task
    from .core.tools import ToolSpec
    from .core.verdict import Judgement, Verdict, Verifier
    from .experiments import Bank, evaluate, fit
    from .models.lite import LiteModel
    from .models.local import LocalModel
    from .models.scripted import ScriptedModel
    from .models.settings import Settings
    from .scheduler.api import afeedback, asolve, averify, feedback, solve, verify
    from .scheduler.decisions import Decision
    from .scheduler.dispatch.switches import Switch
    from .scheduler.engine import Engine
    from .scheduler.events import Decided, Ended, Event, Received, Sent, Started, Waiting
    from .scheduler.feedback import Feedback
    from .scheduler.many.api import asolve_many, solve_many
    from .scheduler.many.batch import Batch
    from .scheduler.many.stream import Stream
    from .scheduler.mcp_tools import mcp_tools
    from .scheduler.planned import Forecast
    from .scheduler.solution import Solution, Spend
    from .scheduler.tools import Tool
    from .strategies.auto import Auto
    from .strategies.best_of_n import BestOfN
    from .strategies.cascade import Cascade
    from .strategies.coordinators import Conductor, Fixed, Linear, Turn
    from .strategies.debate import Debate, Debater
    from .strategies.experts import Experts
    from .strategies.fusion import Fusion
    from .strategies.gating import Gate
    from .strategies.orchestrate import Orchestrate
    from .strategies.prompting import asking
    from .strategies.react import React
    from .strategies.reflexion import Reflexion
    from .strategies.roles import Roles
    from .strategies.self_consistency import SelfConsistency
    from .strategies.single_shot import SingleShot
    from .strategies.tree_search import TreeSearch
    from .strategies.verify import Verify
    from .strategies.workflow import Workflow
    from .verifiers.check import Check
    from .verifiers.code import Code
    from .verifiers.code_generated import GeneratedTests
    from .verifiers.confidence import Agreement, Confidence
    from .verifiers.constraint import AllOf, AnyOf, Weighted
    from .verifiers.ensemble import Ensemble
    from .verifiers.exact import Exact
    from .verifiers.grounding import Grounding
    from .verifiers.grouping import Embedding, Entailment, Lexical
    from .verifiers.http_prm import HttpPRM
    from .verifiers.human import Human
    from .verifiers.judge import Judge, Panel, PTrue
    from .verifiers.math_ import Equation, Math
    from .verifiers.pairwise import Pairwise
    from .verifiers.process import Process
    from .verifiers.regex import Regex
    from .verifiers.registry import find_verifier
    from .verifiers.schema import Schema
    from .verifiers.similarity import Similarity

__version__ = "0.1.0"

_HOMES = {
    "budgets.beliefs": "Committed ExactBelief Unstarted",
    "budgets.budget": "Budget",
    "budgets.features": "register_embedding",
    "budgets.ledger.accounts": "Account Limit",
    "budgets.ledger.ledger": "Ledger",
    "budgets.ledger.operations": "Alert",
    "budgets.policy": "Policy",
    "budgets.prices": "Price",
    "budgets.purse": "Purse",
    "budgets.registry.registry": "Registry",
    "budgets.rounds": "RoundsBelief",
    "budgets.voting": "VotingBelief",
    "core.amounts": "Amounts",
    "core.belief": "Belief Continuation Priors Terms",
    "core.completions": "Completion Cut Message Model Params Request Response Usage",
    "core.effects": "Ask CallTool Choice Choose Effect Gather Offer Option Race Recall Remember Sample Score Within",
    "core.errors": "BadBudget BadCompletion BadQuery BadSettings BudgetError BudgetTooSmall CallerError CircuitOpen "
    "GatherFailed JournalMismatch Killed LedgerConflict MissingExtra MissingKey ModelBusy ModelError ModelKilled "
    "ModelRefused ModelTimeout ModelUnavailable "
    "NoAnswer NobodyToAsk NoModelConfigured PromotionRefused QueueFull RegistryConflict RunIsActive "
    "SandboxUnavailable SatisficeError StoreError TooLate ToolError TraceMiss UnknownName UnpricedModel",
    "core.plans": "Answer Outcome Plan Strategy",
    "core.task": "Candidate Contract Task",
    "core.tools": "ToolSpec",
    "core.verdict": "Judgement Verdict Verifier",
    "experiments": "Bank evaluate fit",
    "models.lite": "LiteModel",
    "models.local": "LocalModel",
    "models.scripted": "ScriptedModel",
    "models.settings": "Settings",
    "scheduler.api": "afeedback asolve averify feedback solve verify",
    "scheduler.decisions": "Decision",
    "scheduler.dispatch.switches": "Switch",
    "scheduler.engine": "Engine",
    "scheduler.events": "Decided Ended Event Received Sent Started Waiting",
    "scheduler.feedback": "Feedback",
    "scheduler.many.api": "asolve_many solve_many",
    "scheduler.many.batch": "Batch",
    "scheduler.many.stream": "Stream",
    "scheduler.mcp_tools": "mcp_tools",
    "scheduler.planned": "Forecast",
    "scheduler.solution": "Solution Spend",
    "scheduler.tools": "Tool",
    "strategies.auto": "Auto",
    "strategies.best_of_n": "BestOfN",
    "strategies.cascade": "Cascade",
    "strategies.coordinators": "Conductor Fixed Linear Turn",
    "strategies.debate": "Debate Debater",
    "strategies.experts": "Experts",
    "strategies.fusion": "Fusion",
    "strategies.gating": "Gate",
    "strategies.orchestrate": "Orchestrate",
    "strategies.prompting": "asking",
    "strategies.react": "React",
    "strategies.reflexion": "Reflexion",
    "strategies.roles": "Roles",
    "strategies.self_consistency": "SelfConsistency",
    "strategies.single_shot": "SingleShot",
    "strategies.tree_search": "TreeSearch",
    "strategies.verify": "Verify",
    "strategies.workflow": "Workflow",
    # `verifiers.Choice` is not here: `Choice` is what a plan is told by `Choose`
    "verifiers.check": "Check",
    "verifiers.code": "Code",
    "verifiers.code_generated": "GeneratedTests",
    "verifiers.confidence": "Agreement Confidence",
    "verifiers.constraint": "AllOf AnyOf Weighted",
    "verifiers.ensemble": "Ensemble",
    "verifiers.exact": "Exact",
    "verifiers.grounding": "Grounding",
    "verifiers.grouping": "Embedding Entailment Lexical",
    "verifiers.http_prm": "HttpPRM",
    "verifiers.human": "Human",
    "verifiers.judge": "Judge PTrue Panel",
    "verifiers.math_": "Equation Math",
    "verifiers.pairwise": "Pairwise",
    "verifiers.process": "Process",
    "verifiers.regex": "Regex",
    "verifiers.registry": "find_verifier",
    "verifiers.schema": "Schema",
    "verifiers.similarity": "Similarity",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'satisfice' has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
