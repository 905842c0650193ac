"""Small multiples: accuracy against spend for each topic, reliability diagrams, and where the money went."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf, log
from typing import Any

from ..intervals import clustered, wilson
from .picture import short
from .series import Axis, Curves, Point, Series
from .style import DARK, GREY, HATCHES, STOPS, blank, ink, unit, worths

ACROSS = 3
MOST = 12  # panels of a picture
LONGEST = 34  # characters of a name above the panels
FEWEST = 5  # questions of a topic, below which it is not drawn
WIDTH = 6.8  # inches: both columns of a two-column paper


def topics_of(curves: Curves) -> list[tuple[str, list[str]]]:
    """(topic, its questions), the largest first; those of fewer than 5 questions are left out."""
    found: dict[str, list[str]] = {}
    for question, topic in curves.topics.items():
        found.setdefault(topic, []).append(question)
    large = [(topic, held) for topic, held in found.items() if len(held) >= FEWEST]
    return sorted(large, key=lambda two: (-len(two[1]), two[0]))


def by_topic(curves: Curves, axis: Axis) -> Any | None:
    """One small picture a topic, all on the same axes, so that topics compare at a glance; None where there are
    not two topics. The line of one draw and fixed votes is grey. Raises `MissingExtra`."""
    topics = topics_of(curves)[:MOST]
    drawn = [s for s in curves.series if s.on(axis) and (s.colour is not None or _votes(s))]
    drawn = [s for s in drawn if any(p.row.each for p in s.points)]
    if len(topics) < 2 or not drawn:
        return None
    across = min(ACROSS, len(topics))
    down = ceil(len(topics) / across)
    rows = ceil(len(drawn) / _columns(drawn))
    figure = blank(WIDTH, 1.55 * down + 0.3 + 0.15 * rows)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    how = unit(curves, axis)
    for panel, (topic, questions) in zip(grid.flat, topics, strict=False):
        for series in drawn:
            _topic_line(panel, series, questions, axis, how.times)
        panel.set_title(f"{short(topic, 26)} ({len(questions)})", loc="left", pad=3)
        panel.grid(True)
    for panel in list(grid.flat)[len(topics) :]:
        panel.set_axis_off()
    grid[0, 0].set_xscale("log")
    _plain_ticks(grid[0, 0])
    figure.supxlabel(how.title, fontsize=7.5)
    figure.supylabel("share right", fontsize=7.5)
    _names(figure, drawn)
    return figure


def _votes(series: Series) -> bool:
    return any(p.row.name == "single_shot" for p in series.points)


def _topic_line(panel: Any, series: Series, questions: Sequence[str], axis: Axis, times: float) -> None:
    how = ink(series)
    xs, ys, lows, highs = [], [], [], []
    for point in series.on(axis):
        held = [point.row.each[q] for q in questions if q in point.row.each]
        spend = sum(_spend(each, axis) for each in held) / len(held) if held else 0.0
        if spend > 0:
            found = clustered([each.right for each in held])
            xs.append(spend * times)
            ys.append(found.estimate)
            lows.append(found.low)
            highs.append(found.high)
    if not xs:
        return
    if series.banded:
        panel.fill_between(xs, lows, highs, color=how.colour, alpha=0.1, linewidth=0)
    style: Any = (0, tuple(d / 1.6 for d in how.dash)) if how.dash else "-"
    panel.plot(xs, ys, color=how.colour, linestyle=style, linewidth=1.1, marker=how.marker, markersize=2.6)


def _spend(each: Any, axis: Axis) -> float:
    found: float = getattr(each, axis)
    return found


def _plain_ticks(axes: Any) -> None:
    from matplotlib import ticker

    low, high = axes.get_xlim()
    subs = (1.0,) if high / low > 30 else (1.0, 3.0)
    axes.xaxis.set_major_locator(ticker.LogLocator(base=10, subs=subs))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def _columns(drawn: Sequence[Series]) -> int:
    """How many names fit beside each other."""
    longest = max(len(short(s.label, LONGEST)) for s in drawn)
    return min(len(drawn), max(1, 110 // (longest + 9)))


def _names(figure: Any, drawn: Sequence[Series]) -> None:
    """The lines' names, once for all panels, each in its own ink beside a sample."""
    from matplotlib.lines import Line2D

    handles = []
    for series in drawn:
        how = ink(series)
        style: Any = (0, tuple(d / 1.6 for d in how.dash)) if how.dash else "-"
        handles.append(
            Line2D([], [], color=how.colour, linestyle=style, marker=how.marker, markersize=3, linewidth=1.2)
        )
    shown = figure.legend(
        handles,
        [short(s.label, LONGEST) for s in drawn],
        loc="outside upper left",
        ncols=_columns(drawn),
        frameon=False,
        fontsize=7,
        labelcolor=[ink(s).text for s in drawn],
        handlelength=3,
        columnspacing=1.5,
        borderaxespad=0.1,
    )
    shown.set_in_layout(True)


def middle(curves: Curves, series: Series) -> Point:
    """The point that stands for a line where only one can: that of the report's middle worth, or next to it, among
    those that answered anything."""
    worths = sorted({w for s in curves.series if s.kind == "policy" for p in s.points for w in p.worths})
    points = [p for p in series.points if p.row.answered > 0 and p.worths]
    if not points or not worths:
        return series.points[len(series.points) // 2]
    at = worths[len(worths) // 2]
    return min(points, key=lambda p: min(abs(log(w / at)) if 0 < w < inf else inf for w in p.worths))


def reliability(curves: Curves) -> Any | None:
    """A reliability diagram (Murphy & Winkler 1977) for each line at its middle worth: what share was right of the runs
    that stopped at this P(right), with Wilson intervals by question, and how many questions' worth of runs there were.
    None where nothing was claimed. Raises `MissingExtra`."""
    own = [(s, middle(curves, s)) for s in curves.series if s.kind == "policy"]
    shown = [(s, point) for s, point in own if point.row.reliability][:MOST]
    if not shown:
        return None
    across = min(ACROSS, len(shown))
    down = ceil(len(shown) / across)
    figure = blank(WIDTH * max(across, 2) / ACROSS, 2.7 * down)
    grid = figure.add_gridspec(2 * down, across, height_ratios=[4, 1] * down)
    for i, (series, point) in enumerate(shown):
        row, column = divmod(i, across)
        top = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column], sharex=top)
        _reliable(top, below, series, point)
        if not column:
            top.set_ylabel("share right")
            below.set_ylabel("questions")
        below.set_xlabel("P(right) at the stop")
    return figure


def _reliable(top: Any, below: Any, series: Series, point: Point) -> None:
    how, bins = ink(series), point.row.reliability
    top.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, linestyle=(0, (3, 2)))
    top.text(0.93, 0.95, "ideal", fontsize=6, color=DARK, ha="right", va="center")
    bounds = [wilson(b.right * b.weight, b.weight) for b in bins]
    x, y = [b.claimed for b in bins], [b.right for b in bins]
    top.vlines(x, [low for low, _ in bounds], [high for _, high in bounds], color=how.colour, linewidth=0.8)
    top.plot(x, y, color=how.colour, marker=how.marker, markersize=3.6, linewidth=1)
    top.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    top.grid(True)
    top.tick_params(labelbottom=False)
    facts = point.row.calibration
    said = f"ECE {facts.ece:.3f}, Brier {facts.brier:.3f}" if facts else ""
    said += "" if facts is None or facts.fitted else " (not fitted)"
    at = f" at {worths(point.worths)}" if point.worths else ""
    top.set_title(f"{short(series.label + at, 38)}\n{said}", loc="left", pad=3, fontsize=7, color=how.text)
    bars = below.bar(x, [b.weight for b in bins], width=0.06, color=how.colour, alpha=0.6)
    below.bar_label(bars, [f"{b.weight:.0f}" if b.weight >= 1 else "<1" for b in bins], fontsize=5.5, padding=1)
    below.set_ylim(0, 1.35 * max(b.weight for b in bins))
    below.spines["left"].set_visible(False)
    below.set_yticks([])


def money(curves: Curves) -> Any | None:
    """Where the money went: for each line and worth, the mean dollars of a question by the reason for which its run
    stopped, stacked. None where the bank knows no dollars. Raises `MissingExtra`."""
    shown = [s for s in curves.series if s.kind == "policy" and any(p.row.money for p in s.points)][:MOST]
    spent = [(s, [p for p in s.points if sum(usd for _, usd in p.row.money.values()) > 0]) for s in shown]
    spent = [(s, points) for s, points in spent if points]
    if not spent:
        return None
    bars = sum(len(points) for _, points in spent)
    figure = blank(WIDTH, 0.15 * bars + 0.22 * len(spent) + 0.9)
    axes = figure.subplots()
    reasons = _reasons([p for _, points in spent for p in points])
    how, y = unit(curves, "usd"), 0.0
    places: list[float] = []
    names: list[str] = []
    for series, points in spent:
        label = short(series.label, 60)
        axes.text(0, y, label, fontsize=7, color=ink(series).text, va="center", fontweight="bold")
        y += 1.05
        for point in points:
            _stack(axes, point, y, reasons, how.times)
            places.append(y)
            names.append(worths(point.worths) or "as it is")
            y += 1
        y += 0.45
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y, -0.8)
    axes.set_ylabel("worth of a right answer")
    axes.set_xlabel(f"{how.title}, by the reason to stop; in brackets the share of runs")
    axes.grid(True, axis="x")
    axes.spines["left"].set_visible(False)
    _key(figure, reasons)
    return figure


def _reasons(points: Sequence[Point]) -> list[str]:
    found = {reason for p in points for reason in p.row.money}
    return [r for r in STOPS if r in found] + sorted(found - set(STOPS))


def _look(reasons: Sequence[str], reason: str) -> dict[str, Any]:
    i = reasons.index(reason)
    return {
        "facecolor": STOPS.get(reason, "#b0b0b0"),
        "hatch": HATCHES[i % len(HATCHES)],
        "edgecolor": "white",
        "linewidth": 0.4,
    }


def _stack(axes: Any, point: Point, y: float, reasons: Sequence[str], times: float) -> None:
    left = 0.0
    parts = []
    for reason in reasons:
        share, usd = point.row.money.get(reason, (0.0, 0.0))
        if share:
            axes.barh(y, usd * times, left=left, height=0.8, **_look(reasons, reason))
            left += usd * times
            parts.append(f"{reason} {share:.0%}" if share >= 0.005 else f"{reason} <1%")
    axes.annotate(
        f"({', '.join(parts)})",
        (left, y),
        xytext=(3, 0),
        textcoords="offset points",
        fontsize=5.5,
        va="center",
        color=DARK,
    )
    axes.margins(x=0.3)


def _key(figure: Any, reasons: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(**_look(reasons, reason)) for reason in reasons]
    figure.legend(
        handles,
        reasons,
        loc="outside upper left",
        ncols=min(6, len(reasons)),
        frameon=False,
        fontsize=7,
        borderaxespad=0.1,
    )
