"""The curve on paper: accuracy against spend, with intervals, the frontier, the baselines, and labels on the lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .labels import Box, place, sampled
from .series import Axis, Curves, Point, Series, frontier
from .style import BLACK, DARK, FIXEDS, Ink, Unit, blank, ink, settle, unit

SIZE = (3.4, 2.75)  # inches: one column of a two-column paper
MOST = 14  # labels, beyond which the lesser baselines go without
LONGEST = 30  # characters of a label
OFF = 0.5  # a level further above the rest than this share of their height is only named at the edge


@dataclass(slots=True)
class _Drawing:
    curves: Curves
    axis: Axis
    axes: Any
    unit: Unit

    def xy(self, points: Sequence[Point]) -> list[tuple[float, float]]:
        return [(p.x[self.axis].estimate * self.unit.times, p.accuracy.estimate) for p in points]

    def pixels(self, xy: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in self.axes.transData.transform(xy)] if xy else []


def accuracy_spend(curves: Curves, axis: Axis, log: bool = True) -> Any:
    """A matplotlib figure of accuracy against spend on this axis. Raises `MissingExtra`."""
    figure = blank(*SIZE)
    axes = figure.subplots()
    drawing = _Drawing(curves, axis, axes, unit(curves, axis))
    drawn = [s for s in curves.series if s.on(axis)]
    axes.grid(True, which="major")
    for series in sorted(drawn, key=lambda s: (s.kind == "policy", s.colour is not None)):
        _line(drawing, series)
    _frontier(drawing)
    axes.set_xlabel(drawing.unit.title)
    axes.set_ylabel("share right")
    _limits(drawing, drawn, log)
    levels = _levels(drawing)
    settle(figure)
    _labels(drawing, drawn, levels)
    return figure


def _line(drawing: _Drawing, series: Series) -> None:
    axes, how = drawing.axes, ink(series)
    points = series.on(drawing.axis)
    xy = drawing.xy(points)
    x, y = [a for a, _ in xy], [b for _, b in xy]
    low, high = [p.accuracy.low for p in points], [p.accuracy.high for p in points]
    strong = series.kind == "policy" and series.colour is not None
    if series.banded:
        axes.fill_between(x, low, high, color=how.colour, alpha=0.1, linewidth=0, zorder=1)
    else:
        ends = slice(-1, None) if strong else slice(None)
        axes.vlines(x[ends], low[ends], high[ends], color=how.colour, linewidth=0.6, alpha=0.6, zorder=1.5)
    style: Any = (0, tuple(d / 1.4 for d in how.dash)) if how.dash else "-"
    axes.plot(
        x,
        y,
        linestyle=style,
        linewidth=1.3 if strong else 0.9,
        color=how.colour,
        marker=how.marker,
        markersize=3.6 if strong else 4,
        markeredgewidth=0.4 if strong else 0.9,
        markeredgecolor="white" if strong and how.marker not in "xX|" else how.colour,
        zorder=4 if strong else 3,
    )


def _frontier(drawing: _Drawing) -> None:
    """The best measured accuracy at this spend or less, as steps."""
    xy = drawing.xy(frontier(drawing.curves, drawing.axis))
    if len(xy) < 2:
        return
    drawing.axes.step(
        [a for a, _ in xy], [b for _, b in xy], where="post", color=BLACK, linewidth=0.5, alpha=0.55, zorder=2
    )


def _limits(drawing: _Drawing, drawn: Sequence[Series], log: bool) -> None:
    from matplotlib import ticker

    points = [p for s in drawn for p in s.on(drawing.axis)]
    low, high = min(p.accuracy.low for p in points), max(p.accuracy.high for p in points)
    room = max(0.02, 0.06 * (high - low))
    drawing.axes.set_ylim(max(-0.02, low - room), min(1.02, high + 2 * room))
    drawing.axes.yaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))
    spends = [x for x, _ in drawing.xy(points)]
    least, most = min(spends), max(spends)
    if log:
        drawing.axes.set_xscale("log")
        reach = max(1.6, most / least)
        drawing.axes.set_xlim(least / reach**0.06, most * reach**0.3)  # room for labels at the ends of lines
        _ticks(drawing.axes, reach)
    else:
        drawing.axes.set_xlim(0, most * 1.3)


def _ticks(axes: Any, reach: float) -> None:
    """Numbers that are read at a glance (0.5, 1, 2, 5), not powers of ten."""
    from matplotlib import ticker

    subs = (1.0,) if reach > 300 else (1.0, 3.0) if reach > 50 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(ticker.LogLocator(base=10, subs=subs, numticks=12))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(ticker.LogLocator(base=10, subs=tuple(range(2, 10)), numticks=40))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def _levels(drawing: _Drawing) -> list[tuple[str, float]]:
    """Draws heights without a spend; replies those to be labelled. One far above the rest is named at the edge, so
    that it doesn't squeeze what the picture is about."""
    bottom, top = drawing.axes.get_ylim()
    levels = [(s.label, s.best) for s in drawing.curves.series if not s.on(drawing.axis)]
    near = [(label, y) for label, y in levels if bottom <= y <= top + OFF * (top - bottom)]
    if near:
        drawing.axes.set_ylim(bottom, max(top, *(min(1.02, y + 0.08 * (top - bottom)) for _, y in near)))
    for _, y in near:
        drawing.axes.axhline(y, color=DARK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=2)
    far = [f"{label} {y:.2f} ↑" for label, y in levels if (label, y) not in near and y > top]
    if far:
        drawing.axes.set_title(", ".join(far), loc="right", fontsize=6.5, color=DARK, pad=3)
    return near


def _labels(drawing: _Drawing, drawn: Sequence[Series], levels: Sequence[tuple[str, float]]) -> None:
    axes = drawing.axes
    wanted = _wanted(drawing, drawn)
    left, right = axes.get_xlim()
    wanted += [(label, (left, y), Ink(DARK, DARK, (), "", "")) for label, y in levels]
    texts = [axes.text(0, 0, short(label), fontsize=6.5, color=how.text) for label, _, how in wanted]
    sizes = [(box.width, box.height) for box in (text.get_window_extent() for text in texts)]
    frame = axes.get_window_extent()
    bounds = (frame.x0, frame.y0 + 1, frame.x1 + 2, frame.y1 + 2)
    anchors = drawing.pixels([at for _, at, _ in wanted])
    placed = place(anchors, sizes, _covered(drawing, drawn, levels, right), bounds, scale=0.75)
    for text, box, anchor, (_, _, how) in zip(texts, placed, anchors, wanted, strict=True):
        if box is None:
            text.remove()
            continue
        back = axes.transData.inverted()
        text.set(position=back.transform((box.x, box.y)), ha="center", va="center_baseline", zorder=6)
        _leader(axes, anchor, box, how.text)


def _leader(axes: Any, anchor: tuple[float, float], box: Box, colour: str) -> None:
    """A thin line to a label that had to stand away from what it names."""
    x = min(max(anchor[0], box.x - box.width / 2), box.x + box.width / 2)
    y = min(max(anchor[1], box.y - box.height / 2), box.y + box.height / 2)
    if abs(x - anchor[0]) + abs(y - anchor[1]) < 9:
        return
    (x0, y0), (x1, y1) = axes.transData.inverted().transform([anchor, (x, y)])
    axes.plot([x0, x1], [y0, y1], color=colour, linewidth=0.4, zorder=2.5, scalex=False, scaley=False)


def _wanted(drawing: _Drawing, drawn: Sequence[Series]) -> list[tuple[str, tuple[float, float], Ink]]:
    """(label, where, ink) by rank: coloured lines first, then what is on the frontier, then the rest."""
    on = frontier(drawing.curves, drawing.axis)
    found = []
    for series in drawn:
        points = series.on(drawing.axis)
        rank = 0 if series.colour is not None else 1 if any(p in on for p in points) else 2
        if series.kind == "policy" and series.colour is None:
            continue  # grey lines are named in the table
        rank = 1 if series.points[0].row.name in ("best single model", "random model") else rank
        found.append((rank, -series.best, series.label, drawing.xy(points)[-1], ink(series)))
        votes = [p for p in points if p.row.name.startswith("majority of ")]
        if ink(series) in FIXEDS and votes:
            name = series.label.replace("fixed votes", "single shot")
            found.append((2, 0.0, name, drawing.xy(points)[0], ink(series)))
    steps = drawing.xy(on)
    if len(steps) > 1:  # beside the middle of its longest tread
        (x, y), (then, _) = max(pairwise(steps), key=lambda two: two[1][0] / two[0][0])
        found.append((2, -1.0, "frontier", ((x * then) ** 0.5, y), Ink(BLACK, BLACK, (), "", "")))
    found.sort(key=lambda item: item[:3])
    return [(label, at, how) for _, _, label, at, how in found[:MOST]]


def _covered(
    drawing: _Drawing, drawn: Sequence[Series], levels: Sequence[tuple[str, float]], right: float
) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for series in drawn:
        points = series.on(drawing.axis)
        found += sampled(drawing.pixels(drawing.xy(points)), 4)
        for point, (x, _) in zip(points, drawing.xy(points), strict=True):
            if series.kind == "baseline":  # its interval is a bar
                found += sampled(drawing.pixels([(x, point.accuracy.low), (x, point.accuracy.high)]), 8)
    steps = drawing.xy(frontier(drawing.curves, drawing.axis))
    treads = [(b[0], a[1]) for a, b in pairwise(steps)]
    corners = [xy for two in zip(steps, treads, strict=False) for xy in two]
    found += sampled(drawing.pixels(corners), 4)
    left, _ = drawing.axes.get_xlim()
    for _, y in levels:
        found += sampled(drawing.pixels([(left, y), (right, y)]), 4)
    return found


def short(label: str, longest: int = LONGEST) -> str:
    """A label that fits: its middle is left out where it is too long."""
    if len(label) <= longest:
        return label
    head = (longest - 1) * 2 // 3
    return label[:head] + "…" + label[len(label) - (longest - 1 - head) :]
