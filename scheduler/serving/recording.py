"""Recording while serving: a share of the requests, redacted, put aside to become a bank once it is known which answers
were right (`satisfice bank from-runs`). A request never waits for it and never fails by it.

    recorder = ServedRecorder("served", share=0.05, redact=("email", r"\\b\\d{16}\\b"))
    Engine("openai/gpt-4o-mini", record=recorder)       # or [record] in satisfice.toml

Lines of JSON in the folder, one file for each process.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from ...core.errors import CallerError
from ...core.task import Task
from ..solution import Solution

if TYPE_CHECKING:
    from ...models.settings import Settings

logger = logging.getLogger("satisfice")
WAITING = 1000  # requests that may wait to be written; more are dropped, and counted
PATTERNS = {
    "email": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "card": r"\b\d(?:[ -]?\d){12,18}\b",
    "phone": r"(?<!\w)\+?\d[\d ()/-]{6,}\d(?!\w)",
}
HIDDEN = "[redacted]"


class ServedRecorder:
    """Puts aside a `share` of the requests, chosen by a hash of the run's id, with whatever matches one of `redact`
    (regular expressions, or email, card, phone) hidden. `dropped` counts those that there was no room for, `failed`
    those that could not be written. Raises `CallerError` for a share or a pattern that is none."""

    def __init__(self, folder: str | Path, share: float = 0.05, redact: Sequence[str] = ()) -> None:
        if not 0.0 <= share <= 1.0:
            raise CallerError(f"record: share={share!r}, expected 0 to 1")
        self.folder, self.share = Path(folder), share
        try:
            self._patterns = [re.compile(PATTERNS.get(text, text)) for text in redact]
        except re.error as error:
            raise CallerError(f"record: redact: not a regular expression: {error}") from error
        self.dropped = self.failed = 0
        self._queue: Queue[tuple[Solution, Task]] = Queue(WAITING)
        self._stop = Event()
        self._thread: Thread | None = None

    def __call__(self, solution: Solution, task: Task) -> None:
        """Takes a finished request, or leaves it. Never waits, never raises."""
        if not sampled(solution.run_id, self.share) or solution.status != "done":
            return
        if self._stop.is_set():
            self.dropped += 1
            return
        if self._thread is None:
            self._thread = Thread(target=self._write, name="satisfice-record", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait((solution, task))
        except Full:
            self.dropped += 1

    def close(self) -> None:
        """Writes what waits, and stops."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self) -> None:
        while not (self._stop.is_set() and self._queue.empty()):
            try:
                solution, task = self._queue.get(timeout=0.2)
            except Empty:
                continue
            try:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                with open(self.folder / f"{os.getpid()}.jsonl", "a", encoding="utf-8", opener=_private) as file:
                    file.write(json.dumps(redacted(told(solution, task), self._patterns)) + "\n")
            except Exception:  # a full disk must not cost a request
                self.failed += 1
                logger.exception("a served request could not be recorded")


def _private(path: str, flags: int) -> int:
    """Opens a file that nobody else may read: it holds what people asked."""
    return os.open(path, flags, 0o600)


def sampled(run_id: str, share: float) -> bool:
    """Whether a run is among the share: the same for every process that asks."""
    digest = blake2b(run_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def told(solution: Solution, task: Task) -> dict[str, Any]:
    """What is kept of a request."""
    kept = [
        {
            "text": c.text,
            "answer": c.answer,
            "key": c.key,
            "model": c.model,
            "strategy": c.strategy,
            "path": c.path,
            "finish": c.finish,
            "tokens": c.tokens,
            "spent": [c.spent.nanos, c.spent.tokens, c.spent.seconds],
        }
        for c in solution.candidates
        if not c.thought
    ]
    contract = task.contract
    return {
        "run": solution.run_id,
        "query": task.query,
        "kind": contract.kind,
        "choices": list(contract.choices),
        "topic": task.topic,
        "strategy": solution.strategy,
        "policy": solution.policy,
        "stop": solution.stop_reason,
        "answer_key": solution.best.key if solution.best is not None else None,
        "candidates": kept,
    }


def redacted(data: Any, patterns: Sequence[re.Pattern[str]]) -> Any:
    """The data with every match hidden, wherever it stands. Ids of runs stay."""
    if isinstance(data, str):
        for pattern in patterns:
            data = pattern.sub(HIDDEN, data)
        return data
    if isinstance(data, Mapping):
        return {
            redacted(key, patterns): value if key in ("run", "path") else redacted(value, patterns)
            for key, value in data.items()
        }
    return [redacted(value, patterns) for value in data] if isinstance(data, list | tuple) else data


def recorder_of(settings: Settings) -> ServedRecorder | None:
    """What `[record]` of the settings asks for; None without a share."""
    asked = settings.record
    return ServedRecorder(settings.home / asked.bank, asked.share, asked.redact) if asked.share > 0 else None
