"""Choice, Exact and Regex: what they read, what they refuse, and what they do with anything at all."""

from __future__ import annotations

import copy
import pickle
import time
from typing import Any

import pytest

from satisfice.core.errors import CallerError, MissingExtra
from satisfice.core.task import Candidate, Contract, Task
from satisfice.core.verdict import Verdict
from satisfice.verifiers import regex
from satisfice.verifiers.choice import Choice
from satisfice.verifiers.exact import Exact
from satisfice.verifiers.regex import Regex

TASK = Task.of("q")
CITIES = Task((), Contract("choice", ("Rome", "Paris", "New York")))
LETTERS = Task((), Contract("choice", ("A) Rome", "B) Paris")))


def check(verifier: Any, answer: str | None, task: Task = TASK, text: str | None = None) -> Verdict:
    verdict = verifier(task, Candidate(answer or "" if text is None else text, answer))
    assert isinstance(verdict, Verdict)
    verdict.evidence.encode()
    return verdict


@pytest.mark.parametrize(
    "answer", ["Paris", "B", "(B)", "B.", "Answer: B", "B) Paris", "**paris**", "option b", "It is Paris"]
)
@pytest.mark.parametrize("reference", ["Paris", "B", "(b)"])
@pytest.mark.parametrize("task", [CITIES, LETTERS])
def test_the_right_choice(answer: str, reference: str, task: Task) -> None:
    verdict = check(Choice(reference), answer, task)
    assert (verdict.score, verdict.exact) == (1.0, True)


def test_other_choices() -> None:
    assert check(Choice("Paris"), "Rome", CITIES).score == 0.0
    assert check(Choice("Paris"), "Oslo", CITIES) == Verdict(
        0.0, exact=True, evidence="'Oslo' is none of 'Rome', 'Paris', 'New York'"
    )
    only_an_option = check(Choice(), "(C)", CITIES)
    assert (only_an_option.score, only_an_option.exact) == (1.0, False)
    assert check(Choice(), "zebra", CITIES).exact
    assert check(Choice("Oslo"), "Rome", CITIES).score is None
    assert check(Choice("C"), "The answer is (C)").score == 1.0  # without choices: letters


@pytest.mark.parametrize("reference", ["", "  ", 3])
def test_a_choice_needs_a_reference_that_says_something(reference: Any) -> None:
    with pytest.raises(CallerError):
        Choice(reference)


@pytest.mark.parametrize(
    ("settings", "answer", "score"),
    [
        ({}, "paris", 1.0), ({}, " The  PARIS. ", 1.0), ({}, "\uff30aris", 1.0), ({}, "Lyon", 0.0),
        ({}, "\u201cParis!\u201d", 1.0),
        ({"case": True}, "paris", 0.0), ({"articles": True}, "the Paris", 0.0), ({"punctuation": True}, "Paris!", 0.0),
        ({}, "P\u00e1ris", 0.0), ({"accents": False}, "P\u00e1ris", 1.0), ({}, "Paris, France", 0.0), ({}, "", 0.0),
    ],
)  # fmt: skip
def test_exact_text(settings: dict[str, Any], answer: str, score: float) -> None:
    verdict = check(Exact("Paris", **settings), answer)
    assert (verdict.score, verdict.exact) == (score, True)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [("5", "-5", False), ("1.5", "15", False), ("1,234", "1234", False), ("A", "a", True), ("A", "B", False),
    ("!", "?", False),
     ("Stra\u00dfe", "STRASSE", True), ("well-known", "well known", True), ("C#", "C", False), ("50%", "50", False),
     ("don't", "dont", True), ("cafe\u0301", "caf\u00e9", True), ("the", "a", False), ("an apple", "apple", True)],
)  # fmt: skip
def test_what_exact_leaves_out(a: str, b: str, same: bool) -> None:
    assert check(Exact(a), b).score == check(Exact(b), a).score == float(same)


def test_several_texts_are_accepted() -> None:
    many = Exact(["NYC", "New York"])
    assert [check(many, a).score for a in ("nyc", "New York", "York")] == [1.0, 1.0, 0.0]
    assert check(Exact("whole", on="text"), "no", text="Whole!").score == 1.0
    assert Exact(["NYC", "New York"]) == many
    for bad in ("", [], ["a", ""], ["a", 3]):
        with pytest.raises(CallerError):
            Exact(bad)  # type: ignore[arg-type]
    with pytest.raises(CallerError):
        Exact("a", on="all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "answer", "score"),
    [
        (("b+",), "abbc", 1.0), (("b+", True), "abbc", 0.0), (("b+", True), "bb", 1.0), (("B",), "abc", 0.0),
        (("B", False, True), "abc", 1.0), (("^b$",), "a\nb", 0.0), (("^b$", False, False, True), "a\nb", 1.0),
        (("a.b",), "a\nb", 0.0), (("a.b", False, False, False, True), "a\nb", 1.0),
        ((r"\d{4}-\d\d",), "in 2024-05", 1.0),
        (("\u00e9",), "caf\u00e9", 1.0), (("^.$", True), "\ud800", 1.0), (("x",), "", 0.0), (("",), "", 1.0),
        (("(?i)ABC",), "abc", 1.0), (("^$", True, False, True), "", 1.0),
    ],
)  # fmt: skip
def test_patterns(settings: tuple[Any, ...], answer: str, score: float) -> None:
    verdict = check(Regex(*settings), answer)
    assert (verdict.score, verdict.exact) == (score, True)


def test_a_pattern_on_the_whole_text() -> None:
    assert check(Regex("because", on="text"), "4", text="4, because 2 + 2").score == 1.0
    assert check(Regex("because"), "4", text="4, because 2 + 2").score == 0.0


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("a(b", "position 1"), ("ab[z-a]", "position 3"), ("*a", "position 0"), ("a**", "position 2"),
    ("a{1001}", "position 1"),
     ("(?=x)a", "lookahead and lookbehind are not supported .* position 0"), ("a(?<!b)", "lookbehind .* position 1"),
     (r"(a)\1", "backreferences are not supported .* position 3"), ("(?P<n>a)(?P=n)", "backreferences .* position 8"),
     ("(?>a)", "atomic"), ("a\ud800", "surrogate, at position 1"), (3, "expected text"), ("(" * 5_000, "missing")],
)  # fmt: skip
def test_a_bad_pattern_is_refused_with_its_place(pattern: Any, said: str) -> None:
    with pytest.raises(CallerError, match=said):
        Regex(pattern)


def test_a_pattern_that_hangs_elsewhere_does_not_here() -> None:
    start = time.process_time()
    assert check(Regex("^(a+)+$"), "a" * 90_000 + "b").score == 0.0
    assert check(Regex("(a|aa)*c(x?){50}x{50}"), "a" * 90_000).score == 0.0
    assert time.process_time() - start < 60.0


def test_regex_can_be_copied_and_sent() -> None:
    made = Regex("a+", ignore_case=True)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other == made
        assert check(other, "AAA").score == 1.0


def test_regex_without_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "re2", None)
    with pytest.raises(MissingExtra, match=r"satisfice\[regex\]"):
        Regex("a")


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(CallerError):
        Regex("a", on="both")  # type: ignore[arg-type]


ANYTHING = [
    None,
    "",
    " ",
    "\0\x01\x02\xff",
    "\ud800",
    "Answer: \udfff",
    "x" * 10_000_000,
    "\u202eabc",
    "\U0001f600" * 1000,
    "\ufdfa" * 99_000,
]


@pytest.mark.parametrize("number", range(len(ANYTHING)))
@pytest.mark.parametrize(
    "verifier", [Choice(), Choice("A"), Exact("Paris"), Exact("x", accents=False), Regex("^x$"), Regex("x", on="text")]
)
def test_any_text_gives_a_verdict(verifier: Any, number: int) -> None:
    start = time.process_time()
    verdict = check(verifier, ANYTHING[number])
    assert verdict == check(verifier, ANYTHING[number])
    assert verdict.score in (None, 0.0)
    if ANYTHING[number] is None and getattr(verifier, "on", "answer") == "answer":
        assert verdict.exact and verdict.score == 0.0
    assert len(verdict.evidence) < 2_000
    assert time.process_time() - start < 30.0


def test_compiled_patterns_are_kept() -> None:
    assert regex.cached("a+b") is regex.cached("a+b")
