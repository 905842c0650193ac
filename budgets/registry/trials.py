"""What came of requests while two policies served side by side: the outcomes of a canary and of production, and what
shadows would have said. Kept in the registry's file, so that all engines of a host add to the same figures."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from . import sql
from .registry import Registry
from .versions import Standing


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request of a trial was worth: `value` is its net utility, scaled to 0 (the worst that can be) to 1 (the
    best); `arm` is "canary" or "production". `key`: by what the request stuck to its policy, as all requests with it
    did; "" for a request that stands alone."""

    run: str
    arm: str
    value: float
    key: str = ""


def put_outcome(registry: Registry, standing: Standing, outcome: Outcome) -> bool:
    """Keeps an outcome of the trial that is under way, once for each run: a word that is revised later does not change
    what a sequential test has seen. False where it was known, or where the trial is another by now. Raises
    `StoreError`."""

    def work(db: sqlite3.Connection) -> bool:
        now = sql.standing(db, standing.channel)
        if now.trial != standing.trial or not now.trial:
            return False
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        which = (standing.channel, standing.trial, outcome.run)
        if db.execute("SELECT 1 FROM outcomes WHERE channel = ? AND trial = ? AND run = ?", which).fetchone():
            return False
        insert = "INSERT INTO outcomes (channel, trial, run, arm, value, key, at) VALUES (?, ?, ?, ?, ?, ?, ?)"
        db.execute(insert, (*which, outcome.arm, outcome.value, outcome.key, at))
        return True

    return registry.writing(work)


def outcomes(registry: Registry, standing: Standing, after: int = 0) -> list[tuple[int, Outcome]]:
    """The outcomes of the trial with their numbers, those above `after`, in the order in which they came."""
    if not standing.trial:
        return []
    select = "SELECT id, run, arm, value, key FROM outcomes WHERE channel = ? AND trial = ? AND id > ? ORDER BY id"
    values = (standing.channel, standing.trial, after)
    return registry.reading(lambda db: [(row[0], Outcome(*row[1:])) for row in db.execute(select, values)])


def count_shadows(registry: Registry, channel: str, version: str, against: str, more: Mapping[str, int]) -> None:
    """Adds to what is counted of a shadow beside the version that served."""

    def work(db: sqlite3.Connection) -> None:
        db.executemany(
            "INSERT INTO shadows (channel, version, against, what, amount) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (channel, version, against, what) DO UPDATE SET amount = amount + excluded.amount",
            [(channel, version, against, what, amount) for what, amount in more.items() if amount],
        )

    registry.writing(work)


def shadows(registry: Registry, version: str) -> dict[tuple[str, str], dict[str, int]]:
    """What was counted of a shadow: by (channel, the version that served) the amounts by name."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    if not registry.path.exists():
        return found
    select = "SELECT channel, against, what, amount FROM shadows WHERE version = ?"
    rows = registry.reading(lambda db: db.execute(select, (version,)).fetchall())
    for channel, against, what, amount in rows:
        found.setdefault((channel, against), {})[what] = amount
    return found
