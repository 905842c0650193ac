"""Throughput under faults: requests through litellm against a loopback provider that misbehaves.

    python benchmarks/chaos.py [--requests 60] [--rounds 5] [--backend asyncio|trio] [--share 0.3]

Rounds of all kinds of weather are interleaved. For each: right answers and clear errors, calls asked, what must not be
(lost runs, wrong answers, overspend, books that differ: `Storm.faults`), and the throughput of finished requests as a
ratio to calm weather, beside the ratio that is to be expected: a failed attempt takes its own time (a hang: the
model's timeout) and the back-off, and there are share / (1 - share) of them for each that works.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from functools import partial
from math import exp, inf, log, sqrt
from pathlib import Path

import anyio

from satisfice.scheduler.dispatch.attempts import BACKOFF
from satisfice.testing.chaos import FAULTS, RETRY_AFTER, Provider, Storm, storm

WORK, PATIENCE, AT_ONCE = 0.4, 1.5, 8
FIRST = 0.75 * BACKOFF  # the mean back-off before the first retry
TAKES = {
    "429": RETRY_AFTER + FIRST,
    "500": FIRST,
    "hang": PATIENCE + FIRST,
    "truncate": WORK + FIRST,
    "dies": WORK + FIRST,
    "malformed": 0.0,  # not tried again: a clear error after as long as an answer
    "usage": 0.0,
    "duplicate": 0.0,
}


def expected(faults: tuple[str, ...], share: float) -> float:
    """The throughput to be expected, as a ratio to calm weather."""
    tried_again = [TAKES[fault] for fault in faults if TAKES[fault]]
    if not tried_again:
        return 1.0
    bad = share * len(tried_again) / len(faults)
    return WORK / (WORK + bad / (1 - bad) * statistics.fmean(tried_again))


def one(faults: tuple[str, ...], share: float, requests: int, backend: str, seed: int) -> Storm:
    provider = Provider(faults or ("500",), share if faults else 0.0, seed, work=WORK)
    with provider, tempfile.TemporaryDirectory() as home:
        work = partial(storm, provider, Path(home), requests, at_once=AT_ONCE, patience=PATIENCE, single=True)
        return anyio.run(work, backend=backend)


def interval(logs: list[float]) -> tuple[float, float, float]:
    """The geometric mean of ratios between its 95% limits (Student's t over rounds)."""
    from scipy.stats import t

    mean = statistics.fmean(logs)
    wide = float(t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / sqrt(len(logs)) if len(logs) > 1 else inf
    return exp(mean - wide), exp(mean), exp(min(mean + wide, 50.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--share", type=float, default=0.3)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    weathers: dict[str, tuple[str, ...]] = {"calm": (), **{f: (f,) for f in FAULTS}, "mixed": FAULTS}
    storms: dict[str, list[Storm]] = {name: [] for name in weathers}
    for seed in range(args.rounds):
        for name, faults in weathers.items():
            storms[name].append(one(faults, args.share, args.requests, args.backend, seed))
    print("| weather | right | clear errors | calls | must not be | throughput (95%) | expected |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, found in storms.items():
        low, middle, high = interval(
            [log(calm.seconds / each.seconds) for calm, each in zip(storms["calm"], found, strict=True)]
        )
        right, asked = sum(s.right for s in found), sum(s.asked for s in found)
        errors, wrong = sum(sum(s.errors.values()) for s in found), [fault for s in found for fault in s.faults()]
        print(
            f"| {name} | {right} | {errors} | {asked} | {len(wrong)} | {middle:.2f} "
            f"({low:.2f} to {high:.2f}) | {expected(weathers[name], args.share):.2f} |"
        )
        for fault in wrong[:3]:
            print(f"    {fault}")
    calm = [args.requests / s.seconds for s in storms["calm"]]
    print(f"\ncalm: {statistics.median(calm):.1f} requests a second ({min(calm):.1f} to {max(calm):.1f})")


if __name__ == "__main__":
    main()
