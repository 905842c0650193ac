"""Best-of-n with checks that cost: what is asked, when, and what the verdicts come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from satisfice import ScriptedModel
from satisfice.budgets.budget import Budget
from satisfice.budgets.calibrators import Calibration, Calibrator, Identity, Platt, ScoreModel
from satisfice.budgets.checking import DrawBelief
from satisfice.budgets.policy import Policy, VerifierPolicy
from satisfice.budgets.prices import Price
from satisfice.core.completions import Completion, Message, Params, Request, Response, Usage
from satisfice.core.effects import Choice, Choose, Gather, Sample, Score
from satisfice.core.plans import Plan
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict, name_of
from satisfice.scheduler.decisions import Decision
from satisfice.scheduler.engine import Engine
from satisfice.scheduler.nodes import Call, Reply
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.scheduler.solution import UNCALIBRATED, Solution
from satisfice.strategies import BestOfN
from satisfice.testing.driver import balanced, make_run
from satisfice.testing.model import BACKENDS
from satisfice.verifiers.check import Check


@dataclass(frozen=True)
class Paid:
    """A verifier that asks a model for a score of the candidate's key. `padding`, in characters, makes it dear."""

    name: str = "judge"
    padding: int = 0

    def _ask(self, key: str) -> Sample:
        text = f"{self.name} {key}" + " " * self.padding
        return Sample((Message("user", text),), None, None, Params(max_tokens=4))

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        reply = yield from self._ask(candidate.key or "")
        return Verdict(float(reply.text))

    def needs(self, task: Task) -> tuple[Sample, ...]:
        return (self._ask("1"),)


AS_SAID = Identity()


def measured(
    right: tuple[int, ...], wrong: tuple[int, ...], trust: float = 1.0, calibrator: Calibrator = AS_SAID
) -> VerifierPolicy:
    """A verifier that gave so many right and wrong candidates each of its scores, the lowest first."""
    model = ScoreModel.of(tuple(zip(right, wrong, strict=True)))
    return VerifierPolicy(calibration=Calibration(pooled=calibrator), model=model, trust=trust)


SHARP = measured((2, 3, 95), (95, 3, 2))
WEAK = measured((8, 10, 12), (12, 10, 8), calibrator=Platt(slope=0.845, offset=-0.4225))  # 0.02 means 0.4, 0.98 0.6


def policy(**verifiers: VerifierPolicy) -> Policy:
    return Policy(fitted=True, verifiers=verifiers)


@dataclass
class World:
    """`draws` one by one, the last again and again; `scores` by verifier and key, 0.5 where nothing is said."""

    draws: list[str]
    scores: dict[str, float] = field(default_factory=dict)
    drawn: int = 0
    asked: list[str] = field(default_factory=list)

    def said(self, prompt: str, judging: bool) -> str:
        if judging:
            self.asked.append(prompt.strip())
            return str(self.scores.get(prompt.strip(), 0.5))
        self.drawn += 1
        return f"Answer: {self.draws[min(self.drawn, len(self.draws)) - 1]}"

    def answer(self, call: Call) -> Reply:
        """As the source of an offline driver."""
        assert isinstance(call.effect, Sample)
        text = self.said(call.effect.messages[-1].content, call.effect.task is None)
        return Reply(Completion(text), Usage(10, 5), 0.5)


def run_of(
    world: Any,
    checks: tuple[Any, ...],
    budget: Budget | float,
    priors: Policy | None = None,
    strategy: BestOfN | None = None,
) -> Run:
    task = Task.of("How much is 1 + 1?", "number", checks=checks)
    run = perform(make_run(strategy or BestOfN(), task, budget, priors=priors), world)
    assert run.error is None
    balanced(run)
    return run


def given(run: Run) -> str | None:
    """The key of the answer."""
    assert run.outcome is not None
    answer = run.outcome.answer
    return answer.candidate.key if answer and answer.candidate else None


def checked(decision: Decision) -> bool:
    """Whether it was decided to ask a verifier."""
    return decision.size > 0 and not decision.alternatives[decision.index].name.startswith("draw")


# -- when a judge is asked ---------------------------------------------------------------------------------------------

MIXED = ["1", "2", "1", "2", "3", "1"]


def test_a_judge_is_asked_where_its_verdict_is_worth_its_price_and_not_elsewhere() -> None:
    asked, checks = [], []
    for worth in (1e-4, 1e-3, 1e-1, 10.0):
        world = World(MIXED, {"judge 1": 0.02, "judge 2": 0.98})
        run = run_of(world, (Paid(),), Budget(usd=1, worth=worth, calls=60), policy(judge=SHARP))
        asked.append(len(world.asked))
        checks.append(sum(map(checked, run.decisions)))
        for decision in run.decisions:
            if decision.size:
                chosen = decision.alternatives[decision.index]
                assert chosen.gain > 0
                assert chosen.net > 0
                assert chosen.net == max(a.net for a in decision.alternatives)
            elif decision.reason == "value":
                assert all(a.net <= 0 for a in decision.alternatives)
    assert asked[0] == 0
    assert asked[-1] > 0
    assert asked == sorted(asked), "a dearer answer is checked no less"
    assert asked == checks, "each was decided"


@pytest.mark.parametrize(("padding", "asks"), [(0, True), (200_000, False)])
def test_a_dear_judge_is_not_asked_where_a_cheap_one_is(padding: int, asks: bool) -> None:
    world = World(MIXED)
    run_of(world, (Paid(padding=padding),), Budget(usd=10, worth=0.05, calls=60), policy(judge=SHARP))
    assert bool(world.asked) == asks


def test_nobody_is_asked_of_the_only_answer_unless_a_mistake_costs() -> None:
    """Whatever a verdict says of it, it is given."""
    agreed = World(["1"])
    run_of(agreed, (Paid(),), Budget(usd=1, worth=1.0, calls=60), policy(judge=SHARP))
    assert agreed.asked == []
    careful = World(["1"], {"judge 1": 0.01})
    run = run_of(careful, (Paid(),), Budget(usd=1, worth=1.0, wrong=3.0, calls=6), policy(judge=SHARP))
    assert careful.asked == ["judge 1"]
    assert given(run) is None


def test_a_verifier_that_tells_nothing_is_never_asked() -> None:
    world = World(MIXED)
    run_of(world, (Paid(),), Budget(usd=1, worth=10.0, calls=60), policy(judge=measured((5, 5), (5, 5))))
    assert world.asked == []


def test_no_answer_is_checked_twice_by_the_same_verifier() -> None:
    world = World([str(i % 3) for i in range(20)])
    run_of(world, (Paid(), Paid("second")), Budget(usd=1, worth=10.0, calls=60), policy(judge=SHARP, second=WEAK))
    assert world.asked
    assert max(Counter(world.asked).values()) == 1


def test_of_two_equally_dear_verifiers_the_better_one_is_asked_first() -> None:
    world = World(MIXED)
    run_of(world, (Paid("weak"), Paid("sharp")), Budget(usd=1, worth=1.0, calls=60), policy(weak=WEAK, sharp=SHARP))
    assert world.asked[0].startswith("sharp")


# -- exact checks ------------------------------------------------------------------------------------------------------


def test_an_exact_pass_ends_it_at_once() -> None:
    seen: list[float] = []

    def right(value: float) -> bool:
        seen.append(value)
        return value == 2

    world = World(["1", "1", "3", "2", "1", "1"])
    run = run_of(world, (Check(right), Check(lambda n: n > 1, "large")), Budget(usd=1, worth=inf))
    assert run.outcome and run.outcome.answer
    assert (given(run), run.outcome.answer.reason) == ("2", "verified")
    assert world.drawn == 4
    assert seen == [1, 3, 2], "equal answers are checked once"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("samples", [None, 8])
def test_what_an_exact_check_refuted_is_never_given(seed: int, samples: int | None) -> None:
    """However often it was drawn, and whatever the judge says of it."""
    dice = Random(seed)
    world = World([dice.choice(["1", "1", "1", "2", "3"]) for _ in range(40)], {"judge 1": 0.99, "judge 2": 0.3})
    run = run_of(
        world,
        (Check(lambda n: n != 1, "not one"), Paid()),
        Budget(usd=1, worth=1.0, calls=40),
        policy(judge=SHARP),
        BestOfN(samples=samples),
    )
    assert given(run) != "1"
    assert "judge 1" not in world.asked, "nor is anybody paid to look at it"
    keys = {c.key for c in run.outcome.found} if run.outcome else set()
    assert (given(run) is None) == (keys <= {"1"})


def test_where_everything_is_refuted_it_abstains() -> None:
    run = run_of(World(["1", "3", "4"]), (Check(lambda n: n == 2),), Budget(usd=1, worth=0.01))
    assert given(run) is None
    assert run.outcome and len(run.outcome.found) > 0


# -- verdicts and votes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verifier", "answer"), [(SHARP, "2"), (measured((2, 3, 95), (95, 3, 2), trust=0.0), "1"), (WEAK, "1")]
)
def test_strong_verdicts_overrule_the_votes_and_weak_ones_do_not(verifier: VerifierPolicy, answer: str) -> None:
    world = World(["1", "1", "1", "2"], {"judge 1": 0.02, "judge 2": 0.98})
    run = run_of(world, (Paid(),), Budget(usd=1, worth=1.0), policy(judge=verifier), BestOfN(samples=4))
    assert given(run) == answer


def test_equal_verdicts_leave_it_to_the_votes() -> None:
    world = World(["2", "1", "1", "3"], dict.fromkeys(("judge 1", "judge 2", "judge 3"), 0.9))
    run = run_of(world, (Paid(),), Budget(usd=1, worth=1.0), policy(judge=SHARP), BestOfN(samples=4))
    assert given(run) == "1"


def test_an_unknown_verdict_is_no_evidence() -> None:
    world = World(["1", "2", "1"], {"judge 1": float("nan")})
    run = run_of(world, (Paid(),), Budget(usd=1, worth=1.0), policy(judge=SHARP), BestOfN(samples=3))
    assert given(run) == "1"
    assert run.outcome is not None
    assert {c.key for c in run.outcome.found} == {"1", "2"}


@pytest.mark.parametrize("n", [1, 3, 7])
def test_a_fixed_number_of_draws_is_drawn_and_all_are_checked_by_everybody(n: int) -> None:
    draws = ["1", "2", "1", "3", "2", "4", "1"]
    world = World(draws)
    free: list[float] = []
    run = run_of(
        world,
        (Paid(), Check(lambda v: free.append(v) or 0.6, "free"), Paid("second")),  # type: ignore[func-returns-value]
        Budget(usd=1, worth=1e-9),
        None,
        BestOfN(samples=n),
    )
    distinct = list(dict.fromkeys(draws[:n]))
    assert world.drawn == n
    assert Counter(world.asked) == Counter(f"{name} {key}" for name in ("judge", "second") for key in distinct)
    assert free == [float(key) for key in distinct]
    assert run.outcome is not None
    assert len(run.outcome.found) == n


def test_a_draw_is_weighed_with_the_verdicts_that_its_step_pays_for_and_no_others() -> None:
    task = Task.of("?", "number", checks=(Check(lambda v: 0.6, "free"), Paid(), Paid("second")))
    plan, drawn, seen = BestOfN()(task), 0, 0
    reply: Any = None
    for turn in range(24):
        effect: Any = plan.send(reply)
        while isinstance(effect, Score):
            effect = plan.send(Verdict(0.6))
        if isinstance(effect, Gather):
            drawn += 1
            reply = tuple(
                Candidate(f"Answer: {drawn % 3}", key=str(drawn % 3), path=f"a{turn}") for _ in effect.branches
            )
            continue
        assert isinstance(effect, Choose)
        for option in effect.options:
            if isinstance(option.belief, DrawBelief) and drawn:
                assert list(option.belief.verifiers) == [
                    name_of(e.verifier) for e in option.step if isinstance(e, Score)
                ]
                seen += 1
        checks = [i for i, option in enumerate(effect.options) if not option.name.startswith("draw")]
        reply = Choice(checks[0] if checks and turn % 3 else 0, 1)
    assert seen > 20


# -- how long it goes on -----------------------------------------------------------------------------------------------


@dataclass
class Question:
    """Draws are right ("0") with theta, "1" with phi, else fresh; the judge's score of a key is the key's own, better
    for the right one as `verifier` says."""

    theta: float
    phi: float
    verifier: VerifierPolicy
    seed: int
    drawn: int = 0
    asked: int = 0

    def answer(self, call: Call) -> Reply:
        assert isinstance(call.effect, Sample)
        if call.effect.task is None:
            self.asked += 1
            return Reply(Completion(self._score(call.effect.messages[-1].content.split()[1])), Usage(10, 5), 0.5)
        self.drawn += 1
        x = Random(f"{self.seed}/{self.drawn}").random()
        key = 0 if x < self.theta else 1 if x < self.theta + self.phi else 1 + self.drawn
        return Reply(Completion(f"Answer: {key}"), Usage(10, 5), 0.5)

    def _score(self, key: str) -> str:
        weights = [right if key == "0" else wrong for _, right, wrong in self.verifier.model.levels]
        return str(Random(f"{self.seed}/score/{key}").choices([0.02, 0.5, 0.98], weights)[0])


@pytest.mark.parametrize("theta", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("worth", [1e3, inf])
def test_with_an_imperfect_verifier_it_ends_though_money_and_time_are_no_object(theta: float, worth: float) -> None:
    """No draw comes free of the risk that it deceives the check, so that at some point none is worth anything."""
    most = 400
    for seed in range(3):
        world = Question(theta, (1 - theta) / 2, WEAK, seed)
        budget = Budget(usd=1e6, worth=worth)
        run = run_of(world, (Paid(),), budget, policy(judge=WEAK), BestOfN(most=most))
        assert world.drawn < most
        assert run.outcome and run.outcome.reason == "value"


def test_a_sharper_verifier_finds_the_right_one_more_often() -> None:
    """By simulation, at the same price: votes alone would mostly give the systematic mistake."""
    found = {}
    for name, verifier in (("sharp", SHARP), ("weak", WEAK)):
        runs = [
            run_of(
                Question(0.25, 0.5, verifier, seed),
                (Paid(),),
                Budget(usd=1, worth=0.5, calls=80),
                policy(judge=verifier),
            )
            for seed in range(60)
        ]
        found[name] = sum(given(run) == "0" for run in runs)
    assert found["sharp"] > 45
    assert found["weak"] < 30


# -- through the engine ------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """`draws` again and again, by the call's place in the run; `scores` by verifier and key. `stop` is called before
    the call number `at`."""

    draws: list[str]
    scores: dict[str, float]
    at: int = -1
    stop: Callable[[], None] = lambda: None
    calls: list[int] = field(default_factory=list)
    replied: list[int] = field(default_factory=list)

    async def complete(self, request: Request) -> Response:
        self.calls.append(request.seed or 0)
        if len(self.calls) == self.at:
            self.stop()
        await anyio.lowlevel.checkpoint()
        self.replied.append(request.seed or 0)
        asked = request.messages[-1].content
        judged = asked.split()[0] in ("judge", "second")
        key = self.draws[(request.seed or 0) % 7 % len(self.draws)]
        text = str(self.scores.get(asked, 0.5)) if judged else f"Answer: {key}"
        return Response((Completion(text),), Usage(10, 5))

    def engine(self, made: Policy | None, file: Path | None = None) -> Engine:
        engine = Engine("m", policy=made, journal=file or False)
        engine.register("m", self, Price.per_million(1, 1))
        return engine


SCORES = {"judge 1": 0.1, "judge 2": 0.9, "judge 3": 0.4, "second 2": 0.7}
CHECKS = (Paid(), Paid("second"))


def solved(made: Policy | None, checks: tuple[Any, ...] = CHECKS, **options: Any) -> Solution:
    async def main() -> Solution:
        async with Model(["1", "2", "1", "3"], SCORES).engine(made) as engine:
            return await engine.solve("1 + 1?", answer="number", checks=checks, seed=4, **options)

    return anyio.run(main)


RICH = Budget(usd=1, worth=1.0, calls=40)


def test_confidence_is_unknown_while_a_verifier_that_was_heard_is_unmeasured() -> None:
    assert solved(None, budget=RICH).confidence is None
    assert solved(None, budget=RICH).confidence_reason == UNCALIBRATED
    one = solved(policy(judge=SHARP), budget=RICH, strategy=BestOfN(samples=3))
    assert [v.verifier for v in one.verdicts] == ["judge", "second"]
    assert one.confidence is None, "what the second one said has gone into the choice, and nobody knows what it means"


def test_confidence_is_a_probability_where_every_verifier_is_measured() -> None:
    sure = solved(policy(judge=SHARP, second=SHARP), budget=RICH, strategy=BestOfN(samples=6))
    assert sure.confidence is not None
    assert 0 < sure.confidence < 1
    assert sure.answer == "2"
    assert {v.verifier: v.verdict.p is not None for v in sure.verdicts} == {"judge": True, "second": True}
    doubted = solved(policy(judge=WEAK, second=WEAK), budget=RICH, strategy=BestOfN(samples=6))
    assert doubted.confidence is not None
    assert doubted.confidence < sure.confidence


def test_decisions_and_verdicts_are_in_the_solution() -> None:
    solution = solved(policy(judge=SHARP, second=WEAK), budget=RICH)
    names = {a.name for d in solution.decisions for a in d.alternatives}
    assert {"draw", "draw+judge", "check judge"} <= names
    assert any(map(checked, solution.decisions))
    assert solution.spend.calls == len(solution.candidates) + sum(map(_asks, solution.decisions))
    again = Solution.from_dict(solution.to_dict(), Task.of("1 + 1?", "number"))
    assert again.verdicts == solution.verdicts
    assert again.decisions == solution.decisions


def _asks(decision: Decision) -> int:
    name = decision.alternatives[decision.index].name
    return (name.count("+") + 1) * checked(decision)


@pytest.mark.parametrize("backend", BACKENDS)
def test_resumed_at_any_call_it_repeats_nothing_and_comes_to_the_same(tmp_path: Path, backend: str) -> None:
    made = policy(judge=SHARP, second=WEAK)

    async def interrupted(at: int) -> tuple[Solution, Model, Model, bool]:
        first, second = (Model(["1", "2", "1", "3"], SCORES) for _ in range(2))
        file = tmp_path / f"{at}.db"
        options: dict[str, Any] = {"answer": "number", "checks": CHECKS, "seed": 4, "budget": RICH}
        solution = None
        async with first.engine(made, file) as engine:
            with anyio.CancelScope() as scope:
                first.at, first.stop = at, scope.cancel
                solution = await engine.solve("1 + 1?", **options)
            (row,) = await engine.journal.runs(2)
        if solution is not None:
            return solution, first, second, False
        async with second.engine(made, file) as engine:
            return await engine.resume(row.id, checks=CHECKS), first, second, True

    async def main() -> None:
        whole, model, _, _ = await interrupted(-1)
        assert any(map(checked, whole.decisions)), "there are verdicts to be resumed after"
        for at in range(1, len(model.calls) + 1):
            came, first, second, died = await interrupted(at)
            assert died
            assert not set(first.replied) & set(second.calls), "what had replied was asked again"
            assert (came.answer, came.stop_reason) == (whole.answer, whole.stop_reason), at
            assert [v.verdict.score for v in came.verdicts] == [v.verdict.score for v in whole.verdicts]
            assert set(first.calls) | set(second.calls) == set(model.calls)

    anyio.run(main, backend=backend)


def test_a_person_is_asked_last_and_not_of_what_has_failed() -> None:
    asked: list[str] = []

    class Person:
        name = "person"
        late = True

        def __call__(self, task: Task, candidate: Candidate) -> Verdict:
            asked.append(candidate.key or "")
            return Verdict(1.0, exact=True)

    world = World(["2", "4", "3"])
    odd = Check(lambda v: v % 2 == 1, "odd")
    run = run_of(world, (Person(), odd), Budget(usd=1, worth=1.0), None, BestOfN())
    assert given(run) == "3"
    assert asked == ["3"]


def test_an_exact_pass_of_a_paid_check_ends_it() -> None:
    class Oracle(Paid):
        def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
            yield from super().__call__(task, candidate)
            return Verdict(1.0, exact=True)

    world = World(["2", "3", "2"])
    run = run_of(world, (Oracle(),), Budget(usd=1, worth=1.0), policy(judge=SHARP), BestOfN())
    assert run.outcome is not None
    assert run.outcome.answer is not None
    assert run.outcome.answer.reason == "verified"
    assert len(world.asked) == 1


def test_checks_that_did_not_judge_the_answer_are_named() -> None:
    async def main(strategy: str) -> Solution:
        engine = Engine("m", journal=False)
        engine.register("m", ScriptedModel(["Answer: 7"]), Price.per_million(1, 4))
        async with engine:
            budget = Budget(calls=2)
            return await engine.solve("?", answer="number", checks=[lambda x: True], budget=budget, strategy=strategy)

    assert any("makes no checks" in warning for warning in anyio.run(main, "self_consistency").warnings)
    assert anyio.run(main, "best_of_n").warnings == ()
