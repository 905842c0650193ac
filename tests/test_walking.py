"""Votes by counting are the plan's own runs, figure by figure; what counts do not tell is left to the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.experiments import Bank, Draw, Question, fit, measuring
from satisfice.experiments.measuring import Job, jobs_of, measure
from satisfice.experiments.replaying import BankTariff
from satisfice.strategies import SelfConsistency, SingleShot

ANSWERS = ("right", "b", "c", "d", "e", None)
PLAIN: list[Any] = [
    SelfConsistency(),
    SelfConsistency(most=4),
    SelfConsistency(samples=5),
    SelfConsistency(window=2),
    SelfConsistency(samples=6, window=3),
    SingleShot(),
]


@st.composite
def banks(draw: st.DrawFn) -> Bank:
    """Up to eight questions of one to nine draws each, not as many of each; some draws think and say nothing."""
    questions, rows = {}, {}
    for i in range(draw(st.integers(1, 8))):
        few = draw(st.integers(1, len(ANSWERS)))
        keys = draw(st.lists(st.sampled_from(ANSWERS[-few:]), min_size=1, max_size=9))
        questions[f"q{i}"] = Question(f"q{i}", "d", f"question {i}", "right", "text", (), i % 2)
        rows[f"q{i}", "m", "a"] = tuple(
            Draw(
                j,
                k or "",
                k,
                k == "right",
                1 + i,
                1 + j,
                900 + 17 * i + j,
                text=k or ("<think>hm" if j % 3 else "-"),
                seconds=j / 8,
            )
            for j, k in enumerate(keys)
        )
    return Bank(questions, rows)


def job_of(bank: Bank, strategy: Any, budget: Budget, policy: Policy | None = None, **more: Any) -> Job:
    tariff = BankTariff(bank, {"m": "a"}, verifiers=more.get("verifiers", ()))
    policies, tariffs = dict.fromkeys(bank.folds, policy or Policy()), dict.fromkeys(bank.folds, tariff)
    return Job(bank, {"m": "a"}, strategy, tuple(bank.questions), budget, policies, tariffs, resamples=6, **more)


@settings(max_examples=60)
@given(
    banks(),
    st.sampled_from(PLAIN),
    st.sampled_from([None, 1e-6, 1e-5, 1e-4, 1e-3]),
    st.sampled_from([0.0, 1e-5]),
    st.sampled_from([3, 9]),
    st.integers(0, 50),
)
def test_counting_gives_the_runs_of_the_plan(
    bank: Bank, strategy: Any, worth: float | None, wrong: float, calls: int, seed: int
) -> None:
    job = job_of(bank, strategy, Budget(calls=calls, worth=worth, wrong=wrong), seed=seed)
    assert measure(job) == measure(job, walking=False)


def test_it_does_so_under_a_fitted_policy() -> None:
    bank = real()
    policy = fit(bank, stops=False)
    for strategy in PLAIN:
        job = job_of(bank, strategy, Budget(calls=12, worth=1e-4), policy)
        assert measure(job) == measure(job, walking=False)


def test_plans_are_run_for_few_of_the_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real_run = measuring.run_on
    monkeypatch.setattr(measuring, "run_on", lambda *a, **k: asked.append(a) or real_run(*a, **k))
    job = job_of(real(), SelfConsistency(), Budget(calls=12, worth=1e-4))
    runs = sum(map(len, measure(job).runs.values()))
    assert runs == 6 * 60
    assert len(asked) < runs / 4
    measure(job)
    assert len(asked) < runs / 4  # the second time everything is known


@pytest.mark.parametrize(
    "budget", [Budget(usd=4e-6), Budget(calls=9, tokens=40), Budget(calls=9, seconds=2.0)], ids=["usd", "tokens", "s"]
)
def test_what_depends_on_these_very_draws_is_left_to_the_plan(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real_run = measuring.run_on
    monkeypatch.setattr(measuring, "run_on", lambda *a, **k: asked.append(a) or real_run(*a, **k))
    part = measure(job_of(real(10), SelfConsistency(), budget))
    assert len(asked) == sum(map(len, part.runs.values())) == 60


def test_other_strategies_and_unknown_costs_are_left_to_the_plan() -> None:
    bank = real(10)
    free = replace(bank, draws={k: tuple(replace(d, nanos=None) for d in row) for k, row in bank.draws.items()})
    for job in (
        job_of(bank, SelfConsistency(weights="confidence"), Budget(calls=9)),
        job_of(free, SelfConsistency(), Budget(calls=9)),
    ):
        assert all(measuring._walk(job, measuring.Deck.of(job.bank, q, job.arms)) is None for q in job.questions)
        assert measure(job) == measure(job, walking=False)


def test_chunks_make_no_difference() -> None:
    bank = real()
    for strategy in (SelfConsistency(), SelfConsistency(weights="confidence")):
        job = job_of(bank, strategy, Budget(calls=12, worth=1e-4))
        whole = measure(job)
        for size in (1, 7, 64):
            parts = [measure(chunk) for chunk in jobs_of(job, size)]
            assert {q: runs for part in parts for q, runs in part.runs.items()} == whole.runs


def real(count: int = 60) -> Bank:
    """Questions of mixed difficulty with eight draws each."""
    questions, rows = {}, {}
    for i in range(count):
        keys = [ANSWERS[(i * 7 + j * j * (i % 5)) % (1 + i % 6)] for j in range(8)]
        questions[f"q{i}"] = Question(f"q{i}", "d", f"question {i}", "right", "text", (), i % 5)
        rows[f"q{i}", "m", "a"] = tuple(Draw(j, k or "", k, k == "right", 1, 1, 1000) for j, k in enumerate(keys))
    return Bank(questions, rows)
