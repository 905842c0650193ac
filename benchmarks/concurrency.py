"""2,000 concurrent solves: throughput, our overhead per request (p50, p99), memory.

python benchmarks/concurrency.py [--solves 2000] [--only model|litellm]

First on an in-process model with 100 ms latency; then through litellm against a loopback OpenAI-compatible server,
beside the same calls made with litellm alone. The server is a process of its own, on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np

LATENCY = 0.1

SERVER = """
import asyncio, sys
from aiohttp import web

async def chat(request):
    await request.json()
    await asyncio.sleep(0.1)
    choice = {"index": 0, "message": {"role": "assistant", "content": "Answer: 7"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    reply = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    return web.json_response({**reply, "choices": [choice], "usage": usage})

async def health(request):
    return web.Response(text="ok")

app = web.Application()
app.add_routes([web.post("/v1/chat/completions", chat), web.get("/health", health)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, backlog=4096)
"""


class Slow:
    """Answers after 100 ms."""

    async def complete(self, request):  # type: ignore[no-untyped-def]
        from satisfice import Completion, Response, Usage

        await asyncio.sleep(LATENCY)
        return Response((Completion("Answer: 7"),) * request.n, Usage(20, 5 * request.n))


async def in_process(solves: int) -> None:
    from satisfice import Engine, Price, SelfConsistency

    engine = Engine("slow", journal=False)
    engine.register("slow", Slow(), Price.per_million(1, 4))
    async with engine:
        await engine.solve("3+4?", budget=1, answer="number", strategy="single_shot")
        before, began = _memory(), time.perf_counter()
        done = await asyncio.gather(
            *[
                engine.solve("3+4?", budget=1, answer="number", strategy=SelfConsistency(samples=4))
                for _ in range(solves)
            ]
        )
        wall = time.perf_counter() - began
    overhead = 1000 * (np.array([s.spend.seconds for s in done]) - LATENCY)
    _line("in-process, n = 4", solves, wall, overhead, _memory() - before)


async def through_litellm(solves: int, base: str) -> None:
    from satisfice import Engine, Settings
    from satisfice.models.lite import load_litellm

    litellm = load_litellm()
    messages = [{"role": "user", "content": "3+4?"}]
    call = {"model": "openai/m", "messages": messages, "api_base": base, "api_key": "none", "max_tokens": 64}

    async def alone() -> float:
        began = time.perf_counter()
        await litellm.acompletion(**call, num_retries=0, timeout=300)
        return time.perf_counter() - began

    await alone()
    for _ in range(2):  # interleaved, so that both see the same machine
        before, began = _memory(), time.perf_counter()
        cpu = time.process_time()
        alones = np.array(await asyncio.gather(*[alone() for _ in range(solves)]))
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        _line("litellm alone", solves, wall, 1000 * (alones - LATENCY), _memory() - before, cpu)
        price = {"prompt": 1.0, "completion": 4.0}
        settings = Settings(models={"m": {"model": "openai/m", "api_base": base, "price": price, "timeout": 300}})
        async with Engine("m", settings=settings, journal=False) as engine:
            before, began, cpu = _memory(), time.perf_counter(), time.process_time()
            request = {"budget": 1.0, "answer": "number", "strategy": "single_shot"}
            done = await asyncio.gather(*[engine.solve("3+4?", **request) for _ in range(solves)])
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        seconds = 1000 * (np.array([s.spend.seconds for s in done]) - LATENCY)
        _line("satisfice through litellm", solves, wall, seconds, _memory() - before, cpu)
        ours = 1000 * np.array([s.spend.overhead for s in done])
        print(f"    of it outside the call: p50 {np.percentile(ours, 50):.2f} ms, p99 {np.percentile(ours, 99):.2f} ms")
        billed = {s.spend.nanos for s in done}
        print(f"    billed each: {billed} nano-dollars (20 x 1 + 5 x 4 per million: 40000)")


def _line(name: str, solves: int, wall: float, extra: np.ndarray, memory: float, cpu: float = 0.0) -> None:
    p50, p99 = np.percentile(extra, [50, 99])
    used = f", {1000 * cpu / solves:.2f} ms CPU each" if cpu else ""
    print(
        f"{name:28} {solves} at once: {solves / wall:6.0f}/s, above the {1000 * LATENCY:.0f} ms: p50 {p50:.0f} ms, "
        f"p99 {p99:.0f} ms, +{memory:.0f} MB peak{used}"
    )


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _server() -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)])
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            return process, f"http://127.0.0.1:{port}/v1"
        except OSError:
            time.sleep(0.1)
    process.kill()
    sys.exit("the loopback server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--solves", type=int, default=2000)
    parser.add_argument("--only", choices=["model", "litellm"])
    options = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files[1], 16384), files[1]))
    if options.only != "litellm":
        asyncio.run(in_process(options.solves))
    if options.only != "model":
        os.environ["NO_PROXY"] = "127.0.0.1"
        process, base = _server()
        try:
            asyncio.run(through_litellm(options.solves, base))
        finally:
            process.kill()


if __name__ == "__main__":
    main()
