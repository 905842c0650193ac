"""Strategies as JSON and as text: nested, with parts and functions, and what has no form there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, ClassVar

import pytest

from satisfice import CallerError, Cut, Params, UnknownName
from satisfice.core.plans import Answer, Plan, Strategy
from satisfice.core.task import Task
from satisfice.strategies import BestOfN, SelfConsistency, SingleShot
from satisfice.strategies.registry import address_of, find, models_of, settings_of, strategy_of


@dataclass(frozen=True)
class Part:
    weights: tuple[tuple[float, ...], ...] = ((0.5, 1.0), (2.0, 0.0))
    name: str = "part"
    judge_model: str | None = None


@dataclass(frozen=True)
class Nest:
    members: tuple[Strategy, ...] = ()
    inner: Strategy | None = None
    part: Part = Part()
    table: Mapping[str, Any] = field(default_factory=dict)
    call: Callable[[float], float] = sqrt
    params: Params = Params()
    models: tuple[str, ...] = ()
    name: ClassVar[str] = "nest"

    def __call__(self, task: Task) -> Plan[Answer]:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a module of the user's own would be."""
    import sys

    monkeypatch.setitem(sys.modules, "nests", sys.modules[__name__])
    monkeypatch.setattr(Nest, "__module__", "nests")
    monkeypatch.setattr(Part, "__module__", "nests")


RICH = Params(
    temperature=0.0, stop=("\n",), effort="low", cut=Cut(-1.5, 8), extra=(("seed_of", 3), ("thinking", ("a", 1)))
)
WHOLE = Nest(
    (SingleShot(params=RICH), BestOfN(samples=3), Nest((SelfConsistency(most=2, model="deep"),))),
    SelfConsistency(),
    Part(((1.0,),), judge_model="grader"),
    {"a": [1, None], "b": {"c": "d"}},
    models=("one", "two"),
)


def test_a_nest_comes_back_from_json_as_it_was() -> None:
    text = json.dumps(settings_of(WHOLE))
    again: Any = find(address_of(WHOLE), **json.loads(text))
    assert again.members == WHOLE.members
    assert (again.part, again.call, again.params, again.models) == (WHOLE.part, sqrt, WHOLE.params, WHOLE.models)
    assert json.dumps(settings_of(again)) == text


def test_models_are_found_wherever_they_are_named() -> None:
    assert set(models_of(WHOLE)) == {"one", "two", "grader", "deep"}
    assert models_of(SingleShot()) == ()
    assert models_of(lambda task: None) == ()


def test_a_person_writes_members_as_text() -> None:
    made: Any = find("nests:Nest", members=["single_shot", "self_consistency:samples=3"], inner="best_of_n:most=2")
    assert made.members == (SingleShot(), SelfConsistency(samples=3))
    assert made.inner == BestOfN(most=2)
    mapped: Any = find("nests:Nest", members=[{"strategy": "self_consistency", "samples": 2}], params={"max_tokens": 9})
    assert mapped.members == (SelfConsistency(samples=2),)
    assert mapped.params == Params(max_tokens=9)


def test_one_line_of_text() -> None:
    assert strategy_of("single_shot") == SingleShot()
    text = 'self_consistency:samples=5,params={"temperature": 0.2, "max_tokens": 64},model=openai/x'
    assert strategy_of(text) == SelfConsistency(5, model="openai/x", params=Params(temperature=0.2, max_tokens=64))
    assert isinstance(strategy_of("nests:Nest"), Nest)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("self_consistenc", UnknownName, "self_consistency"),
        ("self_consistency:sample=3", CallerError, "samples"),
        ("self_consistency:samples", CallerError, "self_consistency:samples=VALUE"),
        ("self_consistency:samples=1,samples=2", CallerError, "twice"),
        ('single_shot:params={"temperature": -1}', CallerError, "temperature"),
        ('single_shot:params={"warmth": 1}', CallerError, "warmth"),
        ("json:dumps", None, ""),
        ("no.such:thing", UnknownName, "cannot load"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(text: str, error: type[Exception] | None, said: str) -> None:
    if error is None:
        assert callable(strategy_of(text))  # a callable may be a strategy: calling it will tell
        return
    with pytest.raises(error, match=said):
        strategy_of(text)


def test_what_json_cannot_hold_is_left_out() -> None:
    odd = Nest(call=lambda x: x, table={1: 2})
    assert set(settings_of(odd)) == {"members", "inner", "part", "params", "models"}
