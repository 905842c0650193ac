"""The page: one HTML file that shows the curve in a browser, without a network (plotly's script, 4.8 MB, is in it).

Names come from banks and policy files, so everything is escaped: in HTML by Jinja, in the data by `embedded`, and in
plotly's own little markup by `marked`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

from ...core.errors import MissingExtra
from ..intervals import Interval
from .picture import short
from .series import AXES, COLOURED, Axis, Curves, Point, Series, frontier
from .style import dollars, figure, ink, unit, worths

HERE = Path(__file__).resolve().parent
SAID = {"usd": "Dollars", "tokens": "Tokens", "seconds": "Seconds"}


def page(curves: Curves, command: str = "", pictures: Mapping[str, str] | None = None) -> str:
    """The HTML. `command` is what made it; `pictures`: title -> SVG text of the further pictures. Raises
    `MissingExtra`."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise MissingExtra.of("plot", "a page with curves") from None
    return render(
        "page.html.j2",
        curves=curves,
        finding=finding(curves),
        axes=[(axis, SAID[axis], axis in curves.axes, unit(curves, axis).title) for axis in AXES],
        rows=[line for series in curves.series for line in _lines(curves, series)],
        policies={name: _facts(facts) for name, facts in blocks(curves.policies).items()},
        bank=Path(str(curves.bank.get("path") or "a bank")).name,
        unknown=_unrecorded(curves),
        settings=_facts(curves.settings),
        pictures={title: inline(svg, title) for title, svg in (pictures or {}).items()},
        command=command,
        colours=COLOURED,
        data=embedded(data_of(curves)),
        plotly=get_plotlyjs(),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
    )


def blocks(policies: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is on record of each policy, once: folds that share a policy are one, and of folds that were each fitted on
    the others only what they have in common is told."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for name, facts in policies.items():
        head, fold, number = name.rpartition("fold ")
        groups.setdefault(head.strip() if fold and number.isdigit() else name, []).append(facts)
    made = {}
    for name, held in groups.items():
        same = {k: v for k, v in held[0].items() if all(one.get(k) == v for one in held) and k != "questions_seen"}
        crossed = any(one != held[0] for one in held)
        made[name] = same | ({"fitted": f"{len(held)} times, each on the other folds"} if crossed else {})
    return made


def _unrecorded(curves: Curves) -> list[str]:
    """Which axes cannot be chosen, and why."""
    models = sorted({p.row.model for s in curves.series if s.kind == "policy" for p in s.points})
    return [
        f"{SAID[axis]}: not recorded for {short(', '.join(models), 80)}" for axis in AXES if axis not in curves.axes
    ]


def render(template: str, **facts: Any) -> str:
    """A template of this folder, with everything escaped that isn't marked safe."""
    found: str = _templates().get_template(template).render(**facts)
    return found


@cache
def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.filters.update(figure=figure, dollars=dollars)
    return made


def embedded(data: Any) -> str:
    """JSON that may stand inside a <script>: nothing in it ends the element or opens a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def marked(text: str) -> str:
    """Text for plotly, which reads a little HTML."""
    return escape(text, quote=False)


def inline(svg: str, title: str) -> str:
    """An SVG file as part of a page: without its XML head, with ids of its own, and named for screen readers."""
    body = svg[svg.index("<svg") :]
    tag = "".join(c for c in title.lower() if c.isalpha())[:12]
    for mark in ('id="', "url(#", 'xlink:href="#', 'href="#'):
        body = body.replace(mark, f"{mark}{tag}-") if mark != 'href="#' else body
    return body.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def finding(curves: Curves) -> list[str]:
    """What the picture shows, in sentences that claim no more than was measured."""
    own = [p for s in curves.series if s.kind == "policy" for p in s.points]
    single = [p for s in curves.series for p in s.points if p.row.name == "single_shot"]
    said = []
    if own:
        best = max(own, key=lambda p: p.accuracy.estimate)
        said.append(f"Most accurate: {_named(curves, best)}, {share(best.accuracy)} right{_at(curves, best)}.")
    if own and single:
        plain = max(single, key=lambda p: p.accuracy.estimate)
        said.append(f"One draw of {plain.row.model}: {share(plain.accuracy)} right{_at(curves, plain)}.")
    if len(own) > 2:
        said.append(
            f"The best of {len(own)} points was picked on the questions that it is shown on, so its figure flatters."
        )
    return said


def share(interval: Interval) -> str:
    """ "0.612 [0.570, 0.655]"."""
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _at(curves: Curves, point: Point) -> str:
    if "usd" not in point.x:
        return ""
    how = unit(curves, "usd")
    return f" at {dollars(point.x['usd'].estimate * how.times)}{how.title.removeprefix('dollars')}"


def _named(curves: Curves, point: Point) -> str:
    label = next(s.label for s in curves.series if point in s.points)
    return label + (f", worth {worths(point.worths)}" if point.worths else "")


def data_of(curves: Curves) -> dict[str, Any]:
    """What the script draws from: plain numbers, marked-up hover texts, colours."""
    return {
        "axes": list(curves.axes),
        "titles": {axis: unit(curves, axis).title for axis in curves.axes},
        "series": [_plain(curves, series) for series in curves.series],
        "frontier": {
            axis: [[p.x[axis].estimate * unit(curves, axis).times, p.accuracy.estimate] for p in frontier(curves, axis)]
            for axis in curves.axes
        },
    }


def _plain(curves: Curves, series: Series) -> dict[str, Any]:
    how = ink(series)
    named = series.kind != "policy" or series.colour is not None
    return {
        "label": short(series.label, 40),
        "kind": series.kind,
        "named": named,
        "banded": series.banded,
        "strong": series.kind == "policy" and named,
        "first": series.label.replace("fixed votes", "single shot") if series.label.startswith("fixed votes") else "",
        "colour": how.colour,
        "text": how.text,
        "dash": " ".join(f"{d}px" for d in how.dash) or "solid",
        "symbol": how.symbol,
        "points": [
            {
                "y": _three(p.accuracy, 1.0),
                "x": {axis: _three(p.x[axis], unit(curves, axis).times) for axis in curves.axes if axis in p.x},
                "hover": hover(curves, series, p),
            }
            for p in series.points
        ],
    }


def _three(found: Interval, times: float) -> list[float]:
    middle = found.estimate
    return [(v if isfinite(v) else middle) * times for v in (middle, found.low, found.high)]


def hover(curves: Curves, series: Series, point: Point) -> str:
    """What a point tells when it is pointed at, in plotly's markup: who, with which settings, and all figures."""
    row = point.row
    lines = [f"<b>{marked(series.label)}</b>"]
    facts = [
        ("strategy", short(row.strategy, 60) if row.strategy and row.strategy != row.name else row.name),
        ("policy", row.policy),
        ("model", short(row.model, 60)),
        ("condition", row.arm),
        ("worth", worths(point.worths) if not row.baseline else ""),
        ("right", share(point.accuracy)),
        *((unit(curves, axis).title, _spend(curves, point, axis)) for axis in AXES if axis in point.x),
        ("calls", figure(row.calls) if row.calls else ""),
        ("answered", f"{row.answered:.3f}" if row.answered < 1 else ""),
        ("net utility", dollars(row.net.estimate) if row.net and not row.baseline else ""),
        ("p99 seconds", figure(row.latency.p99) if row.latency else ""),
        ("questions", f"{row.questions:,}"),
        ("not replayed", f"{row.misses} runs" if row.misses else ""),
        ("note", short(row.note, 70) if row.baseline else ""),
    ]
    return "<br>".join([*lines, *(f"{name}: {marked(value)}" for name, value in facts if value)])


def _spend(curves: Curves, point: Point, axis: Axis) -> str:
    """Mean and interval on this axis, in its unit; "" where it is not known."""
    if axis not in point.x:
        return ""
    say, times, found = (dollars if axis == "usd" else figure), unit(curves, axis).times, point.x[axis]
    return f"{say(found.estimate * times)} [{say(found.low * times)}, {say(found.high * times)}]"


def _lines(curves: Curves, series: Series) -> list[dict[str, Any]]:
    """The lines of the table below."""
    on = {axis: frontier(curves, axis) for axis in curves.axes}
    made = []
    for point in series.points:
        row = point.row
        made.append(
            {
                "label": series.label + (f": {row.name}" if row.baseline and len(series.points) > 1 else ""),
                "colour": ink(series).colour,
                "worth": worths(point.worths) if not row.baseline else "",
                "right": share(point.accuracy),
                "usd": _spend(curves, point, "usd"),
                "tokens": _spend(curves, point, "tokens"),
                "seconds": _spend(curves, point, "seconds"),
                "calls": figure(row.calls) if row.calls else "",
                "net": dollars(row.net.estimate) if row.net and not row.baseline else "",
                "questions": row.questions,
                "misses": row.misses,
                "frontier": any(point in found for found in on.values()),
                "note": row.note,
            }
        )
    return made


def _facts(facts: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Settings as (name, value) texts, nested ones flattened by a dot."""
    found: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found += [(f"{name}.{inner}", text) for inner, text in _facts(value)]
        else:
            found.append((str(name), short(str(value), 300)))
    return found
