"""`satisfice solve-many`: files in, records out, and going on from them."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from satisfice import Engine, Price, ScriptedModel
from satisfice.cli import main


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsysbinary: Any) -> Any:
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    made = Engine.__init__

    def init(self: Engine, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self.register("m", ScriptedModel(["Answer: 4"]), Price.per_million(1, 1))

    monkeypatch.setattr(Engine, "__init__", init)

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["satisfice", "solve-many", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = (text.decode() for text in capsysbinary.readouterr())
        assert "Traceback" not in err
        return int(stop.value.code or 0), out, err

    return run


OPTIONS = ("--model", "m", "--answer", "number", "--budget", "0.05", "--worth", "0.01", "--no-journal")


def test_a_file_of_lines_is_answered_and_written(cli: Any, tmp_path: Any) -> None:
    (tmp_path / "q.txt").write_text('What is 2 + 2?\n\n{"query": "1 + 3?", "answer": "text"}\n')
    code, out, _ = cli("q.txt", *OPTIONS, "--out", "a.jsonl", "--json")
    data = json.loads(out)
    assert code == 0 and data["answered"] == 2 and [s["answer"] for s in data["solutions"]] == ["4", "4"]
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert {r["query"] for r in records} == {0, 1} and any("run" in r for r in records)
    code, out, _ = cli("q.txt", *OPTIONS, "--out", "a.jsonl", "--json")
    assert code == 2 and "--resume" in json.loads(out)["error"]["message"]


def test_it_goes_on_from_its_records(cli: Any, tmp_path: Any) -> None:
    (tmp_path / "q.txt").write_text("What is 2 + 2?\nWhat is 3 + 1?\n")
    cli("q.txt", *OPTIONS, "--out", "a.jsonl", "--json")
    path = tmp_path / "a.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if json.loads(line)["query"] == 0) + '\n{"query": 1, "cut')
    code, out, err = cli("q.txt", *OPTIONS, "--resume", "a.jsonl")
    assert code == 0 and "2 of 2 answered" in err and "4" in out
    (tmp_path / "other.txt").write_text("What is 5 + 5?\n")
    code, out, _ = cli("other.txt", *OPTIONS, "--resume", "a.jsonl", "--json")
    assert code == 2 and "line" in json.loads(out)["error"]["message"]


def test_it_goes_on_in_another_file(cli: Any, tmp_path: Any) -> None:
    (tmp_path / "q.txt").write_text("What is 2 + 2?\nWhat is 3 + 1?\n")
    cli("q.txt", *OPTIONS, "--out", "a.jsonl")
    path = tmp_path / "a.jsonl"
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["query"] == 0]
    path.write_text("\n".join(kept) + "\n")
    code, _, err = cli("q.txt", *OPTIONS, "--resume", "a.jsonl", "--out", "b.jsonl")
    assert code == 0 and "2 of 2 answered" in err
    lines = (tmp_path / "b.jsonl").read_text().splitlines()
    assert lines[: len(kept)] == kept and {json.loads(line)["query"] for line in lines} == {0, 1}
    code, _, _ = cli("q.txt", *OPTIONS, "--resume", "b.jsonl", "--json")
    assert code == 0 and (tmp_path / "b.jsonl").read_text().splitlines() == lines  # nothing was bought again
    code, out, _ = cli("q.txt", *OPTIONS, "--resume", "a.jsonl", "--out", "b.jsonl", "--json")
    assert code == 2 and "there already" in json.loads(out)["error"]["message"]


@pytest.mark.parametrize(
    ("text", "says"), [("", "no queries"), ('{"query": 1', "line 1"), ('{"text": "x"}', '"query"'), ("x\n{}", "line 2")]
)
def test_bad_files_are_one_clear_line(cli: Any, tmp_path: Any, text: str, says: str) -> None:
    (tmp_path / "q.txt").write_text(text)
    code, out, _ = cli("q.txt", *OPTIONS, "--json")
    assert code == 2 and says in json.loads(out)["error"]["message"]


def test_a_file_that_is_not_there(cli: Any) -> None:
    code, _, err = cli("nowhere.txt", *OPTIONS)
    assert code == 1 and "nowhere.txt" in err
