"""A call in a thread that may be given up: what a user's tool runs in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel


async def in_thread(call: Callable[[], Any]) -> Any:
    """What the call returns or raises. A cancellation gives the thread up; it dies with the process.

    anyio's own threads will not do: one that hangs would keep the process from ending, and under trio it would keep its
    place among the 40 that there are."""
    box: list[tuple[Any, BaseException | None]] = []
    done, token, context = anyio.Event(), anyio.lowlevel.current_token(), copy_context()

    def work() -> None:
        try:
            box.append((context.run(call), None))
        except BaseException as error:  # handed over, whatever it is
            box.append((None, error))
        with suppress(Exception):  # nobody waits any more, or the loop is gone
            anyio.from_thread.run_sync(done.set, token=token)

    Thread(target=work, name="satisfice-tool", daemon=True).start()
    await done.wait()
    value, error = box[0]
    if error is not None:
        raise error
    return value
