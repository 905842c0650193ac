"""Workflows: the language, what is refused, and how one runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.budgets.budget import Budget
from satisfice.core.completions import Params
from satisfice.core.effects import Sample
from satisfice.core.errors import ModelRefused
from satisfice.core.plans import Strategy
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.run import Run
from satisfice.strategies.workflow import Workflow
from satisfice.strategies.workflows.caps import Caps
from satisfice.strategies.workflows.filling import filled
from satisfice.testing.driver import Script, balanced, make_run, offline
from satisfice.testing.strategy import StrategyContract
from satisfice.verifiers import Check

QUERY = "How much is 1 + 1?"
DRAFT = {"do": "sample", "as": "draft"}
THOUGHT = {"do": "sample", "candidate": False, "prompt": "PLAN for $query", "as": "plan"}
FLOWS: dict[str, Any] = {
    "one": DRAFT,
    "thought first": [THOUGHT, {"do": "sample", "prompt": "Follow: $plan"}],
    "thoughts only": [THOUGHT, THOUGHT],
    "panel": [
        {
            "do": "parallel",
            "as": "drafts",
            "branches": [DRAFT, {"do": "sequence", "steps": [THOUGHT, DRAFT]}, {"do": "sample", "role": "a critic"}],
        },
        {"do": "sample", "prompt": "Merge these:\n$drafts"},
    ],
    "nested": [
        {"do": "strategy", "name": "self_consistency", "settings": {"samples": 2}, "share": 0.5},
        {"do": "within", "share": 0.5, "seconds": 20, "steps": [DRAFT, {"do": "strategy", "name": "single_shot"}]},
        {"do": "strategy", "name": "single_shot", "ask": "What is meant by: $query", "as": "meant"},
        {"do": "sample", "prompt": "$meant"},
    ],
    "loop": [
        {"do": "loop", "most": 3, "until": {"agreement": 0.7, "votes": 2}, "steps": [DRAFT, {"do": "verify"}]},
        {
            "do": "if",
            "when": {"passed": True},
            "then": {"do": "vote"},
            "else": [{"do": "sample", "prompt": "No: $best"}],
        },
        {"do": "vote", "of": ["draft"]},
    ],
}


def half(task: Task, candidate: Candidate) -> Verdict:
    return Verdict(0.6 if candidate.key == "1" else 0.4)


class Judge:
    """A check that asks a model."""

    name = "judge"

    def needs(self, task: Task) -> tuple[Sample, ...]:
        return (Sample(task.messages, None, None, Params(max_tokens=4)),)

    def __call__(self, task: Task, candidate: Candidate) -> Any:
        reply = yield from self.needs(task)[0]
        return Verdict(0.9 if "1" in reply.text else 0.2, evidence="a judge said so")


CHECKS: dict[str, tuple[Any, ...]] = {
    "no checks": (),
    "exact": (Check(lambda n: n == 2),),
    "graded": (half,),
    "judge": (Judge(), Check(lambda n: n != 0)),
}


class TestWorkflow(StrategyContract):
    @pytest.fixture(params=FLOWS)
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return Workflow.of({"steps": FLOWS[request.param]})

    @pytest.fixture(params=CHECKS)
    def task(self, request: pytest.FixtureRequest) -> Task:
        return Task.of(QUERY, "number", checks=CHECKS[request.param])


class TestCommittedWorkflow(StrategyContract):
    @pytest.fixture
    def strategy(self) -> Strategy:
        return Workflow.of({"steps": FLOWS["panel"]}, committed=True)


def run(flow: Any, script: Script, task: Task | None = None, budget: Budget | float = 1.0, **options: Any) -> Run:
    done = offline(make_run(Workflow.of(flow, **options), task or Task.of(QUERY, "number"), budget), script)
    balanced(done)
    return done


def answer_of(done: Run) -> tuple[str | None, str]:
    assert done.outcome is not None
    answer = done.outcome.answer
    return (answer.candidate.answer if answer and answer.candidate else None), (answer.reason if answer else "")


# -- running ------------------------------------------------------------------------------------------------------


def test_later_prompts_hold_what_earlier_steps_said() -> None:
    script = Script(text=lambda asked, seed: "count on your fingers" if asked.startswith("PLAN") else "Answer: 2")
    done = run([THOUGHT, {"do": "sample", "role": "a solver", "prompt": "Do this: $plan"}], script)
    assert script.asked[0] == f"PLAN for {QUERY}"
    assert script.asked[1].startswith(f"You are a solver.\n\n{QUERY}\n\nDo this: count on your fingers\n\nEnd with")
    assert answer_of(done)[0] == "2"
    assert done.outcome and [c.answer for c in done.outcome.found] == ["2"]  # a thought is no candidate


@pytest.mark.parametrize("odd", ["$", "$$5", "${", "${no such}", "$5.00", "$nobody", "{{ query }}", "%s {0} $(ls)"])
def test_what_is_no_placeholder_stays_as_it_is(odd: str) -> None:
    script = Script()
    run({"steps": {"do": "sample", "prompt": f"$query: {odd}"}}, script)
    assert script.asked[0].startswith(f"{QUERY}: {odd.replace('$$', '$')}")


def test_what_a_model_said_is_no_placeholder_and_carries_no_control_tokens() -> None:
    script = Script(text=lambda asked, seed: "<|im_end|>$query $best" if "PLAN" in asked else "Answer: 2")
    run([THOUGHT, {"do": "sample", "prompt": "$plan!"}], script)
    assert "< |im_end|>$query $best!" in script.asked[1]


def test_a_revision_goes_before_its_draft() -> None:
    script = Script(text=lambda asked, seed: "Answer: 3" if "wrong" in asked else "Answer: 2")
    done = run([DRAFT, {"do": "sample", "prompt": "This is wrong: $draft"}], script)
    assert answer_of(done) == ("3", "revised")


def test_but_not_where_a_check_refutes_it() -> None:
    script = Script(text=lambda asked, seed: "Answer: 3" if "wrong" in asked else "Answer: 4")
    task = Task.of(QUERY, "number", checks=(Check(lambda n: n != 3), half))
    assert answer_of(run([DRAFT, {"do": "sample", "prompt": "wrong: $draft"}], script, task))[0] == "4"


def test_it_ends_with_the_first_answer_that_passes_every_check() -> None:
    script = Script({}, text=lambda asked, seed: "Answer: 2")
    done = run([DRAFT, DRAFT, DRAFT], script, Task.of(QUERY, "number", checks=CHECKS["exact"]))
    assert answer_of(done) == ("2", "verified")
    assert len(script.asked) == 1


def test_branches_vote_and_one_that_fails_does_not_end_the_rest() -> None:
    def text(asked: str, seed: int) -> Any:
        return ModelRefused("no") if "bad" in asked else "Answer: 9" if "odd" in asked else "Answer: 2"

    branches = [{"do": "sample", "prompt": p} for p in ("bad", "odd", "x", "y")]
    done = run([{"do": "parallel", "branches": branches, "as": "all"}, {"do": "if", "when": {"says": {"all": "[3]"}},
                "then": {"do": "vote"}}], Script(text=text))  # fmt: skip
    assert answer_of(done)[0] == "2"


def test_too_few_branches_are_a_failed_step_and_the_next_one_goes_on() -> None:
    def text(asked: str, seed: int) -> Any:
        return ModelRefused("no") if "bad" in asked else "Answer: 2"

    flow = [{"do": "parallel", "at_least": 2, "branches": [{"do": "sample", "prompt": "bad"}, DRAFT]}, DRAFT]
    assert answer_of(run(flow, Script(text=text)))[0] == "2"


def test_all_failing_ends_with_the_fault() -> None:
    down = Script(text=lambda asked, seed: ModelRefused("no"))  # type: ignore[arg-type, return-value]
    done = run([DRAFT, {"do": "parallel", "branches": [DRAFT, DRAFT]}], down)
    assert answer_of(done)[0] is None
    assert isinstance(done.error, Exception)


@pytest.mark.parametrize(
    "flow",
    [
        [{"do": "strategy", "name": "single_shot"}],
        [{"do": "within", "steps": [DRAFT]}],
        [{"do": "parallel", "branches": [{"do": "strategy", "name": "self_consistency"}, DRAFT]}],
        [THOUGHT, {"do": "strategy", "name": "single_shot"}],
        [THOUGHT, {"do": "within", "steps": [THOUGHT, DRAFT]}],
    ],
)
def test_where_all_that_were_to_answer_fail_the_cause_is_the_run_s(flow: Any) -> None:
    down = Script(text=lambda a, s: "a plan" if "PLAN" in a else ModelRefused("no credit"))  # type: ignore[arg-type, return-value]
    done = run(flow, down)
    assert answer_of(done)[0] is None and "no credit" in str(done.error)


def test_a_strategy_with_nothing_to_give_is_no_fault() -> None:
    flow = [{"do": "strategy", "name": "best_of_n", "settings": {"samples": 1}}]
    done = run(flow, Script(text=lambda a, s: "Answer: 3"), Task.of(QUERY, "number", checks=(Check(lambda n: n == 2),)))
    assert answer_of(done) == (None, "unverified") and done.error is None


@pytest.mark.parametrize(("worth", "most"), [(8e-4, 3), (3e-3, 8), (1.0, 30)])
def test_of_many_branches_as_many_are_asked_as_are_worth_it(worth: float, most: int) -> None:
    flow = [{"do": "parallel", "branches": [{"do": "sample"}] * 30}]
    script = Script(text=lambda a, s: f"Answer: {s}")
    done = run(flow, script, budget=Budget(usd=1, worth=worth))
    assert done.outcome is not None and done.outcome.answer is not None
    assert 1 <= len(script.asked) <= most and (most < 30 or len(script.asked) == 30)


def test_of_many_branches_as_many_are_asked_as_can_be_paid_but_never_fewer_than_it_takes() -> None:
    flow = {"do": "parallel", "branches": [{"do": "sample"}] * 5}
    script = Script(text=lambda a, s: "Answer: 2")
    run([flow], script, budget=Budget(calls=3), committed=True)
    assert len(script.asked) == 3
    script.asked.clear()
    run([{**flow, "at_least": 4}], script, budget=Budget(calls=3), committed=True)
    assert not script.asked


def test_a_prompt_does_not_grow_beyond_its_bounds() -> None:
    flow = [THOUGHT, {"do": "sample", "prompt": "$plan$query" * 5_000}]
    script = Script(text=lambda a, s: "word " * 10_000 if "PLAN" in a else "Answer: 2")
    run(flow, script, committed=True)
    assert QUERY in script.asked[1] and len(script.asked[1]) < 60_000


def test_a_prompt_is_filled_as_a_template() -> None:
    assert filled("$$ $a ${a} $b $", "Q", {"a": "x"}) == "Q\n\n$ x x $b $"
    assert filled("${query}: $query", "Q", {}) == "Q: Q"


def test_a_loop_ends_with_its_condition_or_its_cap() -> None:
    flow = [{"do": "loop", "most": 6, "until": {"votes": 3}, "steps": DRAFT}]
    script = Script(text=lambda asked, seed: "Answer: 2")
    run(flow, script, committed=True)
    assert len(script.asked) == 3
    count = iter(range(99))
    script = Script(text=lambda asked, seed: f"Answer: {next(count)}")
    run(flow, script, committed=True)
    assert len(script.asked) == 6


def test_a_model_written_review_steers_a_loop() -> None:
    def text(asked: str, seed: int) -> str:
        if "REVIEW" in asked:
            return "Fine: ACCEPT" if "seven" in asked else "too short"
        return "It is seven. Answer: 7" if "too short" in asked else "Answer: 6"

    review = {"do": "sample", "candidate": False, "prompt": "REVIEW $draft", "as": "review"}
    revise = {"do": "sample", "prompt": "Better, because $review", "as": "draft"}
    script = Script(text=text)
    good = {"says": {"review": "accept"}}
    steps = [review, {"do": "if", "when": {"not": good}, "then": revise}]
    done = run([DRAFT, {"do": "loop", "most": 4, "until": good, "steps": steps}], script, committed=True)
    assert answer_of(done)[0] == "7"
    assert len(script.asked) == 4


def test_defined_steps_are_called_with_the_names_so_far() -> None:
    flow = {"steps": [THOUGHT, {"do": "call", "workflow": "solve", "as": "a"}, {"do": "sample", "prompt": "again $a"}],
            "define": {"solve": [{"do": "sample", "prompt": "use $plan"}]}}  # fmt: skip
    script = Script(text=lambda asked, seed: "abc" if "PLAN" in asked else "Answer: 2")
    run(flow, script)
    assert "use abc" in script.asked[1] and "again Answer: 2" in script.asked[2]


def test_strategies_and_shares_run_inside_and_parts_answer_their_own_question() -> None:
    script = Script(
        text=lambda asked, seed: "blue whale" if "animal" in asked and "1 + 1" not in asked else "Answer: 2"
    )
    part = {"do": "strategy", "name": "single_shot", "ask": "Which animal is meant? $plan$query", "as": "animal"}
    done = run([part, {"do": "within", "share": 0.5, "steps": [{"do": "sample", "prompt": "It is: $animal"}]}], script)
    assert answer_of(done)[0] == "2"
    assert done.outcome and [c.answer for c in done.outcome.found] == ["2"]


def test_a_judge_is_asked_where_the_workflow_says_so() -> None:
    task = Task.of(QUERY, "number", checks=(Judge(),))
    script = Script(text=lambda asked, seed: "1" if asked == QUERY else "Answer: 5")
    run([DRAFT], script, task, committed=True)
    assert QUERY not in script.asked
    run([DRAFT, {"do": "verify"}, {"do": "verify"}], script, task, committed=True)
    assert script.asked.count(QUERY) == 1  # of one answer it is asked once


def test_it_stops_where_more_is_not_worth_it_unless_it_is_committed() -> None:
    flow = [DRAFT] * 5
    poor = Budget(usd=1, worth=2e-3)
    script = Script(text=lambda asked, seed: "Answer: 2")
    assert run(flow, script, budget=poor).outcome.reason == "value"  # type: ignore[union-attr]
    assert 1 <= len(script.asked) < 5
    script.asked.clear()
    run(flow, script, budget=poor, committed=True)
    assert len(script.asked) == 5


def test_known_answers_count_but_are_no_branch_s_own() -> None:
    known = Candidate("Answer: 7", "7", "7", path="a9")
    down = Script(text=lambda asked, seed: ModelRefused("no"))  # type: ignore[arg-type, return-value]
    flow = {"do": "parallel", "branches": [{"do": "sequence", "steps": [DRAFT]}], "as": "all"}
    done = run([flow], down, Task.of(QUERY, "number", known=(known,)))
    assert answer_of(done)[0] == "7"


# -- any workflow -------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
PROMPTS = st.sampled_from(["", "$query", "$a then $b", "$best $answers $evidence", "${", "$5 {{x}}\nmore", "\u2028é\t"])
CONDITIONS = st.one_of(
    st.fixed_dictionaries({"votes": st.integers(1, 3)}),
    st.fixed_dictionaries({"agreement": st.floats(0, 1), "not": st.just({"answered": False})}),
    st.fixed_dictionaries({"any": st.just([{"passed": True}, {"says": {"a": "1"}}])}),
)


def _samples() -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"do": st.just("sample"), "prompt": PROMPTS, "candidate": st.booleans()}, optional={"as": NAMES}
    )


def _larger(steps: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(steps, min_size=1, max_size=3)
    return st.one_of(
        st.fixed_dictionaries({"do": st.just("sequence"), "steps": several}, optional={"as": NAMES}),
        st.fixed_dictionaries({"do": st.just("parallel"), "branches": several}, optional={"as": NAMES}),
        st.fixed_dictionaries({"do": st.just("if"), "when": CONDITIONS, "then": several}, optional={"else": several}),
        st.fixed_dictionaries(
            {"do": st.just("loop"), "most": st.integers(1, 3), "steps": several, "until": CONDITIONS}
        ),
        st.fixed_dictionaries({"do": st.just("within"), "share": st.sampled_from([0.3, 1.0]), "steps": several}),
        st.fixed_dictionaries({"do": st.just("vote")}, optional={"of": st.lists(NAMES, max_size=2)}),
        st.just({"do": "verify"}),
        st.just({"do": "call", "workflow": "sub"}),
        st.fixed_dictionaries({"do": st.just("strategy"), "name": st.just("single_shot")}, optional={"ask": PROMPTS}),
    )


STEPS = st.lists(st.recursive(_samples(), _larger, max_leaves=8), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    steps=STEPS,
    sub=st.lists(_samples(), min_size=1, max_size=2),
    checks=st.sampled_from(list(CHECKS)),
    seed=st.integers(0, 9),
)
def test_any_workflow_reads_back_runs_ends_and_keeps_its_caps(steps: Any, sub: Any, checks: str, seed: int) -> None:
    caps = Caps(buys=2_000, depth=30)
    flow = Workflow.of({"steps": steps, "define": {"sub": sub}}, caps=caps, committed=True)
    assert Workflow.of(flow.to_yaml(), caps=caps, committed=True) == flow
    script = Script(text=lambda asked, seed: ("Answer: 1", "hm", "Answer: 2", "$a ${b}")[seed % 4])
    task = Task.of(QUERY, "number", checks=CHECKS[checks])
    done = offline(make_run(flow, task, 100.0, seed=seed), script)
    balanced(done)
    assert done.error is None and done.outcome is not None
    judged = script.asked.count(QUERY)  # by the judge; a step is asked for with the answer form
    assert len(script.asked) - judged <= flow.buys
    best = done.outcome.answer.candidate if done.outcome.answer else None
    assert best is None or best.key is not None
