from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.prices import Price
from satisfice.core.completions import Request
from satisfice.core.effects import CallTool, Gather, Recall, Remember
from satisfice.core.errors import CallerError, ToolError
from satisfice.core.task import Candidate, Task
from satisfice.models import ScriptedModel
from satisfice.scheduler.engine import Engine
from satisfice.strategies import BestOfN
from satisfice.verifiers.code_generated import (
    Consensus,
    GeneratedTests,
    agreement,
    entry_in,
    generate_tests,
    parse_tests,
)
from satisfice.verifiers.sandbox import isolation
from satisfice.verifiers.sandbox.tool import perform

sandboxed = pytest.mark.skipif(
    isolation() is None and not os.environ.get("CI"), reason="needs isolation: pip install 'satisfice[sandbox]'"
)
TASK = Task.of("Write def add(a, b): the sum of two numbers.", "code")
WRITTEN = """Sure! Here are the tests:
```python
assert add(1, 2) == 3
assert add(1, 2) == 3  # again
assert add( 0,0 )==0
- assert add(-1, 1) == 0
assert add(2, 2) == 5
assert other(1) == 1
assert add(open('/etc/passwd').read(), 1) == 2
assert add(1, 2) == __import__('os').system('true')
assert add([0] * 10**9, 1) == 2
assert add([0] * 1000000000, 1) == 2
assert add(*[1, 2]) == 3
assert add(1, **{'b': 2}) == 3
assert add(1, b=2) == 3
assert add('a' * 50, "b") is not None
assert add(1, 2) is True
assert add(1, 2) is 3
assert add(1
assert add((lambda: 1)(), 2) == 3
assert add(float("inf"), 1) == float("inf")
print(add(1, 2))
```"""
READ = (
    "assert add(1, 2) == 3",
    "assert add(0, 0) == 0",
    "assert add(-1, 1) == 0",
    "assert add(2, 2) == 5",
    "assert add(1, b=2) == 3",
    "assert add(1, 2) is True",
    "assert add(float('inf'), 1) == float('inf')",
)


def answer(plan: Any, *, samples: Any = None) -> Any:
    """Runs a plan: the real sandbox, scripted samples, a memory of its own."""
    memory: dict[str, list[Any]] = {}
    reply = None
    while True:
        try:
            effect = plan.send(reply)
        except StopIteration as end:
            return end.value
        match effect:
            case CallTool():
                reply = perform(**dict(effect.arguments))
            case Gather():
                reply = tuple(Candidate(text) if text is not None else None for text in samples(effect))
            case Recall():
                reply = tuple(memory.get(effect.topic, ()))
            case Remember():
                reply = memory.setdefault(effect.topic, []).append(effect.value)


def code(source: str) -> Candidate:
    return Candidate(source, source, source)


def test_only_plain_comparisons_of_the_entry_are_read() -> None:
    assert parse_tests(WRITTEN, "add") == READ
    assert parse_tests("", "add") == parse_tests("x" * 10**7, "add") == ()


@given(st.text() | st.text(alphabet="assert f()=[]{}*1'\"\\\n-.,:"))
def test_reading_never_raises_and_reads_its_own_spelling(text: str) -> None:
    tests = parse_tests(f"assert f({text}) == 1\n{text}", "f")
    assert parse_tests("\n".join(tests), "f") == tests


def test_the_entry_is_what_the_query_names_or_most_sources_define() -> None:
    assert entry_in("Complete:\ndef is_even(n: int) -> bool:") == "is_even"
    assert entry_in("Add.", ["def add(a): 1", "def helper(): 1\ndef add(a): 1", "def plus(a): 1", "no code ("]) == "add"
    assert entry_in("Add.") == ""


def test_tests_are_asked_for_and_joined() -> None:
    tests = answer(generate_tests(TASK, n=3), samples=lambda g: [WRITTEN, None, "assert add(9, 9) == 18"])
    assert tests == (*READ, "assert add(9, 9) == 18")
    plan = generate_tests(TASK, n=3)
    gather = next(plan)
    assert len(gather.branches) == 3 and gather.at_least == 1
    assert all(b.task is None and "`add`" in b.messages[0].content for b in gather.branches)
    with pytest.raises(CallerError):
        next(generate_tests(Task.of("Do it.", "code")))


@sandboxed
def test_solutions_and_tests_that_agree_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satisfice.verifiers.code_generated.SECONDS", 0.3)
    tests = [
        "assert add(1, 2) == 3",
        "assert add(2, 2) == 4",
        "assert add(2, 2) == 5",
        "assert add(float('x'), 1) == 1",
        "assert add(0, 3) == 3",
    ]
    sources = [
        "def add(a, b): return a * b + 1",
        "def add(a, b): return a + b",
        "def add(a, b): return b + a",
        "def add(a, b) return",
        "import os; os._exit(0)",
        "def add(a, b):\n    while True: pass",
        "class Yes:\n    __eq__ = lambda s, o: True\ndef add(a, b): return Yes()",
        "def add(a, b): return a * b + 1",
    ]
    found = answer(agreement(TASK, [code(s) for s in sources] + [Candidate("prose")], tests))
    assert found[0] == Consensus((1, 2), (0, 1, 4)) and found[0].score == 6
    assert found[1] == Consensus((0, 7), (0, 2)) and found[1].score == 4
    assert found[-1] == Consensus((3, 4, 5, 6, 8), ()) and found[-1].score == 0


@sandboxed
def test_the_verifier_gives_the_share_and_is_never_exact() -> None:
    check = GeneratedTests(n=2)
    right = answer(check(TASK, code("def add(a, b): return a + b")), samples=lambda g: [WRITTEN, WRITTEN])
    assert right.score == pytest.approx(5 / 7) and not right.exact and "assert add(2, 2) == 5" in right.evidence
    wrong = answer(check(TASK, code("def add(a, b): return 0")), samples=lambda g: [WRITTEN, WRITTEN])
    assert wrong.score == pytest.approx(2 / 7) and not wrong.exact
    assert answer(check(TASK, Candidate("prose")), samples=None).score == 0.0
    assert answer(check(TASK, code("def add(a): 1")), samples=lambda g: ["none", None]).score is None
    assert len(check.needs(TASK)) == 2


def test_without_a_sandbox_it_is_unknown() -> None:
    plan = GeneratedTests(n=1)(TASK, code("def add(a, b): return a + b"))
    assert isinstance(next(plan), Recall)
    assert isinstance(plan.send((["assert add(1, 2) == 3"],)), CallTool)
    with pytest.raises(StopIteration) as end:
        plan.throw(ToolError("pip install"))
    assert end.value.value.score is None and "pip install" in end.value.value.evidence


@sandboxed
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_a_run_the_tests_are_paid_once(anyio_backend: str) -> None:
    sources = iter(["def add(a, b): return 3", "def add(a, b): return a + b", "def add(a, b): return 0"])

    def reply(request: Request, index: int) -> str:
        if "Do not solve this" in request.messages[-1].content:
            return "assert add(1, 2) == 3\nassert add(2, 2) == 4\nassert add(0, 0) == 0"
        return f"```python\n{next(sources)}\n```"

    model = ScriptedModel(reply)
    engine = Engine("m", journal=False)
    engine.register("m", model, Price.per_million(1, 1))
    async with engine as e:
        solution = await e.solve(
            "Write def add(a, b).", budget=1.0, answer="code", checks=[GeneratedTests(n=2)], strategy=BestOfN(samples=3)
        )
    assert solution.answer == "def add(a, b): return a + b"
    asked = [r for r in model.requests if "Do not solve this" in r.messages[-1].content]
    assert sum(r.n for r in asked) == 2
