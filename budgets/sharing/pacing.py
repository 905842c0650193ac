"""Pacing: the price that brings a stream to its dollars per window, found while it runs.

Dual descent by multiplicative steps (online mirror descent with entropy, Balseiro, Lu & Mirrokni 2020, 2011.10124): the
price goes up while more is spent than planned, and down while less is. What is planned is what is left of the window's
money, spread over what is left of its time, so that an error is paid back within the window (a re-solved plan, as in
budget pacing for ads, Agarwal et al. 2014). The price is only an invitation: the window's purse is what may not be
passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isfinite

from ...core.errors import CallerError

STEPS = 50  # price steps in a window, at even times
RATE = 0.25  # how far one step goes: log of the price for an error of one whole plan
MOST = 2.0  # the largest error that one step believes
LATE = 0.02  # share of the window before whose end the plan is kept steady: the last dollars are not to be hunted
BURST = 0.02  # share of the window's money that may be spent ahead of its time
QUEUE = 0.02  # share of the window's money that is kept waiting: a short queue, so that no money is left lying


@dataclass(slots=True)
class Pacer:
    """The price of one stream. `usd`: dollars for each window of `seconds`. `price` is 0 until something was spent:
    what a price is depends on what requests cost. Times are seconds of one clock, and never go back.

    Raises `CallerError` for a target or a window that is no number above 0.
    """

    usd: float
    seconds: float
    start: float = 0.0
    price: float = 0.0
    spent: float = 0.0  # dollars committed in this window: posted, and of what is under way what it is expected to take
    requests: int = 0
    scale: float = 0.0  # dollars of a request, a running mean
    _window: int = 0
    _tick: int = 0
    _mark: float = 0.0  # spent at the last price step
    _plan: float = 0.0  # what was planned for one step since

    def __post_init__(self) -> None:
        for name in ("usd", "seconds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
                raise CallerError(f"{name}={value!r}: expected a finite number above 0")
        self._plan = self.usd / STEPS

    def window(self, now: float) -> int:
        """The number of the window that `now` is in."""
        return max(0, int((now - self.start) // self.seconds))

    def next_step(self, now: float) -> float:
        """When the next price step is due."""
        each = self.seconds / STEPS
        return self.start + (int((now - self.start) / each + 1e-9) + 1) * each

    def allowed(self, now: float) -> float:
        """Dollars that may be committed in this window by `now`: its part by time, and a little more for bursts."""
        passed = (now - self.start) / self.seconds - self.window(now)
        return self.usd * min(1.0, passed + BURST)

    def opens(self, now: float, room: bool = True) -> float:
        """When one more request may be committed: `now`, or the time at which there is money for it. `room`: whether
        this window has any left."""
        window, need = self.window(now), (self.spent + self.scale) / self.usd
        if room and need <= 1.0:
            return max(now, self.start + (window + need - BURST) * self.seconds)
        return self.start + (window + 1 + max(0.0, self.scale / self.usd - BURST)) * self.seconds

    def commit(self) -> float:
        """A request begins. Returns what it is taken for, in dollars."""
        self.spent += self.scale
        return self.scale

    def done(self, usd: float, taken: float, window: int, now: float) -> None:
        """A request that began in `window`, taken for `taken`, is over and came to `usd`."""
        if window == self.window(now):
            self.spent += usd - taken
        self.requests += 1
        self.scale += (usd - self.scale) / min(self.requests, 100)

    def advance(self, now: float, waiting: int = 0) -> float:
        """The price at `now`, after the steps that are due. `waiting`: requests that wait for money."""
        window = self.window(now)
        tick = int(((now - self.start) / self.seconds - window) * STEPS + 1e-9)
        if (window, tick) <= (self._window, self._tick):
            return self.price
        passed = (window - self._window) * STEPS + tick - self._tick
        self._step(passed, waiting * self.scale)
        if window > self._window:
            self.spent = 0.0
        self._window, self._tick, self._mark = window, tick, self.spent
        left = max(1.0 - tick / STEPS, LATE)
        self._plan = max(0.0, self.usd - self.spent) / left / STEPS
        return self.price

    def _step(self, passed: int, backlog: float) -> None:
        """One step for the time since the last one. What is asked for is what was spent, and what waits beyond the
        short queue that is kept."""
        plan = max(self._plan, 0.01 * self.usd / STEPS) * passed
        wanted = self.spent - self._mark + backlog - QUEUE * self.usd
        error = max(-MOST, min(MOST, (wanted - plan) / plan))
        if self.scale <= 0:
            return
        low, high = 1e-4 / self.scale, 1e2 / self.scale
        if self.price <= 0:
            self.price = 100 * low if error > 0 else 0.0
            return
        self.price = min(high, self.price * exp(RATE * error * min(passed, 3)))
        if self.price < low:
            self.price = 0.0
