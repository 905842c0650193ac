from __future__ import annotations

import gc
import json
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from satisfice.budgets import learning
from satisfice.budgets.allocation_policy import AllocationPolicy, ArmPolicy
from satisfice.budgets.learning import Allowance, Joint, believed, given_up, logit, scored, squash
from satisfice.budgets.policy import Policy
from satisfice.scheduler.decisions import Alternative, Decision
from satisfice.scheduler.feedback import mark_of
from satisfice.scheduler.journal import Explored, Given, Journal
from satisfice.scheduler.learning import Learner, Shifts, regret_of, slope_of, summary

POLICY = '{"name": "p"}'
logits = st.floats(-8, 8)
labels = st.floats(0, 1)


# -- the arithmetic --------------------------------------------------------------------------------------------------


def alone(sd: float = learning.SD, **options: Any) -> Joint:
    """Arms that share nothing."""
    return Joint(sd, 0.0, **options)


@examples(logits, labels, st.floats(0.05, 3), st.floats(0.2, 1.5), st.floats(0, 2))
def test_a_label_moves_the_shift_its_own_way_and_makes_it_surer(
    base: float, label: float, sd: float, slope: float, common: float
) -> None:
    joint = Joint(sd, common)
    now = joint.shift("a")
    joint.learn("a", base, label, slope)
    then = joint.shift("a")
    said = squash(base + slope * now.mean)
    assert (then.mean - now.mean) * (label - said) >= -1e-9
    assert then.sd <= now.sd + 1e-9
    # It never overshoots what the label says.
    assert (squash(base + slope * then.mean) - label) * (said - label) >= -1e-9
    # What is shared moves the same way, by less, and so does an arm that was not asked.
    other = joint.shift("b")
    assert abs(other.mean) <= abs(then.mean) + 1e-9
    assert other.mean * then.mean >= -1e-12


@examples(st.lists(st.tuples(logits, labels), min_size=1, max_size=30))
def test_the_step_is_the_mode_of_the_posterior(rows: list[tuple[float, float]]) -> None:
    joint = alone()
    for base, label in rows:
        before = joint.shift("a")
        sd = min(learning.SD, (before.sd**2 + learning.WANDER) ** 0.5)
        joint.learn("a", base, label)
        after = joint.shift("a")
        if after.alarms == before.alarms:
            assert abs((before.mean - after.mean) / sd**2 + label - squash(base + after.mean)) < 1e-6


def test_what_is_true_is_learnt() -> None:
    random, joint = Random(3), alone()
    for _ in range(400):
        base = random.gauss(0.5, 1.5)
        joint.learn("a", base, float(random.random() < squash(base - 1.2)))
    shift = joint.shift("a")
    assert abs(shift.mean + 1.2) < 3 * shift.sd < 1.2
    assert shift.sd < 0.35


def test_harder_questions_are_not_held_against_those_who_were_asked() -> None:
    """All arms are a logit worse than the policy says, and only one is asked: the others are taken for worse too."""
    random, joint = Random(4), Joint(priors={"a": 0.25, "b": 0.25})
    for _ in range(300):
        base = random.gauss(0.5, 1.5)
        joint.learn("a", base, float(random.random() < squash(base - 1.0)))
    a, b, new = (joint.shift(arm) for arm in ("a", "b", "new"))
    assert a.mean < -0.6
    assert b.mean < -0.4
    assert b.mean == new.mean
    assert a.sd < b.sd < new.sd
    for _ in range(150):
        base = random.gauss(0.5, 1.5)
        joint.learn("b", base, float(random.random() < squash(base + 0.5)))
    assert joint.shift("b").mean > a.mean + 0.5


@examples(st.lists(st.tuples(st.sampled_from("abcd"), logits, labels), max_size=40))
def test_the_covariance_stays_one(rows: list[tuple[str, float, float]]) -> None:
    joint = Joint()
    for arm, base, label in rows:
        joint.learn(arm, base, label)
    for arm in "abcd":
        shift = joint.shift(arm)
        assert 0 < shift.sd < 2
    assert all(abs(x) < 40 for x in joint.drawn(1, "abcd").values())
    assert joint.means("abcd") == pytest.approx([joint.shift(arm).mean for arm in "abcd"])


def test_a_drift_is_noticed_and_followed() -> None:
    random, joint = Random(5), alone()
    for i in range(900):
        base, true = random.gauss(0.5, 1.5), 0.0 if i < 600 else -2.0
        joint.learn("a", base, float(random.random() < squash(base + true)))
        if i == 599:
            steady = joint.shift("a")
    assert steady.alarms == 0
    assert joint.shift("a").alarms >= 1
    assert abs(joint.shift("a").mean + 2.0) < 0.6


def test_an_alarm_widens_what_had_become_sure() -> None:
    joint = alone()
    for i in range(300):
        joint.learn("a", 0.0, float(i % 2))
    sure = joint.shift("a")
    assert sure.sd < 0.3
    while not joint.shift("a").alarms:
        before = joint.shift("a")
        joint.learn("a", 2.0, 0.0)
    after = joint.shift("a")
    assert after.sd > 1.5 * before.sd
    assert (after.rise, after.fall) == (0.0, 0.0)


def test_draws_are_those_of_the_posterior_and_repeat() -> None:
    joint = Joint(0.5, 0.6)
    for i in range(40):
        joint.learn("a", 0.3, float(i % 3 > 0))
    shift, other = joint.shift("a"), joint.shift("b")
    drawn = [joint.drawn(seed, ["b"]) for seed in range(3000)]
    assert drawn[:50] == [joint.drawn(seed, ["b"]) for seed in range(50)]
    for arm, known in (("a", shift), ("b", other)):
        values = [draw[arm] for draw in drawn]
        mean = sum(values) / len(values)
        sd = (sum((x - mean) ** 2 for x in values) / len(values)) ** 0.5
        assert abs(mean - known.mean) < 0.05
        assert abs(sd - known.sd) < 0.04


@examples(st.floats(0, 1))
def test_logits_and_back(p: float) -> None:
    assert abs(squash(logit(p)) - p) <= 1.1e-6


def test_nothing_overflows() -> None:
    assert squash(-1e6) == 0.0
    assert squash(1e6) == 1.0
    joint = alone()
    joint.learn("a", 900.0, 0.0)
    joint.learn("a", -900.0, 1.0)
    assert abs(joint.shift("a").mean) < 10


def test_what_a_choice_gives_up() -> None:
    assert given_up([0.3, 0.5], 0) == pytest.approx(0.2)
    assert given_up([0.3, 0.5], 1) == 0.0
    assert given_up([-0.3, -0.5], 0) == pytest.approx(0.3)  # stopping was better
    assert given_up([0.3], 1) == pytest.approx(0.3)  # it stopped
    assert believed(0.4, 0.9, drawn=1.0, mean=1.0) == pytest.approx(0.4)
    p = squash(logit(0.9) - 1.0)
    assert believed(0.4, 0.9, drawn=1.0, mean=0.0) == pytest.approx(0.4 - (0.9 - p))


def test_scores() -> None:
    assert scored([]) is None
    sure = scored([(1.0, 1.0), (0.0, 0.0)])
    assert sure is not None
    assert (sure.n, round(sure.brier, 6)) == (2, 0.0)
    half = scored([(0.5, float(i % 2)) for i in range(100)])
    assert half is not None
    assert (half.brier, round(half.log_loss, 4), half.predicted, half.came) == (0.25, 0.6931, 0.5, 0.5)
    assert sum(n for *_, n in half.bins) == 100


def test_the_allowance() -> None:
    assert Allowance(0.02, 1_000_000, 5_000).left == 15_000
    assert Allowance(0.02, 0, 5_000).left < 0


# -- the learner -----------------------------------------------------------------------------------------------------


def word(run: str, label: float, arm: str = "a", p: float = 0.5, shift: float = 0.0, **changes: Any) -> Given:
    fields = {"policy": mark_of(POLICY), "confidence": 0.8, **changes}
    seen = json.dumps([[arm, p, shift, label]])
    return Given(run, label, "", "", "2026-01-01", "", strategy="auto", observed=seen, **fields)


@pytest.mark.anyio
async def test_two_processes_come_to_the_same_whenever_they_look(tmp_path: Path) -> None:
    early, late = Learner(POLICY), Learner(POLICY)
    async with Journal.open(tmp_path / "runs.db") as journal:
        random = Random(1)
        for i in range(60):
            await journal.give(word(f"r{i}", float(random.random() < 0.8), p=0.6))
            if i % 7 == 0:
                await early.refresh(journal, now=True)
        await journal.give(word("r3", 0.25), revise=True)
        await early.refresh(journal, now=True)
        await late.refresh(journal, now=True)
    assert early.shifts(1, arms="b") == late.shifts(1, arms="b")
    assert early.to_dict() == late.to_dict()
    assert early.known.shift("a").seen == 60
    assert early.known.shift("a").mean > 0.3


@pytest.mark.anyio
async def test_a_revised_word_counts_once(tmp_path: Path) -> None:
    learner, plain = Learner(POLICY), Learner(POLICY)
    async with Journal.open(tmp_path / "runs.db") as journal:
        await journal.give(word("r1", 1.0))
        await learner.refresh(journal, now=True)
        assert learner.known.shift("a").mean > 0
        await journal.give(word("r1", 0.0), revise=True)
        await learner.refresh(journal, now=True)
        await plain.refresh(journal, now=True)
    assert learner.known.shift("a").mean < 0
    assert learner.known.shift("a").seen == 1
    assert learner.to_dict() == plain.to_dict()


@pytest.mark.anyio
async def test_words_on_another_policy_are_not_about_this_one(tmp_path: Path) -> None:
    learner = Learner(POLICY)
    async with Journal.open(tmp_path / "runs.db") as journal:
        await journal.give(word("r1", 1.0, policy="other"))
        await learner.refresh(journal, now=True)
    assert learner.shifts(1, arms="a") == {}


@pytest.mark.anyio
async def test_the_shift_in_force_is_taken_off_what_was_predicted(tmp_path: Path) -> None:
    """A prediction that had the shift in it already must not be shifted again: right as often as predicted, nothing
    is to be learnt, and the shift stays where it was."""
    learner = Learner(POLICY)
    async with Journal.open(tmp_path / "runs.db") as journal:
        random = Random(2)
        for i in range(400):
            base = random.gauss(0, 1.5)
            p = squash(base + 1.0)  # as predicted at the shift of 1, which is true
            await journal.give(word(f"r{i}", float(random.random() < p), p=p, shift=1.0))
        await learner.refresh(journal, now=True)
    shift = learner.known.shift("a")
    assert abs(shift.mean - 1.0) < 3 * shift.sd < 1.5


@pytest.mark.anyio
async def test_it_looks_again_only_after_a_while(tmp_path: Path) -> None:
    learner = Learner(POLICY)
    async with Journal.open(tmp_path / "runs.db") as journal:
        await learner.refresh(journal)
        await journal.give(word("r1", 1.0))
        await learner.refresh(journal)
        assert learner.shifts(1, arms="a") == {}
        await learner.refresh(journal, now=True)
        assert learner.known.shift("a").seen == 1


@pytest.mark.anyio
async def test_tasks_that_look_at_once_learn_each_word_once(tmp_path: Path) -> None:
    learner = Learner(POLICY)
    async with Journal.open(tmp_path / "runs.db") as journal:
        for i in range(250):
            await journal.give(word(f"r{i}", 1.0))
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(learner.refresh, journal, True)
        assert learner.known.shift("a").seen == 250
        await journal.give(word("more", 1.0))
        await learner.refresh(journal)  # somebody was turned away: the next one looks at once
        assert learner.known.shift("a").seen == 251


@pytest.mark.anyio
async def test_who_is_cancelled_while_looking_has_learnt_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner(POLICY)
    async with Journal.open(tmp_path / "runs.db") as journal:
        for i in range(250):
            await journal.give(word(f"r{i}", 1.0))
        with anyio.CancelScope() as scope, monkeypatch.context() as patched:
            learn = Joint.learn

            def half_way(joint: Joint, *label: Any) -> None:
                learn(joint, *label)
                scope.cancel()

            patched.setattr(Joint, "learn", half_way)
            await learner.refresh(journal, now=True)
        assert scope.cancelled_caught
        assert learner.known.arms == ()
        await learner.refresh(journal, now=True)
    assert learner.known.shift("a").seen == 250


def known(explore: float = 0.0, spent: int = 0, regret: int = 0, explored: int = 0) -> Learner:
    """One that served a hundred requests."""
    learner = Learner(POLICY, explore)
    for i in range(40):
        learner.known.learn("a", 0.0, float(i % 4 > 0))
    learner.ended([], {}, spent)
    learner._cost = Explored(spent, regret, 100, explored)
    return learner


def test_who_may_not_explore_gets_what_is_believed() -> None:
    means = dict(known().shifts(1))
    assert list(means) == ["a"]
    assert list(known().shifts(1, arms=["b"])) == ["a", "b"]  # by what arms share
    assert known(0.1, 1000).shifts(1, explore=False) == means  # the request forbids it
    assert known(0.1, 1000, regret=100).shifts(1) == means  # it is used up
    assert known(0.1, 0).shifts(1) == means  # nothing has been spent yet
    drawn = known(0.1, 1000).shifts(1, arms=["b"])
    assert drawn.explored
    assert set(drawn) == {"a", "b"}
    assert abs(drawn["a"] - means["a"]) > 1e-3
    assert drawn.means == known().shifts(1, arms=["b"])
    assert drawn == known(0.1, 1000).shifts(1, arms=["b"])


def test_those_under_way_count_against_the_allowance() -> None:
    learner = known(0.1, 1_000_000, explored=1)  # 100,000 nano-dollars are left
    learner._typical = 30_000.0
    under_way = [learner.shifts(i) for i in range(5)]
    assert [shifts.explored for shifts in under_way] == [True, True, True, False, False]
    learner.ended([], under_way.pop(0), 0)
    learner._typical = 30_000.0
    assert learner.may_explore()
    under_way.append(learner.shifts(9))
    assert not learner.may_explore()
    del under_way  # failed before they began
    gc.collect()
    assert learner.may_explore()


def test_before_one_has_ended_only_one_explores_and_only_where_it_can_be_paid() -> None:
    learner = known(0.02, 1_000_000)  # of $0.001 over 100 requests 20,000 nano-dollars may be given up
    under_way = [learner.shifts(i) for i in range(50)]
    assert [shifts.explored for shifts in under_way] == [True] + [False] * 49
    learner.ended([], under_way.pop(0), 0)
    assert learner.shifts(99).explored
    assert not known(0.005, 1_000_000).shifts(1).explored  # less than what a request spends, $0.00001


def test_what_is_seldom_given_up_is_not_forgotten() -> None:
    """Nine of ten that explore give up nothing. What is expected of the next ones is the mean of them all."""
    learner = known(0.1, 10_000_000, regret=400_000, explored=10)  # 600,000 are left, of which each takes 40,000
    under_way = [learner.shifts(i) for i in range(100)]
    assert sum(shifts.explored for shifts in under_way) == 14


def drawn(**by_arm: float) -> Shifts:
    made = Shifts(by_arm)
    made.explored = True
    return made


def decision(*rows: Alternative, index: int = 0, size: int = 1, price: float = 10.0) -> Decision:
    return Decision("a1.a0", 0.0, 0.0, None, price, rows, index, size, "worth it")


def way(name: str, net: float, p: float | None) -> Alternative:
    return Alternative(name, 1, net + 0.01, 0.001, 1.0, net, 0.001, p)


def test_what_exploring_gives_up_is_reckoned_at_what_is_believed() -> None:
    a, b = way("a", 0.60, 0.61), way("b", 0.70, 0.71)  # b was drawn a logit too high
    drawn, means = {"a": 0.0, "b": 1.0}, {"b": 0.0}
    lost = 0.71 - squash(logit(0.71) - 1.0)
    chose_b = decision(a, b, index=1)
    assert regret_of([chose_b], drawn, means) == pytest.approx((0.60 - (0.70 - lost)) / 10)
    assert regret_of([decision(a, b, index=0)], drawn, means) == 0.0
    assert regret_of([chose_b, chose_b], drawn, means) == pytest.approx(2 * regret_of([chose_b], drawn, means))
    assert regret_of([decision(way("a", inf, None))], drawn, means) == 0.0
    assert regret_of([decision(a, b, index=1, price=0.0)], drawn, means) == 0.0


@pytest.mark.anyio
async def test_the_bill_of_exploring_is_kept_for_all_processes(tmp_path: Path) -> None:
    one, other = known(0.02, 0), Learner(POLICY, 0.02)
    rows = decision(way("a", 0.60, 0.61), way("b", 0.70, 0.71), index=1)
    async with Journal.open(tmp_path / "runs.db") as journal:
        one.ended([rows], {"a": 0.5}, 1_000_000_000, journal=journal)  # as believed: nothing was explored
        usd = one.ended([rows], drawn(a=0.5, b=1.0), 1_000_000_000, journal=journal)
        await other.refresh(journal, now=True)
    assert usd > 0
    assert other.to_dict()["explored"] == {"usd": 2.0, "given_up_usd": round(usd, 9), "runs": 2, "explored": 1}
    assert other.allowance.left == round(0.02 * 2e9) - round(usd * 1e9)


def test_a_spree_ends_where_the_allowance_does() -> None:
    """However bad exploring turns out, what it gives up stays within the share but for what was under way."""
    learner = Learner(POLICY, 0.05)
    bad = decision(way("a", 0.60, 0.61), way("b", 0.70, 0.71), index=1, price=1.0)
    given, most = 0.0, 0.0
    for i in range(3000):
        explores = learner.shifts(i, arms=["a", "b"]).explored
        usd = learner.ended([bad], drawn(a=0.0, b=1.0) if explores else {}, 10_000_000)
        given, most = given + usd, max(most, usd)
    assert 0 < given <= 0.05 * 3000 * 0.01 + most


def test_a_learner_of_a_policy() -> None:
    allocation = AllocationPolicy(
        arms={"a": ArmPolicy(bias=0.0, sd=0.5), "b": ArmPolicy(bias=0.0, sd=0.01, loading=3.0)}
    )
    learner = Learner.of(Policy(allocation=allocation), "{}", 0.1)
    assert learner.priors == {"a": 0.5, "b": 0.25}
    assert 0 < learner.slopes["b"] < learner.slopes["a"] < 1
    assert Learner.of(Policy(), "{}").priors == {}
    assert slope_of(0.0, 0.0) == 1.0


def test_the_summary() -> None:
    words = [word(f"r{i}", float(i % 4 != 0), p=0.75) for i in range(80)]
    found = summary([*words, word("r0", 0.5, p=0.75, revises=1)])
    assert found["feedback"] == 80
    assert found["revised"] == 1
    assert found["arms"]["a"]["n"] == 80
    assert found["arms"]["a"]["predicted"] == pytest.approx(0.75)
    assert [part["n"] for part in found["arms"]["a"]["over_time"]] == [20, 20, 20, 20]
    assert found["confidence"]["predicted"] == pytest.approx(0.8)
    json.dumps(found, allow_nan=False)
    assert summary([])["confidence"] is None
