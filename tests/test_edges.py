"""Edges that were once wrong: each is a way in which a caller lost money, an answer, or the truth."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from satisfice import (
    Ask,
    BadQuery,
    Budget,
    CallerError,
    Candidate,
    Completion,
    Engine,
    Message,
    ModelUnavailable,
    Params,
    Policy,
    Price,
    Race,
    Request,
    Response,
    Sample,
    ScriptedModel,
    SelfConsistency,
    Settings,
    SingleShot,
    Usage,
    VotingBelief,
)
from satisfice.budgets.prices import Tier
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.core.belief import Terms
from satisfice.core.errors import BadSettings
from satisfice.core.plans import Answer
from satisfice.core.task import Task
from satisfice.core.verdict import Verdict
from satisfice.models.catalog import Catalog
from satisfice.scheduler.nodes import Reply
from satisfice.scheduler.sharing import share
from satisfice.scheduler.solution import Solution

PRICE = Price.per_million(1, 4)
SEED = 4


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def engine(model: Any, **options: Any) -> Engine:
    batch = options.pop("batch", 1)
    options.setdefault("journal", False)
    made = Engine("m", **options)
    made.register("m", model, PRICE, batch=batch)
    return made


@pytest.mark.parametrize(("first", "second", "rest"), [(41, 0, 0), (64, 0, 0), (60, 1, 3), (33, 33, 0), (1, 1, 70)])
def test_more_votes_than_the_tables_hold(first: int, second: int, rest: int) -> None:
    terms = Terms(1.0, 1e-3, 10, DEFAULT_PRIORS)
    p = VotingBelief(first, second, rest, limit=200).p(terms)
    assert p is not None
    assert 0 <= p <= 1


@pytest.mark.anyio
async def test_sixty_four_votes_that_agree_are_an_answer() -> None:
    policy = Policy(fitted=True, name="fitted")
    async with engine(ScriptedModel(["Answer: 42"]), policy=policy) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=SelfConsistency(samples=64, most=64))
    assert (solution.answer, solution.spend.calls) == ("42", 64)
    assert solution.confidence is not None


def test_a_batch_costs_what_its_call_costs_at_the_tier_of_its_prompt() -> None:
    price = Price(1000, 2000, tiers=(Tier(100, 3000, 9000),), per_call=7)
    usage = Usage(200, 40)
    response = Response((Completion("a", tokens=10), Completion("b", tokens=30)), usage)
    replies = share(response, 2, 0.1, price)
    assert sum(r.nanos or 0 for r in replies if isinstance(r, Reply)) == price.cost(usage)
    short = share(response, 3, 0.1, price)
    assert isinstance(short[2], ModelUnavailable)
    assert not short[2].sent


@pytest.mark.parametrize(
    "name", ["max_tokens", "max_completion_tokens", "n_predict", "service_tier", "tools", "api_key"]
)
def test_parameters_that_change_the_bill_are_refused(name: str) -> None:
    from satisfice.models.lite import LiteModel

    request = Request((Message("user", "x"),), Params(extra=((name, 5),)))
    with pytest.raises(BadQuery, match=name):
        anyio.run(LiteModel("openai/gpt-4o-mini", api_base="http://127.0.0.1:9").complete, request)
    if name not in ("max_tokens", "api_key"):
        with pytest.raises(Exception, match=name):
            Settings(models={"a": {"model": "openai/x", "params": {name: 5}}})


def test_a_server_of_ones_own_is_not_trusted_with_n() -> None:
    alias = {"model": "openai/x", "api_base": "http://127.0.0.1:9", "price": {"prompt": 1, "completion": 1}}
    assert Catalog(Settings(models={"a": alias})).entry("a").batch == 1
    assert Catalog(Settings(models={"a": {**alias, "batch": 4}})).entry("a").batch == 4
    assert Catalog(Settings()).entry("openai/gpt-4o-mini").batch == 8


@pytest.mark.anyio
async def test_resuming_comes_to_the_same_answer_when_worth_is_said(tmp_path: Any) -> None:
    """Estimates of a reply's length are part of the terms: a resumed run has to have those of the first."""

    def reply(request: Request, index: int) -> str:
        return "Answer: 1" if request.seed and request.seed % 2 == 0 else "Answer: 2"

    request = {"budget": Budget(usd=1, worth=0.2), "answer": "number", "strategy": SelfConsistency(), "seed": SEED}
    async with engine(ScriptedModel(reply), journal=tmp_path / "whole.db") as e:
        whole = await e.solve("q", **request)
    assert whole.spend.calls >= 4

    calls = 0

    class Dies:
        async def complete(self, sent: Request) -> Response:
            nonlocal calls
            calls += 1
            if calls == 3:
                await anyio.sleep_forever()
            return await ScriptedModel(reply).complete(sent)

    async with engine(Dies(), journal=tmp_path / "cut.db") as e:
        with anyio.move_on_after(0.5):
            await e.solve("q", **request)
        (record,) = await e.journal.runs(5)
    async with engine(ScriptedModel(reply), journal=tmp_path / "cut.db") as e:
        again = await e.resume(record.id)
    assert again.answer == whole.answer
    assert [d.size for d in again.decisions] == [d.size for d in whole.decisions]
    costs = [[d.alternatives[0].cost for d in s.decisions] for s in (whole, again)]
    assert costs[1] == pytest.approx(costs[0])


async def posted(engine: Engine) -> int:
    (whole,) = await engine.ledger.standings()
    return whole.balances[0].posted[0]


@pytest.mark.anyio
async def test_a_limit_is_charged_once_for_a_run_that_is_resumed(tmp_path: Any) -> None:
    class Asks:
        name = "asks"

        def __call__(self, task: Any) -> Any:
            one = yield from Sample(task.messages, task)
            said = yield from Ask("go on?", ("yes", "no"))
            return Answer(Candidate(said, said, one.key))

    async with engine(ScriptedModel(["Answer: 7"]), journal=tmp_path / "a.db", limit=1.0) as e:
        waiting = await e.solve("q", budget=0.1, answer="number", strategy=Asks())
        assert waiting.options == ("yes", "no")
        before = await posted(e)
        with pytest.raises(CallerError, match="no strategy"):
            await e.resume(waiting.run_id, strategy=lambda task: True)  # type: ignore[arg-type, return-value]
        assert await posted(e) == before > 0
        assert (await e.journal.find(waiting.run_id)).spent_nanos == before
        with pytest.raises(CallerError, match="none of the options"):
            await e.reply(waiting.run_id, "maybe", strategy=Asks())
        done = await e.reply(waiting.run_id, "yes", strategy=Asks())
        assert done.answer == "yes"
        assert await posted(e) == before == done.spend.nanos


@pytest.mark.anyio
async def test_calls_that_wait_for_a_place_are_not_billed_when_they_are_cancelled() -> None:
    class Racer:
        name = "racer"

        def __call__(self, task: Any) -> Any:
            won = yield from Race(
                tuple(Sample(task.messages, task, params=Params(temperature=i / 10)) for i in range(4))
            )
            return Answer(next(c for c in won if c))

    made = engine(ScriptedModel(["Answer: 7"]))
    entry = made.catalog.entry
    from dataclasses import replace

    made.catalog.entry = lambda name: replace(entry(name), concurrency=1)  # type: ignore[method-assign]
    async with made as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=Racer())
    assert (solution.answer, solution.spend.calls) == ("7", 1)


@pytest.mark.anyio
async def test_doubling_a_single_shot_does_not_promise_the_first_answer_again() -> None:
    async with engine(ScriptedModel(["Answer: 7"])) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        failing = await e.solve("q", budget=Budget(calls=5), answer="number", checks=[lambda x: False])
    assert solution.if_doubled.gain == 0.0  # one more vote can only agree or tie
    assert failing.if_doubled.gain is not None
    chance, missed = 0.0, 1.0
    for k in range(5, 10):
        missed *= (1.0 + k) / (1.5 + k)
        chance = 1 - missed
    assert failing.if_doubled.gain == pytest.approx(chance)


@pytest.mark.anyio
async def test_with_only_a_cap_the_first_answer_is_bought_however_poor_the_prior() -> None:
    policy = Policy(voting=((0.004, 0.5, 1.0),), success=(0.004, 1.0), fitted=True)
    async with engine(ScriptedModel(["Answer: 7"]), policy=policy) as e:
        solution = await e.solve("q", budget=1, answer="number")
        assert (solution.answer, solution.decisions[0].reason) == ("7", "first answer")
        declined = await e.solve("q", budget=Budget(usd=1, worth=1, wrong=1000), answer="number")
    assert (declined.abstained, declined.spend.calls, declined.stop_reason) == (True, 0, "value")


@pytest.mark.anyio
async def test_what_an_engine_has_seen_prices_its_next_request() -> None:
    async with engine(ScriptedModel(["7"])) as e:
        request: dict[str, Any] = {"budget": Budget(usd=1, worth=0.01), "answer": "number", "strategy": "single_shot"}
        first = await e.solve("q", **request)
        second = await e.solve("q", **request)
    costs = [s.decisions[0].alternatives[0].cost for s in (first, second)]
    assert costs[1] < costs[0] / 10


@pytest.mark.anyio
async def test_a_broken_check_is_told_and_not_paid_for_long() -> None:
    def boom(answer: Any) -> bool:
        raise RuntimeError("boom in check")

    async with engine(ScriptedModel([f"Answer: {i}" for i in range(50)])) as e:
        solution = await e.solve("q", budget=1, answer="number", checks=[boom])
    assert solution.abstained
    assert (solution.stop_reason, solution.spend.calls) == ("checks_failed", 3)
    assert solution.warnings == ("check 'boom' failed: RuntimeError: boom in check (3 times)",)


@pytest.mark.anyio
async def test_a_bill_above_the_worst_case_is_told() -> None:
    async with engine(ScriptedModel(["Answer: 7"], usage=Usage(500_000, 5))) as e:
        solution = await e.solve("q", budget=0.01, answer="number", strategy="single_shot")
    assert "above the worst case" in solution.warnings[0]


@pytest.mark.anyio
async def test_calls_that_make_no_sense_are_the_callers_fault() -> None:
    async def watch(event: Any) -> None: ...

    async with engine(ScriptedModel(["Answer: 7"])) as e:
        for wrong in ({"on_event": watch}, {"on_cancel": "zzz"}, {"strategy": lambda task: True}):
            with pytest.raises(CallerError):
                await e.solve("q", budget=1, **wrong)  # type: ignore[arg-type]
        assert (await e.solve("q", budget=1, choices=["a", "b"], strategy="single_shot")).abstained
    with pytest.raises(CallerError, match="temperature"):
        Params(temperature=float("nan"))
    with pytest.raises(CallerError, match="pico-dollars"):
        Price(1.0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(BadSettings, match="no model"):
        Catalog(Settings(pools={"a": ["b"], "b": ["a"]})).expand(["a"])


@pytest.mark.parametrize("fields", [{"success": (0, 0)}, {"voting": ()}, {"format": 99}, {"voting": ((2, 0, 1),)}])
def test_a_policy_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Policy(**fields)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -3, 5.0, "x", [1], True])
@pytest.mark.parametrize("blocking", [False, True])
def test_a_score_that_is_none_is_unknown_and_says_so(score: Any, blocking: bool) -> None:
    class Odd:
        name = "odd"

        def __call__(self, task: Task, candidate: Candidate) -> Verdict:
            return Verdict(score, evidence="\ud800")

    Odd.blocking = blocking  # type: ignore[attr-defined]

    async def main() -> Solution:
        engine = Engine("m", journal=False)
        engine.register("m", ScriptedModel(["Answer: 7"]), Price.per_million(1, 4))
        async with engine:
            return await engine.solve("?", answer="number", checks=[Odd()], budget=Budget(calls=2))

    solution = anyio.run(main)
    assert [c.answer for c in solution.candidates] == ["7", "7"]
    assert any("expected 0 to 1" in warning for warning in solution.warnings)
