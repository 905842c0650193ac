"""Sending a run's samples: known replies first, then a turn, then the model; and second calls for slow ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

from ...core.completions import Completion, Response
from ...core.effects import Sample
from ...core.errors import ModelError, SatisficeError
from ..flights import Flight, request_of
from ..nodes import HEDGE, Call, Reply
from .cache import Cache, Key, Lead, key_of
from .desk import Desk, Host, seconds_left, tokens_bound

if TYPE_CHECKING:
    from ..run import Run
    from ..tariff import Rate
    from ..world import World
    from .dispatcher import Gate, Turn


class Sender:
    """Of one run."""

    def __init__(self, run: Run, world: World, host: Host) -> None:
        self._run, self._world, self._host = run, world, host
        self._desk: Desk | None = world.desk
        run.caching = self._desk is not None and self._desk.cache is not None
        if self._desk is not None:
            run.part_stopped = self._desk.part_stopped

    async def sample(self, calls: list[Call], sample: Sample, flight: Flight) -> None:
        """Brings back a reply or an error for each of these equal calls."""
        cache = self._desk.cache if self._desk is not None else None
        leads: list[tuple[Call, Lead]] = []
        try:
            if cache is not None and calls[0].attempt < HEDGE:
                leads = await self._known(cache, calls, sample, flight)
                calls = [call for call, _ in leads]
            if calls:
                await self._ask(calls, sample, flight, cache)
        finally:
            for _, lead in leads:
                if cache is not None:
                    cache.land(lead)  # without a reply, unless there was one

    # -- replies that are known -----------------------------------------------------------------------------------

    async def _known(self, cache: Cache, calls: list[Call], sample: Sample, flight: Flight) -> list[tuple[Call, Lead]]:
        """Replies to what is known. Returns the calls that are to be made; those that others are making wait."""
        leads: list[tuple[Call, Lead]] = []
        try:
            for call in list(calls):
                found = cache.ask(self._key(sample, call))
                while not isinstance(found, Completion | Lead):
                    if len(calls) > 1:  # it waits by itself
                        flight.calls = [each for each in flight.calls if each is not call]
                        self._host.launch([call])
                        break
                    flight.expires = call.leaves = inf
                    await found.wait()
                    if call.state == "done":
                        return leads
                    call.leaves = 0.0
                    flight.since = self._host.now()
                    found = cache.ask(self._key(sample, call))
                if isinstance(found, Completion):
                    self._run.reply(call, Reply(found, None, nanos=0, cached=True), self._host.now())
                elif isinstance(found, Lead):
                    leads.append((call, found))
        except BaseException:
            for _, lead in leads:
                cache.land(lead)
            raise
        return leads

    def _key(self, sample: Sample, call: Call) -> Key:
        assert self._desk is not None
        tariff = self._world.tariff
        return key_of(
            self._desk.identity.account, tariff.name(sample), sample, tariff.rate(sample).params(sample), call.draw
        )

    # -- the model ------------------------------------------------------------------------------------------------

    async def _ask(self, calls: list[Call], sample: Sample, flight: Flight, cache: Cache | None) -> None:
        tariff = self._world.tariff
        rate, name = tariff.rate(sample), tariff.name(sample)
        turn: Turn | None = None
        response: Response | None = None
        failure: Exception | None = None
        try:
            if self._desk is not None:
                gate = self._desk.gate(name, [other for other in tariff.rates if other != name])
                turn = await self._turn(self._desk, gate, calls, flight, rate)
                calls = [call for call in calls if call.state != "done"]  # given up while they waited
                if not calls:
                    turn.unused()
                    return
                if calls[0].attempt < HEDGE and (after := gate.hedge_after()) < inf:
                    flight.hedges = self._host.now() + after
                    self._host.arm()
            sent = datetime.now(UTC)
            response = await self._world.model(name).complete(request_of(sample, calls, rate))
        except SatisficeError as error:
            failure = error
        except Exception as error:  # a user's model may raise anything
            failure = ModelError(f"{type(error).__name__}: {error}")
        finally:
            if turn is not None:
                turn.over(response, failure)
        if failure is None:
            self._take(calls, sample, flight, cache, response, rate, sent)
            return
        for call in calls:
            self._run.fail(call, failure, self._host.now())

    async def _turn(self, desk: Desk, gate: Gate, calls: Sequence[Call], flight: Flight, rate: Rate) -> Turn:
        """Waits for a turn; a place in the queue is not a slow provider, and costs nothing."""
        sample = calls[0].effect
        assert isinstance(sample, Sample)
        tokens = tokens_bound(calls, rate.params(sample).max_tokens)
        turn = desk.at_once(gate, tokens)
        if turn is not None:
            return turn
        flight.expires = inf
        for call in calls:
            call.leaves = inf
        turn = await desk.wait(gate, tokens, seconds_left(calls[0], self._host.now()))
        for call in calls:
            call.leaves = 0.0
        flight.since = self._host.now()
        flight.expires = flight.since + rate.timeout
        self._host.arm()
        return turn

    def _take(
        self,
        calls: list[Call],
        sample: Sample,
        flight: Flight,
        cache: Cache | None,
        response: Response | None,
        rate: Rate,
        sent: datetime,
    ) -> None:
        from ..world import shared

        now = self._host.now()
        price = rate.price.during(sent, datetime.now(UTC))  # hours and days at which it is cheaper
        for call, reply in zip(calls, shared(response, len(calls), now - flight.since, price), strict=True):
            if not isinstance(reply, Reply):
                self._run.fail(call, reply, now)
                continue
            if cache is not None and call.state != "done":
                cache.keep(self._key(sample, call), reply.completion)
            self._run.reply(call, reply, now)

    # -- hedges ---------------------------------------------------------------------------------------------------

    def hedge(self, flight: Flight, now: float) -> None:
        """Second calls for those that are slow, where one could leave at once and the purse can pay it."""
        flight.hedges = inf
        sample = flight.calls[0].effect
        if self._desk is None or not isinstance(sample, Sample) or not self._desk.calm(self._world.tariff.name(sample)):
            return
        for call in flight.calls:
            self._run.hedge(call, now)
