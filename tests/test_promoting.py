"""Evidence for promotion: exact bounds, refusals that say why, overrides on record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.policy import Policy
from satisfice.budgets.registry.betting import Race
from satisfice.budgets.registry.registry import Registry
from satisfice.budgets.registry.trials import Outcome, put_outcome
from satisfice.core.errors import CallerError, PromotionRefused, RegistryConflict
from satisfice.experiments.bank import Bank, Draw, Question
from satisfice.experiments.fitting import questions_hash
from satisfice.experiments.promoting import (
    Bound,
    Evidence,
    asked_at,
    check,
    evidence_on,
    live_evidence,
    mcnemar_bound,
    paired_evidence,
    promote,
)
from satisfice.experiments.report import Each
from satisfice.strategies.registry import strategy_of


def sides(n: int, gained: int, lost: int, usd: tuple[float, float] = (0.001, 0.001)) -> tuple[Any, Any]:
    """Figures of n questions: the first `gained` are the candidate's alone, the next `lost` production's."""
    mine = {f"q{i}": Each(float(not gained <= i < gained + lost), usd[0]) for i in range(n)}
    theirs = {f"q{i}": Each(float(i >= gained), usd[1]) for i in range(n)}
    return mine, theirs


def test_mcnemar_is_the_binomial_on_the_questions_that_differ() -> None:
    found = paired_evidence(*sides(200, 15, 4))
    assert (found.only_candidate, found.only_production) == (15, 4)
    assert found.p_value == pytest.approx(0.0096054, abs=1e-6)  # sum of C(19, k) / 2^19 for k = 15 .. 19
    assert found.accuracy.method == "mcnemar"
    assert found.accuracy.estimate == pytest.approx(11 / 200)
    assert 0 < found.accuracy.low < 11 / 200 < found.accuracy.high < 0.2


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 400))
def test_mcnemar_bounds_are_bounds(gained: int, lost: int, same: int) -> None:
    n = gained + lost + same
    if n:
        low, high = mcnemar_bound(gained, lost, n, 0.05), -mcnemar_bound(lost, gained, n, 0.05)
        assert -1 <= low <= (gained - lost) / n <= high <= 1
        assert mcnemar_bound(gained, lost, n, 0.01) <= low


def test_mcnemar_bounds_cover() -> None:
    wrong = 0
    for seed in range(400):
        dice = Random(seed)
        came = [dice.random() for _ in range(120)]
        gained, lost = sum(x < 0.12 for x in came), sum(0.12 <= x < 0.20 for x in came)
        wrong += mcnemar_bound(gained, lost, 120, 0.05) > 0.04
    assert wrong <= 20  # 5% at the most


def test_no_difference_is_never_an_improvement() -> None:
    for n in (1, 10, 1000):
        found = paired_evidence(*sides(n, 0, 0), worth=0.01)
        assert not found.better
        assert not found.worse
        assert found.p_value == 1.0
        assert found.needed is None


def test_how_often_chance_is_promoted() -> None:
    """Two policies that are equally good: at most alpha of such candidates pass (here with room for luck)."""
    passed = 0
    for seed in range(120):
        dice = Random(seed)
        a = {f"q{i}": Each(float(dice.random() < 0.6), 0.001) for i in range(80)}
        b = {f"q{i}": Each(float(dice.random() < 0.6), 0.001) for i in range(80)}
        passed += paired_evidence(a, b, worth=0.01).better
    assert passed <= 9


def test_net_utility_counts_dollars_and_wrong_answers() -> None:
    better, dearer = paired_evidence(*sides(300, 40, 2), worth=0.01), sides(300, 40, 2, (0.009, 0.001))
    assert better.better
    assert better.net is not None
    assert better.net.estimate == pytest.approx(0.01 * 38 / 300)
    assert paired_evidence(*dearer, worth=0.01).worse
    assert paired_evidence(*dearer).better  # nobody says what an answer is worth: accuracy decides
    silent = {q: Each(0.0, 0.001, answered=0.0) for q in dearer[0]}
    guessing = {q: Each(0.0, 0.001, answered=1.0) for q in dearer[0]}
    assert paired_evidence(silent, guessing, worth=0.01, wrong=0.005).better


def test_as_good_and_cheaper_is_enough_where_a_margin_says_so() -> None:
    mine, theirs = sides(800, 8, 8, (0.001, 0.004))
    assert not paired_evidence(mine, theirs).better
    assert paired_evidence(mine, theirs, margin=0.03).better
    assert not paired_evidence(mine, theirs, margin=0.001).better
    assert not paired_evidence(*sides(800, 8, 8), margin=0.03).better  # no cheaper


def test_figures_over_several_runs_get_a_betting_bound() -> None:
    mine = {f"q{i}": Each(0.75 if i % 2 else 1.0, 0.001) for i in range(200)}
    theirs = {f"q{i}": Each(0.5, 0.001) for i in range(200)}
    found = paired_evidence(mine, theirs)
    assert found.accuracy.method == "betting"
    assert found.p_value is None
    assert 0.3 < found.accuracy.low < 0.375 < found.accuracy.high


def test_settings_that_make_no_sense_are_refused() -> None:
    for more in ({"alpha": 0.0}, {"margin": -0.1}, {"worth": 0.0}, {"worth": float("inf")}):
        with pytest.raises(CallerError):
            paired_evidence(*sides(3, 1, 0), **more)
    with pytest.raises(CallerError, match="no question"):
        paired_evidence({"a": Each(1.0, 0.0)}, {"b": Each(1.0, 0.0)})


def test_refusals_say_the_figures_and_what_it_would_take() -> None:
    weak = paired_evidence(*sides(60, 6, 3))
    with pytest.raises(PromotionRefused, match=r"60 questions .*more questions would.*--override") as refused:
        check("production", weak)
    assert refused.value.details["needed"] > 60
    with pytest.raises(PromotionRefused, match="more of them would not help"):
        check("production", paired_evidence(*sides(60, 3, 6)))
    with pytest.raises(PromotionRefused, match="no evidence"):
        check("production", None)
    bad = paired_evidence(*sides(300, 2, 60))
    for stage in ("canary", "production"):
        with pytest.raises(PromotionRefused, match=r"worse|would not help"):
            check(stage, bad)
    check("shadow", bad)
    check("canary", weak)
    check("canary", None)
    seen = Evidence("c", "p", "a bank", 100, 0.05, Bound(0.2, 0.1, 0.3, "betting"), held_out=False)
    with pytest.raises(PromotionRefused, match="fitted on these very questions"):
        check("production", seen)


# -- on a bank ---------------------------------------------------------------------------------------------------------


def bank(n: int = 120, draws: int = 9) -> Bank:
    """Questions of which most have a right answer that two of three draws give."""
    dice = Random(7)
    questions, found = {}, {}
    for i in range(n):
        name = f"q{i}"
        questions[name] = Question(name, "toy", f"What is {i}?", "1", "number", (), i % 5)
        row = [
            Draw(j, str(k), str(k), k == 1, 10, 5, 1_000_000)
            for j in range(draws)
            for k in [1 if dice.random() < 0.66 else dice.randrange(2, 9)]
        ]
        found[name, "m", "direct"] = tuple(row)
    return Bank(questions, found)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "policies.db")


SINGLE = Policy(name="single", strategy="single_shot", worth=1.0)
VOTES = Policy(name="votes", strategy="self_consistency:samples=7", worth=1.0)


def test_policies_are_replayed_with_their_own_strategies() -> None:
    found = evidence_on(bank(), VOTES, SINGLE, resamples=1)
    assert found.questions == 120
    assert found.worth == 1.0
    assert found.better
    assert found.accuracy.method == "mcnemar"
    assert found.saved is not None
    assert found.saved.estimate == pytest.approx(-0.006)
    back = evidence_on(bank(), SINGLE, VOTES, resamples=1)
    assert back.worse
    assert back.accuracy.estimate == pytest.approx(-found.accuracy.estimate)


def test_what_the_bank_cannot_replay_is_refused() -> None:
    thirsty = Policy(strategy="reflexion", worth=1.0)
    with pytest.raises((PromotionRefused, CallerError), match=r"replayed|no question"):
        evidence_on(bank(30), thirsty, SINGLE, resamples=1)


def test_promotion_with_evidence_and_back(registry: Registry) -> None:
    a, b = registry.add(SINGLE), registry.add(VOTES, parents=[SINGLE_ID := registry.add(SINGLE).id])
    assert a.id == SINGLE_ID
    with pytest.raises(PromotionRefused, match="no evidence"):
        promote(registry, a.id, "production")
    with pytest.raises(CallerError, match="who says so and why"):
        promote(registry, a.id, "production", override=True, by="ann")
    now, evidence = promote(registry, a.id, "production", override=True, by="ann", why="the first one")
    assert (now.production, evidence) == (a.id, None)

    def measure(candidate: Policy, production: Policy, names: tuple[str, str]) -> Evidence:
        assert (candidate.name, production.name, names) == ("votes", "single", (b.id, a.id))
        return evidence_on(bank(), candidate, production, resamples=1)

    now, evidence = promote(registry, b.id, "production", measure=measure, by="bob")
    assert evidence is not None
    assert (evidence.candidate, evidence.production) == (b.id, a.id)
    assert now.production == b.id
    rows = [e for e in registry.log() if e.what == "promote"]
    assert [(e.by, e.override, bool(e.evidence)) for e in rows] == [("ann", True, False), ("bob", False, True)]
    assert rows[1].evidence["net"]["low"] > 0
    with pytest.raises(PromotionRefused):
        promote(registry, a.id, "production", measure=lambda c, p, n: evidence_on(bank(), c, p, resamples=1))
    assert registry.rollback().production == a.id
    assert registry.verify() == ""


def test_a_policy_is_not_judged_on_what_it_was_fitted_on(registry: Registry) -> None:
    one = VOTES.model_copy(update={"provenance": {"questions_hash": questions_hash(bank())}})
    added = registry.add(one)
    registry.move(registry.add(SINGLE).id, "production")
    with pytest.raises(PromotionRefused, match="fitted on these very questions"):
        promote(registry, added.id, "production", measure=lambda c, p, n: evidence_on(bank(), c, p, resamples=1))
    other = bank(150)
    promote(registry, added.id, "production", measure=lambda c, p, n: evidence_on(other, c, p, resamples=1))
    assert registry.standing().production == added.id


def test_the_next_stage_is_the_default(registry: Registry) -> None:
    one = registry.add(SINGLE)
    assert promote(registry, one.id)[0].shadow == one.id
    now, _ = promote(registry, one.id)
    assert (now.canary, now.share) == (one.id, 0.1)
    with pytest.raises(PromotionRefused):
        promote(registry, one.id)  # no outcomes yet
    with pytest.raises(CallerError, match=r"already|say where to"):
        promote(registry, promote(registry, one.id, override=True, by="a", why="b")[0].production or "")


def test_a_canary_is_promoted_by_what_its_requests_came_to(registry: Registry) -> None:
    one = registry.add(VOTES)
    now = registry.move(one.id, "canary", share=0.5)
    dice = Random(3)
    for i in range(100):
        arm = "canary" if i % 2 else "production"
        put_outcome(registry, now, Outcome(f"r{i}", arm, float(dice.random() < (0.98 if i % 2 else 0.2))))
    moved, evidence = promote(registry, one.id, "production", by="ann")
    assert moved.production == one.id
    assert evidence is not None
    assert evidence.accuracy.low > 0
    assert "50 outcomes of the canary" in evidence.source


def test_live_evidence_without_outcomes_shows_nothing() -> None:
    found = live_evidence(Race(), ("c", "p"))
    assert not found.better
    assert not found.worse
    with pytest.raises(PromotionRefused):
        check("production", found)


def test_what_changed_while_the_evidence_was_measured_is_a_conflict(registry: Registry) -> None:
    a, b, c = registry.add(SINGLE), registry.add(VOTES), registry.add(Policy(strategy="single_shot", worth=2.0))
    registry.move(c.id, "production")

    def measure(candidate: Policy, production: Policy, names: tuple[str, str]) -> Evidence:
        registry.move(a.id, "production", by="somebody else")
        return evidence_on(bank(), candidate, production, resamples=1)

    with pytest.raises(RegistryConflict, match="changed meanwhile"):
        promote(registry, b.id, "production", measure=measure)
    assert registry.standing().production == a.id


def test_a_strategy_is_replayed_on_draws_of_its_own_temperature() -> None:
    plain = bank(20)
    warm = {(q, m, "direct@0.7"): row for (q, m, _), row in plain.draws.items()}
    cold = {(q, m, "direct@0.3"): tuple(replace(d, correct=False, key="x", answer="x") for d in row)
            for (q, m, _), row in plain.draws.items()}  # fmt: skip
    both = Bank(plain.questions, {**warm, **cold})
    texts = ('single_shot:params={"temperature":0.3}', "self_consistency", "single_shot")
    found = [asked_at(both, strategy_of(text)) for text in texts]
    assert found == [("direct@0.3",), ("direct@0.7",), None]
    colder = Policy(strategy=texts[0], worth=1.0)
    warmer = Policy(strategy='single_shot:params={"temperature":0.7}', worth=1.0)
    result = evidence_on(both, colder, warmer, resamples=1)
    assert result.only_candidate == 0
    assert result.accuracy.estimate < -0.4
