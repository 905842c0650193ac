"""The command line: bad input gets one clear line (JSON with --json) and an exit code, never a traceback."""

from __future__ import annotations

import json
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from satisfice import Engine, Price, ScriptedModel, SelfConsistency, SingleShot
from satisfice.cli import main
from satisfice.cli.interrupting import Watching, finished, interruptible, late_code
from satisfice.cli.listings import EXAMPLES
from satisfice.core.errors import StoreError
from satisfice.models.pricebook import PriceBook
from satisfice.scheduler.events import Received, Started
from satisfice.strategies.registry import strategy_of

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
    assert cli("strategies")[1].startswith("auto")
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


def test_one_strategy_is_told_whole(cli):
    code, out, _ = cli("strategies", "tree_search")
    assert code == 0
    assert "one of bfs, dfs, beam, mcts, ab_mcts" in out
    assert "example: --strategy 'tree_search:" in out
    assert json.loads(cli("strategies", "fusion", "--json")[1])["takes"]["method"]["default"] == "synthesis"
    assert json.loads(cli("strategies", "--json")[1])[0]["takes"]["params"]["default"]["max_tokens"] == 512
    code, error = _error(cli, "strategies", "tree_serch")
    assert (code, error["nearest"]) == (2, "tree_search")
    _, error = _error(cli, "strategies", "nothing_like_it")
    assert "workflow" in error["message"]


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - {"workflow"}))
def test_the_examples_are_strategies(name):
    assert callable(strategy_of(f"{name}:{EXAMPLES[name]}"))


def test_what_an_interrupted_run_says():
    watching = Watching(as_json=True)
    assert watching.interrupted(True) == "interrupted before anything was sent"
    with watching as tell:
        tell(Started("r1", "single_shot", ("m",)))
        tell(Received("r1", "0", "sample", "4", None, 0.5, 12))
    assert watching.interrupted(True) == (
        "interrupted; $0.5000 and 12 tokens for 1 reply, and what was under way beside; "
        "go on with: satisfice runs resume r1"
    )
    assert watching.interrupted(True, 1_500_000_000) == (
        "interrupted; $1.5000 spent, calls that were cut off counted at their worst case; "
        "go on with: satisfice runs resume r1"
    )
    assert "not kept" in watching.interrupted(False)


def test_ctrl_c_names_the_run(cli, monkeypatch):
    """Click wraps the interruption; what it says has to come through."""

    async def cut_off(*_, **__):
        raise KeyboardInterrupt("interrupted; go on with: satisfice runs resume r1")

    monkeypatch.setattr("satisfice.cli.solving.interruptible", cut_off)
    monkeypatch.setattr("satisfice.scheduler.engine.Engine.__aenter__", _itself)
    monkeypatch.setattr("satisfice.scheduler.engine.Engine.__aexit__", _itself)
    code, error = _error(cli, "solve", "x", "--calls", "1", "--model", "local/smollm2")
    assert (code, error["code"]) == (130, "interrupted")
    assert "runs resume r1" in error["message"]


@pytest.mark.parametrize("args", [("resume", "r1"), ("answer", "r1", "yes")])
def test_going_on_is_as_interruptible_as_solve(cli, monkeypatch, args):
    async def cut_off(work, as_json, engine, *_):
        assert work.func.__self__ is engine
        raise KeyboardInterrupt("interrupted; go on with: satisfice runs resume r1")

    monkeypatch.setattr("satisfice.cli.runs.interruptible", cut_off)
    code, error = _error(cli, "runs", *args)
    assert (code, error["code"]) == (130, "interrupted")
    assert "runs resume r1" in error["message"]


class _Books:
    """An engine that closes with settlements unwritten, and its journal."""

    @property
    def journal(self):
        return self

    async def find(self, run):
        return SimpleNamespace(id=run, spent_nanos=2_000_000_000)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        raise StoreError("1 settlements could not be written")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_run_and_tell_what_was_posted(number):
    async def work(on_event, on_cancel):
        assert on_cancel == "best"
        on_event(Started("r1", "single_shot", ("m",)))
        await anyio.lowlevel.checkpoint()
        signal.raise_signal(number)
        await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt, match=r"\$2\.0000 spent, .*runs resume r1"):
        anyio.run(interruptible, work, True, _Books())


def test_an_answer_outlives_what_cannot_be_written_at_the_end(capsys):
    async def work():
        return "a solution"

    solution, late = anyio.run(finished, _Books(), work)
    assert (solution, late_code(late, False), late_code(None, False)) == ("a solution", 6, 0)
    assert capsys.readouterr().err == "error: 1 settlements could not be written\n"
    assert late_code(late, True) == 6
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "store"


def test_only_the_nearest_providers_are_told(cli):
    code, error = _error(cli, "prices", "opnai/gpt-4o")
    assert (code, error["nearest"]) == (2, "openai")
    assert len(error["message"]) < 160


def test_the_price_file_of_the_docs(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "prices.md").read_text("utf-8")
    file = tmp_path / "prices.toml"
    file.write_text(text.partition("```toml\n")[2].partition("```")[0], "utf-8")
    book = PriceBook([file])
    before, after = (book.quoted("openai/gpt-4o-mini", datetime(2026, month, 1, tzinfo=UTC)) for month in (2, 8))
    assert (before.price.figures()[0], after.price.figures()[0]) == (150_000, 120_000)
    assert book.price("hosted_vllm/my-model") is not None


async def _itself(engine, *_):
    return None


@pytest.mark.parametrize(("strategy", "warned"), [(SingleShot(), True), (SelfConsistency(samples=2), True)])
def test_tools_that_nothing_can_use_are_told(strategy, warned):
    def add(a: int, b: int) -> int:
        """The sum."""
        return a + b

    async def solve(**more):
        engine = Engine("m", journal=False, **more)
        engine.register("m", ScriptedModel(["Answer: 7"] * 4), Price.per_million(1, 4))
        async with engine:
            return await engine.solve("3+4?", budget=1, answer="number", strategy=strategy)

    warnings = anyio.run(partial(solve, tools={"add": add})).warnings
    assert any("(add)" in said and "react" in said for said in warnings) is warned
    assert not anyio.run(solve).warnings


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
