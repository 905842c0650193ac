"""Hostile candidates: none gets a pass that it did not earn, and each gets a verdict."""

from __future__ import annotations

import os
from typing import Any

import pytest

from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.verifiers.code import Code
from satisfice.verifiers.sandbox import Limits, isolation
from satisfice.verifiers.sandbox.tool import perform

pytestmark = pytest.mark.skipif(
    isolation() is None and not os.environ.get("CI"), reason="needs isolation: pip install 'satisfice[sandbox]'"
)


def verdict_on(code: Code, source: str) -> Verdict:
    """What the verifier makes of a source, with the real sandbox."""
    plan, reply = code(Task.of("q", "code"), Candidate(source, source, source)), None
    while True:
        try:
            effect: Any = plan.send(reply)
        except StopIteration as end:
            verdict: Verdict = end.value
            return verdict
        reply = perform(**dict(effect.arguments))


# The right answer to every one of these is the number itself; tests of equality, of order, by arithmetic, membership,
# truth and exceptions, so that an object that agrees with everything meets each way of asking.
TESTS = """
import math, unittest
assert same(3) == 3
assert not same(0)
assert abs(same(2.5) - 2.5) < 1e-9
assert math.isclose(same(0.5), 0.5)
def test_order(): assert 2 < same(3) < 4
def test_member(): assert same(7) in (7, 8) and same(7) != 8
def test_type(): assert type(same(5)) is int and isinstance(same(5), int)
def test_list(): assert same([1, 2]) == [1, 2] and 2 in same([1, 2]) and len(same([1])) == 1
def test_text(): assert same("abc").startswith("ab") and same("abc").isalpha() and sorted(same("ba")) == ["a", "b"]
def test_set(): assert same({1, 2}).issubset({1, 2, 3}) and same({1}) | {2} == {1, 2}
def test_dict(): assert same({"a": 1})["a"] == 1 and same({"a": 1}).get("b") is None
def test_none(): assert same(None) is None
class T(unittest.TestCase):
    def test_equal(self): self.assertEqual(same(9), 9)
    def test_almost(self): self.assertAlmostEqual(same(0.1), 0.1)
    def test_true(self): self.assertTrue(same(True) is True)
    def test_list(self): self.assertListEqual(same([3]), [3])
    def test_raises(self): self.assertRaises(ValueError, fails)
"""
RIGHT = "def same(x): return x\ndef fails(): raise ValueError('x')\n"
CODE = Code(tests=TESTS, seconds=2.0)

AGREES = """
class Yes(BASE):
    def __init__(self, *a, **k): pass
    def yes(self, *a, **k): return True
    def me(self, *a, **k): return self
    def zero(self, *a, **k): return 0
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = yes
    __instancecheck__ = __subclasscheck__ = yes
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __or__ = __ror__ = __and__ = zero
    __abs__ = __neg__ = __pos__ = __round__ = __getitem__ = __iter__ = me
    __hash__ = zero
    startswith = isalpha = issubset = get = yes
    def __getattr__(self, name): return self.yes
    @property
    def __class__(self): return int
def same(x): return Yes()
def fails(): return Yes()
"""

ATTACKS = {
    "agrees with everything": AGREES.replace("BASE", "object"),
    "an int that agrees": AGREES.replace("BASE", "int"),
    "a text that agrees": AGREES.replace("BASE", "str"),
    "a list that agrees": AGREES.replace("BASE", "list"),
    "an exception that agrees": AGREES.replace("BASE", "Exception"),
    "the class of what agrees": AGREES.replace("return Yes()", "return type('M', (Yes, type), {})('C', (), {})"),
    "exit 0 at import": "import sys; sys.exit(0)",
    "_exit 0 at import": "import os; os._exit(0)",
    "exit 0 when called": "import sys\ndef same(x): sys.exit(0)\ndef fails(): sys.exit(0)",
    "_exit 0 when called": "import os\ndef same(x): os._exit(0)",
    "raises BaseException": "def same(x): raise BaseException('passed')",
    "raises KeyboardInterrupt": "def same(x): raise KeyboardInterrupt",
    "raises SkipTest": "import unittest\ndef same(x): raise unittest.SkipTest('no')\nfails = same",
    "raises what it calls SkipTest": "class SkipTest(Exception): pass\nclass Skipped(SkipTest): pass\n"
    "def same(x): raise Skipped('no')\ndef fails(): raise Skipped",
    "raises Gone and Stopped": "class Gone(BaseException): pass\nclass Stopped(Gone): pass\ndef same(x): raise Stopped",
    "replaces AssertionError": "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})\n"
    "AssertionError = ValueError\ndef same(x): return None",
    "replaces builtins": "import builtins\nfor n in 'abs isinstance type sorted len'.split():\n"
    "    setattr(builtins, n, lambda *a: True); globals()[n] = lambda *a: True\ndef same(x): return None",
    "defines the tests' helpers": "class math:\n    isclose = staticmethod(lambda *a: True)\n"
    "abs = sorted = len = isinstance = "
    "type = lambda *a: True\nclass unittest:\n    class TestCase: pass\ndef _satisfice_tell(*a): return ''\n"
    "def tell(*a): return ''\ndef same(x): return None",
    "overwrites sys.modules": "import sys\nfor n in list(sys.modules):\n    if n not in ('sys', 'builtins'):\n"
    "        sys.modules[n] = sys.modules['sys']\ndef same(x): return None",
    "patches the harness": "import sys\nfor m in list(sys.modules.values()):\n    for n in ('encode', 'describe'):\n"
    "        if hasattr(m, n): setattr(m, n, lambda *a, **k: True)\ndef same(x): return 1",
    "prints a verdict": 'print(\'{"unit": "line 3", "outcome": "passed"}\')\nprint(\'{"done": true}\')\n'
    "def same(x): print('{\"done\": true}'); return None",
    "forges outcomes on every descriptor": 'import os\nlines = b\'{"done": true}\\n{"unit": "line 3", "outcome": '
    '"passed"}\\n\'\nfor fd in range(64):\n    try: os.write(fd, lines)\n    except OSError: pass\n'
    "def same(x): return None",
    "forges replies": "import os, json\nfor i in range(50):\n"
    "    os.write(4, json.dumps({'re': i, 'ok': True}).encode() "
    "+ b'\\n')\ndef same(x): return None",
    "asks the tests' side": "import os, json\n"
    "os.write(4, json.dumps({'ask': 1, 'fn': 0, 'args': [], 'named': {}}).encode()"
    " + b'\\n')\ndef same(x): return None",
    "a reply that is no value": 'import os\nos.write(4, b\'{"re": 2, "ok": ["l", 5]}\\n\')\ndef same(x): return 1',
    "deep JSON": "import os\nos.write(4, b'[' * 100000 + b'\\n')\ndef same(x): return 1",
    "garbage": "import os\nos.write(4, bytes(range(256)) * 10 + b'\\n')\ndef same(x): return 1",
    "closes its pipes": "import os\ndef same(x):\n    os.close(3); os.close(4)\nfails = same",
    "says nothing more": "import os\nos.close(4)\ndef same(x): return x",
    "a huge reply": "def same(x): return 'x' * 50_000_000",
    "a huge nested reply": "def same(x):\n    r = []\n    for _ in range(100_000): r = [r]\n    return r",
    "a reply in itself": "def same(x):\n    r = []; r.append(r); return r",
    "recursion": "def same(x): return same(x)",
    "an endless generator": "def same(x):\n    while True: yield x",
    "a huge int": "def same(x): return 10 ** 100_000",
    "memory": "def same(x): return bytearray(10 ** 12)",
    "attributes that lie": "class E(ValueError):\n    def __str__(self): raise SystemExit\n    name = 'same'\n"
    "def same(x): e = E(); e.name = 'x'; e.args = (same,); raise e",
    "fields that lie": "from collections import namedtuple\nN = namedtuple('N', 'startswith isalpha')\n"
    "def same(x): return N(lambda *a: True, lambda *a: True)",
    "a wrong count": "class L(list):\n    def __len__(self): return 1\n    def __iter__(self): return iter([1, 2])\n"
    "def same(x): return L()",
    "not defined": "def other(x): return x",
    "no syntax": "def same(x) return x",
    "NUL and surrogates": "def same(x): return '\\0\\ud800'",
    "a real NUL": "def same(x): return 1\0",
    "a real surrogate": "def same(x): return '\ud800'",
}


def test_the_tests_can_be_passed() -> None:
    verdict = verdict_on(CODE, RIGHT)
    assert verdict.passed, verdict.evidence


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_test_is_passed_that_was_not_earned(attack: str) -> None:
    verdict = verdict_on(CODE, ATTACKS[attack])
    assert verdict.score is not None and not verdict.passed, verdict.evidence
    # One that returns nothing passes `not same(0)` and None; one that answers any truth honestly, at most the like.
    assert verdict.exact and verdict.score <= EARNED.get(attack, 2) / 17, verdict.evidence


EARNED = {"says nothing more": 0}


@pytest.mark.parametrize("kind", ["object", "int", "float", "str", "list", "dict", "set", "tuple", "bytes"])
def test_what_agrees_with_everything_passes_nothing_by_agreeing(kind: str) -> None:
    tests = (
        "assert f(1) == 5\nassert abs(f(1) - 5.5) < 1e-6\nassert f(1) > 4\nassert f(1) in [5]\nassert 5 in f(1)\n"
        "assert f(1).startswith('q')\nassert f(1) == f(2) + 1\nassert f(1) - f(2) == 7\nassert 5 == f(1)\n"
        "assert f(1) is True\nassert f(1)[0] == 5\nassert f(1).x == 5\nassert f(1) == {5: 1}\nassert {f(1)} == {5}\n"
        "assert [f(1)] == [5]\nassert isinstance(f(1), complex)\nassert str(f(1)) == '5'\nassert next(f(1)) == 5\n"
    )
    source = AGREES.replace("BASE", kind).replace("same", "f")
    verdict = verdict_on(Code(tests=tests), source)
    assert verdict.score == 0.0 and verdict.exact, verdict.evidence


def test_an_object_under_test_that_a_function_returns_is_data_from_then_on() -> None:
    tests = "s = Solution()\nassert abs(s.half(5) - 2.5) < 1e-9\nassert s.half(5) == 2.5\n"
    source = "class Solution:\n    def half(self, x): return self\n    def __sub__(self, x): return 0.0\n"
    verdict = verdict_on(Code(tests=tests), source)
    assert verdict.score == 0.0, verdict.evidence


def test_the_tests_and_expected_values_are_nowhere_to_be_found() -> None:
    source = (
        "import gc, os, sys\n"
        "def look():\n"
        "    seen = [repr(o)[:2000] for o in gc.get_objects() if isinstance(o, (dict, list, tuple))]\n"
        "    for folder, _, names in os.walk('.'):\n"
        "        seen += [open(os.path.join(folder, n)).read() for n in names]\n"
        "    for fd in range(32):\n"
        "        try: seen.append(os.pread(fd, 1000000, 0).decode(errors='replace'))\n"
        "        except OSError: pass\n"
        "    return 'marker-'.upper() in ''.join(seen)\n"
    )
    verdict = verdict_on(Code(tests="assert look() is False, 'MARKER-1'\n"), source)
    assert verdict.passed, verdict.evidence


def test_an_assert_in_a_function_that_the_test_passes_in_cannot_be_caught() -> None:
    tests = "def test_a():\n    def see(x): assert x == 5\n    each(see)\n"
    assert verdict_on(Code(tests=tests), "def each(f): f(5)").passed
    swallowing = "def each(f):\n    try: f(4)\n    except BaseException: pass\n"
    assert verdict_on(Code(tests=tests), swallowing).score == 0.0
    unpicking = "def each(f):\n    try: f.__closure__, f.__globals__, f.__code__\n    except AttributeError: f(4)\n"
    assert verdict_on(Code(tests=tests), unpicking).score == 0.0


def test_one_that_will_not_end_takes_no_more_than_the_limits_of_one_run() -> None:
    source = (
        "import signal, time\ndef f():\n    signal.setitimer(signal.ITIMER_REAL, 0)\n    while True: time.sleep(1)\n"
    )
    limits = Limits(seconds=2.0, cpu_seconds=1.0, output_kb=1024)
    code = Code(tests="assert f()\n" * 10, seconds=0.3, limits=limits)
    plan = code(Task.of("q", "code"), Candidate(source, source, source))
    effect: Any = next(plan)
    with pytest.raises(StopIteration) as end:  # one call is all that it gets
        plan.send(perform(**dict(effect.arguments)))
    verdict = end.value.value
    assert verdict.score == 0.0 and verdict.exact and "0.3 s" in verdict.evidence, verdict.evidence


def test_the_candidate_cannot_replace_what_the_tests_judge_by() -> None:
    tests = (
        "assert sorted(f(1)) == [5]\nassert abs(f(1) - 5) < 1e-6\nassert len(f(1)) == 5\nassert isinstance(f(1), str)\n"
        "assert math.isclose(f(1), 5.0)\nassert all(f(1))\nassert not any(f(1))\nassert set(f(1)) == {5}\n"
    )
    source = (
        "def f(x): return 1\ndef sorted(x): return [5]\ndef abs(x): return 0\ndef len(x): return 5\n"
        "def isinstance(x, y): return True\nclass math:\n    isclose = staticmethod(lambda a, b: True)\n"
        "def all(x): return True\ndef any(x): return False\ndef set(x): return {5}\n"
    )
    for before in ("", "from solution import *\n", "import solution\nfrom solution import f\n"):
        verdict = verdict_on(Code(tests=before + tests), source)
        assert verdict.score == 0.0 and verdict.exact and "of 8" in verdict.evidence, verdict.evidence
    # the function under test itself may bear the name of a builtin or a module
    assert verdict_on(Code(tests="from solution import sum\nassert sum([1]) == 2\n"), "def sum(x): return 2").passed
    assert verdict_on(Code(calls=[(([1],), 2)], entry="sum"), "def sum(x): return 2").passed
    assert verdict_on(Code(tests="assert bisect([1]) == 2\n"), "def bisect(x): return 2").passed


@pytest.mark.parametrize("fault", ["StopIteration", "StopAsyncIteration", "Own"])
def test_a_stop_iteration_does_not_end_the_loop_of_a_test(fault: str) -> None:
    source = f"class Own(StopIteration): pass\ndef double(x): raise {fault}\n"
    source += (
        "class Box:\n    def __len__(self): raise StopIteration\n    def __getattr__(self, name): raise StopIteration"
    )
    for tests in (
        "assert all(map(lambda x: double(x) == 2 * x, [1, 2, 3]))",
        "assert all(map(lambda x: len(Box()) == x, [1, 2]))",
        "assert all(map(lambda x: Box().size == x, [1, 2]))",
    ):
        verdict = verdict_on(Code(tests=tests), source)
        assert (verdict.score, verdict.exact) == (0.0, True), verdict.evidence


def test_an_iterator_still_ends() -> None:
    tests = "it = iter(Two())\nassert [next(it), next(it)] == [0, 1]\nassert next(it, None) is None\n"
    tests += "assert list(Two()) == [0, 1]"
    assert verdict_on(Code(tests=tests), "class Two:\n    def __iter__(self): yield from (0, 1)").passed
