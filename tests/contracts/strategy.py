"""What every strategy keeps to. Subclass `StrategyContract` and define its fixture `strategy` (and `task`, where it
needs more than a number as the answer):

    class TestMine(StrategyContract):
        @pytest.fixture
        def strategy(self) -> Strategy:
            return MyStrategy()
"""

from __future__ import annotations

import json
from dataclasses import is_dataclass, replace
from typing import Any

import pytest

from ..budgets.budget import Budget
from ..core.effects import (
    Ask,
    CallTool,
    Choice,
    Choose,
    Effect,
    Gather,
    Offer,
    Race,
    Recall,
    Remember,
    Sample,
    Score,
    Within,
)
from ..core.errors import ModelRefused, ModelUnavailable, SatisficeError
from ..core.plans import Answer, Outcome, Plan, Strategy
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from ..scheduler.journal import Row
from ..scheduler.log import Log
from ..scheduler.offline import perform
from ..scheduler.run import Run
from ..scheduler.simulate import Declared, Simulator
from ..scheduler.tariff import quote_step
from ..strategies.registry import address_of, find, settings_of
from .driver import MODEL, Drive, Script, balanced, live, make_run, offline

MOST = 60  # steps of a plan that are looked at
CUTS = 12  # places at which a run is killed

BLANK = Script(text=lambda asked, seed: "I would rather not say.")


def replied(effect: Any, turn: int) -> Any:
    """A plausible reply to any effect."""
    match effect:
        case Offer():
            return 1 + turn % 2
        case Choose():
            return Choice(turn % len(effect.options), 1)
        case Sample():
            text = f"Answer: {turn % 3}"
            reading = effect.task.contract.read(text) if effect.task else None
            answer, key = (reading.answer, reading.key) if reading else (None, None)
            return Candidate(text, answer, key, path=f"a{turn % 10}", thought=effect.task is None)
        case Gather() | Race():
            return tuple(replied(branch, turn + i) for i, branch in enumerate(effect.branches))
        case Score():
            return Verdict((0.2, 0.6, None)[turn % 3])
        case Within():
            if turn % 3 == 2:
                return Outcome(None, reason="budget_calls")
            one = replied(Sample((), effect.task), turn)
            return Outcome(Answer(one), (one,), p=0.3 * (turn % 3), part=effect.part)
        case Recall():
            return ()
        case CallTool():
            return {"said": turn % 3}
        case Ask():
            return effect.options[turn % len(effect.options)] if effect.options else "yes"
    return None


def walk(plan: Plan[Answer], most: int = MOST) -> list[Effect[Any]]:
    """The effects that a plan yields, its last reply aside; leaves it where it stands after `most`."""
    effects: list[Effect[Any]] = []
    reply = None
    try:
        while len(effects) < most:
            effects.append(plan.send(reply))
            reply = replied(effects[-1], len(effects))
    except StopIteration as end:
        assert isinstance(end.value, Answer)
    return effects


def _silence(asked: str, seed: int) -> str:
    raise AssertionError("what is on record is asked again")


def _recorded(
    strategy: Strategy, task: Task, script: Script, cap: float, **options: Any
) -> tuple[Run, list[list[Row]]]:
    """A run driven to its end, and the rows that it committed, commit by commit."""
    commits: list[list[Row]] = []

    class Recorded(Run):
        def take(self) -> Any:
            due = super().take()
            if due.rows:
                commits.append(due.rows)
            return due

    # a price on value, so that strategies without an end of their own come to one
    run = make_run(strategy, task, Budget(usd=cap, worth=0.002), seed=3, journaled=True, **options)
    run.__class__ = Recorded
    perform(run, script)
    run.take()
    return run, commits


class StrategyContract:
    """`cap`: dollars that pay for several calls of the tests' model."""

    cap = 0.01

    @pytest.fixture
    def strategy(self) -> Strategy:
        raise NotImplementedError("define the fixture `strategy`")

    @pytest.fixture
    def task(self) -> Task:
        return Task.of("How much is 1 + 1?", "number")

    def finish(self, run: Run, script: Any, drive: Drive = offline) -> Run:
        drive(run, script)
        assert run.outcome is not None
        balanced(run)
        return run

    def test_it_yields_effects(self, strategy: Strategy, task: Task) -> None:
        effects = walk(strategy(task))
        assert effects
        assert all(isinstance(effect, Effect) for effect in effects)
        for effect in effects:
            hash(type(effect))
            if isinstance(effect, Gather | Race):
                assert isinstance(effect.branches, tuple)

    def test_it_offers_before_it_buys(self, strategy: Strategy, task: Task) -> None:
        first = next(e for e in walk(strategy(task)) if not isinstance(e, Score | Recall | Remember))
        assert isinstance(first, Offer | Choose)

    def test_it_prices_what_it_offers(self, strategy: Strategy, task: Task) -> None:
        for effect in walk(strategy(task)):
            steps = [effect.step] if isinstance(effect, Offer) else []
            if isinstance(effect, Choose):
                steps = [option.step for option in effect.options]
            assert all(steps), "an offer without a step cannot be weighed"

    def test_the_same_replies_give_the_same_effects(self, strategy: Strategy, task: Task) -> None:
        assert repr(walk(strategy(task))) == repr(walk(strategy(task)))

    def test_it_yields_nothing_when_it_is_closed(self, strategy: Strategy, task: Task) -> None:
        for step in range(len(walk(strategy(task))) + 1):
            plan = strategy(task)
            walk(plan, step)
            plan.close()  # raises RuntimeError if the plan yields

    def test_a_fault_at_any_step_ends_it_or_is_handled(self, strategy: Strategy, task: Task) -> None:
        for step in range(1, len(walk(strategy(task)))):
            plan = strategy(task)
            walk(plan, step)
            try:
                effect: Any = plan.throw(ModelRefused("never"))
            except (SatisficeError, StopIteration):
                continue
            assert isinstance(effect, Effect)
            plan.close()

    def test_known_candidates_are_taken_up(self, strategy: Strategy, task: Task) -> None:
        known = Candidate("Answer: 2", "2", "2", path="a1")
        walk(strategy(task.knowing((known, replace(known, key=None, answer=None)))))

    def test_it_says_what_it_needs(self, strategy: Strategy, task: Task) -> None:
        needs: Any = getattr(strategy, "needs", None)
        if needs is not None:
            effects = needs(task)
            assert all(isinstance(effect, Effect) for effect in effects)
            assert quote_step(make_run(strategy, task).tariff, tuple(effects)).worst.calls >= 1

    def test_it_can_be_stored(self, strategy: Strategy) -> None:
        """Else a run of it can be resumed from Python only."""
        if address_of(strategy):
            again = find(address_of(strategy), **json.loads(json.dumps(settings_of(strategy))))
            assert type(again) is type(strategy)
            assert again == strategy or not is_dataclass(strategy)

    def test_it_resumes_wherever_it_was_killed(self, strategy: Strategy, task: Task) -> None:
        """The rows up to any commit are all that is left: the answer is the same, and nothing on record is asked
        again. With all rows it is a replay: nothing is asked at all."""
        run, commits = _recorded(strategy, task, Script(), self.cap * 100)
        assert run.outcome is not None
        final = (run.outcome.answer and run.outcome.answer.candidate, run.outcome.reason)
        for cut in range(0, len(commits) + 1, max(1, len(commits) // CUTS)):
            rows = [row for commit in commits[:cut] for row in commit]
            again, later = _recorded(strategy, task, Script(), self.cap * 100, log=Log(rows))
            balanced(again)
            assert again.outcome is not None
            came = again.outcome.answer and again.outcome.answer.candidate
            assert (came and (came.path, came.key)) == (final[0] and (final[0].path, final[0].key))
            replied = {(r.path, r.attempt) for r in rows if r.kind == "reply"}
            asked = {(r.path, r.attempt) for commit in later for r in commit if r.kind == "intent"}
            assert not replied & asked
        rows = [row for commit in commits for row in commit]
        again, later = _recorded(strategy, task, Script(text=_silence), self.cap * 100, log=Log(rows))
        assert again.outcome is not None
        assert again.outcome.reason == final[1]
        assert [c.path for c in again.outcome.found] == [c.path for c in run.outcome.found]
        assert again.root.purse.posted == run.root.purse.posted

    def test_it_survives_when_every_draw_fails(self, strategy: Strategy, task: Task) -> None:
        for error in (ModelRefused("never"), ModelUnavailable("down")):
            run = make_run(strategy, task, self.cap)

            class Down(Script):
                def _line(self, asked: str, seed: int, error: Exception = error) -> Any:
                    return error

            self.finish(run, Down())
            assert run.root.purse.posted == [0, 0, 0]
            assert run.outcome is not None
            assert run.outcome.answer is None or run.outcome.answer.candidate is None
            assert run.error is None or isinstance(run.error, SatisficeError)

    def test_it_survives_blank_answers(self, strategy: Strategy, task: Task) -> None:
        run = self.finish(make_run(strategy, task, self.cap), BLANK)
        assert run.error is None
        assert run.outcome is not None
        candidate = run.outcome.answer.candidate if run.outcome.answer else None
        assert candidate is None or candidate.key is not None

    def test_every_driver_comes_to_the_same(self, strategy: Strategy, task: Task) -> None:
        seen = []
        for drive in (offline, live, lambda run, script: live(run, script, "trio")):
            run = self.finish(make_run(strategy, task, self.cap, seed=5), Script(), drive)
            assert run.outcome is not None
            answer = run.outcome.answer
            seen.append(
                (answer and answer.candidate and answer.candidate.path, run.outcome.reason, run.root.purse.posted)
            )
        assert seen[0] == seen[1] == seen[2]

    @pytest.mark.parametrize("calls", [1, 2, 3, 7])
    def test_it_never_passes_the_cap(self, strategy: Strategy, task: Task, calls: int) -> None:
        for seed in range(5):
            run = make_run(strategy, task, Budget(usd=self.cap, calls=calls, seconds=30), seed=seed)
            world = Simulator({MODEL: Declared({"Answer: 1": 0.4, "Answer: 2": 0.4, "hm": 0.2}, failure=0.2)})
            self.finish(run, world)

    def test_a_budget_below_one_call_spends_nothing(self, strategy: Strategy, task: Task) -> None:
        run = self.finish(make_run(strategy, task, 1e-9), Script())
        assert run.root.purse.posted == [0, 0, 0]
        assert run.outcome is not None
        assert run.outcome.answer is None
        assert run.error is not None
        assert "one call costs" in str(run.error)

    def test_it_can_be_stopped_at_any_time(self, strategy: Strategy, task: Task) -> None:
        for at in range(0, 40, 3):
            run = make_run(strategy, task, Budget(usd=self.cap, seconds=0.01 + at / 10))
            self.finish(run, Simulator({MODEL: Declared({"Answer: 1": 0.5, "Answer: 2": 0.5})}))
