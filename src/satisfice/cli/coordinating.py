"""`satisfice train-coordinator`."""

from __future__ import annotations

from pathlib import Path

import click

from .banks import bank_option
from .output import emit, json_option, table, usd
from .progressing import progress


@click.command()
@bank_option
@click.option("--worth", type=float, required=True, help="What a right answer is worth, in dollars.")
@click.option("--model", "models", multiple=True, help="Models to choose from (repeat; default: all of the bank).")
@click.option("--arm", "arms", multiple=True, help="Only these recorded conditions (repeat; see `bank info`).")
@click.option(
    "--evaluations", type=click.IntRange(50), default=4000, show_default=True, help="Of CMA-ES, for each gate."
)
@click.option(
    "--buckets", type=click.IntRange(0), default=0, show_default=True, help="Hashed words that the gate sees."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--anyway", is_flag=True, help="Write the gate even where it does not beat the best single model.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The policy file to write.")
@json_option
def train_coordinator(
    bank_path: Path,
    worth: float,
    models: tuple[str, ...],
    arms: tuple[str, ...],
    evaluations: int,
    buckets: int,
    seed: int,
    anyway: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Learn from a bank which model a question should go to: the gate of `experts`, by CMA-ES.

    \b
    satisfice train-coordinator --bank my-bank --worth 0.1 --out experts.json
    satisfice solve "..." --policy experts.json

    The gate is judged first, by gates that were trained on other folds: against the best single model and against
    chance. Where it does not beat the best single model, the policy that is written asks that model; --anyway writes
    the gate all the same.
    """
    from ..budgets.policy import Policy
    from ..core.errors import StoreError
    from ..experiments import Bank
    from ..experiments.cascading import main_arms
    from ..experiments.evolving import evolve_gate, judge_gate, policy_of
    from ..experiments.fitting import facts_of
    from ..experiments.gating import rows_of
    from ..experiments.tuning.choices import Choice
    from ..experiments.tuning.standing import Standing

    bank = Bank.open(bank_path).select(models=models or None, arms=arms or None)
    standing = Standing.of(bank.arms)
    bank = Bank(
        bank.questions,
        {group: row for group, row in bank.draws.items() if group[1:] in standing.kept},
        bank.manifest,
        bank.path,
    )
    conditions = main_arms(bank)
    names = models or tuple(sorted(conditions))
    rows = rows_of(bank, names, conditions)
    with progress("training gates", as_json):
        judged = judge_gate(rows, names, worth, evaluations=evaluations, buckets=buckets, seed=seed)
        evolved = evolve_gate(rows, worth, evaluations=evaluations, buckets=buckets, seed=seed)
    gain = judged.gain
    facts = {
        **facts_of(bank),
        "questions": judged.questions,
        "net_gain": gain.estimate,
        "net_gain_low": gain.low,
        **({"prompt": standing.prompt} if standing.prompt else {}),
    }
    if judged.beats or anyway:
        policy = policy_of(evolved, names, worth, facts, conditions)
    else:
        net = [
            sum(s[i] - d[i] / worth for s, d in zip(rows.success, rows.dollars, strict=True)) for i in range(len(names))
        ]
        best = names[net.index(max(net))]
        alone = Choice("single_shot", ((best, conditions[best]),))
        policy = Policy(name="single", strategy=alone.text, worth=worth, provenance=facts)
    try:
        policy.save(out)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror}") from error
    if as_json:
        emit({"policy": str(out), "strategy": policy.strategy, **judged.to_dict()})
        return
    rows_ = [
        ("learned gate", f"{judged.right.estimate:.3f}", usd(judged.usd), f"{judged.net.estimate:+.4f}"),
        (
            "best single",
            f"{judged.single_right.estimate:.3f}",
            usd(judged.single_usd),
            f"{judged.single_net.estimate:+.4f}",
        ),
    ]
    table(["", "right", "cost", "net"], rows_, title=f"{judged.questions} questions, cross-fitted", right="cost")
    told = f"{gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] right answers a question"
    says = "it cannot be told that the gate beats the best single model"
    if judged.beats or gain.high < 0:
        says = f"the gate {'beats' if judged.beats else 'is worse than'} the best single model"
    click.echo(f"{says}: {told}")
    chance = judged.over_random
    click.echo(f"against a model by chance: {chance.estimate:+.4f} [{chance.low:+.4f}, {chance.high:+.4f}]")
    for line in standing.notes(bank.manifest.get("conditions") or {}):
        click.echo(f"note: {line}")
    click.echo(f"{out}: {policy.strategy[:100]}")
