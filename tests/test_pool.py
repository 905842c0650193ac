"""The candidate pool of a plan, and what a run hands from one strategy to the next."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.checking import DrawBelief
from satisfice.budgets.rounds import RoundsBelief
from satisfice.budgets.voting import VotingBelief
from satisfice.core.belief import Priors, Terms
from satisfice.core.effects import Gather, Sample, Score, Within
from satisfice.core.plans import Answer, Outcome, Plan
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Judgement, Verdict
from satisfice.scheduler.offline import perform
from satisfice.strategies import BestOfN, Cascade, Fusion, SelfConsistency, SingleShot
from satisfice.strategies.pool import Pool
from satisfice.strategies.prompting import thinking
from satisfice.testing.belief import BeliefContract
from satisfice.testing.driver import Script, ask, make_run
from satisfice.verifiers.check import Check


def one(key: str | None, path: str = "a1") -> Candidate:
    return Candidate(f"Answer: {key}", key, key, path=path)


def told(plan: Plan[Any], *verdicts: Verdict) -> tuple[Any, int]:
    """What a plan of checks returns, and how many it made. Verdicts are given in order, the last again and again."""
    left, asked = list(verdicts), 0
    try:
        effect = next(plan)
        while True:
            assert isinstance(effect, Score)
            asked += 1
            effect = plan.send(left.pop(0) if len(left) > 1 else left[0])
    except StopIteration as end:
        return end.value, asked


def graded(task: Task, candidate: Candidate) -> Verdict:
    return Verdict(0.5)


def exact(task: Task, candidate: Candidate) -> Verdict:
    return Verdict(1.0, exact=True)


def test_votes_decide_without_checks() -> None:
    pool = Pool.of(Task.of("?", "number"))
    told(pool.take_all([one("2"), None, one(None), one("3"), one("3"), Candidate("hm", thought=True)]), Verdict(0.5))
    answer = pool.answer()
    assert answer is not None
    assert answer.candidate is not None
    assert (answer.candidate.key, answer.reason) == ("3", "agreed")
    assert pool.belief == VotingBelief(2, 1, 0, 1)
    assert (pool.votes, pool.blanks) == (3, 1)


def test_equal_answers_are_checked_once_and_the_refuted_are_never_given() -> None:
    pool = Pool.of(Task.of("?", "number", checks=(exact,)))
    refuted, asked = told(pool.take_all([one("2"), one("2", "a2"), one("2", "a3")]), Verdict(0.0, exact=True))
    assert (refuted, asked) == (None, 1)
    assert pool.answer() is None
    assert pool.end().reason == "unverified"
    passed, _ = told(pool.take(one("4", "a4")), Verdict(1.0, exact=True))
    assert passed.passed
    answer = pool.answer()
    assert answer is not None
    assert answer.reason == "verified"


def test_a_verdict_that_was_paid_for_is_not_bought_again() -> None:
    task = Task.of("?", "number", checks=(graded,)).knowing(
        (one("2"), one("3", "a2")), (Judgement("graded", "a1", Verdict(0.9, 0.8)),)
    )
    pool = Pool.of(task)
    _, asked = told(pool.start(), Verdict(0.1))
    assert asked == 1
    assert pool.judged["2"].said == {0: ("graded", 0.8)}
    assert isinstance(pool.belief, DrawBelief)


def test_two_checks_of_one_name_are_not_mistaken_for_each_other() -> None:
    def other(task: Task, candidate: Candidate) -> Verdict:
        return Verdict(0.5)

    other.__name__ = "graded"
    task = Task.of("?", "number", checks=(graded, other)).knowing(
        (one("2"),), (Judgement("graded", "a1", Verdict(0.9)),)
    )
    _, asked = told(Pool.of(task).start(), Verdict(0.1))
    assert asked == 2


class Rubric:
    """A judge like the next one by name; each says what it asks a model for."""

    name = "judge"

    def __init__(self, says: float) -> None:
        self.says = says

    def needs(self, task: Task) -> tuple[Sample, ...]:
        return (thinking_of(f"judge {self.says}"),)

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        yield from self.needs(task)[0]
        return Verdict(self.says)


def thinking_of(text: str) -> Sample:
    return ask(text, candidate=False)


@pytest.mark.parametrize(
    "strategy", [Cascade((BestOfN(samples=1), SelfConsistency(samples=1))), Fusion((BestOfN(samples=1),), "vote")]
)
def test_two_checks_of_one_name_are_paid_once_each(strategy: Any) -> None:
    checks = (Rubric(0.3), Rubric(0.6))
    script = Script(text=lambda asked, seed: "Answer: 1")
    run = perform(make_run(strategy, Task.of("?", "number", checks=checks), Budget(usd=1, worth=float("inf"))), script)
    assert sorted(asked for asked in script.asked if asked.startswith("judge")) == ["judge 0.3", "judge 0.6"]
    told = {(j.verifier, j.verdict.score) for j in run.verdicts.told}
    assert told == {("judge#1", 0.3), ("judge#2", 0.6)}


def test_verdicts_of_checks_alike_are_told_apart() -> None:
    def other(task: Task, candidate: Candidate) -> Verdict:
        return Verdict(0.5)

    def judge(task: Task, candidate: Candidate) -> Verdict:
        return Verdict(0.5)

    other.__name__ = "judge"
    checks = (judge, graded, other)
    pool = Pool.of(
        Task.of("?", "number", checks=checks).knowing((one("2"),), (Judgement("judge#2", "a1", Verdict(0.6)),))
    )
    _, asked = told(pool.start(), Verdict(0.1))
    assert asked == 2
    assert pool.judged["2"].said == {0: ("judge", 0.1), 1: ("graded", 0.1), 2: ("judge", 0.6)}
    assert {j.verifier for j in pool.onward().judged} == {"judge#1", "judge#2", "graded"}


def test_an_outcome_is_taken_up_with_its_answer() -> None:
    pool = Pool.of(Task.of("?", "number"))
    told(pool.absorb(Outcome(Answer(one("9", "b")), (one("2"), one("2", "a2")))), Verdict(0.5))
    assert {key: judged.count for key, judged in pool.judged.items()} == {"2": 2, "9": 1}


# -- through a run ----------------------------------------------------------------------------------------------------


def test_thoughts_are_no_candidates() -> None:
    def plan(task: Task) -> Generator[Any, Any, Answer]:
        yield from Gather((ask("think", candidate=False), ask("answer")))
        return Answer((yield from ask("more")))

    run = perform(make_run(plan), Script())
    assert run.outcome
    assert len(run.outcome.found) == 2
    assert run.root.purse.posted[2] == 3


def test_what_a_part_finds_stays_there() -> None:
    seen: list[Outcome] = []

    def plan(task: Task) -> Generator[Any, Any, Answer]:
        for part in (True, False):
            seen.append((yield from Within(SelfConsistency(samples=2), task, part=part)))
        return Answer(seen[0].candidate)

    run = perform(make_run(plan), Script())
    assert run.outcome
    assert [len(outcome.found) for outcome in seen] == [2, 2]
    assert [c.path for c in run.outcome.found] == [c.path for c in seen[1].found]


def test_an_outcome_tells_what_was_said_and_how_likely_it_is() -> None:
    seen: list[Outcome] = []

    def inner(task: Task) -> Generator[Any, Any, Answer]:
        pool = Pool.of(task)
        from satisfice.core.effects import Offer

        sample = ask("one")
        yield from Offer(None, RoundsBelief(0, 1), (sample,))
        yield from pool.take((yield from sample))
        return pool.end()

    def plan(task: Task) -> Generator[Any, Any, Answer]:
        seen.append((yield from Within(inner, task)))
        pool = Pool.of(task)
        yield from pool.absorb(seen[0])
        return pool.end()

    calls: list[str] = []

    def check(value: float) -> bool:
        calls.append("check")
        return value == 7

    task = Task.of("?", "number", checks=(Check(check),))
    run = perform(make_run(plan, task), Script({"one": "Answer: 7"}))
    assert [(j.verifier, j.verdict.score) for j in seen[0].judged] == [("check", 1.0)]
    assert calls == ["check"]
    assert run.outcome
    assert run.outcome.answer
    assert run.outcome.answer.reason == "verified"


def test_a_strategy_within_is_priced_by_what_it_needs() -> None:
    run = make_run(SingleShot())
    from satisfice.scheduler.tariff import first_sample, quote_step

    task = Task.of("How much is 1 + 1?", "number")
    one_call = quote_step(run.tariff, SingleShot().needs(task))
    three = quote_step(run.tariff, (Within(SelfConsistency(samples=3), task),))
    assert three.worst.calls == 3
    assert three.worst.nanos == 3 * quote_step(run.tariff, (SelfConsistency().needs(task)[0],)).worst.nanos
    assert one_call.worst.calls == 1
    assert isinstance(first_sample((Within(SingleShot(), task),)), Sample)


def test_a_thought_has_no_task() -> None:
    sample = thinking(Task.of("What?", "text", prompts={"plan": "Plan: {{ query }} {{ more }}"}), "plan", None,
                      SingleShot().params, more="now")  # fmt: skip
    assert sample.task is None
    assert sample.messages[-1].content == "Plan: What? now"


# -- rounds -----------------------------------------------------------------------------------------------------------


class TestRounds(BeliefContract):
    @pytest.fixture(params=[(0, None), (2, VotingBelief(1)), (5, VotingBelief(3, 1))])
    def belief(self, request: pytest.FixtureRequest) -> RoundsBelief:
        stalled, evidence = request.param
        return RoundsBelief(stalled, 8, evidence)


def terms(price: float) -> Terms:
    return Terms(price, 0.001, 100, Priors(((0.9, 0.02, 0.5), (0.2, 0.3, 0.5))))


def test_rounds_stop_when_they_stop_helping() -> None:
    gains = [RoundsBelief(stalled, 10, VotingBelief(1)).best(terms(50)).gain for stalled in range(8)]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > gains[-1]
    assert RoundsBelief(30, 10, VotingBelief(1)).best(terms(50)).size == 0
    assert RoundsBelief(0, 0).best(terms(0)).size == 0


def test_the_surer_the_answer_the_less_a_round_is_worth() -> None:
    sure, unsure = (RoundsBelief(0, 5, VotingBelief(n)).best(terms(1)).gain for n in (3, 1))
    assert 0 < sure < unsure


def test_no_two_tenants_share_a_memory() -> None:
    from satisfice.scheduler.records import scopes_of

    pairs = [("a/b", "c"), ("a", "b/c"), ("a", "b"), ("", "a/b"), ("a/b",), ("1:a", "b")]
    assert len({scopes_of("r", pair)["session"] for pair in pairs}) == len(pairs)
