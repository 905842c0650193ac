"""Random plans in random worlds: the caps hold at every instant, and the order of arrival decides nothing."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satisfice.budgets.beliefs import Committed
from satisfice.budgets.budget import Budget
from satisfice.budgets.purse import Purse
from satisfice.core.completions import Completion, Usage
from satisfice.core.effects import Gather, Offer, Race, Sample, Score, Within
from satisfice.core.errors import ModelRefused, ModelTimeout, ModelUnavailable
from satisfice.core.plans import Answer, Outcome
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.journal import Row
from satisfice.scheduler.log import Log
from satisfice.scheduler.nodes import Call, Reply, line
from satisfice.scheduler.offline import judge, perform
from satisfice.scheduler.run import Run
from satisfice.strategies import SelfConsistency
from satisfice.testing.driver import ask, make_run

TASK = Task.of("How much is 1 + 1?", "number")


def plan_of(steps: list[Any]) -> Any:
    """A strategy that takes the steps in turn; it offers the first candidate, and goes on after a failure."""

    def plan(task: Task) -> Any:
        best = None
        for step in steps:
            if best is not None:
                yield from Offer(Answer(best), Committed(1), (ask("x"),))
            try:
                reply = yield from effect_of(step)
            except Exception:
                continue
            found = [c for c in flat(reply) if isinstance(c, Candidate) and c.key]
            best = min(found, key=lambda c: c.path, default=best) if best is None else best
        return Answer(best)

    return plan


def flat(reply: Any) -> Any:
    if isinstance(reply, tuple):
        for item in reply:
            yield from flat(item)
    elif isinstance(reply, Outcome):
        yield reply.answer.candidate if reply.answer else None
    else:
        yield reply


def grader(task: Task, candidate: Candidate) -> Any:
    reply = yield from ask("grade", candidate=False)
    return Verdict(0.5, evidence=reply.text)


def effect_of(step: Any) -> Any:
    match step:
        case ("ask", text):
            return ask(text)
        case ("score",):
            return Score(grader, TASK, Candidate("2", "2", "2"))
        case ("gather", branches, at_least):
            return Gather(tuple(map(effect_of, branches)), at_least)
        case ("race", branches, first):
            return Race(tuple(map(effect_of, branches)), first)
        case ("within", inner, share, seconds):
            return Within(plan_of(inner), TASK, share, seconds)
    raise AssertionError(step)


def steps(races: bool = True, shares: bool = True) -> st.SearchStrategy[list[Any]]:
    leaf = st.one_of(st.tuples(st.just("ask"), st.sampled_from("abc")), st.just(("score",)))
    share = st.sampled_from([0.1, 0.3, 0.5, 1.0]) if shares else st.just(1.0)
    seconds = st.sampled_from([None, None, 0.5, 2.0]) if shares else st.none()

    def deeper(inner: Any) -> Any:
        branches = st.lists(inner, max_size=4)
        kinds = [
            st.tuples(st.just("gather"), branches, st.sampled_from([None, 0, 1, 2])),
            st.tuples(st.just("within"), branches, share, seconds),
        ]
        if races:
            kinds.append(st.tuples(st.just("race"), branches, st.integers(0, 2)))
        return st.one_of(kinds)

    return st.lists(st.recursive(leaf, deeper, max_leaves=8), min_size=1, max_size=4)


class Dice:
    """A world by chance, the same for the same call. `faults` of ten calls fail, some of them worth a retry."""

    def __init__(self, seed: int, faults: int = 3) -> None:
        self.seed, self.faults = seed, faults

    def answer(self, call: Call) -> Reply | Exception:
        assert isinstance(call.effect, Sample)
        dice = Random(f"{self.seed}/{call.seed}/{call.attempt}")
        if dice.random() * 10 < self.faults:
            return dice.choice([ModelUnavailable, ModelTimeout, ModelRefused])("by chance")
        worst = call.hold.amounts.tokens if call.hold else 0
        prompt = dice.randint(0, worst - 16)
        usage = None if dice.random() < 0.2 else Usage(prompt, dice.randint(0, 16))
        text = dice.choice(["Answer: 1", "Answer: 2", "Answer: 2", "who knows"])
        return Reply(Completion(text), usage, dice.expovariate(1.0))


def within_caps(run: Run, *more: Purse) -> None:
    purses = {id(p): p for p in more}
    for call in run.books.open:
        for frame in line(call.frame):
            purses[id(frame.purse)] = frame.purse
    for purse in (run.root.purse, *purses.values()):
        for posted, pending, limit in zip(purse.posted, purse.pending, purse.limit, strict=True):
            assert posted >= 0
            assert pending >= 0
            assert posted + pending <= limit


def shuffled(run: Run, source: Any, dice: Random, *purses: Purse, stops: float = 0.0, ticks: float = 0.0) -> list[Row]:
    """Drives a run and brings replies back in any order; the rows that it wrote. Checks the caps at every step."""
    flying: list[Call] = []
    rows: list[Row] = []
    now = run.books.now
    run.start(now)
    while True:
        due = run.take()
        rows += due.rows
        within_caps(run, *purses)
        if run.outcome is not None:
            assert due.calls == [], "a call is sent after the end"
            break
        flying += due.calls
        assert flying, "the run waits for nothing"
        if dice.random() < stops:
            run.stop("cancelled", now)
        elif dice.random() < ticks:
            now += dice.random()
            run.tick(now)
        else:
            bring(run, flying.pop(dice.randrange(len(flying))), source, now)
        within_caps(run, *purses)
    # What comes too late changes nothing.
    before = (run.outcome, list(run.root.purse.posted), run.error)
    for call in flying:
        bring(run, call, source, now)
    due = run.take()
    assert (due.rows, due.calls) == ([], [])
    assert (run.outcome, run.root.purse.posted, run.error) == before
    return rows


def bring(run: Run, call: Call, source: Any, now: float) -> None:
    if isinstance(call.effect, Score):
        run.deliver(call, judge(call.effect), now)
        return
    came = source.answer(call)
    if isinstance(came, Exception):
        run.fail(call, came, now)
    else:
        run.reply(call, came, now)


def billed(run: Run, rows: list[Row]) -> None:
    posted = [sum(getattr(r, name) for r in rows if r.kind == "reply") for name in ("nanos", "tokens", "calls")]
    assert run.root.purse.posted == posted
    assert run.root.purse.pending == [0, 0, 0]
    spent = run.root.spent
    assert [spent.nanos, spent.tokens, spent.calls] == posted
    assert len({(r.path, r.attempt, r.kind) for r in rows}) == len(rows), "two rows for one place"


budgets = st.builds(
    Budget, usd=st.sampled_from([1e-6, 3e-4, 1e-3, 1.0]), calls=st.sampled_from([None, 1, 3, 8]),
    tokens=st.sampled_from([None, 400, 2000]), seconds=st.sampled_from([None, 1.0, 3.0]),
)  # fmt: skip
quick = settings(deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(steps(), budgets, st.integers(0, 1 << 30))
def test_the_caps_hold_in_virtual_time(plan: list[Any], budget: Budget, seed: int) -> None:
    purse = Purse.of(Budget(usd=2e-3, calls=9))
    run = make_run(plan_of(plan), TASK, budget, parent=purse, journaled=True)
    perform(run, Dice(seed))
    within_caps(run, purse)
    assert purse.posted == run.root.purse.posted
    assert purse.pending == run.root.purse.pending == [0, 0, 0]


@settings(quick, max_examples=200)
@given(steps(), budgets, st.integers(0, 1 << 30))
def test_the_caps_hold_in_any_order(plan: list[Any], budget: Budget, seed: int) -> None:
    purse = Purse.of(Budget(usd=2e-3, calls=9))
    run = make_run(plan_of(plan), TASK, budget, parent=purse, journaled=True)
    rows = shuffled(run, Dice(seed), Random(seed), purse, stops=0.03, ticks=0.1)
    billed(run, rows)


@settings(quick, max_examples=150)
@given(steps(), budgets, st.integers(0, 1 << 30), st.floats(0, 1))
def test_the_caps_hold_after_a_crash(plan: list[Any], budget: Budget, seed: int, where: float) -> None:
    """The rows up to some commit are all that is left: what was in flight counts as spent."""
    options = {"budget": budget, "journaled": True}
    commits: list[list[Row]] = []

    class Cut(Run):
        def take(self) -> Any:
            due = super().take()
            commits.append(due.rows)
            return due

    purse = Purse.of(budget)
    run = make_run(plan_of(plan), TASK, **options)
    run.__class__ = Cut
    shuffled(run, Dice(seed), Random(seed), ticks=0.1)
    rows = [row for commit in commits[: int(where * len(commits))] for row in commit]
    resumed = make_run(plan_of(plan), TASK, log=Log(rows), **options)
    more = shuffled(resumed, Dice(seed), Random(seed + 1), ticks=0.1)
    assert resumed.root.purse.pending == [0, 0, 0]
    assert all(p <= limit for p, limit in zip(resumed.root.purse.posted, purse.limit, strict=True))
    keys = {(r.path, r.attempt, r.kind) for r in rows}
    assert len(keys | {(r.path, r.attempt, r.kind) for r in more}) == len(rows) + len(more), "a place is written twice"
    final = {r.path for r in rows if r.kind == "reply" and 'retry": true' not in r.payload}
    assert not {r.path for r in more if r.kind == "intent" and r.effect in ("sample", "score")} & final
    lost = {(r.path, r.attempt) for r in rows if r.kind == "intent"} - {
        (r.path, r.attempt) for r in rows if r.kind == "reply"
    }
    everything = rows + more
    owed = sum(r.nanos for r in everything if r.kind == "reply" or (r.path, r.attempt) in lost)
    assert resumed.root.purse.posted[0] == owed
    if int(where * len(commits)) == len(commits):
        assert resumed.outcome is not None
        assert run.outcome is not None
        assert resumed.outcome.answer == run.outcome.answer
        assert [c.path for c in resumed.outcome.found] == [c.path for c in run.outcome.found]


def result(run: Run) -> Any:
    assert run.outcome is not None
    answer, spent = run.outcome.answer, run.outcome.spent
    found = [(c.path, c.text, c.spent.nanos) for c in run.outcome.found]
    return answer and answer.candidate and answer.candidate.path, found, (spent.nanos, spent.tokens, spent.calls)


MANY = [
    ("gather", [("ask", "a"), ("ask", "b"), ("gather", [("ask", "a"), ("score",), ("ask", "c")], 1)], 1),
    ("gather", [("within", [("ask", "a"), ("gather", [("ask", "b")] * 3, 1), ("ask", "c")], 1.0, None)] * 3, 0),
    ("ask", "b"),
]


def interleaved(plan: Any, world: int, orders: range) -> None:
    whole = make_run(plan, TASK, 1.0)
    perform(whole, Dice(world))
    for order in orders:
        run = make_run(plan, TASK, 1.0, journaled=True)
        rows = shuffled(run, Dice(world), Random(order))
        billed(run, rows)
        assert result(run) == result(whole), f"order {order}"


@pytest.mark.parametrize("world", range(4))
def test_200_orders_of_arrival_come_to_the_same(world: int) -> None:
    interleaved(plan_of(MANY), world, range(50))


@pytest.mark.long
@pytest.mark.parametrize("world", range(100))
def test_many_orders_of_arrival_come_to_the_same(world: int) -> None:
    interleaved(plan_of(MANY), world, range(500))
    interleaved(SelfConsistency(), world, range(50))


def test_the_order_of_votes_does_not_matter() -> None:
    for world in range(10):
        interleaved(SelfConsistency(), world, range(5))


@settings(quick, max_examples=60)
@given(steps(races=False, shares=False), st.integers(0, 1 << 30))
def test_any_plan_without_races_comes_to_the_same(plan: list[Any], seed: int) -> None:
    interleaved(plan_of(plan), seed, range(4))
