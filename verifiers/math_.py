"""Mathematics: whether an answer equals a reference, or fulfils an equation.

Candidates are read and compared in a process of their own (`algebra/`), which is killed at the time limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from typing import Any, ClassVar

from ..core.errors import CallerError, MissingExtra
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from .algebra.client import shared
from .algebra.shapes import LIMIT, Unreadable, fraction, shape, tidy
from .subject import shown, subject

SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Math:
    """Whether the answer is equivalent to `reference`: numbers, fractions, percentages, lists, sets, intervals,
    matrices, expressions, equations, in LaTeX or plain notation. The score is exact; unknown where it cannot be told.

    A decimal may be rounded where it has six significant digits or more. With `tolerance` numbers may differ by
    that share of the reference. Units are left out of the comparison unless both name one and they differ (unknown).
    Expressions are compared where both are real. A candidate may take `seconds` of computing.

    Raises CallerError for a reference that cannot be read, MissingExtra where the extra `math` is not installed.
    """

    reference: str
    tolerance: float | None = None
    seconds: float = SECONDS
    name: ClassVar[str] = "math"
    blocking: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.tolerance is not None and not (isfinite(self.tolerance) and self.tolerance >= 0):
            raise CallerError(f"tolerance={self.tolerance!r}: expected a finite number, 0 or more")
        _check_settings("math", self.seconds)
        if not isinstance(self.reference, str):
            raise CallerError(f"reference: expected text, not {type(self.reference).__name__}")
        try:
            tidied = tidy(self.reference)
            shape(tidied)
        except Unreadable as error:
            raise CallerError(f"reference {shown(self.reference)} cannot be read: {error}") from None
        if fraction(tidied) is None:
            _readable({"do": "read", "a": self.reference}, f"reference {shown(self.reference)}")

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        """1.0 or 0.0, exact; unknown where the answer cannot be read or compared in time."""
        answer = subject(candidate, limit=LIMIT)
        if isinstance(answer, Verdict):
            return answer
        reply = _compare(self.reference, answer, self.seconds, self.tolerance)
        evidence = f"{shown(answer)} {{}} {shown(self.reference)}"
        return _verdict(reply, evidence.replace("{}", "equals"), evidence.replace("{}", "does not equal"), answer)


@dataclass(frozen=True, slots=True)
class Equation:
    """Whether the values in the answer fulfil the equations (or inequalities): no reference is needed.

    `variable` is a name or several. The answer gives values as "3", "x = 2 or x = 3", "{2, 3}", "x = 2, y = 1" or
    "(2, 1)"; every solution it names must fulfil every equation. `solutions` is how many different ones it must
    name; None leaves that open, so that one root of two is right.

    Raises CallerError for equations that cannot be read, MissingExtra where the extra `math` is not installed.
    """

    equations: str | Sequence[str]
    variable: str | Sequence[str] = "x"
    solutions: int | None = None
    seconds: float = SECONDS
    name: ClassVar[str] = "equation"
    blocking: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_settings("equation", self.seconds)
        for field in ("equations", "variable"):
            given = getattr(self, field)
            many = (given,) if isinstance(given, str) else tuple(given)
            if not many or not all(isinstance(text, str) and text.strip() for text in many):
                raise CallerError(f"{field}={given!r}: expected text, or several texts")
            object.__setattr__(self, field, many)
        if self.solutions is not None and self.solutions < 1:
            raise CallerError(f"solutions={self.solutions!r}: expected 1 or more")
        _readable(self._request(None), "the equation")

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        """1.0 or 0.0, exact; unknown where the answer cannot be read or computed in time."""
        answer = subject(candidate, limit=LIMIT)
        if isinstance(answer, Verdict):
            return answer
        reply = shared.ask(self._request(answer), self.seconds)
        return _verdict(reply, f"{shown(answer)} fulfils it", str(reply.get("why", "")), answer)

    def _request(self, answer: str | None) -> dict[str, Any]:
        equations, names = list(self.equations), list(self.variable)
        return {"do": "satisfy", "equations": equations, "names": names, "a": answer, "count": self.solutions}


def equivalent(a: str, b: str, seconds: float = SECONDS) -> bool | None:
    """Whether two answers are equivalent; None where it cannot be told. For keys of votes.

    Raises MissingExtra where more than numbers are compared and the extra `math` is not installed.
    """
    reply = _compare(a, b, seconds, None)
    truth = reply.get("truth")
    return truth if isinstance(truth, bool) else None


def _compare(reference: str, answer: str, seconds: float, tolerance: float | None) -> dict[str, Any]:
    """Plain numbers here; whatever else in the other process."""
    try:
        a, b = tidy(reference), tidy(answer)
    except Unreadable as error:
        return {"unreadable": str(error)}
    x, y = fraction(a), fraction(b)
    if a == b:
        return {"truth": True}
    if x and y and tolerance is None and (x[0] == y[0] or not (x[1] or y[1])):
        return {"truth": x[0] == y[0]}
    _check_settings("math", seconds)
    return shared.ask({"do": "same", "a": reference, "b": answer, "tolerance": tolerance}, seconds)


def _verdict(reply: dict[str, Any], right: str, wrong: str, answer: str) -> Verdict:
    truth = reply.get("truth")
    if isinstance(truth, bool):
        return Verdict(float(truth), exact=True, evidence=right if truth else wrong)
    if "unreadable" in reply:
        return Verdict(None, evidence=f"{shown(answer)} cannot be read: {reply['unreadable']}")
    why = reply.get("failed") or reply.get("why") or "cannot tell whether it is"
    return Verdict(None, evidence=f"{shown(answer)}: {why}")


def _check_settings(what: str, seconds: float) -> None:
    if not (isfinite(seconds) and seconds > 0):
        raise CallerError(f"seconds={seconds!r}: expected a finite number above 0")
    if not find_spec("sympy") or not find_spec("latex2sympy2_extended"):
        raise MissingExtra.of("math", f"the verifier {what!r}")


def _readable(request: dict[str, Any], what: str) -> None:
    """Raises CallerError if what the user supplied cannot be read."""
    reply = shared.ask(request, 30.0)
    if reply.get("truth") is not True:
        raise CallerError(f"{what} cannot be read: {reply.get('unreadable') or reply.get('failed')}")
