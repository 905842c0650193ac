"""What `fit` learns of stopping beside the votes: hopeless requests, and what draws under a verifier did."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from satisfice.budgets.beliefs import ExactBelief, misses
from satisfice.budgets.checking import DrawBelief
from satisfice.budgets.evidence import Evidence, posterior
from satisfice.budgets.policy import Policy
from satisfice.core.belief import Channel, Priors, Terms
from satisfice.experiments.bank import Bank, Draw, Question, Scored
from satisfice.experiments.chaining import _judged, _kept, _parts, _Walks
from satisfice.experiments.chances import fit_chances, mixture
from satisfice.experiments.fitting import beta_binomial, fit
from satisfice.experiments.posteriors import leaders

GRID = (0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2)


def counted(thetas: np.ndarray, draws: int, seed: int) -> dict[int, Counter[tuple[int, int]]]:
    wins = np.random.default_rng(seed).binomial(draws, thetas)
    return {fold: Counter((int(won), draws) for won in wins[fold::5]) for fold in range(5)}


def regrets(priors: Priors, thetas: np.ndarray) -> list[float]:
    """Points of worth that the rule with these priors loses against the best number of tries, for each cost."""
    alive = np.asarray([np.mean((1 - thetas) ** k) for k in range(101)])
    spent = np.concatenate([[0.0], np.cumsum(alive[:-1])])
    missed, found = misses(priors, 0, 100), []
    for cost in GRID:
        net = 1 - alive - cost * spent
        tries = next((k for k, lost in enumerate(missed) if 1 - lost <= cost), 100)
        found.append(100 * float(net.max() - net[tries]))
    return found


@pytest.mark.parametrize("beta", [(0.5, 2.0), (0.07, 1.05), (2.0, 2.0)])
def test_with_a_prior_from_500_questions_little_is_lost(beta: tuple[float, float]) -> None:
    dice = np.random.default_rng(1)
    by_fold = counted(dice.beta(*beta, 500), 8, 2)
    chances = fit_chances(by_fold)
    assert chances == ()  # a Beta it is
    learnt = Priors((), beta_binomial(sum(by_fold.values(), Counter())))
    lost = regrets(learnt, dice.beta(*beta, 100_000))
    assert sum(lost) / len(lost) <= 0.2
    assert max(lost) <= 0.5


def test_hopeless_requests_are_told_from_hard_ones() -> None:
    dice = np.random.default_rng(3)

    def world(n: int) -> np.ndarray:
        return np.where(dice.random(n) < 0.5, 0.0, dice.beta(4.0, 4.0, n))

    by_fold = counted(world(500), 8, 4)
    chances = fit_chances(by_fold)
    assert sum(weight for theta, weight in chances if theta < 0.05) == pytest.approx(0.5, abs=0.06)
    assert sum(weight for _, weight in chances) == pytest.approx(1)
    beta = Priors((), beta_binomial(sum(by_fold.values(), Counter())))
    thetas = world(100_000)
    assert np.mean(regrets(replace(beta, chances=chances), thetas)) < 0.25 * np.mean(regrets(beta, thetas))
    # After some failures it folds, where the Beta goes on.
    at = Terms(1.0, 0.03, 99, replace(beta, chances=chances))
    assert ExactBelief(0).best(at).size == 1
    assert ExactBelief(8).best(at).size == 0
    assert ExactBelief(8).best(replace(at, priors=beta)).size == 1


def test_the_mixture_s_chances_are_bayes() -> None:
    priors = Priors((), chances=((0.0, 0.5), (0.5, 0.3), (1.0, 0.2)))
    first, second, third = misses(priors, 0, 3)
    assert first == pytest.approx(0.5 + 0.15)
    assert second == pytest.approx((0.5 + 0.075) / 0.65)
    assert misses(priors, 2, 1) == pytest.approx((third,))
    assert misses(priors, 5000, 1)[0] == pytest.approx(1.0)
    assert misses(Priors((), chances=((1.0, 1.0),)), 1, 2) == (1.0, 1.0)  # it cannot have failed: nothing is hoped for
    rows = mixture(Counter({(0, 8): 50, (8, 8): 50}))
    assert sum(weight for theta, weight in rows if 0.2 < theta < 0.8) < 0.05


def bank(n: int, draws: int = 6, seed: int = 0) -> Bank:
    """Questions with a shared difficulty; a verifier that scores right answers higher, and easy questions too."""
    dice = np.random.default_rng(seed)
    questions, rows, verdicts = {}, {}, {}
    for i in range(n):
        name = f"q{i}"
        questions[name] = Question(name, "made", f"What is {name}?", "0", "number", (), i % 5)
        theta, made = dice.beta(1.0, 2.0), []
        for j in range(draws):
            right = bool(dice.random() < theta)
            answer = "0" if right else str(1 + int(dice.integers(4)))
            made.append(Draw(j, answer, answer, right, 10, 10, 1000))
            score = float(1 / (1 + np.exp(-(dice.normal(1.5 if right else -1.0) + theta))))
            verdicts[name, "m", "a", j] = {"judge": Scored(round(score, 4))}
        rows[name, "m", "a"] = tuple(made)
    return Bank(questions, rows, verdicts=verdicts)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return fit(bank(160), stops=False)


def test_fit_learns_the_chain_of_a_verifier(policy: Policy) -> None:
    chain = policy.chains["judge"]
    assert chain.questions == 160
    assert len(chain.right) == 7
    assert all(list(row) == sorted(row) for row in chain.right)
    assert fit(bank(40), stops=False).chains == {}  # too few questions
    at = Terms(0.01, 1.0, 9, policy.priors())
    start = DrawBelief((), ("judge",)).best(at)
    assert start.size == 1
    assert 1 < start.cost < 6


def test_draws_with_verdicts_go_on_past_the_recorded_ones_where_they_cost_next_to_nothing(policy: Policy) -> None:
    many = (Evidence(6, (("judge", 0.4),)),)
    assert DrawBelief(many, ("judge",)).best(Terms(1e-9, 1.0, 99, policy.priors())).size == 1
    assert DrawBelief(many, ("judge",)).best(Terms(0.2, 1.0, 99, policy.priors())).size == 0


def walks(n: int, stuck: float, seed: int = 0, draws: int = 8) -> _Walks:
    """A leader that rises from p = .2 to .8 (and is right as often) with chance .4 a draw, but for stuck questions."""
    dice = np.random.default_rng(seed)
    moving = dice.random((n, 1, 1)) >= stuck
    risen = np.cumsum((dice.random((n, 2, draws)) < 0.4) & moving, axis=2) > 0
    p = np.where(risen, 0.8, 0.2) + 1e-3 * dice.random((n, 2, draws))
    right = (dice.random((n, 2, 1)) < p).astype(float)
    return _Walks(p, right)


def test_a_chain_learns_which_of_its_promises_are_kept() -> None:
    parts = _parts([i % 10 for i in range(400)])
    kept = {stuck: _judged(walks(400, stuck), parts, 0.0, False)[0].kept for stuck in (0.0, 0.6)}
    assert kept[0.0] > 0.8
    assert kept[0.6] < 0.6  # the pooled chance of rising is no chance of the stuck ones


def test_promises_are_believed_where_too_few_questions_speak_against_them() -> None:
    promised = np.full(200, 0.2)
    came = np.where(np.arange(200) % 20 == 0, 1.0, 0.0)
    assert _kept(promised, came) == pytest.approx(0.25)
    assert _kept(promised, promised) == 1.0
    assert _kept(promised[:6], np.array([1.0, 0, 0, 0, 0, 0])) == 1.0
    assert _kept(np.zeros(5), np.zeros(5)) == 1.0
    assert 0 < _kept(promised, -came) < 0.1  # never none: a price over the share must stay a price


@pytest.mark.parametrize("seed", range(4))
def test_posteriors_of_many_states_at_once_are_those_of_each(seed: int) -> None:
    dice = np.random.default_rng(seed)
    channel = Channel(((0.2, 0.6), (0.8, 0.4)), 0.4, 1.0)
    priors = replace(Policy().priors(), channels={"v": channel})
    states = [
        tuple(
            Evidence(
                int(dice.integers(1, 30)),
                (("v", float(dice.random())),) if dice.random() < 0.6 else (),
                bool(dice.random() < 0.1),
            )
            for _ in range(dice.integers(1, 7))
        )
        for _ in range(60)
    ]
    best, chance = leaders(states, priors)
    for answers, i, p in zip(states, best, chance, strict=True):
        now = posterior(answers, priors)
        assert now.p(now.leader) == pytest.approx(p, rel=1e-9)
        assert now.p(int(i)) == pytest.approx(p, rel=1e-9)
    assert [len(found) for found in leaders([], priors)] == [0, 0]
