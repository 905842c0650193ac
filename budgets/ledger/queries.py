"""What is asked of the ledger's tables, in words that SQLite and PostgreSQL share but for a `Dialect`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from .accounts import ROOT
from .meters import Meter
from .migrations import AMOUNTS
from .rows import COUNTERS, HOLDS
from .stores import Query
from .windows import DAY, PARTS

Asked = tuple[str, Sequence[object]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What SQLite and PostgreSQL say differently: `among` a JSON list of texts, the rows of a JSON list of `keys`
    (account, time_window, low, high), and the `lock`."""

    among: str
    keys: str
    lock: str


LINES = """WITH RECURSIVE line (name, parent, frozen, seq) AS (
    SELECT name, parent, frozen, seq FROM ledger_accounts WHERE name {among}
    UNION SELECT a.name, a.parent, a.frozen, a.seq FROM ledger_holds h JOIN ledger_accounts a ON a.name = h.account
        WHERE h.id {among}
    UNION SELECT a.name, a.parent, a.frozen, a.seq FROM line JOIN ledger_accounts a ON a.name = line.parent)
    SELECT line.name, parent, frozen, time_window, nanos, tokens, calls, alerts
    FROM line LEFT JOIN ledger_limits ON account = line.name ORDER BY line.seq, place"""
TREE = """SELECT name, parent, frozen, time_window, nanos, tokens, calls, alerts
    FROM ledger_accounts LEFT JOIN ledger_limits ON account = name ORDER BY seq, place"""
NAMED = TREE.replace(" ORDER BY", " WHERE name {among} ORDER BY")
# CROSS JOIN: SQLite then looks up each key in the index, as it should.
SLOTS = f"""SELECT c.{", c.".join(COUNTERS.columns)} FROM {{keys}} k CROSS JOIN ledger_counters c
    WHERE c.account = k.account AND c.time_window = k.time_window AND c.slot BETWEEN k.low AND k.high"""
BELOW = """WITH RECURSIVE below (name) AS (SELECT CAST(? AS TEXT)
    UNION SELECT a.name FROM below JOIN ledger_accounts a ON a.parent = below.name)"""
# By parts of a length, rounded down for times before 1970 too. What was resolved before a time counts as spent then: a
# clock that ran ahead and returns finds too much spent rather than too little.
PAST = f"""{BELOW}, past AS (SELECT CASE WHEN at_ms < ? AND state <> 'pending' THEN ? ELSE at_ms END AS since, h.*
        FROM ledger_holds h JOIN below ON account = name)
    SELECT (since - (since % ? + ?) % ?) / ? AS part, {
    ", ".join(
        f"CAST(sum(CASE WHEN state = 'pending' THEN {pending} ELSE {posted} END) AS BIGINT)"
        for pending, posted in (*((0, f"spent_{x}") for x in AMOUNTS), *((f"held_{x}", 0) for x in AMOUNTS))
    )
} FROM past GROUP BY 1"""
# Old resolved slots of a rolling window are put together in the last of them, as `Meter.merge` does: a clock that ran
# ahead and returns must not find the room again that was used before.
_OLD = """account = ? AND time_window = ? AND slot < ?
    AND pending_nanos = 0 AND pending_tokens = 0 AND pending_calls = 0 AND slot < (SELECT slot FROM ledger_counters c
        WHERE c.account = ? AND c.time_window = ? ORDER BY slot DESC LIMIT 1 OFFSET ?)"""
MERGE = f"""UPDATE ledger_counters SET {
    ", ".join(
        f"posted_{x} = (SELECT CAST(sum(posted_{x}) AS BIGINT) FROM ledger_counters WHERE {_OLD})"
        for x in ("nanos", "tokens", "calls")
    )
} WHERE account = ? AND time_window = ? AND slot = (SELECT max(slot) FROM ledger_counters WHERE {_OLD})"""
CLEAR = f"DELETE FROM ledger_counters WHERE {_OLD} AND slot < (SELECT max(slot) FROM ledger_counters WHERE {_OLD})"
SELECT_HOLDS = f"SELECT {', '.join(HOLDS.columns)} FROM ledger_holds"
EVER = -(1 << 62)


def past_of(meter: Meter, at: int) -> Asked:
    """What the holds say about a window that had no meter."""
    rolling = meter.window.kind == "rolling"
    part = meter.window.length // PARTS if rolling else DAY
    since = at - 64 * meter.window.length if rolling else EVER
    return PAST, (meter.account, since, since, part, part, part, part)


def select_holds(query: Query, dialect: Dialect) -> Asked:
    wheres: list[str] = []
    values: list[object] = []
    head = ""
    if query.account not in (None, ROOT):
        head = f"{BELOW} "
        wheres.append("account IN (SELECT name FROM below)")
        values.append(query.account)
    simple: tuple[tuple[str, object], ...] = (
        ("run = ?", query.run),
        ("state = ?", query.state),
        ("at_ms >= ?", query.since),
        ("at_ms < ?", query.until),
        ("state = 'pending' AND expires_ms < ?", query.ambiguous),
        (f"id {dialect.among}", json.dumps(query.ids) if query.ids else None),
    )
    for where, value in simple:
        if value is not None:
            wheres.append(where)
            values.append(value)
    where = f" WHERE {' AND '.join(wheres)}" if wheres else ""
    if query.limit is not None:
        values.append(max(0, query.limit))
    limit = "" if query.limit is None else " LIMIT ?"
    return f"{head}{SELECT_HOLDS}{where} ORDER BY at_ms, seq{limit}", values
