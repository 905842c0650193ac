"""Labels for samples that came without: gold answers from a file, answers read from completions, and their match."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import CallerError
from ...core.task import KINDS, AnswerKind, Contract
from . import keys
from .values import missing

Row = Mapping[str, Any]


def labelled(
    rows: Sequence[Row], file: Path, *, golds: Mapping[str, str], kind: str, drop: bool, read: bool
) -> tuple[list[tuple[int, Row]], int]:
    """Rows with their numbers (from 1), each with a label, and how many were dropped for want of one. A row's gold is
    its own, or that of its question's id (any of its requests' ids) in `golds`; `kind` "" is found from the golds of
    each data set. `read`: answers that are not told are read from the completion's text. Raises `CallerError` where
    rows have no label and `drop` is not set, for an unknown kind, and for golds none of which is of a question."""
    if kind and kind not in KINDS:
        raise CallerError(f"kind {kind!r}: expected one of {', '.join(KINDS)}", kind=kind)
    found = _golds(rows, golds)
    if golds and not found:
        ids = ", ".join(repr(str(row.get("question_id"))) for row in rows[:3])
        raise CallerError(f"no gold answer is of a question in {file.name}, whose ids are {ids}, ...", file=str(file))
    kinds = _kinds(rows, found, kind)
    made = list(_labelled(rows, found, kinds if read or kind else {}, kinds))
    bare = [i for i, row in made if missing(row.get("correct"))]
    if bare and not drop:
        first = rows[bare[0] - 1]
        raise CallerError(
            f"{file.name}: {len(bare)} of {len(rows)} rows have no label (the first is row {bare[0]}, question "
            f"{first.get('question_id')!r}): give gold answers with --gold FILE (columns id, gold), or leave those "
            "rows out with --drop-unlabelled",
            row=bare[0],
            unlabelled=len(bare),
        )
    return [(i, row) for i, row in made if not missing(row.get("correct"))], len(bare)


def _labelled(
    rows: Sequence[Row], golds: Mapping[str, str], told: Mapping[str, AnswerKind], kinds: Mapping[str, AnswerKind]
) -> Iterator[tuple[int, Row]]:
    for i, row in enumerate(rows, start=1):
        gold = golds.get(str(row.get("question_id")), row.get("gold"))
        full = {**row, "gold": None if missing(gold) else gold}
        kind = kinds.get(str(row.get("dataset")), "text")
        if told and missing(row.get("kind")):
            full["kind"] = kind
        if row.get("answer") is None and not missing(row.get("text")) and (told or missing(row.get("correct"))):
            full["answer"] = answer_of(str(row["text"]), kind)
        elif told and row.get("answer"):
            full["answer"] = answer_of(str(row["answer"]), kind) or row["answer"]
        if missing(row.get("correct")) and full["gold"] is not None and full.get("answer") is not None:
            full["correct"] = int(_equal(kind, str(full["answer"]), str(full["gold"])))
        yield i, full


def answer_of(text: str, kind: AnswerKind) -> str:
    """The answer in a completion, "" where it holds none."""
    if kind == "text" and len(text.split()) <= 12:
        return text.strip()
    reading = Contract(kind).read(text)
    return reading.answer if reading else ""


def _equal(kind: AnswerKind, answer: str, gold: str) -> bool:
    return bool(answer.strip()) and keys.key_of(kind, answer.strip()) == keys.key_of(kind, gold.strip())


def _golds(rows: Sequence[Row], golds: Mapping[str, str]) -> dict[str, str]:
    """By question id. A question's gold may be told by the id of any of its requests; raises where two differ."""
    found: dict[str, str] = {}
    for row in rows:
        name = str(row.get("question_id"))
        for alias in (name, str(row.get("aliases", name))):
            if alias in golds and found.setdefault(name, golds[alias]) != golds[alias]:
                raise CallerError(f"question {name!r} has two gold answers, one by {alias!r}", question=name)
    return found


def _kinds(rows: Sequence[Row], golds: Mapping[str, str], kind: str) -> dict[str, AnswerKind]:
    """Of each data set, by its golds."""
    by: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        gold = golds.get(str(row.get("question_id")), row.get("gold"))
        by[str(row.get("dataset"))] += [] if missing(gold) else [str(gold)]
    named: dict[str, AnswerKind] = {str(k): k for k in KINDS}
    return {dataset: named[kind] if kind else keys.kind_of(right, right) for dataset, right in by.items()}
