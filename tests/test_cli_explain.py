"""`runs show --explain` and `runs feedback`: choices in words, and whether they held."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from satisfice import Budget, Engine, Price, ScriptedModel
from satisfice.cli import main
from satisfice.cli.explaining import explained
from satisfice.cli.telling import summarise
from satisfice.scheduler.journal import Given, Journal, Row, RunRecord
from satisfice.scheduler.paths import encode

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsysbinary: Any) -> Cli:
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["satisfice", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = (text.decode() for text in capsysbinary.readouterr())
        assert "Traceback" not in err
        return int(stop.value.code or 0), out, err

    return run


def solved(home: Path) -> str:
    async def work() -> str:
        async with Engine("m", journal=home / "runs.db") as engine:
            engine.register("m", ScriptedModel(["Answer: 2", "Answer: 3", "Answer: 2"]), Price.per_million(1, 1))
            budget = Budget(usd=1.0, worth=0.5)
            solution = await engine.solve("1 + 1?", answer="number", budget=budget, strategy="self_consistency")
            return solution.run_id

    return anyio.run(work)


def test_a_run_is_told_in_words(cli: Cli, tmp_path: Path) -> None:
    run = solved(tmp_path)
    code, out, _ = cli("runs", "show", run[:18], "--explain")
    assert code == 0
    assert "1. After 0.00 s and nothing spent: nothing was known of the answer yet." in out
    assert "came of it: answer '2'" in out
    assert "It answered '2'" in out
    assert "Nobody has said whether it was right" in out
    data = json.loads(cli("runs", "show", run, "--explain", "--json")[1])
    first = data["decisions"][0]
    assert (first["depth"], first["p"], first["size"] > 0) == (0, None, True)
    assert first["ways"][0]["chosen"]


def test_feedback_and_what_it_does_to_the_telling(cli: Cli, tmp_path: Path) -> None:
    run = solved(tmp_path)
    code, out, _ = cli("runs", "feedback", run, "--correct", "--by", "ann")
    assert (code, "said to be right" in out) == (0, True)
    assert "already said to be right" in cli("runs", "feedback", run, "--correct")[1]
    code, out, err = cli("runs", "feedback", run, "--wrong")
    assert (code, "--revise" in err) == (2, True)
    assert "now said to be wrong" in cli("runs", "feedback", run, "--wrong", "--revise", "--note", "off by one")[1]
    out = cli("runs", "show", run, "--explain")[1]
    assert "It was said to be wrong" in out
    assert "1 earlier word revised" in out
    assert "note: off by one" in out
    assert "feedback: wrong" in cli("runs", "show", run)[1]
    assert json.loads(cli("runs", "show", run, "--json")[1])["feedback"][-1]["correct"] == 0.0
    data = json.loads(cli("runs", "feedback", run, "--score", "0.25", "--revise", "--json")[1])
    assert (data["run_id"], data["correct"], data["revised"]) == (run, 0.25, True)
    data = json.loads(cli("runs", "feedback", "--summary", "--json")[1])
    assert (data["feedback"], data["right"], data["confidence"]) == (1, 0.25, None)
    assert "none of these runs had predicted" in cli("runs", "feedback", "--summary")[1]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "say which run"),
        (("r1",), "say which run"),
        (("nothing", "--correct"), "unknown run 'nothing'"),
        (("nothing", "--score", "much"), "expected a number"),
        (("nothing", "--score", "2"), "True, False, or a number"),
        (("r1", "--summary"), "about all runs"),
    ],
)
def test_what_cannot_be_said(cli: Cli, args: tuple[str, ...], told: str) -> None:
    code, out, err = cli("runs", "feedback", *args)
    assert (code, out) == (2, "")
    assert told in err


def test_nothing_on_record(cli: Cli) -> None:
    assert "no feedback on record" in cli("runs", "feedback", "--summary")[1]


def test_the_summary_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    seen = json.dumps([["single_shot@m", 0.7, 0.0, 1.0]])
    words = [Given(f"r{i}", float(i % 3 > 0), "", "", "", "", "p", "auto", 0.8, seen) for i in range(30)]
    summarise(words, False)
    out = capsys.readouterr().out
    assert "feedback on 30 runs: 66.7% right" in out
    assert "answers, as claimed" in out
    assert "single_shot@m" in out
    assert "0.70>1.00" in out


# -- an allocator's run, as it is stored -----------------------------------------------------------------------------


def way(name: str, net: float | None, p: float | None = None) -> dict[str, Any]:
    return {"name": name, "size": 1, "gain": net, "cost": 0.01, "seconds": 1.0, "net": net, "each": 0.01, "p": p}


def choice(step: int, ways: list[dict[str, Any]], index: int, size: int, p: float | None) -> dict[str, Any]:
    facts = {"at": 0.5 * step, "spent_usd": 0.01 * step, "p": p, "price": 2.0, "reason": "worth it", "said": "one more"}
    return {"path": encode((step, 0)), "alternatives": ways, "index": index, "size": size, **facts}


def reply(path: tuple[int, ...], effect: str, **facts: Any) -> Row:
    return Row("r1", encode(path), 0, "reply", effect, "", json.dumps(facts), 0, 0, 1, 0.0)


DECISIONS = [
    choice(1, [way("small", 0.3, 0.6), way("large", 0.4, 0.9)], 1, 1, None),
    choice(3, [way("small", 0.1, 0.5), way("bot", 0.2, 0.7)], 1, 1, 0.9),
    choice(5, [way("ask judge", 0.1)], 0, 1, 0.8),
    choice(7, [way("small", None)], 0, 2, 0.8),
    choice(9, [way("small", -0.1, 0.4)], 0, 0, 0.95),
]
ROWS = [
    reply((2, 0), "sample", key="2", answer="2", text="Answer: 2"),
    reply((4, 0), "within", outcome={"candidate": None, "fault": "the bot is down"}),
    reply((6, 0), "score", score=0.75, verdict={}),
    reply((8, 0), "sample", key=None, answer=None, text="hm"),
    reply((8, 1), "sample", error={"type": "ModelTimeout", "message": "no reply within 5 s"}),
]
RESULT = {"answer": "2", "confidence": 0.95, "stop_reason": "value", "stop_said": "stop", "decisions": DECISIONS}
RECORD = RunRecord("r1", "2026-01-01", "done", "{}", json.dumps(RESULT), "1 + 1?", "auto", 40_000_000, "", None)


def test_what_came_of_each_choice() -> None:
    data = explained(RECORD, ROWS, [])
    assert [step["came"] for step in data["decisions"]] == [
        ["answer '2'"],
        ["failed: the bot is down"],
        ["a verdict of 0.75"],
        ["nothing readable", "failed: no reply within 5 s"],
        [],
    ]
    ways = data["decisions"][0]["ways"]
    assert [(w["name"], w["p"], w["net_usd"], w["chosen"]) for w in ways] == [
        ("small", 0.6, 0.15, False),
        ("large", 0.9, 0.2, True),
    ]
    assert not any(w["chosen"] for w in data["decisions"][-1]["ways"])


def test_predictions_are_held_against_what_came(cli: Cli, tmp_path: Path) -> None:
    async def keep() -> None:
        async with Journal.open(tmp_path / "runs.db") as journal:
            await journal.begin(replace(RECORD, status="running", result=None))
            await journal.finish("r1", "done", RECORD.result, RECORD.spent_nanos, ROWS)
            seen = json.dumps([["large", 0.9, 0.0, 0.0]])
            await journal.give(Given("r1", 0.0, "ann", "", "2026-01-02T03:04:05", "", "p", "auto", 0.95, seen))

    anyio.run(keep)
    out = cli("runs", "show", "r1", "--explain")[1]
    assert re.search(r"> large +90% +\+40%", out)
    assert "the best answer was right with P = 0.90" in out
    assert "fixed" in out
    assert "It was said to be wrong by ann, 2026-01-02; the run had said P = 0.95." in out
    assert "large: predicted right with P = 0.90, and was wrong" in out


def test_a_run_without_choices(cli: Cli, tmp_path: Path) -> None:
    async def keep() -> None:
        async with Journal.open(tmp_path / "runs.db") as journal:
            await journal.begin(replace(RECORD, status="running", result=None))

    anyio.run(keep)
    out = cli("runs", "show", "r1", "--explain")[1]
    assert "nothing was weighed" in out
    assert "It has not ended" in out
