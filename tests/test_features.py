"""Features of a question: bounded, the same each time, and told apart where they should be; embeddings by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice import CallerError, Task
from satisfice.budgets import features as module
from satisfice.budgets.features import (
    HASHED,
    MARKS,
    NAMES,
    embedded,
    embedding_size,
    features,
    register_embedding,
)
from satisfice.core.task import KINDS
from satisfice.strategies.gating import features as gate_features

EXAM = "Which of these is not a prime?\nA. 2\nB. 15 \nC. None of the above\nD. 7\nAnswer:"


def marks(query: str, kind: Any = "text", **fields: Any) -> dict[str, float]:
    return dict(zip(NAMES, features(Task.of(query, kind, **fields), 0), strict=True))


@given(query=st.text(max_size=400), kind=st.sampled_from(KINDS), buckets=st.sampled_from([0, 1, 16, HASHED]))
def test_features_are_bounded_and_the_same_each_time(query: str, kind: Any, buckets: int) -> None:
    seen = features(Task.of(query, kind), buckets)
    assert len(seen) == MARKS + buckets
    assert all(0 <= x <= 3 for x in seen[:MARKS])
    assert seen == features(Task.of(query, kind), buckets)


@given(query=st.text(alphabet=st.characters(codec=None), max_size=60))
def test_any_text_has_features_lone_surrogates_too(query: str) -> None:
    assert len(features(Task.of(query))) == MARKS + HASHED


def test_a_document_is_read_only_at_its_beginning() -> None:
    assert features(Task.of("word " * 10_000)) == features(Task.of("word " * 20_000))


def test_an_exam_question_is_taken_apart() -> None:
    seen = marks(EXAM, "choice")
    assert seen["kind:choice"] == 1 and seen["kind:number"] == 0
    assert seen["choices"] == pytest.approx(4 / 5)
    assert seen["numeric options"] == pytest.approx(3 / 4)
    assert seen["negated"] == seen["catch-all"] == seen["asks"] == 1
    assert seen["stem"] < seen["length"]
    assert marks("Which of these is a prime?\nA. 2\nB. 4", "choice")["negated"] == 0


def test_choices_of_the_contract_count_where_the_text_lists_none() -> None:
    from satisfice import Contract, Message

    task = Task((Message("user", "Is it so?"),), Contract("choice", ("yes", "no", "unknown")))
    assert dict(zip(NAMES, features(task, 0), strict=True))["choices"] == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("Der Hund ist nicht auf dem Dach und das ist gut", "language:de"),
        ("Les chats qui dorment dans une maison", "language:fr"),
        ("Los perros de la casa como una familia para el rey", "language:es"),
        ("The cat that was with the dog", "language:en"),
    ],
)
def test_languages_are_told_by_their_commonest_words(query: str, name: str) -> None:
    seen = marks(query)
    languages = {key: value for key, value in seen.items() if key.startswith("language:")}
    assert max(languages, key=lambda key: languages[key]) == name


def test_scripts_are_told_by_their_letters() -> None:
    assert marks("Сколько будет два и два?")["script:cyrillic"] > 0.7
    assert marks("二加二是多少")["script:east asian"] > 0.9
    assert marks("two and two")["script:cyrillic"] == 0
    assert features(Task.of("二加二是多少"))[MARKS:] != features(Task.of("三加三是多少"))[MARKS:]


def test_code_and_mathematics_leave_marks() -> None:
    assert marks("def f(x):\n    return {x: 1};")["code"] > marks("a story of a fox")["code"]
    assert marks("how many: 3*x^2 + 4 = 7/2")["maths"] > marks("a story of a fox")["maths"]


def test_words_are_hashed_with_their_order() -> None:
    one, other = (features(Task.of(text))[MARKS:] for text in ("dogs bite men", "men bite dogs"))
    assert one != other
    assert sum(one) == pytest.approx(sum(other))


def test_the_gate_keeps_its_own_shorter_list() -> None:
    assert gate_features is module.gate_features
    assert gate_features(Task.of("2 + 2?", "number"), 0) == pytest.approx(
        (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.19459101090932196, 0.0, 1 / 3, 0.0, 0.2, 0.0, 0.0)
    )


def test_an_embedding_is_known_by_its_name_until_it_is_taken_away() -> None:
    task = Task.of("hello")
    assert embedded(task, "test:lengths") is None
    register_embedding("test:lengths", lambda text: [float(len(text)), 1.0], 2)
    try:
        assert embedded(task, "test:lengths") == (5.0, 1.0)
        assert embedding_size("test:lengths") == 2
    finally:
        register_embedding("test:lengths", None)
    assert embedding_size("test:lengths") == 0


@pytest.mark.parametrize("answer", [[1.0], [1.0, float("nan")], ["a", "b"], None])
def test_an_embedding_that_gives_no_vector_is_none(answer: Any) -> None:
    register_embedding("test:bad", lambda _: answer, 2)
    try:
        assert embedded(Task.of("hello"), "test:bad") is None
    finally:
        register_embedding("test:bad", None)


def test_an_embedding_that_raises_is_none() -> None:
    def fails(_: str) -> list[float]:
        raise RuntimeError("no network")

    register_embedding("test:fails", fails, 2)
    try:
        assert embedded(Task.of("hello"), "test:fails") is None
    finally:
        register_embedding("test:fails", None)


@pytest.mark.parametrize(
    ("name", "embed", "size"), [("", len, 3), ("x", "no callable", 3), ("x", len, 0), ("x", len, True), (3, len, 2)]
)
def test_bad_embeddings_are_refused(name: Any, embed: Any, size: Any) -> None:
    with pytest.raises(CallerError):
        register_embedding(name, embed, size)
