"""One budget for many questions: `solve_many` against as many draws for everyone, on recorded draws.

    python benchmarks/sharing.py draws mcqa_temperature_10samples.parquet --temperature 0.7

`draws`: every draw costs the same, and a batch of all questions may make n of them on average. The allocation is the
code of `solve_many` (`scheduler.many.greedy`); its parts are runs of `SelfConsistency` by the replay driver. Every
question is judged by a policy fitted on the other folds.

Baselines on the same orders of the draws: uniform n; the best mixture of uniform n's at the same spend (the envelope of
their curve); and an oracle that knows each question's curve of accuracy by n, averaged over its orders, and shares the
same spend by the envelopes of these. Intervals: 95%, bootstrap with whole questions (those on one passage together)
drawn again, 2000 resamples; the mixture is chosen again in each.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from stopping import Bench, opened

from satisfice import SelfConsistency
from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.budgets.purse import UNLIMITED, Purse
from satisfice.budgets.sharing.envelopes import Envelope, predicted, relaxed
from satisfice.budgets.switching import ENOUGH, reserve
from satisfice.core.belief import Continuation, Priors
from satisfice.experiments import fit
from satisfice.experiments.bank import Bank
from satisfice.experiments.intervals import Interval
from satisfice.experiments.replaying import NOMINAL, BankSource, BankTariff, Deck
from satisfice.scheduler.decisions import Economics
from satisfice.scheduler.many.advancing import Step
from satisfice.scheduler.many.asked import Item, renamed
from satisfice.scheduler.many.greedy import Greedy
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run

MEANS = (1, 2, 3, 4, 5, 6, 7, 8, 9)


@click.group()
def main() -> None:
    """See the module's docstring."""


# -- the allocation on recorded draws ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """The answer of one part, as a candidate."""

    answer: Any


@dataclass
class Replaying:
    """Parts as runs of the replay driver (a `scheduler.many.advancing.Advance`). Each question's draws come in the
    order of one seed, and go on where the part before left off."""

    decks: dict[str, Deck]
    policies: dict[str, Policy]
    priors: dict[str, Priors]
    tariff: Any
    seed: int
    most: int
    sources: dict[int, BankSource] = field(default_factory=dict)

    async def __call__(self, item: Item, shadow: float) -> Step:
        run = perform(self._run(item, shadow), self.sources[item.place])
        assert run.outcome is not None
        frame, candidate = run.root, run.outcome.candidate
        found, _ = renamed(str(len(item.parts)), run.outcome.found, ())
        p = frame.belief.p(frame.terms) if candidate and frame.belief and frame.terms else None
        index = max(reserve(belief, replace(terms, steps=ENOUGH)) for _, belief, terms in frame.ways)
        return Step(run.outcome.reason, index, p or 0.0, Part(candidate), found)

    def look(self, item: Item) -> Envelope | None:
        run = self._run(item, 1e30)
        run.start()
        ways = run.root.ways

        def course(price: float) -> Continuation:
            return max((b.best(replace(t, price=price)) for _, b, t in ways), key=lambda way: way.gain)

        return predicted(course, ways[0][2])

    def _run(self, item: Item, shadow: float) -> Run:
        name = item.task.label
        source = self.sources.setdefault(item.place, self.decks[name].shuffled(self.seed))
        task = source.task.knowing(item.found)
        budget = Budget(calls=self.most, worth=float("inf"))
        economics = Economics(budget, self.policies[name], self.tariff, shadow)
        economics.priors = self.priors[name]  # the same object for all runs: what is made of it is made once
        purse = Purse.of(budget, item.purse)
        return Run(SelfConsistency(most=self.most)(task), purse=purse, economics=economics, name="replay", seed=0)


def shared(bench: Bench, policies: dict[int, Policy], mean: float, seed: int) -> tuple[Any, Any, Greedy]:
    """One batch of all questions with `mean` draws for each on average: draws and right answers (questions,)."""
    bank, questions = bench.bank, bench.deals.questions
    arms = {bench.deals.model: bench.deals.arm}
    decks = {q: Deck.of(bank, q, arms) for q in questions}
    right = [{d.key: d.correct for d in decks[q].draws[bench.deals.model]} for q in questions]
    priors = {fold: policy.priors() for fold, policy in policies.items()}
    folds = {q: int(fold) for q, fold in zip(questions, bench.folds, strict=True)}
    both = ({q: found[fold] for q, fold in folds.items()} for found in (policies, priors))
    replaying = Replaying(decks, *both, BankTariff(bank, arms), seed, bench.most)
    total = Purse((round(mean * len(questions)) * NOMINAL, UNLIMITED, UNLIMITED))
    items = [
        Item(i, decks[q].task, {}, Purse((UNLIMITED, UNLIMITED, bench.most), total)) for i, q in enumerate(questions)
    ]
    greedy = Greedy(items, total, replaying, 1)
    greedy.rank()
    anyio.run(greedy.run)
    answers = [item.parts[-1].answer if item.parts else None for item in items]
    good = [answer is not None and right[i][answer.key] for i, answer in enumerate(answers)]
    return np.array([item.purse.posted[2] for item in items]), np.array(good), greedy


def crossed(bench: Bench) -> dict[int, Policy]:
    """The policy of each fold, fitted on the others."""
    folds = sorted({int(fold) for fold in bench.folds})
    return {fold: fit(bench.bank, folds=[f for f in folds if f != fold], stops=True) for fold in folds}


def level(bank: Bank) -> Bank:
    """The same draws, each at the same cost."""
    draws = {key: tuple(replace(draw, nanos=NOMINAL) for draw in row) for key, row in bank.draws.items()}
    return Bank(bank.questions, draws)


def uniform(bench: Bench) -> Any:
    """(questions x n): accuracy of n draws for everyone, n from 0 on, averaged over the orders."""
    from satisfice.experiments.vote_replays import rows_of

    states = rows_of(bench.most).states
    total = np.array([sum(state) for state in states])[:, None] + np.arange(bench.most + 1)[None, :]
    columns = [bench.run((total < n).astype(np.uint8))[1].mean(axis=1) for n in range(1, bench.most + 1)]
    return np.stack([np.zeros(len(bench.folds)), *columns], axis=1)


def mixed(curves: Any, costs: Any, usd: Any) -> Any:
    """(resamples,): accuracy of the best mixture of uniform n's that comes to `usd` each, by (resamples x n) means."""
    found = np.empty(len(curves))
    for i, (row, cost, spent) in enumerate(zip(curves, costs, usd, strict=True)):
        found[i] = relaxed([Envelope.of(zip(cost, np.maximum(row, 0.0), strict=True))], float(spent)).value
    return found


def oracle(curves: Any, costs: Any, usd: float) -> float:
    """Mean accuracy where each question's own curve is known, at `usd` in all."""
    return relaxed([Envelope.of(zip(c, v, strict=True)) for c, v in zip(costs, curves, strict=True)], usd).value / len(
        curves
    )


@main.command("draws")
@click.argument("path", type=click.Path(exists=True))
@click.option("--model", default="gpt-35-turbo")
@click.option("--temperature", default="0.7")
@click.option("--orders", default=20, help="Orders of each question's draws.")
@click.option("--mean", "means", multiple=True, type=float, help="Mean draws (repeat; default: 1 to 9).")
def draws_command(path: str, model: str, temperature: str, orders: int, means: tuple[float, ...]) -> None:
    """Draws that cost the same."""
    bench = opened(path, model, temperature, None)
    bench = replace(bench, bank=level(bench.bank), orders=bench.deals.orders(range(orders)))
    policies = crossed(bench)
    curves, n = uniform(bench), np.arange(bench.most + 1)
    costs = np.broadcast_to(n, curves.shape)
    click.echo(f"{model}, {bench.deals.arm}: {len(n_of(bench))} questions, {orders} orders\n")
    click.echo(HEAD)
    for mean in means or MEANS:
        made = [shared(bench, policies, mean, seed) for seed in range(orders)]
        spent, good = (np.mean([m[k] for m in made], axis=0) for k in (0, 1))
        gaps = [(g.bound.value - sum(i.value for i in g.items)) / len(g.items) for _, _, g in made if g.bound]
        parts = np.mean([len(item.parts) for _, _, g in made for item in g.items])
        click.echo(row_of(bench, mean, curves, costs, spent, good, [np.mean(gaps), parts]))


HEAD = (
    "| mean n | spent | shared | uniform n | shared less uniform, points | less the best mixture of n | oracle"
    " | share of the gap to it | LP gap, points | parts |\n" + "|---" * 10 + "|"
)


def n_of(bench: Bench) -> Any:
    return bench.folds


def row_of(bench: Bench, mean: float, curves: Any, costs: Any, spent: Any, good: Any, rest: list[float]) -> str:
    """One line of the table. `spent`, `good` (questions,): in the units of `costs`, and accuracy."""
    width = curves.shape[1]
    columns = np.column_stack([curves, costs, spent, good])

    def less_mixed(means: Any) -> Any:
        return means[:, -1] - mixed(means[:, :width], means[:, width : 2 * width], means[:, -2])

    even = curves[:, int(mean)]
    mix = bench.interval(columns, less_mixed)
    fair = bench.interval(np.column_stack([even, good]), lambda m: m[:, 1] - m[:, 0])
    best = oracle(curves, costs, float(spent.sum()))
    closed = (good.mean() - even.mean()) / (best - even.mean()) if best > even.mean() else float("nan")
    cells = [f"{mean:g}", f"{spent.mean():.4g}", f"{good.mean():.4f}", f"{even.mean():.4f}", points(fair), points(mix)]
    cells += [f"{best:.4f}", f"{closed:.0%}", f"{100 * rest[0]:+.2f}", f"{rest[1]:.2f}"]
    return "| " + " | ".join(cells) + " |"


def points(interval: Interval) -> str:
    return f"{100 * interval.estimate:+.2f} [{100 * interval.low:+.2f}, {100 * interval.high:+.2f}]"


if __name__ == "__main__":
    main()
