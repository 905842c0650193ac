"""Auto: which arm next, by one belief about all of them; candidates of all arms in one pool."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from satisfice import Engine, Price
from satisfice.budgets.asking import AskBelief
from satisfice.budgets.beliefs import Unstarted
from satisfice.budgets.budget import Budget
from satisfice.budgets.evidence import Evidence
from satisfice.budgets.lumping import HEAVIEST, lumped, near
from satisfice.budgets.policy import Policy
from satisfice.budgets.portfolio import ArmBelief, Portfolio
from satisfice.core.belief import Terms
from satisfice.core.completions import Message, Params
from satisfice.core.effects import Choose, Offer, Sample, Within
from satisfice.core.errors import CallerError, ModelRefused
from satisfice.core.plans import Answer, Plan, Strategy
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.models import ScriptedModel
from satisfice.scheduler.decisions import informed, judge, settled_terms, weighed
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.strategies import Auto, BestOfN, SelfConsistency, SingleShot, TreeSearch
from satisfice.strategies.arms import arm_key, armed, drawing, repeats
from satisfice.strategies.auto import _Allocation
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


# -- what is left to choose from -------------------------------------------------------------------------------------


def scripted(*replies: Any, judge: str = "Score: 4", **prices: float) -> tuple[Engine, list[ScriptedModel]]:
    """An engine with one model for each of `replies`, "a", "b", ..., and a judge "j"."""
    names = [*"abcdefg"[: len(replies)], "j"]
    models = [ScriptedModel(reply) for reply in (*replies, [judge])]
    engine = Engine(names[:-1], journal=False)
    for name, model in zip(names, models, strict=True):
        each = prices.get(name, 10.0)
        engine.register(name, model, Price.per_million(each, each))
    return engine, models


def greedy(*models: str) -> Auto:
    return Auto(tuple(SingleShot(model=model) for model in models))


@pytest.mark.anyio
async def test_a_judge_that_costs_is_one_of_the_choices_among_several_arms() -> None:
    engine, models = scripted(["Answer: 42"], ["Answer: 42"])
    async with engine:
        found = await engine.solve("6 * 7?", answer="number", checks=['judge:model="j"'], budget=1.0)
    assert found.answer == "42"
    assert any(row.name == "ask judge" for one in found.decisions for row in one.alternatives)
    assert models[0].requests


@pytest.mark.anyio
async def test_verdicts_are_asked_for_after_the_last_arm() -> None:
    engine, models = scripted(["Answer: 1"], ["Answer: 2"])
    async with engine:
        budget = Budget(usd=5.0, worth=1.0)
        await engine.solve("?", answer="number", checks=['judge:model="j"'], budget=budget, strategy=greedy("a", "b"))
    assert [len(model.requests) for model in models[:2]] == [1, 1]
    assert models[2].requests


@pytest.mark.anyio
async def test_a_greedy_model_alone_is_asked_once() -> None:
    engine, models = scripted(lambda request, i: f"Answer: {i}")
    async with engine:
        found = await engine.solve("?", answer="number", strategy=greedy("a"), budget=Budget(usd=5.0, worth=1000.0))
    assert len(models[0].requests) == 1
    assert found.answer == "0"


@pytest.mark.parametrize("options", [2, 4])
@pytest.mark.anyio
async def test_a_choice_without_an_option_left_is_over(options: int) -> None:
    def reply(request: Any, i: int) -> str:
        return f"Answer: {'ABCD'[i % options]}"

    engine, models = scripted(reply, reply, b=100.0)
    choices = list("ABCD"[:options])
    async with engine:
        found = await engine.solve(
            "?", answer="choice", choices=choices, checks=[lambda value: False], budget=Budget(usd=1.0, worth=1.0)
        )
    assert found.answer is None
    assert found.stop_reason == "unverified"
    assert sum(len(model.requests) for model in models) < 4 * options


@pytest.mark.anyio
async def test_an_arm_that_begins_with_blanks_is_out() -> None:
    engine, models = scripted(["I cannot say."], ["No idea.", "No idea.", "Answer: 3"], a=1.0)
    async with engine:
        found = await engine.solve("?", answer="number", budget=Budget(usd=1.0, worth=1.0))
    assert len(models[0].requests) == 3
    assert len(models[1].requests) >= 3  # one that gave an answer in time goes on
    assert found.answer == "3"


@pytest.mark.anyio
async def test_where_nobody_gives_a_readable_answer_it_ends_soon() -> None:
    engine, models = scripted(["I cannot say."], ["No idea."])
    async with engine:
        found = await engine.solve("?", answer="number", budget=Budget(usd=1.0, worth=1.0))
    assert found.stop_reason == "unreadable"
    assert [len(model.requests) for model in models[:2]] == [3, 3]


def test_a_decision_among_many_different_answers_looks_at_few(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task.of("A word?", "text")
    state = _Allocation(Auto((*DRAWS, SingleShot()), ("a", "b", "c"), most=40), task)
    words = [f"word {i}" for i in range(100)] + ["often"] * 5 + ["word 41"]
    for i, word in enumerate(words):
        with pytest.raises(StopIteration):
            next(state._take(i % 3, Candidate(word, word, word)))
    portfolio, terms = state.portfolio(), Terms(1.0, 0.001, 10, Policy().priors(), others=(0.001,) * 3)
    answer = state.answer()
    assert answer is not None
    assert [one.key for one in answer.among] == list(state.pool.judged)
    assert len(portfolio.chances(terms)) == 101  # the answer is picked among all of them
    seen: list[int] = []
    jointly = Portfolio.jointly

    def counted(self: Portfolio, terms: Any) -> Any:
        seen.append(len(self.said))
        return jointly(self, terms)

    monkeypatch.setattr(Portfolio, "jointly", counted)
    ways = [(option.name, option.belief, terms) for _, option in state.options()]
    _, _, rows = judge(ways)
    weighed(ways, rows)
    assert len(state.pool.judged) == 101
    assert seen
    assert max(seen) <= HEAVIEST + 1


@pytest.mark.parametrize("every", [2, 3, 30])
def test_what_is_looked_at_keeps_its_chances(every: int) -> None:
    votes = tuple((i % 2, 0 if i % every == 0 else i) for i in range(30))
    said = tuple(Evidence(sum(a == j for _, a in votes)) for j in range(30))
    whole = Portfolio(("x", "y"), votes, (*said[:5], replace(said[5], refuted=True), *said[6:]))
    terms = [Terms(1.0, cost, 10, Policy().priors(), others=(0.001, 0.01)) for cost in (0.001, 0.01)]
    few = near(whole, terms)
    assert len(few.said) == HEAVIEST + 1
    assert sum(one.count for one in few.said) == sum(one.count for one in whole.said)
    assert few.p(terms[0]) == pytest.approx(whole.p(terms[0]), abs=1e-9)
    heaviest = sorted(whole.chances(terms[0]), reverse=True)[:HEAVIEST]
    assert sorted(few.chances(terms[0]), reverse=True)[:HEAVIEST] == pytest.approx(heaviest)
    assert few.chances(terms[0])[HEAVIEST] == 0.0
    assert near(few, terms) is few


def test_few_answers_keep_their_places() -> None:
    assert lumped([1.0] * 9) == tuple(range(9))
    assert lumped([0.0, 2.0, 1.0, 5.0], 2) == (2, 0, 2, 1)
    assert lumped([1.0] * 4, 2) == (0, 1, 2, 2)
    assert lumped([]) == ()


def test_a_verdict_is_weighed_at_what_the_arms_cost() -> None:
    portfolio = Portfolio(("cheap", "dear"), ((0, 0), (1, 1)), (Evidence(1), Evidence(1)), left=(0, 4))
    ask = AskBelief(portfolio, 0, ("judge",))
    prior = Policy().priors()
    arms = [(str(i), ArmBelief(portfolio, i), Terms(1.0, cost, 8, prior)) for i, cost in enumerate((0.0001, 0.01))]
    found = informed([*arms, ("ask", ask, Terms(1.0, 0.001, 8, prior))])
    assert found[2][2].others == (0.0001, 0.01)
    assert ask.p(found[2][2]) == portfolio.p(settled_terms(found, 0))
    assert portfolio.pick(found[2][2]) == 1  # the dear one's word
    assert [terms.steps for _, _, terms in found] == [0, 8, 8]  # the first is used up
