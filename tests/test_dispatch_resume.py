"""A process that dies between any two commits, with fallbacks and hedges under way: the run goes on all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from satisfice.budgets.prices import Price
from satisfice.core.completions import Completion, Message, Params, Request, Response, Usage
from satisfice.core.effects import Gather, Race, Sample
from satisfice.core.errors import ModelUnavailable
from satisfice.core.plans import Answer
from satisfice.models.settings import ModelSettings, Settings
from satisfice.scheduler.engine import Engine
from satisfice.scheduler.journal import Journal, Row

pytestmark = pytest.mark.anyio
PRICES = {"a": Price.per_million(1, 1), "b": Price.per_million(10, 10)}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satisfice.scheduler.dispatch.attempts.BACKOFF", 0.0005)


class Scripted:
    """What it does is what the prompt says: "down" is down at `a`, "slow" hangs at the first call of each name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    async def complete(self, request: Request) -> Response:
        word = request.messages[-1].content
        self.asked.append(word)
        await anyio.lowlevel.checkpoint()
        if word.startswith("down") and self.name == "a":
            raise ModelUnavailable("down", status=500)
        if word.startswith("slow") and self.asked.count(word) == 1:
            await anyio.sleep(30)
        return Response((Completion(f"Answer: {word[-1]}"),), Usage(20, 10))


def say(word: str, task: Any) -> Sample:
    return Sample((Message("user", word),), task, params=Params(max_tokens=16))


class Mixed:
    name = "mixed"

    def __call__(self, task: Any) -> Any:
        yield from Gather((say("down 1", task), say("slow 2", task), say("fine 3", task)))
        won = yield from Race((say("down 4", task), say("down 4", task)))
        last = yield from say("slow 5", task)
        return Answer(last if any(won) else None)


def engine(journal: Path, home: Path) -> tuple[Engine, dict[str, Scripted]]:
    facts: dict[str, Any] = {"a": {"retries": 1, "fallbacks": ("b",), "hedge_after": 0.03}, "b": {"retries": 1}}
    models = {name: ModelSettings(model=f"own/{name}", **more) for name, more in facts.items()}
    made = Engine("a", settings=Settings(models=models, home=home), journal=journal)
    scripts = {name: Scripted(name) for name in models}
    for name, script in scripts.items():
        made.register(name, script, PRICES[name])
    return made, scripts


async def test_whatever_was_written_last_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[Row, ...]] = []
    commit, post = Journal.commit, Journal.post

    async def heard(self: Journal, rows: Sequence[Row]) -> None:
        written.append(tuple(rows))
        await commit(self, rows)

    def overheard(self: Journal, rows: Sequence[Row]) -> None:
        written.append(tuple(rows))
        post(self, rows)

    monkeypatch.setattr(Journal, "commit", heard)
    monkeypatch.setattr(Journal, "post", overheard)
    made, scripts = engine(tmp_path / "runs.db", tmp_path)
    async with made as e:
        whole = await e.solve("q", budget=1, answer="number", strategy=Mixed())
        record, _ = await e.journal.load(whole.run_id)
    assert whole.answer == "5"
    assert len(scripts["b"].asked) == 3
    assert sum(scripts["a"].asked.count(word) for word in ("slow 2", "slow 5")) == 4  # each with a hedge
    history = list(written)
    for cut in range(1, len(history)):
        kept = [row for rows in history[:cut] for row in rows]
        made, scripts = engine(tmp_path / f"{cut}.db", tmp_path)
        async with made as e:
            await e.journal.begin(replace(record, status="running", result=None))
            await commit(e.journal, kept)
            again = await e.resume(record.id, strategy=Mixed())
            _, rows = await e.journal.load(record.id)
        assert again.answer == "5", cut
        replies = [row for row in rows if row.kind == "reply" and row.effect == "sample"]
        lost = [
            row
            for row in rows
            if row.kind == "intent"
            and row.effect == "sample"
            and not any((r.path, r.attempt) == (row.path, row.attempt) for r in replies)
        ]
        assert again.spend.nanos == sum(row.nanos for row in (*replies, *lost)), cut
        done = [row for row in kept if row.kind == "reply" and row.effect == "sample"]
        fresh = sum(len(script.asked) for script in scripts.values())
        assert fresh <= sum(row.kind == "intent" and row.effect == "sample" for row in rows) - len(done), cut
