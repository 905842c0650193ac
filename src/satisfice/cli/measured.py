"""How an evaluation is shown to people: a table that fits a terminal, paired differences, then what to mind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError
from .output import table

if TYPE_CHECKING:
    from ..budgets.policy import Policy
    from ..experiments import Bank
    from ..experiments.report import Report

WIDTH = 119
LONGEST = 46  # letters of a name
NOTED = 6  # lines on fixed votes
COMPARED = 24  # lines of comparisons, beyond which they are left to --json and --pair
SHY = ("tokens", "p50", "log loss", "brier", "ece", "p99", "net")  # left out in this order where it gets too wide
NAMES = ("strategy", "model", "arm", "policy")
WIDER = ("answered", "brier", "log loss", "stops", "misses")
SMALL = 0.01  # dollars a question, below which a thousand questions are spoken of
FIXED = "fixed votes at the same cost"


def check_worths(worths: Iterable[float]) -> None:
    """Raises `CallerError` for a worth of a right answer that no answer could be worth asking for."""
    for worth in worths:
        if not (isfinite(worth) and worth > 0):
            raise CallerError(
                f"--worth {worth:g}: expected dollars above zero, as 0.01: an answer that is worth nothing is not "
                "worth a call"
            )


def unseen_only(bank: Bank, policies: Sequence[Policy]) -> Bank:
    """The questions of the folds that no policy was fitted on. Raises `CallerError` where there are none."""
    from ..experiments.unseen import unseen_folds

    folds = [unseen_folds(policy, bank) for policy in policies]
    left = [fold for fold in bank.folds if all(known is None or fold in known for known in folds)]
    if not left:
        text = (
            "every question of this bank was used to fit a policy: `tune --hold-out` leaves some, or take another bank"
        )
        raise CallerError(f"--unseen: {text}")
    return bank.select(folds=left)


def show(report: Report, left: Sequence[str] = (), *, wide: bool = False, metrics: bool = False) -> None:
    """The whole report: rows, differences, metrics where asked, notes, warnings. `left`: arms that were not judged."""
    small = max((row.usd.estimate for row in report.rows if row.usd), default=0.0) < SMALL
    for line in report.warnings:
        click.echo(f"warning: {line}")
    _rows(report, wide, 1000 if small else 1)
    _differences(report.comparisons, 1000 if small else 1)
    if metrics:
        from ..experiments.summarising import lines

        for title, columns, rows in lines(report.metrics):
            click.echo(f"\n{title}")
            table(columns, ([short(cell) for cell in row] for row in rows))
    from ..experiments.report import notes

    click.echo()
    click.echo(f"intervals: {report.settings['interval']}; {report.settings['resamples']} orders of each question")
    if left:
        click.echo(f"note: only the main arm of each model; left out: {_some(left)} (--arm NAME, or --every-arm)")
    for line in notes(report.rows):
        click.echo(f"note: {line}")


def _rows(report: Report, wide: bool, times: int) -> None:
    if not report.rows:
        return
    rows = report.table(times)
    per = "1k" if times > 1 else "question"
    titles = {"usd": f"$ per {per}", "questions": "n", "net": f"net $ per {per}"}
    columns = [c for c in rows[0] if any(row[c] not in ("", "-") for row in rows)]
    said = [f"{report.bank['questions']} questions"]
    if not wide:
        columns = [c for c in columns if c not in WIDER or (c == "misses" and any(r[c] != "0" for r in rows))]
        for column in ("model", "arm", "policy", "worth", "questions"):
            values = {row[column] for row in rows} - {"", "-"}
            if column in columns and len(values) == 1 and all(_told(row, column) for row in rows):
                columns.remove(column)
                said += [] if column == "questions" else [f"{column} {next(iter(values))}"]
        rows, columns = _fitting(rows, columns, titles)
    body = ([row[c] for c in columns] for row in rows)
    click.echo("; ".join([*said, "* baseline"] + (["dollars of 1,000 questions"] if times > 1 else [])))
    table([titles.get(c, c) for c in columns], body, right="n tokens calls p50 p99 ece misses")


def _fitting(
    rows: Sequence[Mapping[str, str]], columns: Sequence[str], titles: Mapping[str, str]
) -> tuple[list[dict[str, str]], list[str]]:
    """The rows in a table that is not too wide: names get shorter first, then columns go, then names again."""
    kept, found = list(columns), [dict(row) for row in rows]
    for longest, shy in ((LONGEST, ()), (32, ()), (32, SHY), (24, ())):
        for column in (None, *shy):
            if column in kept:
                kept.remove(column)
            found = [{c: short(row[c], longest) if c in NAMES else row[c] for c in kept} for row in rows]
            if _width([titles.get(c, c) for c in kept], kept, found) <= WIDTH:
                return found, kept
    return found, kept


def _told(row: Mapping[str, str], column: str) -> bool:
    """Whether nothing is lost where the column is left out: rows across models are of none in particular."""
    return row[column] not in ("", "-") or column in ("policy", "worth") or row["strategy"].endswith("*")


def _width(titles: Iterable[str], columns: Iterable[str], rows: Sequence[Mapping[str, str]]) -> int:
    return sum(2 + max(len(t), *(len(row[c]) for row in rows)) for t, c in zip(titles, columns, strict=True))


def _differences(comparisons: Sequence[Mapping[str, Any]], times: int) -> None:
    if not comparisons:
        return
    shown = comparisons
    if len(comparisons) > COMPARED:
        shown = [one for one in comparisons if one["against"] != FIXED][:COMPARED]
    several = {key: len({one[key] for one in shown}) > 1 for key in ("policy", "model", "worth", "questions")}
    places = {(one["model"], one["arm"], one["worth"]) for one in shown}
    if len({place[:2] for place in places}) == len(places):
        several["worth"] = False  # each model has its own: the first table tells it
    before = [key for key, many in several.items() if many]
    columns = ["strategy", *before, "less", "accuracy", "$", "net $"]
    rows = []
    for one in shown:
        cells = {**one, "worth": "-" if one["worth"] is None else f"${one['worth']:.3g}"}
        against = one["against"] + (f" {one['note']}" if one["note"].startswith("on ") else "")
        middle = [short(str(cells[key]), 22) for key in before]
        usd = "same" if one["against"] == FIXED else _half(one["usd"], times)
        rows.append([short(one["row"], 24), *middle, short(against, 28), _signed(one["accuracy"])])
        rows[-1] += [usd, _half(one["net"], times)]
    said = "" if several["questions"] else f"; {shown[0]['questions']} questions"
    click.echo(
        f"\ndifferences, paired by question{said}; dollars of {'1,000 questions' if times > 1 else 'a question'}"
    )
    table(columns, rows, right="questions")
    for one in [one for one in shown if one["against"] == FIXED][:NOTED]:
        click.echo(f"fixed votes at the cost of {one['row']} on {short(one['model'])}: {one['note']}")
    if len(shown) < len(comparisons):
        click.echo(f"({len(comparisons) - len(shown)} more in --json; --pair A,B shows those of two rows)")


def _signed(interval: Mapping[str, float | None] | None) -> str:
    if interval is None or interval["estimate"] is None:
        return "-"
    said = ["?" if value is None else f"{value:+.3f}" for value in interval.values()]
    return f"{said[0]} [{said[1]}, {said[2]}]"


def _half(interval: Mapping[str, float | None] | None, times: int) -> str:
    """The estimate, and half the width of its interval."""
    if interval is None or None in interval.values():
        return "-"
    estimate, low, high = (times * (value or 0.0) for value in interval.values())
    return f"{estimate:+.2g} ±{(high - low) / 2:.1g}"


def short(text: str, most: int = LONGEST) -> str:
    """A name that fits a column, without its middle; of many models, how many they are."""
    if text.count(" + ") > 1 and len(text) > 24 and " [" not in text:
        return f"{text.count(' + ') + 1} models"
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - half]}…{text[-half:]}"


def _some(names: Sequence[str]) -> str:
    return "; ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
