"""`satisfice evaluate` and `satisfice fit`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..core.errors import UnknownName
from .banks import bank_option
from .fitted import show_fitted
from .output import emit, json_option, note
from .progressing import progress


@click.command()
@bank_option
@click.option("--strategy", "strategies", multiple=True, help="As in `solve` (repeat; default: the policy's own).")
@click.option("--model", "models", multiple=True, help="Only these models (repeat).")
@click.option("--arm", "arms", multiple=True, help="Only these recorded conditions (repeat; see `bank info`).")
@click.option("--every-arm", is_flag=True, help="All recorded conditions of each model, not only its main one.")
@click.option(
    "--verifier",
    "verifiers",
    multiple=True,
    help="A recorded verifier as the check of every question (repeat; see `bank info`); best_of_n needs one.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    help='A policy file, "declared", or "fit": each fold by a policy fitted on the others (repeat).',
)
@click.option("--unseen", is_flag=True, help="Only questions that none of these policies was fitted on.")
@click.option("--budget", type=float, help="Hard cap in dollars for a question.")
@click.option("--calls", type=int, help="Cap on calls for a question (default: as many as were recorded).")
@click.option(
    "--worth", type=float, multiple=True, help="What a right answer is worth, in dollars (repeat: one row each)."
)
@click.option("--wrong", type=float, default=0.0, help="What a wrong answer costs, in dollars.")
@click.option(
    "--resamples",
    type=click.IntRange(1),
    help="In how many orders each question's draws are replayed (default: 20, fewer for what is slow to replay).",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--pair", "paired", multiple=True, help="A,B: the difference of two rows, by name or policy (repeat).")
@click.option("--metrics", is_flag=True, help="Frontier, AIQ, share of the oracle gap, pass@k and maj@k, routing.")
@click.option("--wide", is_flag=True, help="All columns: stops, misses, latency, calibration.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the whole report here, for `curve` and `compare`.")
@click.option("--engine", type=click.Choice(["local", "processes", "ray"]), default="local", show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Of the engine.")
@click.option("--ray-address", "address", help="A Ray cluster that runs already (default: one is started here).")
@json_option
def evaluate(
    bank_path: Path,
    strategies: tuple[str, ...],
    models: tuple[str, ...],
    arms: tuple[str, ...],
    verifiers: tuple[str, ...],
    policies: tuple[str, ...],
    worth: tuple[float, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Replay strategies on a bank: accuracy with intervals, spend, calibration, and the plain baselines beside them.

    \b
    satisfice evaluate --bank small
    satisfice evaluate --bank my-bank --strategy self_consistency --resamples 3
    satisfice evaluate --bank my-bank --policy fit --worth 0.01 --worth 0.1 --json
    satisfice evaluate --bank my-bank --policy tuned.json --unseen
    satisfice evaluate --bank my-bank --policy tuned.json --policy declared --pair tuned,declared
    satisfice evaluate --bank my-bank --strategy best_of_n --verifier judge --policy fit
    satisfice evaluate --bank my-bank --strategy self_consistency:samples=5 --strategy 'self_consistency:window=4'

    Each question is replayed in 20 orders of its draws, or in fewer where that would take long (a note says so). Of a
    model with several recorded conditions the main one is judged (the one with the most draws, and of
    equals the one whose single draw is right most often); --arm or --every-arm ask for others. A second table tells how
    much better each row is than a single draw, than fixed votes that cost as much, and than the first policy, paired by
    question.

    \b
    Exit code: 0, 2 the call is wrong, 5 every run of a strategy ended in a fault.
    """
    from ..budgets.budget import Budget
    from ..budgets.policy import Policy
    from ..experiments import Bank
    from ..experiments import evaluate as measure
    from ..experiments.contrasts import pairs
    from ..experiments.naming import policies_of
    from ..experiments.teams import asked_at, main_only
    from ..strategies.registry import recorded_strategy, strategy_of
    from .measured import check_worths, show, unseen_only

    check_worths(worth)

    opened = Bank.open(bank_path)
    for name in verifiers:
        if name not in opened.verifiers:
            raise UnknownName.of("recorded verifier", name, opened.verifiers)
    named = policies_of(policies)
    whole = opened.select(models=models or None, arms=arms or None)
    made = [policy for policy in named.values() if isinstance(policy, Policy)]
    chosen = unseen_only(whole, made) if options["unseen"] else whole
    left: list[str] = []
    if not arms and not options["every_arm"]:
        own = [recorded_strategy(policy.strategy) for policy in made if policy.strategy]
        chosen, left = main_only(chosen, {arm for one in own for arm in asked_at(chosen, one) or ()})
    calls = options["calls"] or (None if options["budget"] else chosen.most * (1 + len(verifiers)))
    with progress("replaying questions", as_json) as tell:
        report = measure(
            chosen,
            {name: strategy_of(name) for name in strategies} or None,
            verifiers=verifiers,
            budget=Budget(usd=options["budget"], calls=calls, wrong=options["wrong"]),
            worth=list(worth) or None,
            policies=named if len(named) > 1 else None,
            policy=next(iter(named.values()), None) if len(named) < 2 else None,
            resamples=options["resamples"],
            seed=options["seed"],
            progress=tell,
            engine=options["engine"],
            workers=options["workers"],
            address=options["address"],
            metrics=as_json or options["metrics"] or options["out"] is not None,
        )
    asked = [one for text in options["paired"] for one in pairs(report, text)]
    if asked:
        report = replace(report, comparisons=tuple(one.to_dict() for one in asked))
    if options["out"] is not None:
        report.save(options["out"])
    failed = [row.name for row in report.rows if not row.baseline and set(row.stops) == {"fault"}]
    if as_json:
        emit(report.to_dict() | ({"left_out": left} if left else {}))
        return 5 if failed else 0
    show(report, left, wide=options["wide"], metrics=options["metrics"])
    if len({model for model, _ in chosen.arms}) > 1 and not strategies:
        click.echo("note: auto, the allocator over several models, is slow to replay: --strategy auto asks for it")
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
