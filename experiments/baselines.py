"""Baselines: what plain ways of answering would have got from the same draws. No plan runs here, only counting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from ..core.amounts import NANO
from .bank import Bank, Draw
from .intervals import Interval, best, clustered
from .replaying import order
from .report import Each, Row
from .tallies import Prices, Tally

__all__ = ["Counted", "Deals", "Prices", "Tally", "across", "counted", "majorities", "rows_of", "single_shot", "vote"]

Deals: TypeAlias = Mapping[str, tuple[Draw, ...]]
Counted: TypeAlias = "tuple[str, Tally, str]"  # name, figures, note
FIXED = (3, 5)  # sizes of the fixed votes, beside the vote of all draws


def usd_of(draw: Draw) -> float:
    return (draw.nanos or 0) / NANO


def counted(deals: Deals, model: str, arm: str, resamples: int, seed: int) -> list[Counted]:
    """Single-shot, and votes of fixed size where every question has that many draws."""
    found = [("single_shot", single_shot(deals), "mean over all draws, exact")]
    fewest, most = min(map(len, deals.values())), max(map(len, deals.values()))
    if most > 1 and all(draw.answer is not None for row in deals.values() for draw in row):
        sizes = (*[n for n in FIXED if n <= fewest and n < most], None)
        for size, tally in zip(sizes, majorities(deals, sizes, model, arm, resamples, seed), strict=True):
            name = f"majority of {size if size is not None else most if most == fewest else 'all'}"
            found.append((name, tally, "ties to the answer seen first"))
    return found


def rows_of(found: Sequence[Counted], deals: Deals, model: str, arm: str, prices: Sequence[Prices]) -> list[Row]:
    """Rows of what was counted, for each of the `prices`."""
    timed = all(draw.seconds is not None for row in deals.values() for draw in row)
    return [
        tally.row(name, model, arm, replace(terms, timed=timed), policy="", baseline=True, note=note)
        for terms in prices
        for name, tally, note in found
    ]


def single_shot(deals: Deals) -> Tally:
    """One draw: its expectation, exactly."""
    tally = Tally()
    for question, row in deals.items():
        # What nobody recorded was still an answer: its label stands.
        tally.add(question, [_one(d, float(d.answer != "")) for d in row])
    tally.runs = 0
    return tally


def _one(draw: Draw, answered: float) -> Each:
    return Each(float(draw.correct), usd_of(draw), draw.tokens, 1.0, draw.seconds or 0.0, answered)


def majorities(
    deals: Deals, sizes: Sequence[int | None], model: str, arm: str, resamples: int, seed: int
) -> list[Tally]:
    """The votes of the first draws of each size (None: all), in the orders in which replays of these seeds meet them.
    All are asked at once: the slowest is waited for."""
    tallies = [Tally() for _ in sizes]
    for question, row in deals.items():
        met = [order(len(row), seen, question, model, arm) for seen in range(seed, seed + resamples)]
        ends = [len(row) if size is None else size for size in sizes]
        runs = [_votes(row, places, ends) for places in met]
        for i, tally in enumerate(tallies):
            tally.add(question, [run[i] for run in runs])
    return tallies


def _votes(row: Sequence[Draw], places: Sequence[int], ends: Sequence[int]) -> list[Each]:
    """The votes after so many draws (`ends`, rising), in one pass."""
    counts: dict[str, int] = {}
    first: dict[str, tuple[int, Draw]] = {}
    leader: str | None = None
    usd, tokens, seconds, found = 0.0, 0, 0.0, []
    for n, place in enumerate(places[: ends[-1]], 1):
        draw = row[place]
        usd, tokens, seconds = usd + usd_of(draw), tokens + draw.tokens, max(seconds, draw.seconds or 0.0)
        if draw.key is not None:
            first.setdefault(draw.key, (n, draw))
            counts[draw.key] = now = counts.get(draw.key, 0) + 1
            most = counts[leader] if leader is not None else 0
            if leader is None or now > most or (now == most and first[draw.key][0] < first[leader][0]):
                leader = draw.key
        if n in ends:
            right = leader is not None and first[leader][1].correct
            found.append(Each(float(right), usd, tokens, n, seconds, float(leader is not None)))
    return found


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
    right = [[tally.each[q].right for tally in tallies] for q in common]
    usd = [[tally.each[q].usd for tally in tallies] for q in common]
    together = f"{len(models)} models" if len(models) > 1 else models[0]
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
