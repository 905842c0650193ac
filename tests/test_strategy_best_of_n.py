"""Best-of-n by tournament: pairs compared by a model, in both orders, at equal length."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from satisfice.budgets.budget import Budget
from satisfice.core.completions import Completion
from satisfice.core.effects import Sample
from satisfice.core.errors import BadQuery, CallerError, ModelRefused
from satisfice.core.plans import Strategy
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.nodes import Call, Reply
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.strategies import BestOfN
from satisfice.strategies.registry import address_of, find, models_of, settings_of
from satisfice.strategies.tournament import alike
from satisfice.testing.driver import MODEL, USAGE, Script, make_run
from satisfice.testing.strategy import StrategyContract
from satisfice.verifiers import Check

NUMBER = Task.of("17 + 25?", "number")
BY = BestOfN(samples=4, tournament_model=MODEL)


def half(task: Task, candidate: Candidate) -> Verdict:
    return Verdict(0.5 if candidate.key == "1" else 0.4)


class TestTournament(StrategyContract):
    @pytest.fixture(params=[2, 4])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return BestOfN(samples=request.param, tournament_model=MODEL)

    @pytest.fixture(params=["none", "exact", "graded"])
    def task(self, request: pytest.FixtureRequest) -> Task:
        checks: dict[str, Any] = {"none": (), "exact": (Check(lambda n: n == 2),), "graded": (half,)}
        return replace(NUMBER, checks=checks[request.param])


@dataclass
class Judged(Script):
    """Draws the replies in turn; `prefers(a, b)` is what the judge says of the texts that it is shown as A and B."""

    replies: list[str] = field(default_factory=list)
    prefers: Callable[[str, str], Any] = lambda a, b: "A"
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, call: Call) -> Reply | Exception:
        sample = call.effect
        assert isinstance(sample, Sample)
        if sample.task is not None:
            return Reply(Completion(self.replies.pop(0)), USAGE, 1.0)
        text = sample.messages[-1].content
        a, b = re.findall(r"Answer [AB]:\n=== \w+ ===\n(.*?)\n===", text, re.S)
        self.pairs.append((a, b))
        said = self.prefers(a, b)
        return said if isinstance(said, Exception) else Reply(Completion(said), USAGE, 1.0)


def run_of(
    replies: list[str], prefers: Callable[[str, str], Any], strategy: BestOfN = BY, task: Task = NUMBER, **more: Any
) -> tuple[Run, Judged]:
    script = Judged(replies=list(replies), prefers=prefers)
    return perform(make_run(strategy, task, more.pop("budget", 1.0), **more), script), script


def key_of(run: Run) -> str | None:
    assert run.outcome is not None
    return run.outcome.candidate.key if run.outcome.candidate else None


def right(a: str, b: str) -> str:
    """A judge that knows that 42 is right."""
    return "A" if "42" in a or "42" not in b else "B"


DRAWS = ["I get 41.\nAnswer: 41", "Answer: 41", "So it is 42.\nAnswer: 42", "Answer: 43"]


def test_the_winner_of_the_tournament_is_the_answer_without_any_check() -> None:
    run, script = run_of(DRAWS, right)
    assert key_of(run) == "42"
    assert run.outcome is not None
    assert run.outcome.reason == "won"
    assert len(script.pairs) == 6  # three different answers, each pair in both orders
    assert len(run.outcome.found) == 4  # the judge's replies are no candidates


def test_equal_answers_do_not_meet() -> None:
    run, script = run_of(["Answer: 7"] * 4, right)
    assert key_of(run) == "7"
    assert script.pairs == []


@pytest.mark.parametrize("place", ["A", "B"])
def test_a_judge_that_prefers_a_place_decides_nothing(place: str) -> None:
    run, script = run_of(DRAWS, lambda a, b: place)
    assert key_of(run) == "41"  # drawn most often
    assert script.pairs
    swapped = run_of(DRAWS[::-1], lambda a, b: place)[0]
    assert key_of(swapped) == "41"


@pytest.mark.parametrize("longer", [True, False])
def test_a_judge_that_prefers_a_length_decides_nothing(longer: bool) -> None:
    draws = ["Answer: 41", "Answer: 41", "Well. " * 40 + "\nAnswer: 42", "Let us see, it must be so.\nAnswer: 43"]

    def prefers(a: str, b: str) -> str:
        if len(a) == len(b):
            return "A"
        return "A" if (len(a) > len(b)) is longer else "B"

    run, script = run_of(draws, prefers)
    assert key_of(run) == "41"
    assert all(len(a) == len(b) for a, b in script.pairs)
    assert {text[-2:] for pair in script.pairs for text in pair} == {
        "41",
        "42",
        "43",
    }  # what is compared is still there


def test_what_is_cut_to_length_keeps_its_answer() -> None:
    early = Candidate("Answer: 41. I am sure of it, as it is the sum.", "41", "41")
    one, other = alike(NUMBER, early, Candidate("Answer: 42", "42", "42"))
    assert (one.text, other.text) == ("41", "42")
    text = Task.of("Why?", "text")
    long, short = Candidate("Because of this and that.", "x", "x"), Candidate("Because.", "y", "y")
    assert alike(text, long, short) == (long, short)


def test_what_an_exact_check_refuted_does_not_take_part() -> None:
    task = replace(NUMBER, checks=(Check(lambda n: n in (41, 43)), half))
    run, script = run_of(DRAWS, right, task=task)
    assert key_of(run) in ("41", "43")
    assert not any("42" in text for pair in script.pairs for text in pair)


def test_a_verified_answer_needs_no_tournament() -> None:
    run, script = run_of(DRAWS, right, task=replace(NUMBER, checks=(Check(lambda n: n == 43),)))
    assert key_of(run) == "43"
    assert script.pairs == []


@pytest.mark.parametrize("said", ["I cannot tell.", "", ModelRefused("never")])
def test_a_judge_that_tells_nothing_leaves_the_likeliest(said: Any) -> None:
    run, _ = run_of(DRAWS, lambda a, b: said)
    assert key_of(run) == "41"
    assert run.error is None


def test_a_purse_that_cannot_pay_the_tournament_gives_the_likeliest() -> None:
    run, script = run_of(DRAWS, right, budget=Budget(usd=1.0, calls=5))
    assert key_of(run) == "41"
    assert script.pairs == []


def test_many_candidates_meet_in_rounds() -> None:
    draws = [f"Answer: {n}" for n in (40, 41, 42, 43, 44, 45, 46, 47)]
    run, script = run_of(draws, right, replace(BY, samples=8))
    assert key_of(run) == "42"
    assert len(script.pairs) <= 2 * 4 * 4  # rounds of four pairs, not 28 pairs


def test_p_is_not_claimed_for_a_winner_that_was_drawn_less_often() -> None:
    run, _ = run_of(DRAWS, right)
    assert run.root.belief is not None
    assert run.root.terms is not None
    assert run.root.belief.p(run.root.terms) is None


def test_a_rubric_is_shown() -> None:
    seen: list[str] = []

    class Seeing(Judged):
        def answer(self, call: Call) -> Reply | Exception:
            assert isinstance(call.effect, Sample)
            seen.append(call.effect.messages[-1].content)
            return super().answer(call)

    perform(make_run(replace(BY, rubric="Prefer whole numbers."), NUMBER), Seeing(replies=list(DRAWS), prefers=right))
    assert sum("Prefer whole numbers." in text for text in seen) == 6


@pytest.mark.parametrize(
    "settings", [{"samples": 0}, {"samples": 2.5}, {"samples": "3"}, {"most": 0}, {"params": None}]
)
def test_bad_values_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match=next(iter(settings))):
        BestOfN(**settings)


def test_bad_settings() -> None:
    with pytest.raises(CallerError, match="samples"):
        BestOfN(tournament_model="judge")
    run, _ = run_of(DRAWS, right, BestOfN(samples=3))
    assert isinstance(run.error, BadQuery)


def test_it_is_found_again() -> None:
    strategy = BestOfN(samples=3, tournament_model="judge", rubric="short", model="cheap")
    assert find(address_of(strategy), **settings_of(strategy)) == strategy
    assert set(models_of(strategy)) == {"judge", "cheap"}
