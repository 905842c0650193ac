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
from . import columns, parts, rows
from .records import Draw, Place, Question, RecordedRun, Scored

ASKED = ("conditions", "run_settings")  # in a manifest: how draws ("MODEL ARM") and runs (by strategy) were asked for
ADVICE = "Give the new draws an arm of their own (--arm NAME), or record into another bank"


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
    an error flushes). Raises `CallerError` where `manifest` gives a model another fingerprint or other prices, an arm
    other `conditions` or a strategy other `run_settings` than the bank was recorded with, and `StoreError` where the
    bank cannot be written or another process is writing to it."""

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
            self._asked = columns.questions(tables.read_table(self.folder, self.manifest, "questions"))
            self._known = _known(self.folder, self.manifest, self._asked)
            same_conditions(self.manifest, changes, str(self.folder), self._known)
        except BaseException:
            self._stack.close()
            raise
        self._changes = changes
        self._waiting: dict[str, list[rows.Row]] = {name: [] for name in tables.TABLES}

    def known(self) -> Known:
        """What is there already, and so need not be recorded again."""
        return self._known

    def check(self, questions: Iterable[Question]) -> None:
        """Raises `CallerError` for a question whose id is another one's in the bank: another text, passage, kind,
        choices or gold answer. One that has none is not at odds with it."""
        for question in questions:
            if (there := self._asked.get(question.id)) and (differ := _differing(there, question)):
                name = differ[0]
                old, new = (repr(getattr(one, name))[:80] for one in (there, question))
                raise CallerError(
                    f"question {question.id!r} is another one in bank {self.folder}: its {name} is {old} there, and "
                    f"here {new}. Give it another id, or record into another bank",
                    question=question.id,
                    differs=list(differ),
                )

    def add(
        self,
        question: Question,
        *,
        draws: Mapping[tuple[str, str], Iterable[Draw]] = {},
        verdicts: Mapping[tuple[str, str, int], Mapping[str, Scored]] = {},
        runs: Iterable[RecordedRun] = (),
    ) -> None:
        """Adds a question (once; later calls may add to it), its draws by (model, arm), verdicts by (model, arm,
        sample index), and runs. Nothing is on disk before `flush`. Raises `CallerError` for what is there already,
        for a verdict on a draw that is not, and as `check` does; then nothing of this call is added."""
        self.check([question])
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
        self._asked.setdefault(question.id, question)

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


def same_conditions(
    manifest: Mapping[str, Any], other: Mapping[str, Any], where: str, known: Known | None = None, advice: str = ADVICE
) -> None:
    """Raises `CallerError` where two manifests ask for the draws of one arm, or the runs of one strategy, in two ways.
    Of the first bank only what it holds counts (`known`; None: all). What a manifest does not tell is unknown."""
    held = None
    if known is not None:
        held = {f"{m} {a}" for _, m, a, _ in known.draws} | {strategy for _, strategy, _ in known.runs}
    for kind in ASKED:
        for name, told in _of(other, kind).items():
            old = _of(manifest, kind).get(name)
            before, now = _flat(old), _flat(told)
            differ = [key for key in dict.fromkeys((*before, *now)) if before.get(key) != now.get(key)]
            if old is None or not differ or (held is not None and name not in held):
                continue
            shown = "; ".join(f"{key} {before.get(key)!r:.60} there, {now.get(key)!r:.60} here" for key in differ)
            text = f"{name!r:.120} was recorded under other conditions in {where}: {shown}. They are not of one kind. "
            raise CallerError(text + advice, name=name, differs=differ)


def _flat(told: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(told, Mapping):
        return {prefix or "it": list(told) if isinstance(told, tuple) else told}  # as JSON reads it back
    within = (_flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in told.items())
    return {key: value for found in within for key, value in found.items()}


def figures(price: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's price without where it comes from."""
    return {name: amount for name, amount in price.items() if name != "source" and amount is not None}


def _of(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = manifest.get(name)
    return found if isinstance(found, Mapping) else {}


def _differing(one: Question, other: Question) -> tuple[str, ...]:
    """The fields in which two questions are not the same. Golds are compared by their keys."""
    from .keys import key_of

    found = [name for name in ("text", "kind", "choices") if getattr(one, name) != getattr(other, name)]
    if one.passage and other.passage and one.passage != other.passage:  # "" may be unknown
        found.append("passage")
    golds = [q.gold for q in (one, other) if q.gold is not None]
    if len({key_of(one.kind, gold) for gold in golds}) > 1:
        found.append("gold")
    return tuple(found)


def _known(folder: Path, manifest: Mapping[str, Any], questions: Iterable[str]) -> Known:
    def told(table: str, *names: str) -> Iterable[tuple[Any, ...]]:
        read = tables.read_table(folder, manifest, table)
        return zip(*(read[name] for name in names), strict=True)

    place = ("question_id", "model", "arm", "sample_index")
    return Known(
        set(questions),
        set(told("candidates", *place)),
        {(at[:4], at[4]) for at in told("verdicts", *place, "verifier")},
        set(told("runs", "question_id", "strategy", "run")),
    )
