"""What a decision to stop voting costs: warm, cold, and by how much the shipped tables are off in a short purse.

python benchmarks/stopping_speed.py warm mcqa_temperature_10samples.parquet
python benchmarks/stopping_speed.py cold
python benchmarks/stopping_speed.py short
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import click
import numpy as np
from stopping import opened

from satisfice.budgets import voting, voting_kept, voting_stops, voting_world
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.voting import VotingBelief
from satisfice.budgets.voting_tables import Grid, Table
from satisfice.budgets.voting_world import World
from satisfice.core.belief import Terms
from satisfice.experiments import fit
from satisfice.experiments.kernels import vote
from satisfice.experiments.vote_replays import going, rows_of


@click.group()
def main() -> None:
    """See the module's docstring."""


@main.command("warm")
@click.argument("path", type=click.Path(exists=True))
def warm_command(path: str) -> None:
    """One decision, warm; draws replayed a second on one core; making tables."""
    bench = opened(path, "gpt-35-turbo", "0.7", None)
    begun = time.perf_counter()
    policy = fit(bench.bank)
    size = len(policy.model_dump_json(indent=2)) / 1e3
    click.echo(f"fit with tables, first in the process: {time.perf_counter() - begun:.2f} s; a policy of {size:.0f} kB")
    begun = time.perf_counter()
    fit(bench.bank)
    click.echo(f"again: {time.perf_counter() - begun:.2f} s")
    belief = VotingBelief(2, 1, 1, 1, others=(1,))
    for text, priors, steps in (
        ("shipped tables, 40 draws", policy.priors(), 1 << 20),
        ("tables on demand, 40 draws", replace(policy.priors(), stops=""), 1 << 20),
        ("tables on demand, 10 draws", replace(policy.priors(), stops=""), 5),
    ):
        terms, once = Terms(0.01, 1.0, steps, priors), []
        for price in (0.01, 0.012):
            begun = time.perf_counter()
            belief.best(replace(terms, price=price))
            once.append(1e3 * (time.perf_counter() - begun))
        best = min(timed(lambda terms=terms: belief.best(terms)) for _ in range(5))  # type: ignore[misc]
        first = f"the first {once[0]:.1f} ms, at another price {once[1]:.1f} ms"
        click.echo(f"one decision, {text}: {best:.2f} us warm; {first}")
    rows = rows_of(bench.most)
    for cost in (0.01, 0.001):
        go = going(Terms(cost, 1.0, 0, policy.priors()), bench.most)
        stops, leaders = (np.zeros(bench.orders.shape[:2], dtype=np.uint8) for _ in range(2))
        rates = []
        for _ in range(10):
            begun = time.perf_counter()
            taken = vote(bench.deals.answers, bench.orders, rows.named, rows.scattered, go, stops, leaders)
            rates.append(taken / (time.perf_counter() - begun) / 1e6)
        click.echo(f"replay at cost {cost:g}: {max(rates):.0f} million draws a second (median {np.median(rates):.0f})")


@main.command("cold")
def cold_command() -> None:
    """The first decision by the declared policy as in a new process, and those at two further prices, in ms."""
    free = 1 << 20
    for text, belief, terms in (
        ("all 40 draws can be paid", VotingBelief(), Terms(0.0071, 1.0, free, DEFAULT_PRIORS)),
        ("4 draws so far, all 40 can be paid", VotingBelief(2, 1, 1), Terms(0.0071, 1.0, free, DEFAULT_PRIORS)),
        ("a purse for 5", VotingBelief(2, 1, 1), Terms(0.0071, 1.0, 5, DEFAULT_PRIORS)),
        ("a purse for 10", VotingBelief(), Terms(0.0071, 1.0, 10, DEFAULT_PRIORS)),
        ("a purse for 20", VotingBelief(), Terms(0.0071, 1.0, 20, DEFAULT_PRIORS)),
        ("a purse for 30", VotingBelief(), Terms(0.0071, 1.0, 30, DEFAULT_PRIORS)),
        ("time has a price", VotingBelief(), Terms(0.0071, 1.0, free, DEFAULT_PRIORS, 0.0, 1.0, 1.0)),
        ("time has a price, 20 draws so far", VotingBelief(9, 9, 2), Terms(0.0071, 1.0, free, DEFAULT_PRIORS, 0, 1, 1)),
        ("wrong answers cost as much", VotingBelief(2, 1, 1), Terms(0.0071, 1.0, free, DEFAULT_PRIORS, 1.0)),
        ("a draw costs .0003 of a right answer", VotingBelief(2, 1, 1), Terms(0.0003, 1.0, free, DEFAULT_PRIORS)),
    ):
        rows = []
        for _ in range(5):
            for kept in (voting._kept, voting_kept._tables, voting_kept._grids):
                kept.clear()  # type: ignore[attr-defined]
            for made in (voting_stops.read, voting_stops.declared, voting_world._world, voting_world.states):
                made.cache_clear()
            voting_world.moves.cache_clear()
            rows.append([])
            for times in (1.0, 1.13, 1.28):
                begun = time.perf_counter()
                belief.best(replace(terms, price=times * terms.price))
                rows[-1].append(1e3 * (time.perf_counter() - begun))
        click.echo(f"{text}: " + ", ".join(f"{x:.1f}" for x in np.median(rows, axis=0)))


@main.command("short")
def short_command() -> None:
    """By how much the declared prior's tables overrate a course where the purse ends sooner: the worst of all states
    that they hold, by how many draws it pays for each one that the course is expected to take."""
    stops, grid = voting_stops.read(voting_stops.declared()), Grid(World.of(DEFAULT_PRIORS))
    rows = []
    for price in (0.0006, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25):
        terms = Terms(price, 1.0, 40, DEFAULT_PRIORS)
        for end in (6, 8, 10, 12, 14, 16, 20, 24, 32):
            table = Table(grid, price, 0.0, 0.0, end)
            for state, blanks in stops.rows:
                way, steps = stops.look_up(state, blanks, terms), end - sum(state) - blanks
                if way is not None and way.size and steps > 0:
                    exact = table.look_up(state, blanks, terms)
                    rows.append((steps / way.cost, way.net(terms) - exact.net(terms)))
    room, over = np.array(rows).T
    for least in (1, 2, 3, 4, 5, 6, 8):
        click.echo(f"{least} and more: {over[room >= least].max():.4f} (n = {(room >= least).sum()})")


def timed(call: Callable[[], object], times: int = 100_000) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return 1e6 * (time.perf_counter() - begun) / times


if __name__ == "__main__":
    main()
