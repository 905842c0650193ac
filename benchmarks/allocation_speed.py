"""What one allocation decision costs: the best course of each of 60 arms, and the choice among them.

    OPENBLAS_NUM_THREADS=1 python benchmarks/allocation_speed.py [--arms 60] [--rounds 300]

Processor time of this process (`time.process_time`), so that other programs on the machine do not count. Warm: the
policy's tables of this question are kept, as they are from the second decision of a run on. Every round decides about
other evidence at another price. Cold: the first decision about a new question.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from random import Random

import click

from satisfice.budgets.portfolio import ArmBelief, Portfolio
from satisfice.budgets.portfolio_world import Arm, World
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.core.belief import Terms
from satisfice.scheduler.decisions import judge

PRICES = (0.5, 200.0)  # value per dollar: from one at which most is worth buying to one at which nothing is


@click.command()
@click.option("--arms", default=60)
@click.option("--rounds", default=300)
def main(arms: int, rounds: int) -> None:
    """See the module's docstring."""
    dice = Random(0)
    keys = tuple(f"single_shot@model{i}" for i in range(arms))
    costs = [10 ** dice.uniform(-4, -1.5) for _ in keys]
    known = {key: Arm(dice.gauss(1.5, 1.0), dice.uniform(1, 2.5), 1.5, 0.02, 0.1) for key in keys}
    world = World(known, kappa=3.0, alike=(-0.25, 0.4), middle=1.4, fitted=True)
    priors = replace(DEFAULT_PRIORS, allocation=world)
    click.echo(f"{arms} arms, {rounds} rounds, microseconds of processor time: median, 90%, 99%")
    for text, votes in (
        ("nothing seen", ()),
        ("one answer", ((0, 0),)),
        ("two that agree", ((0, 0), (1, 0))),
        ("two that differ", ((0, 0), (1, 1))),
        ("three, two answers", ((0, 0), (1, 1), (2, 0))),
        ("five, three answers", ((0, 0), (1, 1), (2, 0), (3, 2), (4, 0))),
    ):
        for choices in (4, 0):
            cases = []
            for _ in range(rounds):
                order = dice.sample(range(arms), arms)
                cast = tuple((order[arm], answer) for arm, answer in votes)
                low, high = PRICES
                price = low * (high / low) ** dice.random()
                portfolio = Portfolio(keys, cast, choices=choices, left=(4,) * arms, seen=(1.0,) * 160)
                cases.append((portfolio, [Terms(price, cost, 1000, priors) for cost in costs]))
            cases[0][0].jointly(cases[0][1])
            for portfolio, _ in cases:  # the posterior before the last vote was asked for by the last decision
                replace(portfolio, votes=portfolio.votes[:-1]).state(cases[0][1][0])
            joint = [timed(lambda p=p, t=t: p.jointly(t)) for p, t in cases]  # type: ignore[misc]
            ways = [[(k, ArmBelief(p, i), t[i]) for i, k in enumerate(keys)] for p, t in cases]
            whole = [timed(lambda w=w: judge(w)) for w in ways]  # type: ignore[misc]
            kind = f"{choices} choices" if choices else "open"
            click.echo(f"{text:>20}, {kind:>9}: courses {said(joint)}; judged, with every alternative {said(whole)}")
    first = []
    for i in range(rounds):
        portfolio = Portfolio(keys, choices=4, seen=(float(i),) * 160)
        terms = [Terms(2.0, cost, 1000, priors) for cost in costs]
        first.append(timed(lambda p=portfolio, t=terms: p.jointly(t)))  # type: ignore[misc]
    click.echo(f"cold, a new question: {said(first)}")


def timed(call: Callable[[], object]) -> float:
    """Microseconds of processor time, the best of three."""
    found = []
    for _ in range(3):
        begun = time.process_time_ns()
        call()
        found.append((time.process_time_ns() - begun) / 1e3)
    return min(found)


def said(times: list[float]) -> str:
    """Median and upper quantiles."""
    ranked = sorted(times)
    return " / ".join(f"{ranked[min(len(ranked) - 1, int(q * len(ranked)))]:.0f}" for q in (0.5, 0.9, 0.99))


if __name__ == "__main__":
    main()
