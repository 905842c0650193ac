"""`satisfice runs show RUN --explain`: each choice of a run in plain words, what came of it, and whether it held."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..scheduler.feedback import told
from ..scheduler.journal import Given, Row, RunRecord
from ..scheduler.paths import decode
from .output import counted, emit, table, usd

MOST = 12  # alternatives that are shown of one choice, the best of them
ENDED = {
    "done": "It was done",
    "waiting": "It waits for a person",
    "failed": "It failed",
    "cancelled": "It was interrupted",
    "running": "It has not ended",
}


def explained(record: RunRecord, rows: Sequence[Row], words: Sequence[Given]) -> dict[str, Any]:
    """The choices of a stored run, what came of each, and what was said of its answer, JSON-ready."""
    result = json.loads(record.result) if record.result else {}
    steps = [_step(decision, rows) for decision in result.get("decisions", ())]
    return {
        "id": record.id,
        "query": record.query,
        "strategy": record.strategy,
        "status": record.status,
        "answer": result.get("answer"),
        "confidence": result.get("confidence"),
        "confidence_reason": result.get("confidence_reason", ""),
        "stop_reason": result.get("stop_reason", ""),
        "stop_said": result.get("stop_said", ""),
        "spent_usd": record.spent_nanos / 1e9,
        "decisions": steps,
        "feedback": [told(word).to_dict() for word in words],
        "shifts": json.loads(record.spec).get("shifts") or {},
    }


def _step(decision: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    price = decision["price"]
    ways = []
    for i, row in enumerate(decision["alternatives"]):
        net = row["net"] / price if row["net"] is not None and price > 0 else None
        shown = {key: row[key] for key in ("name", "size", "gain", "cost", "seconds")}
        ways.append(
            {**shown, "p": row.get("p"), "net_usd": net, "chosen": bool(decision["size"]) and i == decision["index"]}
        )
    return {
        "path": decision["path"],
        "depth": (len(decode(decision["path"])) - 2) // 2,
        "at": decision["at"],
        "spent_usd": decision["spent_usd"],
        "p": decision["p"],
        "ways": ways,
        "size": decision["size"],
        "reason": decision["reason"],
        "said": decision.get("said", ""),
        "came": _came(decision, rows) if decision["size"] else [],
    }


def _came(decision: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """What the calls brought that the choice was for: those of the plan's next step."""
    *frame, step, _ = decode(decision["path"])
    place = (*frame, step + 1)
    found = []
    for row in sorted(rows, key=lambda r: (r.path, r.attempt)):
        path = decode(row.path)
        if row.kind == "reply" and path[: len(place)] == place and len(path) == len(place) + 1:
            found.append(_brought(row))
    return found


def _brought(row: Row) -> str:
    """A reply in a few words."""
    facts = json.loads(row.payload)
    if row.effect == "within":
        outcome = facts.get("outcome") or {}
        if outcome.get("fault"):
            return f"failed: {_short(outcome['fault'])}"
        facts = outcome.get("candidate") or {"key": None, "text": "", "answer": None}
    if "error" in facts:
        return f"failed: {_short(str(facts['error']['message']))}"
    if "refused" in facts:
        return f"not sent: {facts['refused']} would not allow it"
    if "score" in facts:
        return "could not tell" if facts["score"] is None else f"a verdict of {facts['score']:.3g}"
    if "key" in facts:
        return f"answer {_short(str(facts['answer']), 40)!r}" if facts["key"] is not None else "nothing readable"
    return "done"


def tell(data: Mapping[str, Any], as_json: bool) -> None:
    """Shows it."""
    if as_json:
        emit(data)
        return
    click.echo(f"{data['id']}  {data['strategy']}: {_short(data['query'], 100)}")
    if not data["decisions"]:
        click.echo("no choice is on record: nothing was weighed")
    for i, step in enumerate(data["decisions"], 1):
        _tell_step(i, step)
    click.echo("")
    click.echo(_ending(data))
    for line in _judged(data):
        click.echo(line)


def _tell_step(i: int, step: Mapping[str, Any]) -> None:
    inside = f" (inside, at {step['path']})" if step["depth"] else ""
    spent = usd(step["spent_usd"]) if step["spent_usd"] else "nothing spent"
    click.echo(f"\n{i}.{inside} After {step['at']:.2f} s and {spent}: {_known(step['p'])}.")
    ways = [way for way in step["ways"] if way["cost"] or way["size"]]
    shown = sorted(ways, key=lambda w: (not w["chosen"], -(w["net_usd"] if w["net_usd"] is not None else float("inf"))))
    cells = [
        (
            "> " + way["name"] if way["chosen"] else "  " + way["name"],
            _share(way["p"]),
            "fixed" if way["gain"] is None else f"{100 * way['gain']:+.2g}%",
            usd(way["cost"]),
            "" if way["net_usd"] is None else _signed(way["net_usd"]),
        )
        for way in shown[:MOST]
    ]
    if cells:
        table(["  way on", "P(right)", "gain", "cost", "worth it by"], cells, right="P(right) gain cost")
    if len(shown) > MOST:
        click.echo(f"  and {len(shown) - MOST} more")
    click.echo(f"  {step['said'] or step['reason']}")
    if step["came"]:
        click.echo(f"  came of it: {', '.join(step['came'])}")


def _known(p: float | None) -> str:
    return "nothing was known of the answer yet" if p is None else f"the best answer was right with P = {p:.2f}"


def _ending(data: Mapping[str, Any]) -> str:
    said = f"{ENDED.get(data['status'], data['status'])}: {data['stop_said'] or data['stop_reason'] or 'no result'}."
    if data["answer"] is None:
        return f"{said} It gave no answer, and spent {usd(data['spent_usd'])}."
    sure = "" if data["confidence"] is None else f", P(right) {data['confidence']:.2f}"
    return f"{said} It answered {_short(data['answer'])!r}{sure}, for {usd(data['spent_usd'])}."


def _judged(data: Mapping[str, Any]) -> list[str]:
    """What was said of the answer, and what became of the predictions."""
    if not data["feedback"]:
        return [] if data["answer"] is None else ["Nobody has said whether it was right: satisfice runs feedback RUN"]
    last, n = data["feedback"][-1], len(data["feedback"])
    right = {1.0: "right", 0.0: "wrong"}.get(last["correct"], f"{last['correct']:g} right")
    who = f" by {last['by']}" if last["by"] else ""
    changed = f" ({counted(n - 1, 'earlier word')} revised)" if n > 1 else ""
    claimed = "" if last["confidence"] is None else f"; the run had said P = {last['confidence']:.2f}"
    lines = [f"It was said to be {right}{who}, {last['created'][:10]}{changed}{claimed}."]
    if last["note"]:
        lines.append(f"  note: {_short(last['note'], 200)}")
    for arm in last["arms"]:
        came = {1.0: "was right", 0.0: "was wrong"}.get(arm["label"], f"was {arm['label']:g} right")
        lines.append(f"  {arm['arm']}: predicted right with P = {arm['p']:.2f}, and {came}")
    return lines


def _share(p: float | None) -> str:
    return "" if p is None else f"{100 * p:.0f}%"


def _signed(amount: float) -> str:
    return usd(amount) if amount >= 0 else f"-{usd(-amount)}"


def _short(text: str, most: int = 80) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 3] + "..."
