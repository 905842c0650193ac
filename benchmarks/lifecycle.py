"""Measures what docs/lifecycle.md says: how soon running engines see a rollback, what following a registry costs, and
how often canaries are stopped.

    python benchmarks/lifecycle.py latency --engines 3 --changes 40
    python benchmarks/lifecycle.py cost
    python benchmarks/lifecycle.py trials --runs 2000
    python benchmarks/lifecycle.py accounts --runs 500
    python benchmarks/lifecycle.py promotions --runs 2000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median

from satisfice.budgets.policy import Policy
from satisfice.budgets.registry.betting import Race
from satisfice.budgets.registry.registry import Registry

FOLLOWING = """
import sys, time, anyio
from satisfice import Engine, Settings
from satisfice.budgets.prices import Price
from satisfice.models import ScriptedModel

async def main():
    async with Engine("m", settings=Settings(ledger=False), policies=sys.argv[1], journal=False) as engine:
        engine.register("m", ScriptedModel(["Answer: 7"] * 1_000_000), Price.per_million(1, 1))
        last = None
        while True:
            policy = (await engine.solve("q", answer="number", budget=0.1)).policy
            if policy != last:
                print(time.time(), policy, flush=True)
            last = policy
            await anyio.sleep(0.002)

anyio.run(main)
"""


def latency(engines: int, changes: int) -> None:
    """Seconds from a committed change to the first request that another process serves by it."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder) / "policies.db")
        one, other = (
            registry.add(Policy(name=n, strategy="single_shot", worth=w)).id for n, w in (("a", 1.0), ("b", 2.0))
        )
        registry.move(one, "production")
        command = [sys.executable, "-c", FOLLOWING, str(registry.path)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(engines)]
        try:
            for process in running:
                assert process.stdout is not None
                process.stdout.readline()
            found = []
            dice = Random(0)
            for i in range(changes):
                time.sleep(0.5 + dice.random() * 0.5)
                if i % 2:
                    registry.rollback()
                else:
                    registry.move(other, "production")
                done = time.time()
                for process in running:
                    assert process.stdout is not None
                    found.append(float(process.stdout.readline().split()[0]) - done)
        finally:
            for process in running:
                process.kill()
                process.wait()
    found.sort()
    print(f"{len(found)} changes seen by {engines} processes: median {median(found):.3f} s, ", end="")
    print(f"95% {found[int(0.95 * len(found))]:.3f} s, slowest {found[-1]:.3f} s")


def cost() -> None:
    """What a request pays for following."""
    import anyio

    from satisfice.models.settings import Settings
    from satisfice.scheduler.serving.choosing import serving_of
    from satisfice.scheduler.serving.served import key_of

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            registry = Registry(Path(folder) / "policies.db")
            one, other = (registry.add(Policy(name=n, worth=w)).id for n, w in (("a", 1.0), ("b", 2.0)))
            registry.move(one, "production")
            registry.move(other, "canary", share=0.1)
            serving = serving_of(None, registry.path, None, Settings(ledger=False))
            await serving.refresh()
            n = 100_000
            began = time.perf_counter()
            for i in range(n):
                await serving.refresh()
                serving.of(key_of(None, None, (), f"What is {i}?"))
            print(f"a request: {(time.perf_counter() - began) / n * 1e6:.2f} microseconds")
            assert serving.follower is not None
            began = time.perf_counter()
            for _ in range(10_000):
                serving.follower.changed()
            print(f"a look (at most one each 0.25 s): {(time.perf_counter() - began) / 10_000 * 1e6:.1f} microseconds")

    anyio.run(main)


def interval(k: int, n: int) -> str:
    """A share with its 95% interval (Clopper & Pearson 1934)."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return f"{k / n:.1%} [{low:.1%}, {high:.1%}]"


def trials(runs: int) -> None:
    """How often, and after how many outcomes, a canary is stopped that is looked at after every outcome (alpha 5%)."""
    rows = [(p, p, s, 2000) for p in (0.5, 0.7, 0.95) for s in (0.1, 0.5)]
    rows += [
        (0.65, 0.7, 0.1, 5000),
        (0.6, 0.7, 0.1, 5000),
        (0.5, 0.7, 0.1, 5000),
        (0.5, 0.7, 0.5, 5000),
        (0.3, 0.7, 0.1, 5000),
    ]
    for share in (0.1, 0.5):
        stopped = 0
        for seed in range(runs):
            dice, race = Random(seed), Race()
            for i in range(2000):
                race.add(dice.random() < share, float(dice.random() < 0.9 - 0.5 * i / 2000))
                if race.peak >= 20:
                    stopped += 1
                    break
        print(f"both from 0.90 down to 0.40, share {share:.0%}, 2000 outcomes, {runs} trials: ", end="")
        print(f"stopped {interval(stopped, runs)}", flush=True)
    for canary, production, share, requests in rows:
        lengths = []
        several = runs if canary == production else max(1, runs // 10)
        for seed in range(several):
            dice, race = Random(seed), Race()
            for i in range(requests):
                side = dice.random() < share
                race.add(side, float(dice.random() < (canary if side else production)))
                if race.peak >= 20:
                    lengths.append(i + 1)
                    break
        took = f"(median {median(lengths):.0f} outcomes)" if lengths else ""
        print(
            f"right {canary:.2f} against {production:.2f}, share {share:.0%}, {requests} outcomes, {several} trials: "
            f"stopped {interval(len(lengths), several)} {took}",
            flush=True,
        )


def accounts(runs: int, each: bool) -> None:
    """How often a canary is stopped, or shown to be better, whose requests stick by account, where accounts differ in
    how hard their questions are: right shares of Beta(2, 1), mean 0.67, less what the canary loses (alpha 5%).
    `each`: with every outcome as an observation, as in a first version."""
    from satisfice.scheduler.serving.served import within

    for count, share, lost in (
        *((n, 0.2, 0.0) for n in (10, 30, 100, 300)),
        (100, 0.2, 0.3),
        (300, 0.2, 0.3),
        (100, 0.5, 0.3),
        (100, 0.2, 1.0),
        (30, 0.5, 1.0),
    ):
        stopped, better = 0, 0
        for seed in range(runs):
            dice = Random(seed)
            right = [dice.betavariate(2, 1) for _ in range(count)]
            canary = [within(f"account\x1f{seed}-{i}", "p-0123456789ab", share) for i in range(count)]
            race = Race()
            for _ in range(3000):
                i = dice.randrange(count)
                chance = right[i] * (1 - lost * canary[i])
                race.add(canary[i], float(dice.random() < chance), "" if each else f"account {i}")
            stopped += race.worse(0.05)
            better += race.gain(0.05)[1] > 0
        print(
            f"{count} accounts, share {share:.0%}, the canary loses {lost:.0%} of its right answers, 3000 outcomes, "
            f"{runs} trials: stopped {interval(stopped, runs)}, shown to be better {interval(better, runs)}",
            flush=True,
        )


def promotions(runs: int) -> None:
    """How often a candidate passes for production on banks of several sizes (alpha 5%)."""
    from satisfice.experiments.promoting import paired_evidence
    from satisfice.experiments.report import Each

    for n, gained, lost in ((200, 0.1, 0.1), (800, 0.1, 0.1), (200, 0.15, 0.08), (800, 0.12, 0.08), (800, 0.15, 0.08)):
        passed = [0, 0]
        for seed in range(runs):
            dice = Random(seed)
            came = [dice.random() for _ in range(n)]
            mine = {f"q{i}": Each(float(not gained <= x < gained + lost), 0.001) for i, x in enumerate(came)}
            theirs = {f"q{i}": Each(float(x >= gained), 0.001) for i, x in enumerate(came)}
            passed[0] += paired_evidence(mine, theirs).better
            passed[1] += paired_evidence(mine, theirs, worth=0.1, most=0.001).better
        said = ", ".join(
            f"{what} {interval(k, runs)}" for what, k in zip(("accuracy", "net utility"), passed, strict=True)
        )
        print(
            f"{n} questions, better on {gained:.0%} and worse on {lost:.0%}: promoted by {said} of {runs} banks",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("latency", "cost", "trials", "accounts", "promotions"))
    parser.add_argument("--engines", type=int, default=3)
    parser.add_argument("--changes", type=int, default=40)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--each", action="store_true", help="accounts: every outcome counts, not one of each account")
    given = parser.parse_args()
    if given.what == "latency":
        latency(given.engines, given.changes)
    elif given.what == "cost":
        cost()
    elif given.what == "trials":
        trials(given.runs)
    elif given.what == "accounts":
        accounts(given.runs, given.each)
    else:
        promotions(given.runs)
