"""`satisfice evaluate` and `satisfice fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.errors import UnknownName
from .banks import bank_option
from .fitted import show_fitted
from .output import emit, json_option, note, table
from .progressing import progress


@click.command()
@bank_option
@click.option("--strategy", "strategies", multiple=True, help="As in `solve` (repeat; default: self_consistency).")
@click.option("--model", "models", multiple=True, help="Only these models (repeat).")
@click.option("--arm", "arms", multiple=True, help="Only these recorded conditions (repeat; see `bank info`).")
@click.option(
    "--verifier",
    "verifiers",
    multiple=True,
    help="A recorded verifier as the check of every question (repeat; see `bank info`); best_of_n needs one.",
)
@click.option("--policy", help='A policy file, or "fit": every fold is judged by a policy fitted on the others.')
@click.option("--budget", type=float, help="Hard cap in dollars for a question.")
@click.option("--calls", type=int, help="Cap on calls for a question (default: as many as were recorded).")
@click.option(
    "--worth", type=float, multiple=True, help="What a right answer is worth, in dollars (repeat: one row each)."
)
@click.option("--wrong", type=float, default=0.0, help="What a wrong answer costs, in dollars.")
@click.option(
    "--resamples",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="In how many orders each question's draws are replayed; fewer are quicker, and noisier.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@json_option
def evaluate(
    bank_path: Path,
    strategies: tuple[str, ...],
    models: tuple[str, ...],
    arms: tuple[str, ...],
    verifiers: tuple[str, ...],
    policy: str | None,
    worth: tuple[float, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Replay strategies on a bank: accuracy with intervals, spend, calibration, and the plain baselines beside them.

    \b
    satisfice evaluate --bank my-bank --strategy self_consistency --resamples 3
    satisfice evaluate --bank my-bank --policy fit --worth 0.01 --worth 0.1 --json
    satisfice evaluate --bank my-bank --strategy best_of_n --verifier judge --policy fit
    satisfice evaluate --bank my-bank --strategy self_consistency:samples=5 --strategy 'self_consistency:window=4'

    Each question is replayed in 20 orders of its draws; where that takes long, --resamples 3 is quicker, with more
    noise.

    \b
    Exit code: 0, 2 the call is wrong, 5 every run of a strategy ended in a fault.
    """
    from ..budgets.policy import Policy
    from ..experiments import Bank
    from ..experiments import evaluate as measure
    from ..experiments.report import notes
    from ..strategies.registry import strategy_of

    opened = Bank.open(bank_path)
    for name in verifiers:
        if name not in opened.verifiers:
            raise UnknownName.of("recorded verifier", name, opened.verifiers)
    calls = options["calls"] or (None if options["budget"] else opened.most * (1 + len(verifiers)))
    from ..budgets.budget import Budget

    with progress("replaying questions", as_json) as tell:
        report = measure(
            opened,
            {name: strategy_of(name) for name in strategies or ("self_consistency",)},
            models=models or None,
            arms=arms or None,
            verifiers=verifiers,
            budget=Budget(usd=options["budget"], calls=calls, wrong=options["wrong"]),
            worth=list(worth) or None,
            policy="fit" if policy == "fit" else Policy.load(policy) if policy else None,
            resamples=options["resamples"],
            seed=options["seed"],
            progress=tell,
        )
    failed = [row.name for row in report.rows if not row.baseline and set(row.stops) == {"fault"}]
    if as_json:
        emit(report.to_dict())
        return 5 if failed else 0
    rows = report.table()
    columns = [c for c in rows[0] if any(row[c] for row in rows)] if rows else []
    table(
        columns, ([row[c] for c in columns] for row in rows), title=f"{report.bank['questions']} questions; * baseline"
    )
    click.echo(f"intervals: {report.settings['interval']}")
    for line in notes(report.rows):
        click.echo(f"note: {line}")
    for name in dict.fromkeys(failed):
        note(f"error: every run of {name} ended in a fault: try it with `satisfice solve --strategy`, which says why")
    return 5 if failed else 0


@click.command()
@bank_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The policy file to write.")
@json_option
def fit(bank_path: Path, out: Path, as_json: bool) -> None:
    """Fit a policy on a bank: what votes and verdicts are worth, what another draw brings, how long replies are.

    `solve --policy` and `evaluate --policy` take it. Learnt are: voting, where 20 questions or more have several draws
    of a model (with tables of when to stop, so that live runs need not make them); of each recorded verifier, how its
    score becomes P(right); chains, which say what one more draw under a verifier brings; lengths of replies; and
    ladders of cascades, where several models answered the same questions. It takes up to a minute.

    \b
    satisfice fit --bank my-bank --out policy.json
    """
    from ..core.errors import StoreError
    from ..experiments import Bank
    from ..experiments import fit as learn

    opened = Bank.open(bank_path)
    with progress("fitting", as_json):
        policy = learn(opened)
    try:
        policy.save(out)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror}") from error
    if as_json:
        emit({"policy": str(out), **policy.model_dump(mode="json")})
    else:
        show_fitted(bank_path, out, policy)
