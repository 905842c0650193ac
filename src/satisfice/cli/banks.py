"""`satisfice bank`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError
from .output import emit, json_option, table, usd
from .progressing import progress as progress

if TYPE_CHECKING:
    from ..budgets.prices import Price
    from ..experiments import Bank

bank_option = click.option(
    "--bank", "bank_path", required=True, type=click.Path(path_type=Path), help="The bank's folder."
)


@click.group()
def bank() -> None:
    """Banks: recorded samples with their answers, costs and labels, to replay for nothing.

    \b
    satisfice bank import samples.parquet --out my-bank
    satisfice bank info my-bank
    """


@bank.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder of the new bank.")
@click.option("--licence", default="", help="Under which the recordings may be used.")
@click.option(
    "--price", "prices", multiple=True, metavar="MODEL=IN/OUT", help="USD per million tokens, where unrecorded."
)
@click.option("--drop-dataset", "dropped", multiple=True, help="Leave a dataset out (repeat).")
@json_option
def import_(
    file: Path, out: Path, licence: str, prices: tuple[str, ...], dropped: tuple[str, ...], as_json: bool
) -> None:
    """Make a bank of a .parquet, .csv or .jsonl FILE.

    \b
    Columns: dataset, question_id, question, gold, model, strategy, sample_index, answer, correct, prompt_tokens,
    completion_tokens, tokens_source, cost_usd, cost_source; and, where known, temperature and fold.
    """
    from ..experiments import import_file

    with progress("importing rows", as_json) as tell:
        made = import_file(
            file, out, licence=licence, prices=dict(map(_price, prices)), drop_datasets=dropped, progress=tell
        )
    _show_info(made, as_json)


def _price(text: str) -> tuple[str, Price]:
    from ..budgets.prices import Price

    model, _, amounts = text.rpartition("=")
    try:
        prompt, completion = (float(x) for x in amounts.split("/"))
    except ValueError:
        raise CallerError(
            f"--price {text!r}: expected MODEL=IN/OUT in USD per million tokens, as gpt-4=30/60"
        ) from None
    return model, Price.per_million(prompt, completion)


@bank.command()
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def info(path: Path, as_json: bool) -> None:
    """What a bank holds."""
    from ..experiments import Bank

    _show_info(Bank.open(path), as_json)


def _recorded(opened: Bank) -> list[dict[str, Any]]:
    """Of each recorded verifier: its name, how many verdicts there are, how many unknown, and the mean cost of one
    (None where some cost is not known)."""
    rows = []
    for name in opened.verifiers:
        said = [told[name] for told in opened.verdicts.values() if name in told]
        costs = [one.nanos for one in said if one.nanos is not None]
        mean = sum(costs) / len(costs) / 1e9 if len(costs) == len(said) else None
        unknown = sum(one.score is None for one in said)
        rows.append({"name": name, "verdicts": len(said), "unknown": unknown, "mean_usd": mean})
    return rows


def _show_info(opened: Bank, as_json: bool) -> None:
    recorded = _recorded(opened)
    facts = {**opened.info(), "recorded": recorded}
    if as_json:
        emit(facts)
        return
    draws = facts["draws"]
    click.echo(
        f"{facts['path']}: {facts['questions']} questions, {facts['candidates']} candidates, {draws['min']} to "
        f"{draws['max']} draws of a question per arm, {facts['folds']} folds"
    )
    cells = (
        (
            c["dataset"],
            c["model"],
            c["arm"],
            c["questions"],
            c["draws"],
            f"{c['accuracy']:.3f}",
            usd(c["mean_usd"]) if c["cost_known"] else "unknown",
            f"{c['mean_tokens']:.0f}",
        )
        for c in facts["cells"]
    )
    columns = ["dataset", "model", "arm", "questions", "draws", "accuracy", "cost/draw", "tokens/draw"]
    table(columns, cells, right="questions draws accuracy cost/draw tokens/draw")
    if recorded:
        click.echo()
        told = (
            (r["name"], r["verdicts"], r["unknown"], "unknown" if r["mean_usd"] is None else usd(r["mean_usd"]))
            for r in recorded
        )
        table(["verifier", "verdicts", "unknown", "cost/verdict"], told, right="verdicts unknown cost/verdict")
