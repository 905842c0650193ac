"""The dispatcher of an engine: who may leave when, over all its requests; and one request's desk at it.

Lanes, breakers and the cache are shared by all requests of an engine, on its event loop. What is not limited costs a
call two dictionary look-ups.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from ...budgets.ledger.accounts import ROOT
from ...core.completions import Response, Usage
from ...core.errors import (
    BadCompletion,
    CircuitOpen,
    Killed,
    ModelBusy,
    ModelError,
    ModelKilled,
    ModelTimeout,
    ModelUnavailable,
    NoAnswer,
    StoreError,
)
from .breaker import Breaker
from .cache import Cache
from .desk import Desk
from .knowing import unknown_here
from .lanes import Lane, Slot
from .stale import Stale, aged
from .switches import Identity, Switch, Switches, killed, place_of
from .turns import Turns

if TYPE_CHECKING:
    from ...models.catalog import Catalog
    from ...models.limits import Limits
    from ...models.settings import Settings
    from ..solution import Solution, Spend
    from ..spec import Spec

logger = logging.getLogger("satisfice")

WATCH = 0.1  # seconds between looks at the switches while requests are under way
LONGEST_PAUSE = 60.0  # seconds that a provider may ask all callers to wait
KNOWN = 20  # replies after which a model's 95th percentile of seconds is used
SLOW_DOWN = (429, 503)  # HTTP: too many requests; overloaded


class Stoppable(Protocol):
    """A run under way, as the switches see it."""

    @property
    def identity(self) -> Identity: ...
    def watch(self, seconds: float) -> bool: ...
    def stop(self, switch: Switch) -> None: ...
    def stop_model(self, name: str, error: ModelKilled) -> None: ...
    def models(self) -> Iterable[str]: ...


class Gate:
    """One model: its lanes (its own first, then its provider's), its breaker, and how long its replies take."""

    __slots__ = ("breaker", "lanes", "limits", "name", "seconds")

    def __init__(self, name: str, limits: Limits, lanes: tuple[Lane, ...], breaker: Breaker) -> None:
        self.name, self.limits, self.lanes, self.breaker = name, limits, lanes, breaker
        self.seconds: deque[float] = deque(maxlen=200)

    def hedge_after(self) -> float:
        """Seconds after which a second equal call is sent; inf for never, or not yet."""
        after = self.limits.hedge_after
        if after is None or self.breaker.opened_until is not None:
            return inf
        if not isinstance(after, str):
            return after
        if len(self.seconds) < KNOWN:
            return inf
        ordered = sorted(self.seconds)
        return ordered[int(0.95 * len(ordered))]


class Turn:
    """One call's place among the others. `over` is called once, however it ends."""

    __slots__ = ("_began", "_gate", "_open", "_owner", "_probe", "_slots")

    def __init__(self, owner: Dispatcher, gate: Gate, slots: tuple[Slot, ...], began: float, probe: bool) -> None:
        self._owner, self._gate, self._slots, self._began, self._open = owner, gate, slots, began, True
        self._probe = probe

    def over(self, response: Response | None = None, error: BaseException | None = None) -> None:
        """The call replied, failed, or (neither) was given up."""
        if not self._open:
            return
        self._open = False
        self._owner.hear(self._gate, self._began, response, error, self._probe)
        used = 0 if error is not None and not getattr(error, "sent", True) else None
        usage = getattr(response, "usage", None)
        if isinstance(usage, Usage):
            used = usage.prompt + usage.completion
        self._owner.turns.give(self._gate.lanes, self._slots, used)

    def unused(self) -> None:
        """Nothing was sent."""
        if self._open:
            self._open = False
            self._gate.breaker.gave_up(self._probe)
            self._owner.turns.give(self._gate.lanes, self._slots, 0)


class Dispatcher:
    """Of one engine. `clock`: seconds, the event loop's."""

    def __init__(self, settings: Settings, catalog: Catalog, clock: Callable[[], float] = monotonic) -> None:
        self.settings, self._catalog, self.clock = settings, catalog, clock
        self.turns = Turns(clock)
        options = settings.dispatch
        self.cache = Cache(options.cache_entries) if options.cache else None
        self.stale = Stale(options.cache_entries) if options.stale else None
        self.switches = Switches(place_of(settings))
        if settings.switches is not None and not self.switches.path.parent.exists():
            logger.warning("switches = %s: there is no such folder (yet), so nothing is stopped", settings.switches)
        self._gates: dict[str, Gate] = {}
        self._providers: dict[str, Lane] = {}
        self._runs: dict[Stoppable, None] = {}
        self._watchman: Stoppable | None = None
        self._applied = self.switches.changes

    def renew(self, name: str) -> None:
        """Another model goes by this name from now on: what the old one said is its own."""
        if self.cache is not None:
            self.cache.forget(name)

    # -- calls ----------------------------------------------------------------------------------------------------

    def gate(self, name: str) -> Gate:
        """The gate of a model, made at its first call."""
        gate = self._gates.get(name)
        if gate is None:
            entry, options = self._catalog.entry(name), self.settings.dispatch
            limits = entry.limits
            lanes = [Lane(name, limits.rpm, limits.tpm, entry.concurrency)]
            if (rates := self.settings.providers.get(limits.provider)) is not None:
                shared = Lane(f"{limits.provider}/", rates.rpm, rates.tpm, rates.concurrency)
                lanes.append(self._providers.setdefault(limits.provider, shared))
            breaker = Breaker(options.breaker_failures, options.breaker_seconds)
            gate = self._gates[name] = Gate(name, limits, tuple(lanes), breaker)
        return gate

    def check(self, name: str, others: Sequence[str] = ()) -> Gate:
        """Raises `ModelKilled` or `CircuitOpen` where a call to this model would not be sent. `others`: the models that
        the request could ask instead, to be named where none of them can be asked."""
        if self.switches.on:
            self._killed_model(name)
        gate = self.gate(name)
        until = gate.breaker.refuses(self.clock())
        if until is not None:
            raise self._open(name, until, others)
        return gate

    def _killed_model(self, name: str) -> None:
        switch = self.switches.model(name, self._catalog.entry(name).provider_model)
        if switch is not None:
            raise ModelKilled(f"{switch.said} (`{switch.undo}` lifts it)", model=name)

    def _open(self, name: str, until: float, others: Sequence[str]) -> CircuitOpen:
        now = self.clock()
        waits = {name: until - now}
        for other in others:
            again = self.gate(other).breaker.refuses(now)
            if again is None:
                waits = {name: until - now}
                break
            waits[other] = again - now
        which = ", ".join(f"{model} is tried again in {wait:.3g} s" for model, wait in waits.items())
        every = f"every model of this request ({len(waits)}) " if len(waits) > 1 else f"{name} "
        seconds = {model: round(wait, 3) for model, wait in waits.items()}
        return CircuitOpen(f"{every}failed too often just now, so nothing was sent: {which}", retry_after=seconds)

    def at_once(self, gate: Gate, tokens: int) -> Turn | None:
        """A turn, if nobody has to be waited for."""
        slots = self.turns.at_once(gate.lanes, tokens)
        return None if slots is None else self._turn(gate, slots)

    async def wait(self, gate: Gate, tokens: int, seconds: float) -> Turn:
        """A turn, in line. `seconds` are left to the caller. Raises `ModelBusy` at once where it would take longer than
        that, or than the model's `queue_seconds`; later, `ModelBusy`, `CircuitOpen` or `ModelKilled`."""
        now = self.clock()
        bound = min(seconds, gate.limits.queue_seconds)
        soonest = self.turns.sooner_than(gate.lanes)
        if soonest > now + bound:
            raise self._busy(gate, bound, soonest - now)
        slots = await self.turns.wait(gate.lanes, tokens, now + bound)
        if slots is None:
            raise self._busy(gate, bound, None)
        try:
            self.check(gate.name)  # much may have happened meanwhile
        except ModelError:
            self.turns.give(gate.lanes, slots, 0)
            raise
        return self._turn(gate, slots)

    def _turn(self, gate: Gate, slots: tuple[Slot, ...]) -> Turn:
        probe = gate.breaker.sent()
        return Turn(self, gate, slots, self.clock(), probe)

    def _busy(self, gate: Gate, bound: float, needs: float | None) -> ModelBusy:
        wait = f"at least {needs:.3g} s" if needs is not None else f"more than {bound:.3g} s"
        ahead = self.turns.waiting(gate.name)
        text = (
            f"{gate.name}: the wait for a turn is {wait}, {ahead} calls are waiting; at most {bound:.3g} s are allowed"
        )
        return ModelBusy(text, model=gate.name, waiting=ahead)

    def hear(
        self, gate: Gate, began: float, response: Response | None, error: BaseException | None, probe: bool = True
    ) -> None:
        """Takes in what a call says of its model's health and limits. `probe`: it was the breaker's."""
        now, pace = self.clock(), gate.lanes[0].pace
        if response is not None:
            gate.breaker.worked()
            pace.took(now)
            gate.seconds.append(now - began)
            if (pause := getattr(response, "pause", 0.0)) > 0:
                self._pause(gate, pause, now)
            return
        details = error.details if isinstance(error, ModelError) else {}
        status = details.get("status")
        if status in SLOW_DOWN:
            asked = details.get("retry_after")
            if isinstance(asked, int | float) and asked > 0:
                self._pause(gate, float(asked), now)
            else:  # it does not say what it takes, so that has to be found out
                pace.refused(began, now)
        if status != 429 and isinstance(error, ModelUnavailable | ModelTimeout | BadCompletion):
            gate.breaker.failed(began, now, probe)
        else:
            gate.breaker.gave_up(probe)

    def _pause(self, gate: Gate, seconds: float, now: float) -> None:
        gate.lanes[0].pause(min(seconds, LONGEST_PAUSE), now)

    # -- switches -------------------------------------------------------------------------------------------------

    def kill(self, level: str, name: str, reason: str, by: str) -> Switch:
        """Throws a switch, and says in its `warning` where nothing is known here by that name."""
        switch = self.switches.kill(level, name, reason=reason, by=by)
        strategies = (run.identity.strategy for run in self._runs)
        accounts = (run.identity.account for run in self._runs)
        more = {"model": self._gates, "strategy": strategies, "tenant": accounts, "key": accounts}.get(level, ())
        return replace(switch, warning=unknown_here(switch, self.settings, self._catalog, more))

    # -- requests -------------------------------------------------------------------------------------------------

    def identity(self, account: str, strategy: str, key: str = "") -> Identity:
        """Whose request it is, with the accounts above its own that the settings name."""
        above: list[str] = []
        at = account
        while (declared := self.settings.accounts.get(at)) is not None and declared.parent not in (None, at, *above):
            at = str(declared.parent)
            above.append(at)
        return Identity(account or ROOT, tuple(above), key, strategy)

    def desk(self, account: str, strategy: str, store: bool = True) -> Desk:
        """The desk of one request."""
        return Desk(self, self.identity(account or ROOT, strategy), store)

    def keep(self, spec: Spec, solution: Solution) -> None:
        """A solution, for the day when every model fails."""
        if self.stale is not None and spec.store:
            self.stale.keep(spec.account or ROOT, spec.task, solution)

    def degrade(self, spec: Spec, run_id: str, spent: Spend, error: NoAnswer) -> Solution:
        """What was last answered to the same question of this tenant. Raises `error` where there is nothing, or where
        it was not the models that failed."""
        cause = str((error.details.get("cause") or {}).get("code", ""))
        failed = cause.startswith("model") or cause == "bad_completion"
        known = self.stale.find(spec.account or ROOT, spec.task) if self.stale and failed and spec.store else None
        if known is None:
            raise error
        return aged(known, run_id, spent, error)

    def admit(self, identity: Identity, run: str = "") -> None:
        """Raises `Killed` for a request that a switch stops, before anything is spent; `StoreError` where the switches
        cannot be read."""
        self.switches.look()
        if self.switches.broken is not None:
            raise StoreError(str(self.switches.broken))  # the same one again would keep every caller's frames
        switch = identity.stopped_by(self.switches.on)
        if switch is not None:
            raise killed(switch, run)

    def part_stopped(self, strategy: str) -> Killed | None:
        """The error of a strategy that may not start as a part of another one, as the switches were last seen."""
        switch = Identity("", strategy=strategy).stopped_by(s for s in self.switches.on if s.level == "strategy")
        return None if switch is None else killed(switch)

    def enter(self, run: Stoppable) -> None:
        """A run goes on its way; one of those under way looks at the switches for all."""
        self._runs[run] = None
        if self._watchman is None:
            self._watchman = run if run.watch(WATCH) else None

    def leave(self, run: Stoppable) -> None:
        """A run is over."""
        self._runs.pop(run, None)
        if self._watchman is run:  # one that is ending itself cannot take over
            self._watchman = next((each for each in self._runs if each.watch(WATCH)), None)

    def patrol(self, run: Stoppable) -> None:
        """The watchman looks, stops what has to be, and looks again later."""
        if self._watchman is not run:
            return
        self.switches.look()
        if self.switches.changes != self._applied:  # whoever was the first to see it
            self._applied = self.switches.changes
            for each in list(self._runs):
                self._apply(each)
        if self._watchman is run and not run.watch(WATCH):
            self._watchman = next((each for each in self._runs if each is not run and each.watch(WATCH)), None)

    def _apply(self, run: Stoppable) -> None:
        switch = run.identity.stopped_by(self.switches.on)
        if switch is not None:
            run.stop(switch)
            return
        for name in run.models():
            try:
                self._killed_model(name)
            except ModelKilled as error:
                run.stop_model(name, error)
