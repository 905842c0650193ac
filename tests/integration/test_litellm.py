"""litellm over real HTTP on the loopback: a server that misbehaves on demand, and the embedded model's own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import anyio
import pytest

from satisfice.core.completions import Completion, Message, Model, Params, Request, Usage
from satisfice.core.errors import (
    BadCompletion,
    BadQuery,
    MissingKey,
    ModelError,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
)
from satisfice.models.lite import LiteModel, load_litellm
from satisfice.testing.model import BACKENDS, ModelContract

ERRORS = {
    "400": (400, {"error": {"message": "no such parameter", "type": "invalid_request_error"}}),
    "401": (401, {"error": {"message": "bad key", "type": "auth"}}),
    "403": (403, {"error": {"message": "not yours", "type": "auth"}}),
    "404": (404, {"error": {"message": "no such model", "type": "x"}}),
    "429": (429, {"error": {"message": "slow down", "type": "x"}}),
    "500": (500, {"error": {"message": "oops", "type": "x"}}),
    "503": (503, {"error": {"message": "overloaded", "type": "x"}}),
    "context": (400, {"error": {"message": "too long", "type": "x", "code": "context_length_exceeded"}}),
}


class Handler(BaseHTTPRequestHandler):
    """What it does is the name of the model that is asked for."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append((body, self.headers["authorization"]))
        mode = body["model"]
        self.server.arrived.set()
        if mode == "hang":
            self.server.closing.wait(30)
        if mode in ("hang", "drop"):
            self.close_connection = True
            return
        status, reply = ERRORS.get(mode, (200, self.reply(mode, body.get("n", 1))))
        raw = b'{"id": "x", "cho' if mode == "garbage" else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        if status == 429:
            self.send_header("retry-after", "3")
        self.end_headers()
        self.wfile.write(raw)

    def reply(self, mode: str, n: int) -> dict[str, Any]:
        content: Any = {"blank": "", "null": None}.get(mode, "four")
        n = {"empty": 0, "fewer": 1}.get(mode, n)
        choices = [{"index": i, "finish_reason": "stop", "message": {"role": "assistant"}} for i in range(n)]
        for choice in choices:
            choice["message"]["content"] = content  # type: ignore[index]
        usage = {"prompt_tokens": 7, "completion_tokens": 3 * n, "total_tokens": 7 + 3 * n}
        details = {
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 1},
        }
        reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "four-1", "choices": choices}
        return reply if mode == "unmetered" else {**reply, "usage": usage | details}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[dict[str, Any], str]] = []
        self.arrived, self.closing = threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    load_litellm()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.closing.set()
        made.shutdown()
        thread.join()


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# litellm's own, where a call is cancelled while it is prepared in a thread; pytest sets aside our filter for it.
@pytest.mark.filterwarnings("ignore:coroutine '.*completion' was never awaited:RuntimeWarning")
class TestLiteContract(ModelContract):
    @pytest.fixture
    def model(self, server: Server) -> Model:
        return LiteModel("openai/four", api_base=server.url, timeout=20)


def ask(n: int = 1) -> Request:
    params = Params(temperature=0.5, max_tokens=5, stop=("END",), top_p=0.9, extra=(("frequency_penalty", 0.5),))
    return Request((Message("system", "Short."), Message("user", "2+2?")), params, n, seed=4)


@pytest.mark.anyio
async def test_what_is_sent_and_what_comes_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_KEY", "the-key")
    response = await LiteModel("openai/four", api_base=server.url, api_key_env="TEAM_KEY").complete(ask(2))
    assert [c.text for c in response.completions] == ["four", "four"]
    assert response.usage == Usage(prompt=7, completion=6, cached=4, reasoning=1)
    assert response.model == "four-1"
    body, key = server.seen[0]
    assert key == "Bearer the-key"
    assert body.pop("messages") == [{"role": "system", "content": "Short."}, {"role": "user", "content": "2+2?"}]
    assert body == {
        "model": "four",
        "max_tokens": 5,
        "n": 2,
        "seed": 4,
        "temperature": 0.5,
        "stop": ["END"],
        "top_p": 0.9,
        "frequency_penalty": 0.5,
    }


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("mode", "error", "sent"),
    [
        ("400", ModelRefused, False),
        ("401", MissingKey, False),
        ("403", ModelRefused, False),
        ("404", ModelRefused, False),
        ("429", ModelUnavailable, False),
        ("500", ModelUnavailable, True),
        ("503", ModelUnavailable, False),
        ("drop", ModelUnavailable, True),
        ("garbage", BadCompletion, True),
        ("empty", BadCompletion, True),
        ("null", BadCompletion, True),
    ],
)
async def test_failures_say_whose_and_whether_billed(
    server: Server, mode: str, error: type[ModelError], sent: bool
) -> None:
    with pytest.raises(error) as caught:
        await LiteModel(f"openai/{mode}", api_base=server.url).complete(ask())
    assert caught.value.sent is sent
    assert len(server.seen) == 1, "it retried on its own"
    if mode == "429":
        assert caught.value.details["retry_after"] == 3.0


@pytest.mark.anyio
async def test_too_long_a_prompt_is_the_callers_fault(server: Server) -> None:
    with pytest.raises(BadQuery, match="context"):
        await LiteModel("openai/context", api_base=server.url).complete(ask())


@pytest.mark.anyio
async def test_odd_but_good_replies(server: Server) -> None:
    async def reply(mode: str) -> tuple[tuple[Completion, ...], Usage | None]:
        response = await LiteModel(f"openai/{mode}", api_base=server.url).complete(ask(2))
        return response.completions, response.usage

    assert (await reply("blank"))[0] == (Completion(""), Completion(""))
    assert (await reply("fewer"))[0] == (Completion("four"),)
    assert (await reply("unmetered"))[1] is None


@pytest.mark.anyio
async def test_nobody_there_is_not_billed() -> None:
    with socket.socket() as taken:  # bound, not listening: refused, and nobody else can get the port
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ModelUnavailable) as caught:
            await LiteModel("openai/four", api_base=f"http://127.0.0.1:{taken.getsockname()[1]}/v1").complete(ask())
    assert caught.value.sent is False


@pytest.mark.anyio
async def test_no_reply_in_time(server: Server) -> None:
    with pytest.raises(ModelTimeout) as caught:
        await LiteModel("openai/hang", api_base=server.url, timeout=0.3).complete(ask())
    assert caught.value.sent is True


@pytest.mark.anyio
async def test_cancelling_a_call_that_hangs(server: Server) -> None:
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(LiteModel("openai/hang", api_base=server.url).complete, ask())
            await anyio.to_thread.run_sync(server.arrived.wait, 10)
            group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_missing_keys_are_named_before_anything_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "TEAM_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
        await LiteModel("openai/four").complete(ask())
    with pytest.raises(MissingKey, match="TEAM_KEY"):
        await LiteModel("openai/four", api_base=server.url, api_key_env="TEAM_KEY").complete(ask())
    assert server.seen == []


@pytest.mark.anyio
async def test_a_key_is_not_sent_to_another_address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-private")
    await LiteModel("openai/four", api_base=server.url).complete(ask())
    assert server.seen[0][1] == "Bearer none"


@pytest.mark.anyio
async def test_parameters_that_are_ours_are_refused(server: Server) -> None:
    request = Request((Message("user", "x"),), Params(extra=(("mock_response", "free"),)))
    with pytest.raises(BadQuery, match="mock_response"):
        await LiteModel("openai/four", api_base=server.url).complete(request)


@pytest.mark.local
@pytest.mark.anyio
@pytest.mark.skipif(not find_spec("xllamacpp"), reason="needs the extra `local`: satisfice[local]")
async def test_the_embedded_model_through_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    from satisfice.models import local

    monkeypatch.setenv("SATISFICE_LOCAL_THREADS", "1")
    url = await anyio.to_thread.run_sync(local.base_url)
    monkeypatch.setenv("LOCAL_KEY", await anyio.to_thread.run_sync(local.api_key))
    request = Request((Message("user", "Say a word."),), Params(max_tokens=3, temperature=0.5), seed=1)
    response = await LiteModel("openai/local", api_base=url, api_key_env="LOCAL_KEY").complete(request)
    assert response.completions[0].text
    assert response.usage is not None
    assert response.usage.completion == 3
    assert response.usage.prompt > 20
