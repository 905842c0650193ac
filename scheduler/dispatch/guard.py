"""What a run does when a kill switch is thrown, and its turn at watching them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from ...core.effects import Sample
from ...core.errors import ModelError, ModelKilled
from ..flights import Flight
from ..nodes import Call
from ..nursery import Nursery, Task
from .desk import Desk
from .switches import Identity, Switch, killed

if TYPE_CHECKING:
    from ..run import Run
    from ..tariff import PriceList


class Driver(Protocol):
    """The driver of the run."""

    tasks: Nursery

    @property
    def flights(self) -> Iterable[Flight]: ...
    def now(self) -> float: ...
    def lose(self, flight: Flight, error: ModelError, now: float) -> list[Call]: ...
    async def flush(self, *, came: list[Call]) -> None: ...


class Guard:
    """Of one run; a `Stoppable`."""

    def __init__(self, run: Run, tariff: PriceList, desk: Desk, driver: Driver) -> None:
        self._run, self._tariff, self._desk, self._driver = run, tariff, desk, driver
        self._watching: Task | None = None  # the alarm of whoever looks at the switches
        self.identity: Identity = desk.identity

    def begin(self) -> None:
        """The run is under way."""
        self._desk.enter(self)

    def end(self) -> None:
        """It is over; another one watches, if this one did."""
        self._desk.leave(self)
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def models(self) -> set[str]:
        """The models whose calls are under way."""
        samples = [f.calls[0].effect for f in self._driver.flights if f.calls]
        return {self._tariff.name(sample) for sample in samples if isinstance(sample, Sample)}

    def watch(self, seconds: float) -> bool:
        """Looks at the switches, for all runs, so many seconds from now. False where the run is ending, and cannot."""
        self._watching = self._driver.tasks.alarm(seconds, self._patrol)
        return self._watching is not None

    async def _patrol(self) -> None:
        self._watching = None
        self._desk.patrol(self)

    def stop(self, switch: Switch) -> None:
        """A person has stopped it: what is under way is cancelled and billed."""
        self._driver.tasks.start(self._stop(switch))

    async def _stop(self, switch: Switch) -> None:
        self._run.stop("killed", self._driver.now(), killed(switch, self._run.id))
        await self._driver.flush(came=[])

    def stop_model(self, name: str, error: ModelKilled) -> None:
        """A person has stopped a model: its calls fail."""
        self._driver.tasks.start(self._stop_model(name, error))

    async def _stop_model(self, name: str, error: ModelKilled) -> None:
        now = self._driver.now()
        lost: list[Call] = []
        for flight in list(self._driver.flights):
            sample = flight.calls[0].effect if flight.calls else None
            if isinstance(sample, Sample) and self._tariff.name(sample) == name:
                lost += self._driver.lose(flight, ModelKilled(str(error), **error.details), now)
        await self._driver.flush(came=lost)
