"""Calls and replies over two file descriptors: one line of JSON each, one at a time, in both directions.

While one side waits for the reply to its own call, it serves calls of the other (a function that a test passes in).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from .wire import SIZE, BadMessage

TYPE_CHECKING = False  # importing typing would take as long as all the rest
if TYPE_CHECKING:
    from typing import Any


class TooLong(BadMessage):
    """A message that is not sent, since the other side would not take it."""


class Gone(BaseException):
    """The conversation is over: the other side has ended, or said what it may not. No `except Exception` of a test
    takes it for the failure that it expects."""


class Pipe:
    """`serve` performs a call of the other side and gives the reply, both as JSON-ready dicts."""

    def __init__(self, source: int, target: int, serve: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._source, self._target, self._serve = source, target, serve
        self._rest = b""
        self._count = 0
        self.dead = ""  # why nothing more can be said

    def ask(self, call: dict[str, Any]) -> dict[str, Any]:
        """The reply to a call. Raises `Gone`."""
        if self.dead:
            raise Gone(self.dead)
        self._count += 1
        number = self._count
        try:
            self._send({**call, "ask": number})
            while True:
                message = self._receive()
                if "ask" in message:
                    self._answer(message)
                elif message.get("re") == number:
                    return message
                else:
                    raise BadMessage("a reply that nobody asked for")
        except (BadMessage, OSError) as error:
            self.dead = self.dead or str(error) or "the pipe is closed"
            raise Gone(self.dead) from None
        except BaseException:
            # An alarm in the middle of a call: what comes later would answer the wrong question.
            self.dead = self.dead or "a call was given up"
            raise

    def listen(self) -> None:
        """Serves calls until the other side goes away."""
        while True:
            message = self._receive()
            if "ask" in message:
                self._answer(message)

    def _answer(self, message: dict[str, Any]) -> None:
        reply = self._serve(message)
        try:
            self._send({**reply, "re": message["ask"]})
        except TooLong as error:
            self._send({"err": [["OverflowError", "Exception"], ["l", [str(error)]], {}, ""], "re": message["ask"]})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode("ascii") + b"\n"
        if len(data) > SIZE:
            raise TooLong(f"a message of {len(data):,} bytes (at most {SIZE:,})")
        view = memoryview(data)
        while view:
            view = view[os.write(self._target, view) :]

    def _receive(self) -> dict[str, Any]:
        chunks, size = [self._rest], len(self._rest)
        while b"\n" not in chunks[-1]:
            if size > SIZE:
                raise BadMessage(f"a message of more than {SIZE:,} bytes")
            chunk = os.read(self._source, 65536)
            if not chunk:
                raise BadMessage("its process ended")
            chunks.append(chunk)
            size += len(chunk)
        line, _, self._rest = b"".join(chunks).partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadMessage(f"no JSON: {error!s:.80}") from None
        if not isinstance(message, dict):
            raise BadMessage("no message")
        return message
