"""Ladders of cascades: planted rates come back, thresholds follow from worth, and `fit` and the plan use them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.core.errors import CallerError, UnknownName
from satisfice.experiments import Bank, BankTariff, Deck, Draw, Question, fit, fit_cascades
from satisfice.experiments.cascading import accepts, front, main_arms, mean_costs
from satisfice.experiments.replaying import run_on
from satisfice.strategies import Cascade, SingleShot

NANOS = {"cheap": 1_000, "middle": 2_000, "dear": 30_000}


def planted(count: int = 400, draws: int = 1, seed: int = 0) -> Bank:
    """Easy questions, on which all are right, and hard ones, on which only the dear model mostly is; cheap ones' wrong
    answers are all different, so that agreement tells."""
    dice = Random(seed)
    questions, rows = {}, {}
    for i in range(count):
        easy = i % 2 == 0
        name = f"q{i}"
        questions[name] = Question(name, "d", name, "right", "text", (), i // 2 % 5)
        for model, p in (("cheap", 0.9 if easy else 0.1), ("middle", 0.92 if easy else 0.15), ("dear", 0.9)):
            row = []
            for j in range(draws):
                right = dice.random() < p
                key = "right" if right else f"{model} {dice.randrange(10**6)}"
                row.append(Draw(j, key, key, right, 10, 10, NANOS[model]))
            rows[name, model, "x"] = tuple(row)
    return Bank(questions, rows)


def test_planted_rates_come_back() -> None:
    ladder = fit_cascades(planted(), [("cheap", "middle", "dear")])["cheap>middle>dear"].ladder()
    assert ladder.alone == pytest.approx((0.5, 0.53, 0.9), abs=0.06)
    apart, agreed = ladder.reach(1, 1 / 3), ladder.reach(1, 2 / 3)
    assert agreed[0] > 0.95
    assert apart[0] < 0.3
    assert apart[1] == pytest.approx(0.9, abs=0.06)
    (right, wrong), _ = ladder.follows[0]
    assert right > wrong + 0.4


def test_thresholds_follow_from_worth() -> None:
    ladder = fit_cascades(planted(), [("cheap", "middle", "dear")])["cheap>middle>dear"].ladder()
    found = [accepts(ladder, worth) for worth in (1e-9, 1e-4, 1e6)]
    assert found[0] == (0.0, 0.0)
    assert 1 / 3 < found[1][1] <= 2 / 3
    for low, high in pairwise(found):
        assert all(a <= b for a, b in zip(low, high, strict=True))


def test_chains_are_of_models_that_no_cheaper_one_beats() -> None:
    bank = planted()
    rows = {model: bank.of_arm(model, arm) for model, arm in main_arms(bank).items()}
    assert front(rows) == ["cheap", "middle", "dear"]
    assert front(rows | {"bad": {q: tuple(d for d in row) for q, row in rows["cheap"].items()}})[0] in ("bad", "cheap")
    assert set(fit_cascades(bank)) == {"cheap>middle", "cheap>dear", "middle>dear", "cheap>middle>dear"}


def test_several_draws_of_a_stage() -> None:
    ladder = fit_cascades(planted(draws=5), [("cheap", "dear")])["cheap>dear"].ladder()
    assert ladder.reach(0, 5 / 6)[0] > 0.88
    assert ladder.reach(0, 1 / 6)[0] < 0.35


def test_it_sees_only_the_folds_it_is_given() -> None:
    bank, others = planted(), [1, 2, 3, 4]
    spoiled = {
        (q, m, a): tuple(Draw(0, "x", "x", False, nanos=1) for _ in row) if bank.questions[q].fold == 0 else row
        for (q, m, a), row in bank.draws.items()
    }
    assert fit_cascades(bank, folds=others) == fit_cascades(Bank(bank.questions, spoiled), folds=others)
    assert fit_cascades(bank, folds=others) != fit_cascades(bank)


def test_fit_includes_them() -> None:
    policy = fit(planted(100, draws=3))
    assert "cheap>dear" in policy.cascades
    assert policy.priors().ladders["cheap>dear"].costs == (1e-6, 3e-5)
    assert fit(planted(100, draws=3).select(models=["cheap"])).cascades == {}


def test_a_cascade_that_was_fitted_nearly_matches_the_dear_model_for_much_less() -> None:
    train, bank = planted(seed=1), planted(200, seed=2)
    policy = Policy(cascades=fit_cascades(train))
    arms = {"cheap": "x", "middle": "x", "dear": "x"}
    tariff = BankTariff(bank, arms)
    chain = Cascade((SingleShot(model="cheap"), SingleShot(model="middle"), SingleShot(model="dear")))
    right = cost = dear = 0.0
    for question in bank.questions:
        deck = Deck.of(bank, question, arms)
        source = deck.shuffled(0)
        run = run_on(source, chain, Budget(usd=1, worth=1e-3), policy, tariff, 0)
        assert run.outcome is not None
        right += source.right(run.outcome.answer.candidate if run.outcome.answer else None)
        cost += run.outcome.spent.nanos
        dear += deck.draws["dear"][0].correct
    assert right >= dear - 6
    assert cost < 0.75 * NANOS["dear"] * len(bank.questions)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(UnknownName):
        fit_cascades(planted(), [("cheap", "none")])
    with pytest.raises(CallerError, match="one stage"):
        fit_cascades(planted(), [("cheap",)])
    with pytest.raises(CallerError, match="30 are needed"):
        fit_cascades(planted(20), [("cheap", "dear")])
    with pytest.raises(CallerError, match="twice"):
        fit_cascades(planted(), [("cheap", "cheap")])
    assert fit_cascades(planted(20)) == {}
    assert fit_cascades(planted(), ["cheap>dear"]) == fit_cascades(planted(), [("cheap", "dear")])


def priced(bank: Bank, nanos: dict[str, int | None]) -> Bank:
    """The bank with these costs; a draw takes as many tokens as its model has letters."""
    made = {
        (q, m, a): tuple(replace(d, nanos=nanos[m], completion_tokens=len(m), prompt_tokens=0) for d in row)
        for (q, m, a), row in bank.draws.items()
    }
    return Bank(bank.questions, made)


@pytest.mark.parametrize(
    ("nanos", "costs"),
    [
        ({"cheap": 1_000, "middle": None, "dear": 30_000}, {"cheap": 5e-6, "middle": 6e-6, "dear": 4e-6}),
        ({"cheap": 0, "middle": 2_000, "dear": 30_000}, {"cheap": 0.0, "middle": 2e-6, "dear": 3e-5}),
        ({"cheap": 0, "middle": 0, "dear": 0}, {"cheap": 5e-6, "middle": 6e-6, "dear": 4e-6}),
    ],
)
def test_dollars_and_tokens_do_not_mix(nanos: dict[str, int | None], costs: dict[str, float]) -> None:
    bank = priced(planted(60), nanos)
    found = mean_costs({model: bank.of_arm(model, "x") for model in NANOS})
    assert found == pytest.approx(costs)
    assert fit_cascades(bank, ["cheap>dear"])["cheap>dear"].costs in ((5e-6, 4e-6), (0.0, 3e-5), (1e-6, 3e-5))


def test_models_are_compared_on_the_questions_that_all_have() -> None:
    """The dear model was recorded on easy questions only: there it is no better than the middle one."""
    bank = planted()
    rows = {model: bank.of_arm(model, "x") for model in NANOS}
    easy = {q: row for q, row in rows["dear"].items() if int(q[1:]) % 2 == 0 and rows["middle"][q][0].correct}
    assert front({"middle": rows["middle"], "dear": easy}) == ["middle"]
