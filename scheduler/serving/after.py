"""What is done with a request that is over: its outcome in a canary's trial, and what a shadow would have said."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from ...budgets.registry.trials import Outcome, count_shadows
from ...budgets.registry.versions import Standing
from .following import logger
from .served import Served, Serving
from .trial import arm_of, name_in, utility

if TYPE_CHECKING:
    from ..engine import Engine
    from ..journal import RunRecord
    from ..solution import Solution
    from ..spec import Spec


def ended(engine: Engine, spec: Spec, served: Served, solution: Solution, named: bool) -> Solution:
    """Takes note of a finished request, without waiting for anything; `named`: the caller chose its strategy. The
    solution says where the registry cannot be read."""
    serving = engine.serving
    if serving.follower is None:
        return solution
    standing = serving.follower.standing
    right = _known_right(solution)
    if right is not None:
        _outcome(serving, spec, served, solution.run_id, right, solution)
    if standing.shadow and standing.shadow != served.version and solution.status == "done" and engine.keeps(spec.store):
        serving.background.post(partial(_shadow, engine, spec, served.version, solution, named, standing.shadow))
    if serving.trouble:
        return replace(solution, warnings=(*solution.warnings, serving.trouble))
    return solution


def failed(engine: Engine, spec: Spec, served: Served, run_id: str) -> None:
    """Takes note of a request that ended without anything to show: for a canary's trial that is an outcome, too."""
    if engine.serving.follower is not None:
        _outcome(engine.serving, spec, served, run_id, 0.0, None)


def _outcome(
    serving: Serving, spec: Spec, served: Served, run_id: str, right: float, solution: Solution | None
) -> None:
    """Posts what a request of the trial came to; of one that failed it is not known here what it spent."""
    follower = serving.follower
    standing = follower.standing if follower is not None else None
    if standing is None or not standing.trial:
        return
    spend = solution.spend if solution is not None else None
    began = datetime.now(UTC) - timedelta(seconds=spend.seconds if spend else 0.0)
    arm = arm_of(served.policy.name, began.isoformat(timespec="milliseconds"), standing)
    if arm:
        budget = {"worth": spec.budget.worth, "wrong": spec.budget.wrong, "usd": spec.budget.usd}
        answered = solution is not None and solution.answer is not None
        worth = serving.production.policy.worth
        value = utility(budget, worth, right, answered, spend.nanos if spend else 0)
        serving.background.post(partial(_tell, serving, standing, Outcome(run_id, arm, value, served.key)))


def _tell(serving: Serving, standing: Standing, outcome: Outcome) -> None:
    if serving.trial is not None and serving.trial.tell(standing, outcome):
        logger.warning("the canary %s has stopped itself: it is worse than production", standing.canary)


def _known_right(solution: Solution) -> float | None:
    """Whether exact checks say that the answer is right; None where nobody knows yet."""
    exact = [j.verdict for j in solution.verdicts if j.verdict.exact and j.verdict.score is not None]
    if exact:
        return float(all(verdict.score == 1.0 for verdict in exact))
    return 0.0 if solution.answer is None and solution.stop_reason == "checks_failed" else None


def _shadow(engine: Engine, spec: Spec, against: str, solution: Solution, named: bool, version: str) -> None:
    from ...strategies.registry import recorded_strategy
    from ..preparing import DEFAULT, armed_for
    from ..store_sqlite import connect, load
    from .shadowing import Record, compared

    serving = engine.serving
    follower = serving.follower
    served = serving.shadow(version)
    if follower is None or served is None or serving.trial is None or engine.place is None:
        return
    db = connect(engine.place.expanduser())
    try:
        _, rows = load(db, solution.run_id)
    finally:
        db.close()
    strategy = spec.strategy if named else recorded_strategy(served.policy.strategy or DEFAULT)
    strategy = armed_for(strategy, spec.models, served.policy, spec.task)
    record = Record(rows, spec.models[0] if spec.models else None)
    try:
        more = compared(record, spec, strategy, served.policy, engine._tariff(spec), solution)
    except Exception as error:
        logger.warning("the shadow %s failed on run %s: %s: %s", version, solution.run_id, type(error).__name__, error)
        more = {"requests": 1, "faults": 1}
    count_shadows(serving.trial.registry, follower.channel, version, against, more)


async def judged(serving: Serving, record: RunRecord, right: float) -> None:
    """The word on a run's answer, for the trial that it was part of. What cannot be kept is said in the log: the word
    itself is on record."""
    follower = serving.follower
    if follower is None:
        return
    await serving.refresh()
    standing = follower.standing
    spec = json.loads(record.spec)
    arm = arm_of(name_in(spec.get("policy", "")), record.created, standing)
    if not arm:
        return
    budget: dict[str, Any] = spec.get("budget") or {}
    value = utility(budget, serving.production.policy.worth, right, True, record.spent_nanos)
    outcome = Outcome(record.id, arm, value, str(spec.get("key") or ""))
    try:
        await anyio.to_thread.run_sync(_tell, serving, standing, outcome)
    except Exception as error:  # a row of the file that cannot be read, say
        logger.warning("an outcome of the canary's trial is lost: %s", error)
