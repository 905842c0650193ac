"""Coverage-guided fuzzing of Choice, Exact, Regex and Schema.

pip install atheris
python tests/fuzz/atheris_texts.py -max_total_time=120 -timeout=20 -max_len=400
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["satisfice.verifiers", "satisfice.core.answers"]):
    from satisfice.core.task import Candidate, Contract, Task
    from satisfice.core.verdict import Verdict
    from satisfice.verifiers.choice import Choice
    from satisfice.verifiers.exact import Exact
    from satisfice.verifiers.regex import Regex
    from satisfice.verifiers.schema import Schema

from satisfice.core.errors import CallerError

SCHEMA = Schema({"properties": {"a": {"type": "integer"}, "b": {"items": {"pattern": "^a+$"}, "uniqueItems": True}}})
CHECKS = [
    Choice("A"),
    Choice("Paris"),
    Exact("Paris"),
    Exact("5", accents=False),
    Regex("(a|b)*c"),
    SCHEMA,
    Schema(list[int]),
]
TASKS = [Task((), Contract("choice", choices)) for choices in ((), ("Rome", "Paris"), ("A) x", "B) y"))]


def one(data: bytes) -> None:
    """Every text gives a verdict; every pattern and every text accepted as a setting, or a CallerError."""
    provider = atheris.FuzzedDataProvider(data)
    task = provider.PickValueInList(TASKS)
    check = provider.PickValueInList(CHECKS)
    free = provider.ConsumeIntInRange(0, 3)
    text = provider.ConsumeUnicode(400)
    try:
        if free == 1:
            check = Regex(provider.ConsumeUnicode(40))
        elif free == 2:
            check = Exact(provider.ConsumeUnicode(40))
    except CallerError:
        return
    verdict = check(task, Candidate(text, text))
    assert isinstance(verdict, Verdict)
    verdict.evidence.encode()


atheris.Setup(sys.argv, one)
atheris.Fuzz()
