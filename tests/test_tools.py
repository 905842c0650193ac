"""Tools under the live driver: what is derived of a callable, and what holds whatever a plan does."""

from __future__ import annotations

import datetime
import json
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import pytest
from pydantic import Field

from satisfice import Answer, CallerError, CallTool, Engine, Price, Sample, ScriptedModel, Task, Tool, ToolError
from satisfice.core.completions import Message
from satisfice.scheduler.tools import call_tool, specs_of, tool_of, toolbox


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def add(a: int, b: Annotated[int, Field(description="the second")] = 2) -> int:
    """Adds two numbers,
    whole ones.

    No more of this is shown.
    """
    return a + b


async def call(fn: Any, _approved: bool = False, _nth: int = 1, **arguments: Any) -> Any:
    effect = CallTool("t", tuple(arguments.items()), approved=_approved)
    return await call_tool(effect, toolbox({"t": fn}), _nth)


async def fails(fn: Any, _match: str, **arguments: Any) -> str:
    with pytest.raises(ToolError, match=_match) as caught:
        await call(fn, **arguments)
    return str(caught.value)


# -- what is derived --------------------------------------------------------------------------------------------------


def test_a_spec_is_made_of_the_signature() -> None:
    (spec,) = specs_of(toolbox([add]))
    assert (spec.name, spec.description) == ("add", "Adds two numbers, whole ones.")
    assert spec.parameters == {
        "additionalProperties": False,
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "integer", "default": 2, "description": "the second"},
        },
        "required": ["a"],
        "type": "object",
    }
    assert (spec.policy, spec.seconds, spec.calls, spec.chars, spec.idempotent) == ("allow", 30.0, None, 8000, False)
    assert json.dumps(spec.parameters)


def test_rules_are_kept() -> None:
    tool = Tool(add, policy="ask", seconds=1, calls=2, chars=9, idempotent=True, description="d")
    (spec,) = specs_of(toolbox({"x": tool}))
    assert (spec.name, spec.description, spec.policy, spec.seconds) == ("x", "d", "ask", 1)
    assert (spec.calls, spec.chars, spec.idempotent) == (2, 9, True)


def _untyped(a, *rest, json=1, **more):  # type: ignore[no-untyped-def]
    return [a, list(rest), json, more]


@dataclass
class Adder:
    """Adds."""

    by: int

    def __call__(self, n: int) -> int:
        return n + self.by


async def test_all_sorts_of_callables(anyio_backend: str) -> None:
    """Parameters may have names that pydantic's own fields may not, and builtins take theirs by place only."""
    assert await call(_untyped, a=1, json=2, _x=3, model_config=4) == [1, [], 2, {"_x": 3, "model_config": 4}]
    assert await call(math.sqrt, x=9) == 3.0
    assert await call(Adder(3), n="4") == 7
    assert await call(partial(add, b=5), a=1) == 6
    assert specs_of(toolbox([Adder(1)]))[0].name == "Adder"

    class Later:
        async def __call__(self, a: int) -> int:
            await anyio.lowlevel.checkpoint()
            return a + 1

    assert await call(Later(), a=1) == 2
    assert await call(lambda: Later()(4)) == 5  # a plain function that returns a coroutine


def test_what_is_no_tool_is_said_early() -> None:
    def odd(x: "no_such_name") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    def taking(f: Callable[[int], int]) -> None: ...

    for tools, match in (
        ({"t": 3}, "a tool is a callable"),
        ("os:system", "expected callables"),
        (7, "expected callables"),
        ({"bad name": add}, "bad name"),
        ({"": add}, "a name is"),
        ([add, add], "two tools"),
        ([lambda: 1], "<lambda>"),
        ({"t": odd}, "no_such_name"),
        ({"t": taking}, "JSON Schema"),
        ({"t": Tool(add, policy="perhaps")}, "policy"),  # type: ignore[arg-type]
        ({"t": Tool(add, seconds=0)}, "seconds"),
        ({"t": Tool(add, chars=0)}, "chars"),
        ({"t": Tool(add, calls=-1)}, "calls"),
    ):
        with pytest.raises(CallerError, match=match):
            Engine("m", tools=tools, journal=False)  # type: ignore[arg-type]


def test_a_tool_as_text() -> None:
    name, tool = tool_of("math:sqrt,policy=ask,seconds=2.5,calls=3,description=The root")
    assert (name, tool) == ("sqrt", Tool(math.sqrt, "ask", 2.5, 3, description="The root"))
    for text, match in (("nowhere.at:all", "cannot load"), ("math:sqrt,speed=1", "speed"), ("math:pi", "callable")):
        with pytest.raises(CallerError, match=match):
            tool_of(text)


# -- calling ----------------------------------------------------------------------------------------------------------


async def test_arguments_are_converted_or_told(anyio_backend: str) -> None:
    def typed(day: datetime.date, size: Literal["s", "l"] = "s", many: list[int] | None = None) -> str:
        assert isinstance(day, datetime.date)
        return f"{day:%d.%m.%Y} {size} {many}"

    assert await call(typed, day="2024-02-29", many=["1", 2]) == "29.02.2024 s [1, 2]"
    said = await fails(typed, "bad arguments", day="29 February", size="xl", colour="red")
    assert all(word in said for word in ("day: ", "size: ", "colour: ", "'s' or 'l'"))
    assert "errors.pydantic.dev" not in said
    assert "a: " in await fails(add, "Field required")


async def test_what_a_tool_raises_is_told_at_bounded_length(anyio_backend: str) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def raises(kind: str) -> None:
        raise {"exit": SystemExit(3), "mute": Mute(), "long": ValueError("x" * 5_000_000)}.get(kind, KeyError("k"))

    assert "KeyError: 'k'" in await fails(raises, "KeyError", kind="")
    assert "Mute" in await fails(raises, "Mute", kind="mute")
    assert "SystemExit" in await fails(raises, "SystemExit", kind="exit")
    assert len(await fails(raises, "left out", kind="long")) < 9_000

    async def later() -> None:
        raise OSError("down")

    assert "OSError: down" in await fails(later, "OSError")


async def test_results_are_json_and_bounded(anyio_backend: str) -> None:
    circle: list[Any] = []
    circle.append(circle)

    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    cases: list[tuple[Any, Any]] = [
        ({1: (2, 3)}, {1: (2, 3)}),
        (None, None),
        ({3}, [3]),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (Adder(2), {"by": 2}),
        (b"ab", "ab"),
        (b"\xff", "b'\\xff'"),
        (Odd(), "<odd>"),
        ([Odd()], ["<odd>"]),
        ("a\ud800b", "a?b"),
        (circle, "[[...]]"),
        (math.nan, math.nan),
    ]
    for value, expected in cases:
        got = await call(lambda value=value: value)
        assert got == expected or (got != got and expected != expected)
        json.dumps(got)
    with pytest.raises(ToolError, match="no text"):
        await call(lambda: Mute())
    big = await call(Tool(lambda: "a" * 3_000_000 + "z", chars=100))
    assert len(big) < 200
    assert big.startswith("aaa") and big.endswith("z") and "2,999,901 characters left out" in big
    for value in (list(range(100_000)), set(range(100_000)), {"a": "b" * 9_000}):
        got = await call(lambda value=value: value)
        assert isinstance(got, str) and len(got) < 8_100


async def test_a_call_that_takes_too_long_is_given_up(anyio_backend: str) -> None:
    """A plain tool's thread goes on alone; an async tool is cancelled."""
    over, ended = threading.Event(), []

    async def sleeps() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    try:
        await fails(Tool(over.wait, seconds=0.05, parameters={}), "no result within 0.05 s")
    finally:
        over.set()
    await fails(Tool(sleeps, seconds=0.05), "no result within 0.05 s")
    assert ended == [True]


async def test_many_hanging_tools_leave_room_for_others(anyio_backend: str) -> None:
    over = threading.Event()
    try:
        async with anyio.create_task_group() as group:
            for _ in range(60):
                group.start_soon(partial(fails, Tool(over.wait, seconds=0.01, parameters={}), "no result"))
        assert await call(add, a=1) == 3
    finally:
        over.set()


async def test_policies_and_budgets_hold_in_the_driver(anyio_backend: str) -> None:
    called: list[int] = []
    for tool, options, match in (
        (Tool(lambda: called.append(1), policy="forbid"), {"_approved": True}, "forbidden"),
        (Tool(lambda: called.append(1), policy="ask"), {}, "approval"),
        (Tool(lambda: called.append(1), calls=2), {"_nth": 3}, "may be called 2 times"),
        (Tool(lambda: called.append(1), calls=0), {}, "may be called 0 times"),
    ):
        with pytest.raises(ToolError, match=match):
            await call(tool, **options)
    assert called == []
    await call(Tool(lambda: called.append(1), policy="ask", calls=2), _approved=True, _nth=2)
    assert called == [1]
    with pytest.raises(ToolError, match=r"unknown tool 'ad'.*Did you mean 'add'"):
        await call_tool(CallTool("ad"), toolbox([add]))


# -- in a run ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path, anyio_backend: str) -> Callable[..., Engine]:
    def make(**options: Any) -> Engine:
        made = Engine("m", journal=tmp_path / "runs.db", **options)
        made.register("m", ScriptedModel(["Answer: 1"]), Price.per_million(1, 1))
        return made

    return make


async def test_a_task_is_given_the_tools(engine: Callable[..., Engine]) -> None:
    seen: list[Any] = []

    def looks(task: Task) -> Any:
        seen.append([spec.name for spec in task.tools])
        return Answer((yield from Sample((Message("user", "q"),), task)))

    async with engine(tools=[add, Tool(len, parameters={})]) as e:
        await e.solve("q", budget=1, strategy=looks)
        own = Task.of("q", tools=specs_of(toolbox([add])))
        await e.solve(own, budget=1, strategy=looks)
    async with engine() as e:
        await e.solve("q", budget=1, strategy=looks)
    assert seen == [["add", "len"], ["add"], []]


async def test_a_budget_of_calls_counts_over_a_resumption(engine: Callable[..., Engine]) -> None:
    """Three calls in all, by whichever process."""
    calls: list[int] = []

    def tick(n: int) -> int:
        calls.append(n)
        return n

    def ticks(task: Task) -> Any:
        from satisfice import Ask

        said = []
        for n in range(5):
            if n == 2:
                yield from Ask("go on?")
            try:
                said.append((yield from CallTool("tick", (("n", n),))))
            except ToolError as error:
                said.append(str(error))
        first = yield from Sample((Message("user", "q"),), task)
        return Answer(first, json.dumps(said))

    tools = {"tick": Tool(tick, calls=3)}
    async with engine(tools=tools) as e:
        waiting = await e.solve("q", budget=1, strategy=ticks)
    async with engine(tools=tools) as e:
        done = await e.reply(waiting.run_id, "yes", strategy=ticks)
    said = json.loads(done.stop_reason)
    assert calls == said[:3] == [0, 1, 2]
    assert all("3 times" in one for one in said[3:])


async def test_a_run_is_not_resumed_without_its_tools(engine: Callable[..., Engine]) -> None:
    def asks(task: Task) -> Any:
        from satisfice import Ask

        yield from Ask("go on?")
        return Answer((yield from Sample((Message("user", "q"),), task)))

    async with engine(tools=[add]) as e:
        waiting = await e.solve("q", budget=1, strategy=asks)
    async with engine() as e:
        with pytest.raises(CallerError, match=r"may call the tools add.*--tool"):
            await e.reply(waiting.run_id, "yes", strategy=asks)
    async with engine(tools=[add]) as e:
        assert (await e.reply(waiting.run_id, "yes", strategy=asks)).answer == "1"


def test_the_command_line_takes_tools(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from satisfice.cli.runs import runs
    from satisfice.cli.solving import reply_hint, solve, tooled

    assert tooled(["math:sqrt,policy=ask", "math:gcd"]) == {"sqrt": Tool(math.sqrt, "ask"), "gcd": Tool(math.gcd)}
    with pytest.raises(CallerError, match="two tools are called 'sqrt'"):
        tooled(["math:sqrt", "math:sqrt,calls=1"])
    assert reply_hint("r1", (), ["math:sqrt,calls=1"]).endswith("--tool math:sqrt,calls=1")
    for command in (solve, runs.commands["resume"], runs.commands["answer"]):
        assert "--tool" in CliRunner().invoke(command, ["--help"]).output
    result = CliRunner().invoke(solve, ["q", "--tool", "math:pi", "--calls", "1", "--model", "m"])
    assert "a tool is a callable" in str(result.exception)
