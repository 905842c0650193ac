"""Tallies: figures per question, of which a row of a report is made. Each question weighs the same, and each of its
runs the same within it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

from .intervals import clustered
from .measuring import Part, Ran
from .report import Bin, Calibration, Each, Latency, Row
from .teams import Missed

BINS = 10  # of the expected calibration error


@dataclass(frozen=True, slots=True)
class Prices:
    """What a right answer is worth and a wrong one costs, in dollars, whether dollars are known at all, and whether the
    seconds of draws are."""

    worth: float | None
    wrong: float
    known: bool
    timed: bool = False


@dataclass(slots=True)
class Tally:
    """The figures of each question, and the seconds of its runs."""

    each: dict[str, Each] = field(default_factory=dict)
    seconds: dict[str, tuple[float, ...]] = field(default_factory=dict)
    runs: int = 0

    def add(self, question: str, runs: Sequence[Each]) -> None:
        """Takes in a question's runs; one that has none is left out."""
        if runs:
            self.each[question] = Each(*(sum(column) / len(runs) for column in zip(*runs, strict=True)))
            self.seconds[question] = tuple(run.seconds for run in runs)
            self.runs += len(runs)

    def row(self, name: str, model: str, arm: str, prices: Prices, **more: Any) -> Row:
        """The row of these figures. `net` and dollars are left out where the cost is not known, latency where the
        seconds are not."""
        every = list(self.each.values())
        right, usd = [e.right for e in every], [e.usd for e in every]
        net = None
        if prices.known and prices.worth is not None and prices.worth != float("inf"):
            worth = prices.worth
            net = clustered([e.right * worth - (e.answered - e.right) * prices.wrong - e.usd for e in every])
        return Row(
            name,
            model,
            arm,
            questions=len(every),
            accuracy=clustered(right),
            usd=clustered(usd) if prices.known else None,
            tokens=_mean([e.tokens for e in every]),
            calls=_mean([e.calls for e in every]),
            worth=prices.worth if prices.known else None,
            net=net,
            answered=_mean([e.answered for e in every]) or 0.0,
            runs=self.runs,
            each=self.each,
            latency=self.latency() if prices.timed and every else None,
            **more,
        )

    def latency(self) -> Latency:
        """Over runs, each question weighing the same."""
        rows = sorted((s, 1 / len(row)) for row in self.seconds.values() for s in row)
        mean = clustered([e.seconds for e in self.each.values()])
        return Latency(mean.estimate, _quantile(rows, 0.5), _quantile(rows, 0.99), mean.low, mean.high)


@dataclass(slots=True)
class Gathered:
    """All that came of one strategy, part by part, in the order of the questions."""

    tally: Tally = field(default_factory=Tally)
    claims: list[tuple[float, bool, float]] = field(default_factory=list)  # P(right), right, weight
    stops: Counter[str] = field(default_factory=Counter)
    money: dict[str, list[float]] = field(default_factory=dict)  # summed shares of runs, and of dollars
    missed: Missed = field(default_factory=Missed)

    def take(self, part: Part) -> None:
        """Takes in what came of a chunk of the questions."""
        self.missed.take(part.missed)
        for question, runs in part.runs.items():
            self.tally.add(question, [_each(run) for run in runs])
            for run in runs:
                self.stops[run.stop] += 1
                sums = self.money.setdefault(run.stop, [0.0, 0.0])
                sums[0] += 1 / len(runs)
                sums[1] += run.usd / len(runs)
                if run.claimed is not None:
                    self.claims.append((run.claimed, run.right, 1 / part.orders[question]))

    def shares(self, known: bool) -> dict[str, tuple[float, float]]:
        """Reason to stop -> share of runs, dollars per question (0 where they are not `known`)."""
        count = max(1, len(self.tally.each))
        return {stop: (a / count, b / count if known else 0.0) for stop, (a, b) in sorted(self.money.items())}

    def reliability(self) -> tuple[Bin, ...]:
        """The filled bins of P(right) at the stop, low first."""
        bins: dict[int, list[float]] = {}
        for p, right, weight in self.claims:
            sums = bins.setdefault(min(BINS - 1, int(p * BINS)), [0.0, 0.0, 0.0])
            for i, value in enumerate((weight * p, weight * right, weight)):
                sums[i] += value
        return tuple(Bin(c / w, r / w, w) for _, (c, r, w) in sorted(bins.items()))

    def calibration(self, fitted: bool) -> Calibration | None:
        """How far P(right) at the stop can be believed; None where no run claimed any."""
        if not self.claims:
            return None
        total = sum(w for _, _, w in self.claims)
        return Calibration(
            sum(abs(b.claimed - b.right) * b.weight for b in self.reliability()) / total,
            sum(w * (p - right) ** 2 for p, right, w in self.claims) / total,
            -sum(w * log(max(p if right else 1 - p, 1e-12)) for p, right, w in self.claims) / total,
            sum(w * p for p, _, w in self.claims) / total,
            sum(w * right for _, right, w in self.claims) / total,
            fitted,
        )


def _each(run: Ran) -> Each:
    return Each(float(run.right), run.usd, run.tokens, run.calls, run.seconds, float(run.answered))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _quantile(rows: Sequence[tuple[float, float]], share: float) -> float:
    """The least value that so much of the weight does not exceed, of sorted (value, weight)."""
    total, seen = sum(weight for _, weight in rows), 0.0
    for value, weight in rows:
        seen += weight
        if seen >= share * total - 1e-9:
            return value
    return rows[-1][0]
