"""MCP tools from a real server of the SDK, in a process of its own: listing, calls, faults, and its death."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from satisfice import CallerError, CallTool, Engine, MissingExtra, Price, ScriptedModel, Tool, ToolError, mcp_tools
from satisfice.scheduler.tools import call_tool, specs_of, toolbox

SERVER = '''
import os, time
from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("test")

@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def multiply(a: int, b: int = 10) -> int:
    """Multiplies two numbers.

    Not shown."""
    return a * b

@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def keep(text: str) -> str:
    """Keeps a text."""
    return "kept " + text

@server.tool()
def person(name: str) -> dict[str, int | str]:
    return {"name": name, "age": 3, "env": os.environ.get("GIVEN", "")}

@server.tool()
def broken() -> str:
    raise ValueError("out of order")

@server.tool()
def slow() -> str:
    time.sleep(1.5)
    return "late"

@server.tool()
def dies() -> str:
    os._exit(3)

@server.tool()
def much() -> str:
    return "line\\n" * 600_000

server.run("stdio")
'''


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(tmp_path: Path, anyio_backend: str) -> tuple[str, str]:
    place = tmp_path / "server.py"
    place.write_text(SERVER)
    return sys.executable, str(place)


async def call(_tools: dict[str, Tool], _name: str, **arguments: Any) -> Any:
    return await call_tool(CallTool(_name, tuple(arguments.items()), approved=True), toolbox(_tools))


async def test_tools_are_listed_and_called(server: tuple[str, str]) -> None:
    async with mcp_tools(*server, env={"GIVEN": "yes"}, chars=500) as tools:
        specs = {spec.name: spec for spec in specs_of(toolbox(tools))}
        assert set(specs) == {"multiply", "keep", "person", "broken", "slow", "dies", "much"}
        said = specs["multiply"]
        assert (said.policy, said.idempotent, said.description) == ("allow", True, "Multiplies two numbers.")
        assert (specs["keep"].policy, specs["keep"].idempotent) == ("ask", True)
        assert (specs["person"].policy, specs["person"].idempotent) == ("ask", False)
        assert said.parameters["properties"]["a"]["type"] == "integer" and said.parameters["required"] == ["a"]
        assert await call(tools, "multiply", a=6, b=7) == 42
        assert await call(tools, "keep", text="it") == "kept it"
        assert await call(tools, "person", name="Ada") == {"name": "Ada", "age": 3, "env": "yes"}
        for name, arguments, match in (
            ("broken", {}, "broken"),
            ("multiply", {"a": "six"}, r"valid integer|Invalid"),
            ("multiply", {}, r"required|Invalid"),
        ):
            with pytest.raises(ToolError, match=match):
                await call(tools, name, **arguments)
        big = await call(tools, "much")
        assert "characters left out" in big and len(big) < 700
        assert await call(tools, "multiply", a=2) == 20, "the server lives on"


async def test_a_slow_call_is_given_up_and_the_next_one_works(server: tuple[str, str]) -> None:
    async with mcp_tools(*server, only=["slow", "multiply"], prefix="s.") as tools:
        assert set(tools) == {"s.slow", "s.multiply"}
        tools["s.slow"] = Tool(tools["s.slow"].fn, seconds=0.2, parameters={})
        with pytest.raises(ToolError, match=r"no result within 0.2 s"):
            await call(tools, "s.slow")
        assert await call(tools, "s.multiply", a=2) == 20


async def test_a_server_that_dies_in_mid_call(server: tuple[str, str]) -> None:
    async with mcp_tools(*server, seconds=10) as tools:
        with pytest.raises(ToolError, match="the MCP server failed"):
            await call(tools, "dies")
        with pytest.raises(ToolError, match="the MCP server failed"):
            await call(tools, "multiply", a=1)


async def test_servers_that_are_none(server: tuple[str, str], tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.py"
    nothing.write_text("print('hello')")
    for place in (("no-such-command-here",), (sys.executable, str(nothing)), ("http://127.0.0.1:9/mcp",)):
        with pytest.raises(ToolError, match="no MCP server at"):
            async with mcp_tools(*place, seconds=10):
                raise AssertionError("not reached")
    with pytest.raises(CallerError, match=r"no tools called other\. It has: .*multiply"):
        async with mcp_tools(*server, only=["other"]):
            raise AssertionError("not reached")
    with pytest.raises(CallerError, match="of a command, not of a URL"):
        async with mcp_tools("https://example.org/mcp", "x"):
            raise AssertionError("not reached")
    with pytest.raises(KeyError, match="mine"):
        async with mcp_tools(*server):
            raise KeyError("mine")


async def test_a_model_calls_them(server: tuple[str, str]) -> None:
    async with mcp_tools(*server) as tools:
        engine = Engine("m", tools=tools, journal=False)
        engine.register("m", ScriptedModel(["Action: multiply(a=6, b=7)", "Answer: 42"]), Price.per_million(1, 1))
        async with engine as e:
            solution = await e.solve("6 * 7?", answer="number", budget=1, strategy="react")
    assert (solution.answer, solution.spend.calls) == ("42", 2)


async def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(MissingExtra, match=r"satisfice\[mcp\]"):
        async with mcp_tools("x"):
            raise AssertionError("not reached")
