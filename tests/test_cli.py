"""The command line: bad input gets one clear line (JSON with --json) and an exit code, never a traceback."""

from __future__ import annotations

import json
import sys

import anyio
import pytest

from satisfice import Engine, Price, ScriptedModel, SingleShot
from satisfice.cli import main

ASK_FIRST = """
from satisfice import Answer, Ask, Candidate

class AskFirst:
    name = "ask_first"

    def __call__(self, task):
        said = yield from Ask("Which city?")
        return Answer(Candidate(said, said, said.lower()))
"""


@pytest.fixture
def cli(monkeypatch, tmp_path, capsysbinary):
    """Runs `satisfice ARGS` in this process; replies (exit code, stdout, stderr)."""
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["satisfice", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = (text.decode() for text in capsysbinary.readouterr())
        assert "Traceback" not in err
        return stop.value.code or 0, out, err

    return run


def _error(cli, *args):
    code, out, _ = cli(*args, "--json")
    return code, json.loads(out)["error"]


BAD = [
    (("solve", " "), 2, "bad_query", "empty"),
    (("solve", "x", "--budget", "0"), 2, "bad_budget", "above 0"),
    (("solve", "x", "--budget", "-1"), 2, "bad_budget", "above 0"),
    (("solve", "x", "--budget", "nan"), 2, "bad_budget", "finite"),
    (("solve", "x"), 2, "bad_budget", "cap"),
    (("solve", "x", "--budget", "1", "--strategy", "self_consistancy"), 2, "unknown_name", "'self_consistency'"),
    (("solve", "x", "--budget", "1", "--model", "loca/smollm2"), 2, "unknown_name", "local/smollm2"),
    (("solve", "x", "--budget", "1", "--answer", "numbr"), 2, "unknown_name", "'number'"),
    (("solve", "x", "--budget", "1", "--policy", "no.json"), 2, "bad_settings", "no.json"),
    (("solve", "x", "--budget", "1", "--check", "nowhere:f"), 2, "unknown_name", "nowhere"),
    (("solve", "x", "--budget", "much"), 2, "usage", "much"),
    (("solve", "x", "--budget", "1", "--model", "local//no/such.gguf"), 2, None, "no/such.gguf"),
    (("solve", "x" * 200_000, "--budget", "1", "--model", "local/smollm2"), 2, "bad_query", "2,048 tokens"),
    (
        ("solve", "x", "--budget", "0.0000001", "--model", "local/smollm2"),
        3,
        "budget_too_small",
        "one call costs up to",
    ),
    (("runs", "show", "nope"), 2, "unknown_name", "nope"),
    (("bank", "info", "nowhere"), 6, "store", "nowhere"),
    (("evalute",), 2, "unknown_name", "'evaluate'"),
]


@pytest.mark.parametrize(("args", "exit_code", "code", "says"), BAD, ids=[" ".join(b[0])[:40] for b in BAD])
def test_bad_input(cli, args, exit_code, code, says):
    got, error = _error(cli, *args)
    assert (got, code or error["code"]) == (exit_code, error["code"]), error
    assert says in error["message"]
    got, out, err = cli(*args)
    assert got == exit_code
    assert out == ""
    assert err.splitlines()[-1].startswith("error: ") or "error: " in err


def test_a_broken_settings_file_is_named(cli, tmp_path):
    (tmp_path / "satisfice.toml").write_text("default = \n")
    code, error = _error(cli, "solve", "x", "--budget", "1")
    assert (code, error["code"]) == (2, "bad_settings")
    assert "satisfice.toml" in error["message"]


def test_missing_key_names_the_variable(cli, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code, error = _error(cli, "solve", "x", "--budget", "1", "--model", "openai/gpt-4o-mini")
    assert (code, error["code"]) == (4, "missing_key")
    assert "OPENAI_API_KEY" in error["message"]


def test_a_non_utf8_query_is_refused(cli):
    code, error = _error(cli, "solve", b"caf\xe9".decode("utf-8", "surrogateescape"), "--budget", "1")
    assert (code, error["code"]) == (2, "bad_query")


def test_listings(cli):
    _, out, _ = cli("strategies", "--json")
    assert {row["name"] for row in json.loads(out)} >= {"single_shot", "self_consistency", "best_of_n"}
    _, out, _ = cli("models", "--json")
    assert any(row["name"] == "local/smollm2" and row["usd_per_million"] for row in json.loads(out))
    assert cli("strategies")[1].startswith("single_shot")
    assert "local/smollm2" in cli("models")[1]


def test_help_has_examples(cli):
    for command in ("solve", "evaluate", "fit", "demo"):
        assert f"satisfice {command}" in cli(command, "--help")[1].partition("Options:")[0]


def test_runs_are_listed_and_shown(cli, tmp_path):
    async def solve():
        engine = Engine("m", journal=tmp_path / "home" / "runs.db")
        engine.register("m", ScriptedModel(["Answer: 7"]), Price.per_million(1, 4))
        async with engine:
            return await engine.solve("3+4?", budget=1, answer="number", strategy=SingleShot())

    solution = anyio.run(solve)
    _, out, _ = cli("runs", "list", "--json")
    assert [(r["id"], r["status"]) for r in json.loads(out)] == [(solution.run_id, "done")]
    _, out, _ = cli("runs", "show", solution.run_id[:9], "--json")
    shown = json.loads(out)
    assert shown["result"]["answer"] == "7"
    assert sum(row["usd"] for row in shown["rows"] if row["kind"] == "reply") == pytest.approx(solution.spend.usd)
    text = cli("runs", "show", solution.run_id)[1]
    assert "answer '7'" in text
    assert "stop" not in text.splitlines()[0]
    assert solution.run_id in cli("runs", "list")[1]


def test_a_waiting_run_is_answered_from_the_command_line(cli, tmp_path, monkeypatch):
    """A strategy of one's own, named as module:attribute, asks a person; another process brings the answer."""
    pytest.importorskip("xllamacpp", reason="extra `local` is not installed")
    (tmp_path / "ask_first.py").write_text(ASK_FIRST)
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, err = cli("solve", "Where?", "--budget", "1", "--strategy", "ask_first:AskFirst", "--json")
    assert code == 0, err
    solution = json.loads(out)
    assert (solution["status"], solution["question"], solution["spend"]["usd"]) == ("waiting", "Which city?", 0)
    run = solution["run_id"]
    assert json.loads(cli("runs", "list", "--status", "waiting", "--json")[1])[0]["id"] == run
    code, out, err = cli("runs", "answer", run, "Rome")
    assert (code, out.strip()) == (0, "Rome"), err
    code, error = _error(cli, "runs", "answer", run, "Rome")
    assert (code, error["code"]) == (2, "caller")


@pytest.mark.local
def test_solve_on_the_embedded_model(cli):
    pytest.importorskip("xllamacpp", reason="extra `local` is not installed")
    code, out, err = cli(
        "solve", "What is 2+2?", "--answer", "number", "--budget", "0.001", "--max-tokens", "16", "--json"
    )
    assert "embedded local/smollm2" in err
    assert err.count("embedded") == 1
    if code == 5:
        assert json.loads(out)["error"]["code"] == "no_answer"
        return
    solution = json.loads(out)
    assert set(solution) >= {"answer", "confidence", "confidence_reason", "strategy", "stop_reason", "spend", "run_id"}
    assert set(solution["spend"]) >= {"usd", "tokens", "calls", "seconds", "overhead"}
    assert solution["confidence"] is None
    assert "uncalibrated" in solution["confidence_reason"]
    assert 0 < solution["spend"]["usd"] <= 0.001
    shown = json.loads(cli("runs", "show", solution["run_id"], "--json")[1])
    assert shown["status"] == "done"


@pytest.mark.local
def test_a_tiny_demo(cli, tmp_path):
    pytest.importorskip("xllamacpp", reason="extra `local` is not installed")
    code, out, _ = cli("demo", "--quick", "--questions", "3", "--seed", "1", "--json")
    assert code == 0
    report = json.loads(out)
    assert len(report["arms"]) == 5
    for arm in report["arms"]:
        assert arm["questions"] == 3
        assert 0 < arm["usd_per_question"] <= arm["budget_usd"]
    picture = (tmp_path / "demo" / "accuracy-vs-spend.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    assert json.loads((tmp_path / "demo" / "results.json").read_text())["seed"] == 1
