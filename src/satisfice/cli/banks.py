"""`satisfice bank`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import CallerError, StoreError
from .output import emit, json_option, table, usd
from .progressing import progress as progress
from .recording import from_runs, record

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
    satisfice bank merge my-bank other-bank --out both
    satisfice bank split both --folds 10 --out both-split
    """


bank.add_command(record)
bank.add_command(from_runs)


@bank.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder of the new bank.")
@click.option("--licence", default="", help="Under which the recordings may be used.")
@click.option(
    "--price", "prices", multiple=True, metavar="MODEL=IN/OUT", help="USD per million tokens, where unrecorded."
)
@click.option("--drop-dataset", "dropped", multiple=True, help="Leave a dataset out (repeat).")
@click.option("--requests", type=click.Path(path_type=Path), help="An OpenAI batch's input file, for its prompts.")
@click.option("--gold", type=click.Path(path_type=Path), help="Gold answers: .csv or .jsonl with id and gold.")
@click.option(
    "--kind", default="", help="Of the answers (number, choice, text, ...); found from the golds unless given."
)
@click.option("--scorer", default="", help="Whose scores are the labels, where an Inspect log has several.")
@click.option("--drop-unlabelled", is_flag=True, help="Leave out rows that have no label.")
@json_option
def import_(
    file: Path, out: Path, prices: tuple[str, ...], dropped: tuple[str, ...], as_json: bool, **more: Any
) -> None:
    """Make a bank of FILE: rows (.parquet, .csv, .jsonl), OpenAI batch output (.jsonl) or an Inspect AI log (.eval,
    .json).

    \b
    Columns of rows: dataset, question_id, question, gold, model, strategy, sample_index, answer, correct,
    prompt_tokens, completion_tokens, tokens_source, cost_usd, cost_source; and, where known, temperature, fold, kind,
    text, topic, passage, seconds. Needed are question, model, answer or text, and gold or correct.
    """
    from ..experiments import import_file

    with progress("importing rows", as_json) as tell:
        made = import_file(file, out, prices=dict(map(_price, prices)), drop_datasets=dropped, progress=tell, **more)
    _show_info(made, as_json)


def _price(text: str, option: str = "--price") -> tuple[str, Price]:
    from ..budgets.prices import Price

    model, _, amounts = text.rpartition("=")
    try:
        prompt, completion = (float(x) for x in amounts.split("/"))
    except ValueError:
        raise CallerError(
            f"{option} {text!r}: expected MODEL=IN/OUT in USD per million tokens, as gpt-4=30/60"
        ) from None
    return model, Price.per_million(prompt, completion)


@bank.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Check the hashes of its files, too.")
@json_option
def info(path: Path, verify: bool, as_json: bool) -> None:
    """What a bank holds. PATH is a folder, or the name of a bank that ships with satisfice."""
    from ..experiments import Bank

    _show_info(Bank.open(path, verify=verify), as_json)


@bank.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BANK BANK...")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder of the new bank.")
@click.option("--rename", "renames", multiple=True, metavar="OLD=NEW", help="A model of all banks but the first.")
@click.option("--reprice", "prices", multiple=True, metavar="MODEL=IN/OUT", help="USD per million tokens, for all.")
@json_option
def merge(paths: tuple[Path, ...], out: Path, renames: tuple[str, ...], prices: tuple[str, ...], as_json: bool) -> None:
    """Make one bank of several. The same question is one, the same draw is kept once; of two that only share their
    number, one gets another."""
    from ..experiments import Bank

    rename = dict(_pair(text) for text in renames)
    reprice = dict(_price(text, "--reprice") for text in prices)
    _free(out)
    made = Bank.merge(*map(Bank.open, paths), rename=rename, reprice=reprice).save(out)
    if not as_json:
        counts = made.manifest["merged"]
        click.echo(
            f"merged: {counts['same_questions']} questions and {counts['same_draws']} draws stood in two banks, "
            f"{counts['renumbered']} draws renumbered, {counts['refolded']} questions moved to a near-duplicate's fold"
        )
    _show_info(made, as_json)


@bank.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--folds", default=10, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other folds.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder of the new bank.")
@json_option
def split(path: Path, folds: int, seed: int, out: Path, as_json: bool) -> None:
    """Deal a bank's questions to folds anew. The same question, near-duplicates, and questions on one passage always
    share a fold."""
    from collections import Counter

    from ..experiments import Bank
    from ..experiments.banking.splitting import duplicates

    _free(out)
    made = Bank.open(path).split(folds, seed=seed).save(out)
    sizes = Counter(question.fold for question in made.questions.values())
    groups = duplicates(made)
    facts = {
        "path": str(out),
        "questions": len(made.questions),
        "clusters": made.manifest["split"]["clusters"],
        "largest": max(map(len, groups), default=1),
        "folds": {str(fold): sizes[fold] for fold in sorted(sizes)},
        "seed": seed,
    }
    if as_json:
        emit(facts)
        return
    click.echo(
        f"{out}: {facts['questions']} questions in {facts['clusters']} clusters (largest: {facts['largest']}) in "
        f"{len(sizes)} folds of {min(sizes.values())} to {max(sizes.values())}"
    )


def _free(out: Path) -> None:
    """Before the work, not after it."""
    if out.exists():
        raise StoreError(f"{out} exists already: remove it, or write the bank somewhere else", path=str(out))


def _pair(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if not old.strip() or not new.strip():
        raise CallerError(f"--rename {text!r}: expected OLD=NEW, as gpt-4=gpt-4-0613")
    return old.strip(), new.strip()


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
    _show_more(facts, sorted({place[1] for place, row in opened.draws.items() if any(d.seconds is None for d in row)}))


def _show_more(facts: dict[str, Any], untimed: Sequence[str]) -> None:
    """Runs, models, and what stands in the way of a fair measurement."""
    if facts["runs"]:
        click.echo()
        runs = (
            (n if len(n) <= 60 else n[:59] + "…", r["questions"], r["runs"], r["effects"], f"{r['accuracy']:.3f}")
            for n, r in facts["runs"].items()
        )
        table(["strategy", "questions", "runs", "effects", "accuracy"], runs, right="questions runs effects accuracy")
    click.echo()
    for model in sorted({*facts["prices"], *facts["fingerprints"]}):
        told, price = facts["fingerprints"].get(model), facts["prices"].get(model)
        listed = f", {price['prompt'] / 1e6:g}/{price['completion'] / 1e6:g} USD per million tokens" if price else ""
        click.echo(f"{model}: fingerprint {told or 'unknown'}{listed}")
    parts = sum(facts["parts"].values())
    latency = "known" if facts["latency_known"] else "unknown"
    if facts["latency_known"] and untimed:
        latency = f"not recorded for {', '.join(untimed)}"
    click.echo(f"licence: {facts['licence'] or 'unknown'}; latency {latency}; {parts} part files")
    if facts["near_duplicates"]:
        groups = facts["near_duplicates"]
        click.echo(f"groups of near-duplicates: {len(groups)}, as {', '.join(groups[0][:2])}")
    for warning in facts["warnings"]:
        click.echo(f"warning: {warning}")
