"""Settings of strategies as text: what does not fit is refused when the strategy is made, and says what does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from satisfice import CallerError, Params
from satisfice.core.plans import Strategy
from satisfice.strategies import Debate, Fusion, SelfConsistency, SingleShot, Workflow
from satisfice.strategies.registry import BUILT_IN, built_in, described, find, strategy_of
from satisfice.strategies.settings import fits, kinds_of

BAD = [
    ("self_consistency:samples=many", "samples='many': expected a whole number"),
    ("self_consistency:samples=2.5", "samples=2.5: expected a whole number"),
    ("self_consistency:samples=true", "samples=True: expected a whole number"),
    ("self_consistency:sample=5", "Did you mean 'samples'"),
    ("self_consistency:softness=low", "softness='low': expected a number"),
    ("self_consistency:", "settings are key=value"),
    ("self_consistency:samples", "self_consistency:samples=VALUE"),
    ("single_shot:waits=x", "waits='x': expected a whole number"),
    ("single_shot:params=0.5", "params=0.5: expected parameters"),
    ('single_shot:params={"temprature":1}', "Did you mean 'temperature'"),
    ('single_shot:params={"temperature":"hot"}', "temperature='hot': expected a number"),
    ('single_shot:params={"max_tokens":1.5}', "max_tokens=1.5: expected a whole number"),
    ("experts:gate=foo", "gate='foo': expected Gate"),
    ("debate:dissent=maybe", "dissent='maybe': expected true or false"),
    ("debate:final=jury", "expected one of vote, judge"),
    ("reflexion:topic=5", "topic=5: expected text"),
    ('fusion:members=["self_consistency:samples=x"]', "samples='x': expected a whole number"),
    ("fusion:members=[single_shot:model=x,single_shot]", r'\["single_shot","self_consistency:samples=3"\]'),
    ("fusion:members=3", "members=3: expected strategies"),
    ("workflow", "'source' has to be given"),
    ("workflow:flow.yaml", "workflow:source=@flow.yaml"),
    ("workflow:@flow.yaml", "workflow:source=@flow.yaml"),
    ("nowhere.yaml", "cannot read nowhere.yaml"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_what_does_not_fit_is_refused_early(text: str, said: str) -> None:
    with pytest.raises(CallerError, match=said) as refused:
        strategy_of(text)
    assert "__init__" not in str(refused.value)


def test_one_name_is_a_list_of_one_and_names_need_no_quotes() -> None:
    assert strategy_of("fusion:members=single_shot") == Fusion(members=(SingleShot(),))
    pair = Fusion(members=(SingleShot(), SelfConsistency()))
    assert strategy_of("fusion:members=[single_shot, self_consistency]") == pair
    assert strategy_of("debate:models=local/a") == Debate(models=("local/a",))
    assert strategy_of("debate:models=[local/a,b]") == Debate(models=("local/a", "b"))
    assert find("fusion", members=SingleShot()) == Fusion(members=(SingleShot(),))


def test_a_workflow_is_named_by_its_file(tmp_path: Path) -> None:
    steps = {"steps": [{"do": "strategy", "name": "self_consistency", "settings": {"samples": 2}}]}
    for name in ("flow.json", "flow.yaml"):  # JSON is YAML too
        (tmp_path / name).write_text(json.dumps(steps))
        assert strategy_of(str(tmp_path / name)) == Workflow.of(steps)
    assert find("workflow", source=steps) == Workflow.of(steps)


def test_every_strategy_takes_its_own_defaults() -> None:
    for name in BUILT_IN:
        cls = built_in(name)
        if name != "workflow":
            made = cls()
            bad = [k for k, kind in kinds_of(cls).items() if not fits(getattr(made, k), kind)]
            assert bad == [], name


@dataclass(frozen=True)
class Odd:
    """Takes what few do."""

    number: float = 1
    pair: tuple[int, str] = (1, "a")
    way: Literal["a", 1] = "a"
    call: Callable[[int], int] = abs
    inner: Strategy | None = None
    table: Mapping[str, Any] | None = None
    unknown: NoSuchType | None = None  # type: ignore[name-defined]  # noqa: F821
    params: Params | None = None


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("number", (1, 0.5), (True, "1", None)),
        ("pair", ((2, "b"),), ((2,), ("b", 2), [2, "b"])),
        ("way", ("a", 1), ("b", True)),
        ("call", (abs, Odd), ("abs",)),
        ("inner", (None, SingleShot()), (SingleShot, "single_shot")),
        ("table", (None, {"a": 1}), ()),
        ("unknown", (None, 3), ()),
        ("params", (None, Params()), ({}, 0.5)),
    ],
)
def test_fits(name: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    kind = kinds_of(Odd)[name]
    assert [value for value in good if not fits(value, kind)] == []
    assert [value for value in bad if fits(value, kind)] == []


def test_what_settings_take_is_told() -> None:
    takes = described("tree_search")["takes"]
    assert takes["algorithm"]["values"] == ["bfs", "dfs", "beam", "mcts", "ab_mcts"]
    assert takes["algorithm"]["default"] == "bfs"
    assert takes["width"] == {"type": "int", "expects": "a whole number", "needed": False, "default": 5}
    assert described("workflow")["takes"]["source"]["needed"] is True
    with pytest.raises(CallerError, match="tree_search"):
        described("tree_serch")
