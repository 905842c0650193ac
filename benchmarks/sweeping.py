"""A thousand voting policies on a thousand questions in a hundred orders each, on one core, and the plans beside it.

OPENBLAS_NUM_THREADS=1 python benchmarks/sweeping.py experiments/banks/verifiers
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from satisfice.budgets.budget import Budget
from satisfice.experiments import Bank
from satisfice.experiments.measuring import Job, measure
from satisfice.experiments.replaying import BankTariff
from satisfice.experiments.sweeping import Vote, sweep_votes
from satisfice.strategies import SelfConsistency


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--policies", default=1000, show_default=True, help="Worths of a right answer, 3 to 3,000 calls.")
@click.option("--questions", default=1000, show_default=True, help="Where the bank has fewer they are repeated.")
@click.option("--resamples", default=100, show_default=True)
@click.option("--model")
@click.option("--arm")
def main(path: Path, policies: int, questions: int, resamples: int, model: str | None, arm: str | None) -> None:
    """See the module's docstring."""
    opened = Bank.open(path)
    model, arm = next((m, a) for m, a in opened.arms if model in (None, m) and arm in (None, a))
    bank = repeated(opened, model, arm, questions)
    cost = BankTariff(bank, {model: arm}).expected(model)
    votes = [Vote(float(worth)) for worth in np.geomspace(3 * cost, 3000 * cost, policies)]
    runs = policies * len(bank.questions) * resamples
    click.echo(f"{policies} policies x {len(bank.questions)} questions x {resamples} orders = {runs:.3g} runs")
    for again in ("first in the process", "again"):
        begun, worked = time.perf_counter(), time.process_time()
        sweep = sweep_votes(bank, votes, resamples=resamples)
        wall, busy = time.perf_counter() - begun, time.process_time() - worked
        click.echo(f"sweep, {again}: {wall:.2f} s ({busy:.2f} s of processor time)")
    per_run = busy / runs
    some = votes[:: max(1, policies // 8)][:8]
    few = tuple(bank.questions)[:: max(1, len(bank.questions) // 60)][:60]
    for walking, what in ((True, "counted (`walking`)"), (False, "by the plan")):
        worked, count = time.process_time(), 0
        for vote in some:
            part = measure(job_of(bank, model, arm, vote, few), walking=walking)
            count += sum(map(len, part.runs.values()))
        each = (time.process_time() - worked) / count
        click.echo(f"{what}: {1e6 * each:.1f} us a run; the sweep is {each / per_run:.0f} times as fast ({count} runs)")
    click.echo(f"accuracy {sweep.right.mean(axis=1).min():.3f} to {sweep.right.mean(axis=1).max():.3f}")


def repeated(bank: Bank, model: str, arm: str, count: int) -> Bank:
    """The bank's questions on one arm, under new names as often as it takes."""
    rows = list(bank.of_arm(model, arm).items())
    picked = [(f"{i}/{q}", q, row) for i in range(count) for q, row in [rows[i % len(rows)]]]
    known = {name: replace(bank.questions[q], id=name) for name, q, _ in picked}
    return Bank(known, {(name, model, arm): row for name, _, row in picked})


def job_of(bank: Bank, model: str, arm: str, vote: Vote, questions: tuple[str, ...]) -> Job:
    """The same vote as the plan replays it."""
    tariff = BankTariff(bank, {model: arm})
    policies, tariffs = dict.fromkeys(bank.folds, vote.policy), dict.fromkeys(bank.folds, tariff)
    budget = Budget(calls=bank.most, worth=vote.worth)
    return Job(bank, {model: arm}, SelfConsistency(), questions, budget, policies, tariffs, resamples=5)


if __name__ == "__main__":
    main()
