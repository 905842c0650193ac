"""Replay: what was recorded, without replacement, in an order that only the seed decides; nothing is invented."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.budgets.budget import Budget
from satisfice.core.effects import Gather, Sample
from satisfice.core.errors import CallerError, TraceMiss, UnknownName, UnpricedModel
from satisfice.core.plans import Answer, Plan
from satisfice.core.task import Task
from satisfice.experiments.bank import Bank, Draw, Question
from satisfice.experiments.baselines import vote
from satisfice.experiments.replaying import order, replay
from satisfice.strategies import SelfConsistency, SingleShot
from satisfice.strategies.registry import strategy_of

Answers = list[str]
answers = st.lists(st.sampled_from(["A", "B", "C", ""]), min_size=1, max_size=12)
seeds = st.integers(0, 10_000)


def bank_of(said: Answers, model: str = "m", arm: str = "cot", nanos: int | None = 1000) -> Bank:
    """One question whose right answer is A; draw i costs `nanos` + i."""
    row = tuple(
        Draw(i, a, a or None, a == "A", 10, 5 + i, None if nanos is None else nanos + i) for i, a in enumerate(said)
    )
    return Bank({"q": Question("q", "d", "Which?", "A", "choice", ("A", "B", "C"), 0)}, {("q", model, arm): row})


@dataclass(frozen=True)
class Greedy:
    """Draws `waves` of samples of `model`, whatever comes."""

    waves: tuple[int, ...]
    model: str | None = None

    def __call__(self, task: Task) -> Plan[Answer]:
        found = []
        sample = Sample(task.messages, task, self.model)
        for size in self.waves:
            found += yield from Gather((sample,) * size)
        return Answer(found[-1] if found else None)


@given(answers, seeds, st.data())
def test_draws_are_handed_out_once_and_at_their_cost(said: Answers, seed: int, data: st.DataObject) -> None:
    bank = bank_of(said)
    count = data.draw(st.integers(1, len(said)))
    split = data.draw(st.integers(0, count))
    run = replay(bank, "q", Greedy(tuple(n for n in (split, count - split) if n)), seed=seed)
    assert run.outcome is not None
    came = [(c.answer, c.spent.nanos) for c in run.outcome.found]
    whole = [bank.draws["q", "m", "cot"][i] for i in order(len(said), seed, "q", "m", "cot")]
    assert came == [(d.answer or None, d.nanos) for d in whole[:count]]
    assert not Counter(cost for _, cost in came) - Counter(1000 + i for i in range(len(said)))
    assert run.outcome.spent.nanos == sum(cost or 0 for _, cost in came)


@given(answers, seeds, st.integers(1, 12))
def test_a_fixed_vote_is_the_vote_of_the_first_draws(said: Answers, seed: int, samples: int) -> None:
    bank = bank_of(said)
    samples = min(samples, len(said))
    run = replay(bank, "q", SelfConsistency(samples=samples), seed=seed)
    places = order(len(said), seed, "q", "m", "cot")[:samples]
    right, usd, tokens, calls, answered = vote([bank.draws["q", "m", "cot"][i] for i in places])
    assert run.outcome is not None
    candidate = run.outcome.answer.candidate if run.outcome.answer else None
    assert (candidate is not None, candidate is not None and candidate.answer == "A") == (bool(answered), bool(right))
    assert run.outcome.spent.usd == pytest.approx(usd)
    assert (run.outcome.spent.tokens, run.outcome.spent.calls) == (tokens, calls)


@settings(deadline=None, max_examples=50)
@given(answers, seeds)
def test_the_same_seed_gives_the_same_run(said: Answers, seed: int) -> None:
    one, other = (replay(bank_of(said), "q", SelfConsistency(), seed=seed) for _ in range(2))
    assert one.outcome == other.outcome
    assert one.decisions == other.decisions


@given(answers, seeds, st.integers(1, 20))
def test_recorded_draws_are_a_cap(said: Answers, seed: int, calls: int) -> None:
    run = replay(bank_of(said), "q", SelfConsistency(samples=40), budget=Budget(calls=calls), seed=seed)
    assert run.outcome is not None
    assert run.outcome.spent.calls == min(calls, len(said))


def test_what_is_not_recorded_is_a_miss() -> None:
    bank = bank_of(["A", "B"])
    both = Bank(bank.questions, {**bank.draws, ("q", "n", "cot"): bank.draws["q", "m", "cot"][:1]})
    arms = {"m": "cot", "n": "cot"}
    with pytest.raises(TraceMiss, match="1 recorded draws of 'n'"):
        replay(both, "q", Greedy((1, 1), "n"), arms=arms)
    unknown = Bank(bank.questions, {("q", "m", "cot"): (Draw(0, None, None, True),)})
    with pytest.raises(TraceMiss, match="not recorded"):
        replay(unknown, "q", SingleShot())
    with pytest.raises(UnknownName):
        replay(bank, "p", SingleShot())
    with pytest.raises(UnknownName):
        replay(bank, "q", SingleShot(), arms="chain")


@pytest.mark.parametrize("name", ["debate", "reflexion", "tree_search", 'fusion:members=["single_shot","single_shot"]'])
def test_no_draw_on_the_question_stands_for_a_revision(name: str) -> None:
    with pytest.raises(TraceMiss, match="bare question"):
        replay(bank_of(["A", "B"] * 10), "q", strategy_of(name), budget=Budget(calls=20, worth=inf))


def test_arms_do_not_mix() -> None:
    bank = bank_of(["A", "B"])
    two = Bank(bank.questions, {**bank.draws, ("q", "m", "retry"): bank.draws["q", "m", "cot"]})
    with pytest.raises(CallerError, match="do not mix"):
        replay(two, "q", SingleShot())
    assert replay(two, "q", SingleShot(), arms="retry").outcome is not None


def test_dollars_need_prices() -> None:
    bank = bank_of(["A"] * 5, nanos=None)
    with pytest.raises(UnpricedModel):
        replay(bank, "q", SingleShot(), budget=Budget(usd=1.0))
    run = replay(bank, "q", SelfConsistency())  # stops by the proportion of worth to a call's nominal cost
    assert run.outcome is not None
    assert run.outcome.spent.calls < 5


def test_caps_in_dollars_hold() -> None:
    bank = bank_of(["A", "B", "C"] * 3)
    run = replay(bank, "q", SelfConsistency(samples=9), budget=Budget(usd=4000e-9))
    assert run.outcome is not None
    assert run.outcome.spent.nanos <= 4000
    assert run.outcome.reason == "budget_usd"
