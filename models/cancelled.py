"""Cancellations that nobody here asked for: those of a task inside what was called, let through by it."""

from __future__ import annotations

import asyncio


def strayed(error: BaseException) -> bool:
    """Whether `error`, caught in the task that raised it, is a cancellation from within: this task was not cancelled.
    Such a one would end the task without a word, as if it were no longer wanted. Asyncio's only: trio's own cannot be
    raised by hand, and on trio asyncio's is always one."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop of asyncio runs here
        return True
    return task is not None and not task.cancelling()
