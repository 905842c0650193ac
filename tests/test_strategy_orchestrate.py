"""Orchestrate: a model writes the workflow; what it writes is checked, repaired once, or done without."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.core.errors import CallerError, ModelRefused
from satisfice.core.plans import Strategy
from satisfice.core.task import Task
from satisfice.scheduler.run import Run
from satisfice.strategies.orchestrate import Orchestrate
from satisfice.strategies.registry import address_of, find, models_of, settings_of
from satisfice.testing.driver import MODEL, Script, balanced, make_run, offline
from satisfice.testing.strategy import StrategyContract
from satisfice.verifiers import Check

QUERY = "How much is 1 + 1?"
PLAN = {"do": "sample", "candidate": False, "role": "a planner", "prompt": "SPLIT $query", "as": "parts"}
SOLVE = {"do": "sample", "prompt": "SOLVE $parts"}
GOOD = json.dumps({"steps": [PLAN, SOLVE]})
CALL = {"do": "call", "workflow": "a"}
WRITTEN: dict[str, str] = {
    "good": GOOD,
    "fenced": f"Sure!\n```json\n{GOOD}\n```\nThis will work.",
    "panel": json.dumps({"steps": [{"do": "parallel", "branches": [SOLVE, SOLVE]}, {"do": "vote"}]}),
    "prose": "The answer is 2.",
    "cut off": GOOD[:60],
}


def writes(*texts: str) -> Script:
    """A model that writes these workflows one by one, and says "Answer: 2" to everything else."""
    left = list(texts)

    def text(asked: str, seed: int) -> str:
        if "Write a plan of work" in asked:
            return left.pop(0) if len(left) > 1 else left[0]
        return "first 1, then 1" if "SPLIT" in asked else "Answer: 2"

    return Script(text=text)


class _Written(StrategyContract):
    """The contract where the model writes a workflow whenever it is asked for one."""

    def finish(self, run: Run, script: Any, drive: Any = offline) -> Run:
        if isinstance(script, Script) and type(script) is Script:
            plain, flow = script.text, WRITTEN["panel"]
            script = Script(text=lambda a, s: flow if "Write a plan of work" in a else plain(a, s))
        return super().finish(run, script, drive)


class TestOrchestrate(StrategyContract):
    @pytest.fixture(params=[0, 1])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return Orchestrate(repairs=request.param)

    @pytest.fixture(params=["plain", "checked"])
    def task(self, request: pytest.FixtureRequest) -> Task:
        return Task.of(QUERY, "number", checks=(Check(lambda n: n == 2),) if request.param == "checked" else ())


class TestOrchestrateThatWrites(_Written):
    @pytest.fixture
    def strategy(self) -> Strategy:
        return Orchestrate(models=(MODEL,))


def run(script: Script, task: Task | None = None, **options: Any) -> Run:
    done = offline(make_run(Orchestrate(**options), task or Task.of(QUERY, "number")), script)
    balanced(done)
    return done


def answer_of(done: Run) -> tuple[str | None, str]:
    assert done.outcome is not None and done.outcome.answer is not None
    answer = done.outcome.answer
    return (answer.candidate.answer if answer.candidate else None), answer.reason


@pytest.mark.parametrize("kind", ["good", "fenced", "panel"])
def test_what_is_written_is_run(kind: str) -> None:
    script = writes(WRITTEN[kind])
    assert answer_of(run(script)) == ("2", "orchestrated")
    if kind != "panel":
        assert script.asked[1].startswith(f"You are a planner.\n\nSPLIT {QUERY}")
        assert "SOLVE first 1, then 1" in script.asked[2]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("The answer is 2.", "no JSON object with `steps`"),
        (GOOD[:60], "the JSON breaks off"),
        ('{"steps": [{"do": "dance"}]}', r"steps[0].do: "),
        ('{"steps": [{"do": "sample", "model": "gpt-9"}]}', "'gpt-9' is not allowed here, leave `model` out"),
        ('{"steps": [{"do": "strategy", "name": "orchestrate"}]}', "'orchestrate' is not allowed inside"),
        ('{"steps": [{"do": "strategy", "name": "os:system", "settings": {}}]}', "unknown strategy"),
        (json.dumps({"steps": [CALL], "define": {"a": [CALL]}}), "calls itself"),
        (json.dumps({"steps": [SOLVE] * 25}), "25 steps, at most 24"),
        (json.dumps({"steps": {"do": "loop", "most": 4, "steps": [SOLVE] * 5}}), "20 purchases, at most 16"),
    ],
)  # fmt: skip
def test_a_mistake_goes_back_to_its_writer_once(broken: str, said: str) -> None:
    script = writes(broken, GOOD)
    assert answer_of(run(script)) == ("2", "orchestrated_repaired")
    assert said in script.asked[1]
    assert broken[:50] in script.asked[1]
    script = writes(broken)
    assert answer_of(run(script)) == ("2", "fallback")
    assert len(script.asked) == 3


def test_models_may_be_named_from_the_list_only() -> None:
    step = json.dumps({"steps": [{"do": "sample", "model": "m"}]})
    script = writes(step)
    assert answer_of(run(script, models=("m", "n")))[1] == "orchestrated"
    assert '"model": one of ["m", "n"]' in script.asked[0]
    with pytest.raises(CallerError, match="allowed: n"):
        Orchestrate(models=("n",)).read(step)


def test_a_workflow_of_thoughts_answers_with_its_last_step() -> None:
    script = writes(json.dumps({"steps": [PLAN, {**SOLVE, "candidate": False}]}))
    assert answer_of(run(script)) == ("2", "orchestrated")
    assert "End with a line" in script.asked[-1] and "End with a line" not in script.asked[-2]


def test_a_workflow_that_comes_to_nothing_falls_back() -> None:
    def text(asked: str, seed: int) -> Any:
        if "Write a plan of work" in asked:
            return GOOD
        return ModelRefused("no") if "SOLVE" in asked or "SPLIT" in asked else "Answer: 2"

    assert answer_of(run(Script(text=text))) == ("2", "fallback")


def test_a_fallback_that_a_check_refutes_is_not_given() -> None:
    done = run(writes("no"), Task.of(QUERY, "number", checks=(Check(lambda n: n == 5),)))
    assert answer_of(done)[0] is None


def test_the_writer_failing_falls_back_and_all_failing_is_the_fault() -> None:
    def text(asked: str, seed: int) -> Any:
        return ModelRefused("no") if "Write a plan of work" in asked else "Answer: 2"

    assert answer_of(run(Script(text=text))) == ("2", "fallback")
    assert isinstance(run(Script(text=lambda a, s: ModelRefused("no"))).error, ModelRefused)  # type: ignore[arg-type, return-value]


def test_a_verified_answer_says_so() -> None:
    done = run(writes(GOOD), Task.of(QUERY, "number", checks=(Check(lambda n: n == 2),)))
    assert answer_of(done) == ("2", "verified")


def test_it_is_found_again_from_its_settings() -> None:
    made = Orchestrate(model="a", models=("b", "c"), repairs=2)
    assert find(address_of(made), **json.loads(json.dumps(settings_of(made)))) == made
    assert set(models_of(made)) == {"a", "b", "c"}
    with pytest.raises(CallerError, match="repairs"):
        Orchestrate(repairs=-1)


KEYS = st.sampled_from(["do", "steps", "prompt", "branches", "as", "candidate"]) | st.text()


def _nested() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["sample", "parallel"])
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), _nested().map(json.dumps)))
def test_whatever_a_model_writes_is_a_workflow_or_a_caller_error(text: str) -> None:
    try:
        flow = Orchestrate().read(text)
    except CallerError:
        return
    assert flow.buys <= 16


@pytest.mark.parametrize(
    "step",
    [
        {"name": "react"},
        {"name": "single_shot", "settings": {"params": [1]}},
        {"name": "single_shot", "settings": {"params": "x"}},
        {"name": "single_shot", "settings": {"model": 5}},
        {"name": "single_shot", "settings": {"model": {"@": "subprocess:Popen", "args": ["true"]}}},
        {"name": "experts", "settings": {"gate": {"weights": [["a"]]}}},
        {"name": "tree_search", "settings": {"value": {"votes": 1}}},
        {"name": "best_of_n"},
    ],
)
def test_whatever_is_written_there_is_an_answer(step: dict[str, Any]) -> None:
    answer, reason = answer_of(run(writes(json.dumps({"steps": [{"do": "strategy", **step}]}))))
    assert answer == "2" and reason in ("orchestrated", "fallback")


@pytest.mark.parametrize("text", ["[{" * 500_000, "```\n" * 100_000 + "[1," * 20_000, "[1" + ",1" * 500_000])
def test_of_a_flood_only_so_much_is_read(text: str) -> None:
    with pytest.raises(CallerError):
        Orchestrate().read(text)


@pytest.mark.parametrize(
    "options", [{"repairs": 1.5}, {"repairs": -1}, {"models": "abc"}, {"caps": None}, {"params": None}]
)
def test_bad_settings_are_refused(options: Any) -> None:
    with pytest.raises(CallerError):
        Orchestrate(**options)
