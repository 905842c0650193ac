"""Reading is total, blind to notation, and stable on its own answers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.core.answers import read, value_of
from satisfice.core.task import KINDS, Contract

CONTRACTS = [Contract(kind) for kind in KINDS] + [
    Contract("choice", ("Paris", "New York", "yes")),
    Contract("choice", ("A) Paris", "B) the other")),
    Contract("json", schema={"type": "object", "required": ["a"]}),
]
PIECES = st.sampled_from(
    ["Answer:", "answer is", "\\boxed{", "}", "{", "####", "<answer>", "</answer>", "```", "```python\n", "\n", " ",
     "17", "1,234", "1.5",
     "\\frac", "\\sqrt", "^", "-", "+", "*", "/", "%", "(", ")", "B", "(b)", "option", "Paris", "New York",
     "seventeen", "and", "hundred", "half",
     "minus", '{"a": 1}', "[1, 2]", '"x"', "true", ",", ".", "=", "\u2248", "\u2212", "\u00bd", "\u00b2", "\u03c0",
     "x", "def f():\n  return 1\n",
     "</think>", "e999", "1e5", "the", "\\text{", "$", "**", "of", "because", "answer = 5", "9**9**9", "\u00a0",
     "Final Answer", "'", ":", "!"]
)  # fmt: skip
MIXED = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=14).map("".join)


@pytest.mark.parametrize("contract", CONTRACTS, ids=repr)
@settings(max_examples=100, deadline=2_000)
@given(text=st.one_of(st.text(), MIXED, MIXED))
def test_reading_is_total_and_stable(contract: Contract, text: str) -> None:
    reading = read(contract, text)
    if reading is None:
        return
    assert reading.key
    assert read(contract, text) == reading
    again = read(contract, f"Answer: {reading.answer}")
    assert again is not None
    assert again.key == reading.key
    value_of(contract, text)
    assert value_of(contract, reading.answer) == reading.value


RENDERINGS = [
    "{n}", "{n}.0", "{n:,}", "**{n}**", "Answer: {n}", "\\boxed{{{n}}}", "$ {n} $", "The answer is {n}.", "#### {n}",
    "x = {n}", "{n} apples",
    "<answer>{n}</answer>", "{n}/1", "\\frac{{{n}}}{{1}}", "We had 3.\nSo {n}\n",
    "Final Answer: \\boxed{{{n:,}}} units", "{n}e0",
]  # fmt: skip


@settings(max_examples=200)
@given(n=st.integers(-(10**30), 10**30), how=st.sampled_from(RENDERINGS))
def test_an_integer_has_one_key(n: int, how: str) -> None:
    reading = read(Contract("number"), how.format(n=n))
    assert reading is not None
    assert (reading.key, reading.value) == (str(n), n)


@settings(max_examples=200)
@given(a=st.integers(-(10**6), 10**6), b=st.integers(1, 10**4))
def test_a_fraction_has_one_key(a: int, b: int) -> None:
    plain = read(Contract("number"), f"{a}/{b}")
    latex = read(Contract("number"), f"\\boxed{{\\frac{{{a}}}{{{b}}}}}")
    printed = read(Contract("number"), f"Answer: {a / b!r}")
    assert plain is not None
    assert latex is not None
    assert printed is not None
    assert plain.key == latex.key == printed.key
    assert plain.value == float(Fraction(a, b))


@settings(max_examples=200)
@given(text=st.text(min_size=1, max_size=40))
def test_text_keys_ignore_blanks_and_marks(text: str) -> None:
    plain = read(Contract("text"), "Answer: word " + " ".join(text.split()))
    if plain is not None:
        again = read(Contract("text"), f"Answer: {plain.key}")
        assert again is not None
        assert again.key == plain.key
