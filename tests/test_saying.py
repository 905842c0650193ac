"""Why a run went on or stopped, in words: the numbers are those that decided."""

from __future__ import annotations

import re
from math import inf
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.beliefs import ExactBelief
from satisfice.budgets.budget import Budget
from satisfice.budgets.prices import Price
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.resort import LastResort
from satisfice.core.belief import Priors, Terms
from satisfice.core.effects import CallTool, Sample, Score
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.models.scripted import ScriptedModel
from satisfice.scheduler.decisions import Alternative, Decision, judge, weighed
from satisfice.scheduler.engine import Engine
from satisfice.scheduler.saying import noun_of, say
from satisfice.scheduler.solution import Solution
from satisfice.strategies.best_of_n import BestOfN
from satisfice.strategies.self_consistency import SelfConsistency


def decision(way: Alternative, size: int, reason: str = "value", price: float = 20.0, p: float | None = None) -> Any:
    return Decision("1", 0.0, 0.0, p, price, (way,), 0, size, reason)


def test_a_stop_by_value_says_what_it_rejected() -> None:
    way = Alternative("go on", 0, 0.004, 0.0011, 0.0, 0.004 - 20 * 0.0011, 0.00055)
    assert say(decision(way, 0), "sample") == "stop: 2 more samples: +0.4% x $0.05 = $0.0002 < $0.0011"
    folded = say(decision(way, 0), "sample", offered=False)
    assert folded.startswith("folded: no answer is worth giving: 2 more samples: +0.4%")


def test_going_on_says_what_it_expects() -> None:
    way = Alternative("go on", 2, 0.1, 0.001, 3.0, 0.1 - 20 * 0.007, 0.00025)
    said = say(decision(way, 2, "worth it"), "sample", per_second=0.001)
    assert said == "2 more samples (4 from now on): +10% x $0.05 = $0.005 > $0.004 ($0.001 + 3 s x $0.001)"
    fixed = Alternative("go on", 3, inf, 0.003, 0.0, inf, 0.001)
    assert say(decision(fixed, 3, "worth it"), "sample") == "3 more samples: their number was fixed beforehand"
    first = say(decision(way, 1, "first answer"), "sample")
    assert first == "one more sample: a first answer is bought where only caps are set"
    assert "whatever it costs" in say(decision(way, 2, "worth it", price=0.0), "sample")


def test_two_figures_that_look_alike_get_more_digits() -> None:
    way = Alternative("draw", 0, 0.02, 0.001001, 0.0, -2e-5, 0.001001)
    assert say(decision(way, 0), "sample").endswith("= $0.001 < $0.001001")
    nearer = Alternative("draw", 0, 0.0200199999, 0.001001, 0.0, -1e-10, 0.001001)
    assert say(decision(nearer, 0), "sample").endswith("= $0.001001 just < $0.001001")


def test_a_last_resort_has_no_figures_of_its_own() -> None:
    terms = Terms(1.0, 0.1, 9, DEFAULT_PRIORS)
    ways = [("answer", LastResort(ExactBelief(0)), terms)]
    index, _, rows = judge(ways)
    assert rows[index].size > 0
    said = say(Decision("1", 0.0, 0.0, None, 1.0, rows, index, rows[index].size, "worth it"), "sample")
    assert said == "one more sample (answer): the only way left"


def test_nothing_to_gain_and_budgets() -> None:
    none = Alternative("go on", 0, 0.0, 0.0, 0.0, 0.0)
    assert say(decision(none, 0), "round") == "stop: no other round that can be paid is expected to gain anything"
    lack = "the next sample may take up to $0.004, $0.003 left"
    assert say(decision(none, 0, "budget_usd"), lack=lack) == f"stop: {lack}"


@given(st.floats(1e-6, 1), st.floats(1e-9, 1), st.floats(1e-3, 1e5), st.floats(0, 20), st.floats(0, 0.01))
def test_the_sign_is_that_of_the_net(gain: float, cost: float, price: float, seconds: float, each: float) -> None:
    net = gain - price * (cost + seconds * each)
    way = Alternative("go on", 0, gain, cost, seconds, net, cost)
    said = say(decision(way, 0, price=price), "sample", per_second=each)
    assert (" > " in said) == (net > 0) or abs(net) < 1e-9
    assert "e-" not in said
    assert "nan" not in said


def test_nouns() -> None:
    sample, score = Sample((), None), Score(lambda t, c: Verdict(1.0), Task("?"), Candidate("x"))
    assert noun_of((sample, score)) == "sample"
    assert noun_of((score,)) == "check"
    assert noun_of((sample, sample)) == noun_of((CallTool("t"),)) == "round"


def test_what_a_stopping_belief_rejected_is_its_nearest_course() -> None:
    terms = Terms(1.0, 0.3, 9, Priors(DEFAULT_PRIORS.voting, (0.5, 2.0)))
    ways = [("draw", ExactBelief(0), terms), ("dear", ExactBelief(0), Terms(1.0, 0.9, 9, terms.priors))]
    index, way, rows = judge(ways)
    assert way.size == 0
    index, rows = weighed(ways, rows)
    assert index == 0
    assert rows[0].gain == pytest.approx(0.2)
    assert rows[0].net == pytest.approx(0.2 - 0.3)
    assert all(row.size == 0 and row.net < 0 for row in rows)


def _solve(strategy: Any, checks: Any = (), **budget: float) -> Solution:
    async def main() -> Solution:
        engine = Engine("m", journal=False)
        engine.register("m", ScriptedModel(["Answer: 7"] * 99), Price.per_million(1, 4))
        async with engine:
            given = Budget(**budget)  # type: ignore[arg-type]
            return await engine.solve("3+4?", budget=given, answer="number", strategy=strategy, checks=checks, seed=1)

    return anyio.run(main)


def test_a_solution_carries_the_words_of_its_stop() -> None:
    done = _solve(SelfConsistency(), usd=0.01, worth=0.05)
    assert done.stop_reason == "value"
    assert re.fullmatch(r"stop: \S+ more samples?: \+\S+% x \$0.05 = \$\S+ < \$\S+", done.stop_said), done.stop_said
    assert done.decisions[0].said.startswith("one more sample")
    again = Solution.from_dict(done.to_dict(), Task("3+4?"))
    assert again.stop_said == done.stop_said
    assert again.decisions == done.decisions
    old = done.to_dict()
    del old["stop_said"]
    for row in old["decisions"]:
        del row["said"]
        for way in row["alternatives"]:
            del way["each"]
    assert Solution.from_dict(old, Task("3+4?")).stop_said == ""


def test_budgets_and_checks_say_so_too() -> None:
    done = _solve(SelfConsistency(samples=50), calls=3)
    assert done.stop_reason == "budget_calls"
    assert done.stop_said == "stop: the next sample may take up to 1 call, 0 calls left"
    never = _solve(BestOfN(), [lambda task, candidate: Verdict(0.0, exact=True)], usd=0.05, worth=0.002)
    assert never.answer is None
    assert never.stop_said.startswith("folded: no answer is worth giving: one more sample (draw): +")
    passed = _solve(BestOfN(), [lambda task, candidate: Verdict(1.0, exact=True)], usd=0.05, worth=0.05)
    assert passed.stop_said == "an exact check passed the answer"
