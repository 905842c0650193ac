"""`satisfice plan`: what a query would be expected to bring at every price, before anything is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .output import emit, json_option, note, table, usd
from .solving import EMBEDDED, checked

if TYPE_CHECKING:
    from ..scheduler.planned import Forecast, Point

MANY = 1 << 20  # calls: no cap at all
WIDTH = 40  # characters of the longest bar


@click.command()
@click.argument("query", nargs=-1, required=True)
@click.option("--model", "models", multiple=True, help="Model, alias or pool; several are weighed against each other.")
@click.option("--answer", default="text", show_default=True, help="number, choice, text, json or code.")
@click.option("--choices", help="Options of a choice, comma-separated.")
@click.option("--check", "checks", multiple=True, metavar="NAME[:key=value,...]", help="A check of the answer.")
@click.option("--budget", type=float, help="Cap in dollars of the point that is marked.")
@click.option("--worth", type=float, help="What a right answer is worth, in dollars: the point that is marked.")
@click.option("--topic", default="", help="What the query is about, where the policy has learnt by that.")
@click.option("--policy", type=click.Path(), help="A policy file, as `satisfice fit` makes it.")
@click.option("--points", type=click.IntRange(1, 50), default=7, show_default=True, help="Points of the curve.")
@click.option(
    "--runs", type=click.IntRange(1, 10_000), default=60, show_default=True, help="Imagined runs of each point."
)
@click.option("--config", type=click.Path(), help="Another satisfice.toml.")
@json_option
def plan(query: tuple[str, ...], models: tuple[str, ...], config: str | None, as_json: bool, **options: Any) -> None:
    """What a query would be expected to bring, and to cost: nothing is sent, and nothing spent.

    \b
    satisfice plan "What is 17 + 25?" --answer number --model small --model large
    satisfice plan "..." --choices A,B,C,D --policy fitted.json --worth 0.50 --json

    Each line of the curve is one price: what a right answer is worth, the dollars that would be spent on average, and
    how likely the answer is then to be right, by what the policy believes. Without a fitted policy that is declared:
    good for comparing prices, not for promises.
    """
    from ..budgets.budget import Budget
    from ..scheduler.engine import Engine
    from ..scheduler.planned import plan as forecast

    engine = Engine(models or None, settings=config, policy=options["policy"], journal=False)
    if not models and not engine.settings.default:
        note(f"no model named: using the embedded {EMBEDDED}. Choose one or more with --model.")
        engine = Engine(EMBEDDED, settings=engine.settings, policy=options["policy"], journal=False)
    cap = options["budget"] if options["budget"] is not None else engine.settings.limits.usd
    calls = engine.settings.limits.calls or (MANY if cap is None else None)
    found = forecast(
        engine,
        " ".join(query),
        budget=Budget(usd=cap, calls=calls, worth=options["worth"]),
        answer=options["answer"],
        choices=[c.strip() for c in (options["choices"] or "").split(",") if c.strip()],
        checks=checked(options["checks"]),
        topic=options["topic"],
        points=options["points"],
        runs=options["runs"],
    )
    emit(found.to_dict()) if as_json else tell(found)


def tell(found: Forecast) -> None:
    """Shows it: the arms, then the curve."""
    arms = [
        (arm.arm, _share(arm.p), _between(arm.low, arm.high), usd(arm.usd), usd(arm.worst_usd), _source(arm.known))
        for arm in found.arms
    ]
    right = "P(right) 90% expected most"
    table(["arm", "P(right)", "90%", "expected", "most", "known by"], arms, right=right)
    click.echo("")
    points = sorted([*found.points, found.here], key=lambda point: point.worth)
    rows = [
        (
            ("> " if point is found.here else "  ") + usd(point.worth),
            usd(point.usd) + (f" +- {usd(point.spread)}" if point.spread > 1e-6 * point.usd else ""),
            _share(point.p),
            "#" * round(WIDTH * point.p),
            _bought(point),
        )
        for point in points
    ]
    table(["  right is worth", "spends", "P(right)", "", "buys, on average"], rows, right="P(right)")
    how = "fitted on a bank" if found.fitted else "declared, not measured"
    click.echo(f"\npolicy {found.policy}: {how}. > this request. Nothing was sent.")
    for text in found.notes:
        note(f"note: {text}")


def _bought(point: Point) -> str:
    if not point.bought:
        return "nothing: no answer is worth its price"
    first = dict(sorted(point.bought.items(), key=lambda kv: (kv[0] != point.first, -kv[1])))
    return ", ".join(f"{n:.2g} x {arm}" for arm, n in list(first.items())[:4])


def _share(p: float | None) -> str:
    return "" if p is None else f"{100 * p:.1f}%"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{100 * low:.0f}-{100 * high:.0f}%"


def _source(known: bool) -> str:
    return "its bank" if known else "its price"
