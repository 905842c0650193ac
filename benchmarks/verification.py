"""What verification buys, with the plain baselines beside it: calibration, best-of-n's best n, and the stopper.

    python benchmarks/verification.py simulate                  # a declared world, 200 questions, 4 orders
    python benchmarks/verification.py bank experiments/banks/verifiers
    python benchmarks/verification.py game24 game24_tot_steps.jsonl.gz

The last one wants the recorded tree-of-thought steps of princeton-nlp/tree-of-thought-llm, one JSON object a puzzle
with `question_id` and `steps` of `new_ys` and `values`. Its verifier is GPT-4's recorded value of a state ("sure",
"likely", "impossible", three votes); its label is computed here: whether 24 can be reached from the numbers left.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import permutations
from pathlib import Path
from random import Random
from statistics import fmean

import click

from satisfice import BestOfN, Budget, Policy, SelfConsistency, SingleShot, Task
from satisfice.budgets.calibrators import Calibration, Identity, ScoreModel
from satisfice.budgets.policy import VerifierPolicy
from satisfice.budgets.prices import Price
from satisfice.budgets.purse import Purse
from satisfice.core.completions import Completion, Usage
from satisfice.core.task import Candidate
from satisfice.core.verdict import Verdict
from satisfice.experiments.bank import Bank
from satisfice.experiments.evaluation import evaluate
from satisfice.experiments.intervals import clustered
from satisfice.experiments.verifying import Measured, Recorded, measure, measured
from satisfice.scheduler.decisions import Economics
from satisfice.scheduler.nodes import Call, Reply
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.scheduler.tariff import PriceList, Rate

QUESTIONS, ORDERS = 200, 4
LEVELS = ((0.02, 0.18), (0.08, 0.32), (0.2, 0.3), (0.3, 0.14), (0.4, 0.06))  # P(level | right), P(level | wrong)
PRICE = Price.per_million(1.0, 1.0)  # a draw of 100 tokens costs $0.0001
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


@click.group()
def main() -> None:
    """What verification buys."""


# -- a declared world -----------


@main.command()
def simulate() -> None:
    """Best-of-n with an imperfect verifier: fixed n against the stopper, in a world that is declared."""
    policy = _declared()
    worths = (0.002, 0.01, 0.1)
    click.echo(
        f"{QUESTIONS} questions x {ORDERS} orders; a draw costs $0.0001; simulated verifier, AUC {_area():.2f}\n"
    )
    rows = {f"best of {n}": [_mean(n, policy, None, q) for q in range(QUESTIONS)] for n in SIZES}
    click.echo("| strategy | accuracy | draws | " + " | ".join(f"net at worth ${w:g}" for w in worths) + " |")
    click.echo("|---|---|---|" + "---|" * len(worths))
    for name, runs in rows.items():
        _print(name, runs, [runs] * len(worths), worths)
    for worth in worths:
        runs = [_mean(None, policy, worth, q) for q in range(QUESTIONS)]
        _print(f"stopped by value, worth ${worth:g}", runs, [runs if w == worth else None for w in worths], worths)


def _print(
    name: str, runs: list[Sequence[float]], at: Sequence[list[Sequence[float]] | None], worths: Sequence[float]
) -> None:
    accuracy = clustered([right for right, _, _ in runs])
    draws = fmean(draws for _, _, draws in runs)
    nets = []
    for mine, worth in zip(at, worths, strict=True):
        nets.append(f"{fmean(right - usd / worth for right, usd, _ in mine):.3f}" if mine else "")
    spread = f"{accuracy.estimate:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]"
    click.echo(f"| {name} | {spread} | {draws:.1f} | {' | '.join(nets)} |")


def _mean(n: int | None, policy: Policy, worth: float | None, question: int) -> tuple[float, float, float]:
    """(right, dollars, draws) of one question, over orders. Its theta is drawn from Beta(0.8, 1.6)."""
    theta = Random(f"theta {question}").betavariate(0.8, 1.6)
    found = []
    for order in range(ORDERS):
        world = _World(theta, f"{question} {order}")
        strategy = BestOfN(samples=n, most=max(SIZES))
        budget = Budget(calls=64, worth=worth if worth is not None else float("inf"))
        tariff = PriceList({"m": Rate(PRICE, "m", guess=50.0)})
        economics = Economics(budget, policy, tariff)
        task = Task.of("?", "number", checks=(world.verifier,))
        run = perform(Run(strategy(task), purse=Purse.of(budget), economics=economics, seed=order), world)
        assert run.outcome is not None
        given = run.outcome.answer.candidate if run.outcome.answer else None
        spent = run.outcome.spent
        found.append((float(given is not None and given.key == "0"), spent.usd, float(spent.calls)))
    return tuple(fmean(column) for column in zip(*found, strict=True))  # type: ignore[return-value]


class _World:
    """Answers 0 with chance theta (the right one), else some other number that nobody repeats."""

    def __init__(self, theta: float, seed: str) -> None:
        self.theta, self.dice, self.seed = theta, Random(seed), seed

    def answer(self, call: Call) -> Reply:
        text = "0" if self.dice.random() < self.theta else str(self.dice.randrange(1, 10**9))
        return Reply(Completion(f"Answer: {text}", tokens=50), Usage(50, 50), 1.0)

    def verifier(self, task: Task, candidate: Candidate) -> Verdict:
        """Simulated: it alone may look at the truth, to be wrong about it as often as declared."""
        level = Random(f"{self.seed} {candidate.key}").choices(
            range(len(LEVELS)), [right if candidate.key == "0" else wrong for right, wrong in LEVELS]
        )[0]
        return Verdict(_score(level))


def _score(level: int) -> float:
    right, wrong = LEVELS[level]
    return right / (right + wrong)


def _area() -> float:
    pairs = ((i, j, a, b) for i, (a, _) in enumerate(LEVELS) for j, (_, b) in enumerate(LEVELS))
    return sum(a * b * (1.0 if i > j else 0.5 if i == j else 0.0) for i, j, a, b in pairs)


def _declared() -> Policy:
    """A policy that knows this world: no systematic mistakes, and what the verifier will say."""
    dice = Random(0)
    thetas = sorted(dice.betavariate(0.8, 1.6) for _ in range(24))
    voting = tuple((round(t, 4), 0.0, 1 / 24) for t in thetas)
    half = tuple((right / 2, wrong / 2) for right, wrong in LEVELS)
    verifier = VerifierPolicy(calibration=Calibration(pooled=Identity()), model=ScoreModel.of(half))
    return Policy(name="declared world", voting=voting, fitted=True, verifiers={"verifier": verifier})


# -- a recorded bank -----------


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--verifier", "names", multiple=True, help="Only these (default: all).")
@click.option("--orders", default=2, show_default=True)
def bank(path: Path, names: tuple[str, ...], orders: int) -> None:
    """Calibration of the recorded verifiers, then best-of-n with each, cross-fitted by fold."""
    opened = Bank.open(path)
    chosen = names or opened.verifiers
    _calibration([measure(opened, name) for name in chosen])
    price = fmean(draw.nanos or 0 for row in opened.draws.values() for draw in row) / 1e9
    worths = [30 * price, 300 * price, 3000 * price]
    fixed = {f"best of {n}": BestOfN(samples=n) for n in (2, 4, 8, 16)}
    for name in chosen:
        click.echo(f"\n{name}: worth in mean draws; net is utility in draws\n")
        click.echo(
            "| strategy | accuracy | calls | " + " | ".join(f"net at {w / price:.0f}" for w in worths) + " | ECE |"
        )
        click.echo("|---|---|---|" + "---|" * (len(worths) + 1))
        arms = {"single_shot": SingleShot(), "self-consistency, stopped": SelfConsistency()}
        report = evaluate(
            opened,
            {**arms, **fixed, "best of n, stopped": BestOfN()},
            policy="fit",
            worth=worths,
            verifiers=[name],
            resamples=orders,
        )
        for row in report.rows:
            if row.worth not in worths and row.worth is not None:
                continue
            ece = f"{row.calibration.ece:.3f}" if row.calibration else ""
            at = [f"{row.net.estimate / price:.2f}" if row.net and row.worth == w else "" for w in worths]
            shown = f"{row.accuracy.estimate:.3f} [{row.accuracy.low:.3f}, {row.accuracy.high:.3f}]"
            click.echo(f"| {row.name} | {shown} | {row.calls or 0:.1f} | {' | '.join(at)} | {ece} |")


def _calibration(found: Sequence[Measured]) -> None:
    columns = "verifier|verdicts (questions)|unknown|base rate|AUC|log loss: base rate|raw|calibrated|gain|ECE raw"
    columns += "|ECE calibrated|family|bits"
    click.echo("| " + " | ".join(columns.split("|")) + " |")
    click.echo("|" + "---|" * 13)
    for one in found:
        cells = [
            one.name,
            f"{one.verdicts} ({one.questions})",
            str(one.unknown),
            f"{one.base_rate:.3f}",
            str(one.auc),
            f"{one.constant_loss:.4f}",
            f"{one.raw_loss.estimate:.4f}",
            f"{one.loss.estimate:.4f}",
            str(one.gain),
            str(one.raw_ece),
            str(one.ece),
            one.family,
            f"{one.bits:.3f}",
        ]
        click.echo("| " + " | ".join(cells) + " |")


# -- game of 24 -----------


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def game24(file: Path) -> None:
    """Calibration of GPT-4's recorded state values."""
    scores, labels, puzzles, kinds, unread = [], [], [], [], 0
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            puzzle = json.loads(line)
            for step in puzzle["steps"]:
                for state, value in zip(step["new_ys"], step["values"], strict=True):
                    left = _left(state)
                    if left is None:
                        unread += 1
                        continue
                    scores.append(min(1.0, value / 60))  # three times "sure" is 60
                    labels.append(_reaches(left))
                    puzzles.append(puzzle["question_id"])
                    kinds.append(f"{len(left)} left")
    click.echo(f"{len(scores)} states of {len(set(puzzles))} puzzles, {unread} could not be read\n")
    _calibration([measured(Recorded("state value", scores, labels, puzzles, kinds, unread, 0.0))])


def _left(state: str) -> tuple[Fraction, ...] | None:
    """The numbers that are left after the last step of a state."""
    last = state.strip().rpartition("\n")[2]
    found = re.search(r"\(left: ([^)]*)\)", last)
    try:
        return tuple(sorted(Fraction(number) for number in found[1].split())) if found else None
    except (ValueError, ZeroDivisionError):
        return None


@cache
def _reaches(left: tuple[Fraction, ...]) -> bool:
    """Whether 24 can be made of all of these. Recorded decimals are rounded, so that near is good enough."""
    if len(left) == 1:
        return abs(left[0] - 24) < Fraction(1, 50)
    for a, b, *rest in permutations(left):
        made = {a + b, a - b, a * b} | ({a / b} if b else set())
        if any(_reaches(tuple(sorted((*rest, value)))) for value in made):
            return True
    return False


if __name__ == "__main__":
    main()
