"""The language of workflows: what is read, what is refused and where, and the conditions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from satisfice.core.completions import Params
from satisfice.core.errors import CallerError
from satisfice.strategies.registry import address_of, find, models_of, settings_of
from satisfice.strategies.workflow import Workflow
from satisfice.strategies.workflows.caps import Caps
from satisfice.strategies.workflows.conditions import View, holds
from satisfice.strategies.workflows.schema import Condition

DRAFT = {"do": "sample", "as": "draft"}
SEVERAL = {"do": "sample", "candidate": False, "prompt": "Two lines:\n$query", "role": "a planner", "as": "plan"}
FLOWS: list[Any] = [
    DRAFT,
    [SEVERAL, {"do": "parallel", "at_least": 2, "branches": [DRAFT, {"do": "sequence", "steps": [SEVERAL, DRAFT]}]}],
    [{"do": "loop", "most": 3, "until": {"not": {"votes": 2}, "says": {"plan": "x: y"}}, "steps": [DRAFT]}],
    [{"do": "if", "when": {"any": [{"p": 0.5}]}, "then": {"do": "vote"}, "else": [{"do": "verify", "of": ["draft"]}]}],
    [{"do": "strategy", "name": "self_consistency", "settings": {"samples": 2, "params": {"stop": ["x"]}}}],
    [{"do": "within", "share": 0.5, "seconds": 20, "steps": [DRAFT]}],
]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "expected a mapping with `steps`"),
        ("Sure! Here is your workflow.", "expected a mapping with `steps`"),
        ("{", "not JSON"),
        ('{"steps": []}', "steps: "),
        ('{"steps": [{"do": "sample"}], "extra": 1}', "extra: "),
        ('{"steps": [{"do": "sample"}, {"prompt": "x"}]}', r"steps\[1\].do: "),
        ('{"steps": [{"do": "dance"}]}', r"steps\[0\].do: .*'dance'.*'sample'"),
        ('{"steps": [{"do": "sample", "prompt": 3}]}', r"steps\[0\].prompt: "),
        ('{"steps": [{"do": "sample", "as": "2x"}]}', r"steps\[0\].as: "),
        ('{"steps": [{"do": "sample", "as": "query"}]}', r"steps\[0\]: 'query' is taken"),
        ('{"steps": [{"do": "if", "when": {"votes": 1}, "then": {"do": "vot"}}]}', r"steps\[0\].then.do: "),
        ('{"steps": [{"do": "if", "when": {"votes": 1}, "then": [{"do": "vot"}]}]}', r"steps\[0\].then\[0\].do: "),
        ('{"steps": [{"do": "if", "when": {}, "then": [{"do": "vote"}]}]}', r"steps\[0\].when: .*at least one"),
        ('{"steps": [{"do": "if", "when": {"p": 1.5}, "then": {"do": "vote"}}]}', r"steps\[0\].when.p: "),
        ('{"steps": [{"do": "parallel", "at_least": 2, "branches": [{"do": "vote"}]}]}', r"steps\[0\]: at_least"),
        ('{"steps": [{"do": "loop", "most": 33, "steps": {"do": "sample"}}]}', r"steps\[0\].most: 33"),
        ('{"steps": [{"do": "loop", "most": NaN, "steps": {"do": "sample"}}]}', r"steps\[0\].most: "),
        ('{"steps": [{"do": "call", "workflow": "x"}]}', r"steps\[0\].workflow: 'x' is not defined"),
        ('{"steps": [{"do": "strategy", "name": "nope"}]}', r"steps\[0\].name: unknown strategy"),
        ('{"steps": [{"do": "strategy", "name": "self_consistenc"}]}', "Did you mean 'self_consistency'"),
        ('{"steps": [{"do": "strategy", "name": "best_of_n", "settings": {"a": 1}}]}', r"steps\[0\]: .*settings"),
        ('{"steps": [{"do": "strategy", "name": "os:system"}]}', r"steps\[0\].name: unknown strategy"),
        ('{"steps": [{"do": "strategy", "name": "orchestrate"}]}', r"steps\[0\].name: 'orchestrate' is not allowed"),
        ('{"steps": [{"do": "strategy", "name": "best_of_n", "settings": {"params": {"@": "os:system"}}}]}', "trusted"),
        ('{"steps": [{"do": "sample"}], "steps": [{"do": "sample"}]}', "'steps' stands twice"),
        ("steps: &a\n- do: sequence\n  steps: *a", "aliases"),
        ("a: &a [x,x]\nb: &b [*a,*a]\nsteps: [*b,*b]", "aliases"),
        ("steps: !!python/object/apply:os.system [ls]", "not YAML"),
        ("- do: sample\n- do: sample\n  prompt: 2020-01-01", r"steps\[1\].prompt: "),
        ("[" * 5_000, "nested too deep|not JSON"),
        ("- " * 3_000, "nested too deep|not YAML|nested more than"),
        ('[{"do": "sample", "prompt": "' + "x" * 70_000 + '"}]', "characters"),
        ("[" + ",".join(['{"do": "sample"}'] * 300) + "]", "300 steps"),
        (json.dumps([{"do": "sample", "prompt": "\ud800"}]), "surrogate"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_and_said_where(source: str, said: str) -> None:
    with pytest.raises(CallerError, match=said):
        Workflow(source)


def test_recursion_is_found_before_anything_runs() -> None:
    define = {"a": [{"do": "if", "when": {"votes": 1}, "then": {"do": "call", "workflow": "b"}}],
              "b": [{"do": "sequence", "steps": {"do": "call", "workflow": "a"}}]}  # fmt: skip
    with pytest.raises(CallerError, match=r"define.a calls itself \(a -> b -> a\)"):
        Workflow.of({"steps": [{"do": "sample"}], "define": define})


def test_what_it_could_come_to_is_bounded_whatever_way_it_is_written() -> None:
    loop: Any = {"do": "sample"}
    for _ in range(3):
        loop = {"do": "loop", "most": 32, "steps": loop}
    with pytest.raises(CallerError, match="32,768 purchases"):
        Workflow.of([loop])
    doubling = {f"a{i}": [{"do": "call", "workflow": f"a{i + 1}"}] * 2 for i in range(11)}
    with pytest.raises(CallerError, match=r"purchases|steps in steps"):
        Workflow.of({"steps": {"do": "call", "workflow": "a0"}, "define": {**doubling, "a11": [{"do": "sample"}]}})
    deep: Any = {"do": "sample"}
    for _ in range(15):
        deep = {"do": "sequence", "steps": [deep]}
    with pytest.raises(CallerError, match="steps in steps"):
        Workflow.of([deep])
    with pytest.raises(CallerError, match=r"at most 2 are allowed"):
        Workflow.of([DRAFT] * 3, caps=Caps(buys=2))
    with pytest.raises(CallerError, match="rounds"):
        Caps(rounds=0)


def test_models_that_are_not_allowed_are_refused_and_those_that_it_names_are_known() -> None:
    inner = {"do": "strategy", "name": "self_consistency", "settings": {"model": "b:7b"}}
    flow = Workflow.of([{"do": "sample", "model": "a"}, {"do": "parallel", "branches": [inner]}])
    assert flow.models == ("a", "b:7b")
    assert set(models_of(flow)) == {"a", "b:7b"}
    with pytest.raises(CallerError, match=r"branches\[0\].model: 'b:7b' is not allowed here \(allowed: a\)"):
        Workflow.of(flow.to_dict(), models=("a",))


class Trap:
    """Stands for whatever an address can make."""

    sprung = False

    def __init__(self, **settings: Any) -> None:
        Trap.sprung = True


TRAP = {"@": f"{__name__}:Trap"}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("single_shot", {"model": TRAP}),
        ("self_consistency", {"consensus_model": TRAP}),
        ("debate", {"models": [TRAP]}),
        ("debate", {"models": ["m", TRAP]}),
        ("single_shot", {"params": {"extra": {"x": TRAP}}}),
        ("roles", {"coordinator": TRAP}),
        ("roles", {"coordinator": f"{__name__}:Trap"}),
        ("experts", {"gate": TRAP}),
        ("fusion", {"members": [TRAP]}),
        ("fusion", {"members": [f"{__name__}:Trap"]}),
        ("fusion", {"members": [{"strategy": f"{__name__}:Trap"}]}),
        ("fusion", {"members": [{"strategy": "single_shot", "model": TRAP}]}),
        ("fusion", {"members": ["single_shot:model=@pyproject.toml"]}),
        ("fusion", {"members": ["workflow"]}),
        ("fusion", {"members": [{"strategy": "orchestrate"}]}),
        ("cascade", {"stages": [{"strategy": {"@": "x"}}]}),
        ("reflexion", {"topic": "everyone", "scope": "tenant"}),
        ("single_shot", {"model": 5}),
    ],
)
def test_settings_that_nobody_vouches_for_make_nothing_but_built_in_strategies(name: str, settings: Any) -> None:
    Trap.sprung = False
    with pytest.raises(CallerError, match=r"^workflow: steps\[0\]"):
        Workflow.of([{"do": "strategy", "name": name, "settings": settings}])
    assert not Trap.sprung


def test_an_object_is_no_model_however_it_is_found() -> None:
    Trap.sprung = False
    with pytest.raises(CallerError, match="object where"):
        find("single_shot", model=TRAP)
    assert not Trap.sprung


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("debate", {"agents": 3000}, "agents: 3,000"),
        ("self_consistency", {"samples": 10**9}, "samples: 1,000,000,000"),
        ("self_consistency", {"samples": 600}, "600 purchases"),
        ("fusion", {"members": ["single_shot"] * 65}, "65 entries"),
        ("fusion", {"members": [{"strategy": "self_consistency", "samples": 300}] * 2}, "purchases"),
    ],
)
def test_what_its_strategies_buy_is_counted_and_bounded(name: str, settings: Any, said: str) -> None:
    with pytest.raises(CallerError, match=said):
        Workflow.of([{"do": "strategy", "name": name, "settings": settings}])


@pytest.mark.parametrize(
    "settings",
    [{"params": [1]}, {"params": "x"}, {"params": 5}, {"params": {"temperature": {}}}, {"waits": "x"}, {"nope": 1}],
)
def test_settings_of_the_wrong_kind_are_refused_with_their_place(settings: Any) -> None:
    with pytest.raises(CallerError, match=r"^workflow: steps\[0\]"):
        Workflow.of([{"do": "strategy", "name": "single_shot", "settings": settings}])


def test_usual_settings_need_no_trust() -> None:
    params = {"stop": ["a:b", "@"], "max_tokens": 100_000}
    members = [{"strategy": "single_shot", "model": "a:7b"}, "self_consistency"]
    flow = Workflow.of([{"do": "strategy", "name": "fusion", "settings": {"members": members, "params": params}}])
    assert flow.models == ("a:7b",)


def test_rounds_that_buy_nothing_are_counted_too() -> None:
    loop: Any = {"do": "vote"}
    for _ in range(8):
        loop = {"do": "loop", "most": 32, "steps": [loop]}
    with pytest.raises(CallerError, match="steps done, at most 4,096"):
        Workflow.of([loop])


@pytest.mark.parametrize("source", ["2020-01-01: 1", "? !!binary aGk=\n: 1", "on: 1", "? [a]\n: 2", "? \n: 2"])
def test_a_key_that_is_no_text_is_refused(source: str) -> None:
    with pytest.raises(CallerError, match="is no text"):
        Workflow(f"steps: [do: sample]\n{source}")


def test_the_name_of_a_file_is_known_for_one() -> None:
    with pytest.raises(CallerError, match=r"workflow:source=@flow\.yaml"):
        Workflow.of("flow.yaml")


@pytest.mark.parametrize("settings", [{"models": "abc"}, {"caps": None}, {"params": None}])
def test_bad_settings_of_its_own(settings: Any) -> None:
    with pytest.raises(CallerError):
        Workflow.of([DRAFT], **settings)


def test_a_trusted_workflow_may_name_what_has_to_be_imported() -> None:
    step = {"do": "strategy", "name": "satisfice.strategies.single_shot:SingleShot"}
    with pytest.raises(CallerError, match="unknown strategy"):
        Workflow.of([step])
    assert Workflow.of([step], trusted=True).buys == 1


@pytest.mark.parametrize("flow", FLOWS)
def test_it_is_found_again_from_its_settings_and_reads_the_same_in_every_form(flow: Any) -> None:
    made = Workflow.of({"name": "x", "steps": flow}, params=Params(temperature=0.3))
    assert find(address_of(made), **json.loads(json.dumps(settings_of(made)))) == made
    for form in (made.to_dict(), made.to_yaml(), made.source, json.dumps(made.to_dict(), indent=3)):
        assert Workflow.of(form, params=made.params) == made
    assert Workflow.of(made.to_yaml()).to_yaml() == made.to_yaml()


def test_the_schema_is_json_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = Workflow.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(Workflow.of({"steps": FLOWS[2]}).to_dict())
    assert not validator.is_valid({"steps": [{"do": "dance"}]})


def test_conditions() -> None:
    view = View(True, False, 0.5, 0.7, 2, {"a": "Yes, ACCEPT."})
    cases: list[tuple[dict[str, Any], bool]] = [
        ({"answered": True}, True),
        ({"answered": False}, False),
        ({"passed": False, "votes": 3}, False),
        ({"agreement": 0.5, "p": 0.7, "votes": 2}, True),
        ({"agreement": 0.51}, False),
        ({"says": {"a": "accept"}}, True),
        ({"says": {"a": "accept", "b": "x"}}, False),
        ({"any": [{"votes": 9}, {"votes": 1}]}, True),
        ({"not": {"votes": 1}}, False),
    ]
    for data, expected in cases:
        assert holds(Condition.model_validate(data), view) is expected, data
    nothing = View(False, False, 0.0, None, 0, {})
    assert not holds(Condition(p=0.0), nothing) and not holds(Condition(agreement=0.0), nothing)


def test_the_documented_example_reads() -> None:
    page = Path(__file__).parent.parent / "docs" / "workflows.md"
    found = re.search(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert Workflow(found[1]).buys == 7
