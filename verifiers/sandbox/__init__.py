"""Runs programs that a model wrote: hostile until shown otherwise. See docs/decisions/007-sandbox.md."""

from .isolation import found
from .programs import Limits, Program, Ran, Status
from .running import converse, run

__all__ = ["Limits", "Program", "Ran", "Status", "converse", "isolation", "run"]


def isolation() -> str | None:
    """What contains programs on this machine ("bubblewrap"), None where nothing does. Tries it on first use."""
    way, _ = found()
    return way.name if way is not None else None
