"""`satisfice ledger reconcile`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError, UnknownName
from .ledger_common import by_option, counted, dollars, journal_of, money_said, place_options, user, with_ledger
from .output import emit, json_option, note, table

if TYPE_CHECKING:
    from ..budgets.ledger.ledger import Ledger
    from ..models.settings import Settings
    from ..scheduler.reconciling import Finding
    from ..scheduler.usage_files import UsageLine

    Found = tuple[list[Finding], list[tuple[UsageLine, str]]]


@click.command()
@click.option(
    "--all", "everything", is_flag=True, help="Pending holds of runs that nobody is at, not yet expired, too."
)
@click.option("--hold", metavar="ID", help="One hold, of which you say what became: --spent or --void.")
@click.option("--spent", metavar="USD", help="What the call was billed, in dollars.")
@click.option("--tokens", type=int, help="Its tokens (default: as held).")
@click.option("--void", "voided", is_flag=True, help="The call never left: give its hold back.")
@click.option(
    "--usage",
    type=click.Path(path_type=Path),
    help="A provider's export, .csv or .jsonl: columns hold (or run, path, attempt), usd and/or tokens.",
)
@click.option("--account", help="Post lines of --usage that match no hold to this account.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--journal", "journal_at", type=click.Path(), help="Another journal than the settings'.")
@by_option
@place_options
@json_option
def reconcile(
    place: str | None, config: str | None, as_json: bool, everything: bool, dry_run: bool, **said: Any
) -> int:
    """Finds out what became of holds that nobody resolved in time, and posts it or gives it back.

    The journal knows of most: a reply says what the call cost; a call that was announced and has no reply may have been
    billed, and is posted at its hold; one that was never announced never left. Runs under way are left alone.

    \b
    satisfice ledger reconcile --dry-run
    satisfice ledger reconcile
    satisfice ledger reconcile --hold r2611216c2d/a0/0 --spent 0.0021 --tokens 740
    satisfice ledger reconcile --hold r2611216c2d/a0/0 --void
    satisfice ledger reconcile --usage export.csv --account acme

    \b
    Exit code: 0, 2 the call is wrong (of a usage file: nothing was applied), 6 something could not be done or matched.
    """
    _check(said, everything)

    async def work(opened: Ledger, settings: Settings) -> tuple[Found, int, int]:
        from ..scheduler.reconciling import carry_out, unresolved

        findings, unmatched = await _found(opened, settings, everything, said)
        if not dry_run:
            findings = await carry_out(opened, findings)
        pending, left = len(await unresolved(opened, everything=True)), len(await unresolved(opened))
        return (findings, unmatched), left, pending - left

    (findings, unmatched), left, waiting = with_ledger(config, place, work)
    wrong = bool(unmatched) or any(finding.failed for finding in findings)
    if as_json:
        lines = [{"line": line.number, "hold": line.id, "why": why} for line, why in unmatched]
        facts = {"dry_run": dry_run, "findings": [f.to_dict() for f in findings], "unmatched": lines}
        emit(facts | {"ambiguous": left, "pending": left + waiting})
        return 6 if wrong else 0
    _show(findings, unmatched, dry_run)
    if left:
        note(f"ambiguous{' before this is done' if dry_run else ' still'}, counting in full: {counted(left, 'hold')}")
    if waiting and not everything:
        note(f"pending, and not yet late: {counted(waiting, 'hold')}; --all looks at those too")
    return 6 if wrong else 0


def _check(said: dict[str, Any], everything: bool) -> None:
    """Raises `CallerError` for options that do not go together."""
    told = said["spent"] is not None or said["voided"]
    if said["hold"] is None and (told or said["tokens"] is not None):
        raise CallerError("--spent, --tokens and --void say what became of one hold: name it with --hold")
    if said["hold"] is not None and (said["spent"] is not None) == said["voided"]:
        raise CallerError("--hold: say what became of it, either --spent USD or --void")
    if said["voided"] and said["tokens"] is not None:
        raise CallerError("--void: a call that never left has no tokens")
    if said["account"] is not None and said["usage"] is None:
        raise CallerError("--account is for lines of --usage")
    if (said["hold"] is not None) + (said["usage"] is not None) + everything > 1:
        raise CallerError("--hold, --usage and --all: one at a time")


async def _found(opened: Ledger, settings: Settings, everything: bool, said: dict[str, Any]) -> Found:
    from ..scheduler.reconciling import by_journal, unresolved
    from ..scheduler.usage_files import by_usage, read_usage

    if said["hold"] is not None:
        return [await _told(opened, said)], []
    if said["usage"] is not None:
        file: Path = said["usage"]
        return await by_usage(opened, read_usage(file), file.name, said["account"])
    async with AsyncExitStack() as stack:
        journal = await journal_of(settings, said["journal_at"], stack)
        return await by_journal(await unresolved(opened, everything), journal), []


async def _told(opened: Ledger, said: dict[str, Any]) -> Finding:
    """What a person says of one hold."""
    from ..budgets.ledger.accounts import check_amount
    from ..budgets.ledger.stores import Query
    from ..core.amounts import Amounts
    from ..scheduler.reconciling import settle, unresolved, void

    who = user() if said["by"] is None else said["by"]
    spent = None if said["voided"] else dollars("--spent", said["spent"])
    tokens = None if said["tokens"] is None else check_amount("tokens", said["tokens"])
    holds = await opened.holds(Query(ids=(said["hold"],)))
    if not holds:
        raise UnknownName.of("hold", said["hold"], (hold.id for hold in await unresolved(opened)))
    (hold,) = holds
    if spent is None:
        return void(hold, who, f"{who} says that it never left")
    amounts = Amounts(spent, hold.held[1] if tokens is None else tokens, hold.held[2])
    return settle(hold, amounts, who, f"{who} says so")


def _show(findings: list[Finding], unmatched: list[tuple[UsageLine, str]], dry_run: bool) -> None:
    what = {"settle": "post", "void": "give back", "leave": "leave"}
    rows = []
    for f in findings:
        did, spent = ("nothing", "") if f.failed else (what[f.action], _spent(f))
        again = " (had been done before)" if f.done == "repeated" else ""
        rows.append((f.hold, f.account, money_said(f.held[0]), did, spent, f.why + again))
    if findings:
        table(["hold", "account", "held", "would" if dry_run else "did", "spent", "because"], rows, right="held spent")
    else:
        click.echo("nothing to reconcile")
    for f in findings:
        if f.failed:
            note(f"error: {f.hold}: {f.done}")
    for line, why in unmatched:
        note(f"line {line.number} ({line.id}) was not posted: {why}")


def _spent(finding: Finding) -> str:
    return money_said(finding.amounts[0]) if finding.action == "settle" else ""
