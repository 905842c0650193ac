"""Rounds by policy curves: against plain enumeration, with the contract; fitted from a table of turns."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.beliefs import COURSE, misses
from satisfice.budgets.policy import Policy, RoundPolicy
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.rounds import RoundsBelief
from satisfice.budgets.voting import VotingBelief
from satisfice.budgets.waves import WaveBelief
from satisfice.core.belief import STOP, Belief, Continuation, Rounds, Terms
from satisfice.core.errors import CallerError
from satisfice.experiments.curving import Turn, falling, fit_rounds, read_turns
from satisfice.testing.belief import BeliefContract

FALLING = Rounds(((0.3, 0.05), (0.1, 0.02), (0.02, 0.02)), 0.8)
PRIORS = replace(DEFAULT_PRIORS, rounds={"debate": FALLING})


class Sure:
    """An answer with a known P(right)."""

    def __init__(self, chance: float) -> None:
        self.chance = chance

    def p(self, terms: Terms) -> float | None:
        return self.chance

    def best(self, terms: Terms) -> Continuation:
        return STOP


class TestCurves(BeliefContract):
    waves = False
    terms = replace(BeliefContract.terms, priors=PRIORS)

    @pytest.fixture(params=[(0, None, 0), (0, Sure(0.4), 0), (2, Sure(0.1), 2), (0, VotingBelief(2, 1), 1)])
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        stalled, evidence, done = request.param
        return RoundsBelief(stalled, 8, evidence, "debate", done)


class TestCurvedWaves(BeliefContract):
    waves = False
    terms = replace(BeliefContract.terms, priors=PRIORS)

    @pytest.fixture(params=[None, Sure(0.1)])
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        return WaveBelief(RoundsBelief(0, 8, request.param, "debate"), 1)


@given(
    st.floats(0.01, 0.99),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 6),
    st.sampled_from([0.0, 0.001, 0.01, 0.05]),
    st.sampled_from([0.0, 1.0]),
)
def test_the_value_is_that_of_the_best_number_of_rounds(
    p: float, done: int, stalled: int, left: int, price: float, wrong: float
) -> None:
    at = Terms(price, 1.0, 99, PRIORS, wrong)
    way = RoundsBelief(stalled, left, Sure(p), "debate", done).best(at)
    best, now = 0.0, p
    for m in range(left):
        heal, hurt = FALLING.curve[min(done + m, 2)]
        share = 0.8 ** (stalled + m)
        now = now * (1 - hurt * share) + (1 - now) * heal * share
        best = max(best, at.value(now) - at.value(p) - price * (m + 1))
    assert way.net(at) == pytest.approx(best, abs=1e-8)


def test_a_curve_that_turns_more_right_answers_wrong_than_wrong_ones_right_ends_the_rounds() -> None:
    harm = replace(DEFAULT_PRIORS, rounds={"debate": Rounds(((0.1, 0.3),))})
    at = Terms(0.0, 1.0, 99, harm)
    assert RoundsBelief(0, 5, Sure(0.6), "debate").best(at).size == 0
    assert RoundsBelief(0, 5, Sure(0.1), "debate").best(at).size == 1  # from so low it helps all the same
    assert RoundsBelief(0, 5, Sure(0.6)).best(at).size == 1  # nothing is known of others


def test_without_an_answer_rounds_go_on_until_one_passes() -> None:
    at = Terms(0.04, 1.0, 99, replace(DEFAULT_PRIORS, rounds={"reflexion+checks": Rounds(((0.3, 0.0), (0.05, 0.0)))}))
    first = RoundsBelief(0, 5, None, "reflexion+checks").best(at)
    assert first.gain > 0.3
    assert 1 < first.cost < 5  # it may end before
    rest = RoundsBelief(1, 4, None, "reflexion+checks", 1).best(at)
    assert rest.size == 1
    assert RoundsBelief(1, 4, None, "reflexion+checks", 1).best(replace(at, price=0.06)).size == 0


@given(
    st.floats(0.01, 0.99), st.integers(0, 4), st.integers(1, 8), st.sampled_from([0.5, 3.0, 19.0]), st.integers(1, 4)
)
def test_rounds_gain_what_they_add_to_the_value_of_answering(
    p: float, stalled: int, left: int, wrong: float, wide: int
) -> None:
    """Without a curve, where a wrong answer costs something: U after the rounds, less U now."""
    at = Terms(0.0, 1.0, 99, DEFAULT_PRIORS, wrong)
    now, gains = p, [0.0]
    for lost in misses(DEFAULT_PRIORS, stalled, left):
        now += (1 - now) * (1 - lost)
        gains.append(at.value(now) - at.value(p))
    rounds = RoundsBelief(stalled, left, Sure(p))
    assert rounds.best(at).gain == pytest.approx(max(gains), abs=1e-8)
    assert WaveBelief(rounds, wide).best(at).gain == pytest.approx(max(gains), abs=1e-8)


def test_rounds_that_cannot_lift_an_answer_above_abstaining_are_worth_nothing() -> None:
    """P(right) .05 after three rounds is .57 at the best; at 19 for a wrong answer, abstaining is as good up to .95."""
    at = Terms(0.0, 1.0, 99, DEFAULT_PRIORS, 19.0)
    assert RoundsBelief(0, 3, Sure(0.05)).best(at) == STOP
    assert WaveBelief(RoundsBelief(0, 3, Sure(0.05)), 3).best(at) == STOP
    assert RoundsBelief(0, 3, None).best(at).gain > 0.5  # what passes an exact check is right


def test_a_wave_as_wide_as_a_long_search_stays_within_what_is_looked_ahead() -> None:
    priors = replace(DEFAULT_PRIORS, rounds={"s": Rounds(((0.02, 0.0),))})
    way = WaveBelief(RoundsBelief(0, 300, Sure(0.3), "s"), 200).best(Terms(0.0, 1.0, 999, priors))
    assert 1 <= way.size <= COURSE


@pytest.mark.parametrize("evidence", [None, Sure(0.1)])
def test_no_wave_is_wider_than_the_provider_lets_through(evidence: Belief | None) -> None:
    for priors in (PRIORS, DEFAULT_PRIORS):
        belief = WaveBelief(RoundsBelief(0, 12, evidence, "debate"), 12)
        at = Terms(1e-5, 1.0, 99, priors, seconds=1.0, per_second=1.0)
        free = belief.best(at)
        held = belief.best(replace(at, at_once=3))
        assert held.size <= 3 < free.size
        assert free.seconds < held.seconds


# -- the fit -----------------------------------------------------------------------------------------------------------


def table(rows: list[str], strategy: str = "debate", answers: bool = False) -> list[Turn]:
    """One question per text: its rounds as 1 (right) or 0 (wrong), or letters of wrong answers."""
    return [
        Turn(strategy, f"q{i}", t, mark == "1", mark if answers else None)
        for i, row in enumerate(rows)
        for t, mark in enumerate(row)
    ]


def test_curves_are_the_shares_that_turned() -> None:
    rows = ["01"] * 30 + ["00"] * 70 + ["11"] * 90 + ["10"] * 10
    policy = fit_rounds(table(rows))["debate"]
    assert policy.questions == policy.seen == 200
    assert policy.curve == ((pytest.approx(0.3), pytest.approx(0.1)),)
    assert policy.fade == 1.0
    two = fit_rounds(table(["001"] * 10 + ["000"] * 90))["debate"]  # it does not rise with the round
    assert two.curve[0][0] == pytest.approx(two.curve[1][0])


def test_a_round_that_changed_nothing_says_something_of_the_next() -> None:
    rows = ["aa1"] * 2 + ["aaa"] * 38 + ["ab1"] * 20 + ["abc"] * 20
    policy = fit_rounds(table(rows, answers=True))["debate"]
    assert policy.fade == pytest.approx((2 / 40) / (20 / 40))
    assert fit_rounds(table(rows))["debate"].fade == 1.0


def test_few_questions_say_nothing_and_gaps_are_told() -> None:
    assert fit_rounds(table(["01"] * 9)) == {}
    assert fit_rounds(table(["0"] * 20)) == {}
    with pytest.raises(CallerError, match="expected rounds 0, 1, 2"):
        fit_rounds([Turn("debate", "q", 0, True), Turn("debate", "q", 2, True)])
    with pytest.raises(CallerError, match="once each"):
        fit_rounds([Turn("debate", "q", 0, True), Turn("debate", "q", 0, True)])


def test_a_table_is_read_by_its_columns(tmp_path: object) -> None:
    path = f"{tmp_path}/turns.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("strategy,id,round,right\ndebate,q1,0,0\ndebate,q1,1,1\n")
    assert read_turns(path, {"question": "id"}) == [Turn("debate", "q1", 0, False), Turn("debate", "q1", 1, True)]
    with pytest.raises(CallerError, match="no column question"):
        read_turns(path)
    with pytest.raises(CallerError, match="cannot read"):
        read_turns(f"{tmp_path}/none.csv")


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 9)), min_size=1, max_size=8))
def test_falling_values_keep_their_mean(rows: list[tuple[float, float]]) -> None:
    values, weights = [v for v, _ in rows], [w for _, w in rows]
    found = falling(values, weights)
    assert found == sorted(found, reverse=True)
    kept = sum(a * b for a, b in zip(found, weights, strict=True))
    assert kept == pytest.approx(sum(a * b for a, b in zip(values, weights, strict=True)))


def test_a_policy_keeps_its_curves() -> None:
    policy = Policy(rounds={"debate": RoundPolicy(curve=((0.3, 0.1), (0.1, 0.0)), fade=0.5, questions=60)})
    again = Policy.model_validate_json(policy.model_dump_json()).priors().rounds["debate"]
    assert again == Rounds(((0.3, 0.1), (0.1, 0.0)), 0.5)
