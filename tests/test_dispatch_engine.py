"""Fallbacks, breakers, hedges, the cache and stale answers, through a whole engine on asyncio and trio."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.ledger.accounts import Account, Limit
from satisfice.budgets.ledger.ledger import Ledger
from satisfice.budgets.prices import Price
from satisfice.core.completions import Completion, Message, Params, Request, Response, Usage
from satisfice.core.effects import Gather, Race, Sample
from satisfice.core.errors import BadCompletion, CircuitOpen, ModelBusy, ModelUnavailable, NoAnswer
from satisfice.core.plans import Answer
from satisfice.models.settings import DispatchSettings, ModelSettings, Rates, Settings
from satisfice.scheduler.engine import Engine
from satisfice.scheduler.events import Received
from satisfice.scheduler.live import Live
from satisfice.scheduler.log import Log
from satisfice.strategies import SelfConsistency, SingleShot

pytestmark = pytest.mark.anyio
CHEAP, DEAR = Price.per_million(1, 1), Price.per_million(10, 10)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satisfice.scheduler.dispatch.attempts.BACKOFF", 0.0005)


class Served:
    """Replies as `how` says (a text, an exception, or something to await first), and counts."""

    def __init__(self, how: Callable[[Request, int], Any]) -> None:
        self.how, self.sent, self.done, self.cancelled = how, 0, 0, 0

    async def complete(self, request: Request) -> Response:
        self.sent += 1
        number = self.sent
        try:
            said = self.how(request, number)
            if isinstance(said, Awaitable):
                said = await said
            await anyio.lowlevel.checkpoint()
        except BaseException as error:
            self.cancelled += not isinstance(error, Exception)
            raise
        if isinstance(said, Exception):
            raise said
        self.done += 1
        return Response((Completion(said),) * request.n, Usage(20, 10 * request.n))


def says(text: str) -> Served:
    return Served(lambda request, number: f"Answer: {text}")


def down() -> Served:
    return Served(lambda request, number: ModelUnavailable("down", status=500))


async def slowly(text: str, seconds: float = 60.0) -> str:
    await anyio.sleep(seconds)
    return f"Answer: {text}"


def made(
    models: dict[str, Any], tmp: Path | None = None, prices: dict[str, Price] | None = None, **more: Any
) -> Engine:
    """An engine whose models are (Served, settings)."""
    dispatch = DispatchSettings(**more.pop("dispatch", {}))
    settings = Settings(
        models={name: ModelSettings(model=f"own/{name}", **facts) for name, (_, facts) in models.items()},
        dispatch=dispatch,
        home=tmp or Path("absent"),
        providers=more.pop("providers", {}),
    )
    engine = Engine(more.pop("use", "a"), settings=settings, journal=more.pop("journal", False), **more)
    for name, (model, _) in models.items():
        engine.register(name, model, (prices or {}).get(name, CHEAP), batch=1)
    return engine


def ask(text: str, task: Any, most: int = 16) -> Sample:
    return Sample((Message("user", text),), task, None, Params(max_tokens=most))


class Plan:
    """A strategy from a generator function."""

    def __init__(self, plan: Callable[[Any], Any], name: str = "plan") -> None:
        self._plan, self.name = plan, name

    def __call__(self, task: Any) -> Any:
        return self._plan(task)


# -- fallbacks --------------------------------------------------------------------------------------------------------


async def test_after_its_retries_a_call_goes_to_the_next_fallback_at_its_price() -> None:
    a, b = down(), says("7")
    async with made({"a": (a, {"retries": 1, "fallbacks": ["b"]}), "b": (b, {})}, prices={"b": DEAR}) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=SingleShot())
    assert (solution.answer, a.sent, b.sent) == ("7", 2, 1)
    assert [c.model for c in solution.candidates] == ["b"]
    assert solution.spend.nanos == DEAR.cost(Usage(20, 10))


async def test_a_fallback_that_the_purse_cannot_pay_is_passed_over() -> None:
    a, b, c = down(), says("7"), says("8")
    models = {"a": (a, {"retries": 0, "fallbacks": ["b", "c"]}), "b": (b, {}), "c": (c, {})}
    async with made(models, prices={"b": Price.per_million(10**6, 10**6)}) as e:
        solution = await e.solve("q", budget=0.01, answer="number", strategy=SingleShot())
    assert (solution.answer, b.sent, c.sent) == ("8", 0, 1)


async def test_a_reply_that_is_not_to_be_tried_again_is_not_put_to_another_model() -> None:
    a, b = Served(lambda r, n: BadCompletion("garbage")), says("7")
    async with made({"a": (a, {"fallbacks": ["b"]}), "b": (b, {})}) as e:
        with pytest.raises(NoAnswer):
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
    assert (a.sent, b.sent) == (1, 0)


async def test_the_worth_of_an_answer_does_not_depend_on_a_dear_fallback() -> None:
    worths = []
    for fallbacks in ((), ("b",)):
        async with made({"a": (says("7"), {"fallbacks": fallbacks}), "b": (says("7"), {})}, prices={"b": DEAR}) as e:
            solution = await e.solve("q", budget=1, answer="number", strategy=SelfConsistency())
            worths.append([d.price for d in solution.decisions])
    assert worths[0] == worths[1]


async def test_a_resumed_run_goes_on_with_the_model_of_its_attempt(tmp_path: Path) -> None:
    hung = anyio.Event()

    async def hang() -> str:
        hung.set()
        await anyio.sleep(60)
        return "Answer: 1"

    a, b = down(), Served(lambda r, n: hang() if n == 1 else "Answer: 7")
    models = {"a": (a, {"retries": 0, "fallbacks": ["b"]}), "b": (b, {"retries": 1})}
    async with made(models, tmp_path, journal=tmp_path / "runs.db") as e:
        async with anyio.create_task_group() as group:

            async def solve() -> None:
                await e.solve("q", budget=1, answer="number", strategy=SingleShot())

            group.start_soon(solve)
            await hung.wait()
            group.cancel_scope.cancel()
        (run,) = await e.journal.runs(10)
        solution = await e.resume(run.id)
        assert (solution.answer, a.sent, b.sent) == ("7", 1, 2)
        again = await e.resume(run.id)
        assert again.spend.nanos == solution.spend.nanos
        _, rows = await e.journal.load(run.id)
    assert [(r.attempt, r.kind) for r in rows if r.effect == "sample"] == [
        (n, kind) for n in range(3) for kind in ("intent", "reply")
    ]
    assert sum(r.nanos for r in rows if r.kind == "reply") == solution.spend.nanos  # one lost at its hold


# -- breakers ---------------------------------------------------------------------------------------------------------


async def test_an_open_breaker_sends_nothing_and_the_fallback_answers_at_once() -> None:
    a, b = down(), says("7")
    models = {"a": (a, {"retries": 2, "fallbacks": ["b"]}), "b": (b, {})}
    async with made(models, dispatch={"breaker_failures": 2}) as e:
        for _ in range(5):
            assert (await e.solve("q", budget=1, answer="number", strategy=SingleShot())).answer == "7"
    assert (a.sent, b.sent) == (2, 5)


async def test_a_half_open_breaker_lets_one_call_see() -> None:
    now, well = [100.0], [False]
    a = Served(lambda r, n: "Answer: 7" if well[0] else ModelUnavailable("down"))
    async with made({"a": (a, {"retries": 0})}, dispatch={"breaker_failures": 1, "breaker_seconds": 30}) as e:
        e.dispatcher.clock = e.dispatcher.turns._clock = lambda: now[0]
        for sent in (1, 1):
            with pytest.raises(NoAnswer):
                await e.solve("q", budget=1, answer="number", strategy=SingleShot())
            assert a.sent == sent
        now[0] += 31
        with pytest.raises(NoAnswer):
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        well[0] = True
        now[0] += 59
        with pytest.raises(NoAnswer, match="tried again in 1 s"):
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        now[0] += 2
        assert (await e.solve("q", budget=1, answer="number", strategy=SingleShot())).answer == "7"
        assert (await e.solve("q", budget=1, answer="number", strategy=SingleShot())).answer == "7"
    assert a.sent == 4


async def test_with_every_breaker_open_each_is_named_and_nothing_is_spent() -> None:
    models = {"a": (down(), {"retries": 0, "fallbacks": ["b"]}), "b": (down(), {"retries": 0})}
    async with made(models, dispatch={"breaker_failures": 1}) as e:
        with pytest.raises(NoAnswer):
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        with pytest.raises(
            NoAnswer, match=r"every model of this request \(2\).*a is tried.*b is tried|b is.*a is"
        ) as told:
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
    assert told.value.details["cause"]["code"] == CircuitOpen.code


# -- turns ------------------------------------------------------------------------------------------------------------


async def test_a_call_that_would_wait_too_long_is_not_sent_and_costs_nothing(tmp_path: Path) -> None:
    a = says("7")
    async with await Ledger.open(None, [Account("global", None, (Limit.of(usd=1),))]) as ledger:
        async with made({"a": (a, {"rpm": 1, "queue_seconds": 5})}, ledger=ledger) as e:
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
            with pytest.raises(NoAnswer, match="wait for a turn") as told:
                await e.solve("q", budget=1, answer="number", strategy=SingleShot())
            assert told.value.details["cause"]["code"] == ModelBusy.code
            with pytest.raises(NoAnswer, match="wait for a turn"):  # past the run's own deadline
                await e.solve("q", budget=Budget(usd=1, seconds=2), answer="number", strategy=SingleShot())
        (standing,) = [s for s in await ledger.standings() if s.account.name == "global"]
    (balance,) = standing.balances
    assert (a.sent, balance.posted[2], tuple(balance.pending)) == (1, 1, (0, 0, 0))


async def test_what_waits_for_a_fallbacks_turn_is_not_what_was_busy() -> None:
    a, b = says("7"), says("8")
    async with made({"a": (a, {"rpm": 1, "queue_seconds": 1, "fallbacks": ["b"]}), "b": (b, {})}) as e:
        answers = [(await e.solve("q", budget=1, answer="number", strategy=SingleShot())).answer for _ in range(3)]
    assert answers == ["7", "8", "8"]


async def test_a_refusal_pauses_the_whole_model() -> None:
    a = Served(lambda r, n: ModelUnavailable("slow down", status=429, retry_after=40.0) if n == 1 else "Answer: 7")
    async with made({"a": (a, {"retries": 0, "queue_seconds": 10})}) as e:
        for _ in range(3):
            with pytest.raises(NoAnswer):
                await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        left = e.dispatcher.gate("a").lanes[0].paused_until - monotonic()
    assert a.sent == 1
    assert 30 < left <= 40


async def test_models_of_one_provider_share_its_places() -> None:
    most = now = 0

    async def busy() -> str:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await anyio.sleep(0.001)
        now -= 1
        return "Answer: 7"

    a, b = Served(lambda r, n: busy()), Served(lambda r, n: busy())
    models = {"a": (a, {"provider": "p"}), "b": (b, {"provider": "p"})}
    async with made(models, providers={"p": Rates(concurrency=2)}) as e, anyio.create_task_group() as group:

        async def solve(name: str) -> None:
            await e.solve("q", budget=1, answer="number", strategy=SingleShot(), models=name)

        for i in range(12):
            group.start_soon(solve, "ab"[i % 2])
    assert (a.done, b.done, most) == (6, 6, 2)


# -- hedges -----------------------------------------------------------------------------------------------------------


async def hedged(tmp: Path, budget: Any = 1, **facts: Any) -> tuple[Any, Served, list[Any], Any]:
    """One question, whose first call hangs."""
    a = Served(lambda r, n: slowly("1") if n == 1 else "Answer: 7")
    async with await Ledger.open(None, [Account("global", None, (Limit.of(usd=1),))]) as ledger:
        engine = made({"a": (a, {"hedge_after": 0.02} | facts)}, tmp, journal=tmp / "runs.db", ledger=ledger)
        async with engine as e:
            solution = await e.solve("q", budget=budget, answer="number", strategy=SingleShot())
            _, rows = await e.journal.load(solution.run_id)
            again = await e.resume(solution.run_id)
            assert again.spend == solution.spend
        (standing,) = [s for s in await ledger.standings() if s.account.name == "global"]
    return solution, a, rows, standing.balances[0]


async def test_a_slow_call_is_hedged_and_both_are_billed(tmp_path: Path) -> None:
    solution, a, rows, balance = await hedged(tmp_path)
    assert (solution.answer, a.sent, a.cancelled) == ("7", 2, 1)
    calls = [r for r in rows if r.effect == "sample"]
    assert [(r.attempt, r.kind) for r in calls] == [
        (0, "intent"), (0, "reply"), (1000, "intent"), (1000, "reply"),
    ]  # fmt: skip
    assert json.loads(calls[1].payload) == {"hedged": True}
    assert calls[1].nanos == calls[0].nanos  # at its hold
    assert solution.spend.nanos == sum(r.nanos for r in calls if r.kind == "reply") == balance.posted[0]
    assert (solution.spend.calls, tuple(balance.pending)) == (2, (0, 0, 0))


async def test_a_hedge_that_nobody_can_pay_is_not_sent(tmp_path: Path) -> None:
    a = Served(lambda r, n: slowly("7", 0.1))
    async with made({"a": (a, {"hedge_after": 0.01})}, tmp_path) as e:
        solution = await e.solve("q", budget=Budget(calls=1), answer="number", strategy=SingleShot())
    assert (solution.answer, a.sent, solution.spend.calls) == ("7", 1, 1)


async def test_a_hedge_that_the_account_refuses_leaves_the_first_call_alone(tmp_path: Path) -> None:
    a = Served(lambda r, n: slowly("7", 0.1))
    async with await Ledger.open(None, [Account("global", None, (Limit.of(calls=1),))]) as ledger:
        engine = made({"a": (a, {"hedge_after": 0.01})}, tmp_path, ledger=ledger, journal=tmp_path / "r.db")
        async with engine as e:
            solution = await e.solve("q", budget=1, answer="number", strategy=SingleShot())
            assert (await e.resume(solution.run_id)).answer == "7"
    assert (solution.answer, a.sent, solution.spend.calls) == ("7", 1, 1)


@pytest.mark.parametrize("first", ["primary", "hedge"])
async def test_when_one_of_two_fails_the_other_goes_on(tmp_path: Path, first: str) -> None:
    async def fail(seconds: float) -> Exception:
        await anyio.sleep(seconds)
        return ModelUnavailable("down")

    def how(request: Request, number: int) -> Any:
        fails = 1 if first == "primary" else 2
        return fail(0.05) if number == fails else slowly("7", 0.15)

    a = Served(how)
    async with made({"a": (a, {"hedge_after": 0.01, "retries": 0})}, tmp_path, journal=tmp_path / "r.db") as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        _, rows = await e.journal.load(solution.run_id)
    assert (solution.answer, a.sent, solution.spend.calls) == ("7", 2, 1)
    (entry,) = [entry for entry in Log(rows)._entries.values() if entry.effect == "sample"]
    assert entry.reply is not None
    assert "error" not in entry.reply


async def test_both_fail_and_the_call_is_tried_again() -> None:
    async def fail(seconds: float) -> Exception:
        await anyio.sleep(seconds)
        return ModelUnavailable("down")

    a = Served(lambda r, n: fail(0.05) if n <= 2 else "Answer: 7")
    async with made({"a": (a, {"hedge_after": 0.01, "retries": 1})}) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=SingleShot())
    assert (solution.answer, a.sent) == ("7", 3)


async def test_a_race_that_is_won_ends_the_hedges_of_its_losers() -> None:
    def plan(task: Any) -> Any:
        won = yield from Race((ask("slow", task), ask("fast", task)))
        return Answer(next(c for c in won if c))

    def how(request: Request, number: int) -> Any:
        return slowly("1") if request.messages[-1].content == "slow" else slowly("7", 0.1)

    a = Served(how)
    async with made({"a": (a, {"hedge_after": 0.02})}) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=Plan(plan))
        assert [lane.active for lane in e.dispatcher.gate("a").lanes] == [0]
    assert solution.answer == "7"
    assert solution.spend.calls == a.sent


async def test_the_95th_percentile_is_used_once_it_is_known() -> None:
    a = Served(lambda r, n: slowly("7", 0.5) if n == 25 else "Answer: 7")
    async with made({"a": (a, {"hedge_after": "p95"})}) as e:
        for _ in range(24):
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        assert a.sent == 24
        await e.solve("q", budget=1, answer="number", strategy=SingleShot())
    assert a.sent == 26


# -- cache ------------------------------------------------------------------------------------------------------------

CACHE = {"cache": True, "cache_entries": 50}


def numbered() -> Served:
    return Served(lambda r, n: f"Answer: {n}")


async def test_an_equal_request_is_answered_from_the_cache_and_costs_nothing(tmp_path: Path) -> None:
    a, events = numbered(), []
    async with await Ledger.open(None, [Account("global", None, (Limit.of(usd=1),))]) as ledger:
        async with made({"a": (a, {})}, tmp_path, dispatch=CACHE, ledger=ledger, journal=tmp_path / "r.db") as e:
            first = await e.solve("q", budget=1, answer="number", strategy=SingleShot())
            second = await e.solve("q", budget=1, answer="number", strategy=SingleShot(), on_event=events.append)
            other = await e.solve("p", budget=1, answer="number", strategy=SingleShot())
            assert (await e.resume(second.run_id)).answer == "1"
        (standing,) = [s for s in await ledger.standings() if s.account.name == "global"]
    assert (first.answer, second.answer, other.answer, a.sent) == ("1", "1", "2", 2)
    assert (second.spend.nanos, second.spend.tokens, second.spend.calls) == (0, 0, 0)
    assert [c.cached for c in (*first.candidates, *second.candidates)] == [False, True]
    assert [event.cached for event in events if isinstance(event, Received)] == [True]
    assert standing.balances[0].posted[0] == first.spend.nanos + other.spend.nanos
    assert tuple(standing.balances[0].pending) == (0, 0, 0)


async def test_samples_of_one_run_stay_different_ones() -> None:
    def plan(task: Any) -> Any:
        found = yield from Gather((ask("x", task),) * 3)
        last = yield from ask("x", task)
        return Answer(last if found else None)

    a = numbered()
    async with made({"a": (a, {})}, dispatch=CACHE) as e:
        first = await e.solve("q", budget=1, answer="number", strategy=Plan(plan))
        second = await e.solve("q", budget=1, answer="number", strategy=Plan(plan))
    assert sorted(c.answer or "" for c in first.candidates) == ["1", "2", "3", "4"]
    assert [c.answer for c in second.candidates] == [c.answer for c in first.candidates]
    assert a.sent == 4


async def test_tenants_and_requests_that_are_not_to_be_stored_stay_apart(tmp_path: Path) -> None:
    tree = [Account("global", None), Account("one"), Account("two")]
    a = numbered()
    async with await Ledger.open(None, tree) as ledger:
        engine = made({"a": (a, {})}, tmp_path, dispatch=CACHE, ledger=ledger)
        async with engine as e:

            async def answer(account: str, **more: Any) -> str | None:
                return (
                    await e.solve("q", budget=1, answer="number", strategy=SingleShot(), account=account, **more)
                ).answer

            said = [await answer("one"), await answer("two"), await answer("one"), await answer("one", store=False)]
            said += [await answer("two", store=False), await answer("two")]
    assert said == ["1", "2", "1", "3", "4", "2"]


async def test_a_model_that_is_registered_anew_is_asked_anew() -> None:
    async with made({"a": (says("7"), {})}, dispatch=CACHE) as e:
        assert (await e.solve("q", budget=1, answer="number", strategy=SingleShot())).answer == "7"
        e.register("a", says("8"), CHEAP)
        assert (await e.solve("q", budget=1, answer="number", strategy=SingleShot())).answer == "8"


async def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    a = numbered()
    async with made({"a": (a, {})}, dispatch={"cache": True, "cache_entries": 2}) as e:
        for text in ("x", "y", "x", "z", "x", "y"):
            await e.solve(text, budget=1, answer="number", strategy=SingleShot())
        assert e.dispatcher.cache is not None
        assert len(e.dispatcher.cache) == 2
    assert a.sent == 4


async def test_equal_requests_at_the_same_time_are_one_call() -> None:
    a = Served(lambda r, n: slowly(str(n), 0.05))
    answers: list[str | None] = []
    spent: list[int] = []
    async with made({"a": (a, {})}, dispatch=CACHE) as e, anyio.create_task_group() as group:

        async def solve() -> None:
            solution = await e.solve("q", budget=1, answer="number", strategy=SingleShot())
            answers.append(solution.answer)
            spent.append(solution.spend.calls)

        for _ in range(20):
            group.start_soon(solve)
    assert (set(answers), a.sent, sum(spent)) == ({"1"}, 1, 1)


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_the_next_one_takes_over_where_the_payer_fails(how: str) -> None:
    started = anyio.Event()

    async def first() -> Any:
        started.set()
        if how == "fails":
            await anyio.sleep(0.05)
            return BadCompletion("garbage")
        await anyio.sleep(60)
        return "Answer: 1"

    a = Served(lambda r, n: first() if n == 1 else slowly(str(n), 0.02))
    said: list[str | None] = []
    async with made({"a": (a, {})}, dispatch=CACHE) as e, anyio.create_task_group() as group:

        async def payer() -> None:
            with anyio.CancelScope() as scope:
                stop.append(scope)
                with pytest.raises(NoAnswer):
                    await e.solve("q", budget=1, answer="number", strategy=SingleShot())

        async def other() -> None:
            said.append((await e.solve("q", budget=1, answer="number", strategy=SingleShot())).answer)

        stop: list[anyio.CancelScope] = []
        group.start_soon(payer)
        await started.wait()
        for _ in range(5):
            group.start_soon(other)
        await anyio.wait_all_tasks_blocked()
        if how != "fails":
            stop[0].cancel()
    assert (said, a.sent) == (["2"] * 5, 2)


async def test_a_batch_asks_only_for_what_is_not_known() -> None:
    counts: list[int] = []

    def how(request: Request, number: int) -> str:
        counts.append(request.n)
        return f"Answer: {number}"

    a = Served(how)
    engine = made({"a": (a, {})}, dispatch=CACHE)
    engine.catalog.revise("a", batch=8)
    async with engine as e:
        events: list[Any] = []

        async def run(n: int) -> Any:
            def plan(task: Any) -> Any:
                found = yield from Gather((ask("x", task),) * n)
                return Answer(found[0])

            return await e.solve("q", budget=1, answer="number", strategy=Plan(plan), on_event=events.append)

        await run(2)
        events.clear()
        second = await run(5)
        assert [event.cached for event in events if isinstance(event, Received)] == [True, True, False, False, False]
        events.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(run, 6)  # both ask for the sixth at the same time
            group.start_soon(run, 6)
        assert sum(isinstance(event, Received) for event in events) == 12
    assert counts == [2, 3, 1]
    assert sum(c.cached for c in second.candidates) == 2


# -- stale answers ----------------------------------------------------------------------------------------------------


async def test_where_every_model_fails_the_last_good_answer_is_given_with_its_own_confidence() -> None:
    well = [True]
    a = Served(lambda r, n: "Answer: 7" if well[0] else ModelUnavailable("down"))
    async with made({"a": (a, {"retries": 0})}, dispatch={"stale": True}) as e:
        good = await e.solve("q", budget=1, answer="number", strategy=SelfConsistency())
        well[0] = False
        stale = await e.solve("q", budget=1, answer="number", strategy=SelfConsistency())
        with pytest.raises(NoAnswer):
            await e.solve("another", budget=1, answer="number", strategy=SelfConsistency())
    assert (stale.answer, stale.stop_reason, stale.confidence) == ("7", "cached", good.confidence)
    assert stale.run_id != good.run_id
    assert good.run_id in stale.warnings[-1]
    assert stale.spend.nanos == 0


async def test_without_stale_a_failure_is_a_failure() -> None:
    well = [True]
    a = Served(lambda r, n: "Answer: 7" if well[0] else ModelUnavailable("down"))
    async with made({"a": (a, {"retries": 0})}) as e:
        await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        well[0] = False
        with pytest.raises(NoAnswer):
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())


# -- the ledger ------------------------------------------------------------------------------------------------------


async def test_a_call_that_ended_while_its_row_was_written_is_not_held_on_the_account() -> None:
    """Its void has gone to the ledger by then: a hold that came after it would stand until it expires."""
    held: list[str] = []

    class Fake:
        async def admit(self, run: Any, calls: Sequence[Any]) -> list[Any]:
            held.extend(call.state for call in calls)
            return []

    live = Live.__new__(Live)
    live._run, live._asking = SimpleNamespace(), set()  # type: ignore[assignment]
    due = SimpleNamespace(calls=[SimpleNamespace(state="done"), SimpleNamespace(state="sent")])
    await live._admit(due, Fake())  # type: ignore[arg-type]
    assert held == ["sent"]
