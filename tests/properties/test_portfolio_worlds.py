"""The world of several arms and the look-ahead in it, against brute force in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.budgets.portfolio import Portfolio
from satisfice.budgets.portfolio_world import Arm, Tables, World, state
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.core.belief import Priors, Terms

Votes = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Brute:
    """The same world by its definition: a sequence of votes, its probability, and what is right."""

    tables: Tables
    choices: int

    def likelihood(self, votes: Votes, right: int | None) -> float:
        """P(these votes and `right` being the right answer; None: none of those given)."""
        total = 0.0
        for z, weight in enumerate(self.tables.weights):
            p = float(weight)
            own: dict[int, list[int]] = {}
            wrongs: list[tuple[int, int]] = []
            for arm, answer in votes:
                blank, strength = float(self.tables.blank[arm]), float(self.tables.own[arm])
                if answer < 0:
                    p *= blank
                    continue
                r, w = own.setdefault(arm, [0, 0])
                chance = (strength * float(self.tables.mu[arm, z]) + r) / (strength + r + w)
                p *= 1 - blank
                if answer == right:
                    p *= chance
                    own[arm][0] += 1
                else:
                    p *= (1 - chance) * self.urn(wrongs, arm, answer)
                    own[arm][1] += 1
                    wrongs.append((arm, answer))
            total += p
        return total

    def urn(self, wrongs: Sequence[tuple[int, int]], arm: int, answer: int) -> float:
        kappa, again = float(self.tables.kappa[arm]), self.tables.again
        mass: dict[int, float] = {}
        for other, said in wrongs:
            weight = float(self.tables.weight[other])
            mass[said] = mass.get(said, 0.0) + weight * (again if other == arm else 1.0)
        every, others = kappa + sum(mass.values()), self.choices - 1
        if answer in mass:
            return (mass[answer] + (kappa / others if others > 0 else 0.0)) / every
        return kappa / others * max(others - len(mass), 0) / every if others > 0 else kappa / every

    def masses(self, votes: Votes) -> list[float]:
        k = 1 + max((answer for _, answer in votes), default=-1)
        return [self.likelihood(votes, i) for i in (*range(k), None)]

    def value(self, votes: Votes, wrong: float) -> float:
        *answers, none = self.masses(votes)
        total = sum(answers) + none
        top = max(answers, default=0.0)
        return max(0.0, (1 + wrong) * top - wrong * total)

    def net(self, votes: Votes, arm: int, depth: int, prices: Sequence[float], wrong: float, left: list[int]) -> float:
        """Of the best course that begins with `arm`, times the probability of what was seen."""
        k = 1 + max((answer for _, answer in votes), default=-1)
        rest = [n - (i == arm) for i, n in enumerate(left)]
        found = -prices[arm] * sum(self.masses(votes)) + self.value((*votes, (arm, -1)), wrong)
        for answer in range(k + 1):
            then = (*votes, (arm, answer))
            goes = [
                self.net(then, other, depth - 1, prices, wrong, rest)
                for other in range(len(prices))
                if depth > 1 and rest[other] > 0
            ]
            found += max([self.value(then, wrong), *goes])
        return found


arms = st.builds(
    Arm,
    bias=st.floats(-2, 3),
    loading=st.floats(0, 3),
    own=st.sampled_from([0.3, 1.5, 30.0]),
    blank=st.sampled_from([0.0, 0.2]),
)
worlds = st.builds(
    lambda three, kappa, alike, again: World(
        {f"arm{i}": arm for i, arm in enumerate(three)}, kappa=kappa, alike=alike, again=again, fitted=True
    ),
    st.tuples(arms, arms, arms),
    st.sampled_from([0.5, 3.0]),
    st.sampled_from([(0.0, 0.0), (-0.3, 0.4)]),
    st.sampled_from([1.0, 3.0]),
)
KEYS = ("arm0", "arm1", "arm2")


def numbered(raw: Sequence[tuple[int, int]], choices: int) -> Votes:
    """Votes with answers in the order in which they were first given, and no more of them than there are choices."""
    known: dict[int, int] = {}
    most = choices or 99
    found = []
    for arm, answer in raw:
        if answer >= 0 and answer not in known and len(known) < most:
            known[answer] = len(known)
        found.append((arm, known.get(answer, 0 if answer >= 0 and known else -1)))
    return tuple(found)


raws = st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 3)), max_size=5)


@given(worlds, raws, st.sampled_from([0, 2, 3, 5]))
def test_the_posterior_is_that_of_the_definition(world: World, raw: list[tuple[int, int]], choices: int) -> None:
    tables, votes = world.tables(KEYS), numbered(raw, choices)
    expected = np.array(Brute(tables, choices).masses(votes))
    if expected.sum() <= 0:
        return
    assert state(tables, votes, (), choices).answers == pytest.approx(expected / expected.sum(), abs=1e-9)


@given(worlds, raws, st.sampled_from([0, 2, 3, 5]), st.integers(0, 2))
def test_p_of_an_answer_is_a_martingale(world: World, raw: list[tuple[int, int]], choices: int, arm: int) -> None:
    tables, votes = world.tables(KEYS), numbered(raw, choices)
    k = 1 + max((answer for _, answer in votes), default=-1)
    brute = Brute(tables, choices)
    total = sum(brute.masses(votes))
    if total <= 0 or not k:
        return
    after = [(*votes, (arm, answer)) for answer in range(-1, k + 1)]
    chances = [sum(brute.masses(one)) / total for one in after]
    assert sum(chances) == pytest.approx(1.0, abs=1e-9)
    now = state(tables, votes, (), choices).answers
    then = [
        state(tables, one, (), choices).answers if p > 0 else np.zeros(k + 2)
        for one, p in zip(after, chances, strict=True)
    ]
    for answer in range(k):
        expected = sum(p * float(found[answer]) for p, found in zip(chances, then, strict=True))
        assert expected == pytest.approx(float(now[answer]), abs=1e-9)


@settings(max_examples=25)
@given(
    worlds,
    raws.map(lambda raw: raw[:2]),
    st.sampled_from([0, 2, 3]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([(0.001, 0.001, 0.001), (0.0, 0.01, 0.05)]),
    st.sampled_from([(), (1, 1, 1), (2, 1, 0)]),
    st.integers(1, 3),
)
def test_the_look_ahead_is_what_enumeration_says(
    world: World,
    raw: list[tuple[int, int]],
    choices: int,
    wrong: float,
    prices: tuple[float, ...],
    left: tuple[int, ...],
    depth: int,
) -> None:
    from satisfice.budgets.portfolio_ahead import ahead, root, shop_of

    tables, votes = world.tables(KEYS), numbered(raw, choices)
    brute = Brute(tables, choices)
    total = sum(brute.masses(votes))
    if total <= 1e-12:
        return
    at = state(tables, votes, (), choices)
    every, more = np.arange(3), list(left or (9, 9, 9))
    asked = np.array((prices, more, (1.0,) * 3, (1.0,) * 3))
    now = brute.value(votes, wrong) / total
    nets, _ = ahead(root(at, tables, every), shop_of(tables, every, asked, choices, wrong), depth)
    for arm in range(3):
        if more[arm]:
            expected = brute.net(votes, arm, depth, prices, wrong, more) / total
            assert now + float(nets[0, arm]) == pytest.approx(expected, abs=1e-8)


@given(worlds, raws, st.sampled_from([0, 4]), st.permutations([0, 1, 2]))
def test_the_order_of_arms_changes_nothing(
    world: World, raw: list[tuple[int, int]], choices: int, order: list[int]
) -> None:
    votes = numbered(raw, choices)
    priors = Priors(DEFAULT_PRIORS.voting, allocation=world)
    costs = (0.001, 0.002, 0.004)
    one = Portfolio(KEYS, votes, choices=choices)
    other = Portfolio(tuple(KEYS[i] for i in order), tuple((order.index(a), b) for a, b in votes), choices=choices)
    terms = [Terms(1.0, cost, 100, priors) for cost in costs]
    first, second = one.jointly(terms), other.jointly([terms[i] for i in order])
    for place, arm in enumerate(order):
        assert second[place].net(terms[arm]) == pytest.approx(first[arm].net(terms[arm]), abs=1e-9)
    assert other.p(terms[0]) == pytest.approx(one.p(terms[0]))


@given(worlds, raws, st.sampled_from([0, 4]), st.sampled_from([0.0, 1.0]))
def test_the_net_falls_as_the_price_rises(world: World, raw: list[tuple[int, int]], choices: int, wrong: float) -> None:
    priors = Priors(DEFAULT_PRIORS.voting, allocation=world)
    portfolio = Portfolio(KEYS, numbered(raw, choices), choices=choices)
    before = [float("inf")] * 3
    for price in (0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0):
        terms = [Terms(price, cost, 100, priors, wrong) for cost in (0.001, 0.002, 0.01)]
        ways = portfolio.jointly(terms)
        nets = [max(0.0, way.net(one)) if way.size else 0.0 for way, one in zip(ways, terms, strict=True)]
        best = max(nets)
        assert best <= max(before) + 1e-9
        before = nets


@given(worlds, raws, st.integers(0, 3))
def test_no_wave_is_larger_than_what_can_be_paid(world: World, raw: list[tuple[int, int]], steps: int) -> None:
    priors = Priors(DEFAULT_PRIORS.voting, allocation=world)
    terms = [Terms(0.1, 0.01, steps, priors), Terms(0.1, 0.02, 0, priors), Terms(0.1, 0.03, steps, priors)]
    ways = Portfolio(KEYS, numbered(raw, 0), left=(1, 1, 0)).jointly(terms)
    assert [way.size for way in ways[1:]] == [0, 0]
    assert 0 <= ways[0].size <= steps


def test_two_more_are_bought_together_where_one_alone_only_ties() -> None:
    """Arms of the same quality: the first other vote only ties, two outvote the first."""
    world = World({key: Arm(1.0, 1.0, own=1e6) for key in KEYS}, kappa=2.0, fitted=True)
    priors = Priors(DEFAULT_PRIORS.voting, allocation=world)
    terms = [Terms(1.0, 0.001, 100, priors)] * 3
    alone = Portfolio(KEYS, ((0, 0),), left=(0, 1, 0)).jointly(terms)
    both = Portfolio(KEYS, ((0, 0),), left=(0, 1, 1)).jointly(terms)
    assert [way.size for way in alone] == [0, 0, 0]
    assert [way.size for way in both] == [0, 1, 1]
