"""Reports of an evaluation: whole on disk, several policies at once, paired differences, and what they warn of."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path
from random import Random

import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.core.errors import BadSettings, CallerError, StoreError, UnknownName
from satisfice.experiments import Bank, Draw, Interval, Question, Report, evaluate
from satisfice.experiments.bank import Scored
from satisfice.experiments.cautions import cautions
from satisfice.experiments.contrasts import BEST, FIXED, contrast, pairs
from satisfice.experiments.fitting import questions_hash
from satisfice.experiments.naming import named, policies_of, spelling
from satisfice.experiments.report import Each, Row
from satisfice.experiments.teams import main_only
from satisfice.strategies import SelfConsistency, SingleShot
from satisfice.strategies.registry import strategy_of

CHAIN = 'cascade:stages=["single_shot:model=m","single_shot:model=n"]'


def bank_of(count: int = 60, models: tuple[str, ...] = ("m",), draws: int = 6, seconds: bool = True) -> Bank:
    """Questions of mixed difficulty on two topics; later models are better and ten times as dear."""
    dice = Random(7)
    questions = {f"q{i}": Question(f"q{i}", f"topic {i % 2}", f"Q{i}?", "A", "choice", (), i % 4) for i in range(count)}
    rows = {}
    for name in questions:
        ease = dice.random()
        for i, model in enumerate(models):
            said = ["A" if dice.random() < ease + 0.3 * i else dice.choice("BCD") for _ in range(draws)]
            rows[name, model, "cot"] = tuple(
                Draw(j, s, s, s == "A", 10, 20, 1000 * 10**i + j, seconds=0.5 + j / 10 if seconds else None)
                for j, s in enumerate(said)
            )
    return Bank(questions, rows)


@pytest.fixture(scope="module")
def measured() -> Report:
    few, many = Policy(strategy="self_consistency:samples=3"), Policy(strategy="self_consistency", fitted=True)
    return evaluate(bank_of(), policies={"few": few, "many": many}, worth=[1e-5, 1e-4], resamples=3, metrics=True)


def test_each_policy_runs_its_own_strategy(measured: Report) -> None:
    rows = [row for row in measured.rows if not row.baseline]
    assert [(r.name, r.policy, r.worth) for r in rows] == [
        ("self_consistency:samples=3", "few", 1e-5),
        ("self_consistency", "many", 1e-5),
        ("self_consistency:samples=3", "few", 1e-4),
        ("self_consistency", "many", 1e-4),
    ]
    assert [r.strategy for r in rows[:2]] == ["self_consistency:samples=3", "self_consistency"]
    assert rows[0].calls == 3
    assert len([r for r in measured.rows if r.name == "single_shot"]) == 2  # one for each worth
    assert measured.settings["policies"] == ["few", "many"]


def test_strategies_that_are_named_come_before_the_policys_own() -> None:
    report = evaluate(bank_of(20), [SingleShot()], policies={"few": Policy(strategy="self_consistency")}, resamples=1)
    assert {r.name for r in report.rows if not r.baseline} == {"single_shot"}
    with pytest.raises(CallerError, match="one of policy= and policies="):
        evaluate(bank_of(4), policy=Policy(), policies={"a": Policy()})


def test_a_report_survives_its_file(measured: Report, tmp_path: Path) -> None:
    measured.save(tmp_path / "report.json")
    again = Report.load(tmp_path / "report.json")
    assert again.rows == measured.rows
    assert again.to_dict(each=True) == json.loads(json.dumps(measured.to_dict(each=True)))
    assert again.rows[0].each == measured.rows[0].each
    assert isinstance(again.rows[0].each["q0"], Each)
    assert again.topics["q1"] == "topic 1"
    assert again.table() == measured.table()
    assert "each" not in measured.to_dict()["rows"][0]
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_what_json_cannot_hold_comes_back_as_nothing() -> None:
    row = Row("r", "m", "a", "", 0, Interval(nan, nan, nan), worth=inf)
    again = Row.from_dict(json.loads(json.dumps(row.to_dict(each=True), allow_nan=False)))
    assert isnan(again.accuracy.estimate)
    assert again.worth is None


def test_broken_report_files_are_told(measured: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(StoreError, match="cannot read report"):
        Report.load(path)
    path.write_text(json.dumps(measured.to_dict())[:100])
    with pytest.raises(StoreError, match="not whole JSON"):
        Report.load(path)
    path.write_text("[]")
    with pytest.raises(StoreError, match="no report of `satisfice evaluate --out`"):
        Report.load(path)
    path.write_text(json.dumps({**measured.to_dict(), "format": 99}))
    with pytest.raises(StoreError, match="update it"):
        Report.load(path)
    with pytest.raises(StoreError, match="cannot write"):
        measured.save(tmp_path / "nowhere" / "report.json")


def test_money_seconds_and_bins_add_up(measured: Report) -> None:
    for row in measured.rows:
        if row.baseline:
            continue
        assert row.usd is not None
        assert sum(share for share, _ in row.money.values()) == pytest.approx(1)
        assert sum(usd for _, usd in row.money.values()) == pytest.approx(row.usd.estimate)
        assert set(row.money) == set(row.stops)
        assert row.calibration is not None
        total = sum(one.weight for one in row.reliability)
        error = sum(abs(one.claimed - one.right) * one.weight for one in row.reliability) / total
        assert error == pytest.approx(row.calibration.ece)
        assert total == pytest.approx(60 * row.answered)
    fixed = measured.row("self_consistency:samples=3")
    assert fixed.latency is not None
    assert 0.5 <= fixed.latency.p50 <= fixed.latency.p99 <= 3 * 1.0
    assert fixed.latency.low <= fixed.latency.mean <= fixed.latency.high
    single = measured.row("single_shot")
    assert single.latency is not None
    assert (single.latency.mean, single.latency.p99) == (pytest.approx(0.75), 1.0)


def test_latency_is_unknown_where_draws_have_no_seconds() -> None:
    report = evaluate(bank_of(20, seconds=False), [SelfConsistency()], resamples=1)
    assert {row.latency for row in report.rows} == {None}


# -- differences --------------------------------------------------------------------------------------------------


def test_every_row_is_compared_with_what_is_plain_and_with_the_first_policy(measured: Report) -> None:
    found = [(c["row"], c["policy"], c["against"], c["worth"]) for c in measured.comparisons]
    few, many = "self_consistency:samples=3", "self_consistency"
    assert found[:5] == [
        (few, "few", "single_shot", 1e-5),
        (few, "few", FIXED, 1e-5),
        (many, "many", "single_shot", 1e-5),
        (many, "many", FIXED, 1e-5),
        (many, "many", f"{few} [few]", 1e-5),
    ]
    one, single = measured.row(few), measured.row("single_shot")
    got = measured.comparisons[0]["accuracy"]
    assert got["estimate"] == pytest.approx(one.accuracy.estimate - single.accuracy.estimate)
    assert got["low"] < got["estimate"] < got["high"]
    assert measured.comparisons[0]["questions"] == 60
    assert measured.comparisons[0]["net"]["estimate"] == pytest.approx(
        (one.net.estimate if one.net else 0) - (single.net.estimate if single.net else 0)
    )


def test_a_fixed_vote_does_not_beat_fixed_votes_at_its_own_cost(measured: Report) -> None:
    (one, _) = [c for c in measured.comparisons if c["policy"] == "few" and c["against"] == FIXED]
    assert abs(one["accuracy"]["estimate"]) < 0.05
    assert one["accuracy"]["low"] < 0.02


def test_a_team_is_compared_with_the_best_single_model() -> None:
    report = evaluate(bank_of(models=("m", "n")), {"chain": strategy_of(CHAIN)}, worth=1e-3, resamples=1)
    (one,) = [c for c in report.comparisons if c["row"] == "chain"]
    assert (one["against"], one["model"]) == (BEST, "m + n")
    best = report.row(BEST)
    assert one["accuracy"]["estimate"] == pytest.approx(report.row("chain").accuracy.estimate - best.accuracy.estimate)
    assert best.usd is not None
    assert one["usd"]["estimate"] == pytest.approx((report.row("chain").usd or best.usd).estimate - best.usd.estimate)


def test_pairs_by_name_or_policy(measured: Report) -> None:
    by_policy, by_name = pairs(measured, "many,few"), pairs(measured, "self_consistency, self_consistency:samples=3")
    assert [c.accuracy for c in by_policy] == [c.accuracy for c in by_name]
    assert [c.worth for c in by_policy] == [1e-5, 1e-4]
    full = pairs(measured, "self_consistency [many],majority of 3")
    assert [c.against for c in full] == ["majority of 3"] * 2
    with pytest.raises(UnknownName, match="manny"):
        pairs(measured, "manny,few")
    with pytest.raises(CallerError, match="comma"):
        pairs(measured, "many")


def test_names_may_hold_commas() -> None:
    texts = ["self_consistency:samples=2,window=2", "single_shot"]
    report = evaluate(bank_of(12), {t: strategy_of(t) for t in texts}, resamples=1)
    (one, *_) = pairs(report, ",".join(texts))
    assert (one.row, one.against) == tuple(texts)


def test_net_needs_one_worth_and_counts_wrong_answers() -> None:
    each = [{"q": Each(1.0, 0.1)}, {"q": Each(0.0, 0.2)}]
    rows = [
        Row(n, "m", "a", "", 1, Interval(0, 0, 0), Interval(0, 0, 0), worth=2.0, each=e)
        for n, e in zip("xy", each, strict=True)
    ]
    found = contrast(*rows, wrong=0.5)
    assert found.net is not None
    assert found.net.estimate == pytest.approx(2.0 + 0.5 + 0.1)
    assert contrast(rows[0], replace(rows[1], worth=3.0)).net is None


# -- what is warned of --------------------------------------------------------------------------------------------


def test_policies_of_other_banks_and_of_this_one() -> None:
    bank = bank_of()
    other = Policy(provenance={"datasets": "exam, trivia", "models": "m,x"})
    (only,) = cautions(bank, {"p": other})
    assert only == "policy 'p' was fitted on the datasets exam, trivia, and this bank holds topic 0, topic 1"
    partly = Policy(provenance={"datasets": "topic 0", "models": "m"})
    assert "was not fitted on the datasets topic 1 that this bank holds" in cautions(bank, {"p": partly})[0]
    same = Policy(provenance={"questions_hash": questions_hash(bank)})
    assert cautions(bank, {"p": same})[0].startswith("IN SAMPLE: policy 'p' was fitted on these very questions")
    assert cautions(bank.select(folds=[0, 1, 2]), {"p": same}, whole=bank)[0].startswith("IN SAMPLE")
    by_name = Policy(provenance={"bank": "exams"})
    assert (
        "a bank called 'exams'" in cautions(Bank(bank.questions, bank.draws, path=Path("x/exams")), {"p": by_name})[0]
    )
    assert cautions(bank, {"p": Policy()}) == ()


def test_little_banks_single_samples_and_constant_verifiers() -> None:
    small = bank_of(20, draws=1)
    said = {(q, "m", "cot", 0): {"flat": Scored(0.5)} for q in small.questions}
    few, single, flat = cautions(replace(small, verdicts=said), {}, ["flat"])
    assert few.startswith("20 questions: a difference below about 28 points")
    assert single.startswith("one sample per question of m (cot)")
    assert flat == "verifier 'flat' gave every draw the same score (0.5): it can tell nothing"
    report = evaluate(small, [SingleShot()], resamples=1)
    assert report.warnings == (few, single)


# -- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["self_consistency:samples=5", "single_shot:model=cheap", "auto", CHAIN])
def test_spellings_make_the_same_strategy(text: str) -> None:
    assert strategy_of(spelling(strategy_of(text))) == strategy_of(text)


def test_policies_by_what_a_person_wrote(tmp_path: Path) -> None:
    Policy(strategy="single_shot").save(tmp_path / "tuned.json")
    found = policies_of(["fit", "declared", str(tmp_path / "tuned.json")])
    assert list(found) == ["fit", "declared", "tuned"]
    assert isinstance(found["tuned"], Policy)
    with pytest.raises(BadSettings):
        policies_of([str(tmp_path / "none.json")])
    with pytest.raises(CallerError, match="two policies"):
        policies_of(["fit", "fit"])
    assert list(named([SelfConsistency(samples=2)])) == ["self_consistency(samples=2)"]


def test_only_the_main_arm_of_each_model_is_left() -> None:
    bank = bank_of(12)
    hot = {(q, m, "hot"): row[:2] for (q, m, _), row in bank.draws.items()}
    good = {(q, m, "warm"): tuple(replace(d, correct=True) for d in row) for (q, m, _), row in bank.draws.items()}
    wide = Bank(bank.questions, {**bank.draws, **hot, **good})
    kept, left = main_only(wide)
    assert kept.arms == (("m", "warm"),)
    assert left == ["m, cot", "m, hot"]
    assert main_only(bank) == (bank, [])


def test_what_is_slow_to_replay_is_replayed_less_and_says_so() -> None:
    bank = bank_of(50, models=("m", "n"), draws=2)
    report = evaluate(bank, {"chain": strategy_of(CHAIN), "vote": SelfConsistency()}, worth=1e-3, resamples=None)
    assert report.row("vote", "m").runs == 50 * 20
    assert report.row("chain").runs == 50 * 8
    assert "replayed in 8 of 20 orders" in report.row("chain").note
    assert evaluate(bank, {"vote": SelfConsistency()}, budget=Budget(calls=2)).row("vote", "m").runs == 50 * 20


# -- metrics ------------------------------------------------------------------------------------------------------


def test_metrics_are_of_every_arm_and_of_all_models_together() -> None:
    bank = bank_of(40, models=("m", "n"), draws=4)
    report = evaluate(bank, [SelfConsistency()], worth=[1e-5, 1e-3], resamples=2, metrics=True)
    found = report.metrics
    assert [group["models"] for group in found["groups"]] == [["m"], ["n"], ["m", "n"]]
    together = found["groups"][-1]
    assert together["questions"] == 40
    spends = [one["spend"]["estimate"] for one in together["frontier"]]
    heights = [one["accuracy"]["estimate"] for one in together["frontier"]]
    assert spends == sorted(spends)
    assert heights == sorted(heights)
    assert {one["family"] for one in together["aiq"]["families"]} == {"baselines", "self_consistency [declared]"}
    assert all(one["gap_closed"]["estimate"] <= 1 for one in together["oracle"])
    (at, _) = found["at_k"]
    assert [row["k"] for row in at["rows"]] == [1, 2, 4]
    assert at["rows"][0]["pass"] == at["rows"][0]["maj"]
    (routing,) = found["routing"]
    assert (routing["weak"], routing["strong"]) == ("m", "n")
    by_name = {one["router"]: one["apgr"]["estimate"] for one in routing["calls"]}
    assert by_name["random"] == pytest.approx(0.5)
    assert by_name["oracle"] > max(by_name["length"], 0.5)
    (best,) = [one for one in routing["cpt"] if one["router"] == "oracle"]
    assert 0 < best["calls"]["estimate"] < 1
    json.dumps(report.to_dict(), allow_nan=False)
