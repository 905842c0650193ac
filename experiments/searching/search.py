"""The search: choose a workflow, edit it, try it on the training questions, keep what was learnt, and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, Protocol, get_args

from ...core.errors import CallerError
from ...strategies.workflow import Workflow
from .archive import Archive, Entry
from .choosing import TOP, Select, choose, experience
from .documents import digest, made
from .grammar import Grammar
from .scoring import Figure, Scorer, Spent, Terms, Unanswerable, hopeless, mean, rungs
from .space import Space

AGAIN = 10  # draws of the grammar until one was not tried yet
SPARE = 1.3  # times what judging should cost is kept for it: worst cases are held, which are dearer

Progress = Callable[[int, int, "Entry"], None]


class Proposal(NamedTuple):
    """An edited document (data, or text in the language), what was done, and who did it."""

    document: Any
    kind: str
    edit: str
    by: str = "grammar"


class Proposer(Protocol):
    """Edits a workflow of the archive. Raises `CallerError` where it has nothing that could be read."""

    def __call__(self, parent: Entry, archive: Archive, dice: Random, /) -> Proposal: ...


@dataclass(frozen=True, slots=True)
class FromGrammar:
    """Draws an edit of the grammar; kinds of edits that have brought something before are drawn more often."""

    space: Space
    terms: Terms

    def __call__(self, parent: Entry, archive: Archive, dice: Random) -> Proposal:
        ranked = sorted(archive.scored, key=lambda one: (-archive.value(one, self.terms), one.number))[:TOP]
        grammar = Grammar(self.space, [one.document for one in ranked if one.document is not None])
        assert parent.document is not None
        weights = experience(archive, self.terms)
        for _ in range(AGAIN):
            proposal = Proposal(*grammar.propose(parent.document, dice, weights))
            with suppress(CallerError):
                flow = made(proposal.document, self.space.models, self.space.caps)
                if archive.find(digest(flow)) is None:
                    break
        return proposal


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search came to. `why` it ended: "steps", or "budget"."""

    archive: Archive
    terms: Terms
    why: str

    @property
    def best(self) -> Entry:
        """The highest mean net utility on the training questions; of equals the smaller one, then the earlier one."""
        return _best(self.archive, self.archive.scored, self.terms)

    @property
    def best_seed(self) -> Entry:
        """Of those that people wrote, chosen in the same way."""
        return _best(self.archive, [one for one in self.archive.scored if one.by == "seed"], self.terms)


def _best(archive: Archive, entries: Sequence[Entry], terms: Terms) -> Entry:
    if not entries:
        raise CallerError("no seed could be tried on all training questions: see the archive for why")
    return min(entries, key=lambda one: (-archive.value(one, terms), len(str(one.document)), one.number))


def search(
    scorer: Scorer,
    seeds: Mapping[str, Any],
    questions: Sequence[str],
    *,
    terms: Terms,
    space: Space,
    steps: int = 200,
    proposers: Sequence[Proposer] = (),
    archive: Archive | None = None,
    select: Select = "mixed",
    seed: int = 0,
    first: int = 32,
    judging: int = 0,
    progress: Progress | None = None,
) -> Searched:
    """Tries `seeds` (documents by name) and then `steps` edits of them on the training `questions`, in their order.

    `proposers` take turns (None: the grammar alone). `archive`: one to go on with; a search that was interrupted goes
    on as it would have without that. `first`: on how many questions a workflow is tried before it may be given up.
    `judging`: how many held-out questions money is kept for. `progress(tried, of, entry)` is told of each. Raises
    `CallerError` where a seed is no workflow or its models are not in `space`.
    """
    if select not in get_args(Select):
        raise CallerError(f"select={select!r}: expected one of {', '.join(get_args(Select))}")
    if not seeds or not questions or steps < 0 or first < 2:
        raise CallerError("a search needs seeds, training questions, steps of 0 or more and first of 2 or more")
    archive = archive if archive is not None else Archive({})
    trier = _Trier(scorer, tuple(questions), terms, space, archive, rungs(len(questions), first), judging)
    makers = tuple(proposers) or (FromGrammar(space, terms),)
    total = len(seeds) + steps
    why = "steps"
    with suppress(_Over):
        for number in range(len(archive.entries), total):
            if number < len(seeds):
                entry = trier.seed(*list(seeds.items())[number])
            else:
                entry = trier.step(makers[number % len(makers)], Random(f"{seed}\x1f{number}"), select)
            if progress is not None:
                progress(number + 1, total, entry)
            if entry.status == "unpaid":
                why = "budget"
                break
    if len(archive.entries) < total:
        why = "budget"
    return Searched(archive, terms, why)


class _Over(Exception):
    """Internal: there is nothing left to try workflows with."""


@dataclass(slots=True)
class _Trier:
    scorer: Scorer
    questions: tuple[str, ...]
    terms: Terms
    space: Space
    archive: Archive
    rungs: list[int]
    judging: int

    def seed(self, name: str, document: Any) -> Entry:
        flow = made(document, self.space.models, self.space.caps)
        self._reserve()
        return self._tried(flow, name=name, by="seed", kind="seed")

    def step(self, propose: Proposer, dice: Random, select: Select) -> Entry:
        self._reserve()
        parent = choose(self.archive, self.terms, dice, select)
        before = self.scorer.spent
        facts: dict[str, Any] = {"parent": parent.number}
        try:
            proposal = propose(parent, self.archive, dice)
            facts |= {"kind": proposal.kind, "edit": proposal.edit, "by": proposal.by}
            flow = made(proposal.document, self.space.models, self.space.caps)
        except CallerError as error:
            by = {"by": type(propose).__name__} if "by" not in facts else {}
            spent = self.scorer.spent - before
            return self.archive.add(status="refused", document=None, why=str(error)[:300], spent=spent, **facts, **by)
        return self._tried(flow, before, **facts)

    def _reserve(self) -> None:
        """Money for judging the best and the best seed is not spent on trying more."""
        if not self.archive.scored:
            self.scorer.keep(0.0)
            return
        found = Searched(self.archive, self.terms, "")
        both = [found.best, *(one for one in self.archive.scored if one.by == "seed")][:2]
        each = sum(mean([f.usd for f in one.figures]) for one in both)
        if not self.scorer.keep(SPARE * self.judging * each):
            raise _Over

    def _tried(self, flow: Workflow, before: float | None = None, **facts: Any) -> Entry:
        before = self.scorer.spent if before is None else before
        mark = digest(flow)
        known = self.archive.find(mark)
        if known is not None:
            spent = self.scorer.spent - before
            return self.archive.add(status="duplicate", document=None, twin=known.number, spent=spent, **facts)
        figures: list[Figure] = []
        try:
            status = self._raced(flow, figures)
        except Unanswerable as error:
            status, facts["why"] = "unanswerable", str(error)[:300]
        except CallerError as error:  # what cannot be run on these tasks, such as tools that there are none of
            status, facts["why"] = "refused", str(error)[:300]
        except Spent:
            status = "unpaid"
        except BaseException:  # interrupted: what was paid for is on record
            if self.scorer.spent > before:
                spent = self.scorer.spent - before
                self.archive.add(status="unpaid", document=flow.to_dict(), digest=mark, spent=spent, **facts)
            raise
        columns = {name: tuple(round(getattr(f, name), 9) for f in figures) for name in Figure._fields}
        twin = self.archive.twin(tuple(columns.values())) if status == "scored" else None
        return self.archive.add(
            status="equal" if twin is not None else status, document=flow.to_dict(), digest=mark, twin=twin,
            spent=self.scorer.spent - before, **columns, **facts,
        )  # fmt: skip

    def _raced(self, flow: Workflow, figures: list[Figure]) -> str:
        """Tries it on more and more questions, and gives it up where it is clearly worse than the best so far."""
        scored = self.archive.scored
        best = self.terms.values(_best(self.archive, scored, self.terms).figures) if scored else []
        for size in self.rungs:
            figures += self.scorer.score(flow, self.questions[len(figures) : size])
            if best and size < self.rungs[-1] and hopeless(self.terms.values(figures), best):
                return "hopeless"
        return "scored"
