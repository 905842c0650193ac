"""One price for many requests: envelopes and their relaxation, pacing, fair shares, admission."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.policy import Policy
from satisfice.budgets.sharing.admission import Due, Speed, admit
from satisfice.budgets.sharing.envelopes import Envelope, predicted, relaxed, scaled
from satisfice.budgets.sharing.fairness import FairShares, weights_of
from satisfice.budgets.sharing.pacing import STEPS, Pacer
from satisfice.budgets.switching import ENOUGH, reserve
from satisfice.budgets.voting import VotingBelief
from satisfice.core.belief import Continuation, Terms
from satisfice.core.errors import CallerError

POINTS = st.lists(st.tuples(st.integers(0, 1000).map(lambda n: n / 100), st.floats(0, 1)), max_size=12)


# -- envelopes --------------------------------------------------------------------------------------------------------


@given(POINTS)
def test_an_envelope_is_concave_and_above_every_point(points: Any) -> None:
    envelope = Envelope.of(points)
    slopes = [slope for slope, _ in envelope.pieces()]
    assert all(a >= b - 1e-9 for a, b in pairwise(slopes)) and all(slope > 0 for slope in slopes)
    for cost, gain in points:
        at = max(value(envelope, cost), envelope.points[0][1])
        assert at >= gain - 1e-7


def value(envelope: Envelope, usd: float) -> float:
    return relaxed([envelope], usd).value


@given(st.lists(POINTS, min_size=1, max_size=4), st.floats(0, 20))
def test_the_relaxation_bounds_every_choice_of_points(curves: Any, usd: float) -> None:
    envelopes = [Envelope.of(points) for points in curves]
    found, dice = relaxed(envelopes, usd), Random(0)
    for _ in range(20):
        chosen = [dice.choice([(0.0, 0.0), *points]) for points in curves]
        if sum(cost for cost, _ in chosen) <= usd:
            assert sum(gain for _, gain in chosen) <= found.value + 1e-7
    assert found.usd <= usd + 1e-9
    nets = sum(max(g - found.price * c for c, g in e.points) for e in envelopes)
    assert found.value <= nets + found.price * usd + 1e-7  # no more than its own Lagrangian bound


def test_the_price_is_the_slope_that_the_money_ends_in() -> None:
    steep, flat = Envelope.of([(1, 0.5), (2, 0.6)]), Envelope.of([(1, 0.3)])
    assert relaxed([steep, flat], 1.5).price == pytest.approx(0.3)
    assert relaxed([steep, flat], 1.5).value == pytest.approx(0.65)
    assert relaxed([steep, flat], 9).price == 0.0
    assert relaxed([], 1) == relaxed([Envelope()], 1)
    assert Envelope.of([(2, 0.1), (3, 0.6)]).points == ((0.0, 0.0), (3.0, 0.6))  # two steps or none
    assert scaled(steep, 2).index == 2 * steep.index


@pytest.mark.parametrize("points", [[(-1, 0.1)], [(1, -0.1)], [(math.nan, 0.1)], [(1, math.inf)]])
def test_bad_curves_are_refused(points: Any) -> None:
    with pytest.raises(CallerError):
        Envelope.of(points)


def test_the_predicted_index_is_the_reservation_price() -> None:
    belief, terms = VotingBelief(), Terms(1.0, 0.001, ENOUGH, Policy().priors())

    def course(price: float) -> Continuation:
        return belief.best(Terms(price, 0.001, ENOUGH, terms.priors))

    envelope = predicted(course, terms)
    assert envelope.index == pytest.approx(reserve(belief, terms), rel=0.05)
    assert len(envelope.points) > 3
    committed = predicted(lambda price: Continuation(3, math.inf, 0.003), terms)
    assert not committed.whole and committed.index == math.inf


# -- pacing -----------------------------------------------------------------------------------------------------------


def paced(each: Any, arrive: int, windows: int = 20, usd: float = 10.0) -> tuple[list[float], list[float]]:
    """Dollars in each window and the mean price in it, where `arrive` requests come in each step and wait for their
    turn, and each takes `each(price)` dollars."""
    pacer, spent, prices, waiting = Pacer(usd, 100.0), [], [], 0
    for window in range(windows):
        total, seen = 0.0, 0.0
        for k in range(STEPS):
            now = 100.0 * window + 100.0 * (k + 0.5) / STEPS
            waiting += arrive
            seen += pacer.advance(now, waiting) / STEPS
            while waiting and pacer.spent + max(pacer.scale, each(pacer.price)) <= pacer.allowed(now):
                cost = each(pacer.price)
                pacer.done(cost, pacer.commit(), window, now)
                total, waiting = total + cost, waiting - 1
        spent.append(total)
        prices.append(seen)
    return spent, prices


@pytest.mark.parametrize("over", [1.2, 2.0, 5.0])
def test_pacing_reaches_its_target_and_never_passes_it(over: float) -> None:
    spent, prices = paced(lambda price: over * 10.0 / STEPS / 20 / (1 + price), 20)
    assert max(spent) <= 10.0 + 1e-9
    assert sum(spent[2:]) >= 0.98 * 10.0 * 18
    assert sum(prices[10:]) / 10 == pytest.approx(over - 1, rel=0.35)  # at which demand is what there is


def test_no_price_where_there_is_money_for_all() -> None:
    spent, prices = paced(lambda price: 0.5 * 10.0 / STEPS / 20 / (1 + price), 20)
    assert prices[-1] == 0.0
    assert spent[-1] == pytest.approx(5.0)


def test_bursts_are_spread_over_the_window() -> None:
    burst = [0.0]

    def demand(price: float, now: float) -> float:
        return 100.0 if now % 100 < 10 else 0.0

    pacer = Pacer(10.0, 100.0)
    for k in range(5):
        now = 2.0 * k + 1.0
        pacer.advance(now, waiting=100)
        used = min(demand(0, now), max(0.0, pacer.allowed(now) - pacer.spent))
        pacer.done(used, pacer.commit(), 0, now)
        burst.append(used)
    assert sum(burst) <= 10.0 * (0.1 + 0.02) + 1e-9


@pytest.mark.parametrize(("usd", "seconds"), [(0, 1), (-1, 1), (math.nan, 1), (1, 0), (1, math.inf), (True, 1)])
def test_bad_targets_are_refused(usd: float, seconds: float) -> None:
    with pytest.raises(CallerError):
        Pacer(usd, seconds)


# -- fair shares ------------------------------------------------------------------------------------------------------


WEIGHTS = st.lists(st.floats(0.1, 10), min_size=1, max_size=12)


@given(WEIGHTS, st.integers(0, 1000))
def test_nobody_is_further_from_its_share_than_one_request(weights: list[float], seed: int) -> None:
    """All backlogged, served one after the other: at every instant within one maximal hold of the weights."""
    dice, names = Random(seed), [f"t{i}" for i in range(len(weights))]
    fair, most = FairShares(dict(zip(names, weights, strict=True))), 1000
    for name in names:
        fair.head(name, dice.randint(1, most))
    for _ in range(60 * len(weights)):
        tenant = fair.next()
        assert tenant is not None
        grant = fair.grant(tenant)
        fair.head(tenant, dice.randint(1, most))
        served = sum(fair.share(name).served for name in names)
        for name, weight in zip(names, weights, strict=True):
            off = fair.share(name).served - weight / sum(weights) * served
            assert abs(off) <= most + 1e-6
        fair.settle(grant, grant.nanos)


def test_what_was_held_too_much_is_given_back() -> None:
    fair = FairShares({"a": 1, "b": 1})
    for tenant in ("a", "b"):
        fair.head(tenant, 100)
    order = []
    for _ in range(40):
        tenant = fair.next()
        assert tenant is not None
        order.append(tenant)
        grant = fair.grant(tenant)
        fair.settle(grant, 10 if tenant == "a" else 100)
        fair.settle(grant, 0)  # once is enough
    assert fair.share("a").served == pytest.approx(fair.share("b").served, abs=100)
    assert order.count("a") > 7 * order.count("b")


def test_shares_are_work_conserving_and_pauses_are_not_owed() -> None:
    fair = FairShares({"a": 1, "b": 1})
    fair.head("a", 100)
    for _ in range(50):
        assert fair.next() == "a"
        fair.settle(fair.grant("a"), 100)
    fair.head("b", 100)
    served = [fair.next()]
    for _ in range(19):
        fair.settle(fair.grant(str(served[-1])), 100)
        served.append(fair.next())
    assert 9 <= served.count("b") <= 11  # not all twenty, to make up for fifty


def test_without_a_weight_one_is_served_when_nobody_else_waits() -> None:
    fair = FairShares({"a": 1, "z": 0})
    fair.head("z", 5)
    fair.head("a", 5)
    assert fair.next() == "a"
    fair.head("a", None)
    assert fair.next() == "z"
    fair.settle(fair.grant("z"), 5)
    fair.head("z", None)
    assert fair.next() is None


def test_tenants_that_left_are_forgotten() -> None:
    fair = FairShares()
    for k in range(100):
        fair.head(f"t{k}", 10)
        grant = fair.grant(str(fair.next()))
        fair.head(f"t{k}", None)
        fair.settle(grant, 10)
    fair.head("last", 10)
    for _ in range(3):
        fair.settle(fair.grant("last"), 10)
    fair.forget()
    assert len(fair.shares) < 5


@pytest.mark.parametrize("weights", [{"a": 0}, {"a": 0, "b": 0.0}, {"a": -1}, {"a": math.nan}, {"a": math.inf},
                                     {"a": "1"}, {"a": True}])  # fmt: skip
def test_bad_weights_are_refused(weights: Any) -> None:
    with pytest.raises(CallerError):
        weights_of(weights)
    with pytest.raises(CallerError):
        FairShares(weights)


def test_only_those_that_are_named_may_come_where_the_default_is_nothing() -> None:
    with pytest.raises(CallerError, match="no weight"):
        FairShares({"a": 1}, default=0.0).share("b")


# -- admission --------------------------------------------------------------------------------------------------------


def test_a_deadline_that_can_be_kept_is_admitted_and_another_one_told_when() -> None:
    waiting = [Due(0, 100.0, 50, i) for i in range(4)]
    late = admit(waiting, Due(0, 110.0, 50, 9), now=0.0, rate=10.0, seconds=1.0)
    assert late.ok and late.earliest == pytest.approx(21.0)  # when the work ahead is done, and its own second after it
    early = admit(waiting, Due(0, 5.0, 50, 9), now=0.0, rate=10.0, seconds=1.0)
    assert early.ok  # it goes before them
    never = admit([Due(1, math.inf, 500, 0)], Due(0, 20.0, 1, 1), now=0.0, rate=10.0, seconds=1.0)
    assert not never.ok and never.earliest == pytest.approx(51.0)
    assert not admit(waiting, Due(0, 200.0, 1, 9), now=0.0, rate=0.0, seconds=1.0).ok


def test_nobody_who_was_promised_is_pushed_past_his_deadline() -> None:
    promised = [Due(0, 10.0, 90, 0)]
    assert admit(promised, Due(0, 5.0, 20, 1), now=0.0, rate=10.0, seconds=0.0).ok
    found = admit(promised, Due(0, 5.0, 200, 1), now=0.0, rate=10.0, seconds=0.0)
    assert not found.ok and "promised" in found.why
    assert admit(promised, Due(0, 12.0, 20, 1), now=0.0, rate=10.0, seconds=0.0).ok


def test_speed_is_what_places_and_money_let_through() -> None:
    speed = Speed()
    assert speed.rate(4, 100.0) == 100.0
    for _ in range(20):
        speed.saw(held=100, nanos=50, seconds=2.0)
    assert speed.rate(4, 1e9) == pytest.approx(200.0)  # four places, 50 in 2 s each, held at twice as much
    assert speed.rate(4, 10.0) == pytest.approx(20.0)
