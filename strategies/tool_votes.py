"""Votes over tool calls: what a completion calls, read from its text, and how such calls are compared.

A call is a JSON object `{"name": ..., "arguments": {...}}`; several are a list of them, or objects one after another.
Read too are the spellings of common models and providers: "parameters" or "args" for "arguments", arguments as a JSON
text, `{"function": {...}}`, `{"tool_calls": [...]}`, and any prose, fence or tag around them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..core.answers.locate import visible
from ..core.task import Candidate

VoteOn = Literal["name", "arguments", "hierarchical"]
LONGEST = 100_000  # characters that are looked through
TRIES = 64  # braces at which a call may begin
MOST = 16  # calls of one completion
DEEPEST = 32  # lists and objects inside one another: no call of a real tool has more


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call. `arguments` are (name, canonical JSON) pairs, sorted: equal calls are equal."""

    name: str
    arguments: tuple[tuple[str, str], ...] = ()


Calls = tuple[ToolCall, ...]


def read_calls(text: str, ignored: Sequence[str] = ()) -> Calls:
    """The calls that a completion makes, () where it makes none. `ignored` names arguments that do not count (a reason
    in words, a time stamp). Never raises."""
    found: list[ToolCall] = []
    for value in _values(visible(text[:LONGEST])):  # what a model thinks aloud it does not call
        found += _calls(value, frozenset(ignored))
    return tuple(found[:MOST])


def _values(text: str) -> Iterator[Any]:
    """The JSON objects and lists in a text, outermost ones."""
    decoder, at = json.JSONDecoder(), 0
    for _ in range(TRIES):
        starts = [place for place in (text.find("{", at), text.find("[", at)) if place >= 0]
        if not starts:
            return
        try:
            value, at = decoder.raw_decode(text, min(starts))
        except (ValueError, RecursionError):  # also of whole numbers that are too long
            at = min(starts) + 1
            continue
        yield value


def _calls(value: Any, ignored: frozenset[str], depth: int = 0) -> list[ToolCall]:
    if depth > 4:
        return []
    if isinstance(value, list):
        return [call for one in value[:MOST] for call in _calls(one, ignored, depth + 1)]
    if not isinstance(value, dict):
        return []
    for wrapper in ("tool_calls", "tool_call", "function_call", "function"):
        if isinstance(value.get(wrapper), dict | list):
            return _calls(value[wrapper], ignored, depth + 1)
    name = value.get("name")
    if not isinstance(name, str) or not name.strip():
        return []
    arguments = next((value[key] for key in ("arguments", "parameters", "args") if key in value), None)
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return []
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return []
    try:
        pairs = sorted((key, canonical(one)) for key, one in arguments.items() if key not in ignored)
    except ValueError:
        return []
    return [ToolCall(name.strip(), tuple(pairs))]


def canonical(value: Any) -> str:
    """JSON in one spelling: keys sorted, no blanks, a number that is whole without a point. Raises `ValueError`
    for what is nested more than 32 deep."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any, left: int = DEEPEST) -> Any:
    if left < 0:
        raise ValueError("nested too deep")
    if isinstance(value, dict):
        return {key: _plain(one, left - 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, left - 1) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def ballot(calls: Calls, vote_on: VoteOn) -> str | None:
    """What a completion votes for: by "name" the tools it calls, else the whole calls. None: it calls nothing."""
    if not calls:
        return None
    if vote_on == "name":
        return canonical([call.name for call in calls])
    return canonical([[call.name, *map(list, call.arguments)] for call in calls])


@dataclass(frozen=True, slots=True)
class Voter:
    """A candidate, what it calls, and what its vote weighs."""

    candidate: Candidate
    calls: Calls
    weight: float = 1.0


def hierarchical(voters: Sequence[Voter]) -> Candidate | None:
    """The names with the most votes, and among the voters for them the one whose arguments have the most votes, each
    argument voted on by itself (one that is left out is a value too). Always a call that was really made: winners of
    different calls are not put together. The first of equals; None without voters."""
    if not voters:
        return None
    names = _most([(tuple(call.name for call in v.calls), v.weight) for v in voters])
    among = [v for v in voters if tuple(call.name for call in v.calls) == names]
    support: dict[tuple[int, str, str | None], float] = {}
    arguments = {(i, key) for v in among for i, call in enumerate(v.calls) for key, _ in call.arguments}
    said = [[dict(call.arguments) for call in v.calls] for v in among]
    for voter, values in zip(among, said, strict=True):
        for i, key in arguments:
            vote = (i, key, values[i].get(key))
            support[vote] = support.get(vote, 0.0) + voter.weight
    totals = [sum(support[i, key, values[i].get(key)] for i, key in sorted(arguments)) for values in said]
    return among[max(range(len(among)), key=lambda place: (totals[place], -place))].candidate


def _most(votes: Sequence[tuple[tuple[str, ...], float]]) -> tuple[str, ...]:
    totals: dict[tuple[str, ...], float] = {}
    for name, weight in votes:
        totals[name] = totals.get(name, 0.0) + weight
    return max(totals, key=totals.__getitem__)
