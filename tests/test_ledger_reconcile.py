"""Reconciling: what the journal, a person or a provider's export says of holds that nobody resolved in time."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from satisfice import Engine, Price, ScriptedModel
from satisfice.budgets.ledger.accounts import Account
from satisfice.budgets.ledger.figures import total
from satisfice.budgets.ledger.ledger import Ledger, now_ms
from satisfice.budgets.ledger.operations import Hold, Operation, Reserve, Settle, Void
from satisfice.budgets.ledger.statement import statement
from satisfice.budgets.ledger.stores import Query
from satisfice.core.amounts import Amounts
from satisfice.core.completions import Usage
from satisfice.core.errors import CallerError, UnknownName
from satisfice.scheduler import owner as owners
from satisfice.scheduler.journal import Journal, Kind, Row, RunRecord, Status
from satisfice.scheduler.reconciling import Finding, by_journal, carry_out, unresolved
from satisfice.scheduler.usage_files import by_usage, read_usage

HELD = Amounts(5_000, 100, 1)
Work = Callable[[Ledger, Journal], Awaitable[Any]]


def row(run: str, path: str, kind: Kind, spent: Amounts = HELD, attempt: int = 0, payload: str = "{}") -> Row:
    return Row(run, path, attempt, kind, "sample", "f", payload, spent.nanos, spent.tokens, spent.calls, 0.0)


async def record(journal: Journal, run: str, status: Status = "done", rows: Sequence[Row] = ()) -> None:
    await journal.begin(RunRecord(run, "2026-11-22T00:00:00", "running", "{}", None, "q", "s", 0, "", None))
    if status != "running":
        await journal.finish(run, status, None, 0, list(rows))
    else:
        await journal.commit(list(rows))


def reserve(id: str, ttl: int = 60_000) -> Reserve:
    return Reserve(id, "acme", HELD, ttl, id.partition("/")[0], "m", "book:1")


def do(tmp_path: Path, work: Work) -> Any:
    """With a ledger in memory whose clock runs an hour ahead once holds are made, and a journal."""

    async def main() -> Any:
        clock = [now_ms()]
        ledger = await Ledger.open(None, [Account("acme")], clock=lambda: clock[0])
        async with ledger, Journal.open(tmp_path / "runs.db") as journal:
            ledger.later = lambda: clock.__setitem__(0, clock[0] + 3_600_000)  # type: ignore[attr-defined]
            return await work(ledger, journal)

    return anyio.run(main)


async def expired(ledger: Ledger, operations: Sequence[Operation]) -> None:
    await ledger.perform(operations)
    ledger.later()  # type: ignore[attr-defined]


async def found(ledger: Ledger, journal: Journal | None) -> dict[str, Finding]:
    return {finding.hold: finding for finding in await by_journal(await unresolved(ledger), journal)}


async def holds(ledger: Ledger) -> dict[str, Hold]:
    return {hold.id: hold for hold in await ledger.holds(Query())}


def test_the_journal_says_what_became_of_each_call(tmp_path: Path) -> None:
    async def work(ledger: Ledger, journal: Journal) -> None:
        reply = row("r1", "a0", "reply", Amounts(1_234, 80, 1), payload=json.dumps({"tokens": 30}))
        rows = [
            row("r1", "a0", "intent"),
            reply,
            row("r1", "a1", "intent"),
            row("r1", "a2", "intent"),
            row("r1", "a2", "reply", Amounts()),
            row("r1", "a4", "intent"),
            row("r1", "a4", "reply", Amounts(7, 8, 1), payload=json.dumps({"error": {}, "retry": True})),
            row("r1", "a4", "intent", attempt=1),
        ]
        await record(journal, "r1", "failed", rows)
        ids = ["r1/a0/0", "r1/a1/0", "r1/a2/0", "r1/a3/0", "r1/a4/0", "r1/a4/1"]
        await expired(ledger, [reserve(id) for id in ids])
        findings = await found(ledger, journal)
        actions = {id: (f.action, f.amounts) for id, f in findings.items()}
        assert actions == {
            "r1/a0/0": ("settle", (1_234, 80, 1)),
            "r1/a1/0": ("settle", (5_000, 100, 1)),
            "r1/a2/0": ("void", (0, 0, 0)),
            "r1/a3/0": ("void", (0, 0, 0)),
            "r1/a4/0": ("settle", (7, 8, 1)),
            "r1/a4/1": ("settle", (5_000, 100, 1)),
        }
        assert not await by_journal([], journal)
        assert all(hold.state == "pending" for hold in (await holds(ledger)).values())  # nothing is done yet
        done = await carry_out(ledger, list(findings.values()))
        assert [finding.done for finding in done] == ["done"] * 6
        after = await holds(ledger)
        assert after["r1/a0/0"].usage == (50, 30, 0, 0)
        assert {hold.by for hold in after.values()} == {"reconcile: journal"}
        assert {id for id, hold in after.items() if hold.late} == {"r1/a0/0", "r1/a1/0", "r1/a4/0", "r1/a4/1"}
        assert await unresolved(ledger, everything=True) == []
        assert [f.done for f in await carry_out(ledger, list(findings.values()))] == ["repeated"] * 6

    do(tmp_path, work)


def test_a_run_that_somebody_is_at_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(ledger: Ledger, journal: Journal) -> None:
        await record(journal, "r1", "running", [row("r1", "a0", "intent")])
        await expired(ledger, [reserve("r1/a0/0"), reserve("r1/a1/0")])
        assert {f.action for f in (await found(ledger, journal)).values()} == {"leave"}
        assert all("process" in f.why for f in (await found(ledger, journal)).values())
        owners.retire(journal.owner)  # as if its process had died
        actions = {id: f.action for id, f in (await found(ledger, journal)).items()}
        assert actions == {"r1/a0/0": "settle", "r1/a1/0": "void"}

    do(tmp_path, work)


def test_what_the_journal_does_not_know_is_left_alone(tmp_path: Path) -> None:
    async def work(ledger: Ledger, journal: Journal) -> None:
        await record(journal, "r1", "done", [row("r1", "a0", "reply")])
        own = [Reserve(id, "acme", HELD, 60_000, "r1") for id in ("my own id", "another/a0/0")]
        await expired(ledger, [reserve("elsewhere/a0/0"), *own, Reserve("nothing", "acme", HELD)])
        findings = await found(ledger, journal)
        assert {f.action for f in findings.values()} == {"leave"}
        assert "no such run" in findings["elsewhere/a0/0"].why
        assert "no place" in findings["my own id"].why
        assert "no place" in findings["another/a0/0"].why
        assert "no journal" in (await found(ledger, None))["nothing"].why
        done = await carry_out(ledger, list(findings.values()))
        assert [f.done for f in done] == [""] * 4
        assert len(await unresolved(ledger)) == 4

    do(tmp_path, work)


def test_only_what_is_late_unless_all_is_asked_for(tmp_path: Path) -> None:
    async def work(ledger: Ledger, journal: Journal) -> None:
        await ledger.perform([reserve("r1/a0/0")])
        assert await unresolved(ledger) == []
        assert [hold.id for hold in await unresolved(ledger, everything=True)] == ["r1/a0/0"]

    do(tmp_path, work)


def test_one_that_somebody_else_resolved_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    async def work(ledger: Ledger, journal: Journal) -> None:
        await record(journal, "r1", "done", [row("r1", "a0", "intent"), row("r1", "a1", "intent")])
        await expired(ledger, [reserve("r1/a0/0"), reserve("r1/a1/0")])
        findings = list((await found(ledger, journal)).values())
        await ledger.do(Settle("r1/a0/0", Amounts(17, 18, 1)))
        first, second = await carry_out(ledger, findings)
        assert first.failed
        assert "the first stands" in first.done
        assert second.done == "done"
        assert (await holds(ledger))["r1/a0/0"].spent == (17, 18, 1)

    do(tmp_path, work)


# -- a provider's export ----------------------------------------------------------------------------------------------

EXPORT = """hold,run,path,attempt,usd,tokens,model,whatever
r1/a0/0,,,,0.000001234,80,m,x
,r1,a1,,0.0000000005e1,,m,x
,r1,a2,1,,90,,x
r9/a0/0,,,,0.5,1000,m,x
,r9,a1,,,7,m,x
,r1,a2,,1,,,x
"""


def test_each_line_is_matched_to_its_hold_and_none_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_text(EXPORT, "utf-8-sig")

    async def work(ledger: Ledger, journal: Journal) -> None:
        ids = ["r1/a0/0", "r1/a1/0", "r1/a2/0", "r1/a2/1"]
        await expired(ledger, [*map(reserve, ids), Void("r1/a1/0")])
        lines = read_usage(file)
        findings, unmatched = await by_usage(ledger, lines, file.name)
        assert {f.hold: f.amounts for f in findings} == {
            "r1/a0/0": (1_234, 80, 1),
            "r1/a1/0": (5, 100, 1),
            "r1/a2/1": (5_000, 90, 1),
        }
        assert [(line.number, why) for line, why in unmatched] == [
            (5, "no such hold"),
            (6, "no such hold"),
            (7, "2 attempts at r1/a2: name one in a column `attempt`"),
        ]
        findings, unmatched = await by_usage(ledger, lines, file.name, "acme")
        assert [line.number for line, _ in unmatched] == [6, 7]
        assert "no usd" in unmatched[0][1]
        done = await carry_out(ledger, findings)
        assert [f.done for f in done] == ["done"] * 4
        after = await holds(ledger)
        assert after["r1/a1/0"].late  # it had been given back: the usage is posted all the same
        assert (after["r9/a0/0"].account, after["r9/a0/0"].spent) == ("acme", (500_000_000, 1000, 1))
        assert {h.by for h in after.values() if h.state == "settled"} == {"reconcile: usage export.csv"}
        again, _ = await by_usage(ledger, lines, file.name, "acme")
        assert [f.done for f in await carry_out(ledger, again)] == ["repeated"] * 4

    do(tmp_path, work)


def test_lines_of_json_keep_their_exact_money(tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text('{"hold": "r1/a0/0", "usd": 12345678.123456789}\n\n{"hold": "r1/a1/0", "usd": "2", "tokens": 3}\n')
    first, second = read_usage(file)
    assert (first.nanos, first.tokens, first.number) == (12_345_678_123_456_789, None, 1)
    assert (second.nanos, second.tokens, second.number) == (2_000_000_000, 3, 3)


BROKEN = [
    ("x.csv", "hold,usd\na,1\nb,much\n", "line 3: 'much': expected an amount of dollars. Nothing was applied"),
    ("x.csv", "hold,usd\na,0.0000000001\n", "finer than a nano-dollar"),
    ("x.csv", "hold,usd\na,-1\n", "negative"),
    ("x.csv", "hold,tokens\na,1.5\n", "expected a whole number"),
    ("x.csv", "hold,tokens\na,-3\n", "negative"),
    ("x.csv", "hold,usd\na,1\nb\n", "line 3: not as many fields"),
    ("x.csv", "hold,usd\na,1,2\n", "line 2: not as many fields"),
    ("x.csv", "hold,usd\n,1\n", "neither hold nor run"),
    ("x.csv", "hold,usd\na,\n", "neither usd nor tokens"),
    ("x.csv", "call,usd\na,1\n", "expected a header"),
    ("x.csv", "hold,cost\na,1\n", "expected a header"),
    ("x.csv", "", "expected a header"),
    ("x.csv", "hold,usd\n", "no lines of usage"),
    ("x.csv", 'hold,usd\n"a,1\n', "after line 1: unexpected end"),
    ("x.csv", b"hold,usd\n\xff,1\n", "not UTF-8"),
    ("x.jsonl", '{"hold": "a", "usd": 1}\n{"hold": \n', "line 2: not JSON"),
    ("x.jsonl", "[1]\n", "line 1: expected an object"),
    ("x.jsonl", '{"hold": "a", "usd": NaN}\n', "expected an amount"),
    ("x.jsonl", '{"hold": "a", "usd": true}\n', "expected an amount"),
    ("gone.csv", None, "cannot be read"),
]


@pytest.mark.parametrize(("name", "text", "says"), BROKEN, ids=[f"{i}" for i in range(len(BROKEN))])
def test_a_file_with_a_broken_line_is_refused_whole(
    tmp_path: Path, name: str, text: str | bytes | None, says: str
) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(CallerError) as caught:
        read_usage(tmp_path / name)
    assert says in str(caught.value)
    assert name in str(caught.value)


def test_two_lines_of_one_hold_and_an_unknown_account_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("hold,run,path,usd\nr1/a0/0,,,1\n,r1,a0,2\n")

    async def work(ledger: Ledger, journal: Journal) -> None:
        await ledger.perform([reserve("r1/a0/0")])
        with pytest.raises(CallerError, match="lines 2 and 3 are both of hold r1/a0/0"):
            await by_usage(ledger, read_usage(file), "x.csv")
        with pytest.raises(UnknownName, match="'acme'"):
            await by_usage(ledger, read_usage(file), "x.csv", "acne")

    do(tmp_path, work)


# -- a crash, from end to end -----------------------------------------------------------------------------------------

CRASHING = """
import os, sys
import anyio
from satisfice import Engine, Price, SelfConsistency
from satisfice.budgets.ledger.accounts import Account, Limit
from satisfice.budgets.ledger.ledger import Ledger
from satisfice.core.completions import Completion, Response, Usage

class Dying:
    calls = 0

    async def complete(self, request):
        self.calls += 1
        if self.calls == 3:
            os._exit(9)
        return Response((Completion("Answer: 2"),), Usage(20, 10), "m")

async def main():
    home = sys.argv[1]
    accounts = [Account("acme", limits=(Limit.of(usd=1),))]
    async with await Ledger.open(home + "/ledger.db", accounts) as ledger:
        async with Engine("m", journal=home + "/runs.db", ledger=ledger, account="acme") as engine:
            engine.register("m", Dying(), Price.per_million(1, 1))
            await engine.solve("q", budget=0.1, answer="number", strategy=SelfConsistency(samples=7))

anyio.run(main)
"""


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "only held"])
def test_after_a_crash_every_call_is_accounted_for_and_the_run_goes_on(tmp_path: Path, announced: bool) -> None:
    """`announced`: it died with calls on their way; else when they were held and the journal had no word of them."""
    run = subprocess.run([sys.executable, "-c", CRASHING, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 9, run.stderr
    if not announced:
        with closing(sqlite3.connect(tmp_path / "runs.db")) as rows, rows:
            rows.execute("DELETE FROM rows WHERE kind = 'intent'")

    async def main() -> None:
        ledger = await Ledger.open(tmp_path / "ledger.db")
        async with ledger, Engine("m", journal=tmp_path / "runs.db", ledger=ledger, account="acme") as engine:
            engine.register("m", ScriptedModel(["Answer: 2"], usage=Usage(20, 10)), Price.per_million(1, 1))
            pending = await unresolved(ledger, everything=True)
            findings = await by_journal(pending, engine.journal)
            assert len(findings) == len(pending) >= 3
            assert {f.action for f in findings} == {"settle" if announced else "void"}
            assert all(f.amounts == (f.held if announced else (0, 0, 0)) for f in findings)
            assert not any(finding.failed for finding in await carry_out(ledger, findings))
            assert await unresolved(ledger, everything=True) == []
            lost = (await statement(ledger, "acme")).closing
            assert lost == total(f.amounts for f in findings)
            solution = await engine.resume(pending[0].run)
            assert solution.answer == "2"
            made = await statement(ledger, "acme")
            assert made.pending == (0, 0, 0)
            assert made.closing == (solution.spend.nanos, solution.spend.tokens, solution.spend.calls)
            assert (made.closing[0] > 7 * 30_000) == announced

    anyio.run(main)
