"""The demo's questions and arms: a weak model on questions whose answers are cheaper to check than to find.

Square roots, quotients and halves: finding one takes the model several tries, checking one takes a multiplication.
The check sees the candidate and the numbers in the question, never the gold answer; that one only counts who is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from random import Random
from typing import TYPE_CHECKING, Any

from ..budgets.budget import Budget
from ..core.completions import Params
from ..strategies import BestOfN, SelfConsistency, SingleShot

if TYPE_CHECKING:
    from ..scheduler.engine import Engine
    from ..scheduler.solution import Solution

PROMPT = "{{ query }}\nReply with just the number."
# The reply is one short line: what comes after it is not read, and not paid for.
PARAMS = Params(max_tokens=16, stop=("\n",))
IN_FLIGHT = 8


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its check, and (for counting only) its gold answer."""

    text: str
    check: Callable[[Any], bool]
    gold: int


@dataclass(frozen=True, slots=True)
class Arm:
    """A strategy at a budget. `usd` is the hard cap for a question."""

    name: str
    strategy: Any
    usd: float
    checked: bool = False


@dataclass(slots=True)
class Tally:
    """What an arm came to over the questions."""

    arm: Arm
    right: int = 0
    asked: int = 0
    abstained: int = 0
    nanos: int = 0
    tokens: int = 0
    calls: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, question: Question, solution: Solution) -> None:
        self.asked += 1
        self.right += solution.value == question.gold
        self.abstained += solution.answer is None
        self.nanos += solution.spend.nanos
        self.tokens += solution.spend.tokens
        self.calls += solution.spend.calls
        self.seconds += solution.spend.seconds
        self.reasons[solution.stop_reason] += 1

    def to_dict(self) -> dict[str, Any]:
        from .intervals import wilson

        low, high = wilson(self.right, self.asked)
        each = max(1, self.asked)
        return {
            "strategy": self.arm.name,
            "budget_usd": self.arm.usd,
            "questions": self.asked,
            "accuracy": self.right / each,
            "interval": [low, high],
            "abstained": self.abstained,
            "usd_per_question": self.nanos / 1e9 / each,
            "tokens_per_question": self.tokens / each,
            "calls_per_question": self.calls / each,
            "seconds_per_question": self.seconds / each,
            "stop_reasons": dict(self.reasons.most_common()),
        }


def questions(count: int, seed: int) -> list[Question]:
    """Freshly generated questions, about a third of each kind; up to about 170 different ones exist."""
    dice = Random(seed)
    makers = (_root, _quotient, _half)
    made: dict[str, Question] = {}
    for turn in islice(cycle(makers), 100 * count):
        if len(made) == count:
            break
        question = turn(dice)
        made.setdefault(question.text, question)
    return list(made.values())


def _root(dice: Random) -> Question:
    x = dice.randint(2, 20)
    n = x * x

    def squares_to(y: int) -> bool:
        return y > 0 and y * y == n

    return Question(f"What is the square root of {n}?", squares_to, x)


def _quotient(dice: Random) -> Question:
    x, d = dice.randint(2, 12), dice.randint(2, 12)
    n = x * d

    def multiplies_back(y: int) -> bool:
        return y * d == n

    return Question(f"What is {n} divided by {d}?", multiplies_back, x)


def _half(dice: Random) -> Question:
    x = dice.randint(2, 40)
    n = 2 * x

    def doubles_to(y: int) -> bool:
        return y + y == n

    return Question(f"What is half of {n}?", doubles_to, x)


def arms(quick: bool) -> list[Arm]:
    """Single-shot once; voting and checking at growing caps, in nominal dollars of the embedded model."""
    caps = (4e-6, 12e-6) if quick else (4e-6, 8e-6, 12e-6)
    made = [Arm("single_shot", SingleShot(params=PARAMS), caps[-1])]
    sampling = Params(temperature=0.7, max_tokens=PARAMS.max_tokens, stop=PARAMS.stop)
    made += [Arm("self_consistency", SelfConsistency(params=sampling), cap) for cap in caps]
    made += [Arm("best_of_n", BestOfN(params=sampling), cap, checked=True) for cap in caps]
    return made


async def play(
    engine: Engine,
    asked: Sequence[Question],
    arms: Sequence[Arm],
    progress: Callable[[list[Tally], Tally], None],
    seconds: float,
) -> list[Tally]:
    """Poses question after question to every arm, several at a time. After `seconds` no further question is begun,
    so that every arm has met the same questions. `progress(tallies, latest)` is called after each answer."""
    import anyio

    tallies = [Tally(arm) for arm in arms]
    ends = anyio.current_time() + seconds

    def turns() -> Iterator[tuple[int, Tally]]:
        for index in range(len(asked)):
            if index and anyio.current_time() > ends:
                return
            yield from ((index, tally) for tally in tallies)

    async def work(turns: Iterator[tuple[int, Tally]]) -> None:
        for index, tally in turns:
            question, arm = asked[index], tally.arm
            solution = await engine.solve(
                question.text,
                budget=Budget(usd=arm.usd),
                answer="number",
                checks=[question.check] if arm.checked else (),
                strategy=arm.strategy,
                seed=index,
            )
            tally.add(question, solution)
            progress(tallies, tally)

    shared = turns()
    async with anyio.create_task_group() as group:
        for _ in range(IN_FLIGHT):
            group.start_soon(work, shared)
    return tallies
