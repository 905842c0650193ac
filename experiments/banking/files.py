"""Reading files of recorded samples: Parquet, CSV and JSON lines of rows, OpenAI batch output, Inspect AI logs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import CallerError, StoreError
from ..tables import arrow

Row = Mapping[str, Any]
SUFFIXES = ".parquet, .csv, .jsonl, .json or .eval"
_WANTED = frozenset(
    {"dataset", "question_id", "question", "gold", "model", "strategy", "sample_index", "answer", "correct"}
    | {"prompt_tokens", "completion_tokens", "tokens_source", "cost_usd", "cost_source", "temperature", "fold", "kind"}
    | {"text", "request", "topic", "passage", "seconds", "finish", "logprob_mean", "logprob_min", "path"}
)


@dataclass(frozen=True, slots=True)
class Read:
    """What a file holds: its format, its rows with the common columns, what it tells of models, and how many records
    were left out, by why."""

    format: str
    rows: Sequence[Row]
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


def read(file: Path, *, requests: Path | None = None, scorer: str = "") -> Read:
    """A file's rows. `requests`: the input file of an OpenAI batch. `scorer`: the one of an Inspect log whose word is
    the label. Raises `CallerError` for another format or content, `StoreError` where it cannot be read."""
    from . import batches, inspect_logs

    try:
        if file.suffix in (".eval", ".json"):
            return inspect_logs.read(file, scorer)
        if file.suffix not in (".parquet", ".csv", ".jsonl"):
            raise CallerError(f"{file.name}: expected {SUFFIXES}", file=str(file))
        rows = list({".parquet": _parquet, ".csv": csv_rows, ".jsonl": lines}[file.suffix](file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"cannot read {file}: {error}", path=str(file)) from error
    if rows and "custom_id" in rows[0] and "response" in rows[0]:
        return batches.read(file, rows, requests)
    if rows and {"custom_id", "body"} <= rows[0].keys():
        text = f"{file.name} is the input of a batch: import its output, with --requests {file.name}"
        raise CallerError(text, file=str(file))
    return Read("rows", filled(rows, file))


def filled(rows: Sequence[Row], file: Path) -> list[Row]:
    """Rows whose missing columns stand as this file's: its name for the data set, the order for samples' numbers.
    Raises `CallerError` where what cannot be filled in is missing."""
    columns = set().union(*(row.keys() for row in rows[:1])) if file.suffix != ".jsonl" else set().union(*rows)
    needed = [("question",), ("model",), ("answer", "text"), ("gold", "correct")]
    if rows and (lacking := [name for names in needed if not columns & set(names) for name in names]):
        has = ", ".join(sorted(columns))
        text = f"{file.name} lacks the columns {', '.join(lacking)} (it has: {has})"
        raise CallerError(text, missing=lacking)
    made: list[Row] = []
    counts: dict[tuple[str, ...], int] = {}
    for row in rows:
        full = dict(row)
        full.setdefault("dataset", file.stem)
        full.setdefault("strategy", "sample")
        if "question_id" not in columns:
            full["question_id"] = _named(str(row.get("question")))
        if "sample_index" not in columns:
            place = tuple(str(full.get(n)) for n in ("dataset", "question_id", "model", "strategy", "temperature"))
            full["sample_index"] = counts[place] = counts.get(place, -1) + 1
        made.append(full)
    return made


def _named(question: str) -> str:
    from hashlib import sha256

    from .splitting import normal

    return sha256(normal(question).encode()).hexdigest()[:12]


def _parquet(file: Path) -> list[Row]:
    pa, pq = arrow()
    try:
        names = [name for name in pq.read_schema(file).names if name in _WANTED]
        rows: list[Row] = pq.ParquetFile(file).read(columns=names, use_threads=False).to_pylist()
    except pa.ArrowException as error:
        raise StoreError(f"cannot read {file}: {error}", path=str(file)) from error
    return rows


def csv_rows(file: Path) -> Iterator[Row]:
    """The rows of a CSV file with a header; quoted cells may hold line ends. Raises `OSError`, `UnicodeDecodeError`
    and `csv.Error`."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        yield from csv.DictReader(stream)


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines. Raises `CallerError`, naming the line."""
    # not splitlines: JSON may hold what Unicode takes for the end of a line, such as U+2028
    for i, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CallerError(f"{file.name}, line {i}: not JSON ({error})", row=i) from None
        if not isinstance(row, dict):
            raise CallerError(f"{file.name}, line {i}: expected an object", row=i)
        yield row


def golds(file: Path) -> dict[str, str]:
    """Gold answers by question id, from CSV or JSON lines with the columns id (question_id, custom_id) and gold
    (answer, target). Raises `CallerError`, also for an id with two golds, and `StoreError`."""
    try:
        if file.suffix not in (".csv", ".jsonl"):
            raise CallerError(f"{file.name}: gold answers come as .csv or .jsonl", file=str(file))
        rows = list((csv_rows if file.suffix == ".csv" else lines)(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"cannot read {file}: {error}", path=str(file)) from error
    found: dict[str, str] = {}
    for i, row in enumerate(rows, start=1):
        name = next((row[n] for n in ("id", "question_id", "custom_id") if row.get(n) not in (None, "")), None)
        gold = next((row[n] for n in ("gold", "answer", "target") if row.get(n) not in (None, "")), None)
        if name is None or gold is None:
            raise CallerError(f"{file.name}, row {i}: expected the columns id and gold", row=i)
        if found.setdefault(str(name), str(gold)) != str(gold):
            raise CallerError(f"{file.name}, row {i}: {name!r} has two gold answers", row=i)
    return found


def logprobs(choice: Mapping[str, Any]) -> dict[str, float]:
    """Mean and least log-probability of a choice's tokens, as both OpenAI and Inspect write them; {}: not there."""
    told = (choice.get("logprobs") or {}).get("content") or ()
    found = [token["logprob"] for token in told if isinstance(token.get("logprob"), int | float)]
    return {"logprob_mean": sum(found) / len(found), "logprob_min": min(found)} if found else {}
