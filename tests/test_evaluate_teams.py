"""Evaluate on several models at once: one row over all of them, by their ladders; what cannot be replayed is told."""

from __future__ import annotations

from random import Random

import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.core.errors import UnknownName
from satisfice.experiments import Bank, Draw, Question, evaluate, fit, fit_cascades
from satisfice.experiments.report import notes
from satisfice.strategies import SelfConsistency, SingleShot
from satisfice.strategies.registry import strategy_of

NANOS = {"cheap": 1_000, "middle": 2_000, "dear": 30_000}
CHAIN = 'cascade:stages=["single_shot:model=cheap","single_shot:model=middle","single_shot:model=dear"]'
PAIR = 'cascade:stages=["single_shot:model=cheap","single_shot:model=dear"]'


def bank_of(count: int = 200, draws: int = 1, arms: tuple[str, str, str] = ("x", "x", "x"), seed: int = 0) -> Bank:
    """Easy questions, on which all are right, and hard ones, on which only the dear model mostly is."""
    dice, questions, rows = Random(seed), {}, {}
    for i in range(count):
        name, easy = f"q{i}", i % 2 == 0
        questions[name] = Question(name, "d", name, "right", "text", (), i // 2 % 4)
        chances = (0.9, 0.92, 0.95) if easy else (0.1, 0.15, 0.9)
        for model, p, arm in zip(NANOS, chances, arms, strict=True):
            said = ["right" if dice.random() < p else f"{model} {dice.randrange(10**6)}" for _ in range(draws)]
            rows[name, model, arm] = tuple(
                Draw(j, key, key, key == "right", 10, 10, NANOS[model]) for j, key in enumerate(said)
            )
    return Bank(questions, rows)


@pytest.mark.parametrize("policy", ["fit", "file"])
def test_a_cascade_of_several_models_is_one_row_and_climbs_by_its_ladder(policy: str) -> None:
    bank = bank_of()
    known = Policy(cascades=fit_cascades(bank_of(seed=1)))
    worth = 1e-2
    report = evaluate(bank, {"chain": strategy_of(CHAIN)}, policy="fit" if policy == "fit" else known, worth=worth)
    row, dear = report.row("chain"), report.row("single_shot", "dear")
    assert [r.model for r in report.rows if r.name == "chain"] == ["cheap + middle + dear"]
    assert (row.arm, row.questions, row.misses, row.note) == ("x", 200, 0, "")
    assert row.usd is not None
    assert dear.usd is not None
    assert row.usd.estimate < 0.75 * dear.usd.estimate  # two that agree are believed
    assert row.accuracy.estimate > dear.accuracy.estimate - 0.05
    plain = evaluate(bank, {"chain": strategy_of(CHAIN)}, worth=worth).row("chain")
    assert plain.calls is not None
    assert plain.calls != row.calls


def test_its_questions_are_those_that_all_models_have_and_calls_may_be_all_draws() -> None:
    bank = bank_of(40)
    fewer = Bank(bank.questions, {g: r for g, r in bank.draws.items() if g[:2] != ("q0", "dear")})
    row = evaluate(fewer, {"pair": strategy_of(PAIR)}, worth=1.0).row("pair")
    assert (row.questions, row.calls, row.misses) == (39, 2.0, 0)


def test_models_that_share_no_arm_are_each_under_their_own() -> None:
    row = evaluate(bank_of(40, arms=("x", "x", "y")), {"pair": strategy_of(PAIR)}, policy="fit", worth=1.0).row("pair")
    assert (row.model, row.arm, row.questions) == ("cheap + dear", "x + y", 40)


def test_a_part_without_a_model_asks_each_in_turn() -> None:
    mixed = strategy_of('cascade:stages=["single_shot","single_shot:model=dear"]')
    rows = evaluate(bank_of(60), {"mixed": mixed}, worth=1e-3, resamples=1).rows
    assert sorted(r.model for r in rows if r.name == "mixed") == ["cheap + dear", "dear", "middle + dear"]


def test_one_named_model_runs_alone_and_an_unknown_one_is_named() -> None:
    report = evaluate(bank_of(20), {"one": SingleShot(model="middle")}, resamples=1)
    assert [r.model for r in report.rows if r.name == "one"] == ["middle"]
    with pytest.raises(UnknownName, match=r"'nobody'.*cheap"):
        evaluate(bank_of(20), [SingleShot(model="nobody")])
    with pytest.raises(UnknownName, match="dear"):
        evaluate(bank_of(20), [strategy_of(PAIR)], models=["cheap"])


def test_single_draws_can_be_crossed() -> None:
    report = evaluate(bank_of(), {"pair": strategy_of(PAIR)}, policy="fit", worth=1e-3)
    assert report.row("pair").policy == "fitted, but not voting"
    assert report.row("pair").calibration is None or not report.row("pair").calibration.fitted  # type: ignore[union-attr]
    assert all("declared" in str(facts["voting"]) for facts in report.policies.values())
    assert len(report.policies) == 4


def test_what_cannot_be_replayed_is_told() -> None:
    bank = bank_of(12, draws=3)
    report = evaluate(bank, {"roles": strategy_of("roles"), "vote": SelfConsistency(samples=3)}, resamples=2)
    row = report.row("roles", "cheap")
    assert (row.runs, row.misses) == (0, 24)
    assert row.note.startswith("cannot be replayed on this bank: ")
    assert "asked something else than the bare question" in row.note
    assert report.row("vote", "cheap").note == ""
    lines = notes(report.rows)
    assert len(lines) == 1
    assert lines[0].startswith("roles on cheap (and 2 more rows): cannot be replayed")


def test_a_stop_at_the_end_of_the_recorded_draws_is_told_unless_the_caller_capped() -> None:
    bank = bank_of(12, draws=2)
    wide = {"wide": SelfConsistency(samples=5)}
    assert "12 of 12 runs ended before a step" in evaluate(bank, wide, resamples=1).row("wide").note
    assert evaluate(bank, wide, resamples=1, budget=Budget(calls=1)).row("wide").note == ""


def test_a_cascade_without_models_is_told_that_the_ladders_go_unused() -> None:
    bank = bank_of(draws=2)
    note = evaluate(bank, {"plain": strategy_of("cascade")}, policy=fit(bank), resamples=1).row("plain").note
    assert "ladder(s) went unused" in note
    assert 'cascade:stages=["single_shot:model=' in note
