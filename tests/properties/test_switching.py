"""Which arm next: the index against bisection, and the policy that follows it against the best one of all."""

from __future__ import annotations

from functools import cache
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.beliefs import Committed, ExactBelief, Unstarted
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.resort import LastResort
from satisfice.budgets.rounds import RoundsBelief
from satisfice.budgets.switching import rejected, reserve
from satisfice.budgets.voting import VotingBelief
from satisfice.core.belief import STOP, Belief, Continuation, Priors, Terms
from satisfice.scheduler.decisions import judge

Beta = tuple[float, float]
betas = st.tuples(st.sampled_from([0.3, 0.7, 1.5]), st.sampled_from([0.5, 2.0, 6.0]))


class Plain:
    """An exact check whose index is not known: it is found by bisection."""

    def __init__(self, failures: int) -> None:
        self.exact = ExactBelief(failures)

    def p(self, terms: Terms) -> float | None:
        return None

    def best(self, terms: Terms) -> Continuation:
        return self.exact.best(terms)


@given(st.integers(0, 20), betas, st.floats(0.01, 5), st.sampled_from([0.0, 0.2]), st.integers(1, 40))
def test_the_closed_form_is_what_bisection_finds(
    failures: int, beta: Beta, cost: float, per_second: float, steps: int
) -> None:
    terms = Terms(0.1, cost, steps, Priors((), beta), seconds=1.0, per_second=per_second)
    closed = reserve(ExactBelief(failures), terms)
    a, b = beta
    if per_second == 0:
        assert closed == pytest.approx(a / (a + b + failures) / cost)
        assert reserve(Plain(failures), terms) == pytest.approx(closed, rel=1e-6)
    else:  # several at once share a wave's time, so that they may be worth more
        assert reserve(Plain(failures), terms) >= closed * (1 - 1e-6)


@pytest.mark.parametrize(
    "belief", [Unstarted(), VotingBelief(2, 1), RoundsBelief(1, 4), RoundsBelief(0, 3, VotingBelief(1))]
)
def test_below_its_index_a_belief_goes_on_and_above_it_stops(belief: Belief) -> None:
    terms = Terms(0.1, 0.5, 20, DEFAULT_PRIORS)
    index = reserve(belief, terms)
    assert 0 < index < inf
    for share, goes in ((0.9, True), (1.1, False)):
        at = Terms(index * share, 0.5, 20, DEFAULT_PRIORS)
        way = belief.best(at)
        assert (way.size > 0 and way.net(at) > 0) == goes
    assert reserve(belief, Terms(0.1, 0.5, 0, DEFAULT_PRIORS)) == 0.0


def test_what_was_told_to_go_on_has_no_limit_and_a_last_resort_hardly_any_index() -> None:
    terms = Terms(0.1, 0.5, 20, DEFAULT_PRIORS)
    assert reserve(Committed(3), terms) == inf
    assert 0 < reserve(LastResort(Unstarted()), terms) < 1e-6


def test_what_is_rejected_is_worth_less_than_it_costs() -> None:
    for belief in (VotingBelief(3), RoundsBelief(2, 4, VotingBelief(2)), ExactBelief(4)):
        terms = Terms(5.0, 1.0, 20, DEFAULT_PRIORS)
        assert belief.best(terms).size == 0
        way = rejected(belief, terms)
        assert way.gain > 0
        assert way.net(terms) < 0
    assert rejected(ExactBelief(0), Terms(5.0, 1.0, 0, DEFAULT_PRIORS)) == STOP


def chance(beta: Beta, failures: int) -> float:
    return beta[0] / (beta[0] + beta[1] + failures)


def best_of_both(arms: tuple[Beta, Beta], costs: tuple[int, int], money: int, price: float) -> float:
    """Backward induction over both arms: P(a draw passes) less the price of what was spent."""

    @cache
    def value(i: int, j: int) -> float:
        left, found = money - i * costs[0] - j * costs[1], 0.0
        for arm, (failures, then) in enumerate(((i, (i + 1, j)), (j, (i, j + 1)))):
            if costs[arm] <= left:
                p = chance(arms[arm], failures)
                found = max(found, p - price * costs[arm] + (1 - p) * value(*then))
        return found

    return value(0, 0)


def by_judge(arms: tuple[Beta, Beta], costs: tuple[int, int], money: int, price: float) -> float:
    """The same where the run chooses."""
    failed, alive, total = [0, 0], 1.0, 0.0
    while True:
        left = money - sum(n * cost for n, cost in zip(failed, costs, strict=True))
        ways = [
            (str(arm), ExactBelief(failed[arm]), Terms(price, costs[arm], left // costs[arm], Priors((), arms[arm])))
            for arm in (0, 1)
        ]
        index, way, rows = judge(ways)
        if not way.size or rows[index].net <= 0:
            return total
        p = chance(arms[index], failed[index])
        total += alive * (p - price * costs[index])
        alive *= 1 - p
        failed[index] += 1


@given(
    st.tuples(betas, betas),
    st.sampled_from([(1, 1), (1, 2), (2, 1), (1, 3), (1, 5), (5, 1)]),
    st.integers(12, 40),
    st.sampled_from([0.0005, 0.002, 0.005, 0.02, 0.1]),
)
def test_two_arms_under_a_cap_against_the_best_policy_of_all(
    arms: tuple[Beta, Beta], costs: tuple[int, int], money: int, price: float
) -> None:
    best, mine = best_of_both(arms, costs, money, price), by_judge(arms, costs, money, price)
    assert mine <= best + 1e-9
    assert mine >= 0.99 * best


def test_where_money_is_scarce_it_goes_where_it_buys_the_most() -> None:
    """The dear arm has the higher net on its own, the cheap one buys more for a dollar."""
    dear, cheap = Terms(0.001, 10.0, 2, Priors((), (4.0, 4.0))), Terms(0.001, 1.0, 20, Priors((), (1.0, 3.0)))
    ways = [("dear", ExactBelief(0), dear), ("cheap", ExactBelief(0), cheap)]
    index, _, rows = judge(ways)
    assert rows[index].name == "cheap"


@pytest.mark.parametrize("money", [12, 15])
def test_small_items_do_not_spend_what_a_large_one_needs(money: int) -> None:
    """One large draw, of a lower index but a higher net, and many small ones: greedy order alone never buys it."""
    failed, left, alive, solved, bought = {"large": 0, "small": 8}, money, 1.0, 0.0, []
    costs, limits = {"large": 10, "small": 1}, {"large": 1, "small": 18}
    while True:
        ways = [
            (
                name,
                ExactBelief(failed[name], limit=limits[name] - failed[name]),
                Terms(0.01, cost, left // cost, DEFAULT_PRIORS),
            )
            for name, cost in costs.items()
        ]
        index, way, rows = judge(ways)
        if not way.size or rows[index].net <= 0:
            break
        name = rows[index].name
        p = chance(DEFAULT_PRIORS.success, failed[name])
        solved, alive = solved + alive * p, alive * (1 - p)
        failed[name], left = failed[name] + 1, left - costs[name]
        bought.append(name)
    assert bought.count("large") == 1
    assert left == 0
    assert solved == pytest.approx({12: 0.398, 15: 0.468}[money], abs=0.002)
