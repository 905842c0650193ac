"""Formats that others rely on: prompts, the JSON of a solution, errors. A change here is a change for users."""

from __future__ import annotations

import json
from pathlib import Path

import anyio

from satisfice import BadBudget, Budget, Contract, Engine, Message, Price, ScriptedModel, SelfConsistency, Task, asking

HERE = Path(__file__).parent


def _same(name: str, text: str) -> None:
    assert text == (HERE / name).read_text(encoding="utf-8")


def test_prompts():
    schema = {"type": "object", "required": ["x"]}
    contracts = (
        Contract("text"),
        Contract("number"),
        Contract("choice", ("A", "B")),
        Contract("json", schema=schema),
        Contract("code"),
    )
    query = (Message("user", "Why {{ x }}?"),)
    texts = [f"== {c.kind}\n{asking(Task(query, c))[-1].content}\n" for c in contracts]
    _same("prompts.txt", "\n".join(texts))


def test_solution_json():
    async def main():
        engine = Engine("m", journal=False)
        engine.register("m", ScriptedModel(["Answer: 7", "Answer: 8", "Answer: 7"]), Price.per_million(1, 4))
        async with engine:
            return await engine.solve(
                "3+4?", budget=Budget(usd=0.01, worth=0.05), answer="number", strategy=SelfConsistency(), seed=1
            )

    data = anyio.run(main).to_dict()
    for volatile in ("run_id",):
        data[volatile] = "..."
    for spend in ("seconds", "overhead"):
        data["spend"][spend] = 0.0
    for decision in data["decisions"]:
        decision["at"] = 0.0
        for alternative in decision["alternatives"]:
            alternative["seconds"] = 0.0
            for figure in ("gain", "cost", "net", "each"):
                alternative[figure] = round(alternative[figure], 6)
        decision["p"] = decision["p"] and round(decision["p"], 6)
    for candidate in data["candidates"]:
        candidate["spent"]["seconds"] = 0.0
    data["if_doubled"]["gain"] = round(data["if_doubled"]["gain"], 6)
    _same("solution.json", json.dumps(data, indent=2) + "\n")


def test_error_json():
    try:
        Budget(usd=-1)
    except BadBudget as error:
        _same("error.json", json.dumps(error.to_dict()) + "\n")
