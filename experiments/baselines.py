"""Baselines: what plain ways of answering would have got from the same draws. No plan runs here, only counting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..core.amounts import NANO
from .bank import Bank, Draw
from .intervals import Interval, best, clustered
from .replaying import order
from .report import Each, Row

Deals: TypeAlias = Mapping[str, tuple[Draw, ...]]
FIXED = (3, 5)  # sizes of the fixed votes, beside the vote of all draws


@dataclass(slots=True)
class Tally:
    """Figures per question, each a mean over that question's runs: right, dollars, tokens, calls, answered."""

    right: dict[str, float] = field(default_factory=dict)
    usd: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    calls: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    runs: int = 0

    def add(self, question: str, runs: Sequence[tuple[float, float, float, float, float]]) -> None:
        """Takes in a question's runs: (right, dollars, tokens, calls, answered) each."""
        if runs:
            means = [sum(column) / len(runs) for column in zip(*runs, strict=True)]
            columns = (self.right, self.usd, self.tokens, self.calls, self.answered)
            for column, value in zip(columns, means, strict=True):
                column[question] = value
            self.runs += len(runs)

    def row(self, name: str, model: str, arm: str, prices: Prices, **more: Any) -> Row:
        """The row of these figures. `net` and dollars are left out where the cost is not known."""
        right, usd = list(self.right.values()), list(self.usd.values())
        answered = list(self.answered.values())
        net = None
        if prices.known and prices.worth is not None and prices.worth != float("inf"):
            wrong = [a - r for a, r in zip(answered, right, strict=True)]
            gains = [r * prices.worth - w * prices.wrong - u for r, w, u in zip(right, wrong, usd, strict=True)]
            net = clustered(gains)
        return Row(
            name,
            model,
            arm,
            questions=len(right),
            accuracy=clustered(right),
            usd=clustered(usd) if prices.known else None,
            tokens=_mean(self.tokens),
            calls=_mean(self.calls),
            worth=prices.worth if prices.known else None,
            net=net,
            answered=_mean(self.answered) or 0.0,
            runs=self.runs,
            each={
                q: Each(self.right[q], self.usd[q], self.tokens[q], self.calls[q], 0.0, self.answered[q])
                for q in self.right
            },
            **more,
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """What a right answer is worth and a wrong one costs, in dollars, and whether dollars are known at all."""

    worth: float | None
    wrong: float
    known: bool


def _mean(values: Mapping[str, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


def usd_of(draw: Draw) -> float:
    return (draw.nanos or 0) / NANO


def of_arm(deals: Deals, model: str, arm: str, prices: Prices, resamples: int, seed: int) -> list[Row]:
    """Single-shot, and votes of fixed size where every question has that many draws."""
    rows = [single_shot(deals).row("single_shot", model, arm, prices, **_plain("mean over all draws, exact"))]
    fewest, most = min(map(len, deals.values())), max(map(len, deals.values()))
    if most < 2 or any(draw.answer is None for row in deals.values() for draw in row):
        return rows
    sizes: list[int | None] = [n for n in FIXED if n <= fewest and n < most]
    for size in (*sizes, None):
        tally = majority(deals, size, model, arm, resamples, seed)
        name = f"majority of {size if size is not None else most if most == fewest else 'all'}"
        rows.append(tally.row(name, model, arm, prices, **_plain("ties to the answer seen first")))
    return rows


def single_shot(deals: Deals) -> Tally:
    """One draw: its expectation, exactly."""
    tally = Tally()
    for question, row in deals.items():
        # What nobody recorded was still an answer: its label stands.
        runs = [(float(d.correct), usd_of(d), d.tokens, 1.0, float(d.answer != "")) for d in row]
        tally.add(question, runs)
    tally.runs = 0
    return tally


def majority(deals: Deals, size: int | None, model: str, arm: str, resamples: int, seed: int) -> Tally:
    """The vote of the first `size` draws (None: all), in the orders in which replays of these seeds meet them."""
    tally = Tally()
    for question, row in deals.items():
        runs = []
        for seen in range(seed, seed + resamples):
            places = order(len(row), seen, question, model, arm)[:size]
            runs.append(vote([row[i] for i in places]))
        tally.add(question, runs)
    return tally


def vote(draws: Sequence[Draw]) -> tuple[float, float, float, float, float]:
    """The vote of these draws in their order: (right, dollars, tokens, calls, answered)."""
    counts: dict[str, int] = {}
    first: dict[str, Draw] = {}
    for draw in draws:
        if draw.key is not None:
            first.setdefault(draw.key, draw)
            counts[draw.key] = counts.get(draw.key, 0) + 1
    leader = first[max(counts, key=counts.__getitem__)] if counts else None
    spent, tokens = sum(map(usd_of, draws)), sum(draw.tokens for draw in draws)
    return float(leader is not None and leader.correct), spent, tokens, len(draws), float(leader is not None)


def across(bank: Bank, arm: str, models: Sequence[str], prices: Prices) -> list[Row]:
    """Best single model, random model and oracle, over the questions that every model has under this arm. The best is
    chosen in hindsight, again in every resample; the oracle is right where any draw of any model is."""
    each = [bank.of_arm(model, arm) for model in models]
    common = [question for question in each[0] if all(question in deals for deals in each)]
    if not common:
        return []
    tallies = [single_shot({question: deals[question] for question in common}) for deals in each]
    right = [[tally.right[q] for tally in tallies] for q in common]
    usd = [[tally.usd[q] for tally in tallies] for q in common]
    together = f"{len(models)} models"
    oracle = [float(any(d.correct for deals in each for d in deals[q])) for q in common]
    rows = [_cross("oracle", together, arm, clustered(oracle), None, oracle, "any draw of any model is right")]
    if len(models) < 2:
        return rows
    chosen = max(range(len(models)), key=lambda i: sum(r[i] for r in right))
    width = len(models)

    def of_best(means: Any) -> Any:
        return means[range(len(means)), width + means[:, :width].argmax(axis=1)]

    both = [a + b for a, b in zip(right, usd, strict=True)]
    cost = clustered(both, statistic=of_best) if prices.known else None
    note = "chosen in hindsight, again in every resample"
    accuracy = clustered(right, statistic=best)
    mean: Callable[[list[float]], float] = lambda row: sum(row) / len(row)  # noqa: E731
    at_random = [mean(row) for row in right]
    spent = clustered([mean(row) for row in usd]) if prices.known else None
    return [
        _cross("best single model", models[chosen], arm, accuracy, cost, [r[chosen] for r in right], note),
        _cross("random model", together, arm, clustered(at_random), spent, at_random, "each model equally often"),
        *rows,
    ]


def _cross(
    name: str, model: str, arm: str, accuracy: Interval, usd: Interval | None, right: list[float], note: str
) -> Row:
    return Row(name, model, arm, "", len(right), accuracy, usd, baseline=True, note=note)


def _plain(note: str) -> dict[str, Any]:
    return {"policy": "", "baseline": True, "note": note}
