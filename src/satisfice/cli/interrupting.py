"""Runs at the command line: Ctrl-C and SIGTERM, progress, and errors that come when the answer is there already."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..core.errors import SatisficeError, StoreError
from .output import counted, note, usd

if TYPE_CHECKING:
    from ..scheduler.events import Event
    from ..scheduler.solution import Solution


async def interruptible(
    work: Callable[..., Awaitable[Solution]], as_json: bool, engine: Any, what: str = "thinking", kept: bool = True
) -> Solution:
    """`work(on_event=..., on_cancel="best")`. Ctrl-C and SIGTERM end the run with the best answer so far; nothing that
    was paid for is lost. `kept`: the run is on record of `engine`, and can be resumed. Where there is no answer
    yet it raises `KeyboardInterrupt`, which says what was spent."""
    import anyio

    box: list[Solution | Exception] = []
    watching = Watching(as_json, what)

    async def listen(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                scope.cancel()
                return

    try:
        with watching as on_event:
            async with anyio.create_task_group() as group:
                group.start_soon(listen, group.cancel_scope)
                try:
                    box.append(await work(on_event=on_event, on_cancel="best"))
                except Exception as error:  # raised outside the group, which would wrap it
                    box.append(error)
                group.cancel_scope.cancel()
    except BaseExceptionGroup as stopped:  # a second Ctrl-C, while the first is being seen to
        if stopped.subgroup(KeyboardInterrupt) is None:
            raise
    if not box:
        raise KeyboardInterrupt(watching.interrupted(kept, await _posted(engine, watching.run) if kept else None))
    if isinstance(box[0], Exception):
        raise box[0]
    return box[0]


async def _posted(engine: Any, run: str) -> int | None:
    """Nano-dollars that the record of an interrupted run says it has come to; None where it says nothing."""
    if not run:
        return None
    try:
        found = await engine.journal.find(run)
    except SatisficeError:
        return None
    return int(found.spent_nanos)


async def finished(engine: Any, work: Callable[[], Awaitable[Solution]]) -> tuple[Solution, StoreError | None]:
    """`work()` in the open engine. What cannot be written while the engine closes comes beside the solution: that is
    paid for, and has to be shown."""
    box: list[Solution] = []
    try:
        async with engine:
            box.append(await work())
    except StoreError as error:
        if not box:
            raise
        return box[0], error
    return box[0], None


def late_code(late: StoreError | None, as_json: bool) -> int:
    """Says on stderr what went wrong after the answer; replies the exit code."""
    if late is None:
        return 0
    note(json.dumps({"error": late.to_dict()}, default=str) if as_json else f"error: {late}")
    return 6


class Watching:
    """A line of progress on a terminal's stderr: calls, cost so far. Silent elsewhere. It knows which run it is."""

    def __init__(self, as_json: bool, what: str = "thinking") -> None:
        self._status: Any = None
        self._what = what
        if not as_json and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status(f"{what} ...")
        self._calls = 0
        self.run, self._usd, self._tokens = "", 0.0, 0

    def interrupted(self, kept: bool, posted: int | None = None) -> str:
        """What to say of a run that was cut off before it had an answer: what it spent, and how to go on with it.
        `posted`: nano-dollars on record once it had ended, what was under way included."""
        if not self.run:
            return "interrupted before anything was sent"
        if posted is None:
            replies = f"{self._calls} {'reply' if self._calls == 1 else 'replies'}"
            spent = f"{usd(self._usd)} and {self._tokens} tokens for {replies}, and what was under way beside"
        else:
            spent = f"{usd(posted / 1e9)} spent, calls that were cut off counted at their worst case"
        how = f"go on with: satisfice runs resume {self.run}" if kept else f"run {self.run} was not kept on record"
        return f"interrupted; {spent}; {how}"

    def __enter__(self) -> Any:
        if self._status is not None:
            self._status.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def _tell(self, event: Event) -> None:
        from ..scheduler.events import Received, Started

        if isinstance(event, Started):
            self.run = event.run_id
        if not isinstance(event, Received):
            return
        self._usd, self._tokens = event.spent_usd, event.tokens
        self._calls += event.effect == "sample"
        if self._status is not None:
            latest = f", latest: {event.answer[:40]}" if event.answer else ""
            self._status.update(f"{self._what} ... {counted(self._calls, 'call')}, {usd(event.spent_usd)}{latest}")
