"""When to stop voting: net utility, confidence and calls started, on recorded draws.

    python benchmarks/stopping.py replay mcqa_temperature_10samples.parquet --temperature 0.7
    python benchmarks/stopping.py replay mcqa_temperature_10samples.parquet --model gpt-4 --keep comprehensive
    python benchmarks/stopping.py started mcqa_temperature_10samples.parquet

Costs are those of a draw as a share of what a right answer is worth; net utility is accuracy less cost times draws.
Policies are fitted on the other folds. A blank draw costs as any other and has no vote, whatever the rule.
Intervals: 95%, bootstrap with whole questions (those on one passage together) drawn again, 2000 resamples; what is
chosen in hindsight is chosen again in every resample.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy.stats import beta

from satisfice.budgets.policy import Policy
from satisfice.budgets.voting_world import World
from satisfice.core.belief import Terms
from satisfice.experiments import Bank, fit, import_file
from satisfice.experiments.intervals import Interval, clustered
from satisfice.experiments.vote_replays import Deals, going, replay_votes, rows_of

COSTS = (0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2)
RUNS = 100  # orders of each question's draws
BETAS = (0.8, 0.9, 0.95, 0.99)  # thresholds of the Beta early stop
BINS = 10
_CONTEXT = re.compile(r"Context:\s*(.*?)\n(?:Question|Choices):", re.DOTALL)


@click.group()
def main() -> None:
    """See the module's docstring."""


@dataclass(frozen=True)
class Bench:
    """Replays of many rules on the same orders. `clusters`: which questions stand together."""

    bank: Bank
    deals: Deals
    orders: Any
    folds: Any
    clusters: Any

    @classmethod
    def of(cls, bank: Bank, model: str, arm: str, runs: int) -> Bench:
        deals = Deals.of(bank, model, arm)
        dice, count = np.random.default_rng(0), deals.answers.shape[1]
        places = np.broadcast_to(np.arange(count, dtype=np.uint8), (len(deals.questions), runs, count))
        asked = [bank.questions[q] for q in deals.questions]
        texts = [(found.group(1) if (found := _CONTEXT.search(q.text)) else q.text) for q in asked]
        names = {name: i for i, name in enumerate(dict.fromkeys(" ".join(text.lower().split()) for text in texts))}
        clusters = np.array([names[" ".join(text.lower().split())] for text in texts])
        return cls(bank, deals, dice.permuted(places, axis=2), np.array([q.fold for q in asked]), clusters)

    @property
    def most(self) -> int:
        return int(self.deals.answers.shape[1])

    def right(self, leaders: Any) -> Any:
        """(questions x runs): whether the answer that leads is right."""
        place = np.minimum(leaders, self.most - 1).astype(np.int64)
        return np.take_along_axis(self.deals.right, place, axis=1) & (leaders < 255)

    def run(self, go: Any) -> tuple[Any, Any]:
        """(questions x runs) twice: draws and right answers."""
        stops, leaders = replay_votes(self.deals, self.orders, go)
        return stops.astype(np.int64), self.right(leaders)

    def interval(self, columns: Any, statistic: Callable[[Any], Any]) -> Interval:
        """Of a statistic of means over questions, (questions x figures)."""
        table = np.asarray(columns, dtype=float)
        sizes = np.bincount(self.clusters).astype(float)
        sums = np.zeros((len(sizes), table.shape[1]))
        np.add.at(sums, self.clusters, table)
        return clustered(sums / sizes[:, None], weights=sizes, statistic=statistic)


# -- rules to compare with --------------------------------------------------------------------------------------------


def majority_is_stable(a: int, b: int) -> float:
    """P(the leader stays ahead of the runner-up), as in Adaptive-Consistency's Beta rule (Aggarwal et al. 2023)."""
    return float(1 - beta.cdf(0.5, a + 1, b + 1))


def rules(bench: Bench) -> dict[str, tuple[Any, Any]]:
    """Every fixed size, every threshold of the Beta rule that differs from the next, every ESC window."""
    most, states = bench.most, rows_of(bench.most).states
    votes = np.array([sum(state) for state in states])[:, None]
    total = votes + np.arange(most + 1)[None, :]
    found = {f"fixed {n}": bench.run((total < n).astype(np.uint8)) for n in range(1, most + 1)}
    fixed = {n: found[f"fixed {n}"][1] for n in range(1, most + 1)}
    stable = np.array([majority_is_stable(state[0], state[1]) for state in states])[:, None]
    for level in sorted(set(np.round(stable[votes[:, 0] > 0].ravel(), 9))):
        go = (stable < level - 1e-9) & (total < most) | (total == 0)
        found[f"Beta {level:.4f}"] = bench.run(go.astype(np.uint8))
    answers = np.take_along_axis(bench.deals.answers[:, None, :], bench.orders.astype(np.int64), axis=2)
    for window in range(1, most + 1):
        stops = np.full(bench.orders.shape[:2], most)
        for end in range(most // window * window, 0, -window):
            last = answers[:, :, end - window : end]
            stops[(last == last[:, :, :1]).all(axis=2) & (last[:, :, 0] > 0)] = end
        right = np.zeros(stops.shape, dtype=bool)
        for n, kept in fixed.items():
            right[stops == n] = kept[stops == n]
        found[f"ESC {window}"] = stops, right
    return found


def ours(bench: Bench, policies: dict[int, Policy], cost: float) -> tuple[Any, Any]:
    """The policy of each fold on its questions."""
    stops, right = (np.zeros(bench.orders.shape[:2], dtype=t) for t in (np.int64, bool))
    for fold, policy in policies.items():
        here = bench.folds == fold
        mine = replace(
            bench,
            deals=replace(bench.deals, answers=bench.deals.answers[here], right=bench.deals.right[here]),
            orders=bench.orders[here],
        )
        stops[here], right[here] = mine.run(going(Terms(cost, 1.0, 0, policy.priors()), bench.most))
    return stops, right


def crossed(bench: Bench, ways: int | None = None, plain: bool = False) -> dict[int, Policy]:
    """The policy of each fold; with `ways`, folds of one residue are judged by those of the others."""
    folds = sorted({int(f) for f in bench.folds})
    part = {f: f % ways if ways else f for f in folds}
    made = {p: fit(bench.bank, folds=[f for f in folds if part[f] != p], stops=False) for p in set(part.values())}
    if plain:
        made = {p: policy.model_copy(update={"kinds": ()}) for p, policy in made.items()}
    return {f: made[part[f]] for f in folds}


# -- confidence -------------------------------------------------------------------------------------------------------


def claims(bench: Bench, policies: dict[int, Policy], stops: Any) -> tuple[Any, Any]:
    """(questions x runs) twice at the stops: P(right) by the policy, and the leader's share of the votes. NaN: none."""
    answers = np.take_along_axis(bench.deals.answers[:, None, :], bench.orders.astype(np.int64), axis=2)
    counts = np.zeros((*stops.shape, bench.most + 1), dtype=np.int64)
    for n in range(bench.most):
        drawn = n < stops
        np.add.at(counts, (*np.nonzero(drawn), answers[:, :, n][drawn]), 1)
    blanks, ranked = counts[:, :, 0], -np.sort(-counts[:, :, 1:], axis=2)
    votes, top = ranked.sum(axis=2), ranked[:, :, :4]
    rows = rows_of(bench.most)
    at = np.where(
        (ranked > 0).sum(axis=2) <= 4,
        rows.named[tuple(np.minimum(top[:, :, i], rows.named.shape[i] - 1) for i in range(4))],
        rows.scattered[top[:, :, 0], np.minimum(top[:, :, 1], bench.most // 2), votes - top[:, :, 0] - top[:, :, 1]],
    )
    p = np.full(stops.shape, np.nan)
    for fold, policy in policies.items():
        here = bench.folds == fold
        world = World.of(policy.priors())
        table = np.array([[world.p(s, b) if s[0] else np.nan for b in range(bench.most + 1)] for s in rows.states])
        p[here] = table[at[here], blanks[here]]
    with np.errstate(invalid="ignore"):
        return p, top[:, :, 0] / np.where(votes > 0, votes, np.nan)


def ece(bench: Bench, p: Any, right: Any) -> Interval:
    """Expected calibration error of the answers given, in ten bins of equal width."""
    known = ~np.isnan(p)
    bins = np.minimum((np.nan_to_num(p) * BINS).astype(int), BINS - 1)
    gaps = [np.where(known & (bins == k), p - right, 0.0).mean(axis=1) for k in range(BINS)]
    columns = np.stack([*gaps, known.mean(axis=1)], axis=1)
    return bench.interval(columns, lambda means: np.abs(means[:, :BINS]).sum(axis=1) / means[:, BINS])


# -- commands ---------------------------------------------------------------------------------------------------------


def opened(path: str, model: str, temperature: str, keep: str | None) -> Bench:
    with tempfile.TemporaryDirectory() as folder:
        bank = import_file(path, Path(folder) / "bank", licence="as its source says")
    questions = {
        n: q for n, q in bank.questions.items() if (q.dataset == keep if keep else q.dataset != "comprehensive")
    }
    bank = Bank(questions, {key: row for key, row in bank.draws.items() if key[0] in questions})
    (arm,) = (a for m, a in bank.arms if m == model and a.endswith(f"@{temperature}"))
    return Bench.of(bank.select(models=[model], arms=[arm]), model, arm, RUNS)


@main.command("replay")
@click.argument("path", type=click.Path(exists=True))
@click.option("--model", default="gpt-35-turbo")
@click.option("--temperature", default="0.7")
@click.option("--keep", default=None, help="Only this dataset (default: all but comprehensive).")
@click.option("--plain", is_flag=True, help="Count votes by the fitted `voting` alone: open answers, no blanks.")
def replay_command(path: str, model: str, temperature: str, keep: str | None, plain: bool) -> None:
    """Regret, confidence and calls started on recorded draws."""
    bench = opened(path, model, temperature, keep)
    policies = crossed(bench, None, plain)
    click.echo(f"{model}, {bench.deals.arm}: {len(bench.folds)} questions, {bench.clusters.max() + 1} clusters\n")
    compare(bench, policies, crossed(bench, 2, plain))
    started(bench, policies)


@main.command("started")
@click.argument("path", type=click.Path(exists=True))
@click.option("--model", default="gpt-35-turbo")
@click.option("--temperature", default="0.7")
def started_command(path: str, model: str, temperature: str) -> None:
    """Calls started on recorded draws, and nothing else."""
    bench = opened(path, model, temperature, None)
    started(bench, crossed(bench))


def compare(bench: Bench, policies: dict[int, Policy], halves: dict[int, Policy]) -> None:
    known = rules(bench)
    names = list(known)
    accuracy = np.stack([known[n][1].mean(axis=1) for n in names], axis=1)
    draws = np.stack([known[n][0].mean(axis=1) for n in names], axis=1)
    click.echo("| cost | accuracy | draws | net | best in hindsight | regret | chosen in training: regret", nl=False)
    click.echo(" | ECE | fitted on half | share's |\n" + "|---" * 10 + "|")
    nets, others, trained = [], [], []
    for cost in COSTS:
        stops, right = ours(bench, policies, cost)
        net, worth = right.mean(axis=1) - cost * stops.mean(axis=1), accuracy - cost * draws
        picked = np.zeros(len(net))
        for fold in policies:
            here = bench.folds == fold
            picked[here] = worth[here, worth[~here].mean(axis=0).argmax()]
        nets.append(net), others.append(worth), trained.append(picked)
        regret = bench.interval(np.column_stack([worth, net]), regretted)
        chosen = bench.interval(np.column_stack([worth, picked]), regretted)
        p, share = claims(bench, policies, stops)
        half_stops, half_right = ours(bench, halves, cost)
        half_p, _ = claims(bench, halves, half_stops)
        cells = [f"{cost:g}", f"{right.mean():.3f}", f"{stops.mean():.2f}", f"{net.mean():.4f}"]
        cells += [names[int(worth.mean(axis=0).argmax())], points(regret), points(chosen), shown(ece(bench, p, right))]
        cells += [shown(ece(bench, half_p, half_right)), f"{ece(bench, share, right).estimate:.3f}"]
        click.echo("| " + " | ".join(cells) + " |")
    width, many = len(names), len(COSTS)

    def averaged(means: Any) -> Any:
        return np.mean([regretted(means[:, i * (width + 1) : (i + 1) * (width + 1)]) for i in range(many)], axis=0)

    for text, rows in (("regret, mean over the costs", nets), ("the same of the rule chosen in training", trained)):
        columns = np.column_stack([np.column_stack([w, n]) for w, n in zip(others, rows, strict=True)])
        click.echo(f"\n{text}: {points(bench.interval(columns, averaged))} points")
    single = np.mean(others, axis=0)
    best = names[int(single.mean(axis=0).argmax())]
    for text, rows in (("against the best single rule", nets), ("the same of the rule chosen in training", trained)):
        gain = bench.interval(np.column_stack([single, np.mean(rows, axis=0)]), lambda m: -regretted(m))
        click.echo(f"{text} ({best}): {points(gain)} points")


def regretted(means: Any) -> Any:
    """The best of all columns but the last, less the last."""
    return means[:, :-1].max(axis=1) - means[:, -1]


def started(bench: Bench, policies: dict[int, Policy]) -> None:
    """Beta early stop as a service does it that starts its whole budget at once and cancels what is not needed."""
    most, states = bench.most, rows_of(bench.most).states
    total = np.array([sum(s) for s in states])[:, None] + np.arange(most + 1)[None, :]
    stable = np.array([majority_is_stable(s[0], s[1]) for s in states])[:, None]
    mine = [[part.mean(axis=1) for part in ours(bench, policies, cost)] for cost in COSTS]
    draws, good = (np.stack(columns, axis=1) for columns in zip(*mine, strict=True))  # (questions, costs)
    click.echo("\n| Beta early stop at | its accuracy | finished | started | ours at cost | started", nl=False)
    click.echo(
        " | at the cost chosen on the other folds: started | less accuracy than it, points |\n" + "|---" * 8 + "|"
    )
    for level in BETAS:
        stops, right = bench.run((((stable < level) | (total == 0)) & (total < most)).astype(np.uint8))
        accuracy = right.mean(axis=1)
        cost = COSTS[dearest_as_good(good.mean(axis=0)[None, :], np.array([accuracy.mean()]))[0]]
        again = bench.interval(np.column_stack([good, draws, accuracy]), started_as_good)
        own, lost = np.zeros(len(accuracy)), np.zeros(len(accuracy))
        for fold in policies:
            here = bench.folds == fold
            at = dearest_as_good(good[~here].mean(axis=0)[None, :], np.array([accuracy[~here].mean()]))[0]
            own[here], lost[here] = draws[here, at], accuracy[here] - good[here, at]
        fair = bench.interval(np.column_stack([own]), lambda m: m[:, 0])
        less = bench.interval(np.column_stack([lost]), lambda m: m[:, 0])
        cells = [f"{level}", f"{accuracy.mean():.3f}", f"{stops.mean():.2f}", f"{most}", f"{cost:g}"]
        cells += [f"{x.estimate:.2f} [{x.low:.2f}, {x.high:.2f}]" for x in (again, fair)]
        click.echo("| " + " | ".join([*cells, points(less)]) + " |")


def dearest_as_good(good: Any, accuracy: Any) -> Any:
    """Of the costs, the last at which we are not more than .05 points less accurate; the first where none is. For
    (rows, costs) and (rows,)."""
    enough = good >= accuracy[:, None] - 5e-4
    return np.where(enough.any(axis=1), len(COSTS) - 1 - enough[:, ::-1].argmax(axis=1), 0)


def started_as_good(means: Any) -> Any:
    """Draws at that cost, chosen in each row of (accuracies by cost, draws by cost, the other's accuracy)."""
    many = len(COSTS)
    return means[np.arange(len(means)), many + dearest_as_good(means[:, :many], means[:, 2 * many])]


def points(interval: Interval) -> str:
    return f"{100 * interval.estimate:+.2f} [{100 * interval.low:+.2f}, {100 * interval.high:+.2f}]"


def shown(interval: Interval) -> str:
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


if __name__ == "__main__":
    main()
