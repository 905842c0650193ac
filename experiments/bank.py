"""Bank: recorded candidates with labels, tokens and cost. The source for replay, `fit` and evaluation.

An *arm* is one recorded condition of a model (strategy, temperature: "chain_of_thought@0.7"). Draws of one arm are
samples of one distribution; draws of different arms are not, and nothing here mixes them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from ..core.completions import Message
from ..core.errors import StoreError, UnknownName
from ..core.task import AnswerKind, Contract, Task
from . import tables

Group: TypeAlias = "tuple[str, str, str]"  # (question id, model, arm)
Place: TypeAlias = "tuple[str, str, str, int]"  # and sample index
_PLACE = ("question_id", "model", "arm", "sample_index")


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its gold answer (None: not recorded; correctness then stands with each draw)."""

    id: str
    dataset: str
    text: str
    gold: str | None
    kind: AnswerKind
    choices: tuple[str, ...]
    fold: int

    def task(self) -> Task:
        """The question as a task, without its gold answer, its dataset being the topic. The prompt is the bare query:
        replay sends it nowhere, so that nothing is spent on rendering it."""
        bare: dict[str, str] = {self.kind: "{{ query }}"}
        contract = Contract(self.kind, self.choices)
        return Task((Message("user", self.text),), contract, prompts=bare, label=self.id, topic=self.dataset)


@dataclass(frozen=True, slots=True)
class Draw:
    """One recorded completion. `answer` is "" where the completion held none and None where nobody recorded what it
    was; `key` is None in both cases. `nanos` (nano-dollars) and tokens are None where they are unknown."""

    sample_index: int
    answer: str | None
    key: str | None
    correct: bool
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    nanos: int | None = None
    text: str | None = None
    tokens_source: str = ""
    cost_source: str = ""
    request: str = ""

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens, as far as they are known."""
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a verifier said of a draw: its raw score (None: unknown), and what that cost."""

    score: float | None
    tokens: int | None = None
    nanos: int | None = None


@dataclass(frozen=True, eq=False)
class Bank:
    """Questions, and the draws of each (question, model, arm) by sample index. `verdicts`: for each (question, model,
    arm, sample index) what verifiers said of that draw, by their names. `manifest` is the bank's own account
    of where it comes from; `path` its folder (None: in memory)."""

    questions: Mapping[str, Question]
    draws: Mapping[Group, tuple[Draw, ...]]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    verdicts: Mapping[Place, Mapping[str, Scored]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Path) -> Bank:
        """Reads a bank whole. Raises `StoreError` for what is no bank, is newer than this program, or has a column
        missing, a count that does not match, or a candidate without a question; `MissingExtra` without pyarrow."""
        folder = Path(path)
        manifest, questions, candidates, verdicts = tables.read(folder)
        known = {row["question_id"]: _question(row) for row in questions}
        draws: dict[Group, list[Draw]] = defaultdict(list)
        for row in candidates:
            if row["question_id"] not in known:
                raise StoreError(f"bank {folder}: a candidate is of question {row['question_id']!r}, which it lacks")
            draws[row["question_id"], row["model"], row["arm"]].append(_draw(row))
        return cls(known, _sorted(draws), manifest, folder, _verdicts(verdicts, draws, folder))

    def save(self, path: str | Path) -> Bank:
        """Writes the bank as a new folder, whole or not at all. Raises `StoreError` if `path` exists."""
        questions = [
            {
                "question_id": q.id,
                "dataset": q.dataset,
                "question": q.text,
                "gold": q.gold,
                "kind": q.kind,
                "choices": list(q.choices),
                "fold": q.fold,
            }
            for q in self.questions.values()
        ]
        candidates = [
            {"question_id": question, "model": model, "arm": arm, **{n: getattr(draw, n) for n in tables.OF_A_DRAW}}
            for (question, model, arm), row in self.draws.items()
            for draw in row
        ]
        verdicts = [
            {
                **dict(zip(_PLACE, place, strict=True)),
                "verifier": verifier,
                "score": scored.score,
                "tokens": scored.tokens,
                "nanos": scored.nanos,
            }
            for place, said in self.verdicts.items()
            for verifier, scored in said.items()
        ]
        manifest = tables.write(Path(path), dict(self.manifest), questions, candidates, verdicts)
        return Bank(self.questions, self.draws, manifest, Path(path), self.verdicts)

    @cached_property
    def verifiers(self) -> tuple[str, ...]:
        """Names of the verifiers that were recorded, sorted."""
        return tuple(sorted({name for said in self.verdicts.values() for name in said}))

    @cached_property
    def free_verifiers(self) -> frozenset[str]:
        """Those whose every verdict is on record as having cost nothing."""
        cost = {name for said in self.verdicts.values() for name, scored in said.items() if scored.nanos != 0}
        return frozenset(self.verifiers) - cost

    @cached_property
    def arms(self) -> tuple[tuple[str, str], ...]:
        """Every (model, arm), sorted."""
        return tuple(sorted({(model, arm) for _, model, arm in self.draws}))

    @cached_property
    def folds(self) -> tuple[int, ...]:
        return tuple(sorted({q.fold for q in self.questions.values()}))

    def of_arm(self, model: str, arm: str) -> dict[str, tuple[Draw, ...]]:
        """The draws of one (model, arm) by question, in the order of the questions."""
        found = {q: self.draws.get((q, model, arm)) for q in self.questions}
        return {q: row for q, row in found.items() if row}

    @cached_property
    def most(self) -> int:
        """The most draws of a question, those of all models and arms together."""
        counts: Counter[str] = Counter()
        for (question, _, _), row in self.draws.items():
            counts[question] += len(row)
        return max(counts.values(), default=1)

    def common(self, arms: Mapping[str, str]) -> tuple[str, ...]:
        """The questions on which every model was recorded under its arm, in order."""
        return tuple(q for q in self.questions if all(self.draws.get((q, m, a)) for m, a in arms.items()))

    def select(
        self,
        *,
        datasets: Collection[str] | None = None,
        models: Collection[str] | None = None,
        arms: Collection[str] | None = None,
        folds: Collection[int] | None = None,
    ) -> Bank:
        """The part of the bank with these datasets, models, arms and folds (None: all), in memory. Questions that
        are left without a draw go. Raises `UnknownName` for a name that the bank does not have."""
        _known("dataset", datasets, {q.dataset for q in self.questions.values()})
        _known("model", models, {m for m, _ in self.arms})
        _known("arm", arms, {a for _, a in self.arms})

        def wanted(question: Question) -> bool:
            return (datasets is None or question.dataset in datasets) and (folds is None or question.fold in folds)

        kept = {q.id for q in self.questions.values() if wanted(q)}
        draws = {
            (q, m, a): row
            for (q, m, a), row in self.draws.items()
            if q in kept and (models is None or m in models) and (arms is None or a in arms)
        }
        asked = {q for q, _, _ in draws}
        questions = {i: q for i, q in self.questions.items() if i in asked}
        verdicts = {place: said for place, said in self.verdicts.items() if place[:3] in draws}
        return Bank(questions, draws, self.manifest, self.path, verdicts)

    def info(self) -> dict[str, Any]:
        """JSON-ready facts: counts, draws per question, and for each (dataset, model, arm) its accuracy (the mean
        over questions of the share of right draws), questions, draws, and whether its cost is known."""
        sizes = [len(row) for row in self.draws.values()]
        cells: dict[tuple[str, str, str], list[tuple[Draw, ...]]] = defaultdict(list)
        for (question, model, arm), row in self.draws.items():
            cells[self.questions[question].dataset, model, arm].append(row)
        return {
            "path": str(self.path) if self.path else None,
            "provenance": {k: v for k, v in self.manifest.items() if k not in ("questions", "candidates", "verdicts")},
            "questions": len(self.questions),
            "candidates": sum(sizes),
            "datasets": dict(sorted(Counter(q.dataset for q in self.questions.values()).items())),
            "kinds": dict(sorted(Counter(q.kind for q in self.questions.values()).items())),
            "folds": len(self.folds),
            "models": sorted({m for m, _ in self.arms}),
            "arms": sorted({a for _, a in self.arms}),
            "verifiers": {name: sum(name in said for said in self.verdicts.values()) for name in self.verifiers},
            "draws": {"min": min(sizes, default=0), "median": median(sizes or [0]), "max": max(sizes, default=0)},
            "cells": [
                {"dataset": dataset, "model": model, "arm": arm, **_facts(rows)}
                for (dataset, model, arm), rows in sorted(cells.items())
            ],
        }


def _facts(rows: list[tuple[Draw, ...]]) -> dict[str, Any]:
    draws = [draw for row in rows for draw in row]
    costs = [draw.nanos for draw in draws if draw.nanos is not None]
    return {
        "questions": len(rows),
        "draws": len(draws),
        "accuracy": sum(sum(d.correct for d in row) / len(row) for row in rows) / len(rows),
        "blank": sum(d.answer == "" for d in draws) / len(draws),
        "cost_known": len(costs) == len(draws),
        "mean_usd": sum(costs) / len(costs) / 1e9 if costs else None,
        "mean_tokens": sum(d.tokens for d in draws) / len(draws),
        "tokens_source": sorted({d.tokens_source for d in draws}),
        "cost_source": sorted({d.cost_source for d in draws}),
    }


def _known(kind: str, asked: Collection[str] | None, known: set[str]) -> None:
    for name in asked or ():
        if name not in known:
            raise UnknownName.of(kind, name, known)


def _question(row: dict[str, Any]) -> Question:
    return Question(
        row["question_id"],
        row["dataset"],
        row["question"],
        row["gold"],
        row["kind"],
        tuple(row["choices"]),
        row["fold"],
    )


def _draw(row: dict[str, Any]) -> Draw:
    return Draw(**{name: row[name] for name in tables.OF_A_DRAW})


def _verdicts(
    rows: list[dict[str, Any]], draws: Mapping[Group, list[Draw]], folder: Path
) -> dict[Place, dict[str, Scored]]:
    known = {(*group, draw.sample_index) for group, row in draws.items() for draw in row}
    found: dict[Place, dict[str, Scored]] = defaultdict(dict)
    for row in rows:
        place = (row["question_id"], row["model"], row["arm"], row["sample_index"])
        if place not in known:
            raise StoreError(f"bank {folder}: a verdict of {row['verifier']!r} is on a draw that it lacks: {place}")
        found[place][row["verifier"]] = Scored(row["score"], row["tokens"], row["nanos"])
    return dict(found)


def _sorted(draws: Mapping[Group, list[Draw]]) -> dict[Group, tuple[Draw, ...]]:
    by_index: Callable[[Draw], int] = lambda draw: draw.sample_index  # noqa: E731
    return {group: tuple(sorted(row, key=by_index)) for group, row in draws.items()}
