"""Auto: which arm next, by one belief about all of them; candidates of all arms in one pool."""

from __future__ import annotations

from typing import Any

import pytest

from satisfice.budgets.beliefs import Unstarted
from satisfice.budgets.budget import Budget
from satisfice.core.completions import Message, Params
from satisfice.core.effects import Choose, Offer, Sample, Within
from satisfice.core.errors import CallerError, ModelRefused
from satisfice.core.plans import Answer, Plan, Strategy
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.strategies import Auto, BestOfN, SelfConsistency, SingleShot, TreeSearch
from satisfice.strategies.arms import arm_key, armed, drawing, repeats
from satisfice.strategies.registry import strategy_of
from satisfice.testing.driver import Script, make_run
from satisfice.testing.strategy import StrategyContract
from satisfice.verifiers import Check

WARM = Params(temperature=0.7)
DRAWS: tuple[Strategy, ...] = (SingleShot(params=WARM), SingleShot(params=WARM, effort="high"))


class TestAuto(StrategyContract):
    @pytest.fixture(params=["bare", "one", "draws", "mixed"])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        arms: dict[str, tuple[Strategy, ...]] = {
            "bare": (),
            "one": (SelfConsistency(samples=2),),
            "draws": DRAWS,
            "mixed": (DRAWS[0], SelfConsistency(samples=3)),
        }
        return Auto(arms[request.param], most=4)


class TestAutoWithChecks(StrategyContract):
    @pytest.fixture(params=[DRAWS, (DRAWS[1], BestOfN(samples=2))])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return Auto(request.param, most=4)

    @pytest.fixture(params=["exact", "graded", "both"])
    def task(self, request: pytest.FixtureRequest) -> Task:
        exact = Check(lambda n: n == 2)
        checks: dict[str, Any] = {"exact": (exact,), "graded": (graded,), "both": (exact, graded)}
        return Task.of("How much is 1 + 1?", "number", checks=checks[request.param])


def graded(task: Task, candidate: Candidate) -> Verdict:
    return Verdict(0.9 if candidate.key == "1" else 0.2)


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


def told(asked: str, seed: int) -> Any:
    word = asked[4:].split(" | ")[0] if asked.startswith("say ") else "7"
    return ModelRefused("no") if word == "fail" else f"Answer: {word}"


def done(strategy: Strategy, *checks: Any, **budget: Any) -> tuple[Run, list[str], str | None]:
    script = Script(text=told)
    task = Task.of("How much is 1 + 1?", "number", checks=checks)
    run = perform(make_run(strategy, task, Budget(**{"usd": 1.0, **budget})), script)
    assert run.outcome is not None
    answer = run.outcome.answer
    asked = [line[4:].split(" | ")[0] for line in script.asked]
    return run, asked, answer.candidate.key if answer and answer.candidate else None


def test_with_nothing_to_choose_it_is_what_there_is() -> None:
    task = Task.of("1 + 1?", "number")
    checked = Task.of("1 + 1?", "number", checks=(Check(lambda n: True),))
    assert Auto()._only(task) == SelfConsistency(params=WARM, most=32)
    assert Auto((SingleShot(model="a", params=WARM),))._only(checked) == BestOfN(model="a", params=WARM, most=32)
    tree = TreeSearch()
    assert Auto((tree,))._only(task) is tree
    assert Auto((tree, SingleShot()))._only(task) is None


def test_each_purchase_is_a_choice_between_all_arms() -> None:
    task = Task.of("How much is 1 + 1?", "number")
    arms = (SingleShot(params=WARM), SelfConsistency(samples=3), SingleShot())
    plan = Auto(arms, ("warm", "three", "greedy"))(task)
    effect = plan.send(None)
    assert isinstance(effect, Choose)
    assert [option.name for option in effect.options] == ["warm", "three", "greedy"]
    assert isinstance(effect.options[0].step[0], Sample)
    assert isinstance(effect.options[1].step[0], Within)
    plan.close()


def test_candidates_of_all_arms_are_pooled() -> None:
    run, asked, key = done(Auto((Told("2"), Told("2"), Told("3")), ("a", "b", "c")), worth=1e9)
    assert run.outcome is not None
    assert key == "2"
    assert {candidate.key for candidate in run.outcome.found} >= {"2"}
    assert len(asked) >= 2


def test_an_arm_that_fails_leaves_the_others() -> None:
    _, asked, key = done(Auto((Told("fail"), Told("4")), ("bad", "good")), worth=1e9)
    assert key == "4"
    assert "4" in asked


def test_where_every_arm_fails_the_run_says_which_and_why() -> None:
    run, _, key = done(Auto((Told("fail"), Told("fail")), ("x", "y")), worth=1e9)
    assert key is None
    assert run.error is not None
    assert "every arm failed" in str(run.error)
    assert "x:" in str(run.error)
    assert "y:" in str(run.error)


def test_an_exact_pass_ends_it() -> None:
    run, _, key = done(Auto((Told("3"), Told("2"), Told("5")), ("a", "b", "c")), Check(lambda n: n == 2), worth=1e9)
    assert key == "2"
    assert run.outcome is not None
    assert run.outcome.answer is not None
    assert run.outcome.answer.reason == "verified"


def test_keys_name_arms_by_strategy_settings_and_models() -> None:
    assert arm_key(SingleShot(model="gpt-4", params=WARM)) == "single_shot@gpt-4"
    assert arm_key(SingleShot(model="o4", effort="high")) == 'single_shot:effort="high"@o4'
    assert arm_key(SelfConsistency(samples=3, model="m")) == "self_consistency:samples=3@m"


def test_a_policy_knows_more_ways_than_draws() -> None:
    known = (
        "single_shot@a",
        'single_shot:effort="high"@a',
        "self_consistency:samples=3@b",
        "cot@a",
        "single_shot@gone",
    )
    arms = armed(("a", "b"), known, strategy_of)
    assert [arm_key(arm) for arm in arms] == [
        "single_shot@a",
        "single_shot@b",
        'single_shot:effort="high"@a',
        "self_consistency:samples=3@b",
    ]
    assert all(repeats(arm) for arm in arms if drawing(arm))


def test_a_greedy_draw_is_drawn_once() -> None:
    assert drawing(SingleShot())
    assert not repeats(SingleShot())
    assert not drawing(SingleShot(waits=1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"arms": (SingleShot(), SingleShot())}, "two arms"),
        ({"arms": (SingleShot(),), "names": ("a", "b")}, "2 names for 1 arms"),
        ({"arms": ("single_shot",)}, "is text"),
        ({"most": 0}, "most"),
        ({"share": 2}, "share"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(CallerError, match=said):
        Auto(**settings)
