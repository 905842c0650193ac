"""Calls with an expected value: the value that came over the pipe is compared here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from math import isclose

from .handles import Handle
from .units import shown
from .wire import BadMessage, decode

TYPE_CHECKING = False  # importing typing would take as long as all the rest
if TYPE_CHECKING:
    from typing import Any


def calls(given: list[Any], find: Callable[[], Any], entry: str, tolerance: float | None) -> Iterator[tuple[str, Any]]:
    """A unit for each `[arguments, named arguments, expected]`, all encoded."""
    for i, (args, named, expected) in enumerate(given, 1):
        yield f"call {i}", _call(args, named, expected, find, entry, tolerance)


def _call(args: Any, named: Any, expected: Any, find: Callable[[], Any], entry: str, tolerance: float | None) -> Any:
    def run() -> None:
        values, words = decode(args, _nothing), decode(named, _nothing)
        want = decode(expected, _nothing)
        given = ", ".join([shown(v, 60) for v in values] + [f"{k}={shown(v, 60)}" for k, v in words.items()])
        got = find()(*values, **words)
        if isinstance(got, Handle) and isinstance(want, list | tuple):
            got = type(want)(islice(got, len(want) + 1))  # a generator counts as what it gives
        if not same(got, want, tolerance):
            raise AssertionError(f"{entry}({given:.150}) gave {shown(got, 100)}, expected {shown(want, 100)}")

    return run


def same(got: Any, want: Any, tolerance: float | None) -> bool:
    """Equality as Python has it; numbers within `tolerance` (absolute or relative), also inside of containers."""
    if tolerance is None or type(got) is bool or type(want) is bool:
        return bool(got == want)
    if isinstance(got, int | float) and isinstance(want, int | float):
        try:
            return got == want or isclose(got, want, rel_tol=tolerance, abs_tol=tolerance)
        except OverflowError:
            return False
    if isinstance(got, list | tuple) and type(got) is type(want):
        return len(got) == len(want) and all(same(g, w, tolerance) for g, w in zip(got, want, strict=True))
    if isinstance(got, dict) and isinstance(want, dict):
        return got.keys() == want.keys() and all(same(got[k], want[k], tolerance) for k in want)
    return bool(got == want)


def _nothing(tag: str, payload: Any) -> Any:
    raise BadMessage(f"unknown {tag!r:.20}")
