"""One search under way: the tree, what is known of its answers, and the effects of its steps."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from ...budgets.rounds import RoundsBelief
from ...budgets.voting import VotingBelief
from ...budgets.waves import WaveBelief
from ...core.belief import Belief
from ...core.effects import Effect, Offer, Score
from ...core.plans import Answer, Plan
from ...core.task import Candidate, Task
from ...core.verdict import Judgement, Verdict, name_of
from ..pool import Judged, Pool
from ..steps import FAULTS, NOBODY, checks_of
from .abmcts import Arms
from .expanders import Expander, Finish, Leaf, breadth
from .nodes import ROOT, Search, Step, Tree
from .valuing import NEUTRAL, Valuer, asked_for, checked
from .waves import Grown, Job, done, together

HOPELESS = 5  # expansions in a row that failed: nothing answers any more


@dataclass(slots=True)
class Walk:
    """`arms` grow the tree above `depth`; at it, `finish` turns a path into an answer (None: nothing does)."""

    task: Task
    pool: Pool
    tree: Tree
    search: Search
    expanders: tuple[Expander, ...]
    arms: Arms
    valuer: Valuer | None
    finish: Finish | Leaf | None
    depth: int
    whole: bool
    left: int  # expansions
    stalled: int = 0  # answers in a row that brought nothing better
    failed: int = 0
    fault: Exception | None = None
    offer: Answer | None = None
    evidence: Belief | None = None
    worth: dict[str, float] = field(default_factory=dict)  # of an answer, by its key, as the valuer has it
    shown: Answer | None = None  # what was offered last
    grown: int = 0  # expansions that brought anything but an answer at the end of a path
    children: int = 0  # new ones that these brought
    answered: int = 0  # answers among those
    usual: dict[int, tuple[Effect[Any], ...]] = field(default_factory=dict)  # what valuing so many takes
    makers: dict[int, int] = field(default_factory=dict)  # which arm made a node, where there are several

    def grow(self, nodes: list[int]) -> Plan[Judged | None]:
        """One step: offers, expands the nodes, or the first of them, takes their answers, values what is due. Returns
        a verified answer."""
        jobs = self._jobs(nodes)
        size = yield from self.show(self._step(jobs), len(jobs))
        jobs = jobs[:size]
        came, due = (yield from done(jobs)), []
        for job, grown in zip(jobs, came, strict=True):
            self.failed = self.failed + 1 if grown.fault is not None else 0
            self.fault = grown.fault or self.fault
            passed = yield from self._heard(job, grown)
            if passed is not None:
                return passed
            fresh, again, passed = yield from self._steps(job, grown.steps)
            if passed is not None:
                return passed
            if job.at_end:
                self.tree.exhaust(job.node)
            elif grown.fault is None:
                self.grown += 1
                self.children += len(fresh)
                self.answered += sum(node in self.tree.candidates for node in fresh)
            due += self.search.grown(job.node, fresh, again)
        yield from self._value(due)
        self.left -= len(jobs)
        return None

    def last(self) -> Plan[Judged | None]:
        """The steps are used up and nothing was answered: the most promising path is turned into an answer."""
        node, self.left = self.tree.promising(), 1
        path = self.tree.path(node)
        job = Job(node, 0, True, self.finish, self.task, path, _asked(self.finish, self.task, path))
        yield from self.show(self._step([job]))
        (grown,) = yield from done([job])
        self.fault = grown.fault or self.fault
        passed = yield from self._heard(job, grown)
        if passed is not None:
            return passed
        _, _, passed = yield from self._steps(job, grown.steps)
        return passed

    def _jobs(self, nodes: list[int]) -> list[Job]:
        """What is asked at each node: its next steps, or at the end of a path its answer, once."""
        jobs = []
        for place, node in enumerate(nodes):
            arm = self.arms.pick()
            at_end = self.tree.depths[node] >= self.depth and not self.whole
            if at_end and node in nodes[:place]:
                continue
            expander: Any = self.finish if at_end else self.expanders[arm]
            task, path = self.seen_from(node), self.tree.path(node)
            jobs.append(Job(node, arm, at_end, expander, task, path, _asked(expander, task, path)))
        return together(jobs)

    def _step(self, jobs: list[Job]) -> tuple[Effect[Any], ...]:
        """What one of the jobs is expected to take: that with the longest prompt, and what values and checks all that
        it is expected to bring."""
        job = jobs[0] if len(jobs) == 1 else max(jobs, key=lambda one: one.length)
        children = 1 if job.at_end else self._mean(self.children, breadth(job.expander))
        if job.at_end:
            answers = 0 if self.leaves and _checked(job) else 1
        else:
            answers = children if self.whole else self._mean(self.answered, 0)
        return (*job.asked, *(checks_of(self.pool.task) * answers), *self._valuing(job.at_end, children))

    def _mean(self, total: int, first: int) -> int:
        """Of each expansion so far, rounded up; `first` before there was one."""
        return ceil(total / self.grown) if self.grown else first

    def _heard(self, job: Job, grown: Grown) -> Plan[Judged | None]:
        """Takes in all that strategies run at a leaf have found."""
        for outcome in grown.outcomes:
            for candidate in (*outcome.found, outcome.candidate):
                if candidate is not None and candidate.key is not None:
                    self.worth.setdefault(candidate.key, self.tree.values[job.node])
            passed = yield from self.pool.absorb(outcome)
            self.stalled += 1
            self.refresh()
            if passed is not None:
                return passed
        return None

    def _steps(self, job: Job, steps: tuple[Step, ...]) -> Plan[tuple[list[int], list[int], Judged | None]]:
        """Puts steps into the tree, and the answers among them into the pool: new nodes, old ones that came again, and
        a verified answer."""
        fresh: list[int] = []
        again: list[int] = []
        for step in steps:
            place, new = self.tree.add(job.node, step)
            (fresh if new else again).append(place)
            if new and len(self.arms.seen) > 1 and not job.at_end:
                self.makers[place] = job.arm
            if step.candidate is not None and not (job.at_end and self.leaves):
                one = yield from self.take(step.candidate, 0.0 if self.whole else self.tree.values[job.node])
                if one is not None and one.passed:
                    return fresh, again, one
            if new:
                self._settle(place, step.candidate is not None)
        return fresh, again, None

    def start(self) -> Plan[Judged | None]:
        """Takes up what the task knows; whole answers are the first children of the root."""
        passed = yield from self.pool.start()
        self.stalled = 0
        self.refresh()
        if passed is not None or not self.whole:
            return passed
        nodes = []
        for candidate in self.task.known:
            if candidate.key is not None and not candidate.thought:
                node, new = self.tree.add(ROOT, Step(candidate.text, candidate))
                if new:
                    self._settle(node, complete=True)
                    nodes.append(node)
        if nodes:
            self._judged(nodes)  # the valuer is not asked before anything was offered
            self.search.valued(nodes)
        return None

    def take(self, candidate: Candidate, worth: float = 0.0) -> Plan[Judged | None]:
        """Adds an answer to the pool, and sees whether the best one has changed. `worth`: the value of its path, until
        it has one of its own."""
        if candidate.key is not None:
            self.worth.setdefault(candidate.key, worth)
        one = yield from self.pool.take(candidate)
        self.stalled += 1
        self.refresh()
        return one

    @property
    def leaves(self) -> bool:
        """Whether a strategy answers at the end of a path: what it finds comes with its outcome."""
        return isinstance(self.finish, Leaf)

    def refresh(self) -> None:
        """What is on offer now. Where no check has said anything, the most frequent answer, and of equals the one that
        the valuer finds best: an answer drawn without a search comes last."""
        pool, before = self.pool, self.offer and self.offer.candidate
        self.offer = offer = pool.answer()
        self.evidence = pool.belief if offer is not None else None
        if offer is not None and isinstance(self.evidence, VotingBelief) and offer.reason != "verified":
            best = max(pool.offered, key=lambda one: (one.count, self.worth.get(one.candidate.key or "", 0.0)))
            self.offer = replace(offer, candidate=best.candidate)
        if self.offer is not None and self.offer.candidate is not before:
            self.stalled = 0

    def show(self, step: tuple[Effect[Any], ...], most: int = 1) -> Plan[int]:
        """Offers the best answer so far; of how many steps the next one is made up, `most` of which may be taken at
        once. A step without a price is priced as a check."""
        free = (Score(_free, self.task, NOBODY),)
        rounds = RoundsBelief(self.stalled, max(1, self.left), self.evidence, "tree_search", self.grown)
        self.shown = self.offer
        size = yield from Offer(self.offer, WaveBelief(rounds, most) if most > 1 else rounds, step or free)
        return min(size, most)

    def seen_from(self, node: int) -> Task:
        """The task as an expander sees it at a node: where it is an answer, that is known, and what was said of it."""
        candidate = self.tree.candidates.get(node)
        if candidate is None:
            return self.task
        one = self.pool.judged.get(candidate.key or "")
        judged = tuple(_judgements(self.pool, one, candidate)) if one is not None else ()
        return replace(self.task, known=(candidate,), judged=judged)

    def _settle(self, node: int, complete: bool) -> None:
        """What is an answer is built on by those that improve answers only, and down to the depth."""
        at_end = self.tree.depths[node] >= self.depth
        if (complete and not self.whole) or (at_end and (self.whole or self.finish is None)):
            self.tree.spent[node] = self.tree.closed[node] = 1

    def _value(self, nodes: list[int]) -> Plan[None]:
        """Gives nodes their values: what checks said of an answer, else the valuer's word."""
        if not nodes:
            return
        nodes, tree = list(nodes), self.tree
        due = self._judged(nodes)
        if due and self.valuer is not None:
            paths = tuple(tree.path(node)[-1:] if self.whole else tree.path(node) for node in due)
            if self.offer is not self.shown:  # an answer came: it is offered before anything more is spent
                yield from self.show(asked_for(self.valuer, self.task, paths))
            try:
                values = self.valuer(self.task, paths)
                if isinstance(values, Generator):
                    values = yield from values
            except FAULTS as error:
                self.fault, values = error, (None,) * len(due)
            for node, value in zip(due, checked(values, len(due)), strict=True):
                tree.values[node] = value
        for node in nodes:
            if node in self.makers:
                self.arms.seen[self.makers[node]].add(tree.values[node])
            candidate = tree.candidates.get(node)
            if candidate is not None and candidate.key is not None:
                self.worth[candidate.key] = tree.values[node]
        self.search.valued(nodes)
        if any(node in tree.candidates for node in due):
            self.refresh()

    def _judged(self, nodes: list[int]) -> list[int]:
        """Values the answers that checks have judged, and those that are none. Returns the other nodes."""
        due = []
        for node in nodes:
            candidate = self.tree.candidates.get(node)
            one = self.pool.judged.get(candidate.key or "") if candidate is not None else None
            if candidate is not None and one is None:
                self.tree.values[node] = 0.0  # no answer in it
            elif one is not None and one.p is not None:
                self.tree.values[node] = one.p
            else:
                due.append(node)
        return due

    def _valuing(self, at_end: bool, children: int) -> tuple[Effect[Any], ...]:
        """What valuing so many children is expected to take, as at the first of them."""
        if self.task.checks and (at_end or self.whole):
            return ()
        if children not in self.usual:
            self.usual[children] = asked_for(self.valuer, self.task, ((_USUAL,),) * children)
        return self.usual[children]


_USUAL = "a step of a usual length, with what it comes to"


def _free(task: Task, candidate: Candidate) -> Verdict:
    return Verdict(NEUTRAL)


def _checked(job: Job) -> bool:
    """Whether a strategy at the end of a path says that it makes the checks itself."""
    needs = getattr(getattr(job.expander, "strategy", None), "needs", None)
    return needs is not None and any(isinstance(effect, Score) for effect in needs(job.task))


def _asked(expander: Any, task: Task, path: tuple[str, ...]) -> tuple[Effect[Any], ...]:
    asks = getattr(expander, "asks", None)
    return tuple(asks(task, path)) if asks is not None else ()


def _judgements(pool: Pool, one: Judged, candidate: Candidate) -> list[Judgement]:
    """What the checks said of an answer, for whoever is to improve it."""
    found = []
    for place, check in enumerate(pool.task.checks):
        if place in one.said:
            verdict = Verdict(one.said[place][1], evidence=one.evidence.get(place, ""))
        elif place in one.asked:
            failed = one.refuted and place == max(one.asked)
            verdict = Verdict(0.0 if failed else None, exact=failed, evidence=one.evidence.get(place, ""))
        else:
            continue
        found.append(Judgement(name_of(check), candidate.path, verdict))
    return found
