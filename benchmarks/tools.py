"""What a tool buys: products of two three-digit numbers, asked once and by `react` with a calculator.

    python benchmarks/tools.py WORK --gguf qwen2.5-coder-0.5b-instruct-q4_k_m.gguf --questions 20

Goes on where it was stopped. Greedy, at most 4 steps, under the same caps (6 calls, 20,000 tokens); the spending is not
equal, and stands beside the accuracy.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import anyio
import click
from strategies import value_of

from satisfice import Budget, Engine, NoAnswer, React, SingleShot
from satisfice.experiments.intervals import wilson

WAYS = {"single_shot": SingleShot(), "react": React(steps=4)}


def calculator(expression: str) -> float:
    """The exact value of an arithmetic expression, for example 3 * (2 + 5)."""
    found = value_of(expression)
    if found is None:
        raise ValueError("not an arithmetic expression of whole numbers")
    return float(found[0])


async def one(engine: Engine, i: int, way: str) -> dict[str, Any]:
    """One question, as a row. A run without an answer counts as wrong, at what it is known to have spent."""
    dice = Random(1000 + i)
    a, b = dice.randrange(100, 1000), dice.randrange(100, 1000)
    query, budget = f"How much is {a} * {b}?", Budget(calls=6, tokens=20_000)
    try:
        solution = await engine.solve(query, answer="number", strategy=WAYS[way], budget=budget, seed=i)
    except NoAnswer as error:
        return {"i": i, "way": way, "right": False, "tokens": 0, "calls": 0, "error": str(error)}
    spend = solution.spend
    return {"i": i, "way": way, "right": solution.value == a * b, "tokens": spend.tokens, "calls": spend.calls}


@click.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.option("--gguf", type=click.Path(path_type=Path), help="The model's file (default: the embedded model).")
@click.option("--questions", default=20, show_default=True)
def main(work: Path, gguf: Path | None, questions: int) -> None:
    """Runs what is not on record yet, and prints the table."""
    work.mkdir(parents=True, exist_ok=True)
    out = work / "tools.jsonl"
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {(row["i"], row["way"]) for row in rows}
    todo = iter([(i, way) for i in range(questions) for way in WAYS if (i, way) not in done])

    model = f"local/{gguf.resolve()}" if gguf else "local/smollm2"

    async def run() -> None:
        async with Engine(model, tools=[calculator], journal=False) as engine:

            async def worker() -> None:
                for i, way in todo:
                    rows.append(await one(engine, i, way))
                    with out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(rows[-1]) + "\n")

            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(worker)

    anyio.run(run)
    click.echo("| strategy | right [95%] | tokens a question | calls |\n|---|---|---|---|")
    for way in WAYS:
        mine = [row for row in rows if row["way"] == way]
        right, n = sum(row["right"] for row in mine), len(mine)
        low, high = wilson(right, n)
        tokens, calls = (sum(row[what] for row in mine) / n for what in ("tokens", "calls"))
        click.echo(f"| {way} | {right} of {n} [{low:.2f}, {high:.2f}] | {tokens:,.0f} | {calls:.1f} |")


if __name__ == "__main__":
    main()
