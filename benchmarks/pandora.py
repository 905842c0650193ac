"""Scored sampling on recorded draws: when to stop drawing candidates that an imperfect verifier grades.

    python benchmarks/pandora.py experiments/banks/verifiers --verifier confidence_min

Rules, all cross-fitted by fold (the policy, calibration included, is fitted on the other folds):
- chain: `DrawBelief` as `fit` leaves it, backward induction in what the other folds' draws did (`budgets.scored`);
- three ways: the same belief without a chain, the best of three lower bounds in a model of votes and verdicts;
- Weitzman: stop once the best calibrated score reaches the index of the training folds' distribution of scores;
- UCB-Pandora: nothing learnt, raw scores, `PandoraBelief`; two draws at the least.
A draw costs the given share of the worth; blank replies are billed. Regret, in points of worth, is against the best
fixed number of draws in hindsight (0 to 16, answers picked by votes and verdicts together, or by the score alone),
chosen anew in each of 2,000 resamples of questions. ECE: of P(right) at the stop, ten bins of equal size. Promises:
where the chain goes on after four draws, the gain that it expects then and the one that came by its stop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from satisfice.budgets.checking import DrawBelief
from satisfice.budgets.evidence import Answers, Evidence
from satisfice.budgets.policy import VerifierPolicy
from satisfice.budgets.scored import FEWEST, PandoraBelief, reservation
from satisfice.core.belief import Priors, Terms
from satisfice.experiments.bank import Bank, Group
from satisfice.experiments.chaining import fit_chains
from satisfice.experiments.fitting import fit
from satisfice.experiments.verifying import fit_verifiers
from satisfice.verifiers.calibration import expected_calibration_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOOK = 4  # draws after which what the chain promises is held against what came
GRID = (0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2)
RESAMPLES, SEED = 2000, 7


@dataclass(frozen=True)
class State:
    """After some draws: the evidence, raw scores of all draws that were readable, best calibrated score, and whether
    the likeliest answer by votes and verdicts, the best-scored one, and the one that the chain gives are right."""

    answers: Answers
    raw: tuple[float, ...]
    best: float
    right: bool
    top: bool
    given: bool


@dataclass(frozen=True)
class World:
    """What was fitted on the other folds."""

    priors: Priors
    verifier: VerifierPolicy
    levels: tuple[tuple[float, float], ...]  # (calibrated score, probability) of a draw


def world(bank: Bank, fold: int, name: str) -> World:
    rest = bank.select(folds=[f for f in bank.folds if f != fold])
    bare = replace(rest, verdicts={})
    priors = fit(bare, stops=False).priors()
    verifiers = fit_verifiers(rest, priors, [name])
    chains = fit_chains(rest, verifiers, priors)
    verifier = verifiers[name]
    p = sorted(
        verifier.p(said[name].score, rest.questions[place[0]].kind)
        for place, said in rest.verdicts.items()
        if name in said and said[name].score is not None
    )
    levels = tuple((x, 1 / len(p)) for x in p)
    channels = {name: verifier.channel()}
    known = {names: chain.chain() for names, chain in chains.items()}
    return World(replace(priors, channels=channels, chains=known), verifier, levels)


def states(bank: Bank, group: Group, name: str, known: World, seed: str) -> list[State]:
    """After 0, 1, ... draws, in a random order."""
    kind, row = bank.questions[group[0]].kind, bank.draws[group]
    found = [State((), (), 0.0, False, False, False)]
    chained = Terms(0.0, 0.0, 0, known.priors)
    bare = replace(chained, priors=replace(known.priors, chains={}))
    counts: dict[str, int] = {}
    first: dict[str, tuple[float, bool]] = {}
    raw: tuple[float, ...] = ()
    for draw in Random(seed).sample(row, len(row)):
        said = bank.verdicts.get((*group, draw.sample_index), {}).get(name)
        if draw.key is None or said is None or said.score is None:
            found.append(found[-1])
            continue
        raw = (*raw, said.score)
        counts[draw.key] = counts.get(draw.key, 0) + 1
        first.setdefault(draw.key, (known.verifier.p(said.score, kind), draw.correct))
        answers = tuple(Evidence(n, ((name, first[key][0]),)) for key, n in counts.items())
        belief, truth = DrawBelief(answers), [ok for _, ok in first.values()]
        best, top = max(first.values(), key=lambda pair: pair[0])
        found.append(State(answers, raw, best, truth[belief.pick(bare)], top, truth[belief.pick(chained)]))
    return found


Goes = Callable[[State, float, int], bool]


def rules(known: World, name: str) -> dict[str, Goes]:
    """Whether another draw is bought in a state, at a cost, with so many left."""
    bare = replace(known.priors, chains={})

    def by_chain(state: State, cost: float, left: int) -> bool:
        at = Terms(1.0, cost, left, known.priors)
        return DrawBelief(state.answers, (name,), left).best(at).size > 0

    def three_ways(state: State, cost: float, left: int) -> bool:
        return DrawBelief(state.answers, (name,), left).best(Terms(1.0, cost, left, bare)).size > 0

    index: dict[float, float] = {}

    def weitzman(state: State, cost: float, left: int) -> bool:
        if cost not in index:
            index[cost] = reservation(known.levels, cost)
        return state.best < index[cost]

    def pandora(state: State, cost: float, left: int) -> bool:
        if len(state.raw) < FEWEST:
            return True
        return PandoraBelief(state.raw, left).best(Terms(1.0, cost, left, bare)).size > 0

    return {"chain": by_chain, "three ways": three_ways, "Weitzman": weitzman, "UCB-Pandora": pandora}


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--verifier", default="confidence_min", show_default=True)
@click.option("--orders", default=2, show_default=True, help="Random orders of each question's draws.")
@click.option("--only", default="", help="Rules to try, comma-separated (default: all).")
def main(path: Path, verifier: str, orders: int, only: str) -> None:
    import numpy as np

    bank = Bank.open(path)
    nets: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))  # rule -> cost -> by question
    fixed: dict[float, list[Any]] = defaultdict(list)
    drawn: dict[tuple[str, float], list[float]] = defaultdict(list)
    claims: dict[tuple[str, float], list[tuple[float, bool, str]]] = defaultdict(list)
    promises: dict[float, list[tuple[float, float]]] = defaultdict(list)  # cost -> (promised, came) by question
    for fold in bank.folds:
        known = world(bank, fold, verifier)
        chained = Terms(1.0, 0.0, 0, known.priors)
        bare = replace(chained, priors=replace(known.priors, chains={}))
        click.echo(", ".join(f"fold {fold}: {c.by_score=}, {c.kept=}" for c in known.priors.chains.values()), err=True)
        wanted = {k: v for k, v in rules(known, verifier).items() if not only or k in only.split(",")}
        for group in (g for g in bank.draws if bank.questions[g[0]].fold == fold):
            walks = [states(bank, group, verifier, known, f"{SEED}/{group}/{i}") for i in range(orders)]
            for cost in GRID:
                rows = [[s.right - cost * n for n, s in enumerate(walk)] for walk in walks]
                rows = [
                    row + [s.top - cost * n for n, s in enumerate(walk)] for row, walk in zip(rows, walks, strict=True)
                ]
                fixed[cost].append(np.mean(rows, axis=0))
                for rule, goes in wanted.items():
                    ends = [_end(walk, goes, cost) for walk in walks]
                    by_score = rule in ("Weitzman", "UCB-Pandora")
                    stops = [walk[n] for walk, n in zip(walks, ends, strict=True)]
                    right = [s.top if by_score else s.given if rule == "chain" else s.right for s in stops]
                    at = chained if rule == "chain" else bare
                    if rule == "chain":
                        promises[cost] += _promised(walks, ends, verifier, replace(chained, cost=cost))
                    nets[rule][cost].append(float(np.mean([r - cost * n for r, n in zip(right, ends, strict=True)])))
                    drawn[rule, cost].append(float(np.mean(ends)))
                    for stop, ok in zip(stops, right, strict=True):
                        p = DrawBelief(stop.answers, (verifier,)).p(at) if stop.answers else None
                        if p is not None and not by_score:
                            claims[rule, cost].append((p, ok, group[0]))
    _report(nets, fixed, drawn, claims, len(bank.draws))
    _kept(promises)


def _end(walk: list[State], goes: Goes, cost: float) -> int:
    last = len(walk) - 1
    return next((n for n in range(last) if not goes(walk[n], cost, last - n)), last)


def _promised(walks: list[list[State]], ends: list[int], verifier: str, at: Terms) -> list[tuple[float, float]]:
    """(the gain promised after four draws, what came of it), mean over the orders that go on there; [] if none does."""
    rows = []
    for walk, end in zip(walks, ends, strict=True):
        if end > LOOK and walk[LOOK].answers:
            left = len(walk) - 1 - LOOK
            gain = DrawBelief(walk[LOOK].answers, (verifier,), left).best(replace(at, steps=left)).gain
            rows.append((gain, walk[end].given - walk[LOOK].given))
    return [(sum(a for a, _ in rows) / len(rows), sum(b for _, b in rows) / len(rows))] if rows else []


def _kept(promises: dict[float, list[tuple[float, float]]]) -> None:
    import numpy as np

    if promises:
        click.echo("\n| cost | questions that go on after 4 draws | promised | came | came less promised |")
        click.echo("|---" * 5 + "|")
    for cost, rows in ((cost, rows) for cost, rows in promises.items() if rows):
        table = np.asarray(rows)
        less, n = table[:, 1] - table[:, 0], len(table)
        means = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), RESAMPLES) @ less / n
        low, high = np.quantile(means, [0.025, 0.975])
        shown = " | ".join(f"{x:.3f}" for x in table.mean(axis=0))
        click.echo(f"| {cost} | {n} | {shown} | {less.mean():+.3f} [{low:+.3f}, {high:+.3f}] |")


def _report(nets: Any, fixed: Any, drawn: Any, claims: Any, n: int) -> None:
    import numpy as np

    dice = np.random.default_rng(SEED)
    weights = dice.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
    click.echo(f"n = {n} questions\n")
    click.echo(
        "| cost / worth | best fixed n in hindsight | " + " | ".join(f"{r}: draws | regret" for r in nets) + " |"
    )
    click.echo("|---" * (2 + 2 * len(nets)) + "|")
    every: dict[str, list[Any]] = defaultdict(list)
    for cost in GRID:
        table = np.asarray(fixed[cost])
        best, at = (weights @ table).max(axis=1), int(table.mean(axis=0).argmax())
        half = table.shape[1] // 2
        cells = [f"{at % half} by {'score' if at >= half else 'both'} ({100 * table.mean(axis=0).max():.2f})"]
        for rule in nets:
            mine = np.asarray(nets[rule][cost])
            loss = 100 * (best - weights @ mine)
            mean = 100 * float(table.mean(axis=0).max() - mine.mean())
            every[rule].append((mean, loss))
            low, high = np.quantile(loss, [0.025, 0.975])
            cells += [f"{np.mean(drawn[rule, cost]):.1f}", f"{mean:.2f} [{low:.2f}, {high:.2f}]"]
        click.echo(f"| {cost} | {' | '.join(cells)} |")
    for rule, rows in every.items():
        low, high = np.quantile(np.mean([loss for _, loss in rows], axis=0), [0.025, 0.975])
        line = f"mean regret over the grid, {rule}: {np.mean([mean for mean, _ in rows]):.2f} [{low:.2f}, {high:.2f}]"
        found = [claims[rule, cost] for cost in GRID if claims[rule, cost]]
        if found:
            errors = [
                expected_calibration_error(*map(list, zip(*row, strict=True)), bins=10, resamples=200).estimate
                for row in found
            ]
            line += f"; ECE at its stops: mean {np.mean(errors):.3f}, worst {max(errors):.3f}"
        click.echo(line)


if __name__ == "__main__":
    main()
