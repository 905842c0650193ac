"""The index of a solution, by which a shared price is set, and what spending as much again would have bought."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from satisfice import Budget, Engine, Price
from satisfice.budgets.asking import AskBelief
from satisfice.budgets.evidence import Evidence
from satisfice.budgets.policy import Policy
from satisfice.budgets.portfolio import ArmBelief, Portfolio
from satisfice.budgets.portfolio_world import Arm, World
from satisfice.budgets.switching import ENOUGH, reserve
from satisfice.core.belief import Terms
from satisfice.models import ScriptedModel
from satisfice.scheduler.decisions import informed
from satisfice.scheduler.solution import _doubling, _index

# As declared priors are, at some time: what is asked here is not to move with them.
WORLD = World(curve=(0.4, 1.1, 0.8), unknown=Arm(0.0, 2.0, 3.0, 0.01), kappa=3.0, alike=(-0.25, 0.4), middle=1.4)
PRIORS = replace(Policy().priors(), allocation=WORLD)
COSTS = (0.0001, 0.01)
SPLIT = Portfolio(("cheap", "dear"), ((0, 0), (1, 1)), (Evidence(1), Evidence(1)))  # they disagree


def stopped(portfolio: Portfolio, costs: tuple[float, ...] = COSTS, *, reason: str = "value", ask: bool = False) -> Any:
    """A run that has stopped at a choice between these arms, with its outcome."""
    terms = [Terms(1e6, cost, 3, PRIORS) for cost in costs]
    ways: list[Any] = [(key, ArmBelief(portfolio, i), terms[i]) for i, key in enumerate(portfolio.arms)]
    if ask:
        ways.append(("ask", AskBelief(portfolio, 0, ("judge",)), replace(terms[0], cost=1e-6)))
    ways = informed(ways)
    root = SimpleNamespace(ways=ways, belief=ways[0][1], terms=replace(ways[0][2], others=costs))
    root.purse = SimpleNamespace(posted=(10_100_000, 0, 2))
    outcome = SimpleNamespace(answer=None, reason=reason)
    return SimpleNamespace(root=root, outcome=outcome)


def highest(portfolio: Portfolio, costs: tuple[float, ...]) -> float:
    """The highest price at which arms that are judged together buy anything, by bisection."""
    low, high = 1e-6, 1e9
    for _ in range(100):
        price = (low * high) ** 0.5
        ways = portfolio.jointly([Terms(price, cost, ENOUGH, PRIORS) for cost in costs])
        low, high = (price, high) if any(way.size for way in ways) else (low, price)
    return low


@pytest.mark.parametrize("votes", [((0, 0), (1, 1)), ((0, 0),), ((0, 0), (0, 1)), ((1, 0), (0, 0))])
def test_the_index_is_the_highest_price_at_which_the_arms_together_go_on(votes: tuple[tuple[int, int], ...]) -> None:
    said = tuple(Evidence() for _ in {answer for _, answer in votes})
    portfolio = Portfolio(("cheap", "dear"), votes, said, left=(9, 9))
    run = stopped(portfolio)
    assert _index(run, run.outcome) == pytest.approx(highest(portfolio, COSTS), rel=1e-3)


def test_one_arm_alone_would_say_another_one() -> None:
    run = stopped(SPLIT)
    alone = max(reserve(belief, replace(terms, steps=ENOUGH)) for _, belief, terms in run.root.ways)
    assert alone > 2 * _index(run, run.outcome)


def test_a_verdict_that_is_nearly_free_has_the_higher_index() -> None:
    plain, asking = stopped(SPLIT), stopped(SPLIT, ask=True)
    index = _index(asking, asking.outcome)
    assert index > 10 * _index(plain, plain.outcome)
    assert index == reserve(asking.root.ways[2][1], asking.root.ways[2][2])


def test_nothing_that_is_left_has_no_index() -> None:
    gone = stopped(replace(SPLIT, left=(0, 0)))
    assert _index(gone, gone.outcome) == 0.0
    verified = SimpleNamespace(answer=SimpleNamespace(reason="verified"), reason="verified")
    assert _index(gone, verified) == 0.0
    ended = stopped(SPLIT, reason="unreadable")
    assert _index(ended, ended.outcome) == 0.0
    later = stopped(SPLIT)
    later.root.belief = ArmBelief(replace(SPLIT, left=(0, 0)), 0)  # it went on after that choice, and ended
    assert _index(later, later.outcome) == 0.0


def test_an_arm_for_nothing_does_not_hide_the_others() -> None:
    free = stopped(replace(SPLIT, left=(0, 5)), (0.0, 0.01))
    assert 0.0 < _index(free, free.outcome) < float("inf")
    going = stopped(SPLIT, (0.0, 0.01))
    assert _index(going, going.outcome) == float("inf")


def test_no_choice_no_index() -> None:
    run = SimpleNamespace(root=SimpleNamespace(ways=[], belief=None))
    assert _index(run, SimpleNamespace(answer=None, reason="agreed")) is None


def test_as_much_again_is_spent_on_the_best_of_all_arms() -> None:
    run = stopped(SPLIT)
    found = _doubling(run, 2)
    assert found.usd == pytest.approx(0.0101)
    terms = [Terms(1e-9, COSTS[0], 2, PRIORS), Terms(1e-9, COSTS[1], 1, PRIORS)]
    assert found.gain == pytest.approx(max(way.gain for way in SPLIT.jointly(terms)))
    other = stopped(SPLIT)
    other.root.belief = other.root.ways[1][1]  # whichever of them was looked at last
    assert _doubling(other, 2).gain == found.gain


@pytest.mark.anyio
async def test_a_run_says_its_index_and_gain() -> None:
    engine = Engine(["small", "large"], journal=False)
    engine.register("small", ScriptedModel(["Answer: 1"]), Price.per_million(1, 1))
    engine.register("large", ScriptedModel(["Answer: 2"]), Price.per_million(50, 50))
    async with engine:
        found = await engine.solve("?", answer="number", budget=Budget(usd=1.0, worth=0.01), shadow=1.0)
    assert found.stop_reason == "value"
    assert found.index is not None
    assert 0.0 < found.index <= found.decisions[-1].price * (1 + 1e-6)  # at its own price it stopped
    assert found.if_doubled.gain is not None
