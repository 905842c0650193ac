"""Hosted models, through litellm.

litellm costs seconds of CPU to import and is loaded, off the event loop, when the first call needs it. It speaks
asyncio only: under trio its calls run in one asyncio thread of this process. It retries nothing here: whoever holds
the budget decides that.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from contextvars import copy_context
from importlib import import_module
from threading import Lock, Thread
from typing import Any, TypeVar

import anyio
from anyio import to_thread

from ..core.completions import Completion, Request, Response, Usage, logprob
from ..core.errors import (
    BadCompletion,
    BadQuery,
    MissingKey,
    ModelError,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
)
from .ratelimits import asked_to_wait, used_up
from .reserved import reserved
from .streaming import Streamed

T = TypeVar("T")

THINKING = "thinking_budget"  # the name in `Params.extra` of how many tokens a model may think in

_litellm: Any = None  # set once it is imported and warm


def load_litellm() -> Any:
    """litellm, imported with its network look-ups, telemetry and chatter off. Blocks for seconds the first time."""
    global _litellm
    if _litellm is not None:
        return _litellm
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # else it reads .env files
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # every failure is raised; it need not be told twice
    # A call cancelled while litellm prepares it in a thread leaves behind what the thread then returns: nothing sent.
    warnings.filterwarnings("ignore", r"coroutine '.*(completion|_streaming)' was never awaited", RuntimeWarning)
    for name in ("openai.resources", "litellm.proxy._types", "litellm._service_logger"):
        # Its first call imports these: another second, which would stop the event loop and eat the call's timeout.
        with suppress(ImportError):
            import_module(name)
    _litellm = litellm
    return litellm


class LiteModel:
    """`model` as litellm names it ("openai/gpt-4o-mini").

    `api_base` is another address of the same protocol, `api_key_env` the variable that holds the key (by default the
    provider's own), `timeout` seconds for a whole call. With an `api_base` and no `api_key_env`, an OpenAI-like
    server gets a placeholder: the key for one address is not sent to another.
    """

    def __init__(
        self, model: str, *, api_base: str | None = None, api_key_env: str | None = None, timeout: float = 120.0
    ) -> None:
        self.name = model
        self._api_base = api_base
        self._api_key_env = api_key_env
        self._timeout = timeout
        self._key_seen = False

    async def complete(self, request: Request) -> Response:
        """At least one and at most `request.n` completions. Raises BadQuery, MissingKey, ModelUnavailable,
        ModelTimeout, ModelRefused, BadCompletion."""
        if not request.messages or request.n < 1:
            raise BadQuery("a call needs at least one message and n >= 1")
        litellm = _litellm or await to_thread.run_sync(load_litellm)
        key = self._key(litellm)
        call = self._streamed if request.params.cut is not None and request.n == 1 else self._call
        return await on_asyncio(call(litellm, request, key))

    async def _streamed(self, litellm: Any, request: Request, key: str | None) -> Response:
        """As `_call`, of one completion, over a stream that is hung up on when it is cut."""
        told: dict[str, Any] = {"include_usage": True}
        if self.name.startswith("hosted_vllm/"):
            told["continuous_usage_stats"] = True  # so that what a cut call has used is known
        streamed = Streamed(request.params.cut, self.name)
        try:
            async with asyncio.timeout(self._timeout):
                arguments = self._arguments(request, key)
                stream = await litellm.acompletion(**arguments, stream=True, stream_options=told)
                await streamed.gather(stream)
        except Exception as error:
            mapped = self._mapped(litellm, error, key)
            if streamed.begun and isinstance(mapped, ModelError):
                mapped.sent = True  # some of it was generated, and may be billed
            raise mapped from error
        try:
            return streamed.response(_usage)
        except (AttributeError, TypeError, ValueError) as error:
            raise BadCompletion(f"{self.name}: a malformed stream: {error}") from error

    async def _call(self, litellm: Any, request: Request, key: str | None) -> Response:
        try:
            # litellm's own timeout is for each read: a server that trickles would never meet it.
            async with asyncio.timeout(self._timeout):
                reply = await litellm.acompletion(**self._arguments(request, key))
        except Exception as error:
            raise self._mapped(litellm, error, key) from error
        return _response(reply, request, self.name)

    def _arguments(self, request: Request, key: str | None) -> dict[str, Any]:
        params = request.params
        if taken := reserved(name for name, _ in params.extra):
            raise BadQuery(f"not a parameter to pass on: {', '.join(taken)}")
        extra = {name: list(v) if isinstance(v, tuple) else v for name, v in params.extra}
        logprobs = params.logprobs or params.cut is not None
        optional = {
            "api_base": self._api_base,
            "api_key": key,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "stop": list(params.stop) or None,
            "reasoning_effort": params.effort,
            "logprobs": logprobs or None,
            "top_logprobs": params.top_logprobs or None if logprobs else None,
            "thinking": {"type": "enabled", "budget_tokens": extra.pop(THINKING)} if THINKING in extra else None,
            "seed": request.seed,
            "n": request.n if request.n > 1 else None,
        }
        return {
            "model": self.name,
            # Lone surrogates are no UTF-8.
            "messages": [
                {"role": m.role, "content": m.content.encode("utf-8", "replace").decode()} for m in request.messages
            ],
            "max_tokens": params.max_tokens,
            "timeout": self._timeout,
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": True,
            **extra,
            **{name: value for name, value in optional.items() if value is not None},
        }

    def _key(self, litellm: Any) -> str | None:
        """The key to pass, None to leave it to litellm. Raises MissingKey before anything is sent."""
        if self._api_key_env:
            key = os.environ.get(self._api_key_env)
            if not key:
                raise _missing(self.name, [self._api_key_env])
            return key
        if self._api_base:
            return "none" if self.name.split("/", 1)[0] in ("openai", "hosted_vllm", "openai_like") else None
        if not self._key_seen:
            missing: list[str] = []
            with suppress(Exception):  # a provider that the check does not know is asked all the same
                missing = litellm.validate_environment(self.name)["missing_keys"]
            # Other credentials (files, roles of a cloud machine) litellm finds in ways that this check does not know.
            if missing and all(name.endswith("_API_KEY") for name in missing) and not _other_key(self.name):
                raise _missing(self.name, missing)
            self._key_seen = True
        return None

    def _mapped(self, litellm: Any, error: Exception, key: str | None) -> Exception:
        if isinstance(error, ModelError | BadQuery):
            return error
        causes = {type(e).__name__ for e in _chain(error)}
        status = getattr(error, "status_code", None)
        text = str(error).replace(key, "***") if key and len(key) > 4 else str(error)
        text = f"{self.name}: {text.splitlines()[0][:300] if text else type(error).__name__}"
        if isinstance(error, litellm.ContextWindowExceededError) or _code(error) == "context_length_exceeded":
            return BadQuery(f"the prompt does not fit the model's context: {text}")
        answered = bool(causes & _ANSWERED)
        if isinstance(error, litellm.AuthenticationError) or (not answered and "Missing credentials" in text):
            names = [self._api_key_env] if self._api_key_env else _variables(litellm, self.name)
            return MissingKey(f"{text} (looked in {' or '.join(names)})", variables=names)
        if causes & {"JSONDecodeError", "APIResponseValidationError"}:
            return BadCompletion(text)
        if isinstance(error, litellm.Timeout | TimeoutError) or causes & _UNCONNECTED_LATE:
            late = ModelTimeout(f"{text} (timeout {self._timeout:g} s)")
            late.sent = not causes & _UNCONNECTED_LATE
            return late
        if isinstance(error, litellm.RateLimitError | litellm.ServiceUnavailableError) or status in (429, 503):
            return ModelUnavailable(text, **_facts(error, status))
        if isinstance(status, int) and 400 <= status < 500:
            return ModelRefused(text)
        if not answered and not causes & _CONNECTION:
            return BadCompletion(text)  # litellm calls a reply that it cannot read a server error too
        if causes & _UNCONNECTED:
            text = f"{self.name}: cannot reach {self._api_base or 'the provider'}"
        down = ModelUnavailable(text, **({"status": status} if isinstance(status, int) else {}))
        # Nothing was sent if no connection came about; after that the provider may have worked, and bill.
        down.sent = not causes & _UNCONNECTED
        return down


# Names of exceptions in the chain of causes, over openai, httpx and aiohttp: litellm's own types blur what happened.
_ANSWERED = {"HTTPStatusError", "ClientResponseError", "APIStatusError"}
_UNCONNECTED = {"ConnectError", "ClientConnectorError", "ClientConnectorDNSError", "ConnectionRefusedError", "gaierror"}
_UNCONNECTED_LATE = {"ConnectTimeout", "ConnectionTimeoutError", "PoolTimeout"}
_CONNECTION = _UNCONNECTED | {
    *("APIConnectionError", "ReadError", "WriteError", "RemoteProtocolError", "ServerDisconnectedError"),
    *("ClientOSError", "ClientPayloadError", "ConnectionResetError", "BrokenPipeError"),
}


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            todo += [one.__cause__, one.__context__]


def _other_key(model: str) -> bool:
    """Whether some variable looks like another spelling of the provider's key (TOGETHER_API_KEY, HF_TOKEN)."""
    prefix = model.split("/", 1)[0].split("_")[0].upper()
    starts = ("HF_", prefix) if prefix == "HUGGINGFACE" else (prefix,)
    return "/" in model and any(n.startswith(starts) and n.endswith(("_KEY", "_TOKEN")) for n in os.environ)


def _code(error: Exception) -> Any:
    body = getattr(error, "body", None)
    return getattr(error, "code", None) or (body.get("code") if isinstance(body, dict) else None)


def _facts(error: Exception, status: Any) -> dict[str, Any]:
    """The HTTP status of a refusal, and how many seconds the provider asks to wait, if it does."""
    facts: dict[str, Any] = {"status": status} if isinstance(status, int) else {}
    headers = getattr(error, "litellm_response_headers", None)
    if headers is None:
        headers = getattr(getattr(error, "response", None), "headers", None)
    wait = asked_to_wait(headers)
    return facts | ({"retry_after": wait} if wait > 0 else {})


def _variables(litellm: Any, model: str) -> list[str]:
    checked = litellm.validate_environment(model, api_key="")
    return checked["missing_keys"] or [f"{model.split('/', 1)[0].upper()}_API_KEY"]


def _missing(model: str, names: list[str]) -> MissingKey:
    return MissingKey(f"{model} needs a key: set {' or '.join(names)} in the environment", variables=names)


def _response(reply: Any, request: Request, model: str) -> Response:
    try:
        choices = tuple(_completion(choice) for choice in reply.choices)
        usage = _usage(getattr(reply, "usage", None))
    except (AttributeError, TypeError, ValueError) as error:
        raise BadCompletion(f"{model}: a malformed reply: {error}") from error
    if not choices:
        raise BadCompletion(f"{model}: a reply without choices")
    hidden = getattr(reply, "_hidden_params", None)
    headers = hidden.get("additional_headers") if isinstance(hidden, dict) else None
    return Response(choices[: request.n], usage, str(getattr(reply, "model", None) or model), pause=used_up(headers))


def _completion(choice: Any) -> Completion:
    message = choice.message
    text = message.content
    if text is None:
        if not getattr(message, "reasoning_content", None):
            raise ValueError("a choice without content")
        text = ""  # all of its tokens went into thinking
    if not isinstance(text, str):
        raise TypeError(f"content is {type(text).__name__}, not text")
    tokens = getattr(getattr(choice, "logprobs", None), "content", None) or ()
    logprobs = tuple(logprob(token.logprob) for token in tokens) or None
    tops = tuple(
        tuple((str(top.token), logprob(top.logprob)) for top in getattr(token, "top_logprobs", None) or ())
        for token in tokens
    )
    count = len(logprobs) if logprobs else None
    return Completion(text, choice.finish_reason or "stop", count, logprobs, tops if any(tops) else None)


def _usage(usage: Any) -> Usage | None:
    """None where the provider did not say: litellm then counts zero, or counts itself."""
    if usage is None or not usage.prompt_tokens:
        return None
    prompt, completion = int(usage.prompt_tokens), int(usage.completion_tokens or 0)
    read_of, thought_of = (getattr(usage, f"{part}_tokens_details", None) for part in ("prompt", "completion"))
    cached = _told(read_of, "cached_tokens") or _told(usage, "cache_read_input_tokens", "prompt_cache_hit_tokens")
    written = _told(read_of, "cache_write_tokens", "cache_creation_tokens")
    written = max(written, _told(usage, "cache_creation_input_tokens"))
    reasoning = _told(thought_of, "reasoning_tokens")
    # Details are parts of the counts. Some servers count them beside: then they are more, or the total says so.
    beside = _told(usage, "total_tokens") - prompt - completion
    if cached + written > prompt or (beside > 0 and beside == cached + written != reasoning):
        prompt, beside = prompt + cached + written, beside - cached - written
    if beside > 0:
        completion, beside = completion + beside, 0
    if reasoning > completion:
        completion += reasoning
    return Usage(prompt, completion, cached, reasoning, written)


def _told(thing: Any, *names: str) -> int:
    """The first of these counts that is there. Raises `ValueError` for a negative one."""
    count = next((int(found) for name in names if (found := getattr(thing, name, None))), 0)
    if count < 0:
        raise ValueError(f"usage of {count} tokens")
    return count


_loop: asyncio.AbstractEventLoop | None = None
_loop_pid: int | None = None
_loop_lock = Lock()


async def on_asyncio(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` where asyncio runs: here, or under trio in the process's asyncio thread. Cancelling cancels it."""
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        return await work
    host = trio.lowlevel.current_trio_token()
    done = anyio.Event()
    context = copy_context()
    # anyio.run marks the context as trio's, and the HTTP clients over there would believe it.
    context.run(sys.modules["sniffio"].current_async_library_cvar.set, "asyncio")
    future = context.run(asyncio.run_coroutine_threadsafe, work, _asyncio_thread())

    def tell(_: Any) -> None:
        with suppress(trio.RunFinishedError):
            host.run_sync_soon(done.set)

    future.add_done_callback(tell)
    try:
        await done.wait()
    finally:
        future.cancel()  # does nothing once it is done
    return future.result()


def _asyncio_thread() -> asyncio.AbstractEventLoop:
    global _loop, _loop_pid
    with _loop_lock:
        if _loop is None or _loop_pid != os.getpid():  # a fork inherits the loop but not its thread
            _loop, _loop_pid = asyncio.new_event_loop(), os.getpid()
            thread = Thread(target=_loop.run_forever, name="satisfice-asyncio", daemon=True)
            thread.start()
            atexit.register(_stop, _loop, thread)
        return _loop


def _stop(loop: asyncio.AbstractEventLoop, thread: Thread) -> None:
    if thread.is_alive():
        loop.call_soon_threadsafe(loop.stop)
        thread.join(1.0)
