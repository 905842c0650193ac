"""The ledger's tables as the stores see them: their columns, and how rows become objects and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .accounts import Account, Limit
from .operations import Hold
from .windows import Window

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """What is written of a table: its columns (those in `whole` are integers, the others text), the key by which a row
    is known, and what is set anew in one that is there."""

    name: str
    columns: tuple[str, ...]
    whole: frozenset[str]
    key: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()

    @property
    def conflict(self) -> str:
        """The end of its insert statement."""
        if not self.key:
            return ""
        sets = ", ".join(f"{c} = excluded.{c}" for c in self.anew)
        return f" ON CONFLICT ({', '.join(self.key)}) DO " + (f"UPDATE SET {sets}" if sets else "NOTHING")


def _table(name: str, text: str, whole: str, key: str = "", anew: str = "", order: str = "") -> Table:
    columns = tuple((order or f"{text} {whole}").split())
    return Table(f"ledger_{name}", columns, frozenset(whole.split()), tuple(key.split()), tuple(anew.split()))


_COUNTED = "posted_nanos posted_tokens posted_calls pending_nanos pending_tokens pending_calls told"
_SPENT = "resolved_ms spent_nanos spent_tokens spent_calls over_nanos over_tokens over_calls"
_USAGE = "usage_prompt usage_completion usage_cached usage_reasoning"
_HELD = "at_ms expires_ms held_nanos held_tokens held_calls"

ACCOUNTS = _table("accounts", "name parent", "frozen", "name", "frozen")
LIMITS = _table(
    "limits", "account time_window alerts", "place nanos tokens calls", "account time_window",
    "alerts place nanos tokens calls",
)  # fmt: skip
COUNTERS = _table("counters", "account time_window", f"slot {_COUNTED}", "account time_window slot", _COUNTED)
HOLDS = _table(
    "holds",
    "id account state run model price said_by",
    f"{_HELD} {_SPENT} {_USAGE} late",
    "id",
    f"account {_HELD} state run model price {_SPENT} {_USAGE} late said_by",
    order=f"id account {_HELD} state run model price {_SPENT} {_USAGE} late said_by",
)
NOTES = _table("notes", "kind account said said_by", "at_ms", order="at_ms kind account said said_by")
PRICES = _table("prices", "model version", "", "model version")


def hold_row(h: Hold) -> Row:
    """In the order of `HOLDS.columns`."""
    usage = h.usage or (None, None, None, None)
    held = (h.id, h.account, h.at, h.expires, *h.held, h.state, h.run, h.model, h.price)
    return (*held, h.resolved, *h.spent, *h.over, *usage, int(h.late), h.by)


def hold_of(r: Sequence[Any]) -> Hold:
    """From a row in the order of `HOLDS.columns`."""
    usage = None if r[18] is None else (r[18], r[19], r[20], r[21])
    held, spent, over = (r[4], r[5], r[6]), (r[12], r[13], r[14]), (r[15], r[16], r[17])
    return Hold(r[0], r[1], r[2], r[3], held, r[7], r[8], r[9], r[10], r[11], spent, over, usage, bool(r[22]), r[23])


def window_text(window: Window) -> str:
    """To the millisecond, unlike its name for people."""
    return f"{window.length}ms" if window.kind == "rolling" else window.kind


def window_of(text: str) -> Window:
    """From `window_text`."""
    return Window("rolling", int(text[:-2])) if text.endswith("ms") else Window.parse(text)


def limit_row(account: str, place: int, limit: Limit) -> Row:
    """In the order of `LIMITS.columns`."""
    alerts = ",".join(map(str, limit.alerts))
    return account, window_text(limit.window), alerts, place, limit.nanos, limit.tokens, limit.calls


def accounts_of(rows: Iterable[Sequence[Any]]) -> list[Account]:
    """From rows (name, parent, frozen, then those of a limit or nulls), all of an account together."""
    found: dict[str, tuple[Any, Any, list[Limit]]] = {}
    for name, parent, frozen, window, nanos, tokens, calls, alerts in rows:
        limits = found.setdefault(name, (parent, frozen, []))[2]
        if window is not None:
            limits.append(_limit(window, nanos, tokens, calls, alerts))
    return [Account(name, parent, tuple(limits), bool(frozen)) for name, (parent, frozen, limits) in found.items()]


@lru_cache(maxsize=4096)  # each batch reads the same few
def _limit(window: str, nanos: int | None, tokens: int | None, calls: int | None, alerts: str) -> Limit:
    return Limit(window_of(window), nanos, tokens, calls, tuple(int(x) for x in alerts.split(",") if x))
