"""Steps of a trace and their scores: by a model, by a callable, by a server over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import validate

from satisfice import BestOfN, Engine
from satisfice.budgets.prices import Price
from satisfice.core.errors import CallerError, ModelRefused
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.models import ScriptedModel
from satisfice.testing.judging import Says, judged, told
from satisfice.verifiers.http_prm import REPLY, REQUEST, HttpPRM
from satisfice.verifiers.process import Process
from satisfice.verifiers.splitting import steps_of

TASK = Task.of("What is 2 * 3 + 4?", "number")
TRACE = Candidate("1. 2 * 3 = 6\n2. 6 + 4 = 11\n3. Answer: 11", "11", "11")


@pytest.mark.parametrize(("text", "steps"), [
    (TRACE.text, ("1. 2 * 3 = 6", "2. 6 + 4 = 11", "3. Answer: 11")),
    ("First.\nStep 1: a\nb\n**Step 2**: c", ("First.", "Step 1: a\nb", "**Step 2**: c")),
    ("One\ntwo.\n\nThree.\n \n\nFour.", ("One\ntwo.", "Three.", "Four.")),
    ("It is 6. So 10. Answer: 10", ("It is 6.", "So 10.", "Answer: 10")),
    ("1. only one. And more.", ("only one.", "And more.")),
    ("42", ("42",)),
])  # fmt: skip
def test_steps(text: str, steps: tuple[str, ...]) -> None:
    assert steps_of(text) == steps


@given(st.integers(1, 200), st.integers(1, 40))
def test_too_many_steps_are_merged(n: int, most: int) -> None:
    made = steps_of("\n".join(f"{i}. step {i}" for i in range(1, n + 1)), most)
    assert len(made) == min(n, most)
    assert "\n".join(made).count("step") == n


def scorer_of(*scores: Any) -> Any:
    return lambda query, steps: scores


@pytest.mark.parametrize(
    ("aggregate", "score"), [("min", 0.2), ("product", 0.9 * 0.2 * 0.5), ("last", 0.5), ("mean", 1.6 / 3)]
)
def test_aggregates(aggregate: Any, score: float) -> None:
    verdict, run = judged(Process(scorer_of(0.9, 0.2, 0.5), aggregate=aggregate), TASK, TRACE)
    assert verdict.score == pytest.approx(score)
    assert "worst is step 2 (0.20): '2. 6 + 4 = 11'" in verdict.evidence
    assert run.root.purse.posted[2] == 0


@pytest.mark.parametrize("scores", [(0.5,), (0.5, 2.0, 0.1), (float("nan"),) * 3, ("a", "b", "c"), None, (None,) * 3])
def test_a_scorer_that_is_wrong_gives_unknown(scores: Any) -> None:
    verdict, _ = judged(Process(lambda query, steps: scores), TASK, TRACE)
    assert verdict.score is None
    assert verdict.evidence


def test_a_scorer_that_raises_gives_unknown_and_a_part_is_enough() -> None:
    verdict, _ = judged(Process(lambda query, steps: 1 / 0), TASK, TRACE)  # type: ignore[arg-type, return-value]
    assert verdict.score is None
    assert "ZeroDivisionError" in verdict.evidence
    verdict, _ = judged(Process(scorer_of(0.9, None, 0.7)), TASK, TRACE)
    assert verdict.score == 0.7
    assert "1 of them unknown" in verdict.evidence
    assert judged(Process(scorer_of(0.9, 0.8, None), aggregate="last"), TASK, TRACE)[0].score is None


def test_a_model_scores_each_step_given_those_before() -> None:
    def reply(prompt: str) -> Any:
        return told("No", {"No": 0.7, "Yes": 0.2}) if "6 + 4 = 11\n===" in prompt else told("Yes", {"Yes": 0.9})

    says = Says(reply)
    verdict, run = judged(Process(), TASK, TRACE, says)
    assert verdict.score == pytest.approx(2 / 9, abs=1e-3)
    assert "step 2" in verdict.evidence
    assert verdict.spent.calls == run.root.purse.posted[2] == 3
    second = next(prompt for prompt in says.asked if "number 2 of 3" in prompt)
    assert "The steps so far" in second
    assert "3. Answer" not in second
    assert 1 <= len(Process().needs(TASK)) <= 8
    assert Process(scorer_of(1)).needs(TASK) == ()


@pytest.mark.parametrize("reply", ["Well", "", "Score: 10", ModelRefused("no")])
def test_a_model_that_does_not_answer_gives_unknown(reply: Any) -> None:
    assert judged(Process(), TASK, TRACE, Says(lambda prompt: reply))[0].score is None


@pytest.mark.parametrize("scorer", [None, scorer_of(1.0)])
@pytest.mark.parametrize(("text", "score"), [("", 0.0), ("\x00" * 99, 0.0), ("x" * 10_000_000, None)])
def test_what_nobody_can_judge_costs_nothing(scorer: Any, text: str, score: float | None) -> None:
    verdict, run = judged(Process(scorer), TASK, Candidate(text))
    assert verdict.score == score
    assert run.root.purse.posted[2] == 0


@pytest.mark.parametrize("settings", [{"aggregate": "max"}, {"scorer": 7}, {"most_steps": 0}, {"least_coverage": 2}])
def test_bad_settings_are_refused(settings: Any) -> None:
    with pytest.raises(CallerError):
        Process(**settings)


# -- behind HTTP ------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    seen: list[dict[str, Any]] = []  # noqa: RUF012
    release = threading.Event()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.seen.append({"body": body, "authorization": self.headers.get("Authorization")})
        if self.path == "/slow":
            Handler.release.wait(20)
        replies: dict[str, tuple[int, bytes]] = {
            "/score": (200, json.dumps({"scores": [0.9] * (len(body["steps"]) - 1) + [0.4]}).encode()),
            "/null": (200, json.dumps({"scores": [0.9] * (len(body["steps"]) - 1) + [None]}).encode()),
            "/few": (200, b'{"scores": [0.5]}'),
            "/high": (200, json.dumps({"scores": [7] * len(body["steps"])}).encode()),
            "/nan": (200, b'{"scores": [NaN, NaN, NaN]}'),
            "/bool": (200, b'{"scores": [true, true, true]}'),
            "/words": (200, b'{"scores": ["1", "1", "1"]}'),
            "/other": (200, b"[1]"),
            "/html": (200, b"<html>"),
            "/deep": (200, b"[" * 100_000),
            "/huge": (200, b" " * 5_000_000),
            "/error": (500, b"{}"),
        }
        status, payload = replies.get(self.path, (404, b""))
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/score")
            self.end_headers()
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        with suppress(OSError):  # the client had enough
            self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    Handler.seen.clear()
    Handler.release.clear()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    Handler.release.set()
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_server_scores_the_candidates_of_a_solve(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, anyio_backend: str
) -> None:
    monkeypatch.setenv("PRM_KEY", "secret")
    process = Process(HttpPRM(f"{server}/score", key_env="PRM_KEY"))
    assert process.blocking
    assert process.is_async
    assert "secret" not in repr(process)
    async with Engine("m", journal=tmp_path / "runs.db") as engine:
        engine.register("m", ScriptedModel(["1. a\n2. b\nAnswer: 7"]), Price.per_million(1, 1))
        solution = await engine.solve("q", budget=1, answer="number", checks=[process], strategy=BestOfN(samples=1))
        assert solution.answer == "7"
        _, rows = await engine.journal.load(solution.run_id)
    assert any(row.effect == "score" for row in rows), "its verdict is on record"
    assert Handler.seen[0]["authorization"] == "Bearer secret"
    assert Handler.seen[0]["body"]["query"] == "q"
    assert len(Handler.seen[0]["body"]["steps"]) == 2
    validate(Handler.seen[0]["body"], REQUEST)
    validate({"scores": [0.5, None, 1]}, REPLY)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("path", "says"), [
    ("/few", "1 scores for 3 steps"), ("/high", "from 0 to 1"), ("/nan", "from 0 to 1"), ("/bool", "numbers"),
    ("/words", "numbers"),
    ("/other", "expected"), ("/html", "expected"), ("/deep", "expected"), ("/huge", "more than"), ("/error", "500"),
    ("/redirect", "302"), ("/nowhere", "404"),
])  # fmt: skip
async def test_a_server_that_is_wrong_gives_unknown(server: str, path: str, says: str, anyio_backend: str) -> None:
    verdict = await Process(HttpPRM(server + path)).acall(TASK, TRACE)
    assert verdict.score is None
    assert says in verdict.evidence


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_server_that_hangs_or_is_gone_gives_unknown(server: str, anyio_backend: str) -> None:
    verdict = await Process(HttpPRM(f"{server}/slow", seconds=0.3)).acall(TASK, TRACE)
    assert verdict.score is None
    assert "0.3 s" in verdict.evidence
    for url in ("http://127.0.0.1:1/", "http://[bad", "http://"):
        assert (await Process(HttpPRM(url, seconds=5)).acall(TASK, TRACE)).score is None
    verdict = await Process(HttpPRM(f"{server}/score", key_env="NO_SUCH_VARIABLE")).acall(TASK, TRACE)
    assert "NO_SUCH_VARIABLE" in verdict.evidence


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_async_scorers_and_hopeless_candidates(anyio_backend: str) -> None:
    async def scorer(query: str, steps: tuple[str, ...]) -> list[float]:
        return [0.3] * len(steps)

    process = Process(scorer)
    assert process.is_async
    assert (await process.acall(TASK, TRACE)).score == 0.3
    assert (await process.acall(TASK, Candidate(""))) == Verdict(0.0, evidence="the candidate is empty")


def test_a_server_can_be_asked_without_a_loop(server: str) -> None:
    assert judged(Process(HttpPRM(f"{server}/score")), TASK, TRACE)[0].score == 0.4
    assert judged(Process(HttpPRM(f"{server}/null")), TASK, TRACE)[0].score == 0.9


@pytest.mark.parametrize("settings", [{"url": "ftp://x"}, {"url": "x"}, {"url": "http://x", "seconds": 0},
                                      {"url": "http://x", "seconds": float("inf")}])  # fmt: skip
def test_bad_settings_of_a_server_are_refused(settings: Any) -> None:
    with pytest.raises(CallerError):
        HttpPRM(**settings)
