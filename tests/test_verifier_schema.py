"""JSON Schema and pydantic models: faults are named, and neither a schema nor an answer can hang or raise."""

from __future__ import annotations

import pickle
import socket
import sys
import time
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel

from satisfice.core.errors import CallerError, MissingExtra
from satisfice.core.task import Candidate, Contract, Task
from satisfice.core.verdict import Verdict
from satisfice.verifiers.schema import Schema

pytest.importorskip("jsonschema")
pytest.importorskip("re2")
TASK = Task.of("q", "json")
PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["age"],
    "additionalProperties": False,
}


class Person(BaseModel):
    age: int
    tags: list[str] = []


def check(schema: Any, answer: str | None, task: Task = TASK) -> Verdict:
    verdict = Schema(schema)(task, Candidate(answer or "", answer))
    verdict.evidence.encode()
    assert len(verdict.evidence) < 2_000
    return verdict


@pytest.mark.parametrize("schema", [PERSON, Person])
@pytest.mark.parametrize(
    "answer", ['{"age": 3}', ' {"age": 3, "tags": ["a"]}\n', 'So:\n```json\n{"age": 3}\n```\nDone.']
)
def test_what_fits(schema: Any, answer: str) -> None:
    verdict = check(schema, answer)
    assert (verdict.score, verdict.exact) == (1.0, True)


@pytest.mark.parametrize("schema", [PERSON, Person])
def test_faults_are_named_by_their_path(schema: Any) -> None:
    verdict = check(schema, '{"age": "x", "tags": ["a", 3]}')
    assert (verdict.score, verdict.exact) == (0.0, True)
    assert "$.age: " in verdict.evidence
    assert "$.tags[1]: " in verdict.evidence


@pytest.mark.parametrize(
    ("schema", "answer", "said"),
    [
        (PERSON, "{}", "$: 'age' is a required property"),
        (PERSON, '{"age": -1}', "$.age: -1 is less than the minimum of 0"),
        (PERSON, '{"age": 1, "x": 2}', "('x')"),
        (PERSON, "[1]", "$: [1] is not of type 'object'"),
        (PERSON, "none", "holds no JSON value"),
        (PERSON, '{"age": 1, "age": 2}', "'age' stands twice"),
        ({}, '{"a": NaN}', "NaN is not JSON"),
        ({}, "[Infinity]", "Infinity is not JSON"),
        ({"anyOf": [{"type": "integer"}, {"properties": {"z": {"type": "string"}}}]}, '{"z": 1}', "$.z: 1"),
        ({"type": "array", "items": {"type": "integer"}}, '["a", 1, "b"]', "$[2]: 'b'"),
        ({"properties": {"a": {"pattern": "^x+$"}}}, '{"a": "y"}', "$.a: 'y' does not match"),
        ({"patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False}, '{"y": 1}', "('y')"),
        ({"patternProperties": {"^x": {"type": "null"}}}, '{"xy": 1}', "$.xy: 1 is not of type 'null'"),
        ({"additionalProperties": {"type": "null"}}, '{"a": 1}', "$.a: 1"),
        ({"uniqueItems": True}, "[1, 2, 1.0]", "not unique"),
        ({"items": [{"type": "integer"}], "$schema": "http://json-schema.org/draft-07/schema#"}, '["x"]', "$[0]"),
        (False, "1", "False schema"),
    ],
)
def test_what_does_not_fit(schema: Any, answer: str, said: str) -> None:
    verdict = check(schema if schema is not False else {"not": {}}, answer)
    assert (verdict.score, verdict.exact) == (0.0, True)
    assert said in verdict.evidence or schema is False


def test_five_faults_are_named_at_most() -> None:
    verdict = check({"items": {"type": "integer"}}, "[" + ",".join(['"x"'] * 20_000) + "]")
    assert verdict.evidence.count(" is not of type") == 5


@pytest.mark.parametrize(
    ("answer", "fits"),
    [("[1, true, 1.5]", True), ("[true, false, 0, 1]", True), ('[{"a": 1}, {"a": 1.0}]', False), ("[]", True)],
)
def test_unique_items_as_the_standard_has_them(answer: str, fits: bool) -> None:
    assert check({"uniqueItems": True}, answer).passed is fits


TREE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"below": {"type": "array", "items": {"$ref": "#"}}, "v": {"pattern": "^(a+)+$"}},
    "unevaluatedProperties": False,
}


def test_a_schema_of_trees() -> None:
    assert check(TREE, '{"below": [{"below": [], "v": "aa"}]}').passed
    assert "$.below[0].v" in check(TREE, '{"below": [{"v": "b"}]}').evidence
    assert check(TREE, '{"below": [{"w": 1}]}').score == 0.0
    # The pattern of the root also stands behind "$ref": "#".
    start = time.process_time()
    assert check(TREE, '{"below": [{"v": "' + "a" * 50_000 + 'b"}]}').score == 0.0
    assert time.process_time() - start < 30.0


LOOP = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}}
ITSELF: dict[str, Any] = {}
ITSELF["properties"] = {"a": ITSELF}
DEEP: dict[str, Any] = {}
for _ in range(5_000):
    DEEP = {"items": DEEP}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objct"}, r"\$\.type"),
        ({"properties": {"a": {"minimum": "x"}}}, r"\$\.properties\.a\.minimum: 'x' is not of type 'number'"),
        ({"$ref": "https://example.com/a.json"}, "nothing is fetched"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, r"'#/\$defs/none' at \$\.properties\.a leads nowhere"),
        (LOOP, "refers to itself without end"), ({"$ref": "#"}, "refers to itself"), ({"not": {"$ref": "#"}}, "itself"),
        ({"$dynamicRef": "#n", "$dynamicAnchor": "n"}, "itself"), (ITSELF, "not JSON"), (DEEP, "not JSON|too deeply"),
        ({"pattern": "(?=x)"}, "lookahead"), ({"patternProperties": {"(": {}}}, "regex"), ({"pattern": "["}, "wrong"),
        ({"$schema": "https://example.com/draft"}, "not known"), ({"type": object()}, "not JSON"),
        ({"minimum": float("nan")}, "JSON"),
        ({"unevaluatedProperties": False, "patternProperties": {"a": {}}}, "not supported"), (3, "neither"),
        ("text", "neither"),
    ],
)  # fmt: skip
def test_a_bad_schema_is_refused_at_once(schema: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)  # whoever fetches fails with another error
    with pytest.raises(CallerError, match=said):
        Schema(schema)


def test_data_that_looks_like_a_reference_is_data() -> None:
    schema = {"const": {"$ref": "https://example.com"}, "examples": [{"$ref": "#/none"}]}
    assert check(schema, '{"$ref": "https://example.com"}').passed
    assert check({"properties": {"$ref": {"type": "string"}}}, '{"$ref": 1}').score == 0.0


def test_references_by_id_and_anchor() -> None:
    schema = {
        "$id": "https://example.com/a",
        "$defs": {"n": {"$id": "b",
        "$defs": {"q": {"type": "integer"}}, "$ref": "#/$defs/q"}, "s": {"$anchor": "s", "type": "null"}},
        "anyOf": [{"$ref": "b"}, {"$ref": "#s"}],
    }  # fmt: skip
    assert [check(schema, a).score for a in ("1", "null", '"x"')] == [1.0, 1.0, 0.0]


def test_a_schema_that_multiplies_its_work_is_stopped() -> None:
    steps = {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(60)}
    verdict = check({"$ref": "#/$defs/a0", "$defs": {**steps, "a60": {"type": "integer"}}}, '"x"')
    assert verdict.score is None
    assert "steps" in verdict.evidence


HUGE = [
    "[" * 10_000, "[" * 10_000 + "]" * 10_000, '{"a":' * 500 + "1" + "}" * 500, "9" * 5_000, "[1e999]", "-1e400",
    '"' + "x" * 10_000_000 + '"', "[" + ",".join("1" * 49_000) + "]", '"' * 99_999, '"\\' * 49_000, '["\\ud800", 1]',
    "\ud800", "\0", "", None,
    "{" * 99_999, '{"age": ' + "9" * 900 + "}", '{"age": 1e308}', "[" + "{}," * 33_000 + "{}]",
    '{"\\ud800": 1, "\\ud800": 2}', '{"' + "k" * 90_000 + '": 1}', "```json\n" * 9_000,
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(HUGE)))
@pytest.mark.parametrize("schema", [PERSON, Person, TREE, {"uniqueItems": True, "multipleOf": 0.1}])
def test_any_answer_gives_a_verdict_in_time(schema: Any, number: int) -> None:
    start = time.process_time()
    verdict = check(schema, HUGE[number])
    assert verdict.score in (0.0, 1.0, None)
    assert verdict == check(schema, HUGE[number])
    assert time.process_time() - start < 30.0


def test_the_schema_of_the_task() -> None:
    task = Task((), Contract("json", schema=PERSON))
    assert check(None, '{"age": 3}', task).passed
    assert check(None, '{"age": "3"}', task).score == 0.0
    assert "no schema" in check(None, "{}").evidence
    broken = check(None, "{}", Task((), Contract("json", schema={"type": "objct"})))
    assert broken.score is None
    assert "cannot be used" in broken.evidence


def test_other_types_that_pydantic_takes() -> None:
    assert check(list[int], "[1, 2]").passed
    assert "$[1]" in check(list[int], '[1, "x"]').evidence

    def boom(value: int) -> int:
        raise RuntimeError("no")

    assert check(Annotated[int, AfterValidator(boom)], "1").score is None


def test_it_can_be_sent() -> None:
    made = pickle.loads(pickle.dumps(Schema(PERSON)))
    assert made == Schema(PERSON)
    assert made(TASK, Candidate("", '{"age": 1}')).passed


def test_without_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "jsonschema", None)
        with pytest.raises(MissingExtra, match=r"satisfice\[schema\]"):
            Schema({"title": "not seen before"})
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(MissingExtra, match=r"satisfice\[regex\]"):
        Schema({"pattern": "not seen before"})
    assert Schema({"title": "without patterns"})
