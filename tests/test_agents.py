from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.prices import Price
from satisfice.core.completions import Completion, Message, Request, Response, Usage
from satisfice.core.effects import CallTool, Effect, Sample
from satisfice.core.errors import (
    BadCompletion,
    BadQuery,
    BadSettings,
    BudgetTooSmall,
    CallerError,
    MissingKey,
    ModelError,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    NoAnswer,
    SatisficeError,
    UnknownName,
)
from satisfice.core.plans import Answer
from satisfice.core.task import Task
from satisfice.core.tools import ToolSpec
from satisfice.models import ScriptedModel
from satisfice.models.agents import Agent, register_agent
from satisfice.models.agents_http import HttpAgent
from satisfice.models.settings import load_settings
from satisfice.scheduler.engine import Engine
from satisfice.scheduler.nodes import Reply
from satisfice.scheduler.sharing import share
from satisfice.strategies import SelfConsistency, SingleShot
from satisfice.strategies.react import React

pytestmark = pytest.mark.anyio
ASK = Request((Message("user", "What is 6 * 7?"),))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def engine(agent: Any, usd: float = 0.02, **options: Any) -> Engine:
    made = Engine("bot", journal=False)
    register_agent(made.catalog, "bot", agent, usd=usd, **options)
    return made


async def right(query: str) -> str:
    return "Answer: 42"


def saying(reply: Any) -> Callable[[str], Any]:
    async def agent(query: str) -> Any:
        if isinstance(reply, Exception):
            raise reply
        return reply

    return agent


async def solved(made: Engine, usd: float = 1.0, strategy: Any = "single_shot", **options: Any) -> Any:
    async with made:
        return await made.solve("6 * 7?", answer="number", budget=Budget(usd=usd), strategy=strategy, **options)


async def test_an_agent_answers_at_its_declared_price() -> None:
    solution = await solved(engine(right))
    assert (solution.answer, solution.spend.nanos, solution.spend.calls) == ("42", 20_000_000, 1)
    assert solution.candidates[0].model == "bot"


@pytest.mark.parametrize(
    ("reply", "text", "nanos"),
    [
        ("Answer: 42", "Answer: 42", None),
        ({"text": "It is 42."}, "It is 42.", None),
        ({"answer": 42, "usd": 0.001}, "42", 1_000_000),
        ({"answer": {"x": [1]}}, '{"x": [1]}', None),
        ({"text": "Six sevens.", "answer": 42, "usd": 0}, "Six sevens.\n\nAnswer: 42", 0),
    ],
)
async def test_replies_that_are_read(reply: Any, text: str, nanos: int | None) -> None:
    async def ask(request: Request) -> Any:
        return reply

    response = await Agent("bot", ask, 20).complete(ASK)
    assert (response.completions[0].text, response.nanos) == (text, nanos)


@pytest.mark.parametrize(
    "reply",
    [
        *(None, 7, b"42", {}, {"usd": 1}, {"text": 7}, {"answer": {1, 2}}, {"answer": float("nan")}),
        *({"text": "x", "usd": usd} for usd in (-1, True, "0.1", float("nan"), 1e300)),
        "x" * ((4 << 20) + 1),
    ],
)
async def test_malformed_replies_are_billed_at_the_hold(reply: Any) -> None:
    async def ask(request: Request) -> Any:
        return reply

    with pytest.raises(BadCompletion):
        await Agent("bot", ask, 20).complete(ASK)
    with pytest.raises(NoAnswer) as caught:
        await solved(engine(saying(reply)))
    assert caught.value.details["cause"]["code"] == "bad_completion"


async def test_a_plain_callable_gets_a_thread_and_a_chat_its_turns() -> None:
    seen: list[Any] = []

    def plain(chat: Any) -> str:
        seen.append((threading.current_thread() is threading.main_thread(), chat))
        return "42"

    assert (await solved(engine(plain, messages=True))).answer == "42"
    (main, chat), *_ = seen
    assert not main
    assert chat[-1]["role"] == "user"
    assert "6 * 7?" in chat[-1]["content"]


async def test_a_reported_cost_below_the_price_is_what_is_billed() -> None:
    solution = await solved(engine(saying({"text": "Answer: 42", "usd": 0.005})))
    assert solution.spend.nanos == 5_000_000
    assert solution.warnings == ()


async def test_one_that_costs_more_than_it_said_is_billed_in_full_and_then_held_at_that() -> None:
    async with engine(saying({"text": "Answer: 42", "usd": 0.05})) as made:
        solution = await made.solve("6 * 7?", answer="number", budget=1.0, strategy="single_shot")
        assert solution.spend.nanos == 50_000_000
        assert any("above the worst case that was held" in text for text in solution.warnings)
        price = made.catalog.entry("bot").price
        assert (price.per_call, price.source) == (50_000_000, "reported")
        with pytest.raises(BudgetTooSmall):
            await made.solve("6 * 7?", answer="number", budget=0.04, strategy="single_shot")
        assert (await made.solve("6 * 7?", answer="number", budget=0.05, strategy="single_shot")).answer == "42"


async def test_within_a_run_too_the_next_call_is_held_at_what_it_really_costs() -> None:
    calls: list[str] = []

    async def liar(query: str) -> Any:
        calls.append(query)
        return {"text": "Answer: 42", "usd": 0.05}

    def five(task: Task) -> Any:
        found = None
        for _ in range(5):
            found = yield from Sample(ASK.messages, task)
        return Answer(found)

    solution = await solved(engine(liar), 0.12, five)
    # Of $0.12 two calls of $0.05 can be paid: at the declared $0.02 a third would have been sent.
    assert (len(calls), solution.spend.nanos, solution.stop_reason) == (2, 100_000_000, "budget_usd")


@pytest.mark.parametrize("usd", [0.0, 0.01])
async def test_one_that_is_said_to_be_free_and_is_not_stops_the_run(usd: float) -> None:
    calls: list[str] = []

    async def liar(query: str) -> Any:
        calls.append(query)
        return {"text": f"Answer: {len(calls)}", "usd": 5.0}

    made = engine(liar, usd)
    async with made:
        solution = await made.solve("6 * 7?", answer="number", budget=Budget(usd=0.05, worth=1.0))
        assert (len(calls), solution.spend.usd, solution.stop_reason) == (1, 5.0, "budget_usd")
        assert made.catalog.entry("bot").price.per_call == 5_000_000_000


async def test_one_that_took_the_run_over_its_budget_ends_it_for_free_models_too() -> None:
    def both(task: Task) -> Any:
        found = yield from Sample(ASK.messages, task)
        for _ in range(3):
            found = yield from Sample(ASK.messages, task, model="free")
        return Answer(found)

    async with engine(saying({"text": "Answer: 42", "usd": 5.0})) as made:
        free = ScriptedModel(["Answer: 41"])
        made.register("free", free, Price(0, 0))
        solution = await made.solve("6 * 7?", answer="number", models=["bot", "free"], budget=0.05, strategy=both)
    assert (len(free.requests), solution.spend.calls, solution.stop_reason) == (0, 1, "budget_usd")


class CancelsItself:
    """Waits for a task of its own that was cancelled, and lets that through."""

    async def __call__(self, query: str) -> str:
        raise asyncio.CancelledError("of an inner task")

    async def complete(self, request: Request) -> Response:
        raise asyncio.CancelledError("of an inner task")


async def test_one_whose_own_task_is_cancelled_is_out_and_billed(tmp_path: Path) -> None:
    made = Engine("bot", journal=tmp_path / "runs.db")
    register_agent(made.catalog, "bot", CancelsItself(), usd=0.02)
    async with made:
        with pytest.raises(NoAnswer, match="cancelled from within"):
            await made.solve("6 * 7?", answer="number", budget=1.0, strategy="single_shot")
        made.register("m", ScriptedModel(["Answer: 42"]), Price.per_million(1, 1))
        spending = Budget(usd=1.0, worth=10.0)
        solution = await made.solve("6 * 7?", answer="number", models=["bot", "m"], budget=spending)
        assert solution.answer == "42"
        assert {(r.status, r.strategy) for r in await made.journal.runs(9)} == {
            ("failed", "single_shot"),
            ("done", "auto"),
        }
        failed = next(r for r in await made.journal.runs(9) if r.status == "failed")
        assert failed.spent_nanos == 20_000_000


async def test_a_model_or_a_tool_whose_own_task_is_cancelled_is_a_fault(tmp_path: Path) -> None:
    told: list[str] = []

    def tries(task: Task) -> Any:
        effects: tuple[Effect[Any], ...] = (Sample(ASK.messages, task), CallTool("look"))
        for effect in effects:
            try:
                yield from effect
            except SatisficeError as error:
                told.append(type(error).__name__)
        found = yield from Sample(ASK.messages, task, model="m")
        return Answer(found)

    async def look() -> str:
        raise asyncio.CancelledError("of an inner task")

    async with Engine(["broken", "m"], journal=tmp_path / "runs.db", tools=[look]) as made:
        made.register("broken", CancelsItself(), Price(0, 0, per_call=1_000))
        made.register("m", ScriptedModel(["Answer: 42"]), Price(0, 0))
        solution = await made.solve("6 * 7?", answer="number", models=["broken", "m"], budget=1.0, strategy=tries)
        (record,) = await made.journal.runs(9)
    assert (solution.answer, record.status, told) == ("42", "done", ["ModelUnavailable", "ToolError"])
    assert solution.spend.nanos % 1_000 == 0
    assert solution.spend.nanos >= 1_000  # each try was sent, and is billed at its hold


async def test_it_is_cancelled_at_its_timeout_and_billed(tmp_path: Path) -> None:
    cancelled = anyio.Event()

    async def hangs(query: str) -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled.set()
            raise
        return ""

    made = Engine("bot", journal=tmp_path / "runs.db")
    register_agent(made.catalog, "bot", hangs, usd=0.02, timeout=0.05)
    async with made:
        with pytest.raises(NoAnswer):
            await made.solve("6 * 7?", answer="number", budget=0.03, strategy="single_shot")
        (record,) = await made.journal.runs(1)
        assert (record.status, record.spent_nanos) == ("failed", 20_000_000)
    assert cancelled.is_set()


async def test_a_caller_who_goes_away_pays_for_what_was_under_way(tmp_path: Path) -> None:
    begun = anyio.Event()

    async def hangs(query: str) -> str:
        begun.set()
        await anyio.sleep_forever()
        return ""

    made = Engine("bot", journal=tmp_path / "runs.db")
    register_agent(made.catalog, "bot", hangs, usd=0.02)
    async with made:
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                await made.solve("6 * 7?", answer="number", budget=1.0, strategy="single_shot")

            group.start_soon(ask)
            await begun.wait()
            group.cancel_scope.cancel()
        (record,) = await made.journal.runs(1)
        assert (record.status, record.spent_nanos) == ("cancelled", 20_000_000)


@pytest.mark.parametrize(("retries", "calls"), [(0, 1), (1, 2)])
async def test_nothing_is_tried_again_unless_that_is_declared(retries: int, calls: int) -> None:
    seen: list[str] = []

    async def down(query: str) -> str:
        seen.append(query)
        error = ModelUnavailable("for now", retry_after=0.01)
        raise error

    with pytest.raises(NoAnswer):
        await solved(engine(down, retries=retries))
    assert len(seen) == calls


async def test_a_fault_of_ones_own_is_billed_and_told() -> None:
    with pytest.raises(NoAnswer, match="ZeroDivisionError"):
        await solved(engine(saying(ZeroDivisionError("by none"))))


async def test_an_agent_is_weighed_against_a_model(tmp_path: Path) -> None:
    async with engine(right, usd=0.0001) as made:
        made.register("m", ScriptedModel(["Answer: 41"]), Price.per_million(1, 1))
        solution = await made.solve("6 * 7?", answer="number", models=["m", "bot"], budget=Budget(usd=0.1, worth=0.05))
    names = {way.name for decision in solution.decisions for way in decision.alternatives}
    assert {"single_shot@m", "single_shot@bot"} <= names


async def test_votes_of_an_agent_are_calls_of_their_own() -> None:
    solution = await solved(engine(right), strategy=SelfConsistency(samples=3))
    assert (solution.spend.calls, solution.spend.nanos) == (3, 60_000_000)
    with pytest.raises(BadQuery):
        await Agent("bot", saying("x"), 1).complete(Request(ASK.messages, n=2))


@pytest.mark.parametrize(
    ("name", "agent", "options"),
    [
        ("a b", right, {}),
        ("a/b", right, {}),
        ("", right, {}),
        ("bot", 7, {}),
        ("bot", right, {"usd": -1}),
        ("bot", right, {"usd": float("inf")}),
        ("bot", right, {"timeout": 0}),
    ],
)
def test_what_cannot_be_registered(name: str, agent: Any, options: Any) -> None:
    made = Engine("bot", journal=False)
    with pytest.raises(CallerError):
        register_agent(made.catalog, name, agent, **{"usd": 0.1, **options})


def test_a_reported_cost_is_divided_to_the_last_nano() -> None:
    response = Response((Completion("a"), Completion("b"), Completion("c")), None, "m", 11)
    replies = share(response, 3, 0.5, Price.per_million(1, 1))
    assert [r.nanos for r in replies if isinstance(r, Reply)] == [5, 3, 3]
    alone = share(Response((Completion("a"),), Usage(3, 4), "m", 7), 1, 0.5, Price.per_million(1, 1))[0]
    assert isinstance(alone, Reply)
    assert (alone.nanos, alone.usage) == (7, Usage(3, 4))


# -- over HTTP -------------------------------------------------------------------------------------------------------


@contextmanager
def serving(reply: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            reply(self, self.rfile.read(int(self.headers["content-length"])))

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ask"
    finally:
        server.shutdown()
        server.server_close()


def replies(body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> Any:
    def reply(handler: BaseHTTPRequestHandler, asked: bytes) -> None:
        handler.send_response(status)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


async def test_an_agent_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, str | None]] = []

    def reply(handler: BaseHTTPRequestHandler, asked: bytes) -> None:
        seen.append((json.loads(asked), handler.headers["authorization"]))
        replies(b'{"answer": 42, "usd": 0.003}')(handler, asked)

    monkeypatch.setenv("BOT_TOKEN", "Bearer s3cret")
    with serving(reply) as url:
        file = tmp_path / "satisfice.toml"
        lines = (f'url = "{url}"', "usd = 0.01", 'headers_env = {Authorization = "BOT_TOKEN"}')
        file.write_text("\n".join(('default = "bot"', "[agents.bot]", *lines)))
        async with Engine(settings=file, journal=False) as made:
            solution = await made.solve("6 * 7?", answer="number", budget=0.5, strategy="single_shot")
    assert (solution.answer, solution.spend.nanos) == ("42", 3_000_000)
    ((asked, key),) = seen
    assert key == "Bearer s3cret"
    assert "6 * 7?" in asked["query"]
    assert asked["messages"][-1]["role"] == "user"


@pytest.mark.parametrize(
    ("reply", "kind", "sent", "transient"),
    [
        (replies(b"busy", 429, retry_after="7"), ModelUnavailable, False, True),
        (replies(b"later", 503), ModelUnavailable, False, True),
        (replies(b"oops", 500), ModelUnavailable, True, True),
        (replies(b"no", 401), MissingKey, False, False),
        (replies(b"no", 404), ModelRefused, False, False),
        (replies(b"", 302, location="http://127.0.0.1:9/"), ModelRefused, False, False),
        (replies(b"{not json"), BadCompletion, True, False),
        (replies(b"\xff\xfe", kind="text/plain"), BadCompletion, True, False),
        (replies(b"x" * ((4 << 20) + 1), kind="text/plain"), BadCompletion, True, False),
        (lambda handler, asked: handler.connection.close(), ModelUnavailable, True, True),
    ],
)
async def test_what_an_address_may_do(reply: Any, kind: type[ModelError], sent: bool, transient: bool) -> None:
    with serving(reply) as url, pytest.raises(kind) as caught:
        await HttpAgent("bot", url, 5.0, {})(ASK)
    assert (type(caught.value), caught.value.sent, caught.value.transient) == (kind, sent, transient)
    if kind is ModelUnavailable and b"busy" in str(caught.value).encode():
        assert caught.value.details["retry_after"] == 7.0


async def test_nobody_there_and_too_late() -> None:
    with serving(replies(b"")) as url:
        pass
    with pytest.raises(ModelUnavailable) as caught:
        await HttpAgent("bot", url, 5.0, {})(ASK)
    assert not caught.value.sent

    free = threading.Event()
    with serving(lambda handler, asked: free.wait(10) and None) as url:  # type: ignore[arg-type, return-value, func-returns-value]
        with pytest.raises(ModelTimeout) as late:
            await HttpAgent("bot", url, 0.1, {})(ASK)
        free.set()
    assert late.value.sent


async def test_plain_text_and_a_missing_key() -> None:
    with serving(replies(b"Answer: 42", kind="text/plain")) as url:
        assert await HttpAgent("bot", url, 5.0, {})(ASK) == "Answer: 42"
        with pytest.raises(MissingKey, match="SURELY_UNSET"):
            await HttpAgent("bot", url, 5.0, {"x-key": "SURELY_UNSET"})(ASK)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[agents.bot]\nurl = "ftp://x"\nusd = 1', "agents.bot.url"),
        ('[agents.bot]\nurl = "http://x"', "agents.bot.usd"),
        ('[agents.bot]\nurl = "http://x"\nusd = -1', "agents.bot.usd"),
        ('[agents.bot]\nurl = "http://x"\nusd = 1\nprice = 2', "known: url, usd"),
        ('[agents.bot]\nurl = "http://x"\nusd = 1\n[pools]\nbot = ["a"]', "both an agent"),
        ("[learning]\nexplore = 2", "learning.explore"),
        ("[learning]\nexplor = 0.1", "did you mean 'explore'"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "satisfice.toml"
    file.write_text(text)
    with pytest.raises(BadSettings, match=told):
        load_settings(file)


# -- sets of tools ---------------------------------------------------------------------------------------------------


def test_react_is_given_some_of_the_tools() -> None:
    specs = tuple(ToolSpec(name, "", {}) for name in ("calc", "search", "mail"))
    task = Task.of("q", tools=specs)
    assert [t.name for t in React(tools=("search", "calc"))._equipped(task).tools] == ["search", "calc"]
    assert React()._equipped(task).tools == specs
    assert React(tools="calc").tools == ("calc",)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="'cal'"):
        React(tools=("cal",))(task)
    with pytest.raises(CallerError):
        React(tools=(7,))  # type: ignore[arg-type]


def test_a_single_shot_is_not_told_of_tools() -> None:
    assert not hasattr(SingleShot(), "tools")
