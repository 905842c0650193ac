"""A provider that misbehaves: an OpenAI-like server on the loopback, and a storm of requests against it.

Every question holds a number, and the only right answer is that number plus 1000: a reply that belongs to another
question is seen. The server keeps its own account of what it was asked and what it would bill.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio

from ..budgets.budget import Budget
from ..budgets.ledger.accounts import Account, Limit
from ..budgets.ledger.ledger import Ledger
from ..budgets.prices import Price
from ..core.completions import Cut, Params, Usage
from ..core.errors import SatisficeError
from ..models.settings import DispatchSettings, ModelSettings, PriceSettings, Settings
from ..scheduler.engine import Engine
from ..strategies import SelfConsistency, SingleShot

FAULTS = ("429", "500", "hang", "truncate", "malformed", "usage", "duplicate", "dies")
PRICE = Price.per_million(100, 400)
RETRY_AFTER = 0.05  # seconds
WORK = 0.02  # seconds that a good reply takes
TOKENS = 5  # of every reply
LIES: tuple[Any, ...] = (
    None,
    {"prompt_tokens": -5, "completion_tokens": 3},
    {"prompt_tokens": 7, "completion_tokens": -1},
    {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": "many", "completion_tokens": 3},
    {"prompt_tokens": 10, "completion_tokens": 10**18},
    {"prompt_tokens": 300, "completion_tokens": 40},  # possible, but more than was asked for
)


@dataclass
class Provider:
    """The server, in a thread of its own. `share` of the calls meet one of the `faults`."""

    faults: Sequence[str]
    share: float = 0.3
    seed: int = 0
    work: float = WORK
    url: str = ""
    asked: int = 0  # requests that arrived whole
    generated: int = 0  # of them, those whose completion it would bill at `TOKENS`
    met: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Provider:
        self._dice = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    def _serve(self, ready: threading.Event) -> None:
        async def main() -> None:
            server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=512)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            ready.set()
            await self._over.wait()
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(main())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass
        with suppress(OSError, RuntimeError):
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; False where the connection is to be closed."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = re.search(r"content-length: (\d+)", head)
        body = json.loads(await reader.readexactly(int(length[1]) if length else 0))
        self.asked += 1
        fault = self._dice.choice(tuple(self.faults)) if self._dice.random() < self.share else ""
        self.met[fault or "none"] += 1
        self.generated += fault not in ("429", "500", "usage")
        if fault == "429":
            writer.write(_http(429, {"error": {"message": "slow down"}}, f"retry-after: {RETRY_AFTER}\r\n"))
        elif fault == "500":
            writer.write(_http(500, {"error": {"message": "oops"}}))
        elif fault == "hang":
            await self._over.wait()
            return False
        else:
            await asyncio.sleep(self.work)
            return await (self._stream if body.get("stream") else self._whole)(writer, body, fault)
        await writer.drain()
        return True

    async def _whole(self, writer: asyncio.StreamWriter, body: dict[str, Any], fault: str) -> bool:
        raw = _http(200, self._reply(body, fault))
        if fault == "malformed":
            raw = _http(200, None)
        if fault in ("truncate", "dies"):
            raw = raw[: -len(raw) // 4]
        writer.write(raw * 2 if fault == "duplicate" else raw)
        await writer.drain()
        return fault not in ("truncate", "dies")

    async def _stream(self, writer: asyncio.StreamWriter, body: dict[str, Any], fault: str) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        said = _answer_of(body)
        for i, part in enumerate((said[:-1], said[-1:])):  # cut off there it would be another number
            delta = {"index": 0, "delta": {"role": "assistant", "content": part}, "finish_reason": None}
            writer.write(_event({"choices": [delta]}))
            await writer.drain()
            if fault in ("dies", "truncate", "malformed") and i == 0:
                writer.write(b'data: {"id": "x", "cho' if fault == "malformed" else b"")
                return False
        writer.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        usage = self._usage(body, fault)
        if usage is not None:
            writer.write(_event({"choices": [], "usage": usage}))
        writer.write(b"data: [DONE]\n\n" * (2 if fault == "duplicate" else 1))
        await writer.drain()
        return False

    def _reply(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
        n = int(body.get("n") or 1) * (2 if fault == "duplicate" else 1)
        said = {"role": "assistant", "content": _answer_of(body)}
        choices = [{"index": i, "finish_reason": "stop", "message": said} for i in range(n)]
        reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "chaos", "choices": choices}
        usage = self._usage(body, fault)
        return reply if usage is None else {**reply, "usage": usage}

    def _usage(self, body: dict[str, Any], fault: str) -> Any:
        if fault == "usage":
            return self._dice.choice(LIES)
        prompt = sum(len(m["content"]) for m in body["messages"]) // 4 + 1
        n = int(body.get("n") or 1)
        return {"prompt_tokens": prompt, "completion_tokens": TOKENS * n, "total_tokens": prompt + TOKENS * n}


def _answer_of(body: dict[str, Any]) -> str:
    number = re.search(r"number (\d+)", body["messages"][-1]["content"])
    return f"Answer: {int(number[1]) + 1000 if number else 0}"


def _http(status: int, reply: Any, more: str = "") -> bytes:
    raw = b'{"id": "x", "cho' if reply is None else json.dumps(reply).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


def _event(data: dict[str, Any]) -> bytes:
    return (
        b"data: " + json.dumps({"id": "x", "object": "chat.completion.chunk", "created": 1, **data}).encode() + b"\n\n"
    )


@dataclass
class Storm:
    """What became of a storm of requests. Amounts in nano-dollars; `overrun`: what the provider said above holds."""

    requests: int
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)  # errors that are none of ours
    seconds: float = 0.0
    posted: int = 0
    pending: tuple[int, int, int] = (0, 0, 0)
    journaled: int = 0
    overrun: int = 0
    open_runs: int = 0
    sent: int = 0  # attempts on record that may have left
    over_budget: list[str] = field(default_factory=list)
    asked: int = 0
    due: int = 0  # what the provider would bill, where it did not lie
    met: Counter[str] = field(default_factory=Counter)

    def faults(self) -> list[str]:
        """What must not be: lost runs, wrong answers, overspend, books that differ."""
        found = [f"wrong answer: {w}" for w in self.wrong] + [f"not an error of ours: {s}" for s in self.strange]
        if self.right + len(self.wrong) + sum(self.errors.values()) + len(self.strange) != self.requests:
            found.append("a request was lost")
        if self.open_runs:
            found.append(f"{self.open_runs} runs are open on record")
        if self.pending != (0, 0, 0):
            found.append(f"holds are left: {self.pending}")
        if self.posted != self.journaled:
            found.append(f"the ledger has {self.posted}, the journal {self.journaled}")
        if self.asked > self.sent:
            found.append(f"the provider was asked {self.asked} times, the journal knows of {self.sent}")
        if self.due > self.posted:
            found.append(f"the provider would bill {self.due}, the ledger has {self.posted}")
        return found + self.over_budget


async def storm(
    provider: Provider,
    home: Path,
    requests: int,
    *,
    at_once: int = 16,
    patience: float = 1.0,
    stream: bool = False,
    cap: int = 0,
    single: bool = False,
) -> Storm:
    """Sends so many questions through an engine with a journal and a ledger, and counts what became of them. `cap`: of
    the account, in nano-dollars (0: enough for all). `single`: one sample each, else every second one a vote."""
    from ..models.lite import load_litellm

    await anyio.to_thread.run_sync(load_litellm)
    price = PriceSettings(prompt=100, completion=400)
    facts: dict[str, Any] = {"price": price, "timeout": patience, "queue_seconds": 120, "concurrency": at_once}
    first = ModelSettings(model="openai/chaos", api_base=provider.url, fallbacks=("second",), **facts)
    second = ModelSettings(model="openai/chaos-2", api_base=provider.url, **facts)
    settings = Settings(
        models={"first": first, "second": second}, home=home, dispatch=DispatchSettings(breaker_seconds=1.0)
    )
    report = Storm(requests)
    params = Params(max_tokens=16, logprobs=stream, cut=Cut(-50.0) if stream else None)
    each = 100_000_000
    cap = cap or requests * each
    file = home / "ledger.db"
    async with await Ledger.open(file, [Account("global", None, (Limit.of(usd=cap / 1e9),))]) as ledger:
        async with Engine("first", settings=settings, journal=home / "runs.db", ledger=ledger) as engine:
            places, began = anyio.CapacityLimiter(at_once), perf_counter()

            async def one(i: int) -> None:
                strategy: Any = SelfConsistency(params=params) if i % 2 and not single else SingleShot(params=params)
                async with places:
                    try:
                        budget = Budget(usd=each / 1e9, calls=6)
                        query = f"Add 1000 to the number {i}."
                        found = await engine.solve(query, budget=budget, answer="number", strategy=strategy)
                    except SatisficeError as error:
                        report.errors[(error.details.get("cause") or {}).get("code", error.code)] += 1
                        return
                    except Exception as error:
                        report.strange.append(repr(error))
                        return
                if found.answer == str(i + 1000):
                    report.right += 1
                elif found.answer is None:
                    report.errors[found.stop_reason] += 1
                else:
                    report.wrong.append(f"{i}: {found.answer}")

            async with anyio.create_task_group() as group:
                for i in range(requests):
                    group.start_soon(one, i)
            report.seconds = perf_counter() - began
            await _books(engine, report, each)
        (standing,) = [s for s in await ledger.standings() if s.account.name == "global"]
        balance = standing.balances[0]
        report.posted, report.pending = balance.posted[0], tuple(balance.pending)  # type: ignore[assignment]
        if report.posted - report.overrun > cap:
            report.over_budget.append(f"the account's cap of {cap} is overdrawn: {report.posted}")
    report.asked, report.met = provider.asked, provider.met
    report.due = provider.generated * PRICE.cost(Usage(1, TOKENS))
    return report


async def _books(engine: Engine, report: Storm, each: int) -> None:
    """What the journal has on record of all runs."""
    for record in await engine.journal.runs(100_000):
        report.open_runs += record.status not in ("done", "failed")
        _, rows = await engine.journal.load(record.id)
        samples = [row for row in rows if row.effect == "sample"]
        held = {(row.path, row.attempt): row.nanos for row in samples if row.kind == "intent"}
        spent = {(row.path, row.attempt): row.nanos for row in samples if row.kind == "reply"}
        over = sum(max(0, nanos - held[place]) for place, nanos in spent.items() if place in held)
        report.journaled += sum(spent.values())
        report.overrun += over
        report.sent += len(held)
        if record.spent_nanos != sum(spent.values()):
            report.over_budget.append(
                f"{record.id}: its record says {record.spent_nanos}, its rows {sum(spent.values())}"
            )
        if sum(spent.values()) - over > each:
            report.over_budget.append(f"{record.id} has spent {sum(spent.values())} of {each}")
