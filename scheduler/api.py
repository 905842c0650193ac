"""`solve` and `verify`, and both for async code: one request without an engine of one's own."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio

from ..budgets.budget import Budget
from ..budgets.ledger.ledger import Ledger
from ..budgets.policy import Policy
from ..core.task import Candidate
from .engine import Engine
from .feedback import Feedback
from .solution import Solution
from .tools import Tools
from .world import OnAsk

T = TypeVar("T")


async def asolve(
    query: Any,
    *,
    budget: float | Budget | None = None,
    models: str | Sequence[str] | None = None,
    settings: str | Path | None = None,
    policy: Policy | str | Path | None = None,
    journal: bool | str | Path | None = None,
    tools: Tools | None = None,
    on_ask: OnAsk | None = None,
    ledger: Ledger | bool | str | Path | None = None,
    **request: Any,
) -> Solution:
    """`solve` for async code. `request`: what `Engine.solve` takes. A service holds an `Engine` instead."""
    engine = Engine(
        models, settings=settings, policy=policy, journal=journal, tools=tools, on_ask=on_ask, ledger=ledger
    )
    async with engine:
        return await engine.solve(query, budget=budget, **request)


def solve(query: Any, *, budget: float | Budget | None = None, **options: Any) -> Solution:
    """Answers one query within a budget. Blocks; works from plain code and inside a running event loop (a notebook).

        solve("What is 17 + 25?", budget=0.01, models="openai/gpt-4o-mini", answer="number").answer

    `budget`: dollars as a hard cap, or a Budget. `options`: what `asolve` and `Engine.solve` take. Raises as those do.
    """
    return _blocking(lambda: asolve(query, budget=budget, **options))


async def averify(
    query: Any,
    candidate: str | Candidate,
    verifiers: Any,
    *,
    models: str | Sequence[str] | None = None,
    settings: str | Path | None = None,
    policy: Policy | str | Path | None = None,
    journal: bool | str | Path | None = None,
    tools: Tools | None = None,
    on_ask: OnAsk | None = None,
    **request: Any,
) -> Solution:
    """`verify` for async code. `request`: what `Engine.verify` takes."""
    engine = Engine(models, settings=settings, policy=policy, journal=journal, tools=tools, on_ask=on_ask)
    async with engine:
        return await engine.verify(query, candidate, verifiers, **request)


def verify(query: Any, candidate: str | Candidate, verifiers: Any, **options: Any) -> Solution:
    """What verifiers say of a candidate: `Solution.verdicts`, and what they cost. Blocks, as `solve` does.

        verify("What is 17 + 25?", "It is 42.", "math:reference=42", answer="number").verdicts[0].verdict.score

    `verifiers`: one or several, each a verifier, a callable on the answer, or a name with its settings. `options`: what
    `averify` and `Engine.verify` take. Raises as those do.
    """
    return _blocking(lambda: averify(query, candidate, verifiers, **options))


async def afeedback(
    run_id: str,
    correct: bool | float,
    *,
    settings: str | Path | None = None,
    policy: Policy | str | Path | None = None,
    journal: bool | str | Path | None = None,
    **word: Any,
) -> Feedback:
    """`feedback` for async code. `word`: what `Engine.feedback` takes."""
    async with Engine(settings=settings, policy=policy, journal=journal) as engine:
        return await engine.feedback(run_id, correct, **word)


def feedback(run_id: str, correct: bool | float, **options: Any) -> Feedback:
    """Tells whether the answer of a run was right (True, False, or how far from 0 to 1), at any time after it. Blocks.
    `options`: what `afeedback` and `Engine.feedback` take. Raises as those do."""
    return _blocking(lambda: afeedback(run_id, correct, **options))


def _blocking(work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    if not _in_loop():
        return anyio.run(main)
    # A loop cannot be entered twice: the request gets a thread with a loop of its own.
    box: list[T | BaseException] = []

    def run() -> None:
        try:
            box.append(anyio.run(main))
        except BaseException as error:
            box.append(error)

    thread = threading.Thread(target=run, name="satisfice-solve", daemon=True)
    thread.start()
    thread.join()
    if isinstance(box[0], BaseException):
        raise box[0]
    return box[0]


def _in_loop() -> bool:
    try:
        anyio.get_current_task()
    except Exception:
        return False
    return True
