"""Coverage-guided fuzzing of the readers of answers (number, choice, text, json, code).

pip install atheris
python tests/fuzz/atheris_answers.py -max_total_time=120 -timeout=20 -max_len=400
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["satisfice.core.answers"]):
    from satisfice.core.answers import read, value_of

from satisfice.core.task import KINDS, Contract

CONTRACTS = [Contract(kind) for kind in KINDS] + [
    Contract("choice", ("Paris", "New York", "yes")),
    Contract("json", schema={"type": "object", "required": ["a"]}),
    Contract("code", language="javascript"),
]
PIECES = [
    "Answer: ", "\\boxed{", "}", "####", "<answer>", "</answer>", "```python\n", "```", "\n", "17", "1,234",
    "\\frac{1}{2}", "\\sqrt{",
    "^", "%", "(B)", "seventeen", "hundred and", "half", '{"a": 1}', "[1, 2]", "</think>", "answer is", "1e5",
    "**", "\u00bd", "\u00b2",
]  # fmt: skip


def one(data: bytes) -> None:
    """Reading never raises; what is read is read again as the same."""
    provider = atheris.FuzzedDataProvider(data)
    contract = provider.PickValueInList(CONTRACTS)
    text = ""
    while provider.remaining_bytes() and len(text) < 2_000:
        text += provider.PickValueInList(PIECES) if provider.ConsumeBool() else provider.ConsumeUnicode(20)
    found = read(contract, text)
    value_of(contract, text)
    if found is not None:
        again = read(contract, f"Answer: {found.answer}")
        value_of(contract, found.answer)
        # "^2-30" leaves "2-30", which alone is a range.
        if contract.kind not in ("code", "text") and "-" not in found.answer[1:]:
            assert again is not None, (contract, text, found)
            assert again.key == found.key, (contract, text, found, again)


atheris.Setup(sys.argv, one)
atheris.Fuzz()
