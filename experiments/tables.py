"""A bank's files: manifest.json, questions.parquet, candidates.parquet and, where verifiers were asked,
verdicts.parquet. Written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from ..core.errors import MissingExtra, StoreError
from ..core.task import KINDS

FORMAT = 1
MANIFEST = "manifest.json"
# name -> (type, may be null). The types are pyarrow's names.
QUESTIONS = {
    "question_id": ("string", False),
    "dataset": ("string", False),
    "question": ("string", False),
    "gold": ("string", True),
    "kind": ("string", False),
    "choices": ("list", False),
    "fold": ("int32", False),
}
CANDIDATES = {
    "question_id": ("string", False),
    "model": ("string", False),
    "arm": ("string", False),
    "sample_index": ("int32", False),
    "answer": ("string", True),
    "key": ("string", True),
    "text": ("string", True),
    "correct": ("bool_", False),
    "prompt_tokens": ("int64", True),
    "completion_tokens": ("int64", True),
    "nanos": ("int64", True),
    "tokens_source": ("string", False),
    "cost_source": ("string", False),
    "request": ("string", False),
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
OF_A_DRAW = tuple(name for name in CANDIDATES if name not in ("question_id", "model", "arm"))


def arrow() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet. Raises `MissingExtra`."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra.of("bank", "a bank of recorded samples") from None
    return pyarrow, pyarrow.parquet


def write(
    path: Path, manifest: dict[str, Any], questions: list[Any], candidates: list[Any], verdicts: list[Any]
) -> dict[str, Any]:
    """Writes a bank beside `path` and renames it into place; replies the manifest as written."""
    pa, pq = arrow()
    if path.exists():
        raise StoreError(f"{path} exists already: remove it, or write the bank somewhere else", path=str(path))
    counts = {"format": FORMAT, "questions": len(questions), "candidates": len(candidates), "verdicts": len(verdicts)}
    files = [("questions", QUESTIONS, questions), ("candidates", CANDIDATES, candidates)]
    if verdicts:
        files.append(("verdicts", VERDICTS, verdicts))
    made = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "tool": f"satisfice {_version()}"}
    manifest = {**manifest, **counts, **made}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        for name, columns, rows in files:
            table = pa.Table.from_pylist(rows, schema=_schema(pa, columns))
            pq.write_table(table, temporary / f"{name}.parquet", compression="zstd")
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        os.rename(temporary, path)
    except OSError as error:
        raise StoreError(f"cannot write bank {path}: {error}", path=str(path)) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)  # gone already where the rename went through
    return manifest


Rows = list[dict[str, Any]]


def read(path: Path) -> tuple[dict[str, Any], Rows, Rows, Rows]:
    """Manifest, questions, candidates and verdicts of a bank. Raises `StoreError`."""
    pa, pq = arrow()
    manifest = _manifest(path)
    found: list[Rows] = []
    for name, columns in (("questions", QUESTIONS), ("candidates", CANDIDATES), ("verdicts", VERDICTS)):
        if name == "verdicts" and not manifest.get(name):
            found.append([])
            continue
        file = path / f"{name}.parquet"
        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"bank {path}: cannot read {file.name}: {error}", path=str(path)) from error
        rows = _checked(pa, table, columns, f"bank {path}: {file.name}")
        if len(rows) != manifest.get(name):
            text = f"bank {path}: the manifest counts {manifest.get(name)} {name}, {file.name} holds {len(rows)}"
            raise StoreError(text, path=str(path))
        found.append(rows)
    _check_questions(path, found[0])
    return manifest, found[0], found[1], found[2]


def _manifest(path: Path) -> dict[str, Any]:
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
    return dict(manifest)


def _checked(pa: Any, table: Any, columns: dict[str, tuple[str, bool]], where: str) -> list[dict[str, Any]]:
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise StoreError(f"{where} has no column {', '.join(missing)}", missing=missing)
    for name, (_, nullable) in columns.items():
        if not nullable and table[name].null_count:
            raise StoreError(f"{where}: column {name} has {table[name].null_count} empty values", column=name)
    try:
        rows: list[dict[str, Any]] = table.select(list(columns)).cast(_schema(pa, columns)).to_pylist()
    except (ValueError, pa.ArrowException) as error:
        raise StoreError(f"{where}: {error}") from error
    return rows


def _check_questions(path: Path, rows: list[dict[str, Any]]) -> None:
    if len({row["question_id"] for row in rows}) != len(rows):
        raise StoreError(f"bank {path}: a question id stands twice", path=str(path))
    for row in rows:
        if row["kind"] not in KINDS:
            raise StoreError(f"bank {path}: question {row['question_id']!r} is of unknown kind {row['kind']!r}")


def _schema(pa: Any, columns: dict[str, tuple[str, bool]]) -> Any:
    types = {"list": pa.list_(pa.string())}
    return pa.schema([pa.field(n, types.get(t) or getattr(pa, t)(), nullable=null) for n, (t, null) in columns.items()])


def _version() -> str:
    try:
        return version("satisfice")
    except PackageNotFoundError:
        return "unknown"
