"""Streams that are out of money, closed, or asked for nonsense; what the queue and the pacer promise."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice import CallerError, Engine, Params, Price, QueueFull, SingleShot, TooLate
from satisfice.budgets.ledger.accounts import Account
from satisfice.budgets.ledger.ledger import Ledger
from satisfice.budgets.sharing.pacing import BURST, Pacer
from satisfice.core.completions import Completion, Request, Response, Usage
from satisfice.scheduler.many.queueing import FairQueue
from satisfice.scheduler.many.stream import Stream

pytestmark = pytest.mark.anyio
CALL = 160e-6
ONCE: dict[str, Any] = {"strategy": SingleShot(params=Params(max_tokens=64)), "budget": 1.5 * CALL}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Four:
    """Answers "4", at once or never."""

    def __init__(self, hangs: bool = False) -> None:
        self.hangs, self.calls, self.asked = hangs, 0, anyio.Event()

    async def complete(self, request: Request) -> Response:
        self.calls += 1
        if self.hangs:
            self.asked.set()
            await anyio.sleep_forever()
        return Response((Completion("Answer: 4", tokens=60),), Usage(100, 60))


def engine(model: Any = None, **options: Any) -> Engine:
    made = Engine("m", journal=False, **options)
    made.register("m", model or Four(), Price.per_million(1, 1))
    return made


class Stopped:
    """A clock that stands still: nothing but what is done makes time pass."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        until = self.time + seconds
        while self.time < until:
            await anyio.lowlevel.checkpoint()


# -- deadlines --------------------------------------------------------------------------------------------------------


async def test_without_money_before_its_deadline_a_request_is_refused_at_once() -> None:
    clock = Stopped()
    async with engine() as e, Stream(e, 2.5 * CALL, 3600, clock=clock) as stream:
        await stream.solve("item 1", **ONCE)
        with pytest.raises(TooLate, match="no money") as late:
            await stream.solve("item 2", deadline=0.5, **ONCE)
        # .8 of the money must have been let through: two calls of the two and a half
        assert late.value.details["earliest"] == pytest.approx((0.8 - BURST) * 3600, rel=0.01)
        clock.time = 3600.0 * 0.79
        assert (await stream.solve("item 2", deadline=5.0, **ONCE)).answer
        with pytest.raises(TooLate):  # the next window's money is too late, too
            await stream.solve("item 3", deadline=600.0, **ONCE)
        assert stream.queue.count == 0


async def test_a_deadline_that_passes_while_a_request_waits_ends_its_wait() -> None:
    model, clock = Four(hangs=True), Stopped()
    async with (
        engine(model) as e,
        Stream(e, 1.0, 3600, concurrency=1, clock=clock) as stream,
        anyio.create_task_group() as group,
    ):
        group.start_soon(lambda: stream.solve("item 1", **ONCE))
        await model.asked.wait()
        late: list[Exception] = []

        async def wait(deadline: float) -> None:
            with pytest.raises(TooLate, match="while it waited") as caught:
                await stream.solve("item 2", deadline=deadline, **ONCE)
            late.append(caught.value)

        group.start_soon(wait, 9.0)
        group.start_soon(wait, 5.0)  # the ticker, which slept until the other's, wakes for it
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert stream.queue.count == 2 and not late
        for at, count in ((5.5, 1), (9.5, 2)):
            clock.time = at
            with anyio.fail_after(30):
                while len(late) < count:
                    await anyio.lowlevel.checkpoint()
            assert len(late) == count and stream.queue.count == 2 - count
        group.cancel_scope.cancel()


@given(st.floats(0, 1.2), st.floats(0, 1), st.floats(0, 2.5), st.booleans())
def test_when_there_is_money_again_is_when_the_pacer_allows_it(
    spent: float, scale: float, at: float, room: bool
) -> None:
    pacer = Pacer(1.0, 100.0, start=7.0, spent=spent, scale=scale)
    now = 7.0 + 100.0 * at
    opens = pacer.opens(now, room)
    assert opens >= now
    later = pacer.window(opens + 1e-6) > pacer.window(now)
    need = scale if later else spent + scale
    assert need <= pacer.allowed(opens + 1e-6) + 1e-6
    assert later or room
    if opens > now and not later:
        assert need > pacer.allowed(opens - 1e-3)


# -- closing ----------------------------------------------------------------------------------------------------------


async def test_a_stream_that_is_closed_wakes_those_who_wait() -> None:
    errors: list[Exception] = []
    async with engine() as e, anyio.create_task_group() as group:
        stream = Stream(e, 2.5 * CALL, 3600)

        async def ask() -> None:
            try:
                await stream.solve("item 1", **ONCE)
            except CallerError as error:
                errors.append(error)

        async with stream:
            for _ in range(6):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            waiting = stream.queue.count
        assert waiting and stream.queue.count == 0
        with pytest.raises(CallerError, match="opened once"):
            await stream.__aenter__()
    assert len(errors) == waiting and all("closed" in str(error) for error in errors)


# -- tenants ----------------------------------------------------------------------------------------------------------


async def test_a_tenant_with_an_account_is_charged_to_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path))
    async with await Ledger.open(None, [Account("global", None), Account("gold"), Account("other")]) as ledger:
        async with engine(ledger=ledger) as e, Stream(e, 1.0, 60.0) as stream:
            for options in ({"tenant": "gold"}, {"tenant": "free"}, {"tenant": "gold", "account": "other"}):
                await stream.solve("item 1", **options, **ONCE)
            e.kill("tenant", "gold")
            try:
                with pytest.raises(Exception, match="gold"):
                    await stream.solve("item 1", tenant="gold", **ONCE)
            finally:
                e.revive("tenant", "gold")
        spent = {hold.account for hold in await ledger.holds()}
    assert spent == {"gold", "global", "other"}


def test_tenants_that_are_refused_or_give_up_are_forgotten() -> None:
    queue = FairQueue(most=1)
    queue.submit(0.0, 10, "a")
    for i in range(5000):
        with pytest.raises(QueueFull):
            queue.submit(0.0, 10, f"t{i}")
    assert len(queue.fair.shares) == 1
    queue = FairQueue()
    for i in range(5000):
        queue.cancel(queue.submit(0.0, 10, f"t{i}", deadline=1e6))
    assert len(queue.fair.shares) <= 1025 and len(queue._due) <= 100 and queue.soonest == math.inf


def test_late_ones_leave_by_their_deadlines_also_those_that_came_back() -> None:
    queue = FairQueue(at_once=1)
    first, second = (queue.submit(0.0, 10, "a", deadline=at) for at in (5.0, 3.0))
    taken = queue.next(0.0)
    assert taken is second and queue.soonest == 5.0
    queue.settle(taken, 0)
    queue.again(taken)
    assert queue.soonest == 3.0 and queue.late(4.0) == [second] and isinstance(second.error, TooLate)
    assert queue.late(4.0) == [] and queue.late(5.0) == [first] and queue.count == 0


# -- bad input --------------------------------------------------------------------------------------------------------

BAD = [
    *({"each": value} for value in (math.nan, math.inf, True, 0, -1, "x")),
    *({"worth": value} for value in (math.nan, 0, -1, "x")),
    *({"queue": value} for value in (0, 1.5, True)),
    *({"queue_each": value} for value in (0, -1, "x")),
    *({"concurrency": value} for value in (0, "x")),
    *({"default_weight": value} for value in ("x", math.nan, -1)),
    *({"weights": value} for value in (3, [1], {"a": "x"}, {5: 1.0})),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_settings_are_told_by_their_names(bad: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match=next(iter(bad)).replace("_", "[_ ]")):
        Stream(Engine("m", journal=False), 1.0, 60.0, **bad)


@pytest.mark.parametrize(("usd", "seconds", "name"), [(0, 60, "usd_per_window"), (1, math.nan, "window_seconds")])
def test_bad_windows_are_told_by_their_names(usd: Any, seconds: Any, name: str) -> None:
    with pytest.raises(CallerError, match=name):
        Stream(Engine("m", journal=False), usd, seconds)


@pytest.mark.parametrize(
    "bad", [{"tenant": 5}, {"foo": 1}, {"shadow": 1.0}, {"purse": None}, {"deadline": "x"}], ids=str
)
async def test_bad_requests_are_refused_before_they_wait(bad: dict[str, Any]) -> None:
    async with engine() as e, Stream(e, 1.0, 60.0) as stream:
        with pytest.raises(CallerError, match=next(iter(bad))):
            await stream.solve("item 1", **bad)
        assert stream.queue.count == stream.queue.open == 0
