"""A provider that misbehaves: an OpenAI-like server on the loopback, and a storm of requests against it.

Every question holds a number, and the only right answer is that number plus 1000: a reply that belongs to another
question is seen. The server keeps its own account of what it was asked and what it would bill (`chaos_books`).
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any
from unittest import mock

import anyio

from ..budgets.budget import Budget
from ..budgets.ledger.accounts import Account, Limit
from ..budgets.ledger.ledger import Ledger
from ..core.completions import Cut, Params, Request, Response, Usage
from ..core.errors import ModelUnavailable, SatisficeError
from ..models.lite import LiteModel, load_litellm
from ..models.settings import DispatchSettings, ModelSettings, PriceSettings, Settings
from ..scheduler.engine import Engine
from ..strategies import SelfConsistency, SingleShot
from .chaos_books import Manners, Paid, Seen, audit

FAULTS = ("429", "500", "hang", "truncate", "malformed", "usage", "duplicate", "dies")
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
    retry_after: float = RETRY_AFTER
    url: str = ""
    seen: list[Seen] = field(default_factory=list)  # requests that arrived whole

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
        fault = self._dice.choice(tuple(self.faults)) if self._dice.random() < self.share else ""
        told = self._usage(body, fault)
        self._note(body, fault, told)
        if fault == "429":
            writer.write(_http(429, {"error": {"message": "slow down"}}, f"retry-after: {self.retry_after}\r\n"))
        elif fault == "500":
            writer.write(_http(500, {"error": {"message": "oops"}}))
        elif fault == "hang":
            await self._over.wait()
            return False
        else:
            await asyncio.sleep(self.work)
            return await (self._stream if body.get("stream") else self._whole)(writer, body, fault, told)
        await writer.drain()
        return True

    def _note(self, body: dict[str, Any], fault: str, told: Any) -> None:
        usage = None
        if fault in ("", "duplicate", "usage") and isinstance(told, dict):
            counts = told["prompt_tokens"], told["completion_tokens"]
            if body.get("stream") and counts[1] < 0:
                counts = counts[0], 0  # litellm makes it that in a stream, so that nobody can know better
            if all(isinstance(x, int) and 0 <= x <= 1 << 53 for x in counts) and counts[0]:
                usage = Usage(*counts)
        self.seen.append(Seen(_number(body), body["model"], fault or "none", monotonic(), usage))

    async def _whole(self, writer: asyncio.StreamWriter, body: dict[str, Any], fault: str, told: Any) -> bool:
        raw = _http(200, self._reply(body, fault, told))
        if fault == "malformed":
            raw = _http(200, None)
        if fault in ("truncate", "dies"):
            raw = raw[: -len(raw) // 4]
        writer.write(raw * 2 if fault == "duplicate" else raw)
        await writer.drain()
        return fault not in ("truncate", "dies")

    async def _stream(self, writer: asyncio.StreamWriter, body: dict[str, Any], fault: str, told: Any) -> bool:
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
        if told is not None:
            writer.write(_event({"choices": [], "usage": told}))
        writer.write(b"data: [DONE]\n\n" * (2 if fault == "duplicate" else 1))
        await writer.drain()
        return False

    def _reply(self, body: dict[str, Any], fault: str, told: Any) -> dict[str, Any]:
        n = int(body.get("n") or 1) * (2 if fault == "duplicate" else 1)
        said = {"role": "assistant", "content": _answer_of(body)}
        choices = [{"index": i, "finish_reason": "stop", "message": said} for i in range(n)]
        reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "chaos", "choices": choices}
        return reply if told is None else {**reply, "usage": told}

    def _usage(self, body: dict[str, Any], fault: str) -> Any:
        if fault == "usage":
            return self._dice.choice(LIES)
        prompt = sum(len(m["content"]) for m in body["messages"]) // 4 + 1
        n = int(body.get("n") or 1)
        return {"prompt_tokens": prompt, "completion_tokens": TOKENS * n, "total_tokens": prompt + TOKENS * n}


def _number(body: dict[str, Any]) -> int:
    number = re.search(r"number (\d+)", body["messages"][-1]["content"])
    return int(number[1]) if number else -1000


def _answer_of(body: dict[str, Any]) -> str:
    return f"Answer: {_number(body) + 1000}"


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
    left_over: list[str] = field(default_factory=list)  # in the dispatcher
    seen: list[Seen] = field(default_factory=list)  # the provider's own account
    paid: list[Paid] = field(default_factory=list)  # the journal's
    manners: Manners = field(default_factory=Manners)
    funded: bool = True

    @property
    def asked(self) -> int:
        """How many requests the provider saw."""
        return len(self.seen)

    @property
    def met(self) -> Counter[str]:
        """Its faults, by name."""
        return Counter(each.fault for each in self.seen)

    @property
    def due(self) -> int:
        """What the provider would bill for its replies, where it told a usage that can be."""
        return sum(each.cost for each in self.seen if each.cost is not None and each.fault != "usage")

    def faults(self) -> list[str]:
        """What must not be: lost runs, wrong answers, wrong bills, no further attempts, overspend, books that differ,
        a model that is called before the time for which it asked."""
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
        found += audit(self.seen, self.paid, funded=self.funded) + self.manners.faults()
        return found + self.left_over + self.over_budget


@contextmanager
def _watched(manners: Manners) -> Iterator[None]:
    """Notes when calls leave for litellm, and when one is told to wait."""
    complete = LiteModel.complete

    async def noted(self: LiteModel, request: Request) -> Response:
        manners.left[self.name].append(monotonic())
        try:
            return await complete(self, request)
        except ModelUnavailable as error:
            if (wait := error.details.get("retry_after")) is not None:
                manners.told[self.name].append((monotonic(), float(wait)))
            raise

    with mock.patch.object(LiteModel, "complete", noted):
        yield


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
    rough: bool = False,
) -> Storm:
    """Sends so many questions through an engine with a journal and a ledger, and counts what became of them. `cap`: of
    the account, in nano-dollars (0: enough for all). `single`: one sample each, else every second one votes over three.
    `rough`: with hedges and a cache, questions that recur, callers that give up, and kill switches thrown and lifted
    meanwhile."""
    await anyio.to_thread.run_sync(load_litellm)
    report = Storm(requests, funded=not cap)
    params = Params(max_tokens=16, logprobs=stream, cut=Cut(-50.0) if stream else None)
    each = 1_000_000_000
    cap = cap or requests * each
    file = home / "ledger.db"
    dice = random.Random(provider.seed)
    async with await Ledger.open(file, [Account("global", None, (Limit.of(usd=cap / 1e9),))]) as ledger:
        settings = _settings(provider, home, at_once, patience, rough)
        async with Engine("first", settings=settings, journal=home / "runs.db", ledger=ledger) as engine:
            places, killing, began = anyio.CapacityLimiter(at_once), anyio.Lock(), perf_counter()

            async def one(i: int, patient: float) -> None:
                strategy: Any = SingleShot(params=params)
                if i % 2 and not single:
                    strategy = SelfConsistency(samples=3, params=params)
                found = None
                async with places:
                    async with killing:  # else all that wait would be refused at once
                        pass
                    try:
                        with anyio.move_on_after(patient):
                            budget = Budget(usd=each / 1e9, calls=30)
                            query = f"Add 1000 to the number {i}."
                            found = await engine.solve(query, budget=budget, answer="number", strategy=strategy)
                    except SatisficeError as error:
                        report.errors[(error.details.get("cause") or {}).get("code", error.code)] += 1
                        return
                    except Exception as error:
                        report.strange.append(repr(error))
                        return
                if found is None:
                    report.errors["cancelled"] += 1
                elif found.answer == str(i + 1000):
                    report.right += 1
                elif found.answer is None:
                    report.errors[found.stop_reason] += 1
                else:
                    report.wrong.append(f"{i}: {found.answer}")

            with _watched(report.manners):
                async with anyio.create_task_group() as group:
                    if rough:
                        group.start_soon(_meddle, engine, killing)
                    for i in range(requests):
                        patient = dice.uniform(0.0, 0.3) if rough and dice.random() < 0.2 else inf
                        group.start_soon(one, i * 3 // 4 if rough else i, patient)
            report.seconds = perf_counter() - began
            await _books(engine, report, each, rough)
            report.left_over = _left_over(engine)
        await ledger.perform([])
        (standing,) = [s for s in await ledger.standings() if s.account.name == "global"]
        balance = standing.balances[0]
        report.posted, report.pending = balance.posted[0], tuple(balance.pending)  # type: ignore[assignment]
        if report.posted - report.overrun > cap:
            report.over_budget.append(f"the account's cap of {cap} is overdrawn: {report.posted}")
    report.seen = provider.seen
    return report


def _settings(provider: Provider, home: Path, at_once: int, patience: float, rough: bool) -> Settings:
    facts: dict[str, Any] = {"api_base": provider.url, "timeout": patience, "queue_seconds": 120}
    facts |= {"concurrency": at_once, "hedge_after": 2 * provider.work if rough else None}
    price = PriceSettings(prompt=100, completion=400)
    first = ModelSettings(model="openai/chaos", price=price, fallbacks=("second",), **facts)
    second = ModelSettings(model="openai/chaos-2", price=PriceSettings(prompt=200, completion=800), **facts)
    dispatch = DispatchSettings(breaker_seconds=1.0, cache=rough)
    return Settings(models={"first": first, "second": second}, home=home, dispatch=dispatch)


async def _meddle(engine: Engine, killing: anyio.Lock) -> None:
    """Throws kill switches, and lifts them again."""
    for level, name in (("model", "first"), ("strategy", "self_consistency"), ("global", "")):
        await anyio.sleep(0.3)
        async with killing:
            engine.kill(level, name)
            await anyio.sleep(0.15)
            engine.revive(level, name)


def _left_over(engine: Engine) -> list[str]:
    """What the dispatcher still keeps of requests that are over."""
    dispatcher = engine.dispatcher
    lanes = [lane for gate in dispatcher._gates.values() for lane in gate.lanes]
    found = [f"{lane.name} has {lane.active} calls under way" for lane in lanes if lane.active]
    found += ["runs are left with the dispatcher"] if dispatcher._runs else []
    waited = dispatcher.cache is not None and dispatcher.cache._under_way
    return [*found, "the cache still waits for replies"] if waited else found


async def _books(engine: Engine, report: Storm, each: int, rough: bool) -> None:
    """What the journal has on record of all runs."""
    for record in await engine.journal.runs(100_000):
        report.open_runs += record.status not in ("done", "failed", "cancelled")
        _, rows = await engine.journal.load(record.id)
        number, whole = re.search(r"number (\d+)", record.query), not rough or record.status == "done"
        plain = not rough and record.strategy.startswith("single")
        report.paid.append(Paid(int(number[1]) if number else -1000, rows, whole, plain))
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
