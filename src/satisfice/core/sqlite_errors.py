"""What SQLite's errors mean for the person who has to do something about them."""

from __future__ import annotations

from .errors import SatisficeError, StoreError

_HINTS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "it is read-only",
    "SQLITE_CANTOPEN": "it cannot be opened",
    "SQLITE_BUSY": "another process has locked it for too long",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "it has a row or run with this key already",
    "SQLITE_NOTADB": "it is no SQLite database",
    "SQLITE_CORRUPT": "it is damaged",
}


def as_store_error(error: Exception, name: str) -> SatisficeError:
    """What went wrong with the store `name`, and what to do about it where that is known."""
    if isinstance(error, SatisficeError):
        return error
    code = getattr(error, "sqlite_errorname", None) or type(error).__name__
    hint = _HINTS.get(code) or next((text for key, text in _HINTS.items() if code.startswith(key)), None)
    failure = StoreError(f"{name}: {hint} ({error})" if hint else f"{name}: {error}", reason=code)
    failure.__cause__ = error
    return failure
