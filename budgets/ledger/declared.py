"""Declared limits beside those of the ledger: where they differ the ledger's stand, and somebody should know."""

from __future__ import annotations

import shlex

from .accounts import ROOT, Account, Limit, usd_text


def differences(declared: Account, known: Account) -> list[str]:
    """A line for each declared limit that is not in force, with the command that puts it in force. Those that the root
    has none over the same window of are left out: they are granted."""
    have = {limit.window: limit for limit in known.limits}
    lines = []
    for limit in declared.limits:
        other = have.get(limit.window)
        if other == limit or (other is None and declared.name == ROOT):
            continue
        wanted, there = _said(limit, other), "no limit" if other is None else _said(other, limit)
        lines.append(
            f"account {declared.name} is declared with {wanted} {limit.window.per}, but the ledger has {there}, which "
            f"stays in force: {_command(declared.name, limit, other)} changes it"
        )
    return lines


def _said(limit: Limit, other: Limit | None) -> str:
    """The amounts, and the alerts where they alone are different."""
    if other is None or limit.said != other.said:
        return limit.said
    return f"{limit.said}, alerts at {', '.join(f'{a}%' for a in limit.alerts) or 'nothing'}"


def _command(name: str, limit: Limit, other: Limit | None) -> str:
    """What `grant` does not name stays as it was: an amount that is declared no more goes with the whole limit."""
    amounts = (("usd", None if limit.nanos is None else usd_text(limit.nanos)), ("tokens", limit.tokens))
    options = [f"--{key} {value}" for key, value in (*amounts, ("calls", limit.calls)) if value is not None]
    more = other is not None and any(
        getattr(limit, key) is None and getattr(other, key) is not None for key in ("nanos", "tokens", "calls")
    )
    if limit.alerts != (other.alerts if other is not None and not more else (80, 100)):
        options.append(f"--alerts {shlex.quote(','.join(map(str, limit.alerts)))}")
    grant, per = f"satisfice ledger grant {shlex.quote(name)}", f"--per {limit.window}"
    first = f"`{grant} --remove {per}` and then " if more else ""
    return f"{first}`{grant} {' '.join(options)} {per}`"
