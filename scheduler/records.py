"""Small readings of a run's record: what it asks, what went wrong, where it is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import (
    BudgetError,
    CallerError,
    GatherFailed,
    Killed,
    MissingKey,
    NoAnswer,
    SatisficeError,
    StoreError,
)
from ..models.settings import Settings
from . import codec
from .journal import Row, RunRecord
from .run import Run
from .solution import Solution


def unanswered(rows: Sequence[Row]) -> Row | None:
    """The intent row of the first question that is open: at its place, nothing came of the last attempt."""
    last: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: (r.path, r.attempt, r.kind)):
        last[row.path] = row
    return next((r for r in last.values() if r.kind == "intent" and json.loads(r.payload).get("ask")), None)


def reply_row(record: RunRecord, rows: Sequence[Row], text: str) -> Row:
    """The row of a person's answer to the question that a run waits for. Raises `CallerError`."""
    asked = unanswered(rows)
    if asked is None:
        raise CallerError(f"run {record.id} asks nothing (status: {record.status})")
    question = json.loads(asked.payload)
    if question.get("options") and text not in question["options"]:
        raise CallerError(f"{text!r} is none of the options: {', '.join(question['options'])}", **question)
    value = codec.loosely(text) if asked.effect == "calltool" else text
    where, mark = (record.id, asked.path, asked.attempt), asked.fingerprint
    return Row(*where, "reply", asked.effect, mark, json.dumps({"value": value}), 0, 0, 0, asked.at)


def fault_of(run: Run, reason: str) -> SatisficeError:
    """The error of a run with nothing to show: the caller's own fault and the ledger's as they are, anything else as a
    NoAnswer."""
    error = run.error
    while isinstance(error, GatherFailed) and error.errors:
        error = error.errors[0]
    if isinstance(error, CallerError | BudgetError | Killed | MissingKey | StoreError):
        run.error = error
        return error
    if error is None:
        return NoAnswer(f"the run stopped ({reason}) before it had an answer", run_id=run.id, stop_reason=reason)
    text = f"{type(error).__name__}: {error}"
    cause = error.to_dict() if isinstance(error, SatisficeError) else {"code": "bug", "message": text}
    return NoAnswer(f"no answer. {text}", run_id=run.id, stop_reason=reason, cause=cause)


def result_of(solution: Solution | None, error: BaseException | None) -> str:
    """What a closed run keeps of its end, as JSON."""
    result = solution.to_dict() if solution else {}
    if error is not None:
        bug = {"code": "bug", "message": repr(error)}
        result["error"] = error.to_dict() if isinstance(error, SatisficeError) else bug
    return json.dumps(result)


def scopes_of(run_id: str, scope: tuple[str, ...]) -> dict[str, str]:
    """The keys of a run's memory. A tenant's name may hold whatever divides it from the session's."""
    tenant, session = ([*scope, "", ""])[:2]
    apart = f"{len(tenant)}:{tenant}/{session}"
    return {"run": f"run:{run_id}", "session": f"session:{apart}", "tenant": f"tenant:{tenant}"}


def journal_place(journal: bool | str | Path | None, settings: Settings) -> Path | None:
    if journal is False:
        return None
    if journal is None or journal is True:
        return Path(settings.home) / "runs.db"
    return Path(os.fspath(journal))
