from __future__ import annotations

import asyncio
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from satisfice.budgets.beliefs import Committed
from satisfice.budgets.budget import Budget
from satisfice.budgets.prices import Price
from satisfice.core.completions import Completion, Message, Params, Request, Response, Usage
from satisfice.core.effects import Ask, CallTool, Gather, Offer, Race, Sample
from satisfice.core.errors import (
    BadBudget,
    BadQuery,
    BudgetTooSmall,
    CallerError,
    JournalMismatch,
    NoAnswer,
    NobodyToAsk,
    RunIsActive,
    UnknownName,
    UnpricedModel,
)
from satisfice.core.plans import Answer
from satisfice.core.task import Task
from satisfice.models import ScriptedModel
from satisfice.scheduler.api import asolve
from satisfice.scheduler.engine import Engine
from satisfice.scheduler.events import Decided, Ended, Received, Sent, Started, Waiting
from satisfice.scheduler.tariff import price_list
from satisfice.strategies import SelfConsistency, SingleShot

pytestmark = pytest.mark.anyio
PRICE = Price.per_million(1, 1)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def engine(model: Any = None, price: Price = PRICE, batch: int = 1, **options: Any) -> Engine:
    made = Engine("m", journal=options.pop("journal", False), **options)
    made.register("m", model or ScriptedModel(["Answer: 2"]), price, batch)
    return made


def ask(text: str, task: Task | None = None) -> Sample:
    return Sample((Message("user", text),), task, None, Params(max_tokens=16))


class Hangs:
    """Never replies to what holds `word`, and counts who waits."""

    def __init__(self, word: str = "") -> None:
        self.word, self.waiting, self.most = word, 0, 0
        self.asked = anyio.Event()

    async def complete(self, request: Request) -> Response:
        if self.word in request.messages[-1].content:
            self.waiting += 1
            self.asked.set()
            try:
                await anyio.sleep_forever()
            finally:
                self.waiting -= 1
        return Response((Completion("Answer: 2"),), Usage(5, 2))


# -- bad input --------------------------------------------------------------------------------------------------------


BAD_QUERIES = [
    *("", "  \n", b"\xff\xfe", "lone \ud800", 7, None, [], Task.of(""), Task(())),
    [{"role": "user"}],
    [{"role": "boss", "content": "x"}],
    [{"role": "system", "content": "x"}],
    [{"role": "user", "content": ""}],
]


@pytest.mark.parametrize("query", BAD_QUERIES)
async def test_bad_queries_are_refused(query: Any) -> None:
    model = ScriptedModel(["x"])
    async with engine(model) as e:
        with pytest.raises(BadQuery):
            await e.solve(query, budget=1)
    assert model.requests == []


@pytest.mark.parametrize("query", ["ü \U0001f642 \x00", "x", [{"role": "user", "content": "hi"}], Task.of("hi")])
async def test_odd_but_good_queries(query: Any) -> None:
    async with engine() as e:
        assert (await e.solve(query, budget=1)).answer


@pytest.mark.parametrize("budget", [0, -1, math.nan, math.inf, True, "1", 1e-13, 10**400, [], 0.0])
async def test_bad_budgets_are_refused(budget: Any) -> None:
    async with engine() as e:
        with pytest.raises(BadBudget):
            await e.solve("q", budget=budget)


@pytest.mark.parametrize(
    "fields", [{}, {"seconds": 1}, {"calls": 1.5}, {"calls": 0}, {"usd": 1, "worth": 0}, {"usd": 1, "wrong": -1},
               {"usd": 1, "worth": math.nan}, {"tokens": True}, {"tokens": 10**400}, {"usd": "1"}]
)  # fmt: skip
async def test_bad_fields_of_a_budget_are_refused(fields: Any) -> None:
    with pytest.raises(BadBudget):
        Budget(**fields)


async def test_unknown_names_suggest_the_nearest() -> None:
    async with engine() as e:
        with pytest.raises(UnknownName, match="self_consistency"):
            await e.solve("q", budget=1, strategy="self-consistency")
        with pytest.raises(UnknownName, match="number"):
            await e.solve("q", budget=1, answer="numbre")
        with pytest.raises((UnknownName, UnpricedModel)):
            await e.solve("q", budget=1, models="no/such-model")
        with pytest.raises(CallerError, match="callable"):
            await e.solve("q", budget=1, checks=[3])


async def test_too_small_a_budget_says_what_a_call_costs() -> None:
    model = ScriptedModel(["x"])
    async with engine(model) as e:
        for strategy in ("single_shot", "self_consistency"):
            with pytest.raises(BudgetTooSmall, match=r"one call costs up to \$0\.000\d+ and \d+ tokens"):
                await e.solve("q", budget=1e-6, strategy=strategy)
        with pytest.raises(BudgetTooSmall, match="3 tokens"):
            await e.solve("q", budget=Budget(tokens=3))
        with pytest.raises(BudgetTooSmall):
            await e.solve("long " * 1_000_000, budget=0.5)
    assert model.requests == []


async def test_an_engine_has_to_be_open() -> None:
    e = engine()
    with pytest.raises(CallerError, match="open"):
        await e.solve("q", budget=1)
    async with e:
        await e.solve("q", budget=1)
    with pytest.raises(CallerError, match="open"):
        await e.solve("q", budget=1)


# -- bad models and checks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [ValueError("boom"), None, "text", Response((Completion(None),), None)])  # type: ignore[arg-type]
async def test_a_model_may_do_anything(reply: Any) -> None:
    class Odd:
        async def complete(self, request: Request) -> Any:
            await anyio.lowlevel.checkpoint()
            if isinstance(reply, Exception):
                raise reply
            return reply

    async with engine(Odd()) as e:
        for strategy in ("single_shot", "self_consistency"):
            with pytest.raises(NoAnswer):
                await e.solve("q", budget=1, strategy=strategy)


@pytest.mark.parametrize("text", ["", "   ", "no number here"])
async def test_empty_completions_abstain(text: str) -> None:
    async with engine(ScriptedModel([text])) as e:
        for strategy in ("single_shot", SelfConsistency(samples=3)):
            solution = await e.solve("q", budget=1, answer="number", strategy=strategy)
            assert solution.abstained
            assert solution.spend.calls == len(solution.candidates) > 0


async def test_no_completion_at_all_is_billed() -> None:
    empty = ScriptedModel(lambda request, index: Response((), Usage(1, 1)))
    async with engine(empty) as e:
        with pytest.raises(NoAnswer):
            await e.solve("q", budget=1, strategy="single_shot")


async def test_a_check_that_raises_is_no_fault(tmp_path: Path) -> None:
    def check(value: Any) -> bool:
        raise RuntimeError("\ud800")

    for journal in (False, tmp_path / "j.db"):
        async with engine(journal=journal) as e:
            solution = await e.solve("q", budget=Budget(usd=1, calls=4), checks=[check])
            assert solution.abstained
            assert solution.spend.calls == 4


async def test_a_query_that_looks_like_a_template_arrives_as_it_is() -> None:
    model = ScriptedModel(["x"])
    query = "{{ query }} {% endif %} {0} %(x)s $HOME \\n"
    async with engine(model) as e:
        await e.solve(query, budget=1, strategy="single_shot")
    assert query in model.requests[0].messages[-1].content


# -- batches and time -------------------------------------------------------------------------------------------------


async def test_a_batch_settles_each_of_its_calls() -> None:
    def reply(request: Request, index: int) -> Response:
        choices = tuple(Completion(f"Answer: {i}", tokens=i + 1) for i in range(request.n))
        return Response(choices, Usage(100, sum(i + 1 for i in range(request.n))))

    model = ScriptedModel(reply)
    async with engine(model, batch=3) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=SelfConsistency(samples=5))
    assert sorted(r.n for r in model.requests) == [2, 3]
    assert [c.spent.tokens for c in solution.candidates] == [101, 2, 3, 101, 2]
    assert len({c.path for c in solution.candidates}) == 5
    assert (solution.spend.tokens, solution.spend.calls) == (209, 5)
    assert solution.spend.nanos == sum(c.spent.nanos for c in solution.candidates) == 209_000


async def test_a_batch_that_comes_back_short_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satisfice.scheduler.dispatch.attempts.BACKOFF", 0.001)
    model = ScriptedModel(lambda request, index: Response((Completion("Answer: 1"),), Usage(10, 2)))
    async with engine(model, batch=4) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=SelfConsistency(samples=4))
    assert (solution.answer, solution.spend.calls, solution.spend.tokens) == ("1", 4, 48)


async def test_a_hanging_call_times_out_is_billed_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satisfice.scheduler.dispatch.attempts.BACKOFF", 0.001)
    calls = 0

    class Once:
        async def complete(self, request: Request) -> Response:
            nonlocal calls
            calls += 1
            if calls == 1:
                await anyio.sleep_forever()
            return Response((Completion("Answer: 2"),), Usage(5, 2))

    def hasty(*arguments: Any) -> Any:
        made = price_list(*arguments)
        made.rates["m"].timeout = 0.05
        return made

    monkeypatch.setattr("satisfice.scheduler.engine.price_list", hasty)
    async with engine(Once()) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy="single_shot")
    assert (solution.answer, calls, solution.spend.calls) == ("2", 2, 2)
    assert solution.spend.tokens > 512


# -- cancellation -----------------------------------------------------------------------------------------------------


def offers_then_hangs(task: Task) -> Any:
    first = yield from ask("first", task)
    yield from Offer(Answer(first), Committed(1), (ask("never", task),))
    yield from Gather((ask("never", task), ask("never", task)))


@pytest.mark.parametrize("journal", [False, True])
async def test_a_cancellation_returns_the_best_or_raises(journal: bool, tmp_path: Path) -> None:
    model = Hangs("never")
    got: list[Any] = []
    async with engine(model, journal=tmp_path / "j.db" if journal else False) as e:
        for on_cancel in ("best", "raise"):
            model.asked = anyio.Event()
            async with anyio.create_task_group() as group:

                async def one(on_cancel: Any = on_cancel) -> None:
                    got.append(await e.solve("q", budget=1, strategy=offers_then_hangs, on_cancel=on_cancel))

                group.start_soon(one)
                await model.asked.wait()
                group.cancel_scope.cancel()
            assert model.waiting == 0
        if journal:
            statuses = [r.status for r in await e.journal.runs(9)]
            assert statuses == ["cancelled", "cancelled"]
            # A resumed run goes on from there; what was in flight stays billed.
            (run, _) = await e.journal.runs(9)
            model.word = "nothing"
            done = await e.resume(run.id, strategy=offers_then_hangs)
            assert done.answer is not None
            assert done.spend.calls == 1 + 2 + 2
    assert [s.answer for s in got] == ["2"]
    assert got[0].stop_reason == "cancelled"
    assert got[0].spend.calls == 3


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_task_outlives_a_solve() -> None:
    model = Hangs("never")

    def racing(task: Task) -> Any:
        first = yield from Race((ask("never", task), ask("quick", task), ask("never", task)))
        return Answer(first[1])

    async with engine(model) as e:
        before = asyncio.all_tasks()
        assert (await e.solve("q", budget=1, strategy=racing)).answer
        assert asyncio.all_tasks() == before
        task = asyncio.ensure_future(e.solve("q", budget=1, strategy=offers_then_hangs))
        model.asked = anyio.Event()
        await model.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == before
    assert model.waiting == 0


# -- events -----------------------------------------------------------------------------------------------------------


async def test_events_arrive_in_order_and_after_the_journal_has_them(tmp_path: Path) -> None:
    events: list[Any] = []
    async with engine(journal=tmp_path / "j.db") as e:
        solution = await e.solve("q", budget=1, strategy=SelfConsistency(samples=2), on_event=events.append)
        kinds = [type(event) for event in events]
        assert kinds == [Started, Decided, Sent, Sent, Received, Received, Ended] or kinds.count(Received) == 2
        assert (kinds[0], kinds[1], kinds[-1]) == (Started, Decided, Ended)
        for event in events:
            if isinstance(event, Received):
                sent = next(i for i, x in enumerate(events) if isinstance(x, Sent) and x.path == event.path)
                assert sent < events.index(event)
        assert {event.run_id for event in events} == {solution.run_id}


async def test_an_observer_that_raises_costs_nothing(tmp_path: Path) -> None:
    def angry(event: Any) -> None:
        raise RuntimeError(type(event).__name__)

    async with engine(journal=tmp_path / "j.db") as e:
        assert (await e.solve("q", budget=1, on_event=angry)).answer
        assert [r.status for r in await e.journal.runs(9)] == ["done"]


# -- many at once -----------------------------------------------------------------------------------------------------


async def test_a_limit_on_all_requests_holds() -> None:
    model = ScriptedModel(["Answer: 2"], usage=Usage(20, 512))
    outcomes: list[str] = []
    async with engine(model, limit=Budget(calls=150, usd=1)) as e:

        async def one() -> None:
            try:
                await e.solve("q", budget=0.01, answer="number", strategy=SelfConsistency(samples=2))
                outcomes.append("done")
            except BudgetTooSmall:
                outcomes.append("refused")
            (whole,) = await e.ledger.standings()
            assert whole.balances[0].posted[2] + whole.balances[0].pending[2] <= 150

        async with anyio.create_task_group() as group:
            for _ in range(400):
                group.start_soon(one)
        (whole,) = await e.ledger.standings()
        assert (whole.balances[0].posted[2], whole.balances[0].pending) == (150, (0, 0, 0))
    assert len(outcomes) == 400
    assert sum(r.n for r in model.requests) == 150


@pytest.mark.long
async def test_a_limit_holds_over_thousands() -> None:
    model = ScriptedModel(["Answer: 2"], delay=0.001)
    async with engine(model, limit=Budget(calls=3000)) as e:

        async def one() -> None:
            with suppress(BudgetTooSmall):
                await e.solve("q", budget=0.01, answer="number", strategy=SelfConsistency(samples=2))

        async with anyio.create_task_group() as group:
            for _ in range(5000):
                group.start_soon(one)
    assert sum(r.n for r in model.requests) == 3000


# -- from plain code --------------------------------------------------------------------------------------------------


async def test_solve_blocks_in_a_running_loop_and_asolve_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import satisfice.scheduler.api as api

    class Ready(Engine):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.register("m", ScriptedModel(["Answer: 2"]), PRICE)

    monkeypatch.setattr(api, "Engine", Ready)
    options: dict[str, Any] = {"models": "m", "answer": "number", "journal": False, "budget": 1}
    assert (await asolve("q", **options)).value == 2
    assert api.solve("q", **options).value == 2
    with pytest.raises(BadQuery):
        api.solve("", **options)
    box: list[Any] = []
    await anyio.to_thread.run_sync(lambda: box.append(api.solve("q", **options)))
    assert box[0].value == 2


# -- waiting and resuming ---------------------------------------------------------------------------------------------


def asks(task: Task) -> Any:
    first = yield from ask("one", task)
    raced = yield from Race((Ask("which?"), ask("two", task)))
    said = yield from Ask(f"is {first.answer} right?")
    return Answer(first if said == "yes" else raced[1], said)


async def test_a_person_is_waited_for_and_answered_in_another_engine(tmp_path: Path) -> None:
    model = ScriptedModel(["Answer: 1", "Answer: 2"])
    events: list[Any] = []
    options: dict[str, Any] = {"strategy": asks}
    async with engine(model, journal=tmp_path / "j.db") as e:
        waiting = await e.solve("q", budget=1, answer="number", on_event=events.append, **options)
        assert (waiting.status, waiting.question, waiting.answer) == ("waiting", "is 1 right?", None)
        assert not waiting.abstained
        assert [event.question for event in events if isinstance(event, Waiting)][-1] == "is 1 right?"
        paths = {event.path for event in events if isinstance(event, Waiting)}
        assert not [event for event in events if isinstance(event, Received) and event.path in paths]
    async with engine(model, journal=tmp_path / "j.db") as e:
        again = await e.resume(waiting.run_id, **options)
        assert (again.status, again.question) == ("waiting", waiting.question)
        done = await e.reply(waiting.run_id, "no", **options)
        assert (done.answer, done.status) == ("2", "done")
        assert (await e.resume(waiting.run_id)).answer == "2"
        with pytest.raises(CallerError, match="asks nothing"):
            await e.reply(waiting.run_id, "yes", **options)
    assert len(model.requests) == 2


async def test_nobody_to_ask_without_a_journal() -> None:
    async with engine() as e:
        with pytest.raises(NobodyToAsk):
            await e.solve("q", budget=1, strategy=asks)
    async with engine(on_ask=lambda question: "yes") as e:
        assert (await e.solve("q", budget=1, answer="number", strategy=asks)).answer == "2"


async def test_an_ask_callback_that_raises_is_thrown_into_the_plan() -> None:
    def away(question: Ask) -> str:
        raise OSError("gone home")

    async with engine(on_ask=away) as e:
        with pytest.raises(NoAnswer, match="gone home"):
            await e.solve("q", budget=1, strategy=lambda task: (yield from Ask("hm?")))


async def test_a_finished_run_is_returned_without_a_call(tmp_path: Path) -> None:
    model = ScriptedModel(["Answer: 2"])
    async with engine(model, journal=tmp_path / "j.db") as e:
        first = await e.solve("q", budget=1, answer="number", strategy="single_shot")
    async with engine(model, journal=tmp_path / "j.db") as e:
        again = await e.resume(first.run_id[:9])
        with pytest.raises(UnknownName):
            await e.resume("nothing")
    assert (again.answer, again.spend, again.candidates) == (first.answer, first.spend, first.candidates)
    assert len(model.requests) == 1


async def test_a_changed_plan_is_a_mismatch_and_the_old_one_goes_on(tmp_path: Path) -> None:
    def plan(*texts: str, fan: bool = False) -> Any:
        def made(task: Task) -> Any:
            for text in texts:
                if fan:
                    last = (yield from Gather((ask(text, task), ask("more", task))))[0]
                else:
                    last = yield from ask(text, task)
                yield from Offer(Answer(last), Committed(1), (ask(text, task),))
            yield from Ask("go on?")
            return Answer(last)

        return made

    model = ScriptedModel(["Answer: 2"])
    async with engine(model, journal=tmp_path / "j.db") as e:
        waiting = await e.solve("q", budget=1, answer="number", strategy=plan("a", "b"))
        for changed in (
            plan("a", "c"),
            plan("x", "b"),
            plan("a"),
            plan("a", "b", "c"),
            SingleShot(),
            plan("b", fan=True),
        ):
            with pytest.raises(JournalMismatch):
                await e.resume(waiting.run_id, strategy=changed)
        assert len(model.requests) == 2
        done = await e.reply(waiting.run_id, "yes", strategy=plan("a", "b"))
        assert (done.answer, done.spend.calls) == ("2", 2)


async def test_a_run_has_one_owner(tmp_path: Path) -> None:
    model = Hangs("never")
    async with (
        engine(model, journal=tmp_path / "j.db") as mine,
        engine(model, journal=tmp_path / "j.db") as other,
        anyio.create_task_group() as group,
    ):
        group.start_soon(lambda: mine.solve("q", budget=1, strategy=offers_then_hangs))
        await model.asked.wait()
        (run,) = await mine.journal.runs(9)
        for e in (mine, other):
            with pytest.raises(RunIsActive):
                await e.resume(run.id, strategy=offers_then_hangs)
            with pytest.raises(RunIsActive):
                await e.reply(run.id, "x", strategy=offers_then_hangs)
        assert model.waiting == 2
        group.cancel_scope.cancel()


async def test_a_strategy_comes_back_with_its_settings_or_has_to_be_given_again(tmp_path: Path) -> None:
    def plan(task: Task) -> Any:
        return Answer((yield from ask("one", task)))

    hot = SelfConsistency(samples=2, params=Params(temperature=1.5))
    model = Hangs()
    async with engine(model, journal=tmp_path / "j.db") as e:
        for strategy in (hot, plan):
            model.word, model.asked = "", anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(lambda s=strategy: e.solve("q", budget=1, answer="number", strategy=s))
                await model.asked.wait()
                group.cancel_scope.cancel()
            model.word = "nothing"
        runs = {run.strategy: run.id for run in await e.journal.runs(9)}
        assert (await e.resume(runs["self_consistency"])).answer == "2"
        with pytest.raises(CallerError, match="strategy="):
            await e.resume(runs["plan"])
        assert (await e.resume(runs["plan"], strategy=plan)).answer == "2"


async def test_known_candidates_are_stored(tmp_path: Path) -> None:
    found = (await _solved(SelfConsistency(samples=2))).candidates
    task = Task.of("q", "number").knowing(found)
    model = Hangs()
    async with engine(model, journal=tmp_path / "j.db") as e:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: e.solve(task, budget=1, strategy=SelfConsistency(samples=1)))
            await model.asked.wait()
            group.cancel_scope.cancel()
        model.word = "nothing"
        (run,) = await e.journal.runs(9)
        assert len(json.loads(run.spec)["known"]) == 2
        assert (await e.resume(run.id)).answer == "7"


async def _solved(strategy: Any) -> Any:
    async with engine(ScriptedModel(["Answer: 7"])) as e:
        return await e.solve("q", budget=1, answer="number", strategy=strategy)


async def test_a_tool_in_flight_at_a_cancellation_is_not_called_again(tmp_path: Path) -> None:
    started, calls = anyio.Event(), []

    async def pay() -> int:
        calls.append(1)
        started.set()
        await anyio.sleep_forever()
        return 0

    def pays(task: Task) -> Any:
        first = yield from ask("one", task)
        got = yield from CallTool("pay")
        return Answer(first, json.dumps(got))

    async with engine(journal=tmp_path / "j.db", tools={"pay": pay}) as e:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: e.solve("q", budget=1, strategy=pays))
            await started.wait()
            group.cancel_scope.cancel()
        (run,) = await e.journal.runs(9)
        waiting = await e.resume(run.id, strategy=pays)
        assert "pay" in (waiting.question or "")
        assert (await e.reply(run.id, '{"ok": 1}', strategy=pays)).status == "done"
    assert calls == [1]


async def test_a_request_that_is_cancelled_while_it_is_put_on_record_is_closed(tmp_path: Path) -> None:
    async with engine(journal=tmp_path / "runs.db") as e:
        begin = e.journal.begin

        async def begun(record: Any) -> None:
            await begin(record)
            scope.cancel()
            await anyio.lowlevel.checkpoint()

        e.journal.begin = begun  # type: ignore[method-assign]
        with anyio.CancelScope() as scope:
            await e.solve("How much is 1 + 1?", budget=1.0, answer="number")
        assert scope.cancelled_caught
        assert [run.status for run in await e.journal.runs(10)] == ["cancelled"]
