"""Folds: the same question, near-duplicates and questions on one passage never lie in two."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.core.errors import CallerError
from satisfice.experiments import Bank
from satisfice.experiments.banking import splitting
from satisfice.experiments.banking.records import Draw, Question

WORDS = "the a train leaves Paris at noon and goes west with speed while another one from Rome heads north".split()  # noqa: SIM905


def bank_of(texts: list[str], folds: list[int] | None = None, passages: list[str] | None = None) -> Bank:
    folds, passages = folds or [0] * len(texts), passages or [""] * len(texts)
    made = {
        f"q{i}": Question(f"q{i}", "d", text, "7", "number", (), fold, "", passage)
        for i, (text, fold, passage) in enumerate(zip(texts, folds, passages, strict=True))
    }
    return Bank(made, {(q, "m", "cot"): (Draw(0, "7", "7", True),) for q in made})


def story(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def test_the_same_question_in_other_dress_is_the_same() -> None:
    a, b, c = bank_of(["What is 3 + 4?", "what  is\n3 + 4?", "What is 3 - 4?"]).questions.values()
    assert splitting.key(a) == splitting.key(b) != splitting.key(c)
    assert splitting.clusters([a, b, c]) == (0, 0, 2)


def test_one_other_number_is_another_question() -> None:
    long = f"{story(1)} costs 17 euros"
    texts = ["What is 17 + 25?", "What is 18 + 25?", long, long.replace("17", "18"), long + " now"]
    assert splitting.clusters(list(bank_of(texts).questions.values())) == (0, 1, 2, 3, 2)


def test_questions_on_one_passage_stay_together() -> None:
    texts = ["Who came?", "Why did he leave?", "Who came?", "Who came?"]
    bank = bank_of(texts, passages=["A man came. ", "a man  came.", "A dog came.", ""])
    assert splitting.clusters(list(bank.questions.values())) == (0, 0, 2, 3)
    assert splitting.clusters(list(bank.questions.values()), near=False) == (0, 0, 2, 3)


def test_instructions_of_a_whole_data_set_make_no_duplicates() -> None:
    """60 words of the same instructions, three of its own: 0.9 alike, and yet 200 questions."""
    common = story(0, 200)
    texts = [f"{common} {a} {b} {a}" for a, b in zip(map(chr, range(300, 500)), map(chr, range(600, 800)), strict=True)]
    assert len(set(splitting.clusters(list(bank_of(texts).questions.values())))) == 200
    few = list(bank_of(texts[:12]).questions.values())
    assert len(set(splitting.clusters(few))) == 12


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "7", "8"]), min_size=1, max_size=14), max_size=12))
def test_the_join_finds_exactly_the_pairs_that_are_alike(words: list[list[str]]) -> None:
    texts = list(dict.fromkeys(" ".join(row) for row in words))
    found = {tuple(sorted(pair)) for pair in splitting.alike(texts)}
    sets = [splitting._shingles(text) for text in texts]
    counts = {s: sum(s in made for made in sets) for made in sets for s in made}
    common = min(splitting.COMMON, max(3, len(texts) // 5))
    telling = [{s for s in made if counts[s] <= common} for made in sets]

    def jaccard(a: set[str], b: set[str]) -> float:
        return len(a & b) / len(a | b)

    def numbers(text: str) -> list[str]:
        return [word for word in text.split() if word.isdigit()]

    expected = {
        (i, j)
        for j in range(len(texts))
        for i in range(j)
        if telling[i]
        and telling[j]
        and numbers(texts[i]) == numbers(texts[j])
        and jaccard(sets[i], sets[j]) >= splitting.ALIKE
        and jaccard(telling[i], telling[j]) >= splitting.ALIKE
    }
    assert found == expected


def test_a_split_keeps_what_belongs_together_and_is_the_same_in_any_order() -> None:
    texts = [story(i // 3) + (" indeed" if i % 3 == 1 else " Indeed." if i % 3 == 2 else "") for i in range(90)]
    bank = bank_of(texts)
    made = bank.split(5)
    made.check_split()
    folds = {q.text: q.fold for q in made.questions.values()}
    assert set(folds.values()) == set(range(5))
    for i in range(0, 90, 3):
        assert len({folds[text] for text in texts[i : i + 3]}) == 1
    turned = bank_of(texts[::-1]).split(5)
    assert {q.text: q.fold for q in turned.questions.values()} == folds
    assert {q.text: q.fold for q in bank.split(5, seed=1).questions.values()} != folds
    assert made.manifest["split"] == {"folds": 5, "seed": 0, "clusters": 30}
    assert made.draws == bank.draws


def test_the_same_question_in_two_folds_is_refused(tmp_path: Path) -> None:
    bank = bank_of(["What is 3 + 4?", "What is 5 + 5?", "WHAT is 3 + 4?"], [0, 1, 2])
    with pytest.raises(CallerError, match=r"'q0' \(fold 0\) and 'q2' \(fold 2\).*satisfice bank split"):
        bank.check_split()
    assert any("'q0' and 'q2'" in warning for warning in bank.info()["warnings"])
    near = bank_of([story(1), story(1) + " indeed"], [0, 1])
    with pytest.raises(CallerError, match="or nearly so"):
        near.check_split()
    near.check_split(near=False)
    bank_of(["What is 3 + 4?", "What is 5 + 5?"], [0, 1]).check_split()
    bank.split(7).check_split()


def test_splits_that_cannot_be() -> None:
    with pytest.raises(CallerError, match="2 or more"):
        bank_of(["a", "b"]).split(1)
    with pytest.raises(CallerError, match="one fold"):
        bank_of(["a", "A"]).split(5)


def test_what_tells_nothing_is_named() -> None:
    from satisfice.experiments.banking.records import Scored

    texts = [f"What is {i} + {i}?" for i in range(4)]
    bank = bank_of(texts)
    verdicts = {
        (f"q{i}", "m", "cot", 0): {"flat": Scored(0.5), "good": Scored(i / 4), "blank": Scored(None)} for i in range(4)
    }
    info = Bank(bank.questions, bank.draws, {}, None, verdicts).info()
    assert info["constant_verifiers"] == ["flat"]
    assert info["one_sample"] == 4
    assert any("one sample of each question" in warning for warning in info["warnings"])
    assert any("never varies" in warning and "flat" in warning for warning in info["warnings"])
