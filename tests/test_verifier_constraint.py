"""AllOf, AnyOf and Weighted: what they decide, what they run, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest

from satisfice.core.completions import Message
from satisfice.core.effects import Effect, Sample, Score
from satisfice.core.errors import CallerError
from satisfice.core.plans import Plan
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.verifiers import Check
from satisfice.verifiers.constraint import AllOf, AnyOf, Weighted

TASK = Task.of("q", "number")
CANDIDATE = Candidate("Answer: 5", "5", "5")


def part(score: float | None, exact: bool = False, name: str = "") -> Any:
    return Check(lambda _: Verdict(score, exact=exact), name=name or f"{score}{'!' if exact else ''}")


def perform(plan: Any) -> tuple[Verdict, list[str]]:
    """Runs a combination as the engine would: parts that are plans, too."""
    asked: list[str] = []
    reply: Any = None
    try:
        while True:
            effect = plan.send(reply)
            assert isinstance(effect, Score)
            asked.append(str(getattr(effect.verifier, "name", "")))
            got: Any = effect.verifier(effect.task, effect.candidate)
            reply = perform(got)[0] if hasattr(got, "send") else got
    except StopIteration as end:
        return end.value, asked


RIGHT, WRONG, UNKNOWN = part(1.0, True), part(0.0, True), part(None)


@pytest.mark.parametrize(
    ("made", "score", "exact", "run"),
    [
        (AllOf(RIGHT, RIGHT), 1.0, True, 2), (AllOf(RIGHT, WRONG, RIGHT), 0.0, True, 2),
        (AllOf(RIGHT, part(0.7)), 0.7, False, 2),
        (AllOf(part(0.3), part(0.7)), 0.3, False, 2), (AllOf(UNKNOWN, RIGHT), None, False, 2),
        (AllOf(UNKNOWN, WRONG), 0.0, True, 2),
        (AllOf(part(0.0), part(1.0)), 0.0, False, 2), (AllOf(UNKNOWN), None, False, 1),
        (AnyOf(WRONG, WRONG), 0.0, True, 2), (AnyOf(WRONG, RIGHT, WRONG), 1.0, True, 2),
        (AnyOf(WRONG, part(0.7)), 0.7, False, 2),
        (AnyOf(UNKNOWN, WRONG), None, False, 2), (AnyOf(UNKNOWN, RIGHT), 1.0, True, 2),
        (AnyOf(part(1.0), WRONG), 1.0, False, 2),
        (Weighted([(part(0.2), 1), (part(0.8), 3)]), 0.65, False, 2), (Weighted([(part(0.2), 1),
        (UNKNOWN, 9)]), 0.2, False, 2),
        (Weighted([(UNKNOWN, 1)]), None, False, 1), (Weighted([(RIGHT, 1), (RIGHT, 2)]), 1.0, True, 2),
        (Weighted([(RIGHT, 1), (WRONG, 1)]), 0.5, False, 2), (Weighted([(WRONG, 1), (WRONG, 2)]), 0.0, True, 2),
        (Weighted([(RIGHT, 1), (UNKNOWN, 2)]), 1.0, False, 2),
        (Weighted({RIGHT: 1e-300, part(1.0): 1e300}), 1.0, False, 2),
    ],
)  # fmt: skip
def test_what_they_decide(made: Any, score: float | None, exact: bool, run: int) -> None:
    verdict, asked = perform(made(TASK, CANDIDATE))
    assert verdict.score == (pytest.approx(score) if score is not None else None)
    assert (verdict.exact, len(asked)) == (exact, run)


def test_each_outcome_is_named() -> None:
    verdict, _ = perform(AllOf(RIGHT, part(0.0, True, "small"), part(1.0, name="dear"), name="mine")(TASK, CANDIDATE))
    assert verdict.evidence == "1.0!: 1; small: 0; 1 not run"
    assert AllOf(RIGHT, name="mine").name == "mine"
    assert AnyOf(RIGHT, WRONG).name == "any_of(1.0!, 0.0!)"
    assert "None: unknown" in perform(Weighted([(UNKNOWN, 1)])(TASK, CANDIDATE))[0].evidence


def test_combinations_of_combinations_and_of_plain_callables() -> None:
    def odd(n: int) -> bool:
        return n % 2 == 1

    made = AllOf(odd, AnyOf(lambda n: n > 10, lambda n: n < 6))
    assert perform(made(TASK, CANDIDATE))[0].passed
    verdict, asked = perform(made(TASK, Candidate("Answer: 7", "7", "7")))
    assert (verdict.score, verdict.exact, len(asked)) == (0.0, True, 2)


class Judge:
    name = "judge"

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        yield from self.needs(task)[0]
        return Verdict(0.5)

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return (Sample((Message("user", task.query),)),)


def test_needs_are_those_of_all_parts() -> None:
    judge = Judge()
    assert AllOf(RIGHT, judge, AnyOf(judge, judge)).needs(TASK) == judge.needs(TASK) * 3
    assert Weighted({judge: 1.0, RIGHT: 2.0}).needs(TASK) == judge.needs(TASK)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AllOf(), lambda: AnyOf(), lambda: Weighted([]), lambda: AllOf(3), lambda: Weighted([(RIGHT, 0)]),
        lambda: Weighted([(RIGHT, -1)]), lambda: Weighted([(RIGHT, float("nan"))]),
        lambda: Weighted([(RIGHT, float("inf"))]),
        lambda: Weighted([RIGHT]), lambda: Weighted(3), lambda: Weighted([(RIGHT, True)]),
        lambda: Weighted([(RIGHT, "1")]),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(make: Any) -> None:
    with pytest.raises(CallerError):
        make()


def test_a_part_that_raises_leaves_it_unknown() -> None:
    def boom(n: int) -> bool:
        raise RuntimeError("no")

    assert perform(AllOf(RIGHT, boom)(TASK, CANDIDATE))[0].score is None
    assert perform(AnyOf(boom, RIGHT)(TASK, CANDIDATE))[0].passed
