"""The contract suite over every verifier that we ship."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import nan
from threading import Event
from typing import Any

import pytest
from pydantic import BaseModel

from satisfice.budgets.calibrators import EnsembleModel, Identity, Part
from satisfice.core.completions import Completion, Message, Params
from satisfice.core.effects import Ask, Sample
from satisfice.core.task import Candidate, Contract, Task
from satisfice.core.verdict import Verdict, Verifier
from satisfice.testing.hearing import Heard, in_time, living, offline, sound
from satisfice.testing.judging import Said, told
from satisfice.testing.model import BACKENDS
from satisfice.testing.verifier import VerifierContract
from satisfice.verifiers.check import Check
from satisfice.verifiers.choice import Choice
from satisfice.verifiers.code import Code
from satisfice.verifiers.code_generated import GeneratedTests
from satisfice.verifiers.confidence import Agreement, Confidence
from satisfice.verifiers.constraint import AllOf, AnyOf, Weighted
from satisfice.verifiers.ensemble import Ensemble
from satisfice.verifiers.exact import Exact
from satisfice.verifiers.grounding import Grounding
from satisfice.verifiers.human import Human
from satisfice.verifiers.judge import Judge, Panel, PTrue
from satisfice.verifiers.math_ import Equation, Math
from satisfice.verifiers.pairwise import Pairwise
from satisfice.verifiers.process import Process
from satisfice.verifiers.regex import Regex
from satisfice.verifiers.sandbox import isolation
from satisfice.verifiers.schema import Schema
from satisfice.verifiers.similarity import Embedding, Entailment, Lexical, Similarity

NUMBER = Task.of("How much is 1 + 1?", "number")
CHOICE = replace(NUMBER, contract=Contract("choice", ("one", "two", "three")))
JSON = Task.of("Who?", "json")
CODE = Task.of("Write def add(a, b): the sum of two numbers.", "code")
TEXT = Task.of("What is the capital of France?")
TWO, THREE = Candidate("Answer: 2", "2", "2", path="a1"), Candidate("Answer: 3", "3", "3", path="a2")
YES, NO = told("Yes", {"Yes": 0.8, "No": 0.1}), told("No", {"Yes": 0.1, "No": 0.8})
TRUE, FALSE = told("True", {"True": 0.9, "False": 0.1}), told("False", {"True": 0.2, "False": 0.8})
HIGH, LOW = told("5", {"5": 0.7, "4": 0.2}), told("1", {"1": 0.6, "2": 0.3})


class Person(BaseModel):
    name: str
    age: int


def says(text: str, task: Task = TEXT, **fields: Any) -> Candidate:
    """A candidate, read as the contract reads it."""
    reading = task.contract.read(text)
    return Candidate(text, reading.answer if reading else None, reading.key if reading else None, path="a1", **fields)


def graded(prompt: str) -> Completion:
    """A judge that knows that the answer is 2, and is asked in any of the forms."""
    good = "Answer: 2" in prompt
    if "True or False" in prompt:
        return TRUE if good else FALSE
    return HIGH if good else LOW


def compared(prompt: str) -> Completion:
    two, other = prompt.find("Answer: 2"), prompt.find("Answer: 9")
    if two < 0:
        return told("A", {"A": 0.5, "B": 0.5})
    return told("A", {"A": 0.9, "B": 0.1}) if two < other else told("B", {"A": 0.1, "B": 0.9})


def entailed(prompt: str) -> Said:
    if "Claim:" not in prompt:
        return '["Paris is the capital of France."]' if "Lyon" not in prompt else '["Lyon is the capital of France."]'
    claim = prompt.partition("Claim:")[2]
    return YES if "Paris" in claim else NO


def same_city(prompt: str) -> Completion:
    answers = prompt.partition("Answer 1:")[2]
    return YES if ("paris" in answers.lower()) == ("french" in answers.lower()) else NO


def stepped(prompt: str) -> Completion:
    return NO if "1 + 1 = 3" in prompt.partition("The step to check")[2] else YES


def scorer(query: str, steps: tuple[str, ...]) -> Sequence[float | None]:
    return [0.1 if "= 3" in step else 0.9 for step in steps]


async def ascorer(query: str, steps: tuple[str, ...]) -> Sequence[float | None]:
    return scorer(query, steps)


async def is_two(value: Any) -> bool:
    return bool(value == 2)


def raising(value: Any) -> bool:
    raise ValueError(f"no such answer: {value!r}")


def near_two(value: Any) -> float:
    return 0.9 if value == 2 else 0.2


def vectors(texts: Sequence[str]) -> list[list[float]]:
    return [[1.0, 0.0] if "paris" in text.lower() else [0.0, 1.0] for text in texts]


def sure(logprob: float) -> Candidate:
    tops = tuple(((("2", logprob), ("3", min(-0.1, 2 * logprob)))) for _ in range(100))
    if logprob > -0.5:
        tops = tuple((("2", logprob), ("3", -6.0)) for _ in range(100))
    return Candidate("Answer: 2", "2", "2", path="a1", logprobs=(logprob,) * 100, alternatives=tops)


STEPS = says("1. 1 + 1 = 2\n2. Answer: 2", NUMBER), says("1. 1 + 1 = 3\n2. Answer: 3", NUMBER)
CITIES = replace(
    TEXT,
    known=(
        Candidate("Paris", "Paris", "paris", path="b1"),
        Candidate("Paris!", "Paris!", "paris!", path="b2"),
        Candidate("the French capital, Paris", "the French capital, Paris", "c", path="b3"),
    ),
)
PARIS, ROME = says("Paris", TEXT), says("Rome", TEXT)
ADD = says("```python\ndef add(a, b):\n    return a + b\n```", CODE)
SUB = says("```python\ndef add(a, b):\n    return a - b\n```", CODE)
ECHO = says("```python\nprint(input())\n```", CODE)
MUTE = says("```python\nprint('x')\n```", CODE)
SOURCES = {"guide": "Paris is the capital of France. Lyon is a city in France."}
WEIGHED = EnsembleModel(
    method="stacked",
    parts=(Part(name="judge", calibrator=Identity()), Part(name="p_true", calibrator=Identity())),
    bias=0.0,
)


@dataclass
class Case:
    """A verifier, the task that it is for, and candidates that it can tell apart. `make` is called late: some need the
    sandbox."""

    make: Callable[[], Verifier]
    task: Task = NUMBER
    right: Candidate | None = TWO
    wrong: Candidate | None = THREE
    model: Callable[[str], Said] = graded
    sandbox: bool = False
    person: Callable[[Ask], str] = field(default=lambda ask: "right" if "Answer: 2" in ask.question else "wrong")

    @cached_property
    def verifier(self) -> Verifier:
        return self.make()


SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}}, "required": ["name"]}
CASES: dict[str, Case] = {
    "check": Case(lambda: Check(lambda n: n == 2, "two")),
    "check_graded": Case(lambda: Check(near_two)),
    "check_not_blocking": Case(lambda: Check(near_two, blocking=False)),
    "check_raising": Case(lambda: Check(raising), right=None, wrong=None),
    "check_raising_at_length": Case(lambda: Check(raising), TEXT, right=None, wrong=None),
    "check_nan": Case(lambda: Check(lambda n: nan, "nan"), right=None, wrong=None),
    "check_no_verdict": Case(lambda: Check(lambda n: "yes", "text"), right=None, wrong=None),  # type: ignore[arg-type, return-value]
    "math": Case(lambda: Math("2")),
    "math_expression": Case(
        lambda: Math(r"\frac{x^2-1}{x-1}"), right=Candidate("x+1", "x+1", "x+1"), wrong=Candidate("x-1", "x-1", "x-1")
    ),
    "equation": Case(lambda: Equation("x^2 = 4")),
    "choice": Case(lambda: Choice("two"), CHOICE, says("Answer: two", CHOICE), says("Answer: one", CHOICE)),
    "choice_any": Case(lambda: Choice(), CHOICE, says("Answer: two", CHOICE), Candidate("four", "four", "four")),
    "exact": Case(lambda: Exact(["Paris", "City of Paris"]), TEXT, PARIS, ROME),
    "regex": Case(lambda: Regex(r"(a+)+\d|^2$", full=False)),
    "schema": Case(lambda: Schema(SCHEMA), JSON, says('{"name": "Ada"}', JSON), says('{"name": "ada"}', JSON)),
    "schema_of_pydantic": Case(
        lambda: Schema(Person), JSON, says('{"name": "Ada", "age": 36}', JSON), says('{"name": 3}', JSON)
    ),
    "schema_of_the_task": Case(
        lambda: Schema(),
        replace(JSON, contract=Contract("json", schema=SCHEMA)),
        says('{"name": "Ada"}', JSON),
        says("{}", JSON),
    ),
    "all_of": Case(lambda: AllOf(Check(lambda n: n > 0, "positive"), Judge(), Regex(r"\d"))),
    "any_of": Case(lambda: AnyOf(Check(lambda n: n == 2, "two"), Regex("^zwei$"), name="two or zwei")),
    "code_tests": Case(lambda: Code(tests="assert add(1, 2) == 3", seconds=2.0), CODE, ADD, SUB, sandbox=True),
    "code_calls": Case(
        lambda: Code(entry="add", calls=[((1, 2), 3), ((2, 2), 4)], seconds=2.0), CODE, ADD, SUB, sandbox=True
    ),
    "code_cases": Case(lambda: Code(cases=[("hi\n", "hi\n")], seconds=2.0), CODE, ECHO, MUTE, sandbox=True),
    "code_incomplete": Case(
        lambda: Code(tests="assert add(1, 2) == 3", complete=False, seconds=2.0), CODE, ADD, SUB, sandbox=True
    ),
    "generated_tests": Case(
        lambda: GeneratedTests(n=2),
        CODE,
        ADD,
        SUB,
        lambda prompt: "```python\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n```",
        sandbox=True,
    ),
    "judge": Case(lambda: Judge()),
    "judge_elsewhere": Case(lambda: Judge("another/model")),
    "judge_criteria": Case(lambda: Judge(criteria=("correct", "clear"))),
    "judge_reference": Case(lambda: Judge(reference="two")),
    "judge_reason": Case(
        lambda: Judge(reason=True),
        model=lambda prompt: f"Let me see.\nScore: {5 if 'Answer: 2' in prompt else 1}",
    ),
    "p_true": Case(lambda: PTrue(ideas=2)),
    "panel": Case(lambda: Panel((Judge(name="a"), Judge(name="b", rubric="clear?"), PTrue()))),
    "pairwise": Case(lambda: Pairwise("Answer: 9"), model=compared),
    "grounding": Case(
        lambda: Grounding(SOURCES),
        TEXT,
        says("Paris is the capital of France."),
        says("Lyon is the capital of France."),
        entailed,
    ),
    "grounding_decomposed": Case(
        lambda: Grounding(SOURCES, decompose=True),
        TEXT,
        says("Paris is the capital of France."),
        says("Lyon is the capital of France."),
        entailed,
    ),
    "process": Case(lambda: Process(), NUMBER, *STEPS, stepped),
    "process_callable": Case(lambda: Process(scorer, aggregate="product"), NUMBER, *STEPS),
    **{
        f"confidence_{kind}_{by}": Case(
            lambda kind=kind, by=by: Confidence(kind, 8, by),  # type: ignore[misc]
            NUMBER,
            sure(-0.01),
            sure(-1.5),
        )
        for kind in ("mean", "tail", "group", "bottom", "min")
        for by in ("probability", "alternatives")
    },
    "agreement": Case(
        lambda: Agreement(), replace(NUMBER, known=(replace(TWO, path="b1"), replace(TWO, path="b2"), THREE)), TWO
    ),
    "similarity_lexical": Case(lambda: Similarity(Lexical()), CITIES, PARIS, ROME),
    "similarity_embedding": Case(lambda: Similarity(Embedding(vectors)), CITIES, PARIS, ROME),
    "ensemble": Case(lambda: Ensemble((Judge(), PTrue()), WEIGHED)),
    "human": Case(lambda: Human()),
    "human_strict": Case(lambda: Human(strict=True)),
}
AWAITED = {
    "check_async": Case(lambda: Check(is_two)),
    "process_async": Case(lambda: Process(ascorer, aggregate="mean"), NUMBER, *STEPS),
    "all_of_async": Case(lambda: AllOf(Check(lambda n: n > 0, "positive"), Check(is_two), Judge())),
}
COPING = {
    "similarity_entailment": Case(lambda: Similarity(Entailment()), CITIES, PARIS, ROME, same_city),
    "weighted": Case(lambda: Weighted({Check(near_two): 1.0, Judge(): 3.0, Check(raising): 1.0})),
}


class Ours(VerifierContract):
    """A case's fixtures."""

    @pytest.fixture
    def case(self, request: pytest.FixtureRequest) -> Case:
        case: Case = request.param
        if case.sandbox and isolation() is None and not os.environ.get("CI"):
            pytest.skip("needs isolation: pip install 'satisfice[sandbox]'")
        return case

    @pytest.fixture
    def verifier(self, case: Case) -> Verifier:
        return case.verifier

    @pytest.fixture
    def task(self, case: Case) -> Task:
        return case.task

    @pytest.fixture
    def right(self, case: Case) -> Candidate | None:
        return case.right

    @pytest.fixture
    def wrong(self, case: Case) -> Candidate | None:
        return case.wrong

    @pytest.fixture
    def model(self, case: Case) -> Callable[[str], Said]:
        return case.model

    @pytest.fixture
    def person(self, case: Case) -> Callable[[Ask], str]:
        return case.person


@pytest.mark.parametrize("case", CASES.values(), ids=CASES, indirect=True)
class TestOurs(Ours):
    pass


@pytest.mark.parametrize("case", COPING.values(), ids=COPING, indirect=True)
class TestCoping(Ours):
    copes = True  # a call that fails keeps two answers apart; a mean is taken of the parts that are known


@pytest.mark.parametrize("case", AWAITED.values(), ids=AWAITED, indirect=True)
class TestAwaited(Ours):
    drives = tuple(living(backend) for backend in BACKENDS)  # no event loop offline


# -- the suite itself --------------------------------------------------------------------------------------------------


@dataclass
class Bad:
    """Verifiers as they must not be."""

    how: str
    name: str = "bad"
    calls: int = 0

    def __call__(self, task: Task, candidate: Candidate) -> Any:
        self.calls += 1
        if self.how == "raises":
            raise ZeroDivisionError
        if self.how == "undeclared":
            return self._asking()
        if self.how == "raises later":
            return self._asking(None)
        return {
            "no verdict": 0.5,
            "sure of the unknown": Verdict(None, exact=True),
            "endless": Verdict(0.5, evidence="x" * 5_000),
            "never the same": Verdict(1 / self.calls),
        }[self.how]

    def _asking(self, score: float | None = 0.5) -> Any:
        yield from Sample((Message("user", "?"),), None, None, Params(max_tokens=4))
        return Verdict(score if score is not None else float("?"))


@pytest.mark.parametrize(
    "how",
    ["raises", "raises later", "no verdict", "sure of the unknown", "endless",
     "never the same", "undeclared"],
)  # fmt: skip
def test_the_suite_finds_what_is_wrong(how: str) -> None:
    contract, bad = VerifierContract(), Bad(how)

    def hear(verifier: Verifier, candidate: Candidate, drive: Any = None, **more: Any) -> Heard:
        return contract.heard(verifier, NUMBER, candidate, drive or offline, graded, lambda ask: "right", **more)

    def all_of_it() -> None:
        contract.test_every_driver_comes_to_the_same_verdict(bad, TWO, hear)
        contract.test_it_declares_what_it_needs(bad, NUMBER, TWO, hear)

    with pytest.raises((AssertionError, UnicodeEncodeError)):
        all_of_it()


def test_a_verifier_that_hangs_fails_the_test() -> None:
    forever = Event()
    with pytest.raises(pytest.fail.Exception, match="hangs"):
        in_time(forever.wait, 0.05)
    forever.set()


PLAIN = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("verifier_cases", sys.argv[1])
cases = sys.modules["verifier_cases"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
print(json.dumps(cases.every_verdict(), sort_keys=True))
"""


def every_verdict() -> dict[str, Any]:
    """What every verifier that needs no sandbox says of its right candidate."""
    contract, found = VerifierContract(), {}
    for name, case in {**CASES, **COPING, **AWAITED}.items():
        if case.sandbox:
            continue
        heard: Heard = contract.heard(
            case.verifier, case.task, case.right or TWO, living("asyncio"), case.model, case.person
        )
        verdict: Verdict = sound(heard.verdict)
        found[name] = [verdict.score, verdict.exact, verdict.evidence, heard.asked]
    return found


def test_another_process_comes_to_the_same_verdicts_and_prompts() -> None:
    """A plan is replayed in the process that resumes it: nothing may hang on the order of a set."""
    said = [
        subprocess.run(
            [sys.executable, "-c", PLAIN, __file__],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert len(said[0]) > 1000
