"""A bank's tables: their columns, and what a bank's manifest says of the part files that hold them.

Format 2: each table is any number of Parquet files `<table>-<first 12 hex digits of its SHA-256>.parquet`, never
changed once written. `manifest.json` lists them; it is replaced as one, last: what it does not list is not there.
Format 1 (`<table>.parquet`, one file each) is read as a bank of one part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import MissingExtra, StoreError
from ..core.task import KINDS

FORMAT = 2
MANIFEST = "manifest.json"
Columns = dict[str, list[Any]]
# name -> (type, may be null). The types are pyarrow's names.
QUESTIONS = {
    "question_id": ("string", False),
    "dataset": ("string", False),
    "question": ("string", False),
    "gold": ("string", True),
    "kind": ("string", False),
    "choices": ("list", False),
    "fold": ("int32", False),
    "topic": ("string", False),
    "passage": ("string", False),
}
CANDIDATES = {
    "question_id": ("string", False),
    "model": ("string", False),
    "arm": ("string", False),
    "sample_index": ("int32", False),
    "answer": ("string", True),
    "key": ("string", True),
    "correct": ("bool_", False),
    "prompt_tokens": ("int64", True),
    "completion_tokens": ("int64", True),
    "nanos": ("int64", True),
    "text": ("string", True),
    "tokens_source": ("string", False),
    "cost_source": ("string", False),
    "request": ("string", False),
    "seconds": ("float64", True),
    "finish": ("string", False),
    "logprob_mean": ("float64", True),
    "logprob_min": ("float64", True),
    "path": ("string", False),
    "strategy": ("string", False),
}
VERDICTS = {
    "question_id": ("string", False),
    "model": ("string", False),
    "arm": ("string", False),
    "sample_index": ("int32", False),
    "verifier": ("string", False),
    "score": ("float64", True),
    "tokens": ("int64", True),
    "nanos": ("int64", True),
}
RUNS = {
    "question_id": ("string", False),
    "strategy": ("string", False),
    "run": ("int32", False),
    "seed": ("int64", False),
    "model": ("string", False),
    "answer": ("string", True),
    "key": ("string", True),
    "correct": ("bool_", False),
    "stop": ("string", False),
    "nanos": ("int64", False),
    "tokens": ("int64", False),
    "seconds": ("float64", True),
}
EFFECTS = {
    "question_id": ("string", False),
    "strategy": ("string", False),
    "run": ("int32", False),
    "position": ("int32", False),
    "path": ("string", False),
    "attempt": ("int32", False),
    "kind": ("string", False),
    "model": ("string", False),
    "fingerprint": ("string", False),
    "reply": ("string", False),
    "prompt_tokens": ("int64", True),
    "completion_tokens": ("int64", True),
    "nanos": ("int64", True),
    "seconds": ("float64", True),
}
TABLES = {"questions": QUESTIONS, "candidates": CANDIDATES, "verdicts": VERDICTS, "runs": RUNS, "effects": EFFECTS}
# Columns that format 1 did not have: where a file lacks one, it is unknown (null or "").
LATER = {
    "questions": frozenset({"topic", "passage"}),
    "candidates": frozenset({"seconds", "finish", "logprob_mean", "logprob_min", "path", "strategy"}),
}
OF_A_DRAW = tuple(name for name in CANDIDATES if name not in ("question_id", "model", "arm"))


def arrow() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet. Raises `MissingExtra`."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra.of("bank", "a bank of recorded samples") from None
    return pyarrow, pyarrow.parquet


def read_manifest(path: Path) -> dict[str, Any]:
    """A bank's manifest, its `parts` filled in for format 1 (without hashes). Raises `StoreError`."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        newest = int(manifest["format"])
    except FileNotFoundError:
        raise StoreError(f"{path} is no bank: it has no {MANIFEST}", path=str(path)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is no bank: {MANIFEST} cannot be read ({error!r})", path=str(path)) from error
    if newest > FORMAT:
        text = f"bank {path} has format {newest}, this program reads up to {FORMAT}: update satisfice"
        raise StoreError(text, path=str(path), format=newest)
    if "parts" not in manifest:
        manifest["parts"] = {
            name: [{"file": f"{name}.parquet", "rows": manifest[name]}] for name in TABLES if manifest.get(name)
        }
    try:
        for name, entries in manifest["parts"].items():
            rows = sum(int(entry["rows"]) for entry in entries if Path(entry["file"]).name == entry["file"])
            if rows != manifest.get(name, 0):
                text = f"bank {path}: the manifest counts {manifest.get(name)} {name}, its parts hold {rows}"
                raise StoreError(text, path=str(path))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(f"bank {path}: the parts in {MANIFEST} cannot be read ({error!r})", path=str(path)) from error
    return dict(manifest)


def read(path: Path, *, verify: bool = False) -> tuple[dict[str, Any], dict[str, Columns]]:
    """A bank's manifest, and of each table its columns as Python lists. `verify`: the files' hashes too. Raises
    `StoreError` for what is no bank, a newer format, a file that is missing, torn, changed, or lacks a column."""
    manifest = read_manifest(path)
    found = {name: read_table(path, manifest, name, verify=verify) for name in TABLES}
    _check_questions(path, found["questions"])
    return manifest, found


def read_table(path: Path, manifest: Mapping[str, Any], name: str, *, verify: bool = False) -> Columns:
    """One table of a bank, all its parts in their order, as Python lists by column. Raises `StoreError`."""
    columns: Columns = {column: [] for column in TABLES[name]}
    for entry in manifest["parts"].get(name, ()):
        table = read_part(path / entry["file"], name, entry, verify=verify)
        for column, values in columns.items():
            values.extend(table[column].to_pylist())
    return columns


def read_part(file: Path, name: str, entry: Mapping[str, Any], *, verify: bool = False) -> Any:
    """One part file as a pyarrow table with the columns of `name`, in their order. Raises `StoreError`."""
    pa, pq = arrow()
    where = f"bank {file.parent}: {file.name}"
    advice = "copy it anew from a backup, or import or record it again"
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            table = opened.read(use_threads=False)
    except FileNotFoundError:
        raise StoreError(f"{where} is missing: {advice}", path=str(file)) from None
    except (OSError, pa.ArrowException) as error:
        text = f"cannot read {file.name}: it is truncated or damaged ({error}): {advice}"
        raise StoreError(f"bank {file.parent}: {text}", path=str(file)) from error
    if table.num_rows != entry["rows"]:
        text = f"bank {file.parent}: the manifest counts {entry['rows']} {name}, {file.name} holds {table.num_rows}"
        raise StoreError(text, path=str(file))
    if verify and entry.get("sha256") and sha256(file) != entry["sha256"]:
        raise StoreError(f"{where} is not what was written: its SHA-256 differs: {advice}", path=str(file))
    return _checked(pa, table, name, where)


def sha256(file: Path) -> str:
    """A file's SHA-256 in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_table(name: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows (dicts by column; what they lack is null or "") as a pyarrow table. Raises `StoreError`."""
    pa, _ = arrow()
    late = LATER.get(name, frozenset())
    blank = {c: (None if TABLES[name][c][1] else "") for c in late}
    try:
        full = [{**blank, **row} for row in rows] if late else list(rows)
        return _checked(pa, pa.Table.from_pylist(full, schema=schema(pa, name)), name, f"rows for {name}")
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"rows for {name} cannot be written: {error}") from error


def _checked(pa: Any, table: Any, name: str, where: str) -> Any:
    columns, late = TABLES[name], LATER.get(name, frozenset())
    missing = [column for column in columns if column not in table.column_names]
    if lost := [column for column in missing if column not in late]:
        raise StoreError(f"{where} has no column {', '.join(lost)}", missing=lost)
    for column in missing:
        blank = pa.nulls(len(table)) if columns[column][1] else pa.array([""] * len(table), pa.string())
        table = table.append_column(column, blank)
    for column, (_, nullable) in columns.items():
        if not nullable and table[column].null_count:
            raise StoreError(f"{where}: column {column} has {table[column].null_count} empty values", column=column)
    try:
        table, wanted = table.select(list(columns)), schema(pa, name)
        return table if table.schema.equals(wanted) else table.cast(wanted)  # a cast loads pyarrow.compute
    except (ValueError, pa.ArrowException) as error:
        raise StoreError(f"{where}: {error}") from error


def _check_questions(path: Path, columns: Columns) -> None:
    ids = columns["question_id"]
    if len(set(ids)) != len(ids):
        raise StoreError(f"bank {path}: a question id stands twice", path=str(path))
    for name, kind in zip(ids, columns["kind"], strict=True):
        if kind not in KINDS:
            raise StoreError(f"bank {path}: question {name!r} is of unknown kind {kind!r}")


def schema(pa: Any, name: str) -> Any:
    """The pyarrow schema of a table."""
    types = {"list": pa.list_(pa.string())}
    columns = TABLES[name].items()
    return pa.schema([pa.field(n, types.get(t) or getattr(pa, t)(), nullable=null) for n, (t, null) in columns])


def tool() -> str:
    """This program and its version, for manifests."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"satisfice {version('satisfice')}"
    except PackageNotFoundError:
        return "satisfice unknown"


def write(path: Path, manifest: Mapping[str, Any], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Writes a new bank of these rows by table, whole or not at all; replies its manifest. Raises `StoreError`."""
    from .banking.parts import create

    return create(path, manifest, rows)


def append(
    folder: Path,
    manifest_changes: Mapping[str, Any],
    *,
    questions: Sequence[Mapping[str, Any]] = (),
    candidates: Sequence[Mapping[str, Any]] = (),
    verdicts: Sequence[Mapping[str, Any]] = (),
    runs: Sequence[Mapping[str, Any]] = (),
    effects: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Adds rows to a bank as new part files, all of them or none, and merges `manifest_changes` into its manifest,
    which it replies. What stood there stays as it was. Rows are trusted to be new: `banking.appending.Appender`
    checks that. Raises `StoreError`, also where another process is writing to the bank."""
    from .banking.parts import extend, locked

    rows = {
        "questions": questions,
        "candidates": candidates,
        "verdicts": verdicts,
        "runs": runs,
        "effects": effects,
    }
    with locked(folder):
        return extend(folder, manifest_changes, rows)
