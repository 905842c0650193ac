"""The allocator on nine recorded models, one draw of each for each question: accuracy against dollars.

    OPENBLAS_NUM_THREADS=1 python benchmarks/nine_models.py selfreflection_mcqa_9models.parquet --out docs/measurements

PATH is a file that `satisfice bank import` reads, or a bank. Only first attempts count ("baseline": a `retry` row
exists only where the first one failed), and `--drop` datasets are left out. Everything is cross-fitted by fold: the
policy that decides about a question was fitted on the other folds. `auto` is the real plan (`strategies.auto`),
replayed for each worth of a right answer; every failed or unreadable draw is billed. Baselines: single models; the
cascade of agreement (a, b; c where they differ) that is the most accurate on the other folds within the target; a
random order of models until two agree; and an oracle that knows the cheapest right model. Intervals are paired, by
question (bootstrap).

Declared on 22 November 2026, before it was run in this form, and run once: worths in steps of 5% from $.10 to $.60, and
.05, .7 and 1 beside them (an earlier run had six worths; its figures stand beside these). The operating point of a fold
is the largest worth at which the runs on the *other* folds spent at most 50% (75%) of what the best single model cost
there. The goal is a lower bound (one-sided, 95%) above -5 points at 50%; what comes is reported, met or not. The policy
is what `fit_allocation` gives; in one comparison beside it, paired, each at points chosen by the same rule from
every second of these worths, those of $.20 and more, features tell of each arm apart (`by="predictor"`) instead of how
easy a question is for all of them (`by="ease"`).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import permutations
from multiprocessing import get_context
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TypeAlias, get_args

import click
import numpy as np

from satisfice import Bank, Budget, Policy, SingleShot
from satisfice.experiments import BankTariff, Deck, import_file
from satisfice.experiments.allocating import By, fit_allocation
from satisfice.experiments.intervals import clustered, paired
from satisfice.experiments.replaying import run_on
from satisfice.strategies.auto import Auto

FINE = (*(round(0.1 * 1.05**k, 4) for k in range(37)), 0.6)
WORTHS = (0.05, *FINE, 0.7, 1.0)
COMPARED = 0.2  # every second of the worths from here on is tried with the other way in which features tell
TARGETS = (0.5, 0.75)  # shares of the best single model's dollars, at most
BINS = 5
BYS: tuple[By, ...] = get_args(By)
Run: TypeAlias = "tuple[np.ndarray, np.ndarray, np.ndarray]"  # label, dollars and claimed P(right) of each question


class Table:
    """Per question: label, dollars and key of each model's draw, and the fold."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.models = [model for model, _ in bank.arms]
        self.arms = dict(bank.arms)
        self.questions = list(bank.common(self.arms))
        rows = [[bank.draws[q, m, self.arms[m]][0] for m in self.models] for q in self.questions]
        self.right = np.array([[float(d.correct) for d in row] for row in rows])
        self.usd = np.array([[(d.nanos or 0) / 1e9 for d in row] for row in rows])
        self.keys = [[d.key for d in row] for row in rows]
        self.fold = np.array([bank.questions[q].fold for q in self.questions])


@click.command()
@click.argument("path", type=click.Path(exists=True))
@click.option("--arm", default="baseline")
@click.option("--drop", multiple=True, default=("comprehensive",))
@click.option("--best", default="claude-3-opus-20240229", help="the single model to compare with")
@click.option("--topics/--no-topics", default=True, help="whether requests say which exam they are of")
@click.option("--worth", "worths", multiple=True, type=float, default=WORTHS)
@click.option("--compare/--no-compare", default=True, help="whether to try the predictor against the ease, too")
@click.option("--jobs", type=int, default=1, help="processes")
@click.option("--out", type=click.Path(), default=None, help="a folder for the curves as CSV and the picture")
def main(
    path: str,
    arm: str,
    drop: tuple[str, ...],
    best: str,
    topics: bool,
    worths: Sequence[float],
    compare: bool,
    jobs: int,
    out: str | None,
) -> None:
    """See the module's docstring."""
    with TemporaryDirectory() as folder:
        source = Path(path)
        bank = Bank.open(source) if source.is_dir() else import_file(source, Path(folder) / "bank", drop_datasets=drop)
        table = Table(bank.select(arms=[arm]))
    at = table.models.index(best)
    base, usd = table.right[:, at], table.usd[:, at].mean()
    click.echo(f"{len(table.questions)} questions, {best}: {said(base)} at ${1e3 * usd:.2f} for 1,000")
    rows = [("single", m, table.right[:, i], table.usd[:, i], None) for i, m in enumerate(table.models)]
    rows += baselines(table)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (table,)) as pool:
        policies = fitted(pool, table, None)
        runs = dict(zip(worths, pool.map(_replay, [(policies, w, topics) for w in worths]), strict=True))
        ways: dict[By, dict[float, Run]] = {}
        for by in BYS if compare else ():
            tried = [worth for worth in worths if worth in FINE[::2] and worth >= COMPARED]
            if {kind_of(policy) for policy in policies.values()} == {by}:
                ways[by] = {worth: runs[worth] for worth in tried}
            else:
                other = fitted(pool, table, by)
                ways[by] = dict(zip(tried, pool.map(_replay, [(other, w, topics) for w in tried]), strict=True))
    rows += [("auto", f"${worth:g}", *run) for worth, run in runs.items()]
    for share in TARGETS:
        rows.append((f"auto, {share:.0%}", "chosen on the other folds", *chosen(table, runs, share, at)))
        for by, of in ways.items():
            rows.append((f"{by}, {share:.0%}", "chosen on the other folds", *chosen(table, of, share, at)))
        rows.append((f"cascade, {share:.0%}", "chosen on the other folds", *best_cascade(table, share, at)))
    for kind, name, right, cost, p in rows:
        diff = paired(right, base)
        low = one_sided(right - base)
        claim = "" if p is None else f" p {np.mean(p):.3f}"
        click.echo(
            f"{kind:>14} {name:<28} {said(right)} ${1e3 * cost.mean():7.2f} {cost.mean() / usd:6.1%}  "
            f"diff {right.mean() - base.mean():+.4f} [{diff.low:+.3f}, {diff.high:+.3f}] one-sided > {low:+.4f}{claim}"
        )
    if len(ways) == 2:
        compared(table, ways, at)
    reliability(runs)
    dependence(table, policies)
    if out is not None:
        save(Path(out), rows, usd, "" if topics else "-no-topics")


def fitted(pool: Executor, table: Table, by: By | None) -> dict[int, Policy]:
    """The policy of each fold."""
    folds = list(table.bank.folds)
    policies = dict(zip(folds, pool.map(_policy, folds, [by] * len(folds)), strict=True))
    for fold, policy in policies.items():
        assert policy.allocation is not None
        click.echo(f"fold {fold}: {policy.allocation.provenance}")
    return policies


_TABLE: list[Table] = []  # of a worker process


def _begin(table: Table) -> None:
    _TABLE[:] = [table]


def _policy(fold: int, by: By | None) -> Policy:
    return policy_of(_TABLE[0].bank, fold, by)


def _replay(job: tuple[dict[int, Policy], float, bool]) -> Run:
    return replayed(_TABLE[0], *job)


def policy_of(bank: Bank, fold: int, by: By | None = None) -> Policy:
    """Fitted on the other folds."""
    others = [f for f in bank.folds if f != fold]
    return Policy(allocation=fit_allocation(bank, folds=others, held_out=True, by=by), fitted=True)


def kind_of(policy: Policy) -> By:
    """How features tell in it."""
    assert policy.allocation is not None
    return "predictor" if policy.allocation.predictor is not None else "ease"


def compared(table: Table, ways: dict[By, dict[float, Run]], at: int) -> None:
    """Features of each arm apart against ease for all, paired."""
    for share in TARGETS:
        (right, usd, _), (other, paid, _) = (chosen(table, ways[by], share, at) for by in ("predictor", "ease"))
        diff, spent = paired(right, other), paired(usd, paid)
        click.echo(
            f"predictor less ease, {share:.0%}: "
            f"{right.mean() - other.mean():+.4f} [{diff.low:+.3f}, {diff.high:+.3f}], "
            f"$/1000 {1e3 * (usd - paid).mean():+.2f} [{1e3 * spent.low:+.2f}, {1e3 * spent.high:+.2f}]"
        )


def replayed(table: Table, policies: dict[int, Policy], worth: float, topics: bool) -> Run:
    """Label, dollars and claimed P(right) of each question, by the real plan."""
    from dataclasses import replace

    auto = Auto(arms=tuple(SingleShot(model=m) for m in table.models), most=1)
    others = {f: table.bank.select(folds=[g for g in table.bank.folds if g != f]) for f in table.bank.folds}
    tariffs = {f: BankTariff(table.bank, table.arms, other) for f, other in others.items()}
    found = []
    for question, fold in zip(table.questions, table.fold.tolist(), strict=True):
        deck = Deck.of(table.bank, question, table.arms)
        if not topics:
            deck.task = replace(deck.task, topic="")
        source = deck.shuffled(0)
        budget = Budget(calls=len(table.models), worth=worth)
        run = run_on(source, auto, budget, policies[fold], tariffs[fold], 0)
        assert run.outcome is not None, run.error
        candidate = run.outcome.answer.candidate if run.outcome.answer else None
        frame = run.root
        p = frame.belief.p(frame.terms) if frame.belief is not None and frame.terms is not None else None
        found.append((float(source.right(candidate)), run.outcome.spent.usd, p if p is not None else 0.0))
    right, usd, p = (np.array(column) for column in zip(*found, strict=True))
    return right, usd, p


def chosen(table: Table, runs: dict[float, Run], share: float, at: int) -> Run:
    """Each fold at the largest worth at which the others spent at most `share` of what model `at` cost there."""
    right, usd, p = (np.zeros(len(table.questions)) for _ in range(3))
    worths = []
    for fold in np.unique(table.fold):
        here = table.fold == fold
        limit = share * table.usd[~here, at].mean()
        worth = max([worth for worth, run in runs.items() if run[1][~here].mean() <= limit] or [min(runs)])
        worths.append(worth)
        for column, run in zip((right, usd, p), runs[worth], strict=True):
            column[here] = run[here]
    click.echo(f"at most {share:.0%}: worths by fold {', '.join(f'{worth:g}' for worth in worths)}")
    return right, usd, p


def cascade(table: Table, a: int, b: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    """Asks a and b, and c where they do not agree, whose answer then stands."""
    agree = np.array([row[a] is not None and row[a] == row[b] for row in table.keys])
    usd = table.usd[:, a] + table.usd[:, b] + np.where(agree, 0.0, table.usd[:, c])
    return np.where(agree, table.right[:, a], table.right[:, c]), usd


def best_cascade(table: Table, share: float, at: int) -> tuple[np.ndarray, np.ndarray, None]:
    """Of each fold the cascade that is the most accurate on the others within `share` of what model `at` cost there."""
    every = [cascade(table, *abc) for abc in permutations(range(len(table.models)), 3) if abc[0] < abc[1]]
    right, usd = np.zeros(len(table.questions)), np.zeros(len(table.questions))
    for fold in np.unique(table.fold):
        here = table.fold == fold
        limit = share * table.usd[~here, at].mean()
        fits = [one for one in every if one[1][~here].mean() <= limit]
        best = max(fits, key=lambda one: one[0][~here].mean())
        right[here], usd[here] = best[0][here], best[1][here]
    return right, usd, None


def baselines(table: Table) -> list[tuple[str, str, np.ndarray, np.ndarray, None]]:
    """An oracle, and models in a random order until two agree."""
    cheapest = np.where(table.right > 0, table.usd, np.inf).min(axis=1)
    solved = np.isfinite(cheapest)
    oracle = solved.astype(float), np.where(solved, cheapest, 0.0)
    right, usd = np.zeros(len(solved)), np.zeros(len(solved))
    for i, keys in enumerate(table.keys):
        seen: dict[str, int] = {}
        order = Random(f"{i}").sample(range(len(keys)), len(keys))
        for m in order:
            usd[i] += table.usd[i, m]
            key = keys[m]
            if key is not None and key in seen:
                right[i] = table.right[i, m]
                break
            if key is not None:
                seen[key] = m
    return [("oracle", "cheapest right model", *oracle, None), ("random", "until two agree", right, usd, None)]


def reliability(runs: dict[float, Run]) -> None:
    """What was claimed beside what came, over all prices."""
    right, p = (np.concatenate([run[i] for run in runs.values()]) for i in (0, 2))
    for part in np.array_split(np.argsort(p), BINS):
        click.echo(f"claimed {p[part].mean():.3f}, right {right[part].mean():.3f} of {len(part)} runs")


def dependence(table: Table, policies: dict[int, Policy]) -> None:
    """All nine votes fused by the fitted world, and by one in which votes are independent given what is right (naive
    Bayes): what each claims, and what comes."""
    from dataclasses import replace

    from satisfice.budgets.features import features
    from satisfice.budgets.portfolio_world import World, state

    keys = tuple(f"single_shot@{model}" for model in table.models)
    claims: dict[str, list[tuple[float, float]]] = {"fitted world": [], "naive Bayes": []}
    for i, question in enumerate(table.questions):
        asked = table.bank.questions[question]
        allocation = policies[asked.fold].allocation
        assert allocation is not None
        world, task = allocation.world(), asked.task()
        tables = world.tables(keys, (), features(task), task.topic)
        chance = world.tables(keys).chance
        plain = World(
            {
                k: replace(world.arms[k], bias=float(np.log(c / (1 - c))), loading=0.0, sd=0.0, own=1e6)
                for k, c in zip(keys, chance, strict=True)
            },
            kappa=1e6,
        )
        known = list(dict.fromkeys(key for key in table.keys[i] if key is not None))
        votes = tuple((a, known.index(key) if key is not None else -1) for a, key in enumerate(table.keys[i]))
        right = [max(table.right[i, a] for a, key in enumerate(table.keys[i]) if key == one) for one in known]
        for name, of in (("fitted world", tables), ("naive Bayes", plain.tables(keys))):
            p = state(of, votes, (), len(asked.choices)).answers[:-1]
            claims[name].append((float(p.max()), right[int(p.argmax())]))
    for name, rows in claims.items():
        p, right = (np.array(column) for column in zip(*rows, strict=True))
        p = np.clip(p, 1e-6, 1 - 1e-6)
        loss = -np.mean(right * np.log(p) + (1 - right) * np.log(1 - p))
        gap = paired(p, right)
        click.echo(
            f"all votes, {name}: right {right.mean():.4f}, claimed {p.mean():.4f}, "
            f"too much by {p.mean() - right.mean():+.4f} [{gap.low:+.3f}, {gap.high:+.3f}], log loss {loss:.4f}"
        )


def one_sided(diff: np.ndarray) -> float:
    """The lower end of a one-sided 95% interval (normal)."""
    return float(diff.mean() - 1.645 * diff.std(ddof=1) / len(diff) ** 0.5)


def said(values: np.ndarray) -> str:
    within = clustered(values)
    return f"{values.mean():.4f} [{within.low:.3f}, {within.high:.3f}]"


def save(folder: Path, rows: list[tuple[str, str, np.ndarray, np.ndarray, object]], usd: float, mark: str) -> None:
    """The curves as CSV, and a picture of them."""
    with (folder / f"allocation-nine-models{mark}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kind", "name", "accuracy", "usd_per_1000", "share_of_best"])
        for kind, name, right, cost, _ in rows:
            writer.writerow([kind, name, f"{right.mean():.4f}", f"{1e3 * cost.mean():.3f}", f"{cost.mean() / usd:.4f}"])
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), dpi=80)
    for kind, mark_of in (("single", "s"), ("auto", "o-"), ("oracle", "*"), ("random", "x")):
        points = [(c.mean() / usd, r.mean()) for k, _, r, c, _ in rows if k == kind]
        axes.plot(*zip(*points, strict=True), mark_of, label=kind)
    axes.set_xlabel("dollars, share of claude-3-opus")
    axes.set_ylabel("accuracy")
    axes.set_ylim(0.55, 1.0)
    axes.legend()
    figure.tight_layout()
    figure.savefig(folder / f"allocation-nine-models{mark}.png")


if __name__ == "__main__":
    main()
