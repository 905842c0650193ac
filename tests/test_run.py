from __future__ import annotations

from typing import Any

import pytest

from satisfice.budgets.beliefs import Committed
from satisfice.budgets.budget import Budget
from satisfice.core.amounts import Amounts
from satisfice.core.completions import Completion
from satisfice.core.effects import CallTool, Gather, Offer, Race, Sample, Score, Within
from satisfice.core.errors import JournalMismatch, ModelRefused, ModelUnavailable
from satisfice.core.plans import Answer
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.journal import Row
from satisfice.scheduler.log import Log
from satisfice.scheduler.nodes import Call, Reply
from satisfice.testing.driver import USAGE, ask, make_run

TASK = Task.of("1 + 1?", "number")


class Table:
    """A run whose calls are answered by hand, by what they ask."""

    def __init__(self, plan: Any, budget: Budget | float = 1.0, **options: Any) -> None:
        self.run = make_run(plan, TASK, budget, journaled=True, **options)
        self.open: dict[str, Call] = {}
        self.cancelled: list[str] = []
        self.rows: list[Row] = []
        self.sent: list[str] = []
        self.run.start()
        self.take()

    def take(self) -> None:
        due = self.run.take()
        self.rows += due.rows
        self.cancelled += [name(call) for call in due.cancels]
        for call in due.calls:
            self.open[name(call)] = call
            self.sent.append(name(call))

    def reply(self, asked: str, text: str = "Answer: 2", now: float = 0.0) -> None:
        self.run.reply(self.open.pop(asked), Reply(Completion(text), USAGE), now)
        self.take()

    def fail(self, asked: str, error: Exception) -> None:
        self.run.fail(self.open.pop(asked), error, 0.0)
        self.take()

    @property
    def found(self) -> list[str]:
        assert self.run.outcome is not None
        return [c.text for c in self.run.outcome.found]


def name(call: Call) -> str:
    return call.effect.messages[-1].content if isinstance(call.effect, Sample) else call.kind


def resumed(plan: Any, rows: list[Row], **options: Any) -> Table:
    return Table(plan, log=Log(rows), **options)


def inner(task: Task) -> Any:
    first = yield from ask("first")
    yield from Offer(Answer(first), Committed(1), (ask("second"),))
    yield from ask("second")


def test_what_was_paid_for_is_kept_however_deep_it_was() -> None:
    def plan(task: Task) -> Any:
        yield from Gather((Within(inner, task), Gather((ask("a"), Gather((ask("b"), ask("c")))))))

    table = Table(plan)
    for asked in ("c", "a", "first"):
        table.reply(asked, asked)
    table.run.stop("enough", 1.0)
    assert table.found == ["first", "a", "c"]
    assert table.run.outcome
    assert table.run.outcome.spent.calls == 5
    assert table.run.root.purse.pending == [0, 0, 0]


def test_what_is_found_comes_by_position() -> None:
    def plan(task: Task) -> Any:
        yield from Gather((Gather((ask("a"), ask("b"))), Gather((ask("c"),))))
        return Answer(None)

    table = Table(plan)
    for asked in ("c", "b", "a"):
        table.reply(asked, asked)
    assert table.found == ["a", "b", "c"]


def test_winners_are_on_record_before_losers_are_dropped() -> None:
    def plan(task: Task) -> Any:
        first = yield from Race((ask("a"), ask("b"), ask("c")), 2)
        return Answer(first[2])

    table = Table(plan)
    table.reply("c")
    table.rows.clear()
    table.reply("b")
    assert [(r.effect, r.kind) for r in table.rows] == [("sample", "reply"), ("race", "reply"), ("sample", "reply")]
    assert '"winners": [2, 1]' in table.rows[1].payload
    assert table.rows[2].nanos > 15_000
    assert table.cancelled == ["a"]


def test_an_abstaining_strategy_does_not_win_a_race() -> None:
    def silent(task: Task) -> Any:
        yield from ask("quick")
        return Answer(None, "unreadable")

    def plan(task: Task) -> Any:
        silence, said = yield from Race((Within(silent, task), ask("slow")))
        assert silence is None
        return Answer(said)

    table = Table(plan)
    table.reply("quick")
    table.reply("slow", "Answer: 3")
    assert table.run.outcome
    assert table.run.outcome.answer
    assert table.run.outcome.answer.candidate
    assert table.run.outcome.answer.candidate.key == "3"


def test_a_retry_that_cannot_be_paid_is_on_record_as_none() -> None:
    """Else a resumed run would try again what this one gave up."""

    def plan(task: Task) -> Any:
        got = yield from Gather((ask("a"), ask("b")), at_least=0)
        return Answer(got[0] or got[1])

    calls = Table(plan)
    hold = calls.open["a"].hold
    assert hold is not None
    table = Table(plan, Budget(tokens=2 * hold.amounts.tokens))
    table.run.root.purse.post(Amounts())
    table.run.root.purse.limit = (table.run.root.purse.limit[0], 2 * hold.amounts.tokens - 1, 1 << 40)
    table.fail("a", ModelUnavailable("busy"))
    assert '"retry": false' in table.rows[-1].payload
    table.reply("b")
    again = resumed(plan, table.rows)
    assert again.sent == []
    assert again.run.outcome
    assert again.run.outcome.answer == table.run.outcome.answer  # type: ignore[union-attr]


def test_a_refused_gather_is_refused_again() -> None:
    """What the purse could not pay while others were in flight is not paid on resuming, when they have come back."""

    def greedy(task: Task) -> Any:
        yield from Gather((ask("x"), ask("y"), ask("z")))

    def plan(task: Task) -> Any:
        yield from Gather((ask("a"), ask("b"), Within(greedy, task)), at_least=2)
        yield from ask("more")
        return Answer(None)

    table = Table(plan, Budget(calls=4))
    table.reply("a")
    table.reply("b")
    assert table.sent == ["a", "b", "more"]
    again = resumed(plan, table.rows, budget=Budget(calls=10))
    assert again.sent == ["more"]


def test_a_resumed_share_is_what_it_was() -> None:
    """What was spent in a share, losers of a race too, counts there after a resume."""

    def member(task: Task) -> Any:
        first = yield from Race((ask("a"), ask("b")))
        while True:
            yield from Offer(Answer(first[0]), Committed(1), (ask("c"),))
            yield from ask("c")

    def plan(task: Task) -> Any:
        got = yield from Within(member, task, 0.5)
        return Answer(got.answer.candidate)

    table = Table(plan, Budget(calls=8))
    table.reply("a")
    again = resumed(plan, table.rows, budget=Budget(calls=8))
    while again.open:
        again.reply("c")
    assert again.sent == ["c"]  # four calls in the share: a, b, the c that was in flight at the crash, and this one
    assert again.run.root.purse.posted[2] == 4


def test_a_stopped_fan_gives_back_what_it_held_on_resuming() -> None:
    def plan(task: Task) -> Any:
        first = yield from ask("one")
        yield from Offer(Answer(first), Committed(2), (ask("two"),))
        yield from Gather((ask("two"), ask("three")))

    table = Table(plan, Budget(usd=1, seconds=2.0))
    table.reply("one")
    table.run.tick(3.0)
    table.take()
    cut = [r for r in table.rows if r.path[:2] in ("a0", "a1", "a2")]
    again = resumed(plan, cut, budget=Budget(usd=1, seconds=2.0))
    assert again.run.outcome
    assert again.run.outcome.reason == "budget_seconds"
    assert again.run.root.purse.pending == [0, 0, 0]
    assert again.sent == []


def test_fewer_options_or_branches_are_a_mismatch() -> None:
    def racing(n: int) -> Any:
        def plan(task: Task) -> Any:
            got = yield from Race(tuple(ask(t) for t in "abc"[:n]))
            return Answer(next(c for c in got if c))

        return plan

    table = Table(racing(3))
    table.reply("c")
    with pytest.raises(JournalMismatch):
        resumed(racing(2), table.rows)


def test_effects_that_make_no_sense_are_the_plans_fault() -> None:
    bad: list[Any] = [
        7,
        None,
        Gather(x for x in ()),  # type: ignore[arg-type]
        Within(inner, TASK, float("nan")),
        Within(7, TASK),  # type: ignore[arg-type]
        Gather((3,)),  # type: ignore[arg-type]
    ]
    for effect in bad:

        def plan(task: Task, effect: Any = effect) -> Any:
            try:
                yield effect
            except Exception:
                return Answer(Candidate("caught", "caught", "caught"))
            raise AssertionError(effect)

        table = Table(plan)
        assert table.run.outcome
        assert table.run.outcome.answer, effect
        assert table.run.root.purse.pending == [0, 0, 0]


def test_a_stop_cannot_be_swallowed() -> None:
    def stubborn(task: Task) -> Any:
        while True:
            try:
                yield from ask("a")
            except Exception:
                continue

    table = Table(stubborn, Budget(calls=2))
    table.fail("a", ModelRefused("no"))
    table.reply("a")
    table.reply("a")
    assert table.run.outcome
    assert table.run.outcome.reason == "budget_calls"


def test_a_tool_replies_what_the_journal_would() -> None:
    seen: list[Any] = []

    def plan(task: Task) -> Any:
        seen.append((yield from CallTool("t")))
        try:
            yield from CallTool("t")
        except Exception as error:
            seen.append(type(error).__name__)
        return Answer(None)

    table = Table(plan)
    table.run.deliver(table.open.pop("calltool"), {1: (2, 3)}, 0.0)
    table.take()
    table.run.deliver(table.open.pop("calltool"), {1, 2}, 0.0)
    table.take()
    assert seen == [{"1": [2, 3]}, "ToolError"]
    resumed(plan, table.rows)
    assert seen[2:] == seen[:2]


def test_the_evidence_of_a_blocking_verdict_is_made_storable() -> None:
    seen: list[Verdict] = []

    def check(task: Task, candidate: Candidate) -> Verdict:
        raise AssertionError

    check.blocking = True  # type: ignore[attr-defined]

    def plan(task: Task) -> Any:
        seen.append((yield from Score(check, task, Candidate("x"))))
        return Answer(None)

    table = Table(plan)
    table.run.deliver(table.open.pop("score"), Verdict(1.0, evidence="\ud800"), 0.0)
    assert [(v.score, v.evidence) for v in seen] == [(1.0, "?")]
