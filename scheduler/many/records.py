"""A batch on record: one JSON line for each part, from which a batch that was cut off goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from ...core.amounts import Amounts
from ...core.errors import BadSettings, CallerError, SatisficeError
from ..solution import Solution
from .advancing import Step
from .asked import Item, renamed

if TYPE_CHECKING:
    from ..engine import Engine


def begun(item: Item, run: str) -> dict[str, Any]:
    """A part has begun, as run `run`."""
    return {"query": item.place, "id": item.task.id, "run": run}


def ended(item: Item, step: Step) -> dict[str, Any]:
    """A part is over: what it found, how far the query is, and all that it has come to."""
    nanos, tokens, calls = item.purse.posted
    last: Solution | None = item.parts[-1] if item.parts else None
    return {
        "query": item.place,
        "id": item.task.id,
        "answer": last.answer if last is not None else None,
        "confidence": last.confidence if last is not None else None,
        "stop_reason": step.reason,
        "over": item.over,
        "done": item.done,
        "index": item.index if isfinite(item.index) else None,
        "value": item.value,
        "spent": [nanos, tokens, calls],
        "error": item.error.to_dict() if item.error is not None else None,
        "part": step.solution.to_dict() if step.solution is not None else None,
    }


def restore(items: Sequence[Item], records: Iterable[Mapping[str, Any]]) -> dict[str, Item]:
    """Brings items to where the records end. What was spent is posted; what failed is tried again. Returns the runs
    that had begun and not ended, by their ids. Raises `CallerError` for records of other queries, `BadSettings` for
    lines that are none."""
    begun_runs: dict[int, list[str]] = {}  # several of one query, where the batch was cut off more than once
    for line, record in enumerate(records):
        try:
            item = items[record["query"]]
            if record["id"] != item.task.id:
                raise CallerError(
                    f"line {line + 1} is of another query than query {item.place}: resume with its own file"
                )
            if "run" in record:
                begun_runs.setdefault(item.place, []).append(str(record["run"]))
                continue
            begun_runs.pop(item.place, None)  # what they came to is in the sum of this record
            _take(item, record)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise BadSettings(f"line {line + 1} is no record of a batch: {type(error).__name__}: {error}") from error
    return {run: items[place] for place, runs in begun_runs.items() for run in runs}


def _take(item: Item, record: Mapping[str, Any]) -> None:
    if record["part"] is not None:
        part = Solution.from_dict(record["part"], item.task)
        found, judged = renamed(part.run_id, part.candidates, part.verdicts)
        item.parts.append(part)
        item.found, item.judged = item.found + found, item.judged + judged
    index = record["index"]
    item.index, item.value = inf if index is None else float(index), float(record["value"])
    # One that only was not worth its price may be now; one that came to its own end is not bought again.
    item.done = bool(record["done"]) if "done" in record else bool(record["over"]) and not 0 < item.index < inf
    item.done = item.over = item.done and record["error"] is None
    nanos, tokens, calls = (int(x) for x in record["spent"])
    before = item.purse.posted
    item.purse.post(Amounts(nanos - before[0], tokens - before[1], calls - before[2]))


async def account(engine: Engine, lost: Mapping[str, Item]) -> None:
    """Posts what runs have cost that were under way when the batch was cut off, calls in flight at their worst case, as
    far as the journal knows of them."""
    from ..log import Log

    for run, item in lost.items():
        try:
            _, rows = await engine.journal.load(run)
        except SatisficeError:  # there is no journal, or it was not kept there
            continue
        item.purse.post(Log(rows).total)
