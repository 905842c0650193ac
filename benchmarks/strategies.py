"""One table: strategies x tasks on small local models, each request under the same token cap.

    pip install reasoning-gym==0.1.25
    python benchmarks/strategies.py record work --gguf qwen2.5-coder-0.5b-instruct-q4_k_m.gguf --questions 16
    python benchmarks/strategies.py report work            # accuracy and tokens with intervals, paired with single-shot
    python benchmarks/strategies.py build work bank        # the same runs as a bank

`record` goes on where it was stopped, question by question, so that any part of it is a fair part; `--most-tokens` ends
it. A run is one `Engine.solve` with `Budget(tokens=CAP, worth=inf)`: every strategy may spend what the cap allows. Two
tasks can be checked without their answer (an equation by substitution, an expression by its value): there the task
carries an exact check. No strategy and no check sees a gold answer; it is read when the table is made.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha1
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import click

from satisfice import Budget, Engine, SatisficeError
from satisfice.core.task import Contract, Task
from satisfice.experiments.bank import Bank, Draw, Question
from satisfice.experiments.intervals import paired, wilson
from satisfice.models.catalog import LOCAL_PRICE
from satisfice.models.local import LocalModel
from satisfice.strategies.registry import strategy_of
from satisfice.verifiers.check import Check

SEED, CAP, SLOTS, CONTEXT = 20261122, 12_000, 6, 1536
STRONG, WEAK = "strong", "weak"
SHORT = 'params={"temperature": 0.7, "max_tokens": 64}'
GREEDY = 'params={"temperature": 0.0, "max_tokens": 64}'
FORMS = {
    "number": '{{ query }}\nWork it out in one short line. End with a line of the form "Answer: <number>".',
    "text": '{{ query }}\nEnd with a line of the form "Answer: <expression>".',
}
WEAKLY = f"self_consistency:samples=2,model={WEAK},{SHORT}"
VOTERS = f"self_consistency:samples=3,{SHORT}"
# The first three are the plain baselines. Settings come to some 900 tokens; the cap leaves room for holds, by bytes.
STRATEGIES: dict[str, str] = {
    "single_shot": f"single_shot:{GREEDY}",
    "single_shot (weak)": f"single_shot:model={WEAK},{GREEDY}",
    "fixed n = 4": f"self_consistency:samples=4,{SHORT}",
    "single_shot, waits = 1": f"single_shot:waits=1,{GREEDY}",
    "self_consistency": f"self_consistency:most=12,{SHORT}",
    "self_consistency (confidence)": f"self_consistency:most=12,weights=confidence,{SHORT}",
    "tree_search (bfs)": f"tree_search:algorithm=bfs,width=2,depth=2,steps=8,{SHORT}",
    "tree_search (ab_mcts)": f"tree_search:algorithm=ab_mcts,steps=8,{SHORT}",
    "reflexion": f'reflexion:rounds=3,{SHORT},reflect_params={{"temperature": 0.0, "max_tokens": 48}}',
    "debate (full)": f"debate:agents=3,rounds=1,topology=full,{SHORT}",
    "debate (ring)": f"debate:agents=3,rounds=1,topology=ring,{SHORT}",
    "fusion (synthesis)": f"fusion:members={json.dumps([WEAKLY, VOTERS])},{SHORT}",
    "cascade": f"cascade:stages={json.dumps([WEAKLY, VOTERS])}",
    "experts": f"experts:arms={json.dumps([WEAKLY, VOTERS])},k=2",
    "roles": f"roles:turns=5,{SHORT}",
    "orchestrate": f"orchestrate:{SHORT}",
}
CHECKED: dict[str, str] = {"best_of_n": f"best_of_n:most=12,{SHORT}"}
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Item:
    """One question: how it is asked, what it comes to, and the check that needs no answer (none: "")."""

    id: str
    dataset: str
    kind: str
    query: str
    gold: str
    check: str = ""

    def task(self) -> Task:
        checks = (Check(checker(self.check), name="exact"),) if self.check else ()
        kind: Any = self.kind
        return Task.of(self.query, kind, checks=checks, prompts=FORMS, label=self.id)

    def right(self, answer: str | None) -> bool:
        """By the check where there is one (several expressions are right), else by the gold answer."""
        if answer is None:
            return False
        contract = Contract(self.task().contract.kind)
        if self.check:
            return bool(checker(self.check)(contract.value(answer)))
        gold, given = contract.read(self.gold), contract.read(answer)
        return gold is not None and given is not None and gold.key == given.key


def value_of(text: str, names: dict[str, Fraction] | None = None) -> tuple[Fraction, list[int]] | None:
    """The value of an arithmetic expression and the numbers in it; None for anything else."""
    used: list[int] = []

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -walk(node.operand)
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return Fraction(node.value)
        if isinstance(node, ast.Name) and names and node.id in names:
            return names[node.id]
        raise ValueError

    try:
        return (walk(ast.parse(text.strip(), mode="eval").body), used) if len(text) < 200 else None
    except (ValueError, SyntaxError, ZeroDivisionError, RecursionError):
        return None


def checker(check: str) -> Callable[[Any], bool]:
    """`solve VARIABLE EQUATION` or `reach TARGET NUMBERS`."""
    kind, first, rest = check.split(" ", 2)

    def solves(value: Any) -> bool:
        left, _, right = rest.partition("=")
        at = {first: Fraction(value)}
        a, b = value_of(left, at), value_of(right, at)
        return a is not None and b is not None and a[0] == b[0]

    def reaches(text: Any) -> bool:
        found = value_of(re.sub(r"=.*", "", str(text)).replace("\u00d7", "*").replace("\u00f7", "/"))
        return found is not None and found[0] == int(first) and sorted(found[1]) == sorted(map(int, rest.split()))

    return solves if kind == "solve" else reaches


def items(count: int) -> list[Item]:
    """`count` questions of each task, interleaved, so that a part is a fair part."""
    import reasoning_gym as gym

    sizes = {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2}
    made: list[list[Item]] = [[], [], [], []]
    for e in gym.create_dataset("chain_sum", size=count, seed=SEED, **sizes):
        made[0].append(Item(f"chain_sum-{len(made[0])}", "chain_sum", "number", e["question"], e["answer"]))
    for e in gym.create_dataset("letter_counting", size=count, seed=SEED, min_words=3, max_words=5):
        made[1].append(Item(f"letters-{len(made[1])}", "letter_counting", "number", e["question"], e["answer"]))
    weights = [0.5, 0.5, 0.0]
    settings = {"min_terms": 2, "max_terms": 2, "min_value": 1, "max_value": 20, "operators_weights": weights}
    for e in gym.create_dataset("simple_equations", size=count, seed=SEED, **settings):
        facts = e["metadata"]
        check = f"solve {facts['variable']} {facts['equation']}"
        made[2].append(
            Item(f"equation-{len(made[2])}", "simple_equations", "number", e["question"], e["answer"], check)
        )
    settings = {"min_numbers": 3, "max_numbers": 3, "min_value": 1, "max_value": 12, "min_target": 5, "max_target": 40}
    for e in gym.create_dataset("countdown", size=count, seed=SEED, **settings):
        numbers, target = e["metadata"]["numbers"], e["metadata"]["target"]
        listed = ", ".join(map(str, numbers))
        query = f"Use each of the numbers {listed} exactly once, with + - * / and brackets, to make {target}."
        check = f"reach {target} {' '.join(map(str, numbers))}"
        made[3].append(
            Item(f"countdown-{len(made[3])}", "countdown", "text", query, e["metadata"]["expression"], check)
        )
    return [one for row in zip(*made, strict=True) for one in row]


@click.group()
def main() -> None:
    """Strategies x tasks on small local models at the same token cap."""


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.option("--gguf", type=click.Path(path_type=Path), help="The strong model's file (default: the embedded model).")
@click.option("--questions", default=16, show_default=True, help="Of each task.")
@click.option("--most-tokens", default=300_000, show_default=True, help="Ends the recording.")
@click.option("--only", multiple=True, help="Only these strategies (repeat).")
@click.option("--at-once", default=4, show_default=True)
def record(
    work: Path, gguf: Path | None, questions: int, most_tokens: int, only: tuple[str, ...], at_once: int
) -> None:
    """Runs what is not on record yet."""
    work.mkdir(parents=True, exist_ok=True)
    out = work / "runs.jsonl"
    rows = _rows(out)
    done, spent = {(r["id"], r["strategy"]) for r in rows}, sum(r["tokens"] for r in rows)
    todo = [(i, s) for i in items(questions) for s in _specs(i) if (i.id, s) not in done and (not only or s in only)]
    began, first = monotonic(), spent

    async def work_off() -> None:
        nonlocal spent
        strong = LocalModel(f"local/{gguf}" if gguf else "local/smollm2", slots=SLOTS, context=CONTEXT)
        weak = LocalModel("local/smollm2", slots=SLOTS, context=CONTEXT)
        async with Engine((STRONG, WEAK), journal=False) as engine:
            engine.register(STRONG, strong, LOCAL_PRICE, context=CONTEXT)
            engine.register(WEAK, weak, LOCAL_PRICE, context=CONTEXT)
            queue = iter(todo)

            async def worker() -> None:
                nonlocal spent
                for item, name in queue:
                    if spent >= most_tokens:
                        return
                    row = await one(engine, item, name)
                    spent += row["tokens"]
                    _append(out, [row])
                    rate = (spent - first) / max(1e-9, monotonic() - began)
                    click.echo(f"{item.id:14} {name:28} {row['tokens']:6} {row['answer']!s:.30} {rate:.0f}/s", err=True)

            async with anyio.create_task_group() as group:
                for _ in range(at_once):
                    group.start_soon(worker)

    anyio.run(work_off)


async def one(engine: Engine, item: Item, name: str) -> dict[str, Any]:
    """One request, as a row."""
    strategy = strategy_of(_specs(item)[name])
    began = monotonic()
    fault, facts = "", {}
    try:
        solution = await engine.solve(item.task(), budget=Budget(tokens=CAP, worth=inf), strategy=strategy, seed=SEED)
        answer, spend = solution.answer, solution.spend
        facts = {"tokens": spend.tokens, "calls": spend.calls, "usd": spend.usd, "reason": solution.stop_reason}
    except SatisficeError as error:
        answer, fault = None, f"{type(error).__name__}: {error}"
        facts = {"tokens": 0, "calls": 0, "usd": 0.0, "reason": "fault"}
    facts |= {"id": item.id, "dataset": item.dataset, "strategy": name, "answer": answer, "right": item.right(answer)}
    return {**facts, "fault": fault, "seconds": round(monotonic() - began, 2)}


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True)
def report(work: Path, as_json: bool) -> None:
    """The table, over the questions that every strategy has answered."""
    rows = {(r["id"], r["strategy"]): r for r in _rows(work / "runs.jsonl")}
    names = list(dict.fromkeys(s for _, s in rows))
    sets = list(dict.fromkeys(r["dataset"] for r in rows.values()))
    table = []
    for name in names:
        mine = [r for (_, s), r in rows.items() if s == name]
        line: dict[str, Any] = {"strategy": name, "n": len(mine), "tokens": sum(r["tokens"] for r in mine) / len(mine)}
        line["calls"] = sum(r["calls"] for r in mine) / len(mine)
        right = sum(r["right"] for r in mine)
        line["accuracy"] = [right / len(mine), *wilson(right, len(mine))]
        for dataset in sets:
            part = [r["right"] for r in mine if r["dataset"] == dataset]
            line[dataset] = [sum(part), len(part)]
        for other in ("single_shot", "fixed n = 4"):
            both = [r for r in mine if (r["id"], other) in rows]
            found = paired([r["right"] for r in both], [rows[r["id"], other]["right"] for r in both])
            line[f"less {other}"] = [found.estimate, found.low, found.high]
        table.append(line)
    if as_json:
        click.echo(json.dumps(table, indent=1))
        return
    click.echo(f"| strategy | n | {' | '.join(sets)} | all [95%] | less single-shot | less fixed n | tokens | calls |")
    click.echo("|---" * (8 + len(sets) - 1) + "|")
    for line in table:
        parts = " | ".join("{}/{}".format(*line[d]) for d in sets)
        said = [_shown(line["accuracy"]), _shown(line["less single_shot"], "+"), _shown(line["less fixed n = 4"], "+")]
        cells = [line["strategy"], line["n"], parts, *said, f"{line['tokens']:.0f}", f"{line['calls']:.1f}"]
        click.echo(f"| {' | '.join(map(str, cells))} |")


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def build(work: Path, out: Path) -> None:
    """The runs as a bank: one draw of each strategy (an arm) on each question."""
    known, found = {}, {}
    rows = _rows(work / "runs.jsonl")
    asked = {i.id: i for i in items(1 + max(int(r["id"].rsplit("-", 1)[1]) for r in rows))}
    for row in rows:
        item = asked[row["id"]]
        contract = item.task().contract
        fold = int(sha1(item.id.encode()).hexdigest(), 16) % 10
        known[item.id] = Question(item.id, item.dataset, item.query, item.gold, contract.kind, (), fold)
        reading = contract.read(row["answer"]) if row["answer"] is not None else None
        nanos = round(row["usd"] * 1e9)
        answer, key = (reading.answer, reading.key) if reading else ("", None)
        draw = Draw(0, answer, key, row["right"], 0, row["tokens"], nanos, row["answer"], "recorded", "nominal")
        found[item.id, "qwen2.5-coder-0.5b+smollm2", row["strategy"]] = (draw,)
    manifest = {"source": "recorded with benchmarks/strategies.py", "cap_tokens": str(CAP), "licence": "Apache-2.0"}
    Bank(known, found, manifest).save(out)


def _specs(item: Item) -> dict[str, str]:
    return {**STRATEGIES, **(CHECKED if item.check else {})}


def _shown(three: list[float], sign: str = "") -> str:
    return "{:{s}.2f} [{:{s}.2f}, {:{s}.2f}]".format(*three, s=sign)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
