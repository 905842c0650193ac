"""The live driver: performs a run's calls as anyio tasks, on asyncio or trio.

Rows are committed before the calls that they announce are sent. Losers of a race and calls past their timeout are
cancelled one by one, a run past its deadline as a whole. Nothing outlives `drive`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from inspect import isawaitable
from math import inf
from time import monotonic
from typing import Any

import anyio
import anyio.to_thread

from ..core.effects import Ask, CallTool, Recall, Remember, Sample, Score
from ..core.errors import ModelError, ModelTimeout, SatisficeError, ToolError
from ..core.verdict import Verdict
from .accounting import Account
from .events import Decided, Event, Received, Sent, Waiting
from .flights import Flight, first_fault, held, request_of
from .journal import Row
from .nodes import Call, Reply
from .nursery import Nursery, Task, nursery
from .offline import judge
from .paths import encode
from .run import Due, Run
from .tools import call_tool
from .verdicts import unknown
from .world import World, emit, shared


class Live:
    """Drives one run."""

    _tasks: Nursery  # while it drives

    def __init__(self, run: Run, world: World) -> None:
        self._run, self._world = run, world
        self._ringing: Task | None = None
        self._origin = 0.0
        self._alarm = inf
        self._flights: set[Flight] = set()
        self._decided = 0
        self._asking: set[anyio.CancelScope] = set()  # of the ledger
        self._active = 0
        self._active_since = 0.0
        self.busy = 0.0  # seconds in which at least one call was with the world

    async def drive(self) -> None:
        """Until the run has an outcome, or waits for a person. A cancellation from outside stops the run with what
        is on offer (`run.outcome`), puts that on record, and goes on as a cancellation."""
        run = self._run
        self._origin = monotonic() - run.books.now
        account = self._world.account
        if account is not None:
            if run.log is not None:
                await account.take_up(run.log)
            await account.look()
        run.start(run.books.now)
        try:
            async with nursery() as self._tasks:
                await self._flush()
            if account is not None:
                await account.close()
        except anyio.get_cancelled_exc_class():
            if run.outcome is None:
                run.stop("cancelled", self._now())
            due = run.take()
            if self._world.store is not None and due.rows:
                self._world.store.post(due.rows)
            if account is not None:
                account.settle(due.resolved)
            raise
        except BaseExceptionGroup as group_error:
            raise first_fault(group_error) from None

    def _now(self) -> float:
        return monotonic() - self._origin

    async def _flush(
        self, commit: Callable[[list[Row]], Awaitable[None]] | None = None, came: Sequence[Call] = ()
    ) -> None:
        """Puts on record what is due, then drops and sends. `came`: calls to tell of once what they brought is on
        record."""
        while await self._perform_due(self._run.take(), commit, came):
            commit, came = None, ()

    async def _perform_due(
        self, due: Due, commit: Callable[[list[Row]], Awaitable[None]] | None, came: Sequence[Call]
    ) -> bool:
        """True where the account refused a call: then more is due."""
        run, account = self._run, self._world.account
        leaves = {call: call.leaves for call in due.calls}
        for call in due.calls:  # whoever ends one from now on ends it before it was sent
            call.leaves = inf
        asked = account is not None and any(call.hold is not None for call in due.calls)
        intents: list[Row] = []
        if account is not None:
            account.settle(due.resolved)  # first: whatever becomes of this task, that is on its way
        if asked:  # what has come is on record while the ledger is asked; what is to be sent, only after it
            places = {(encode(call.path), call.attempt) for call in due.calls if call.hold is not None}
            intents = [row for row in due.rows if row.kind == "intent" and (row.path, row.attempt) in places]
        rows = [row for row in due.rows if row not in intents] if intents else due.rows
        await self._record(rows, commit, wait=bool(due.cancels or (due.calls and not asked)))
        if self._world.on_event is not None:
            self._received(came)
            self._tell(due)
        for call in due.cancels:
            flight: Flight | None = call.handle
            if flight is not None and flight.task is not None and all(c.state == "done" for c in flight.calls):
                flight.task.cancel()
        refused = await self._admit(due, account) if account is not None and asked else False
        calls = [call for call in due.calls if call.state != "done"]
        if intents:
            await self._record(held(intents, calls), None, wait=True)
        self._send([call for call in calls if call.state != "done"], leaves)
        if run.outcome is not None or run.waiting:
            self._end()
        elif due.calls or self._alarm == inf:
            self._arm()
        return refused

    async def _record(self, rows: list[Row], commit: Callable[[list[Row]], Awaitable[None]] | None, wait: bool) -> None:
        store = self._world.store
        if commit is not None:
            await commit(rows)
        elif store is not None and rows:
            if wait:
                await store.commit(rows)
            else:
                store.post(rows)  # nothing hangs on them yet; whatever is committed later comes after them

    async def _admit(self, due: Due, account: Account) -> bool:
        """Holds what is due on the account; a run that ends meanwhile does not wait for it."""
        run, refused = self._run, []
        with anyio.CancelScope() as scope:
            self._asking.add(scope)
            try:
                refused = await account.admit(run, due.calls)
            finally:
                self._asking.discard(scope)
        for each in refused:
            run.refuse(each.call, each.cap, each.text, each.error, self._now())
        return bool(refused)

    def _send(self, calls: list[Call], leaves: Mapping[Call, float]) -> None:
        for batch in self._batches(calls) if calls else ():
            flight = Flight(batch)
            for call in batch:
                call.handle, call.leaves = flight, leaves[call]
            if isinstance(sample := batch[0].effect, Sample):
                flight.expires = self._now() + batch[0].delay + self._world.tariff.rate(sample).timeout
            self._flights.add(flight)
            flight.task = self._tasks.start(self._perform(flight))

    def _end(self) -> None:
        """Drops whatever is still under way; tasks that are only writing their rows end by themselves."""
        if self._ringing is not None:
            self._ringing.cancel()
        for scope in self._asking:
            scope.cancel()
        for flight in self._flights:
            if flight.task is not None:
                flight.task.cancel()

    def _arm(self) -> None:
        """One alarm at a time, for the next deadline of a plan or timeout of a call."""
        times = [f.expires for f in self._flights]
        if (deadline := self._run.next_deadline) is not None:
            times.append(deadline)
        first = min(times, default=inf)
        if first < self._alarm:
            self._alarm = first
            if self._ringing is not None:
                self._ringing.cancel()
            self._ringing = self._tasks.alarm(max(0.0, first - self._now()), self._wake)

    def _batches(self, calls: list[Call]) -> list[list[Call]]:
        """Equal samples go out together where the provider bills the prompt once for n completions."""
        batches: list[list[Call]] = []
        for call in calls:
            if batches and self._joins(batches[-1], call):
                batches[-1].append(call)
            else:
                batches.append([call])
        return batches

    def _joins(self, batch: list[Call], call: Call) -> bool:
        sample, first = call.effect, batch[0]
        if not isinstance(sample, Sample) or call.delay or first.delay:
            return False
        if sample.params.cut is not None:  # together they would end only when the last of them does
            return False
        return len(batch) < self._world.tariff.rate(sample).batch and first.effect == sample

    async def _wake(self) -> None:
        now, lost = max(self._now(), self._alarm), []
        self._alarm, self._ringing = inf, None
        for flight in [f for f in self._flights if f.expires <= now]:
            self._flights.discard(flight)
            if flight.task is not None:
                flight.task.cancel()
            lost += flight.calls
            seconds = now - flight.since
            for call in flight.calls:
                self._run.fail(call, ModelTimeout(f"no reply within {seconds:.3g} s"), now)
        self._run.tick(now)
        await self._flush(came=lost)

    async def _perform(self, flight: Flight) -> None:
        calls = flight.calls
        call = calls[0]
        effect = call.effect
        if all(each.state == "done" for each in calls):
            self._flights.discard(flight)
            return
        if isinstance(effect, Remember):
            self._flights.discard(flight)
            await self._remember(call, effect)
            return
        if call.delay:
            await anyio.sleep(call.delay)
            if all(each.state == "done" for each in calls):  # given up while it backed off: it has not left
                self._flights.discard(flight)
                return
        self._enter(flight)
        try:
            if isinstance(effect, Sample):
                await self._sample(calls, effect, flight)
            else:
                await self._other(call, effect)
        finally:
            self._leave(flight)
        await self._flush(came=calls)

    def _enter(self, flight: Flight) -> None:
        flight.since = self._now()
        if self._active == 0:
            self._active_since = flight.since
        self._active += 1

    def _leave(self, flight: Flight) -> None:
        self._flights.discard(flight)
        for call in flight.calls:
            call.handle = None  # it leads back here
        self._active -= 1
        if self._active == 0:
            self.busy += self._now() - self._active_since

    # -- models ---------------------------------------------------------------------------------------------------

    async def _sample(self, calls: list[Call], sample: Sample, flight: Flight) -> None:
        run, tariff = self._run, self._world.tariff
        rate, name = tariff.rate(sample), tariff.name(sample)
        sent = datetime.now(UTC)
        try:
            limiter = self._world.limiter(name) if self._world.limiter else None
            if limiter is None:
                response = await self._world.model(name).complete(request_of(sample, calls, rate))
            else:
                flight.expires = inf  # a place in the queue is not a slow provider, and costs nothing
                for call in calls:
                    call.leaves = inf
                async with limiter:
                    calls = [call for call in calls if call.state != "done"]  # given up while they waited
                    if not calls:
                        return
                    for call in calls:
                        call.leaves = 0.0
                    flight.since = self._now()
                    flight.expires = flight.since + rate.timeout
                    self._arm()
                    sent = datetime.now(UTC)
                    response = await self._world.model(name).complete(request_of(sample, calls, rate))
        except SatisficeError as error:
            failure: Exception = error
        except Exception as error:  # a user's model may raise anything
            failure = ModelError(f"{type(error).__name__}: {error}")
        else:
            now = self._now()
            price = rate.price.during(sent, datetime.now(UTC))  # hours and days at which it is cheaper
            for call, reply in zip(calls, shared(response, len(calls), now - flight.since, price), strict=True):
                if isinstance(reply, Reply):
                    run.reply(call, reply, now)
                else:
                    run.fail(call, reply, now)
            return
        for call in calls:
            run.fail(call, failure, self._now())

    # -- everything else ------------------------------------------------------------------------------------------

    async def _other(self, call: Call, effect: Any) -> None:
        run = self._run
        try:
            if isinstance(effect, Score):
                value: Any = await self._judge(effect)
            elif isinstance(effect, CallTool):
                value = await call_tool(effect, self._world.tools, call.nth)
            elif isinstance(effect, Recall):
                value = tuple(json.loads(v) for v in await self._recall(effect))
            else:
                value = await self._ask(call, effect)
        except SatisficeError as error:
            run.fail(call, error, self._now())
            return
        except Exception as error:  # a person's callback, a scope that is none
            run.fail(call, ToolError(f"{call.kind}: {type(error).__name__}: {error}"), self._now())
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
            await self._flush(came=[call])
            return
        self._run.deliver(call, None, self._now())
        if store is None:
            self._world.memory.setdefault((scope, effect.topic), []).append(value)
            await self._flush(came=[call])
        else:
            await self._flush(lambda rows: store.remember(scope, effect.topic, value, rows), [call])

    # -- events ---------------------------------------------------------------------------------------------------

    def _tell(self, due: Due) -> None:
        run = self._run
        for decision in run.decisions[self._decided :]:
            self._emit(Decided(run.id, decision))
        self._decided = len(run.decisions)
        for call in due.calls:
            model = self._world.tariff.name(call.effect) if isinstance(call.effect, Sample) else None
            self._emit(Sent(run.id, encode(call.path), call.kind, model, call.attempt))

    def _received(self, calls: Sequence[Call]) -> None:
        run, posted = self._run, self._run.root.purse.posted
        for call in (c for c in calls if c.state != "parked"):
            answer, error = call.came if call.came else (None, None)
            self._emit(Received(run.id, encode(call.path), call.kind, answer, error, posted[0] / 1e9, posted[1]))

    def _emit(self, event: Event) -> None:
        assert self._world.on_event is not None
        emit(self._world.on_event, event)
