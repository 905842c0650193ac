"""Evidence for promotion: exact bounds, refusals that say why, overrides on record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.budgets.registry.betting import Race
from satisfice.budgets.registry.registry import Registry
from satisfice.budgets.registry.trials import Outcome, put_outcome
from satisfice.core.errors import CallerError, PromotionRefused, RegistryConflict
from satisfice.experiments.bank import Bank, Draw, Question
from satisfice.experiments.cautions import cautions
from satisfice.experiments.fitting import facts_of, questions_hash
from satisfice.experiments.promoting import (
    Bound,
    Evidence,
    check,
    evidence_on,
    live_evidence,
    mcnemar_bound,
    most_of,
    paired_evidence,
    promote,
)
from satisfice.experiments.report import Each
from satisfice.experiments.teams import asked_at
from satisfice.experiments.unseen import unseen_folds
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
        found = paired_evidence(*sides(n, 0, 0), worth=0.01, most=0.01)
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
        passed += paired_evidence(a, b, worth=0.01, most=0.01).better
    assert passed <= 9


def test_net_utility_counts_dollars_and_wrong_answers() -> None:
    better, dearer = paired_evidence(*sides(300, 40, 2), worth=0.01, most=0.01), sides(300, 40, 2, (0.009, 0.001))
    assert better.better
    assert better.net is not None
    assert better.net.estimate == pytest.approx(0.01 * 38 / 300)
    assert paired_evidence(*dearer, worth=0.01, most=0.01).worse
    assert paired_evidence(*dearer).better  # nobody says what an answer is worth: accuracy decides
    silent = {q: Each(0.0, 0.001, answered=0.0) for q in dearer[0]}
    guessing = {q: Each(0.0, 0.001, answered=1.0) for q in dearer[0]}
    assert paired_evidence(silent, guessing, worth=0.01, wrong=0.005, most=0.01).better


def test_as_good_and_cheaper_is_enough_where_a_margin_says_so() -> None:
    mine, theirs = sides(800, 8, 8, (0.001, 0.004))
    assert not paired_evidence(mine, theirs).better
    assert paired_evidence(mine, theirs, margin=0.03, most=0.01).better
    assert not paired_evidence(mine, theirs, margin=0.001, most=0.01).better
    assert not paired_evidence(*sides(800, 8, 8), margin=0.03, most=0.01).better  # no cheaper


def test_figures_over_several_runs_get_a_betting_bound() -> None:
    mine = {f"q{i}": Each(0.75 if i % 2 else 1.0, 0.001) for i in range(200)}
    theirs = {f"q{i}": Each(0.5, 0.001) for i in range(200)}
    found = paired_evidence(mine, theirs)
    assert found.accuracy.method == "betting"
    assert found.p_value is None
    assert 0.3 < found.accuracy.low < 0.375 < found.accuracy.high


def test_dollars_are_bounded_by_what_may_be_spent_and_not_by_what_was_seen() -> None:
    """Cheaper on nearly all questions, a thousand times dearer on one in 300, and so dearer on average."""
    claimed = {None: 0, 25.0: 0}
    for seed in range(40):
        dice = Random(seed)
        mine = {f"q{i}": Each(1.0, 20.0 if dice.random() < 1 / 300 else 0.005) for i in range(300)}
        theirs = {f"q{i}": Each(1.0, 0.01) for i in range(300)}
        for most in claimed:
            claimed[most] += paired_evidence(mine, theirs, margin=0.02, most=most).better
        claimed[25.0] += paired_evidence(mine, theirs, worth=0.02, most=25.0).better
    assert claimed == {None: 0, 25.0: 0}
    with pytest.raises(CallerError, match="most="):
        paired_evidence(mine, theirs, worth=0.02)
    with pytest.raises(CallerError, match="more than the most"):
        paired_evidence(*sides(10, 1, 1), most=0.0005)


def test_what_a_question_can_cost_is_known_before_it_is_asked() -> None:
    plain = bank(20)
    assert most_of(plain) == pytest.approx(9 * 0.001)  # nine draws at a tenth of a cent
    assert most_of(plain, Budget(calls=3)) == pytest.approx(3 * 0.001)
    params = {"params": {"max_tokens": 1000}}
    limits = {"conditions": {"m direct": params}, "prices": {"m": {"prompt": 1_000_000, "completion": 2_000_000}}}
    assert most_of(replace(plain, manifest=limits), Budget(calls=1)) == pytest.approx(0.00201)  # 10 + 2 * 1000 tokens
    capped = evidence_on(plain, VOTES, SINGLE, budget=Budget(usd=0.007))
    loose = evidence_on(plain, VOTES, SINGLE, budget=Budget(usd=5.0))
    assert capped.saved is not None
    assert loose.saved is not None
    assert capped.saved.low > loose.saved.low


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


def test_questions_are_known_again_one_by_one() -> None:
    """A bank that has grown or shrunk since the fit, is dealt to other folds, or is spelt otherwise."""
    whole = bank(121)
    old = part(whole, [f"q{i}" for i in range(120)])
    fitted = VOTES.model_copy(update={"provenance": dict(facts_of(old))})
    same = evidence_on(old, fitted, SINGLE)
    assert (same.questions, same.held_out) == (120, False)
    fewer = evidence_on(part(whole, [f"q{i}" for i in range(119)]), fitted, SINGLE)
    assert (fewer.questions, fewer.held_out) == (119, False)
    more = evidence_on(whole, fitted, SINGLE)
    assert (more.questions, more.held_out) == (1, True)  # on what is new, and on nothing else
    forced = evidence_on(whole, fitted, SINGLE, folds=whole.folds)
    assert (forced.questions, forced.held_out) == (121, False)
    louder = {q: replace(one, text=f" {one.text.upper()}", fold=0) for q, one in old.questions.items()}
    assert not evidence_on(replace(old, questions=louder), fitted, SINGLE).held_out
    assert any("120 of these 121 questions" in text for text in cautions(whole, {"votes": fitted}))
    assert unseen_folds(fitted, whole) == ()
    assert unseen_folds(fitted, part(whole, ["q120"])) is None


def test_a_bank_of_the_same_name_is_in_sample_where_nothing_says_otherwise(tmp_path: Path) -> None:
    here = replace(bank(30), path=tmp_path / "served")
    for facts, new in (
        ({"bank": "served", "questions_hash": "of fewer"}, False),
        ({"bank": "served", "questions_hash": "of fewer", "folds": "0,1"}, False),
        ({"bank": "served", "questions_hash": "of fewer", "folds": "7"}, True),
        ({"bank": "another", "questions_hash": "of fewer"}, True),
        ({"bank": "served", "questions_seen": ""}, True),
        ({"bank": "served", "questions_seen": "no base64!"}, False),
    ):
        assert evidence_on(here, VOTES.model_copy(update={"provenance": facts}), SINGLE).held_out == new


def part(whole: Bank, names: list[str]) -> Bank:
    """The bank with these questions only."""
    draws = {place: row for place, row in whole.draws.items() if place[0] in names}
    return Bank({name: whole.questions[name] for name in names}, draws)


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
