"""`satisfice policy`: what it says, its JSON, its exit codes, and `solve` by what is in production."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from satisfice.budgets.policy import Policy
from satisfice.budgets.registry.registry import Registry
from satisfice.cli import cli, exit_code
from satisfice.core.errors import BadSettings, CallerError, PromotionRefused, SatisficeError, UnknownName

from .test_promoting import SINGLE, VOTES, bank


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    SINGLE.save("single.json")
    VOTES.save("votes.json")
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["policy", *words], catch_exceptions=True)


def told(*words: str) -> Any:
    result = run(*words, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def failed(*words: str) -> SatisficeError:
    error = run(*words).exception
    assert isinstance(error, SatisficeError), error
    return error


def test_a_policy_goes_to_production_and_back(home: Path) -> None:
    bank().save(home / "bank")
    single, votes = (told("add", name, "--by", "ann")["id"] for name in ("single.json", "votes.json"))
    assert "nothing is in production" in run("list").stdout
    refused = failed("promote", single, "--to", "production")
    assert isinstance(refused, PromotionRefused)
    assert exit_code(refused) == 2
    first = told("promote", single, "--to", "production", "--override", "--by", "ann", "--reason", "the first one")
    assert first["production"] == single
    plain = ("--to", "production", "--bank", "bank", "--resamples", "1")
    result = run("promote", "votes", *plain)
    assert f"{votes} is in production" in result.stdout
    assert "p = " in result.stdout
    assert "satisfice policy rollback" in result.stdout
    assert "not shown to be better" in str(failed("promote", single, *plain))
    shown = told("show", "votes")
    assert shown["stage"] == "production"
    assert shown["policy"]["strategy"] == "self_consistency:samples=7"
    assert shown["history"][-1]["evidence"]["net"]["low"] > 0
    text = run("show", votes[:7]).stdout
    assert "strategy: self_consistency:samples=7" in text
    assert "net utility +" in text
    back = run("rollback", "--by", "bob", "--reason", "slow").stdout
    assert f"{votes} is retired; in production again (channel main): {single}" in back
    listed = told("list")
    assert (listed["production"], [v["stage"] for v in listed["versions"]]) == (single, ["production", "retired"])
    audit = run("audit").stdout
    assert f"ann: promote {single} to production (override): the first one" in audit
    assert f"bob: rollback {single}: slow" in audit
    assert "the record is whole" in audit
    assert "engines use their own" in run("rollback").stdout


def test_canaries_and_shadows_are_named_listed_and_retired(home: Path) -> None:
    one = told("add", "votes.json", "--name", "nightly")["id"]
    assert told("promote", "nightly")["shadow"] == one
    assert told("promote", "nightly", "--share", "0.25")["share"] == 0.25
    assert "canary 25%" in run("list").stdout
    assert "as a canary: 0 outcomes" in run("show", "nightly").stdout
    assert told("promote", "nightly", "--to", "canary", "--share", "0.5")["share"] == 0.5
    assert "is retired" in run("retire", one, "--reason", "enough").stdout
    assert told("list", "--channel", "batch")["versions"][0]["stage"] == "draft"
    assert told("audit")["whole"] is True


def test_diff_says_what_changed(home: Path) -> None:
    big = Policy(worth=2.0, strategy="single_shot", tokens={"m": 10.0, "k": 3.0}, stops="")
    big = big.model_copy(update={"lengths": {"m": {f"kind {i}": i + 1 for i in range(40)}}, "worth": 2.0})
    big.save("big.json")
    one = told("add", "single.json")["id"]
    rows = {row["field"]: (row["before"], row["after"]) for row in told("diff", one, "big.json")}
    assert rows["worth"] == ("1.0", "2.0")
    assert rows["tokens.m"] == ("-", "10.0")
    assert rows["name"] == ("single", "declared")
    assert "40 entries" in rows["lengths.m"][1]
    assert "strategy" not in rows
    assert "the same content" in run("diff", one, "single.json").stdout


def test_errors_say_what_to_do(home: Path) -> None:
    (home / "newer.json").write_text('{"format": 9}')
    (home / "text.json").write_text("no json")
    assert "newer satisfice" in str(failed("add", "newer.json"))
    assert isinstance(failed("add", "text.json"), BadSettings)
    assert isinstance(failed("add", "nowhere.json"), BadSettings)
    assert not (home / "policies.db").exists()  # nothing half-written
    one = told("add", "single.json")["id"]
    assert isinstance(failed("show", "nobody"), UnknownName)
    assert isinstance(failed("promote", one, "--override", "--reason", "x"), CallerError)
    assert isinstance(failed("promote", one, "--override", "--by", "ann"), CallerError)
    assert run("promote", one, "--to", "canary", "--share", "1.5").exit_code == 2
    assert "nothing to go back to" in str(failed("rollback"))
    assert len(told("audit")["log"]) == 1


def test_a_record_that_was_changed_fails_the_audit(home: Path) -> None:
    told("add", "single.json")
    with sqlite3.connect(home / "policies.db") as db:
        db.execute("DROP TRIGGER log_update")
        db.execute("UPDATE log SET by = 'somebody else'")
    db.close()
    result = CliRunner().invoke(cli, ["policy", "audit"], standalone_mode=False)
    assert "NOT whole: row 1" in result.stdout
    assert result.return_value == 6


def test_solve_is_served_by_what_is_in_production(home: Path) -> None:
    (home / "satisfice.toml").write_text(
        'policies = true\ndefault = "m"\n[agents.m]\nurl = "http://127.0.0.1:9/"\nusd = 0.01\n'
    )
    one = Registry(home / "policies.db").add(SINGLE)
    command = [sys.executable, "-m", "satisfice", "solve", "q", "--budget", "0.1", "--policy", "production"]
    none = subprocess.run(command, capture_output=True, text=True, check=False, cwd=home)
    assert none.returncode == 2
    assert "no policy is in production" in none.stderr
    Registry(home / "policies.db").move(one.id, "production")
    made = subprocess.run(
        [sys.executable, "-c", "from satisfice import Engine; print(Engine().policy.name)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=home,
    )
    assert made.stdout.strip() == f"single@{one.id} (production)"
