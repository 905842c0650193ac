"""`satisfice bank`, `evaluate` and `fit` on a bank made of a small file, against counts made by hand."""

from __future__ import annotations

import csv
import json
import random
import sys
from pathlib import Path

import pytest

from satisfice.budgets.policy import Policy
from satisfice.cli import main
from satisfice.cli.fitted import show_fitted
from satisfice.cli.progressing import lines

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


def test_import_info_evaluate_fit(run, samples, capsysbinary):
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
    assert policy["provenance"]["bank"] == "bank"
    show_fitted(Path("bank"), Path("policy.json"), Policy.load("policy.json"))
    said = capsysbinary.readouterr().out.decode()
    assert "learnt from bank bank: 40 questions, 240 draws" in said
    assert "voting: fitted on 40 groups of draws; log loss" in said
    assert "lower is better" in said
    assert "lengths m: 20.0 tokens on average" in said
    assert sum(weight for _, _, weight in policy["voting"]) == pytest.approx(1)
    fitted = json.loads(run("evaluate", "--bank", "bank", "--policy", "policy.json", "--resamples", "5", "--json"))
    assert next(r for r in fitted["rows"] if r["name"] == "self_consistency")["calibration"]["fitted"] is True


def test_progress_without_a_terminal_begins_after_ten_seconds():
    times, said = iter([0, 9, 10, 12, 20, 30]), []
    tell = lines("replaying", lambda: next(times), said.append)
    for done in (1, 2, 3, 4, 8):
        tell(done, 8)
    assert said == ["replaying: 2/8, 10 s, about 30 s left", "replaying: 4/8, 20 s, about 20 s left"]


def test_a_strategy_that_always_fails_is_an_error(samples, tmp_path, monkeypatch, capsysbinary):
    """And rows are called what they were called on the command line."""
    (tmp_path / "faulty.py").write_text("def plan(task):\n    raise ValueError('never')\n    yield\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    codes = []
    for args in (
        ("bank", "import", "samples.csv", "--out", "b"),
        ("evaluate", "--bank", "b", "--strategy", "self_consistency:samples=2", "--resamples", "1"),
        ("evaluate", "--bank", "b", "--strategy", "faulty:plan", "--resamples", "1"),
    ):
        monkeypatch.setattr(sys, "argv", ["satisfice", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        codes.append(stop.value.code or 0)
    out, err = (text.decode() for text in capsysbinary.readouterr())
    assert codes == [0, 0, 5], err
    assert "self_consistency:samples=2 " in out
    assert "faulty:plan ended in a fault" in err


def test_fit_and_evaluate_a_cascade_of_single_draws(run, tmp_path):
    dice, rows = random.Random(4), []
    for q in range(60):
        for model, p, cost in (("cheap", 0.5, "0.001"), ("dear", 0.95, "0.02")):
            answer = "A" if dice.random() < p else "B"
            rest = (answer, int(answer == "A"), 50, 20, "recorded", cost, "recorded")
            rows.append(["exam", f"q{q}", f"Question {q}?", "A", model, "cot", 0, *rest])
    with (tmp_path / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    run("bank", "import", "samples.csv", "--out", "bank")
    said = run("fit", "--bank", "bank", "--out", "policy.json")
    assert "voting: declared: only 0" in said
    assert "cheap>dear" in said
    spec = 'cascade:stages=["single_shot:model=cheap","single_shot:model=dear"]'
    assert spec in said
    args = ("evaluate", "--bank", "bank", "--policy", "policy.json", "--worth", "1", "--resamples", "1")
    report = json.loads(run(*args, "--strategy", spec, "--json"))
    (row,) = [r for r in report["rows"] if r["model"] == "cheap + dear"]
    assert (row["questions"], row["calls"], row["misses"]) == (60, 2.0, 0)
    told = run(*args, "--strategy", "cascade")
    assert "note: cascade on cheap (and 1 more rows): " in told
    assert "its stages name no models" in told
    assert "note: roles on cheap (and 1 more rows): cannot be replayed on this bank: its first step" in run(
        *args, "--strategy", "roles"
    )


def test_split_merge_and_info_of_banks(run, samples, tmp_path, monkeypatch, capsysbinary):
    run("bank", "import", "samples.csv", "--out", "one")
    text = (tmp_path / "samples.csv").read_text()
    (tmp_path / "more.csv").write_text(text.replace("exam,q1,Question 1?", "exam,other,question  1?"))
    run("bank", "import", "more.csv", "--out", "two")

    made = json.loads(run("bank", "merge", "one", "two", "--out", "both", "--json"))
    assert (made["questions"], made["candidates"], made["clash"]) == (40, 240, None)
    assert "240 draws stood in two banks, 0 draws renumbered" in run("bank", "merge", "one", "two", "--out", "both2")
    renamed = json.loads(run("bank", "merge", "one", "two", "--out", "both3", "--rename", "m=n", "--json"))
    assert (renamed["models"], renamed["candidates"]) == (["m", "n"], 480)

    dealt = json.loads(run("bank", "split", "both", "--folds", "4", "--out", "dealt", "--json"))
    assert (dealt["questions"], dealt["clusters"], sum(dealt["folds"].values())) == (40, 40, 40)
    assert "40 questions in 40 clusters" in run("bank", "split", "both", "--folds", "4", "--seed", "2", "--out", "d2")
    told = run("bank", "info", "dealt", "--verify")
    assert "licence: unknown; latency unknown; 2 part files" in told
    assert json.loads(run("bank", "info", "verifiers", "--json"))["candidates"] == 11520

    before = sorted(path.name for path in tmp_path.iterdir())
    for args, says in (
        (("merge", "one", "two", "--out", "dealt"), "exists already"),
        (("merge", "one", "--out", "x"), "two banks"),
        (("merge", "one", "two", "--out", "x", "--rename", "m"), "expected OLD=NEW"),
        (("merge", "one", "two", "--out", "x", "--reprice", "m=1"), "--reprice 'm=1': expected MODEL=IN/OUT"),
        (("merge", "one", "two", "--out", "x", "--rename", "z=y"), "unknown model 'z'"),
        (("split", "one", "--out", "dealt"), "exists already"),
        (("split", "one", "--folds", "1", "--out", "x"), "2 or more"),
        (("info", "nowhere"), "shipped banks: "),
        (("import", "samples.csv", "--out", "x", "--gold", "none.csv"), "none.csv"),
    ):
        monkeypatch.setattr(sys, "argv", ["satisfice", "bank", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code
        assert says in capsysbinary.readouterr().err.decode(), args
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_stands_in_the_way_is_said(run, tmp_path):
    """The same question in two folds, one sample of each, and two sources of prices."""
    rows = [
        ["exam", f"q{i}", text, "A", "m", "cot", 0, "A", 1, 50, 20, "recorded", "0.001", source, fold]
        for i, (text, source, fold) in enumerate([("One?", "list", 0), ("one? ", "list", 1), ("Two?", "bill", 2)])
    ]
    with (tmp_path / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*COLUMNS, "fold"], *rows])
    said = run("bank", "import", "samples.csv", "--out", "bank", "--price", "m=1/2")
    assert "groups of near-duplicates: 1, as q0, q1" in said
    assert "warning: questions 'q0' and 'q1' are the same or nearly so and lie in two folds" in said
    assert "warning: one sample of each question" in said
    assert "warning: mixed prices of m: its costs come from 'bill', 'list'" in said
    assert "m: fingerprint unknown, 1/2 USD per million tokens" in said
    run("bank", "split", "bank", "--folds", "5", "--out", "dealt")
    assert "lie in two folds" not in run("bank", "info", "dealt")
