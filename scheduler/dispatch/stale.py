"""The last good solution of each question: what is left to say where every model fails."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from ...core.task import Task

if TYPE_CHECKING:
    from ..solution import Solution, Spend


class Stale:
    """At most `most` solutions, by tenant, question and kind of answer."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, bytes], Solution] = OrderedDict()

    def keep(self, tenant: str, task: Task, solution: Solution) -> None:
        """Keeps a solution that has an answer."""
        if solution.answer is None or solution.stop_reason == "cached":
            return
        key = _key(tenant, task)
        self._known[key] = solution
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def find(self, tenant: str, task: Task) -> Solution | None:
        """The solution of the same question, if there is one."""
        return self._known.get(_key(tenant, task))


def aged(known: Solution, run_id: str, spent: Spend, error: Exception) -> Solution:
    """An earlier solution in the place of one that failed: stop reason "cached", the confidence its own, and what the
    failed run has spent."""
    said = f"every model failed; this is what run {known.run_id} had answered to the same question ({error})"
    warnings = (*known.warnings, said)
    return replace(known, run_id=run_id, spend=spent, stop_reason="cached", stop_said=said, warnings=warnings)


def _key(tenant: str, task: Task) -> tuple[str, bytes]:
    asked = repr((task.messages, task.contract, [repr(check) for check in task.checks]))
    return tenant, blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=16).digest()
