"""Fit: planted parameters come back, held-out loss falls, and what cannot show agreement is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from satisfice.budgets.policy import Policy
from satisfice.budgets.priors import voting_grid
from satisfice.core.errors import CallerError
from satisfice.experiments import Bank, Draw, Question, fit
from satisfice.experiments.fitting import beta_binomial, log_evidence, votes_of

EASY, HARD = (0.97, 0.027), (0.2, 0.72)  # kinds on the grid: usually right, and mostly the same mistake


def planted(count: int, draws: int, share: float, seed: int = 0) -> Bank:
    """A share of easy questions, the rest hard."""
    dice = np.random.default_rng(seed)
    questions, rows = {}, {}
    for i in range(count):
        theta, phi = EASY if dice.random() < share else HARD
        name = f"q{i}"
        kinds = dice.choice(3, size=draws, p=[theta, phi, 1 - theta - phi])
        keys = [("right", "mistake", f"fresh{j}")[k] for j, k in enumerate(kinds)]
        questions[name] = Question(name, "d", name, "right", "text", (), i % 5)
        rows[name, "m", "cot"] = tuple(Draw(j, k, k, k == "right", 10, 30, 1000) for j, k in enumerate(keys))
    return Bank(questions, rows)


def test_planted_kinds_come_back() -> None:
    policy = fit(planted(600, 10, 0.7))
    assert policy.fitted
    weights = {(theta, phi): weight for theta, phi, weight in policy.voting}
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) > 0
    assert sum(w for (theta, _), w in weights.items() if theta >= 0.9) == pytest.approx(0.7, abs=0.06)
    assert sum(w for (theta, phi), w in weights.items() if theta <= 0.3 and phi > 0.5) == pytest.approx(0.3, abs=0.06)
    assert policy.tokens == {"m": 30.0}
    assert policy.provenance["groups"] == 600


def test_held_out_loss_falls() -> None:
    facts = fit(planted(300, 8, 0.5)).provenance
    assert float(facts["held_out_log_loss"]) < float(facts["declared_log_loss"]) - 0.5


def test_it_sees_only_the_folds_it_is_given() -> None:
    bank = planted(200, 6, 0.5)
    spoiled = {
        (q, m, a): tuple(Draw(d.sample_index, "x", "x", False) for d in row) if bank.questions[q].fold == 0 else row
        for (q, m, a), row in bank.draws.items()
    }
    others = [1, 2, 3, 4]
    one, other = fit(bank, folds=others), fit(Bank(bank.questions, spoiled), folds=others)
    assert one == other
    assert one != fit(bank)
    assert one.provenance["questions"] == 160


def test_a_policy_survives_its_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    policy = fit(planted(60, 4, 0.5))
    file = tmp_path_factory.mktemp("policy") / "policy.json"
    policy.save(file)
    assert Policy.load(file) == policy


def test_single_draws_cannot_show_agreement() -> None:
    with pytest.raises(CallerError, match="two recorded answers"):
        fit(planted(100, 1, 0.5))


def test_ladders_and_verifiers_are_fitted_where_voting_cannot_be() -> None:
    bank = planted(100, 1, 0.5)
    better = {(q, "n", a): (Draw(0, "right", "right", True, 10, 30, 9000),) for q, _, a in bank.draws}
    policy = fit(Bank(bank.questions, {**bank.draws, **better}))
    assert not policy.fitted
    assert (policy.voting, policy.success) == (Policy().voting, Policy().success)
    assert set(policy.cascades) == {"m>n"}
    assert "only 0 (question, model, arm)" in str(policy.provenance["voting"])
    assert "held_out_log_loss" not in policy.provenance


def test_votes_of_a_group() -> None:
    def row(*keys: str | None) -> tuple[Draw, ...]:
        return tuple(Draw(i, k if k != "?" else None, k or None, k == "right") for i, k in enumerate(keys))

    assert votes_of(row("right", "b", "b", "c", "")) == (1, 2, 1)
    assert votes_of(row("", "")) == (0, 0, 0)
    assert votes_of(row("right", "?")) == (0, 0, 0)


def test_likelihoods_of_small_samples_sum_to_one() -> None:
    """All arrangements of three draws, with the ways in which each comes about."""
    ways = {(3, 0, 0): 1, (2, 1, 0): 3, (1, 2, 0): 3, (1, 1, 1): 3, (0, 3, 0): 1, (0, 2, 1): 3, (0, 1, 2): 1}
    total = np.exp(log_evidence(list(ways))).T @ np.array(list(ways.values()), dtype=float)
    np.testing.assert_allclose(total, 1.0, atol=1e-6)
    assert total.shape == (len(voting_grid()),)


@pytest.mark.parametrize(("a", "b"), [(0.5, 1.0), (3.0, 2.0), (8.0, 1.5)])
def test_beta_binomial_finds_its_parameters(a: float, b: float) -> None:
    dice = np.random.default_rng(1)
    trials = 20
    wins = dice.binomial(trials, dice.beta(a, b, size=4000))
    found = beta_binomial(Counter((int(k), trials) for k in wins))
    assert found == pytest.approx((a, b), rel=0.12)
