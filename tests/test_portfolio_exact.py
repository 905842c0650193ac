"""Several arms under exact checks: courses against brute force, and what failures say about other arms."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.budgets.beliefs import ExactBelief
from satisfice.budgets.budget import Budget
from satisfice.budgets.exact_search import NOTHING, STATES, Buy, Search
from satisfice.budgets.policy import Policy
from satisfice.budgets.portfolio import Portfolio
from satisfice.budgets.portfolio_exact import courses, exact_jointly, sequence
from satisfice.budgets.portfolio_world import Arm, World
from satisfice.budgets.prices import Price
from satisfice.budgets.purse import Purse
from satisfice.budgets.successes import Successes, beta_rows, declared, of_logits
from satisfice.core.belief import STOP, Priors, Terms
from satisfice.core.completions import Params
from satisfice.core.errors import CallerError
from satisfice.core.task import Task
from satisfice.experiments.bank import Question
from satisfice.experiments.exact_arms import Tried, fit_successes, latent, recorded, smooth, surprise, tried
from satisfice.scheduler.decisions import Economics
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.scheduler.tariff import PriceList, Rate
from satisfice.strategies import Auto, SingleShot
from satisfice.testing.driver import Script
from satisfice.verifiers import Check

PRIORS = Priors(((0.6, 0.1, 1.0),))
chances = st.floats(0.0, 1.0)


@st.composite
def worlds(draw: st.DrawFn, arms: int = 3) -> Successes:
    """Two or three classes of question, on which each arm's chance is anything."""
    classes = draw(st.integers(2, 3))
    weights = np.asarray([draw(st.floats(0.1, 1.0)) for _ in range(classes)])
    rates = tuple(tuple(((draw(chances), 1.0),) for _ in range(classes)) for _ in range(arms))
    return Successes(tuple("abc"[:arms]), tuple(map(float, weights / weights.sum())), rates)


@st.composite
def shops(draw: st.DrawFn, most: int = 2) -> tuple[Buy, ...]:
    return tuple(Buy(arm, draw(st.integers(1, 2)), draw(st.floats(0.01, 0.5)), 0.0, most, 0.0) for arm in range(3))


def net(world: Successes, buys: tuple[Buy, ...], path: tuple[int, ...], price: float) -> float:
    """Value of buying `path` as long as everything fails, straight from the definition."""
    total = 0.0
    for weight, rates in zip(world.weights, zip(*world.rates, strict=True), strict=True):
        alive = weight
        for index in path:
            buy = buys[index]
            lost = alive * sum(w * (1 - t) ** buy.draws for t, w in rates[buy.source])
            total += alive - lost - alive * price * buy.cost
            alive = lost
    return total


def paths(buys: tuple[Buy, ...]) -> list[tuple[int, ...]]:
    longest = sum(buy.most for buy in buys)
    every = [p for n in range(longest + 1) for p in product(range(len(buys)), repeat=n)]
    return [p for p in every if all(p.count(i) <= buy.most for i, buy in enumerate(buys))]


@settings(max_examples=40)
@given(worlds(), shops(), st.floats(0.1, 3.0))
def test_no_sequence_is_worth_more(world: Successes, buys: tuple[Buy, ...], price: float) -> None:
    found = courses(world, (0, 0, 0), buys, price)
    every = [(p, net(world, buys, p, price)) for p in paths(buys)]
    for index, way in enumerate(found):
        best = max(value for p, value in every if p and p[0] == index)
        mine = way.gain - price * way.cost
        assert mine == pytest.approx(max(best, 0.0), abs=1e-8)
        assert (way is STOP) == (best <= NOTHING) or abs(best) < 1e-8
    bought = tuple(index for index, _ in sequence(world, (0, 0, 0), buys, price))
    assert net(world, buys, bought, price) == pytest.approx(max(value for _, value in every), abs=1e-8)


@settings(max_examples=25)
@given(worlds(), shops(), st.floats(0.1, 3.0))
def test_rollouts_promise_no_more_than_the_best_and_no_less_than_one_purchase(
    world: Successes, buys: tuple[Buy, ...], price: float
) -> None:
    search = Search.of(world, (0, 0, 0), buys, price, 0.0)
    for index, (one, best) in enumerate(zip(search.rolled(), search.planned(), strict=True)):
        mine, most = one.gain - price * one.cost, best.gain - price * best.cost
        assert net(world, buys, (index,), price) - 1e-9 <= mine <= most + 1e-9 or (one is STOP and most <= 1e-9)


def test_many_arms_are_rolled_out_and_the_dear_one_comes_last() -> None:
    n = 12
    world = of_logits(tuple(f"m{i}" for i in range(n)), tuple(-1.0 + 0.2 * i for i in range(n)), (1.0,) * n, (0.5,) * n)
    buys = tuple(Buy(i, 1, 0.001 * 2.0**i, 0.0, 3, 0.0) for i in range(n))
    assert max(Search.of(world, (0,) * n, buys, 1.0, 0.0).depths) ** n > STATES
    path = [index for index, _ in sequence(world, (0,) * n, buys, 1.0)]
    assert path and path[0] < 4 < max(path)
    assert all(path.count(i) <= 3 for i in path)
    first = courses(world, (0,) * n, buys, 1.0)
    nets = [way.gain - way.cost for way in first]
    assert nets[path[0]] == max(nets)


def test_failures_of_one_arm_speak_against_another() -> None:
    world = of_logits(("io", "tot"), (-1.0, 0.5), (2.0, 2.0), (0.3, 0.3))
    buys = (Buy(0, 1, 0.01, 0.0, 0, 0.0), Buy(1, 1, 0.3, 0.0, 1, 0.0))
    gains = [courses(world, (n, 0), buys, 0.1)[1].gain for n in (0, 1, 5, 20)]
    assert gains == sorted(gains, reverse=True) and gains[0] > 0.5 > gains[3]
    assert courses(world, (0, 0), buys, 1.5)[1].size == 1
    assert courses(world, (20, 0), buys, 1.5)[1] is STOP  # and nothing is bought that no longer pays


def test_one_arm_is_the_belief_about_one_arm() -> None:
    for cost, failures in product((0.01, 0.05, 0.2), (0, 1, 4)):
        terms = Terms(1.0, cost, 40, replace(PRIORS, success=(0.5, 2.0)))
        found = exact_jointly(Portfolio(("a",), ((0, -1),) * failures, exact=True), [terms])[0]
        alone = ExactBelief(failures).best(terms)
        assert found.size == alone.size
        assert found.gain == pytest.approx(alone.gain, abs=1e-4) and found.cost == pytest.approx(alone.cost, abs=1e-4)


@settings(max_examples=25)
@given(worlds(), shops(3), st.floats(0.05, 1.0), st.floats(1.0, 3.0))
def test_net_never_rises_with_the_price(world: Successes, buys: tuple[Buy, ...], price: float, times: float) -> None:
    one, other = (courses(world, (0, 0, 0), buys, p) for p in (price, price * times))
    for a, b in zip(one, other, strict=True):
        assert b.gain - price * times * b.cost <= a.gain - price * a.cost + 1e-9


class _Known:
    def __init__(self, world: Successes) -> None:
        self.world = world

    def exact(self, portfolio: Portfolio, terms: object) -> Successes:
        return self.world


def test_batches_limits_and_the_purse() -> None:
    world = of_logits(("io", "tot"), (-2.0, 1.0), (1.0, 1.0), (0.5, 0.5))
    priors = replace(PRIORS, allocation=_Known(world))
    terms = [Terms(0.1, cost, 100, priors) for cost in (0.01, 0.15, 1.0)]
    arms = ("io", "io x20", "tot")
    first = exact_jointly(Portfolio(arms, exact=True), terms)
    assert [way.size for way in first] == [1, 1, 1]
    one, twenty = ((1 - world.missed(0, 20)[:, n]) @ np.asarray(world.weights) for n in (1, 20))
    only = [replace(t, price=0.0) for t in terms]
    alone = exact_jointly(Portfolio(arms, exact=True, left=(1, 0, 0)), only)
    assert alone[0].gain == pytest.approx(one) and alone[1:] == (STOP, STOP)
    batch = exact_jointly(Portfolio(arms, exact=True, left=(0, 1, 0)), only)
    assert batch[1].gain == pytest.approx(twenty)
    said = exact_jointly(Portfolio(("io", "tot"), exact=True, left=(1, 0), batch=(20, 1)), only[:2])
    assert said[0].gain == pytest.approx(twenty)  # a batch of its own
    poor = exact_jointly(Portfolio(("io", "tot"), exact=True), [replace(only[0], steps=2), replace(only[1], steps=1)])
    assert poor[0].gain == pytest.approx(1 - world.missed(0, 2)[:, 2] @ np.asarray(world.weights))  # or tot, not both
    assert exact_jointly(Portfolio(("io",), exact=True), [replace(only[0], steps=0)]) == (STOP,)


def test_the_allocators_world_serves_where_nothing_was_fitted_for_exact_checks() -> None:
    world = World({"a": Arm(-1.0, 1.0, 2.0, 0.25), "b": Arm(1.0, 1.0, 2.0)})
    terms = [Terms(0.5, cost, 10, replace(PRIORS, allocation=world)) for cost in (0.01, 0.2)]
    portfolio = Portfolio(("a", "b"), exact=True)
    none = [replace(one, price=0.0, steps=1) for one in terms]
    tables = portfolio.tables(terms[0], (0.01, 0.2))
    first = [exact_jointly(replace(portfolio, left=left), none)[arm].gain for arm, left in enumerate(((1, 0), (0, 1)))]
    assert first == pytest.approx([tables.chance[0] * 0.75, tables.chance[1]])
    assert exact_jointly(portfolio, terms)[0].net(terms[0]) > exact_jointly(portfolio, terms)[1].net(terms[1])


def test_the_plan_buys_what_the_sequence_says() -> None:
    models, dollars = ("io", "cot", "tot"), (1.0, 4.0, 60.0)  # per million tokens
    world = of_logits(models, (-2.0, -1.0, 1.0), (2.0, 2.0, 2.0), (0.5, 0.5, 0.5))
    arms = tuple(SingleShot(model=model, params=Params(temperature=0.7 if model != "tot" else 0.0)) for model in models)
    auto = Auto(arms, names=models, most=6)
    bought: dict[float, list[str]] = {}
    for worth in (0.001, 0.01, 0.1):
        budget = Budget(usd=1.0, worth=worth)
        tariff = PriceList({m: Rate(Price.per_million(d, d), m) for m, d in zip(models, dollars, strict=True)})
        economics = Economics(budget, Policy(), tariff)
        economics.priors = replace(economics.priors, allocation=_Known(world))
        task = Task.of("How much is 1 + 1?", "number", checks=(Check(lambda n: n == 2),))
        run = Run(auto(task), purse=Purse.of(budget), economics=economics, name="exact")
        perform(run, Script(text=lambda asked, seed: "Answer: 3"))
        failed = [0, 0, 0]
        for decision in run.decisions:  # what a call is expected to cost changes as replies come in
            each = {row.name: row.each for row in decision.alternatives}
            left = [most - done for most, done in zip((6, 6, 1), failed, strict=True)]
            buys = tuple(Buy(i, 1, each[m], 0.0, left[i], 0.0) for i, m in enumerate(models))
            path = sequence(world, tuple(failed), buys, 1 / worth)
            assert decision.size == bool(path)
            if path:
                assert decision.alternatives[decision.index].name == models[path[0][0]]
                failed[path[0][0]] += 1
        bought[worth] = [d.alternatives[d.index].name for d in run.decisions if d.size]
    assert len(bought[0.001]) < len(bought[0.1]) and "tot" in bought[0.1]


def test_after_the_impossible_nothing_is_bought() -> None:
    world = Successes(("a",), (1.0,), ((((1.0, 1.0),),),))
    assert courses(world, (1,), (Buy(0, 1, 0.1, 0.0, 5, 0.0),), 1.0) == (STOP,)


def test_time_makes_waves_wider() -> None:
    world = of_logits(("a", "b"), (-2.0, -2.0), (1.0, 1.0), (0.5, 0.5))
    buys = tuple(Buy(arm, 1, 0.001, 1.0, 64, 0.0) for arm in range(2))
    sizes = [max(way.size for way in courses(world, (0, 0), buys, 1.0, second)) for second in (0.0, 0.001, 0.05)]
    assert sizes[0] == 1 < sizes[1] <= sizes[2]
    narrow = courses(world, (0, 0), tuple(buy._replace(at_once=4) for buy in buys), 1.0, 0.05)
    assert max(way.size for way in narrow) <= 4


def test_what_few_questions_say_must_be_clear() -> None:
    rates = ((((0.02, 1.0),), ((0.9, 1.0),)),)
    buys = (Buy(0, 1, 0.1, 0.0, 1, 0.0),)
    sure, unsure = (Successes(("a",), (0.9, 0.1), rates, n) for n in (0, 20))
    assert courses(sure, (0,), buys, 1.0)[0].size == 1
    assert courses(unsure, (0,), buys, 1.0) == (STOP,)
    assert courses(replace(unsure, questions=2000), (0,), buys, 1.0)[0].size == 1


@pytest.mark.parametrize(("a", "b"), [(0.07, 1.05), (0.5, 1.0), (3.0, 40.0), (1.0, 1.0)])
def test_a_beta_as_rows_has_its_moments(a: float, b: float) -> None:
    theta, weight = np.asarray(beta_rows(a, b, 12)).T
    for n in (0, 1, 5, 20):
        exact = np.prod([(b + k) / (a + b + k) for k in range(n)])
        assert weight @ (1 - theta) ** n == pytest.approx(exact, abs=1e-10)


def test_declared_arms_the_dearer_is_the_better() -> None:
    world = declared(PRIORS, ("cheap", "dear"), (0.001, 0.1))
    weights = np.asarray(world.weights)
    first = [1 - weights @ world.missed(arm, 1)[:, 1] for arm in (0, 1)]
    assert 0.2 < first[0] < 0.45 < first[1] < 0.9
    assert world is declared(PRIORS, ("cheap", "dear"), (0.001, 0.1))  # kept: tables hang on it
    assert world.place("cheap x20") == (0, 20) and world.place("other") is None and world.place("cheap x0") is None


def _rows(n: int, seed: int, lump: bool = False) -> list[Tried]:
    dice = np.random.default_rng(seed)
    rows = []
    for q in range(n):
        z = dice.normal()
        easy = dice.random() < 0.2
        theta = (0.8, 0.7) if easy else (0.0, 0.05)
        if not lump:
            theta = tuple(1 / (1 + np.exp(-(m + 1.5 * z + 0.5 * dice.normal()))) for m in (-2.0, -1.0))  # type: ignore[assignment]
        rows.append(Tried({name: (int(dice.binomial(8, t)), 8) for name, t in zip("ab", theta, strict=True)}, q % 10))
    return rows


def test_fits_tell_how_failures_of_one_arm_bear_on_the_other() -> None:
    rows = _rows(150, 1)
    for fit in (recorded, latent):
        world = fit(rows, ("a", "b"))
        weights = np.asarray(world.weights)
        for arm, name in enumerate("ab"):
            often = np.mean([row.counts[name][0] / 8 for row in rows])
            assert 1 - weights @ world.missed(arm, 1)[:, 1] == pytest.approx(often, abs=0.03)
        after = weights * world.missed(0, 8)[:, 8]
        stuck = [row.counts["b"][0] / 8 for row in rows if row.counts["a"][0] == 0]
        assert 1 - after @ world.missed(1, 1)[:, 1] / after.sum() == pytest.approx(np.mean(stuck), abs=0.05)


def test_the_latent_kind_is_taken_only_where_it_is_clearly_better() -> None:
    assert not smooth(_rows(60, 2, lump=True), ("a", "b"))


def test_surprise_is_least_for_the_world_that_made_the_questions() -> None:
    rows, rates = _rows(400, 5, lump=True), ((((0.0, 1.0),), ((0.8, 1.0),)), (((0.05, 1.0),), ((0.7, 1.0),)))
    losses = [surprise(Successes(("a", "b"), (1 - easy, easy), rates), rows).mean() for easy in (0.05, 0.2, 0.5)]
    assert losses[1] < min(losses[0], losses[2])
    apart = Successes(("a", "b"), (0.2, 0.8), (rates[0], tuple(reversed(rates[1]))))
    assert surprise(apart, rows).mean() > losses[2]


def test_fit_needs_enough_questions_and_counts_that_can_be() -> None:
    assert fit_successes(_rows(19, 4)) is None
    found = fit_successes(_rows(40, 4))
    assert found is not None and found.arms == ("a", "b") and found.questions == 40
    assert sum(found.weights) == pytest.approx(1.0)
    with pytest.raises(CallerError, match="3 of 2 draws"):
        fit_successes([Tried({"a": (3, 2)})])


def test_a_bank_as_counts() -> None:
    question = Question("q", "d", "1 + 1?", "2", "number", (), 3)
    draws = tuple(SimpleNamespace(correct=right) for right in (True, False, True))
    bank = SimpleNamespace(questions={"q": question}, draws={("q", "m", "a"): draws})
    assert tried(bank, {"one": ("m", "a"), "none": ("m", "b")}) == [Tried({"one": (2, 3)}, 3)]  # type: ignore[arg-type]


def test_free_arms_are_taken_to_the_end() -> None:
    world = of_logits(("a", "b"), (-2.0, -1.0), (1.0, 1.0), (0.5, 0.5))
    buys = (Buy(0, 1, 0.0, 0.0, 3, 0.0), Buy(1, 1, 0.0, 0.0, 2, 0.0))
    assert len(sequence(world, (0, 0), buys, 0.5)) == 5
    assert not any(way.gain == inf for way in courses(world, (0, 0), buys, 0.5))
