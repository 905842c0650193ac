"""Off-policy estimates on recorded models, where the truth is known: all models answered all questions, and only what a
randomised policy would have asked is shown to the estimators.

    python benchmarks/off_policy.py selfreflection_mcqa_9models.parquet

The logging policy asks the model of lowest cost with probability .5 and any other at random. The target asks, for each
exam, the model with the highest net value on the other folds. A reward is what a right answer is worth (in units of
that) less dollars. Printed for each estimator, over so many simulated logs of one decision a question: bias, root mean
squared error against the target's true mean over these questions, how often the 95% interval holds that, and its width;
beside them, keeping only the decisions on which both agree (Li et al. 2011), which is snips without weights.
"""

from __future__ import annotations

from random import Random
from tempfile import TemporaryDirectory

import click
import numpy as np

from satisfice.experiments import Bank, clustered, import_file
from satisfice.experiments.intervals import Interval
from satisfice.experiments.off_policy import Logged, off_policy, with_means


@click.command()
@click.argument("path", type=click.Path(exists=True))
@click.option("--arm", default="baseline")
@click.option("--drop", multiple=True, default=("comprehensive",))
@click.option("--worth", type=float, default=0.2, help="dollars of a right answer")
@click.option("--logs", type=int, default=300, help="simulated logs")
@click.option("--greedy", type=float, default=0.5, help="how often the logging policy asks the cheapest model")
def main(path: str, arm: str, drop: tuple[str, ...], worth: float, logs: int, greedy: float) -> None:
    """See the module's docstring."""
    with TemporaryDirectory() as folder:
        bank = import_file(path, f"{folder}/bank", drop_datasets=drop).select(arms=[arm])
        arms = dict(bank.arms)
        questions = list(bank.common(arms))
        rewards = {q: {m: _reward(bank, q, m, a, worth) for m, a in arms.items()} for q in questions}
    target = _routes(bank, rewards)
    cheapest = min(arms, key=lambda m: -sum(rewards[q][m] for q in questions) if worth == 0 else _cost(bank, m, arms))
    rest = (1 - greedy) / (len(arms) - 1)
    logging = {m: greedy if m == cheapest else rest for m in arms}
    truth = sum(rewards[q][target[q]] for q in questions) / len(questions)
    logged = sum(p * rewards[q][m] for q in questions for m, p in logging.items()) / len(questions)
    print(f"{len(questions)} questions, {len(arms)} models, worth ${worth:g}, {logs} logs; mostly asked: {cheapest}")
    print(f"true mean reward: target {truth:.4f}, logging policy {logged:.4f}")
    found: dict[str, list[Interval]] = {}
    for seed in range(logs):
        for name, one in _estimates(bank, rewards, target, logging, questions, seed).items():
            found.setdefault(name, []).append(one)
    print(f"{'estimator':18}{'bias':>9}{'rmse':>9}{'covered':>9}{'width':>9}")
    for name, many in found.items():
        off = np.array([i.estimate for i in many]) - truth
        held = np.mean([i.low <= truth <= i.high for i in many])
        width = np.mean([i.high - i.low for i in many])
        print(f"{name:18}{off.mean():9.4f}{np.sqrt((off**2).mean()):9.4f}{held:9.3f}{width:9.4f}")


def _reward(bank: Bank, question: str, model: str, arm: str, worth: float) -> float:
    draw = bank.draws[question, model, arm][0]
    return float(draw.correct) - (draw.nanos or 0) / 1e9 / worth


def _cost(bank: Bank, model: str, arms: dict[str, str]) -> float:
    return sum(row[0].nanos or 0 for row in bank.of_arm(model, arms[model]).values())


def _routes(bank: Bank, rewards: dict[str, dict[str, float]]) -> dict[str, str]:
    """For each question the model that is best on its exam in the other folds."""
    chosen = {}
    for question in rewards:
        here = bank.questions[question]
        others = [
            q for q in rewards if bank.questions[q].dataset == here.dataset and bank.questions[q].fold != here.fold
        ]
        chosen[question] = max(rewards[question], key=lambda m: sum(rewards[q][m] for q in others))
    return chosen


def _estimates(
    bank: Bank,
    rewards: dict[str, dict[str, float]],
    target: dict[str, str],
    logging: dict[str, float],
    questions: list[str],
    seed: int,
) -> dict[str, Interval]:
    dice, rows = Random(seed), []
    for question in questions:
        action = dice.choices(list(logging), list(logging.values()))[0]
        fold = bank.questions[question].fold
        rows.append(Logged(question, action, rewards[question][action], logging, {target[question]: 1.0}, fold=fold))
    made = off_policy(with_means(rows))
    agreed = [row.reward for row in rows if target[row.question] == row.action]
    assert made.direct is not None
    assert made.doubly_robust is not None
    return {
        "as logged": made.logged,
        "agreeing only": clustered(agreed),
        "ips": made.ips,
        "snips": made.snips,
        "direct": made.direct,
        "doubly robust": made.doubly_robust,
    }


if __name__ == "__main__":
    main()
