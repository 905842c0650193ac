"""A sweep's figures are those of the plan under the replay driver, vote by vote and question by question."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.core.errors import CallerError
from satisfice.experiments import Bank, Draw, Question, fit
from satisfice.experiments.measuring import Job, measure
from satisfice.experiments.replaying import BankTariff
from satisfice.experiments.sweeping import Sweep, Vote, sweep_votes
from satisfice.strategies import SelfConsistency

ANSWERS = ("right", "b", "c", "d", "e", None)


@st.composite
def banks(draw: st.DrawFn) -> Bank:
    """Up to six questions of one to nine draws each; some draws think and say nothing."""
    questions, rows = {}, {}
    for i in range(draw(st.integers(1, 4))):
        few = draw(st.integers(1, len(ANSWERS)))
        keys = draw(st.lists(st.sampled_from(ANSWERS[-few:]), min_size=1, max_size=9))
        questions[f"q{i}"] = Question(f"q{i}", "d", f"question {i}", "right", "text", (), i % 2)
        rows[f"q{i}", "m", "a"] = tuple(
            Draw(j, k or "", k, k == "right", 1, 1, 900 + 17 * i + j, text=k or ("<think>hm" if j % 3 else "-"))
            for j, k in enumerate(keys)
        )
    return Bank(questions, rows)


def regular(count: int = 60, draws: int = 8) -> Bank:
    """Questions of mixed difficulty with as many draws each."""
    questions, rows = {}, {}
    for i in range(count):
        keys = [ANSWERS[(i * 7 + j * j * (i % 5)) % (1 + i % 6)] for j in range(draws)]
        questions[f"q{i}"] = Question(f"q{i}", "d", f"question {i}", "right", "text", (), i % 5)
        rows[f"q{i}", "m", "a"] = tuple(Draw(j, k or "", k, k == "right", 1, 1, 1000) for j, k in enumerate(keys))
    return Bank(questions, rows)


def check(bank: Bank, sweep: Sweep, resamples: int, seed: int) -> None:
    """Every vote of a sweep against the plan."""
    tariff = BankTariff(bank, {"m": "a"})
    for i, vote in enumerate(sweep.votes):
        strategy = SelfConsistency(samples=vote.samples, most=vote.most)
        budget = Budget(calls=bank.most, worth=vote.worth, wrong=vote.wrong)
        policies, tariffs = dict.fromkeys(bank.folds, vote.policy), dict.fromkeys(bank.folds, tariff)
        job = Job(bank, {"m": "a"}, strategy, sweep.questions, budget, policies, tariffs, (), resamples, seed)
        for j, runs in enumerate(measure(job, walking=False).runs.values()):
            count = len(runs)
            came = sum(r.right for r in runs), sum(r.answered for r in runs), sum(r.calls for r in runs)
            swept = sweep.right[i, j], sweep.answered[i, j], sweep.calls[i, j]
            assert [x * count for x in swept] == pytest.approx(came, abs=1e-9)
            assert sweep.usd[i, j] == pytest.approx(sum(r.usd for r in runs) / count, rel=1e-12)


@settings(max_examples=25)
@given(
    banks(),
    st.lists(st.sampled_from([1e-6, 1e-5, 3e-5, 1e-4, 1e-3, inf]), min_size=1, max_size=3),
    st.integers(0, 50),
)
def test_a_sweep_is_the_plan_at_every_worth(bank: Bank, worths: list[float], seed: int) -> None:
    votes = [
        *map(Vote, worths),
        Vote(2e-5, wrong=2e-5),
        Vote(1e-4, wrong=5e-5),
        Vote(1e-4, samples=3, wrong=1e-4),
        Vote(1e-4, most=4),
    ]
    check(bank, sweep_votes(bank, votes, resamples=3, seed=seed), 3, seed)


def test_a_sweep_is_the_plan_under_fitted_policies() -> None:
    bank = regular()
    whole = fit(bank)
    policies = [whole, whole.model_copy(update={"stops": ""})]
    votes = [Vote(worth, policy) for policy in policies for worth in np.geomspace(2e-6, 2e-3, 5)]
    check(bank, sweep_votes(bank, votes, resamples=2, seed=7), 2, 7)


def test_more_votes_change_nothing_and_nets_add_up() -> None:
    bank = regular(30)
    votes = [Vote(float(w)) for w in np.geomspace(1e-6, 1e-2, 40)]
    together = sweep_votes(bank, votes, resamples=5)
    for i in (0, 17, 39):
        alone = sweep_votes(bank, [votes[i]], resamples=5)
        assert np.array_equal(alone.right[0], together.right[i])
        assert np.array_equal(alone.usd[0], together.usd[i])
    assert (np.diff(together.calls.mean(axis=1)) >= 0).all()  # the dearer an answer, the more is drawn
    assert together.calls.mean(axis=1)[-1] > together.calls.mean(axis=1)[0]
    net = together.net(2e-5, 1e-5)
    wrong = together.answered - together.right
    np.testing.assert_allclose(net, together.right * 2e-5 - wrong * 1e-5 - together.usd, atol=0)


def test_what_cannot_be_swept_is_refused() -> None:
    bank = regular(4)
    unknown = Bank(bank.questions, {k: (Draw(0, None, None, True, nanos=1),) for k in bank.draws})
    with pytest.raises(CallerError, match="answers and costs"):
        sweep_votes(unknown, [Vote()])
    two = Bank(bank.questions, {**bank.draws, **{(q, "n", a): row for (q, _, a), row in bank.draws.items()}})
    with pytest.raises(CallerError, match="one model and arm"):
        sweep_votes(two, [Vote()])
    assert np.array_equal(sweep_votes(two, [Vote()], model="m").right, sweep_votes(bank, [Vote()]).right)
    assert isinstance(sweep_votes(bank, [Vote(policy=Policy())]), Sweep)
