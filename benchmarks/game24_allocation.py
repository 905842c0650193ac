"""Which way to solve a Game of 24: IO samples, CoT samples or a tree search, every answer checked exactly.

    python benchmarks/game24_allocation.py SAMPLES.parquet STEPS.jsonl.gz [--seeds 200] [--csv curve.csv]

SAMPLES: IO and CoT samples of GPT-4 on the same puzzles (question_id, strategy, correct, tokens, fold); STEPS: one
recorded tree search (b = 5) a puzzle, solved if any of its five finals is right. Samples are bought in waves of up to
20, each of which is billed one prompt; a search is billed what it cost. The allocator is `budgets.portfolio`'s exact
case: its distribution of chances is fitted on the other folds, and each puzzle is played with samples drawn without
replacement. Utility is worth x solved - spent. What it is compared with: the fixed choice (arm, n) that is best in
hindsight, chosen again in every resample of puzzles, n draws in waves that end with the first that holds a pass.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as parquet

from satisfice.budgets import exact_search
from satisfice.budgets.portfolio import Portfolio
from satisfice.budgets.portfolio_exact import exact_jointly
from satisfice.budgets.successes import Successes
from satisfice.core.belief import Priors, Terms
from satisfice.experiments.exact_arms import Tried, fit_successes
from satisfice.experiments.intervals import Interval, clustered

PROMPT, COMPLETION = 0.03e-3, 0.06e-3  # dollars a token
WAVE, MOST = 20, 100  # draws that share a prompt; recorded samples
WORTHS = np.geomspace(0.25, 16.0, 25)
ENOUGH = 1 << 20
ARMS = ("io", "cot", "tot")


@dataclass(frozen=True)
class Samples:
    """(puzzles, 100) each: whether a sample is right, and what its completion cost; what a prompt costs."""

    right: Any
    usd: Any
    prompt: float


@dataclass(frozen=True)
class Recorded:
    """The puzzles. `tot`: (puzzles,) solved, and dollars."""

    names: list[str]
    folds: Any
    drawn: dict[str, Samples]
    tot: tuple[Any, Any]

    def world(self, train: Any) -> Successes:
        rows = [
            Tried(
                {
                    **{name: (int(one.right[q].sum()), MOST) for name, one in self.drawn.items()},
                    "tot": (int(self.tot[0][q]), 1),
                },
                int(self.folds[q]),
            )
            for q in np.flatnonzero(train)
        ]
        found = fit_successes(rows, ARMS)
        assert found is not None
        return found


def read(samples: Path, steps: Path) -> Recorded:
    rows: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in parquet.read_table(samples).to_pylist():
        rows[row["strategy"]][row["question_id"]].append(row)
    with gzip.open(steps, "rt", encoding="utf-8") as file:
        searches = {row["question_id"]: row for row in map(json.loads, file)}
    names = sorted(set(rows["io"]) & set(rows["cot"]) & set(searches))
    drawn = {}
    for arm in ("io", "cot"):
        table = [sorted(rows[arm][name], key=lambda row: row["sample_index"])[:MOST] for name in names]
        right = np.asarray([[row["correct"] for row in line] for line in table], dtype=bool)
        usd = np.asarray([[row["completion_tokens"] * COMPLETION for row in line] for line in table])
        drawn[arm] = Samples(right, usd, table[0][0]["prompt_tokens"] * PROMPT)
    solved = np.asarray([any(final["correct"] for final in searches[name]["finals"]) for name in names])
    cost = np.asarray([searches[name]["usage"]["cost"] for name in names])
    folds = np.asarray([rows["io"][name][0]["fold"] for name in names])
    return Recorded(names, folds, drawn, (solved, cost))


# -- playing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dealt:
    """Every puzzle's samples in some orders, each with all its rotations: every sample is as often at every place.
    `first[arm]` (puzzles, seeds) the place of the first right one, `usd[arm]`
    (puzzles, seeds, 101) what the first n completions cost together."""

    recorded: Recorded
    first: dict[str, Any]
    usd: dict[str, Any]

    @classmethod
    def of(cls, recorded: Recorded, seeds: int) -> Dealt:
        dice = np.random.default_rng(24)
        first, usd = {}, {}
        turned = (np.arange(MOST)[:, None] + np.arange(MOST)) % MOST
        for arm, one in recorded.drawn.items():
            bases = dice.permuted(np.tile(np.arange(MOST), (len(one.right), seeds, 1)), axis=2)
            order = bases[:, :, turned].reshape(len(one.right), -1, MOST)
            right = np.take_along_axis(one.right[:, None, :], order, axis=2)
            first[arm] = np.where(right.any(axis=2), right.argmax(axis=2), MOST + 1)
            spent = np.take_along_axis(one.usd[:, None, :], order, axis=2).cumsum(axis=2)
            usd[arm] = np.concatenate([np.zeros((*spent.shape[:2], 1)), spent], axis=2)
        return cls(recorded, first, usd)

    def play(self, waves: list[tuple[str, int]]) -> tuple[Any, Any]:
        """(puzzles, seeds) solved, and spent, by waves that end with the first that holds a pass."""
        shape = self.first["io"].shape
        alive, spent = np.ones(shape, dtype=bool), np.zeros(shape)
        drawn = dict.fromkeys(self.first, 0)
        for arm, size in waves:
            if arm == "tot":
                solved, cost = self.recorded.tot
                spent += alive * cost[:, None]
                alive = alive & ~solved[:, None]
                continue
            done = drawn[arm]
            drawn[arm] = done + size
            bill = self.recorded.drawn[arm].prompt + self.usd[arm][:, :, done + size] - self.usd[arm][:, :, done]
            spent += alive * bill
            alive = alive & ~((self.first[arm] >= done) & (self.first[arm] < done + size))
        return ~alive, spent


def fixed(n: int, arm: str) -> list[tuple[str, int]]:
    return [(arm, min(WAVE, n - k)) for k in range(0, n, WAVE)]


def unbroken(names: list[str]) -> list[list[tuple[str, int]]]:
    """The waves of each fixed choice by its name."""
    found = []
    for name in names:
        arm, _, n = name.partition(" x ")
        found.append([] if arm == "nothing" else [("tot", 1)] if arm == "tot" else fixed(int(n), arm))
    return found


def bill(recorded: Recorded, dealt: Dealt, wave: tuple[str, int]) -> Any:
    """(puzzles,) mean dollars of one wave, whatever it finds."""
    arm, size = wave
    if arm == "tot":
        return recorded.tot[1]
    return recorded.drawn[arm].prompt + size * recorded.drawn[arm].usd.mean(axis=1)


@dataclass(frozen=True)
class Known:
    """What a policy knows of allocation: the exact case only."""

    successes: Successes

    def exact(self, portfolio: Portfolio, terms: Any) -> Successes:
        return self.successes


def chosen(
    recorded: Recorded, world: Successes, train: Any, worth: float, sizes: tuple[int, ...]
) -> list[tuple[str, int]]:
    """What the allocator buys as long as nothing passes: decided purchase by purchase by the portfolio."""
    ways = [(arm, size) for arm in ("io", "cot") for size in sizes] + [("tot", 1)]
    costs = [
        recorded.drawn[arm].prompt + size * float(recorded.drawn[arm].usd[train].mean())
        if arm != "tot"
        else float(recorded.tot[1][train].mean())
        for arm, size in ways
    ]
    priors = Priors((), allocation=Known(world))
    terms = [Terms(1 / worth, cost, ENOUGH, priors) for cost in costs]
    keys = tuple(f"{arm} x{size}" if arm != "tot" else arm for arm, size in ways)
    votes: list[tuple[int, int]] = []
    while True:
        drawn = {arm: sum(ways[v][1] for v, _ in votes if ways[v][0] == arm) for arm in ARMS}
        left = tuple(((MOST if arm != "tot" else 1) - drawn[arm]) // size for arm, size in ways)
        found = exact_jointly(Portfolio(keys, tuple(votes), exact=True, left=left), terms)
        best = max(range(len(found)), key=lambda i: found[i].net(terms[i]))
        if not found[best].size or found[best].net(terms[best]) <= 0:
            return [ways[v] for v, _ in votes]
        votes += [(best, -1)] * found[best].size


# -- figures -----------------------------------------------------------------------------------------------------------


def gained(means: Any) -> Any:
    """The last column less the best of the others: of (rows, figures)."""
    return means[:, -1] - means[:, :-1].max(axis=1)


def averaged(groups: list[Any], scale: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Tables of the same puzzles side by side, and the statistic of their scaled mean gain."""
    width = groups[0].shape[1]

    def mean(means: Any) -> Any:
        parts = [scale[i] * gained(means[:, i * width : (i + 1) * width]) for i in range(len(groups))]
        return np.mean(parts, axis=0)

    return np.concatenate(groups, axis=1), mean


def said(x: Interval, scale: float = 100.0, digits: int = 2) -> str:
    return f"{scale * x.estimate:.{digits}f} [{scale * x.low:.{digits}f}, {scale * x.high:.{digits}f}]"


def reflected(x: Interval) -> str:
    """The basic bootstrap's interval: what re-choosing adds to the best in each resample is taken off again."""
    return f"[{100 * (2 * x.estimate - x.high):.2f}, {100 * (2 * x.estimate - x.low):.2f}]"


@click.command()
@click.argument("samples", type=click.Path(path_type=Path, exists=True))
@click.argument("steps", type=click.Path(path_type=Path, exists=True))
@click.option("--seeds", default=10, show_default=True, help="Orders of each puzzle's samples, times 100 rotations.")
@click.option("--sizes", default="10,20", show_default=True, help="Waves that the allocator may buy.")
@click.option("--surer", default=exact_search.SURER, show_default=True, help="Standard errors that it asks for.")
@click.option("--csv", "out", type=click.Path(path_type=Path), default=None, help="Where to write the whole curve.")
def main(samples: Path, steps: Path, seeds: int, sizes: str, surer: float, out: Path | None) -> None:
    exact_search.SURER = surer
    waves_of = tuple(map(int, sizes.split(",")))
    recorded = read(samples, steps)
    dealt = Dealt.of(recorded, seeds)
    n = len(recorded.names)
    names = ["nothing", *(f"{arm} x {k}" for arm in ("io", "cot") for k in range(1, MOST + 1)), "tot"]
    played = [dealt.play(one) for one in unbroken(names)]
    right = np.stack([p[0].mean(axis=1) for p in played], axis=1)
    spent = np.stack([p[1].mean(axis=1) for p in played], axis=1)
    ever = [bool(one.right[q].any()) for one in recorded.drawn.values() for q in range(n)]
    any_ = np.asarray(ever).reshape(2, n).any(axis=0) | recorded.tot[0]
    whole = np.stack([sum((bill(recorded, dealt, w) for w in one), np.zeros(n)) for one in unbroken(names)], axis=1)
    click.echo(f"{n} puzzles, {seeds * MOST} orders; solved by anything recorded: {any_.mean():.2f}")
    for name in ("io x 100", "cot x 100", "tot"):
        k = names.index(name)
        click.echo(f"{name}: solved {right[:, k].mean():.3f}, ${spent[:, k].mean():.3f}")

    folds = sorted(set(recorded.folds))
    worlds = {fold: recorded.world(recorded.folds != fold) for fold in folds}
    everything = recorded.world(np.ones(n, dtype=bool))
    click.echo(
        "\n| worth | best fixed, in hindsight: utility | allocator | gain | reflected | solved | spent "
        "| fixed, chosen in training: gain | single IO | knows all 50 | oracle |\n" + "|---" * 11 + "|"
    )
    tables, trained, rows = [], [], []
    for worth in WORTHS:
        values = right - spent / worth
        ours, solved, cost = np.zeros(n), np.zeros(n), np.zeros(n)
        other = np.zeros(n)
        for fold in folds:
            here = recorded.folds == fold
            played_here = dealt.play(chosen(recorded, worlds[fold], ~here, float(worth), waves_of))
            solved[here], cost[here] = played_here[0].mean(axis=1)[here], played_here[1].mean(axis=1)[here]
            other[here] = values[here, values[~here].mean(axis=0).argmax()]
        ours = solved - cost / worth
        tables.append(np.column_stack([values, ours]))
        trained.append(np.column_stack([values, other]))
        gain, plain = clustered(tables[-1], statistic=gained), clustered(trained[-1], statistic=gained)
        knows = dealt.play(chosen(recorded, everything, np.ones(n, dtype=bool), float(worth), waves_of))
        best = int(values.mean(axis=0).argmax())
        row: list[Any] = [f"{worth:.3f}", f"{names[best]}: {100 * values[:, best].mean():.2f}"]
        row += [f"{100 * ours.mean():.2f}", said(gain), reflected(gain), f"{solved.mean():.3f}", f"{cost.mean():.3f}"]
        row += [said(plain), f"{100 * values[:, 1].mean():.2f}"]
        row += [f"{100 * (knows[0] - knows[1] / worth).mean():.2f}", f"{100 * values.max(axis=1).mean():.2f}"]
        click.echo("| " + " | ".join(row) + " |")
        rows.append(
            [worth, names[best], values[:, best].mean(), ours.mean(), solved.mean(), cost.mean(), gain.low, gain.high]
        )
    ones = np.ones(len(WORTHS))
    against = [np.column_stack([right - whole / w, t[:, -1]]) for w, t in zip(WORTHS, tables, strict=True)]
    for text, groups, scale, unit in (
        ("allocator, points of worth", tables, ones, 100.0),
        ("fixed choice of the training folds, points of worth", trained, ones, 100.0),
        ("allocator, points, against fixed numbers that are bought whole", against, ones, 100.0),
        ("allocator, dollars", tables, WORTHS, 1.0),
        ("fixed choice of the training folds, dollars", trained, WORTHS, 1.0),
    ):
        table, statistic = averaged(groups, scale)
        click.echo(f"mean gain over the worths, {text}: {said(clustered(table, statistic=statistic), unit, 3)}")
    mine, theirs = (np.mean([t[:, -1] for t in side], axis=0) for side in (tables, trained))
    click.echo(f"allocator less the fixed choice of the training folds, points: {said(clustered(mine - theirs))}")
    for worth in (0.25, 0.5, 1.0, 2.0, 4.0, 16.0):
        shown = ", ".join(
            f"{a} x {k}" for a, k in chosen(recorded, everything, np.ones(n, dtype=bool), worth, waves_of)
        )
        click.echo(f"worth {worth}, fitted on all: {shown}")
    if out:
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["worth", "best_fixed", "its_utility", "utility", "solved", "usd", "gain_low", "gain_high"])
            writer.writerows([[x if isinstance(x, str) else round(float(x), 5) for x in row] for row in rows])


if __name__ == "__main__":
    main()
