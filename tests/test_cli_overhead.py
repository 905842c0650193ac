"""`runs overhead`: our own seconds."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from satisfice import Engine, Price, ScriptedModel
from satisfice.cli import main
from satisfice.cli.overhead import measured, quantile, since_of, tell
from satisfice.core.errors import CallerError

NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)


def test_quantiles_by_strategy_and_in_all() -> None:
    runs = [(f"r{i}", "auto" if i % 2 else "react", i / 1000, 1.0, 2, 4) for i in range(1, 101)]
    rows = {row["strategy"]: row for row in measured(runs)}
    assert list(rows) == ["auto", "react", "all"]
    assert (rows["all"]["requests"], rows["auto"]["requests"]) == (100, 50)
    assert (rows["all"]["p50"], rows["all"]["p90"], rows["all"]["p99"]) == (0.05, 0.09, 0.099)
    assert rows["all"]["per_decision_p50"] == pytest.approx(0.0125)
    assert rows["all"]["per_call_p50"] == pytest.approx(0.025)
    assert rows["all"]["share"] == pytest.approx(0.0505)
    assert rows["auto"]["decisions"] == 200


def test_a_quantile_is_a_value_that_was_there() -> None:
    assert quantile([], 0.5) is None
    assert [quantile([3.0, 1.0, 2.0], q) for q in (0.0, 0.34, 0.5, 0.99, 1.0)] == [1.0, 2.0, 2.0, 3.0, 3.0]


def test_runs_that_decided_nothing_count_without_their_choices() -> None:
    (row, _) = measured([("r1", "single_shot", 0.002, 0.0, 0, 0)])
    assert (row["p50"], row["per_decision_p50"], row["per_call_p50"], row["share"]) == (0.002, None, None, None)
    assert measured([]) == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (None, ""),
        ("24h", "2026-01-07T12:00:00.000+00:00"),
        ("1.5d", "2026-01-07T00:00:00.000+00:00"),
        ("1w", "2026-01-01T12:00:00.000+00:00"),
        ("2026-01-02", "2026-01-02T00:00:00.000+00:00"),
        ("2026-01-02T10:00:00+02:00", "2026-01-02T08:00:00.000+00:00"),
    ],
)
def test_since_when(text: str | None, moment: str) -> None:
    assert since_of(text, NOW) == moment


@pytest.mark.parametrize("text", ["yesterday", "d", "1e99d", "2026-13-01", "-"])
def test_no_moment(text: str) -> None:
    with pytest.raises(CallerError, match="expected a date"):
        since_of(text, NOW)


def test_units(capsys: pytest.CaptureFixture[str]) -> None:
    tell(measured([("r", "a", 0.0005, 1, 1, 1), ("r", "b", 0.25, 1, 1, 1), ("r", "c", 2.5, 5, 1, 1)]), False)
    out = capsys.readouterr().out
    assert "500 us" in out
    assert "250.0 ms" in out
    assert "2.50 s" in out


def test_on_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsysbinary: Any) -> None:
    async def solve() -> None:
        async with Engine("m", journal=tmp_path / "runs.db") as engine:
            engine.register("m", ScriptedModel(["Answer: 2"]), Price.per_million(1, 1))
            for _ in range(3):
                await engine.solve("1 + 1?", answer="number", budget=1.0, strategy="single_shot")

    def run(*args: str) -> str:
        monkeypatch.setattr(sys, "argv", ["satisfice", "runs", "overhead", *args])
        with pytest.raises(SystemExit):
            main()
        out: str = capsysbinary.readouterr()[0].decode()
        return out

    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "no finished runs" in run()
    anyio.run(solve)
    rows = json.loads(run("--json"))
    assert [(row["strategy"], row["requests"]) for row in rows] == [("single_shot", 3), ("all", 3)]
    assert 0 < rows[0]["p50"] <= rows[0]["p99"]
    assert json.loads(run("--since", "2999-01-01", "--json")) == []
