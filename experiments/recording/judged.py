"""A bank of served requests (`scheduler.serving.recording`), once it is known which answers were right."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...core.errors import StoreError
from ..bank import Bank, Draw, Question
from ..banking.appending import Appender
from .asked import fold_of


def from_runs(folder: str | Path, right: Mapping[str, float], out: str | Path) -> Bank:
    """Makes a bank, or adds to it, of the requests in `folder` whose answers were judged: `right` says of a run's id
    how right its answer was (0 to 1; half or more counts as right). Candidates with another key than the right answer
    are wrong; where the answer was wrong, only those that gave it are labelled, and the others are left out. How many
    draws there are was decided by the policy that served. Raises `StoreError` where there is nothing to read."""
    known: set[str] = set()
    rows = [row for row in _lines(Path(folder)) if row["run"] in right]
    with Appender(out, {"source": "served requests, labelled by feedback"}) as bank:
        known |= bank.known().questions
        for row in rows:
            if row["run"] in known or row["answer_key"] is None:
                continue
            known.add(row["run"])
            question, draws = _recorded(row, right[row["run"]] >= 0.5)
            bank.add(question, draws=draws)
    return Bank.open(out)


def _recorded(row: Mapping[str, Any], right: bool) -> tuple[Question, dict[tuple[str, str], list[Draw]]]:
    gold = row["answer_key"] if right else None
    name, topic = row["run"], row["topic"]
    question = Question(
        name, topic or "served", row["query"], gold, row["kind"], tuple(row["choices"]), fold_of(row["query"]), topic
    )
    draws: dict[tuple[str, str], list[Draw]] = {}
    for one in row["candidates"]:
        same = one["key"] == row["answer_key"]
        if not right and not same:
            continue
        place = draws.setdefault((one["model"], f"served:{one['strategy']}"), [])
        nanos, tokens, seconds = one["spent"]
        draw = Draw(
            len(place),
            one["answer"] or "",
            one["key"],
            right and same,
            tokens - (one["tokens"] or 0),
            one["tokens"],
            nanos,
            one["text"],
            "recorded",
            "recorded",
            name,
            seconds,
            one["finish"],
            path=one["path"],
            strategy=one["strategy"],
        )
        place.append(draw)
    return question, draws


def _lines(folder: Path) -> Iterable[dict[str, Any]]:
    files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    if not files:
        raise StoreError(f"{folder}: no served requests were recorded there", path=str(folder))
    for file in files:
        for line in file.read_text("utf-8").split("\n"):  # not splitlines: JSON may hold U+2028
            try:
                yield json.loads(line)
            except ValueError:  # the line that a crash cut short
                continue
