from __future__ import annotations

import json
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.prices import Price
from satisfice.core.errors import CallerError, StoreError, UnknownName
from satisfice.models import ScriptedModel
from satisfice.scheduler import store_sqlite
from satisfice.scheduler.engine import Engine
from satisfice.scheduler.feedback import feedback, observations
from satisfice.scheduler.journal import Explored, Given, Journal, Row, RunRecord
from satisfice.scheduler.paths import encode

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def engine(file: Path, **options: Any) -> Engine:
    made = Engine("m", journal=file, **options)
    made.register("m", ScriptedModel(["Answer: 2"]), Price.per_million(1, 1))
    return made


async def solved(made: Engine, **options: Any) -> str:
    solution = await made.solve("1 + 1?", answer="number", budget=1.0, strategy="single_shot", **options)
    return solution.run_id


async def test_a_word_is_kept_once_and_told_again(tmp_path: Path) -> None:
    async with engine(tmp_path / "runs.db") as made:
        run = await solved(made)
        first = await feedback(made, run, True, by="ann", note="checked")
        assert (first.correct, first.by, first.new, first.revised) == (1.0, "ann", True, False)
        again = await feedback(made, run, 1, by="bob")
        assert (again.new, again.by, again.created) == (False, "ann", first.created)
        assert len(await made.journal.trail(run)) == 1


async def test_another_word_is_refused_unless_it_revises(tmp_path: Path) -> None:
    async with engine(tmp_path / "runs.db") as made:
        run = await solved(made)
        await feedback(made, run, True)
        with pytest.raises(CallerError, match=r"said to be right .* and now wrong"):
            await feedback(made, run, False)
        changed = await feedback(made, run, False, revise=True, by="ann")
        assert (changed.correct, changed.revised) == (0.0, True)
        back = await feedback(made, run, 0.5, revise=True)
        trail = await made.journal.trail(run)
        assert [word.correct for word in trail] == [1.0, 0.0, 0.5]
        assert [word.revises for word in trail] == [None, trail[0].id, trail[1].id]
        assert back.revised


@pytest.mark.parametrize("correct", [-0.1, 1.1, float("nan"), "yes", None])
async def test_only_right_wrong_or_in_between(tmp_path: Path, correct: Any) -> None:
    async with engine(tmp_path / "runs.db") as made:
        run = await solved(made)
        with pytest.raises(CallerError, match="True, False, or a number"):
            await feedback(made, run, correct)


async def test_unknown_runs(tmp_path: Path) -> None:
    async with engine(tmp_path / "runs.db") as made:
        await solved(made)
        with pytest.raises(UnknownName, match="unknown run"):
            await feedback(made, "nothing", True)
    async with Engine("m", journal=False) as without:
        with pytest.raises(StoreError, match="no journal"):
            await feedback(without, "nothing", True)


@pytest.mark.parametrize(
    ("status", "result", "told"),
    [
        ("running", None, "has not ended"),
        ("waiting", {"answer": None}, "waits for a person"),
        ("failed", {"error": {"code": "model"}}, "gave no answer"),
        ("done", {"answer": None}, "gave no answer"),
    ],
)
async def test_without_an_answer_there_is_nothing_to_judge(tmp_path: Path, status: Any, result: Any, told: str) -> None:
    async with engine(tmp_path / "runs.db") as made:
        await made.journal.begin(RunRecord("r1", "2026-01-01", "running", "{}", None, "q", "auto", 0, "", None))
        if status != "running":
            await made.journal.finish("r1", status, json.dumps(result), 0)
        with pytest.raises(CallerError, match=told):
            await feedback(made, "r1", True)


async def test_of_another_account(tmp_path: Path) -> None:
    file, ledger = tmp_path / "runs.db", tmp_path / "ledger.db"
    settings = tmp_path / "satisfice.toml"
    settings.write_text('ledger = true\n[accounts.red]\n[accounts.blue]\n[accounts.pale]\nparent = "red"\n')
    async with engine(file, settings=settings, ledger=ledger, account="red") as red:
        mine = await solved(red)
        other = await solved(red, account="blue")
        with pytest.raises(CallerError, match="is not of account 'red'"):
            await feedback(red, other, True)
        assert (await feedback(red, mine, True)).new
        below = await solved(red, account="pale")
        assert (await feedback(red, below, True)).new
    async with engine(file, settings=settings, ledger=ledger) as root:
        with pytest.raises(CallerError, match="is not of account 'blue'"):
            await feedback(root, mine, True, account="blue")
        assert (await feedback(root, other, True, account="blue")).new
        assert not (await feedback(root, mine, True)).new  # whoever acts for all may judge all


async def test_later_and_from_another_process(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    async with engine(file) as made:
        run = await solved(made)
    code = (
        "import anyio, sys\n"
        "from satisfice.scheduler.engine import Engine\n"
        "from satisfice.scheduler.feedback import feedback\n"
        "async def main():\n"
        "    async with Engine(journal=sys.argv[1]) as engine:\n"
        "        await feedback(engine, sys.argv[2], 0.25)\n"
        "anyio.run(main)\n"
    )
    await anyio.run_process([sys.executable, "-c", code, str(file), run])
    async with engine(file) as made:
        assert (await made.journal.given())[0].correct == 0.25


async def test_the_strategy_confidence_and_policy_are_kept(tmp_path: Path) -> None:
    async with engine(tmp_path / "runs.db") as made:
        run = await solved(made)
        await feedback(made, run[:20], True)
        (word,) = await made.journal.given()
        assert (word.run, word.strategy, word.confidence, len(word.policy)) == (run, "single_shot", None, 12)


# -- what a word says of arms ----------------------------------------------------------------------------------------


def decision(step: int, name: str, p: float | None, size: int = 1) -> dict[str, Any]:
    rows = [{"name": "other", "p": 0.5}, {"name": name, "p": p}]
    return {"path": encode((step, 0)), "index": 1, "size": size, "alternatives": rows}


def reply(path: tuple[int, ...], key: str | None, effect: str = "sample") -> Row:
    candidate = {"key": key, "answer": key}
    facts = {"outcome": {"candidate": candidate}} if effect == "within" else candidate
    return Row("r", encode(path), 0, "reply", effect, "", json.dumps(facts), 0, 0, 1, 0.0)


RESULT = {
    "answer": "2",
    "candidates": [{"answer": "2", "key": "2"}, {"answer": "3", "key": "3"}],
    "decisions": [decision(1, "a", 0.7), decision(3, "b", 0.8), decision(5, "c", 0.6), decision(7, "a", 0.9)],
}
ROWS = [reply((2, 0), "2"), reply((4, 0), "3"), reply((6, 0), "2", "within"), reply((8, 0), "3")]


def test_those_who_said_it_share_its_fate() -> None:
    found = {o.arm: (o.p, o.shift, o.label) for o in observations(RESULT, ROWS, 1.0, {"a": 0.5})}
    assert found == {"a": (0.7, 0.5, 1.0), "b": (0.8, 0.0, 0.0), "c": (0.6, 0.0, 1.0)}


def test_where_the_answer_was_wrong_nothing_is_known_of_others() -> None:
    assert {o.arm: o.label for o in observations(RESULT, ROWS, 0.0, {})} == {"a": 0.0, "c": 0.0}
    assert {o.arm: o.label for o in observations(RESULT, ROWS, 0.5, {})} == {"a": 0.5, "c": 0.5}


def test_what_was_not_predicted_or_not_readable_says_nothing() -> None:
    unread = [reply((2, 0), None), *ROWS[1:]]
    assert [o.arm for o in observations(RESULT, unread, 1.0, {})] == ["b", "c", "a"]  # a: its second draw
    silent = {**RESULT, "decisions": [decision(1, "a", None), decision(3, "b", 0.8, size=0)]}
    assert observations(silent, ROWS, 1.0, {}) == ()


# -- the store -------------------------------------------------------------------------------------------------------


def word(run: str = "r1", **changes: Any) -> Given:
    return replace(Given(run, 1.0, "", "", "2026-01-01", "", "", "auto", 0.5, "[]"), **changes)


async def test_an_older_journal_is_brought_up_to_date(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    connection = sqlite3.connect(file)
    for statement in store_sqlite._SCHEMA:
        connection.execute(statement)
    record = RunRecord("r1", "2026-01-01", "done", "{}", '{"answer": "2"}', "q", "auto", 0, "", None)
    store_sqlite.begin(connection, record)
    connection.commit()
    connection.close()
    async with Journal.open(file) as journal:
        assert (await journal.find("r1")).status == "done"
        assert (await journal.give(word()))[1]
        assert await journal.explored() == Explored()
    async with Journal.open(file) as journal:  # and once only
        assert [w.run for w in await journal.given()] == ["r1"]
        journal.count(Explored(5, 2, 1, 1))
        journal.count(Explored(7, 0, 1, 0))
        assert await journal.explored() == Explored(12, 2, 2, 1)


async def test_the_newest_words_are_read_oldest_first(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "runs.db") as journal:
        for i in range(5):
            await journal.give(word(f"r{i}"))
        assert [w.run for w in await journal.given(limit=3)] == ["r2", "r3", "r4"]
        assert [w.run for w in await journal.given(after=3)] == ["r3", "r4"]


async def test_two_journals_cannot_both_say_something_new(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    async with Journal.open(file) as one, Journal.open(file) as other:
        assert (await one.give(word()))[1]
        assert not (await other.give(word()))[1]
        with pytest.raises(CallerError, match="revise"):
            await other.give(word(correct=0.0))
        await one.give(word(correct=0.0), revise=True)
        assert [w.correct for w in await other.trail("r1")] == [1.0, 0.0]


async def test_our_own_seconds_are_listed_by_run(tmp_path: Path) -> None:
    async with engine(tmp_path / "runs.db") as made:
        solution = await made.solve("1 + 1?", answer="number", budget=Budget(calls=2), strategy="single_shot")
        rows = await made.journal.overheads()
        assert [(row[0], row[1], row[4]) for row in rows] == [(solution.run_id, "single_shot", 1)]
        assert await made.journal.overheads("2999-01-01") == []
