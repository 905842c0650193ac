"""`satisfice bank`, `evaluate` and `fit` on a bank made of a small file, against counts made by hand."""

from __future__ import annotations

import csv
import json
import random
import sys

import pytest

from satisfice.cli import main

pytest.importorskip("pyarrow", reason="extra `bank` is not installed")
COLUMNS = [
    "dataset",
    "question_id",
    "question",
    "gold",
    "model",
    "strategy",
    "sample_index",
    "answer",
    "correct",
    "prompt_tokens",
    "completion_tokens",
    "tokens_source",
    "cost_usd",
    "cost_source",
]


@pytest.fixture
def run(monkeypatch, tmp_path, capsysbinary):
    monkeypatch.chdir(tmp_path)

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["satisfice", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = (text.decode() for text in capsysbinary.readouterr())
        assert not stop.value.code, err + out
        return out

    return call


@pytest.fixture
def samples(tmp_path):
    """40 questions, 6 draws each: right with a chance of the question's own, else the same mistake or a fresh one."""
    dice, rows = random.Random(3), []
    for q in range(40):
        theta = dice.random()
        for i in range(6):
            answer = "A" if dice.random() < theta else dice.choice("BBCDE")
            cost = f"{0.001 + 0.0001 * i:.6f}"
            source = ("recorded", cost, "recorded")
            rows.append(
                ["exam", f"q{q}", f"Question {q}?", "A", "m", "cot", i, answer, int(answer == "A"), 50, 20, *source]
            )
    with (tmp_path / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return rows


def test_import_info_evaluate_fit(run, samples, tmp_path):
    made = json.loads(run("bank", "import", "samples.csv", "--out", "bank", "--licence", "CC0", "--json"))
    assert (made["questions"], made["candidates"]) == (40, 240)
    assert json.loads(run("bank", "info", "bank", "--json")) == made
    assert "240 candidates" in run("bank", "info", "bank")

    report = json.loads(run("evaluate", "--bank", "bank", "--resamples", "5", "--json"))
    rows = {row["name"]: row for row in report["rows"]}
    right = sum(row[8] for row in samples) / len(samples)
    assert rows["single_shot"]["accuracy"]["estimate"] == pytest.approx(right)
    assert rows["single_shot"]["usd"]["estimate"] == pytest.approx(0.00125)
    oracle = sum(any(row[8] for row in samples if row[1] == f"q{q}") for q in range(40)) / 40
    assert rows["oracle"]["accuracy"]["estimate"] == pytest.approx(oracle)
    assert rows["self_consistency"]["questions"] == 40
    assert 1 <= rows["self_consistency"]["calls"] <= 6
    assert "intervals" in run("evaluate", "--bank", "bank", "--resamples", "2", "--strategy", "single_shot")

    policy = json.loads(run("fit", "--bank", "bank", "--out", "policy.json", "--json"))
    assert policy["fitted"] is True
    assert sum(weight for _, _, weight in policy["voting"]) == pytest.approx(1)
    fitted = json.loads(run("evaluate", "--bank", "bank", "--policy", "policy.json", "--resamples", "5", "--json"))
    assert next(r for r in fitted["rows"] if r["name"] == "self_consistency")["calibration"]["fitted"] is True
