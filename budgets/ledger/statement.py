"""Statements: what an account has paid for over a stretch of time, call by call, to the nano-dollar.

A call stands at the time at which it was reserved, as in the counters: usage that comes in December for a call of
November is on November's statement. So a period that is over can still change while some of its holds are unresolved;
a statement says how many are. Every statement is checked: its lines add up, and all holds together are what the
account's counter shows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...core.errors import BadBudget, StoreError, UnknownName
from .accounts import usd_text
from .figures import NOTHING, Three, amounts_dict, amounts_said, said_time, total
from .ledger import Ledger
from .operations import Hold
from .stores import Query, Standing
from .windows import TOTAL

TRIES = 3  # readings of a ledger that others write to at the same time
COLUMNS = (
    "entry",
    "time",
    "hold",
    "run",
    "account",
    "model",
    "price",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "held_usd",
    "spent_usd",
    "over_usd",
    "tokens",
    "calls",
    "late",
    "by",
    "balance_usd",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One resolved hold: when it was reserved, and what it came to. Amounts are (nano-dollars, tokens, calls); `usage`
    is (prompt, completion, cached, reasoning) tokens, None where nobody said. One that was given back spent nothing.
    """

    at: int
    hold: str
    run: str
    account: str
    model: str
    price: str
    usage: tuple[int, int, int, int] | None
    held: Three
    spent: Three
    over: Three
    late: bool
    state: str
    by: str


@dataclass(frozen=True, slots=True)
class Subtotal:
    """What so many settled calls came to: nano-dollars, tokens, calls."""

    lines: int = 0
    spent: Three = NOTHING


@dataclass(frozen=True, slots=True)
class Statement:
    """From `since` to before `until` (milliseconds), or of one `run` in it. Balances are what was posted by then;
    `pending`: what unresolved holds that were reserved before `until` count for now, `ambiguous` that part of it which
    nobody has resolved in time. `exact`: no other process wrote while it was drawn up; where one did, the holds were
    found to lie between two readings of the counter."""

    account: str
    since: int | None
    until: int | None
    drawn: int
    run: str | None
    opening: Three
    lines: tuple[Line, ...]
    accounts: dict[str, Subtotal]
    models: dict[str, Subtotal]
    days: dict[str, Subtotal]
    pending: Three
    ambiguous: Three
    closing: Three
    exact: bool

    @property
    def spent(self) -> Three:
        """The sum of the lines."""
        return total(line.spent for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: money both as whole nano-dollars and as dollars in text."""
        facts: dict[str, Any] = {
            "account": self.account,
            "since": None if self.since is None else said_time(self.since),
            "until": None if self.until is None else said_time(self.until),
            "drawn": said_time(self.drawn),
            "run": self.run,
            "exact": self.exact,
        }
        for name in ("opening", "spent", "closing", "pending", "ambiguous"):
            facts[name] = amounts_dict(getattr(self, name))
        for name in ("accounts", "models", "days"):
            subtotals: dict[str, Subtotal] = getattr(self, name)
            facts[name] = {k: {"lines": s.lines, **amounts_dict(s.spent)} for k, s in subtotals.items()}
        facts["lines"] = [line_dict(line) for line in self.lines]
        return facts

    def to_csv(self) -> str:
        """One row a line, between a row for each balance. `balance_usd` runs along; money is exact text."""
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        balance = self.opening[0]
        since, until = ("" if at is None else said_time(at) for at in (self.since, self.until))
        writer.writerow({"entry": "opening", "time": since, "balance_usd": usd_text(balance)})
        for line in self.lines:
            balance += line.spent[0]
            writer.writerow(_csv_row(line) | {"balance_usd": usd_text(balance)})
        writer.writerow({"entry": "closing", "time": until, "balance_usd": usd_text(self.closing[0])})
        return out.getvalue()


async def statement(
    ledger: Ledger, account: str, since: int | None = None, until: int | None = None, run: str | None = None
) -> Statement:
    """What `account` and all below it have spent on calls reserved from `since` to before `until` (milliseconds since
    1970; None: from the first, to the last). `run`: on that run alone; balances are then the run's own.

    Raises `UnknownName`, `BadBudget` for a period that ends before it begins, `StoreError` where lines, balances and
    counters do not agree: then the message says by how much.
    """
    if since is not None and until is not None and until <= since:
        raise BadBudget(f"a statement from {said_time(since)} to before {said_time(until)}: that is no time at all")
    holds, exact = await _checked(ledger, account)
    if run is not None:
        holds = [hold for hold in holds if hold.run == run]
        if not holds:
            raise UnknownName(f"account {account} has no calls of a run {run!r}", kind="run", name=run, nearest=None)
    before = [hold for hold in holds if since is not None and hold.at < since]
    until_then = [hold for hold in holds if until is None or hold.at < until]
    lines = tuple(_line(h) for h in until_then if h.state != "pending" and (since is None or h.at >= since))
    settled = [line for line in lines if line.state == "settled"]
    now = ledger.now()
    open_ = [hold for hold in until_then if hold.state == "pending"]
    made = Statement(
        account,
        since,
        until,
        now,
        run,
        _posted(before),
        lines,
        _by(settled, lambda line: line.account),
        _by(settled, lambda line: line.model),
        _by(settled, lambda line: said_time(line.at)[:10]),
        total(hold.held for hold in open_),
        total(hold.held for hold in open_ if hold.ambiguous(now)),
        _posted(until_then),
        exact,
    )
    check(made)
    return made


def check(made: Statement) -> None:
    """Raises `StoreError` where opening balance and lines, or any subtotals, do not come to the closing balance."""
    came = total((made.opening, made.spent))
    _agree(made.account, "opening balance and lines", came, "the closing balance", made.closing)
    for name in ("accounts", "models", "days"):
        parts = total(part.spent for part in getattr(made, name).values())
        _agree(made.account, f"subtotals by {name}", parts, "the lines", made.spent)


async def _checked(ledger: Ledger, account: str) -> tuple[list[Hold], bool]:
    """All holds of the account and below, checked against its counter over all time, and whether the two were read
    with nothing written in between. What is posted only grows: where others keep writing, the holds must lie between
    the counter as it was before and after they were read."""
    for _ in range(TRIES):
        first = _counter(await ledger.standings(), account)
        holds = await ledger.holds(Query(account))
        second = _counter(await ledger.standings(), account)
        posted, pending = _posted(holds), total(h.held for h in holds if h.state == "pending")
        if first == second == (posted, pending):
            return holds, True
    if first == second:
        _agree(account, "the settled holds", posted, "the counter", first[0])
        _agree(account, "the pending holds", pending, "the counter", first[1])
    elif not all(a <= b <= c for a, b, c in zip(first[0], posted, second[0], strict=True)):
        _agree(account, "the settled holds", posted, "the counter", second[0])
    return holds, False


def _counter(standings: list[Standing], account: str) -> tuple[Three, Three]:
    for standing in standings:
        if standing.account.name == account:
            balance = next(b for b in standing.balances if b.window == TOTAL)
            return balance.posted, balance.pending
    raise UnknownName.of("account", account, (s.account.name for s in standings))


def _agree(account: str, what: str, left: Three, other: str, right: Three) -> None:
    if left == right:
        return
    off = tuple(a - b for a, b in zip(left, right, strict=True))
    raise StoreError(
        f"account {account} does not add up: {what} come to {amounts_said(left)}, {other} says {amounts_said(right)}; "
        f"the difference is {amounts_said((off[0], off[1], off[2]))}. Nothing was changed; a ledger in memory forgets "
        "its oldest holds, one in a file or a database never does",
        account=account,
        difference={"nanos": off[0], "tokens": off[1], "calls": off[2]},
    )


def _posted(holds: Iterable[Hold]) -> Three:
    return total(hold.spent for hold in holds if hold.state == "settled")


def _by(lines: Iterable[Line], key: Callable[[Line], str]) -> dict[str, Subtotal]:
    parts: dict[str, list[Line]] = {}
    for line in lines:
        parts.setdefault(key(line), []).append(line)
    return {name: Subtotal(len(parts[name]), total(x.spent for x in parts[name])) for name in sorted(parts)}


def _line(h: Hold) -> Line:
    return Line(h.at, h.id, h.run, h.account, h.model, h.price, h.usage, h.held, h.spent, h.over, h.late, h.state, h.by)


def _csv_row(line: Line) -> dict[str, Any]:
    usage = line.usage or ("", "", "", "")
    named = dict(zip(("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"), usage, strict=True))
    return named | {
        "entry": line.state,
        "time": said_time(line.at),
        "hold": line.hold,
        "run": line.run,
        "account": line.account,
        "model": line.model,
        "price": line.price,
        "held_usd": usd_text(line.held[0]),
        "spent_usd": usd_text(line.spent[0]),
        "over_usd": usd_text(line.over[0]),
        "tokens": line.spent[1],
        "calls": line.spent[2],
        "late": "late" if line.late else "",
        "by": line.by,
    }


def line_dict(line: Line) -> dict[str, Any]:
    """One line as JSON-ready data."""
    named = ("prompt", "completion", "cached", "reasoning")
    return {
        "at": said_time(line.at),
        "hold": line.hold,
        "run": line.run,
        "account": line.account,
        "model": line.model,
        "price": line.price,
        "usage": dict(zip(named, line.usage, strict=True)) if line.usage else None,
        "held": amounts_dict(line.held),
        "spent": amounts_dict(line.spent),
        "over": amounts_dict(line.over),
        "late": line.late,
        "state": line.state,
        "by": line.by,
    }
