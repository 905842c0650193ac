"""`satisfice ledger` and the settings behind it: what is shown is what is there; bad input gets one clear line."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from satisfice.budgets.ledger.accounts import ROOT, Account, Limit
from satisfice.budgets.ledger.ledger import Ledger, now_ms
from satisfice.budgets.ledger.operations import Operation, Reserve, Settle, Void
from satisfice.cli import main
from satisfice.core.amounts import Amounts
from satisfice.core.errors import BadSettings
from satisfice.models import Settings, load_settings
from satisfice.models.accounts import accounts_of, ledger_place
from satisfice.scheduler.journal import Journal, Row, RunRecord

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Cli:
    """Runs `satisfice ledger ARGS` in this process; replies (exit code, stdout, stderr)."""
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SATISFICE_LEDGER", "ledger.db")
    monkeypatch.chdir(tmp_path)

    def run(*args: str, command: str = "ledger") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["satisfice", command, *args])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = (text.decode() for text in capsysbinary.readouterr())
        assert "Traceback" not in err
        assert "bug in satisfice" not in out + err
        code = stop.value.code or 0
        assert isinstance(code, int)
        return code, out, err

    return run


def data(cli: Cli, *args: str) -> Any:
    code, out, err = cli(*args, "--json")
    assert code in (0, 6), out + err
    return json.loads(out)


def error(cli: Cli, *args: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = cli(*args, "--json")
    found: dict[str, Any] = json.loads(out)["error"]
    return code, found


def perform(*operations: Operation, at: int | None = None, place: str = "ledger.db") -> None:
    async def work() -> None:
        async with await Ledger.open(place, clock=lambda: at or now_ms()) as ledger:
            for result in await ledger.perform(operations):
                assert not isinstance(result, Exception), result

    anyio.run(work)


def held(id: str, account: str = "acme", ttl: int = 600_000) -> Reserve:
    return Reserve(id, account, Amounts(50_000_000, 1000, 1), ttl, id.partition("/")[0], "openai/m", "book:1")


@pytest.fixture
def acme(cli: Cli) -> None:
    """An account with three calls: one paid for, one under way, one that nobody has resolved in time."""
    assert cli("grant", "acme", "--usd", "100", "--per", "month")[0] == 0
    assert cli("grant", "ci", "--parent", "acme", "--tokens", "5000", "--calls", "10", "--per", "24h")[0] == 0
    paid = Settle("r1/a0/0", Amounts(12_345_678, 740, 1))
    perform(held("r1/a0/0"), held("r1/a1/0", "ci"), held("r2/a0/0", ttl=1), paid)


# -- settings ---------------------------------------------------------------------------------------------------------

DECLARED = """
ledger = "books/ledger.db"
account = "acme"
[accounts.ci]
parent = "acme"
[accounts.acme]
limits = [{usd = "100.000000001", per = "month", alerts = [50, 80]}, {tokens = 1000000, per = "day"}]
[accounts.global]
limits = [{usd = 500}]
"""


def settings(text: str) -> Settings:
    Path("satisfice.toml").write_text(text)
    return load_settings()


def test_accounts_of_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SATISFICE_LEDGER", raising=False)
    found = settings(DECLARED)
    assert found.account == "acme"
    assert ledger_place(None, found) == Path("books/ledger.db")
    month = Limit.of("month", "100.000000001", alerts=(50, 80))
    assert accounts_of(found) == [
        Account(ROOT, None, (Limit.of(usd=500),)),
        Account("acme", ROOT, (month, Limit.of("day", tokens=1_000_000))),
        Account("ci", "acme"),
    ]
    assert month.nanos == 100_000_000_001


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("", None),
        ("false", None),
        ("true", "{home}/ledger.db"),
        ("x.db", "x.db"),
        ("postgresql://u:p@h/d", "postgresql://u:p@h/d"),
    ],
)
def test_where_the_ledger_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, place: str | None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path))
    monkeypatch.delenv("SATISFICE_LEDGER", raising=False)
    if said:
        monkeypatch.setenv("SATISFICE_LEDGER", said)
    found = ledger_place(None, load_settings())
    assert (None if found is None else str(found)) == (None if place is None else place.format(home=tmp_path))


BAD_SETTINGS = [
    ('limits = [{usd = "0.0000000001"}]', ("accounts.acme.limits.0", "finer than a nano-dollar")),
    ("limits = [{usd = 0.1234567891}]", ("accounts.acme.limits.0", "finer than a nano-dollar")),
    ("limits = [{usd = -1}]", ("accounts.acme.limits.0", "negative")),
    ("limits = [{usd = nan}]", ("accounts.acme.limits.0", "amount of dollars")),
    ("limits = [{usd = true}]", ("accounts.acme.limits.0.usd", "expected an amount")),
    ("limits = [{tokens = 1.5}]", ("accounts.acme.limits.0.tokens", "integer")),
    ("limits = [{}]", ("accounts.acme.limits.0", "needs an amount")),
    ('limits = [{usd = 1, per = "week"}]', ("accounts.acme.limits.0", "'week'")),
    ("limits = [{usd = 1, alerts = [0]}]", ("accounts.acme.limits.0", "percentages")),
    ("limits = [{usd = 1}, {tokens = 3}]", ("accounts", "two limits over the same window")),
    ("limits = [{used = 1}]", ("accounts.acme.limits.0.used", "did you mean 'usd'")),
    ("limit = []", ("accounts.acme.limit", "did you mean 'limits'")),
    ('parent = "acne"', ("accounts", "'acme'")),
    ('parent = "ci"\n[accounts.ci]\nparent = "acme"', ("accounts", "in a circle: acme > ci > acme")),
    ('[accounts."a/b"]', ("accounts", "without '/'")),
    ('[accounts.global]\nparent = "acme"', ("accounts", "'global' has no parent")),
]


@pytest.mark.parametrize(("text", "says"), BAD_SETTINGS, ids=[text[:30] for text, _ in BAD_SETTINGS])
def test_bad_accounts_are_found_when_the_settings_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, says: Sequence[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadSettings) as caught:
        settings(f"[accounts.acme]\n{text}\n")
    for part in ("satisfice.toml", *says):
        assert part in str(caught.value)


def test_declared_accounts_are_there_and_grants_outlive_them(cli: Cli, tmp_path: Path) -> None:
    Path("books").mkdir()
    Path("satisfice.toml").write_text(DECLARED.replace("books/", ""))
    code, found = error(cli, "accounts")
    assert (code, found["code"]) == (6, "store")
    assert "no ledger at ledger.db: the first request, or" in found["message"]
    cli("grant", "global", "--usd", "1000")
    rows = {row["account"]: row for row in data(cli, "accounts")}
    assert set(rows) == {"global", "acme", "ci"}
    assert [w["per"] for w in rows["acme"]["windows"]] == ["total", "month", "day"]
    assert rows["ci"]["room"] == {"nanos": 100_000_000_001, "usd": "100.000000001", "tokens": 1_000_000, "calls": None}
    cli("grant", "acme", "--usd", "7", "--per", "month")
    rows = {row["account"]: row for row in data(cli, "accounts")}
    assert rows["acme"]["windows"][1]["limit"]["usd"] == "7.000000000"


# -- accounts and grants ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("acme")
def test_accounts_shows_the_tree(cli: Cli) -> None:
    rows = {row["account"]: row for row in data(cli, "accounts")}
    assert [(name, row["depth"]) for name, row in rows.items()] == [("global", 0), ("acme", 1), ("ci", 2)]
    total, month = rows["acme"]["windows"]
    assert total["limit"] is None
    assert month["posted"] == {"nanos": 12_345_678, "usd": "0.012345678", "tokens": 740, "calls": 1}
    assert (month["pending"]["nanos"], month["ambiguous"]["nanos"]) == (100_000_000, 50_000_000)
    assert month["used"]["nanos"] + month["left"]["nanos"] == 100 * 10**9
    above, below = rows["global"]["windows"][0], rows["ci"]["windows"][0]
    assert (above["ambiguous"]["nanos"], below["ambiguous"]["nanos"]) == (50_000_000, 0)
    assert rows["ci"]["room"]["tokens"] == 4000
    assert rows["ci"]["room"]["nanos"] == rows["acme"]["room"]["nanos"] == month["left"]["nanos"]
    _, out, _ = cli("accounts")
    assert "    ci" in out
    assert "$99.887654322" in out
    assert "4000 tokens, 9 calls" in out
    _, out, _ = cli("accounts", "--csv", "-")
    cells = {(r["account"], r["window"]): r for r in csv.DictReader(io.StringIO(out))}
    assert cells["acme", "month"]["left_usd"] == "99.887654322"
    assert cells["global", "total"]["limit_usd"] == ""
    assert cli("accounts", "--csv", "accounts.csv")[1] == ""
    assert Path("accounts.csv").read_text() == out


def test_grant_says_what_was_and_what_is(cli: Cli) -> None:
    code, out, _ = cli("grant", "acme", "--usd", "100", "--per", "month", "--alerts", "50,80", "--by", "ada")
    assert (code, out.splitlines()) == (
        0,
        ["opened acme under global", "acme per month: $100.00, alerts at 50, 80% (before: no limit)"],
    )
    told = data(cli, "grant", "acme", "--tokens", "5000", "--per", "month")
    assert told["opened"] is False
    assert (told["before"]["usd"], told["before"]["tokens"]) == ("100.000000000", None)
    assert (told["now"]["usd"], told["now"]["tokens"], told["now"]["alerts"]) == ("100.000000000", 5000, [50, 80])
    assert "(before: $100.00, 5000 tokens" in cli("grant", "acme", "--usd", "0.000000001", "--per", "month")[1]
    assert cli("grant", "acme", "--remove", "--per", "month")[1].startswith("acme per month: no limit")
    assert cli("grant", "acme", "--freeze")[1] == "acme is frozen\n"
    assert data(cli, "accounts")[1]["frozen_at"] == "acme"
    assert data(cli, "accounts")[1]["room"] == {"nanos": 0, "usd": "0.000000000", "tokens": 0, "calls": 0}
    assert "frozen" in cli("accounts")[1]
    assert cli("grant", "acme", "--unfreeze")[1] == "acme is not frozen\n"
    notes = data(cli, "show", "acme")["notes"]
    assert [note["kind"] for note in notes] == ["open", "grant", "grant", "grant", "grant", "freeze", "unfreeze"]
    assert notes[1]["by"] == "ada"


@pytest.mark.usefixtures("acme")
def test_a_limit_below_what_is_used_is_refused(cli: Cli) -> None:
    code, found = error(cli, "grant", "acme", "--usd", "0.1", "--per", "month")
    assert (code, found["code"]) == (6, "ledger_conflict")
    assert "has used or holds $0.112345678" in found["message"]
    assert data(cli, "accounts")[1]["windows"][1]["limit"]["usd"] == "100.000000000"


# -- show -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("acme")
def test_show_an_account_a_run_and_a_hold(cli: Cli) -> None:
    account = data(cli, "show", "acme")
    assert account["account"] == "acme"
    assert {hold["hold"]: hold["state"] for hold in account["holds"]} == {
        "r1/a0/0": "settled",
        "r1/a1/0": "pending",
        "r2/a0/0": "ambiguous",
    }
    assert [hold["hold"] for hold in data(cli, "show", "r1")] == ["r1/a0/0", "r1/a1/0"]
    hold = data(cli, "show", "r1/a0/0")
    assert (hold["spent"]["usd"], hold["held"]["usd"], hold["price"]) == ("0.012345678", "0.050000000", "book:1")
    assert "room for new calls now" in cli("show", "acme")[1]
    assert "$0.012345678" in cli("show", "r1")[1]
    _, out, err = cli("show", "r2/a0/0")
    assert "ambiguous" in out
    assert "reconcile" in err


# -- statement --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("acme")
def test_a_statement_in_each_form(cli: Cli) -> None:
    made = data(cli, "statement", "acme")
    assert made["closing"]["usd"] == made["spent"]["usd"] == "0.012345678"
    assert made["pending"]["nanos"] == 100_000_000
    assert made["ambiguous"]["nanos"] == 50_000_000
    assert [line["hold"] for line in made["lines"]] == ["r1/a0/0"]
    _, out, err = cli("statement", "acme")
    assert "closing balance     $0.012345678, 740 tokens, 1 call" in out
    assert "openai/m" in out
    assert "reconcile" in err
    _, out, _ = cli("statement", "acme", "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert sum(Decimal(row["spent_usd"] or 0) for row in rows) == Decimal(rows[-1]["balance_usd"])
    assert cli("statement", "acme", "--csv", "s.csv") == (0, "", "")
    assert Path("s.csv").read_text() == out
    assert data(cli, "statement", "ci", "--run", "r1")["since"] is None


def test_a_month_is_a_calendar_month(cli: Cli) -> None:
    cli("grant", "acme", "--usd", "100")
    times = {"a": "2026-10-31T23:59:59.999", "b": "2026-11-01T00:00:00.000", "c": "2026-12-01T00:00:00.000"}
    for i, (name, text) in enumerate(times.items()):
        at = round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
        perform(held(f"{name}/a0/0"), Settle(f"{name}/a0/0", Amounts(10**i, 10, 1)), at=at)
    made = data(cli, "statement", "acme", "--month", "2026-11")
    assert [line["run"] for line in made["lines"]] == ["b"]
    assert (made["opening"]["nanos"], made["closing"]["nanos"]) == (1, 11)
    again = data(cli, "statement", "acme", "--since", "2026-11-01", "--until", "2026-12-01")
    assert again | {"drawn": ""} == made | {"drawn": ""}
    spans = [("--since", "2026-11-01"), ("--until", "2026-11-01"), ("--since", "2026-11-01T01:00:00+01:00")]
    runs = [[line["run"] for line in data(cli, "statement", "acme", *span)["lines"]] for span in spans]
    assert runs == [["b", "c"], ["a"], ["b", "c"]]
    assert data(cli, "statement", "acme", "--month", "2031-01")["lines"] == []


# -- reconcile --------------------------------------------------------------------------------------------------------


def journaled(place: str, *rows: Row) -> None:
    async def work() -> None:
        async with Journal.open(place) as journal:
            for run in {row.run for row in rows}:
                await journal.begin(RunRecord(run, "2026-11-22", "running", "{}", None, "q", "s", 0, "", None))
                await journal.finish(run, "done", None, 0, [row for row in rows if row.run == run])

    anyio.run(work)


@pytest.mark.usefixtures("acme")
def test_reconcile_by_the_journal(cli: Cli, tmp_path: Path) -> None:
    said = data(cli, "reconcile")
    assert [f["action"] for f in said["findings"]] == ["leave"]
    assert said["ambiguous"] == 1
    reply = Row("r2", "a0", 0, "reply", "sample", "f", "{}", 7_000_001, 90, 1, 0.0)
    journaled(str(tmp_path / "home" / "runs.db"), reply)
    said = data(cli, "reconcile", "--dry-run")
    assert said["findings"][0]["spent"]["usd"] == "0.007000001"
    assert "7000001" not in json.dumps(data(cli, "statement", "acme")["closing"])
    _, out, err = cli("reconcile", "--dry-run")
    assert "the journal has the reply" in out
    assert "1 hold" in err
    code, out, err = cli("reconcile")
    assert (code, err) == (0, "pending, and not yet late: 1 hold; --all looks at those too\n")
    assert "post" in out
    hold = data(cli, "show", "r2/a0/0")
    assert (hold["state"], hold["late"], hold["by"]) == ("settled", True, "reconcile: journal")
    assert data(cli, "statement", "acme")["closing"]["nanos"] == 12_345_678 + 7_000_001
    assert cli("reconcile")[1] == "nothing to reconcile\n"
    (other,) = data(cli, "reconcile", "--all")["findings"]  # of a run that the journal does not know
    assert (other["hold"], other["action"]) == ("r1/a1/0", "leave")


@pytest.mark.usefixtures("acme")
def test_reconcile_by_word(cli: Cli) -> None:
    said = data(cli, "reconcile", "--hold", "r2/a0/0", "--spent", "0.000000007", "--by", "ada")
    assert (said["findings"][0]["done"], said["ambiguous"]) == ("done", 0)
    assert data(cli, "show", "r2/a0/0")["by"] == "reconcile: ada"
    code, out, err = cli("reconcile", "--hold", "r2/a0/0", "--spent", "0.000000008")
    assert code == 6
    assert err.startswith("error: r2/a0/0: ")
    assert "the first stands" in err
    assert "nothing" in out
    assert "$0.000000008" not in out
    assert max(map(len, out.splitlines())) < 100
    assert data(cli, "reconcile", "--hold", "r1/a1/0", "--void")["findings"][0]["done"] == "done"
    assert data(cli, "accounts")[0]["windows"][0]["pending"]["nanos"] == 0


@pytest.mark.usefixtures("acme")
def test_reconcile_by_a_usage_file(cli: Cli) -> None:
    Path("usage.csv").write_text("hold,usd\nr2/a0/0,0.01\nr9/a0/0,0.25\n")
    Path("broken.csv").write_text("hold,usd\nr2/a0/0,0.01\nr9/a0/0,x\n")
    code, found = error(cli, "reconcile", "--usage", "broken.csv")
    assert (code, found["line"]) == (2, 3)
    assert data(cli, "show", "r2/a0/0")["state"] == "ambiguous"
    code, out, err = cli("reconcile", "--usage", "usage.csv")
    assert code == 6
    assert "line 3 (r9/a0/0) was not posted: no such hold" in err
    assert data(cli, "show", "r2/a0/0")["spent"]["usd"] == "0.010000000"
    code, out, err = cli("reconcile", "--usage", "usage.csv", "--account", "ci", "--json")
    assert code == 0
    assert [f["done"] for f in json.loads(out)["findings"]] == ["repeated", "done"]
    assert data(cli, "statement", "ci")["closing"]["usd"] == "0.250000000"


# -- bad input --------------------------------------------------------------------------------------------------------

BAD = [
    (("grant", "acme", "--usd", "-1"), 2, "bad_budget", "negative"),
    (("grant", "acme", "--usd", "0.0000000001"), 2, "bad_budget", "finer than a nano-dollar"),
    (("grant", "acme", "--usd", "lots"), 2, "bad_budget", "'lots'"),
    (("grant", "acme", "--usd", "nan"), 2, "bad_budget", "amount of dollars"),
    (("grant", "acme", "--usd", "1e30"), 2, "bad_budget", "most that an account can hold"),
    (("grant", "acme", "--usd", "-5"), 2, "bad_budget", "--usd -5: an amount of dollars cannot be negative"),
    (("grant", "acme", "--usd", "1e400"), 2, "bad_budget", "--usd 1e400: more dollars than"),
    (("grant", "acme", "--usd", "1e999999999"), 2, "bad_budget", "--usd 1e999999999: more dollars than"),
    (("grant", "acme", "--tokens", "-1"), 2, "bad_budget", "negative"),
    (("grant", "acme", "--calls", "many"), 2, "usage", "many"),
    (("grant", "acme", "--usd", "1", "--per", "week"), 2, "bad_budget", "'week'"),
    (("grant", "acme", "--usd", "1", "--alerts", "50;80"), 2, "bad_budget", "as 50,80"),
    (("grant", "acme", "--usd", "1", "--alerts", "101"), 2, "bad_budget", "percentages"),
    (("grant", "acme", "--alerts", "50"), 2, "bad_budget", "needs an amount"),
    (("grant", "acme"), 2, "caller", "say what to grant"),
    (("grant", "acme", "--remove", "--usd", "1"), 2, "caller", "--remove"),
    (("grant", "acme", "--remove"), 2, "caller", "no limit in all"),
    (("grant", "acme", "--remove", "--freeze"), 2, "caller", "no limit in all"),
    (("grant", "acme", "--parent", "ci", "--usd", "7", "--per", "month"), 6, "ledger_conflict", "stays where"),
    (("grant", "new", "--alerts", "50"), 2, "unknown_name", "'new'"),
    (("grant", "global", "--parent", "acme"), 2, "caller", "'global' has no parent"),
    (("grant", "acme", "--parent", "ci"), 6, "ledger_conflict", "stays where it was opened"),
    (("grant", "new", "--parent", "acne"), 2, "unknown_name", "'acme'"),
    (("grant", "acne", "--freeze"), 2, "unknown_name", "'acme'"),
    (("grant", "acne", "--remove"), 2, "unknown_name", "'acme'"),
    (("grant", "acne", "--alerts", "50"), 2, "unknown_name", "'acme'"),
    (("grant", "acne"), 2, "caller", "did you mean 'acme'"),
    (("grant", "self", "--parent", "self", "--usd", "1"), 2, "caller", "cannot be its own parent"),
    (("grant", "a/b", "--usd", "1"), 2, "caller", "without '/'"),
    (("show", "acne"), 2, "unknown_name", "'acme'"),
    (("show", "r1/none/0"), 2, "unknown_name", "r1/none/0"),
    (("statement", "acne"), 2, "unknown_name", "'acme'"),
    (("statement", "acme", "--month", "2026-13"), 2, "caller", "as 2026-11"),
    (("statement", "acme", "--month", "November"), 2, "caller", "as 2026-11"),
    (("statement", "acme", "--month", "2026-11", "--since", "2026-11-01"), 2, "caller", "--month"),
    (("statement", "acme", "--since", "soon"), 2, "caller", "as 2026-11-08"),
    (("statement", "acme", "--since", "2026-11-02", "--until", "2026-11-01"), 2, "bad_budget", "no time at all"),
    (("statement", "acme", "--run", "r7"), 2, "unknown_name", "'r7'"),
    (("reconcile", "--hold", "r2/a0/1", "--void"), 2, "unknown_name", "'r2/a0/0'"),
    (("reconcile", "--hold", "r2/a0/0"), 2, "caller", "--spent USD or --void"),
    (("reconcile", "--hold", "r2/a0/0", "--spent", "1", "--void"), 2, "caller", "--spent USD or --void"),
    (("reconcile", "--hold", "r2/a0/0", "--spent", "-1"), 2, "bad_budget", "--spent -1: an amount of dollars"),
    (("reconcile", "--hold", "r2/a0/0", "--void", "--tokens", "3"), 2, "caller", "no tokens"),
    (("reconcile", "--spent", "1"), 2, "caller", "--hold"),
    (("reconcile", "--account", "acme"), 2, "caller", "--usage"),
    (("reconcile", "--usage", "gone.csv"), 2, "caller", "gone.csv"),
    (("reconcile", "--usage", "gone.csv", "--all"), 2, "caller", "one at a time"),
    (("reconcile", "--journal", "gone.db"), 6, "store", "gone.db"),
    (("accounts", "--ledger", "gone.db"), 6, "store", "no ledger at gone.db"),
    (("accounts", "--ledger", "text.db"), 6, "store", "text.db"),
    (("accounts", "--ledger", "empty.db"), 6, "store", "empty.db is empty"),
    (("show", "acme", "--ledger", "empty.db"), 6, "store", "empty.db is empty"),
    (("statement", "acme", "--ledger", "empty.db"), 6, "store", "empty.db is empty"),
    (("reconcile", "--ledger", "empty.db"), 6, "store", "empty.db is empty"),
    (("grant", "x", "--freeze", "--ledger", "gone.db"), 6, "store", "no ledger at gone.db"),
    (("accounts", "--csv", "gone/x.csv"), 2, "caller", "--csv gone/x.csv: cannot be written"),
    (("statement", "acme", "--csv", "gone/x.csv"), 2, "caller", "--csv gone/x.csv: cannot be written"),
]


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(("args", "exit_code", "code", "says"), BAD, ids=[" ".join(b[0])[:50] for b in BAD])
def test_bad_input(cli: Cli, args: Sequence[str], exit_code: int, code: str, says: str) -> None:
    Path("text.db").write_text("no database, just text\n" * 100)
    Path("empty.db").touch()
    before = data(cli, "accounts")
    got, found = error(cli, *args)
    assert (got, found["code"]) == (exit_code, code), found
    assert says in found["message"]
    got, out, err = cli(*args)
    assert (got, out) == (exit_code, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert not Path("gone.db").exists()
    assert not Path("empty.db").stat().st_size
    assert data(cli, "accounts") == before


@pytest.mark.usefixtures("acme")
def test_one_form_at_once_on_stdout(cli: Cli) -> None:
    for command in (("accounts",), ("statement", "acme")):
        code, found = error(cli, *command, "--csv", "-")
        assert (code, found["code"]) == (2, "caller")
        assert "one of them" in found["message"]


@pytest.mark.usefixtures("acme")
def test_a_new_account_that_looks_like_another_is_told(cli: Cli) -> None:
    code, out, err = cli("grant", "acne", "--usd", "1")
    assert (code, out.splitlines()[0]) == (0, "opened acne under global")
    assert "did you mean acme" in err
    assert data(cli, "grant", "acmee", "--parent", "acme")["near"] == "acme"
    assert cli("grant", "other", "--calls", "3")[2] == ""


def test_without_a_ledger_it_says_how_to_have_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SATISFICE_LEDGER")
    for command in (("accounts",), ("show", "x"), ("statement", "x"), ("reconcile",), ("grant", "x", "--usd", "1")):
        code, found = error(cli, *command)
        assert (code, found["code"]) == (2, "bad_settings")
        assert "ledger = true" in found["message"]
        assert "--ledger PLACE" in found["message"]
    assert not list(Path().glob("*.db"))


def test_another_ledger_gets_no_accounts_of_the_settings(cli: Cli) -> None:
    Path("satisfice.toml").write_text("[accounts.mine]\n")
    assert cli("grant", "acme", "--usd", "1", "--ledger", "other.db")[0] == 0
    assert [row["account"] for row in data(cli, "accounts", "--ledger", "other.db")] == ["global", "acme"]
    cli("grant", "mine", "--usd", "1")
    assert [row["account"] for row in data(cli, "accounts")] == ["global", "mine"]


def test_help_has_examples(cli: Cli) -> None:
    for command in ("accounts", "grant", "show", "statement", "reconcile"):
        assert f"satisfice ledger {command}" in cli(command, "--help")[1].partition("Options:")[0]
    assert "ledger" in cli("--help", command="--help")[1]


def test_solve_charges_an_account(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    priced = '[models.m]\nmodel = "openai/x"\nprice = {prompt = 1, completion = 1}\n'
    Path("satisfice.toml").write_text(priced + "[accounts.acme]\n")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    args = ("x", "--budget", "1", "--model", "m", "--json")
    code, out, _ = cli(*args, "--account", "acne", command="solve")
    found = json.loads(out)["error"]
    assert (code, found["code"]) == (2, "unknown_name")
    assert "acne" in found["message"]
    cli("grant", "acme", "--usd", "0.000000001")
    code, out, _ = cli(*args, "--account", "acme", command="solve")
    found = json.loads(out)["error"]
    assert (code, found["code"]) == (3, "budget_too_small")
    assert "acme" in found["message"]
    monkeypatch.delenv("SATISFICE_LEDGER")
    code, out, _ = cli(*args, "--account", "acme", command="solve")
    assert (code, json.loads(out)["error"]["code"]) == (2, "bad_settings")
    Path("satisfice.toml").write_text(priced)
    code, out, _ = cli(*args, "--account", "acme", command="solve")
    assert (code, json.loads(out)["error"]["code"]) == (2, "caller")


def test_voided_holds_are_shown_as_given_back(cli: Cli) -> None:
    cli("grant", "acme", "--usd", "1")
    perform(held("r1/a0/0"), Void("r1/a0/0"))
    assert "given back" in cli("statement", "acme")[1]


def test_the_same_over_postgresql(cli: Cli, monkeypatch: pytest.MonkeyPatch, postgres_url: str) -> None:
    monkeypatch.setenv("SATISFICE_LEDGER", postgres_url)
    cli("grant", "acme", "--usd", "100", "--per", "month")
    perform(held("r1/a0/0"), held("r2/a0/0", ttl=1), Settle("r1/a0/0", Amounts(7, 8, 1)), place=postgres_url)
    assert data(cli, "accounts")[1]["windows"][1]["posted"]["nanos"] == 7
    assert data(cli, "reconcile", "--hold", "r2/a0/0", "--void")["ambiguous"] == 0
    made = data(cli, "statement", "acme")
    assert (made["closing"]["nanos"], len(made["lines"])) == (7, 2)
    code, found = error(cli, "show", "acne")
    assert (code, found["nearest"]) == (2, "acme")
    assert not list(Path().glob("*"))
