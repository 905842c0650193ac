"""Meters: one account's counters over one window, and its limit there."""

from __future__ import annotations

from typing import Literal

from .accounts import Limit
from .operations import Alert, Hold, Refusal
from .windows import PARTS, Window

UNLIMITED = 1 << 62


class Counter:
    """Used (u: posted and pending) and pending (h) nano-dollars, tokens and calls of one slot. `low_*`: above it the
    limit is passed, or a share of it that somebody wants to hear of. `told`: the highest percentage that they heard of.
    """

    __slots__ = (
        "account",
        "end",
        "hk",
        "hn",
        "ht",
        "low_k",
        "low_n",
        "low_t",
        "slot",
        "start",
        "told",
        "uk",
        "un",
        "ut",
        "window",
    )  # fmt: skip

    def __init__(self, account: str, window: Window, slot: int) -> None:
        self.account, self.window, self.slot = account, window, slot
        self.start, self.end = window.bounds(slot)
        self.un = self.ut = self.uk = self.hn = self.ht = self.hk = self.told = 0
        self.low_n = self.low_t = self.low_k = UNLIMITED

    @property
    def values(self) -> tuple[int, int, int, int, int, int, int]:
        """As stores keep it: posted nanos, tokens, calls, pending nanos, tokens, calls, told."""
        return self.un - self.hn, self.ut - self.ht, self.uk - self.hk, self.hn, self.ht, self.hk, self.told

    def put(self, values: tuple[int, ...]) -> None:
        pn, pt, pk, self.hn, self.ht, self.hk, self.told = values
        self.un, self.ut, self.uk = pn + self.hn, pt + self.ht, pk + self.hk


class Meter:
    """The counters of `account` over `window`, by slot, and its caps (`UNLIMITED` for none)."""

    __slots__ = ("account", "alerts", "back", "caps", "now", "slots", "window")

    def __init__(self, account: str, window: Window, limit: Limit | None) -> None:
        self.account, self.window, self.back = account, window, window.back
        self.slots: dict[int, Counter] = {}
        self.set(limit)
        self.now = self.at(0)

    def set(self, limit: Limit | None) -> None:
        """Another limit over the same window, or none."""
        self.alerts = limit.alerts if limit else ()
        caps = (limit.nanos, limit.tokens, limit.calls) if limit else (None, None, None)
        self.caps = tuple(UNLIMITED if cap is None else cap for cap in caps)
        for counter in self.slots.values():
            self._lower(counter)

    def _lower(self, c: Counter) -> None:
        """Where the next reservation has to look more closely: at once in a rolling window, whose slots add up."""
        if self.back:
            c.low_n = c.low_t = c.low_k = -1
            return
        percent = next((a for a in self.alerts if a > c.told), 100)
        # The last amount below the share; a share of 100 is told when it is reached, so just below it as well.
        c.low_n, c.low_t, c.low_k = (
            cap if cap == UNLIMITED else min(cap, -(-cap * percent // 100) - 1) for cap in self.caps
        )

    def load(self, slot: int, values: tuple[int, ...]) -> None:
        """Puts in what a store has kept."""
        c = self._of(slot)
        c.put(values)
        self._lower(c)

    def at(self, at: int) -> Counter:
        """The counter of the slot that `at` is in."""
        return self._of(self.window.slot(at))

    def _of(self, slot: int) -> Counter:
        found = self.slots.get(slot)
        if found is None:
            found = self.slots[slot] = Counter(self.account, self.window, slot)
            self._lower(found)
        return found

    def merge(self, at: int) -> None:
        """Puts the resolved slots of a rolling window that are long past into the last one of them, as if all had been
        spent there. So a clock that ran ahead and returns finds too much spent rather than too little."""
        if not self.back or len(self.slots) <= 4 * PARTS:
            return
        before = self.window.slot(at) - 2 * self.back
        past = sorted(s for s, c in self.slots.items() if s < before and not (c.hn or c.ht or c.hk))
        for slot in past[:-1]:
            c, last = self.slots.pop(slot), self.slots[past[-1]]
            last.un, last.ut, last.uk = last.un + c.un, last.ut + c.ut, last.uk + c.uk
        self.turn(at)

    def turn(self, at: int) -> Counter:
        """As `at`, and that slot is the present one from now on: the next call finds it at once."""
        self.now = self.at(at)
        return self.now

    def counted(self, at: int) -> list[Counter]:
        """What counts at `at`: the slot that it is in; in a rolling window also those before it, and later ones that a
        clock that went back has left behind."""
        c = self.at(at)
        return [other for slot, other in self.slots.items() if slot >= c.slot - self.back] if self.back else [c]

    def used(self, at: int) -> tuple[int, int, int]:
        """Posted and pending in the window that ends at `at`."""
        counted = self.counted(at)
        return sum(c.un for c in counted), sum(c.ut for c in counted), sum(c.uk for c in counted)

    def pending(self, at: int) -> tuple[int, int, int]:
        """Pending alone."""
        counted = self.counted(at)
        return sum(c.hn for c in counted), sum(c.ht for c in counted), sum(c.hk for c in counted)

    def room(self, at: int) -> tuple[int, int, int]:
        """What is left of the caps; below nothing where a provider has billed above what was held."""
        n, t, k = self.used(at)
        return self.caps[0] - n, self.caps[1] - t, self.caps[2] - k

    def refusal(self, needed: tuple[int, int, int], left: tuple[int, int, int], at: int) -> Refusal:
        """What was needed here and what is left."""
        i = next(i for i in range(3) if needed[i] > left[i])
        cap: Literal["usd", "tokens", "calls"] = ("usd", "tokens", "calls")[i]
        resets = self.window.resets(at)
        return Refusal(self.account, str(self.window), cap, needed[i], max(0, left[i]), self.caps[i], resets)

    def count(self, hold: Hold) -> None:
        """Adds a hold that was made before this meter was."""
        if hold.state != "pending":
            self.add(hold.at, hold.spent)
            return
        self.add(hold.at, hold.held)
        c, (n, t, k) = self.at(hold.at), hold.held
        c.hn, c.ht, c.hk = c.hn + n, c.ht + t, c.hk + k

    def add(self, at: int, used: tuple[int, int, int]) -> None:
        """Counts what was used at a time."""
        c = self.at(at)
        c.un, c.ut, c.uk = c.un + used[0], c.ut + used[1], c.uk + used[2]

    def retell(self, at: int) -> None:
        """After a grant: what is no longer reached may be told again."""
        reached = self._reached(at)[0]
        for c in self.counted(at):
            c.told = min(c.told, reached)
            self._lower(c)

    def _reached(self, at: int) -> tuple[int, int]:
        """The highest percentage of those to be told that is reached, and the share that is used."""
        shares = [
            used * 100 // cap if cap else 100
            for used, cap in zip(self.used(at), self.caps, strict=True)
            if cap < UNLIMITED
        ]
        share = max(shares, default=0)
        return max((a for a in self.alerts if shares and a <= share), default=0), share

    def alert(self, at: int) -> Alert | None:
        """The highest percentage that is reached and that nobody was told of; they are told once in each window."""
        c = self.at(at)
        reached, share = self._reached(at)
        told = max(other.told for other in self.counted(at))
        if reached <= told:
            return None
        c.told = reached
        self._lower(c)
        text = f"account {self.account} has used or holds {share}% of its limit {self.window.per}"
        return Alert("share", self.account, text, at, str(self.window), reached)
