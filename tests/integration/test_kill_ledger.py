"""A service that is killed with requests in flight: what was sent is on the ledger, nothing twice, never too much."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import anyio
import pytest

from satisfice.budgets.ledger.ledger import Ledger
from satisfice.budgets.ledger.stores import Query
from satisfice.budgets.prices import Price
from satisfice.core.errors import SatisficeError
from satisfice.scheduler.engine import Engine

LIMIT = 900_000  # nano-dollars: about 20 requests' worth
SERVICE = """
import os, sys
import anyio
from satisfice import Account, Completion, Engine, Ledger, Limit, Price, Response, SelfConsistency, Usage
from satisfice.core.errors import BudgetError

home, limit, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sent = os.open(home + "/sent", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

class Model:
    async def complete(self, request):
        os.write(sent, b"x" * request.n)  # what a provider would bill
        await anyio.sleep(0.001 * (request.seed % 7))
        answer = Completion(("Answer: 2", "Answer: 3")[request.seed % 3 == 0])
        return Response((answer,) * request.n, Usage(20, 10))

async def main():
    accounts = [Account("acme", "global", (Limit(nanos=limit),)), Account("key", "acme")]
    async with await Ledger.open(home + "/ledger.db", accounts) as ledger:
        engine = Engine("m", journal=home + "/runs.db", ledger=ledger, account="key")
        engine.register("m", Model(), Price.per_million(1, 1))
        async with engine:
            async def one(i):
                for k in range(100):
                    try:
                        await engine.solve("q", budget=1, answer="number", strategy=SelfConsistency(samples=3),
                                           seed=1000 * seed + 100 * i + k)
                    except BudgetError:
                        return
            print("ready", flush=True)
            async with anyio.create_task_group() as group:
                for i in range(4):
                    group.start_soon(one, i)

anyio.run(main)
"""


class Model:
    """The same, in this process."""

    def __init__(self, home: Path) -> None:
        self.sent = home / "sent"

    async def complete(self, request):  # type: ignore[no-untyped-def]
        from satisfice import Completion, Response, Usage

        with self.sent.open("ab") as file:
            file.write(b"x" * request.n)
        return Response((Completion("Answer: 2"),) * request.n, Usage(20, 10))


def killed(home: Path, seed: int, seconds: float) -> None:
    """Runs the service for so long, and kills it where it stands; one that ends by itself found no room any more."""
    script = home / "service.py"
    script.write_text(SERVICE)
    arguments = [sys.executable, str(script), str(home), str(LIMIT), str(seed)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        until = monotonic() + seconds
        while process.poll() is None and monotonic() < until:
            sleep(0.001)
        process.send_signal(signal.SIGKILL)


async def settled(home: Path, resume: bool) -> None:
    """What was left behind is taken up, by going on with the runs or by reading the journal; then the books agree."""
    async with await Ledger.open(home / "ledger.db") as ledger:
        acme = next(s for s in await ledger.standings() if s.account.name == "acme").balances[0]
        assert acme.posted[0] + acme.pending[0] <= LIMIT
        engine = Engine("m", journal=home / "runs.db", ledger=ledger, account="key")
        engine.register("m", Model(home), Price.per_million(1, 1))
        async with engine:
            for record in await engine.journal.runs(1000, "running"):
                if resume:
                    try:
                        await engine.resume(record.id)
                    except SatisficeError as error:
                        assert error.code in ("budget_too_small", "no_answer")
        holds = await ledger.holds(Query())
        sent = len((home / "sent").read_bytes())
        total = next(s for s in await ledger.standings() if s.account.name == "global").balances[0]
        assert total.pending == (0, 0, 0)
        assert total.posted == tuple(sum(h.spent[i] for h in holds) for i in range(3))
        assert total.posted[0] <= LIMIT
        assert total.posted[2] >= sent  # a call that was about to leave may count, one that left always does


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_service_has_spent_what_the_ledger_says(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    for i in range(3):
        killed(tmp_path, 10 * seed + i, dice.uniform(0.01, 0.4))
        anyio.run(settled, tmp_path, True)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40))
def test_a_killed_service_has_spent_what_the_ledger_says_again_and_again(seed: int, tmp_path: Path) -> None:
    dice = random.Random(1000 + seed)
    for i in range(4):
        killed(tmp_path, 1000 + 10 * seed + i, dice.uniform(0.0, 0.5))
        anyio.run(settled, tmp_path, True)
