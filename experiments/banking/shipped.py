"""The banks that ship with satisfice, opened by their names."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import StoreError
from ..tables import MANIFEST

HOME = Path(__file__).parents[1] / "banks"


def names() -> list[str]:
    """The shipped banks, sorted."""
    return sorted(folder.name for folder in HOME.iterdir() if (folder / MANIFEST).exists()) if HOME.is_dir() else []


def find(path: str | Path) -> Path:
    """The bank at `path`; where there is none and `path` is a bare name, the shipped bank of that name. Raises
    `StoreError`, which names them."""
    folder = Path(path)
    if (folder / MANIFEST).exists():
        return folder
    listed = names()
    if folder.name == str(path) and folder.name in listed:
        return HOME / folder.name
    if folder.exists():
        return folder  # whoever reads it says what it lacks
    told = f"; shipped banks: {', '.join(listed)}" if listed else ""
    raise StoreError(f"{path} is no bank: there is no such folder{told}", path=str(path), shipped=listed)
