"""Whatever a candidate says: no verifier of texts raises, and the same text gives the same verdict.

`tests/fuzz/` holds the coverage-guided harnesses for longer runs.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satisfice.core.task import KINDS, Candidate, Contract, Task
from satisfice.core.verdict import Verdict
from satisfice.verifiers.algebra.shapes import LIMIT, Unreadable, fraction, shape, split, tidy
from satisfice.verifiers.choice import Choice
from satisfice.verifiers.exact import Exact

MATHS = [
    r"\frac{1}{2}", "x^2 + 2x + 1", r"\boxed{3}", r"\sqrt[3]{27}", "[0, 1)", r"(-\infty, 2] \cup (3, 4)",
    r"\{1, 2\}", "1,234.5",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"2 \pm \sqrt{3}", "50%", "x = 2 or x = 3", "1 < x <= 3", "17 apples",
    "sin(x)^2", "5!",
    r"\int_0^1 x dx", "|x - 1|", "1 3/4", r"\text{even}", r"x \in \mathbb{R}", "x\u00b2 + \u00bd", "3i + 2",
    "(1, 2, 3)",
]  # fmt: skip
VALUES = [
    '{"age": 3, "tags": ["a"]}',
    "[1, 2.5, null]",
    '"x\\u0041"',
    "```json\n{}\n```",
    '{"a": {"b": [true]}}',
    "-1e5",
]
SIGNS = "{}[]()\\^_&%$,;=<>|!*/+-.'\"` \n\t\0"
ODD = st.sampled_from([*SIGNS, "\ud800", "\u202e", "\u00b2", "\u00bd", "\ufdfa", "\\\\", "**", "^{", "e9", "NaN"])


def mutated(seeds: list[str]) -> st.SearchStrategy[str]:
    """Valid inputs with pieces removed, doubled, swapped for odd ones, or joined."""

    @st.composite
    def build(draw: st.DrawFn) -> str:
        text = draw(st.sampled_from(seeds))
        for _ in range(draw(st.integers(0, 6))):
            a, b = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
            how = draw(st.integers(0, 3))
            if how == 0:
                text = text[:a] + text[b:]
            elif how == 1:
                text = text[:a] + text[a:b] * draw(st.integers(2, 8)) + text[b:]
            elif how == 2:
                text = text[:a] + draw(ODD) + text[b:]
            else:
                text = text[:a] + draw(st.sampled_from(seeds)) + text[a:]
            text = text[: 2 * LIMIT]
        return text

    return build()


TEXTS = st.one_of(st.text(max_size=60), mutated(MATHS), mutated(VALUES), mutated(MATHS + VALUES))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
FEW = settings(max_examples=60, deadline=10_000, suppress_health_check=[HealthCheck.too_slow])
SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "tags": {"items": {"pattern": "^a+$"}, "uniqueItems": True}},
    "required": ["age"],
}


def judged(verifier: Any, text: str, contract: Contract) -> Verdict:
    verdict = verifier(Task((), contract), Candidate(text, text))
    assert isinstance(verdict, Verdict)
    assert verdict.score in (0.0, 1.0, None)
    verdict.evidence.encode()
    return verdict


@FEW
@given(text=TEXTS)
def test_shapes_are_read_or_refused(text: str) -> None:
    try:
        tidied = tidy(text)
        shape(tidied)
    except Unreadable:
        return
    assert len(tidied) <= LIMIT
    fraction(tidied)


@FEW
@given(parts=st.lists(st.sampled_from(["1", "x", r"\frac{1}{2}", "(1,2)", r"\{3\}", "[4]"]), min_size=1, max_size=6))
def test_a_list_comes_apart_as_it_was_put_together(parts: list[str]) -> None:
    import re

    assert split(", ".join(parts), re.compile(","))[0] == parts


@FEW
@given(text=TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_verifiers_of_texts_are_total(kind: Any, text: str) -> None:
    contract = Contract(kind, ("Rome", "Paris") if kind == "choice" else ())
    for verifier in (Choice("Rome"), Exact(["Rome", "5"], accents=False)):
        assert judged(verifier, text, contract) == judged(verifier, text, contract)


@FEW
@given(text=TEXTS)
def test_exact_accepts_itself(text: str) -> None:
    if text.strip():
        assert judged(Exact(text), text, Contract()).passed
        assert judged(Exact(text), text.upper().lower(), Contract()).score is not None


@FEW
@given(text=st.one_of(TEXTS, mutated(VALUES)))
def test_schema_is_total(text: str) -> None:
    pytest.importorskip("jsonschema")
    pytest.importorskip("re2")
    from satisfice.verifiers.schema import Schema

    for schema in (SCHEMA, dict[str, Any]):
        verdict = judged(Schema(schema), text, Contract("json"))
        assert verdict == judged(Schema(schema), text, Contract("json"))


@FEW
@given(value=JSON)
def test_a_value_fits_the_schema_that_names_it(value: Any) -> None:
    pytest.importorskip("jsonschema")
    from satisfice.verifiers.schema import Schema

    assert judged(Schema({"const": value}), json.dumps(value), Contract("json")).passed
    assert not judged(Schema({"const": [value]}), json.dumps(value), Contract("json")).passed


@FEW
@given(text=TEXTS, pattern=st.sampled_from(["^a*$", r"\d+", "(a|b)*c", "."]), full=st.booleans())
def test_regex_is_total(text: str, pattern: str, full: bool) -> None:
    pytest.importorskip("re2")
    from satisfice.verifiers.regex import Regex

    verdict = judged(Regex(pattern, full), text, Contract())
    assert verdict.exact


@settings(max_examples=40, deadline=60_000, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.one_of(mutated(MATHS), st.text(alphabet="0123456789x+-*/^()., =<%!", max_size=20)))
def test_mathematics_is_total(text: str) -> None:
    pytest.importorskip("latex2sympy2_extended")
    from satisfice.verifiers.math_ import Equation, Math

    for verifier in (Math("x^2 + 1", seconds=1.0), Equation("x^2 = 4", seconds=1.0)):
        judged(verifier, text, Contract())


@pytest.mark.parametrize("seed", range(30))
def test_an_expression_equals_itself_in_another_order(seed: int) -> None:
    pytest.importorskip("latex2sympy2_extended")
    from satisfice.verifiers.math_ import equivalent

    draw = random.Random(seed)
    terms = [f"{draw.randint(2, 9)}{draw.choice(['x', 'y', 'x^2', 'xy', '(x+1)', ''])}" for _ in range(4)]
    mixed = draw.sample(terms, len(terms))
    latex = " + ".join(rf"\frac{{{2 * int(t[0])}}}{{2}} {t[1:] or 1}" if t[1:] else t for t in mixed)
    assert equivalent(" + ".join(terms), latex, 20) is True
    assert equivalent(" + ".join(terms), latex + " + 1", 20) is False


@pytest.mark.parametrize("text", [r"/3\frac{1}{2}", r"^3\frac{1}{2}", "= / 3 1/2", r"3\frac{1}{2}"])
def test_what_stands_before_a_mixed_number_is_no_part_of_it(text: str) -> None:
    """Found by tests/fuzz/atheris_answers.py: a dangling operator made a product of it."""
    reading = Contract("number").read(text)
    assert reading is not None
    assert reading.value == 3.5
