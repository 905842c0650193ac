"""What every belief keeps to. Subclass `BeliefContract` and define its fixture `belief`:

    class TestMine(BeliefContract):
        @pytest.fixture(params=[MyBelief(0), MyBelief(3)])
        def belief(self, request) -> Belief:
            return request.param

Set `slack` where a belief rounds its prices, and `waves = False` where the size of a wave is not chosen.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import pytest

from ..budgets.priors import DEFAULT_PRIORS
from ..core.belief import STOP, Belief, Terms

PRICES = [0.0, *(m * 10.0**e for e in range(-6, 2) for m in (1.0, 1.5, 2.2, 3.3, 4.7, 6.8))]


class BeliefContract:
    """`slack`: how much the net may rise with the price; `waves`: whether it weighs seconds against draws."""

    slack = 1e-9
    waves = True
    terms = Terms(price=0.01, cost=1.0, steps=12, priors=DEFAULT_PRIORS, seconds=1.0)

    @pytest.fixture
    def belief(self) -> Belief:
        raise NotImplementedError("define the fixture `belief`")

    @pytest.mark.parametrize("steps", [0, 1, 3, 1 << 20])
    def test_it_asks_for_no_more_than_can_be_paid(self, belief: Belief, steps: int) -> None:
        for per_second in (0.0, 0.5, 50.0):
            for price in PRICES:
                terms = replace(self.terms, price=price, steps=steps, per_second=per_second)
                way = belief.best(terms)
                assert 0 <= way.size <= steps
                if steps == 0:
                    assert way == STOP

    @pytest.mark.parametrize("wrong", [0.0, 0.5, 4.0])
    def test_the_net_falls_as_the_price_rises(self, belief: Belief, wrong: float) -> None:
        for per_second in (0.0, 0.1):
            # At no price at all time is free, and a wave of one then loses nothing: not the limit of low prices.
            prices = PRICES if per_second == 0 else PRICES[1:]
            ways = (replace(self.terms, price=p, wrong=wrong, per_second=per_second) for p in prices)
            nets = [max(0.0, belief.best(terms).net(terms)) for terms in ways]  # what is not worth it is not taken
            for dearer, cheaper in zip(nets[1:], nets, strict=False):
                assert dearer <= cheaper + self.slack

    def test_a_way_on_is_worth_its_price(self, belief: Belief) -> None:
        for price in PRICES:
            terms = replace(self.terms, price=price)
            way = belief.best(terms)
            if way.size:
                assert way.cost > 0
                assert way.gain > 0
            else:
                assert way == STOP

    def test_more_money_never_makes_it_worse(self, belief: Belief) -> None:
        for price in PRICES:
            rich, poor = (replace(self.terms, price=price, steps=n) for n in (12, 4))
            assert belief.best(rich).net(rich) >= belief.best(poor).net(poor) - self.slack

    def test_waves_grow_with_what_a_second_is_worth(self, belief: Belief) -> None:
        sizes = []
        for per_second in (0.0, 0.1, 1.0, 3.0):
            terms = replace(self.terms, price=0.001, per_second=per_second)
            sizes.append(belief.best(terms).size)
        going = [size for size in sizes if size]
        # A belief that does not choose its waves keeps to one size, or stops.
        assert going == sorted(going) if self.waves else len(set(going)) <= 1

    def test_no_wave_is_wider_than_the_provider_lets_through(self, belief: Belief) -> None:
        for at_once in (1, 2, 5):
            terms = replace(self.terms, price=0.001, per_second=1.0, at_once=at_once)
            assert not self.waves or belief.best(terms).size <= at_once

    def test_p_is_a_probability_or_unknown(self, belief: Belief) -> None:
        p = belief.p(self.terms)
        assert p is None or 0 <= p <= 1

    def test_asking_again_says_the_same(self, belief: Belief) -> None:
        first = belief.best(self.terms)
        assert belief.best(self.terms) == first
        assert isfinite(first.cost)
        assert isfinite(first.seconds)
