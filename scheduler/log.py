"""What a journal says of each place of a run: the reply, what was spent there, and what was lost in flight."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.amounts import ZERO, Amounts
from ..core.errors import JournalMismatch
from .journal import Row
from .nodes import Path
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
    lost: bool = False
    attempts: int = 0


class Log:
    """Rows by place. A call without a reply was in flight when the process died: its hold counts as spent."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._entries: dict[Path, Entry] = {}
        self.elapsed = max((row.at for row in rows), default=0.0)
        self.total = ZERO
        resolved = {(row.path, row.attempt) for row in rows if row.kind == "reply"}
        for row in sorted(rows, key=lambda r: (r.path, r.attempt, r.kind)):
            self._take(row, (row.path, row.attempt) in resolved)

    def _take(self, row: Row, resolved: bool) -> None:
        entry = self._entries.setdefault(decode(row.path), Entry(row.fingerprint, row.effect))
        if row.effect == "frame" and row.kind == "intent":
            entry.carve = json.loads(row.payload)
            return
        entry.attempts = max(entry.attempts, row.attempt + 1)
        if row.kind == "reply" or not resolved:
            spent = Amounts(row.nanos, row.tokens, row.calls)
            entry.spent += spent
            self.total += spent
        if row.kind == "intent":
            entry.lost = not resolved
            return
        data = json.loads(row.payload)
        final = not (data.get("retry") or data.get("cancelled"))
        entry.reply, entry.payload = data if final else None, row.payload

    def at(self, path: Path, effect: str = "", fingerprint: str = "") -> Entry | None:
        """What is journaled at `path`. Raises `JournalMismatch` where another request stands there."""
        entry = self._entries.get(path)
        if entry is None or not effect:
            return entry
        if entry.effect != effect or (fingerprint and entry.fingerprint != fingerprint):
            raise JournalMismatch(
                f"the journal has another {entry.effect} where this plan asks for a {effect} (step {path}): the plan, "
                "a prompt, a model or the policy has changed since. Solve again with a new run id; what the old run "
                "paid for is listed by `satisfice runs show`.",
                path=list(path),
            )
        return entry
