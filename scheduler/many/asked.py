"""What is asked of a batch: texts, tasks, or mappings with settings of their own; and how far each one has come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from math import inf, isfinite
from typing import Any

from ...budgets.purse import UNLIMITED, Purse
from ...budgets.sharing.envelopes import Envelope
from ...core.amounts import NANO
from ...core.errors import BadQuery, CallerError, SatisficeError
from ...core.task import Candidate, Task
from ...core.verdict import Judgement
from ..spec import contract_of, messages_of

OWN = ("answer", "choices", "schema", "checks", "topic", "scope", "strategy", "models", "seed")  # settings of a query


@dataclass(slots=True, eq=False)
class Item:
    """One query of a batch. `weight`: how many times as much a right answer counts as elsewhere. `index`: value per
    dollar of going on (inf: unknown as yet, or it is to be gone on with whatever that buys). `p`: its value so far.
    `parts`: the solutions of its runs, one after the other. `limit`: where its parts end for good."""

    place: int
    task: Task
    request: Mapping[str, Any]
    purse: Purse
    weight: float = 1.0
    envelope: Envelope | None = None
    index: float = inf
    value: float = 0.0
    parts: list[Any] = field(default_factory=list)
    found: tuple[Candidate, ...] = ()
    judged: tuple[Judgement, ...] = ()
    error: SatisficeError | None = None
    over: bool = False  # nothing more is to be done about it
    done: bool = False  # and neither by a batch that goes on from its record: it came to its own end
    idle: int = 0  # parts in a row that brought nothing
    refused_at: int = -1  # nano-dollars that were left when it was refused money; -1: it was not

    @property
    def spent(self) -> int:
        """Nano-dollars."""
        return self.purse.posted[0]


def items_of(queries: Iterable[Any], request: Mapping[str, Any], purse: Purse, cap: float | None) -> list[Item]:
    """One item for each query, inside `purse`, limited to `cap` dollars each (None: not limited). Raises `CallerError`
    and `BadQuery`, which say which query they mean."""
    if isinstance(queries, str | bytes | Mapping | Task):
        raise BadQuery("solve_many takes several queries: a list of texts, Tasks or mappings")
    found = []
    for place, query in enumerate(queries):
        try:
            found.append(_item(place, query, dict(request), purse, cap))
        except CallerError as error:
            raise placed(error, place) from error
    return found


def placed(error: SatisficeError, place: int) -> SatisficeError:
    """The same error, which says what query it is about."""
    if "query" in error.details:
        return error
    told = copy(error)
    told.args, told.details = (f"query {place}: {error}",), {**error.details, "query": place}
    return told


@cache
def _settable(owned: tuple[str, ...]) -> tuple[str, ...]:
    from ..engine import Engine

    return tuple(name for name in signature(Engine.solve).parameters if name not in ("self", "query", *owned))


def check_request(request: Mapping[str, Any], owned: tuple[str, ...]) -> None:
    """Raises `CallerError` for settings that `Engine.solve` does not take, and for those that the caller may not set:
    `owned`, which whoever shares out the money sets itself."""
    known = _settable(owned)
    if strange := sorted(set(request) - set(known)):
        raise CallerError(f"unknown {', '.join(strange)}: what may be set for requests is {', '.join(known)}")


def _item(place: int, query: Any, request: dict[str, Any], purse: Purse, cap: float | None) -> Item:
    weight: Any = 1.0
    if isinstance(query, Mapping) and not {"role", "content"} & set(query):
        given = dict(query)
        weight, cap = given.pop("weight", 1.0), given.pop("budget", cap)
        query = given.pop("query", None)
        if strange := set(given) - set(OWN):
            raise CallerError(f"unknown {', '.join(sorted(map(str, strange)))}: known are query, budget, weight, {OWN}")
        request |= given
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight) or weight <= 0:
        raise CallerError(f"weight={weight!r}: expected a finite number above 0")
    if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int | float) or not cap > 0):
        raise CallerError(f"budget={cap!r} of one query: expected dollars above 0")
    if isinstance(query, Task):
        messages_of(query.messages)
        task = query
    else:
        form = [request.pop(name, default) for name, default in (("answer", "text"), ("choices", ()), ("schema", None))]
        task = Task(messages_of(query), contract_of(*form))
    limit = UNLIMITED if cap is None or cap == inf else max(1, int(cap * NANO))
    return Item(place, task, request, Purse((limit, UNLIMITED, UNLIMITED), purse), float(weight))


def renamed(run: str, found: Sequence[Candidate], judged: Sequence[Judgement]) -> tuple[Any, Any]:
    """Candidates and verdicts of one run as another one knows them: paths of two runs must not be mixed up."""
    from dataclasses import replace

    kept = tuple(replace(one, path=f"{run}:{one.path}") for one in found)
    return kept, tuple(replace(one, candidate=f"{run}:{one.candidate}") for one in judged)
