"""Batches and streams: one purse, the best step first, what is left when it is cut off; the queue and its refusals."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import anyio
import pytest

from satisfice import (
    BadQuery,
    BestOfN,
    Budget,
    BudgetTooSmall,
    CallerError,
    Engine,
    ModelUnavailable,
    Policy,
    Price,
    QueueFull,
    SelfConsistency,
    SingleShot,
    Task,
    TooLate,
    solve_many,
)
from satisfice.core.completions import Completion, Params, Request, Response, Usage
from satisfice.core.errors import BadSettings
from satisfice.scheduler.many.batch import solve_many as batched
from satisfice.scheduler.many.queueing import FairQueue
from satisfice.scheduler.many.stream import Stream

pytestmark = pytest.mark.anyio
PRICE = Price.per_million(1, 1)
CALL = 160e-6  # dollars of one reply of `Exam`


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Exam:
    """Questions "item N": of four kinds, from nearly always right to guessing. Counts what is asked at once."""

    def __init__(self, fails: str = "", hangs: str = "") -> None:
        self.dice, self.calls, self.now, self.most = Random(0), [], 0, 0
        self.fails, self.hangs, self.asked = fails, hangs, anyio.Event()

    async def complete(self, request: Request) -> Response:
        text = request.messages[-1].content
        number = int(text.split("item ")[1].split()[0])
        self.calls.append(number)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.hangs and self.hangs in text:
                self.asked.set()
                await anyio.sleep_forever()
            await anyio.lowlevel.checkpoint()
        finally:
            self.now -= 1
        if self.fails and self.fails in text:
            raise ModelUnavailable("down")
        right = self.dice.random() < (0.98, 0.8, 0.5, 0.25)[number % 4]
        found = Completion(f"Answer: {'A' if right else self.dice.choice('BCD')}", tokens=60)
        return Response((found,), Usage(100, 60))


def engine(exam: Any = None, **options: Any) -> Engine:
    made = Engine("m", journal=options.pop("journal", False), **options)
    made.register("m", exam or Exam(), PRICE)
    return made


def asked(count: int) -> list[dict[str, Any]]:
    return [{"query": f"item {i} ?", "answer": "choice", "choices": list("ABCD")} for i in range(count)]


VOTE = SelfConsistency(params=Params(temperature=0.7, max_tokens=64))


# -- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 7])
async def test_a_batch_spends_where_it_helps_and_never_more_than_its_budget(concurrency: int) -> None:
    exam, budget = Exam(), 24 * 3 * CALL
    async with engine(exam) as e:
        batch = await batched(e, asked(24), budget=budget, concurrency=concurrency, strategy=VOTE)
    assert batch.spend.usd <= budget and batch.spend.calls == len(exam.calls)
    assert batch.answered == 24 and exam.most <= concurrency
    each = [sum(exam.calls.count(i) for i in range(kind, 24, 4)) for kind in range(4)]
    assert each[0] < (each[1] + each[2]) / 2  # what is clear is not asked again and again
    assert batch.spend.nanos == sum(s.spend.nanos for s in batch.solutions if s)
    assert all(s and s.spend.calls == len(s.candidates) for s in batch.solutions)
    assert batch.bound is not None and batch.gap is not None and batch.price > 0
    assert batch.to_dict()["answered"] == 24


async def test_more_money_means_more_draws_and_a_lower_price() -> None:
    calls, prices = [], []
    for mean in (1.5, 4.0):
        exam = Exam()
        async with engine(exam) as e:
            batch = await batched(e, asked(16), budget=16 * mean * CALL + 1e-3, strategy=VOTE, concurrency=1)
        calls.append(len(exam.calls))
        prices.append(batch.price)
    assert calls[0] < calls[1] and prices[0] > prices[1]


async def test_without_enough_for_all_some_are_left_and_say_so() -> None:
    async with engine() as e:
        batch = await batched(e, asked(30), budget=10 * CALL + 1e-3, strategy=VOTE)
    left = [s for s in batch.solutions if s is not None and s.answer is None]
    assert left and all(s.stop_reason == "abandoned" and s.stop_said and s.spend.calls == 0 for s in left)
    assert batch.stopped == "budget" and batch.answered + len(left) == 30


async def test_a_budget_that_cannot_pay_one_call_is_an_error() -> None:
    async with engine() as e:
        with pytest.raises(BudgetTooSmall, match="one call costs up to"):
            await batched(e, asked(3), budget=CALL / 10, strategy=VOTE)


async def test_worth_is_a_floor() -> None:
    async with engine() as e:
        poor = await batched(e, asked(8), budget=1.0, worth=3 * CALL, strategy=VOTE)
        rich = await batched(e, asked(8), budget=1.0, worth=200 * CALL, strategy=VOTE)
    assert poor.spend.usd < rich.spend.usd < 1.0
    assert poor.stopped == rich.stopped == "done"


async def test_hopeless_queries_are_abandoned_and_their_money_goes_on() -> None:
    """An exact check: nothing passes on every fourth question, and what they do not use goes to the others."""

    def right(answer: Any) -> bool:
        return bool(answer == "A")

    class Never(Exam):
        async def complete(self, request: Request) -> Response:
            number = int(request.messages[-1].content.split("item ")[1].split()[0])
            self.calls.append(number)
            good = number % 4 != 3 and self.dice.random() < 0.3
            return Response((Completion(f"Answer: {'A' if good else 'B'}", tokens=60),), Usage(100, 60))

    exam = Never()
    async with engine(exam) as e:
        batch = await batched(
            e, asked(16), budget=100 * CALL, worth=12 * CALL, checks=[right], strategy=BestOfN(), concurrency=3
        )
    hopeless = [s for i, s in enumerate(batch.solutions) if i % 4 == 3]
    assert all(s is not None and s.answer is None and s.stop_reason == "abandoned" for s in hopeless)
    assert all("elsewhere" in s.stop_said for s in hopeless if s is not None)
    assert sum(s is not None and s.answer == "A" for s in batch.solutions) >= 6


async def test_one_that_fails_does_not_stop_the_others() -> None:
    exam = Exam(fails="item 2 ")
    async with engine(exam) as e:
        batch = await batched(e, asked(6), budget=1.0, worth=100 * CALL, strategy=VOTE)
    assert batch.errors[2] is not None and batch.solutions[2] is None
    assert sum(error is not None for error in batch.errors) == 1 and batch.answered == 5


async def test_queries_have_kinds_caps_and_weights_of_their_own() -> None:
    queries = [
        Task.of("item 3 ?"),
        {"query": "item 7 ?", "answer": "choice", "choices": list("ABCD"), "weight": 50.0},
        {"query": "item 3 ?", "answer": "choice", "choices": list("ABCD")},
        {"query": "item 7 ?", "answer": "choice", "choices": list("ABCD"), "budget": 2e-3},
        [{"role": "user", "content": "item 0 ?"}],
    ]
    async with engine() as e:
        batch = await batched(e, queries, budget=0.006, strategy=VOTE, concurrency=1)
    calls = [s.spend.calls if s else -1 for s in batch.solutions]
    assert calls[1] > calls[2] and calls[3] <= 10 and all(s and s.spend.usd <= 2e-3 for s in batch.solutions[3:4])
    assert isinstance(batch.solutions[0] and batch.solutions[0].answer, str)


async def test_strategies_without_a_forecast_share_evenly() -> None:
    async with engine() as e:
        batch = await batched(e, asked(4), budget=0.02, strategy=SelfConsistency(samples=3))
        single = await batched(e, asked(4), budget=0.02, strategy=SingleShot())
    assert [s.spend.calls for s in batch.solutions if s] == [3] * 4
    assert [s.spend.calls for s in single.solutions if s] == [1] * 4


BAD: list[tuple[Any, dict[str, Any], type[Exception]]] = [
    ("one text", {}, BadQuery),
    (["item 1", ""], {}, BadQuery),
    ([{"query": "item 1", "colour": 1}], {}, CallerError),
    ([{"query": "item 1", "weight": -1}], {}, CallerError),
    ([{"query": "item 1", "weight": math.nan}], {}, CallerError),
    ([{"query": "item 1", "budget": 0}], {}, CallerError),
    ([{"query": "item 1", "answer": "numbr"}], {}, CallerError),
    (["item 1"], {"concurrency": 0}, CallerError),
    (["item 1"], {"budget": -1}, CallerError),
    (["item 1"], {"strategy": "nope"}, CallerError),
]


@pytest.mark.parametrize(("queries", "options", "error"), BAD)
async def test_bad_batches_are_refused_before_anything_is_spent(queries: Any, options: Any, error: Any) -> None:
    exam = Exam()
    async with engine(exam) as e:
        with pytest.raises(error):
            await batched(e, queries, **{"budget": 1.0, **options})
    assert exam.calls == []


async def test_an_empty_batch_is_done() -> None:
    async with engine() as e:
        batch = await batched(e, [], budget=1.0)
    assert batch.solutions == () and batch.stopped == "done" and batch.spend.nanos == 0


async def test_what_is_there_comes_back_from_a_cancellation_and_goes_on_from_its_records(tmp_path: Any) -> None:
    exam, records = Exam(hangs="item 5 "), []
    async with engine(exam, journal=tmp_path / "journal.db") as e:
        with anyio.CancelScope() as scope:

            def stop(progress: Any) -> None:
                if progress.under_way == 1 and exam.asked.is_set():
                    scope.cancel()

            batch = await batched(
                e, asked(8), budget=0.05, worth=30 * CALL, strategy=VOTE, on_record=records.append, on_progress=stop,
                on_cancel="best", concurrency=2,
            )  # fmt: skip
        assert batch.stopped == "cancelled" and batch.answered >= 6
        again = Exam()
        e.register("m", again, PRICE)
        done = await batched(e, asked(8), budget=0.05, worth=30 * CALL, strategy=VOTE, resume=records)
        assert done.answered == 8 and 5 in again.calls and batch.spend.usd < done.spend.usd <= 0.05
        assert done.spend.calls == len(exam.calls) + len(again.calls)  # the call that was cut off was paid for, too
        with pytest.raises(CallerError, match="another query"):
            await batched(e, asked(9)[::-1], budget=0.05, strategy=VOTE, resume=records)
        with pytest.raises(BadSettings, match="line 1"):
            await batched(e, asked(8), budget=0.05, strategy=VOTE, resume=[{"query": 99, "id": ""}])


async def test_seconds_end_a_batch() -> None:
    exam = Exam(hangs="item 1 ")
    async with engine(exam) as e:
        batch = await batched(e, asked(3), budget=Budget(usd=1.0, seconds=0.3), strategy=SingleShot())
    assert batch.spend.usd <= 1.0 and batch.answered >= 1


def test_it_works_without_a_loop(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path))
    with pytest.raises(CallerError):
        solve_many(["x"], budget=1.0, models="local/nothing-of-the-kind", journal=False)


# -- the queue --------------------------------------------------------------------------------------------------------


def test_a_tenants_queue_goes_by_priority_then_deadline_then_arrival() -> None:
    queue = FairQueue(at_once=1)
    names = {}
    for name, priority, deadline in (("late", 0, 50.0), ("any", 0, None), ("soon", 0, 40.0), ("first", 1, None)):
        names[id(queue.submit(0.0, 10, "t", priority, deadline))] = name
    order = [queue.next(1.0) for _ in range(4)]
    assert [names[id(t)] for t in order] == ["first", "soon", "late", "any"]
    assert queue.next(1.0) is None and queue.count == 0


def test_the_queue_is_bounded() -> None:
    queue = FairQueue(most=3, most_each=2)
    tickets = [queue.submit(0.0, 1, tenant) for tenant in "aab"]
    with pytest.raises(QueueFull, match="3 requests"):
        queue.submit(0.0, 1, "c")
    queue.cancel(tickets[2])
    queue.cancel(tickets[2])
    with pytest.raises(QueueFull, match="tenant 'a'"):
        queue.submit(0.0, 1, "a")
    assert queue.count == 2


def test_deadlines_are_refused_early_with_the_time_that_it_would_take() -> None:
    queue = FairQueue(at_once=1, paced=10.0)
    for _ in range(3):
        queue.submit(0.0, 100, "a")
    with pytest.raises(CallerError, match="passed"):
        queue.submit(5.0, 1, "a", deadline=4.0)
    first = queue.submit(0.0, 100, "a", deadline=15.0)  # goes before those that have none
    queue.submit(0.0, 100, "a", deadline=16.0)
    with pytest.raises(TooLate) as late:
        queue.submit(0.0, 100, "a", deadline=17.0)
    assert late.value.details["earliest"] == pytest.approx(20.0)
    with pytest.raises(TooLate, match="promised"):
        queue.submit(0.0, 200, "a", deadline=12.0)
    assert queue.next(1.0) is first
    expired = queue.next(17.0)
    assert expired is not None and isinstance(expired.error, TooLate) and expired.grant is None


@pytest.mark.parametrize("deadline", [math.nan, math.inf, True])
def test_bad_deadlines_are_refused(deadline: Any) -> None:
    with pytest.raises(CallerError):
        FairQueue().submit(0.0, 1, "a", deadline=deadline)


# -- streams ----------------------------------------------------------------------------------------------------------


async def test_a_stream_answers_and_keeps_to_its_windows() -> None:
    exam = Exam()
    async with engine(exam) as e, Stream(e, 1.0, 60.0, concurrency=4, each=0.01) as stream:
        found: list[Any] = []

        async def one(i: int) -> None:
            task = Task.of(f"item {i} ?")
            found.append(await stream.solve(task, tenant=f"t{i % 3}", strategy=SingleShot()))

        async with anyio.create_task_group() as group:
            for i in range(20):
                group.start_soon(one, i)
        assert len(found) == 20 and all(s.answer for s in found)
        assert exam.most <= 4 and stream.spent == pytest.approx(sum(s.spend.usd for s in found))
        assert stream.queue.count == 0 and stream.queue.open == 0


async def test_a_window_that_is_used_up_makes_wait_and_never_overspends() -> None:
    """Two calls fit into a window at their worst case. So much waits that the price rises, and some are given up."""
    exam, clock = Exam(), Hurried()
    async with engine(exam) as e, Stream(e, 0.004, 60.0, each=0.002, concurrency=8, clock=clock) as stream:
        async with anyio.create_task_group() as group:
            for i in range(60):
                group.start_soon(_one, stream, i)
        assert all(window.posted[0] + window.pending[0] <= stream.target for window in stream.windows)
        assert sum(window.posted[2] for window in stream.windows) == len(exam.calls)
        assert 0 < len(exam.calls) <= 60 and stream.price > 0 and stream.queue.count == stream.queue.open == 0


async def _one(stream: Stream, i: int) -> None:
    solution = await stream.solve(Task.of(f"item {i} ?"), strategy=SingleShot())
    assert solution.answer or not solution.spend.calls  # so much waits that it is not worth its price


class Hurried:
    """A clock that goes on by what is slept, whoever sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        self.time += seconds + 1e-6


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    exam = Exam(hangs="item 1 ")
    async with engine(exam) as e, Stream(e, 1.0, 60.0, concurrency=1, each=0.01) as stream:
        async with anyio.create_task_group() as group:
            group.start_soon(stream.solve, Task.of("item 1 ?"))
            await exam.asked.wait()
            group.start_soon(stream.solve, Task.of("item 2 ?"))
            await anyio.wait_all_tasks_blocked()
            assert stream.queue.count == 1
            group.cancel_scope.cancel()
        assert (stream.queue.count, stream.queue.open, stream.purse.pending[0]) == (0, 0, 0)
        assert (await stream.solve(Task.of("item 2 ?"), strategy=SingleShot())).answer


async def test_bad_streams_and_requests_are_refused() -> None:
    async with engine() as e:
        for bad in ({"weights": {"a": 0.0}}, {"weights": {"a": -1}}, {"weights": {"a": math.nan}}, {"concurrency": 0},
                    {"each": 0.0}):  # fmt: skip
            with pytest.raises(CallerError):
                Stream(e, 1.0, 60.0, **bad)
        with pytest.raises(CallerError, match="open the stream"):
            await Stream(e, 1.0, 60.0).solve("x")
        async with Stream(e, 1.0, 60.0, weights={"a": 1}, default_weight=0.0) as stream:
            with pytest.raises(CallerError, match=r"passed"):
                await stream.solve("item 1 ?", tenant="a", deadline=-1)
            with pytest.raises(CallerError, match="no weight"):
                await stream.solve("item 1 ?", tenant="b")
            with pytest.raises(CallerError):
                await stream.solve("item 1 ?", tenant="a", deadline=math.nan)
            with pytest.raises(BadQuery):
                await stream.solve("", tenant="a")
        assert Policy().worth is None
