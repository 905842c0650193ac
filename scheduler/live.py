"""The live driver: performs a run's calls as anyio tasks, on asyncio or trio.

Rows are committed before the calls that they announce are sent. Each call has its own cancel scope; losers and runs
that are past their deadline are dropped there. Nothing outlives `drive`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Protocol

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from ..core.completions import Completion, Model, Request, Response, Usage
from ..core.effects import Ask, CallTool, Recall, Remember, Sample, Score
from ..core.errors import BadCompletion, ModelError, ModelTimeout, SatisficeError, ToolError, UnknownName
from ..core.verdict import Verdict
from .events import Decided, Event, Received, Sent, Waiting
from .journal import Row
from .nodes import Call, Reply
from .offline import judge
from .paths import encode
from .run import Due, Run, unknown
from .tariff import PriceList

logger = logging.getLogger("satisfice")

Tool = Callable[..., Any]
OnEvent = Callable[[Event], None]
OnAsk = Callable[[Ask], str | Awaitable[str]]


class Store(Protocol):
    """What the driver needs of a journal."""

    async def commit(self, rows: list[Row]) -> None: ...
    def post(self, rows: list[Row]) -> None: ...
    async def remember(self, scope: str, topic: str, value_json: str, rows: list[Row] = ...) -> None: ...
    async def recall(self, scope: str, topic: str) -> list[str]: ...


@dataclass(slots=True)
class World:
    """What a run can reach: models by name, tools, memory, people."""

    model: Callable[[str], Model]
    tariff: PriceList
    tools: Mapping[str, Tool] = field(default_factory=dict)
    store: Store | None = None
    memory: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    scopes: Mapping[str, str] = field(default_factory=dict)
    on_ask: OnAsk | None = None
    on_event: OnEvent | None = None


class Live:
    """Drives one run."""

    def __init__(self, run: Run, world: World) -> None:
        self._run, self._world = run, world
        self._group: TaskGroup | None = None
        self._origin = 0.0
        self._alarm: float | None = None
        self._decided = 0

    async def drive(self) -> None:
        """Until the run has an outcome, or waits for a person. A cancellation from outside stops the run with what
        is on offer (`run.outcome`), puts that on record, and goes on as a cancellation."""
        run = self._run
        self._origin = anyio.current_time() - run.books.now
        run.start(run.books.now)
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                await self._flush()
        except anyio.get_cancelled_exc_class():
            if run.outcome is None:
                run.stop("cancelled", self._now())
            if self._world.store is not None and (rows := run.take().rows):
                self._world.store.post(rows)
            raise
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from None

    def _now(self) -> float:
        return anyio.current_time() - self._origin

    async def _flush(self, commit: Callable[[list[Row]], Awaitable[None]] | None = None) -> None:
        """Commits what is due, then drops and sends."""
        run, store, group = self._run, self._world.store, self._group
        assert group is not None
        due = run.take()
        if commit is not None:
            await commit(due.rows)
        elif store is not None and due.rows:
            await store.commit(due.rows)
        if self._world.on_event is not None:
            self._tell(due)
        for call in due.cancels:
            scope, calls = call.handle or (None, ())
            if scope is not None and all(c.state == "done" for c in calls):
                scope.cancel()
        if due.calls:
            for calls in self._batches(due.calls):
                group.start_soon(self._perform, calls)
        deadline = run.next_deadline
        if deadline is not None and (self._alarm is None or deadline < self._alarm):
            self._alarm = deadline
            group.start_soon(self._wake, deadline)
        if run.outcome is not None or run.waiting:
            group.cancel_scope.cancel()

    def _batches(self, calls: list[Call]) -> list[list[Call]]:
        """Equal samples go out together where the provider bills the prompt once for n completions."""
        batches: list[list[Call]] = []
        for call in calls:
            last = batches[-1] if batches else None
            if (
                last is not None
                and isinstance(call.effect, Sample)
                and (call.effect is last[0].effect or call.effect == last[0].effect)
                and not call.delay
                and not last[0].delay
                and len(last) < self._world.tariff.rate(call.effect).batch
            ):
                last.append(call)
            else:
                batches.append([call])
        return batches

    async def _wake(self, deadline: float) -> None:
        await anyio.sleep_until(self._origin + deadline)
        self._alarm = None
        self._run.tick(self._now())
        await self._flush()

    async def _perform(self, calls: list[Call]) -> None:
        call = calls[0]
        effect = call.effect
        with anyio.CancelScope() as scope:
            for each in calls:
                each.handle = (scope, calls)
            if all(each.state == "done" for each in calls):
                return
            if isinstance(effect, Sample):
                await self._sample(calls, effect, scope)
            elif isinstance(effect, Remember):
                await self._remember(call, effect)
                return
            else:
                await self._other(call, effect)
        if self._world.on_event is not None:
            self._received(calls)
        await self._flush()

    # -- models ---------------------------------------------------------------------------------------------------

    async def _sample(self, calls: list[Call], sample: Sample, scope: anyio.CancelScope) -> None:
        call, run = calls[0], self._run
        if call.delay:
            await anyio.sleep(call.delay)
        rate = self._world.tariff.rate(sample)
        request = Request(sample.messages, rate.params(sample), len(calls), call.seed)
        began = anyio.current_time()
        scope.deadline = began + rate.timeout
        try:
            response = await self._world.model(self._world.tariff.name(sample)).complete(request)
        except SatisficeError as error:
            failure: Exception = error
        except Exception as error:  # a user's model may raise anything
            failure = ModelError(f"{type(error).__name__}: {error}")
        except anyio.get_cancelled_exc_class():
            if anyio.current_time() < scope.deadline or all(c.state == "done" for c in calls):
                raise
            # Timed out. The scope has to take its exception, so the call is failed here and the rest goes on after.
            for each in calls:
                run.fail(each, ModelTimeout(f"{rate.name}: no reply within {rate.timeout:g} s"), self._now())
            raise
        else:
            scope.deadline = float("inf")
            for each, reply in zip(calls, share(response, len(calls), anyio.current_time() - began), strict=True):
                if isinstance(reply, Reply):
                    run.reply(each, reply, self._now())
                else:
                    run.fail(each, reply, self._now())
            return
        scope.deadline = float("inf")
        for each in calls:
            run.fail(each, failure, self._now())

    # -- everything else ------------------------------------------------------------------------------------------

    async def _other(self, call: Call, effect: Any) -> None:
        run = self._run
        try:
            if isinstance(effect, Score):
                value: Any = await self._judge(effect)
            elif isinstance(effect, CallTool):
                value = await self._tool(effect)
            elif isinstance(effect, Recall):
                value = tuple(json.loads(v) for v in await self._recall(effect))
            else:
                value = await self._ask(call, effect)
        except SatisficeError as error:
            run.fail(call, error, self._now())
            return
        if call.state != "parked":
            run.deliver(call, value, self._now())

    @staticmethod
    async def _judge(effect: Score) -> Verdict:
        if not getattr(effect.verifier, "is_async", False):
            return await anyio.to_thread.run_sync(judge, effect, abandon_on_cancel=True)
        try:
            value = await effect.verifier.acall(effect.task, effect.candidate)  # type: ignore[attr-defined]
        except Exception as error:
            return unknown(error)
        return value if isinstance(value, Verdict) else unknown(TypeError("an async verifier must return a Verdict"))

    async def _tool(self, effect: CallTool) -> Any:
        tool = self._world.tools.get(effect.tool)
        if tool is None:
            raise ToolError(str(UnknownName.of("tool", effect.tool, self._world.tools)))
        arguments = dict(effect.arguments)
        try:
            value = await anyio.to_thread.run_sync(lambda: tool(**arguments), abandon_on_cancel=True)
            return await value if isawaitable(value) else value
        except Exception as error:
            raise ToolError(f"tool {effect.tool!r}: {type(error).__name__}: {error}") from error

    async def _ask(self, call: Call, effect: Ask) -> str | None:
        if self._world.on_ask is not None:
            reply = self._world.on_ask(effect)
            return await reply if isawaitable(reply) else reply
        self._run.park(call)
        if self._world.on_event is not None:
            self._emit(Waiting(self._run.id, encode(call.path), effect.question))
        return None

    async def _recall(self, effect: Recall) -> list[str]:
        scope = self._world.scopes[effect.scope]
        if self._world.store is not None:
            return await self._world.store.recall(scope, effect.topic)
        return self._world.memory.get((scope, effect.topic), [])

    async def _remember(self, call: Call, effect: Remember) -> None:
        """Keeps the value in the transaction of its reply row, so that a resumed run does not keep it twice."""
        store, scope = self._world.store, self._world.scopes[effect.scope]
        try:
            value = json.dumps(effect.value)
        except (TypeError, ValueError) as error:
            self._run.fail(call, ToolError(f"Remember takes a JSON value: {error}"), self._now())
            await self._flush()
            return
        self._run.deliver(call, None, self._now())
        if store is None:
            self._world.memory.setdefault((scope, effect.topic), []).append(value)
            await self._flush()
        else:
            await self._flush(lambda rows: store.remember(scope, effect.topic, value, rows))

    # -- events ---------------------------------------------------------------------------------------------------

    def _tell(self, due: Due) -> None:
        run = self._run
        for decision in run.decisions[self._decided :]:
            self._emit(Decided(run.id, decision))
        self._decided = len(run.decisions)
        for call in due.calls:
            model = self._world.tariff.name(call.effect) if isinstance(call.effect, Sample) else None
            self._emit(Sent(run.id, encode(call.path), call.kind, model, call.attempt))

    def _received(self, calls: list[Call]) -> None:
        run, posted = self._run, self._run.root.purse.posted
        for call in calls:
            answer, error = call.came if call.came else (None, None)
            self._emit(Received(run.id, encode(call.path), call.kind, answer, error, posted[0] / 1e9, posted[1]))

    def _emit(self, event: Event) -> None:
        assert self._world.on_event is not None
        try:
            self._world.on_event(event)
        except Exception:  # an observer's fault must not cost the run
            logger.exception("on_event raised")


def share(response: Response, n: int, seconds: float) -> list[Reply | Exception]:
    """One reply for each of `n` calls that went out together. The first is billed the prompt; completion tokens go
    by choice where they are known, else in equal parts. Fewer choices than asked for fail the rest, unbilled."""
    choices = response.completions[:n]
    if not choices:
        return [BadCompletion("the provider returned no completion")] * n
    replies: list[Reply | Exception] = []
    usage = response.usage
    for i, choice in enumerate(choices):
        part = usage if usage is None or len(choices) == 1 else _part(usage, choices, i)
        replies.append(Reply(choice, part, seconds))
    missing = BadCompletion(f"asked for {n} completions, got {len(choices)}")
    missing.sent = False
    return replies + [missing] * (n - len(choices))


def _part(usage: Usage, choices: tuple[Completion, ...], i: int) -> Usage:
    counts = [c.tokens for c in choices]
    known = [t for t in counts if t is not None]
    if len(known) == len(counts) and sum(known) <= usage.completion:
        parts = known
    else:
        parts = [usage.completion // len(choices)] * len(choices)
    parts[0] += usage.completion - sum(parts)
    prompt = (usage.prompt, usage.cached) if i == 0 else (0, 0)
    return Usage(prompt[0], parts[i], prompt[1], usage.reasoning if i == 0 else 0)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The fault that counts in a group of them: ours, if there is one."""
    leaves: list[BaseException] = []

    def walk(error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                walk(inner)
        else:
            leaves.append(error)

    walk(group)
    return next((e for e in leaves if isinstance(e, SatisficeError)), leaves[0])
