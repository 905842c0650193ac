"""What a prior of the votes loses that was learned from made-up questions, against the best way in the true world.

    python benchmarks/stopping_learned.py --questions 500 --banks 10 --draws 10

No sampling but that of the banks: what a rule is worth in the true world is computed exactly.
"""

from __future__ import annotations

import click
import numpy as np

from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.voting import VotingBelief
from satisfice.budgets.voting_tables import Grid, Table
from satisfice.budgets.voting_world import World
from satisfice.core.belief import Priors, Terms
from satisfice.experiments import Bank, Draw, Question, fit

COSTS = (0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2)

WORLDS: dict[str, tuple[tuple[float, float, int, float, float], ...]] = {
    "choice": (
        (0.95, 0.03, 2, 0.02, 0.35),
        (0.55, 0.2, 2, 0.02, 0.25),
        (0.35, 0.3, 2, 0.1, 0.2),
        (0.1, 0.7, 2, 0.1, 0.2),
    ),
    "open": ((0.9, 0.05, 0, 0.02, 0.4), (0.5, 0.1, 0, 0.1, 0.3), (0.15, 0.4, 0, 0.1, 0.2), (0.05, 0.05, 0, 0.5, 0.1)),
    "mixed": (
        (0.85, 0.1, 0, 0.0, 0.3),
        (0.45, 0.3, 2, 0.0, 0.4),
        (0.25, 0.6, 0, 0.3, 0.15),
        (0.75, 0.1, 2, 0.05, 0.15),
    ),
}


def made_up(kinds: tuple[tuple[float, float, int, float, float], ...], count: int, draws: int, seed: int) -> Bank:
    """A bank of questions of these kinds."""
    dice = np.random.default_rng(seed)
    questions, rows = {}, {}
    for i in range(count):
        theta, phi, others, blank, _ = kinds[dice.choice(len(kinds), p=[kind[4] for kind in kinds])]
        keys: list[str | None] = []
        for j in range(draws):
            x = dice.random()
            other = f"w{dice.integers(others)}" if others else f"w{i}.{j}"
            keys.append(None if dice.random() < blank else "r" if x < theta else "d" if x < theta + phi else other)
        questions[f"q{i}"] = Question(f"q{i}", "made-up", f"made-up {i}", "r", "text", (), i % 10)
        rows[f"q{i}", "m", "a"] = tuple(Draw(j, key or "", key, key == "r", 1, 1, 1000) for j, key in enumerate(keys))
    return Bank(questions, rows)


@click.command()
@click.option("--questions", default=500)
@click.option("--banks", default=10)
@click.option("--draws", default=10)
def main(questions: int, banks: int, draws: int) -> None:
    """Regret, exactly, of a prior learned from made-up questions against the true one, in runs of up to `draws`."""
    click.echo("| world | learned: mean over costs and banks | its worst cost (mean over banks) | declared prior |")
    click.echo("|---|---|---|---|")
    for name, kinds in WORLDS.items():
        truth, lost = Priors((), kinds=kinds), []
        for seed in range(banks):
            policy = fit(made_up(kinds, questions, draws, seed), stops=False)
            lost.append([regret_of(truth, policy.priors(), cost, draws) for cost in COSTS])
        blind = np.mean([regret_of(truth, DEFAULT_PRIORS, cost, draws) for cost in COSTS])
        table = 100 * np.array(lost)
        spread = 1.96 * table.mean(axis=1).std(ddof=1) / np.sqrt(banks)
        click.echo(
            f"| {name} | {table.mean():.3f} ± {spread:.3f} | {table.mean(axis=0).max():.3f} | {100 * blind:.3f} |"
        )


def regret_of(truth: Priors, believed: Priors, cost: float, draws: int) -> float:
    """What following `believed` loses against the best way, both in the true world: no sampling."""
    grid = Grid(World.of(truth))
    best = Table(grid, cost, 0.0, 0.0, draws)
    value = grid.right[draws]
    for n in range(draws - 1, -1, -1):
        places, odds = grid.moves[n]
        go = np.zeros(len(grid.right[n]), dtype=bool)
        for blanks, offset in enumerate(grid.offsets[n]):
            for state, i in grid.index[n - blanks].items():
                others = tuple(c for c in (*state[2:4], *[1] * state[4]) if c)
                belief = VotingBelief(state[0], state[1], sum(others), blanks, others=others)
                go[offset + i] = belief.best(Terms(cost, 1.0, draws - n, believed)).size > 0
        value = np.where(go, (value[places] * odds).sum(axis=1) - cost, grid.right[n])
    return float(best.gain[0][0] - cost * best.draws[0][0] - value[0])


if __name__ == "__main__":
    main()
