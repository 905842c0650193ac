"""Mathematics is compared, and whatever a candidate writes neither runs, nor hangs, nor raises."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from satisfice.core.errors import CallerError, MissingExtra
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.offline import perform
from satisfice.strategies import BestOfN
from satisfice.testing.driver import Script, make_run
from satisfice.verifiers import math_
from satisfice.verifiers.algebra.client import Worker, shared
from satisfice.verifiers.algebra.shapes import Chain, Grid, Leaf, Row, Union, Unreadable, shape, tidy
from satisfice.verifiers.constraint import AllOf
from satisfice.verifiers.math_ import Equation, Math, equivalent
from satisfice.verifiers.regex import Regex

pytest.importorskip("latex2sympy2_extended")
TASK = Task.of("q", "text")
GUARD = 60.0  # seconds: a guard against hanging on a busy machine, not a measurement


def check(verifier: Any, answer: str | None) -> Verdict:
    verdict = verifier(TASK, Candidate(answer or "", answer))
    assert isinstance(verdict, Verdict)
    verdict.evidence.encode()  # evidence goes to the journal
    return verdict


SAME = [
    ("1/2", "0.5"), ("0.5", r"\frac12"), ("x^2-1", "(x-1)(x+1)"), (r"\boxed{\frac{1}{2}}", "1/2"), ("50%", "0.5"),
    ("50%", "50"), ("50", r"50\%"), ("(1,2)", "1,2"), (r"\{1,2\}", "2, 1"), ("[0,1)", r"0 \le x < 1"),
    ("x<3", r"(-\infty, 3)"), (r"(-\infty,1)\cup(2,\infty)", "(2, oo) \u222a (-oo, 1)"), ("x=5", "5"), ("5", "x = 5"),
    (r"2\pm\sqrt{3}", r"2+\sqrt{3}, 2-\sqrt{3}"), ("x = 2 \\pm 1", "1, 3"), ("2x+y=3", "4x+2y=6"), ("2x<4", "-2x>-4"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[[1,2],[3,4]]"), (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
    (r"\pi", "3.141593"), ("1/3", "0.333333"), (r"e^{i\pi}", "-1"), (r"\int_0^1 x^2 dx", "1/3"), ("5!", "120"),
    (r"\sum_{n=1}^{10} n", "55"), ("1,234", "1234"), ("17", "17 apples"), ("17", r"17 \text{ cm}^2"), (r"\$5", "5"),
    (r"\text{even}", "Even"), (r"\sin^2 x", r"1-\cos^2 x"), (r"\log_2 8", "3"), (r"\ln(x^2)", r"2\ln x"),
    ("|x|", r"\sqrt{x^2}"), ("(1+i)^2", "2i"), ("x\u00b2 + \u00bd", "x^2+1/2"), (r"\sqrt2", "2^{0.5}"),
    (r"\frac{\sqrt{3}}{3}", "1/sqrt(3)"), ("y=2x+1", "y-1=2x"), ("f(x)=x^2", "x^2"), (r"\emptyset", "{}"),
    ("{1,2,2}", "{1,2}"), ("x=2,y=1", "y = 1, x=2"), ("1 3/4", "7/4"), (r"1\frac34", "7/4"),
    (r"\mathbb{R}", "(-oo,oo)"),
    (r"\binom{5}{2}", "10"), ("3 and 5", "5, 3"), (r"\sqrt[3]{-8}", "-2"), ("0.3", "0.30000000000000004"),
    ("xy", "y x"),
    ("30", "30\u00b0"), ("x = 2 or x = 3", r"\{3,2\}"), ("2 m", r"2 \text{ m}"), ("\u200f5", "5"), ("1e3", "1000"),
    (r"\lim_{x\to 0} \frac{\sin x}{x}", "1"), ("3 > x", "x < 3"), ("1 < x < 3", "3 > x > 1"),
    ("5", "2 + 3 = 5"), ("5", "5 = x"),
]  # fmt: skip
DIFFERENT = [
    ("1/3", "0.33"), ("even", "odd"), ("|x|", "x"), ("1e-9", "2e-9"), ("[1,2]", "(1,2)"), (r"-\infty", "oo"),
    ("3.14", r"\pi"), ("10000000000000000000001", "10000000000000000000000"), ("2t", "2"), ("A", "a"), ("x<3", "x<=3"),
    ("2x<4", "-2x<-4"), ("{1,2}", "{1,3}"), ("(1,2)", "(2,1)"), ("1", "1, 1, 2"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", "(2,1)"),
    ("x=5", "x=6"), (r"\{1\}", r"\{1,2\}"), ("5", "i"), ("262537412640768744", r"e^{\pi\sqrt{163}}"), ("x^2", "x^3"),
    ("17", "I am not sure"), ("50%", "5"), ("[0,1]", "[0,2]"), ("0.5", "0.50001"), ("x", "x + 10^-20"),
    ("42", "42.000000000000000000000000000001"), ("0.3", "0.300000000000000000000001"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "answer"), SAME)
def test_the_same_in_another_notation(reference: str, answer: str) -> None:
    assert equivalent(reference, answer, 20) is True
    assert equivalent(answer, reference, 20) is True
    verdict = check(Math(reference, seconds=20), answer)
    assert (verdict.score, verdict.exact) == (1.0, True)


@pytest.mark.parametrize(("reference", "answer"), DIFFERENT)
def test_what_differs(reference: str, answer: str) -> None:
    assert equivalent(reference, answer, 20) is False
    assert equivalent(answer, reference, 20) is False
    assert equivalent(reference, reference, 20) is True
    verdict = check(Math(reference, seconds=20), answer)
    assert (verdict.score, verdict.exact) == (0.0, True)


@pytest.mark.parametrize(
    ("reference", "answer", "why"),
    [("5 m", "5 km", "cannot tell"), ("x^2+y^2=1", "x^2=4", "cannot tell"), ("x=5", "y=6", "cannot tell"),
     ("x^2=4", "x=2, x=-2", "cannot tell"), ("2, -2", "x^2=4", "cannot tell"),
    (r"\sin 30", r"\sin 30^\circ", "degrees"),
     ("5", r"\operatorname{eye}(3)", "is not read"), ("5", "1/0", "division by zero"),
     ("42", "0x2A", "notation"), ("42", "4_2", "notation"), ("42", r"\text{forty-two}", "cannot tell"),
     ("42", "forty-two", "cannot tell"), ("42", "primorial(10^6)", "unknown function"),
     ("42", "x^{x^{x^{x}}}=42", "cannot tell"), ("42", "x + 1 = 42", "cannot tell"), ("5", "2+2 = 5", "cannot tell")],
)  # fmt: skip
def test_what_cannot_be_told_is_unknown(reference: str, answer: str, why: str) -> None:
    verdict = check(Math(reference, seconds=20), answer)
    assert (verdict.score, verdict.exact) == (None, False)
    assert why in verdict.evidence


def test_tolerance_is_a_share_of_the_reference() -> None:
    near = Math("100", tolerance=0.01, seconds=20)
    assert [check(near, a).score for a in ("101", "99", "101.5", "about", "100")] == [1.0, 1.0, 0.0, 0.0, 1.0]
    assert check(Math(r"\pi", tolerance=0.001, seconds=20), "3.14").score == 1.0
    assert check(Math("(1, 2)", tolerance=0.1, seconds=20), "(1.05, 2.1)").score == 1.0
    assert check(Math("0", tolerance=0.1, seconds=20), "0.05").score == 1.0
    assert check(near, "x^{x^{x}}=100").score is None


MARK = "satisfice_was_here"
HOSTILE = [
    f"__import__('os').system('touch {MARK}')", f"__import__('pathlib').Path('{MARK}').touch()", "().__class__",
    f"open('{MARK}','w')", f"exec(\"open('{MARK}','w')\")", rf"\write18{{touch {MARK}}}", r"\input{/etc/passwd}",
    "lambda: 1", "f'{1}'", "x" * 10_000_000, "{" * 100_000, "(" * 4_000, "{" * 39 + "1" + "}" * 39, "a\0b", "\ud800",
    "12\u202e34", "x^{x^{x^{x^{x}}}}", "x^x^x^x^x^x", "9**9**9**9", "9^{9^{9^{9}}}", "(9^9999)^9999",
    "factorial(10**9)",
    "5!!!!!!", "(10^9)!", "1e999999999", "1e-999999999", "x^999999999999", r"\binom{10^9}{10^8}", "9" * 401, "|" * 400,
    r"\operatorname{zeros}(10^5,10^5)", r"e^{e^{e^{e^{9}}}}", r"\pm" * 30, "<" * 50, r"\begin{pmatrix}", "\\", "^", "%",
    r"\frac" * 500, r"\text{" * 20 + "}" * 20, "0^{-1}", "oo-oo", "nan", "True", "None", "eval('1')", "x[0]", "{x: 1}",
    "\ufdfa" * 4_000, "\u00bd" * 2_000, "\u0661" * 300, "-" * 4_000 + "1", "1" + "!" * 4_000, "((1,)," * 35,
    "sin " * 1_000, r"\Gamma(10^{10})", r"\sqrt[1000000007]{2}", "a_" * 2_000, ",".join("x" * 60), "\U0001f600",
    "%" * 4_000,
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_answers_do_nothing(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start = time.monotonic()
    for verifier in (Math("7"), Math("x^2 + 1"), Equation("x^2 = 4")):
        verdict = check(verifier, HOSTILE[number])
        assert verdict.score in (0.0, None)
        assert len(verdict.evidence) < 1_000
    assert not list(tmp_path.iterdir())
    assert time.monotonic() - start < 3 * GUARD


def test_what_computes_for_ever_is_stopped_and_the_next_is_served() -> None:
    own = Worker()
    try:
        endless = {"do": "same", "a": "1", "b": r"\sum_{n=1}^{1000000000} \sin(n^2)"}
        reply = own.ask(endless, 0.5)
        assert "takes longer than 0.5 s" in reply["failed"]
        assert own.ask({"do": "same", "a": "1/2", "b": "0.5"}, 30) == {"truth": True}
        assert own.started == 2
        assert own.ask({"do": "same", "a": "1/2", "b": "0.25"}, 30) == {"truth": False}
        assert own.started == 2  # one process serves many
    finally:
        own.close()


def test_the_process_may_not_write_run_or_connect() -> None:
    """The last line of defence: what a parser would do if it did evaluate text."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from algebra import worker\n"
        "worker._lock()\n"
        "import os, socket, subprocess, sympy\n"
        "tries = [lambda: open('x', 'w'), lambda: os.system('true'), lambda: subprocess.run(['true']),\n"
        "  lambda: eval('1'),\n"
        "  lambda: sympy.sympify('x+1'), lambda: socket.socket(), lambda: open('/etc/passwd'), lambda: os.fork(),\n"
        "  lambda: bytearray(2 << 30),\n"
        "  lambda: exec('1'), lambda: os.remove('x'), lambda: os.open('x', os.O_CREAT | os.O_WRONLY)]\n"
        "for i, t in enumerate(tries):\n"
        "    try: t()\n"
        "    except Exception as e: continue\n"
        "    print('did', i)\n"
    )
    folder = str(Path(math_.__file__).resolve().parent)
    done = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_threads_share_the_process() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: equivalent(f"x+{n}", f"{n}+x", 30), range(40)))
    assert found == [True] * 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_starts_its_own() -> None:
    assert equivalent("x", "x+0", 30) is True
    held = shared._process
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # the child must leave by _exit whatever happens
        try:
            os.write(write, b"y" if equivalent("2x", "x+x", 60) is True and shared._process is not held else b"n")
            shared.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    assert os.read(read, 1) == b"y"
    os.close(read)
    assert equivalent("3x", "x+2x", 30) is True
    assert shared._process is held


def test_a_process_that_dies_is_replaced() -> None:
    assert equivalent("x", "x+0", 30) is True
    assert shared._process is not None
    shared._process.kill()
    shared._process.wait()
    assert equivalent("x+1", "1+x", 30) is True


def test_closing_in_between() -> None:
    shared.close()
    assert equivalent("x+1", "1+x", 30) is True
    threading.Thread(target=shared.close).start()
    assert equivalent("x+2", "2+x", 30) is True


@pytest.mark.parametrize(
    ("reference", "said"),
    [("", "nothing there"), ("   ", "nothing there"), ("(((", "cannot be read"), ("x" * 5_000, "longer than"),
     (r"\frac{1}{", "cannot be read"), ("@#", "unexpected"), (3, "expected text"), ("9**9**9**9", "too large")],
)  # fmt: skip
def test_a_bad_reference_is_refused_at_once(reference: Any, said: str) -> None:
    with pytest.raises(CallerError, match=said):
        Math(reference)


@pytest.mark.parametrize(
    "settings", [{"tolerance": -1}, {"tolerance": float("nan")}, {"seconds": 0}, {"seconds": -1.0}]
)
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(CallerError):
        Math("3", **settings)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_, "find_spec", lambda name: None)
    for make in (lambda: Math("3"), lambda: Equation("x=3")):
        with pytest.raises(MissingExtra, match=r"satisfice\[math\]"):
            make()


def test_no_answer_is_exactly_wrong() -> None:
    verdict = check(Math("3"), None)
    assert (verdict.score, verdict.exact) == (0.0, True)


ROOTS = "x**2 - 5*x + 6 = 0"


@pytest.mark.parametrize(
    ("equations", "names", "solutions", "answer", "score"),
    [
        (ROOTS, "x", None, "2", 1.0), (ROOTS, "x", 2, "2", 0.0), (ROOTS, "x", 2, "x=2 or x = 3", 1.0),
        (ROOTS, "x", None, "4", 0.0),
        (ROOTS, "x", 2, r"\{2, 3\}", 1.0), (ROOTS, "x", 2, "2, 2.0", 0.0), (ROOTS, "x", None, "2, 4", 0.0),
        ("x^2=2", "x", 2, r"\pm\sqrt2", 1.0), ("x^2=2", "x", None, "1.41421356", 0.0),
        ("x^2 < 4", "x", None, "1.9", 1.0),
        (("x+y=3", "x-y=1"), ("x", "y"), None, "x=2, y=1", 1.0), (("x+y=3", "x-y=1"), ("x", "y"), None, "(2,1)", 1.0),
        (("x+y=3", "x-y=1"), ("x", "y"), None, "y=2, x=1", 0.0), ("1/x = 0", "x", None, "oo", None),
        ("1/x = 1", "x", None, "0", 0.0),
        ("x^3=1", "x", 3, r"1, \frac{-1+i\sqrt3}{2}, \frac{-1-i\sqrt3}{2}", 1.0), ("sin(x)=0", "x", None, r"\pi", 1.0),
        (ROOTS, "x", None, "banana", None), (ROOTS, "x", None, "y = 2", None), (ROOTS, "x", None, "x", None),
        ("x != 3", "x", None, "3", 0.0), ("1 < x <= 3", "x", None, "3", 1.0), (r"\frac{x}{2} = 4", "x", None, "8", 1.0),
        ("1/x = 0", "x", None, "1e300", 0.0), ("exp(-x) = 0", "x", None, "1000", None),
        ("x/x = 1", "x", None, "0", 0.0),
        (r"\frac{x}{x} = 1", "x", None, "0", 0.0), ("x*x^-1 = 1", "x", None, "0", 0.0),
        ("x/x = 1", "x", None, "7", 1.0),
        ("x^2/x = 0", "x", None, "0", 0.0), ("1/(x^2-2) < 9", "x", None, r"\sqrt2", 0.0),
        ("x < 1", "x", None, "1+1e-90", 0.0),
        ("x^2 = 5+2*sqrt(6)", "x", None, r"\sqrt2+\sqrt3", 1.0), ("x^2 <= 2", "x", None, r"\sqrt2", 1.0),
        ("x^2 < 2", "x", None, r"\sqrt2", 0.0), ("x > 0", "x", None, "exp(-1000)", None),
    ],
)  # fmt: skip
def test_values_are_plugged_in(
    equations: Any, names: Any, solutions: int | None, answer: str, score: float | None
) -> None:
    verdict = check(Equation(equations, names, solutions, seconds=20), answer)
    assert verdict.score == score
    assert verdict.exact == (score is not None)


@pytest.mark.parametrize(
    "settings",
    [("x+1",), ("x+y=1",), ("",), ([],), ("x=1", ""), ("x=1", "x", 0), ("x=1", "x", None, 0), ("((=1",), ("1=1,2=2",)],
)
def test_bad_equations_are_refused(settings: tuple[Any, ...]) -> None:
    with pytest.raises(CallerError):
        Equation(*settings)


def test_shapes() -> None:
    one, two = Leaf("1"), Leaf("2")
    assert shape("(1, 2]") == Row("(", (one, two), "]")
    assert shape("1; 2") == Row("", (one, two), "")
    assert shape(r"\{1\}") == Row("{", (one,), "}")
    assert shape("1 <= x < 2") == Chain(("<=", "<"), (one, Leaf("x"), two))
    assert shape(tidy(r"(1,2) \cup [1,2]")) == Union((Row("(", (one, two), ")"), Row("[", (one, two), "]")))
    assert shape(r"\begin{bmatrix}1&2\\2&1\end{bmatrix}") == Grid(((one, two), (two, one)))
    for bad in ("1,,2", r"\begin{pmatrix}1\\1&2\end{pmatrix}", "x=", ",".join("1" * 65)):
        with pytest.raises(Unreadable):
            shape(bad)


def test_best_of_n_is_led_by_mathematics() -> None:
    """End to end in virtual time: a combination of a pattern and a blocking verifier picks the right candidate."""
    texts = iter(["Answer: 2x", "Answer: (x-1)(x+2)", "Answer: x^2 - 1", "Answer: (x-1)(x+1)"])
    task = Task.of("Expand?", "text", checks=(AllOf(Regex(r"\("), Math("x^2-1", seconds=20)),))
    run = perform(make_run(BestOfN(samples=4), task), Script(text=lambda asked, seed: next(texts)))
    assert run.outcome is not None and run.outcome.answer is not None
    assert (run.outcome.answer.candidate.answer, run.outcome.reason) == ("(x-1)(x+1)", "verified")  # type: ignore[union-attr]
