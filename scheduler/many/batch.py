"""`solve_many`: a batch of queries, one budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from ...budgets.budget import Budget
from ...budgets.purse import Purse
from ...core.amounts import dollars
from ...core.errors import CallerError, SatisficeError
from ..codec import plain
from ..solution import Doubling, Solution, Spend
from .advancing import Solving
from .asked import Item, check_request, items_of
from .greedy import Greedy, OnProgress
from .records import account, begun, ended, restore

if TYPE_CHECKING:
    from ..driving import OnCancel
    from ..engine import Engine
    from ..world import OnEvent

AT_ONCE = 8
OnRecord: TypeAlias = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch came to, in the order of its queries.

    `solutions`: None where a query failed before it had any; `errors` says why. Where a later part failed both are
    there: the solution is what was paid for before it. A query that got no money, or too little for an
    answer, is a Solution without one (`stop_reason` "abandoned"). `runs`: the ids of each query's runs, for the
    journal. `spend`: of all together. `price`: value per dollar that one more dollar would have bought, the highest
    index that was left. `value`: P(right) summed over the queries (times their weights) by their own beliefs; `bound`:
    what no allocation could have been expected to pass, by what was predicted of them beforehand (a fractional
    relaxation; None: not all could be predicted); `gap`: how far the value is below it, per query. `stopped`: "done",
    "budget", "cancelled", or "killed" (by a kill switch; a batch that goes on from its records takes up the rest).
    """

    solutions: tuple[Solution | None, ...]
    errors: tuple[SatisficeError | None, ...]
    runs: tuple[tuple[str, ...], ...]
    spend: Spend
    price: float
    value: float
    bound: float | None
    gap: float | None
    stopped: str

    @property
    def answered(self) -> int:
        """Queries that have an answer."""
        return sum(solution is not None and solution.answer is not None for solution in self.solutions)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data of the batch as a whole, without its solutions."""
        return {
            "queries": len(self.solutions),
            "answered": self.answered,
            "failed": sum(error is not None for error in self.errors),
            "spend": plain(self.spend),
            "price": self.price,
            "value": self.value,
            "bound": self.bound,
            "gap": self.gap,
            "stopped": self.stopped,
        }


async def solve_many(
    engine: Engine,
    queries: Iterable[Any],
    *,
    budget: float | Budget,
    worth: float | None = None,
    each: float | None = None,
    concurrency: int = AT_ONCE,
    on_progress: OnProgress | None = None,
    on_record: OnRecord | None = None,
    resume: Iterable[Mapping[str, Any]] = (),
    on_event: OnEvent | None = None,
    on_cancel: OnCancel = "raise",
    **request: Any,
) -> Batch:
    """Answers many queries within one budget, spent where it buys the most.

    `queries`: texts, Tasks, or mappings with "query" and settings of their own (answer, choices, schema, checks, topic,
    scope, strategy, models, seed; "budget": dollars at most for this one; "weight": how much a right answer counts).
    `budget`: dollars, or a Budget, whose caps hold for all together, calls under way included. `worth`: dollars that a
    right answer is worth, below which nothing is bought (None: the budget's; where that says nothing either, whatever
    gains anything is bought until the money ends). `each`: dollars at most for any one. `concurrency`: queries under
    way at the same time. `on_progress`: called after each part. `on_record`: called with a JSON-ready record when a
    part begins and when it ends; given such records, `resume` goes on from where they end, within the same budget, what
    was spent then included. `on_cancel="best"`: a cancellation returns what is there. `request`: what `Engine.solve`
    takes, for all queries.

    A query whose next step buys less than another's waits; one that is never worth its price is abandoned, and its
    money goes on. One that fails does not stop the others: its error is in `Batch.errors`, and what it had found before
    stays. A kill switch for all or for the account ends the batch with what is there. Raises `CallerError` and
    `BudgetError` for what is wrong with all of them.
    """
    budget = Budget.of(budget)
    check_request(request, ("budget", "shadow", "purse", "on_event", "on_cancel"))
    if on_cancel not in ("raise", "best"):
        raise CallerError(f"on_cancel={on_cancel!r}: expected 'raise' or 'best'")
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise CallerError(f"concurrency={concurrency!r}: expected a whole number, 1 or more")
    if worth is not None:
        budget = replace(budget, worth=worth)
    value = budget.worth if budget.worth is not None else engine.policy.worth
    value = inf if value is None else value
    purse = Purse.of(budget)
    items = items_of(queries, request, purse, each)
    await account(engine, restore(items, resume))
    begin = (lambda item, run: on_record(begun(item, run))) if on_record is not None else None
    step = (lambda item, step: on_record(ended(item, step))) if on_record is not None else None
    advance = Solving(engine, budget, value, on_event, begin)
    greedy = Greedy(items, purse, advance, concurrency, 1 / value, on_progress, step)
    return await share_out(greedy, engine.policy.name, on_cancel, budget.seconds)


async def share_out(greedy: Greedy, policy: str, on_cancel: OnCancel, seconds: float | None = None) -> Batch:
    """Runs the allocation to its end, or as far as it gets."""
    from time import monotonic

    began, stopped = monotonic(), ""
    try:
        greedy.rank()
        with anyio.move_on_after(seconds):
            await greedy.run()
    except anyio.get_cancelled_exc_class():
        if on_cancel != "best":
            raise
        stopped = "cancelled"
    if greedy.refusal is not None and not any(greedy.purse.posted):
        raise greedy.refusal  # not even one call fits
    if not stopped:
        stopped = "killed" if greedy.killed else "budget" if any(not item.over for item in greedy.items) else "done"
    return batch_of(greedy, policy, stopped, monotonic() - began)


def batch_of(greedy: Greedy, policy: str, stopped: str, seconds: float) -> Batch:
    """What there is, as a Batch."""
    items, bound = greedy.items, greedy.bound
    nanos, tokens, calls = greedy.purse.posted
    overhead = sum(part.spend.overhead for item in items for part in item.parts)
    value = sum(item.weight * item.value for item in items)
    return Batch(
        tuple(
            solution_of(item, greedy.price, policy, stopped) if item.parts or item.error is None else None
            for item in items
        ),
        tuple(item.error for item in items),
        tuple(tuple(part.run_id for part in item.parts) for item in items),
        Spend(dollars(nanos), tokens, calls, seconds, overhead, nanos),
        greedy.price,
        value,
        bound.value if bound is not None else None,
        (bound.value - value) / len(items) if bound is not None and items else None,
        stopped,
    )


def solution_of(item: Item, price: float, policy: str, stopped: str = "") -> Solution:
    """One query's parts as one solution: the last one's answer, the spend and the decisions of all."""
    nanos, tokens, calls = item.purse.posted
    parts: list[Solution] = item.parts
    spend = Spend(
        dollars(nanos),
        tokens,
        calls,
        sum(part.spend.seconds for part in parts),
        sum(part.spend.overhead for part in parts),
        nanos,
    )
    if not parts:
        why = "no money was left for it" if item.index > 0 else "it was not worth its price"
        if stopped in ("killed", "cancelled") and not item.over:
            why = f"the batch was {stopped} before its turn"
        doubled = Doubling(spend.usd, None)
        return Solution(
            None, None, None, "no answer is given", "", "abandoned", spend, "", policy, doubled, stop_said=why
        )
    last = parts[-1]
    reason, said = last.stop_reason, last.stop_said
    if last.answer is None and last.status == "done" and reason in ("value", "abstained"):
        reason = "abandoned"
        said = f"a dollar was expected to buy {item.index:.3g} here, and {price:.3g} elsewhere; {said}"
    lost = (f"its next part failed, and this is what there was: {item.error}",) if item.error is not None else ()
    decisions = tuple(decision for part in parts for decision in part.decisions)
    return replace(
        last,
        spend=spend,
        stop_reason=reason,
        stop_said=said,
        decisions=decisions,
        candidates=item.found,
        warnings=(*last.warnings, *lost),
        index=item.index,
    )
