"""The recorder: asks what a plan names through an engine, and adds what came to a bank.

The journal beside the bank (`BANK.recording/runs.db`) has each reply before anything is made of it. A recording that
was interrupted, or killed, goes on from there: runs that are over are read, those that were under way are resumed, and
nothing is asked twice. A run there is known by what was asked of whom, not by names alone.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import anyio

from ...budgets.budget import Budget
from ...budgets.policy import Policy
from ...core.amounts import dollars
from ...core.errors import BudgetError, CallerError, NoAnswer, SatisficeError
from ...core.task import Task
from ...core.verdict import Verifier, name_of
from ...models.settings import Settings
from ...scheduler.engine import Engine
from ...scheduler.journal import Row, RunRecord
from ...strategies.registry import strategy_of
from ...verifiers.registry import verifier_of
from ..bank import Question, Scored
from ..banking.appending import Appender
from .asked import Asked
from .conditions import Condition
from .drawing import Draws
from .harvesting import OPEN, Drawn, draws_of, is_over, lost_of, replies, run_of, was_refused
from .judging import Judging, free_of, judge_all, score_of
from .naming import facts_of, identity, install, params_of
from .units import Plan, Unit, asked_as, task_of

TENANT = "record"  # of the scope that says which unit a run in the journal is
EVERY = 64  # units between two flushes: until then they are safe in the journal
SECONDS = 60.0  # or so long


@dataclass(slots=True)
class Progress:
    """How far a recording is: units done of all, those that were there already, dollars spent now, and what failed."""

    total: int = 0
    done: int = 0
    kept: int = 0
    nanos: int = 0
    failed: list[str] = field(default_factory=list)
    stopped: str = ""

    @property
    def usd(self) -> float:
        return dollars(self.nanos)


Tell = Callable[[Progress], None]


@dataclass(slots=True)
class Recorder:
    """Records `plan` on the questions of `asked` into the bank at `folder`. `settings` and `targets` (the model behind
    each name, where that is another one) say what the models are; `usd` is a hard cap on what this call of `record`
    spends; each run of a strategy makes `calls` calls at the most. `at_once`: units under way together (1: the recorded
    latency is that of a machine that does nothing else)."""

    folder: Path
    asked: Asked
    plan: Plan
    settings: Settings
    targets: Mapping[str, str] = field(default_factory=dict)
    usd: float | None = None
    calls: int = 64
    at_once: int = 1
    manifest: Mapping[str, Any] = field(default_factory=dict)
    tell: Tell | None = None
    prepare: Callable[[Engine], None] | None = None  # registers models of your own
    progress: Progress = field(default_factory=Progress)

    @property
    def journal(self) -> Path:
        return self.folder.with_name(self.folder.name + ".recording") / "runs.db"

    async def record(self) -> Progress:
        """Records what is not on record yet. A cap that was reached, and calls that failed, end it early or leave
        gaps, and are told; what was paid for is in the bank. Raises `CallerError`, `StoreError`."""
        check(self.plan)
        async with self.engine() as engine:
            changes = {**facts_of(engine, self.plan, self.asked, self.calls), **self.manifest}
            with Appender(self.folder, changes) as bank:
                bank.check(self.asked.questions)
                try:
                    await _Session(self, engine, bank).perform()
                finally:
                    bank.flush()
        return self.progress

    def engine(self) -> Engine:
        """The engine that asks: without a cache, and on the declared policy, so that a recording depends on nothing
        that was learnt before."""
        plain = self.settings.dispatch.model_copy(update={"cache": False, "stale": False})
        settings = self.settings.model_copy(update={"dispatch": plain, "journal": None, "prompts": {}})
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        limit = Budget(usd=self.usd) if self.usd is not None else None
        engine = Engine(self.plan.models, settings=settings, policy=Policy(), journal=self.journal, limit=limit)
        if self.prepare is not None:
            self.prepare(engine)
        install(engine, self.targets)
        return engine


def check(plan: Plan) -> None:
    """Raises `CallerError` for what cannot be recorded, before anything is."""
    made = [strategy_of(text) for text in plan.strategies]
    for spec in plan.verifiers:
        verifier_of(spec)
    if made and len(plan.models) > 1:
        raise CallerError(
            "strategies are recorded with one model: record each model's into the bank by a command of its own"
        )
    arms = [condition.arm for condition in plan.conditions]
    if twice := {arm for arm in arms if arms.count(arm) > 1}:
        raise CallerError(f"two conditions are called {min(twice)!r}: record each by a command of its own, with --arm")
    if not plan.models or not (plan.strategies or (plan.conditions and plan.samples)):
        raise CallerError("nothing to record: name a model, and draws or strategies")


def shortened(asked: Asked, first: int | None) -> Asked:
    """Only the first so many questions. Raises `CallerError`."""
    if first is None:
        return asked
    if first < 1:
        raise CallerError(f"--first {first}: expected 1 or more")
    return replace(asked, questions=asked.questions[:first])


@dataclass(slots=True)
class _Session:
    """One opened engine and bank."""

    recorder: Recorder
    engine: Engine
    bank: Appender
    runs: dict[str, RunRecord] = field(default_factory=dict)
    drawn: dict[tuple[str, str, str], list[Drawn]] = field(default_factory=dict)
    flushed: float = field(default_factory=monotonic)
    waiting: int = 0

    async def perform(self) -> None:
        recorder, plan = self.recorder, self.recorder.plan
        self.runs = await self._journaled()
        conditions = {c.arm: c for c in plan.conditions}
        questions = {q.id: q for q in recorder.asked.questions}
        free, paid = free_of(plan.verifiers), Judging.of(plan)
        units = [self._top_up(unit) for unit in plan.units(recorder.asked.questions)]
        todo = [unit for unit in units if unit is not None]
        progress = recorder.progress
        progress.total, progress.kept = len(units), len(units) - len(todo)
        progress.done = progress.kept
        limiter, faults = anyio.Semaphore(recorder.at_once), list[SatisficeError]()
        async with anyio.create_task_group() as tasks:

            async def one(unit: Unit) -> None:
                try:
                    if not progress.stopped:
                        await self._unit(unit, questions[unit.question], conditions.get(unit.arm), free)
                except SatisficeError as error:  # of the caller's, or of a store: every other unit would meet it
                    faults.append(error)
                    progress.stopped = str(error)
                finally:
                    limiter.release()

            for unit in todo:
                await limiter.acquire()
                if progress.stopped:
                    limiter.release()
                    break
                tasks.start_soon(one, unit)
        if faults:
            raise faults[0]
        if paid.verifiers and not progress.stopped:
            await judge_all(paid, self)

    def _top_up(self, unit: Unit) -> Unit | None:
        """The unit as far as the bank does not have it: None where it has it all."""
        known = self.bank.known()
        if unit.kind == "run":
            return None if (unit.question, unit.arm, unit.run) in known.runs else unit
        place = (unit.question, unit.model, unit.arm)
        have = 0
        while (*place, have) in known.draws:
            have += 1
        return Unit("draws", *place, have) if have < self.recorder.plan.samples else None

    async def _journaled(self) -> dict[str, RunRecord]:
        """The runs of this journal by the key of what they record, the newest first."""
        found: dict[str, RunRecord] = {}
        for record in await self.engine.journal.runs(1 << 40):
            scope = json.loads(record.spec)["scope"]
            if len(scope) == 2 and scope[0] == TENANT:
                found.setdefault(scope[1], record)
        return found

    async def _unit(
        self, unit: Unit, question: Question, condition: Condition | None, free: tuple[Verifier, ...]
    ) -> None:
        progress = self.recorder.progress
        try:
            task, key = self._asked(unit, question, condition)
            record, rows = await self.recorded(key, lambda: self._solve(unit, task, condition))
        except BudgetError as error:
            progress.stopped = str(error)
            return
        except CallerError:
            raise
        except SatisficeError as error:
            progress.failed.append(f"{unit.question} {unit.arm}: {error}")
            self._done()
            return
        right = lambda candidate: self.recorder.asked.right(question, candidate)  # noqa: E731
        if unit.kind == "run":
            if not is_over(record):
                progress.stopped = f"the budget of {self.recorder.usd} dollars is spent"
                return
            self.bank.add(question, runs=[run_of(unit, record, rows, right)])
        else:
            drawn = draws_of(unit, rows, right, self.engine.catalog.entry(unit.model).price)
            self._add_draws(unit, question, drawn, free)
            if lost := lost_of(rows):
                progress.failed.append(f"{unit.question} {unit.arm}: {len(lost)} draws: {lost[0]}")
            if was_refused(rows):
                progress.stopped = f"the budget of {self.recorder.usd} dollars is spent"
                return
            # What the journal had may have been fewer draws than are wanted by now.
            if not lost and (more := self._top_up(unit)) is not None and more.run > unit.run:
                await self._unit(more, question, condition, free)
                return
        self._done()

    def _add_draws(self, unit: Unit, question: Question, drawn: list[Drawn], free: tuple[Verifier, ...]) -> None:
        task = question.task()
        said: dict[tuple[str, str, int], dict[str, Scored]] = {}
        for one in drawn:
            told = {name_of(v): score_of(v, task, one.candidate) for v in free}
            said[unit.model, unit.arm, one.draw.sample_index] = {n: Scored(score, 0, 0) for n, score in told.items()}
        where = {(unit.model, unit.arm): [one.draw for one in drawn]}
        self.bank.add(question, draws=where, verdicts=said if free else {})

    def _asked(self, unit: Unit, question: Question, condition: Condition | None) -> tuple[Task, str]:
        """The task as it is asked, and its name in the journal."""
        recorder, plan = self.recorder, self.recorder.plan
        if condition is None:  # a strategy may name the other models of the plan
            task, how = task_of(question, plan.prompts), [*self.identities(plan.models), recorder.calls]
        else:
            task = task_of(question, condition.prompts, condition.prefill)
            how = [*self.identities([unit.model]), params_of(condition)]
        key = asked_as(unit.key, task, *how)
        return replace(task, scope=(TENANT, key)), key

    def identities(self, names: Iterable[str]) -> list[Any]:
        """What the models behind these names are."""
        targets = self.recorder.targets
        return [[name, *identity(self.engine, name, targets.get(name, name))] for name in sorted(names)]

    def _solve(self, unit: Unit, task: Task, condition: Condition | None) -> Any:
        recorder, plan = self.recorder, self.recorder.plan
        told: dict[str, Any] = {"models": unit.model, "seed": unit.seed, "explore": False}
        if condition is None:
            budget = Budget(calls=recorder.calls, worth=inf)
            # Allowed to ask the other models of the plan too: a strategy may name them.
            told["models"] = (unit.model, *(m for m in plan.models if m != unit.model))
            return self.engine.solve(task, budget=budget, strategy=unit.arm, **told)
        count = plan.samples - unit.run
        draws = Draws(count, condition.params())
        return self.engine.solve(task, budget=Budget(calls=2 * count, worth=inf), strategy=draws, **told)

    async def recorded(self, key: str, solve: Callable[[], Any]) -> tuple[RunRecord, list[Row]]:
        """The run that records this, with its rows: one that is over, else one that is resumed, else a new one."""
        journal, known = self.engine.journal, self.runs.get(key)
        if known is not None and is_over(known):
            record, rows = await journal.load(known.id)
            if any(one.effect == "sample" and "text" in data for one, data in replies(rows)):
                return record, rows
            known = None  # it came to nothing: once more
        going = known is not None and known.status in OPEN
        run_id = await _ended(self.engine.resume(known.id) if going and known is not None else solve())
        record, rows = await journal.load(run_id)
        before = known.spent_nanos if going and known is not None else 0
        self.recorder.progress.nanos += max(0, record.spent_nanos - before)
        return record, rows

    def _done(self) -> None:
        progress = self.recorder.progress
        progress.done += 1
        self.tick()

    def tick(self) -> None:
        """Flushes now and then, and tells how far it is."""
        self.waiting += 1
        if self.waiting >= EVERY or monotonic() - self.flushed > SECONDS:
            self.bank.flush()
            self.waiting, self.flushed = 0, monotonic()
        if self.recorder.tell is not None:
            self.recorder.tell(self.recorder.progress)


async def _ended(work: Awaitable[Any]) -> str:
    """The id of a run that came to its end, with or without an answer."""
    try:
        return str((await work).run_id)
    except NoAnswer as error:
        if run_id := error.details.get("run_id"):
            return str(run_id)
        raise
