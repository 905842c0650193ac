"""Single-shot, with a model's own effort, and with budget forcing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from satisfice.budgets.budget import Budget
from satisfice.core.completions import Completion, Params
from satisfice.core.effects import Sample
from satisfice.core.errors import CallerError, ModelRefused
from satisfice.core.plans import Strategy
from satisfice.core.task import Task
from satisfice.scheduler.nodes import Call, Reply
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.strategies import SingleShot
from satisfice.strategies.registry import address_of, find, settings_of
from satisfice.testing.driver import USAGE, Script, make_run
from satisfice.testing.strategy import StrategyContract

TASK = Task.of("How much is 17 + 25?", "number")
RICH = Budget(usd=1.0, worth=100.0)


class TestWaiting(StrategyContract):
    @pytest.fixture(params=[True, False])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return SingleShot(waits=3, ending=16, prefill=request.param)


class TestEffort(StrategyContract):
    @pytest.fixture(params=[SingleShot(effort="high"), SingleShot(thinking=128), SingleShot(ending=8)])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return request.param  # type: ignore[no-any-return]


@dataclass
class Told(Script):
    """Answers by all that it is shown: `of(messages)` gives the text, or (text, finish)."""

    of: Callable[[Sample], Any] = lambda sample: "Answer: 1"

    def answer(self, call: Call) -> Reply | Exception:
        assert isinstance(call.effect, Sample)
        self.asked.append(call.effect.messages[-1].role + ": " + call.effect.messages[-1].content)
        line = self.of(call.effect)
        if isinstance(line, Exception):
            return line
        text, finish = line if isinstance(line, tuple) else (line, "stop")
        return Reply(Completion(text, finish), USAGE, 1.0)


def run_of(
    strategy: SingleShot, of: Callable[[Sample], Any], budget: Any = RICH, task: Task = TASK
) -> tuple[Run, Told]:
    script = Told(of=of)
    return perform(make_run(strategy, task, budget), script), script


def answer_of(run: Run) -> str | None:
    assert run.outcome is not None
    return run.outcome.candidate.key if run.outcome.candidate else None


def test_by_default_it_asks_once() -> None:
    run, script = run_of(SingleShot(), lambda sample: ("17 + 25 = 41", "length"))
    assert len(script.asked) == 1
    assert answer_of(run) == "41"


def test_waiting_makes_the_model_go_on_from_its_own_words() -> None:
    def of(sample: Sample) -> str:
        last = sample.messages[-1]
        return ", 7 + 5 = 12: it is 42.\nAnswer: 42" if last.content.endswith("Wait") else "It is 41.\nAnswer: 41"

    run, script = run_of(SingleShot(waits=1), of)
    assert script.asked[1] == "assistant: It is 41.\nAnswer: 41\nWait"
    assert answer_of(run) == "42"
    assert len(script.asked) == 2


def test_each_continuation_stands_on_all_that_was_said() -> None:
    run, script = run_of(SingleShot(waits=2), lambda s: "a" if len(s.messages) == 1 else " Answer: 5")
    assert script.asked[2] == "assistant: a\nWait Answer: 5\nWait"
    assert answer_of(run) == "5"


def test_a_continuation_without_an_answer_leaves_the_one_before() -> None:
    run, _ = run_of(SingleShot(waits=2), lambda s: "Answer: 42" if len(s.messages) == 1 else ", let me see ...")
    assert answer_of(run) == "42"


def test_a_reply_that_was_cut_off_is_brought_to_its_end() -> None:
    def of(sample: Sample) -> Any:
        ended = sample.messages[-1].content.endswith("Final answer:")
        assert sample.params.max_tokens == (16 if ended else 512)
        return " 42" if ended else ("Let me think about it for long", "length")

    run, script = run_of(SingleShot(ending=16), of)
    assert answer_of(run) == "42"
    assert len(script.asked) == 2
    run, _ = run_of(SingleShot(), of)
    assert answer_of(run) is None


def test_the_forced_end_is_the_end() -> None:
    run, script = run_of(SingleShot(ending=16, waits=5), lambda s: (" 42", "length"))
    assert len(script.asked) == 2
    assert answer_of(run) == "42"


def test_what_is_not_worth_its_price_is_not_asked() -> None:
    run, script = run_of(SingleShot(waits=5), lambda s: "Answer: 42", Budget(usd=1.0, worth=0.0007))
    assert answer_of(run) == "42"
    assert len(script.asked) == 1


def test_the_purse_ends_it_with_the_answer_so_far() -> None:
    run, script = run_of(SingleShot(waits=9), lambda s: f"Answer: {len(s.messages)}", Budget(calls=3, worth=100.0))
    assert len(script.asked) == 3
    assert answer_of(run) == "2"


def test_rounds_that_change_nothing_are_given_up() -> None:
    _, same = run_of(SingleShot(waits=50), lambda s: "Answer: 1", Budget(usd=10.0, worth=0.01))
    texts = iter(range(1000))
    _, other = run_of(SingleShot(waits=50), lambda s: f"Answer: {next(texts)}", Budget(usd=10.0, worth=0.01))
    assert 1 < len(same.asked) < len(other.asked)


def test_a_provider_that_refuses_a_prefilled_reply_is_asked_by_the_user() -> None:
    def of(sample: Sample) -> Any:
        if sample.messages[-1].role == "assistant":
            return ModelRefused("the last message must be the user's")
        return "Answer: 41" if len(sample.messages) == 1 else "Answer: 42"

    run, script = run_of(SingleShot(waits=1), of)
    assert run.error is None
    assert [said.partition(":")[0] for said in script.asked] == ["user", "assistant", "user"]
    assert "Wait" in script.asked[2]
    assert answer_of(run) == "42"


def test_a_later_failure_keeps_the_answer() -> None:
    run, _ = run_of(SingleShot(waits=1), lambda s: "Answer: 41" if len(s.messages) == 1 else ModelRefused("never"))
    assert answer_of(run) == "41"


def test_without_prefill_an_empty_reply_is_not_sent_back() -> None:
    _, script = run_of(
        SingleShot(ending=8, prefill=False), lambda s: ("", "length") if len(s.messages) == 1 else "Answer: 1"
    )
    assert [said.partition(":")[0] for said in script.asked] == ["user", "user"]


def test_the_words_can_be_replaced() -> None:
    task = Task.of("q", "number", prompts={"forcing_wait": "Hmm"})
    _, script = run_of(SingleShot(waits=1), lambda s: "Answer: 4", task=task)
    assert script.asked[1] == "assistant: Answer: 4\nHmm"


def test_effort_and_thinking_are_parameters() -> None:
    seen: list[Params] = []

    def of(sample: Sample) -> str:
        seen.append(sample.params)
        return "Answer: 1"

    run_of(SingleShot(effort="high"), of)
    run_of(SingleShot(thinking=100, params=Params(temperature=0.6, extra=(("seed_words", "x"),))), of)
    assert (seen[0].effort, seen[0].temperature) == ("high", None)
    assert seen[1].extra == (("seed_words", "x"), ("thinking_budget", 100))
    assert seen[1].temperature == 0.6


def test_thinking_becomes_the_providers_parameter() -> None:
    from satisfice.core.completions import Message, Request
    from satisfice.models.lite import LiteModel

    params = Params(extra=(("thinking_budget", 100),))
    sent = LiteModel("anthropic/claude")._arguments(Request((Message("user", "q"),), params), None)
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 100}
    assert "thinking_budget" not in sent


@pytest.mark.parametrize(
    "settings",
    [
        {"effort": "huge"},
        {"thinking": 0},
        {"thinking": 512},
        {"thinking": "much"},
        {"waits": -1},
        {"waits": 1.5},
        {"ending": -1},
        {"params": None},
        {"prefill": "no"},
    ],
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match="expected"):
        SingleShot(**settings)


def test_it_is_found_again() -> None:
    for strategy in (SingleShot(waits=2, ending=9, prefill=False), SingleShot(effort="low", thinking=3)):
        assert find(address_of(strategy), **settings_of(strategy)) == strategy
