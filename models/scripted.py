"""A model whose replies were written beforehand: for tests, examples and dry runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

import anyio

from ..core.completions import Completion, Message, Request, Response, Usage

Reply = str | Exception
Script = Sequence[Reply] | Callable[[Request, int], Reply | Response]


class ScriptedModel:
    """Replies in the order of the calls.

    `replies` is a sequence (cycled: each completion takes the next, so a call with n = 3 takes three) or a function
    of the request and the index of the completion (counted over all calls, from 0). An exception is raised instead
    of replied; a `Response` from the function is the reply to the whole call. `delay` are seconds per call.
    Tokens are words, and a reply longer than `max_tokens` is cut there (finish "length"), as a real model's would
    be; `usage` replaces the count. `requests` records what came in, in order. Safe from many tasks and threads.
    """

    def __init__(self, replies: Script, *, delay: float = 0.0, usage: Usage | None = None) -> None:
        if not callable(replies) and not replies:
            raise ValueError("a scripted model needs at least one reply")
        self._replies = replies
        self._delay = delay
        self._usage = usage
        self._drawn = 0
        self._lock = Lock()
        self.requests: list[Request] = []

    async def complete(self, request: Request) -> Response:
        """`request.n` scripted completions. Raises the scripted exceptions."""
        with self._lock:
            first = self._drawn
            self._drawn += request.n
            self.requests.append(request)
        # Also with no delay this is a checkpoint: a model that never yields hides races and cannot be cancelled.
        await anyio.sleep(self._delay)
        choices: list[Completion] = []
        for index in range(first, first + request.n):
            reply = self._reply(request, index)
            if isinstance(reply, Response):
                return reply
            if isinstance(reply, Exception):
                raise reply
            choices.append(_cut(reply, request.params.max_tokens))
        usage = self._usage or Usage(_words(request.messages), sum(c.tokens or 0 for c in choices))
        return Response(tuple(choices), usage, "scripted")

    def _reply(self, request: Request, index: int) -> Reply | Response:
        if callable(self._replies):
            return self._replies(request, index)
        return self._replies[index % len(self._replies)]


def _cut(text: str, most: int) -> Completion:
    words = text.split()
    if len(words) <= most:
        return Completion(text, tokens=len(words))
    return Completion(" ".join(words[:most]), "length", most)


def _words(messages: tuple[Message, ...]) -> int:
    return sum(len(m.content.split()) for m in messages)
