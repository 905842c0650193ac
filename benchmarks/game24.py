"""Game of 24: Tree of Thoughts' recorded searches replayed, and small models live.

    python benchmarks/game24.py replay STEPS.jsonl.gz [--samples SAMPLES.parquet]
    python benchmarks/game24.py live MODEL [--puzzles 10] [--tokens 4000] [--numbers 3] [--arms ...] [--out rows.jsonl]

`replay`: each line of STEPS holds one recorded search (question, steps: ys, new_ys, values, select_new_ys; finals). Our
bfs plan is driven by the recorded proposals and values: it must make the recorded selections, and with an exact check
of the expressions it must solve what the recorded search solved. SAMPLES holds IO and CoT samples of the same
questions (question_id, strategy, correct). `live` asks a model; every row is kept in --out, so that it can be resumed.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import operator
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

from satisfice import (
    BestOfN,
    Budget,
    Candidate,
    Check,
    Completion,
    Contract,
    Message,
    NoAnswer,
    Params,
    SingleShot,
    Task,
    TreeSearch,
    Usage,
    Verdict,
    solve,
)
from satisfice.budgets.policy import Policy
from satisfice.budgets.prices import Price
from satisfice.budgets.purse import Purse
from satisfice.core.effects import Sample
from satisfice.experiments.intervals import clustered, wilson
from satisfice.scheduler.decisions import Economics
from satisfice.scheduler.nodes import Reply
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.scheduler.tariff import PriceList, Rate
from satisfice.strategies.trees import Propose, Refine, Step, Value
from satisfice.strategies.trees.expanders import candidate_of

# -- the exact check ---------------------------------------------------------------------------------------------------

_DO: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def solves(expression: str, numbers: Iterable[int], target: int = 24) -> bool:
    """Whether it is arithmetic that uses each number once and comes to the target."""
    text = expression.partition("=")[0].replace("x", "*").replace("\u00d7", "*").replace("\u00f7", "/").strip(" .`$")
    used: list[int] = []

    def value(node: ast.AST) -> Fraction:
        match node:
            case ast.Expression():
                return value(node.body)
            case ast.Constant(int(n)):
                used.append(n)
                return Fraction(n)
            case ast.BinOp(left, op, right) if type(op) in _DO:
                return _DO[type(op)](value(left), value(right))
        raise ValueError(ast.dump(node))

    try:
        come = value(ast.parse(text[:200], mode="eval"))
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return False
    return come == target and Counter(used) == Counter(numbers)


# The paper's way to ask: examples, and the numbers that are left; what is left stands in the last step.
_LEFT = "{{ steps[-1].split('left:')[-1].strip(' )') if steps else query.split('numbers ')[-1].split(',')[0] }}"
PROMPTS = {
    "text": '{{ query }}\nEnd with a line of the form "Answer: <expression>".',
    "tree_propose": (
        "Input: 2 8 8\nPossible next steps:\n2 + 8 = 10 (left: 8 10)\n8 / 2 = 4 (left: 4 8)\n8 - 2 = 6 (left: 6 8)\n"
        "8 * 2 = 16 (left: 8 16)\n\nIn the same form, list {{ most }} possible next steps, one a line: take two of the "
        "numbers, and write what is left.\nInput: " + _LEFT + "\nPossible next steps:"
    ),
    "tree_value": (
        "{{ query }}\nSo far:\n{{ steps | join('\n') }}\nCan the numbers that are left now, "
        + _LEFT
        + ", still come to the "
        "target? Reply with one word: sure, likely or impossible."
    ),
    "tree_answer": (
        "{{ query }}\nThe steps:\n{{ steps | join('\n') }}\nWrite these steps as one expression of the numbers given, "
        'in a line of the form "Answer: <expression>".'
    ),
}


def task_of(numbers: tuple[int, ...], target: int = 24) -> Task:
    """The puzzle, with its exact check."""
    shown = " ".join(map(str, numbers))
    query = f"With the numbers {shown}, each used exactly once, and + - * / and brackets, make {target}."
    check = Check(lambda text: solves(str(text), numbers, target))
    message = Message("user", query)
    return Task((message,), Contract("text"), checks=(check,), label=f"game-{shown}-{target}", prompts=PROMPTS)


# -- replay ------------------------------------------------------------------------------------------------------------


@dataclass
class Recorded:
    """A recorded search as an expander and a valuer. `asked` keeps the paths that were expanded, by length."""

    row: dict[str, Any]
    answers: bool = False  # whether a line that states the answer is one
    asked: dict[int, list[str]] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    top: float = 1.0

    def __post_init__(self) -> None:
        for step in self.row["steps"]:
            parents = sorted(set(step["ys"]), key=len, reverse=True)
            for state, value in zip(step["new_ys"], step["values"], strict=True):
                parent = next(y for y in parents if state.startswith(y))
                self.children.setdefault(parent, []).append(state[len(parent) :])
                self.values.setdefault(state, value)
                self.top = max(self.top, value)

    def __call__(self, task: Task, path: tuple[str, ...]) -> tuple[Step, ...]:
        state = "".join(path)
        self.asked.setdefault(len(path), []).append(state)
        return tuple(self._step(task, (*path, text)) for text in self.children.get(state, ()))

    def _step(self, task: Task, path: tuple[str, ...]) -> Step:
        text = path[-1]
        if not self.answers or not text.lower().startswith("answer:"):
            return Step(text)
        expression = text[len("answer:") :].partition("=")[0].strip()
        return Step(text, candidate_of(task, expression, path))

    def value(self, task: Task, paths: tuple[tuple[str, ...], ...]) -> list[float]:
        return [self.values["".join(path)] / self.top for path in paths]


@dataclass
class Asked:
    """The same with each expansion as a call to a model, whose reply stands for the recorded one."""

    recorded: Recorded

    def asks(self, task: Task, path: tuple[str, ...]) -> tuple[Sample, ...]:
        return (Sample((Message("user", "".join(path)),), None, "m"),)

    def read(self, task: Task, path: tuple[str, ...], replies: Any) -> tuple[Step, ...]:
        return self.recorded(task, path)

    def __call__(self, task: Task, path: tuple[str, ...]) -> Any:
        raise AssertionError("asked in parts")


@dataclass
class Second:
    """Every call takes a second of virtual time."""

    calls: int = 0

    def answer(self, call: Any) -> Reply:
        self.calls += 1
        return Reply(Completion("-"), Usage(1, 1), 1.0)


def searched(expander: Any, recorded: Recorded, task: Task, depth: int) -> tuple[Run, int]:
    """The run, and how many calls were made."""
    strategy = TreeSearch("bfs", expander, recorded.value, width=5, depth=depth, steps=1000, first=False, finish=False)
    budget, source = Budget(usd=1.0, worth=float("inf")), Second()
    economics = Economics(budget, Policy(), PriceList({"m": Rate(Price.per_million(1, 1), "m")}))
    run = Run(strategy(task), purse=Purse.of(budget), economics=economics, name="replay")
    return perform(run, source), source.calls


def replay(path: Path, samples: Path | None) -> None:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    same = made = as_sets = waved = calls = 0
    seconds = 0.0
    solved = recorded_solved = 0
    for row in rows:
        numbers = tuple(int(n) for n in row["question"].split())
        task = task_of(numbers)
        bare = Task(task.messages, task.contract, label=task.label)
        watched, again = Recorded(row), Recorded(row)
        searched(watched, watched, bare, len(row["steps"]) + 1)
        run, asked_of = searched(Asked(again), again, bare, len(row["steps"]) + 1)
        calls, seconds = calls + asked_of, seconds + run.books.now
        for i, step in enumerate(row["steps"]):
            ours, theirs = watched.asked.get(i + 1, []), step["select_new_ys"]
            made += 1
            same += ours == theirs
            as_sets += set(ours) == set(theirs)
            waved += again.asked.get(i + 1, []) == theirs
            if ours != theirs:
                explain(row["question_id"], step, ours, theirs)
        ending = Recorded(row, answers=True)
        outcome = searched(ending, ending, task, len(row["steps"]))[0].outcome
        solved += bool(outcome and outcome.answer and outcome.answer.reason == "verified")
        recorded_solved += any(final["correct"] for final in row["finals"])
    n = len(rows)
    print(f"\nselections: {made}, identical in order {same}, as sets {as_sets} ({n} puzzles)")
    print(f"a level at once: identical {waved}; {calls / n:.1f} proposals a puzzle in the time of {seconds / n:.1f}")
    print(f"solved by the replayed plan, every leaf checked: {solved} of {n} {shown(wilson(solved, n))}")
    print(
        f"solved as recorded, any of 5 finals:             {recorded_solved} of {n} {shown(wilson(recorded_solved, n))}"
    )
    print(f"recorded cost per puzzle: ${sum(r['usage']['cost'] for r in rows) / n:.3f}")
    if samples:
        beside(samples)


def explain(name: str, step: dict[str, Any], ours: list[str], theirs: list[str]) -> None:
    """Says why a selection differs."""
    if set(ours) == set(theirs):
        print(f"{name} level {step['step'] + 1}: the same, in another order")
        return
    for state in theirs:
        last = state.splitlines()[-1]
        if state not in ours:
            why = "an empty line, which is no thought" if state.endswith("\n\n") else "?"
            print(f"{name} level {step['step'] + 1}: not in ours: {last!r}: {why}")
    for state in ours:
        if state not in theirs:
            print(f"{name} level {step['step'] + 1}: in its place: {state.strip().splitlines()[-1]!r}")


def beside(path: Path) -> None:
    """IO and CoT on the same questions: one sample, any of 5, any of 100."""
    import pyarrow.parquet as pq

    right: dict[str, dict[str, list[int]]] = {}
    cost: dict[str, float] = Counter()
    for row in pq.read_table(path).to_pylist():
        right.setdefault(row["strategy"], {}).setdefault(row["question_id"], []).append(row["correct"])
        cost[row["strategy"]] += row["cost_usd"]
    for strategy, by in sorted(right.items()):
        for k in (1, 5, 100):
            if all(len(found) >= k for found in by.values()):
                values = [1 - comb(len(f) - sum(f), k) / comb(len(f), k) for f in by.values()]
                interval = clustered(values)
                dollars = cost[strategy] / sum(map(len, by.values())) * k
                rate = f"{interval.estimate:.3f} {shown(interval)}"
                print(f"{strategy:12} any of {k:3}: {rate}, ${dollars:.3f} ({len(by)} puzzles)")


def shown(interval: Any) -> str:
    low, high = interval if isinstance(interval, tuple) else (interval.low, interval.high)
    return f"[{low:.2f}, {high:.2f}]"


# -- live --------------------------------------------------------------------------------------------------------------


def puzzles(n: int, numbers: int, seed: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Puzzles that have a solution: small numbers, and a whole target that some expression of them comes to."""
    dice = random.Random(seed)
    seen: set[tuple[tuple[int, ...], int]] = set()
    while len(seen) < n:
        given = tuple(sorted(dice.randint(1, 9) for _ in range(numbers)))
        if numbers == 4:
            targets = [24] if 24 in reachable(given) else []
        else:
            targets = sorted(int(v) for v in reachable(given) if v.denominator == 1 and 10 <= v <= 50)
        if targets and (puzzle := (given, dice.choice(targets))) not in seen:
            seen.add(puzzle)
            yield puzzle


def reachable(given: tuple[int, ...]) -> set[Fraction]:
    """What the numbers, each used once, can come to."""
    return _reachable(tuple(Fraction(n) for n in given))


def _reachable(left: tuple[Fraction, ...]) -> set[Fraction]:
    if len(left) == 1:
        return {left[0]}
    found: set[Fraction] = set()
    for i, j in combinations(range(len(left)), 2):
        a, b = left[i], left[j]
        rest = tuple(n for k, n in enumerate(left) if k not in (i, j))
        results = {a + b, a - b, b - a, a * b, *([a / b] if b else []), *([b / a] if a else [])}
        for result in results:
            found |= _reachable((*rest, result))
    return found


def arms(numbers: int) -> dict[str, Any]:
    """What is compared. All may spend the same tokens; what ends before is drawn out by its own limits only."""
    drawn, brief = Params(temperature=0.7, max_tokens=200), Params(temperature=0.7, max_tokens=120)
    judge = Value(params=Params(temperature=0.0, max_tokens=80))
    return {
        "single_shot": SingleShot(params=Params(temperature=0.0, max_tokens=200)),
        "best_of_n": BestOfN(most=1000, params=drawn),
        "tree bfs": TreeSearch(
            "bfs", Propose(4, params=brief), judge, width=2, depth=numbers - 1, steps=1000, params=drawn
        ),
        "tree ab_mcts": TreeSearch("ab_mcts", Refine(params=drawn), depth=4, steps=1000),
    }


def live(model: str, n: int, tokens: int, numbers: int, out: Path, only: tuple[str, ...] = ()) -> None:
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    have = {(row["puzzle"], row["arm"], row["model"], row["tokens_cap"]) for row in done}
    chosen = list(puzzles(n, numbers, seed=24))
    compared = {arm: strategy for arm, strategy in arms(numbers).items() if not only or arm in only}
    with out.open("a", encoding="utf-8") as file:
        for given, target in chosen:
            for arm, strategy in compared.items():
                task = task_of(given, target)
                if (task.label, arm, model, tokens) in have:
                    continue
                row = asked(task, strategy, model, tokens)
                row |= {"puzzle": task.label, "arm": arm, "model": model, "tokens_cap": tokens}
                file.write(json.dumps(row) + "\n")
                file.flush()
                done.append(row)
                print(row, file=sys.stderr)
    labels = {task_of(given, target).label for given, target in chosen}
    rows = [r for r in done if r["puzzle"] in labels and (r["model"], r["tokens_cap"]) == (model, tokens)]
    print(f"{model}: {n} puzzles of {numbers} numbers, at most {tokens} tokens each")
    for arm in compared:
        mine = [row for row in rows if row["arm"] == arm]
        right, used = sum(r["solved"] for r in mine), sum(r["tokens"] for r in mine) / max(1, len(mine))
        print(f"{arm:14} {right:3} of {len(mine)} {shown(wilson(right, len(mine)))}, {used:.0f} tokens each")


def asked(task: Task, strategy: Any, model: str, tokens: int) -> dict[str, Any]:
    budget = Budget(tokens=tokens, worth=float("inf"))
    try:
        solution = solve(task, budget=budget, strategy=strategy, models=model, seed=1, journal=False)
    except NoAnswer as error:
        return {"solved": 0, "answer": None, "tokens": tokens, "stop": str(error)[:200]}
    given = task.checks[0](task, Candidate(solution.answer, solution.answer)) if solution.answer else None
    return {
        "solved": int(isinstance(given, Verdict) and given.passed),
        "answer": solution.answer,
        "tokens": solution.spend.tokens,
        "calls": solution.spend.calls,
        "stop": solution.stop_reason,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    again = commands.add_parser("replay")
    again.add_argument("steps", type=Path)
    again.add_argument("--samples", type=Path)
    now = commands.add_parser("live")
    now.add_argument("model")
    now.add_argument("--puzzles", type=int, default=10)
    now.add_argument("--tokens", type=int, default=4000)
    now.add_argument("--numbers", type=int, default=3)
    now.add_argument("--arms", nargs="*", default=(), help="of these only")
    now.add_argument("--out", type=Path, default=Path("game24-live.jsonl"))
    options = parser.parse_args()
    if options.command == "replay":
        replay(options.steps, options.samples)
    else:
        live(options.model, options.puzzles, options.tokens, options.numbers, options.out, tuple(options.arms))


if __name__ == "__main__":
    main()
