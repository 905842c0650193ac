"""One part of one query: a run that starts from what was paid for, goes on at a shadow price, and says at which price
it would have gone on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import signature
from typing import TYPE_CHECKING, Any, Protocol

from ...budgets.budget import Budget
from ...budgets.purse import UNLIMITED, Purse
from ...budgets.sharing.envelopes import Envelope, predicted, scaled
from ...core.amounts import NANO
from ...core.belief import Continuation
from ...core.errors import BudgetTooSmall, SatisficeError
from ...core.task import Candidate, Task
from ...core.verdict import Judgement
from ..decisions import Economics, judge
from ..events import Event, Started
from ..paths import seed_of
from ..preparing import prepare
from ..run import Run
from ..solution import Solution
from ..spec import plan_of
from ..tariff import price_list
from .asked import Item, placed, renamed

if TYPE_CHECKING:
    from ..engine import Engine
    from ..world import OnEvent


@dataclass(frozen=True, slots=True)
class Step:
    """What one part came to: what it found, the `index` at which it stopped (None: it cannot say), the value of its
    answer by its own belief, and why it stopped. `solution` is None where it failed (`error`) or was refused money."""

    reason: str
    index: float | None
    value: float
    solution: Any = None
    found: tuple[Candidate, ...] = ()
    judged: tuple[Judgement, ...] = ()
    error: SatisficeError | None = None


class Advance(Protocol):
    """Performs one part of an item at a shadow price (value per dollar), inside the item's purse."""

    async def __call__(self, item: Item, shadow: float) -> Step: ...

    def look(self, item: Item) -> Envelope | None:
        """What is expected of the item before anything is bought, in values times its weight; None: unknown."""
        ...


class Solving:
    """Parts as runs of an engine. `budget` holds what a right and a wrong answer and a second are worth, and the
    seconds that are left; dollars, tokens and calls are the purse's."""

    def __init__(
        self,
        engine: Engine,
        budget: Budget,
        worth: float,
        on_event: OnEvent | None = None,
        on_begin: Callable[[Item, str], None] | None = None,
    ) -> None:
        self.engine, self.budget, self.worth, self.on_event, self.on_begin = engine, budget, worth, on_event, on_begin
        self.seconds: float | None = budget.seconds

    async def __call__(self, item: Item, shadow: float) -> Step:
        caps = self._caps(item.purse)
        if caps is None:
            return Step("budget_usd", None, item.value)
        task = item.task.knowing(item.found, item.judged)

        def hear(event: Event) -> None:
            if isinstance(event, Started) and self.on_begin is not None:
                self.on_begin(item, event.run_id)
            if self.on_event is not None:
                self.on_event(event)

        heard = hear if self.on_begin is not None else self.on_event
        more = {"on_event": heard, "on_cancel": "best", "shadow": shadow, "purse": item.purse}
        seed = item.request.get("seed")
        if seed is not None and item.parts:  # each part draws anew, and the same on a resume
            more["seed"] = seed_of(seed, (len(item.parts),))
        try:
            solution = await self.engine.solve(task, budget=caps, **{**item.request, **more})
        except BudgetTooSmall as error:
            return Step(f"budget_{error.details.get('cap', 'usd')}", None, item.value, error=error)
        except SatisficeError as error:
            return Step("failed", None, item.value, error=error)
        found, judged = renamed(solution.run_id, solution.candidates, solution.verdicts)
        return Step(solution.stop_reason, solution.index, self.value(solution), solution, found, judged)

    def look(self, item: Item) -> Envelope | None:
        try:
            ways, base = peeked(self.engine, item.task, self._caps(item.purse), item.request, self.worth)
        except SatisficeError as error:
            raise placed(error, item.place) from error
        except Exception:  # a plan or a belief that cannot say
            return None
        if not ways:
            return None

        def course(price: float) -> Continuation:
            return judge([(name, belief, replace(terms, price=price)) for name, belief, terms in ways])[1]

        cheapest = min((terms for _, _, terms in ways), key=lambda terms: terms.cost)
        return scaled(predicted(course, cheapest, base), item.weight)

    def value(self, solution: Solution) -> float:
        """What its answer is worth by the belief that it stopped with, a right one being worth 1."""
        if solution.answer is None:
            return 0.0
        p = solution.confidence
        if p is None:
            p = next((d.p for d in reversed(solution.decisions) if d.p is not None), 0.0)
        return max(0.0, p - (1 - p) * self.budget.wrong / self.worth)

    def _caps(self, purse: Purse) -> Budget | None:
        """The budget of one part: all that is left; None where that is nothing."""
        nanos, tokens, calls = purse.room()
        if not (nanos and tokens and calls) or (self.seconds is not None and self.seconds <= 0):
            return None
        limited = [room < UNLIMITED >> 1 for room in (nanos, tokens, calls)]
        return Budget(
            nanos / NANO if limited[0] else None,
            tokens if limited[1] else None,
            calls if limited[2] or not any(limited) else None,
            self.seconds,
            self.worth,
            self.budget.wrong,
            self.budget.per_second,
        )


def peeked(
    engine: Engine, task: Task, budget: Budget | None, request: Mapping[str, Any], worth: float
) -> tuple[list[Any], float]:
    """The ways on that the first choice of a run would have, with nothing bought: (name, belief, terms) each, and the
    value of what the task knows already. Empty where its plan buys before it asks."""
    if budget is None:
        return [], 0.0
    takes = signature(prepare).parameters
    settings = {n: p.default for n, p in signature(engine.solve).parameters.items() if n in takes and n != "query"}
    settings |= {name: value for name, value in request.items() if name in takes}
    spec = prepare(engine, task, **{**settings, "budget": budget, "shadow": HIGHEST, "store": False})
    tariff = price_list(engine.catalog, spec.models, spec.guesses, spec.lengths)
    economics = Economics(spec.budget, engine.policy, tariff, spec.shadow, spec.widen, spec.shifts)
    run = Run(plan_of(spec.strategy, spec.task), purse=Purse.of(budget), economics=economics, name=spec.name, seed=0)
    run.start()
    if run.outcome is None:
        run.stop("looked", 0.0)
    ways = [way for way in run.root.ways if way[2].steps > 0]
    belief, terms = run.root.belief, run.root.terms
    p = belief.p(terms) if belief is not None and terms is not None else None
    return ways, terms.value(p) if p is not None and terms is not None else 0.0


HIGHEST = 1e30  # a price at which nothing is bought
