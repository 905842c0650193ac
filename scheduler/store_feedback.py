"""The journal's tables of feedback and exploration. Every function runs inside a transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from operator import attrgetter

from ..core.errors import CallerError


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody said of one run's answer. `correct` is 0 to 1. `observed`: JSON, what it tells of the arms (see
    `scheduler.feedback`). `policy`: a mark of the policy that the run was decided by. `confidence`: P(right) as the run
    had it. `revises`: the id of the word that this one replaces; every word stays on record."""

    run: str
    correct: float
    by: str
    note: str
    created: str  # UTC, ISO 8601
    account: str
    policy: str
    strategy: str
    confidence: float | None
    observed: str
    revises: int | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class Explored:
    """What exploring has cost, over all runs that were counted: nano-dollars that these spent, nano-dollars of value
    that was given up as predicted, the runs, and how many of them explored."""

    spent: int = 0
    regret: int = 0
    runs: int = 0
    explored: int = 0


_FIELDS = (
    *("run", "correct", "by", "note", "created", "account", "policy", "strategy", "confidence", "observed"),
    *("revises", "id"),
)
_NAMES = ", ".join(f'"{name}"' for name in _FIELDS)
_INSERTED = _NAMES.removesuffix(', "id"')
_SELECT = f"SELECT {_NAMES} FROM feedback"
_AMOUNTS = attrgetter("spent", "regret", "runs", "explored")

MIGRATION = (
    """CREATE TABLE feedback (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL,
        correct REAL NOT NULL CHECK (correct BETWEEN 0 AND 1),
        "by" TEXT NOT NULL,
        note TEXT NOT NULL,
        created TEXT NOT NULL,
        account TEXT NOT NULL,
        policy TEXT NOT NULL,
        strategy TEXT NOT NULL,
        confidence REAL,
        observed TEXT NOT NULL,
        revises INTEGER UNIQUE REFERENCES feedback (id)
    )""",
    "CREATE INDEX feedback_run ON feedback (run)",
    "CREATE UNIQUE INDEX feedback_first ON feedback (run) WHERE revises IS NULL",
    """CREATE TABLE exploration (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        spent INTEGER NOT NULL,
        regret INTEGER NOT NULL,
        runs INTEGER NOT NULL,
        explored INTEGER NOT NULL
    )""",
    "INSERT INTO exploration VALUES (1, 0, 0, 0, 0)",
    "INSERT INTO meta VALUES (2)",
)


def give(connection: sqlite3.Connection, given: Given, revise: bool) -> tuple[Given, bool]:
    """The word that stands for the run, and whether it is new. The same word again changes nothing. Raises
    `CallerError` for another one, unless it is to `revise`."""
    old = latest(connection, given.run)
    if old is not None and old.correct == given.correct:
        return old, False
    if old is not None and not revise:
        who = f" by {old.by}" if old.by else ""
        text = f"run {given.run} was said to be {said(old.correct)} ({old.created[:19]}Z{who})"
        raise CallerError(
            f"{text}, and now {said(given.correct)}: if that was wrong, pass revise=True (--revise)",
            run=given.run,
            correct=old.correct,
        )
    given = replace(given, revises=old.id if old is not None else None)
    values = [getattr(given, name) for name in _FIELDS[:-1]]
    marks = ", ".join("?" * len(values))
    cursor = connection.execute(f"INSERT INTO feedback ({_INSERTED}) VALUES ({marks})", values)
    return replace(given, id=cursor.lastrowid or 0), True


def latest(connection: sqlite3.Connection, run: str) -> Given | None:
    """The word that stands for a run."""
    found = connection.execute(f"{_SELECT} WHERE run = ? ORDER BY id DESC LIMIT 1", (run,)).fetchone()
    return Given(*found) if found is not None else None


def trail(connection: sqlite3.Connection, run: str) -> list[Given]:
    """All that was ever said of a run, oldest first."""
    return [Given(*values) for values in connection.execute(f"{_SELECT} WHERE run = ? ORDER BY id", (run,))]


def given(connection: sqlite3.Connection, after: int = 0, limit: int = 20_000) -> list[Given]:
    """Words with an id above `after`, the newest `limit` of them, in the order in which they were said."""
    found = connection.execute(f"{_SELECT} WHERE id > ? ORDER BY id DESC LIMIT ?", (after, limit))
    return [Given(*values) for values in found][::-1]


def explored(connection: sqlite3.Connection) -> Explored:
    """What exploring has cost so far."""
    return Explored(*connection.execute("SELECT spent, regret, runs, explored FROM exploration").fetchone())


def count(connection: sqlite3.Connection, more: Explored) -> None:
    """Adds to what exploring has cost."""
    connection.execute(
        "UPDATE exploration SET spent = spent + ?, regret = regret + ?, runs = runs + ?, explored = explored + ?",
        _AMOUNTS(more),
    )


def overheads(connection: sqlite3.Connection, since: str = "") -> list[tuple[str, str, float, float, int, int]]:
    """Of each closed run since then, oldest first: id, strategy, our own seconds, seconds in all, calls, decisions."""
    found = connection.execute(
        "SELECT id, strategy, json_extract(result, '$.spend.overhead'), json_extract(result, '$.spend.seconds'), "
        "json_extract(result, '$.spend.calls'), coalesce(json_array_length(result, '$.decisions'), 0) FROM runs "
        "WHERE created >= ? AND result IS NOT NULL AND json_extract(result, '$.spend.overhead') IS NOT NULL "
        "ORDER BY created, rowid",
        (since,),
    )
    return list(found)


def said(correct: float) -> str:
    """ "right", "wrong", or how far right."""
    return "right" if correct == 1 else "wrong" if correct == 0 else f"{correct:g} right"
