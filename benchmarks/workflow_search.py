"""Does a workflow that was found beat those written by hand? Cross-fitted over groups of folds.

    OPENBLAS_NUM_THREADS=1 python benchmarks/workflow_search.py PATH --arm baseline --drop comprehensive

PATH is a bank, or a file that `satisfice bank import` reads. For each worth and each of `--groups` groups of folds: a
search on the other groups, from the seeds (single models; all cascades "two, and a third where they differ"; votes of
three; with several draws of a model votes of 3, 5 and 8 of it, and two of three), the best workflow and the best seed
chosen there, both run on the group. The differences of all groups are pooled: paired, 95%, by question (bootstrap).
"""

from __future__ import annotations

import time
from itertools import combinations, permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from satisfice import Bank, Workflow
from satisfice.experiments import import_file
from satisfice.experiments.intervals import clustered, paired
from satisfice.experiments.searching.archive import Archive
from satisfice.experiments.searching.replayed import Replay
from satisfice.experiments.searching.scoring import Figure, Terms, Unanswerable
from satisfice.experiments.searching.search import search
from satisfice.experiments.searching.space import Space, cascade, usual_seeds


def seeds_of(models: list[str], draws: int) -> dict[str, Any]:
    """The hand-written ones."""
    space = Space(tuple(models), draws=draws)
    found: dict[str, Any] = dict(usual_seeds(space))
    for a, b, c in permutations(models, 3):
        if models.index(a) < models.index(b):
            found[f"cascade {a}, {b} > {c}"] = cascade(a, b, c, space)
    for three in combinations(models, 3):
        found[f"vote {', '.join(three)}"] = {
            "steps": [{"do": "parallel", "branches": [space.sample(m) for m in three]}]
        }
    for model in models if draws >= 8 else ():
        found[f"vote of 8 {model}"] = {"steps": [{"do": "parallel", "branches": [space.sample(model)] * 8}]}
    return found


class Once:
    """A scorer that runs each workflow on each question once: what it does there depends on nothing else."""

    def __init__(self, scorer: Replay) -> None:
        self.scorer, self.spent = scorer, 0.0
        self.known: dict[tuple[str, str], Any] = {}

    def keep(self, usd: float) -> bool:
        return True

    def score(self, flow: Workflow, questions: Any) -> list[Figure]:
        """As `Replay.score`."""
        before = self.known.get((flow.source, ""))
        if isinstance(before, Unanswerable):
            raise before
        new = [q for q in questions if (flow.source, q) not in self.known]
        try:
            self.known |= {(flow.source, q): f for q, f in zip(new, self.scorer.score(flow, new), strict=True)}
        except Unanswerable as error:
            self.known[flow.source, ""] = error
            raise
        return [self.known[flow.source, q] for q in questions]


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--arm", default=None)
@click.option("--drop", multiple=True, help="datasets left out on import")
@click.option("--worth", "worths", multiple=True, type=float, default=(0.03, 0.1, 0.3, 1.0, 3.0))
@click.option("--groups", default=5)
@click.option("--steps", default=300)
@click.option("--resamples", default=5)
@click.option("--select", default="mixed")
@click.option("--show/--no-show", default=False, help="the workflow found on the first group's training questions")
def main(path: Path, arm: str | None, drop: tuple[str, ...], **options: Any) -> None:
    """See the module's docstring."""
    with TemporaryDirectory() as folder:
        bank = Bank.open(path) if (path / "manifest.json").exists() else import_file(
            path, Path(folder) / "bank", drop_datasets=drop
        )  # fmt: skip
    bank = bank.select(arms=[arm]) if arm else bank
    arms = dict(bank.arms)
    dear = {
        m: float(np.mean([d.nanos or 0 for row in bank.of_arm(m, a).values() for d in row])) for m, a in arms.items()
    }
    models = sorted(arms, key=lambda m: dear[m])
    draws = min(len(row) for (_, m, a), row in bank.draws.items() if arms[m] == a)
    seeds = seeds_of(models, draws)
    replay = Replay(bank, arms, 1.0, resamples=options["resamples"])
    scorer = Once(replay)
    groups = options["groups"]
    click.echo(f"{len(replay.questions)} questions, {len(models)} models, {draws} draws, {len(seeds)} seeds")
    click.echo(
        "| worth | found: right | $/1000 | best seed: right | $/1000 | gain in net | on training | tried | seconds |"
    )
    for worth in options["worths"]:
        terms, began = Terms(worth), time.perf_counter()
        found: list[Any] = []
        seed_side: list[Any] = []
        trained: list[float] = []
        tried = 0
        for group in range(groups):
            held = [q for q in replay.questions if bank.questions[q].fold % groups == group]
            train = [q for q in replay.questions if bank.questions[q].fold % groups != group]
            train.sort(key=lambda q: hash_of(q))
            few = draws == 1
            space = Space(tuple(models), draws=draws, **({"agreements": (0.6, 1.0), "votes": (2, 3)} if few else {}))
            searched = search(
                scorer, seeds, train, terms=terms, space=space, steps=options["steps"], archive=Archive({}),
                select=options["select"], seed=group,
            )  # fmt: skip
            archive, best, seed = searched.archive, searched.best, searched.best_seed
            found += scorer.score(Workflow.of(best.document), held)
            seed_side += scorer.score(Workflow.of(seed.document), held)
            trained.append(archive.value(best, terms) - archive.value(seed, terms))
            tried += sum(n for status, n in archive.tried.items())
            if options["show"] and group == 0:
                click.echo(f"best seed: {seed.name}; found: {' / '.join(e.edit for e in archive.line(best)[1:])}")
                click.echo(Workflow.of(best.document).to_yaml())
        gain = paired(terms.values(found), terms.values(seed_side))
        right, other = clustered([f.right for f in found]), clustered([f.right for f in seed_side])
        click.echo(
            f"| ${worth:g} | {told(right)} | {1e3 * np.mean([f.usd for f in found]):.3g} "
            f"| {told(other)} | {1e3 * np.mean([f.usd for f in seed_side]):.3g} "
            f"| {gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] | {np.mean(trained):+.4f} "
            f"| {tried} | {time.perf_counter() - began:.0f} |"
        )


def hash_of(question: str) -> str:
    """An order of questions that has nothing to do with how they are."""
    from hashlib import sha256

    return sha256(question.encode()).hexdigest()


def told(interval: Any) -> str:
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


if __name__ == "__main__":
    main()
