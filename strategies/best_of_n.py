"""Best-of-n: draw candidates, check them, and give the one that draws and verdicts together make likeliest."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..budgets.beliefs import Committed, ExactBelief
from ..budgets.checking import CheckBelief, DrawBelief
from ..budgets.evidence import Answers, Evidence
from ..core.completions import Params
from ..core.effects import Choose, Effect, Gather, Offer, Option, Sample, Score
from ..core.errors import BadQuery
from ..core.plans import Answer, Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict, Verifier, name_of
from .prompting import draw
from .verify import in_order, samples_of


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Draws, and checks what it has drawn, as long as either is worth its price: before each step the run weighs one
    more draw against asking a verifier of an answer that is there already.

    Checks that cost nothing are made at once, in their order; those that `need` a model wait until a verdict is worth
    more than it costs. A candidate that passes every check, all of them exact, is the answer at once. One that fails an
    exact check is never given: abstaining is a result. Equal candidates are checked once, and counted as votes.
    `samples` and `most` as in self-consistency; with `samples` everything drawn is checked by every verifier.
    """

    samples: int | None = None
    most: int = 64
    model: str | None = None
    params: Params = Params(temperature=0.7)
    name: ClassVar[str] = "best_of_n"

    def __call__(self, task: Task) -> Plan[Answer]:
        if not task.checks:
            raise BadQuery("best_of_n needs a check: pass checks=[...], or use self_consistency")
        answer = yield from self._plan(task, draw(task, self.model, self.params))
        return answer

    def _plan(self, task: Task, sample: Sample) -> Plan[Answer]:
        task = replace(task, checks=tuple({id(c): c for c in task.checks}.values()))  # each is asked once
        paid = tuple(c for c in task.checks if self.samples is None and samples_of(c, task))
        free = tuple(c for c in in_order(task.checks, task) if not any(c is p for p in paid))
        state = _State(task, free, paid, any(samples_of(c, task) for c in task.checks))
        fresh: tuple[Candidate | None, ...] = task.known
        most, drawn = self.most if self.samples is None else self.samples, 0
        while True:
            for candidate in fresh:
                judged = yield from state.take(candidate)
                if judged is not None and judged.passed:
                    return Answer(judged.candidate, "verified")
            if state.hopeless:
                return Answer(None, "checks_failed")  # no check ever told anything: more draws tell no more
            options = self._options(state, sample, most - drawn)
            if not options:
                return state.answer() or Answer(None, "unverified")
            if self.samples is not None:
                size = yield from Offer(state.answer(), options[0].belief, options[0].step)
            else:
                choice = yield from Choose(state.answer(), tuple(options))
                size, step = choice.size, options[choice.index].step
                if isinstance(step[0], Score):  # what may follow is decided when its verdict is known
                    one = yield from state.ask(step[0])
                    if one.passed:
                        return Answer(one.candidate, "verified")
                    fresh = ()
                    continue
            fresh = yield from Gather((sample,) * size, at_least=1)
            drawn += size

    def _options(self, state: _State, sample: Sample, left: int) -> list[Option]:
        answers, task = state.answers, state.task
        step: tuple[Effect[Any], ...] = (sample, *(Score(c, task, _NOBODY) for c in state.free))
        if self.samples is not None:
            return [Option(Committed(left, DrawBelief(answers)), step, "draw")] if left > 0 else []
        if left <= 0:
            return state.checks(answers)
        if not state.weighs and not any(a.said for a in answers):
            # Only exact checks so far: what matters is how often one failed.
            return [Option(ExactBelief(state.failed, left), step, "draw")]
        bundles: list[tuple[Verifier, ...]] = [(), *((c,) for c in state.paid)]
        if len(state.paid) > 1:
            bundles.append(state.paid)
        draws = [
            Option(
                DrawBelief(answers, (*state.graded, *map(name_of, checks)), left),
                (*step, *(Score(c, task, _NOBODY) for c in checks)),
                "draw" + "".join(f"+{name_of(c)}" for c in checks),
            )
            for checks in bundles
        ]
        return draws + state.checks(answers)


HOPELESS = 3  # different candidates on which every check failed to run
CONSIDERED = 4  # answers that are considered for a check, the most promising ones
_NOBODY = Candidate("")  # stands in the step that prices a check, before there is a candidate


@dataclass(slots=True)
class _Judged:
    """A distinct answer, how often it was drawn, and what its checks made of it."""

    candidate: Candidate
    count: int = 1
    said: dict[int, tuple[str, float]] = field(default_factory=dict)  # by the check's place: names may be alike
    asked: set[int] = field(default_factory=set)
    passes: int = 0
    passed: bool = False
    refuted: bool = False

    @property
    def promise(self) -> float:
        odds = float(self.count)
        for _, p in self.said.values():
            odds *= max(p, 1e-4) / max(1 - p, 1e-4)
        return odds


@dataclass(slots=True)
class _State:
    """All answers so far. `free` checks are made at once, `paid` ones when they are worth it (`weighs`: some ask a
    model, even if they turned out to tell nothing); `graded` names the free ones that gave a score."""

    task: Task
    free: tuple[Verifier, ...]
    paid: tuple[Verifier, ...]
    weighs: bool = False
    judged: dict[str, _Judged] = field(default_factory=dict)
    graded: dict[str, None] = field(default_factory=dict)
    silent: dict[int, int] = field(default_factory=dict)  # unknown verdicts by the check's place
    heard: dict[int, bool] = field(default_factory=dict)
    failed: int = 0  # draws that were blank, refuted, or of which no check could tell

    def take(self, candidate: Candidate | None) -> Plan[_Judged | None]:
        """Counts a candidate, and makes the free checks if its answer is new. One exact failure ends them."""
        key = candidate.key if candidate is not None else None
        if candidate is None or key is None:
            self.failed += candidate is not None
            return None
        one = self.judged.get(key)
        if one is None:
            one = self.judged[key] = _Judged(candidate)
            for check in self.free:
                yield from self.ask(Score(check, self.task, candidate))
                if one.refuted:
                    break  # nothing more is paid or asked for it
        else:
            one.count += 1
        self.failed += one.refuted or not (one.said or one.passes)
        return one

    def ask(self, score: Score) -> Plan[_Judged]:
        """Asks a verifier of an answer, and keeps what it says."""
        one = self.judged[score.candidate.key or ""]
        name, place = name_of(score.verifier), self._place(score.verifier)
        verdict: Verdict = yield from score
        one.asked.add(place)
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

    def _place(self, check: Verifier) -> int:
        return next(i for i, one in enumerate(self.task.checks) if one is check)

    @property
    def hopeless(self) -> bool:
        unknown = [not (one.said or one.refuted or one.passes) for one in self.judged.values()]
        return not self.weighs and sum(unknown) == len(unknown) >= HOPELESS

    @property
    def offered(self) -> list[_Judged]:
        """What may be given: what no exact check refuted, and at least one check has told something of, unless those
        that would are still to be asked."""
        return [one for one in self.judged.values() if not one.refuted and (one.said or one.passes or self.weighs)]

    @property
    def answers(self) -> Answers:
        """The evidence, those that may be given first."""
        offered = self.offered
        rest = [one for one in self.judged.values() if not any(one is other for other in offered)]
        said = [Evidence(one.count, tuple(one.said.values())) for one in offered]
        return (*said, *(Evidence(one.count, refuted=True) for one in rest))

    def answer(self) -> Answer | None:
        """The likeliest, as the run's belief will pick it."""
        offered = self.offered
        if not offered:
            return None
        first = max(offered, key=lambda one: one.promise)
        belief = DrawBelief(self.answers)
        return Answer(first.candidate, "best_score", belief, tuple(one.candidate for one in offered))

    def checks(self, answers: Answers) -> list[Option]:
        """Each paid verifier of each promising answer that it was not asked of, with those that may follow it."""
        options = []
        offered = self.offered
        for place, one in sorted(enumerate(offered), key=lambda pair: -pair[1].promise)[:CONSIDERED]:
            left = [c for c in self.paid if self._place(c) not in one.asked]
            # Alone too: the purse may have enough for one and not for all.
            alone = [(c,) for c in left]
            led = [(c, *(other for other in left if other is not c)) for c in left] if len(left) > 1 else []
            for checks in (*led, *alone):
                belief = CheckBelief(answers, place, tuple(map(name_of, checks)))
                step = tuple(Score(c, self.task, one.candidate) for c in checks)
                options.append(Option(belief, step, f"check {name_of(checks[0])}"))
        return options
