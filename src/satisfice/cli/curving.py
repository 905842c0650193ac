"""`satisfice curve`: was it worth it, as a page and pictures; and what `satisfice compare` shares with it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError, UnknownName
from .measured import unseen_only
from .output import emit, json_option, note
from .progressing import progress

if TYPE_CHECKING:
    from ..experiments import Bank, Report

POINTS, FEW = 8, 4  # default worths, and where each of them takes long
ORDERS = 3
LEAST, MOST = 10.0, 3000.0  # default worths: this many draws of the cheapest model, and of the dearest


def measuring(command: Any) -> Any:
    """The options of whatever replays a bank."""
    for option in reversed(
        (
            click.option("--bank", "bank_path", type=click.Path(path_type=Path), help="The bank to replay."),
            click.option("--model", "models", multiple=True, help="Only these models (repeat)."),
            click.option("--arm", "arms", multiple=True, help="Only these recorded conditions (repeat)."),
            click.option("--every-arm", is_flag=True, help="All conditions of each model, not only its main one."),
            click.option(
                "--verifier", "verifiers", multiple=True, help="A recorded verifier as every question's check."
            ),
            click.option("--unseen", is_flag=True, help="Only questions that none of the policies was fitted on."),
            click.option("--wrong", type=float, default=0.0, help="What a wrong answer costs, in dollars."),
            click.option(
                "--resamples",
                type=click.IntRange(1),
                help="In how many orders each question's draws are replayed (default: 3, and 1 for what is slow).",
            ),
            click.option("--seed", type=int, default=0, show_default=True),
            click.option(
                "--engine",
                type=click.Choice(["local", "processes", "ray"]),
                default="local",
                show_default=True,
                help="Who does the work; the figures are the same.",
            ),
            click.option("--workers", type=click.IntRange(1), default=1, show_default=True),
        )
    ):
        command = option(command)
    return command


report_option = click.option(
    "--report",
    "report_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw what `evaluate --out` saved, instead of replaying a bank.",
)


@click.command()
@measuring
@click.option("--policy", "policies", multiple=True, help='A policy file, "declared" or "fit" (repeat: a line each).')
@click.option("--strategy", "strategies", multiple=True, help="As in `solve` (repeat: a line each).")
@click.option(
    "--worth",
    "worths",
    multiple=True,
    metavar="DOLLARS|LOW:HIGH[/POINTS]",
    help="What a right answer is worth (repeat), or a range of them. Default: 8 points (4 of what is slow to replay) "
    "from 10 draws of the cheapest model to 3,000 of the dearest.",
)
@click.option("--axis", type=click.Choice(["usd", "tokens", "seconds"]), help="Of the pictures (the page has all).")
@report_option
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The folder to write.")
@json_option
def curve(
    bank_path: Path | None,
    report_path: Path | None,
    worths: tuple[str, ...],
    out: Path,
    axis: Any,
    as_json: bool,
    **options: Any,
) -> int:
    """Accuracy against spend: replay policies on a bank at growing worth of a right answer, beside the baselines.

    Written are index.html (interactive, works offline), accuracy-spend.png and .svg, topics, reliability and money
    likewise, points.csv and curve.json.

    \b
    satisfice curve --bank small --out curve
    satisfice curve --bank my-bank --policy declared --policy policy.json --worth 0.001:1/6 --out curve
    satisfice curve --report report.json --axis tokens --out curve
    """
    from ..experiments.curves import curves_of, save

    if (bank_path is None) == (report_path is None):
        raise CallerError("expected one of --bank and --report")
    if report_path is not None:
        if worths or options["policies"] or options["strategies"] or options["unseen"]:
            raise CallerError(
                "--report was measured already: --policy, --strategy, --worth and --unseen go with --bank"
            )
        from ..experiments import Report

        report = Report.load(report_path)
    else:
        assert bank_path is not None
        opened = opened_bank(bank_path, options, options["policies"])
        slow = _slow(opened, _asked(opened, options))
        dollars = worths_of(worths) or default_worths(opened, FEW if slow else POINTS)
        report = _measure(opened, options, dollars, as_json)
        if slow:
            note(f"slow to replay: {len(dollars or [0])} worths, {options['resamples'] or 1} orders (--resamples)")
    made = save(report, out, axis=axis, command=command_line())
    curves = curves_of(report)
    if as_json:
        emit({"files": {name: str(place) for name, place in made.items()}, "questions": curves.questions})
        return 0
    from ..experiments.curves.page import finding

    for line in (*finding(curves), *curves.warnings):
        click.echo(line)
    for line in curves.left_out:
        note(f"not drawn: {line}")
    click.echo(f"\n{made['index.html']}\nand {', '.join(name for name in made if name != 'index.html')}")
    return 0


def worths_of(texts: Sequence[str]) -> list[float]:
    """Worths in dollars: single ones, and ranges LOW:HIGH or LOW:HIGH/POINTS on a log scale."""
    found: list[float] = []
    for text in texts:
        span, _, points = text.partition("/")
        low, colon, high = span.partition(":")
        try:
            ends = [float(low)] + ([float(high)] if colon else [])
            count = int(points) if points else POINTS
        except ValueError:
            ends, count = [], 0
        good = bool(ends) and all(isfinite(e) and e > 0 for e in ends) and count >= 2 and (colon or not points)
        if not good or (colon and ends[0] >= ends[1]):
            raise CallerError(
                f"--worth {text!r}: expected dollars above zero, as 0.01, or LOW:HIGH/POINTS, as 0.001:1/6"
            )
        found += spread(ends[0], ends[1], count) if colon else ends
    return sorted(set(found))


def spread(low: float, high: float, points: int) -> list[float]:
    """Worths from low to high in equal ratios, to three digits."""
    return [float(f"{low * (high / low) ** (k / (points - 1)):.3g}") for k in range(points)]


def default_worths(bank: Bank, points: int = POINTS) -> list[float] | None:
    """So many worths, from 10 mean draws of the cheapest arm to 3,000 of the dearest; None where a cost is not
    known."""
    means = []
    for model, arm in bank.arms:
        costs = [draw.nanos for draws in bank.of_arm(model, arm).values() for draw in draws]
        known = [cost for cost in costs if cost is not None]
        if not known or len(known) < len(costs):
            return None
        means.append(sum(known) / len(known) / 1e9)
    if not means or min(means) <= 0:
        return None
    return spread(LEAST * min(means), MOST * max(means), points)


def opened_bank(path: Path, options: dict[str, Any], names: Sequence[str] = (), narrow: bool = True) -> Bank:
    """The bank, with the models and conditions that are asked for; `narrow`: else with the main condition of each
    model. `names`: of policies, whose questions --unseen leaves out."""
    from ..budgets.policy import Policy
    from ..experiments import Bank

    opened = Bank.open(path)
    for name in options["verifiers"]:
        if name not in opened.verifiers:
            raise UnknownName.of("recorded verifier", name, opened.verifiers)
    chosen = opened.select(models=options["models"] or None, arms=options["arms"] or None)
    if options["unseen"]:
        made = [one for one in map(policy_of, filter(is_policy, names)) if isinstance(one, Policy)]
        chosen = unseen_only(chosen, made)
    if options["arms"] or options["every_arm"] or not narrow:
        return chosen
    from ..experiments.teams import asked_at, main_only

    asked = {arm for one in _own(chosen, options) for arm in asked_at(chosen, one) or ()}
    chosen, left = main_only(chosen, asked)
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        note(f"only the main arm of each model; left out: {'; '.join(left[:3])}{more} (--arm NAME, or --every-arm)")
    return chosen


def _own(bank: Bank, options: dict[str, Any]) -> list[Any]:
    """What the policies that are asked for think by themselves."""
    from ..experiments.naming import default_strategies

    made = [one for one in map(policy_of, options.get("policies") or ()) if one not in (None, "fit")]
    return [strategy for one in made if one.strategy for strategy in default_strategies(bank, one).values()]


def _slow(bank: Bank, asked: Sequence[Any]) -> bool:
    """Whether anything has to be replayed plan by plan, at some 50 ms a run."""
    from ..budgets.budget import Budget
    from ..experiments.retracing import recorded_as
    from ..experiments.walking import walkable

    return not all(walkable(one, Budget(calls=bank.most), 1) or recorded_as(bank, one) for one in asked)


def _asked(bank: Bank, options: dict[str, Any]) -> list[Any]:
    """The strategies that are replayed."""
    from ..strategies.registry import strategy_of

    return [strategy_of(name) for name in options["strategies"]] or _own(bank, options)


def policy_of(text: str) -> Any:
    """A policy as `evaluate` takes it: a file's, "fit", or None for the declared one."""
    from ..budgets.policy import Policy

    return None if text == "declared" else "fit" if text == "fit" else Policy.load(text)


def is_policy(name: str) -> bool:
    """Whether a name is that of a policy, and not of a strategy."""
    return name in ("declared", "fit") or Path(name).is_file()


def stems(names: Sequence[str]) -> tuple[str, ...]:
    """Policies by the names of their files, where these differ."""
    stems = tuple(Path(name).stem if Path(name).is_file() else name for name in names)
    return stems if len(set(stems)) == len(stems) else tuple(names)


def _measure(bank: Bank, options: dict[str, Any], worths: list[float] | None, as_json: bool) -> Report:
    from ..strategies.registry import strategy_of

    names = options.get("policies") or ()
    # Without either, what is quick: `auto` over several models takes minutes where voting takes seconds.
    wanted = options["strategies"] or (() if names else ("self_consistency",))
    told = {
        "policies": dict(zip(stems(names), map(policy_of, names), strict=True)),
        "strategies": {name: strategy_of(name) for name in wanted},
    }
    return replayed(bank, told, options, worths, as_json)


def replayed(
    bank: Bank, told: dict[str, dict[str, Any]], options: dict[str, Any], worths: list[float] | None, as_json: bool
) -> Report:
    """`told`: the policies and the strategies by name, where there are any."""
    from ..budgets.budget import Budget
    from ..experiments import evaluate

    calls = bank.most * (1 + len(options["verifiers"]))
    slow = _slow(bank, list(told["strategies"].values()) or _own(bank, options))
    with progress("replaying questions", as_json) as tell:
        return evaluate(
            bank,
            told["strategies"] or None,
            verifiers=options["verifiers"],
            budget=Budget(calls=calls, wrong=options["wrong"]),
            worth=worths,
            policies=told["policies"] or None,
            resamples=options["resamples"] or (1 if slow else ORDERS),
            seed=options["seed"],
            progress=tell,
            engine=options["engine"],
            workers=options["workers"],
        )


def command_line() -> str:
    """What was called, as one would type it."""
    name = Path(sys.argv[0]).name
    return shlex.join(["satisfice", *sys.argv[1:]]) if name.startswith(("satisfice", "__main__")) else ""
