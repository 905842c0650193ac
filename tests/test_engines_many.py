"""Batches in shards: answers in order, the total never passed, a killed worker's queries not paid for twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from satisfice import Budget, BudgetTooSmall, CallerError, Engine, Price, SingleShot
from satisfice.cli import main
from satisfice.core.completions import Params
from satisfice.experiments.engines.many import solve_many_on
from satisfice.models.scripted import ScriptedModel

PRICE = Price.per_million(100, 100)
SHORT = SingleShot(params=Params(temperature=0.0, max_tokens=8))
QUERIES = [f"What is {n} + 0?" for n in range(12)]


def counting(home: Path, deadly: str = "") -> Callable[[], Engine]:
    """Makes engines whose model says the question's number, and notes every call in a file; at the query `deadly` the
    process is killed, once."""

    def reply(request: object, index: int) -> str:
        text = request.messages[-1].content  # type: ignore[attr-defined]
        number = text.split("What is ")[1].split(" ")[0]
        mark = home / "killed"
        if number == deadly and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with (home / "calls").open("a") as file:
            file.write(f"{number}\n")
        return f"The answer is {number}"

    def make() -> Engine:
        engine = Engine("scripted", journal=home / "journal.sqlite")
        engine.register("scripted", ScriptedModel(reply), PRICE)
        return engine

    return make


def test_shards_answer_in_order_within_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    batch = solve_many_on(
        QUERIES,
        budget=1.0,
        engine="local",
        workers=2,
        make=counting(tmp_path),
        answer="number",
        strategy=SHORT,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert [s.answer for s in batch.solutions if s] == [str(n) for n in range(12)]
    assert 0 < batch.spend.nanos <= 1e9
    assert batch.spend.nanos == sum(s.spend.nanos for s in batch.solutions if s)
    assert seen[-1] == (12, 12)
    assert batch.stopped == "done"


def test_what_is_left_over_is_dealt_again_and_never_more(tmp_path: Path) -> None:
    for budget in (0.04, 0.06, 0.2):
        home = tmp_path / str(budget)
        home.mkdir()
        batch = solve_many_on(
            QUERIES,
            budget=budget,
            engine="local",
            make=counting(home),
            answer="number",
            strategy=SHORT,
            worth=1.0,
        )
        assert batch.spend.usd <= budget
        assert batch.answered == 12  # a call is held at 15 thousandths of a dollar, and costs less than 2


def test_a_second_call_goes_on_from_the_folder_and_pays_nothing_again(tmp_path: Path) -> None:
    ask = partial(solve_many_on, QUERIES, budget=1.0, engine="local", folder=tmp_path / "shards", answer="number")
    first = ask(make=counting(tmp_path), strategy=SHORT)
    calls = (tmp_path / "calls").read_text()
    again = ask(make=counting(tmp_path), strategy=SHORT)
    assert (tmp_path / "calls").read_text() == calls
    assert again.spend.nanos == first.spend.nanos
    assert [s.answer for s in again.solutions if s] == [s.answer for s in first.solutions if s]


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="no queries"):
        solve_many_on([], budget=1.0, make=counting(tmp_path))
    with pytest.raises(CallerError, match="usd alone"):
        solve_many_on(QUERIES, budget=Budget(calls=3), make=counting(tmp_path))
    with pytest.raises(BudgetTooSmall):
        solve_many_on(QUERIES, budget=1e-8, engine="local", make=counting(tmp_path), strategy=SHORT)


def test_on_the_command_line_what_shards_cannot_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "queries.txt").write_text("What is 1 + 1?\n")
    line = ["solve-many", str(tmp_path / "queries.txt"), "--budget", "1", "--model", "m", "--engine", "ray"]
    monkeypatch.setattr("sys.argv", ["satisfice", *line, "--seconds", "3"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "--engine local" in capsys.readouterr().err
