"""`satisfice bank record`: the cost first, a yes, and words for what is wrong."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from satisfice.cli import cli
from satisfice.core.errors import CallerError, UnknownName
from satisfice.experiments.bank import Bank


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"id": "a", "question": "How much is 1 + 1?", "answer": "2", "kind": "number"}\n')
    return path


def run(*args: object, catch: bool = False) -> str:
    done = CliRunner().invoke(cli, ["bank", "record", *map(str, args)], catch_exceptions=catch)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_without_a_terminal_nobody_says_yes(tasks, tmp_path, monkeypatch):
    monkeypatch.setenv("SATISFICE_MODELS", json.dumps({"m": {"model": "local/smollm2"}}))
    with pytest.raises(CallerError, match="pass --yes"):
        run("--tasks", tasks, "--model", "m", "--out", tmp_path / "bank")
    assert not (tmp_path / "bank").exists()


@pytest.mark.parametrize(
    ("args", "error", "says"),
    [
        (["--model", "local/none"], UnknownName, "local/none"),
        (["--model", "local/smollm2", "--samples", "-1"], CallerError, "--samples -1: expected 0 or more"),
        (["--model", "local/smollm2", "--prompt", "terse"], CallerError, "expected one of direct, chain_of_thought"),
        (["--model", "local/smollm2", "--temperature", "-1"], CallerError, "temperature=-1.0"),
        (["--model", "local/smollm2", "--strategy", "reflexio"], UnknownName, "reflexion"),
        (["--model", "local/smollm2", "--verifier", "nobody"], UnknownName, "nobody"),
        (["--model", "local/smollm2", "--first", "0"], CallerError, "--first 0"),
        (["--model", "local/smollm2", "--arm", "a b"], CallerError, "--arm 'a b'"),
        (
            ["--model", "local/smollm2", "--arm", "x", "--prompt", "direct", "--prompt", "chain_of_thought"],
            CallerError,
            "x@0.7",
        ),
        (["--model", "=x"], CallerError, "NAME=MODEL"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(tasks, tmp_path, args, error, says):
    with pytest.raises(error, match=says):
        run("--tasks", tasks, "--out", tmp_path / "bank", "--yes", *args)
    assert not (tmp_path / "bank").exists()


@pytest.mark.local
def test_the_embedded_model_is_recorded_and_the_same_command_adds_nothing(tasks, tmp_path):
    args = (
        "--tasks", tasks, "--model", "tiny=local/smollm2", "--prefill", "Answer:", "--samples", 3, "--max-tokens", 4,
        "--verifier", "confidence:kind=mean", "--budget", 0.01, "--out", tmp_path / "bank", "--yes",
    )  # fmt: skip
    said = run(*args)
    assert "tiny direct@0.7" in said
    assert "1 recorded" in said
    bank = Bank.open(tmp_path / "bank")
    (row,) = bank.draws.values()
    assert len(row) == 3
    assert all(d.seconds and d.nanos and d.logprob_mean is not None for d in row)
    assert bank.manifest["models"]["tiny"]["fingerprint"].startswith("sha256:")
    told = json.loads(run(*args, "--json"))
    assert (told["usd"], told["were_there"], told["failed"]) == (0.0, 1, [])
