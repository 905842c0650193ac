"""CPU per solve: self-consistency with n = 8 on a model that answers at once, beside bare asyncio and a peer.

python benchmarks/overhead.py [--rounds 7] [--peer-python PATH]

`--peer-python` is an interpreter with its-hub 1.2.0 installed (uv venv peers; uv pip install its-hub==1.2.0). Rounds of
all contenders are interleaved in one run, and each is given as a ratio to bare asyncio.gather + Counter.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

N, SOLVES = 8, 300

PEER = """
import asyncio, time, logging
logging.disable(logging.CRITICAL)
from its_hub.core.algorithms.self_consistency import SelfConsistency
from its_hub.api import AbstractLanguageModel, ChatMessage, ChatMessages

class Instant(AbstractLanguageModel):
    async def agenerate(self, messages, stop=None, **kwargs):
        if messages and isinstance(messages[0], list):
            return list(await asyncio.gather(*[self.agenerate_single(m) for m in messages]))
        return await self.agenerate_single(messages)
    async def agenerate_single(self, messages, stop=None, **kwargs):
        await asyncio.sleep(0)
        return {"role": "assistant", "content": "Answer: 7"}
    def generate(self, *a, **k):
        raise NotImplementedError
    def evaluate(self, *a, **k):
        raise NotImplementedError
    async def aevaluate(self, *a, **k):
        raise NotImplementedError

async def main():
    algorithm, model = SelfConsistency(), Instant()
    await algorithm.ainfer(model, "3+4?", 8)
    began = time.process_time()
    for _ in range(SOLVES):
        await algorithm.ainfer(model, "3+4?", 8)
    print(1000 * (time.process_time() - began) / SOLVES)

asyncio.run(main())
""".replace("SOLVES", str(SOLVES))


class Instant:
    """Answers at once, but lets the loop turn."""

    async def complete(self, request):  # type: ignore[no-untyped-def]
        from satisfice import Completion, Response, Usage

        await asyncio.sleep(0)
        return Response((Completion("Answer: 7"),) * request.n, Usage(5, 3 * request.n))


async def bare() -> float:
    from satisfice import Message, Request

    model, request = Instant(), Request((Message("user", "3+4?"),))
    began = time.process_time()
    for _ in range(SOLVES):
        replies = await asyncio.gather(*[model.complete(request) for _ in range(N)])
        Counter(r.completions[0].text for r in replies).most_common(1)
    return 1000 * (time.process_time() - began) / SOLVES


async def ours(journal: Path | bool, ledger: Path | bool = False, limit: float | None = None) -> float:
    from satisfice import Engine, Price, SelfConsistency

    engine = Engine("instant", journal=journal, ledger=ledger, limit=limit)
    engine.register("instant", Instant(), Price.per_million(1, 4))
    strategy = SelfConsistency(samples=N)
    async with engine:
        await engine.solve("3+4?", budget=1, answer="number", strategy=strategy)
        began = time.process_time()
        for _ in range(SOLVES):
            await engine.solve("3+4?", budget=1, answer="number", strategy=strategy)
        return 1000 * (time.process_time() - began) / SOLVES


def peer(python: str) -> float:
    out = subprocess.run([python, "-c", PEER], capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"the peer failed:\n{out.stderr[-2000:]}")
    return float(out.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer-python")
    options = parser.parse_args()
    times: dict[str, list[float]] = {}
    for i in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            times.setdefault("bare gather + Counter", []).append(asyncio.run(bare()))
            times.setdefault("satisfice, no journal", []).append(asyncio.run(ours(False)))
            times.setdefault("satisfice, SQLite journal", []).append(asyncio.run(ours(Path(folder) / f"{i}.db")))
            times.setdefault("a ledger in memory", []).append(asyncio.run(ours(False, limit=1e6)))
            place = Path(folder) / f"{i}-ledger.db"
            times.setdefault("a ledger in SQLite", []).append(asyncio.run(ours(False, place)))
            if options.peer_python:
                times.setdefault("its-hub 1.2.0", []).append(peer(options.peer_python))
    base = statistics.median(times["bare gather + Counter"])
    print(f"CPU per solve, n = {N}, {SOLVES} solves a round, {options.rounds} interleaved rounds")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:28} {middle:6.3f} ms (min {min(values):.3f}, max {max(values):.3f})  {middle / base:5.1f} x bare")


if __name__ == "__main__":
    main()
