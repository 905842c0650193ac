"""How commands speak: results on stdout (tables, or JSON), everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from math import floor, log10
from typing import Any, NoReturn

import click


def wants_json(argv: Sequence[str]) -> bool:
    return "--json" in argv


def json_option(command: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="Machine-readable output, errors included.")(command)


def emit(data: Any) -> None:
    """One JSON value on stdout."""
    click.echo(json.dumps(data, indent=2, default=str))


def note(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)


def fail(error: dict[str, Any], code: int, as_json: bool) -> NoReturn:
    """Says what went wrong, and exits."""
    if as_json:
        click.echo(json.dumps({"error": error}, default=str))
    else:
        click.echo(f"error: {error['message']}", err=True)
    sys.exit(code)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None, right: str = "") -> None:
    """A table on stdout. `right`: names of right-aligned columns, space-separated."""
    from rich.console import Console
    from rich.table import Table

    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right.split() else "left", overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 400  # a file or a pipe has no edge to fold at
    Console(width=width, highlight=False, markup=False).print(made)


def usd(amount: float | None) -> str:
    """Dollars with as many digits as say something."""
    if amount is None:
        return ""
    digits = 4 if amount >= 0.01 or amount <= 0 else 2 - floor(log10(amount))
    return f"${amount:.{digits}f}"


def spent_said(dollars: float, tokens: int, calls: int) -> str:
    """What a run came to."""
    return f"{usd(dollars)}, {counted(tokens, 'token')}, {counted(calls, 'call')}"


def counted(n: int, what: str) -> str:
    """ "1 call", "2 calls"."""
    return f"{n} {what}{'' if n == 1 else 's'}"
