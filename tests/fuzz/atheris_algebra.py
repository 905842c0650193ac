"""Coverage-guided fuzzing of the readers of mathematics, in one process (sympy is loaded, but not the other process).

pip install atheris
python tests/fuzz/atheris_algebra.py -max_total_time=120 -timeout=20 -max_len=200
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "verifiers"))
with atheris.instrument_imports(include=["algebra"]):
    from algebra import plain, shapes, worker

from algebra import compare

worker._warm()
worker._refuse()  # a text that is evaluated, a file that is opened: both raise
SEEDS = [
    r"\frac{1}{2}",
    "x^2+2x+1",
    r"(-\infty,2]\cup(3,4)",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    r"2\pm\sqrt{3}",
    "x=2 or x=3",
]


def one(data: bytes) -> None:
    """Everything that is read is read or refused by `Unreadable`."""
    provider = atheris.FuzzedDataProvider(data)
    how = provider.ConsumeIntInRange(0, 2)
    text = provider.ConsumeUnicode(200)
    if how == 2 and text:
        seed = provider.PickValueInList(SEEDS)
        at = provider.ConsumeIntInRange(0, len(seed))
        text = seed[:at] + text + seed[at:]
    try:
        tidied = shapes.tidy(text)
        found = shapes.shape(tidied)
        shapes.fraction(tidied)
        if how == 1 and not any(c in text for c in "^*!"):  # what computes is stopped by the other process
            plain.read(tidied)
        elif how == 0 and len(text) < 40 and not any(c in text for c in "^*!\\"):
            compare._each(found)
    except shapes.Unreadable:
        pass


atheris.Setup(sys.argv, one)
atheris.Fuzz()
