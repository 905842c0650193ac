"""The gate of `Experts`: from cheap features of a question to how promising each arm is. Pure Python: it runs on every
request. `experiments.gating` fits one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import exp, log1p
from zlib import crc32

from ..core.errors import CallerError
from ..core.task import KINDS, Task

BUCKETS = 32  # of hashed words
_WORD = re.compile(r"[a-z]{2,}")
_MATHS = re.compile(r"[+*/=^<>%\u221a\u2211\u222b]|\\frac|\bhow (?:many|much)\b", re.I)
_CODE = re.compile(r"```|\bdef |\bclass |\breturn\b|[{};]|=>|->|\w\(\)")
PLAIN = 8 + len(KINDS)  # features that are no hashed words


def features(task: Task, buckets: int = BUCKETS) -> tuple[float, ...]:
    """What a gate sees of a question, (PLAIN + buckets,), each within about [0, 1]: a constant, the kind of answer,
    length, lines, digits, capitals, marks of mathematics and of code, choices, and how often words of each hash come,
    beside the square root of their number."""
    text = task.query
    length = max(1, len(text))
    plain = (
        1.0,
        *(float(task.contract.kind == kind) for kind in KINDS),
        log1p(length) / 10,
        min(1.0, text.count("\n") / 20),
        sum(c.isdigit() for c in text) / length,
        sum(c.isupper() for c in text) / length,
        min(1.0, len(_MATHS.findall(text)) / 5),
        min(1.0, len(_CODE.findall(text)) / 5),
        min(1.0, len(task.contract.choices) / 5),
    )
    if not buckets:
        return plain
    counts = [0.0] * buckets
    words = _WORD.findall(text.lower())[:2000]
    for word in words:
        counts[crc32(word.encode()) % buckets] += 1.0
    scale = max(1.0, len(words) ** 0.5)
    return (*plain, *(count / scale for count in counts))


@dataclass(frozen=True, slots=True)
class Gate:
    """A softmax over linear scores of the features (Shazeer et al. 2017, 1701.06538).

    `weights`: (arms, PLAIN + buckets). `bias`: added to the scores where the k best are chosen and not where their
    answers are weighed, so that load can be shifted between arms without distorting the vote (as in loss-free
    balancing, Wang et al. 2024, 2408.15664); empty for none.
    """

    weights: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        if not self.weights or len({len(row) for row in self.weights}) != 1 or len(self.weights[0]) < PLAIN:
            raise CallerError(f"Gate: weights are one row for each arm, all of the same length, {PLAIN} or more")
        if self.bias and len(self.bias) != len(self.weights):
            raise CallerError(f"Gate: {len(self.bias)} biases for {len(self.weights)} arms")
        if any(x != x or abs(x) == float("inf") for row in (*self.weights, self.bias) for x in row):
            raise CallerError("Gate: weights and biases are finite numbers")

    def scores(self, task: Task) -> tuple[float, ...]:
        """The linear score of each arm."""
        seen = features(task, len(self.weights[0]) - PLAIN)
        return tuple(sum(w * x for w, x in zip(row, seen, strict=True)) for row in self.weights)


def ranking(gate: Gate | None, arms: int, task: Task) -> tuple[list[int], list[float]]:
    """The arms, best first, and the gate's weight of each arm by its index. Without a gate all weigh the same, and
    questions are dealt out to the arms in turn by their hash."""
    if gate is None:
        start = crc32(task.id.encode("utf-8", "surrogatepass")) % arms
        return [(start + i) % arms for i in range(arms)], [1 / arms] * arms
    scores = gate.scores(task)
    bias = gate.bias or (0.0,) * arms
    order = sorted(range(arms), key=lambda i: (-(scores[i] + bias[i]), i))
    return order, softmax(scores)


def softmax(scores: tuple[float, ...]) -> list[float]:
    """Weights that sum to 1."""
    top = max(scores)
    odds = [exp(score - top) for score in scores]
    total = sum(odds)
    return [x / total for x in odds]
