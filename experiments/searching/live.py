"""Scoring live: workflows run on real models, every call under one purse. Nothing is journaled or cached."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ...budgets.budget import Budget
from ...budgets.purse import UNLIMITED, Purse
from ...core.amounts import NANO
from ...core.completions import Message, Params
from ...core.errors import BadQuery, BudgetError, CallerError, NoAnswer
from ...core.task import KINDS, Contract, Task
from ...scheduler.engine import Engine
from ...strategies.single_shot import SingleShot
from ...strategies.workflow import Workflow
from ..coordinating import Question
from .scoring import Figure, Spent

FOLDS = 10
SEED = 1 << 31


def read_tasks(path: str | Path) -> dict[str, Question]:
    """Tasks by their ids from a file of JSON lines: {"query": ..., "gold": ..., "answer": a kind ("text"), "choices":
    [...], "id": ...}. Raises `BadQuery` with the line, and `CallerError` where there is no such file."""
    found: dict[str, Question] = {}
    try:
        whole = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"{path}: the tasks cannot be read as UTF-8 text: {error}") from error
    for number, line in enumerate(whole.split("\n"), start=1):  # not splitlines: JSON may hold U+2028
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            kind, query, gold = raw.get("answer", "text"), raw["query"], str(raw["gold"])
            name = str(raw.get("id") or sha256(str(query).encode()).hexdigest()[:12])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            text = f'{path}, line {number}: expected {{"query": ..., "gold": ...}}: {error}'
            raise BadQuery(text) from error
        if kind not in KINDS:
            raise BadQuery(f"{path}, line {number}: answer={kind!r}: expected one of {', '.join(KINDS)}")
        contract = Contract(kind, tuple(map(str, raw.get("choices", ()))))
        reading = contract.read(gold)
        if reading is None:
            raise BadQuery(f"{path}, line {number}: the gold {gold!r:.60} cannot be read as {kind}")
        if name in found:
            raise BadQuery(f"{path}, line {number}: the task {name!r} is there twice")
        found[name] = Question(Task((Message("user", str(query)),), contract, label=name), reading.key)
    if not found:
        raise BadQuery(f"{path} has no tasks: expected JSON lines with query and gold")
    return found


def split(names: Sequence[str], held: float) -> tuple[list[str], list[str]]:
    """Training and held-out tasks, `held` of them (a share), by a hash of their names."""
    ranked = sorted(names, key=lambda name: sha256(f"held-out\x1f{name}".encode()).digest())
    count = round(held * len(ranked))
    return ranked[count:], ranked[:count]


@dataclass(slots=True)
class Live:
    """Scores workflows by running them on an open engine. `purse`: what may be spent in all, judging included.
    `width`: questions at once. The same question gets the same seed each time, so that workflows share its luck."""

    engine: Engine
    portal: BlockingPortal
    tasks: Mapping[str, Question]
    purse: Purse
    worth: float
    width: int = 4
    floor: int = field(init=False, default=0)
    heard: bool = field(init=False, default=False)

    @property
    def spent(self) -> float:
        """Dollars paid so far."""
        return self.purse.posted[0] / NANO

    def keep(self, usd: float) -> bool:
        """Leaves so many dollars untouched; whether there is more than that."""
        self.floor = round(usd * NANO)
        return self.purse.room()[0] > self.floor

    def score(self, flow: Workflow, questions: Sequence[str]) -> list[Figure]:
        """Raises `Spent` where what `keep` leaves, or the whole budget, is reached before all are done."""
        found: list[Figure] = self.portal.call(self._score, flow, tuple(questions))
        return found

    def ask(self, prompt: str, model: str, params: Params) -> str:
        """One reply, paid from the same purse. Raises `Spent`, or what the engine does."""
        return str(self.portal.call(self._ask, prompt, model, params))

    async def _score(self, flow: Workflow, questions: tuple[str, ...]) -> list[Figure]:
        found: dict[str, Figure] = {}
        limit = anyio.CapacityLimiter(self.width)
        over: list[Exception] = []

        async def one(name: str) -> None:
            async with limit:
                if over:
                    return
                try:
                    found[name] = await self._one(flow, name)
                except Exception as error:  # raised outside the group, which would wrap it
                    over.append(error)

        async with anyio.create_task_group() as group:
            for name in questions:
                group.start_soon(one, name)
        if over:
            raise over[0]
        return [found[name] for name in questions]

    async def _one(self, flow: Workflow, name: str) -> Figure:
        if self.purse.room()[0] <= self.floor:
            raise Spent
        asked = self.tasks[name]
        own = Purse((UNLIMITED, UNLIMITED, UNLIMITED), self.purse)
        seed = int.from_bytes(sha256(name.encode()).digest()[:4], "big") % SEED
        budget = Budget(usd=max(self.purse.room()[0], 1) / NANO, worth=self.worth)
        try:
            solution = await self.engine.solve(
                asked.task, budget=budget, strategy=flow, seed=seed, purse=own, store=False, explore=False
            )
        except BudgetError as error:
            raise Spent from error
        except NoAnswer:
            if not self.heard:  # a model that is down says nothing of a workflow
                raise
            return Figure(0.0, own.posted[0] / NANO, 0.0)
        if solution.stop_reason.startswith("budget_"):
            raise Spent
        self.heard, best = True, solution.best
        right = best is not None and solution.answer is not None and best.key == asked.gold
        return Figure(float(right), own.posted[0] / NANO, float(solution.answer is not None))

    async def _ask(self, prompt: str, model: str, params: Params) -> str:
        if self.purse.room()[0] <= self.floor:
            raise Spent
        try:
            solution = await self.engine.solve(
                prompt, budget=Budget(usd=max(self.purse.room()[0], 1) / NANO), models=[model],
                strategy=SingleShot(model=model, params=params), purse=self.purse, store=False, explore=False,
            )  # fmt: skip
        except BudgetError as error:
            raise Spent from error
        except NoAnswer as error:
            raise CallerError(f"{model} gave no reply: {error}") from error
        return solution.best.text if solution.best is not None else ""


@contextmanager
def live(
    tasks: Mapping[str, Question],
    models: Sequence[str],
    *,
    budget: float,
    worth: float,
    width: int = 4,
    settings: Any = None,
    engine: Engine | None = None,
    spent: float = 0.0,
) -> Iterator[Live]:
    """An open engine with `models`, to score on; at most `budget` dollars less what was `spent` before are paid, by a
    hard cap. Leaving it stops whatever is under way. Raises `CallerError` where nothing is left."""
    left = round(budget * NANO) - round(spent * NANO)
    if left <= 0:
        raise CallerError(
            f"${spent:.6g} of the budget of ${budget:.6g} were spent before: nothing is left to search with"
        )
    own = engine or Engine(list(models) or None, settings=settings, journal=False)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(own):
        yield Live(own, portal, tasks, Purse((left, UNLIMITED, UNLIMITED)), worth, width)
