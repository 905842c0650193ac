"""Giving up early, and going where a dollar buys more: exact checks, two arms, and rounds, on recorded runs.

    python benchmarks/folding.py check game24_gpt4_io_cot_tot.parquet     # one arm under an exact check
    python benchmarks/folding.py synthetic                                # the same, with priors from 500 questions
    python benchmarks/folding.py switch game24_gpt4_io_cot_tot.parquet    # two arms under an exact check
    python benchmarks/folding.py rounds hotpotqa_reflexion_trials.parquet # trials, curves cross-fitted by fold
    python benchmarks/folding.py waves                                    # calls against seconds, simulated

Net utility is in points of a right answer's worth; costs are shares of that worth. Every sample is billed with its
whole prompt. Regret is against the best rule of its kind in hindsight, chosen anew in each of the 2,000 resamples of
questions. Outcomes of an exact check do not depend on the order of recorded samples: means over all orders are exact.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from satisfice.budgets.beliefs import ExactBelief, misses
from satisfice.budgets.rounds import RoundsBelief
from satisfice.core.belief import Priors, Terms
from satisfice.experiments.chances import fit_chances, mixture
from satisfice.experiments.curving import Turn, fit_rounds
from satisfice.experiments.fitting import beta_binomial

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

GRID = (0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2)
RESAMPLES, SEED, MOST = 2000, 7, 100
Counts = Counter[tuple[int, int]]


@dataclass(frozen=True)
class Arm:
    """`wins` (questions,) of `MOST` recorded samples each, the fold of each question, mean dollars of a sample."""

    questions: list[str]
    wins: Floats
    folds: list[int]
    usd: float

    def by_fold(self) -> dict[int, Counts]:
        found: dict[int, Counts] = defaultdict(Counter)
        for wins, fold in zip(self.wins, self.folds, strict=True):
            found[fold][int(wins), MOST] += 1
        return found


def arms(path: Path) -> dict[str, Arm]:
    import numpy as np
    import pyarrow.parquet as parquet

    rows: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in parquet.read_table(path).to_pylist():
        rows[row["strategy"]][row["question_id"]].append(row)
    found = {}
    for name in ("io", "cot"):
        kept = rows[name]
        questions = sorted(kept)
        wins = np.asarray([sum(row["correct"] for row in kept[q]) for q in questions], dtype=float)
        usd = float(np.mean([row["cost_usd"] for q in questions for row in kept[q]]))
        found[name] = Arm(questions, wins, [kept[q][0]["fold"] for q in questions], usd)
    return found


def survival(wins: Floats) -> Floats:
    """P(the first k of the recorded samples all fail) (questions x 101), over all orders."""
    import numpy as np
    from scipy.special import gammaln

    k = np.arange(MOST + 1)[None, :]
    lost = MOST - wins[:, None]
    with np.errstate(invalid="ignore"):
        logs = gammaln(lost + 1) - gammaln(np.maximum(lost - k, 0) + 1) - gammaln(MOST + 1) + gammaln(MOST - k + 1)
    return np.where(k <= lost, np.exp(logs), 0.0)


def tries(missed: tuple[float, ...], cost: float) -> int:
    """How many failures the rule bears: it gives up where one more draw is not worth its cost."""
    return next((k for k, lost in enumerate(missed) if 1 - lost <= cost), len(missed))


def regrets(table: Floats, chosen: Floats) -> tuple[float, float, float]:
    """Points of regret against the best column of `table` (questions x rules): estimate and 95% interval by bootstrap
    over questions, the best re-chosen in each resample."""
    import numpy as np

    dice = np.random.default_rng(SEED)
    weights = dice.multinomial(len(table), np.full(len(table), 1 / len(table)), RESAMPLES) / len(table)
    found = (weights @ table).max(axis=1) - weights @ chosen
    low, high = np.quantile(found, [0.025, 0.975])
    return tuple(100 * float(x) for x in (table.mean(axis=0).max() - chosen.mean(), low, high))  # type: ignore[return-value]


def said(figures: tuple[float, float, float]) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*figures)


FITS: dict[str, Callable[[Counts], Priors]] = {
    "Beta": lambda counts: Priors((), beta_binomial(counts)),
    "mixture": lambda counts: Priors((), chances=mixture(counts)),
}


@click.group()
def main() -> None:
    pass


@main.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
def check(path: Path) -> None:
    """The stopping rule under an exact check, its prior fitted on other folds."""
    import numpy as np

    for name, arm in arms(path).items():
        by_fold, alive = arm.by_fold(), survival(arm.wins)
        spent = np.concatenate([np.zeros((len(alive), 1)), np.cumsum(alive[:, :-1], axis=1)], axis=1)
        total = sum(by_fold.values(), Counter())
        fitted = {
            fold: {kind: misses(fit(total - counts), 0, MOST) for kind, fit in FITS.items()}
            for fold, counts in by_fold.items()
        }
        chosen = "mixture" if fit_chances(by_fold) else "Beta"
        click.echo(f"\n{name}: n = {len(alive)}, Beta{beta_binomial(total)}, fit chooses the {chosen}\n")
        click.echo(
            "| cost / worth | best in hindsight | best on training folds: regret | Beta: tries | Beta: regret "
            "| mixture: tries | mixture: regret |\n|---|---|---|---|---|---|---|"
        )
        every: dict[str, list[Any]] = defaultdict(list)
        for cost in GRID:
            net = 1 - alive - cost * spent
            rules = {kind: np.asarray([tries(fitted[fold][kind], cost) for fold in arm.folds]) for kind in FITS}
            folds = np.asarray(arm.folds)
            rules["training"] = np.asarray([net[folds != fold].mean(axis=0).argmax() for fold in arm.folds])
            cells = {kind: net[np.arange(len(net)), k] for kind, k in rules.items()}
            for kind, cell in cells.items():
                every[kind].append((net, cell))
            shown = [f"{said(regrets(net, cells['training']))}"]
            for kind in FITS:
                shown += [f"{rules[kind].mean():.1f}", said(regrets(net, cells[kind]))]
            click.echo(f"| {cost} | {net.mean(axis=0).argmax()} tries | {' | '.join(shown)} |")
        for kind, pairs in every.items():
            click.echo(f"mean over the grid, {kind}: {said(_mean_regret(pairs))}")


def _mean_regret(pairs: list[tuple[Floats, Floats]]) -> tuple[float, float, float]:
    """Over several tables of the same questions: the best of each re-chosen in each resample, then the mean."""
    import numpy as np

    n = len(pairs[0][0])
    weights = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
    resampled = np.mean([(weights @ table).max(axis=1) - weights @ cell for table, cell in pairs], axis=0)
    estimate = float(np.mean([table.mean(axis=0).max() - cell.mean() for table, cell in pairs]))
    low, high = np.quantile(resampled, [0.025, 0.975])
    return 100 * estimate, 100 * float(low), 100 * float(high)


WORLDS: dict[str, Callable[[Any, int], Floats]] = {
    "Beta(.5, 2)": lambda dice, n: dice.beta(0.5, 2.0, n),
    "Beta(.07, 1.05)": lambda dice, n: dice.beta(0.07, 1.05, n),
    "half hopeless, half Beta(4, 4)": lambda dice, n: _np().where(dice.random(n) < 0.5, 0.0, dice.beta(4.0, 4.0, n)),
    "theta .02 (60%) or .6": lambda dice, n: _np().where(dice.random(n) < 0.6, 0.02, 0.6),
}


def _np() -> Any:
    import numpy

    return numpy


@main.command()
@click.option("--draws", default=8, show_default=True)
def synthetic(draws: int) -> None:
    """Regret where the world is known: priors fitted on 500 questions, against the true prior's rule, exactly."""
    import numpy as np

    truth = np.random.default_rng(0)
    click.echo(
        f"500 questions with {draws} draws each, 40 banks; regret in points against the rule that knows the prior"
    )
    click.echo("| world | fit | mean over grid and banks | worst mean at a cost | worst bank and cost | chosen |")
    click.echo("|---|---|---|---|---|---|")
    for world, draw in WORLDS.items():
        theta = draw(truth, 200_000)
        alive = np.asarray([np.mean((1 - theta) ** k) for k in range(MOST + 1)])
        spent = np.concatenate([[0.0], np.cumsum(alive[:-1])])
        seen: dict[str, list[list[float]]] = defaultdict(list)
        mixtures = 0
        for bank in range(40):
            dice = np.random.default_rng(100 + bank)
            thetas = draw(dice, 500)
            wins = dice.binomial(draws, thetas)
            by_fold = {f: Counter((int(w), draws) for w in wins[f::5]) for f in range(5)}
            total = sum(by_fold.values(), Counter())
            chances = fit_chances(by_fold)
            mixtures += bool(chances)
            beta = Priors((), beta_binomial(total))
            for kind, priors in (("Beta", beta), ("as fit chooses", replace(beta, chances=chances))):
                missed = misses(priors, 0, MOST)
                row = []
                for cost in GRID:
                    net = 1 - alive - cost * spent
                    row.append(100 * float(net.max() - net[tries(missed, cost)]))
                seen[kind].append(row)
        for kind, rows in seen.items():
            table = np.asarray(rows)
            click.echo(
                f"| {world} | {kind} | {table.mean():.3f} | {table.mean(axis=0).max():.3f} | {table.max():.2f} | "
                f"{mixtures} of 40 mixtures |"
            )


@main.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
def switch(path: Path) -> None:
    """Two arms (IO, CoT) under an exact check: the arm of the higher index, draw by draw, beside each arm alone."""
    import numpy as np

    both = arms(path)
    io, cot = both["io"], both["cot"]
    ratio = cot.usd / io.usd
    alive = {name: survival(arm.wins) for name, arm in both.items()}
    click.echo(f"n = {len(io.wins)}; a CoT sample costs {ratio:.2f} IO samples (recorded prices, a prompt for each)\n")
    click.echo(
        "| cost of IO / worth | IO alone | CoT alone | by index | less the better arm, in hindsight | IO + CoT draws |"
    )
    click.echo("|---|---|---|---|---|---|")
    fits = {}
    for name, arm in both.items():
        by_fold = arm.by_fold()
        total = sum(by_fold.values(), Counter())
        fits[name] = {f: misses(FITS["Beta"](total - counts), 0, MOST) for f, counts in by_fold.items()}
    gains, apart = [], defaultdict(list)
    for cost in GRID:
        prices = {"io": cost, "cot": cost * ratio}
        alone = {name: _alone(alive[name], [fits[name][f] for f in io.folds], prices[name]) for name in both}
        index, draws = _by_index(alive, fits, io.folds, prices)
        gains.append((np.stack(list(alone.values()), axis=1), index))
        for name, net in alone.items():
            apart[name].append(index - net)
        difference = tuple(-x for x in regrets(*gains[-1]))
        shown = said((difference[0], difference[2], difference[1]))
        click.echo(
            f"| {cost} | {100 * alone['io'].mean():.2f} | {100 * alone['cot'].mean():.2f} | {100 * index.mean():.2f} | "
            f"{shown} | {draws['io']:.1f} + {draws['cot']:.1f} |"
        )
    for name, rows in apart.items():
        found = np.mean(rows, axis=0)
        means = (
            np.random.default_rng(SEED).multinomial(len(found), np.full(len(found), 1 / len(found)), RESAMPLES) @ found
        )
        low, high = 100 * np.quantile(means / len(found), [0.025, 0.975])
        click.echo(f"mean over the grid, less {name} alone: {said((100 * float(found.mean()), low, high))}")
    mean = tuple(-x for x in _mean_regret(gains))
    click.echo(f"mean over the grid, less the better arm in hindsight: {said((mean[0], mean[2], mean[1]))}")


def _alone(alive: Floats, missed: list[tuple[float, ...]], cost: float) -> Floats:
    """Net of each question with one arm and the rule."""
    import numpy as np

    spent = np.concatenate([np.zeros((len(alive), 1)), np.cumsum(alive[:, :-1], axis=1)], axis=1)
    k = np.asarray([tries(row, cost) for row in missed])
    rows = np.arange(len(alive))
    found: Floats = 1 - alive[rows, k] - cost * spent[rows, k]
    return found


def _by_index(
    alive: dict[str, Floats], fits: dict[str, Any], folds: list[int], prices: dict[str, float]
) -> tuple[Floats, dict[str, float]]:
    """Net of each question, and mean draws of each arm. Both arms have failed so far at any decision, so that the order
    is the same for all questions of a fold; samples of the two arms are independent given the question."""
    import numpy as np

    net, draws = np.zeros(len(folds)), Counter[str]()
    for i, fold in enumerate(folds):
        failed, left = {"io": 0, "cot": 0}, 1.0
        while True:
            ways = {name: (1 - fits[name][fold][k]) / prices[name] for name, k in failed.items() if k < MOST}
            best = max(ways, key=lambda name: ways[name], default=None)
            if best is None or ways[best] <= 1 or left <= 0:
                break
            net[i] -= left * prices[best]
            draws[best] += left / len(folds)
            failed[best] += 1
            left = float(alive["io"][i, failed["io"]] * alive["cot"][i, failed["cot"]])
        net[i] += 1 - left
    return net, {name: draws[name] for name in prices}


@main.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
def rounds(path: Path) -> None:
    """Trials with an oracle: go on while another is worth its price, by curves fitted on other folds, or by a Beta."""
    import numpy as np
    import pyarrow.parquet as parquet

    rows = parquet.read_table(path).to_pylist()
    turns = [Turn(r["strategy"], r["question_id"], r["sample_index"], bool(r["correct"])) for r in rows]
    folds = {r["question_id"]: r["fold"] for r in rows}
    every = sorted(set(folds.values()))
    curves = {f: fit_rounds(t for t in turns if folds[t.question] != f) for f in every}
    click.echo("| strategy | n | retries | curve: regret | declared Beta: regret | always all: regret | none: regret |")
    click.echo("|---|---|---|---|---|---|---|")
    pooled: dict[str, list[Any]] = defaultdict(list)
    for strategy in sorted({turn.strategy for turn in turns}):
        right: dict[str, list[bool]] = defaultdict(list)
        for turn in sorted((t for t in turns if t.strategy == strategy), key=lambda t: t.round):
            right[turn.question].append(turn.right)
        questions = sorted(right)
        most = max(len(row) for row in right.values()) - 1
        alive = np.asarray([[0.0] + [float(not any(right[q][: k + 1])) for k in range(most + 1)] for q in questions])
        alive = alive[:, 1:]  # wrong after k retries
        spent = np.concatenate([np.zeros((len(alive), 1)), np.cumsum(alive[:, :-1], axis=1)], axis=1)
        pairs: dict[str, list[tuple[Floats, Floats]]] = defaultdict(list)
        for cost in GRID:
            net = 1 - alive - cost * spent
            taken = {
                "curve": [_retries(curves[folds[q]], strategy, most, cost) for q in questions],
                "Beta": [_retries({}, strategy, most, cost)] * len(questions),
                "all": [most] * len(questions),
                "none": [0] * len(questions),
            }
            for rule, k in taken.items():
                pairs[rule].append((net, net[np.arange(len(net)), k]))
        for rule, cells in pairs.items():
            pooled[rule].append(_mean_regret(cells)[0])
        shown = " | ".join(said(_mean_regret(cells)) for cells in pairs.values())
        click.echo(f"| {strategy} | {len(questions)} | {most} | {shown} |")
    click.echo("mean of all: " + ", ".join(f"{rule} {np.mean(figures):.2f}" for rule, figures in pooled.items()))


def _retries(curves: Any, strategy: str, most: int, cost: float) -> int:
    """How many retries that all fail the belief buys."""
    priors = Priors((), (0.5, 1.0), rounds={name: curve.rounds() for name, curve in curves.items()})
    terms = Terms(1.0, cost, 1 << 20, priors)
    for k in range(most):
        if not RoundsBelief(k + 1, most - k, None, strategy, k).best(terms).size:
            return k
    return most


@main.command()
@click.option("--runs", default=4000, show_default=True)
def waves(runs: int) -> None:
    """Exact checks at a price of a second: mean calls against mean seconds, from one at a time to all at once."""
    import numpy as np

    dice = np.random.default_rng(SEED)
    priors = Priors((), (0.5, 1.5))
    theta = dice.beta(*priors.success, runs)
    click.echo("A draw costs .01 of the worth and takes a second; theta ~ Beta(.5, 1.5); at most 64 draws.\n")
    click.echo(
        "| a second costs (worth) | at once | calls | seconds | solved | net, points |\n|---|---|---|---|---|---|"
    )
    for at_once in (0, 4):
        for per_second in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, inf):
            value = per_second if per_second < inf else 1e-9
            terms = Terms(1.0, 0.01 if per_second < inf else 0.0, 64, priors, 0.0, 1.0, value, at_once=at_once)
            calls, seconds, solved = _play(terms, theta, dice)
            net = 100 * (solved - 0.01 * calls - (per_second if per_second < inf else 0) * seconds)
            shown = f"{net:.2f}" if per_second < inf else ""
            label = per_second if per_second < inf else "calls are free"
            click.echo(f"| {label} | {at_once or 'any'} | {calls:.2f} | {seconds:.2f} | {solved:.3f} | {shown} |")


def _play(terms: Terms, theta: Floats, dice: Any) -> tuple[float, float, float]:
    """(calls, seconds, share solved), means over runs. Calls that were started are all billed."""
    calls = seconds = solved = 0.0
    for chance in theta:
        failed = 0
        while True:
            way = ExactBelief(failed).best(replace(terms, steps=64 - failed))
            if not way.size or way.net(terms) <= 0:
                break
            calls += way.size
            seconds += terms.seconds * terms.waves(way.size)
            if dice.random() < 1 - (1 - chance) ** way.size:
                solved += 1
                break
            failed += way.size
    n = len(theta)
    return calls / n, seconds / n, solved / n


if __name__ == "__main__":
    main()
