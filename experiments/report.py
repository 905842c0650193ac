"""Report: what an evaluation measured. One row for each strategy or baseline, model, arm and worth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, NamedTuple

from ..core.errors import UnknownName
from .intervals import Interval, paired


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far P(right) at the stop can be believed, over runs that gave an answer (each question weighs the same).

    `ece`: expected calibration error over 10 bins of equal width (Naeini et al. 2015), biased upwards where questions
    are few; `brier`: mean squared error (Brier 1950); `log_loss` in nats; `claimed`: mean P(right); `right`: share
    right. `fitted` says whether the policy may call it a confidence.
    """

    ece: float
    brier: float
    log_loss: float
    claimed: float
    right: float
    fitted: bool


class Each(NamedTuple):
    """One question's figures, each a mean over its runs: share right, dollars, tokens, calls, seconds, and the share
    that gave an answer."""

    right: float
    usd: float
    tokens: float = 0.0
    calls: float = 0.0
    seconds: float = 0.0
    answered: float = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """One measured way of answering.

    `accuracy` counts a run without an answer as not right; `usd`, `tokens`, `calls` are means per question. `worth`
    is what a right answer is worth in dollars, `net` = right answers at their worth less wrong ones at their cost
    less dollars spent, per question. Dollars are None where the bank does not know them. `answered` is the share of
    runs with an answer; `stops` counts runs by reason; `misses` are runs that the bank could not answer (they are in
    no other figure), `faults` runs that an error ended. `each` holds the figures of
    each question.
    """

    name: str
    model: str
    arm: str
    policy: str
    questions: int
    accuracy: Interval
    usd: Interval | None = None
    tokens: float | None = None
    calls: float | None = None
    worth: float | None = None
    net: Interval | None = None
    answered: float = 1.0
    runs: int = 0
    stops: Mapping[str, int] = field(default_factory=dict)
    misses: int = 0
    faults: int = 0
    calibration: Calibration | None = None
    baseline: bool = False
    note: str = ""
    each: Mapping[str, Each] = field(default_factory=dict, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the per-question figures."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "each"}
        for name in ("accuracy", "usd", "net"):
            data[name] = _interval(data[name])
        data["stops"] = dict(self.stops)
        data["calibration"] = asdict(self.calibration) if self.calibration else None
        for name in ("worth", "tokens", "calls"):
            data[name] = _finite(data[name])
        return data


@dataclass(frozen=True, slots=True)
class Report:
    """All rows, what they were measured on, and what a reader has to know. `policies` are the fitted ones' facts."""

    rows: tuple[Row, ...]
    bank: Mapping[str, Any]
    settings: Mapping[str, Any]
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "bank": dict(self.bank),
            "settings": dict(self.settings),
            "policies": {name: dict(facts) for name, facts in self.policies.items()},
            "rows": [row.to_dict() for row in self.rows],
        }

    def row(self, name: str, model: str | None = None, arm: str | None = None, worth: float | None = None) -> Row:
        """The first row of this name (and model, arm, worth, where given). Raises `UnknownName`."""
        for row in self.rows:
            if (
                row.name == name
                and model in (None, row.model)
                and arm in (None, row.arm)
                and worth in (None, row.worth)
            ):
                return row
        raise UnknownName.of("row", name, {row.name for row in self.rows})

    def table(self) -> list[dict[str, str]]:
        """The rows as short texts, for printing: column -> text."""
        return [_line(row) for row in self.rows]


def notes(rows: Iterable[Row]) -> list[str]:
    """What a reader has to know of measured rows, a line for each strategy and kind of note: of several models or
    worths the first is quoted."""
    found: dict[tuple[str, str], tuple[Row, int]] = {}
    for row in rows:
        if row.note and not row.baseline:
            kind = re.sub(r"'[^']*'|\d+", "", row.note)[:60]
            first, more = found.get((row.name, kind), (row, -1))
            found[row.name, kind] = first, more + 1
    return [
        f"{row.name} on {row.model}{f' (and {more} more rows)' * (more > 0)}: {row.note}"
        for row, more in found.values()
    ]


def difference(a: Row, b: Row, figure: int = 0) -> Interval:
    """a - b in accuracy (figure 0) or dollars (1) per question, paired and clustered on the questions of both."""
    both = [question for question in a.each if question in b.each]
    return paired([a.each[q][figure] for q in both], [b.each[q][figure] for q in both])


def _line(row: Row) -> dict[str, str]:
    accuracy, cost = row.accuracy, row.usd
    return {
        "strategy": row.name + (" *" if row.baseline else ""),
        "model": row.model,
        "arm": row.arm,
        "policy": row.policy,
        "worth": f"${row.worth:.3g}" if row.worth is not None else "-",
        "questions": str(row.questions),
        "accuracy": f"{accuracy.estimate:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]",
        "usd": f"{cost.estimate:.3g}" if cost else "-",
        "tokens": f"{row.tokens:.0f}" if row.tokens is not None else "-",
        "calls": f"{row.calls:.2f}" if row.calls is not None else "-",
        "answered": f"{row.answered:.3f}",
        "net": f"{row.net.estimate:.3g}" if row.net else "-",
        "ece": f"{row.calibration.ece:.3f}" if row.calibration and row.calibration.fitted else "-",
        "stops": ", ".join(f"{k} {v}" for k, v in sorted(row.stops.items())),
        "misses": str(row.misses),
    }


def _interval(value: Interval | None) -> dict[str, float | None] | None:
    return None if value is None else {k: _finite(v) for k, v in value.to_dict().items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
