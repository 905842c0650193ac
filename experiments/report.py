"""Report: what an evaluation measured. One row for each strategy or baseline, model, arm and worth."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite, nan
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import StoreError, UnknownName
from .intervals import Interval, paired

FORMAT = 1  # of a saved report
RECORDED = "recorded runs"  # the arm of a strategy that is replayed on whole runs of its own


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


class Bin(NamedTuple):
    """One bin of a reliability diagram (10 of equal width over P(right) at the stop): mean P(right) claimed, share
    that was right, and how many questions' worth of runs fell into it."""

    claimed: float
    right: float
    weight: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds until the answer, on the clock of the replay, over runs (each question weighs the same): the mean with
    its 95% interval [`low`, `high`] by question, the median and the 99% quantile."""

    mean: float
    p50: float
    p99: float
    low: float = nan
    high: float = nan


@dataclass(frozen=True, slots=True)
class Row:
    """One measured way of answering.

    `accuracy` counts a run without an answer as not right; `usd`, `tokens`, `calls` are means per question. `worth`
    is what a right answer is worth in dollars, `net` = right answers at their worth less wrong ones at their cost
    less dollars spent, per question. Dollars are None where the bank does not know them. `answered` is the share of
    runs with an answer; `stops` counts runs by reason; `misses` are runs that the bank could not answer (they are in
    no other figure), `faults` runs that an error ended. `each` holds the figures of each question.

    `strategy` is how it thinks, as `solve --strategy` spells it ("" for a baseline); `policy` the name that its policy
    was given. `latency` is None where the bank does not know how long its draws took. `reliability`: the filled bins of
    P(right) at the stop, over runs that gave an answer. `money`: for each reason to stop, the share of runs that ended
    so and the dollars that went into them, per question of all (so that they add up to `usd`).
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
    strategy: str = ""
    latency: Latency | None = None
    reliability: tuple[Bin, ...] = ()
    money: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def to_dict(self, each: bool = False) -> dict[str, Any]:
        """JSON-ready; with the figures of every question where `each` says so."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "each"}
        for name in ("accuracy", "usd", "net"):
            data[name] = _interval(data[name])
        data["stops"] = dict(self.stops)
        data["calibration"] = asdict(self.calibration) if self.calibration else None
        for name in ("worth", "tokens", "calls"):
            data[name] = _finite(data[name])
        data["latency"] = {k: _finite(v) for k, v in asdict(self.latency).items()} if self.latency else None
        data["reliability"] = [list(one) for one in self.reliability]
        data["money"] = {reason: list(pair) for reason, pair in self.money.items()}
        if each:
            data["each"] = {question: list(figures) for question, figures in self.each.items()}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Row:
        """What `to_dict` made. An infinite worth comes back as None, as it is in JSON."""
        known = {f.name for f in fields(cls)}
        made = {name: value for name, value in data.items() if name in known}
        for name in ("accuracy", "usd", "net"):
            made[name] = _interval_of(made.get(name))
        kinds: dict[str, Any] = {"calibration": Calibration, "latency": Latency}
        for name, kind in kinds.items():
            found = made.get(name)
            made[name] = kind(**{k: nan if v is None else v for k, v in found.items()}) if found else None
        made["reliability"] = tuple(Bin(*one) for one in made.get("reliability", ()))
        made["money"] = {reason: (float(a), float(b)) for reason, (a, b) in made.get("money", {}).items()}
        made["each"] = {question: Each(*figures) for question, figures in made.get("each", {}).items()}
        return cls(**made)


@dataclass(frozen=True, slots=True)
class Report:
    """All rows, what they were measured on, and what a reader has to know. `policies` are the fitted ones' facts,
    `topics` the topic of every question, `warnings` what is amiss with the bank or the policies. `comparisons` and
    `metrics` are JSON-ready: paired differences between rows (`contrasts`), and the figures of `metrics`."""

    rows: tuple[Row, ...]
    bank: Mapping[str, Any]
    settings: Mapping[str, Any]
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    topics: Mapping[str, str] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()
    comparisons: tuple[Mapping[str, Any], ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self, each: bool = False) -> dict[str, Any]:
        """JSON-ready; `each`: with every question's figures and topic, from which `from_dict` makes the report
        again."""
        data: dict[str, Any] = {
            "format": FORMAT,
            "bank": dict(self.bank),
            "settings": dict(self.settings),
            "policies": {name: dict(facts) for name, facts in self.policies.items()},
            "warnings": list(self.warnings),
            "rows": [row.to_dict(each) for row in self.rows],
            "comparisons": [dict(one) for one in self.comparisons],
            "metrics": dict(self.metrics),
        }
        if each:
            data["topics"] = dict(self.topics)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """What `to_dict` made. Raises `StoreError` for what is no report, or one of a newer version."""
        try:
            if data["format"] > FORMAT:
                raise StoreError(f"this report has format {data['format']}; this version reads {FORMAT}: update it")
            return cls(
                tuple(map(Row.from_dict, data["rows"])),
                data["bank"],
                data["settings"],
                data["policies"],
                data.get("topics", {}),
                tuple(data.get("warnings", ())),
                tuple(data.get("comparisons", ())),
                data.get("metrics", {}),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"this is no report of `satisfice evaluate --out`: {error!r}") from error

    def save(self, path: str | Path) -> None:
        """Writes the whole report as JSON, whole or not at all. Raises `StoreError`."""
        target = Path(path)
        part = target.with_name(target.name + ".part")
        try:
            part.write_text(json.dumps(self.to_dict(each=True), allow_nan=False) + "\n", encoding="utf-8")
            part.replace(target)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Reads what `save` wrote. Raises `StoreError`."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise StoreError(f"cannot read report {path}: {error.strerror}") from error
        except ValueError as error:
            raise StoreError(f"report {path} is not whole JSON: {error}") from error
        return cls.from_dict(data)

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

    def table(self, per: int = 1) -> list[dict[str, str]]:
        """The rows as short texts, for printing: column -> text. Dollars are those of `per` questions."""
        return [_line(row, per) for row in self.rows]


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


def _line(row: Row, per: int) -> dict[str, str]:
    return {
        "strategy": row.name + (" *" if row.baseline else ""),
        "model": row.model,
        "arm": row.arm,
        "policy": row.policy,
        "worth": f"${row.worth:.3g}" if row.worth is not None else "-",
        "questions": str(row.questions),
        "accuracy": _between(row.accuracy),
        "usd": _dollars(row.usd, per),
        "tokens": f"{row.tokens:.0f}" if row.tokens is not None else "-",
        "calls": f"{row.calls:.2f}" if row.calls is not None else "-",
        "answered": f"{row.answered:.3f}",
        "net": _dollars(row.net, per),
        "ece": _fitted(row, "ece"),
        "brier": _fitted(row, "brier"),
        "log loss": _fitted(row, "log_loss"),
        "p50": _seconds(row.latency, "p50"),
        "p99": _seconds(row.latency, "p99"),
        "stops": ", ".join(f"{k} {v}" for k, v in sorted(row.stops.items())),
        "misses": str(row.misses),
    }


def _between(value: Interval) -> str:
    return f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]" if isfinite(value.estimate) else "-"


def _dollars(value: Interval | None, per: int) -> str:
    """The estimate, and half the width of its interval."""
    if value is None or not isfinite(value.estimate):
        return "-"
    half = (value.high - value.low) / 2 * per
    return f"{value.estimate * per:.3g} ±{half:.1g}" if isfinite(half) else f"{value.estimate * per:.3g}"


def _fitted(row: Row, name: str) -> str:
    known = row.calibration
    return f"{getattr(known, name):.3f}" if known and known.fitted else "-"


def _seconds(latency: Latency | None, name: str) -> str:
    return f"{getattr(latency, name):.3g} s" if latency else "-"


def _interval_of(value: Mapping[str, float | None] | None) -> Interval | None:
    return None if value is None else Interval(*(nan if v is None else v for v in value.values()))


def _interval(value: Interval | None) -> dict[str, float | None] | None:
    return None if value is None else {k: _finite(v) for k, v in value.to_dict().items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
