"""How pictures look: colours that the colour-blind tell apart (Okabe & Ito 2008), each with a dash and a marker of its
own, so that nothing hangs on colour alone; and units that people read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, isfinite, log10
from typing import Any

from ...core.errors import MissingExtra
from .series import Axis, Curves, Series


@dataclass(frozen=True, slots=True)
class Ink:
    """How a line is drawn: `colour` of the line, `text` (darker) of its label, `dash` in pixels on and off, `marker`
    as matplotlib and as plotly call it."""

    colour: str
    text: str
    dash: tuple[float, ...]
    marker: str
    symbol: str


GREY, DARK, BLACK = "#8a8a8a", "#4d4d4d", "#000000"
INKS = (
    Ink("#0072b2", "#00588a", (), "o", "circle"),
    Ink("#d55e00", "#a34700", (7, 2), "s", "square"),
    Ink("#009e73", "#00694d", (2, 2), "^", "triangle-up"),
    Ink("#cc79a7", "#94406f", (7, 2, 2, 2), "D", "diamond"),
    Ink("#e69f00", "#805800", (4, 2), "v", "triangle-down"),
    Ink("#56b4e9", "#1a6a99", (1, 1.5), "P", "cross"),
    Ink("#333333", "#333333", (9, 3, 2, 3, 2, 3), "X", "x"),
)
MUTED = Ink("#bdbdbd", "#6b6b6b", (), ".", "circle")
FIXED = Ink(GREY, DARK, (4, 3), "|", "line-ns-open")
FIXEDS = (
    FIXED,
    Ink("#6e5a46", "#574636", (1, 2), "1", "y-down-open"),
    Ink("#4f6d8f", "#3a5270", (6, 2, 1, 2), "2", "y-up-open"),
)
LEVEL = Ink(DARK, DARK, (1, 3), "_", "line-ew-open")
_PLAIN = {
    "best single model": Ink(DARK, DARK, (), "*", "star"),
    "random model": Ink(DARK, DARK, (), "x", "x-thin-open"),
}
# Ways to stop, in the order in which they are stacked. What is not here follows, in grey.
STOPS = {
    "value": "#0072b2",
    "verified": "#009e73",
    "budget_calls": "#e69f00",
    "budget_usd": "#d55e00",
    "budget_tokens": "#cc79a7",
    "done": "#56b4e9",
    "fault": "#333333",
}
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "oooo", "++++")


def ink(series: Series) -> Ink:
    """How this line is drawn."""
    if series.kind == "level":
        return LEVEL
    if series.kind == "baseline":
        return _PLAIN.get(series.points[0].row.name, FIXEDS[series.shade % len(FIXEDS)])
    return MUTED if series.colour is None else INKS[series.colour % len(INKS)]


@dataclass(frozen=True, slots=True)
class Unit:
    """What an axis counts: figures are multiplied by `times` and called `title`."""

    times: float
    title: str


def unit(curves: Curves, axis: Axis) -> Unit:
    """Dollars by the thousand or million questions, where one question costs next to nothing."""
    if axis != "usd":
        return Unit(1.0, f"{axis} per question")
    return priced(max((p.x["usd"].estimate for s in curves.series for p in s.points if "usd" in p.x), default=0.0))


def priced(most: float) -> Unit:
    """The unit for dollars per question up to this many."""
    if most >= 0.01:
        return Unit(1.0, "dollars per question")
    return Unit(1e3, "dollars per 1,000 questions") if most >= 1e-4 else Unit(1e6, "dollars per million questions")


def figure(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, and no exponent unless it is very small or large."""
    if value is None or not isfinite(value):
        return "unknown"
    if not value:
        return "0"
    size = floor(log10(abs(value)))
    if not -6 <= size < 9:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - size)}f}"


def dollars(value: float | None, digits: int = 3) -> str:
    """The same of an amount."""
    if value is None or not isfinite(value):
        return "unlimited" if value == float("inf") else "unknown"
    return ("-$" if value < 0 else "$") + figure(abs(value), digits)


def worths(values: tuple[float, ...]) -> str:
    """What a right answer was worth, where one or several worths led to a point."""
    said = [_trimmed(dollars(value)) for value in values]
    return f"{said[0]} to {said[-1]}" if len(said) > 1 else "".join(said)


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


# Small print that a two-column paper (3.3 inches) and a slide can both show.
PAPER: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 7,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.linewidth": 0.4,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "hatch.linewidth": 0.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "satisfice",
    "pdf.fonttype": 42,
    "figure.dpi": 100,
    "savefig.dpi": 400,
    "text.parse_math": False,
}


def paper() -> Any:
    """A context in which figures look as they do on paper. Raises `MissingExtra`."""
    try:
        from matplotlib import rc_context
    except ImportError:
        raise MissingExtra.of("plot", "drawing a curve") from None
    return rc_context(dict(PAPER))


def blank(width: float, height: float) -> Any:
    """An empty matplotlib figure of so many inches, laid out by its constraints. Nobody has to close it: pyplot, which
    takes as long to import as a picture to draw, is not asked. Raises `MissingExtra`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra.of("plot", "drawing a curve") from None
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def settle(figure: Any) -> None:
    """Lays a figure out once and for all, so that saving it doesn't do so again."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
