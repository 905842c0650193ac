"""A person as verifier: replies, and runs that wait for them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice import BestOfN, Engine
from satisfice.budgets.prices import Price
from satisfice.core.effects import Ask
from satisfice.core.errors import CallerError
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.models import ScriptedModel
from satisfice.verifiers.human import Human

TASK = Task.of("What is 17 + 25?", "number")
ANSWER = Candidate("It is 42.\nAnswer: 42", "42", "42")


def replied(human: Human, *replies: str, candidate: Candidate = ANSWER) -> tuple[Verdict, list[Ask]]:
    asked: list[Ask] = []
    plan: Any = human(TASK, candidate)
    waiting = iter(replies)
    try:
        effect = next(plan)
        while True:
            asked.append(effect)
            effect = plan.send(next(waiting))
    except StopIteration as stop:
        return stop.value, asked


@pytest.mark.parametrize(("reply", "score", "exact"), [
    ("right", 1.0, True), (" Yes! ", 1.0, True), ("WRONG", 0.0, True), ("n", 0.0, True), ("unsure", None, False),
    ("I don't know", None, False), ("0.8", 0.8, False), ("80 %", 0.8, False), (".25", 0.25, False), ("1", 1.0, True),
])  # fmt: skip
def test_replies_that_are_understood(reply: str, score: float | None, exact: bool) -> None:
    verdict, asked = replied(Human(), reply)
    assert (verdict.score, verdict.exact) == (score, exact)
    assert len(asked) == 1
    assert all(part in asked[0].question for part in ("What is 17 + 25?", "It is 42.", "as read from it: 42", "unsure"))
    assert not replied(Human(exact=False), reply)[0].exact


@pytest.mark.parametrize("reply", ["hm", "", "1.5", "150%", "-1", "yes and no", "٣", "1e0", "9" * 400])
def test_an_unclear_reply_is_asked_for_once_more(reply: str) -> None:
    verdict, asked = replied(Human(), reply, "yes")
    assert verdict.score == 1.0
    assert "not understood" in asked[1].question
    verdict, asked = replied(Human(), reply, reply)
    assert verdict.score is None
    assert len(asked) == 2


def test_words_of_ones_own_and_strict_ones() -> None:
    human = Human("Ship it?", ("ship", "hold", "pass"), strict=True)
    verdict, asked = replied(human, "ship")
    assert verdict.passed
    assert asked[0].options == ("ship", "hold", "pass")
    assert asked[0].question.startswith("Ship it?")
    assert replied(human, "yes", "pass")[0].score is None
    assert replied(Human(options=("ship", "hold", "pass")), "pass")[0].score is None, "options come before plain forms"
    for settings in (
        {"options": ("a", "b")},
        {"options": ("a", "A", "b")},
        {"options": ("", "a", "b")},
        {"most_chars": 1},
    ):
        with pytest.raises(CallerError):
            Human(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "score"), [("", 0.0), ("\x00\x01" * 99, 0.0), ("x" * 10_000_000, None)])
def test_nobody_is_asked_about_nothing(text: str, score: float | None) -> None:
    verdict, asked = replied(Human(), candidate=Candidate(text))
    assert verdict.score == score
    assert asked == []


def test_a_candidate_cannot_play_with_the_terminal() -> None:
    hostile = "It is 42.\x1b[2J\x1b[31m\x07\u202e fine" + " x" * 20_000
    _, asked = replied(Human(), "yes", candidate=Candidate(hostile, hostile, "42"))
    question = asked[0].question
    assert not any(c in question for c in "\x1b\x07\u202e")
    assert "It is 42. fine" in question
    assert "characters left out" in question
    assert len(question) < 10_000


@given(st.text(max_size=30))
def test_no_reply_raises(reply: str) -> None:
    verdict, _ = replied(Human(), reply, reply)
    assert verdict.score is None or 0 <= verdict.score <= 1


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_run_waits_for_a_person_and_goes_on_in_another_process(tmp_path: Any, anyio_backend: str) -> None:
    model = ScriptedModel(["Answer: 41", "Answer: 42"])
    options: dict[str, Any] = {"strategy": BestOfN(samples=2), "checks": [Human()]}

    def engine() -> Engine:
        made = Engine("m", journal=tmp_path / "runs.db")
        made.register("m", model, Price.per_million(1, 1))
        return made

    async with engine() as e:
        waiting = await e.solve("What is 17 + 25?", budget=1, answer="number", **options)
        assert waiting.answer is None
        first = "41" if "Answer: 41" in (waiting.question or "") else "42"  # two are drawn at once
        second = "42" if first == "41" else "41"
    async with engine() as e:  # as after a restart: nothing but the journal is left
        again = await e.reply(waiting.run_id, "hm", **options)
        assert "not understood" in (again.question or "")
        other = await e.reply(waiting.run_id, "no", **options)
        assert f"Answer: {second}" in (other.question or "")
        assert other.answer is None
    async with engine() as e:
        done = await e.reply(waiting.run_id, "yes", **options)
    assert done.answer == second
    assert done.spend.calls == 2
    assert len(model.requests) == 2, "nothing is asked for twice"
