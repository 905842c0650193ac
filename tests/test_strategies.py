from __future__ import annotations

from typing import Any

import pytest

from satisfice.budgets.budget import Budget
from satisfice.core.errors import BadQuery, BadSettings, CallerError, ModelRefused, UnknownName
from satisfice.core.plans import Strategy
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.offline import perform
from satisfice.strategies import BestOfN, SelfConsistency, SingleShot
from satisfice.strategies.prompting import asking
from satisfice.strategies.registry import address_of, find, listing, settings_of
from satisfice.strategies.self_consistency import Votes
from satisfice.testing.driver import Script, make_run
from satisfice.testing.strategy import StrategyContract
from satisfice.verifiers import Check


class TestSingleShot(StrategyContract):
    @pytest.fixture
    def strategy(self) -> Strategy:
        return SingleShot()


class TestSelfConsistency(StrategyContract):
    @pytest.fixture(params=[None, 1, 4])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return SelfConsistency(samples=request.param, most=12)


def half(task: Task, candidate: Candidate) -> Verdict:
    return Verdict(0.5 if candidate.key == "1" else 0.4)


class TestBestOfN(StrategyContract):
    @pytest.fixture(params=[None, 1, 4])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return BestOfN(samples=request.param, most=12)

    @pytest.fixture(params=["exact", "graded", "both"])
    def task(self, request: pytest.FixtureRequest) -> Task:
        exact = Check(lambda n: n == 2)
        checks: dict[str, Any] = {"exact": (exact,), "graded": (half,), "both": (exact, half)}
        return Task.of("How much is 1 + 1?", "number", checks=checks[request.param])


def number(*checks: Any) -> Task:
    return Task.of("1 + 1?", "number", checks=checks)


def test_votes_break_ties_by_the_first_seen() -> None:
    votes = Votes()
    votes.add([Candidate("b", "b", "b"), None, Candidate("a", "a", "a"), Candidate("x"), Candidate("A", "A", "a")])
    assert (votes.leader().text, votes.blanks) == ("a", 1)  # type: ignore[union-attr]
    votes.add([Candidate("B", "B", "b")])
    assert votes.leader().text == "b"  # type: ignore[union-attr]


def test_best_of_n_stops_at_the_first_pass() -> None:
    texts = iter(["Answer: 1", "Answer: 3", "Answer: 2", "Answer: 9"])
    run = perform(make_run(BestOfN(), number(Check(lambda n: n == 2))), Script(text=lambda asked, seed: next(texts)))
    assert run.outcome
    assert run.outcome.answer
    assert run.outcome.answer.reason == "verified"
    assert len(run.outcome.found) == 3


def test_best_of_n_checks_equal_candidates_once() -> None:
    seen: list[float] = []

    def check(value: float) -> bool:
        seen.append(value)
        return False

    perform(make_run(BestOfN(samples=5), number(Check(check))), Script(text=lambda asked, seed: "Answer: 1"))
    assert len(seen) == 1


def test_best_of_n_never_offers_what_failed_an_exact_check() -> None:
    run = perform(make_run(BestOfN(samples=4), number(Check(lambda n: False))), Script())
    assert run.outcome
    assert run.outcome.answer
    assert run.outcome.answer.candidate is None
    assert len(run.outcome.found) == 4


def test_a_check_that_raises_counts_as_no_pass() -> None:
    """Otherwise a broken check would let it draw to the end of the money as if nothing had been tried."""

    def broken(value: float) -> bool:
        raise ZeroDivisionError

    run = perform(make_run(BestOfN(), number(Check(broken)), Budget(usd=1, worth=1e-3)), Script())
    failing = perform(make_run(BestOfN(), number(Check(lambda n: False)), Budget(usd=1, worth=1e-3)), Script())
    assert run.outcome
    assert failing.outcome
    assert len(run.outcome.found) <= len(failing.outcome.found) < 64
    assert run.outcome.reason in ("checks_failed", "value")


def test_best_of_n_wants_a_check() -> None:
    run = perform(make_run(BestOfN(), number()), Script())
    assert isinstance(run.error, BadQuery)


def test_one_failing_draw_is_no_fault() -> None:
    texts: list[Any] = [ModelRefused("no"), "Answer: 2"]
    script = Script(text=lambda asked, seed: texts[seed % 2])
    run = perform(make_run(SelfConsistency(samples=9), number(), seed=3), script)
    assert run.outcome
    assert run.outcome.answer
    assert run.outcome.answer.candidate
    assert run.error is None


@pytest.mark.parametrize("kind", ["number", "choice", "text", "json", "code"])
def test_template_syntax_in_a_query_stays_text(kind: Any) -> None:
    query = "{{ 7 * 7 }} {% for x in y %} {# gone? #} ${HOME} {0} %s \\n"
    task = Task.of(query, kind)
    assert query in asking(task)[-1].content


def test_a_template_can_be_replaced_and_a_broken_one_is_named() -> None:
    assert asking(Task.of("q {{ x }}", "number", prompts={"number": "<{{ query }}>"}))[-1].content == "<q {{ x }}>"
    with pytest.raises(BadSettings, match="number"):
        asking(Task.of("q", "number", prompts={"number": "{% if %}"}))


def test_strategies_are_found_by_name() -> None:
    assert find("self_consistency", samples=3) == SelfConsistency(samples=3)
    assert {row["name"] for row in listing()} >= {"single_shot", "self_consistency", "best_of_n"}
    with pytest.raises(UnknownName, match="self_consistency"):
        find("selfconsistency")
    with pytest.raises(CallerError, match="nonsense"):
        find("single_shot", nonsense=1)
    with pytest.raises(UnknownName, match="cannot load"):
        find("no.such.module:thing")
    for strategy in (SingleShot(), SelfConsistency(samples=2), BestOfN(most=3)):
        assert find(address_of(strategy), **settings_of(strategy)) == strategy
