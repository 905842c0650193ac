"""Auto: the allocator. Of many ways to get a candidate the one that is worth the most now, again and again.

An arm is a draw of a model, or a whole strategy. What each is expected to bring, and whether that can still change the
answer, is a belief about all of them together (`budgets.portfolio`): which model is asked next (FrugalGPT, Chen et al.
2023, 2305.05176; RouteLLM, Ong et al. 2024, 2406.18665), which mode of working, roles and models (MasRouter, Yue et al.
2025, 2502.11133), and how often (Damani et al. 2024), are one choice by one rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..budgets.asking import AskBelief
from ..budgets.evidence import Evidence
from ..budgets.features import features
from ..budgets.portfolio import ArmBelief, Portfolio
from ..core.completions import Params
from ..core.effects import Choose, Effect, Gather, Option, Sample, Score, Within
from ..core.errors import CallerError, GatherFailed
from ..core.plans import Answer, Outcome, Plan, Strategy
from ..core.task import Candidate, Task
from ..core.verdict import name_of
from .arms import WARM, arm_key, drawing, drawn_by, repeats
from .best_of_n import BestOfN
from .hiring import check_share, checked, hands
from .pool import Judged, Pool
from .self_consistency import SelfConsistency
from .single_shot import SingleShot
from .steps import checks_of, names, parameters, whole
from .verify import in_order, samples_of

MUTE = 3  # blank draws after which an arm that has given no answer yet is out


@dataclass(frozen=True, slots=True)
class Auto:
    """Buys candidates from `arms` as long as one is worth its price, each time from the arm that promises the most for
    it after all that is known: votes of all arms and verdicts of the task's checks in one pool.

    An arm is a `SingleShot`, one more draw of its model (`most` at the most, and one if it is greedy), or any other
    strategy, which runs once, inside `share` of what is left. `names`: the keys by which a policy knows the arms, where
    they differ from the arms' own ("single_shot@gpt-4"). Without arms an engine makes them: a draw, with `params`, of
    each model that the request allows, and what its policy knows of those. `seen`: what is known of the question
    beforehand, where the policy wants other than the usual features (an embedding); an engine fills it in. With one arm
    there is nothing to choose, and what is left is how often: best-of-n where there are checks, else self-consistency.
    """

    arms: tuple[Strategy, ...] = ()
    names: tuple[str, ...] = ()
    most: int = 32
    share: float = 1.0
    params: Params = WARM
    seen: tuple[float, ...] = ()
    name: ClassVar[str] = "auto"
    pays: ClassVar[str] = "always, as a default: what to buy is decided for each question, single-shot included"

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        object.__setattr__(self, "arms", hands("auto", "arms", self.arms) if self.arms else ())
        names("auto: names", self.names)
        if self.names and len(self.names) != len(self.arms):
            raise CallerError(f"auto: {len(self.names)} names for {len(self.arms)} arms: give one for each, or none")
        keys = self.keys
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise CallerError(f"auto: two arms are called {twice!r}: give different names=[...]")
        whole("auto: most", self.most)
        parameters("auto: params", self.params)
        check_share("auto", self.share)

    @property
    def keys(self) -> tuple[str, ...]:
        """By what a policy knows the arms."""
        return self.names or tuple(map(arm_key, self.arms))

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        only = self._only(task)
        if only is not None:
            return tuple(only.needs(task)) if hasattr(only, "needs") else ()
        return _Allocation(self, task).steps[0]

    def __call__(self, task: Task) -> Plan[Answer]:
        only = self._only(task)
        return only(task) if only is not None else self._plan(task)

    def _only(self, task: Task) -> Strategy | None:
        """The one way that there is, or None where there are several."""
        if len(self.arms) > 1:
            return None
        arm = self.arms[0] if self.arms else SingleShot()
        if not drawing(arm):
            return arm
        assert isinstance(arm, SingleShot)
        made = BestOfN if task.checks else SelfConsistency
        params = arm.drawn if self.arms else self.params
        return made(model=arm.model, params=params, most=self.most if params.temperature != 0 else 1)

    def _plan(self, task: Task) -> Plan[Answer]:
        state = _Allocation(self, task)
        passed = yield from state.start()
        while passed is None:
            options = state.options()
            if not options:
                return state.end()
            choice = yield from Choose(state.answer(), tuple(option for _, option in options))
            chosen = options[choice.index][0]
            passed = yield from (state.buy(chosen, choice.size) if isinstance(chosen, int) else state.ask(chosen))
        return Answer(passed.candidate, "verified")


@dataclass(slots=True)
class _Allocation:
    """One run: what each arm costs and may still do, the pool of candidates, and who gave which."""

    auto: Auto
    task: Task
    keys: tuple[str, ...] = field(init=False)  # each looks through all that its arm holds
    pool: Pool = field(init=False)
    steps: list[tuple[Effect[Any], ...]] = field(init=False)
    left: list[int] = field(init=False)
    votes: list[tuple[int, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    mute: dict[int, int] = field(default_factory=dict)  # an arm's draws, as long as all were blank; then -1
    _seen: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        task = self.task = replace(self.task, checks=tuple({id(c): c for c in self.task.checks}.values()))
        paid = tuple(c for c in task.checks if samples_of(c, task))
        free = tuple(c for c in in_order(task.checks, task) if not any(c is p for p in paid))
        self.pool = Pool(task, free, paid, bool(paid))
        self.pool.hear(task.judged)
        self._seen = self.auto.seen or features(task)
        self.keys = self.auto.keys
        self.left = [self.auto.most if repeats(arm) else 1 for arm in self.auto.arms]
        self.steps = [self._step(arm) for arm in self.auto.arms]

    def _step(self, arm: Strategy) -> tuple[Effect[Any], ...]:
        if isinstance(arm, SingleShot) and drawing(arm):
            bare = replace(self.task, known=(), judged=())
            return (drawn_by(arm, bare), *(effect for effect in checks_of(self.task) if self._free(effect)))
        return checked((Within(arm, replace(self.task, known=(), judged=()), self.auto.share),))

    def _free(self, effect: Effect[Any]) -> bool:
        return isinstance(effect, Score) and any(effect.verifier is check for check in self.pool.free)

    # -- what there is to choose from ----------------------------------------------------------------------------

    def options(self) -> Sequence[tuple[int | Score, Option]]:
        """Each arm, by its index, and each verdict that may be asked for. As long as there is any of both, arms that
        are used up are among them, as what they cost tells what to think of the others; none of them is bought."""
        asks = self._open_checks()
        if self.pool.hopeless or self._none_is_right() or not (any(self.left) or asks):
            return ()
        portfolio, keys = self.portfolio(), list(self.pool.judged)
        found: list[tuple[int | Score, Option]] = [
            (i, Option(ArmBelief(portfolio, i), self.steps[i], key)) for i, key in enumerate(self.keys)
        ]
        for score in asks:
            asked = AskBelief(portfolio, keys.index(score.candidate.key or ""), (name_of(score.verifier),))
            found.append((score, Option(asked, (score,), f"ask {name_of(score.verifier)}")))
        return found

    def _none_is_right(self) -> bool:
        """Whether exact checks have refuted every option of a choice."""
        refuted = sum(one.refuted for one in self.pool.judged.values())
        return self._choices > 0 and refuted >= self._choices

    @property
    def _choices(self) -> int:
        contract = self.task.contract
        return len(contract.choices) if contract.kind == "choice" else 0

    def _open_checks(self) -> list[Score]:
        """Verdicts that cost something and were not asked for yet, of the two most promising answers."""
        ranked = sorted((one for one in self.pool.judged.values() if not one.refuted), key=lambda one: -one.promise)
        return [
            Score(check, self.task, one.candidate)
            for one in ranked[:2]
            for check in self.pool.paid
            if self.pool.place(check) not in one.asked
        ]

    def portfolio(self) -> Portfolio:
        """All that is known, as the belief takes it. What may not be given counts as refuted."""
        offered = {id(one) for one in self.pool.offered}
        said = tuple(
            Evidence(one.count, tuple(one.said.values()), id(one) not in offered) for one in self.pool.judged.values()
        )
        return Portfolio(
            self.keys,
            tuple(self.votes),
            said,
            self._seen,
            self.task.topic,
            self._choices,
            self.exact,
            tuple(self.left),
        )

    @property
    def exact(self) -> bool:
        """Whether every answer so far was settled by exact checks, or will be: there are checks, and none graded."""
        pool = self.pool
        return bool(self.task.checks) and not pool.weighs and not any(one.said for one in pool.judged.values())

    # -- what comes of it -----------------------------------------------------------------------------------------

    def start(self) -> Plan[Judged | None]:
        """Takes what the task knows already: a draw of an arm's model is a draw of that arm."""
        for candidate in self.task.known:
            one = yield from self._take(self._arm_of(candidate), candidate)
            if one is not None and one.passed:
                return one
        return None

    def _arm_of(self, candidate: Candidate) -> int:
        """The arm that gave a candidate: by its strategy, else by its model, else the first."""
        arms = list(enumerate(self.auto.arms))
        named = [i for i, arm in arms if not drawing(arm) and name_of(arm) == candidate.strategy]
        drew = [i for i, arm in arms if drawing(arm) and getattr(arm, "model", None) == candidate.model]
        return next(iter((*named, *drew)), 0)

    def buy(self, arm: int, size: int) -> Plan[Judged | None]:
        """Buys from an arm. Returns an answer that every check has passed, if there is one. An arm that fails is out,
        and the others are still there."""
        first = self.steps[arm][0]
        try:
            if isinstance(first, Sample):
                passed = yield from self._draws(arm, first, size)
            else:
                passed = yield from self._runs(arm)
        except GatherFailed as error:
            self.left[arm] = 0
            self.faults.append(f"{self.keys[arm]}: {'; '.join(map(str, error.errors)) or error}")
            return None
        return passed

    def _draws(self, arm: int, sample: Sample, size: int) -> Plan[Judged | None]:
        drawn: tuple[Candidate | None, ...] = yield from Gather((sample,) * size, at_least=1)
        self.left[arm] -= size
        self._hear(arm, drawn)
        for candidate in drawn:
            if candidate is not None:
                one = yield from self._take(arm, candidate)
                if one is not None and one.passed:
                    return one
        return None

    def _hear(self, arm: int, drawn: Sequence[Candidate | None]) -> None:
        """An arm that begins with blanks is out: the belief learns nothing from them."""
        came = [candidate for candidate in drawn if candidate is not None]
        if any(candidate.key is not None for candidate in came):
            self.mute[arm] = -1
        elif self.mute.get(arm, 0) >= 0:
            self.mute[arm] = self.mute.get(arm, 0) + len(came)
            if self.mute[arm] >= MUTE:
                self.left[arm] = 0

    def _runs(self, arm: int) -> Plan[Judged | None]:
        """A whole strategy: all that it paid for joins the pool, and its answer is its vote. It is not told of the
        other arms' answers: its own is evidence beside theirs only where it is its own."""
        outcome: Outcome = yield from self.steps[arm][0]
        self.left[arm] = 0
        if outcome.fault and not outcome.found:
            self.faults.append(f"{self.keys[arm]}: {outcome.fault}")
            return None
        passed = yield from self.pool.absorb(outcome)
        self._vote(arm, outcome.candidate)
        return passed

    def _take(self, arm: int, candidate: Candidate) -> Plan[Judged | None]:
        one = yield from self.pool.take(candidate)
        if not candidate.thought:
            self._vote(arm, candidate)
        return one

    def _vote(self, arm: int, candidate: Candidate | None) -> None:
        key = candidate.key if candidate is not None else None
        keys = list(self.pool.judged)
        self.votes.append((arm, keys.index(key) if key in keys else -1))

    def ask(self, score: Score) -> Plan[Judged | None]:
        """Asks for a verdict."""
        one = yield from self.pool.ask(score)
        return one if one.passed else None

    # -- the answer ----------------------------------------------------------------------------------------------

    def answer(self) -> Answer | None:
        """What is on offer: the run's belief picks it."""
        best = self.pool.best
        if best is None:
            return None
        if best.passed:
            return Answer(best.candidate, "verified")
        among = tuple(one.candidate for one in self.pool.judged.values())
        reason = "best_score" if self.task.checks else "agreed"
        return Answer(best.candidate, reason, ArmBelief(self.portfolio(), 0), among)

    def end(self) -> Answer:
        """Nothing is left to buy. Raises `GatherFailed` where that is because every arm failed."""
        answer = self.answer()
        if answer is not None:
            return answer
        if self.faults and len(self.faults) == len(self.auto.arms):
            raise GatherFailed(f"every arm failed: {' | '.join(dict.fromkeys(self.faults))}")
        return self.pool.end()
