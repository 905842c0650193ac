"""What the `satisfice ledger` commands share: opening the ledger, options, and how amounts are written."""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..core.errors import BadBudget, BadSettings, CallerError, StoreError
from .output import counted as counted

if TYPE_CHECKING:
    from ..budgets.ledger.figures import Three
    from ..budgets.ledger.ledger import Ledger
    from ..budgets.ledger.operations import Hold
    from ..models.settings import Settings
    from ..scheduler.journal import Journal

T = TypeVar("T")
UNSET = (
    "no ledger is configured: write `ledger = true` into satisfice.toml (or a file, or postgresql://...), set "
    "SATISFICE_LEDGER, or pass --ledger PLACE"
)
_ledger = click.option(
    "--ledger", "place", metavar="PLACE", help="A file or postgresql://... (default: the settings')."
)
_config = click.option("--config", type=click.Path(), help="Another satisfice.toml.")
csv_option = click.option("--csv", "csv_to", metavar="FILE|-", help="As CSV, into a file or to stdout (-).")
by_option = click.option("--by", help="Who says so, for the record (default: the user's name).")


def place_options(command: Any) -> Any:
    return _ledger(_config(command))


def with_ledger(
    config: str | None,
    place: str | None,
    work: Callable[[Ledger, Settings], Awaitable[T]],
    *,
    make: bool = False,
) -> T:
    """Opens the ledger for `work`. The accounts of the settings are opened in the ledger of the settings. A file has to
    be there and to hold something, unless `make`: an empty ledger would say that nothing was ever spent. Raises
    `BadSettings` where none is configured, `StoreError`."""
    import anyio

    from ..budgets.ledger.ledger import Ledger
    from ..models.accounts import SERVERS, accounts_of, ledger_place
    from ..models.settings import load_settings

    settings = load_settings(config)
    where = ledger_place(place, settings)
    if where is None:
        raise BadSettings(UNSET)
    if not make and not (isinstance(where, str) and where.startswith(SERVERS)):
        _there(Path(where), place is not None)
    accounts = accounts_of(settings) if place is None else []

    async def main() -> T:
        async with await Ledger.open(where, accounts) as ledger:
            return await work(ledger, settings)

    return anyio.run(main)


def _there(file: Path, named: bool) -> None:
    """Raises `StoreError` for a file that is no ledger yet."""
    if not file.exists():
        option = f" --ledger {file}" if named else ""
        begun = "" if named else "the first request, or "
        raise StoreError(f"no ledger at {file}: {begun}`satisfice ledger grant ACCOUNT --usd USD{option}` makes one")
    if file.is_file() and file.stat().st_size == 0:
        raise StoreError(f"{file} is empty, so it is no ledger: look for the right file, or take this one away")


async def journal_of(settings: Settings, given: str | None, stack: AsyncExitStack) -> Journal | None:
    """The journal of the settings, or the one given; None where there is none. Raises `StoreError`."""
    from ..scheduler.journal import Journal
    from ..scheduler.records import journal_place

    path = journal_place(given if given is not None else settings.journal, settings)
    if path is None or not path.expanduser().exists():
        if given is not None:
            raise StoreError(f"no journal at {given}")
        return None
    return await stack.enter_async_context(Journal.open(path))


def user() -> str:
    """Who is at the command line; nothing where the system does not say."""
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError, ImportError):
        return ""


def dollars(option: str, text: str) -> int:
    """What an option says in dollars, as nano-dollars. Raises `BadBudget`, which names the option."""
    from decimal import Decimal, InvalidOperation

    from ..budgets.ledger.accounts import MOST, money

    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if amount.is_finite() and amount < 0:
        raise BadBudget(f"{option} {text}: an amount of dollars cannot be negative", field="usd")
    if amount.is_finite() and amount > Decimal(MOST).scaleb(-9):
        most = f"${MOST // 10**9:,}"
        raise BadBudget(f"{option} {text}: more dollars than the most that an account can hold ({most})", field="usd")
    try:
        return money(text)
    except BadBudget as error:
        raise BadBudget(f"{option} {error}", field="usd") from None


def money_said(nanos: int) -> str:
    """Exact dollars, without zeros that say nothing."""
    from ..budgets.ledger.accounts import usd_text

    whole, _, fraction = usd_text(abs(nanos)).partition(".")
    return f"{'-' if nanos < 0 else ''}${whole}.{fraction.rstrip('0').ljust(2, '0')}"


def amounts_cell(amounts: Three, kinds: Sequence[str] = ("usd", "tokens", "calls")) -> str:
    """The kinds asked for, in words."""
    n, t, k = amounts
    said = {"usd": money_said(n), "tokens": counted(t, "token"), "calls": counted(k, "call")}
    return ", ".join(said[kind] for kind in kinds)


def hold_dict(hold: Hold, now: int) -> dict[str, Any]:
    """One hold as JSON-ready data."""
    from ..budgets.ledger.figures import amounts_dict, said_time

    usage = dict(zip(("prompt", "completion", "cached", "reasoning"), hold.usage, strict=True)) if hold.usage else None
    return {
        "hold": hold.id,
        "account": hold.account,
        "run": hold.run,
        "state": "ambiguous" if hold.ambiguous(now) else hold.state,
        "reserved": said_time(hold.at),
        "expires": said_time(hold.expires),
        "resolved": None if hold.resolved is None else said_time(hold.resolved),
        "model": hold.model,
        "price": hold.price,
        "held": amounts_dict(hold.held),
        "spent": amounts_dict(hold.spent) if hold.state == "settled" else None,
        "over": amounts_dict(hold.over),
        "usage": usage,
        "late": hold.late,
        "by": "" if hold.state == "pending" else hold.by,  # until then it is the owner
    }


def put_csv(text: str, target: str) -> None:
    """CSV text into a file, or to stdout for "-"."""
    if target == "-":
        click.echo(text, nl=False)
    else:
        try:
            Path(target).write_text(text, "utf-8")
        except OSError as error:
            raise CallerError(f"--csv {target}: cannot be written: {error.strerror or error}") from None


def check_csv(csv_to: str | None, as_json: bool) -> None:
    """Raises `CallerError` for two forms at once on stdout."""
    if csv_to == "-" and as_json:
        raise CallerError("--csv - and --json both write to stdout: give one of them")


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()
