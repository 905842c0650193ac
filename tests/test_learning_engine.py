"""Feedback through an engine: requests after it are decided by what it taught."""

from __future__ import annotations

from collections import Counter
from math import inf
from pathlib import Path
from typing import Any

import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.prices import Price
from satisfice.models import ScriptedModel
from satisfice.scheduler.engine import Engine

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(Engine, "feedback"), reason="the engine takes no feedback"),
]
SURE = Budget(usd=1.0, worth=0.002)  # one draw is worth it, hardly a second


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def engine(tmp_path: Path, **settings: Any) -> Any:
    file = tmp_path / "satisfice.toml"
    file.write_text("\n".join(f"[{table}]\n{line}" for table, line in settings.items()))
    made: Any = Engine(["small", "large"], settings=file, journal=tmp_path / "runs.db")
    made.register("small", ScriptedModel(["Answer: 2"]), Price.per_million(1, 2))
    made.register("large", ScriptedModel(["Answer: 2"]), Price.per_million(1.1, 2.2))
    return made


async def asked(made: Any, n: int, correct: Any = None, **options: Any) -> Counter[str]:
    """Who was asked first, over n requests; `correct` says of each whether it was right."""
    seen: Counter[str] = Counter()
    for _ in range(n):
        solution = await made.solve("1 + 1?", answer="number", budget=SURE, **options)
        first = solution.decisions[0]
        name = first.alternatives[first.index].name
        seen[name] += 1
        if correct is not None:
            await made.feedback(solution.run_id, correct(name))
    return seen


async def test_what_is_said_to_be_wrong_is_asked_less(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        usual, _ = (await asked(made, 3)).most_common(1)[0]
        await asked(made, 25, lambda name: name != usual)
        after = await asked(made, 4)
    assert after[usual] == 0
    async with engine(tmp_path) as later:  # another engine, the same journal
        assert (await asked(later, 4))[usual] == 0
        state = later.learner.to_dict()
        assert state["arms"][usual]["shift"] < 0
        assert state["explored"]["explored"] == 0


async def test_predictions_are_kept_and_scored(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        solution = await made.solve("1 + 1?", answer="number", budget=SURE)
        said = await made.feedback(solution.run_id, True)
    first = solution.decisions[0]
    assert said.arms[0].arm == first.alternatives[first.index].name
    assert said.arms[0].p == first.alternatives[first.index].p
    assert said.arms[0].label == 1.0


async def test_exploring_stays_within_its_share_and_can_be_forbidden(tmp_path: Path) -> None:
    async with engine(tmp_path, learning="explore = 0.5") as made:
        await asked(made, 60, lambda name: True)
        bill = made.learner.to_dict()["explored"]
        assert bill["explored"] > 0
        assert bill["given_up_usd"] <= 0.5 * bill["usd"] + 0.002  # what a single answer is worth
        assert bill["runs"] == 60
        await asked(made, 5, explore=False)
        assert made.learner.to_dict()["explored"]["explored"] == bill["explored"]
        await asked(made, 3, strategy="single_shot")
        assert made.learner.to_dict()["explored"]["explored"] == bill["explored"]


async def test_what_forbids_exploring_is_decided_by_what_is_believed(tmp_path: Path) -> None:
    async with engine(tmp_path, learning="explore = 1.0") as made:
        await asked(made, 30, lambda name: name.endswith("small"))
        best = await asked(made, 8, explore=False)
    assert len(best) == 1


async def test_where_dollars_count_for_nothing_nothing_is_explored(tmp_path: Path) -> None:
    """What would be given up has no price there: no allowance would ever bound it."""
    async with engine(tmp_path, learning="explore = 0.5") as made:
        for seed in range(12):
            await made.solve("1 + 1?", answer="number", budget=Budget(calls=2, worth=inf), seed=seed)
        bill = made.learner.to_dict()["explored"]
        assert (bill["runs"], bill["explored"]) == (12, 0)
        await asked(made, 12)
        assert made.learner.to_dict()["explored"]["explored"] > 0
