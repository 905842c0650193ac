"""Merging banks: nothing is lost, nothing stands twice, and two models never share a name."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.prices import Price
from satisfice.core.errors import CallerError, UnknownName
from satisfice.experiments import Bank
from satisfice.experiments.banking.records import Draw, Question, RecordedEffect, RecordedRun, Scored


def question(name: str, text: str = "What is 3 + 4?", gold: str | None = "7", fold: int = 0) -> Question:
    return Question(name, "sums", text, gold, "number", (), fold)


def draw(index: int, answer: str = "7", **more: Any) -> Draw:
    return Draw(index, answer, answer, answer == "7", 10, 20, 1000, **more)


def bank_of(questions: list[Question], draws: list[Draw], model: str = "m", **manifest: Any) -> Bank:
    first = questions[0].id
    made = {q.id: q for q in questions}
    verdicts = {(first, model, "cot", d.sample_index): {"v": Scored(d.sample_index / 8)} for d in draws}
    runs = tuple(
        RecordedRun("debate", d.sample_index, 1, model, d.answer, d.key, d.correct, "done", 1000, 30, None, effects)
        for d in draws
        for effects in [(RecordedEffect("0", 0, "ask", model, "f", "{}", 10, 20, 1000),)]
    )
    return Bank(made, {(first, model, "cot"): tuple(draws)}, manifest, None, verdicts, {(first, "debate"): runs})


def test_the_same_bank_twice_is_itself() -> None:
    bank = bank_of([question("a")], [draw(0), draw(1, "8")])
    made = Bank.merge(bank, bank)
    assert (made.questions, made.draws, made.verdicts, made.runs) == (
        bank.questions,
        bank.draws,
        bank.verdicts,
        bank.runs,
    )
    assert made.manifest["merged"]["same_draws"] == 2


def test_the_same_question_under_another_id_is_one_and_a_taken_number_is_given_anew() -> None:
    one = bank_of([question("a", fold=3)], [draw(0), draw(1, "8")])
    other = bank_of([question("b", "what is  3 + 4?", None, fold=5)], [draw(0, "9"), draw(1, "8"), draw(2)])
    made = Bank.merge(one, other)
    assert list(made.questions) == ["a"]
    assert made.questions["a"].fold == 3
    row = made.draws["a", "m", "cot"]
    assert [(d.sample_index, d.answer) for d in row] == [(0, "7"), (1, "8"), (2, "7"), (3, "9")]
    assert made.verdicts["a", "m", "cot", 3] == {"v": Scored(0.0)}  # went with its draw
    assert [r.run for r in made.runs["a", "debate"]] == [0, 1, 2, 3]
    assert made.manifest["merged"] == {
        "banks": made.manifest["merged"]["banks"],
        "same_questions": 1,
        "same_draws": 1,
        "renumbered": 2,
        "same_runs": 1,
        "refolded": 0,
    }


def test_another_question_under_the_same_id_keeps_itself() -> None:
    made = Bank.merge(bank_of([question("a")], [draw(0)]), bank_of([question("a", "What is 9?", "9")], [draw(0, "9")]))
    assert set(made.questions) == {"a", "a~2"}
    assert made.draws["a~2", "m", "cot"][0].answer == "9"
    other_gold = Bank.merge(bank_of([question("a")], [draw(0)]), bank_of([question("b", gold="8")], [draw(0)]))
    assert set(other_gold.questions) == {"a", "b"}
    same_gold = Bank.merge(bank_of([question("a")], [draw(0)]), bank_of([question("b", gold="7.0")], [draw(0)]))
    assert set(same_gold.questions) == {"a"}


def test_a_near_duplicate_takes_the_fold_of_the_first() -> None:
    text = "A train leaves Paris at noon and goes west while another one heads north from Rome at the same time today"
    long = f"{text} {text.upper()} which of them is the faster one after 3 hours"
    made = Bank.merge(
        bank_of([question("a", long, fold=1)], [draw(0)]), bank_of([question("b", long + " really", fold=2)], [draw(0)])
    )
    assert [q.fold for q in made.questions.values()] == [1, 1]
    assert made.manifest["merged"]["refolded"] == 1
    made.check_split()


def test_mixed_models_and_prices_are_refused_unless_told_apart() -> None:
    one = bank_of(
        [question("a")], [draw(0)], models={"m": {"fingerprint": "f1"}}, prices={"m": {"prompt": 1, "completion": 2}}
    )
    other = bank_of([question("a")], [draw(1)], models={"m": {"fingerprint": "f2"}})
    with pytest.raises(CallerError, match=r"'m' has fingerprint f1 .* f2.*--rename"):
        Bank.merge(one, other)
    made = Bank.merge(one, other, rename={"m": "m-2"})
    assert set(made.arms) == {("m", "cot"), ("m-2", "cot")}
    assert made.manifest["models"] == {"m": {"fingerprint": "f1"}, "m-2": {"fingerprint": "f2"}}
    assert {e.model for runs in made.runs.values() for r in runs for e in r.effects} == {"m", "m-2"}
    dear = bank_of([question("a")], [draw(1)], prices={"m": {"prompt": 5, "completion": 2, "source": "x"}})
    with pytest.raises(CallerError, match=r"mixed prices .*--reprice"):
        Bank.merge(one, dear)
    made = Bank.merge(one, dear, reprice={"m": Price.per_million(1, 2, "list")})
    assert {d.nanos for row in made.draws.values() for d in row} == {10 * 1000 + 20 * 2000}
    assert made.manifest["prices"]["m"]["prompt"] == 1_000_000
    assert {r.nanos for runs in made.runs.values() for r in runs} == {50_000}
    assert Bank.merge(one, bank_of([question("a")], [draw(1)])).most == 2  # unknown is not another


def test_the_same_draws_under_two_prices_are_one_once_they_are_billed_alike() -> None:
    one = bank_of([question("a")], [draw(0), draw(1, "8")], prices={"m": {"prompt": 1, "completion": 2}})
    dear = {
        group: tuple(replace(d, nanos=(d.nanos or 0) * 5, cost_source="list") for d in row)
        for group, row in one.draws.items()
    }
    runs = {
        place: tuple(replace(r, nanos=5 * r.nanos, effects=(replace(r.effects[0], nanos=5000),)) for r in found)
        for place, found in one.runs.items()
    }
    said = {place: {"v": replace(told["v"], nanos=7)} for place, told in one.verdicts.items()}
    other = Bank(one.questions, dear, {"prices": {"m": {"prompt": 5, "completion": 10}}}, None, said, runs)
    made = Bank.merge(one, other, reprice={"m": Price.per_million(1, 2)})
    assert [d.sample_index for d in made.draws["a", "m", "cot"]] == [0, 1]
    assert [r.run for r in made.runs["a", "debate"]] == [0, 1]
    counts = made.manifest["merged"]
    assert (counts["same_draws"], counts["same_runs"], counts["renumbered"]) == (2, 2, 0)
    assert made.verdicts == one.verdicts


def test_how_arms_and_runs_were_asked_for_is_kept_and_never_mixed() -> None:
    plain, filled = ({"prefill": words, "params": {"max_tokens": 24}} for words in ("", "Answer:"))
    settings = {"debate": {"prompts": {"number": "{{ query }}"}, "calls": 8}}
    one = bank_of([question("a")], [draw(0)], conditions={"m cot": plain}, run_settings=settings)
    other = bank_of([question("a")], [draw(1)], conditions={"m cot": filled})
    assert Bank.merge(one, bank_of([question("a")], [draw(1)])).manifest["run_settings"] == settings
    with pytest.raises(
        CallerError, match=r"'m cot' was recorded under other .* prefill '' there, 'Answer:' here.*--ren"
    ):
        Bank.merge(one, other)
    made = Bank.merge(one, other, rename={"m": "org/m 2"})
    assert made.manifest["conditions"] == {"m cot": plain, "org/m 2 cot": filled}
    fewer = bank_of([question("a")], [draw(1)], run_settings={"debate": {**settings["debate"], "calls": 4}})
    with pytest.raises(CallerError, match=r"'debate' was recorded under other conditions .*calls 8 there, 4 here"):
        Bank.merge(one, fewer)


def test_draws_without_tokens_lose_a_cost_that_cannot_be_told_anew() -> None:
    bare = bank_of([question("a")], [Draw(0, "7", "7", True, None, None, 1000)])
    made = Bank.merge(bare, bank_of([question("a")], [draw(1)]), reprice={"m": Price.per_million(1, 2)})
    assert [d.nanos for d in made.draws["a", "m", "cot"]] == [None, 50_000]


def test_what_cannot_be_merged() -> None:
    one = bank_of([question("a")], [draw(0)])
    with pytest.raises(CallerError, match="two banks"):
        Bank.merge(one)
    with pytest.raises(UnknownName, match="'x'"):
        Bank.merge(one, one, rename={"x": "y"})
    with pytest.raises(UnknownName, match="'x'"):
        Bank.merge(one, one, reprice={"x": Price.per_million(1, 2)})
    otherwise = Bank(one.questions, one.draws, {}, None, {("a", "m", "cot", 0): {"v": Scored(0.9)}})
    with pytest.raises(CallerError, match="scored one draw twice"):
        Bank.merge(one, otherwise)
    both = Bank(one.questions, {**one.draws, ("a", "n", "cot"): (draw(0),)})
    with pytest.raises(CallerError, match="would become one"):
        Bank.merge(one, both, rename={"m": "n"})


def test_licences_are_all_told() -> None:
    one, other = (bank_of([question("a")], [draw(i)], licence=name) for i, name in enumerate(("MIT", "CC0-1.0")))
    assert Bank.merge(one, other, one).manifest["licence"] == "MIT AND CC0-1.0"
    assert Bank.merge(one, bank_of([question("a")], [draw(5)])).manifest["licence"] == "MIT AND unknown"


BANKS = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from("789")), max_size=4, unique_by=lambda it: it[0]),
    min_size=2,
    max_size=4,
)


@given(BANKS)
def test_every_draw_is_found_in_the_union_once(told: list[list[tuple[int, str]]]) -> None:
    banks = [bank_of([question(f"q{i}")], [draw(*d) for d in draws]) for i, draws in enumerate(told)]
    made = Bank.merge(*banks)
    row = made.draws.get(("q0", "m", "cot"), ())
    assert len({d.sample_index for d in row}) == len(row)
    # of each answer as many as the union of what the banks hold at an index, no fewer than any of them
    found = Counter(d.answer for d in row)
    for draws in told:
        assert not Counter(answer for _, answer in draws) - found
    kept = sum(made.manifest["merged"][name] for name in ("same_draws",)) + len(row)
    assert kept == sum(map(len, told))
    again = Bank.merge(made, *banks[:1])
    assert again.draws == made.draws  # the first bank's draws are there as they were
