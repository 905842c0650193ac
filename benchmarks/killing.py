"""How soon a kill switch takes effect: from the command's return to the last of the runs under way having ended.

    python benchmarks/killing.py [--runs 200] [--rounds 20] [--backend asyncio|trio]

The switch is thrown by another object on the same file, as another process would; each round has its own engine with a
journal and a ledger. Printed: seconds, median and worst, with what was left over (tasks at the model, holds, runs
under way), which must be nothing.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import anyio

from satisfice.budgets.ledger.ledger import Ledger
from satisfice.budgets.prices import Price
from satisfice.core.completions import Request, Response
from satisfice.core.errors import Killed
from satisfice.models.settings import Settings
from satisfice.scheduler.dispatch.switches import Switches
from satisfice.scheduler.engine import Engine
from satisfice.strategies import SingleShot


class Hangs:
    """Never replies, and counts who waits."""

    def __init__(self) -> None:
        self.waiting = 0

    async def complete(self, request: Request) -> Response:
        self.waiting += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.waiting -= 1
        raise AssertionError


async def once(runs: int, home: Path) -> tuple[float, int]:
    """Seconds, and what is left over."""
    model, ended = Hangs(), 0
    async with await Ledger.open(home / "ledger.db") as ledger:
        async with Engine("m", settings=Settings(home=home), journal=home / "runs.db", ledger=ledger) as engine:
            engine.register("m", model, Price.per_million(1, 1))

            async def solve() -> None:
                nonlocal ended
                try:
                    await engine.solve("q", budget=1, strategy=SingleShot())
                except Killed:
                    ended += 1

            async with anyio.create_task_group() as group:
                for _ in range(runs):
                    group.start_soon(solve)
                while model.waiting < runs:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                switches = Switches(home / "switches.json")
                await anyio.to_thread.run_sync(partial(switches.kill, "global", reason="measured"))
                began = perf_counter()
            seconds = perf_counter() - began
        (standing,) = [s for s in await ledger.standings() if s.account.name == "global"]
        holds = sum(balance.pending[2] for balance in standing.balances)
    return seconds, model.waiting + holds + len(engine.dispatcher._runs) + (runs - ended)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--backend", default="asyncio")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    seconds, left = [], 0
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as home:
            took, over = anyio.run(once, args.runs, Path(home), backend=args.backend)
        seconds.append(took)
        left += over
    print(
        f"{args.backend}, {args.runs} runs under way, {args.rounds} rounds: median {statistics.median(seconds):.2f} s, "
        f"worst {max(seconds):.2f} s; left over: {left}"
    )


if __name__ == "__main__":
    main()
