"""Recording while serving: a share of the requests, redacted, put aside to become a bank once it is known which answers
were right. A request never waits for it and never fails by it.

    served = Served("served", share=0.05, redact=("email", r"\\b\\d{16}\\b"))
    served(solution, task)      # of each request that is over; replies at once
    served.close()

Lines of JSON in the folder, one file for each process; `from_runs` makes a bank of them.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

from ...core.errors import CallerError, StoreError
from ...core.task import Task
from ...scheduler.solution import Solution
from ..bank import Bank, Draw, Question
from ..banking.appending import Appender
from .asked import fold_of

logger = logging.getLogger("satisfice")
WAITING = 1000  # requests that may wait to be written; more are dropped, and counted
PATTERNS = {
    "email": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "card": r"\b\d(?:[ -]?\d){12,18}\b",
    "phone": r"(?<!\w)\+?\d[\d ()/-]{6,}\d(?!\w)",
}
HIDDEN = "[redacted]"


class Served:
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
                self.folder.mkdir(parents=True, exist_ok=True)
                with (self.folder / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(redacted(told(solution, task), self._patterns)) + "\n")
            except Exception:  # a full disk must not cost a request
                self.failed += 1
                logger.exception("a served request could not be recorded")


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
        return {key: value if key in ("run", "path") else redacted(value, patterns) for key, value in data.items()}
    return [redacted(value, patterns) for value in data] if isinstance(data, list) else data


def from_runs(folder: str | Path, right: Mapping[str, float], out: str | Path) -> Bank:
    """Makes a bank, or adds to it, of the requests in `folder` whose answers were judged: `right` says of a run's id
    how right its answer was (0 to 1; half or more counts as right). Candidates with another key than the right answer
    are wrong; where the answer was wrong, only those that gave it are labelled, and the others are left out. How many
    draws there are was decided by the policy that served. Raises `StoreError` where there is nothing to read."""
    known: set[str] = set()
    rows = [row for row in _lines(Path(folder)) if row["run"] in right]
    with Appender(out, {"source": "served requests, labelled by feedback"}) as bank:
        known |= bank.known().questions
        for row in rows:
            if row["run"] in known or row["answer_key"] is None:
                continue
            known.add(row["run"])
            question, draws = _recorded(row, right[row["run"]] >= 0.5)
            bank.add(question, draws=draws)
    return Bank.open(out)


def _recorded(row: Mapping[str, Any], right: bool) -> tuple[Question, dict[tuple[str, str], list[Draw]]]:
    gold = row["answer_key"] if right else None
    name, topic = row["run"], row["topic"]
    question = Question(
        name, topic or "served", row["query"], gold, row["kind"], tuple(row["choices"]), fold_of(row["query"]), topic
    )
    draws: dict[tuple[str, str], list[Draw]] = {}
    for one in row["candidates"]:
        same = one["key"] == row["answer_key"]
        if not right and not same:
            continue
        place = draws.setdefault((one["model"], f"served:{one['strategy']}"), [])
        nanos, tokens, seconds = one["spent"]
        draw = Draw(
            len(place),
            one["answer"] or "",
            one["key"],
            right and same,
            tokens - (one["tokens"] or 0),
            one["tokens"],
            nanos,
            one["text"],
            "recorded",
            "recorded",
            name,
            seconds,
            one["finish"],
            path=one["path"],
            strategy=one["strategy"],
        )
        place.append(draw)
    return question, draws


def _lines(folder: Path) -> Iterable[dict[str, Any]]:
    files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    if not files:
        raise StoreError(f"{folder}: no served requests were recorded there", path=str(folder))
    for file in files:
        for line in file.read_text("utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:  # the line that a crash cut short
                continue
