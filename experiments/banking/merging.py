"""The union of banks: nothing is lost, nothing stands twice, and two models never share a name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ...budgets.prices import Price
from ...core.errors import CallerError, UnknownName
from . import splitting
from .appending import ASKED, same_conditions, unlike
from .records import Draw, Group, Place, Question, RecordedRun, Scored
from .repricing import models_of, renamed_models, repriced_bank

if TYPE_CHECKING:
    from ..bank import Bank

T = TypeVar("T", Draw, RecordedRun)
# Of the manifests: the mappings that the union keeps.
KEPT = ("models", "prices", *ASKED)


def merge(banks: Sequence[Bank], *, rename: Mapping[str, str], reprice: Mapping[str, Price]) -> Bank:
    """The union of `banks`, in memory. Questions are one if their normalised text, passage and kind are and their
    golds do not differ, whatever their ids; the first one's id and fold stay. A draw that stands in two banks alike
    (model, arm, sample index and all it holds) is kept once; another draw at a taken index gets the next free one;
    recorded runs likewise. `rename` gives models of every bank but the first another name, `reprice` bills all draws
    of a model anew by their tokens (those without lose their cost), before any are compared. The manifest keeps how
    draws and runs were asked for (`conditions`, `run_settings`), and its `merged` counts all of it.

    Raises `CallerError` for fewer than two banks, for one name with two fingerprints or two prices, for one arm or
    strategy that was recorded in two ways, and for a verdict that two banks tell differently on the same draw;
    `UnknownName` for a model that no bank has.
    """
    from ..bank import Bank

    if len(banks) < 2:
        raise CallerError("merge takes two banks or more")
    _check_names(banks, rename, reprice)
    renamed = [banks[0], *(renamed_models(bank, rename) for bank in banks[1:])]
    manifest = _manifest(renamed, reprice)
    made = _Union()
    for bank in renamed:
        # billed alike first: the same draw under two prices is still the same draw
        made.add(repriced_bank(bank, reprice) if reprice else bank)
    questions = _together(made.questions, made.counts)
    draws = {group: tuple(sorted(row, key=lambda d: d.sample_index)) for group, row in made.draws.items()}
    runs = {place: tuple(sorted(found, key=lambda r: r.run)) for place, found in made.runs.items()}
    manifest["merged"] = {"banks": [_source(bank) for bank in banks], **made.counts}
    return Bank(questions, draws, manifest, None, dict(made.verdicts), runs)


@dataclass
class _Union:
    """What was merged by now."""

    questions: dict[str, Question] = field(default_factory=dict)
    draws: dict[Group, list[Draw]] = field(default_factory=lambda: defaultdict(list))
    verdicts: dict[Place, dict[str, Scored]] = field(default_factory=lambda: defaultdict(dict))
    runs: dict[tuple[str, str], list[RecordedRun]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(
        default_factory=lambda: Counter(same_questions=0, same_draws=0, renumbered=0, same_runs=0, refolded=0)
    )
    known: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, bank: Bank) -> None:
        ids = self._match(bank)
        places: dict[Place, Place] = {}
        for (question, model, arm), row in bank.draws.items():
            group = (ids[question], model, arm)
            moved = self._fit(self.draws[group], row, "sample_index", "same_draws")
            places.update({(question, model, arm, old): (*group, new) for old, new in moved.items()})
        for place, said in bank.verdicts.items():
            there = self.verdicts[places[place]]
            for name, scored in said.items():
                known = there.setdefault(name, scored)
                # the same words at another price are the same verdict; the first bank's price stands
                if (known.score, known.tokens) != (scored.score, scored.tokens):
                    raise CallerError(
                        f"verifier {name!r} scored one draw twice and differently, {known.score} and "
                        f"{scored.score}: {places[place]}. Record it under another name",
                        verifier=name,
                    )
        for (question, strategy), runs in bank.runs.items():
            self._fit(self.runs[ids[question], strategy], runs, "run", "same_runs")

    def _match(self, bank: Bank) -> dict[str, str]:
        """For each id of the bank that which its question has here."""
        ids: dict[str, str] = {}
        taken: set[str] = set()  # questions of one bank are not merged with each other
        for question in bank.questions.values():
            key = (splitting.key(question), question.kind)
            found = [q for q in self.known[key] if q not in taken and _same_gold(self.questions[q], question)]
            if found:
                ids[question.id] = found[0]
                self.counts["same_questions"] += 1
                old = self.questions[found[0]]
                if old.gold is None and question.gold is not None:
                    self.questions[found[0]] = replace(old, gold=question.gold)
            else:
                ids[question.id] = name = self._free(question.id)
                self.questions[name] = replace(question, id=name)
                self.known[key].append(name)
            taken.add(ids[question.id])
        return ids

    def _free(self, name: str) -> str:
        free, n = name, 2
        while free in self.questions:
            free, n = f"{name}~{n}", n + 1
        return free

    def _fit(self, there: list[T], coming: Sequence[T], index: str, same: str) -> dict[int, int]:
        """Puts records among those that are there; replies each one's index now, by its index before."""
        # those of the same bank keep to themselves: it says that they are different draws
        before = {getattr(record, index): record for record in there}
        taken = set(before) | {getattr(record, index) for record in coming}
        moved: dict[int, int] = {}
        for record in coming:
            old = getattr(record, index)
            if before.get(old) == record:
                self.counts[same] += 1
                moved[old] = old
                continue
            new = old
            if old in before:
                new = max(taken) + 1
                self.counts["renumbered"] += 1
            taken.add(new)
            moved[old] = new
            there.append(replace(record, **{index: new}))
        return moved


def _same_gold(one: Question, other: Question) -> bool:
    from .keys import key_of

    if one.gold is None or other.gold is None:
        return True
    return one.gold == other.gold or key_of(one.kind, one.gold) == key_of(other.kind, other.gold)


def _together(questions: Mapping[str, Question], counts: Counter[str]) -> dict[str, Question]:
    """A question that nearly is one of another bank takes that one's fold."""
    listed = list(questions.values())
    made: dict[str, Question] = {}
    for question, first in zip(listed, splitting.clusters(listed), strict=True):
        fold = listed[first].fold
        counts["refolded"] += fold != question.fold
        made[question.id] = replace(question, fold=fold)
    return made


def _manifest(banks: Sequence[Bank], reprice: Mapping[str, Price]) -> dict[str, Any]:
    manifest: dict[str, Any] = {"models": {}, "prices": {}}
    licences: list[str] = []
    priced = {
        model: {"prompt": p.prompt, "completion": p.completion, "source": p.source} for model, p in reprice.items()
    }
    for bank in banks:
        own = {name: dict(found) for name in KEPT if isinstance(found := bank.manifest.get(name), Mapping)}
        own["prices"] = {**own.get("prices", {}), **{m: p for m, p in priced.items() if m in models_of(bank)}}
        try:
            unlike(manifest, own, "a bank before it")
            same_conditions(manifest, own, "a bank before it", advice="They stay in banks of their own")
        except CallerError as error:
            hint = "--rename OLD=NEW renames it in all banks but the first; --reprice MODEL=IN/OUT bills all alike"
            raise CallerError(f"bank {bank.path or 'in memory'}: {error}. {hint}", **error.details) from None
        for name, found in own.items():
            for model, facts in found.items():
                manifest.setdefault(name, {}).setdefault(model, facts)
        licences += [str(bank.manifest.get("licence") or "unknown")]
    return {**manifest, "licence": " AND ".join(dict.fromkeys(licences))}


def _check_names(banks: Sequence[Bank], rename: Mapping[str, str], reprice: Mapping[str, Price]) -> None:
    later = set().union(*(models_of(bank) for bank in banks[1:]))
    for old, new in rename.items():
        if old not in later:
            raise UnknownName.of("model", old, later)
        if any(new in models_of(bank) and old in models_of(bank) for bank in banks[1:]):
            raise CallerError(f"--rename {old}={new}: a bank has both, and they would become one", model=old)
    known = later | models_of(banks[0]) | set(rename.values())
    for model in reprice:
        if model not in known:
            raise UnknownName.of("model", model, known)


def _source(bank: Bank) -> dict[str, Any]:
    known = {k: bank.manifest[k] for k in ("source", "licence", "created") if bank.manifest.get(k)}
    return {"path": str(bank.path) if bank.path else None, "questions": len(bank.questions), **known}
