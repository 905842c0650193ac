"""What an engine learns of its arms while it serves, and how much it may give up to learn more.

All of it is worked out from the feedback that stands in the journal, in the order in which it was given: a process that
starts later, or runs beside this one, comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from math import sqrt
from threading import Lock
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from anyio.lowlevel import checkpoint

from ..budgets.learning import COMMON, OWN, SD, Allowance, Joint, believed, given_up, logit, scored
from ..budgets.portfolio_world import PROBIT
from ..core.amounts import NANO
from .feedback import mark_of, observed
from .journal import Explored, Given, Journal

if TYPE_CHECKING:
    from ..budgets.policy import Policy
    from .decisions import Decision

REFRESH = 5.0  # seconds after which a request looks for feedback that other processes have taken
SLICE = 100  # words that are taken in at a time, some milliseconds
WINDOW = 20_000  # words that are read at the start: what is older has long been outweighed
TYPICAL = 0.2  # weight of the newest exploring request in what such a request is expected to give up


class Shifts(dict[str, float]):
    """Logit shifts by arm, as one request is decided by them. `explored`: they were drawn, not believed; `means`: what
    was believed then."""

    explored = False
    means: Mapping[str, float] = MappingProxyType({})


@dataclass(slots=True)
class Learner:
    """Shifts of arms, and the allowance for exploring. Safe from many tasks and threads.

    `policy`: the JSON of the policy that predictions are made by: feedback on runs of another one is not about them.
    `sd`: of the shift of an arm that the policy does not know, and of any whose labels have drifted; `priors`: of
    those that it knows, by their keys; `common`: of what all of them share. `slopes`: logits of a prediction per logit
    of a shift (`slope` for all others). `explore`: the share of the dollars spent that may be given up in value, 0:
    never.
    """

    policy: str = ""
    explore: float = 0.0
    sd: float = SD
    priors: Mapping[str, float] = field(default_factory=dict)
    slope: float = 1.0
    slopes: Mapping[str, float] = field(default_factory=dict)
    common: float = COMMON
    known: Joint = field(default_factory=Joint)
    _mark: str = ""
    _last: int = 0  # the id of the newest word taken in
    _words: dict[str, Given] = field(default_factory=dict)
    _cost: Explored = Explored()
    _looked: float = float("-inf")
    _open: WeakValueDictionary[int, Shifts] = field(default_factory=WeakValueDictionary)  # exploring, under way
    _busy: bool = False
    _typical: float = 0.0  # nano-dollars that such a request gave up of late, here
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._mark = mark_of(self.policy)
        self.known = self._nothing()

    def _nothing(self) -> Joint:
        return Joint(self.sd, self.common, self.priors)

    @classmethod
    def of(cls, policy: Policy, json: str, explore: float = 0.0, sd: float = SD) -> Learner:
        """For a policy, and its JSON as runs keep it."""
        from ..budgets.allocation_policy import DECLARED

        known = policy.allocation or DECLARED
        return cls(
            json,
            explore,
            sd,
            {key: min(sd, max(arm.sd, OWN)) for key, arm in known.arms.items()},
            slope_of(known.loading, known.curve[2]),
            {key: slope_of(arm.loading, arm.sd) for key, arm in known.arms.items()},
        )

    async def refresh(self, journal: Journal, now: bool = False) -> None:
        """Takes in what was said since the last time; without `now` at most every few seconds. One task at a time does
        so, and lets others go on meanwhile."""
        if self._busy or (not now and monotonic() - self._looked < REFRESH):
            self._looked = float("-inf") if now else self._looked  # whoever comes next looks again
            return
        self._busy = True
        try:
            self._looked = monotonic()
            words, cost = await journal.given(self._last, WINDOW), await journal.explored()
            self._cost = cost
            await self._take(words)
        finally:
            self._busy = False

    async def _take(self, words: Sequence[Given]) -> None:
        """Takes in words; from the beginning where one of them replaces one that was taken in before. All or, where the
        task is cancelled, none."""
        if not words:
            return
        revised = any(word.revises is not None and word.revises <= self._last for word in words)
        standing = {word.run: word for word in words}  # the last word on each run stands
        joint, todo = deepcopy(self.known), standing
        if revised:
            joint, todo = self._nothing(), {**self._words, **standing}
        ordered = sorted(todo.values(), key=lambda word: word.id)
        for start in range(0, len(ordered), SLICE):
            for word in ordered[start : start + SLICE]:
                self._learn(joint, word)
            await checkpoint()
        with self._lock:
            self.known = joint
            self._words |= standing
            self._last = max((word.id for word in words), default=self._last)
            for run in list(self._words)[: max(0, len(self._words) - WINDOW)]:
                del self._words[run]

    def _learn(self, joint: Joint, word: Given) -> None:
        if word.policy != self._mark:
            return
        for seen in observed(word):
            slope = self._slope(seen.arm)
            joint.learn(seen.arm, logit(seen.p) - slope * seen.shift, seen.label, slope)

    # -- what requests are decided by ------------------------------------------------------------------------------

    @property
    def allowance(self) -> Allowance:
        """What may be given up to exploring, by what is known of other processes."""
        return Allowance(self.explore, self._cost.spent, self._cost.regret)

    def may_explore(self) -> bool:
        """Whether one more request may explore: what it and those under way are expected to give up is there. Until the
        first one has ended nobody knows what that is: one at a time then, and only where it could be all that a request
        spends."""
        if self.explore <= 0 or (self._cost.explored == 0 and self._open):
            return False
        return self.allowance.left > (len(self._open) + 1) * self._expected()

    def _expected(self) -> float:
        """Nano-dollars that a request that explores is expected to give up: as of late, or over all of them, whichever
        is more, since most give up nothing and a few give up much."""
        cost = self._cost
        if cost.explored == 0:
            return cost.spent / max(1, cost.runs)
        return max(self._typical, cost.regret / cost.explored)

    def shifts(self, seed: int, explore: bool = True, arms: Iterable[str] = ()) -> Shifts:
        """The shifts of a request with this seed: what is believed, or, where it may explore, what may be true. `arms`:
        those that it has, known or not. Rounded, since they are stored with the run. A request that explores counts as
        under way until it has `ended`, or nobody holds its shifts any more."""
        names = list(dict.fromkeys((*self.priors, *arms)))
        with self._lock:
            means = self._means(names)
            if not (explore and self.may_explore()):
                return Shifts(means)
            drawn = Shifts({arm: round(shift, 6) for arm, shift in self.known.drawn(seed, names).items()})
            drawn.explored, drawn.means = True, means
            self._open[id(drawn)] = drawn
            return drawn

    def _means(self, arms: Iterable[str]) -> dict[str, float]:
        """What is believed of arms with labels, and of others by what all share; nothing before the first label."""
        if not self.known.arms:
            return {}
        names = list(dict.fromkeys((*self.known.arms, *arms)))
        return {arm: round(mean, 6) for arm, mean in zip(names, self.known.means(names), strict=True)}

    def ended(
        self,
        decisions: Sequence[Decision],
        shifts: Mapping[str, float],
        spent: int,
        wrong: float = 0.0,
        journal: Journal | None = None,
    ) -> float:
        """Counts what a request spent (nano-dollars), and, where its `shifts` were drawn, what its choices gave up by
        that, as predicted; returns the latter in dollars. `wrong`: the cost of a wrong answer as a share of a right
        one's worth."""
        explored = isinstance(shifts, Shifts) and shifts.explored
        means = shifts.means if isinstance(shifts, Shifts) else {}
        usd = regret_of(decisions, shifts, means, self._slope, wrong) if explored else 0.0
        nanos = round(min(usd, 1e6) * NANO)
        with self._lock:
            more = Explored(spent, nanos, 1, int(explored))
            if explored:
                self._open.pop(id(shifts), None)
                self._typical += TYPICAL * (nanos - self._typical)
            cost = self._cost
            self._cost = Explored(cost.spent + spent, cost.regret + nanos, cost.runs + 1, cost.explored + int(explored))
        if journal is not None and self.explore > 0:
            journal.count(more)
        return usd

    def _slope(self, arm: str) -> float:
        return self.slopes.get(arm, self.slope)

    def to_dict(self) -> dict[str, Any]:
        """What is known, JSON-ready."""
        found = {arm: self.known.shift(arm) for arm in sorted(self.known.arms)}
        arms = {arm: {"shift": s.mean, "sd": s.sd, "feedback": s.seen, "drifts": s.alarms} for arm, s in found.items()}
        cost = self._cost
        spent = {"usd": cost.spent / NANO, "given_up_usd": cost.regret / NANO, "runs": cost.runs}
        return {"arms": arms, "explore": self.explore, "explored": {**spent, "explored": cost.explored}}


def regret_of(
    decisions: Sequence[Decision],
    drawn: Mapping[str, float],
    means: Mapping[str, float],
    slope: Callable[[str], float] = lambda arm: 1.0,
    wrong: float = 0.0,
) -> float:
    """Dollars of value that choices at `drawn` shifts gave up, as they are predicted at those that are believed. Where
    dollars count for nothing (price 0) a loss of value has no dollars, either: such requests are not to explore."""
    total = 0.0
    for decision in decisions:
        rows = decision.alternatives
        if decision.price <= 0 or all(row.p is None for row in rows):
            continue
        nets = []
        for row in rows:
            net = row.net
            if row.p is not None and row.name in drawn:
                mean = means.get(row.name, 0.0)
                net = believed(net, row.p, drawn[row.name], mean, slope(row.name), wrong)
            nets.append(net)
        chosen = decision.index if decision.size else len(nets)
        total += min(given_up(nets, chosen), 1.0) / decision.price
    return total


def summary(words: Sequence[Given], parts: int = 4) -> dict[str, Any]:
    """How well predictions held, JSON-ready: the confidence of answers, and P(right) of each arm's first draw, in all
    and over time (`parts` of equal counts, oldest first)."""
    last = list({word.run: word for word in words}.values())
    answers = [(word.confidence, word.correct) for word in last if word.confidence is not None]
    arms: dict[str, list[tuple[float, float]]] = {}
    for word in last:
        for seen in observed(word):
            arms.setdefault(seen.arm, []).append((seen.p, seen.label))
    return {
        "feedback": len(last),
        "right": sum(word.correct for word in last) / len(last) if last else None,
        "revised": sum(word.revises is not None for word in last),
        "confidence": _scores(answers, parts),
        "arms": {arm: _scores(pairs, parts) for arm, pairs in sorted(arms.items())},
    }


def _scores(pairs: Sequence[tuple[float, float]], parts: int) -> dict[str, Any] | None:
    whole = scored(pairs)
    if whole is None:
        return None
    n, count = len(pairs), max(1, min(parts, len(pairs) // 10))
    pieces = [scored(pairs[n * i // count : n * (i + 1) // count], 1) for i in range(count)]
    over = [{"n": s.n, "brier": s.brier, "predicted": s.predicted, "came": s.came} for s in pieces if s is not None]
    row = {name: getattr(whole, name) for name in ("n", "brier", "log_loss", "predicted", "came")}
    return {**row, "bins": [list(bin) for bin in whole.bins], "over_time": over}


def slope_of(loading: float, sd: float = 0.0) -> float:
    """How far P(right) of a draw moves, in logits, per logit of its arm: the question's difficulty, which counts
    `loading` times, and what is not known of the arm are averaged over (MacKay 1992)."""
    return 1 / sqrt(1 + PROBIT**2 * (loading * loading + sd * sd))
