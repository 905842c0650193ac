"""A hosted model's completion as it streams, so that it can be cut short (`Params.cut`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..core.completions import Cut, Response, Usage, logprob
from ..core.errors import BadCompletion, ModelUnavailable
from .cutting import TopTokens, Trace


class Streamed:
    """One streamed completion, chunk by chunk. (litellm streams one choice of a call, so there is one.)"""

    def __init__(self, cut: Cut | None, model: str) -> None:
        self.trace, self.model = Trace(cut), model
        self.begun = False
        self._stream: Any = None

    async def gather(self, stream: Any) -> None:
        """Reads until the stream ends or the completion is cut, and then hangs up."""
        self._stream = stream
        try:
            async for chunk in stream:
                self.begun = True
                self._take(chunk)
                if self.trace.finish == "cut":
                    return
        finally:
            with suppress(Exception):
                await stream.aclose()

    def _take(self, chunk: Any) -> None:
        for choice in getattr(chunk, "choices", None) or ():
            told = getattr(getattr(choice, "logprobs", None), "content", None) or ()
            self.trace.take(getattr(choice.delta, "content", None) or "", [_token(token) for token in told])
            if choice.finish_reason:
                self.trace.end(choice.finish_reason)

    def response(self, usage_of: Callable[[Any], Usage | None]) -> Response:
        """What came. A call that was hung up on never comes to its usage: only a provider that reports it in every
        chunk has told it by then. Where it is not known it is None, so that the call is billed at its hold. Raises
        `BadCompletion`, and `ModelUnavailable` where the stream broke off: half a number is another number."""
        # litellm ends a stream with a usage of its own counting: the provider's is in the chunks that it keeps.
        chunks = getattr(self._stream, "chunks", None) or ()
        said = [usage for chunk in chunks if (usage := _field(chunk, "usage")) is not None]
        usage = usage_of(said[-1]) if said else None
        completion = self.trace.completion()
        if usage is None and not completion.text and not self.trace.seen:
            raise BadCompletion(f"{self.model}: a stream without a completion")
        if self._died():
            error = ModelUnavailable(f"{self.model}: the stream ended before the completion did")
            error.sent = True  # what was generated until then may be billed
            raise error
        if usage is not None and usage.completion < self.trace.seen:
            usage = replace(usage, completion=self.trace.seen)
        return Response((completion,), usage, self.model)

    def _died(self) -> bool:
        """Whether the provider never said that it was done. litellm says "stop" for it, and keeps what it did say."""
        stream = self._stream
        if self.trace.finish == "cut" or not hasattr(stream, "received_finish_reason"):
            return False
        return not (stream.received_finish_reason or getattr(stream, "intermittent_finish_reason", None))


def _field(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _token(token: Any) -> tuple[float, TopTokens]:
    tops = tuple((str(top.token), logprob(top.logprob)) for top in getattr(token, "top_logprobs", None) or ())
    return logprob(token.logprob), tops
