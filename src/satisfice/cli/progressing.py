"""Progress of long commands, on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .output import note

Progress = Callable[[int, int], None]
FIRST, EVERY = 10.0, 10.0  # seconds before the first line where there is no terminal, and between two


@contextmanager
def progress(what: str, as_json: bool = False) -> Iterator[Progress]:
    """A bar with the count, the time spent and the time left on a terminal; elsewhere a line every ten seconds. It is
    called with how much is done, and of how much."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        if not as_json:
            note(f"{what} ...")
        yield lines(what, time.monotonic)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def lines(what: str, clock: Callable[[], float], say: Callable[[str], None] = note) -> Progress:
    """Progress as plain lines: none of what is over soon."""
    began = clock()
    due = began + FIRST

    def tell(done: int, total: int) -> None:
        nonlocal due
        now = clock()
        if now < due or not 0 < done < total:
            return
        due = now + EVERY
        spent = now - began
        say(f"{what}: {done}/{total}, {spent:.0f} s, about {spent / done * (total - done):.0f} s left")

    return tell
