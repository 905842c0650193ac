"""`satisfice compare`: two ways to answer, side by side, question by question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError
from .curving import command_line, is_policy, measuring, opened_bank, policy_of, replayed, report_option, stems
from .measured import check_worths
from .output import emit, json_option, note

if TYPE_CHECKING:
    from ..experiments import Bank, Report
    from ..experiments.report import Row


@click.command()
@click.argument("names", nargs=-1, metavar="A B")
@measuring
@click.option("--strategy", "strategies", multiple=True, help="What both policies think by (default: their own).")
@click.option("--worth", type=float, help="What a right answer is worth, in dollars (default: the policy's).")
@report_option
@click.option("--pair", metavar="A,B", help="Which two of the report, where A and B are not given.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The folder to write.")
@json_option
def compare(
    names: tuple[str, ...],
    bank_path: Path | None,
    report_path: Path | None,
    worth: float | None,
    pair: str | None,
    out: Path,
    as_json: bool,
    **options: Any,
) -> int:
    """Set two policies (or strategies) side by side: what changed, on which questions, and is it significant?

    A and B are policy files, "declared" or "fit", or strategies as in `solve`; with --report, the names of its
    policies or strategies. What names no model and no temperature is asked of the other's.
    Written are compare.html (works offline), compare.json, compare.png and .svg.

    \b
    satisfice compare policy.json declared --bank my-bank --out compared
    satisfice compare self_consistency single_shot --bank small --model local/smollm2 --out compared
    satisfice compare policy.json single_shot --bank my-bank --unseen --out compared
    satisfice compare --report report.json --pair fitted,declared --worth 0.01 --out compared
    """
    from ..experiments import curves

    if pair and not names:
        names = tuple(part.strip() for part in pair.split(","))
    if len(names) != 2:
        raise CallerError(f"expected two things to compare, got {len(names)}: satisfice compare A B --bank my-bank")
    if (bank_path is None) == (report_path is None):
        raise CallerError("expected one of --bank and --report")
    if options["unseen"] and report_path is not None:
        raise CallerError("--report was measured already: --unseen goes with --bank")
    check_worths([worth] if worth is not None else [])
    texts: dict[str, str] = {}
    if report_path is not None:
        from ..experiments import Report
        from ..experiments.curves.comparing import pick

        report = Report.load(report_path)
        places = {"model": options["models"], "arm": options["arms"]}
        report = _only(report, places)
        a, b = (pick(report, name, worth) for name in names)
        said: tuple[str, ...] | None = names if a.worth == b.worth else None
    else:
        assert bank_path is not None
        opened = opened_bank(bank_path, options, names, narrow=False)
        texts = {question.id: question.text for question in opened.questions.values()}
        report, a, b = _both(opened, names, options, worth, as_json)
        said = stems(names)
    found = curves.compare(a, b, report, (said[0], said[1]) if said else None)
    made = curves.save_comparison(found, out, command=command_line(), texts=texts)
    if as_json:
        emit({**found.to_dict(), "files": {name: str(place) for name, place in made.items()}})
        return 0
    for line in report.warnings:
        note(f"warning: {line}")
    click.echo(found.says())
    if found.difference.usd is not None:
        from ..experiments.curves.comparison_page import amount, unit_of

        how = unit_of(found)
        click.echo(f"{how.title.capitalize()}: {amount(found.difference.usd, how)}.")
    click.echo(f"Exact sign test: {found.count('won')} questions won, {found.count('lost')} lost, p = {found.p:.3g}.")
    click.echo(f"\n{made['compare.html']}")
    return 0


def _both(
    bank: Bank, names: Sequence[str], options: dict[str, Any], worth: float | None, as_json: bool
) -> tuple[Report, Row, Row]:
    """The report of the first, and a row of each. What each is replayed on is settled before either is."""
    from ..budgets.policy import Policy
    from ..experiments.curves.sides import alike, side

    made = []
    for name, said in zip(names, stems(names), strict=True):
        policy = policy_of(name) if is_policy(name) else None
        asked = options["strategies"] if is_policy(name) else (name,)
        made.append(side(said, policy, bank, asked))
    sides = alike(*made, arms=options["arms"], every_arm=options["every_arm"])
    if worth is None:
        worth = next((s.policy.worth for s in sides if isinstance(s.policy, Policy) and s.policy.worth), None)
    found = []
    for one in sides:
        ((model, arm),) = one.places
        if not as_json:
            note(f"{one.name}: {one.called} on {model} ({arm})")
        told: dict[str, dict[str, Any]] = {"policies": {one.name: one.policy}, "strategies": {one.called: one.strategy}}
        report = replayed(one.bank, told, options, [worth] if worth is not None else None, as_json)
        rows = [row for row in report.rows if not row.baseline and row.each]
        if len(rows) != 1:
            raise CallerError(f"{one.name} could not be replayed on {model} ({arm}): {_why(report)}")
        found.append((report, rows[0]))
    (report, a), (_, b) = found
    return report, a, b


def _why(report: Report) -> str:
    return next((row.note for row in report.rows if not row.baseline and row.note), "no question was measured")


def _only(report: Report, places: dict[str, tuple[str, ...]]) -> Report:
    from dataclasses import replace

    rows = [r for r in report.rows if all(not want or getattr(r, key) in want for key, want in places.items())]
    return replace(report, rows=tuple(rows))
