"""Cascades and gates on recorded draws of several models, beside single models at the same cost.

    python benchmarks/cascade.py cascade selfreflection_mcqa_9models.parquet --arm baseline
    python benchmarks/cascade.py gate routellm_gsm8k_mmlu.parquet --arm single

PATH is a file that `satisfice bank import` reads, or a bank. Everything is cross-fitted over five groups of folds:
which models make the chain, its ladder, the gate, and the best single model are chosen on the other four, for what a
right answer is `worth`; then `Cascade` is replayed on the questions left out. "Mixed" asks one of two single models by
chance, so that it costs what the cascade costs: the line between single models that a cascade has to beat. "From the
best" is the difference in accuracy from the single model that is most accurate. Intervals are 95%, paired, by question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from satisfice import Bank, Budget, Policy, SingleShot
from satisfice.experiments import BankTariff, Deck, fit_cascades, import_file
from satisfice.experiments.cascading import _climbs, accepts, front
from satisfice.experiments.gating import Rows, fit_gate, rows_of
from satisfice.experiments.intervals import clustered, paired
from satisfice.experiments.replaying import run_on
from satisfice.strategies import Cascade
from satisfice.strategies.gating import ranking

GROUPS = 5
WORTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass
class Table:
    """Per question, in the same order: label and dollars of each model; the group that it is left out with."""

    bank: Bank
    models: list[str]
    questions: list[str]
    right: dict[str, list[float]]
    cost: dict[str, list[float]]
    group: list[int]

    @classmethod
    def of(cls, bank: Bank) -> Table:
        arm = bank.arms[0][1]
        rows = {model: bank.of_arm(model, arm) for model, _ in bank.arms}
        shared = [q for q in bank.questions if all(q in of and of[q][0].answer is not None for of in rows.values())]
        if len(rows) < 2 or not shared:
            raise click.ClickException(f"{len(rows)} models under {arm!r}, {len(shared)} questions with all of them")
        if any(of[q][0].nanos is None for of in rows.values() for q in shared):
            raise click.ClickException("some costs are not known, and everything here is by dollars")
        right = {m: [float(of[q][0].correct) for q in shared] for m, of in rows.items()}
        cost = {m: [(of[q][0].nanos or 0) / 1e9 for q in shared] for m, of in rows.items()}
        return cls(bank, list(rows), shared, right, cost, [bank.questions[q].fold % GROUPS for q in shared])

    def train(self, group: int) -> list[int]:
        return [i for i, g in enumerate(self.group) if g != group]

    def test(self, group: int) -> list[int]:
        return [i for i, g in enumerate(self.group) if g == group]

    def line(self, model: str, places: Sequence[int]) -> tuple[float, float]:
        """(accuracy, dollars) of a single model."""
        n = len(places)
        return sum(self.right[model][i] for i in places) / n, sum(self.cost[model][i] for i in places) / n


def opened(path: Path, arm: str) -> Bank:
    if path.is_dir():
        return Bank.open(path).select(arms=[arm])
    with TemporaryDirectory() as folder:
        return import_file(path, Path(folder) / "bank").select(arms=[arm])


@click.group()
def main() -> None:
    """Cascades and gates on recorded draws."""


@main.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--arm", default="baseline")
def cascade(path: Path, arm: str) -> None:
    """Cascades of single-shots."""
    table = Table.of(opened(path, arm))
    click.echo(f"{len(table.questions)} questions, {len(table.models)} models\n")
    header = (
        "worth",
        "cascade",
        "$/1000",
        "best by net",
        "$/1000",
        "difference in net",
        "mixed, same cost",
        "difference",
        "from the best",
    )
    top, dear = _best(table)
    click.echo(f"the most accurate single model: {_told(top)} at ${sum(dear) / len(dear) * 1000:.2f}/1000\n")
    click.echo("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for worth in WORTHS:
        right, cost, alone, paid, mixed = ([0.0] * len(table.questions) for _ in range(5))
        for group in range(GROUPS):
            _cascade(table, group, worth, right, cost)
            _single(table, group, worth, alone, paid)
        for group in range(GROUPS):
            places = table.test(group)
            spent = sum(cost[i] for i in places) / len(places)
            for i, x in zip(places, _mixture(table, group, spent), strict=True):
                mixed[i] = x
        _row(f"${worth:g}", worth, right, cost, alone, paid, mixed, top)


def _cascade(table: Table, group: int, worth: float, right: list[float], cost: list[float]) -> None:
    train = {table.questions[i] for i in table.train(group)}
    bank = Bank(
        {q: table.bank.questions[q] for q in train}, {g: r for g, r in table.bank.draws.items() if g[0] in train}
    )
    chosen = front({m: bank.of_arm(m, bank.arms[0][1]) for m in table.models})
    chains = [chain for size in (2, 3) for chain in combinations(chosen, size)]
    if not chains:
        raise click.ClickException(f"{chosen[0]} beats every dearer model: there is no cascade to make")
    fitted = fit_cascades(bank, chains)

    def net(chain: tuple[str, ...]) -> float:
        """On the questions that it was fitted on."""
        least = (*accepts(fitted[">".join(chain)].ladder(), worth), 0.0)
        total = 0.0
        for i in table.train(group):
            rows = [table.bank.draws[table.questions[i], m, table.bank.arms[0][1]] for m in chain]
            climb = next(_climbs(rows, ""))
            for j, model in enumerate(chain):
                total -= table.cost[model][i] / worth
                if climb.agreement[j] >= least[j]:
                    total += climb.right[j]
                    break
        return total

    chain = max(chains, key=net)
    arms = dict.fromkeys(chain, table.bank.arms[0][1])
    tariff, policy = BankTariff(table.bank, arms, bank), Policy(cascades={">".join(chain): fitted[">".join(chain)]})
    strategy = Cascade(tuple(SingleShot(model=m) for m in chain))
    for i in table.test(group):
        source = Deck.of(table.bank, table.questions[i], arms).shuffled(0)
        run = run_on(source, strategy, Budget(usd=100.0, worth=worth), policy, tariff, 0)
        assert run.outcome is not None
        answer = run.outcome.answer
        right[i] = float(source.right(answer.candidate if answer else None))
        cost[i] = run.outcome.spent.nanos / 1e9


def _single(table: Table, group: int, worth: float, right: list[float], cost: list[float]) -> None:
    lines = {m: table.line(m, table.train(group)) for m in table.models}
    best = max(lines, key=lambda m: lines[m][0] - lines[m][1] / worth)
    for i in table.test(group):
        right[i], cost[i] = table.right[best][i], table.cost[best][i]


def _best(table: Table) -> tuple[list[float], list[float]]:
    """Labels and dollars of the single model that is the most accurate on the training questions."""
    right, cost = [0.0] * len(table.questions), [0.0] * len(table.questions)
    for group in range(GROUPS):
        _single(table, group, float("inf"), right, cost)
    return right, cost


def _mixture(table: Table, group: int, spent: float) -> list[float]:
    """Expected labels of the best two single models in the proportion that costs `spent`, chosen on the training
    questions; the cheapest or the best alone outside their range."""
    train, test = table.train(group), table.test(group)
    lines = {m: table.line(m, train) for m in table.models}
    cheapest = min(table.models, key=lambda m: lines[m][1])
    best, found = -1.0, (cheapest, cheapest, 0.0)
    for a in table.models:
        for b in table.models:
            (low, cheap), (high, dear) = lines[a], lines[b]
            if cheap <= spent <= dear or (a == b and cheap <= spent):
                share = (spent - cheap) / (dear - cheap) if dear > cheap else 0.0
                if low + share * (high - low) > best:
                    best, found = low + share * (high - low), (a, b, share)
    a, b, share = found
    return [(1 - share) * table.right[a][i] + share * table.right[b][i] for i in test]


def _row(
    name: str,
    worth: float,
    right: list[float],
    cost: list[float],
    alone: list[float],
    paid: list[float],
    mixed: list[float],
    top: list[float],
) -> None:
    one = [r - c / worth for r, c in zip(right, cost, strict=True)]
    other = [r - c / worth for r, c in zip(alone, paid, strict=True)]
    cells = [
        name,
        _told(right),
        f"{sum(cost) / len(cost) * 1000:.2f}",
        _told(alone),
        f"{sum(paid) / len(paid) * 1000:.2f}",
        _difference(one, other),
        f"{sum(mixed) / len(mixed):.3f}",
        _difference(right, mixed),
        _difference(right, top),
    ]
    click.echo("| " + " | ".join(cells) + " |")


def _told(values: list[float]) -> str:
    found = clustered(values)
    return f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _difference(a: list[float], b: list[float]) -> str:
    found = paired(a, b)
    return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


@main.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--arm", default="single")
@click.option("--balance", default=0.0)
def gate(path: Path, arm: str, balance: float) -> None:
    """A gate that picks one model for each question."""
    table = Table.of(opened(path, arm))
    rows = rows_of(table.bank, table.models)
    if len(rows.tasks) != len(table.questions):
        raise click.ClickException("some answers were not recorded")
    click.echo(f"{len(table.questions)} questions, {len(table.models)} models, balance {balance:g}\n")
    header = (
        "worth",
        "gate",
        "$/1000",
        "best by net",
        "$/1000",
        "difference in net",
        "mixed, same cost",
        "difference",
        "from the best",
    )
    top, dear = _best(table)
    click.echo(f"the most accurate single model: {_told(top)} at ${sum(dear) / len(dear) * 1000:.2f}/1000\n")
    click.echo("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for worth in WORTHS:
        right, cost, alone, paid, mixed = ([0.0] * len(table.questions) for _ in range(5))
        for group in range(GROUPS):
            _gated(table, rows, group, worth, balance, right, cost)
            _single(table, group, worth, alone, paid)
            places = table.test(group)
            spent = sum(cost[i] for i in places) / len(places)
            for i, x in zip(places, _mixture(table, group, spent), strict=True):
                mixed[i] = x
        _row(f"${worth:g}", worth, right, cost, alone, paid, mixed, top)


def _gated(
    table: Table, rows: Rows, group: int, worth: float, balance: float, right: list[float], cost: list[float]
) -> None:
    fitted = fit_gate(rows.take(table.train(group)), price=1 / worth, balance=balance)
    for i in table.test(group):
        model = table.models[ranking(fitted, len(table.models), rows.tasks[i])[0][0]]
        right[i], cost[i] = table.right[model][i], table.cost[model][i]


if __name__ == "__main__":
    main()
