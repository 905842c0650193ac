"""Several arms on one question: what is said of them, and what is chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from satisfice.budgets.allocation_policy import AllocationPolicy, ArmPolicy, EasePolicy
from satisfice.budgets.evidence import Evidence
from satisfice.budgets.policy import Policy
from satisfice.budgets.portfolio import ArmBelief, Portfolio
from satisfice.budgets.portfolio_world import Arm, World, state
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.core.belief import STOP, Belief, Priors, Terms
from satisfice.scheduler.decisions import judge, settled_terms, weighed
from satisfice.testing.belief import BeliefContract

KEYS = ("single_shot@cheap", "single_shot@middling", "single_shot@dear")
COSTS = (0.0005, 0.005, 0.03)
WORLD = World(
    {
        KEYS[0]: Arm(0.8, 2.0, 1.5, 0.02),
        KEYS[1]: Arm(1.8, 2.0, 1.5, 0.01),
        KEYS[2]: Arm(2.6, 2.2, 1.5, 0.0),
    },
    kappa=3.0,
    fitted=True,
)


def terms(price: float, world: World | None = WORLD, wrong: float = 0.0) -> list[Terms]:
    priors = replace(DEFAULT_PRIORS, allocation=world)
    return [Terms(price, cost, 1000, priors, wrong, others=COSTS) for cost in COSTS]


class TestArm(BeliefContract):
    """An arm by itself keeps to what every belief keeps to."""

    waves = False
    slack = 1e-6

    @pytest.fixture(params=[(), ((0, 0),), ((0, 0), (0, 1)), ((1, 0), (1, 0), (2, 1))])
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        return ArmBelief(Portfolio(KEYS, request.param, choices=4), 0)


def test_the_more_an_answer_is_worth_the_dearer_what_is_bought() -> None:
    first = {}
    for worth in (0.001, 0.05, 5.0):
        ways = Portfolio(KEYS, choices=4, left=(1, 1, 1)).jointly(terms(1 / worth))
        nets = [way.net(one) for way, one in zip(ways, terms(1 / worth), strict=True)]
        first[worth] = nets.index(max(nets))
    assert first[0.001] == 0
    assert first[0.001] <= first[0.05] <= first[5.0]


def test_what_agrees_is_believed_more_and_what_differs_less() -> None:
    one = terms(1.0)[0]
    alone = Portfolio(KEYS, ((1, 0),), choices=4).p(one)
    agreed = Portfolio(KEYS, ((1, 0), (2, 0)), choices=4).p(one)
    differ = Portfolio(KEYS, ((1, 0), (2, 1)), choices=4)
    assert alone is not None
    assert agreed is not None
    assert agreed > alone > (differ.p(one) or 0.0)
    assert differ.pick(one) == 1  # the stronger arm's


def test_votes_of_one_arm_count_less_than_those_of_several() -> None:
    one = terms(1.0)[0]
    same = Portfolio(KEYS, ((1, 0), (1, 0)), choices=4).p(one)
    other = Portfolio(KEYS, ((1, 0), (2, 0)), choices=4).p(one)
    assert same is not None
    assert other is not None
    assert same < other


def test_a_refuted_answer_is_not_right_and_a_verdict_moves_the_odds() -> None:
    one = terms(1.0)[0]
    votes = ((2, 0), (0, 1))
    plain = Portfolio(KEYS, votes, (Evidence(), Evidence()), choices=4)
    refuted = replace(plain, said=(Evidence(refuted=True), Evidence()))
    doubted = replace(plain, said=(Evidence(said=(("judge", 0.1),)), Evidence()))
    assert refuted.chances(one)[0] == 0.0
    assert refuted.pick(one) == 1
    assert doubted.chances(one)[0] < plain.chances(one)[0]
    every = replace(plain, said=(Evidence(refuted=True), Evidence(refuted=True)), choices=2)
    assert every.p(one) == 0.0


def test_nothing_is_known_before_the_first_answer() -> None:
    one = terms(1.0)[0]
    assert Portfolio(KEYS).p(one) is None
    assert Portfolio(KEYS, ((0, -1),)).p(one) is None
    assert Portfolio(KEYS).predicted(one) == pytest.approx(tuple(WORLD.tables(KEYS).chance))


def test_an_answer_that_the_world_knows_no_place_for_does_no_harm() -> None:
    votes = ((0, 0), (1, 1), (2, 2))  # three different answers to a question with two options
    found = Portfolio(KEYS, votes, choices=2)
    assert 0.0 <= (found.p(terms(1.0)[0]) or 0.0) <= 1.0
    assert len(found.jointly(terms(1.0))) == 3


def test_no_arm_that_is_gone_or_cannot_be_paid_is_bought() -> None:
    free = terms(0.01)
    assert Portfolio(KEYS, left=(0, 1, 0)).jointly(free)[0] == STOP
    broke = [replace(one, steps=0) for one in free]
    assert Portfolio(KEYS).jointly(broke) == (STOP, STOP, STOP)


def test_cold_start_knows_arms_by_what_they_cost() -> None:
    cold = terms(1.0, world=None)
    chances = Portfolio(KEYS).predicted(cold[0])
    assert chances[0] < chances[1] < chances[2]
    assert Portfolio(KEYS, ((0, 0), (2, 1))).pick(cold[0]) == 1
    cheap = Portfolio(KEYS).jointly(terms(1e6, world=None))
    assert cheap == (STOP, STOP, STOP)


def test_an_arm_that_the_policy_does_not_know_is_placed_on_its_curve() -> None:
    world = World({KEYS[0]: Arm(0.5)}, curve=(0.5, 1.0, 0.5), unknown=Arm(0.0, 1.0), fitted=True)
    chances = Portfolio(KEYS).predicted(terms(1.0, world)[0])
    assert chances[0] < chances[1] < chances[2]


def test_shifts_move_an_arm() -> None:
    one = terms(1.0)[0]
    moved = replace(one, priors=replace(one.priors, shifts={KEYS[0]: 2.0}))
    before, after = Portfolio(KEYS).predicted(one), Portfolio(KEYS).predicted(moved)
    assert after[0] > before[0]
    assert after[1:] == pytest.approx(before[1:])


def test_arms_of_one_portfolio_are_judged_together() -> None:
    portfolio, at = Portfolio(KEYS, ((1, 0),), choices=4, left=(1, 0, 1)), terms(2.0)
    ways = [(key, ArmBelief(portfolio, i), at[i]) for i, key in enumerate(KEYS)]
    index, _, rows = judge(ways)
    expected = portfolio.jointly(at)
    assert [row.gain for row in rows] == [way.gain for way in expected]
    assert index == max(range(3), key=lambda i: rows[i].net)
    bare = [(name, belief, replace(one, others=())) for name, belief, one in ways]
    assert settled_terms(bare, index).others == COSTS
    dear = [(name, belief, replace(one, price=200.0)) for name, belief, one in ways]
    _, _, stopped = judge(dear)
    assert all(row.size == 0 for row in stopped)
    _, told = weighed(dear, stopped)
    assert any(row.cost > 0 and row.net < 0 for row in told)


def test_arms_that_are_not_on_offer_are_not_bought() -> None:
    portfolio, at = Portfolio(KEYS, ((1, 0),), choices=4), terms(0.5)
    index, _, rows = judge([(KEYS[i], ArmBelief(portfolio, i), at[i]) for i in (2, 0)])
    assert len(rows) == 2
    assert index in (0, 1)


def test_a_policy_with_an_allocation_survives_its_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    ease = EasePolicy(version=1, base=0.1, weights=(1.0, 2.0), topics={"law": -1.0}, alone=(0.0, 0.5, 0.5))
    known = AllocationPolicy(arms={KEYS[0]: ArmPolicy(bias=1.0)}, ease=ease, weights=(0.1,) * 9)
    Policy(allocation=known).save(tmp_path / "policy.json")
    loaded = Policy.load(tmp_path / "policy.json")
    assert loaded.allocation == known
    assert loaded.priors().allocation is loaded.priors().allocation
    assert isinstance(loaded.priors().allocation, World)


def test_ease_is_told_by_the_topic_and_by_features_where_they_fit() -> None:
    ease = EasePolicy(version=1, base=0.5, weights=(1.0, 2.0), topics={"law": -1.0}, gain=2.0, alone=(0.25, 1.0, 0.0))
    assert ease((1.0, 1.0), "law") == pytest.approx(2.0 * (0.5 + 3.0 - 1.0))
    assert ease((), "law") == pytest.approx(-2.0)
    assert ease((1.0, 1.0), "cooking") == pytest.approx(2.0 * 1.25)
    assert ease((1.0,), "cooking") == 0.0


def test_naive_bayes_would_claim_more() -> None:
    """Nine votes that agree: independent arms would leave no doubt, arms that share difficulty do."""
    keys = tuple(f"arm{i}" for i in range(9))
    shared = World({key: Arm(1.0, 2.0, 1e6) for key in keys}, kappa=2.0)
    alone = World({key: Arm(0.6, 0.0, 1e6) for key in keys}, kappa=1e6)
    votes = tuple((i, 0) for i in range(9))
    doubt = [1 - float(state(world.tables(keys), votes, (), 4).answers[0]) for world in (shared, alone)]
    assert doubt[0] > 0.01
    assert doubt[1] < 1e-6


def test_priors_without_an_allocation_have_none() -> None:
    assert Priors(()).allocation is None
    assert Policy().priors().allocation is None


@pytest.mark.parametrize(
    "broken",
    [{"weights": (0.5, 0.25, 0.25)}, {"weights": (0.0,) * 9}, {"kappa": 1e-300}, {"settled": (0.0, -1.0)}],
)
def test_a_policy_that_cannot_be_right_is_refused_before_anything_is_spent(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"allocation|kappa|greater"):
        AllocationPolicy(**broken)
