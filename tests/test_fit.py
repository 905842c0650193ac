"""Fit: planted parameters come back, held-out loss falls, and what cannot show agreement is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from satisfice.budgets.policy import Policy
from satisfice.budgets.priors import DEFAULT_PRIORS, voting_grid
from satisfice.budgets.voting import VotingBelief
from satisfice.core.belief import Terms
from satisfice.core.errors import CallerError, UnknownName
from satisfice.experiments import Bank, Draw, Question, fit
from satisfice.experiments.bank import Scored
from satisfice.experiments.fitting import beta_binomial, log_evidence, votes_of
from satisfice.experiments.kinds import ballots_of, log_loss, seen

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
    policy = fit(planted(600, 10, 0.7), stops=False)
    assert policy.fitted
    weights = {(theta, phi): weight for theta, phi, weight in policy.voting}
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) > 0
    assert sum(w for (theta, _), w in weights.items() if theta >= 0.9) == pytest.approx(0.7, abs=0.06)
    assert sum(w for (theta, phi), w in weights.items() if theta <= 0.3 and phi > 0.5) == pytest.approx(0.3, abs=0.06)
    assert policy.tokens == {"m": 30.0}
    assert policy.provenance["groups"] == 600


def test_held_out_loss_falls() -> None:
    facts = fit(planted(300, 8, 0.5), stops=False).provenance
    assert float(facts["held_out_log_loss"]) < float(facts["declared_log_loss"]) - 0.5


def test_it_sees_only_the_folds_it_is_given() -> None:
    bank = planted(200, 6, 0.5)
    spoiled = {
        (q, m, a): tuple(Draw(d.sample_index, "x", "x", False) for d in row) if bank.questions[q].fold == 0 else row
        for (q, m, a), row in bank.draws.items()
    }
    others = [1, 2, 3, 4]
    one, other = (fit(b, folds=others, stops=False) for b in (bank, Bank(bank.questions, spoiled)))
    assert one == other
    assert one != fit(bank, stops=False)
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


def choices(count: int, draws: int, blank: float, seed: int = 0) -> Bank:
    """Questions with four choices: on half of them draws are mostly right, on half spread over all four."""
    dice = np.random.default_rng(seed)
    questions, rows = {}, {}
    for i in range(count):
        p = [0.97, 0.01, 0.01, 0.01] if i % 2 else [0.3, 0.28, 0.21, 0.21]
        given = [None if dice.random() < blank else "abcd"[j] for j in dice.choice(4, size=draws, p=p)]
        questions[f"q{i}"] = Question(f"q{i}", "d", f"q{i}", "a", "choice", (), i % 5)
        rows[f"q{i}", "m", "cot"] = tuple(Draw(j, k or "", k, k == "a", 10, 30, 1000) for j, k in enumerate(given))
    return Bank(questions, rows)


def test_whether_answers_are_few_is_learnt() -> None:
    few, open_ = fit(choices(300, 10, 0.05), stops=False), fit(planted(300, 10, 0.5), stops=False)
    shares = [sum(w for t, _, others, _, w in p.kinds if others and t < 0.6) for p in (few, open_)]
    assert shares[0] == pytest.approx(0.5, abs=0.08)
    assert shares[1] < 0.1
    for policy in (few, open_):
        assert sum(kind[4] for kind in policy.kinds) == pytest.approx(1)
        assert min(kind[4] for kind in policy.kinds) > 0
        assert policy.provenance["held_out_kinds_log_loss"] < policy.provenance["declared_kinds_log_loss"]


@pytest.mark.parametrize("blank", [0.01, 0.25])
def test_how_often_draws_are_blank_is_learnt(blank: float) -> None:
    policy = fit(choices(300, 10, blank), stops=False)
    assert sum(b * w for _, _, _, b, w in policy.kinds) == pytest.approx(blank, abs=0.03)


def test_few_groups_move_the_declared_kinds_little() -> None:
    weights = {n: [kind[4] for kind in fit(choices(n, 4, 0.0), stops=False).kinds] for n in (20, 400)}
    declared = [kind[4] for kind in DEFAULT_PRIORS.kinds]
    moved = {n: sum(abs(a - b) for a, b in zip(w, declared, strict=True)) for n, w in weights.items()}
    assert moved[20] < 1.1 < moved[400]


def test_a_fitted_policy_brings_its_tables() -> None:
    policy = fit(choices(100, 6, 0.05))
    belief, terms = VotingBelief(1), Terms(0.02, 1.0, 1 << 20, policy.priors())
    way, made = belief.best(terms), belief.best(replace(terms, priors=replace(policy.priors(), stops="")))
    assert way.net(terms) == pytest.approx(made.net(terms), abs=2e-3)
    assert policy.priors().stops
    assert len(policy.model_dump_json(indent=2)) < 300_000


def test_ballots_of_a_group() -> None:
    row = tuple(Draw(i, k, k or None, k == "a") for i, k in enumerate(["a", "b", "", "c", "b", ""]))
    assert ballots_of(row) == (1, (2, 1), 2)
    assert ballots_of((Draw(0, None, None, True), Draw(1, "a", "a", True))) is None


def test_what_no_kind_can_bring_about_counts_as_what_is_nearest() -> None:
    assert seen(2, (3, 2, 1)) == (2, (3, 2, 1))
    assert seen(2, (3, 2, 1, 1)) == (2, (3, 1, 1, 1, 1))
    assert seen(0, (2, 1, 1, 1, 1)) == (0, (2, 1, 1, 1, 1))


def test_likelihoods_of_labelled_groups_sum_to_one() -> None:
    """All groups of three draws, with the ways in which each comes about: under every kind of either sort."""
    ways = {
        (3, (), 0): 1,
        (2, (1,), 0): 3,
        (1, (2,), 0): 3,
        (1, (1, 1), 0): 3,
        (0, (3,), 0): 1,
        (0, (2, 1), 0): 3,
        (0, (1, 1, 1), 0): 1,
        (2, (), 1): 3,
        (1, (1,), 1): 6,
        (0, (2,), 1): 3,
        (0, (1, 1), 1): 3,
        (1, (), 2): 3,
        (0, (1,), 2): 3,
        (0, (), 3): 1,
    }
    for kind in DEFAULT_PRIORS.kinds[::7]:
        alone = tuple((*other[:4], float(other == kind)) for other in DEFAULT_PRIORS.kinds)
        total = sum(n * np.exp(-log_loss(Counter({group: 1}), alone)) for group, n in ways.items())
        assert total == pytest.approx(1, abs=1e-6)


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


def test_a_constant_verifier_is_said_to_tell_nothing() -> None:
    bank = planted(40, 4, 0.5)
    said = {(*group, d.sample_index): {"flat": Scored(0.5, 0, 0)} for group, row in bank.draws.items() for d in row}
    policy = fit(Bank(bank.questions, bank.draws, verdicts=said), stops=False)
    assert "tells nothing" in str(policy.provenance["verifier flat"])
    assert "0.5" in str(policy.provenance["verifier flat"])


def test_the_provenance_says_what_it_was_fitted_on() -> None:
    facts = fit(planted(40, 4, 0.5), parts=(), stops=False).provenance
    assert (facts["datasets"], facts["models"], facts["draws"]) == ("d", "m", 160)
    assert len(str(facts["questions_hash"])) == 64
    assert "held_out_log_loss" not in facts


def test_one_question_in_two_folds_is_refused() -> None:
    bank = planted(40, 4, 0.5)
    twice = {name: replace(q, text="the same") if name in ("q0", "q1") else q for name, q in bank.questions.items()}
    with pytest.raises(CallerError, match=r"fold 0.*fold 1"):
        fit(Bank(twice, bank.draws))


def test_a_part_that_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownName, match="part of a policy"):
        fit(planted(40, 4, 0.5), parts=["luck"])
