"""From another thread into an event loop, whichever it is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import anyio


def set_all(events: list[anyio.Event]) -> None:
    """To be called in the loop that waits for them."""
    for event in events:
        event.set()


def way_back() -> Callable[..., object]:
    """How another thread calls a function in the running loop, without waiting for it."""
    if "trio" in sys.modules:  # asked first: as a guest, trio runs inside an asyncio loop
        import sniffio
        import trio

        if sniffio.current_async_library() == "trio":
            return trio.lowlevel.current_trio_token().run_sync_soon
    return asyncio.get_running_loop().call_soon_threadsafe
