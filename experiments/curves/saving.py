"""Saving: every file of a curve, in one folder. Each appears whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from io import BytesIO, StringIO
from math import isfinite
from pathlib import Path
from typing import Any

from ...core.errors import CallerError, StoreError
from ..intervals import Interval
from ..report import Report
from .page import page
from .panels import by_topic, money, reliability
from .picture import accuracy_spend
from .series import AXES, Axis, Curves, Point, Series, curves_of, frontier
from .style import paper, settle

TITLES = {
    "topics": "Topic by topic",
    "reliability": "Can its P(right) be believed?",
    "money": "Where did the money go?",
}


def save(report: Report, out: str | Path, *, axis: Axis | None = None, command: str = "") -> dict[str, Path]:
    """Writes the curve of a report into the folder `out`; replies name -> file. `axis`: of the pictures (default:
    dollars where they are known). `command`: what to print as the way to make it again.

    Files: index.html (works offline), accuracy-spend.png and .svg, points.csv, curve.json; and, where the report knows
    them, topics, reliability and money, each .png and .svg. Raises `CallerError` where there is nothing to draw,
    `MissingExtra`, `StoreError`.
    """
    curves = curves_of(report)
    if not curves.axes:
        raise CallerError("no row of this report has both a share right and a spend: there is no curve to draw")
    if axis is not None and axis not in curves.axes:
        raise CallerError(f"this report does not know {axis}: draw {' or '.join(curves.axes)}")
    folder, main = made_folder(out), axis or curves.axes[0]
    files: dict[str, bytes] = {}
    with paper():
        drawn = {
            "accuracy-spend": accuracy_spend(curves, main),
            "topics": by_topic(curves, main),
            "reliability": reliability(curves),
            "money": money(curves),
        }
        for name, figure in drawn.items():
            if figure is not None:
                settle(figure)  # once for both files
                files |= {f"{name}.{kind}": rendered(figure, kind) for kind in ("png", "svg")}
    further = {said: files[f"{name}.svg"].decode() for name, said in TITLES.items() if f"{name}.svg" in files}
    files["index.html"] = page(curves, command, further).encode()
    files["points.csv"] = table(curves).encode()
    files["curve.json"] = (json.dumps(to_dict(curves), indent=1, allow_nan=False) + "\n").encode()
    return write(folder, files)


def made_folder(out: str | Path) -> Path:
    """The folder, made where it is missing, before any work is done for it. Raises `StoreError`."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write to {out}: {error.strerror or error}") from error
    return Path(out)


def write(folder: Path, files: dict[str, bytes]) -> dict[str, Path]:
    """Writes files into a folder, each under another name first. Raises `StoreError`."""
    made = {}
    try:
        for name, body in files.items():
            place = folder / name
            part = folder / f".{name}.part"
            part.write_bytes(body)
            os.replace(part, place)
            made[name] = place
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror or error}") from error
    return made


def rendered(figure: Any, kind: str) -> bytes:
    held = BytesIO()
    told = {"Date": None} if kind == "svg" else None  # the same report gives the same file
    figure.savefig(held, format=kind, metadata=told)
    return held.getvalue()


def table(curves: Curves) -> str:
    """All points as CSV: one line each, plain numbers, empty where unknown."""
    out = StringIO()
    writer = csv.DictWriter(out, list(_lines(curves.series[0], curves.series[0].points[0], curves)))
    writer.writeheader()
    writer.writerows(_lines(s, p, curves) for s in curves.series for p in s.points)
    return out.getvalue()


def to_dict(curves: Curves) -> dict[str, Any]:
    """All points, the frontier on each axis and how it was measured, JSON-ready."""
    return {
        "bank": jsonable(dict(curves.bank)),
        "settings": jsonable(dict(curves.settings)),
        "policies": jsonable({name: dict(facts) for name, facts in curves.policies.items()}),
        "series": [
            {"label": s.label, "kind": s.kind, "points": [_lines(s, p, curves) for p in s.points]}
            for s in curves.series
        ],
        "frontier": {axis: [_lines(_of(curves, p), p, curves) for p in frontier(curves, axis)] for axis in curves.axes},
        "left_out": list(curves.left_out),
        "warnings": list(curves.warnings),
    }


def _of(curves: Curves, point: Point) -> Series:
    return next(s for s in curves.series if point in s.points)


def _lines(series: Series, point: Point, curves: Curves) -> dict[str, Any]:
    row = point.row
    line: dict[str, Any] = {
        "series": series.label,
        "kind": series.kind,
        "name": row.name,
        "strategy": row.strategy,
        "policy": row.policy,
        "model": row.model,
        "arm": row.arm,
        "worth": None if row.baseline or not point.worths else _plain(point.worths[0]),
        "worth_to": None if row.baseline or not point.worths else _plain(point.worths[-1]),
        "questions": row.questions,
        **_three("accuracy", point.accuracy),
    }
    for axis in AXES:
        line |= _three(axis, point.x.get(axis))
    line |= _three("net", None if row.baseline else row.net)
    return line | {
        "calls": _plain(row.calls),
        "answered": row.answered,
        "misses": row.misses,
        "frontier": " ".join(axis for axis in curves.axes if point in frontier(curves, axis)),
    }


def _three(name: str, found: Interval | None) -> dict[str, float | None]:
    values = (found.estimate, found.low, found.high) if found else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(_plain, values), strict=True))


def _plain(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def jsonable(value: Any) -> Any:
    """JSON has no NaN; what it does not know is written as text."""
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [jsonable(v) for v in value]
    if isinstance(value, float):
        return _plain(value)
    return value if isinstance(value, str | int | bool | None) else str(value)
