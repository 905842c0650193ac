"""The metrics of a whole report: for each arm on its own, and for all models together, on the questions that every row
of the group has. JSON-ready, with how many questions each figure is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING, Any

from ..core.errors import CallerError
from .at_k import Votes
from .intervals import Interval, clustered
from .metrics import Points, aiq, frontier, gap_closed, held_out_aiq, held_out_frontier
from .report import Report, Row

if TYPE_CHECKING:
    from .bank import Bank
    from .contrasts import AllVotes

RESAMPLES = 1000
TARGET = 0.8  # PGR, for which CPT is told
FEWEST = 2  # points, below which an area says nothing of a curve


def metrics_of(report: Report, bank: Bank, votes: AllVotes, *, held_out: bool = True) -> dict[str, Any]:
    """For every group of rows on the same recorded arms: `frontier`, `aiq`, `oracle` (the share of the gap closed);
    for every arm pass@k and maj@k; for two models or more what routing between them brings (`routing`). `held_out`:
    frontier and AIQ on the other folds too, where there are any."""
    made = [_group(rows, bank, votes, held_out) for rows in _groups(report)]
    arms = [_at_k(model, arm, found) for (model, arm), found in votes.items()]
    return {"groups": [one for one in made if one], "at_k": arms, "routing": _routing(report, bank)}


def _groups(report: Report) -> Iterator[list[Row]]:
    """Rows of one (model, arm); then, where there are several models, all."""
    rows = [row for row in report.rows if row.each and row.name not in ("oracle", "best single model", "random model")]
    by_arm = lambda row: (row.model, row.arm)  # noqa: E731
    sides = [list(found) for _, found in groupby(sorted(rows, key=by_arm), key=by_arm)]
    yield from (side for side in sides if any(row.baseline for row in side))
    if len({row.model for row in rows}) > 1:
        yield rows


def _group(rows: list[Row], bank: Bank, votes: AllVotes, held_out: bool) -> dict[str, Any] | None:
    common = [q for q in rows[0].each if all(q in row.each for row in rows)]
    if not common:
        return None
    priced = all(row.usd is not None for row in rows) and any(row.each[q].usd for row in rows for q in common)
    names, kept = _named(rows)
    right = [[row.each[q].right for row in kept] for q in common]
    spend = [[row.each[q].usd if priced else row.each[q].calls for row in kept] for q in common]
    folds = [bank.questions[q].fold for q in common]
    points = Points(names, right, spend, folds=folds)
    crossed = held_out and len(set(folds)) > 1
    models = sorted({row.model for row in kept})
    return {
        "models": models,
        "arms": sorted({row.arm for row in kept}),
        "questions": len(common),
        "spend": "usd" if priced else "calls",
        "frontier": _frontier(points, kept, crossed),
        "aiq": _areas(points, kept, crossed),
        "oracle": _gaps(points, kept, common, bank),
    }


def _named(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[Row]]:
    """Rows with names of their own; a baseline that stands beside several worths counts once."""
    found: dict[str, Row] = {}
    several = len({(row.model, row.arm) for row in rows}) > 1
    for row in sorted(rows, key=lambda row: not row.baseline):  # of equals the plain one is on the frontier
        name = row.name + (f" [{row.policy}]" if row.policy else "")
        name += f" at ${row.worth:.3g}" if row.worth is not None and not row.baseline else ""
        found.setdefault(name + (f" on {row.model}, {row.arm}" if several else ""), row)
    return tuple(found), list(found.values())


def _frontier(points: Points, rows: Sequence[Row], crossed: bool) -> list[dict[str, Any]]:
    """The rows that no other beats, with their figures, and in what share of folds the others' frontier holds them."""
    often = held_out_frontier(points) if crossed else {}
    found = []
    for name in frontier(points):
        i = points.names.index(name)
        found.append(
            {
                "name": name,
                "row": rows[i].name,
                "policy": rows[i].policy,
                "model": rows[i].model,
                "arm": rows[i].arm,
                "worth": _plain(rows[i].worth),
                "baseline": rows[i].baseline,
                "accuracy": told(clustered(points.right[:, i], resamples=RESAMPLES)),
                "spend": told(clustered(points.usd[:, i], resamples=RESAMPLES)),
                "held_out": often.get(name, 0.0) if crossed else None,
            }
        )
    return found


def _areas(points: Points, rows: Sequence[Row], crossed: bool) -> dict[str, Any] | None:
    """AIQ of every family of rows (a strategy under a policy, over worths and arms; the baselines) over one range: from
    where the family that begins dearest begins to the dearest point of any."""
    families: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        family = "baselines" if row.baseline else row.name + (f" [{row.policy}]" if row.policy else "")
        families.setdefault(family, []).append(i)
    spend = points.usd.mean(axis=0)
    low, high = max(min(spend[i] for i in found) for found in families.values()), float(spend.max())
    if not low < high:
        return None
    made = []
    for family, found in families.items():
        ways = [points.names[i] for i in found]
        area = aiq(points, ways, float(low), high, resamples=RESAMPLES)
        one = {"family": family, "points": len(ways), "aiq": told(area.aiq), "by_high": told(area.by_high)}
        if crossed and len(ways) >= FEWEST:
            held = held_out_aiq(points, ways, float(low), high, resamples=RESAMPLES)
            one |= {"held_out": told(held.aiq), "overspend": told(held.overspend)}
        made.append(one)
    return {"low": float(low), "high": high, "families": made}


def _gaps(points: Points, rows: Sequence[Row], common: Sequence[str], bank: Bank) -> list[dict[str, Any]]:
    """The share of the gap between the best single draw of a model (in hindsight, again in every resample) and the
    oracle (any recorded draw is right) that each measured row closes."""
    import numpy as np

    arms = {(row.model, row.arm) for row in rows if " + " not in row.model}
    oracle = [float(any(d.correct for m, a in arms for d in bank.draws.get((q, m, a), ()))) for q in common]
    bases = [name for name, row in zip(points.names, rows, strict=True) if row.baseline and row.name == "single_shot"]
    if not bases:
        return []
    spend = np.zeros((len(common), 1))
    wide = Points(
        (*points.names, "oracle"),
        np.column_stack([points.right, oracle]),
        np.column_stack([points.usd, spend]),
        points.clusters,
    )
    return [
        {"name": name, "gap_closed": told(gap_closed(wide, name, bases, "oracle", resamples=RESAMPLES))}
        for name, row in zip(points.names, rows, strict=True)
        if not row.baseline
    ]


def _at_k(model: str, arm: str, votes: Votes) -> dict[str, Any]:
    """pass@k and maj@k for k = 1, 2, 4, ... and the most that every question has."""
    most = votes.passed.shape[1]
    rows = []
    for k in sorted({2**i for i in range(most.bit_length())} | {most}):
        vote = votes.majority
        rows.append(
            {
                "k": k,
                "pass": told(clustered(votes.passed[:, k - 1], resamples=RESAMPLES)),
                "maj": told(clustered(vote[:, k - 1], resamples=RESAMPLES)) if vote is not None else None,
                "usd": float(k * votes.usd.mean()) if votes.usd is not None else None,
            }
        )
    return {"model": model, "arm": arm, "questions": len(votes.questions), "rows": rows}


def _routing(report: Report, bank: Bank) -> list[dict[str, Any]]:
    """Between the cheapest model and the best one, in calls and in dollars (RouteLLM, Ong et al. 2024): APGR and PGR at
    40% of what all strong calls cost, of plain routers that anybody has: at random, by length, by the topic's mean gain
    on the other folds, and one that knows both outcomes. CPT(80%) by thresholds that the other folds chose, since the
    first crossing of a curve on its own questions is biased low."""
    singles = [r for r in report.rows if r.baseline and r.name == "single_shot" and r.each and r.usd is not None]
    found = []
    for arm in sorted({row.arm for row in singles}):
        rows = {row.model: row for row in singles if row.arm == arm}
        if len(rows) > 1 and (one := _routed(list(rows.values()), arm, bank)):
            found.append(one)
    return found


def _routed(rows: Sequence[Row], arm: str, bank: Bank) -> dict[str, Any] | None:
    import numpy as np

    from .routing import Pair, Unit, compare, cross_means, kept, sent_for

    weak = min(rows, key=lambda row: row.usd.estimate if row.usd else 0.0)
    strong = max(rows, key=lambda row: row.accuracy.estimate)
    both = [q for q in weak.each if q in strong.each]
    if weak is strong or not both:
        return None
    a, b = [weak.each[q] for q in both], [strong.each[q] for q in both]
    if sum(e.usd for e in b) <= sum(e.usd for e in a):
        return None
    try:
        columns = ([e.right for e in a], [e.right for e in b], [e.usd for e in a], [e.usd for e in b])
        pair = Pair(*map(np.asarray, columns))
    except CallerError:
        return None  # the better one is not better on the questions of both
    questions = [bank.questions[q] for q in both]
    folds, topics = [q.fold for q in questions], [q.dataset for q in questions]
    routers: dict[str, Any] = {"random": [0.0] * len(both), "length": [float(len(q.text)) for q in questions]}
    if len(set(folds)) > 1 and len(set(topics)) > 1:
        routers["topic's mean gain"] = cross_means(pair.gap, topics, folds)
    routers["oracle"] = pair.gap
    made: dict[str, Any] = {"weak": weak.model, "strong": strong.model, "arm": arm, "questions": len(both)}
    units: tuple[Unit, ...] = ("calls", "usd")
    for unit in units:
        rows_ = compare(pair, routers, by=unit, resamples=RESAMPLES)
        made[unit] = [{"router": r.name, "apgr": told(r.apgr), "pgr@40%": told(r.pgr)} for r in rows_]
    made["cpt"] = []
    for name, scores in routers.items() if len(set(folds)) > 1 else ():
        if name != "random":  # all its scores tie: it needs the share itself
            at = kept(pair, sent_for(pair, scores, folds, TARGET), resamples=RESAMPLES)
            one = {"target": TARGET, "pgr": told(at.pgr), "calls": told(at.calls), "usd": told(at.usd)}
            made["cpt"].append({"router": name, **one})
    return made


def told(interval: Interval) -> dict[str, float | None]:
    """JSON-ready; None for what is infinite or undefined."""
    return {name: _plain(value) for name, value in interval.to_dict().items()}


def _plain(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def lines(metrics: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """The same for people: (title, columns, rows) of each table."""
    for group in metrics.get("groups", ()):
        where, unit = f"{_where(group)}; {group['questions']} questions", "$" if group["spend"] == "usd" else "calls"
        rows = [
            [one["name"], _said(one["accuracy"]), _said(one["spend"], 3), _share(one["held_out"])]
            for one in group["frontier"]
        ]
        yield f"frontier of {where}", ["way", "accuracy", f"{unit} a question", "on the others' frontier"], rows
        area = group["aiq"]
        if area:
            made = [
                [one["family"], str(one["points"]), _said(one["aiq"]), _said(one.get("held_out"))]
                for one in area["families"]
            ]
            span = f"{area['low']:.3g} to {area['high']:.3g} {unit}"
            yield f"AIQ over {span} a question, {where}", ["ways", "points", "AIQ", "vertices from other folds"], made
        gaps = [[g["name"], _said(g["gap_closed"])] for g in group["oracle"] if g["gap_closed"]["estimate"] is not None]
        if gaps:
            yield f"share of the oracle gap closed, {where}", ["way", "share"], gaps
    for arm in metrics.get("at_k", ()):
        if len(arm["rows"]) < 2:
            continue
        rows = [
            [str(r["k"]), _said(r["pass"]), _said(r["maj"]), "-" if r["usd"] is None else f"{r['usd']:.3g}"]
            for r in arm["rows"]
        ]
        title = f"k draws of {arm['model']} ({arm['arm']}), {arm['questions']} questions"
        yield title, ["k", "pass@k", "maj@k", "$"], rows
    for one in metrics.get("routing", ()):
        rows = [
            [c["router"], _said(c["apgr"]), _said(u["apgr"]), _said(c["pgr@40%"]), _said(u["pgr@40%"])]
            for c, u in zip(one["calls"], one["usd"], strict=True)
        ]
        title = f"routing {one['weak']} to {one['strong']} ({one['arm']}), {one['questions']} questions"
        yield title, ["router", "APGR, calls", "APGR, $", "PGR at 40% of calls", "PGR at 40% of $"], rows
        rows = [[c["router"], *(_said(c[name]) for name in ("calls", "usd", "pgr"))] for c in one["cpt"]]
        if rows:
            title = f"CPT({TARGET:.0%}) by thresholds of the other folds, {one['questions']} questions"
            yield title, ["router", "share of calls", "$ of always strong", "PGR that came"], rows


def _where(group: Mapping[str, Any]) -> str:
    return group["models"][0] + f" ({group['arms'][0]})" if len(group["models"]) == 1 else "all models together"


def _said(value: Mapping[str, float | None] | None, digits: int | None = None) -> str:
    if value is None or value["estimate"] is None:
        return "-"
    said = [("inf" if v is None else f"{v:.{digits}g}" if digits else f"{v:.3f}") for v in value.values()]
    return f"{said[0]} [{said[1]}, {said[2]}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
