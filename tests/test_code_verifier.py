from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from satisfice.budgets.prices import Price
from satisfice.core.effects import CallTool
from satisfice.core.errors import CallerError
from satisfice.core.task import Candidate, Contract, Task
from satisfice.core.verdict import Verdict
from satisfice.models import ScriptedModel
from satisfice.scheduler.engine import Engine
from satisfice.verifiers.code import Code
from satisfice.verifiers.sandbox import isolation
from satisfice.verifiers.sandbox.tool import perform

sandboxed = pytest.mark.skipif(
    isolation() is None and not os.environ.get("CI"), reason="needs isolation: pip install 'satisfice[sandbox]'"
)
TASK = Task.of("q", "code")


def verdict_on(code: Code, source: str, task: Task = TASK, calls: list[Any] | None = None) -> Verdict:
    """What the verifier makes of a source, with the real sandbox."""
    plan, reply = code(task, Candidate(source, source or None, source or None)), None
    while True:
        try:
            effect: Any = plan.send(reply)
        except StopIteration as end:
            verdict: Verdict = end.value
            return verdict
        reply = perform(**dict(effect.arguments))
        if calls is not None:
            calls.append((effect, reply))


ADD = "def add(a, b):\n    return a + b\n"
THREE = "def add(a, b):\n    return 3\n"
KINDS = {
    "asserts": "assert add(1, 2) == 3\nassert add(2, 2) == 4\n",
    "functions": "def test_a():\n    assert add(1, 2) == 3\ndef test_b():\n    assert add(2, 2) == 4\n",
    "async": "async def test_a(): assert add(1, 2) == 3\nasync def test_b(): assert add(2, 2) == 4\n",
    "import": "from solution import add as plus\nimport solution\nassert plus(1, 2) == 3\n"
    "assert solution.add(2, 2) == 4\n",
    "unittest": "import unittest\nclass T(unittest.TestCase):\n    def setUp(self): self.n = 2\n"
    "    def test_a(self): self.assertEqual(add(1, self.n), 3)\n"
    "    def test_b(self): self.assertEqual(add(2, 2), 4)\n"
    "if __name__ == '__main__':\n    unittest.main()\n",
    "plain class": "class TestAdd:\n    def test_a(self): assert add(1, 2) == 3\n"
    "    def test_b(self): assert add(2, 2) == 4\n",
    "shared": "three = add(1, 2)\nfour = add(2, 2)\nassert three == 3\nassert four == 4\n",
    "loop": "for a, b, c in [(1, 2, 3)]:\n    assert add(a, b) == c\nassert add(2, 2) == 4\n",
    "a local name": "def helper(sub):\n    add = sub\n    return add\nassert add(1, helper(2)) == 3\n"
    "assert add(2, 2) == 4\n",
    "a library": "def test_a(): assert math.isclose(add(1, 2), 3)\ndef test_b(): assert math.isclose(add(2, 2), 4)\n",
    "property": "def prop_a(x: int): return add(x, 3 - x) == 3\ndef prop_b(x: int, y: int):\n"
    "    assert add(x, y) == x + y\n",
}


@sandboxed
@pytest.mark.parametrize("kind", KINDS)
def test_a_right_one_passes_and_half_a_right_one_gets_half(kind: str) -> None:
    right, half = verdict_on(Code(tests=KINDS[kind]), ADD), verdict_on(Code(tests=KINDS[kind]), THREE)
    assert right.passed, right.evidence
    assert half.score == 0.5 and half.exact and not half.passed, half.evidence


@sandboxed
def test_humaneval_style_gives_credit_for_each_assert() -> None:
    tests = (
        "METADATA = {}\ndef check(candidate):\n    assert candidate(1, 2) == 3\n"
        "    assert candidate(2, 2) == 4\ncheck(add)\n"
    )
    for code in (Code(tests=tests, entry="add"), Code(tests=tests.replace("check(add)", ""), entry="add")):
        assert verdict_on(code, ADD).passed
        assert verdict_on(code, THREE).score == 0.5
    whole = tests.replace("    assert candidate(1", "    if not candidate: return\n    assert candidate(1")
    assert verdict_on(Code(tests=whole, entry="add"), ADD).passed
    assert verdict_on(Code(tests=whole, entry="add"), THREE).score == 0.0


@sandboxed
def test_the_evidence_names_what_fails_and_what_came() -> None:
    verdict = verdict_on(
        Code(tests=KINDS["functions"] + "def test_c():\n    assert add(1, 1) == 2, 'one and one'\n"), THREE
    )
    assert "1 of 3 tests pass" in verdict.evidence
    assert "test_b: assert add(2, 2) == 4 (got 3)" in verdict.evidence and "test_c: one and one" in verdict.evidence
    long = verdict_on(Code(tests="assert add('x' * 5000, 'y') == 1\n" * 30), ADD)
    assert len(long.evidence) < 4000 and "and 22 more" in long.evidence


@sandboxed
def test_values_of_every_plain_kind_cross_unchanged() -> None:
    values = [
        None, True, 0, -1, 2**53, 2**200, -(10**5000), 0.1, -0.0, float("inf"), 1e-320, "", "é\ud800\0", b"\0\xff",
        1 + 2j, [1, [2]], (1,), (), {1: "a", (1, 2): [None]}, {1, "a"}, frozenset({1.5}),
    ]  # fmt: skip
    code = Code(calls=[((v,), v) for v in values] + [((float("nan"),), "nan")], entry="same")
    verdict = verdict_on(code, "def same(x):\n    return 'nan' if isinstance(x, float) and x != x else x\n")
    assert verdict.passed, verdict.evidence
    types = (
        "from collections import Counter, OrderedDict, deque, defaultdict, namedtuple\nfrom decimal import Decimal\n"
        "from fractions import Fraction\nimport datetime, enum\n"
        "for v in [Counter('aab'), OrderedDict([(1, 2)]), deque([1], 3), Decimal('0.10'), Fraction(1, 3), "
        "range(3), bytearray(b'x'),"
        " datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, 3), datetime.timedelta(1), slice(1, 2), "
        "int, ValueError]:\n"
        "    if v is not ValueError: assert same(v) == v and type(same(v)) is type(v), v\n"
        "assert same({}) is not None and point() == (1, 2) and point().x == 1 and words()['a'] == [1] and "
        "kind() == 1\n"
    )
    source = (
        "from collections import *\nimport enum\ndef same(x): return x\n"
        "def point(): return namedtuple('P', 'x y')(1, 2)\n"
        "def words():\n    d = defaultdict(list); d['a'].append(1); return d\nclass K(enum.IntEnum):\n    A = 1\n"
        "def kind(): return K.A\n"
    )
    verdict = verdict_on(Code(tests=types), source)
    assert verdict.passed, verdict.evidence


@sandboxed
def test_calls_by_position_by_name_of_methods_and_within_a_tolerance() -> None:
    calls = [((1, 2), 3), ({"a": 1, "b": 3}, 4)]
    assert verdict_on(Code(calls=calls, entry="add"), ADD).passed
    assert verdict_on(
        Code(calls=calls, entry="Solution.add"), "class Solution:\n    def add(self, a, b): return a + b"
    ).passed
    third = "def f(n): return [1 / n, {'x': n * 0.1}]"
    want = [((3,), [0.3333, {"x": 0.3}])]
    assert verdict_on(Code(calls=want, entry="f", tolerance=1e-3), third).passed
    assert verdict_on(Code(calls=want, entry="f"), third).score == 0.0
    assert verdict_on(Code(calls=[((3,), [0, 1, 2])], entry="f"), "def f(n): yield from range(n)").passed
    assert verdict_on(Code(calls=[((3,), [0, 1, 2])], entry="f"), "def f(n): yield from range(n + 1)").score == 0.0


@sandboxed
def test_a_changed_argument_is_changed_for_the_test() -> None:
    tests = (
        "xs = [3, 1, 2]\nsort(xs)\nassert xs == [1, 2, 3]\nd = {}\nfill(d)\nassert d == {'a': 1}\n"
        "ys = [2, 1]\nassert give(ys) is ys and ys == [2, 1, 0]\ns = {1}\nassert s_add(s) is None and s == {1, 2}\n"
    )
    source = (
        "def sort(xs): xs.sort()\ndef fill(d): d['a'] = 1\ndef give(ys):\n    ys.append(0)\n    return ys\n"
        "def s_add(s): s.add(2)\n"
    )
    verdict = verdict_on(Code(tests=tests), source)
    assert verdict.passed, verdict.evidence


CLASSES = """
class StackError(Exception):
    def __init__(self, what): super().__init__(what); self.what = what
class Stack(list):
    def push(self, x): self.append(x); return self
    def top(self):
        if not self: raise StackError("empty")
        return self[-1]
class Vector:
    def __init__(self, x, y): self.x, self.y = x, y
    def __eq__(self, o): return isinstance(o, Vector) and (self.x, self.y) == (o.x, o.y)
    def __hash__(self): return hash((self.x, self.y))
    def __add__(self, o): return Vector(self.x + o.x, self.y + o.y)
    def __mul__(self, k): return Vector(self.x * k, self.y * k)
    __rmul__ = __mul__
    def __lt__(self, o): return self.x < o.x
    def __repr__(self): return f"Vector({self.x}, {self.y})"
    def __iter__(self): return iter((self.x, self.y))
    def __getitem__(self, i): return (self.x, self.y)[i]
    def __contains__(self, v): return v in (self.x, self.y)
    def __enter__(self): return self
    def __exit__(self, *a): self.x = 0
    def __call__(self): return self.x
    def __bool__(self): return self.x != 0
    def apply(self, f): return [f(v) for v in self]
def naturals():
    n = 0
    while True:
        yield n
        n += 1
class Node:
    def __init__(self, v, next=None): self.v, self.next = v, next
def reverse(n):
    last = None
    while n: n.next, last, n = last, n, n.next
    return last
def hello(): print("hello")
"""


@sandboxed
def test_classes_generators_callbacks_exceptions_and_prints() -> None:
    tests = """
import contextlib, io, itertools, unittest
s = Stack()
s.push(1); s.push(2)
assert s.top() == 2 and len(s) == 2 and list(s) == [1, 2]
v = Vector(1, 2)
assert v + Vector(1, 1) == Vector(2, 3) and v != Vector(0, 0) and 2 * v == v * 2
assert repr(v) == "Vector(1, 2)" and str(v * 2) == "Vector(2, 4)" and v.x == 1 and v[1] == 2
assert list(v) == [1, 2] and 2 in v and 3 not in v and v() == 1 and bool(v) and not Vector(0, 0)
assert len({v, Vector(1, 2)}) == 1 and sorted([Vector(2, 0), v])[0] is v and isinstance(v, Vector)
v.x = 7
assert v.x == 7 and v.apply(lambda t: t + 1) == [8, 3]
with v as w: assert w is v
assert v.x == 0
assert list(itertools.islice(naturals(), 4)) == [0, 1, 2, 3] and next(naturals()) == 0
r = reverse(Node(1, Node(2)))
assert r.v == 2 and r.next.v == 1 and r.next.next is None
assert not hasattr(v, "nothing")
class T(unittest.TestCase):
    def test_empty(self):
        with self.assertRaises(StackError) as caught: Stack().top()
        self.assertEqual(caught.exception.what, "empty")
        with self.assertRaisesRegex(Exception, "emp"): Stack().top()
def test_back():
    def fail(x): raise KeyError(x)
    try: v.apply(fail)
    except KeyError as e: assert e.args == (0,)
    else: assert False
def test_print():
    out = io.StringIO()
    with contextlib.redirect_stdout(out): hello()
    assert out.getvalue() == "hello\\n"
"""
    verdict = verdict_on(Code(tests=tests), CLASSES)
    assert verdict.passed, verdict.evidence


@sandboxed
def test_programs_are_compared_by_their_output() -> None:
    cases = [("1 2\n", "3"), ("4 5", "9\n\n"), ("1 1", "2")]
    right = "a, b = map(int, input().split())\nprint(a + b, '')\n"
    assert verdict_on(Code(cases=cases), right).passed
    wrong = verdict_on(Code(cases=cases), "print(3)\nimport sys; sys.exit(0)")
    assert wrong.score == pytest.approx(1 / 3) and "case 2: printed '3', expected '9'" in wrong.evidence
    crash = verdict_on(Code(cases=cases), right + "1 / 0")
    assert crash.score == 0.0 and "exit code 1: ZeroDivisionError" in crash.evidence
    near = Code(cases=[("", "0.3333 x")], tolerance=1e-3)
    assert verdict_on(near, "print(1/3, 'x')").passed and not verdict_on(near, "print(1/2, 'x')").passed
    mine = Code(cases=[("", "ABC")], compare=lambda want, got: want.lower() == got.strip())
    assert verdict_on(mine, "print('abc')").passed
    raising = Code(cases=[("", "x")], compare=lambda want, got: bool(1 / 0))
    assert verdict_on(raising, "print('x')").score is None


@sandboxed
def test_a_limit_is_named_and_the_other_tests_still_count() -> None:
    tests = (
        "def test_a(): assert f('loop') == 1\ndef test_b(): assert f('x') == 'x'\n"
        "def test_c(): assert f('exit') == 1\ndef test_d(): assert f('y') == 'y'\n"
    )
    source = (
        "import os\ndef f(x):\n    while x == 'loop': pass\n    if x == 'exit': os._exit(3)\n"
        "    if x == 'eat': return [bytearray(10**8) for _ in range(100)]\n    return x\n"
    )
    verdict = verdict_on(Code(tests=tests, seconds=0.5), source)
    assert verdict.score == 0.5 and verdict.exact, verdict.evidence
    assert "no result within 0.5 s" in verdict.evidence and "exit code 3" in verdict.evidence
    memory = verdict_on(Code(tests="assert f('eat') is None"), source)
    assert memory.score == 0.0 and "MemoryError" in memory.evidence
    for source, said in (("while True: pass", "0.5 s"), ("x = bytearray(10**10)", "memory")):
        ran = verdict_on(Code(cases=[("", "x")], seconds=0.5), source)
        assert ran.score == 0.0 and said in ran.evidence


class Restless(Code):
    """Runs each attempt with another seed: stands for a candidate with a randomness of its own."""

    def _reports(self, source: str) -> Any:
        plan, reply, attempt = super()._reports(source), None, 0
        while True:
            try:
                effect = plan.send(reply)
            except StopIteration as end:
                return end.value
            programs = dict(effect.arguments)["programs"]
            told = json.loads(programs[1]["stdin"])
            programs[1]["stdin"] = json.dumps({**told, "seed": attempt})
            attempt += 1
            reply = yield effect


FIRST = f"import random\nfirst = abs(random.random() - {Random(0).random()!r}) < 1e-12\ndef ok(): return True\n"


@sandboxed
def test_a_test_that_does_not_repeat_is_named_and_has_not_passed() -> None:
    source = FIRST + "def late(): return not first\n"
    tests = "assert ok()\nassert late()\n"
    verdict = verdict_on(Restless(tests=tests), source)
    assert verdict.score == 0.5 and not verdict.exact, verdict.evidence
    assert "1 of 2 tests pass" in verdict.evidence and "flaky, not passed: line 2" in verdict.evidence
    early = FIRST + "def late(): return first\n"
    assert verdict_on(Restless(tests=tests), early).passed
    assert verdict_on(Restless(tests=tests, repeat=2), early).score == 0.5
    alone = verdict_on(Restless(tests="assert late()"), source)
    assert alone.score == 0.0 and not alone.exact
    assert verdict_on(Restless(tests=tests + "assert not ok()"), source).exact


@sandboxed
def test_a_candidate_cannot_tell_by_chance_which_attempt_it_is() -> None:
    # All of one kind of attempt right, all of the other wrong: every test would be flaky, and none would count.
    source = FIRST + "def late(): return not first\n"
    verdict = verdict_on(Code(tests="assert ok()\nassert late()\n"), source)
    assert verdict.score == 0.5 and verdict.exact and "flaky" not in verdict.evidence
    calls = Code(entry="late", calls=[((), True)], repeat=2)
    assert verdict_on(calls, source).exact and verdict_on(calls, source).score == 0.0


def test_flaky_cases_have_not_passed() -> None:
    from satisfice.verifiers.coding.outcomes import Outcome, Report, verdict

    report = Report(outcomes={"case 1": Outcome(True), "case 2": Outcome(False)}, flaky={"case 2": "late"}, done=True)
    assert (verdict([report], True).score, verdict([report], True).exact) == (0.5, False)


@sandboxed
@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("assert add(1, 2) = 3", "SyntaxError"),
        ("import requests\nassert add(1, 2) == 3", "requests"),
        ("def test_a():\n    import numpy as np\n    assert add(1, 2) == 3", "numpy"),
        ("import urllib.request\nurllib.request.urlopen('http://example.org')\nassert add(1, 2) == 3", "URLError"),
        ("x = 1 / 0\nassert add(1, 2) == 3", "ZeroDivisionError"),
        ("def test_a(tmp_path): assert add(1, 2) == 3", "TypeError"),
        ("def prop_a(x: object): return add(x, x)", "property"),
        ("import os\nos._exit(0)", "ended"),
        ("x = 1", "no test"),
        ("while True: pass", "no result"),
    ],
)
def test_tests_that_cannot_run_say_nothing_of_the_candidate(tests: str, said: str) -> None:
    for source in (ADD, "def add(a, b): return 1 / 0"):
        verdict = verdict_on(Code(tests=tests, seconds=0.5), source)
        assert verdict.score is None and said in verdict.evidence, verdict.evidence


@sandboxed
def test_what_the_candidate_does_not_define_is_its_fault() -> None:
    for tests in ("assert sub(2, 1) == 1", "from solution import sub\nassert sub(2, 1) == 1"):
        verdict = verdict_on(Code(tests=tests), ADD)
        assert verdict.score == 0.0 and verdict.exact and "'sub'" in verdict.evidence


def test_what_is_not_run_at_all() -> None:
    code = Code(tests=KINDS["asserts"])

    def first(task: Task, candidate: Candidate) -> Verdict:
        with pytest.raises(StopIteration) as end:
            next(code(task, candidate))
        verdict: Verdict = end.value.value
        return verdict

    rust = Task.of("q")
    rust = Task(rust.messages, Contract("code", language="rust"))
    assert first(rust, Candidate("x", "x", "x")).score is None
    assert first(TASK, Candidate("prose")).score == 0.0
    big = "x" * 10_000_000
    assert first(TASK, Candidate(big, big, big)).score is None
    assert code.needs(TASK) == ()


@sandboxed
def test_only_the_answer_that_is_given_is_verified() -> None:
    code, text = Code(tests=KINDS["asserts"]), Task.of("q", "text")
    said = f"```python\n{ADD}```\nAnswer: nothing of the kind"
    for task, answer in ((text, "nothing of the kind"), (Task.of("q", "number"), "3"), (text, None)):
        plan = code(task, Candidate(said, answer, answer))
        with pytest.raises(StopIteration) as end:
            next(plan)
        assert end.value.value.score is None and 'answer="code"' in end.value.value.evidence
    assert verdict_on(code, ADD, text).passed, "the answer is the source that is run"


def test_a_missing_sandbox_is_an_unknown_verdict_that_says_what_to_do() -> None:
    from satisfice.core.errors import SandboxUnavailable, ToolError

    for error in (ToolError("tool 'sandbox': pip install"), SandboxUnavailable("pip install")):
        plan = Code(tests="assert f()")(TASK, Candidate("x=1", "x=1", "x=1"))
        effect = next(plan)
        assert isinstance(effect, CallTool) and effect.idempotent and dict(effect.arguments)["unsafe"] is False
        with pytest.raises(StopIteration) as end:
            plan.throw(error)
        assert end.value.value.score is None and "pip install" in end.value.value.evidence


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tests": "  "},
        {"tests": ["assert f() == 1"]},
        {"calls": [((1,), 1)]},
        {"calls": [("text", 1)], "entry": "f"},
        {"calls": [((object(),), 1)], "entry": "f"},
        {"calls": [1], "entry": "f"},
        {"cases": [("a",)]},
        {"cases": [("a", 1)]},
        {"tests": "x", "seconds": 0},
        {"tests": "x", "repeat": 0},
        {"tests": "x", "tolerance": -1.0},
        {"tests": "x", "entry": "f("},
    ],
)
def test_bad_settings_are_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(CallerError):
        Code(**settings)


@sandboxed
def test_unsafe_runs_without_isolation_and_says_so() -> None:
    calls: list[Any] = []
    assert verdict_on(Code(tests=KINDS["asserts"], unsafe=True), ADD, calls=calls).passed
    assert all(ran["isolation"] == "unsafe" for _, reply in calls for ran in reply["ran"])
    calls.clear()
    verdict_on(Code(tests=KINDS["asserts"]), ADD, calls=calls)
    assert all(ran["isolation"] != "unsafe" for _, reply in calls for ran in reply["ran"])


@sandboxed
def test_the_same_input_gives_the_same_verdict() -> None:
    code = Code(tests=KINDS["property"] + "import random\nassert add(random.random(), 0) < 2\n")
    assert verdict_on(code, THREE) == verdict_on(code, THREE)


@sandboxed
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_solve_finds_the_one_that_passes(anyio_backend: str, tmp_path: Path) -> None:
    sources = (THREE, "def add(a, b) return", "import os; os._exit(0)", ADD)
    model = ScriptedModel([f"Here:\n```python\n{source}\n```" for source in sources])
    engine = Engine("m", journal=tmp_path / "journal.db")
    engine.register("m", model, Price.per_million(1, 1))
    async with engine as e:
        solution = await e.solve("Write add(a, b).", budget=1.0, answer="code", checks=[Code(tests=KINDS["asserts"])])
    assert solution.answer is not None and solution.answer.strip() == ADD.strip()
    assert len(model.requests) == 4
