"""Scored sampling: the chain against backward induction, the tail against a simulation, both with the contract."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import inf, nan
from random import Random
from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.checking import DrawBelief, p_right
from satisfice.budgets.evidence import Evidence
from satisfice.budgets.policy import ChainPolicy, Policy
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.scored import PandoraBelief, course, place, reservation, settled, tail
from satisfice.core.belief import Belief, Chain, Channel, Priors, Terms
from satisfice.core.errors import BadSettings
from satisfice.testing.belief import BeliefContract

DRAWS = 6
CHANNEL = Channel(((0.1, 0.5), (0.3, 0.3), (0.6, 0.2)))


def chain_of(seed: int, levels: int = 3, blank: float = 0.0) -> Chain:
    """Any chain: rows of chances, shares right that rise with the level."""
    dice = np.random.default_rng(seed)
    right = np.sort(dice.random((DRAWS + 1, levels)), axis=1)
    moves = dice.dirichlet(np.ones(levels), (DRAWS, levels))
    cuts = tuple(float(x) for x in np.linspace(0.2, 0.8, levels - 1))
    return Chain(cuts, tuple(map(tuple, right.tolist())), tuple(tuple(map(tuple, t)) for t in moves.tolist()), blank)


def brute(chain: Chain, n: int, level: int, at: Terms, left: int) -> float:
    """The value of a state: stop, or any wave and on from there; the last rows stand for all after them."""

    @cache
    def value(n: int, level: int, left: int) -> float:
        best = at.value(chain.right[min(n, DRAWS)][level]) if n else 0.0
        chances = [float(i == level) for i in range(len(chain.right[0]))]
        for m in range(1, left + 1):
            table = chain.moves[min(n + m, DRAWS) - 1]
            chances = [sum(c * row[j] for c, row in zip(chances, table, strict=True)) for j in range(len(chances))]
            then = sum(c * value(n + m, j, left - m) for j, c in enumerate(chances))
            best = max(best, then - m * at.step_price / (1 - chain.blank) - at.wave_price)
        return best

    return value(n, level, left)


@given(
    st.integers(0, 200),
    st.integers(0, DRAWS),
    st.floats(0.01, 0.99),
    st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.2]),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.sampled_from([0.0, 0.01, 0.1]),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.2]),
)
def test_the_course_is_backward_induction(
    seed: int, n: int, p: float, price: float, wrong: float, per_second: float, steps: int, blank: float
) -> None:
    chain = chain_of(seed, blank=blank)
    at = Terms(price, 1.0, steps, DEFAULT_PRIORS, wrong, seconds=1.0, per_second=per_second)
    state, level = place(chain, n, p)
    now = at.value(chain.right[state][level]) if state else 0.0
    way = course(chain, n, p, at, 1 << 30)
    assert way.net(at) == pytest.approx(brute(chain, state, level, at, steps) - now, abs=5e-4)
    assert 0 <= way.size <= steps
    if per_second == 0:
        assert way.size <= 1


def test_the_provider_s_limit_bounds_the_wave_and_a_dear_second_widens_it() -> None:
    chain = chain_of(3)
    at = Terms(0.001, 1.0, 99, DEFAULT_PRIORS, seconds=1.0)
    sizes = [course(chain, 0, 0.0, replace(at, per_second=s), 99).size for s in (0.0, 1.0, 10.0, 100.0)]
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert sizes[-1] > 2
    assert course(chain, 0, 0.0, replace(at, per_second=100.0, at_once=2), 99).size <= 2


def test_past_the_recorded_draws_the_last_of_them_stand_for_all() -> None:
    chain = chain_of(4)
    at = Terms(0.0, 1.0, 99, DEFAULT_PRIORS)
    for n in (DRAWS, DRAWS + 1, 40):
        assert course(chain, n, 0.3, at, 1 << 30).size == 1
        assert course(chain, n, 0.3, at, 1 << 30) == course(chain, DRAWS, 0.3, at, 1 << 30)
    assert course(chain, 40, 0.3, at, 0).size == 0
    assert course(chain, 40, 0.3, replace(at, price=1.0), 99).size == 0


@pytest.mark.parametrize("n", [1, 3, 9])
def test_a_chain_believes_the_share_of_its_promises_that_is_kept(n: int) -> None:
    """The gain at a price is that share of the gain at the price over the share."""
    whole = chain_of(7)
    half = replace(whole, kept=0.5)
    for price in (0.0, 0.002, 0.01):
        at = Terms(price, 1.0, 9, DEFAULT_PRIORS)
        full, kept = course(whole, n, 0.1, replace(at, price=2 * price), 99), course(half, n, 0.1, at, 99)
        assert full.size > 0
        assert kept.gain == pytest.approx(full.gain / 2)
        assert (kept.size, kept.cost) == (full.size, full.cost)


def test_before_there_is_an_answer_a_first_draw_is_worth_what_was_counted() -> None:
    """Where one draw can be paid: what is right of first draws, whatever was kept of later promises."""
    chain = chain_of(7)
    first = sum(p * right for p, right in zip(chain.moves[0][0], chain.right[1], strict=True))
    at = Terms(0.01, 1.0, 1, DEFAULT_PRIORS)
    for kept in (1.0, 0.1):
        assert course(replace(chain, kept=kept), 0, 0.0, at, 99).gain == pytest.approx(first)


PRIORS = replace(DEFAULT_PRIORS, fitted=True, channels={"judge": CHANNEL}, chains={"judge": chain_of(5)})
ANSWERS = (Evidence(2, (("judge", 0.7),)), Evidence(1, (("judge", 0.2),)))


class TestChained(BeliefContract):
    slack = 1e-3  # prices are rounded to three digits
    terms = replace(BeliefContract.terms, priors=PRIORS)

    @pytest.fixture(params=[(), ANSWERS, ANSWERS[:1]])
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        return DrawBelief(request.param, ("judge",))


class TestPandora(BeliefContract):
    @pytest.fixture(params=[(0.1, 0.4), (0.2, 0.3, 0.9), (0.5, 0.5, 0.5), (0.1,), (0.0, 1.0), (0.2, nan, 0.4)])
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        return PandoraBelief(request.param)


def test_a_chain_by_score_gives_the_best_scored_answer() -> None:
    chain = replace(chain_of(5), by_score=True)
    at = Terms(0.01, 1.0, 9, replace(PRIORS, chains={"judge": chain}))
    low_and_often = (Evidence(6, (("judge", 0.3),)), Evidence(1, (("judge", 0.6),)))
    assert DrawBelief(low_and_often).pick(at) == 1
    assert DrawBelief(low_and_often).pick(Terms(0.01, 1.0, 9, PRIORS)) == 0
    assert DrawBelief(low_and_often).p(at) == settled(chain, 7, 0.6)


def test_the_chain_is_used_where_it_fits_and_only_there() -> None:
    at = Terms(0.01, 1.0, 9, PRIORS)
    state = DrawBelief(ANSWERS, ("judge",))
    n, p = 3, DrawBelief(ANSWERS).pick(at)
    assert state.p(at) in PRIORS.chains["judge"].right[n]
    assert p == 0
    # An exact failure, a verifier that did not tell of an answer, or another one: not what was recorded.
    for answers in ((*ANSWERS, Evidence(refuted=True)), (*ANSWERS, Evidence(1))):
        assert p_right(answers, at) not in PRIORS.chains["judge"].right[4]
    bare = Terms(0.01, 1.0, 9, replace(PRIORS, chains={}))
    assert DrawBelief((*ANSWERS, Evidence(1)), ("judge",)).best(at) == DrawBelief(
        (*ANSWERS, Evidence(1)), ("judge",)
    ).best(bare)


def test_where_nobody_has_measured_the_verifier_its_own_scores_decide() -> None:
    at = Terms(0.05, 1.0, 9, DEFAULT_PRIORS)
    sure = (Evidence(1, (("new", 0.98),)), Evidence(2, (("new", 0.1),)))
    low = (Evidence(1, (("new", 0.4),)), Evidence(1, (("new", 0.1),)))
    assert DrawBelief(sure, ("new",)).best(at).size == 0
    assert DrawBelief(low, ("new",)).best(at) == PandoraBelief((0.4, 0.1), 1 << 30).best(at)
    assert DrawBelief(low, ("new",)).best(at).size == 1
    assert DrawBelief(low, ("new",)).p(at) is None


@pytest.mark.parametrize("scores", [(0.1, 0.3), (0.2, 0.25, 0.3, 0.31), (0.05, 0.1, 0.2)])
def test_what_more_draws_add_in_the_tail(scores: tuple[float, ...]) -> None:
    start, excess = tail(scores)
    dice, top = Random(1), max(scores)
    gains = PandoraBelief(scores).gains(8)
    for m in (1, 2, 8):
        played = []
        for _ in range(20_000):
            drawn = [start + dice.expovariate(1 / excess) for _ in range(m) if dice.random() < 0.5]
            played.append(max(0.0, max(drawn, default=0.0) - top))
        assert gains[m - 1] == pytest.approx(mean(played), abs=0.01)
    assert gains == sorted(gains)


def test_the_same_score_again_and_again_leaves_ever_less_to_hope_for() -> None:
    free = Terms(0.0, 1.0, 99, DEFAULT_PRIORS)
    assert all(PandoraBelief((score,) * n).best(free).size for score in (0.0, 0.4) for n in (2, 5, 30))
    assert PandoraBelief((1.0, 1.0)).best(free).size == 0
    first = [PandoraBelief((0.0,) * n).gains(1)[0] for n in range(2, 30)]
    assert first == sorted(first, reverse=True)
    assert first[-1] < 0.001 < 0.05 < first[0]
    judged = (Evidence(1, (("new", 0.0),)), Evidence(1, (("new", 0.0),)))
    assert DrawBelief(judged, ("new",)).best(free).size == 1


def test_a_score_that_nobody_could_tell_is_dropped() -> None:
    at = Terms(0.01, 1.0, 99, DEFAULT_PRIORS)
    assert PandoraBelief((0.2, nan, 0.4)).best(at) == PandoraBelief((0.2, 0.4)).best(at)
    assert PandoraBelief((nan, nan)).best(at).size == 0
    assert PandoraBelief((nan,)).gains(3) == [0.0] * 3


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
    st.sampled_from([0.0, 0.5, 3.0, 19.0]),
    st.sampled_from([0.0, 1e-4, 0.01]),
)
def test_better_scores_are_worth_what_they_add_to_the_value_of_answering(
    scores: list[float], wrong: float, price: float
) -> None:
    at = Terms(price, 1.0, 99, DEFAULT_PRIORS, wrong)
    assert PandoraBelief(tuple(scores)).best(at).gain <= 1.0 - at.value(max(scores)) + 1e-9


def test_scores_below_the_point_of_abstaining_add_nothing_until_they_pass_it() -> None:
    """Against play: U of the best score, in the tail that was learnt."""
    scores, wrong = (0.1, 0.2, 0.3, 0.6), 1.0
    start, excess = tail(scores)
    dice, at = Random(2), Terms(0.0, 1.0, 4, DEFAULT_PRIORS, wrong)
    played = []
    for _ in range(20_000):
        drawn = [start + dice.expovariate(1 / excess) for _ in range(4) if dice.random() < 0.5]
        best = max(0.6, *drawn, 0.0)
        played.append(best - (1 - best) * wrong - at.value(0.6))
    assert PandoraBelief(scores, 4).best(at).gain == pytest.approx(min(mean(played), 0.8), abs=0.03)
    assert PandoraBelief((0.1, 0.3)).best(replace(at, wrong=inf)).size == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=6), st.floats(0.001, 0.5))
def test_the_reservation_value_is_where_a_draw_just_pays(rows: list[tuple[float, float]], price: float) -> None:
    total = sum(weight for _, weight in rows)
    levels = tuple((value, weight / total) for value, weight in rows)
    z = reservation(levels, price)
    assert sum(weight * max(0.0, value - z) for value, weight in levels) == pytest.approx(price)


def test_a_policy_keeps_its_chains() -> None:
    chain = chain_of(2)
    kept = ChainPolicy(cuts=chain.cuts, right=chain.right, moves=chain.moves, blank=0.1, questions=80)
    policy = Policy(chains={"judge": kept})
    again = Policy.model_validate_json(policy.model_dump_json()).priors().chains["judge"]
    assert (again.right, again.moves, again.blank) == (chain.right, chain.moves, 0.1)
    assert settled(again, 99, 0.5) == chain.right[-1][place(chain, 99, 0.5)[1]]
    for bad in (
        {"cuts": (0.8, 0.2)},
        {"right": chain.right[:-1]},
        {"moves": (*chain.moves[:-1], ((0.5, 0.1, 0.1),) * 3)},
    ):
        with pytest.raises(ValueError, match=r"cuts|tables|chances"):
            ChainPolicy(**{"cuts": chain.cuts, "right": chain.right, "moves": chain.moves, **bad})


def test_a_policy_file_with_a_broken_chain_says_where(tmp_path: object) -> None:
    path = f"{tmp_path}/policy.json"
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"format": 1, "chains": {"judge": {"cuts": [0.5], "right": [[0, 1]], "moves": []}}}')
    with pytest.raises(BadSettings, match=r"chains\.judge"):
        Policy.load(path)
    assert Priors(((0.5, 0.1, 1.0),)).chains == {}
