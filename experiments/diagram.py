"""Reliability diagrams (Murphy & Winkler 1977): what share of the candidates with a score is right, before calibration
and after, one panel a verifier; as a picture file and for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import CallerError, MissingExtra, StoreError

if TYPE_CHECKING:
    from ..verifiers.calibration import Row
    from .verifying import Measured, Recorded

RAW, CALIBRATED, RIGHT, WRONG = "#8c8c8c", "#1f5fa8", "#4c9f70", "#d9825b"
FORMATS = (".png", ".svg", ".pdf")
MOST_ACROSS, BINS = 4, 20
WIDE, HIGH = 40, 15  # characters of one panel in a terminal
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def draw(measured: Sequence[Measured], recorded: Sequence[Recorded], place: Path, title: str = "") -> Path:
    """Draws one panel a verifier (`recorded` in the same order): share right against score in bins of equal mass, raw
    and calibrated on held-out questions, with 95% intervals, and below it how many candidates have which raw score.
    The format is that of the suffix (`FORMATS`). Raises `MissingExtra`, `StoreError`."""
    check_place(place)
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtra.of("plot", "drawing a reliability diagram") from None
    across = min(MOST_ACROSS, len(measured))
    down = ceil(len(measured) / across)
    figure = pyplot.figure(figsize=(3.3 * max(across, 2), 4.1 * down + 0.9), dpi=130, layout="constrained")
    try:
        grid = figure.add_gridspec(2 * down, across, height_ratios=[4, 1] * down)
        for i, (one, scores) in enumerate(zip(measured, recorded, strict=True)):
            row, column = divmod(i, across)
            top = figure.add_subplot(grid[2 * row, column])
            below = figure.add_subplot(grid[2 * row + 1, column], sharex=top)
            handles = _panel(top, one, scores, first=column == 0)
            handles += _counts(below, scores, first=column == 0)
        columns = len(handles) if across > 2 else ceil(len(handles) / 2)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
        if title:
            figure.suptitle(title, fontsize=11)
        place.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(place)
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror or error}") from error
    finally:
        pyplot.close(figure)
    return place


def check_place(place: Path) -> None:
    """Raises `CallerError` for a suffix that is no format."""
    if place.suffix not in FORMATS:
        raise CallerError(f"the picture {place}: expected a name that ends in {', '.join(FORMATS)}", file=str(place))


def _panel(axes: Any, one: Measured, scores: Recorded, first: bool) -> list[Any]:
    """The diagram proper; replies what the legend shows."""
    (ideal,) = axes.plot([0, 1], [0, 1], linestyle="--", color="black", linewidth=0.8, label="ideal", zorder=1)
    base = axes.axhline(one.base_rate, linestyle=":", color="black", linewidth=0.9, label="base rate", zorder=1)
    raw = _points(axes, one.raw, "s", RAW, "raw score", filled=False)
    calibrated = _points(axes, points_of(one, scores), "o", CALIBRATED, "calibrated, held out", filled=True)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    said = f"ECE {one.raw_ece.estimate:.2f} to {one.ece.estimate:.2f}"
    said = "only the base rate is left" if one.family == "constant" else said
    axes.set_title(f"{one.name}\nAUC {one.auc.estimate:.2f}, {said}", fontsize=9.5)
    axes.tick_params(labelbottom=False, labelsize=8)
    axes.grid(alpha=0.25)
    if first:
        axes.set_ylabel("share right", fontsize=9)
    return [raw, calibrated, ideal, base]


def points_of(one: Measured, scores: Recorded) -> tuple[Row, ...]:
    """The calibrated points. A constant is one, the base rate: what its folds differ by is no curve."""
    if one.family != "constant":
        return one.calibrated
    from ..verifiers.calibration import reliability

    return reliability([one.base_rate] * len(scores.labels), scores.labels, scores.questions, 1)


def _points(axes: Any, rows: Sequence[Row], marker: str, colour: str, label: str, filled: bool) -> Any:
    x, y = [row.score for row in rows], [row.rate for row in rows]
    reach = [[max(0.0, row.rate - row.low) for row in rows], [max(0.0, row.high - row.rate) for row in rows]]
    return axes.errorbar(
        x,
        y,
        yerr=reach,
        marker=marker,
        markersize=4.5,
        color=colour,
        markerfacecolor=colour if filled else "white",
        linewidth=1.2,
        elinewidth=0.9,
        capsize=2,
        label=label,
        zorder=3 if filled else 2,
    )


def _counts(axes: Any, scores: Recorded, first: bool) -> list[Any]:
    right = [s for s, label in zip(scores.scores, scores.labels, strict=True) if label]
    wrong = [s for s, label in zip(scores.scores, scores.labels, strict=True) if not label]
    edges = [k / BINS for k in range(BINS + 1)]
    _, _, bars = axes.hist([right, wrong], bins=edges, stacked=True, color=[RIGHT, WRONG])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("score, or P(right)", fontsize=9)
    if first:
        axes.set_ylabel("raw scores", fontsize=9)
    for bar, label in zip(bars, ("right", "wrong"), strict=True):
        bar.set_label(f"{label} candidates")
    return list(bars)


def terminal(measured: Sequence[Measured], recorded: Sequence[Recorded], width: int = 80) -> str:
    """The same in characters, as many panels side by side as `width` has room for. Raises `MissingExtra`."""
    try:
        import plotext as plot
    except ImportError:
        raise MissingExtra.of("plot", "a picture in the terminal") from None
    across = max(1, width // WIDE)
    panels = [_characters(plot, one, scores) for one, scores in zip(measured, recorded, strict=True)]
    rows = [panels[start : start + across] for start in range(0, len(panels), across)]
    lines = ["".join(parts).rstrip() for row in rows for parts in zip(*row, strict=True)]
    return "\n".join(["share right against score: o raw, x calibrated, . ideal", *lines])


def _characters(plot: Any, one: Measured, scores: Recorded) -> list[str]:
    """One panel, as lines of equal width."""
    plot.clear_figure()
    plot.theme("clear")
    plot.plot_size(WIDE - 2, HIGH)
    plot.scatter([k / 20 for k in range(21)], [k / 20 for k in range(21)], marker=".")
    plot.scatter([row.score for row in one.raw], [row.rate for row in one.raw], marker="o")
    calibrated = points_of(one, scores)
    plot.scatter([row.score for row in calibrated], [row.rate for row in calibrated], marker="x")
    plot.xlim(0, 1)
    plot.ylim(0, 1)
    plot.xticks([0, 0.5, 1])
    plot.yticks([0, 0.5, 1])
    plot.title(one.name[: WIDE - 8])
    lines = [_ESCAPES.sub("", line) for line in plot.build().splitlines()]
    return [line.ljust(WIDE)[:WIDE] for line in (lines + [""] * HIGH)[:HIGH]]
