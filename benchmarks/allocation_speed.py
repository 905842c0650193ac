"""What one allocation decision costs: the best course of each of 60 arms, and the choice among them.

    OPENBLAS_NUM_THREADS=1 python benchmarks/allocation_speed.py [--arms 60] [--rounds 300]

Processor time of this process (`time.process_time`), so that waiting for other programs does not count; that they share
caches and cores does. Beside each figure stands the same as a multiple of a yardstick that is measured before and after
every decision: one addition of two arrays of 60 floats in numpy, the mean of 100. Warm: the policy's tables of this
question are kept, as they are from the second decision of a run on. Every round decides about other evidence at another
price, so that no decision is one that was made before. Cold: the first decision about a new question.

At last whole choices of runs, offline, where replies cost no time: quoting the steps of all arms, the decision, what is
said of it, and its record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import click
import numpy as np

from satisfice.budgets.allocation_policy import AllocationPolicy, ArmPolicy
from satisfice.budgets.budget import Budget
from satisfice.budgets.evidence import Evidence
from satisfice.budgets.policy import Policy
from satisfice.budgets.portfolio import ArmBelief, Portfolio
from satisfice.budgets.portfolio_world import Arm, World
from satisfice.budgets.prices import Price
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.purse import Purse
from satisfice.core.belief import Terms
from satisfice.core.completions import Params
from satisfice.core.task import Task
from satisfice.scheduler.decisions import Economics, judge
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.scheduler.starting import Starter
from satisfice.scheduler.tariff import PriceList, Rate
from satisfice.strategies import Auto, SingleShot
from satisfice.testing.driver import Script

PRICES = (0.5, 200.0)  # value per dollar: from one at which most is worth buying to one at which nothing is
SEEN = (
    ("nothing seen", ()),
    ("one answer", ((0, 0),)),
    ("two that agree", ((0, 0), (1, 0))),
    ("two that differ", ((0, 0), (1, 1))),
    ("three, two answers", ((0, 0), (1, 1), (2, 0))),
    ("five, three answers", ((0, 0), (1, 1), (2, 0), (3, 2), (4, 0))),
)
Times = list[tuple[float, float]]


@click.command()
@click.option("--arms", default=60)
@click.option("--rounds", default=300)
@click.option("--runs", default=20)
def main(arms: int, rounds: int, runs: int) -> None:
    """See the module's docstring."""
    dice = Random(0)
    keys = tuple(f"single_shot@model{i}" for i in range(arms))
    costs = [10 ** dice.uniform(-4, -1.5) for _ in keys]
    known = {key: Arm(dice.gauss(1.5, 1.0), dice.uniform(1, 2.5), 1.5, 0.02, 0.1) for key in keys}
    world = World(known, kappa=3.0, alike=(-0.25, 0.4), middle=1.4, fitted=True)
    priors = replace(DEFAULT_PRIORS, allocation=world)
    click.echo(f"load {os.getloadavg()}, {arms} arms, {rounds} rounds; us (median, 90%, 99%; median in yardsticks)")
    every: list[Times] = [[], []]
    for text, votes in SEEN:
        for choices in (4, 0):
            cases = []
            for _ in range(rounds):
                order = dice.sample(range(arms), arms)
                cast = tuple((order[arm], answer) for arm, answer in votes)
                low, high = PRICES
                price = low * (high / low) ** dice.random()
                heard = (Evidence(),) * len({answer for _, answer in votes})
                portfolio = Portfolio(keys, cast, heard, choices=choices, left=(4,) * arms, seen=(1.0,) * 160)
                cases.append((portfolio, [Terms(price, cost, 1000, priors) for cost in costs]))
            cases[0][0].jointly(cases[0][1])
            for portfolio, _ in cases:  # the posterior before the last vote was asked for by the last decision
                replace(portfolio, votes=portfolio.votes[:-1], said=()).state(cases[0][1][0])
            joint = [timed(lambda p=p, t=t: chosen(p, t)) for p, t in cases]  # type: ignore[misc]
            ways = [[(k, ArmBelief(p, i), t[i]) for i, k in enumerate(keys)] for p, t in cases]
            whole = [timed(lambda w=w: judge(w)) for w in ways]  # type: ignore[misc]
            every[0] += joint
            every[1] += whole
            kind = f"{choices} choices" if choices else "open"
            click.echo(f"{text:>20}, {kind:>9}: choice {said(joint)}; judged, with every alternative {said(whole)}")
    click.echo(f"{'all of these':>31}: choice {said(every[0])}; judged, with every alternative {said(every[1])}")
    first = []
    for i in range(rounds):
        portfolio = Portfolio(keys, choices=4, seen=(float(i),) * 160)
        terms = [Terms(2.0, cost, 1000, priors) for cost in costs]
        first.append(timed(lambda p=portfolio, t=terms: chosen(p, t), 1))  # type: ignore[misc]
    click.echo(f"cold, a new question: {said(first)}")
    for n in (2, 5, arms):
        times = whole_choices(n, runs)
        click.echo(f"whole choices of {runs} runs with {n} arms: {said(times)}; the fastest {min(times)[0]:.0f}")
    click.echo(f"load {os.getloadavg()}")


def chosen(portfolio: Portfolio, terms: Sequence[Terms]) -> int:
    """The arm that is bought, or -1."""
    nets = [way.net(one) if way.size else 0.0 for way, one in zip(portfolio.jointly(terms), terms, strict=True)]
    best = max(range(len(nets)), key=nets.__getitem__)
    return best if nets[best] > 0 else -1


def whole_choices(n: int, runs: int) -> Times:
    """What every choice of these runs took. Models say one of three numbers each time, and a right answer is worth five
    cents."""
    dice, found = Random(1), Times()
    names = [f"m{i}" for i in range(n)]
    prices = {name: 10 ** dice.uniform(1, 3.3) for name in names}
    arms = {f"single_shot@{name}": ArmPolicy(bias=dice.gauss(1.2, 0.8), loading=1.5) for name in names}
    policy, warm = Policy(allocation=AllocationPolicy(arms=arms)), Params(temperature=0.7)
    auto = Auto(tuple(SingleShot(model=name, params=warm) for name in names))
    begin = Starter._choose

    def choose(self: Starter, *what: Any) -> None:
        found.append(timed(lambda: begin(self, *what), 1))

    Starter._choose = choose  # type: ignore[method-assign, assignment]
    try:
        for i in range(runs):
            rates = {name: Rate(Price.per_million(usd, 4 * usd), name) for name, usd in prices.items()}
            budget = Budget(usd=1.0, worth=0.05)
            economics = Economics(budget, policy, PriceList(rates))
            plan = auto(Task.of(f"How much is 1 + {i}?", "number"))
            run = Run(plan, purse=Purse.of(budget), economics=economics, name="auto", seed=i)
            perform(run, Script(text=lambda asked, seed: f"Answer: {seed % 3}"))
    finally:
        Starter._choose = begin  # type: ignore[method-assign]
    return found


def timed(call: Callable[[], object], times: int = 3) -> tuple[float, float]:
    """Microseconds of processor time, the best of three, and of the yardstick around it."""
    found = []
    before = yardstick()
    for _ in range(times):
        begun = time.process_time_ns()
        call()
        found.append((time.process_time_ns() - begun) / 1e3)
    return min(found), min(before, yardstick())


def yardstick() -> float:
    """Microseconds of one addition."""
    one, other = np.ones(60), np.ones(60)
    begun = time.process_time_ns()
    for _ in range(100):
        one + other
    return (time.process_time_ns() - begun) / 1e5


def said(times: Times) -> str:
    """Median and upper quantiles, and the median as a multiple of the yardstick."""
    ranked, scaled = sorted(one for one, _ in times), sorted(one / add for one, add in times)
    found = " / ".join(f"{ranked[min(len(ranked) - 1, int(q * len(ranked)))]:.0f}" for q in (0.5, 0.9, 0.99))
    return f"{found} ({scaled[len(scaled) // 2]:.0f})"


if __name__ == "__main__":
    main()
