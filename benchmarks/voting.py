"""What weighing votes by confidence buys over plain voting, on recorded draws: accuracy and the paired difference.

    python benchmarks/voting.py experiments/banks/verifiers

The bank must have recorded `confidence_mean` (the geometric mean of a draw's token probabilities) and `confidence_min`
(that of its worst token). The votes are counted as `SelfConsistency` counts them; only the drawing is replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from statistics import fmean

import click

from satisfice.core.task import Candidate
from satisfice.experiments.bank import Bank
from satisfice.experiments.intervals import Interval, clustered, paired
from satisfice.experiments.replaying import order
from satisfice.strategies.voting import Votes, mean_confidence, softmax

ORDERS = 16  # of the draws of a question, where fewer are taken than were recorded
SOFTNESS = (1.0, 0.5, 0.1)
SIZES = (2, 4, 8, 16)

Hand = list[tuple[Candidate, bool]]


@click.command()
@click.argument("bank", type=click.Path(exists=True))
def main(bank: str) -> None:
    """Plain against confidence-weighted voting."""
    opened = Bank.open(bank)
    (model, arm), *others = opened.arms
    if others:
        raise click.ClickException("expected a bank of one model and arm")
    click.echo("| n | votes | accuracy | against plain votes | wrong turned right / right turned wrong (draws of n) |")
    click.echo("|---|---|---|---|---|")
    for n in SIZES:
        plain: list[list[bool]] = []
        for name, weigh, verifier in ways():
            each = [
                [_right(hand, weigh) for hand in hands(opened, question, model, arm, n, verifier)]
                for question in opened.of_arm(model, arm)
            ]
            plain = plain or each
            means, base = [fmean(row) for row in each], [fmean(row) for row in plain]
            turned = [(a, b) for row, old in zip(each, plain, strict=True) for a, b in zip(row, old, strict=True)]
            gained, lost = sum(a and not b for a, b in turned), sum(b and not a for a, b in turned)
            against = "" if each is plain else _points(paired(means, base))
            click.echo(
                f"| {n} | {name} | {_points(clustered(means))} | {against} | {gained} / {lost} of {len(turned)} |"
            )


def ways() -> Sequence[tuple[str, Callable[[Sequence[Candidate]], Sequence[float]] | None, str]]:
    """(name, weights, the verifier whose confidence is used); plain votes first."""
    made: list[tuple[str, Callable[[Sequence[Candidate]], Sequence[float]] | None, str]] = [
        ("plain", None, "confidence_mean")
    ]
    for verifier in ("confidence_mean", "confidence_min"):
        made += [(f"{verifier}, softness {soft:g}", _softened(soft), verifier) for soft in SOFTNESS]
    return made


def _softened(softness: float) -> Callable[[Sequence[Candidate]], Sequence[float]]:
    return lambda drawn: softmax([mean_confidence(c) for c in drawn], softness)


def hands(bank: Bank, question: str, model: str, arm: str, n: int, verifier: str) -> list[Hand]:
    """The first n draws in each of several orders, the same for every way of voting."""
    draws = bank.draws[question, model, arm]
    made = []
    for seed in range(1 if n >= len(draws) else ORDERS):
        places = order(len(draws), seed, question, model, arm)[:n]
        made.append([(_candidate(bank, question, model, arm, p, verifier), draws[p].correct) for p in places])
    return made


def _candidate(bank: Bank, question: str, model: str, arm: str, place: int, verifier: str) -> Candidate:
    draw = bank.draws[question, model, arm][place]
    scored = bank.verdicts.get((question, model, arm, draw.sample_index), {}).get(verifier)
    known = scored is not None and scored.score is not None
    logprobs = (log(max(scored.score, 1e-12)),) if known and scored and scored.score is not None else None
    return Candidate(draw.answer or "", draw.answer, draw.key, path=str(place), logprobs=logprobs)


def _right(hand: Hand, weigh: Callable[[Sequence[Candidate]], Sequence[float]] | None) -> bool:
    votes = Votes(weigh=weigh)
    votes.add(candidate for candidate, _ in hand)
    leader = votes.leader()
    return leader is not None and {c.path: right for c, right in hand}[leader.path]


def _points(found: Interval) -> str:
    return f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    main()
