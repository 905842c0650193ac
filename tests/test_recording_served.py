"""Recording while serving: a share, redacted, never in the way."""

from __future__ import annotations

import json
import re
from threading import Event

import anyio
import pytest
from click.testing import CliRunner

from satisfice import Engine
from satisfice.budgets.prices import Price
from satisfice.cli import cli
from satisfice.core.errors import CallerError, StoreError
from satisfice.core.task import Task
from satisfice.experiments.recording.judged import from_runs
from satisfice.models.scripted import ScriptedModel
from satisfice.models.settings import Settings
from satisfice.scheduler.serving import recording
from satisfice.scheduler.serving.recording import ServedRecorder, redacted, sampled


def solved(count: int = 3, query: str = "Card 4111 1111 1111 1111 of ann@example.org: how much is 1 + 1?"):
    """Solutions with their tasks."""

    async def work():
        async with Engine("m", journal=False) as engine:
            engine.register("m", ScriptedModel(["2", "2", "3"]), Price.per_million(1, 2))
            task = Task.of(query, "number", topic="sums")
            return [
                (await engine.solve(task, strategy="self_consistency:samples=3", budget=1.0), task)
                for _ in range(count)
            ]

    return anyio.run(work)


def test_what_is_kept_is_redacted_before_it_is_written(tmp_path):
    served = ServedRecorder(tmp_path / "served", 1.0, ("email", "card"))
    for solution, task in solved():
        served(solution, task)
    served.close()
    (file,) = (tmp_path / "served").iterdir()
    text = file.read_text()
    assert "4111" not in text
    assert "ann@" not in text
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == 3
    assert rows[0]["query"] == "Card [redacted] of [redacted]: how much is 1 + 1?"
    assert (served.dropped, served.failed) == (0, 0)
    assert file.stat().st_mode & 0o077 == 0
    served(solution, task)  # after its end
    assert served.dropped == 1


def test_the_share_is_by_the_run_and_the_same_everywhere():
    chosen = [f"r{i}" for i in range(4000) if sampled(f"r{i}", 0.05)]
    assert 140 < len(chosen) < 260
    assert not sampled("r1", 0.0)
    assert all(sampled(f"r{i}", 1.0) for i in range(100))


def test_a_disk_that_fails_and_a_full_queue_cost_no_request(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    served = ServedRecorder(tmp_path / "file" / "under", 1.0)
    ((solution, task),) = solved(1)
    served(solution, task)
    served.close()
    assert served.failed == 1
    hold, slow = Event(), ServedRecorder(tmp_path / "slow", 1.0)
    monkeypatch.setattr(recording, "told", lambda solution, task: hold.wait(30) and {})
    for _ in range(recording.WAITING + 5):
        slow(solution, task)
    assert slow.dropped >= 4
    hold.set()
    slow.close()


def test_labelled_requests_become_a_bank_and_the_others_do_not(tmp_path):
    served = ServedRecorder(tmp_path / "served", 1.0)
    found = solved(3, "How much is 1 + 1?")
    for solution, task in found:
        served(solution, task)
    served.close()
    first, second, _ = (solution.run_id for solution, _ in found)
    bank = from_runs(tmp_path / "served", {first: 1.0, second: 0.0}, tmp_path / "bank")
    assert set(bank.questions) == {first, second}
    assert bank.questions[first].topic == "sums"
    right = [d for (q, *_), row in bank.draws.items() if q == first for d in row]
    wrong = [d for (q, *_), row in bank.draws.items() if q == second for d in row]
    assert {d.correct for d in right if d.key == "2"} == {True}
    assert all(not d.correct and d.key == "2" for d in wrong)  # of the others nothing is known
    again = from_runs(tmp_path / "served", {first: 1.0, second: 0.0}, tmp_path / "bank")
    assert again.draws == bank.draws


def test_a_query_of_several_lines_is_read_back_whole(tmp_path):
    row = {
        "run": "r1",
        "query": "How much\u2028is 1 + 1?",
        "kind": "number",
        "choices": [],
        "topic": "",
        "candidates": [],
    }
    (tmp_path / "served").mkdir()
    text = json.dumps({**row, "answer_key": "2"}, ensure_ascii=False)
    (tmp_path / "served" / "a.jsonl").write_text(text + "\n" + text[:20], "utf-8")  # the second was cut short
    bank = from_runs(tmp_path / "served", {"r1": 1.0}, tmp_path / "bank")
    assert bank.questions["r1"].text == row["query"]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
async def test_an_engine_records_as_its_settings_say_and_nothing_that_is_not_to_be_stored(tmp_path, anyio_backend):
    settings = Settings(home=tmp_path, record={"share": 1.0, "bank": "aside", "redact": ["email"]})
    async with Engine("m", settings=settings, journal=False) as engine:
        engine.register("m", ScriptedModel(["2"]), Price.per_million(1, 2))
        kept = await engine.solve("How much is 1 + 1, ann@example.org?", answer="number", budget=1.0)
        await engine.solve("A secret: how much is 1 + 2?", answer="number", budget=1.0, store=False)
    (file,) = (tmp_path / "aside").iterdir()
    (row,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert (row["run"], row["query"]) == (kept.run_id, "How much is 1 + 1, [redacted]?")
    assert Engine("m", settings=Settings(home=tmp_path), journal=False).recorder is None


def test_the_command_joins_the_words_in_the_journal(tmp_path):
    async def work():
        async with Engine("m", journal=tmp_path / "runs.db") as engine:
            engine.register("m", ScriptedModel(["2"]), Price.per_million(1, 2))
            served = ServedRecorder(tmp_path / "served", 1.0)
            task = Task.of("How much is 1 + 1?", "number")
            for judged in (True, False):
                solution = await engine.solve(task, strategy="single_shot", budget=1.0)
                served(solution, task)
                if judged:
                    await engine.feedback(solution.run_id, correct=True)
            served.close()

    anyio.run(work)
    args = ["bank", "from-runs", str(tmp_path / "served"), "--journal", str(tmp_path / "runs.db"), "--json"]
    done = CliRunner().invoke(cli, [*args, "--out", str(tmp_path / "bank")], catch_exceptions=False)
    assert json.loads(done.stdout) == {"bank": str(tmp_path / "bank"), "questions": 1, "draws": 1}
    with pytest.raises(CallerError, match="no journal"):
        CliRunner().invoke(
            cli, ["bank", "from-runs", "x", "--journal", "none.db", "--out", "y"], catch_exceptions=False
        )


def test_what_is_wrong_is_said():
    with pytest.raises(CallerError, match="share=2"):
        ServedRecorder("x", 2)
    with pytest.raises(CallerError, match="regular expression"):
        ServedRecorder("x", 0.1, ("(",))
    with pytest.raises(StoreError, match="no served requests"):
        from_runs("nowhere", {}, "bank")
    assert redacted({"run": "r12345678901", "a": ["12345678"]}, [re.compile(r"\d{8}")]) == {
        "run": "r12345678901",
        "a": ["[redacted]"],
    }
    assert redacted({"12345678": ("12345678",)}, [re.compile(r"\d{8}")]) == {"[redacted]": ["[redacted]"]}
