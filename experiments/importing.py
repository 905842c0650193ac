"""Importing recorded samples: rows in Parquet, CSV or JSON lines, OpenAI batch output and Inspect AI logs.

Columns of rows: dataset, question_id, question, gold, model, strategy, sample_index, answer (normalised; "" = the
completion held none; null = not recorded), correct (0/1), prompt_tokens, completion_tokens, tokens_source, cost_usd,
cost_source. Needed are question, model, an answer or the completion's text, and gold or correct. Optional:
temperature (joins the arm's name: "strategy@0.7"), fold, kind, text, request, topic, passage, seconds, finish,
logprob_mean, logprob_min, path.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..budgets.prices import Price
from ..core.amounts import NANO, nanos
from ..core.completions import Usage
from ..core.errors import CallerError, StoreError
from ..core.task import KINDS, AnswerKind
from .bank import Bank, Draw, Group, Question
from .banking import files
from .banking.keys import key_of, kind_of
from .banking.labelling import labelled
from .banking.values import MOST, BadRow, name_of, real, text, truth, whole
from .tables import arrow

__all__ = ["FOLDS", "fold_of", "import_file", "key_of", "plain"]
FOLDS = 10
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
    requests: str | Path | None = None,
    gold: str | Path | None = None,
    kind: str = "",
    scorer: str = "",
    drop_unlabelled: bool = False,
) -> Bank:
    """Imports `path` as a new bank at `out`: rows (.parquet, .csv, .jsonl), OpenAI batch output (.jsonl, with its
    `requests`) or an Inspect AI log (.eval, .json; `scorer` where it has several). `gold`: a file of gold answers by
    id; rows without a label are refused, or left out with `drop_unlabelled`. `kind` of answer: found from the golds
    unless given. `prices` (by model) stand in where a row has no cost but its tokens. `progress(done, total)` counts
    rows.

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
    read = files.read(file, requests=Path(requests) if requests else None, scorer=scorer)
    golds = files.golds(Path(gold)) if gold else {}
    rows, bare = labelled(read.rows, file, golds=golds, kind=kind, drop=drop_unlabelled, read=read.format != "rows")
    made = _Importer(frozenset(drop_datasets), prices)
    for n, (i, raw) in enumerate(rows, start=1):
        try:
            made.add(i, raw)
        except BadRow as error:
            raise CallerError(f"{file.name}, row {i}: {error}", row=i, file=str(file)) from None
        if progress is not None and (n % 1000 == 0 or n == len(rows)):
            progress(n, len(rows))
    if not made.draws:
        why = ", ".join(f"{count} {name}" for name, count in read.left_out.items())
        raise CallerError(f"{file.name} has no rows to import{f' ({why})' if why else ''}", file=str(file))
    manifest = {
        "source": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "format": read.format},
        "licence": licence,
        "dropped_datasets": sorted(drop_datasets),
        "left_out": {**read.left_out, **({"unlabelled": bare} if bare else {})},
        "prices": {m: {"prompt": p.prompt, "completion": p.completion, "source": p.source} for m, p in prices.items()},
        **({"models": dict(read.models)} if read.models else {}),
    }
    return made.bank(manifest).save(out)


class _Importer:
    """Collects rows; keys and kinds wait until every dataset was seen whole."""

    def __init__(self, dropped: frozenset[str], prices: Mapping[str, Price]) -> None:
        self.dropped, self.prices = dropped, prices
        self.counts: Counter[str] = Counter(blank_marked_correct=0, gold_differs=0)
        self.questions: dict[tuple[str, str], dict[str, Any]] = {}
        self.datasets: dict[str, set[str]] = defaultdict(set)  # of each question id
        self.draws: dict[tuple[tuple[str, str], str, str], dict[int, tuple[int, Draw]]] = defaultdict(dict)

    def add(self, i: int, raw: Mapping[str, Any]) -> None:
        dataset, name = name_of(raw, "dataset"), name_of(raw, "question_id")
        if dataset in self.dropped:
            return
        question = {
            "text": text(raw, "question") or "",
            "gold": text(raw, "gold"),
            "fold": whole(raw, "fold"),
            "kind": text(raw, "kind") or None,
            "topic": text(raw, "topic") or "",
            "passage": text(raw, "passage") or "",
        }
        if question["kind"] not in (None, *KINDS):
            raise BadRow(f"kind={question['kind']!r}: expected one of {', '.join(KINDS)}")
        known = self.questions.setdefault((dataset, name), question)
        # Wording may differ in spaces and punctuation, and a gold answer may be spelt in several right ways.
        same = known["text"] == question["text"] or plain(known["text"]) == plain(str(question["text"]))
        for column in ("fold", "kind", "topic", "passage") if same else ("text",):
            if known[column] != question[column]:
                raise BadRow(f"question {name!r} of {dataset} had another {column} in an earlier row")
        self.counts["gold_differs"] += known["gold"] != question["gold"]
        self.datasets[name].add(dataset)
        temperature = real(raw, "temperature")
        arm = name_of(raw, "strategy") + (f"@{temperature:g}" if temperature is not None else "")
        model = name_of(raw, "model")
        draw = self._draw(raw, model)
        group = self.draws[(dataset, name), model, arm]
        if draw.sample_index in group:
            told = (
                f"question {name!r}, model {model!r}, arm {arm!r} has sample_index {draw.sample_index} already in row"
            )
            raise BadRow(f"{told} {group[draw.sample_index][0]}")
        group[draw.sample_index] = (i, draw)

    def _draw(self, raw: Mapping[str, Any], model: str) -> Draw:
        index, right = whole(raw, "sample_index"), truth(raw, "correct")
        if index is None:
            raise BadRow("sample_index is empty")
        answer = text(raw, "answer")
        answer = answer.strip() if answer is not None else None
        if answer == "" and right:
            right = False
            self.counts["blank_marked_correct"] += 1
        prompt, completion = whole(raw, "prompt_tokens"), whole(raw, "completion_tokens")
        usd, source = real(raw, "cost_usd"), text(raw, "cost_source") or ""
        if usd is not None and usd * NANO >= MOST:
            raise BadRow(f"cost_usd={usd:g}: expected dollars of one completion, below {MOST / NANO:.2g}")
        cost = nanos(usd) if usd is not None else None
        if cost is None and model in self.prices and prompt is not None and completion is not None:
            cost = self.prices[model].cost(Usage(prompt, completion))
            source = f"priced at import: {self.prices[model].source}"
        return Draw(
            index,
            answer,
            None,
            right,
            prompt,
            completion,
            cost,
            text(raw, "text"),
            text(raw, "tokens_source") or "",
            source,
            text(raw, "request") or "",
            real(raw, "seconds"),
            text(raw, "finish") or "",
            real(raw, "logprob_mean", negative=True),
            real(raw, "logprob_min", negative=True),
            text(raw, "path") or "",
            "",
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
            fold = raw["fold"] if raw["fold"] is not None else fold_of(raw["passage"] or raw["text"])
            own = (raw["topic"], raw["passage"])
            questions[full] = Question(full, dataset, raw["text"], raw["gold"], kind, choices, fold, *own)
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
        """Each dataset's kind of answer."""
        golds: dict[str, list[str]] = defaultdict(list)
        answers: dict[str, list[str]] = defaultdict(list)
        for (dataset, _), raw in self.questions.items():
            golds[dataset] += [raw["gold"]] if raw["gold"] else []
        for ((dataset, _), _, _), found in self.draws.items():
            answers[dataset] += [draw.answer for _, draw in found.values() if draw.answer]
        return {dataset: kind_of(right, answers[dataset]) for dataset, right in golds.items()}


def fold_of(question: str) -> int:
    """The fold (0-9) of a question text: SHA-1 of its letters and digits in lower case, runs of anything else one
    space. The same question in two files has the same fold."""
    return int(hashlib.sha1(plain(question).encode(), usedforsecurity=False).hexdigest(), 16) // 2 % FOLDS


def plain(question: str) -> str:
    """A question's words and numbers, without case, punctuation and layout."""
    return " ".join(re.sub(r"[^a-z0-9]", " ", question.lower()).split())


def _keyed(draw: Draw, kind: AnswerKind) -> Draw:
    return replace(draw, key=key_of(kind, draw.answer)) if draw.answer else draw
