"""A limit on every call of a strategy: its own, those of strategies inside it, and those it only offers."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest

from satisfice import Answer, CallerError, Engine, Gather, Offer, Params, Plan, Price, Sample, ScriptedModel, Task
from satisfice.core.completions import Request, Response
from satisfice.core.errors import ModelRefused
from satisfice.core.plans import Strategy
from satisfice.strategies import Cascade, Fusion, SelfConsistency, SingleShot, Workflow
from satisfice.strategies.limiting import Limited, with_params
from satisfice.strategies.pool import Pool
from satisfice.strategies.prompting import draw
from satisfice.strategies.registry import address_of, find, models_of, settings_of
from satisfice.testing.strategy import StrategyContract

STEPS = {"steps": [{"do": "strategy", "name": "self_consistency", "settings": {"samples": 2}}]}
LONG = SingleShot(params=Params(max_tokens=900), model="m")
WAYS: dict[str, Strategy] = {
    "votes": SelfConsistency(samples=3),
    "panel": Fusion(members=(LONG, SelfConsistency(samples=2))),
    "cascade": Cascade(stages=(SingleShot(), LONG)),
    "workflow": Workflow.of(STEPS),
}


class TestLimited(StrategyContract):
    @pytest.fixture(
        params=[
            SelfConsistency(samples=3),
            Fusion(members=(SelfConsistency(samples=2),) * 2),
            Cascade(stages=(SingleShot(), SelfConsistency())),
        ],
        ids=lambda inner: inner.name,
    )
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return Limited(request.param, 9)


@dataclass
class Heard:
    """A model that keeps the parameters that it is sent."""

    sent: list[Params]

    async def complete(self, request: Request) -> Response:
        self.sent.append(request.params)
        return await ScriptedModel([f"Answer: {len(self.sent) % 2}"] * 32).complete(request)


async def sent(strategy: Strategy) -> list[Params]:
    model = Heard([])
    async with Engine("m", journal=False) as engine:
        engine.register("m", model, Price.per_million(1, 4))
        await engine.solve("1 + 1?", budget=1, answer="number", strategy=strategy)
    return model.sent


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_no_call_has_more_tokens_wherever_it_is_made(way: str) -> None:
    assert max(p.max_tokens for p in await sent(WAYS[way])) > 20
    limited = await sent(with_params(WAYS[way], 20, None))
    assert {p.max_tokens for p in limited} == {20}


@pytest.mark.anyio
async def test_what_asks_for_less_stays_and_its_own_params_may_have_more() -> None:
    small = SingleShot(params=Params(max_tokens=7))
    panel = Fusion(members=(small, small), method="synthesis")
    assert {p.max_tokens for p in await sent(with_params(panel, 2000, None))} <= {7, 2000}
    assert [p.max_tokens for p in await sent(with_params(SingleShot(), 2000, None))] == [2000]


def test_a_temperature_is_for_the_draws_of_all_members() -> None:
    made: Any = with_params(Fusion(members=(SingleShot(), Fusion(members=(SelfConsistency(),)))), None, 0.3)
    assert made.params.temperature == 0.3
    assert made.members[0].params.temperature == 0.3
    assert made.members[1].members[0].params.temperature == 0.3
    assert made.members[1].members[0].consensus_params.temperature == 0.0
    untouched = Cascade()
    assert with_params(untouched, None, None) is untouched


def test_it_is_stored_and_found_again_under_the_name_of_what_it_limits() -> None:
    limited = Limited(WAYS["panel"], 20)
    settings = json.loads(json.dumps(settings_of(limited)))
    assert find(address_of(limited), **settings) == limited
    assert (limited.name, models_of(limited)) == ("fusion", ("m",))


def own(task: Task) -> Plan[Answer]:
    """A strategy without any setting."""
    pool = Pool.of(task)
    sample = draw(task, None, Params(max_tokens=300))
    try:
        yield from Gather((sample, sample))
    except ModelRefused:
        yield from pool.take((yield from sample))
    return pool.end()


def test_errors_and_replies_reach_the_plan() -> None:
    task = Task.of("1 + 1?", "number")
    plan: Generator[Any, Any, Answer] = Limited(own, 5)(task)
    first = next(plan)
    assert [branch.params.max_tokens for branch in first.branches] == [5, 5]
    second = plan.throw(ModelRefused("no"))
    assert isinstance(second, Sample)
    assert second.params.max_tokens == 5
    plan.close()
    assert tuple(Limited(own, 5).needs(task)) == ()


def test_offers_are_limited_too() -> None:
    offer = next(Limited(SelfConsistency(samples=3), 5)(Task.of("1 + 1?", "number")))
    assert isinstance(offer, Offer)
    assert {one.params.max_tokens for one in offer.step} == {5}  # type: ignore[attr-defined]


@pytest.mark.parametrize("most", [0, 1.5, True])
def test_bad_limits(most: Any) -> None:
    with pytest.raises(CallerError, match="max_tokens"):
        Limited(SingleShot(), most)
