"""What crosses the pipe: all plain data unchanged, and nothing that the other side may say raises or hangs."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.verifiers.coding.draws import draw
from satisfice.verifiers.coding.faults import Faults, describe
from satisfice.verifiers.coding.stdio import alike
from satisfice.verifiers.coding.wire import BadMessage, CannotSend, decode, encode

NUMBERS = st.integers() | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text() | st.binary()
KEYS = st.recursive(SCALARS, lambda s: st.tuples(s, s) | st.frozensets(s, max_size=3), max_leaves=4)
PLAIN = st.recursive(
    KEYS,
    lambda s: st.lists(s, max_size=4) | st.dictionaries(KEYS, s, max_size=4) | st.sets(KEYS, max_size=4) | st.tuples(s),
    max_leaves=12,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    max_leaves=10,
)
TAGS = st.sampled_from(
    ["l", "t", "s", "fs", "d", "i", "f", "b", "c", "x", "n", "type", "obj", "arg", "fn", "fault", ""]
)
MESSAGES = st.recursive(JSON, lambda s: st.tuples(TAGS, s).map(list) | st.lists(s, max_size=4), max_leaves=20)
NAMES = st.sampled_from(
    ["Counter", "OrderedDict", "deque", "Decimal", "Fraction", "range", "date", "datetime", "slice"]
)


def refuse(*_: Any) -> Any:
    raise CannotSend("no")


def unknown(*_: Any) -> Any:
    raise BadMessage("no")


def alike_in_type(a: Any, b: Any) -> bool:
    """Also where `==` does not tell: True and 1, 0.0 and -0.0."""
    if isinstance(a, list | tuple):
        return type(a) is type(b) and all(map(alike_in_type, a, b))
    if isinstance(a, dict | set | frozenset):
        return type(a) is type(b) and sorted(map(type_name, a)) == sorted(map(type_name, b))
    return repr(a) == repr(b)


def type_name(value: Any) -> str:
    return type(value).__name__


@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value, refuse))), unknown)
    assert back == value and alike_in_type(back, value)


@given(MESSAGES | st.tuples(st.just("x"), st.tuples(NAMES, MESSAGES).map(list)).map(list))
def test_any_message_gives_a_value_or_is_refused(message: Any) -> None:
    with suppress(BadMessage):
        decode(message, unknown)


@given(st.lists(MESSAGES, max_size=5) | MESSAGES)
def test_any_exception_is_one_or_is_refused(message: Any) -> None:
    with suppress(BadMessage):
        assert isinstance(Faults().made(message, unknown), BaseException)


def test_exceptions_keep_their_class_their_ancestors_and_what_they_hold() -> None:
    class MyError(ValueError):
        def __str__(self) -> str:
            return "told"

    error = MyError(1, "two")
    error.code = 7  # type: ignore[attr-defined]
    faults = Faults()
    again: Any = faults.made(json.loads(json.dumps(describe(error, refuse))), unknown)
    assert isinstance(again, ValueError) and type(again).__name__ == "MyError" and type(again) is not MyError
    assert again.args == (1, "two") and again.code == 7 and str(again) == "told"
    assert faults.named(["MyError", "ValueError", "Exception", "BaseException"]) is type(again)
    for plain in (KeyError("k"), OSError(2, "no"), UnicodeDecodeError("utf-8", b"", 0, 1, "x"), SystemExit(3)):
        assert type(faults.made(describe(plain, refuse), unknown)) is type(plain)


def test_what_is_too_deep_or_not_plain_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    own: list[Any] = []
    own.append(own)
    for value in (deep, own, object(), [print]):
        with pytest.raises(CannotSend):
            encode(value, refuse)
    message: Any = ["l", []]
    for _ in range(500):
        message = ["l", [message]]
    with pytest.raises(BadMessage):
        decode(message, unknown)


def test_a_subclass_is_what_it_holds_whatever_it_says() -> None:
    class Liar(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__
        __pos__ = __index__ = __int__ = lambda self: 99  # type: ignore[assignment]

    class Items(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return iter([1, 2, 3])

    assert encode(Liar(5), refuse) == 5
    assert decode(encode(Items([9]), refuse), unknown) == [9]


@pytest.mark.parametrize(
    ("expected", "actual", "tolerance", "same"),
    [
        ("1 2\n3", "1  2 \r\n3\n\n", None, True),
        ("1 2", "1\n2", None, False),
        ("a", "A", None, False),
        ("", "\n", None, True),
        ("0.333", "0.3333", 1e-3, True),
        ("0.333", "0.34", 1e-3, False),
        ("0.333 x", "0.3333 y", 1e-3, False),
        ("nan", "nan", 1e-3, True),
    ],
)
def test_output_is_compared_by_words(expected: str, actual: str, tolerance: float | None, same: bool) -> None:
    assert alike(expected, actual, tolerance) is same


def test_draws_are_of_the_type_and_the_same_for_the_same_seed() -> None:
    from random import Random

    for kind in (
        int,
        float,
        bool,
        str,
        bytes,
        None,
        list[int],
        tuple[int, str],
        tuple[int, ...],
        set[int],
        dict[str, float],
    ):
        drawn = [draw(kind, Random(1), 5) for _ in range(2)]
        assert repr(drawn[0]) == repr(drawn[1])
    assert {type(draw(int | None, Random(i), 3)) for i in range(20)} == {int, type(None)}
    with pytest.raises(TypeError):
        draw(object, Random(0), 3)
