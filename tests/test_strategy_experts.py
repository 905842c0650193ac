"""Experts: a gate picks k arms, their answers are weighed by it, and the load is spread."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.beliefs import Unstarted
from satisfice.budgets.budget import Budget
from satisfice.core.completions import Message
from satisfice.core.effects import Offer, Sample, Within
from satisfice.core.errors import CallerError, ModelRefused
from satisfice.core.plans import Answer, Plan, Strategy
from satisfice.core.task import KINDS, Candidate, Contract, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.strategies import BestOfN, Cascade, Experts, SelfConsistency, SingleShot
from satisfice.strategies.gating import BUCKETS, PLAIN, Gate, features, ranking
from satisfice.strategies.registry import address_of, find, models_of, settings_of
from satisfice.testing.driver import FOREVER, Script, make_run
from satisfice.testing.strategy import StrategyContract
from satisfice.verifiers import Check


class Told:
    """An arm that says this: its prompt asks for it."""

    def __init__(self, text: str) -> None:
        self.text, self.name = text, f"told{text}"

    def needs(self, task: Task) -> tuple[Sample, ...]:
        return (Sample((Message("user", f"say {self.text} | {task.query}"),), task),)

    def __call__(self, task: Task) -> Plan[Answer]:
        yield from Offer(None, Unstarted(), self.needs(task))
        candidate = yield from self.needs(task)[0]
        return Answer(candidate if candidate.key is not None else None)


def says(word: int | str) -> Strategy:
    return Told(str(word))


def fixed(*scores: float) -> Gate:
    """A gate that scores arms alike on every question."""
    return Gate(tuple((score, *(0.0,) * (PLAIN - 1)) for score in scores))


ARMS: tuple[Strategy, ...] = (SingleShot(), SelfConsistency(samples=2), SelfConsistency(most=3))


class TestExperts(StrategyContract):
    @pytest.fixture(params=[(1, None), (2, None), (3, fixed(1.0, 0.0, 2.0)), (1, fixed(0.0, 1.0, 0.5))])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return Experts(ARMS, *request.param)


class TestExpertsWithChecks(StrategyContract):
    @pytest.fixture
    def strategy(self) -> Strategy:
        return Experts((BestOfN(samples=2), SingleShot(), Cascade()), 2, fixed(1.0, 0.5, 0.0), 0.8, 30.0)

    @pytest.fixture(params=["exact", "graded", "both"])
    def task(self, request: pytest.FixtureRequest) -> Task:
        exact = Check(lambda n: n == 2)
        checks: dict[str, Any] = {"exact": (exact,), "graded": (graded,), "both": (exact, graded)}
        return Task.of("How much is 1 + 1?", "number", checks=checks[request.param])


def graded(task: Task, candidate: Candidate) -> Verdict:
    return Verdict(0.9 if candidate.key == "1" else 0.2)


def text(asked: str, seed: int) -> Any:
    word = asked[4:].split(" | ")[0]
    return FOREVER if word == "never" else ModelRefused("no") if word == "fail" else f"Answer: {word}"


def done(strategy: Strategy, *checks: Any, **budget: Any) -> tuple[Run, list[str], str | None]:
    script = Script(text=text)
    task = Task.of("How much is 1 + 1?", "number", checks=checks)
    run = perform(make_run(strategy, task, Budget(**{"usd": 1.0, **budget})), script)
    assert run.outcome is not None
    answer = run.outcome.answer
    asked = [line[4:].split(" | ")[0] for line in script.asked]
    return run, asked, answer.candidate.key if answer and answer.candidate else None


def test_the_k_best_answer_and_no_others() -> None:
    arms = (says(1), says(2), says(3), says(4))
    _, asked, key = done(Experts(arms, 2, fixed(0.0, 3.0, 1.0, 2.0)))
    assert (sorted(asked), key) == (["2", "4"], "2")


def test_gate_weights_decide_the_vote() -> None:
    arms = (says(1), says(2), says(2))
    assert done(Experts(arms, 3, fixed(2.0, 1.0, 1.0)))[2] == "1"  # e^2 > 2e
    assert done(Experts(arms, 3, fixed(1.5, 1.0, 1.0)))[2] == "2"


def test_weights_are_those_of_the_arms_that_answered() -> None:
    arms = (says("fail"), says(2), says("never"), says(3))
    run, asked, key = done(Experts(arms, 4, fixed(5.0, 1.0, 9.0, 0.5), seconds=3.0))
    assert key == "2"
    assert len(asked) == 4
    assert run.error is None


def test_checks_weigh_with_the_gate() -> None:
    arms = (says(2), says(1))
    assert done(Experts(arms, 2, fixed(1.0, 0.0)))[2] == "2"
    assert done(Experts(arms, 2, fixed(1.0, 0.0)), graded)[2] == "1"


def test_a_verified_answer_ends_it_and_a_refuted_one_is_never_given() -> None:
    run, _, key = done(Experts((says(1), says(2)), 2, fixed(1.0, 0.0)), Check(lambda n: n == 2))
    assert run.outcome
    assert (key, run.outcome.reason) == ("2", "verified")
    assert done(Experts((says(1), says(3)), 2), Check(lambda n: False))[2] is None


def test_where_the_chosen_fail_the_next_are_asked() -> None:
    arms = (says("fail"), says("x"), says(7))
    run, asked, key = done(Experts(arms, 1, fixed(3.0, 2.0, 1.0)))
    assert (asked, key, run.error) == (["fail", "x", "7"], "7", None)


def test_all_arms_failing_says_why() -> None:
    run, asked, key = done(Experts((says("fail"), says("fail")), 1))
    assert (len(asked), key) == (2, None)
    assert "branches failed" in str(run.error)


def test_untrained_arms_take_turns() -> None:
    firsts = Counter(ranking(None, 4, Task.of(f"question {i}"))[0][0] for i in range(2000))
    assert all(400 < firsts[i] < 600 for i in range(4))
    task = Task.of("the same")
    assert ranking(None, 4, task) == ranking(None, 4, Task.of("the same"))


def test_it_needs_what_its_best_arm_needs() -> None:
    (within,) = Experts((says(1), says(2)), 1, fixed(0.0, 1.0)).needs(Task.of("q", "number"))
    assert isinstance(within, Within)
    (sample,) = within.strategy.needs(within.task)  # type: ignore[attr-defined]
    assert isinstance(sample, Sample)
    assert sample.messages[0].content.startswith("say 2")


@given(st.text(max_size=300), st.sampled_from(KINDS), st.integers(0, 40))
def test_features_are_bounded_and_the_same_each_time(query: str, kind: Any, buckets: int) -> None:
    task = Task.of(query, kind)
    seen = features(task, buckets)
    assert len(seen) == PLAIN + buckets
    assert all(0 <= x <= 20 for x in seen)
    assert seen == features(task, buckets)


def test_features_tell_kinds_of_questions_apart() -> None:
    maths, code = Task.of("What is 3 * (4 + 5) / 2?", "number"), Task.of("def f(x):\n    return x;", "code")
    choice = Task((maths.messages[0],), Contract("choice", ("A", "B")))
    assert len({features(task, BUCKETS) for task in (maths, code, choice)}) == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"arms": ()},
        {"arms": ("single_shot",)},
        {"k": 0},
        {"k": 3},
        {"k": 1.5},
        {"k": True},
        {"gate": "foo"},
        {"arms": (SingleShot,)},
        {"share": "x"},
        {"seconds": float("nan")},
        {"gate": fixed(1.0)},
        {"share": 2.0},
        {"seconds": 0.0},
    ],
)
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match="experts"):
        Experts(**bad)


@pytest.mark.parametrize(
    "weights",
    [
        (),
        ((1.0,),),
        ((0.0,) * PLAIN, (0.0,) * (PLAIN + 1)),
        ((float("nan"),) * PLAIN,),
        (("1",) * PLAIN,),
        ("x" * PLAIN,),
        (None,),
        "foo",
        5,
    ],
)
def test_a_gate_that_is_none_is_refused(weights: Any) -> None:
    with pytest.raises(CallerError, match="Gate"):
        Gate(weights)


def test_a_gate_takes_lists() -> None:
    assert Gate([[0.0] * PLAIN]) == Gate(((0.0,) * PLAIN,))  # type: ignore[arg-type, list-item]


def test_it_is_stored_and_found() -> None:
    arms = (SingleShot(model="a"), SelfConsistency(samples=3, model="b"))
    one = Experts(arms, 2, fixed(1.0, 2.0))
    assert find(address_of(one), **settings_of(one)) == one
    assert models_of(one) == ("a", "b")
