"""The page and the picture of a comparison: is it significant, what changed, on which topics and questions, at what
cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..intervals import Interval
from .comparing import Became, Comparison, changes
from .page import inline, render
from .picture import short
from .saving import jsonable, made_folder, rendered, write
from .style import BLACK, DARK, GREY, Unit, blank, dollars, paper, priced, settle

MOST = 20  # topics of the picture
LISTED = 200  # questions of the page; the JSON has all
# Colour, marker and legend order of what became of a question.
KINDS: Mapping[Became, tuple[str, str]] = {
    "won": ("#0072b2", "^"),
    "lost": ("#d55e00", "v"),
    "both right": ("#9a9a9a", "o"),
    "both wrong": ("#9a9a9a", "x"),
}


def save_comparison(
    found: Comparison, out: str | Path, *, command: str = "", texts: Mapping[str, str] | None = None
) -> dict[str, Path]:
    """Writes compare.html (works offline), compare.json and compare.png and .svg into the folder `out`; replies
    name -> file. `texts`: of questions, to show beside their names. Raises `MissingExtra`, `StoreError`."""
    folder = made_folder(out)
    with paper():
        figure = picture(found)
        settle(figure)
        files = {f"compare.{kind}": rendered(figure, kind) for kind in ("png", "svg")}
    svg = files["compare.svg"].decode()
    files["compare.html"] = page(found, svg, command, texts).encode()
    files["compare.json"] = (json.dumps(jsonable(found.to_dict()), indent=1, allow_nan=False) + "\n").encode()
    return write(folder, files)


def page(found: Comparison, svg: str, command: str = "", texts: Mapping[str, str] | None = None) -> str:
    """The HTML of a comparison."""
    changed = changes(found, texts)
    return render(
        "compare.html.j2",
        found=found,
        figures=_figures(found),
        changed=changed[:LISTED],
        more=max(0, len(changed) - LISTED),
        svg=inline(svg, "difference by topic, and what each question cost"),
        command=command,
        short=short,
        unit=unit_of(found),
    )


def _figures(found: Comparison) -> list[tuple[str, str, str, str]]:
    """(figure, of A, of B, A - B with its interval)."""
    a, b, gap = found.a, found.b, found.difference
    lines = [("share right", f"{a.accuracy.estimate:.3f}", f"{b.accuracy.estimate:.3f}", _signed(gap.accuracy, "+.3f"))]
    how = unit_of(found)
    if a.usd and b.usd and gap.usd:
        both = (dollars(side.usd.estimate * how.times) for side in (a, b) if side.usd)
        lines.append((how.title, *both, amount(gap.usd, how)))  # type: ignore[arg-type]
    if a.net and b.net and gap.net:
        both = (dollars(side.net.estimate * how.times) for side in (a, b) if side.net)
        lines.append((f"net utility, {how.title}", *both, amount(gap.net, how)))  # type: ignore[arg-type]
    if a.calls is not None and b.calls is not None:
        lines.append(("calls a question", f"{a.calls:.2f}", f"{b.calls:.2f}", f"{a.calls - b.calls:+.2f}"))
    return lines


def _signed(found: Any, form: str) -> str:
    return f"{found.estimate:{form}} [{found.low:{form}}, {found.high:{form}}]"


def unit_of(found: Comparison) -> Unit:
    """In which dollars are told."""
    return priced(max((side.usd.estimate for side in (found.a, found.b) if side.usd), default=0.0))


def amount(found: Interval, how: Unit) -> str:
    """A difference of dollars with its sign and interval."""

    def say(value: float) -> str:
        return dollars(value * how.times) if value < 0 else f"+{dollars(value * how.times)}"

    return f"{say(found.estimate)} [{say(found.low)}, {say(found.high)}]"


def picture(found: Comparison) -> Any:
    """Left: the difference in accuracy, overall and by topic, with paired intervals. Right: what each question cost
    under either, by what became of it; left out where dollars are not known."""
    topics = [t for t in found.topics if t.interval][:MOST]
    priced = any(all(u > 0 for u in one.usd) for one in found.each)
    high = max(2.6, 0.17 * (len(topics) + 2) + 0.8)
    figure = blank(6.8 if priced else 3.4, high)
    axes = figure.subplots(1, 1 + priced, squeeze=False)
    _forest(axes[0, 0], found, topics)
    if priced:
        _costs(axes[0, 1], found)
    return figure


def _forest(axes: Any, found: Comparison, topics: list[Any]) -> None:
    a, b = found.names
    whole = found.difference.accuracy
    lines = [(f"all ({len(found.each)})", whole.estimate, whole.low, whole.high)]
    if len(topics) > 1:
        lines += [
            (f"{short(t.topic, 22)} ({t.questions})", t.accuracy, t.interval.low, t.interval.high) for t in topics
        ]
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
    for y, (_, middle, low, high) in enumerate(lines):
        sure, whole_line = low > 0 or high < 0, y == 0
        colour = KINDS["won"][0] if sure and middle > 0 else KINDS["lost"][0] if sure else DARK
        axes.plot([low, high], [y, y], color=colour, linewidth=2.2 if whole_line else 1)
        axes.plot(middle, y, marker="D" if whole_line else "o", color=colour, markersize=5 if whole_line else 3.5)
    axes.set_yticks(range(len(lines)), [label for label, *_ in lines])
    axes.set_ylim(len(lines) - 0.4, -0.9)
    widest = max(max(abs(low), abs(high)) for _, _, low, high in lines) or 0.01
    axes.set_xlim(-1.08 * widest, 1.08 * widest)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    axes.set_xlabel(f"difference in share right [95%, paired]\n{short(a, 24)} less {short(b, 24)}")
    axes.set_title("← worse", loc="left", fontsize=6.5, color=DARK)
    axes.set_title("better →", loc="right", fontsize=6.5, color=DARK)


def _costs(axes: Any, found: Comparison) -> None:
    """Each question's dollars under B (across) and A (up), on equal log scales: below the diagonal A was cheaper."""
    shown = [one for one in found.each if all(u > 0 for u in one.usd)]
    most = max(u for one in shown for u in one.usd)
    how = priced(most)
    times, said = how.times, how.title.removesuffix(" questions").removesuffix(" per question")
    for became in ("both wrong", "both right", "lost", "won"):
        colour, marker = KINDS[became]
        held = [one for one in shown if one.became == became]
        grey = became.startswith("both")
        axes.scatter(
            [one.usd[1] * times for one in held],
            [one.usd[0] * times for one in held],
            s=9 if grey else 16,
            c=colour,
            marker=marker,
            linewidths=0.7 if marker == "x" else 0.3,
            edgecolors=None if marker == "x" else "white",
            alpha=0.6 if grey else 0.9,
            label=f"{became} {found.count(became)}",
        )
    low, high = (f(u * times for one in shown for u in one.usd) for f in (min, max))
    bounds = (low / 1.3, high * 1.3)
    axes.plot(bounds, bounds, color=BLACK, linewidth=0.6, linestyle=(0, (3, 2)))
    axes.set(xscale="log", yscale="log", xlim=bounds, ylim=bounds)
    axes.set_box_aspect(1)
    axes.grid(True)
    for side in (axes.xaxis, axes.yaxis):
        _plain(side, high / low)
    axes.set_xlabel(f"{said}, {short(found.names[1], 34)}")
    axes.set_ylabel(f"{said}, {short(found.names[0], 34)}")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False,
        fontsize=6.5, handletextpad=0.1, columnspacing=0.9, borderaxespad=0.2,
    )  # fmt: skip


def _plain(side: Any, reach: float) -> None:
    from matplotlib import ticker

    side.set_major_locator(ticker.LogLocator(base=10, subs=(1.0,) if reach > 30 else (1.0, 2.0, 5.0)))
    side.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    side.set_minor_formatter(ticker.NullFormatter())
