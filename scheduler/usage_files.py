"""Usage as a provider exports it, matched to the ledger's holds: a .csv file with a header, or .jsonl.

Columns: `hold`, or `run` and `path` (with `attempt` where a call was tried more than once); `usd`, `tokens`, or both;
`calls` and `model` where they are known. Others are ignored. Money is read as exact text, never as a binary float.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..budgets.ledger.accounts import check_amount, money
from ..budgets.ledger.ledger import Ledger
from ..budgets.ledger.operations import Hold, Settle
from ..budgets.ledger.stores import Query
from ..core.amounts import Amounts
from ..core.errors import CallerError, UnknownName
from .reconciling import Finding, place, settle


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One line: which call it is of, and what it was billed. None: the file does not say."""

    number: int
    hold: str
    run: str
    path: str
    attempt: int | None
    nanos: int | None
    tokens: int | None
    calls: int | None
    model: str

    @property
    def id(self) -> str:
        """The id of its hold, were there one."""
        return self.hold or f"{self.run}/{self.path}/{self.attempt or 0}"


def read_usage(file: Path) -> list[UsageLine]:
    """All lines, or none: raises `CallerError` naming the file and the first line that cannot be read."""
    try:
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise CallerError(f"{file}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise CallerError(f"{file}: not UTF-8 (byte {error.start}): save it as UTF-8") from None
    rows = _jsonl(file, text) if file.suffix in (".jsonl", ".ndjson") else _csv(file, text)
    lines = [_line(file, number, row) for number, row in rows]
    if not lines:
        raise CallerError(f"{file}: no lines of usage in it")
    return lines


def _csv(file: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    columns = set(reader.fieldnames or ())
    if not ("hold" in columns or {"run", "path"} <= columns) or not columns & {"usd", "tokens"}:
        raise CallerError(f"{file}: expected a header with hold (or run and path), and usd or tokens")
    try:
        for row in reader:
            if None in row or None in row.values():
                raise CallerError(f"{file}, line {reader.line_num}: not as many fields as the header has")
            yield reader.line_num, row
    except csv.Error as error:
        raise CallerError(f"{file}, after line {reader.line_num}: {error}") from None


def _jsonl(file: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=str)
        except ValueError as error:
            raise CallerError(f"{file}, line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise CallerError(f"{file}, line {number}: expected an object with hold (or run and path), usd or tokens")
        yield number, row


def _line(file: Path, number: int, row: Mapping[str, Any]) -> UsageLine:
    def text(name: str) -> str:
        value = row.get(name)
        return "" if value is None else str(value).strip()

    def whole(name: str) -> int | None:
        if not text(name):
            return None
        try:
            return check_amount(name, int(text(name)))
        except ValueError:
            raise CallerError(f"{name}={text(name)!r}: expected a whole number") from None

    try:
        usd = money(text("usd")) if text("usd") else None
        made = UsageLine(
            number,
            text("hold"),
            text("run"),
            text("path"),
            whole("attempt"),
            usd,
            whole("tokens"),
            whole("calls"),
            text("model"),
        )
        if not made.hold and not made.run:
            raise CallerError("neither hold nor run says which call it is of")
        if made.nanos is None and made.tokens is None:
            raise CallerError("neither usd nor tokens")
    except CallerError as error:
        raise CallerError(f"{file}, line {number}: {error}. Nothing was applied", line=number) from None
    return made


async def by_usage(
    ledger: Ledger, lines: Iterable[UsageLine], name: str, account: str | None = None
) -> tuple[list[Finding], list[tuple[UsageLine, str]]]:
    """Each line's hold settled at what it says, and the lines that have none, with why. `account`: those are posted
    there, where they say a price. What a line does not say is as it was held. `name`: of the file, for the record.

    Raises `UnknownName` for an unknown account, `CallerError` where two lines are of one hold.
    """
    lines = list(lines)
    if account is not None:
        names = [s.account.name for s in await ledger.standings()]
        if account not in names:
            raise UnknownName.of("account", account, names)
    ids = tuple(line.hold for line in lines if line.hold)
    known = {hold.id: hold for hold in (await ledger.holds(Query(ids=ids)) if ids else ())}
    runs = {run: await ledger.holds(Query(run=run)) for run in {line.run for line in lines if not line.hold}}
    findings: list[Finding] = []
    unmatched: list[tuple[UsageLine, str]] = []
    seen: dict[str, int] = {}
    for line in lines:
        found = [known[line.hold]] if line.hold in known else _at(line, runs.get(line.run, ()))
        if len(found) == 1:
            finding = _matched(found[0], line, name)
        elif found:
            unmatched.append((line, f"{len(found)} attempts at {line.run}/{line.path}: name one in a column `attempt`"))
            continue
        elif account is not None and line.nanos is not None:
            finding = _posted(line, name, account)
        else:
            no_price = "no such hold, and no usd to post" if account is not None else "no such hold"
            unmatched.append((line, no_price))
            continue
        if finding.hold in seen:
            first = seen[finding.hold]
            raise CallerError(
                f"{name}: lines {first} and {line.number} are both of hold {finding.hold}: add them up. Nothing was "
                "applied"
            )
        seen[finding.hold] = line.number
        findings.append(finding)
    return findings, unmatched


def _at(line: UsageLine, holds: Iterable[Hold]) -> list[Hold]:
    found = []
    for hold in holds if not line.hold else ():
        where = place(hold)
        if where is not None and where[0] == line.path and line.attempt in (None, where[1]):
            found.append(hold)
    return found


def _matched(hold: Hold, line: UsageLine, name: str) -> Finding:
    # Once it is settled its own figures stand for what the line leaves open: the same file twice changes nothing.
    n, t, k = hold.spent if hold.state == "settled" else hold.held
    spent = Amounts(
        n if line.nanos is None else line.nanos,
        t if line.tokens is None else line.tokens,
        k if line.calls is None else line.calls,
    )
    return settle(hold, spent, f"usage {name}", f"line {line.number} of {name}")


def _posted(line: UsageLine, name: str, account: str) -> Finding:
    assert line.nanos is not None
    calls = 1 if line.calls is None else line.calls
    spent = Amounts(line.nanos, line.tokens or 0, calls)
    operation = Settle(line.id, spent, None, "", account, line.run, line.model, by=f"reconcile: usage {name}")
    why = f"line {line.number} of {name}: no such hold, posted all the same"
    return Finding(line.id, account, line.run, (0, 0, 0), "settle", why, operation)
