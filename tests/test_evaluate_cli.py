"""`satisfice evaluate`: several policies, pairs, metrics, the report's file, and a table that fits a terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from satisfice.budgets.policy import Policy
from satisfice.cli import main
from satisfice.cli.measured import WIDTH, short
from satisfice.experiments import Bank, Draw, Question, Report

pytest.importorskip("pyarrow", reason="extra `bank` is not installed")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bank "exam" of two models, one of them under two arms, in the working folder."""
    dice = Random(1)
    questions = {f"q{i}": Question(f"q{i}", "exam", f"Q{i}?", "A", "choice", (), i % 4) for i in range(60)}
    rows = {}
    for name in questions:
        ease = dice.random()
        for model, arm, lift in (("cheap", "warm", 0.0), ("cheap", "hot", -0.2), ("dear", "warm", 0.3)):
            said = ["A" if dice.random() < ease + lift else dice.choice("BCD") for _ in range(4)]
            cost = 10_000 if model == "dear" else 1_000
            rows[name, model, arm] = tuple(Draw(j, s, s, s == "A", 10, 20, cost) for j, s in enumerate(said))
    Bank(questions, rows).save(tmp_path / "exam")
    Policy(name="p", strategy="self_consistency:samples=3", provenance={"bank": "exam"}).save(tmp_path / "three.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, capsysbinary: Any, *args: str, code: int = 0) -> str:
    monkeypatch.setattr(sys, "argv", ["satisfice", "evaluate", "--bank", "exam", "--resamples", "2", *args])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = (text.decode() for text in capsysbinary.readouterr())
    assert (stop.value.code or 0) == code, err + out
    return str(out + err if code else out)


@pytest.mark.usefixtures("folder")
def test_a_table_that_fits_differences_and_what_to_mind(monkeypatch: pytest.MonkeyPatch, capsysbinary: Any) -> None:
    said = run(monkeypatch, capsysbinary, "--policy", "declared", "--policy", "three.json")
    lines = said.split("\ndifferences")[0].splitlines()
    table = [line for line in lines if not line.startswith("warning: ")]
    assert lines[0].startswith("warning: ")  # before the figures that it is about
    assert max(len(line.rstrip()) for line in table) <= WIDTH
    assert "single_shot *" in said
    assert "self_consistency [declared]" in said  # the second policy beside the first
    assert "warning: IN SAMPLE: policy 'three' was fitted on a bank called 'exam'" in said
    assert "left out: cheap, hot (--arm NAME, or --every-arm)" in said
    assert "--strategy auto asks for it" in said
    wide = run(monkeypatch, capsysbinary, "--every-arm", "--wide", "--strategy", "single_shot")
    assert "stops" in wide
    assert " hot " in wide
    assert "left out" not in wide


def test_the_file_holds_the_whole_report(folder: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: Any) -> None:
    said = run(monkeypatch, capsysbinary, "--out", "report.json", "--json")
    report = Report.load(folder / "report.json")
    assert [row.name for row in report.rows] == [row["name"] for row in json.loads(said)["rows"]]
    assert len(report.rows[0].each) == 60
    assert report.topics["q0"] == "exam"
    assert json.loads(said)["metrics"]["groups"]
    assert json.loads(said)["left_out"] == ["cheap, hot"]


@pytest.mark.usefixtures("folder")
def test_pairs_and_metrics(monkeypatch: pytest.MonkeyPatch, capsysbinary: Any) -> None:
    args = ("--policy", "declared", "--policy", "three.json", "--pair", "three,declared", "--json")
    found = json.loads(run(monkeypatch, capsysbinary, *args))["comparisons"]
    assert [(c["policy"], c["against"], c["model"]) for c in found] == [
        ("three", "self_consistency [declared]", model) for model in ("cheap", "dear")
    ]
    said = run(monkeypatch, capsysbinary, "--metrics")
    for title in (
        "frontier of cheap",
        "AIQ over",
        "share of the oracle gap closed",
        "k draws of dear",
        "routing cheap",
    ):
        assert title in said
    told = run(monkeypatch, capsysbinary, "--pair", "nobody,single_shot", code=2)
    assert "nobody" in told


@pytest.mark.usefixtures("folder")
def test_another_engine_says_the_same(monkeypatch: pytest.MonkeyPatch, capsysbinary: Any) -> None:
    alone = run(monkeypatch, capsysbinary, "--json")
    assert run(monkeypatch, capsysbinary, "--engine", "local", "--workers", "2", "--json") == alone


def test_long_names_lose_their_middle() -> None:
    assert short("a" * 10, 10) == "a" * 10
    assert short("abcdefghijkl", 7) == "abc…jkl"
    assert short("one + two + three + four + five") == "5 models"
