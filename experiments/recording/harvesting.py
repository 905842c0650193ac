"""From a journal's rows to a bank's records: the journal is written first, the bank made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...budgets.prices import Price
from ...core.completions import Usage
from ...core.task import Candidate
from ...scheduler.codec import load
from ...scheduler.journal import Row, RunRecord
from ..bank import Draw, RecordedEffect, RecordedRun
from .units import Unit

Right = Callable[[Candidate], bool]
WORLD = ("sample", "calltool", "score", "ask", "recall")  # effects whose replies come from outside of the plan
OPEN = ("running", "waiting", "cancelled")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A draw as it came, and as it stands in a bank."""

    candidate: Candidate
    draw: Draw


def is_over(record: RunRecord) -> bool:
    """Whether a run came to its own end, with or without an answer: one that lacked money or a model did not."""
    if record.status not in ("done", "failed") or not record.result:
        return False
    data = json.loads(record.result)
    short = str(data.get("stop_reason", "")).startswith("budget_") and data["stop_reason"] != "budget_calls"
    return "stop_reason" in data and not short and data.get("error", {}).get("code", "no_answer") == "no_answer"


def replies(rows: Iterable[Row]) -> list[tuple[Row, Mapping[str, Any]]]:
    """The last word at each place that asked the world something, in the order of places."""
    found: dict[str, tuple[Row, Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row.path, row.attempt)):
        if row.kind == "reply" and row.effect in WORLD:
            data = json.loads(row.payload)
            if not (data.get("retry") or data.get("hedged")):
                found[row.path] = (row, data)
    return list(found.values())


def lost_of(rows: Iterable[Row]) -> list[str]:
    """What the calls that failed for good say of it."""
    return [str(data["error"].get("message", "")) for _, data in replies(rows) if "error" in data]


def was_refused(rows: Iterable[Row]) -> bool:
    """Whether there was no money for a call."""
    return any(row.kind == "reply" and "refused" in json.loads(row.payload) for row in rows)


def draws_of(unit: Unit, rows: Sequence[Row], right: Right, price: Price) -> list[Drawn]:
    """The draws of a unit. Where several came of one call, whose prompt was billed once, each is billed a prompt of
    its own: so it would be if it was drawn alone, as it is replayed. Draws that failed are left out."""
    came = [(row, load(Candidate, data)) for row, data in replies(rows) if row.effect == "sample" and "text" in data]
    prompts = [row.tokens - (one.tokens or 0) for row, one in came]
    prompt = max(prompts, default=0)
    found = []
    for i, (row, one) in enumerate(came):
        alone = prompts[i] > 0 and min(prompts) > 0
        usage = Usage(prompts[i] if alone else prompt, one.tokens or 0)
        draw = Draw(
            unit.run + i,
            one.answer if one.answer is not None else "",
            one.key,
            right(one),
            usage.prompt,
            usage.completion,
            row.nanos if alone else price.cost(usage),
            one.text,
            "recorded",
            price.source or "recorded",
            "",
            round(one.spent.seconds, 4),
            one.finish,
            *_summary(one.logprobs),
            one.path,
            one.strategy,
        )
        found.append(Drawn(one, draw))
    return found


def _summary(logprobs: tuple[float, ...] | None) -> tuple[float | None, float | None]:
    return (round(sum(logprobs) / len(logprobs), 4), min(logprobs)) if logprobs else (None, None)


def run_of(unit: Unit, record: RunRecord, rows: Sequence[Row], right: Right) -> RecordedRun:
    """A run of a whole strategy with the replies to all its effects."""
    result = json.loads(record.result or "{}")
    data = result.get("candidates", ())
    answer = result.get("answer")
    # The answer is that of a candidate: its key and label are.
    best = next((load(Candidate, one) for one in data if answer is not None and one.get("answer") == answer), None)
    effects = tuple(_effect(row, data) for row, data in replies(rows))
    return RecordedRun(
        unit.arm,
        unit.run,
        json.loads(record.spec)["seed"],
        unit.model,
        answer,
        best.key if best is not None else None,
        best is not None and right(best),
        result.get("stop_reason", "fault"),
        record.spent_nanos,
        sum(row.tokens for row in rows if row.kind == "reply"),
        round(result["spend"]["seconds"], 4) if "spend" in result else None,
        effects,
    )


def _effect(row: Row, data: Mapping[str, Any]) -> RecordedEffect:
    tokens = data.get("tokens") if row.effect == "sample" else None
    seconds = (data.get("spent") or {}).get("seconds") if row.effect == "sample" else None
    return RecordedEffect(
        row.path,
        row.attempt,
        row.effect,
        str(data.get("model", "")),
        row.fingerprint,
        _slim(row),
        row.tokens - tokens if tokens is not None else None,
        tokens,
        row.nanos,
        seconds,
    )


def _slim(row: Row) -> str:
    """The reply without what its row says already or no plan reads."""
    data = json.loads(row.payload)
    if row.effect != "sample" or "text" not in data:
        return row.payload
    dropped = {"spent", "path", "cached", "model", "strategy"}
    kept = {k: v for k, v in data.items() if k not in dropped and v not in (None, False)}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
