"""What a sandboxed program costs beyond its own time: run() cold and warm, converse() warm, beside a bare interpreter.

python benchmarks/sandbox.py [--rounds 30] [--json]

Each contender runs an empty program; the rounds are interleaved in one run. "warm" waits for a spare interpreter
before each call, as between two answers of a model; "warm, back to back" does not. "bare" is
subprocess.run([sys.executable, "-I", "-S", "-c", "pass"]), which is no sandbox at all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from satisfice.verifiers.sandbox import Program, converse, isolation, run
from satisfice.verifiers.sandbox.isolation import found
from satisfice.verifiers.sandbox.pool import Pool
from satisfice.verifiers.sandbox.running import pool

EMPTY = Program("pass")
TALK = Program("import os\nos.write(4, b'x')\nos.read(3, 1)")


def bare() -> None:
    subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)


def warm() -> None:
    run(EMPTY)


def unsafe() -> None:
    run(EMPTY, unsafe=True)


def joined() -> None:
    converse(TALK, TALK)


def cold() -> float:
    """From nothing to an ended program: a pool without spares."""
    import satisfice.verifiers.sandbox.running as running

    way, _ = found()
    assert way is not None
    kept, running._pool = running._pool, Pool(way.start, spare=0)
    try:
        return timed(warm)
    finally:
        running._pool.close()
        running._pool = kept


def timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def settle(count: int = 2, patience: float = 30.0) -> None:
    """Waits until spare interpreters are there and have finished starting."""
    until = time.monotonic() + patience
    while len(pool().waiting()) < count and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(0.1)


def measure(rounds: int) -> dict[str, list[float]]:
    run(EMPTY)
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        settle()
        times.setdefault("bare interpreter", []).append(timed(bare))
        times.setdefault("run, unsafe", []).append(timed(unsafe))
        times.setdefault("run, cold", []).append(cold())
        settle()
        times.setdefault("run, warm", []).append(timed(warm))
        settle()
        times.setdefault("converse, warm", []).append(timed(joined))
    settle()
    times["run, back to back"] = [timed(warm) for _ in range(rounds)]
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if isolation() is None:
        sys.exit(f"nothing to measure: {found()[1]}")
    times = measure(options.rounds)
    base = statistics.median(times["bare interpreter"])
    rows = {}
    for name, values in times.items():
        middle, slow = statistics.median(values), statistics.quantiles(values, n=10)[-1]
        rows[name] = {"median_ms": middle, "p90_ms": slow, "n": len(values), "ratio": middle / base}
    if options.json:
        print(json.dumps(rows))
        return
    for name, row in rows.items():
        print(
            f"{name:20} median {row['median_ms']:6.1f} ms, p90 {row['p90_ms']:6.1f} ms, n={row['n']:.0f}, "
            f"{row['ratio']:.2f} x bare"
        )


if __name__ == "__main__":
    main()
