"""Writing a bank's part files: new banks whole or not at all, additions with the manifest as their only commit point.

Order of an addition: each part is written beside its place under a name of its own, made durable, and renamed to its
hash; then the manifest is replaced. A crash between any two steps leaves the old manifest, and parts that it does not
list, which the next addition sweeps away.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from ...core.errors import StoreError
from .. import tables

LOCK = ".lock"
_OURS = re.compile(rf"(?:{'|'.join(tables.TABLES)})-[0-9a-f]{{12}}\.parquet|\.[a-z]+\.tmp")
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The bank's write lock, held while this is open. It ends with its process, however that ends. Raises
    `StoreError` where someone else holds it. (Without `fcntl`, on Windows, nothing is locked.)"""
    try:
        import fcntl
    except ImportError:  # pragma: no cover
        yield
        return
    if not (folder / tables.MANIFEST).exists():
        raise StoreError(f"{folder} is no bank: it has no {tables.MANIFEST}", path=str(folder))
    try:
        file = (folder / LOCK).open("ab")
    except OSError as error:
        raise StoreError(f"cannot write to bank {folder}: {error}", path=str(folder)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"bank {folder} is being written by another process: wait for it, or stop it"
            raise StoreError(text, path=str(folder)) from None
        yield


def create(path: Path, manifest: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """Writes a bank beside `path` and renames it into place; replies the manifest as written. Raises `StoreError`."""
    tables.arrow()
    if path.exists():
        raise StoreError(f"{path} exists already: remove it, or write the bank somewhere else", path=str(path))
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        made = _counted({**manifest, "parts": _write(temporary, rows)})
        _replace(temporary, made)
        temporary.chmod(0o755)
        os.rename(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write bank {path}: {error}", path=str(path)) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)  # gone already where the rename went through
    return made


def extend(folder: Path, changes: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """Adds rows as new parts and `changes` to the manifest (mappings in it are merged, one level deep); replies it.
    The caller holds the lock. Raises `StoreError`."""
    manifest = tables.read_manifest(folder)
    _sweep(folder, manifest)
    try:
        added = _write(folder, rows)
        parts = {name: _whole(folder, entries) for name, entries in manifest["parts"].items()}
        for name, entries in added.items():
            there = {entry["file"] for entry in parts.get(name, ())}  # the very same rows again: they are there
            parts[name] = parts.get(name, []) + [entry for entry in entries if entry["file"] not in there]
        made = _counted({**_merged(manifest, changes), "parts": parts}, since=manifest.get("created"))
        _replace(folder, made)
    except OSError as error:
        _sweep(folder, manifest)
        raise StoreError(f"cannot write to bank {folder}: {error}", path=str(folder)) from error
    return made


def _merged(manifest: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(manifest)
    for name, value in changes.items():
        old = made.get(name)
        made[name] = {**old, **value} if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return made


def _write(folder: Path, rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """Part files of these rows (one for each table that has any), durable; replies the manifest's entries."""
    _, pq = tables.arrow()
    entries: dict[str, list[dict[str, Any]]] = {}
    built = {name: tables.to_table(name, given) for name, given in rows.items() if given}  # all, before the first file
    for name, table in built.items():
        temporary = folder / f".{name}.tmp"
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        digest = tables.sha256(temporary)
        file = folder / f"{name}-{digest[:12]}.parquet"
        os.rename(temporary, file)
        entries[name] = [{"file": file.name, "rows": table.num_rows, "sha256": digest}]
    return entries


def _replace(folder: Path, manifest: Mapping[str, Any]) -> None:
    temporary = folder / ".manifest.tmp"
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(manifest, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temporary, folder / tables.MANIFEST)
    _sync(folder)


def _counted(manifest: Mapping[str, Any], since: str | None = None) -> dict[str, Any]:
    """The manifest with its format, counts and dates; the parts last, being the longest."""
    parts = manifest["parts"]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    counts = {name: sum(entry["rows"] for entry in parts.get(name, ())) for name in tables.TABLES}
    dates = {"created": since, "changed": now} if since else {"created": now}
    rest = {k: v for k, v in manifest.items() if k not in ("parts", "changed")}
    return {**rest, "format": tables.FORMAT, **counts, **dates, "tool": tables.tool(), "parts": parts}


def _whole(folder: Path, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of format 1 get their hash."""
    return [{**e, "sha256": e.get("sha256") or tables.sha256(folder / e["file"])} for e in entries]


def _sweep(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Removes what an addition that was cut short has left."""
    listed = {entry["file"] for entries in manifest["parts"].values() for entry in entries}
    for file in folder.iterdir():
        if _OURS.fullmatch(file.name) and file.name not in listed:
            with suppress(OSError):
                file.unlink()


def _sync(folder: Path) -> None:
    """Makes renames in a folder durable, where the system can."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
