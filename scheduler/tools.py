"""Tools: the user's, and the one that is always there, the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isawaitable
from threading import Event
from typing import Any

import anyio.to_thread

from ..core.effects import CallTool
from ..core.errors import ToolError, UnknownName

Tool = Callable[..., Any]
SANDBOX = "sandbox"


async def call_tool(effect: CallTool, tools: Mapping[str, Tool]) -> Any:
    """What the tool replies. Raises `ToolError`. A plain function runs in a thread; what runs in the sandbox is killed
    when its call is cancelled."""
    tool, arguments = tools.get(effect.tool), dict(effect.arguments)
    stop = Event()
    if tool is None and effect.tool == SANDBOX:
        tool, arguments = _perform, {**arguments, "stop": stop}
    if tool is None:
        raise ToolError(str(UnknownName.of("tool", effect.tool, tools)))
    call = tool
    try:
        # Boxed: an async tool's coroutine is made in the thread and awaited here, and trio lets none out of it.
        (value,) = await anyio.to_thread.run_sync(lambda: [call(**arguments)], abandon_on_cancel=True)
        return await value if isawaitable(value) else value
    except Exception as error:
        raise ToolError(f"tool {effect.tool!r}: {type(error).__name__}: {error}") from error
    finally:
        stop.set()


def sandboxed(effect: CallTool) -> Any:
    """The same for a driver without a world: only the sandbox, whose results need nothing but their arguments.
    Raises `ToolError`."""
    if effect.tool != SANDBOX:
        raise ToolError(f"tool {effect.tool!r}: no tools but the sandbox in replay or simulation")
    try:
        return _perform(**dict(effect.arguments))
    except Exception as error:
        raise ToolError(f"tool {effect.tool!r}: {type(error).__name__}: {error}") from error


def _perform(**arguments: Any) -> Any:
    from ..verifiers.sandbox.tool import perform

    return perform(**arguments)
