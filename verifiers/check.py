"""A user's own check: a plain callable on the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from math import isfinite
from typing import Any

from ..core.errors import CallerError
from ..core.task import Candidate, Task
from ..core.verdict import Verdict, Verifier, name_of


@dataclass(frozen=True)
class Check:
    """Calls `fn` with the answer (a number, the choice's label, text, parsed JSON, source code).

    True or False is taken as the truth (`exact=False` if it is only evidence), a number in [0, 1] as a score, a
    Verdict as it is. A check that raises gives an unknown verdict. It may be async; a plain one runs in a thread.
    """

    fn: Callable[[Any], bool | float | Verdict | Awaitable[bool | float | Verdict]]
    name: str = ""
    exact: bool = True
    blocking: bool = True

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise CallerError(f"a check must be callable, not {type(self.fn).__name__}")
        if not self.name:
            object.__setattr__(self, "name", name_of(self.fn))

    @property
    def is_async(self) -> bool:
        return iscoroutinefunction(self.fn)

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        """The verdict; unknown, with what happened, where the check fails."""
        try:
            return self._verdict(self.fn(self._value(task, candidate)))
        except Exception as error:
            return self._failed(error)

    async def acall(self, task: Task, candidate: Candidate) -> Verdict:
        """The same for an async check."""
        try:
            reply = self.fn(self._value(task, candidate))
            return self._verdict(await reply if isinstance(reply, Awaitable) else reply)
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> Verdict:
        text = f"check {self.name!r} failed: {type(error).__name__}: {error}"
        return Verdict(None, evidence=text[:2000].encode("utf-8", "replace").decode())

    @staticmethod
    def _value(task: Task, candidate: Candidate) -> Any:
        return task.contract.value(candidate.answer if candidate.answer is not None else candidate.text)

    def _verdict(self, reply: Any) -> Verdict:
        if isinstance(reply, Verdict):
            return reply
        if isinstance(reply, bool) or type(reply).__name__ == "bool_":  # numpy's too
            return Verdict(1.0 if reply else 0.0, exact=self.exact)
        if isinstance(reply, int | float) and isfinite(reply) and 0 <= reply <= 1:
            return Verdict(float(reply))
        raise TypeError(f"it returned {reply!r:.60}: expected True, False, or a score from 0 to 1")


def as_verifier(check: Any) -> Verifier:
    """A Verifier as it is; any other callable as a Check. What takes two arguments is taken for a verifier, a pydantic
    model for the schema of the answer. Raises `CallerError` for the class of a verifier."""
    if isinstance(check, type):
        if hasattr(check, "model_json_schema"):
            from .schema import Schema

            return Schema(check)
        if any("__call__" in vars(base) for base in check.__mro__):
            raise CallerError(f"{check.__name__} is a class: pass an instance, {check.__name__}(...)")
    if isinstance(check, Check) or not callable(check):
        return check if isinstance(check, Check) else Check(check)
    from inspect import Parameter, signature

    try:
        parameters = signature(check).parameters.values()
    except (TypeError, ValueError):
        return Check(check)
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in needed if p.default is Parameter.empty]
    verifier: Verifier = check if len(required) == 2 else Check(check)
    return verifier
