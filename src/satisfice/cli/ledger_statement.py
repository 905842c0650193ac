"""`satisfice ledger statement`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ..core.errors import CallerError
from .ledger_common import amounts_cell, check_csv, counted, csv_option, money_said, place_options, put_csv, with_ledger
from .output import emit, json_option, note, table

if TYPE_CHECKING:
    from ..budgets.ledger.ledger import Ledger
    from ..budgets.ledger.statement import Statement, Subtotal
    from ..models.settings import Settings

SHOWN = 40  # lines of a statement in a terminal; CSV and JSON have them all


@click.command()
@click.argument("account")
@click.option("--month", metavar="YYYY-MM", help="A calendar month, UTC (default: this one, or all time with --run).")
@click.option("--since", metavar="DATE", help="From this day or time on (ISO 8601, UTC).")
@click.option("--until", metavar="DATE", help="To before this day or time.")
@click.option("--run", help="Only this run's calls.")
@csv_option
@place_options
@json_option
def statement(
    account: str,
    month: str | None,
    since: str | None,
    until: str | None,
    run: str | None,
    csv_to: str | None,
    place: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """What an account and all below it have spent, call by call; it adds up to the nano-dollar, or it is an error.

    A call stands at the time at which it was reserved, as in the limits: what is pending or ambiguous in a month that
    is over may still come to be posted to it.

    \b
    satisfice ledger statement acme
    satisfice ledger statement acme --month 2026-11 --csv november.csv
    satisfice ledger statement acme --since 2026-11-01 --until 2026-11-08 --json
    satisfice ledger statement global --run r2611216c2d
    """
    from ..budgets.ledger.statement import statement as drawn

    check_csv(csv_to, as_json)
    first, end = period(month, since, until, run is not None)

    async def work(opened: Ledger, _: Settings) -> Statement:
        return await drawn(opened, account, first, end, run)

    made = with_ledger(config, place, work)
    if csv_to is not None:
        put_csv(made.to_csv(), csv_to)
    elif as_json:
        emit(made.to_dict())
    else:
        _show(made)


def period(month: str | None, since: str | None, until: str | None, whole: bool) -> tuple[int | None, int | None]:
    """Milliseconds since 1970: the first that counts, and the first that counts no more. `whole`: all time where none
    is named. Raises `CallerError`."""
    from ..budgets.ledger.windows import Window

    if month is not None and (since is not None or until is not None):
        raise CallerError("--month is a whole month: give it, or --since and --until")
    if month is not None:
        match = re.fullmatch(r"(19[7-9]\d|[2-9]\d{3})-(0[1-9]|1[0-2])", month)
        if match is None:
            raise CallerError(f"--month {month!r}: expected a year and a month, as 2026-11")
        return Window("month").bounds(int(match[1]) * 12 + int(match[2]) - 1)
    if since is None and until is None and not whole:
        window = Window("month")
        return window.bounds(window.slot(int(datetime.now(UTC).timestamp() * 1000)))
    return _time("--since", since), _time("--until", until)


def _time(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return round(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise CallerError(f"{option} {text!r}: expected a day or a time, as 2026-11-08 or 2026-11-08T12:00") from None


def _show(made: Statement) -> None:
    from ..budgets.ledger.figures import said_time

    ends = [None if at is None else said_time(at)[:19] + "Z" for at in (made.since, made.until)]
    click.echo(
        f"account {made.account}{f', run {made.run}' if made.run else ''}: from {ends[0] or 'the beginning'} to before "
        f"{ends[1] or 'now'}"
    )
    table(
        ["", "amount"],
        [
            ("opening balance", amounts_cell(made.opening)),
            (counted(len(made.lines), "resolved call"), amounts_cell(made.spent)),
            ("closing balance", amounts_cell(made.closing)),
            ("pending now", amounts_cell(made.pending)),
            ("of which ambiguous", amounts_cell(made.ambiguous)),
        ],
    )
    for title, parts in (("account", made.accounts), ("model", made.models), ("day (UTC)", made.days)):
        _subtotals(title, parts)
    if len(made.lines) > SHOWN:
        note(f"{len(made.lines)} lines: --csv FILE or --json has them all")
    elif made.lines:
        click.echo()
        table(
            ["reserved (UTC)", "hold", "account", "model", "held", "spent", "tokens", ""],
            (
                (
                    said_time(line.at)[:19] + "Z",
                    line.hold,
                    line.account,
                    line.model,
                    money_said(line.held[0]),
                    money_said(line.spent[0]),
                    line.spent[1],
                    _remark(line.state, line.over[0], line.late, line.by),
                )
                for line in made.lines
            ),
            right="held spent tokens",
        )
    if any(made.ambiguous):
        note("nobody has said what became of some holds, so they count in full: `satisfice ledger reconcile` finds out")
    if not made.exact:
        note("others were writing: the lines lie between two readings of the account's counter, which moved meanwhile")


def _remark(state: str, over: int, late: bool, by: str) -> str:
    said = [
        "given back" if state == "voided" else "",
        f"{money_said(over)} over" if over else "",
        "late" if late else "",
        by,
    ]
    return ", ".join(filter(None, said))


def _subtotals(title: str, parts: dict[str, Subtotal]) -> None:
    if not parts:
        return
    click.echo()
    rows = ((name or "(none)", s.lines, money_said(s.spent[0]), s.spent[1], s.spent[2]) for name, s in parts.items())
    table([title, "settled", "spent", "tokens", "calls"], rows, right="settled spent tokens calls")
