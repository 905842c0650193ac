"""`Engine.plan`: what a request would be expected to bring at every price, before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..budgets.budget import Budget
from ..budgets.features import features
from ..budgets.forecasting import Course, exactly, imagined
from ..budgets.portfolio import ArmBelief, Portfolio
from ..core.amounts import NANO
from ..core.belief import Priors, Terms
from ..core.effects import Choose, Effect, Score
from ..core.errors import CallerError
from ..core.plans import Answer
from ..core.task import Contract, Task
from ..core.verdict import Verdict
from ..strategies.arms import arm_key, drawing, repeats
from ..strategies.auto import Auto, _Allocation
from ..strategies.limiting import Limited
from ..strategies.verify import samples_of
from .decisions import SINGLE_SHOTS, Economics
from .preparing import DEFAULT, prepare
from .tariff import Quote, Tariff, first_sample, quote_step

if TYPE_CHECKING:
    from ..core.plans import Strategy
    from .engine import Engine

POINTS, RUNS = 7, 60
FROM, TO = 1.0, 5.5  # the range of worths, in powers of ten of what the cheapest arm's draw costs
UNKNOWN_SD = 0.8  # logits, of an arm that is known by its price alone
SIGMA = 1.645  # standard deviations to either end of a 90% interval


@dataclass(frozen=True, slots=True)
class ArmForecast:
    """One arm: P(right) of its first draw with a 90% interval of what is believed of the arm, expected dollars of one
    draw, and what it is held at. `known`: whether the policy has measured it."""

    arm: str
    p: float | None
    low: float | None
    high: float | None
    usd: float
    worst_usd: float
    known: bool


@dataclass(frozen=True, slots=True)
class Point:
    """What is expected where a right answer is worth `worth` dollars: P(right) of the answer, dollars, the standard
    deviation of one run's dollars, which arm is bought first (None: nothing), and mean purchases by arm."""

    worth: float
    p: float
    usd: float
    spread: float = 0.0
    first: str | None = None
    bought: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected curve of accuracy against spend. `here`: at the request's own worth and caps. All of it is what the
    policy believes: `fitted` says whether a bank taught it, or it is declared. `exact`: every draw is settled by exact
    checks."""

    arms: tuple[ArmForecast, ...]
    points: tuple[Point, ...]
    here: Point
    policy: str
    fitted: bool
    exact: bool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""

        def plain(one: Any) -> dict[str, Any]:
            found = {name: getattr(one, name) for name in one.__slots__}
            if "bought" in found:
                found["bought"] = dict(found["bought"] or {})
            return found

        rest = {name: getattr(self, name) for name in ("policy", "fitted", "exact")}
        lists = {"arms": [plain(arm) for arm in self.arms], "points": [plain(point) for point in self.points]}
        return {**lists, "here": plain(self.here), **rest, "notes": list(self.notes)}


def plan(
    self: Engine,
    query: Any,
    *,
    budget: float | Budget | None = None,
    answer: str | Contract = "text",
    choices: Sequence[str] = (),
    schema: Mapping[str, Any] | None = None,
    checks: Sequence[Any] = (),
    strategy: str | Strategy | None = None,
    models: str | Sequence[str] | None = None,
    topic: str = "",
    points: int = POINTS,
    runs: int = RUNS,
    seed: int = 0,
) -> Forecast:
    """What the allocator would be expected to do and to bring with this query, over a range of worths and at the
    request's own: nothing is sent, nothing spent. Options as of `solve`; `points` of the curve, each the mean of `runs`
    imagined runs.

    Raises `CallerError`, `UnpricedModel` and `BadQuery` as `solve` does; `CallerError` for a strategy other than auto.
    """
    for name, value in (("points", points), ("runs", runs)):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10_000:
            raise CallerError(f"{name}={value!r}: expected a whole number, 1 or more")
    spec = prepare(
        self,
        query,
        budget=budget,
        answer=answer,
        choices=choices,
        schema=schema,
        checks=checks,
        strategy=strategy or DEFAULT,
        models=models,
        seed=seed,
        scope=(),
        account=None,
        topic=topic,
        shadow=None,
        explore=False,
        store=False,
    )
    auto = spec.strategy.strategy if isinstance(spec.strategy, Limited) else spec.strategy
    if not isinstance(auto, Auto):
        raise CallerError(f"{spec.name} decides for itself: a plan can be shown of auto, which weighs its arms")
    tariff = self._tariff(spec)
    economics = Economics(spec.budget, self.policy, tariff, None, spec.widen, spec.shifts)
    return _Planner(spec.task, auto, spec.budget, economics, tariff, runs, seed).forecast(points)


@dataclass(slots=True)
class _Planner:
    task: Task
    auto: Auto
    budget: Budget
    economics: Economics
    tariff: Tariff
    runs: int
    seed: int
    passed: bool = False  # what the task knows already has passed every check

    def forecast(self, points: int) -> Forecast:
        portfolio, steps = self._opened()
        quotes = [quote_step(self.tariff, step) for step in steps]
        usd = [quote.usd for quote in quotes]
        least = min((x for x in usd if x > 0), default=1e-6)
        worth = self._worth(steps[0], max(usd))
        grid = [least * 10 ** (FROM + (TO - FROM) * i / max(1, points - 1)) for i in range(points)]
        cap = min(float(self.budget.usd or 1e9), 1e9)
        held = [quote.worst.nanos / NANO for quote in quotes]
        most = [self._steps(quote) for quote in quotes]

        def at(worth: float, cap: float) -> Point:
            priors, wrong = self.economics.priors, self.budget.wrong / worth
            terms = [
                Terms(1 / worth, q.usd, n, priors, wrong, q.seconds, self.budget.per_second, (), q.at_once, tuple(usd))
                for q, n in zip(quotes, most, strict=True)
            ]
            return self._point(worth, portfolio, terms, held, cap)

        arms = tuple(self._arm(portfolio, i, usd, held) for i in range(len(usd)))
        return Forecast(
            arms,
            risen([at(worth, 1e9) for worth in grid]),
            at(worth, cap),
            self.economics.policy.name,
            self.economics.priors.fitted,
            portfolio.exact,
            tuple(self._notes(arms, portfolio)),
        )

    def _opened(self) -> tuple[Portfolio, list[tuple[Effect[Any], ...]]]:
        """What is known at the beginning, and one step of each arm."""
        first = self._first_choice() if len(self.auto.arms) > 1 else None
        if first is not None and first.options:
            arms = [(one.belief, one.step) for one in first.options if isinstance(one.belief, ArmBelief)]
            return arms[0][0].portfolio, [step for _, step in arms]
        if len(self.auto.arms) > 1:  # it ends before there is a choice: what is shown is a run that knows nothing
            fresh = _Allocation(self.auto, replace(self.task, known=(), judged=()))
            return fresh.portfolio(), fresh.steps
        only = self.auto.arms[0]
        contract = self.task.contract
        choices = len(contract.choices) if contract.kind == "choice" else 0
        graded = any(samples_of(check, self.task) for check in self.task.checks)
        portfolio = Portfolio(
            self.auto.names or (arm_key(only),),
            (),
            (),
            features(self.task),
            self.task.topic,
            choices,
            bool(self.task.checks) and not graded,
            (self.auto.most if drawing(only) and repeats(only) else 1,),
        )
        return portfolio, [tuple(self.auto.needs(self.task))]

    def _first_choice(self) -> Choose | None:
        """The first choice of a run, after what the task knows already was checked: by checks that are plain functions.
        Those that cost something, or run programs, are not asked, as nothing is performed here."""
        plan = self.auto(self.task)
        try:
            effect: Any = next(plan)
            while isinstance(effect, Score):
                effect = plan.send(_told(effect))
        except StopIteration as end:
            self.passed = isinstance(end.value, Answer) and end.value.reason == "verified"
            return None
        finally:
            plan.close()
        return effect if isinstance(effect, Choose) else None

    def _worth(self, step: tuple[Effect[Any], ...], dearest: float) -> float:
        worth = self.economics.worth
        if worth is None:
            sample = first_sample(step)
            worth = SINGLE_SHOTS * (self.tariff.dearest(sample) if sample else dearest)
        return worth if worth > 0 else 1.0

    def _steps(self, quote: Quote) -> int:
        """What the caps other than dollars leave of an arm alone, as far as calls follow one another."""
        steps, worst, seconds = 1 << 20, quote.worst, quote.seconds * quote.measured
        if self.budget.calls is not None:
            steps = min(steps, int(self.budget.calls) // max(1, worst.calls))
        if self.budget.tokens is not None:
            steps = min(steps, int(self.budget.tokens) // max(1, worst.tokens))
        if self.budget.seconds is not None and seconds > 0:
            steps = min(steps, int(self.budget.seconds / seconds))
        return steps

    def _point(
        self, worth: float, portfolio: Portfolio, terms: Sequence[Terms], held: Sequence[float], cap: float
    ) -> Point:
        if self.passed:
            return Point(worth, 1.0, 0.0, bought={})
        expected = exactly if portfolio.exact else self._course
        course = expected(portfolio, terms, held, cap)
        bought = {arm: round(n, 3) for arm, n in zip(portfolio.arms, course.bought, strict=True) if n}
        first = portfolio.arms[course.first] if course.first >= 0 else None
        return Point(worth, course.p, course.usd, course.spread, first, bought)

    def _course(self, portfolio: Portfolio, terms: Sequence[Terms], held: Sequence[float], cap: float) -> Course:
        return imagined(portfolio, terms, held, cap, self.runs, self.seed)

    def _arm(self, portfolio: Portfolio, i: int, usd: Sequence[float], held: Sequence[float]) -> ArmForecast:
        key, priors = portfolio.arms[i], self.economics.priors
        known = self.economics.policy.allocation
        measured = known is not None and key in known.arms
        p, low, high = (self._chance(portfolio, i, usd, priors, off) for off in (0.0, -SIGMA, SIGMA))
        return ArmForecast(key, p, low, high, usd[i], held[i], measured)

    def _chance(self, portfolio: Portfolio, i: int, usd: Sequence[float], priors: Priors, off: float) -> float | None:
        """P(right) of one draw where the arm is `off` standard deviations better than is believed."""
        if portfolio.exact:
            if off:
                return None
            cheap = [Terms(1e-12, cost, int(j == i), priors) for j, cost in enumerate(usd)]
            return portfolio.jointly(cheap)[i].gain
        allocation = self.economics.policy.allocation
        known = allocation.arms.get(portfolio.arms[i]) if allocation is not None else None
        sd = known.sd if known is not None else (allocation.curve[2] if allocation is not None else UNKNOWN_SD)
        key = portfolio.arms[i]
        shifts = {**priors.shifts, key: priors.shifts.get(key, 0.0) + off * sd} if off else priors.shifts
        terms = Terms(1.0, usd[i], 1, replace(priors, shifts=shifts), others=tuple(usd))
        return portfolio.predicted(terms)[i]

    def _notes(self, arms: Sequence[ArmForecast], portfolio: Portfolio) -> list[str]:
        notes = []
        if unknown := [arm.arm for arm in arms if not arm.known]:
            notes.append(
                f"no bank has measured {', '.join(unknown)}: what is expected of them is declared, by their prices"
            )
        if self.task.checks and not portfolio.exact:
            notes.append("checks that ask a model are not imagined: they cost, and tell, something more")
        return notes


def _told(score: Score) -> Verdict:
    """What a check that is a plain function says; unknown where it fails, or would have to be performed."""
    from ..verifiers.check import Check

    if getattr(score.verifier, "blocking", False) and not isinstance(score.verifier, Check):
        return Verdict(None)
    try:
        value: object = score.verifier(score.task, score.candidate)
    except Exception:  # as in a run: no fault of the plan
        return Verdict(None)
    return value if isinstance(value, Verdict) else Verdict(None)


def risen(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points, by rising worth, without the dips that chance makes: where more is at stake, no less is spent and
    none is less often right (isotonic regression by pooling adjacent violators, Ayer et al. 1955)."""
    ps, spent = (_pooled([getattr(point, name) for point in points]) for name in ("p", "usd"))
    return tuple(replace(point, p=p, usd=usd) for point, p, usd in zip(points, ps, spent, strict=True))


def _pooled(values: Sequence[float]) -> list[float]:
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [_mean(block) for block in blocks for _ in block]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
