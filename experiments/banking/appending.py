"""Adding to a bank while it is being recorded: what was flushed stays, however the recording ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ...core.errors import CallerError
from .. import tables
from . import parts, rows
from .records import Draw, Place, Question, RecordedRun, Scored


@dataclass(frozen=True, slots=True)
class Known:
    """What a bank holds by now, flushed or not: question ids, places of draws, (place, verifier) of verdicts, and
    (question, strategy, run number) of runs."""

    questions: set[str] = field(default_factory=set)
    draws: set[Place] = field(default_factory=set)
    verdicts: set[tuple[Place, str]] = field(default_factory=set)
    runs: set[tuple[str, str, int]] = field(default_factory=set)


class Appender:
    """Adds to the bank at `folder`, which it makes if there is none; `manifest` is merged into the bank's own. Each
    `flush` is all or nothing. Holds the bank's write lock until it is closed (use it in `with`; leaving that without
    an error flushes). Raises `CallerError` where `manifest` gives a model another fingerprint, or a model other
    prices, than the bank was recorded with, and `StoreError` where the bank cannot be written or another process is
    writing to it."""

    def __init__(self, folder: str | Path, manifest: Mapping[str, Any] | None = None) -> None:
        self.folder = Path(folder)
        changes = dict(manifest or {})
        if not self.folder.exists():
            tables.write(self.folder, changes, {})
        self._stack = ExitStack()
        self._stack.enter_context(parts.locked(self.folder))
        try:
            self.manifest = tables.read_manifest(self.folder)
            unlike(self.manifest, changes, str(self.folder))
            self._known = _known(self.folder, self.manifest)
        except BaseException:
            self._stack.close()
            raise
        self._changes = changes
        self._waiting: dict[str, list[rows.Row]] = {name: [] for name in tables.TABLES}

    def known(self) -> Known:
        """What is there already, and so need not be recorded again."""
        return self._known

    def add(
        self,
        question: Question,
        *,
        draws: Mapping[tuple[str, str], Iterable[Draw]] = {},
        verdicts: Mapping[tuple[str, str, int], Mapping[str, Scored]] = {},
        runs: Iterable[RecordedRun] = (),
    ) -> None:
        """Adds a question (once; later calls may add to it), its draws by (model, arm), verdicts by (model, arm,
        sample index), and runs. Nothing is on disk before `flush`. Raises `CallerError` for what is there already
        and for a verdict on a draw that is not; then nothing of this call is added."""
        now = _Batch(self._known)
        if question.id not in self._known.questions:
            now.add("questions", "questions", question.id, [rows.question(question)])
        for (model, arm), drawn in draws.items():
            for draw in drawn:
                place = (question.id, model, arm, draw.sample_index)
                now.add("candidates", "draws", place, rows.candidates(*place[:3], [draw]))
        for (model, arm, index), said in verdicts.items():
            place = (question.id, model, arm, index)
            if place not in self._known.draws and place not in now.known.draws:
                raise CallerError(f"a verdict on a draw that is not in bank {self.folder}: {place}")
            for name, scored in said.items():
                now.add("verdicts", "verdicts", (place, name), rows.verdicts(place, {name: scored}))
        for run in runs:
            now.add("runs", "runs", (question.id, run.strategy, run.run), [rows.run_row(question.id, run)])
            now.rows["effects"] += rows.effects(question.id, run)
        now.keep(self._known, self._waiting)

    def flush(self) -> dict[str, Any]:
        """Writes what was added since the last flush, all of it or nothing, and replies the bank's manifest. Raises
        `StoreError`; then everything still waits and may be flushed again."""
        if self._changes or any(self._waiting.values()):
            self.manifest = parts.extend(self.folder, self._changes, self._waiting)
            self._changes = {}
            self._waiting = {name: [] for name in tables.TABLES}
        return self.manifest

    def close(self) -> None:
        """Gives the lock back. What was not flushed is dropped."""
        self._stack.close()

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()


class _Batch:
    """What one call adds: kept whole, or dropped whole."""

    def __init__(self, before: Known) -> None:
        self.known, self.before = Known(), before
        self.rows: dict[str, list[rows.Row]] = {name: [] for name in tables.TABLES}

    def add(self, table: str, kept: str, name: Any, made: Iterable[rows.Row]) -> None:
        """Rows for `table`; `kept` is the field of `Known` that `name` goes to."""
        seen: set[Any] = getattr(self.known, kept)
        if name in seen or name in getattr(self.before, kept):
            raise CallerError(f"already in the bank, which only grows: {name} of {table}", table=table)
        seen.add(name)
        self.rows[table] += made

    def keep(self, known: Known, waiting: dict[str, list[rows.Row]]) -> None:
        for kept in ("questions", "draws", "verdicts", "runs"):
            getattr(known, kept).update(getattr(self.known, kept))
        for table, made in self.rows.items():
            waiting[table] += made


def unlike(manifest: Mapping[str, Any], other: Mapping[str, Any], where: str) -> None:
    """Raises `CallerError` where two manifests tell one model by name, but not by fingerprint or price."""
    for model, facts in _of(other, "models").items():
        old, new = _of(manifest, "models").get(model, {}).get("fingerprint"), facts.get("fingerprint")
        if old and new and old != new:
            text = f"model {model!r} has fingerprint {old} in {where}, and here {new}: two models, one name. "
            raise CallerError(text + "Give one of them another name", model=model, fingerprints=[old, new])
    for model, price in _of(other, "prices").items():
        known = _of(manifest, "prices").get(model)
        if known is not None and figures(known) != figures(price):
            text = f"model {model!r} is priced {known} in {where}, and here {price}: mixed prices cannot be compared"
            raise CallerError(text, model=model, prices=[known, price])


def figures(price: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's price without where it comes from."""
    return {name: amount for name, amount in price.items() if name != "source" and amount is not None}


def _of(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = manifest.get(name)
    return found if isinstance(found, Mapping) else {}


def _known(folder: Path, manifest: Mapping[str, Any]) -> Known:
    def read(table: str, *names: str) -> Iterable[tuple[Any, ...]]:
        columns = tables.read_table(folder, manifest, table)
        return zip(*(columns[name] for name in names), strict=True)

    place = ("question_id", "model", "arm", "sample_index")
    return Known(
        {q for (q,) in read("questions", "question_id")},
        set(read("candidates", *place)),
        {(at[:4], at[4]) for at in read("verdicts", *place, "verifier")},
        set(read("runs", "question_id", "strategy", "run")),
    )
