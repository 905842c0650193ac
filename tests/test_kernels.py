"""The kernels against what they stand for: the plan under the replay driver, and the tables of the live path."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.voting_tables import Grid, Table
from satisfice.budgets.voting_world import World
from satisfice.core.belief import Priors, Terms
from satisfice.core.errors import CallerError
from satisfice.experiments import Bank, Draw, Question, fit
from satisfice.experiments.kernels import tabulate
from satisfice.experiments.replaying import BankTariff, Deck, run_on
from satisfice.experiments.stops import flat
from satisfice.experiments.vote_replays import Deals, going, replay_votes, rows_of
from satisfice.strategies import SelfConsistency

ANSWERS = ("right", "b", "c", "d", "e", "f", None)


@st.composite
def banks(draw: st.DrawFn) -> Bank:
    """Up to five questions, each with as many draws of seven answers or none."""
    count, size = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    questions, rows = {}, {}
    for i in range(count):
        few = draw(st.integers(1, len(ANSWERS)))
        keys = draw(st.lists(st.sampled_from(ANSWERS[-few:]), min_size=size, max_size=size))
        questions[f"q{i}"] = Question(f"q{i}", "d", f"question {i}", "right", "text", (), i % 5)
        rows[f"q{i}", "m", "a"] = tuple(Draw(j, k or "", k, k == "right", 1, 1, 1000) for j, k in enumerate(keys))
    return Bank(questions, rows)


@cache
def fitted() -> Policy:
    """A policy of made-up questions, a third of them easy."""
    dice = np.random.default_rng(3)
    questions, rows = {}, {}
    for i in range(150):
        theta = (0.9, 0.5, 0.2)[i % 3]
        keys = [
            None if dice.random() < 0.1 else "right" if dice.random() < theta else "bcd"[dice.integers(3)]
            for _ in range(8)
        ]
        questions[f"q{i}"] = Question(f"q{i}", "d", f"question {i}", "right", "text", (), i % 5)
        rows[f"q{i}", "m", "a"] = tuple(Draw(j, k or "", k, k == "right", 1, 1, 1000) for j, k in enumerate(keys))
    return fit(Bank(questions, rows), stops=False)


@settings(max_examples=25)
@given(
    banks(),
    st.sampled_from([1e-5, 3e-5, 1e-4, 1e-3, 1e-2]),
    st.booleans(),
    st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
)
def test_the_voting_kernel_does_what_the_plan_does(bank: Bank, worth: float, known: bool, seeds: list[int]) -> None:
    policy = fitted() if known else Policy()
    deals, tariff = Deals.of(bank, "m", "a"), BankTariff(bank, {"m": "a"})
    most = deals.answers.shape[1]
    terms = Terms(1 / worth, tariff.expected("m"), 0, policy.priors())
    orders = deals.orders(seeds)
    stops, leaders = replay_votes(deals, orders, going(terms, most))
    for i, question in enumerate(deals.questions):
        deck = Deck.of(bank, question, {"m": "a"})
        for j, seed in enumerate(seeds):
            source = deck.shuffled(seed)
            run = run_on(source, SelfConsistency(), Budget(calls=most, worth=worth), policy, tariff, seed)
            assert run.outcome is not None
            candidate = run.outcome.answer.candidate if run.outcome.answer else None
            place = source.drawn[candidate.path].sample_index if candidate else 255
            assert (stops[i, j], leaders[i, j]) == (run.outcome.spent.calls, place)


@pytest.mark.parametrize("kinds", [DEFAULT_PRIORS.kinds, (), ((0.3, 0.5, 2, 0.2, 0.5), (0.6, 0.2, 2, 0.0, 0.5))])
def test_the_table_kernel_does_what_the_tables_do(kinds: tuple[tuple[float, float, int, float, float], ...]) -> None:
    grid, horizon = Grid(World.of(Priors(DEFAULT_PRIORS.voting, kinds=kinds))), 12
    right, places, odds, last = flat(grid, horizon)
    prices = np.array([0.0005, 0.01, 0.07, 0.4])
    gain, draws = tabulate(right, places, odds, last, prices)
    for k, price in enumerate(prices):
        table = Table(grid, float(price), 0.0, 0.0, horizon)
        np.testing.assert_allclose(gain[k], np.concatenate(table.gain), atol=1e-12)
        np.testing.assert_allclose(draws[k], np.concatenate(table.draws), atol=1e-9)


def test_every_state_has_its_row() -> None:
    rows = rows_of(9)
    assert len(set(rows.states)) == len(rows.states)
    for i, (a, b, c, d, once) in enumerate(rows.states):
        assert (rows.scattered[a, b, c + d + once] if once else rows.named[a, b, c, d]) == i


def test_draws_that_cannot_be_laid_side_by_side_are_refused() -> None:
    bank = Bank(
        {q: Question(q, "d", q, "right", "text", (), 0) for q in ("p", "q")},
        {
            ("p", "m", "a"): (Draw(0, "x", "x", False),),
            ("q", "m", "a"): (Draw(0, "x", "x", False), Draw(1, "", None, False)),
        },
    )
    with pytest.raises(CallerError, match="as many of each"):
        Deals.of(bank, "m", "a")
    alone = Bank({"p": bank.questions["p"]}, {("p", "m", "a"): (Draw(0, None, None, True),)})
    with pytest.raises(CallerError, match="not recorded"):
        Deals.of(alone, "m", "a")
