"""Tools of MCP servers (Model Context Protocol), by the official SDK (extra `mcp`).

async with mcp_tools("uvx", "mcp-server-time") as tools:
    async with Engine("openai/gpt-4o-mini", tools=tools) as engine:
        await engine.solve("What time is it in Oslo?", budget=0.01, strategy="react")
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from ..core.errors import CallerError, MissingExtra, ToolError
from ..core.tools import ToolPolicy
from .tools import Tool

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult
    from mcp.types import Tool as ServerTool

PAGES = 100  # of a server's list of tools: one that never ends hangs nothing


@asynccontextmanager
async def mcp_tools(
    server: str,
    *args: str,
    policy: ToolPolicy | None = None,
    only: Sequence[str] | None = None,
    prefix: str = "",
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    seconds: float = 30.0,
    calls: int | None = None,
    chars: int = 8_000,
) -> AsyncIterator[dict[str, Tool]]:
    """The tools of an MCP server by name (with `prefix` before it), for as long as the block lasts.

    `server`: a command, run with `args` as a subprocess (stdio; of the environment it is given PATH, HOME and the like,
    and `env`), or an http(s) URL (streamable HTTP). `policy` None: a tool that the server calls read-only is allowed,
    every other one asks a person; these are the server's own words, so pass "ask" for one that you don't trust. `only`:
    the names of those to have. `seconds`, `calls`, `chars`: as of a `Tool`; `seconds` bounds connecting, too.

    Raises `MissingExtra`, `CallerError` for a name in `only` that there is not, and `ToolError` where no server can be
    reached. The tools belong to the event loop that they were opened in: use `await engine.solve`, or `asolve`.
    """
    raised: Exception | None = None
    async with _connected(server, args, env, cwd, seconds) as client:
        try:
            yield {
                prefix + tool.name: _tool(client, tool, policy, seconds, calls, chars)
                for tool in _chosen(await _listed(client, server, seconds), only, server)
            }
        except Exception as error:  # kept, or the SDK's task groups would wrap it
            raised = error
    if raised is not None:
        raise raised


def _chosen(listed: Sequence[ServerTool], only: Sequence[str] | None, server: str) -> Sequence[ServerTool]:
    if only is None:
        return listed
    if unknown := set(only) - {tool.name for tool in listed}:
        known = ", ".join(sorted(tool.name for tool in listed)) or "(none)"
        raise CallerError(f"{server} has no tools called {', '.join(sorted(unknown))}. It has: {known}")
    return [tool for tool in listed if tool.name in only]


def _tool(
    client: Client, tool: ServerTool, policy: ToolPolicy | None, seconds: float, calls: int | None, chars: int
) -> Tool:
    hints = tool.annotations
    reads = bool(hints and hints.read_only_hint)
    return Tool(
        _Caller(client, tool.name, anyio.lowlevel.current_token()),
        policy=policy or ("allow" if reads else "ask"),
        seconds=seconds,
        calls=calls,
        chars=chars,
        idempotent=reads or bool(hints and hints.idempotent_hint),
        description=" ".join((tool.description or "").partition("\n\n")[0].split()),
        parameters=tool.input_schema,
    )


@asynccontextmanager
async def _connected(
    server: str, args: Sequence[str], env: Mapping[str, str] | None, cwd: str | None, seconds: float
) -> AsyncIterator[Client]:
    try:
        from mcp import Client, StdioServerParameters
    except ImportError as error:
        raise MissingExtra.of("mcp", "a tool of an MCP server") from error
    place: Any = server
    if not server.startswith(("http://", "https://")):
        place = StdioServerParameters(command=server, args=list(args), env=dict(env or {}), cwd=cwd)
    elif args or env or cwd:
        raise CallerError(f"{server}: args, env and cwd are of a command, not of a URL")
    client, entered = Client(place), False
    try:
        with anyio.fail_after(seconds) as scope:
            async with client:
                scope.deadline, entered = float("inf"), True
                yield client
    except BaseException as error:
        # What the block itself raises is passed on as it is; groups are the SDK's way of telling of a lost connection.
        if entered or not isinstance(error, Exception):
            raise
        raise ToolError(f"no MCP server at {server!r}: {_first(error)}") from error


async def _listed(client: Client, server: str, seconds: float) -> list[ServerTool]:
    tools: list[ServerTool] = []
    cursor: str | None = None
    try:
        with anyio.fail_after(seconds):
            for _ in range(PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if not cursor:
                    break
    except Exception as error:
        raise ToolError(f"the MCP server at {server!r} does not list its tools: {_first(error)}") from error
    return tools


class _Caller:
    """Calls one tool of a server."""

    def __init__(self, client: Client, name: str, loop: Any) -> None:
        self._client, self._name, self._loop = client, name, loop
        self.__name__ = name

    async def __call__(self, **arguments: Any) -> Any:
        if anyio.lowlevel.current_token() != self._loop:
            raise ToolError(
                f"tool {self._name!r} was opened in another event loop: use `await engine.solve(...)` there"
            )
        try:
            result = await self._client.call_tool(self._name, arguments)
        except Exception as error:
            raise ToolError(f"tool {self._name!r}: the MCP server failed: {_first(error)}") from error
        said = content_of(result)
        if result.is_error:
            raise ToolError(f"tool {self._name!r}: {said}")
        return said


def content_of(result: CallToolResult) -> Any:
    """What a tool replied: its structured content if it gives one, else its texts; of what is no text, what it is."""
    data = result.structured_content
    if data is not None and not result.is_error:
        # The SDK's servers put a bare value under "result", since a structured result used to be an object.
        return data["result"] if isinstance(data, dict) and data.keys() == {"result"} else data
    return "\n".join(map(_text, result.content))


def _text(block: Any) -> str:
    if isinstance(text := getattr(block, "text", None), str):
        return text
    inner = getattr(block, "resource", None)
    if isinstance(text := getattr(inner, "text", None), str):
        return text
    data = getattr(block, "data", None) or getattr(inner, "blob", None) or ""
    about = {"type": block.type, "mime": getattr(block, "mime_type", None), "uri": getattr(block, "uri", None)}
    facts = {k: str(v) for k, v in about.items() if v is not None}
    return json.dumps({**facts, "characters": len(data)} if data else facts)


def _first(error: BaseException) -> str:
    """The fault that a group of them comes down to."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
