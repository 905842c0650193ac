"""`satisfice kill` and `satisfice revive`: stop what runs on this host, and let it run again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..core.errors import CallerError, SatisficeError
from .ledger_common import user
from .output import emit, json_option, table

if TYPE_CHECKING:
    from ..models.settings import Settings
    from ..scheduler.dispatch.switches import Switch, Switches

_by = click.option("--by", help="Who says so, for the record (default: the user's name).")
_config = click.option("--config", type=click.Path(), help="Another satisfice.toml.")


@click.command()
@click.argument("level", required=False)
@click.argument("name", default="")
@click.option("--reason", default="", help="Why, for the record and for those whose requests it stops.")
@click.option("--list", "listing", is_flag=True, help="The switches that are on.")
@click.option("--log", is_flag=True, help="Who stopped and revived what, when and why, oldest first.")
@_by
@_config
@json_option
def kill(
    level: str | None,
    name: str,
    reason: str,
    listing: bool,
    log: bool,
    by: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Stops requests of every engine on this host with the same home, within a second.

    LEVEL is global, tenant, key, strategy or model; all but global take a NAME. What is under way is cancelled, billed
    and kept on record: `satisfice runs resume RUN` goes on with it after `satisfice revive`. The calls of a killed
    model fail at once, so that its fallbacks are asked. Across hosts: `satisfice ledger grant ACCOUNT --freeze`.

    \b
    satisfice kill model openai/gpt-4o --reason "bills twice"
    satisfice kill tenant acme --reason "unpaid"
    satisfice kill --list
    """
    settings = _settings(config)
    switches = _switches(settings)
    if log:
        _tell_log(switches, as_json)
        return
    if listing or level is None:
        if level is None and not listing:
            raise CallerError("which level? global, tenant, key, strategy or model (--list shows what is stopped)")
        if switches.broken is not None:
            raise switches.broken
        rows = [(s.level, s.name, s.reason, s.by, s.at) for s in switches.on]
        _show(("level", "name", "reason", "by", "at"), rows, as_json, "nothing is stopped")
        return
    done = switches.kill(level, name, reason=reason, by=by if by is not None else user())
    warning = _warning(done, settings)
    if as_json:
        emit({**done.row, "warning": warning})
    else:
        click.echo(f"{done.said}\nlift it with: {done.undo}")
        if warning:
            click.echo(f"warning: {warning}", err=True)


@click.command()
@click.argument("level")
@click.argument("name", default="")
@click.option("--reason", default="", help="Why, for the record.")
@_by
@_config
@json_option
def revive(level: str, name: str, reason: str, by: str | None, config: str | None, as_json: bool) -> None:
    """Lets run again what `satisfice kill LEVEL [NAME]` has stopped."""
    was = _switches(_settings(config)).revive(level, name, reason=reason, by=by if by is not None else user())
    if as_json:
        emit({"level": was.level, "name": was.name, "revived": True})
    else:
        what = "everything" if was.level == "global" else f"{was.level} {was.name!r}"
        click.echo(f"{what} may run again")


def _settings(config: str | None) -> Settings:
    from ..models.settings import load_settings

    return load_settings(config)


def _switches(settings: Settings) -> Switches:
    from ..scheduler.dispatch.switches import Switches, place_of

    return Switches(place_of(settings))


def _warning(switch: Switch, settings: Settings) -> str:
    """Where nothing is known by that name. The switch is on by now, whatever may be wrong with the settings."""
    from ..models.catalog import Catalog
    from ..scheduler.dispatch.knowing import unknown_here

    try:
        return unknown_here(switch, settings, Catalog(settings))
    except SatisficeError as error:
        return f"whether {switch.name!r} is known here cannot be told: {error}"


def _tell_log(switches: Switches, as_json: bool) -> None:
    from ..scheduler.dispatch.switches import history

    keys = ("at", "did", "level", "name", "reason", "by")
    rows = [tuple(str(row.get(key, "")) for key in keys) for row in history(switches.path)]
    _show(keys, rows, as_json, "nothing was ever stopped")


def _show(keys: tuple[str, ...], rows: Sequence[tuple[str, ...]], as_json: bool, nothing: str) -> None:
    if as_json:
        emit([dict(zip(keys, row, strict=True)) for row in rows])
    elif rows:
        table(list(keys), rows)
    else:
        click.echo(nothing)
