"""`satisfice calibrate` on a small bank with verifiers whose worth is known: one that tells, one that does not."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from math import exp
from random import Random

import pytest

from satisfice import Policy
from satisfice.budgets.calibrators import EnsembleModel
from satisfice.cli import main
from satisfice.cli.calibrating import informative, verdict_on
from satisfice.experiments import Bank, Draw, Question
from satisfice.experiments.bank import Scored
from satisfice.experiments.diagram import points_of
from satisfice.experiments.verifying import Recorded, measured

pytest.importorskip("pyarrow", reason="extra `bank` is not installed")


def recorded_bank(questions=60, draws=6, seed=0, verdicts=True, few=False):
    """Draws of `questions`; "judge" scores right ones higher (not calibrated, 2,500 nano-dollars each), "noise" does
    not know, "rare" was asked ten times."""
    dice, asked, drawn, said = Random(seed), {}, {}, {}
    for q in range(questions):
        asked[f"q{q}"] = Question(f"q{q}", "exam", f"Question {q}?", "A", "choice", tuple("ABC"), q % 5)
        theta, row = dice.betavariate(1.2, 1.5), []
        for i in range(draws):
            answer = "A" if dice.random() < theta else dice.choice("BBC")
            row.append(Draw(i, answer, answer.lower(), answer == "A", 50, 20, 1000))
            score = 1 / (1 + exp(-2 * (dice.gauss(1.0 if answer == "A" else -1.0, 1.0) + 1)))
            told = {"judge": Scored(None if dice.random() < 0.05 else score, 120, 2500)}
            told["noise"] = Scored(0.6 + 0.3 * dice.random(), 0, 0)
            if len(said) < 10:
                told["rare"] = Scored(0.5, 0, 0)
            said[f"q{q}", "m", "cot", i] = told
        drawn[f"q{q}", "m", "cot"] = tuple(row[:1] if few else row)
    if few:
        said = {place: told for place, told in said.items() if place[3] == 0}
    return Bank(asked, drawn, {"licence": "CC0"}, None, said if verdicts else {})


@pytest.fixture
def run(monkeypatch, tmp_path, capsysbinary):
    """Runs `satisfice calibrate ARGS` (or another command); replies (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*args, command="calibrate"):
        monkeypatch.setattr(sys, "argv", ["satisfice", command, *args])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = (text.decode() for text in capsysbinary.readouterr())
        assert "Traceback" not in err
        assert "bug in satisfice" not in err
        return stop.value.code or 0, out, err

    return call


@pytest.fixture
def bank(tmp_path):
    recorded_bank().save(tmp_path / "bank")
    return recorded_bank()


def test_json_has_every_figure(run, bank):
    code, out, err = run("--bank", "bank", "--json")
    assert code == 0, err
    data = json.loads(out)
    judge, noise = data["verifiers"]
    assert (judge["name"], noise["name"]) == ("judge", "noise")
    assert "rare" in data["skipped"]
    assert judge["verdicts"] + judge["unknown"] == 360
    assert judge["questions"] == 60
    assert judge["usd"] == pytest.approx(2.5e-6)
    assert judge["informative"]
    assert judge["auc"]["low"] > 0.8
    assert judge["loss"]["estimate"] < judge["raw_loss"]["estimate"]
    assert judge["loss"]["estimate"] < judge["constant_loss"]
    assert judge["gain"]["low"] > 0
    assert judge["rates"]["tpr"] > judge["rates"]["fpr"]
    assert judge["bits_per_usd"] == pytest.approx(judge["bits"] / judge["usd"])
    assert judge["selected"]["gaps"][-1][0] == 4
    assert sum(row["count"] for row in judge["raw"]) == judge["verdicts"]
    assert not noise["informative"]
    assert noise["bits_per_usd"] is None
    assert "tells nothing" in noise["says"]


def test_the_tables_and_what_they_mean(run, bank):
    code, out, err = run("--bank", "bank")
    assert code == 0, err
    lines = out.splitlines()
    assert any(line.startswith("judge ") and "->" in line for line in lines)
    assert "constant" in out
    assert "noise: tells nothing here" in out
    assert "judge: tells 0." in out
    assert "rare: " in out
    assert "o raw, x calibrated" in out


def test_only_the_verifiers_that_were_named(run, bank):
    code, out, _ = run("--bank", "bank", "--verifier", "noise", "--json")
    assert [one["name"] for one in json.loads(out)["verifiers"]] == ["noise"]
    code, _, err = run("--bank", "bank", "--verifier", "rare")
    assert code == 2
    assert "30 are needed" in err
    code, _, err = run("--bank", "bank", "--verifier", "jugde")
    assert code == 2
    assert "'judge'" in err


def test_the_policy_knows_votes_and_verifiers(run, bank, tmp_path):
    assert run("--bank", "bank", "--out", "policy.json", "--json")[0] == 0
    policy = Policy.load(tmp_path / "policy.json")
    assert policy.fitted
    assert set(policy.verifiers) == {"judge", "noise"}
    judge = policy.verifiers["judge"]
    assert judge.p(0.9) > judge.p(0.1)
    assert judge.usd == pytest.approx(2.5e-6)
    run("--bank", "bank", "--verifier", "judge", "--out", "one.json")
    assert set(Policy.load(tmp_path / "one.json").verifiers) == {"judge"}


def test_an_ensemble_is_written_and_can_be_asked(run, bank, tmp_path):
    code, out = run("--bank", "bank", "--ensemble", "ensemble.json")[:2]
    assert code == 0
    assert "Ensemble of judge (weight" in out
    assert "Left out: noise:" in " ".join(out.split())
    model = EnsembleModel.model_validate_json((tmp_path / "ensemble.json").read_bytes())
    assert [part.name for part in model.parts] == ["judge"]
    assert model({"judge": 0.9}) > model({"judge": 0.1})


def test_single_draws_teach_of_verifiers_all_the_same(run, tmp_path):
    recorded_bank(few=True).save(tmp_path / "bank")
    code, _, err = run("--bank", "bank", "--out", "policy.json")
    assert code == 0, err
    assert "the verifiers only" in err
    policy = Policy.load(tmp_path / "policy.json")
    assert not policy.fitted
    assert "judge" in policy.verifiers


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_is_drawn(run, bank, tmp_path, suffix):
    pytest.importorskip("matplotlib", reason="extra `plot` is not installed")
    code, _, err = run("--bank", "bank", "--plot", f"new/reliability.{suffix}", "--json")
    assert code == 0, err
    data = (tmp_path / "new" / f"reliability.{suffix}").read_bytes()
    assert data.startswith(b"\x89PNG") if suffix == "png" else b"judge" in data or b"<svg" in data
    assert len(data) > 10_000


BAD = [
    (("--plot", "picture.foo"), 2, ".png"),
    (("--out", "no/folder/policy.json"), 6, "no folder"),
]


@pytest.mark.parametrize(("args", "exit_code", "says"), BAD)
def test_a_place_that_cannot_be_written_is_said_before_the_work(run, bank, args, exit_code, says, monkeypatch):
    monkeypatch.setattr("satisfice.experiments.verifying.measured", lambda *a, **k: pytest.fail("it was measured"))
    code, out, err = run("--bank", "bank", *args)
    assert (code, out) == (exit_code, "")
    assert says in err


def test_a_bank_without_verdicts_says_how_they_get_there(run, tmp_path):
    recorded_bank(verdicts=False).save(tmp_path / "bank")
    code, out, err = run("--bank", "bank")
    assert (code, out) == (2, "")
    assert "Bank(questions, draws, manifest, verdicts=" in err
    assert run("--bank", "nowhere")[0] == 6


def test_a_bank_of_few_verdicts_cannot_be_measured(run, tmp_path):
    recorded_bank(questions=4).save(tmp_path / "bank")
    code, _, err = run("--bank", "bank")
    assert code == 2
    assert "30 are needed" in err


def test_one_label_only_has_no_figures_and_no_nan(run, tmp_path):
    right = recorded_bank()
    drawn = {group: tuple(replace(d, correct=True) for d in row) for group, row in right.draws.items()}
    Bank(right.questions, drawn, {}, None, right.verdicts).save(tmp_path / "bank")
    code, out, err = run("--bank", "bank", "--plot", "p.png", "--json")
    assert code == 0, err
    assert "NaN" not in out
    assert not any(one["informative"] for one in json.loads(out)["verifiers"])
    assert run("--bank", "bank")[0] == 0


def test_a_constant_is_one_point_of_the_diagram(bank):
    noise, judge = Recorded.of(bank, "noise"), Recorded.of(bank, "judge")
    one = measured(noise)
    assert one.family == "constant"
    (point,) = points_of(one, noise)
    assert [point.score, point.rate] == pytest.approx([one.base_rate] * 2)
    assert point.low < point.rate < point.high
    assert len(points_of(measured(judge), judge)) > 3


def test_what_is_said_follows_the_figures(bank):
    judge = measured(Recorded.of(bank, "judge"))
    assert informative(judge)
    assert "bits per dollar" in verdict_on(judge)
    assert "unknown" in verdict_on(judge)


def test_a_verifier_that_chooses_badly_is_named(bank):
    judge = measured(Recorded.of(bank, "judge"))
    gaps = ((16, 0.5, 0.4, judge.base_rate - 0.1),)
    worse = replace(judge, selected=replace(judge.selected, gaps=gaps))
    assert "worse than not choosing" in verdict_on(worse)
    assert "worse than not choosing" not in verdict_on(judge)


def test_verdicts_are_listed_and_replayed(run, bank):
    facts = json.loads(run("info", "bank", "--json", command="bank")[1])
    judge = next(row for row in facts["recorded"] if row["name"] == "judge")
    assert judge["verdicts"] == facts["verifiers"]["judge"] > judge["unknown"]
    assert "cost/verdict" in run("info", "bank", command="bank")[1]
    args = ("--bank", "bank", "--strategy", "best_of_n", "--resamples", "1", "--json")
    code, out, err = run(*args, "--verifier", "judge", command="evaluate")
    assert code == 0, err
    assert any(row["name"].startswith("best_of_n") for row in json.loads(out)["rows"])
    assert run(*args, "--verifier", "juge", command="evaluate")[0] == 2


def test_help_has_examples(run):
    assert "satisfice calibrate --bank" in run("--help")[1]
