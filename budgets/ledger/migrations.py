"""The ledger's schema, as numbered steps that go forward only. A database is brought to the present one when it is
opened, in one transaction under the lock; each step is written for SQLite and PostgreSQL alike.

Times are milliseconds since 1970 (UTC), money is nano-dollars, both 64-bit integers; booleans are 0 and 1.
"""

from __future__ import annotations

from ...core.errors import StoreError
from .accounts import ROOT

MAX = 1 << 62
AMOUNTS = ("nanos", "tokens", "calls")


def _amounts(*kinds: str, default: str = "") -> str:
    """Columns for three amounts of each kind, none of them negative or larger than can be summed up."""
    columns = (f"{kind}_{amount}" for kind in kinds for amount in AMOUNTS)
    return ", ".join(f"{c} BIGINT NOT NULL{default} CHECK ({c} BETWEEN 0 AND {MAX})" for c in columns)


_V1 = (
    "CREATE TABLE ledger_meta (version INTEGER NOT NULL)",
    "INSERT INTO ledger_meta VALUES (1)",
    """CREATE TABLE ledger_accounts (
        seq {serial},
        name TEXT NOT NULL UNIQUE,
        parent TEXT REFERENCES ledger_accounts (name),
        frozen INTEGER NOT NULL CHECK (frozen IN (0, 1))
    )""",
    "CREATE INDEX ledger_accounts_parent ON ledger_accounts (parent)",
    f"INSERT INTO ledger_accounts (name, parent, frozen) VALUES ('{ROOT}', NULL, 0)",
    f"""CREATE TABLE ledger_limits (
        account TEXT NOT NULL REFERENCES ledger_accounts (name),
        time_window TEXT NOT NULL,
        place INTEGER NOT NULL,
        nanos BIGINT CHECK (nanos BETWEEN 0 AND {MAX}),
        tokens BIGINT CHECK (tokens BETWEEN 0 AND {MAX}),
        calls BIGINT CHECK (calls BETWEEN 0 AND {MAX}),
        alerts TEXT NOT NULL,
        PRIMARY KEY (account, time_window)
    )""",
    f"""CREATE TABLE ledger_counters (
        account TEXT NOT NULL,
        time_window TEXT NOT NULL,
        slot BIGINT NOT NULL,
        {_amounts("posted", "pending")},
        told INTEGER NOT NULL,
        PRIMARY KEY (account, time_window, slot)
    )""",
    f"""CREATE TABLE ledger_holds (
        seq {{serial}},
        id TEXT NOT NULL UNIQUE,
        account TEXT NOT NULL,
        at_ms BIGINT NOT NULL,
        expires_ms BIGINT NOT NULL,
        {_amounts("held")},
        state TEXT NOT NULL CHECK (state IN ('pending', 'settled', 'voided')),
        run TEXT NOT NULL,
        model TEXT NOT NULL,
        price TEXT NOT NULL,
        resolved_ms BIGINT,
        {_amounts("spent")},
        usage_prompt BIGINT, usage_completion BIGINT, usage_cached BIGINT, usage_reasoning BIGINT,
        CHECK ((resolved_ms IS NULL) = (state = 'pending'))
    )""",
    "CREATE INDEX ledger_holds_account ON ledger_holds (account, at_ms)",
    "CREATE INDEX ledger_holds_run ON ledger_holds (run) WHERE run <> ''",
    "CREATE INDEX ledger_holds_pending ON ledger_holds (expires_ms) WHERE state = 'pending'",
    """CREATE TABLE ledger_notes (
        seq {serial},
        at_ms BIGINT NOT NULL,
        kind TEXT NOT NULL,
        account TEXT NOT NULL,
        said TEXT NOT NULL,
        said_by TEXT NOT NULL
    )""",
)

# What was billed above a hold, what came late, who said so, and which prices each model was reckoned by.
_V2 = (
    *(f"ALTER TABLE ledger_holds ADD COLUMN {column}" for column in _amounts("over", default=" DEFAULT 0").split(", ")),
    "ALTER TABLE ledger_holds ADD COLUMN late INTEGER NOT NULL DEFAULT 0 CHECK (late IN (0, 1))",
    "ALTER TABLE ledger_holds ADD COLUMN said_by TEXT NOT NULL DEFAULT ''",
    *(
        f"UPDATE ledger_holds SET over_{x} = spent_{x} - held_{x} WHERE state = 'settled' AND spent_{x} > held_{x}"
        for x in AMOUNTS
    ),
    "UPDATE ledger_holds SET late = 1 WHERE state = 'settled' AND resolved_ms > expires_ms",
    "CREATE TABLE ledger_prices (model TEXT NOT NULL, version TEXT NOT NULL, PRIMARY KEY (model, version))",
    "INSERT INTO ledger_prices SELECT DISTINCT model, price FROM ledger_holds WHERE price <> ''",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_V1, _V2)
VERSION = len(MIGRATIONS)


def steps(have: int, serial: str, upto: int = VERSION) -> list[str]:
    """The statements that bring a database from version `have` (0: empty) to `upto`. `serial`: how a column that counts
    by itself is declared."""
    if have == upto:
        return []
    statements = [s.replace("{serial}", serial) for step in MIGRATIONS[have:upto] for s in step]
    return [*statements, f"UPDATE ledger_meta SET version = {upto}"]


def check_version(found: object, name: str) -> int:
    """The version that a database has. Raises `StoreError` if this program cannot know it."""
    if not isinstance(found, int) or found < 1:
        raise StoreError(f"{name}: its schema has no version: is it a ledger?", schema=str(found))
    if found > VERSION:
        text = f"{name} has schema {found}, written by a newer satisfice; this one knows up to {VERSION}: upgrade it"
        raise StoreError(text, schema=found)
    return found
