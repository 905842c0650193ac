"""Fair shares of a long queue, and a stream that is kept to its dollars.

    python benchmarks/queueing.py fair
    python benchmarks/queueing.py stream

`fair`: 10,000 requests of 50 tenants wait; they are let through by `scheduler.many.queueing.FairQueue`, each held at
its cap and set right to what it came to. After every grant and every settlement: how far each tenant's served dollars
are from its weight's part of all served dollars, in maximal holds. Served: posted, and held while a request is under
way.

`stream`: requests come to `Stream` over a real engine and a made-up model, in virtual time (trio's clock), as many in
each window, evenly or in bursts. Costs and difficulty differ from request to request. What those of a window would
spend without a price is measured first (the first window's, no target), and the target is that divided by the overload.
"""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import dataclass
from random import Random

import click
import trio
import trio.testing

from satisfice import Engine, Price, SelfConsistency
from satisfice.budgets.purse import Purse
from satisfice.core.amounts import NANO
from satisfice.core.completions import Completion, Message, Request, Response, Usage
from satisfice.core.errors import SatisficeError
from satisfice.core.task import Contract, Task
from satisfice.scheduler.many.queueing import FairQueue, Ticket
from satisfice.scheduler.many.stream import Stream

ASKED = re.compile(r"q \d+ (\S+) (\d+)")
PRICE = Price.per_million(1.0, 1.0)


@click.group()
def main() -> None:
    """See the module's docstring."""


# -- fair shares ------------------------------------------------------------------------------------------------------


@dataclass
class Fairness:
    """The largest deviation from the weights that was seen, in maximal holds; the least total that waiting took."""

    served: float = 0.0
    grants: int = 0
    bytes: int = 0


def fairness(weights: list[float], requests: int, at_once: int, seed: int, share: tuple[float, float]) -> Fairness:
    """`share`: what a request comes to is uniform between these parts of its hold."""
    dice, most = Random(seed), 1_000_000
    names = [f"t{i}" for i in range(len(weights))]
    queue = FairQueue(dict(zip(names, weights, strict=True)), most=requests, at_once=at_once)
    tracemalloc.start()
    for k in range(requests):
        queue.submit(0.0, dice.randint(most // 10, most), names[k % len(names)], priority=dice.randint(0, 2))
    seen, total = Fairness(bytes=tracemalloc.get_traced_memory()[1]), sum(weights)
    tracemalloc.stop()
    shares = [queue.fair.share(name) for name in names]
    under_way: list[Ticket] = []

    def look() -> None:
        served = sum(one.served for one in shares)
        off = (abs(one.served - weight / total * served) for one, weight in zip(shares, weights, strict=True))
        seen.served = max(seen.served, max(off) / most)

    while len(queue.waiting) == len(names):  # as long as all are backlogged
        if len(under_way) < at_once:
            ticket = queue.next(0.0)
            assert ticket is not None
            under_way.append(ticket)
            seen.grants += 1
        else:
            ticket = under_way.pop(dice.randrange(len(under_way)))
            queue.settle(ticket, int(ticket.due.nanos * dice.uniform(*share)), 1.0)
        look()
    return seen


@main.command("fair")
@click.option("--requests", default=10_000)
@click.option("--tenants", default=50)
@click.option("--seeds", default=5)
def fair_command(requests: int, tenants: int, seeds: int) -> None:
    """Deviation from the weights, at every instant."""
    kinds = {
        "equal": [1.0] * tenants,
        "1 to 5": [1.0 + i % 5 for i in range(tenants)],
        "one has half": [float(tenants - 1)] + [1.0] * (tenants - 1),
    }
    click.echo("| weights | at once | settles at | grants | largest deviation, holds | memory |")
    click.echo("|---" * 6 + "|")
    for name, weights in kinds.items():
        for at_once in (1, 8, 50):
            for part in ((1.0, 1.0), (0.05, 1.0)):
                made = [fairness(weights, requests, at_once, seed, part) for seed in range(seeds)]
                cells = [name, at_once, "its hold" if part[0] == 1 else "5-100% of it", min(m.grants for m in made)]
                cells += [f"{max(m.served for m in made):.3f}"]
                click.echo(f"| {' | '.join(map(str, cells))} | {max(m.bytes for m in made) / 1e6:.1f} MB |")


# -- a stream ---------------------------------------------------------------------------------------------------------


class Made:
    """A model whose questions say how hard they are and how long answers take: "q <id> <theta> <tokens>"."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)

    async def complete(self, request: Request) -> Response:
        found_in = ASKED.search(request.messages[-1].content)
        assert found_in is not None
        theta, tokens = found_in.groups()
        await trio.sleep(self.dice.uniform(0.5, 2.0))
        found = []
        for _ in range(request.n):
            right = self.dice.random() < float(theta)
            found.append(Completion(f"Answer: {'A' if right else self.dice.choice('BCD')}", tokens=int(tokens)))
        return Response(tuple(found), Usage(60, int(tokens) * request.n))


@dataclass
class Streamed:
    """What came of a stream: dollars in each window, and those and what was held when it ended; answers; errors."""

    windows: list[float]
    ends: list[float]
    answered: int
    failed: int
    most_waiting: int
    calls: int
    prices: list[float]
    held: float


def arrivals(requests: int, windows: int, seconds: float, seed: int, bursts: bool) -> list[tuple[float, str]]:
    """(time, question) of each request, as many in each window. With bursts the rate changes every few hundredths of a
    window: half, once, or three times as many."""
    dice, found = Random(seed), []
    for window in range(windows):
        marks, at, total = [], 0.0, 0.0
        while at < seconds:
            length, rate = dice.uniform(0.01, 0.05) * seconds, dice.choice((0.5, 1.0, 1.0, 3.0)) if bursts else 1.0
            marks.append((window * seconds + at, rate, total))
            total += rate * min(length, seconds - at)
            at += length
        for mark in sorted(dice.uniform(0, total) for _ in range(requests // windows)):
            start, rate, before = next(m for m in reversed(marks) if m[2] <= mark)
            theta, tokens = dice.choice((0.95, 0.8, 0.6, 0.4, 0.2)), dice.randint(20, 120)
            found.append((start + (mark - before) / rate, f"q {len(found)} {theta} {tokens}"))
    return found


def streamed(
    asked: list[tuple[float, str]], usd: float, seconds: float, windows: int, concurrency: int = 64, worth: float = 0.01
) -> Streamed:
    """Runs the stream in virtual time. `usd` for each window of `seconds`."""
    seen = Streamed([], [], 0, 0, 0, 0, [], 0.0)
    contract = Contract("choice", tuple("ABCD"))

    async def one(stream: Stream, question: str) -> None:
        task = Task((Message("user", question),), contract)
        try:
            solution = await stream.solve(task, tenant=f"t{int(question.split()[1]) % 5}", strategy=SelfConsistency())
            seen.answered += solution.answer is not None
            seen.calls += solution.spend.calls
        except SatisficeError:
            seen.failed += 1

    purses: list[Purse] = []

    async def work() -> None:
        engine, most = Engine("made", journal=False), len(asked)
        engine.register("made", Made(1), PRICE)
        async with (
            engine,
            Stream(engine, usd, seconds, worth=worth, each=usd / 20, concurrency=concurrency, queue=most) as stream,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(watch, stream, purses)
            for at, question in asked:
                await trio.sleep(max(0.0, at - trio.current_time()))
                nursery.start_soon(one, stream, question)
                seen.most_waiting = max(seen.most_waiting, stream.queue.count)
                seen.prices.append(stream.price)
            await trio.sleep(max(0.0, windows * seconds - trio.current_time()) + seconds / 2)
            nursery.cancel_scope.cancel()
        seen.windows = [purse.posted[0] / NANO for purse in purses]

    async def watch(stream: Stream, purses: list[Purse]) -> None:
        for number in range(windows):
            await trio.sleep((number + 1) * seconds - 1e-3 - trio.current_time())
            purses.append(stream.purse)
            held = stream.purse.posted[0] + stream.purse.pending[0]
            seen.ends.append(held / NANO)
            seen.held = max(seen.held, held / stream.target)

    trio.run(work, clock=trio.testing.MockClock(autojump_threshold=0))
    return seen


@main.command("stream")
@click.option("--requests", default=10_000)
@click.option("--windows", default=10)
@click.option("--overload", multiple=True, type=float, default=(1.2, 1.5, 2.0, 4.0))
@click.option("--even", is_flag=True, help="Requests come at one rate, without bursts and pauses.")
def stream_command(requests: int, windows: int, overload: tuple[float, ...], even: bool) -> None:
    """Shortfall and overshoot of a stream."""
    seconds = 600.0
    asked = arrivals(requests, windows, seconds, 0, not even)
    first = [one for one in asked if one[0] < seconds]
    free = streamed(first, 1e6, seconds, 1, concurrency=10_000)
    total, each = free.windows[0] * windows, free.calls / len(first)
    click.echo(f"{requests} requests in {windows} windows; without a price: ${total:.4f}, {each:.2f} calls each\n")
    click.echo(
        "| demand / target | spent / target | windows, lowest to highest | with what was held at their ends", nl=False
    )
    click.echo(" | lowest | answered | failed | waited at most |\n" + "|---" * 8 + "|")
    for over in overload:
        usd = total / over / windows
        got = streamed(asked, usd, seconds, windows)
        parts, ends = sorted(w / usd for w in got.windows), sorted(w / usd for w in got.ends)
        cells = [f"{over:g}", f"{sum(parts) / len(parts):.4f}", f"{parts[0]:.4f} to {parts[-1]:.4f}"]
        cells += [f"{sum(ends) / len(ends):.4f}", f"{ends[0]:.4f}", f"{got.answered}", f"{got.failed}"]
        click.echo(f"| {' | '.join(cells)} | {got.most_waiting} |")


if __name__ == "__main__":
    main()
