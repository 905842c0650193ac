"""How a run is closed: what is put on record of its end, whatever else happens to the task that drove it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import anyio

from ..budgets.policy import Policy
from ..core.errors import Killed, NobodyToAsk, StoreError
from .events import Ended
from .journal import Journal, Row
from .records import fault_of, result_of
from .run import Run
from .solution import Solution, Spend, solution_of, waiting_of
from .spec import Spec
from .world import OnEvent, emit


class Closing:
    """Closes runs in a journal, or in none."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal

    async def finish(self, run: Run, spec: Spec, policy: Policy, spend: Spend, on_event: OnEvent | None) -> Solution:
        """The solution of a run that has an outcome. Raises what it ended with where it has nothing to show."""
        outcome, spent = run.outcome, run.root.purse.posted[0]
        assert outcome is not None
        if isinstance(run.error, Killed):  # whatever is on offer: a person has said stop, and it can go on later
            await self.close(run.id, "cancelled", None, spent, run.error, run.take().rows)
            raise run.error
        try:
            solution = solution_of(run, spec.task, policy.name, spend)
        except Exception as error:  # whatever a belief may do, the record is closed
            await self.close(run.id, "failed", None, spent, error, run.take().rows)
            raise
        ended = Ended(run.id, outcome.reason, solution.answer, solution.spend.usd)
        fault = None
        declined = run.error is None and outcome.reason in ("value", "abstained")
        if outcome.answer is None and not declined and (run.error is not None or not outcome.found):
            fault = fault_of(run, outcome.reason)
        await self.close(run.id, "failed" if fault else "done", solution, spent, fault, run.take().rows)
        if on_event is not None:
            emit(on_event, ended)
        if fault is not None:
            raise fault from (None if fault is run.error else run.error)
        return solution

    async def wait(self, run: Run, policy: Policy, spend: Spend) -> Solution:
        """The solution of a run that waits for a person. Raises `NobodyToAsk`."""
        if self._journal is None:
            raise NobodyToAsk(
                "a person is asked, and this engine has no journal to wait in: pass on_ask=, or open it with "
                "journal=True"
            )
        solution = waiting_of(run, policy.name, spend)
        await self.close(run.id, "waiting", solution, spend.nanos, None, run.take().rows)
        return solution

    async def close(
        self,
        run_id: str,
        status: Literal["waiting", "done", "failed", "cancelled"],
        solution: Solution | None,
        spent: int,
        error: BaseException | None,
        rows: Sequence[Row] = (),
    ) -> None:
        """Puts on record how a run stands."""
        if self._journal is None:
            return
        result = result_of(solution, error)
        with anyio.CancelScope(shield=True):
            try:
                await self._journal.finish(run_id, status, result, spent, list(rows))
            except StoreError:
                if error is None:
                    raise
