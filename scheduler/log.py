"""What a journal says of each place of a run: the reply, what was spent there, and what was lost in flight."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.amounts import ZERO, Amounts
from ..core.errors import JournalMismatch
from .journal import Row
from .nodes import HEDGE, Path
from .paths import decode


@dataclass(slots=True)
class Entry:
    """One place: its last reply row (None: none, or one that says the call is to be tried again), everything posted
    there, and the number of attempts made."""

    fingerprint: str = ""
    effect: str = ""
    reply: dict[str, Any] | None = None
    payload: str = ""
    carve: dict[str, Any] | None = None
    spent: Amounts = ZERO
    lost: bool = False  # some attempt was under way when the process died or was told to stop
    attempts: int = 0


class Log:
    """Rows by place. A call without a reply was in flight when the process died: its hold counts as spent."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._entries: dict[Path, Entry] = {}
        self.elapsed = max((row.at for row in rows), default=0.0)
        self.total = ZERO
        self.posted: list[tuple[str, int, Amounts]] = []  # (path as stored, attempt, what it came to)
        self.unsent: list[tuple[str, int]] = []  # attempts that are on record and came to nothing
        self.known = {(row.path, row.attempt) for row in rows}
        self._under: dict[Path, Amounts] = {}
        resolved = {(row.path, row.attempt) for row in rows if row.kind == "reply"}
        for row in sorted(rows, key=lambda r: (r.path, r.attempt, r.kind)):
            self._take(row, (row.path, row.attempt) in resolved)

    def _take(self, row: Row, resolved: bool) -> None:
        entry = self._entries.setdefault(decode(row.path), Entry(row.fingerprint, row.effect))
        if row.effect == "frame" and row.kind == "intent":
            entry.carve = json.loads(row.payload)
            return
        hedge = row.attempt >= HEDGE
        entry.attempts = max(entry.attempts, row.attempt % HEDGE + 1)
        if row.kind == "reply" or not resolved:
            spent = Amounts(row.nanos, row.tokens, row.calls)
            entry.spent += spent
            self.total += spent
            if spent == ZERO and row.effect == "sample":
                self.unsent.append((row.path, row.attempt))
            if spent != ZERO:
                self.posted.append((row.path, row.attempt, spent))
                path = decode(row.path)
                for i in range(len(path) + 1):
                    self._under[path[:i]] = self._under.get(path[:i], ZERO) + spent
        if row.kind == "intent":
            entry.lost |= not resolved
            return
        data = json.loads(row.payload)
        entry.lost |= bool(data.get("cancelled"))
        if data.get("hedged"):
            return  # its equal replied, or goes on
        final = not (data.get("retry") or data.get("cancelled"))
        if final or not hedge:
            entry.reply, entry.payload = data if final else None, row.payload

    def under(self, path: Path) -> Amounts:
        """Everything posted or lost at `path` and below it."""
        return self._under.get(path, ZERO)

    def at(self, path: Path, effect: str = "", fingerprint: str = "") -> Entry | None:
        """What is journaled at `path`. Raises `JournalMismatch` where another request stands there."""
        entry = self._entries.get(path)
        if entry is None or not effect:
            return entry
        if entry.effect != effect or (fingerprint and entry.fingerprint != fingerprint):
            raise mismatch(path, entry.effect, effect)
        return entry


def mismatch(path: Path, had: str, wants: str) -> JournalMismatch:
    return JournalMismatch(
        f"the journal has another {had} where this plan asks for a {wants} (step {path}): the plan, "
        "a prompt, a model or the policy has changed since. Solve again with a new run id; what the old run "
        "paid for is listed by `satisfice runs show`.",
        path=list(path),
    )
