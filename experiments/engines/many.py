"""`solve_many` over a data set on several processes or machines: shards of the queries, one budget.

Each shard is a batch of its own, in an engine of its own, with a hard cap: its share of what is left when its turn
comes, so that what one leaves over is dealt again to those after it. The caps of the shards that are out never add up
to more than is left, so that the total holds whatever they do. A shard writes every part to its own file as it ends:
one whose worker was killed goes on from there, within the same cap, and what was under way is billed as the journal
knows it. Where the settings name a ledger its accounts cap all shards together as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from ...budgets.budget import Budget
from ...core.amounts import NANO, dollars, nanos
from ...core.errors import BudgetError, BudgetTooSmall, CallerError, StoreError
from ...scheduler.engine import Engine
from ...scheduler.many.batch import Batch, OnRecord
from ...scheduler.many.batch import solve_many as batched
from ...scheduler.solution import Spend
from . import spread

__all__ = ["solve_many_on"]

SHARDS = 4  # for each worker: what one leaves over goes to those after it


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the queries, with its cap in nano-dollars; its records are at `path`. `make` makes its engine."""

    first: int
    queries: tuple[Any, ...]
    nanos: int
    budget: Budget
    path: str
    make: Callable[[], Engine]
    request: dict[str, Any]


def solve_many_on(
    queries: Iterable[Any],
    *,
    budget: float | Budget,
    engine: str = "processes",
    workers: int = 2,
    models: str | Sequence[str] | None = None,
    settings: str | Path | None = None,
    policy: str | Path | None = None,
    journal: bool | str | Path | None = None,
    make: Callable[[], Engine] | None = None,
    folder: str | Path | None = None,
    shards: int = SHARDS,
    address: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **request: Any,
) -> Batch:
    """Answers many queries within one budget in dollars on `engine` (as `engines.spread`), in order.

    `models` to `journal`: of each worker's engine; `make` makes it instead, and must be importable by the workers.
    `folder`: where the shards' records are kept, from which a second call with the same queries and budget goes on
    (None: a temporary one; a cluster of several machines needs one that all of them see). `shards`: how many for
    each worker: one is quickest, more move what is left over. `on_progress(done, total)` counts queries.
    `request`: what `Engine.solve_many` takes, without callbacks.

    Money moves between shards only as their turns come, and to those that lacked some at the end: it goes where it buys
    the most within a shard, but not between them.
    Raises `CallerError`, also for caps other than dollars and worths; `BudgetTooSmall` where no shard could pay a call.
    """
    asked, budget = tuple(queries), Budget.of(budget)
    if budget.usd is None or budget.tokens is not None or budget.calls is not None or budget.seconds is not None:
        raise CallerError("shards share dollars: pass a budget in usd alone")
    if shards < 1:
        raise CallerError(f"shards={shards}: expected 1 or more")
    if not asked:
        raise CallerError("no queries: there is nothing to solve")
    made = make or partial(Engine, models, settings=settings, policy=policy, journal=journal)
    began = monotonic()
    with TemporaryDirectory(prefix="satisfice-") as own:
        home = Path(folder) if folder is not None else Path(own)
        home.mkdir(parents=True, exist_ok=True)
        parts = [
            Shard(first, some, 0, budget, str(home / f"{first}.jsonl"), made, request)
            for first, some in _parts(asked, workers, shards)
        ]
        dealing = _Dealing(parts, nanos(budget.usd), engine, workers, address, on_progress)
        return _together(dealing.run(), monotonic() - began)


@dataclass(slots=True)
class _Dealing:
    """The shards, what is `left` of the money, and the caps of those that are out: these never add up to more."""

    shards: list[Shard]
    left: int
    engine: str
    workers: int
    address: str | None
    on_progress: Callable[[int, int], None] | None
    out: dict[int, int] = field(default_factory=dict)
    found: dict[int, Batch] = field(default_factory=dict)

    def run(self) -> list[Batch]:
        """All shards; then those that ended for want of money go on here, one by one with all that is left."""
        self._spread(self._dealt(), self.engine)
        before = -1
        while self.left != before:  # as long as that buys something
            before = self.left
            self._spread(self._again(), "local")
        return [self.found[shard.first] for shard in self.shards]

    def _dealt(self) -> Iterator[Shard]:
        """Each with its share of what is left when its turn comes."""
        waiting = sum(len(shard.queries) for shard in self.shards)
        for shard in self.shards:
            self.out[shard.first] = (self.left - sum(self.out.values())) * len(shard.queries) // waiting
            waiting -= len(shard.queries)
            yield replace(shard, nanos=self.out[shard.first])

    def _again(self) -> Iterator[Shard]:
        for shard in self.shards:
            batch, free = self.found[shard.first], self.left - sum(self.out.values())
            if batch.stopped == "budget" and free > 0:
                self.left += batch.spend.nanos  # its records say what it has spent: within the cap, once
                self.out[shard.first] = free + batch.spend.nanos
                yield replace(shard, nanos=self.out[shard.first])

    def _spread(self, shards: Iterator[Shard], engine: str) -> None:
        with closing(spread(shards, engine, self.workers, work=solve_shard, address=self.address)) as came:
            for batch in came:
                first = next(iter(self.out))  # they come in the order in which they went
                del self.out[first]
                self.found[first] = batch
                self.left -= batch.spend.nanos
                if self.on_progress is not None:
                    done = sum(len(b.solutions) for b in self.found.values() if not _poor(b))
                    self.on_progress(done, sum(len(s.queries) for s in self.shards))


def _poor(batch: Batch) -> bool:
    """Whether its share was too small for even one call."""
    return not batch.spend.nanos and all(isinstance(error, BudgetTooSmall) for error in batch.errors)


def _parts(queries: tuple[Any, ...], workers: int, shards: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Shards of about as many queries, in order: `shards` for each worker, fewer where queries are few."""
    count = min(len(queries), workers * shards)
    edges = [i * len(queries) // count for i in range(count + 1)]
    return [(a, queries[a:b]) for a, b in pairwise(edges)]


def solve_shard(shard: Shard) -> Batch:
    """Solves one shard, from where its records end."""
    import anyio

    path = Path(shard.path)
    records = _records(path)
    if shard.nanos < 1:
        return _unpaid(shard, BudgetTooSmall("no money was left for these queries"))
    with path.open("a", encoding="utf-8") as file:

        def write(record: dict[str, Any]) -> None:
            file.write(json.dumps(record, default=str) + "\n")
            file.flush()

        return anyio.run(_solved, shard, records, write)


async def _solved(shard: Shard, records: list[dict[str, Any]], write: OnRecord) -> Batch:
    budget = replace(shard.budget, usd=dollars(shard.nanos))
    try:
        async with shard.make() as engine:
            return await batched(engine, shard.queries, budget=budget, on_record=write, resume=records, **shard.request)
    except BudgetError as error:
        return _unpaid(shard, error)


def _unpaid(shard: Shard, error: Any) -> Batch:
    """A shard whose share pays nothing: its queries say so, and the others go on."""
    count = len(shard.queries)
    spend = Spend(0.0, 0, 0, 0.0, 0.0, 0)
    return Batch((None,) * count, (error,) * count, ((),) * count, spend, 0.0, 0.0, None, None, "budget")


def _records(path: Path) -> list[dict[str, Any]]:
    """What a shard has on record; a last line that was cut off is taken off the file too. Raises `StoreError`."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise StoreError(f"{path} is no record of a shard: {error}") from error


def _together(found: Sequence[Batch], seconds: float) -> Batch:
    """The shards as one batch, in order."""
    errors = tuple(error for batch in found for error in batch.errors)
    if all(isinstance(error, BudgetError) for error in errors) and not any(b.spend.nanos for b in found):
        assert errors[0] is not None
        raise errors[0]
    total = sum(batch.spend.nanos for batch in found)
    value = sum(batch.value for batch in found)
    bounds = [batch.bound for batch in found if batch.bound is not None]
    bound = sum(bounds) if len(bounds) == len(found) else None
    stopped = [batch.stopped for batch in found]
    return Batch(
        tuple(solution for batch in found for solution in batch.solutions),
        errors,
        tuple(runs for batch in found for runs in batch.runs),
        Spend(
            total / NANO,
            sum(batch.spend.tokens for batch in found),
            sum(batch.spend.calls for batch in found),
            seconds,
            sum(batch.spend.overhead for batch in found),
            total,
        ),
        max(batch.price for batch in found),
        value,
        bound,
        (bound - value) / len(errors) if bound is not None else None,
        next((why for why in ("killed", "cancelled", "budget") if why in stopped), "done"),
    )
