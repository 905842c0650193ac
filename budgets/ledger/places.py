"""Places: what a setting or an argument means as the place of a ledger. What looks like a URL is never taken for a
file: its password would end up in the name of that file, and in messages."""

from __future__ import annotations

import re
from pathlib import Path

from ...core.errors import CallerError

SERVERS = ("postgresql://", "postgres://")
_SCHEME = re.compile(r"\w[\w+.-]+:")  # two characters at the least: one is a drive


def place_of(place: str | Path) -> str | Path:
    """The URL of a server (its scheme in lower case), or the path of a file. Raises `CallerError`, naming the scheme
    alone, for URLs of anything else."""
    text = str(place).strip()
    scheme, _, rest = text.partition("://")
    if isinstance(place, str) and f"{scheme.lower()}://" in SERVERS:
        return f"{scheme.lower()}://{rest}"
    if "://" in text or _SCHEME.match(text):
        found = _SCHEME.match(text)
        named = repr(found[0]) if found else "no scheme that is known"
        raise CallerError(
            f"a ledger cannot be kept there ({named}): expected postgresql://user:password@host:port/database as text, "
            "or a file (one with a colon in its name by its absolute path)"
        )
    return Path(text) if isinstance(place, str) else place


def named(place: str | Path | None) -> str:
    """What a place is called where people read it: without a password."""
    if place is None:
        return "memory"
    head, at, tail = str(place).rpartition("@")
    return (
        f"{head.partition('://')[0]}://{tail.partition('?')[0]}"
        if at and "://" in head
        else str(place).partition("?")[0]
    )
