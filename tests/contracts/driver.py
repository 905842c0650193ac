"""What every driver of a run keeps to. Subclass `DriverContract` and define its fixture `drive`:

    class TestMine(DriverContract):
        @pytest.fixture
        def drive(self) -> Drive:
            return lambda run, script: my_driver(run, script)

`drive(run, script)` performs the run to its end and returns it; the script answers as a source (`answer(call)`) and as
a model (`complete(request)`), the same for the same place in the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import pytest

from ..budgets.beliefs import Committed
from ..budgets.budget import Budget
from ..budgets.policy import Policy
from ..budgets.prices import Price
from ..budgets.purse import Purse
from ..core.completions import Completion, Message, Params, Request, Response, Usage
from ..core.effects import Gather, Offer, Race, Recall, Remember, Sample, Score, Within
from ..core.errors import GatherFailed, ModelRefused, ModelUnavailable
from ..core.plans import Answer, Strategy
from ..core.task import Candidate, Contract, Task
from ..core.verdict import Verdict
from ..scheduler.decisions import Economics
from ..scheduler.live import Live
from ..scheduler.nodes import Call, Reply
from ..scheduler.offline import perform
from ..scheduler.run import Run
from ..scheduler.tariff import PriceList, Rate
from ..scheduler.world import World

FOREVER = 1e9
USAGE = Usage(10, 5)
MODEL = "m"
Line: TypeAlias = "str | Exception | float"


@dataclass
class Script:
    """Answers by what is asked: `lines` from the last message's text to a reply, an exception, or a number of seconds
    that it takes to say nothing (FOREVER: never); a list is taken one by one, its last again and again. Whatever is
    not listed is answered by `text`. `usage` None: the provider does not say."""

    lines: dict[str, Line | list[Line]] = field(default_factory=dict)
    text: Callable[[str, int], str] = lambda asked, seed: f"Answer: {seed % 3}"
    usage: Usage | None = USAGE
    asked: list[str] = field(default_factory=list)

    def _line(self, asked: str, seed: int) -> Line:
        self.asked.append(asked)
        line = self.lines.get(asked)
        if isinstance(line, list):
            return line.pop(0) if len(line) > 1 else line[0]
        return self.text(asked, seed) if line is None else line

    def answer(self, call: Call) -> Reply | Exception:
        """As the source of an offline driver."""
        assert isinstance(call.effect, Sample)
        line = self._line(call.effect.messages[-1].content, call.seed)
        if isinstance(line, Exception):
            return line
        if isinstance(line, float):
            return Reply(Completion("late"), self.usage, line)
        return Reply(Completion(line), self.usage, 1.0)

    async def complete(self, request: Request) -> Response:
        """As a model."""
        line = self._line(request.messages[-1].content, request.seed or 0)
        await anyio.lowlevel.checkpoint()
        if isinstance(line, Exception):
            raise line
        if isinstance(line, float):
            await anyio.sleep(line)
        return Response((Completion(line if isinstance(line, str) else "late"),), self.usage)


Drive: TypeAlias = Callable[[Run, Script], Run]


def make_run(
    strategy: Strategy,
    task: Task | None = None,
    budget: Budget | float = 1.0,
    *,
    price: Price | None = None,
    parent: Purse | None = None,
    priors: Policy | None = None,
    **options: Any,
) -> Run:
    """A run of a strategy at a model that costs a dollar per million tokens."""
    spending = Budget.of(budget)
    tariff = PriceList({MODEL: Rate(price or Price.per_million(1, 1), MODEL)})
    economics = Economics(spending, priors or Policy(), tariff)
    plan = strategy(task or Task.of("How much is 1 + 1?", "number"))
    return Run(plan, purse=Purse.of(spending, parent), economics=economics, name="under_test", **options)


def offline(run: Run, script: Script) -> Run:
    """Drives in virtual time."""
    return perform(run, script)


def live(run: Run, script: Script, backend: str = "asyncio") -> Run:
    """Drives with the live driver, on a loop of its own."""
    world = World(lambda name: script, run.tariff, scopes={"run": "r", "session": "s", "tenant": "t"})  # type: ignore[arg-type]

    async def main() -> None:
        await Live(run, world).drive()

    anyio.run(main, backend=backend)
    return run


def ask(text: str, *, candidate: bool = True, most: int = 16) -> Sample:
    """The effect that asks `text`."""
    task = Task((Message("user", text),), Contract("number")) if candidate else None
    return Sample((Message("user", text),), task, None, Params(max_tokens=most))


def balanced(run: Run) -> None:
    """Nothing is held any more, and what was spent is what the caps allow."""
    purse = run.root.purse
    assert purse.pending == [0, 0, 0]
    assert all(posted <= limit for posted, limit in zip(purse.posted, purse.limit, strict=True))
    spent = run.root.spent
    assert [spent.nanos, spent.tokens, spent.calls] == purse.posted
    assert run.take().calls == []


Steps: TypeAlias = Generator[Any, Any, Answer]


class DriverContract:
    """The same plans, whoever performs them."""

    @pytest.fixture
    def drive(self) -> Drive:
        raise NotImplementedError("define the fixture `drive`")

    def finish(self, drive: Drive, strategy: Any, script: Script, budget: Budget | float = 1.0, **options: Any) -> Run:
        run = drive(make_run(strategy, budget=budget, **options), script)
        assert run.outcome is not None
        balanced(run)
        return run

    def test_a_reply_reaches_the_plan(self, drive: Drive) -> None:
        def plan(task: Task) -> Steps:
            candidate = yield from ask("one")
            return Answer(candidate)

        run = self.finish(drive, plan, Script({"one": "Answer: 7"}))
        assert run.outcome and run.outcome.answer and run.outcome.answer.candidate
        assert (run.outcome.answer.candidate.key, run.outcome.reason) == ("7", "finished")
        assert [c.key for c in run.outcome.found] == ["7"]
        assert run.root.purse.posted == [15_000, 15, 1]

    def test_a_failure_is_thrown_at_the_yield(self, drive: Drive) -> None:
        caught: list[Exception] = []

        def plan(task: Task) -> Steps:
            try:
                yield from ask("no")
            except ModelRefused as error:
                caught.append(error)
            return Answer((yield from ask("yes")))

        run = self.finish(drive, plan, Script({"no": ModelRefused("never")}))
        assert len(caught) == 1
        assert run.error is None
        assert run.root.purse.posted[2] == 1

    def test_a_failure_that_nobody_catches_ends_with_the_last_offer(self, drive: Drive) -> None:
        def plan(task: Task) -> Steps:
            candidate = yield from ask("one")
            yield from Offer(Answer(candidate), Committed(1), (ask("two"),))
            yield from ask("no")
            raise AssertionError("not reached")

        run = self.finish(drive, plan, Script({"one": "Answer: 7", "no": ModelRefused("never")}))
        assert run.outcome and run.outcome.answer and run.outcome.answer.candidate
        assert (run.outcome.answer.candidate.key, run.outcome.reason) == ("7", "fault")
        assert isinstance(run.error, ModelRefused)

    def test_gather_keeps_positions(self, drive: Drive) -> None:
        seen: list[Any] = []

        def plan(task: Task) -> Steps:
            seen.extend((yield from Gather((ask("a"), ask("no"), Remember("t", 1), ask("b")), at_least=3)))
            return Answer(seen[0])

        script = Script({"a": "Answer: 1", "no": ModelRefused("never"), "b": "Answer: 2"})
        run = self.finish(drive, plan, script)
        assert [c.key if isinstance(c, Candidate) else c for c in seen] == ["1", None, None, "2"]
        assert run.outcome
        assert [c.key for c in run.outcome.found] == ["1", "2"]

    def test_too_few_survivors_can_be_caught(self, drive: Drive) -> None:
        caught: list[GatherFailed] = []

        def plan(task: Task) -> Steps:
            try:
                yield from Gather((ask("a"), ask("no")))
            except GatherFailed as error:
                caught.append(error)
            return Answer(None)

        run = self.finish(drive, plan, Script({"no": ModelRefused("never")}))
        assert isinstance(caught[0].errors[0], ModelRefused)
        assert run.outcome
        assert len(run.outcome.found) == 1

    def test_a_race_takes_the_first_and_bills_the_rest(self, drive: Drive) -> None:
        seen: list[Any] = []

        def plan(task: Task) -> Steps:
            seen.extend((yield from Race((ask("never"), ask("quick")))))
            return Answer(seen[1])

        script = Script({"never": FOREVER, "quick": "Answer: 3"})
        run = self.finish(drive, plan, script)
        assert [c and c.key for c in seen] == [None, "3"]
        hold = run.tariff.quote(ask("never")).worst
        assert run.root.purse.posted == [15_000 + hold.nanos, 15 + hold.tokens, 2]

    def test_a_transient_failure_is_tried_again(self, drive: Drive) -> None:
        def plan(task: Task) -> Steps:
            return Answer((yield from ask("one")))

        script = Script({"one": [ModelUnavailable("busy"), "Answer: 7"]})
        run = self.finish(drive, plan, script)
        assert script.asked == ["one", "one"]
        assert run.root.purse.posted[2] == 1

    def test_a_deadline_stops_with_the_last_offer(self, drive: Drive) -> None:
        swallowed: list[Exception] = []

        def plan(task: Task) -> Steps:
            candidate = yield from ask("one")
            while True:
                try:
                    yield from Offer(Answer(candidate), Committed(1), (ask("never"),))
                    yield from Gather((ask("never"), ask("never")))
                except Exception as error:
                    swallowed.append(error)

        script = Script({"one": [0.0, 0.0], "never": FOREVER}, usage=USAGE)
        run = self.finish(drive, plan, script, Budget(usd=1, seconds=0.2))
        assert run.outcome
        assert run.outcome.reason == "budget_seconds"
        assert run.outcome.answer
        assert swallowed == []
        assert run.root.purse.posted[2] == 3

    def test_a_share_is_a_cap(self, drive: Drive) -> None:
        seen: list[Any] = []

        def inner(task: Task) -> Steps:
            first = yield from ask("a")
            while True:
                yield from Offer(Answer(first), Committed(1), (ask("a"),))
                yield from ask("a")

        def plan(task: Task) -> Steps:
            seen.append((yield from Within(inner, task, 0.5)))
            return Answer(seen[0].answer.candidate)

        run = self.finish(drive, plan, Script(), Budget(calls=7))
        assert seen[0].reason == "budget_calls"
        assert len(seen[0].found) == seen[0].spent.calls == 3
        assert run.outcome
        assert len(run.outcome.found) == 3

    def test_what_is_remembered_is_recalled(self, drive: Drive) -> None:
        seen: list[Any] = []

        def plan(task: Task) -> Steps:
            yield from Remember("t", {"a": [1]})
            yield from Remember("t", None)
            seen.append((yield from Recall("t")))
            seen.append((yield from Recall("other")))
            return Answer(None)

        self.finish(drive, plan, Script())
        assert json.dumps(seen) == json.dumps([({"a": [1]}, None), ()])

    def test_without_usage_the_hold_is_billed(self, drive: Drive) -> None:
        def plan(task: Task) -> Steps:
            return Answer((yield from ask("one")))

        run = self.finish(drive, plan, Script(usage=None))
        worst = run.tariff.quote(ask("one")).worst
        assert run.root.purse.posted == [worst.nanos, worst.tokens, 1]

    def test_a_verifier_that_fails_gives_an_unknown_verdict(self, drive: Drive) -> None:
        seen: list[Verdict] = []

        def broken(task: Task, candidate: Candidate) -> Verdict:
            raise ValueError("no \ud800 idea")

        def slow(task: Task, candidate: Candidate) -> Verdict:
            raise ValueError("no \ud800 idea")

        slow.blocking = True  # type: ignore[attr-defined]

        def judge(task: Task, candidate: Candidate) -> Generator[Any, Any, Verdict]:
            yield from ask("no", candidate=False)
            raise AssertionError("not reached")

        def plan(task: Task) -> Steps:
            candidate = yield from ask("one")
            for verifier in (broken, slow, judge):
                seen.append((yield from Score(verifier, task, candidate)))
            return Answer(candidate)

        run = self.finish(drive, plan, Script({"no": ModelRefused("never")}))
        assert [v.score for v in seen] == [None, None, None]
        assert run.outcome
        assert run.outcome.reason == "finished"
        assert run.error is None

    def test_a_plan_that_yields_while_it_is_closed_is_not_followed(self, drive: Drive) -> None:
        def plan(task: Task) -> Steps:
            try:
                yield from ask("never")
            finally:
                yield from ask("more")
            return Answer(None)

        script = Script({"never": FOREVER})
        run = self.finish(drive, plan, script, Budget(usd=1, seconds=0.1))
        assert script.asked == ["never"]
        assert isinstance(run.error, RuntimeError)

    def test_a_sum_that_cannot_be_paid_whole_spends_nothing(self, drive: Drive) -> None:
        def plan(task: Task) -> Steps:
            yield from Gather((ask("a"),) * 5)
            raise AssertionError("not reached")

        script = Script()
        run = self.finish(drive, plan, script, Budget(calls=4))
        assert script.asked == []
        assert run.outcome
        assert run.outcome.reason == "budget_calls"

    def test_a_gather_that_can_do_with_fewer_starts_the_first_that_fit(self, drive: Drive) -> None:
        seen: list[Any] = []

        def plan(task: Task) -> Steps:
            seen.extend((yield from Gather(tuple(ask(str(i)) for i in range(6)), at_least=2)))
            return Answer(seen[0])

        script = Script()
        self.finish(drive, plan, script, Budget(calls=4))
        assert sorted(script.asked) == ["0", "1", "2", "3"]
        assert [c is None for c in seen] == [False] * 4 + [True] * 2
