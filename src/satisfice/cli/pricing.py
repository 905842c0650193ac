"""`satisfice prices`: what a model charges, on which day, and how we know."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from ..core.amounts import NANO
from ..core.errors import UnknownName
from .output import emit, json_option, table

if TYPE_CHECKING:
    from ..budgets.prices import Price, Tier
    from ..models.catalog import Catalog

FIGURES = ("prompt", "completion", "cached", "cache_write", "reasoning")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="MODEL...")
@click.option("--at", "moment", metavar="DATE", help="Another day or moment, as 2026-07-01 or 2026-07-01T18:00Z (UTC).")
@click.option("--config", type=click.Path(), help="Another satisfice.toml.")
@json_option
def prices(names: tuple[str, ...], moment: str | None, config: str | None, as_json: bool) -> None:
    """What models charge, in USD per million tokens: tiers, batch mode, off-peak hours, dates, source and version.

    \b
    satisfice prices openai/gpt-4o-mini gemini/gemini-2.5-pro
    satisfice prices cheap --at 2026-07-01 --json

    MODEL is an alias, a pool or any name that `solve --model` takes. Prices are looked up in satisfice.toml, then in
    its price files (`prices = "prices.toml"`), then in litellm's list. Two nodes with the same figures show the same
    version. At a DATE alone, the price at the start of that day.

    A price file says what a model charges, with tiers, batch and off-peak prices and dates:

    \b
    [[price]]
    model = "openai/gpt-4o-mini"
    from = 2026-01-01
    prompt = 0.15
    completion = 0.60

    All of its keys, with a full example: docs/prices.md.
    """
    from ..models.catalog import Catalog
    from ..models.settings import load_settings

    when = datetime.now(UTC) if moment is None else _moment(moment)
    catalog = Catalog(load_settings(config), clock=lambda: when)
    try:
        rows = [_row(catalog, name, when) for name in catalog.expand(names)]
    except UnknownName as error:
        raise _nearest(error) from None
    if as_json:
        emit([told for told, _ in rows])
        return
    for told, price in rows:
        _show(told, price, when)


def _nearest(error: UnknownName) -> UnknownName:
    """For a provider: the nearest names only, there are some two hundred."""
    from ..models import pricelist

    if error.details.get("kind") != "provider":
        return error
    name = str(error.details["name"])
    near = get_close_matches(name, pricelist.providers(), n=3, cutoff=0.7)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    text = f"unknown provider {name!r}.{hint} Models are named provider/model, as litellm writes it"
    return UnknownName(text, kind="provider", name=name, nearest=near[0] if near else None)


def _moment(text: str) -> datetime:
    try:
        if len(text) <= len("2026-07-01"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r}: expected 2026-07-01 or 2026-07-01T18:00Z", param_hint="--at") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _row(catalog: Catalog, name: str, when: datetime) -> tuple[dict[str, Any], Price]:
    """What is known of one model's price, JSON-ready, and the price."""
    entry = catalog.entry(name)
    price, quoted = entry.price, None
    if price.source not in ("declared", "nominal"):
        quoted = catalog.book.quoted(entry.provider_model, when)
    told: dict[str, Any] = {
        "name": name,
        "model": entry.provider_model,
        "version": price.version,
        "source": quoted.origin if quoted else price.source,
        "from": _day(quoted.since) if quoted else None,
        "until": _day(quoted.until) if quoted else None,
        "at": when.astimezone(UTC).isoformat(timespec="seconds"),
        "usd_per_million": _figures(price),
        "usd_per_call": price.per_call / NANO,
        "tiers": [_tier(price, tier) for tier in price.tiers],
        "batch": None if price.batch is None else _nested(price.batch),
        "off_peak": [{"hours": [str(w) for w in p.windows], **_nested(p.price)} for p in price.off_peak],
        "in_force": _nested(price.at(when)),
        "next": None if price.then is None else {"from": _day(price.then[0]), "version": price.then[1].version},
    }
    return told, price


def _figures(price: Price, prompt_tokens: int = 0) -> dict[str, float]:
    return {name: pico / 1e6 for name, pico in zip(FIGURES, price.figures(prompt_tokens), strict=True)}


def _tier(price: Price, tier: Tier) -> dict[str, Any]:
    return {"above": tier.above, "usd_per_million": _figures(price, tier.above + 1)}


def _nested(price: Price) -> dict[str, Any]:
    return {
        "usd_per_million": _figures(price),
        "usd_per_call": price.per_call / NANO,
        "tiers": [_tier(price, tier) for tier in price.tiers],
    }


def _day(when: datetime | None) -> str | None:
    return None if when is None else when.date().isoformat()


def _show(told: dict[str, Any], price: Price, when: datetime) -> None:
    title = told["name"] if told["name"] == told["model"] else f"{told['name']} ({told['model']})"
    lines = [*_lines("usual", price)]
    if price.batch:
        lines += _lines("batch", price.batch)
    for peak in price.off_peak:
        lines += _lines("off-peak", peak.price)
    table(
        [title, *(n.replace("_", " ") for n in FIGURES), "per call"], lines, right="prompt completion cached reasoning"
    )
    span = [f"from {told['from']}" if told["from"] else "", f"until {told['until']}" if told["until"] else ""]
    click.echo(", ".join(filter(None, (f"  {told['version']} from {told['source']}", *span))))
    for peak in price.off_peak:
        now = " (now)" if any(w.holds(when) for w in peak.windows) else ""
        click.echo(f"  off-peak{now}: {'; '.join(map(str, peak.windows))}")
    if told["next"]:
        click.echo(f"  from {told['next']['from']}: {told['next']['version']}")


def _lines(name: str, price: Price) -> list[list[str]]:
    per_call = _usd(price.per_call, NANO) if price.per_call else ""
    rows = [[name, *(_usd(pico, 10**6) for pico in price.figures()), per_call]]
    for tier in price.tiers:
        figures = [_usd(pico, 10**6) for pico in price.figures(tier.above + 1)]
        rows.append([f"{name}, prompts above {tier.above:,}", *figures, per_call])
    return rows


def _usd(amount: int, unit: int) -> str:
    """All the digits that there are: prices are not rounded."""
    return f"{(Decimal(amount) / unit).normalize():f}"
