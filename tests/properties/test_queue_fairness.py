"""A long queue of many tenants: dollars by weight at every instant, and memory by what waits."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.core.errors import QueueFull
from satisfice.scheduler.many.queueing import FairQueue

MOST = 1_000_000


@pytest.mark.parametrize("kind", ["equal", "1 to 5", "one has half"])
def test_fifty_backlogged_tenants_are_served_by_weight_at_every_instant(kind: str) -> None:
    weights = {"equal": [1.0] * 50, "1 to 5": [1.0 + i % 5 for i in range(50)], "one has half": [49.0] + [1.0] * 49}
    found, names, dice = weights[kind], [f"t{i}" for i in range(50)], Random(0)
    queue = FairQueue(dict(zip(names, found, strict=True)), at_once=1)
    for k in range(2000):
        queue.submit(0.0, dice.randint(MOST // 10, MOST), names[k % 50], priority=k % 3)
    shares, total = [queue.fair.share(name) for name in names], sum(found)
    while len(queue.waiting) == 50:
        ticket = queue.next(0.0)
        assert ticket is not None
        for settled in (False, True):
            if settled:
                queue.settle(ticket, int(ticket.due.nanos * dice.uniform(0.05, 1.0)), 1.0)
            served = sum(share.served for share in shares)
            for share, weight in zip(shares, found, strict=True):
                assert abs(share.served - weight / total * served) <= MOST


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=60))
def test_what_comes_in_goes_out_once_or_is_refused(moves: list[tuple[str, int]]) -> None:
    """Whatever is submitted, cancelled, let through, taken back and settled: nothing is lost, nothing is left."""
    queue, waiting, open_, served, now = FairQueue(most=10), [], [], 0, 0.0
    for tenant, move in moves:
        now += 1.0
        if move == 0:
            try:
                waiting.append(queue.submit(now, 5, tenant))
            except QueueFull:
                assert queue.count == 10
        elif move == 1 and waiting:
            queue.cancel(waiting.pop())
        elif move == 2 and (ticket := queue.next(now)) is not None:
            waiting.remove(ticket)
            open_.append(ticket)
        elif move == 3 and open_:
            queue.settle(open_[0], 3, 1.0)
            queue.settle(open_.pop(0), 9, 1.0)
            served += 3
        assert (queue.count, queue.open) == (len(waiting), len(open_)) and queue.count <= 10
    assert sum(share.served for share in queue.fair.shares.values()) == served + 5 * len(open_)
    assert set(queue.waiting) == {ticket.tenant for ticket in waiting}
