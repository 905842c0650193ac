"""`satisfice ledger`: accounts, what they may spend, what they have spent."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import BadBudget, CallerError, UnknownName
from .ledger_common import (
    amounts_cell,
    by_option,
    check_csv,
    csv_option,
    csv_text,
    dollars,
    hold_dict,
    money_said,
    place_options,
    put_csv,
    user,
    with_ledger,
)
from .ledger_reconcile import reconcile
from .ledger_statement import statement
from .output import emit, json_option, note, table

if TYPE_CHECKING:
    from ..budgets.ledger.accounts import Limit
    from ..budgets.ledger.ledger import Ledger
    from ..budgets.ledger.operations import Hold, Operation
    from ..budgets.ledger.windows import Window
    from ..models.settings import Settings
    from .ledger_views import View

SPANS = (3_600_000, 86_400_000, 30 * 86_400_000, None)  # how far back the last holds are looked for
LAST = 10


@click.group()
def ledger() -> None:
    """Accounts that cannot be overdrawn: what they may spend, what they have spent, and what is still open.

    \b
    satisfice ledger grant acme --usd 100 --per month
    satisfice ledger accounts
    satisfice ledger statement acme --month 2026-11 --csv november.csv
    satisfice ledger reconcile --dry-run
    """


ledger.add_command(statement)
ledger.add_command(reconcile)


@ledger.command()
@place_options
@csv_option
@json_option
def accounts(place: str | None, config: str | None, csv_to: str | None, as_json: bool) -> None:
    """The tree of accounts: limits, what is spent, pending and ambiguous in each window, and what is left.

    Pending amounts are held by calls under way, the ambiguous ones among them by calls of which nobody said in time
    what became of them: `ledger reconcile` finds out. Both count in full.

    \b
    satisfice ledger accounts
    satisfice ledger accounts --csv accounts.csv
    """
    from .ledger_views import CSV_COLUMNS, csv_rows, show_accounts

    check_csv(csv_to, as_json)
    found = with_ledger(config, place, lambda opened, _: _views(opened))
    if csv_to is not None:
        put_csv(csv_text(CSV_COLUMNS, list(csv_rows(found))), csv_to)
    elif as_json:
        emit([view.to_dict() for view in found])
    else:
        show_accounts(found)


async def _views(opened: Ledger) -> list[View]:
    from ..budgets.ledger.stores import Query
    from .ledger_views import views

    now = opened.now()
    return views(await opened.standings(), await opened.holds(Query(ambiguous=now)), now)


@ledger.command()
@click.argument("account")
@click.option("--usd", help="Dollars, exact: 100, 0.25.")
@click.option("--tokens", type=int, help="Tokens (prompt + completion).")
@click.option("--calls", type=int)
@click.option(
    "--per", default="total", show_default=True, metavar="WINDOW", help="total, day, month, or as 90s, 24h, 7d."
)
@click.option("--alerts", metavar="50,80", help="Percentages of the limit at which somebody is told.")
@click.option("--parent", help="Of a new account (default: global).")
@click.option("--remove", is_flag=True, help="Take the window's limit away.")
@click.option(
    "--freeze/--unfreeze", "frozen", default=None, help="Refuse everything new at it and below, or no longer."
)
@by_option
@place_options
@json_option
def grant(account: str, place: str | None, config: str | None, as_json: bool, **said: Any) -> None:
    """Sets an account's limit over one window, or takes it away, or freezes it.

    An account that is not there yet is opened by its first amount, or by --parent (then it has no limit of its own).
    Amounts that are not named stay as they were in that window. A limit below what is used already is refused.

    \b
    satisfice ledger grant acme --usd 100 --per month --alerts 50,80
    satisfice ledger grant acme-ci --parent acme --tokens 1000000 --per day
    satisfice ledger grant acme --remove --per month
    satisfice ledger grant acme --freeze
    """
    from ..budgets.ledger.windows import Window

    window = Window.parse(said["per"])
    amounts = {key: said[key] for key in ("usd", "tokens", "calls") if said[key] is not None}
    if said["remove"] and (amounts or said["alerts"]):
        raise CallerError("--remove takes the whole limit of the window away: give no amounts with it")
    if account == said["parent"]:
        raise CallerError(f"--parent {account}: an account cannot be its own parent")
    if "usd" in amounts:
        amounts["usd"] = dollars("--usd", amounts["usd"])
    if amounts:
        _limit(None, window, amounts, said["alerts"])  # what is wrong is said before anything is opened

    async def work(opened: Ledger, _: Settings) -> dict[str, Any]:
        return await _grant(opened, account, window, amounts, said)

    told = with_ledger(config, place, work, make=bool(amounts or said["parent"]))
    if as_json:
        emit(told)
        return
    if told["opened"]:
        click.echo(f"opened {account} under {told['parent']}")
        if told["near"]:
            note(f"{account} is a new account: did you mean {told['near']}, which is there already?")
    if "now" in told:
        click.echo(f"{account} {_per(window)}: {_said(told['now'])} (before: {_said(told['before'])})")
    if "frozen" in told:
        click.echo(f"{account} is {'frozen' if told['frozen'] else 'not frozen'}")


async def _grant(
    opened: Ledger, account: str, window: Window, amounts: dict[str, Any], said: dict[str, Any]
) -> dict[str, Any]:
    """Does it; replies what was and what is."""
    from ..budgets.ledger.accounts import ROOT, Account
    from ..budgets.ledger.operations import Freeze, Grant, Open

    known = {s.account.name: s.account for s in await opened.standings()}
    have = known.get(account)
    changes = said["remove"] or said["frozen"] is not None
    if have is None and (changes or not (amounts or said["parent"])):
        if not changes and not said["alerts"]:
            raise CallerError(
                f"{_new(account, known)}: say what to grant it (--usd, --tokens, --calls), or its --parent"
            )
        raise UnknownName.of("account", account, known)
    if have is not None and not (amounts or said["alerts"] or changes or said["parent"]):
        raise CallerError(f"account {account!r} is there already: say what to grant (--usd, --tokens, --calls)")
    who = user() if said["by"] is None else said["by"]
    parent = said["parent"] or (have.parent if have else ROOT)
    near = get_close_matches(account, known, n=1, cutoff=0.7) if have is None else []
    told: dict[str, Any] = {"account": account, "parent": parent, "opened": have is None, "by": who}
    told["near"] = near[0] if near else None
    operations: list[Operation] = []
    if have is None or said["parent"]:
        operations.append(Open(Account(account, parent)))
    if amounts or said["alerts"] or said["remove"]:
        before = next((limit for limit in (have.limits if have else ()) if limit.window == window), None)
        limit = None if said["remove"] else _limit(before, window, amounts, said["alerts"])
        operations.append(Grant(account, window, limit, who))
        told |= {"before": before.to_dict() if before else None, "now": limit.to_dict() if limit else None}
    if said["frozen"] is not None:
        operations.append(Freeze(account, said["frozen"], who))
        told["frozen"] = said["frozen"]
    for operation in operations:
        await opened.do(operation)  # one by one: what fails keeps the rest from being done
    return told


def _new(account: str, known: Iterable[str]) -> str:
    near = get_close_matches(account, known, n=1, cutoff=0.5)
    return f"account {account!r} is not there yet" + (f" (did you mean {near[0]!r}?)" if near else "")


def _limit(before: Limit | None, window: Window, amounts: dict[str, Any], alerts: str | None) -> Limit:
    """The new limit: what is not named stays. Raises `BadBudget`."""
    from ..budgets.ledger.accounts import Limit

    made: dict[str, Any] = (
        {key: getattr(before, key) for key in ("nanos", "tokens", "calls", "alerts")} if before else {}
    )
    made |= {("nanos" if key == "usd" else key): amount for key, amount in amounts.items()}
    if alerts is not None:
        made["alerts"] = _percentages(alerts)
    return Limit(window, **made)


def _percentages(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise BadBudget(f"--alerts {text!r}: expected whole percentages of the limit, as 50,80") from None


def _said(limit: dict[str, Any] | None) -> str:
    if limit is None:
        return "no limit"
    kinds = [kind for kind in ("usd", "tokens", "calls") if limit[kind] is not None]
    amounts = amounts_cell((limit["nanos"] or 0, limit["tokens"] or 0, limit["calls"] or 0), kinds)
    alerts = ", ".join(map(str, limit["alerts"]))
    return amounts + (f", alerts at {alerts}%" if alerts else "")


def _per(window: Window) -> str:
    return "in all" if window.kind == "total" else f"per {window}"


@ledger.command()
@click.argument("what", metavar="ACCOUNT|HOLD|RUN")
@place_options
@json_option
def show(what: str, place: str | None, config: str | None, as_json: bool) -> None:
    """An account with its last notes and calls, one hold, or all holds of a run.

    \b
    satisfice ledger show acme
    satisfice ledger show r2611216c2d
    satisfice ledger show r2611216c2d/a0.a3/0
    """

    async def work(opened: Ledger, _: Settings) -> None:
        from ..budgets.ledger.stores import Query

        now = opened.now()
        found = await _views(opened)
        if view := next((v for v in found if v.name == what), None):
            await _show_account(opened, view, as_json)
            return
        holds = await (opened.holds(Query(ids=(what,))) if "/" in what else opened.holds(Query(run=what)))
        if not holds:
            raise UnknownName.of("account, hold or run", what, (v.name for v in found))
        if as_json:
            emit(hold_dict(holds[0], now) if "/" in what else [hold_dict(hold, now) for hold in holds])
        elif "/" in what:
            _show_hold(hold_dict(holds[0], now))
        else:
            _show_holds(holds, now)

    with_ledger(config, place, work)


async def _show_account(opened: Ledger, view: View, as_json: bool) -> None:
    from ..budgets.ledger.figures import said_time
    from ..budgets.ledger.stores import Query
    from .ledger_views import show_accounts

    now, name = opened.now(), view.name
    holds: list[Hold] = []
    for span in SPANS:
        holds = await opened.holds(Query(name, since=None if span is None else now - span))
        if len(holds) >= LAST:
            break
    notes = [line for line in await opened.notes(1000) if line.account == name][-LAST:]
    if as_json:
        lines = [{"at": said_time(n.at), "kind": n.kind, "text": n.text, "by": n.by} for n in notes]
        emit(view.to_dict() | {"notes": lines, "holds": [hold_dict(hold, now) for hold in holds[-LAST:]]})
        return
    show_accounts([view])
    if view.room[0] is not None:
        click.echo(f"room for new calls now, accounts above included: {money_said(view.room[0])}")
    if notes:
        click.echo()
        cells = ((said_time(n.at)[:19] + "Z", n.kind, n.text, n.by) for n in notes)
        table(["time (UTC)", "note", "what", "by"], cells)
    if holds:
        click.echo()
        _show_holds(holds[-LAST:], now)


def _show_holds(holds: list[Hold], now: int) -> None:
    rows = []
    for hold in (hold_dict(each, now) for each in holds):
        spent = hold["spent"]
        late = " (late)" if hold["late"] else ""
        amounts = (money_said(hold["held"]["nanos"]), money_said(spent["nanos"]) if spent else "")
        tokens = spent["tokens"] if spent else ""
        who = (hold["hold"], hold["account"], hold["model"], hold["state"] + late)
        rows.append((hold["reserved"][:19] + "Z", *who, *amounts, tokens, hold["by"]))
    columns = ["reserved (UTC)", "hold", "account", "model", "state", "held", "spent", "tokens", "by"]
    table(columns, rows, right="held spent tokens")


def _show_hold(hold: dict[str, Any]) -> None:
    for key, value in hold.items():
        if key == "over" and not value["nanos"] and not value["tokens"] and not value["calls"]:
            continue
        if isinstance(value, dict) and "nanos" in value:
            value = amounts_cell((value["nanos"], value["tokens"], value["calls"]))
        elif isinstance(value, dict):
            value = ", ".join(f"{n} {kind}" for kind, n in value.items())
        if value not in (None, "", False):
            click.echo(f"{key:<10}{value}")
    if hold["state"] == "ambiguous":
        note("nobody has said what became of it: `satisfice ledger reconcile` finds out, or takes your word for it")
