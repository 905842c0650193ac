"""`solve_many` without an engine of one's own, and both as plain functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from ...budgets.budget import Budget
from ...budgets.ledger.ledger import Ledger
from ...budgets.policy import Policy
from ..api import _blocking
from ..engine import Engine
from ..tools import Tools
from .batch import Batch
from .batch import solve_many as batched


async def asolve_many(
    queries: Iterable[Any],
    *,
    budget: float | Budget,
    models: str | Sequence[str] | None = None,
    settings: str | Path | None = None,
    policy: Policy | str | Path | None = None,
    journal: bool | str | Path | None = None,
    tools: Tools | None = None,
    ledger: Ledger | bool | str | Path | None = None,
    **options: Any,
) -> Batch:
    """`solve_many` for async code. `options`: what `Engine.solve_many` takes."""
    engine = Engine(models, settings=settings, policy=policy, journal=journal, tools=tools, ledger=ledger)
    async with engine:
        return await batched(engine, queries, budget=budget, **options)


def solve_many(queries: Iterable[Any], *, budget: float | Budget, **options: Any) -> Batch:
    """Answers many queries within one budget, spent where it buys the most. Blocks, as `solve` does; interrupted, it
    returns what is there.

        solve_many(["What is 17 + 25?", "What is 3 * 3?"], budget=0.02, models="openai/gpt-4o-mini", answer="number")

    `options`: what `asolve_many` and `Engine.solve_many` take. Raises as those do.
    """
    options = {"on_cancel": "best", **options}

    async def work() -> Any:
        return await asolve_many(queries, budget=budget, **options)

    return cast(Batch, _blocking(work))
