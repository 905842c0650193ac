"""Strategies inside strategies: each nest keeps the whole contract, and what is paid for inside is known outside."""

from __future__ import annotations

import pytest

from satisfice.core.plans import Strategy
from satisfice.core.task import Task
from satisfice.scheduler.offline import perform
from satisfice.strategies.registry import strategy_of
from satisfice.testing.driver import Script, make_run
from satisfice.testing.strategy import StrategyContract
from satisfice.verifiers.check import Check

CASCADE = '{"strategy":"cascade","stages":["single_shot","best_of_n:most=2"]}'
PANEL = '{"strategy":"fusion","members":["single_shot","single_shot"]}'
NESTS = {
    "fusion of reflexion and voting": 'fusion:members=["reflexion:rounds=2","self_consistency:samples=2"]',
    "cascade of three": 'cascade:stages=["single_shot","self_consistency:samples=3","tree_search:steps=4"]',
    "search with cascades as leaves": "tree_search:steps=4,leaf=" + CASCADE,
    "reflexion over a cascade": "reflexion:rounds=2,actor=" + CASCADE,
    "experts that debate and vote": 'experts:arms=["debate:agents=2,rounds=1","self_consistency:samples=2"],k=2',
    "fusion of fusions": f'fusion:members=["single_shot",{PANEL}],method=vote',
}


class TestNests(StrategyContract):
    cap = 0.03

    @pytest.fixture(params=list(NESTS))
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return strategy_of(NESTS[request.param])

    @pytest.fixture(params=["checked", "unchecked"])
    def task(self, request: pytest.FixtureRequest) -> Task:
        checks = (Check(lambda n: n == 2),) if request.param == "checked" else ()
        return Task.of("How much is 1 + 1?", "number", checks=checks)


@pytest.mark.parametrize("nest", list(NESTS))
def test_what_is_found_inside_is_in_the_pool_of_the_run(nest: str) -> None:
    """Every candidate that was paid for, however deep, once."""
    script = Script()
    run = perform(make_run(strategy_of(NESTS[nest]), budget=0.05), script)
    assert run.outcome is not None
    paths = [c.path for c in run.outcome.found]
    assert len(paths) == len(set(paths)) >= 1
    assert not any(c.thought for c in run.outcome.found)
    answer = run.outcome.answer
    assert answer is not None
    assert answer.candidate is not None
    assert answer.candidate.path in paths


@pytest.mark.parametrize("nest", list(NESTS))
def test_no_answer_is_checked_twice(nest: str) -> None:
    """The check is asked once per answer and plan that did not know it: never again of what came with a verdict."""
    seen: list[float] = []

    def check(value: float) -> bool:
        seen.append(value)
        return False

    task = Task.of("How much is 1 + 1?", "number", checks=(Check(check),))
    run = perform(make_run(strategy_of(NESTS[nest]), task, 0.05), Script(text=lambda asked, seed: "Answer: 1"))
    assert run.outcome is not None
    assert run.outcome.answer is None or run.outcome.answer.candidate is None
    told = [j for j in run.verdicts.told if j.verdict.score is not None]
    assert len(told) == len({(j.verifier.partition("#")[0], j.candidate) for j in told})
