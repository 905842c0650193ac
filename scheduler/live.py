"""The live driver: performs a run's calls as anyio tasks, on asyncio or trio.

Rows are committed before the calls that they announce are sent. Losers of a race and calls past their timeout are
cancelled one by one, a run past its deadline as a whole. Nothing outlives `drive`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from math import inf
from time import monotonic
from typing import Any

import anyio
import anyio.to_thread

from ..core.effects import Ask, CallTool, Recall, Remember, Sample, Score
from ..core.errors import ModelError, ModelTimeout, ModelUnavailable, SatisficeError, ToolError
from ..core.verdict import Verdict
from ..models.cancelled import strayed
from .accounting import Account
from .dispatch.guard import Guard
from .dispatch.sending import Sender
from .events import Decided, Event, Received, Sent, Waiting
from .flights import Flight, first_fault, held
from .journal import Row
from .nodes import Call
from .nursery import Nursery, Task, nursery
from .offline import judge
from .paths import encode
from .run import Due, Run
from .tools import call_tool
from .verdicts import unknown
from .world import World, emit


class Live:
    """Drives one run."""

    tasks: Nursery  # while it drives

    def __init__(self, run: Run, world: World) -> None:
        self._run, self._world = run, world
        self._ringing: Task | None = None
        self._origin = 0.0
        self._alarm = inf
        self.flights: set[Flight] = set()
        self._decided = 0
        self._asking: set[anyio.CancelScope] = set()  # of the ledger
        self._active = 0
        self._active_since = 0.0
        self._sender = Sender(run, world, self)
        self._guard = Guard(run, world.tariff, world.desk, self) if world.desk is not None else None
        self.busy = 0.0  # seconds in which at least one call was with the world

    async def drive(self) -> None:
        """Until the run has an outcome, or waits for a person. A cancellation from outside stops the run with what
        is on offer (`run.outcome`), puts that on record, and goes on as a cancellation."""
        run = self._run
        self._origin = monotonic() - run.books.now
        account = self._world.account
        if self._world.desk is not None:
            self._world.desk.admit()
        if account is not None:
            if run.log is not None:
                await account.take_up(run.log)
            await account.look()
        run.start(run.books.now)
        try:
            async with nursery() as self.tasks:
                if self._guard is not None:
                    self._guard.begin()
                await self.flush()
            if account is not None:
                await account.close()
        except anyio.get_cancelled_exc_class():
            if run.outcome is None:
                run.stop("cancelled", self.now())
            due = run.take()
            if self._world.store is not None and due.rows:
                self._world.store.post(due.rows)
            if account is not None:
                account.settle(due.resolved)
            raise
        except BaseExceptionGroup as group_error:
            raise first_fault(group_error) from None
        finally:
            if self._guard is not None:
                self._guard.end()

    def now(self) -> float:
        """Seconds since the run began."""
        return monotonic() - self._origin

    async def flush(
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
        for call in due.calls:  # whoever ends one before its task runs ends it before it was sent
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
        for batch in self._batches([call for call in calls if call.state != "done"]):
            self.launch(batch)
        if run.outcome is not None or run.waiting:
            self._end()
        elif due.calls or self._alarm == inf:
            self.arm()
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
                # What has ended while its row was written is void already: held now, it would stay so.
                refused = await account.admit(run, [call for call in due.calls if call.state != "done"])
            finally:
                self._asking.discard(scope)
        for each in refused:
            run.refuse(each.call, each.cap, each.text, each.error, self.now())
        return bool(refused)

    def launch(self, calls: list[Call]) -> None:
        """Sends calls together."""
        flight = Flight(calls)
        for call in calls:
            call.handle = flight
        if isinstance(sample := calls[0].effect, Sample):
            flight.expires = self.now() + calls[0].delay + self._world.tariff.rate(sample).timeout
        self.flights.add(flight)
        flight.task = self.tasks.start(self._perform(flight))

    def _end(self) -> None:
        """Drops whatever is still under way; tasks that are only writing their rows end by themselves."""
        if self._guard is not None:
            self._guard.end()
        if self._ringing is not None:
            self._ringing.cancel()
        for scope in self._asking:
            scope.cancel()
        for flight in self.flights:
            if flight.task is not None:
                flight.task.cancel()

    def arm(self) -> None:
        """One alarm at a time, for the next deadline of a plan or timeout of a call."""
        times = [min(f.expires, f.hedges) for f in self.flights]
        if (deadline := self._run.next_deadline) is not None:
            times.append(deadline)
        first = min(times, default=inf)
        if first < self._alarm:
            self._alarm = first
            if self._ringing is not None:
                self._ringing.cancel()
            self._ringing = self.tasks.alarm(max(0.0, first - self.now()), self._wake)

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
        now, lost = max(self.now(), self._alarm), []
        self._alarm, self._ringing = inf, None
        for flight in [f for f in self.flights if f.expires <= now]:
            late = ModelTimeout(f"no reply within {now - flight.since:.3g} s")
            lost += self.lose(flight, late, now)
        for flight in [f for f in self.flights if f.hedges <= now]:
            self._sender.hedge(flight, now)
        self._run.tick(now)
        await self.flush(came=lost)

    def lose(self, flight: Flight, error: ModelError, now: float) -> list[Call]:
        """Calls that nobody waits for any longer. What was in a queue has not left."""
        self.flights.discard(flight)
        if flight.task is not None:
            flight.task.cancel()
        for call in flight.calls:
            error.sent = now >= call.leaves
            self._run.fail(call, error, now)
        return flight.calls

    async def _perform(self, flight: Flight) -> None:
        calls = flight.calls
        call = calls[0]
        effect = call.effect
        if all(each.state == "done" for each in calls):
            self.flights.discard(flight)
            return
        if isinstance(effect, Remember):
            self.flights.discard(flight)
            await self._remember(call, effect)
            return
        if call.delay:
            await anyio.sleep(call.delay)
            if all(each.state == "done" for each in calls):  # given up while it backed off: it has not left
                self.flights.discard(flight)
                return
        for each in calls:
            each.leaves = 0.0
        self._enter(flight)
        try:
            if isinstance(effect, Sample):
                await self._sender.sample(calls, effect, flight)
            else:
                await self._other(call, effect)
        except BaseException as error:
            if not strayed(error):
                raise
            self._broke_off(flight)
        finally:
            self._leave(flight)
        await self.flush(came=flight.calls)  # some may have gone on by themselves

    def _broke_off(self, flight: Flight) -> None:
        """What was called ended in a cancellation of its own: a fault, billed at its hold, since nobody here gave it
        up."""
        for call in flight.calls:
            error: SatisficeError = ToolError(f"{call.kind}: cancelled from within")
            if isinstance(call.effect, Sample):
                error = ModelUnavailable(f"{self._world.tariff.name(call.effect)} was cancelled from within")
                error.sent = True
            self._run.fail(call, error, self.now())

    def _enter(self, flight: Flight) -> None:
        flight.since = self.now()
        if self._active == 0:
            self._active_since = flight.since
        self._active += 1

    def _leave(self, flight: Flight) -> None:
        self.flights.discard(flight)
        for call in flight.calls:
            call.handle = None  # it leads back here
        self._active -= 1
        if self._active == 0:
            self.busy += self.now() - self._active_since

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
            run.fail(call, error, self.now())
            return
        except Exception as error:  # a person's callback, a scope that is none
            run.fail(call, ToolError(f"{call.kind}: {type(error).__name__}: {error}"), self.now())
            return
        if call.state != "parked":
            run.deliver(call, value, self.now())

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
            self._run.fail(call, ToolError(f"Remember takes a JSON value: {error}"), self.now())
            await self.flush(came=[call])
            return
        self._run.deliver(call, None, self.now())
        if store is None:
            self._world.memory.setdefault((scope, effect.topic), []).append(value)
            await self.flush(came=[call])
        else:
            await self.flush(lambda rows: store.remember(scope, effect.topic, value, rows), [call])

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
            self._emit(
                Received(run.id, encode(call.path), call.kind, answer, error, posted[0] / 1e9, posted[1], call.cached)
            )

    def _emit(self, event: Event) -> None:
        assert self._world.on_event is not None
        emit(self._world.on_event, event)
