"""One run of an engine from its spec to its solution: its purse, its world, its end."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Literal

import anyio

from ..budgets.policy import Policy
from ..budgets.purse import Purse
from ..core.errors import JournalMismatch, NoAnswer
from ..core.task import Task
from .decisions import Economics
from .events import Started
from .live import Live
from .log import Log
from .records import scopes_of
from .run import Run
from .solution import Solution, Spend, solution_of, spend_of
from .spec import Spec, plan_of
from .tariff import PriceList
from .world import OnEvent, World, emit

if TYPE_CHECKING:
    from .engine import Engine
    from .serving.served import Served

OnCancel = Literal["raise", "best"]
DRAWS = 1 << 20  # equal samples that one run may draw


async def drive(
    engine: Engine,
    run_id: str,
    spec: Spec,
    served: Served,
    tariff: PriceList,
    log: Log | None,
    on_event: OnEvent | None,
    on_cancel: OnCancel,
    shared: Purse | None = None,
) -> Solution:
    """Drives one run of the engine to its end, and closes it. `log`: what an earlier process journaled of it; `shared`:
    a
    purse above its own. Raises what the run ended with where it has nothing to show."""
    began, policy = perf_counter(), served.policy
    account = engine.accounts.of(spec.account, run_id, tariff, shared)
    purse = Purse.of(spec.budget, account.headroom if account else shared)
    task = spec.task
    try:
        plan = plan_of(spec.strategy, task)
        run = Run(
            plan,
            purse=purse,
            economics=Economics(spec.budget, policy, tariff, spec.shadow, spec.widen, spec.shifts),
            name=spec.name,
            id=run_id,
            seed=spec.seed,
            log=log,
            journaled=engine.keeps(spec.store),
        )
        run.drawn_from = first_draw(task)
    except BaseException as error:
        await engine.closing_of(spec).close(run_id, "failed", None, log.total.nanos if log else 0, error)
        raise
    world = World(
        engine.catalog.model,
        tariff,
        engine.tools,
        engine.journal if engine.keeps(spec.store) else None,
        engine.memory,
        scopes_of(run_id, task.scope),
        engine.on_ask,
        on_event,
        engine.dispatcher.desk(spec.account, spec.name, spec.store),
        account,
    )
    if on_event is not None:
        emit(on_event, Started(run_id, spec.name, spec.models, log is not None))
    try:
        solution = await _perform(engine, run, world, spec, policy, began, on_event, on_cancel)
        engine.dispatcher.keep(spec, solution)
        return solution
    except NoAnswer as error:
        spent = spend_of(run, perf_counter() - began, 0.0)
        return engine.dispatcher.degrade(spec, run_id, spent, error)
    finally:
        # What later requests of this engine need of this one. A resumed run was heard before.
        engine.habits.learn(tariff)
        served.watches.learn(run.verdicts.told if run.log is None else ())
        if run.log is None:
            journal = engine.journal if engine.keeps(spec.store) else None
            served.learner.ended(run.decisions, spec.shifts, run.root.purse.posted[0], _wrong(run), journal)


def first_draw(task: Task) -> int:
    """The number of a run's first draw. The candidates that its task brings are replies of other runs, which counted
    from their own numbers (`scheduler.many` goes on with a query so): none of these may be taken from the cache once
    more, and count as another vote. Failed draws left no candidate, so candidates cannot be counted."""
    return DRAWS * len({one.path.rpartition(":")[0] for one in task.known})


def _wrong(run: Run) -> float:
    return run.root.terms.wrong if run.root.terms is not None else 0.0


async def _perform(
    engine: Engine,
    run: Run,
    world: World,
    spec: Spec,
    policy: Policy,
    began: float,
    on_event: OnEvent | None,
    on_cancel: OnCancel,
) -> Solution:
    run_id, task, purse = run.id, spec.task, run.root.purse
    live, earlier, closing = Live(run, world), run.books.now, engine.closing_of(spec)

    def spend() -> Spend:
        return spend_of(run, earlier + perf_counter() - began, earlier + live.busy)

    try:
        await live.drive()
    except anyio.get_cancelled_exc_class() as error:
        solution = solution_of(run, task, policy.name, spend()) if run.outcome else None
        await closing.close(run_id, "cancelled", solution, purse.posted[0], error)
        if on_cancel == "best" and solution is not None and solution.answer is not None:
            return solution
        raise
    except BaseException as error:
        if run.outcome is None:
            run.stop("fault", run.books.now)
        due = run.take()
        if world.account is not None:
            world.account.settle(due.resolved)
        # What another plan asked for is not on this run's record: the old one may still go on with it.
        rows = [] if isinstance(error, JournalMismatch) else due.rows
        await closing.close(run_id, "failed", None, purse.posted[0], error, rows)
        raise
    if run.outcome is None:
        return await closing.wait(run, policy, spend())
    return await closing.finish(run, spec, policy, spend(), on_event)
