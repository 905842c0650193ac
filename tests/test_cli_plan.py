"""`satisfice plan` and `Engine.plan`: what is expected, before anything is spent."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from satisfice import Budget, Engine, Price
from satisfice.budgets.evidence import Evidence
from satisfice.budgets.forecasting import _Question, alike, exactly, imagined
from satisfice.budgets.policy import Policy
from satisfice.budgets.portfolio import Portfolio
from satisfice.cli import main
from satisfice.core.belief import Terms
from satisfice.core.completions import Message
from satisfice.core.errors import BadQuery, CallerError, UnknownName, UnpricedModel
from satisfice.core.task import Candidate, Contract, Task
from satisfice.scheduler.planned import Point, plan, risen

Cli = Callable[..., tuple[int, str, str]]


class Silent:
    """A model that must not be asked."""

    async def complete(self, request: Any) -> Any:
        raise AssertionError("a plan sends nothing")


def engine(**options: Any) -> Engine:
    made = Engine(["small", "large"], journal=False, **options)
    made.register("small", Silent(), Price.per_million(0.1, 0.4))
    made.register("large", Silent(), Price.per_million(5, 20))
    return made


def foreseen(query: Any = "17 * 3?", **options: Any) -> Any:
    defaults = {"answer": "number", "budget": Budget(usd=1.0, worth=0.05), "points": 4, "runs": 12}
    return plan(engine(), query, **{**defaults, **options})


def test_the_curve_rises_and_the_arms_are_told() -> None:
    found = foreseen()
    assert [arm.arm for arm in found.arms] == ["single_shot@small", "single_shot@large"]
    small, large = found.arms
    assert 0 < small.low < small.p < small.high < 1
    assert small.p < large.p
    assert 0 < small.usd < small.worst_usd < large.worst_usd
    assert not small.known
    worths, ps, spent = zip(*((p.worth, p.p, p.usd) for p in found.points), strict=True)
    assert list(worths) == sorted(worths)
    assert list(ps) == sorted(ps)
    assert list(spent) == sorted(spent)
    assert ps[-1] > ps[0]
    assert found.here.worth == 0.05
    assert not found.fitted
    assert any("no bank has measured" in note for note in found.notes)


def test_it_is_the_same_every_time() -> None:
    assert foreseen() == foreseen()


def test_the_cap_holds_here_but_not_along_the_curve() -> None:
    found = foreseen(budget=Budget(usd=0.001, worth=100.0))
    assert found.here.usd <= 0.001
    assert set(found.here.bought or ()) <= {"single_shot@small"}  # the large one is held at more than that
    assert found.points[-1].usd > 0.001


def test_one_model_alone() -> None:
    found = foreseen(models="small")
    assert [arm.arm for arm in found.arms] == ["single_shot@small"]
    assert found.points[-1].p >= found.points[0].p


def test_exact_checks_are_a_course_of_failures() -> None:
    found = foreseen(checks=[lambda answer: answer == 51])
    assert found.exact
    assert all(0 <= point.p <= 1 for point in found.points)
    assert found.points[-1].p > found.points[0].p
    assert found.arms[0].low is None


def passes(value: float) -> bool:
    return value == 51


def test_a_dear_arm_is_as_good_as_its_row_says() -> None:
    found = foreseen(budget=Budget(calls=1, worth=100.0))
    assert found.here.bought == {"single_shot@large": 1.0}
    assert found.here.p == pytest.approx(found.arms[1].p, abs=0.02)  # but for draws that hold no answer
    assert found.here.p > found.arms[0].p + 0.1


def test_caps_hold_with_exact_checks() -> None:
    ample = foreseen(checks=[passes], budget=Budget(usd=1.0, worth=10.0))
    large = ample.arms[1].worst_usd
    assert set(ample.here.bought) == {arm.arm for arm in ample.arms}
    assert ample.here.usd == pytest.approx(sum(ample.here.bought[arm.arm] * arm.usd for arm in ample.arms), rel=0.01)
    tight = foreseen(checks=[passes], budget=Budget(usd=large / 2, worth=10.0))
    assert set(tight.here.bought) == {"single_shot@small"}
    assert 0.0 < tight.here.p < ample.here.p
    assert tight.here.usd <= large / 2
    none = foreseen(checks=[passes], budget=Budget(usd=ample.arms[0].worst_usd / 2, worth=10.0))
    assert (none.here.p, none.here.usd, none.here.first) == (0.0, 0.0, None)
    once = foreseen(checks=[passes], budget=Budget(calls=1, worth=10.0))
    assert sum(once.here.bought.values()) == 1.0


def test_what_is_known_is_checked_before_the_first_choice() -> None:
    message = (Message("user", "17 * 3?"),)

    def known(*answers: str) -> Task:
        return Task(message, Contract("number"), known=tuple(Candidate(a, a, a, path=f"known{a}") for a in answers))

    fresh = foreseen(checks=[passes])
    failed = foreseen(known("41"), checks=[passes])
    assert [arm.arm for arm in failed.arms] == [arm.arm for arm in fresh.arms]
    assert failed.arms[0].p < fresh.arms[0].p  # the question is harder than was thought
    done = foreseen(known("41", "51"), checks=[passes])
    assert (done.here.p, done.here.usd, done.here.first) == (1.0, 0.0, None)
    assert {point.p for point in done.points} == {1.0}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"query": " "}, BadQuery),
        ({"models": "openai/no-such-model-at-all"}, UnpricedModel),
        ({"models": "smal"}, UnknownName),
        ({"answer": "numbr"}, UnknownName),
        ({"strategy": "self_consistency"}, CallerError),
        ({"points": 0}, CallerError),
        ({"runs": 1.5}, CallerError),
    ],
)
def test_bad_input(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        foreseen(**options)


def test_what_chance_makes_of_a_rising_curve_is_smoothed() -> None:
    points = [Point(w, p, u) for w, p, u in ((1, 0.5, 1.0), (2, 0.7, 3.0), (3, 0.6, 2.0), (4, 0.8, 4.0))]
    assert [x for p in risen(points) for x in (p.p, p.usd)] == pytest.approx([0.5, 1.0, 0.65, 2.5, 0.65, 2.5, 0.8, 4.0])


# -- the imagined world ----------------------------------------------------------------------------------------------


def test_votes_that_tell_the_same_are_one_state() -> None:
    one = ((0, 0), (1, 1), (0, 0), (2, -1))
    assert alike(one) == alike(((2, -1), (1, 0), (0, 1), (0, 1))) == ((0, 0), (0, 0), (1, 1), (2, -1))
    assert alike(((0, 0), (1, 0))) != alike(((0, 0), (1, 1)))


def terms(price: float, *costs: float) -> list[Terms]:
    return [Terms(price, cost, 8, Policy().priors()) for cost in costs]


def test_its_questions_are_as_hard_as_its_world_says() -> None:
    portfolio = Portfolio(("a", "b"))
    table = portfolio.tables(terms(1.0, 0.001, 0.01)[0], (0.001, 0.01))
    for arm in (0, 1):
        right = blanks = 0
        for i in range(3000):
            question = _Question(table, f"x{i}", 0)
            first = question.draw(arm)
            blanks += first < 0
            right += first >= 0 and question._right == first
        held = 3000 - blanks
        expected = float(table.chance[arm])
        assert abs(right / held - expected) < 4 * (expected * (1 - expected) / held) ** 0.5


def test_a_free_lunch_is_eaten_and_a_dear_one_is_not() -> None:
    portfolio = Portfolio(("a", "b"), left=(6, 6))
    dear = imagined(portfolio, terms(1e6, 0.001, 0.01), (0.002, 0.02), 1.0, runs=5)
    assert (dear.p, dear.usd, dear.first) == (0.0, 0.0, -1)
    cheap = imagined(portfolio, terms(1.0, 0.001, 0.01), (0.002, 0.02), 1.0, runs=20)
    assert cheap.usd > 0
    assert cheap.p > 0.5
    capped = imagined(portfolio, terms(1.0, 0.001, 0.01), (0.002, 0.02), 0.0021, runs=20)
    assert capped.usd <= 0.0021
    assert capped.bought[1] == 0


def test_caps_on_calls_are_of_all_arms_together() -> None:
    few = [replace(one, steps=3) for one in terms(1e-6, 0.001, 0.01)]
    found = imagined(Portfolio(("a", "b"), left=(6, 6)), few, (0.002, 0.02), 1.0, runs=10)
    assert 0 < sum(found.bought) <= 3
    exact = exactly(Portfolio(("a", "b"), exact=True, left=(6, 6)), few, (0.002, 0.02), 1.0)
    assert 0 < sum(exact.bought) <= 3


def test_imagined_runs_look_at_few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    jointly = Portfolio.jointly

    def counted(self: Portfolio, terms: Any) -> Any:
        seen.append(len(self.said))
        return jointly(self, terms)

    monkeypatch.setattr(Portfolio, "jointly", counted)
    votes = tuple((i % 2, i) for i in range(30))
    wide = Portfolio(("a", "b"), votes, (Evidence(1),) * 30, left=(6, 6))
    found = imagined(wide, terms(1e-3, 0.001, 0.01), (0.002, 0.02), 1.0, runs=2)
    assert seen
    assert max(seen) <= 9
    assert 0.0 <= found.p <= 1.0


def test_what_is_known_already_counts() -> None:
    said = (Evidence(3), Evidence(1))
    known = Portfolio(("a", "b"), ((0, 0), (0, 0), (1, 0), (1, 1)), said, left=(6, 6))
    found = imagined(known, terms(1e6, 0.001, 0.01), (0.002, 0.02), 1.0, runs=3)
    assert found.usd == 0.0
    assert found.p == pytest.approx(known.p(terms(1e6, 0.001, 0.01)[0]), abs=0.05)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsysbinary: Any) -> Cli:
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    lines = ['model = "openai/gpt-4o-mini"', "price = {prompt = 0.15, completion = 0.6}"]
    dear = ['model = "openai/gpt-4o"', "price = {prompt = 2.5, completion = 10}"]
    (tmp_path / "satisfice.toml").write_text("\n".join(("[models.small]", *lines, "[models.large]", *dear)))

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["satisfice", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = (text.decode() for text in capsysbinary.readouterr())
        assert "Traceback" not in err
        return int(stop.value.code or 0), out, err

    return run


ARGS = ("plan", "Which planet is the largest?", "--model", "small", "--model", "large", "--points", "3", "--runs", "6")


def test_as_text_and_as_json(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli(*ARGS, "--worth", "0.02", "--budget", "0.5")
    assert code == 0, err
    assert "single_shot@large" in out
    assert "> $0.0200" in out
    assert "declared, not measured" in out
    assert "Nothing was sent" in out
    assert "no bank has measured" in err
    data = json.loads(cli(*ARGS, "--choices", "Mars,Jupiter", "--json")[1])
    assert len(data["points"]) == 3
    assert {arm["arm"] for arm in data["arms"]} == {"single_shot@small", "single_shot@large"}
    assert not (tmp_path / "runs.db").exists()


def test_bad_input_of_the_command(cli: Cli) -> None:
    assert cli("plan")[0] == 2
    assert cli("plan", "x", "--model", "smal")[0] == 2
    assert cli("plan", "x", "--model", "small", "--policy", "none.json")[0] == 2
    assert cli("plan", "x", "--model", "small", "--worth", "-1")[0] == 2
