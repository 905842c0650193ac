"""Importing recorded samples: parquet, CSV or JSON lines with the common columns become a bank.

Columns: dataset, question_id, question, gold, model, strategy, sample_index, answer (normalised; "" = the completion
held none; null = not recorded), correct (0/1), prompt_tokens, completion_tokens, tokens_source, cost_usd, cost_source.
Optional: temperature (joins the arm's name: "strategy@0.7"), fold, kind, text, request.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

from ..budgets.prices import Price
from ..core.amounts import nanos
from ..core.answers import choice, number, text
from ..core.completions import Usage
from ..core.errors import CallerError, StoreError
from ..core.task import KINDS, AnswerKind, Contract
from .bank import Bank, Draw, Group, Question
from .tables import arrow

REQUIRED = (
    "dataset",
    "question_id",
    "question",
    "gold",
    "model",
    "strategy",
    "sample_index",
    "answer",
    "correct",
    "prompt_tokens",
    "completion_tokens",
    "tokens_source",
    "cost_usd",
    "cost_source",
)
FOLDS = 10
MOSTLY = 0.9  # share of a dataset's golds and answers that must look like its kind
_LABEL = re.compile(r"[A-J]|[1-9]")
_NUMBER = re.compile(r"[-+]?\$?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?%?|[-+]?\.\d+")
_CHOICE = re.compile(r"^\s*\(?([A-J])[).:]\s+\S.*$", re.MULTILINE)

Progress = Callable[[int, int], None]


def import_file(
    path: str | Path,
    out: str | Path,
    *,
    licence: str = "",
    prices: Mapping[str, Price] = {},
    drop_datasets: Collection[str] = (),
    progress: Progress | None = None,
) -> Bank:
    """Imports `path` (.parquet, .csv, .jsonl) as a new bank at `out`. `prices` (by model) stand in where a row has
    no cost but its tokens. `progress(done, total)` counts rows.

    Raises `CallerError` for missing columns and bad values (with the row, the first being 1), and for a second row of
    the same (question, model, arm, sample_index): renumbering would hide a file that was concatenated twice. A blank
    answer that is marked correct counts as wrong, and of several golds of a question the first is kept: the
    manifest's `rows_changed` counts both.
    `StoreError` where the file cannot be read or `out` exists.
    """
    file = Path(path)
    if Path(out).exists():  # before the work, not after it
        raise StoreError(f"{out} exists already: remove it, or write the bank somewhere else", path=str(out))
    arrow()
    rows = _rows(file)
    made = _Importer(frozenset(drop_datasets), prices)
    for i, raw in enumerate(rows, start=1):
        try:
            made.add(i, raw)
        except _BadRow as error:
            raise CallerError(f"{file.name}, row {i}: {error}", row=i, file=str(file)) from None
        if progress is not None and (i % 1000 == 0 or i == len(rows)):
            progress(i, len(rows))
    if not made.draws:
        raise CallerError(f"{file.name} has no rows to import", file=str(file))
    manifest = {
        "source": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "licence": licence,
        "dropped_datasets": sorted(drop_datasets),
        "prices": {m: {"prompt": p.prompt, "completion": p.completion, "source": p.source} for m, p in prices.items()},
    }
    return made.bank(manifest).save(out)


class _BadRow(Exception):
    """Internal: what is wrong with one row."""


class _Importer:
    """Collects rows; keys and kinds wait until every dataset was seen whole."""

    def __init__(self, dropped: frozenset[str], prices: Mapping[str, Price]) -> None:
        self.dropped, self.prices = dropped, prices
        self.counts: Counter[str] = Counter(blank_marked_correct=0, gold_differs=0)
        self.questions: dict[tuple[str, str], dict[str, Any]] = {}
        self.datasets: dict[str, set[str]] = defaultdict(set)  # of each question id
        self.draws: dict[tuple[tuple[str, str], str, str], dict[int, tuple[int, Draw]]] = defaultdict(dict)

    def add(self, i: int, raw: Mapping[str, Any]) -> None:
        dataset, name = _name(raw, "dataset"), _name(raw, "question_id")
        if dataset in self.dropped:
            return
        question = {
            "text": _text(raw, "question") or "",
            "gold": _text(raw, "gold"),
            "fold": _whole(raw, "fold"),
            "kind": _text(raw, "kind") or None,
        }
        if question["kind"] not in (None, *KINDS):
            raise _BadRow(f"kind={question['kind']!r}: expected one of {', '.join(KINDS)}")
        known = self.questions.setdefault((dataset, name), question)
        # Wording may differ in spaces and punctuation, and a gold answer may be spelt in several right ways.
        same = known["text"] == question["text"] or plain(known["text"]) == plain(str(question["text"]))
        for column in ("fold", "kind") if same else ("text",):
            if known[column] != question[column]:
                raise _BadRow(f"question {name!r} of {dataset} had another {column} in an earlier row")
        self.counts["gold_differs"] += known["gold"] != question["gold"]
        self.datasets[name].add(dataset)
        temperature = _real(raw, "temperature")
        arm = _name(raw, "strategy") + (f"@{temperature:g}" if temperature is not None else "")
        model = _name(raw, "model")
        draw = self._draw(raw, model)
        group = self.draws[(dataset, name), model, arm]
        if draw.sample_index in group:
            text = (
                f"question {name!r}, model {model!r}, arm {arm!r} has sample_index {draw.sample_index} already in row"
            )
            raise _BadRow(f"{text} {group[draw.sample_index][0]}")
        group[draw.sample_index] = (i, draw)

    def _draw(self, raw: Mapping[str, Any], model: str) -> Draw:
        index, right = _whole(raw, "sample_index"), _truth(raw, "correct")
        if index is None:
            raise _BadRow("sample_index is empty")
        answer = _text(raw, "answer")
        answer = answer.strip() if answer is not None else None
        if answer == "" and right:
            # Nobody can be given a blank answer, so it is not a right one, whoever marked it so.
            right = False
            self.counts["blank_marked_correct"] += 1
        prompt, completion = _whole(raw, "prompt_tokens"), _whole(raw, "completion_tokens")
        usd, source = _real(raw, "cost_usd"), _text(raw, "cost_source") or ""
        cost = nanos(usd) if usd is not None else None
        if cost is None and model in self.prices and prompt is not None and completion is not None:
            cost = self.prices[model].cost(Usage(prompt, completion))
            source = f"priced at import: {self.prices[model].source}"
        tokens_source, request = _text(raw, "tokens_source") or "", _text(raw, "request") or ""
        return Draw(
            index, answer, None, right, prompt, completion, cost, _text(raw, "text"), tokens_source, source, request
        )

    def bank(self, manifest: Mapping[str, Any]) -> Bank:
        kinds = self._kinds()
        questions: dict[str, Question] = {}
        ids: dict[tuple[str, str], str] = {}
        for (dataset, name), raw in self.questions.items():
            # One id in two datasets: both are told apart by their dataset, so that neither depends on row order.
            full = name if len(self.datasets[name]) == 1 else f"{dataset}/{name}"
            kind = raw["kind"] or kinds[dataset]
            choices = tuple(dict.fromkeys(_CHOICE.findall(raw["text"]))) if kind == "choice" else ()
            fold = raw["fold"] if raw["fold"] is not None else fold_of(raw["text"])
            questions[full] = Question(full, dataset, raw["text"], raw["gold"], kind, choices, fold)
            ids[dataset, name] = full
        if len(questions) < len(self.questions):
            raise CallerError("question ids clash once they are prefixed with their dataset: rename them")
        draws: dict[Group, tuple[Draw, ...]] = {}
        for (place, model, arm), found in self.draws.items():
            kind = questions[ids[place]].kind
            keyed = (_keyed(draw, kind) for _, (_, draw) in sorted(found.items()))
            draws[ids[place], model, arm] = tuple(keyed)
        return Bank(questions, draws, {**manifest, "rows_changed": dict(self.counts)})

    def _kinds(self) -> dict[str, AnswerKind]:
        """Each dataset's kind of answer, where nearly all golds and answers look like it; text otherwise. Exams call
        the options of some questions 1 to 4 and those of others A to D."""
        golds: dict[str, list[str]] = defaultdict(list)
        answers: dict[str, list[str]] = defaultdict(list)
        for (dataset, _), raw in self.questions.items():
            golds[dataset] += [raw["gold"]] if raw["gold"] else []
        for ((dataset, _), _, _), found in self.draws.items():
            answers[dataset] += [draw.answer for _, draw in found.values() if draw.answer]

        def kind(dataset: str) -> AnswerKind:
            right, said = golds[dataset], answers[dataset]
            if not right:
                return "text"
            lettered = sum(g.strip().isalpha() for g in right) > len(right) / 2
            if lettered and _mostly(_LABEL, right) and _mostly(_LABEL, said):
                return "choice"
            return "number" if _mostly(_NUMBER, right) and _mostly(_NUMBER, said) else "text"

        return {dataset: kind(dataset) for dataset, _ in self.questions}


def _mostly(like: re.Pattern[str], texts: list[str]) -> bool:
    return sum(bool(like.fullmatch(text.strip())) for text in texts) >= MOSTLY * len(texts)


def fold_of(question: str) -> int:
    """The fold (0-9) of a question text: SHA-1 of its letters and digits in lower case, runs of anything else one
    space. The same question in two files has the same fold."""
    return int(hashlib.sha1(plain(question).encode(), usedforsecurity=False).hexdigest(), 16) // 2 % FOLDS


def plain(question: str) -> str:
    """A question's words and numbers, without case, punctuation and layout."""
    return " ".join(re.sub(r"[^a-z0-9]", " ", question.lower()).split())


def _keyed(draw: Draw, kind: AnswerKind) -> Draw:
    return replace(draw, key=key_of(kind, draw.answer)) if draw.answer else draw


@lru_cache(maxsize=1 << 16)
def key_of(kind: AnswerKind, answer: str) -> str:
    """The canonical key of a bare answer. One that its reader cannot read keeps its own text's key: recorded answers
    were already found, so none is dropped. JSON and code, normalised by whoever recorded them, compare as they are."""
    contract = Contract(kind)
    found: tuple[str, str, object] | None = None
    try:
        if kind == "choice" and _LABEL.fullmatch(answer.upper()):
            found = choice.read(contract, answer)
        elif kind == "number":
            found = number.read(contract, answer)
        elif kind in ("json", "code"):
            return answer
    except number.TooBig:
        found = None
    return found[1] if found else text.normal(answer) or answer


# -- files and values ---------------------------------------------------------------------------------------------


def _rows(file: Path) -> list[Mapping[str, Any]]:
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
    if file.suffix not in readers:
        raise CallerError(f"{file.name}: expected .parquet, .csv or .jsonl", file=str(file))
    try:
        columns, rows = readers[file.suffix](file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"cannot read {file}: {error}", path=str(file)) from error
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        has = ", ".join(sorted(columns))
        raise CallerError(f"{file.name} lacks the columns {', '.join(missing)} (it has: {has})", missing=missing)
    return rows


def _parquet(file: Path) -> tuple[set[str], list[Mapping[str, Any]]]:
    pa, pq = arrow()
    wanted = {*REQUIRED, "temperature", "fold", "kind", "text", "request"}
    try:
        schema = pq.read_schema(file)
        table = pq.read_table(file, columns=[name for name in schema.names if name in wanted])
    except pa.ArrowException as error:
        raise StoreError(f"cannot read {file}: {error}", path=str(file)) from error
    return set(schema.names), table.to_pylist()


def _csv(file: Path) -> tuple[set[str], list[Mapping[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        rows: list[Mapping[str, Any]] = list(reader)
        return set(reader.fieldnames or ()), rows


def _jsonl(file: Path) -> tuple[set[str], list[Mapping[str, Any]]]:
    rows: list[Mapping[str, Any]] = []
    columns: set[str] = set()
    for i, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CallerError(f"{file.name}, line {i}: not JSON ({error})", row=i) from None
        if not isinstance(row, dict):
            raise CallerError(f"{file.name}, line {i}: expected an object", row=i)
        columns |= set(row)
        rows.append(row)
    return columns, rows


def _text(raw: Mapping[str, Any], name: str) -> str | None:
    value = raw.get(name)
    return None if value is None else str(value)


def _name(raw: Mapping[str, Any], name: str) -> str:
    value = _text(raw, name)
    if value is None or not value.strip():
        raise _BadRow(f"{name} is empty")
    return value.strip()


def _real(raw: Mapping[str, Any], name: str) -> float | None:
    """A number of at least 0; empty, null and NaN are None."""
    value = raw.get(name)
    if value is None or value == "" or value != value:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _BadRow(f"{name}={value!r}: expected a number") from None
    if number != number:
        return None
    if not isfinite(number) or number < 0:
        raise _BadRow(f"{name}={value!r}: expected a finite number, 0 or more")
    return number


def _whole(raw: Mapping[str, Any], name: str) -> int | None:
    number = _real(raw, name)
    if number is not None and number != int(number):
        raise _BadRow(f"{name}={raw.get(name)!r}: expected a whole number")
    return None if number is None else int(number)


def _truth(raw: Mapping[str, Any], name: str) -> bool:
    value = str(raw.get(name)).strip().lower()
    if value in ("1", "1.0", "true"):
        return True
    if value in ("0", "0.0", "false"):
        return False
    raise _BadRow(f"{name}={raw.get(name)!r}: expected 0 or 1")
