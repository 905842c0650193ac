"""Bank: recorded candidates with labels, tokens and cost. The source for replay, `fit` and evaluation.

An *arm* is one recorded condition of a model (strategy, temperature: "chain_of_thought@0.7"). Draws of one arm are
samples of one distribution; draws of different arms are not, and nothing here mixes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import UnknownName
from . import tables
from .banking import shipped
from .banking.records import Draw, Group, Place, Question, RecordedEffect, RecordedRun, Scored

if TYPE_CHECKING:
    from ..budgets.prices import Price

__all__ = ["Bank", "Draw", "Group", "Place", "Question", "RecordedEffect", "RecordedRun", "Scored"]


@dataclass(frozen=True, eq=False)
class Bank:
    """Questions, and the draws of each (question, model, arm) by sample index. `verdicts`: for each (question, model,
    arm, sample index) what verifiers said of that draw, by their names. `manifest` is the bank's own account
    of where it comes from; `path` its folder (None: in memory). `runs`: of each (question, strategy) its recorded runs,
    by number."""

    questions: Mapping[str, Question]
    draws: Mapping[Group, tuple[Draw, ...]]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    verdicts: Mapping[Place, Mapping[str, Scored]] = field(default_factory=dict)
    runs: Mapping[tuple[str, str], tuple[RecordedRun, ...]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> Bank:
        """Reads a bank whole: the folder at `path`, or else the bank of that name that ships with satisfice. `verify`:
        hashes of its files are checked too. Raises `StoreError` for what is no bank, is newer than this program, or
        has a file damaged, a column missing, a count that does not match, or a candidate without a question;
        `MissingExtra` without pyarrow."""
        from .banking import columns

        folder = shipped.find(path)
        with columns.without_pauses():
            manifest, read = tables.read(folder, verify=verify)
            known = columns.questions(read["questions"])
            draws = columns.draws(read["candidates"], known, folder)
            verdicts = columns.verdicts(read["verdicts"], draws, folder)
            runs = columns.runs(read["runs"], read["effects"], known, folder)
        return cls(known, draws, manifest, folder, verdicts, runs)

    def save(self, path: str | Path) -> Bank:
        """Writes the bank as a new folder, whole or not at all. Raises `StoreError` if `path` exists."""
        from .banking import rows

        # a manifest that was read speaks of the files it was read with: they are written anew
        manifest = {name: value for name, value in self.manifest.items() if name not in ("parts", "changed")}
        made = tables.write(Path(path), manifest, rows.of_bank(self))
        return replace(self, manifest=made, path=Path(path))

    def files(self, table: str) -> tuple[Path, ...]:
        """The part files of a table ("questions", "candidates", "verdicts", "runs", "effects"), for DuckDB, polars
        or pandas. Empty for a bank in memory. Raises `UnknownName`."""
        _known("table", [table], set(tables.TABLES))
        parts = self.manifest.get("parts", {}).get(table, ()) if self.path else ()
        return tuple(self.path / part["file"] for part in parts) if self.path else ()

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
        """The questions on which every model was recorded under its arm, in order. "runs:" and a strategy's text is
        the arm of its recorded runs (`retracing`)."""

        def recorded(question: str, model: str, arm: str) -> bool:
            if arm.startswith("runs:"):
                return any(run.model == model for run in self.runs.get((question, arm.removeprefix("runs:")), ()))
            return bool(self.draws.get((question, model, arm)))

        return tuple(q for q in self.questions if all(recorded(q, m, a) for m, a in arms.items()))

    def select(
        self,
        *,
        datasets: Collection[str] | None = None,
        models: Collection[str] | None = None,
        arms: Collection[str] | None = None,
        folds: Collection[int] | None = None,
    ) -> Bank:
        """The part of the bank with these datasets, models, arms and folds (None: all), in memory: of the runs, those
        on no other models. Questions that
        are left without a draw or a run go. Raises `UnknownName` for a name that the bank does not have."""
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
        runs = {
            place: tuple(run for run in found if models is None or _models(run) <= set(models))
            for place, found in self.runs.items()
            if place[0] in kept
        }
        runs = {place: found for place, found in runs.items() if found}
        asked = {q for q, _, _ in draws} | {q for q, _ in runs}
        questions = {i: q for i, q in self.questions.items() if i in asked}
        verdicts = {place: said for place, said in self.verdicts.items() if place[:3] in draws}
        return Bank(questions, draws, self.manifest, self.path, verdicts, runs)

    def split(self, folds: int = 10, *, seed: int = 0) -> Bank:
        """The bank in memory, its questions dealt to folds anew: the same question, near-duplicates and questions on
        one passage share a fold. Raises `CallerError`."""
        from .banking import splitting

        return splitting.split(self, folds, seed=seed)

    def check_split(self, *, near: bool = True) -> None:
        """Raises `CallerError` where the same question (or one on the same passage; with `near`, a near-duplicate)
        lies in two folds: what is learnt on one would be tested on the other. Kept for repeated calls."""
        from .banking import splitting

        splitting.check(self, near=near)

    @classmethod
    def merge(
        cls, *banks: Bank, rename: Mapping[str, str] | None = None, reprice: Mapping[str, Price] | None = None
    ) -> Bank:
        """The union of banks, in memory; see `banking.merging.merge`. Raises `CallerError`."""
        from .banking.merging import merge

        return merge(banks, rename=rename or {}, reprice=reprice or {})

    def info(self) -> dict[str, Any]:
        """JSON-ready facts: counts, draws per question, for each (dataset, model, arm) its accuracy (the mean
        over questions of the share of right draws), questions, draws and whether its cost is known; models' prices
        and fingerprints, runs by strategy, and what stands in the way of a fair measurement (`warnings`)."""
        from .banking.facts import info

        return info(self)


def _known(kind: str, asked: Collection[str] | None, known: set[str]) -> None:
    for name in asked or ():
        if name not in known:
            raise UnknownName.of(kind, name, known)


def _models(run: RecordedRun) -> set[str]:
    return {effect.model for effect in run.effects if effect.model} or {run.model}
