"""Series: the rows of a report as the lines and points of a picture, with an interval on either axis."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, TypeAlias

from ..intervals import Interval, clustered
from ..report import Report, Row

Axis: TypeAlias = Literal["usd", "tokens", "seconds"]
AXES: tuple[Axis, ...] = ("usd", "tokens", "seconds")
HINDSIGHT = ("oracle", "best single model")  # what nobody could have chosen beforehand: never on the frontier
COLOURED = 7  # lines that get a colour of their own; what is beyond is grey
BANDED = 3  # lines with a band; more than these would hide each other


@dataclass(frozen=True, slots=True)
class Point:
    """One measured row. `x`: mean spend per question on each axis that is known, with its 95% interval. `worths` are
    all the worths that led to these same figures, in dollars, rising; `row` is that of the first."""

    row: Row
    accuracy: Interval
    x: Mapping[Axis, Interval]
    worths: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """A line of the picture: one way to answer, at growing spend. `kind`: "policy" is what is studied, "baseline" what
    stands beside it, "level" a height without a spend (the oracle). `colour` counts from 0; None is grey."""

    label: str
    kind: Literal["policy", "baseline", "level"]
    points: tuple[Point, ...]
    colour: int | None = None
    shade: int = 0  # of several lines of fixed votes, which one

    def on(self, axis: Axis) -> tuple[Point, ...]:
        """The points that this axis knows, by growing spend."""
        return tuple(sorted((p for p in self.points if axis in p.x), key=lambda p: p.x[axis].estimate))

    @property
    def banded(self) -> bool:
        """Whether its interval is a band; of other lines each end has a bar."""
        return self.colour is not None and self.colour < BANDED and len(self.points) > 1

    @property
    def best(self) -> float:
        """The highest accuracy on the line."""
        return max(p.accuracy.estimate for p in self.points)


@dataclass(frozen=True, slots=True)
class Curves:
    """All series of a report, the axes that anything is known on, and what could not be drawn."""

    series: tuple[Series, ...]
    axes: tuple[Axis, ...]
    bank: Mapping[str, Any]
    settings: Mapping[str, Any]
    policies: Mapping[str, Mapping[str, Any]]
    topics: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def questions(self) -> int:
        """Of the row that was measured on most."""
        return max((p.row.questions for s in self.series for p in s.points), default=0)


def curves_of(report: Report) -> Curves:
    """The series of a report: each strategy under each policy on each model is a line over its worths; votes of fixed
    size are one line from the single draw on; the best single model, the random one and the oracle are points or
    levels. Rows on which nothing was measured are named in `left_out`."""
    rows = [row for row in report.rows if row.questions and isfinite(row.accuracy.estimate)]
    out = [f"{row.name} on {row.model}: nothing could be measured" for row in report.rows if row not in rows]
    own = [row for row in rows if not row.baseline]
    plain = _once(row for row in rows if row.baseline)
    names = _Names(rows)
    groups: dict[str, list[Row]] = {}
    for row in own:
        groups.setdefault(names.of(row), []).append(row)
    made = [Series(label, "policy", _points(group)) for label, group in groups.items()]
    ranked = sorted(made, key=lambda s: -s.best)[:COLOURED]
    kept = [s.label for s in ranked]
    made = [Series(s.label, s.kind, s.points, kept.index(s.label) if s.label in kept else None) for s in made]
    made += _baselines(plain, names)
    axes: list[Axis] = [a for a in AXES if any(a in p.x for s in made if s.kind == "policy" for p in s.points)]
    if not axes:
        axes = [a for a in AXES if any(a in p.x for s in made for p in s.points)]
    return Curves(
        tuple(made),
        tuple(axes),
        report.bank,
        report.settings,
        report.policies,
        report.topics,
        tuple(dict.fromkeys(out)),
        report.warnings,
    )


def frontier(curves: Curves, axis: Axis) -> tuple[Point, ...]:
    """The points that no other one beats (at least as right for no more spend), by growing spend; none of what is
    only known in hindsight. Of many points the frontier flatters: its points were chosen on these questions."""
    found = [p for s in curves.series if s.kind != "level" for p in s.on(axis) if p.row.name not in HINDSIGHT]
    kept: list[Point] = []
    for point in sorted(found, key=lambda p: (p.x[axis].estimate, -p.accuracy.estimate)):
        if not kept or point.accuracy.estimate > kept[-1].accuracy.estimate:
            kept.append(point)
    return tuple(kept)


class _Names:
    """Labels that say no more than tells the lines apart: the policy where there are several, the model likewise."""

    def __init__(self, rows: Sequence[Row]) -> None:
        own = [row for row in rows if not row.baseline]
        self.names = len({row.name for row in own}) > 1
        self.policies = len({row.policy for row in own}) > 1
        self.models = len({row.model for row in own}) > 1 or len({r.model for r in rows if r.name == "single_shot"}) > 1
        self.arms = len({(row.model, row.arm) for row in own}) > len({row.model for row in own})

    def of(self, row: Row) -> str:
        head = [row.policy or "no policy"] if self.policies or row.policy not in ("", "declared") else []
        head += [_words(row.name)] if self.names or not head else []
        return ", ".join(head) + self.where(row)

    def where(self, row: Row, arm: bool = False) -> str:
        """The model, where there are several; the arm likewise, or if asked for."""
        at = ([_short(row.model)] if self.models else []) + ([row.arm] if arm or self.arms else [])
        return f" ({', '.join(at)})" if at else ""


def _words(name: str) -> str:
    """A strategy in few words: without its model and its parameters, which stand elsewhere."""
    head, colon, rest = name.partition(":")
    kept = [part for part in re.sub(r"params=\{[^{}]*\},?", "", rest).split(",") if part]
    kept = [part for part in kept if not part.startswith("model=")]
    return head + (" " + ",".join(kept) if colon and kept else "")


def _short(model: str) -> str:
    several = model.split(" + ")
    return model.rpartition("/")[2] if len(several) == 1 else f"{len(several)} models"


def _once(rows: Iterable[Row]) -> list[Row]:
    """Baselines are repeated for each worth, with the same figures."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        found.setdefault((row.name, row.model, row.arm), row)
    return list(found.values())


def _points(rows: Iterable[Row]) -> tuple[Point, ...]:
    """A point for each worth; worths that lead to the same figures are one."""
    made: list[Point] = []
    for row in sorted(rows, key=lambda r: r.worth or 0.0):
        point = _point(row)
        same = [i for i, p in enumerate(made) if (p.accuracy, p.x) == (point.accuracy, point.x)]
        if same:
            old = made[same[0]]
            made[same[0]] = Point(old.row, old.accuracy, old.x, tuple(sorted({*old.worths, *point.worths})))
        else:
            made.append(point)
    return tuple(made)


def _point(row: Row) -> Point:
    x: dict[Axis, Interval] = {}
    if row.usd is not None:
        x["usd"] = row.usd
    tokens = [each.tokens for each in row.each.values()]
    if any(tokens):
        x["tokens"] = clustered(tokens)
    elif row.tokens:
        x["tokens"] = Interval(row.tokens, row.tokens, row.tokens)
    seconds = [each.seconds for each in row.each.values()]
    if row.latency is not None and isfinite(row.latency.mean):
        mean, low, high = row.latency.mean, row.latency.low, row.latency.high
        x["seconds"] = Interval(mean, low if isfinite(low) else mean, high if isfinite(high) else mean)
    elif any(seconds) and all(isfinite(s) for s in seconds):
        x["seconds"] = clustered(seconds)
    x = {axis: found for axis, found in x.items() if isfinite(found.estimate) and found.estimate > 0}
    return Point(row, row.accuracy, x, (row.worth,) if row.worth is not None else ())


def _baselines(rows: Sequence[Row], names: _Names) -> list[Series]:
    made = []
    singles = [row for row in rows if row.name == "single_shot"]
    votes = [row for row in rows if row.name.startswith("majority of ")]
    for shade, row in enumerate(singles):
        more = [v for v in votes if (v.model, v.arm) == (row.model, row.arm)]
        label = "fixed votes" if more else "single shot"
        several = len({other.arm for other in singles if other.model == row.model}) > 1
        made.append(
            Series(
                label + names.where(row, arm=several), "baseline", tuple(_point(r) for r in (row, *more)), None, shade
            )
        )
    for row in rows:
        if row in singles or row in votes:
            continue
        point = _point(row)
        arm = f" ({row.arm})" if len({r.arm for r in rows if r.name == row.name}) > 1 else ""
        made.append(Series(row.name + arm, "baseline" if point.x else "level", (point,)))
    return made
