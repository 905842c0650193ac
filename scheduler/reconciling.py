"""Reconciling: what became of holds that nobody resolved in time.

The journal knows of most of them: a reply says what the call came to; an intent without one says that it may have been
sent, so it counts as spent at its hold; none at all says that it never left. A run that a process is still at is left
alone. Where no journal helps, a person or the provider's own usage export (`usage_files`) says it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..budgets.ledger.figures import Three, amounts_dict
from ..budgets.ledger.ledger import Ledger
from ..budgets.ledger.operations import Done, Hold, Settle, Void
from ..budgets.ledger.stores import Query
from ..core.amounts import ZERO, Amounts
from ..core.completions import Usage
from ..core.errors import SatisficeError, UnknownName
from .journal import Journal, Kind, Row, RunRecord
from .owner import describe, is_alive

Action = Literal["settle", "void", "leave"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be done with a hold, and why. `done`: what came of it once it was carried out: "done", "repeated" (it
    had been done before), or the error's text, then `failed`."""

    hold: str
    account: str
    run: str
    held: Three
    action: Action
    why: str
    operation: Settle | Void | None = None
    done: str = ""
    failed: bool = False

    @property
    def amounts(self) -> Three:
        """What it is settled at: nano-dollars, tokens, calls."""
        if not isinstance(self.operation, Settle):
            return 0, 0, 0
        spent = self.operation.amounts
        return spent.nanos, spent.tokens, spent.calls

    def to_dict(self) -> dict[str, Any]:
        return {
            "hold": self.hold,
            "account": self.account,
            "run": self.run,
            "action": self.action,
            "why": self.why,
            "held": amounts_dict(self.held),
            "spent": amounts_dict(self.amounts) if self.action == "settle" else None,
            "done": self.done,
            "failed": self.failed,
        }


async def unresolved(ledger: Ledger, everything: bool = False) -> list[Hold]:
    """The ambiguous holds; with `everything`, all that are pending."""
    if everything:
        return await ledger.holds(Query(state="pending"))
    return await ledger.holds(Query(ambiguous=ledger.now()))


async def by_journal(holds: Sequence[Hold], journal: Journal | None) -> list[Finding]:
    """What the journal says of each hold. Raises `StoreError`."""
    if journal is None:
        return [_leave(hold, "no journal is configured: say what became of it (--hold, --usage)") for hold in holds]
    findings: list[Finding] = []
    runs: dict[str, list[Hold]] = {}
    for hold in holds:
        runs.setdefault(hold.run, []).append(hold)
    for run, group in runs.items():
        try:
            record, rows = await journal.load(run)
        except UnknownName:
            findings += [_leave(hold, "the journal knows no such run: say what became of it") for hold in group]
            continue
        if (owner := busy(record)) is not None:
            findings += [_leave(hold, f"{owner} is at this run") for hold in group]
            continue
        placed = {(row.path, row.attempt, row.kind): row for row in rows}
        findings += [_of_rows(hold, placed) for hold in group]
    return findings


def busy(record: RunRecord) -> str | None:
    """Who is at the run, so that its calls may be under way; None if nobody is."""
    if record.status != "running" or record.owner is None or not is_alive(record.owner):
        return None
    return describe(record.owner)


def place(hold: Hold) -> tuple[str, int] | None:
    """Path (as stored) and attempt of the call that a hold is for, as its id says; None for an id of another make."""
    head, _, attempt = hold.id.rpartition("/")
    run, slash, path = head.partition("/")
    return (path, int(attempt)) if slash and run == hold.run and attempt.isdecimal() else None


def _of_rows(hold: Hold, rows: dict[tuple[str, int, Kind], Row]) -> Finding:
    where = place(hold)
    if where is None:
        return _leave(hold, "its id names no place in a run: say what became of it")
    reply, intent = rows.get((*where, "reply")), rows.get((*where, "intent"))
    if reply is not None:
        spent = Amounts(reply.nanos, reply.tokens, reply.calls)
        if spent == ZERO:
            return void(hold, "journal", "the journal has its end: nothing was spent")
        return settle(hold, spent, "journal", "the journal has the reply", _usage(reply))
    if intent is not None:
        return settle(hold, Amounts(*hold.held), "journal", "it may have been sent, and no reply is on record")
    return void(hold, "journal", "the journal has no such call: it was never sent")


def settle(hold: Hold, spent: Amounts, by: str, why: str, usage: Usage | None = None) -> Finding:
    """To be posted at `spent`."""
    operation = Settle(hold.id, spent, usage, hold.price, hold.account, hold.run, hold.model, by=f"reconcile: {by}")
    return Finding(hold.id, hold.account, hold.run, hold.held, "settle", why, operation)


def void(hold: Hold, by: str, why: str) -> Finding:
    """To be given back."""
    return Finding(hold.id, hold.account, hold.run, hold.held, "void", why, Void(hold.id, by=f"reconcile: {by}"))


def _leave(hold: Hold, why: str) -> Finding:
    return Finding(hold.id, hold.account, hold.run, hold.held, "leave", why)


def _usage(reply: Row) -> Usage | None:
    """Prompt and completion tokens, where the reply says how many of its tokens were completion."""
    try:
        completion = json.loads(reply.payload).get("tokens")
    except (ValueError, AttributeError):
        return None
    if not isinstance(completion, int) or not 0 <= completion <= reply.tokens:
        return None
    return Usage(reply.tokens - completion, completion)


async def carry_out(ledger: Ledger, findings: Sequence[Finding]) -> list[Finding]:
    """Does what was found, in one transaction; one that cannot be done says why, and the others are done. Raises
    `StoreError`."""
    operations = [finding.operation for finding in findings if finding.operation is not None]
    results = iter(await ledger.perform(operations) if operations else ())
    said = []
    for finding in findings:
        if finding.operation is None:
            said.append(finding)
            continue
        result = next(results)
        failed = isinstance(result, SatisficeError)
        done = ("repeated" if result.repeated else "done") if isinstance(result, Done) else str(result)
        said.append(replace(finding, done=done, failed=failed))
    return said
