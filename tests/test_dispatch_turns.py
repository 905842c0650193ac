"""Turns on a virtual clock (trio's), and on asyncio where no time has to pass."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from satisfice.scheduler.dispatch.lanes import Lane
from satisfice.scheduler.dispatch.turns import Turns

trio = pytest.importorskip("trio")
testing = pytest.importorskip("trio.testing")


def virtual(work: Any) -> Any:
    """Runs `work(clock)` where sleeping costs nothing."""
    return trio.run(work, trio.current_time, clock=testing.MockClock(autojump_threshold=0))


async def go(turns: Turns, lanes: tuple[Lane, ...], tokens: int, until: float) -> Any:
    return turns.at_once(lanes, tokens) or await turns.wait(lanes, tokens, until)


def test_a_line_moves_in_order_and_at_the_rate() -> None:
    async def main(clock: Any) -> None:
        turns, lane, start = Turns(clock), Lane("m", 10, None, None), clock()
        order: list[tuple[int, float]] = []

        async def one(i: int) -> None:
            slots = await go(turns, (lane,), 1, start + 1000)
            order.append((i, clock() - start))
            turns.give((lane,), slots, None)

        async with trio.open_nursery() as nursery:
            for i in range(35):
                nursery.start_soon(one, i)
                await testing.wait_all_tasks_blocked()
        assert sorted(i for i, _ in order) == list(range(35))
        assert all(round(at) == 60 * (i // 10) for i, at in order)
        assert turns._lines == {}

    virtual(main)


def test_nobody_waits_past_the_bound() -> None:
    async def main(clock: Any) -> None:
        turns, lane, start = Turns(clock), Lane("m", None, None, 1), clock()
        held = turns.at_once((lane,), 1)
        assert held is not None
        assert await turns.wait((lane,), 1, start + 5.0) is None
        assert clock() - start == pytest.approx(5.0)
        assert turns.waiting("m") == 0
        turns.give((lane,), held, None)
        assert lane.active == 0

    virtual(main)


def test_a_caller_that_is_cancelled_leaves_the_line_and_its_place() -> None:
    async def main(clock: Any) -> None:
        turns, lane = Turns(clock), Lane("m", None, None, 1)
        held = turns.at_once((lane,), 1)
        assert held is not None
        got: list[int] = []

        async def one(i: int) -> None:
            slots = await turns.wait((lane,), 1, clock() + 100)
            got.append(i)
            assert slots is not None
            turns.give((lane,), slots, None)

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    inner.start_soon(one, 0)
                    await testing.wait_all_tasks_blocked()
                    nursery.start_soon(one, 1)
                    await testing.wait_all_tasks_blocked()
                    scope.cancel()
                    turns.give((lane,), held, None)  # 0 is let through before it knows that it is cancelled
        assert got == [1]
        assert lane.active == 0

    virtual(main)


def test_models_of_one_provider_share_its_limit_in_the_order_of_arrival() -> None:
    async def main(clock: Any) -> None:
        turns, start = Turns(clock), clock()
        shared = Lane("p/", None, None, 1)
        lanes = {name: (Lane(name, None, None, None), shared) for name in "ab"}
        order: list[str] = []

        async def one(name: str, tag: str) -> None:
            slots = await go(turns, lanes[name], 1, start + 100)
            order.append(tag)
            await trio.sleep(1)
            turns.give(lanes[name], slots, None)

        async with trio.open_nursery() as nursery:
            for tag in ("a0", "a1", "b2", "a3", "b4"):
                nursery.start_soon(one, tag[0], tag)
                await testing.wait_all_tasks_blocked()
        assert order == ["a0", "a1", "b2", "a3", "b4"]
        assert clock() - start == pytest.approx(5.0)

    virtual(main)


def test_one_models_pause_does_not_stop_another() -> None:
    async def main(clock: Any) -> None:
        turns, start = Turns(clock), clock()
        a, b = (Lane("a", None, None, None),), (Lane("b", None, None, None),)
        a[0].pause(30.0, start)
        times: dict[str, float] = {}

        async def one(name: str, lanes: tuple[Lane, ...]) -> None:
            slots = await go(turns, lanes, 1, start + 100)
            times[name] = clock() - start
            turns.give(lanes, slots, None)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "a", a)
            nursery.start_soon(one, "b", b)
        assert times == {"a": pytest.approx(30.0), "b": pytest.approx(0.0)}

    virtual(main)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_thousand_callers_and_three_places(anyio_backend: str) -> None:
    from time import monotonic

    turns, lane, most = Turns(monotonic), (Lane("m", None, None, 3),), 0

    async def one() -> None:
        nonlocal most
        slots = await go(turns, lane, 1, monotonic() + 600)
        most = max(most, lane[0].active)
        await anyio.lowlevel.checkpoint()
        turns.give(lane, slots, None)

    async with anyio.create_task_group() as group:
        for _ in range(1000):
            group.start_soon(one)
    assert (most, lane[0].active, turns._lines) == (3, 0, {})


def test_a_small_call_behind_a_big_one_waits_without_looking_again_and_again() -> None:
    async def main(clock: Any) -> None:
        turns, both = Turns(clock), Lane("p/", None, 1000, None)
        a, b = Lane("a", None, None, None), Lane("b", None, None, None)
        assert turns.at_once((a, both), 600) is not None
        moves, move = 0, turns.move

        def counted() -> None:
            nonlocal moves
            moves += 1
            move()

        turns.move = counted  # type: ignore[method-assign]
        left: list[tuple[str, float]] = []

        async def one(lane: Lane, tokens: int) -> None:
            slots = await turns.wait((lane, both), tokens, clock() + 200)
            assert slots is not None
            left.append((lane.name, clock()))

        start = clock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, a, 500)
            await testing.wait_all_tasks_blocked()
            nursery.start_soon(one, b, 100)
        assert [name for name, _ in left] == ["a", "b"]
        assert all(at - start == pytest.approx(60) for _, at in left)
        assert moves < 10

    virtual(main)
