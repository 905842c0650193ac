"""CPU and memory of a tree search over a model that answers at once, beside treequest (Sakana AI).

    python benchmarks/tree_search.py [--rounds 7] [--steps 64]

treequest 0.3 is measured where it is installed. Rounds of all contenders are interleaved in one run. `plan`: our plan
alone, its effects answered by this file. `driver`: the same through the offline driver, with holds, decisions and
candidates. The states and values are the same for all: a text and a number from a seeded generator.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from itertools import count
from typing import Any

from satisfice import Budget, Candidate, Completion, Task, TreeSearch, Usage
from satisfice.budgets.policy import Policy
from satisfice.budgets.prices import Price
from satisfice.budgets.purse import Purse
from satisfice.core.effects import Gather, Offer, Sample, Score
from satisfice.scheduler.decisions import Economics
from satisfice.scheduler.nodes import Reply
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.scheduler.tariff import PriceList, Rate
from satisfice.strategies.trees import Continue, Step

TASK = Task.of("How much is 1 + 1?", "number")


class States:
    """New states and their values, as pure code."""

    def __init__(self) -> None:
        self.dice, self.numbers = random.Random(0), count()

    def __call__(self, task: Task, path: tuple[str, ...]) -> tuple[Step, ...]:
        return (Step(f"state {next(self.numbers)}"),)

    def two(self, task: Task, path: tuple[str, ...]) -> tuple[Step, ...]:
        return (Step(f"state {next(self.numbers)}"), Step(f"state {next(self.numbers)}"))

    def value(self, task: Task, paths: tuple[tuple[str, ...], ...]) -> list[float]:
        return [self.dice.random() for _ in paths]


def code(algorithm: Any, steps: int) -> TreeSearch:
    """treequest's MCTS adds one of two children of a node in each step: 64 of its steps are 32 of ours."""
    states = States()
    expander: Any = states if algorithm == "ab_mcts" else states.two
    expansions = steps if algorithm == "ab_mcts" else steps // 2
    return TreeSearch(algorithm, expander, states.value, depth=1000, steps=expansions, first=False, finish=False)


def modelled(algorithm: Any, steps: int) -> TreeSearch:
    """Thoughts and grades by a model, one call each."""
    each = 1 if algorithm == "ab_mcts" else 2
    return TreeSearch(algorithm, Continue(each), depth=1000, steps=steps // each, first=False, finish=False)


class Instant:
    """Answers at once: every thought is a new one, every grade "likely"."""

    def __init__(self) -> None:
        self.numbers = count()

    def text(self, effect: Sample) -> str:
        return (
            "likely" if "sure, likely or impossible" in effect.messages[-1].content else f"thought {next(self.numbers)}"
        )

    def answer(self, call: Any) -> Any:
        return Reply(Completion(self.text(call.effect)), Usage(10, 5), 1.0)

    def reply(self, effect: Any) -> Any:
        match effect:
            case Offer():
                return 1
            case Sample():
                return Candidate(self.text(effect), thought=True)
            case Gather():
                return tuple(self.reply(branch) for branch in effect.branches)
            case Score():
                raise AssertionError("nothing is checked here")
        return None


def plan(strategy: TreeSearch) -> None:
    source, going, reply = Instant(), strategy(TASK), None
    try:
        while True:
            reply = source.reply(going.send(reply))
    except StopIteration:
        return


def driver(strategy: TreeSearch) -> None:
    budget = Budget(usd=1000.0, worth=float("inf"))
    tariff = PriceList({"m": Rate(Price.per_million(1, 1), "m")})
    run = Run(strategy(TASK), purse=Purse.of(budget), economics=Economics(budget, Policy(), tariff), name="bench")
    perform(run, Instant())


def peer(make: Callable[[], Any], inplace: bool, steps: int) -> None:
    dice, numbers = random.Random(0), count()
    algorithm = make()
    state = algorithm.init_tree()
    generate = {"a": lambda parent: (f"state {next(numbers)}", dice.random())}
    for _ in range(steps):
        state = algorithm.step(state, generate, inplace=inplace)


def contenders(steps: int) -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {
        "mcts, code, plan": lambda: plan(code("mcts", steps)),
        "mcts, code, driver": lambda: driver(code("mcts", steps)),
        "mcts, model, plan": lambda: plan(modelled("mcts", steps)),
        "mcts, model, driver": lambda: driver(modelled("mcts", steps)),
        "ab_mcts, code, plan": lambda: plan(code("ab_mcts", steps)),
        "ab_mcts, code, driver": lambda: driver(code("ab_mcts", steps)),
        "ab_mcts, model, driver": lambda: driver(modelled("ab_mcts", steps)),
    }
    if find_spec("treequest"):
        import treequest

        for name, made in (("mcts", treequest.StandardMCTS), ("ab_mcts_a", treequest.ABMCTSA)):
            found[f"treequest {name}, in place"] = lambda made=made: peer(made, True, steps)
            found[f"treequest {name}, copying"] = lambda made=made: peer(made, False, steps)
    return found


def memory(algorithm: str, steps: int) -> float:
    """Peak KiB of a whole plan."""
    strategy = modelled(algorithm, steps)
    tracemalloc.start()
    plan(strategy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=64)
    options = parser.parse_args()
    runs = contenders(options.steps)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.rounds + 1):
        for name, run in runs.items():
            began = time.process_time()
            run()
            if turn:  # the first round warms up
                times[name].append(1000 * (time.process_time() - began))
    print(f"CPU of {options.steps} nodes, {options.rounds} interleaved rounds")
    for name, values in times.items():
        print(f"{name:30} {statistics.median(values):8.2f} ms (best {min(values):.2f})")
    for algorithm in ("mcts", "ab_mcts"):
        sizes = [64, 256, 1024]
        peaks = [memory(algorithm, steps) for steps in sizes]
        print(f"{algorithm} peak KiB at {sizes} steps: {[round(peak) for peak in peaks]}")


if __name__ == "__main__":
    main()
