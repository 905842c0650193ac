"""Confidence from tokens, and agreement."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice import Budget, Engine, Price, ScriptedModel, Solution
from satisfice.core.completions import Completion, Request, Response, Usage
from satisfice.core.errors import CallerError
from satisfice.core.task import Candidate, Task
from satisfice.verifiers.confidence import Agreement, Confidence, PTrue, agreement

TASK = Task.of("q", "number")
logprobs = st.lists(st.floats(-30, 0), min_size=1, max_size=60).map(tuple)


def of(*values: float) -> Candidate:
    return Candidate("x", logprobs=values)


@pytest.mark.parametrize(("kind", "value"), [
    ("mean", -1.0), ("tail", -0.5), ("group", -1.5), ("min", -3.0), ("bottom", -1.5),
])  # fmt: skip
def test_kinds(kind: Any, value: float) -> None:
    verdict = Confidence(kind, window=2)(TASK, of(0.0, -3.0, 0.0, -1.0))
    expected = {"tail": -0.5}.get(kind, value)
    assert verdict.score == pytest.approx(exp(expected))
    assert not verdict.exact


def test_the_worst_tenth_of_the_groups() -> None:
    values = [-1.0] * 20
    values[3], values[12] = -8.0, -4.0
    verdict = Confidence("bottom", window=1)(TASK, of(*values))
    assert verdict.score == pytest.approx(exp(-6.0))


def test_alternatives_give_the_papers_token_confidence() -> None:
    tops = ((("a", log(0.5)), ("b", log(0.5))), (("a", log(0.98)), ("b", log(0.02))))
    candidate = Candidate("x", logprobs=(-0.7, -0.02), alternatives=tops)
    verdict = Confidence("min", by="alternatives")(TASK, candidate)
    even = log(2)
    assert verdict.score == pytest.approx(even / (1 + even))
    sure = -(log(0.98) + log(0.02)) / 2
    assert Confidence("tail", 1, "alternatives")(TASK, candidate).score == pytest.approx(sure / (1 + sure))


@pytest.mark.parametrize("by", ["probability", "alternatives"])
@pytest.mark.parametrize(
    "candidate", [Candidate("x"), Candidate("x", logprobs=(), alternatives=()), Candidate("", alternatives=((),))]
)
def test_without_probabilities_it_says_what_to_ask_for(by: Any, candidate: Candidate) -> None:
    verdict = Confidence(by=by)(TASK, candidate)
    assert verdict.score is None
    assert "Params(logprobs=True" in verdict.evidence


@given(logprobs, st.sampled_from(["mean", "tail", "group", "bottom", "min"]), st.integers(1, 80))
def test_scores_are_scores(values: tuple[float, ...], kind: Any, window: int) -> None:
    verdict = Confidence(kind, window)(TASK, of(*values))
    assert verdict.score is not None
    assert 0 <= verdict.score <= 1
    assert exp(min(values)) * (1 - 1e-6) - 1e-12 <= verdict.score <= exp(max(values)) * (1 + 1e-6) + 1e-12
    assert Confidence("min")(TASK, of(*values)).score <= Confidence("mean")(TASK, of(*values)).score * (1 + 1e-9)  # type: ignore[operator]
    assert verdict == Confidence(kind, window)(TASK, of(*values))


def test_names_and_bad_settings() -> None:
    assert Confidence("tail").name == "confidence_tail"
    assert Confidence(by="alternatives").name == "confidence_mean_of_alternatives"
    assert PTrue().name == "p_true"
    for settings in ({"kind": "max"}, {"by": "x"}, {"window": 0}):
        with pytest.raises(CallerError):
            Confidence(**settings)  # type: ignore[arg-type]


def answer(key: str | None, path: str = "") -> Candidate:
    return Candidate(key or "", key, key, path=path)


def test_agreement_counts_answers_only() -> None:
    known = [answer("b"), answer("a"), answer(None), answer("b"), answer("c")]
    assert list(agreement(known).items()) == [("b", 0.5), ("a", 0.25), ("c", 0.25)]
    assert agreement([]) == agreement([answer(None)]) == {}


def test_agreement_with_the_others() -> None:
    known = (answer("7", "1"), answer("7", "2"), answer("8", "3"), answer(None, "4"))
    task = replace(TASK, known=known)
    assert Agreement()(task, known[0]).score == 0.5
    assert Agreement()(task, known[2]).score == 0.0
    assert Agreement()(task, answer("7")).score == pytest.approx(2 / 3), "of the same text, but not of this run"
    assert Agreement()(task, known[3]).score is None
    assert Agreement()(TASK, known[0]).score is None
    assert Agreement()(replace(TASK, known=(answer("7"), answer("7"))), answer("7")).score == 1.0


def test_draws_are_asked_for_what_confidence_reads() -> None:
    def log(request: Request, index: int) -> Response:
        assert request.params.logprobs
        return Response((Completion("Answer: 4", tokens=2, logprobs=(-0.1, -0.3)),), Usage(5, 2))

    async def main() -> Solution:
        engine = Engine("m", journal=False)
        engine.register("m", ScriptedModel(log), Price.per_million(1, 1))
        async with engine:
            budget = Budget(calls=1)
            return await engine.solve("2 + 2?", answer="number", checks=[Confidence()], budget=budget)

    (judgement,) = anyio.run(main).verdicts
    assert judgement.verdict.score == pytest.approx(exp(-0.2), abs=1e-4)
