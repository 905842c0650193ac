"""The candidates that a plan has so far: how often each answer came, what its checks said, which is the likeliest.

Every strategy that has more than one candidate keeps them here, so that all weigh votes and verdicts alike, no check is
asked twice of one answer, and what another strategy has paid for is taken up with what was said of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ..budgets.beliefs import Committed
from ..budgets.checking import DrawBelief
from ..budgets.evidence import Answers, Evidence
from ..budgets.voting import VotingBelief
from ..core.belief import Belief
from ..core.effects import Offer, Score
from ..core.plans import Answer, Outcome, Plan
from ..core.task import Candidate, Task
from ..core.verdict import Judgement, Verdict, Verifier, label_of, name_of
from .verify import in_order, samples_of

HOPELESS = 3  # different candidates on which every check failed to run


@dataclass(slots=True)
class Judged:
    """A distinct answer, how often it was drawn, and what its checks made of it. `evidence` is what they said for
    people, by the check's place."""

    candidate: Candidate
    count: int = 1
    said: dict[int, tuple[str, float]] = field(default_factory=dict)  # by the check's place: names may be alike
    asked: set[int] = field(default_factory=set)
    passes: int = 0
    passed: bool = False
    refuted: bool = False
    evidence: dict[int, str] = field(default_factory=dict)

    @property
    def promise(self) -> float:
        """How it stands beside the others, for order only: its count times the odds of what was said."""
        odds = float(self.count)
        for _, p in self.said.values():
            odds *= max(p, 1e-4) / max(1 - p, 1e-4)
        return odds

    @property
    def p(self) -> float | None:
        """What its checks say: 1 or 0 where exact ones settle it, else the mean of the others; None while unknown."""
        if self.passed or self.refuted:
            return float(self.passed)
        if not self.said:
            return None
        return sum(p for _, p in self.said.values()) / len(self.said)


@dataclass(slots=True)
class Pool:
    """All answers so far, by key. `free` checks are made as soon as an answer is new; `paid` ones when the plan asks.

    `Pool.of(task)` makes all checks at once, cheapest first, and takes up nothing by itself: `yield from
    pool.start()` takes what the task knows.
    """

    task: Task
    free: tuple[Verifier, ...]
    paid: tuple[Verifier, ...] = ()
    weighs: bool = False  # some checks ask a model, even if they turned out to tell nothing
    judged: dict[str, Judged] = field(default_factory=dict)
    graded: dict[str, None] = field(default_factory=dict)  # names of the free checks that gave a score
    silent: dict[int, int] = field(default_factory=dict)  # unknown verdicts by the check's place
    heard: dict[int, bool] = field(default_factory=dict)
    failed: int = 0  # draws that were blank, refuted, or of which no check could tell
    blanks: int = 0
    known: dict[tuple[str, str], Verdict] = field(default_factory=dict)  # by the check's label and candidate
    taken: list[Candidate] = field(default_factory=list)

    @classmethod
    def of(cls, task: Task) -> Pool:
        """A pool that makes every check of the task as soon as an answer is new."""
        task = replace(task, checks=tuple({id(c): c for c in task.checks}.values()))
        pool = cls(task, tuple(in_order(task.checks, task)), weighs=any(samples_of(c, task) for c in task.checks))
        pool.hear(task.judged)
        return pool

    def start(self) -> Plan[Judged | None]:
        """Takes up what the task knows already. Returns a verified answer, if there is one."""
        passed = yield from self.take_all(self.task.known)
        return passed

    def hear(self, judgements: Iterable[Judgement]) -> None:
        """Keeps verdicts that were paid for before."""
        labels = [label_of(check, self.task.checks) for check in self.task.checks]
        for judgement in judgements:
            if labels.count(judgement.verifier) == 1:
                self.known[judgement.verifier, judgement.candidate] = judgement.verdict

    def onward(self) -> Task:
        """The task for a strategy that goes on from here: it knows all candidates, and what was said of them."""
        judged = tuple(Judgement(name, path, verdict) for (name, path), verdict in self.known.items())
        return replace(self.task, known=tuple(self.taken), judged=judged)

    def absorb(self, outcome: Outcome | None) -> Plan[Judged | None]:
        """Takes all that a strategy run inside has paid for. Returns a verified answer, if there is one."""
        if outcome is None:
            return None
        self.hear(outcome.judged)
        found = outcome.found
        known = {c.path for c in (*found, *self.taken)}
        if outcome.candidate is not None and outcome.candidate.path not in known:
            found = (*found, outcome.candidate)  # a plan may make its answer of what it was told
        passed = yield from self.take_all(found)
        return passed

    def take_all(self, candidates: Iterable[Candidate | None]) -> Plan[Judged | None]:
        """Counts and checks candidates. Returns the first verified one, and then looks at no further."""
        for candidate in candidates:
            one = yield from self.take(candidate)
            if one is not None and one.passed:
                return one
        return None

    def take(self, candidate: Candidate | None) -> Plan[Judged | None]:
        """Counts a candidate, and makes the free checks if its answer is new. One exact failure ends them. None where
        there is no answer."""
        if candidate is None or candidate.thought:
            return None
        self.taken.append(candidate)
        key = candidate.key
        if key is None:
            self.failed += 1
            self.blanks += 1
            return None
        one = self.judged.get(key)
        if one is None:
            one = self.judged[key] = Judged(candidate)
            for check in self.free:
                score = Score(check, self.task, candidate)
                if samples_of(check, self.task) and not self._told(score) and (answer := self.answer()):
                    # A judge may be slow, or too dear for what is left: what there is is not lost by asking it.
                    yield from Offer(answer, Committed(1, answer.belief), (score,))
                yield from self.ask(score)
                if one.refuted:
                    break  # nothing more is paid or asked for it
        else:
            one.count += 1
        self.failed += one.refuted or not (one.said or one.passes)
        return one

    def ask(self, score: Score) -> Plan[Judged]:
        """Asks a verifier of an answer, unless it has told before, and keeps what it says."""
        one = self.judged[score.candidate.key or ""]
        name, place = name_of(score.verifier), self.place(score.verifier)
        known = self._told(score)
        verdict: Verdict = known if known is not None else (yield from score)
        if known is None:
            self.hear((Judgement(self._label(score), score.candidate.path, verdict),))
        one.asked.add(place)
        if verdict.evidence:
            one.evidence[place] = verdict.evidence
        if verdict.score is None:
            self.silent[place] = self.silent.get(place, 0) + 1
            if self.silent[place] >= HOPELESS and not self.heard.get(place):
                self.paid = tuple(
                    c for c in self.paid if c is not score.verifier
                )  # it will not tell of the next either
            return one
        self.heard[place] = True
        if verdict.exact:
            one.refuted |= not verdict.passed
            one.passes += verdict.passed
            one.passed = one.passes == len(self.task.checks)
        else:
            p = verdict.p if verdict.p is not None else verdict.score
            one.said[place] = (name, p)
            if any(c is score.verifier for c in self.free):
                self.graded.setdefault(name)
        return one

    def _told(self, score: Score) -> Verdict | None:
        return self.known.get((self._label(score), score.candidate.path))

    def _label(self, score: Score) -> str:
        return label_of(score.verifier, self.task.checks)

    def place(self, check: Verifier) -> int:
        return next(i for i, one in enumerate(self.task.checks) if one is check)

    @property
    def hopeless(self) -> bool:
        """No check has told anything of several answers: it will not tell of more."""
        unknown = [not (one.said or one.refuted or one.passes) for one in self.judged.values()]
        checked = bool(self.task.checks) and not self.weighs
        return checked and sum(unknown) == len(unknown) >= HOPELESS

    @property
    def votes(self) -> int:
        return sum(one.count for one in self.judged.values())

    @property
    def offered(self) -> list[Judged]:
        """What may be given: what no exact check refuted and, where there are checks, at least one has told something
        of, unless those that would are still to be asked."""
        free = self.weighs or not self.task.checks
        return [one for one in self.judged.values() if not one.refuted and (free or one.said or one.passes)]

    @property
    def answers(self) -> Answers:
        """The evidence, those that may be given first."""
        offered = self.offered
        rest = [one for one in self.judged.values() if not any(one is other for other in offered)]
        said = [Evidence(one.count, tuple(one.said.values())) for one in offered]
        return (*said, *(Evidence(one.count, refuted=True) for one in rest))

    @property
    def belief(self) -> Belief:
        """What P(right) of the answer is read from: votes alone where nothing was said of any, else both."""
        if any(one.said or one.refuted for one in self.judged.values()):
            return DrawBelief(self.answers)
        ranked = sorted((one.count for one in self.judged.values()), reverse=True)
        first, second = [*ranked, 0, 0][:2]
        return VotingBelief(first, second, sum(ranked[2:]), self.blanks, others=tuple(ranked[2:]))

    @property
    def best(self) -> Judged | None:
        """The most promising one that may be given, the first of equals: one that passed every check, if any did."""
        return max(self.offered, key=lambda one: (one.passed, one.promise), default=None)

    def answer(self, reason: str | None = None) -> Answer | None:
        """The likeliest, as the run's belief will pick it; None where none may be given."""
        best = self.best
        if best is None:
            return None
        if best.passed:
            return Answer(best.candidate, "verified")
        belief = self.belief
        if reason is None:
            reason = "best_score" if self.task.checks else "agreed"
        among = tuple(one.candidate for one in self.offered) if isinstance(belief, DrawBelief) else ()
        return Answer(best.candidate, reason, belief, among)

    def end(self, reason: str | None = None) -> Answer:
        """The answer to end a plan with, and where there is none why not."""
        answer = self.answer(reason)
        if answer is not None:
            return answer
        return Answer(None, "checks_failed" if self.hopeless else "unverified" if self.judged else "unreadable")
