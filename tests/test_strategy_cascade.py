"""Cascade: cheap first, accepted by probability or agreement, else on to the next stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.escalating import EscalatingBelief
from satisfice.budgets.policy import LadderPolicy, Policy
from satisfice.budgets.prices import Price
from satisfice.budgets.priors import DEFAULT_PRIORS
from satisfice.budgets.purse import Purse
from satisfice.budgets.voting import VotingBelief
from satisfice.core.belief import Belief, Ladder
from satisfice.core.completions import Completion, Message, Params, Usage
from satisfice.core.effects import Choose, Offer, Sample, Within
from satisfice.core.errors import BadQuery, BadSettings, CallerError, ModelRefused
from satisfice.core.plans import Plan, Strategy
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.decisions import Economics
from satisfice.scheduler.nodes import Call, Reply
from satisfice.scheduler.offline import perform
from satisfice.scheduler.run import Run
from satisfice.scheduler.tariff import PriceList, Rate, quote_step
from satisfice.strategies import BestOfN, Cascade, Experts, Fusion, SelfConsistency, SingleShot
from satisfice.strategies.registry import address_of, find, models_of, settings_of, strategy_of
from satisfice.testing.belief import BeliefContract
from satisfice.testing.driver import make_run
from satisfice.testing.strategy import StrategyContract
from satisfice.verifiers import Check

LADDER = Ladder(
    cuts=(0.4, 0.6),
    right=(
        ((0.2, 0.45, 0.9), (0.5, 0.55, 0.9), (0.95, 0.95, 0.96)),
        ((0.3, 0.8), (0.6, 0.85), (0.96, 0.97)),
        ((0.7,), (0.9,), (0.98,)),
    ),
    follows=(((0.9, 0.3), (0.98, 0.7)), ((0.97, 0.6),)),
    alone=(0.6, 0.65, 0.9),
    costs=(1.0, 2.0, 20.0),
)
POLICY = Policy(
    cascades={
        "a>b>c": LadderPolicy(
            cuts=LADDER.cuts,
            right=LADDER.right,
            follows=LADDER.follows,
            alone=LADDER.alone,
            costs=LADDER.costs,
        )
    }
)


def half(task: Task, candidate: Candidate) -> Verdict:
    return Verdict(0.5 if candidate.key == "1" else 0.4)


STAGES: tuple[Strategy, ...] = (SingleShot(), SelfConsistency(most=4), SingleShot())


class TestCascade(StrategyContract):
    @pytest.fixture(params=[None, "p", "agreement", "carry"])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        if request.param in (None, "carry"):
            return Cascade(STAGES, carry=request.param == "carry")
        return Cascade(STAGES, (0.9, 0.6), request.param)


class TestCascadeWithChecks(StrategyContract):
    @pytest.fixture(params=[None, (0.45,)])
    def strategy(self, request: pytest.FixtureRequest) -> Strategy:
        return Cascade((SingleShot(), BestOfN(most=4)), request.param, seconds=20.0, share=0.9)

    @pytest.fixture(params=["exact", "graded", "both"])
    def task(self, request: pytest.FixtureRequest) -> Task:
        exact = Check(lambda n: n == 2)
        checks: dict[str, Any] = {"exact": (exact,), "graded": (half,), "both": (exact, half)}
        return Task.of("How much is 1 + 1?", "number", checks=checks[request.param])


class TestCascadeOfFusions(StrategyContract):
    @pytest.fixture
    def strategy(self) -> Strategy:
        return Cascade((SingleShot(), Fusion((SingleShot(), SingleShot()), "vote")))


class TestEscalatingBelief(BeliefContract):
    waves = False
    terms = replace(BeliefContract.terms, priors=replace(DEFAULT_PRIORS, ladders={"a>b>c": LADDER}))

    @pytest.fixture(
        params=[
            EscalatingBelief("a>b>c", 0, 3),
            EscalatingBelief("a>b>c", 1, 2, 0.5, None, VotingBelief(1)),
            EscalatingBelief("a>b>c", 1, 2, 0.67, None, VotingBelief(2)),
            EscalatingBelief("a>b>c", 2, 1, 0.34, None, VotingBelief(1, 1)),
            EscalatingBelief("a>b>c", 1, 2, 0.5, 0.7, VotingBelief(1)),
            EscalatingBelief("x>y", 0, 2),
            EscalatingBelief("x>y", 1, 1, 0.5, None, VotingBelief(1)),
            EscalatingBelief("a>b>c", 3, 0, 0.5, None, VotingBelief(1)),
        ]
    )
    def belief(self, request: pytest.FixtureRequest) -> Belief:
        belief: Belief = request.param
        return belief


# -- a world of several models ----------------------------------------------------------------------------------------


class Models:
    """Says what each model says, one text after the other, the last again and again; keeps whom it asked."""

    def __init__(self, **says: list[Any]) -> None:
        self.says = {name: list(texts) for name, texts in says.items()}
        self.asked: list[str] = []

    def answer(self, call: Call) -> Reply | Exception:
        assert isinstance(call.effect, Sample)
        name = call.effect.model or "a"
        self.asked.append(name)
        texts = self.says[name]
        said = texts.pop(0) if len(texts) > 1 else texts[0]
        if isinstance(said, Exception):
            return said
        return Reply(Completion(f"Answer: {said}" if said is not None else "hm"), Usage(10, 10), 1.0)


PRICES = {"a": 1.0, "b": 2.0, "c": 20.0}


def done(strategy: Strategy, models: Models, *checks: Any, worth: float | None = 1.0, **options: Any) -> Run:
    task = Task.of("How much is 1 + 1?", "number", checks=checks)
    budget = Budget(usd=1.0, worth=worth, **{k: v for k, v in options.items() if k != "policy"})
    tariff = PriceList({name: Rate(Price.per_million(p, p), name, guess=10) for name, p in PRICES.items()})
    economics = Economics(budget, options.get("policy") or Policy(), tariff)
    return perform(Run(strategy(task), purse=Purse.of(budget), economics=economics, name="under_test"), models)


def key(run: Run) -> str | None:
    assert run.outcome is not None
    return run.outcome.answer.candidate.key if run.outcome.answer and run.outcome.answer.candidate else None


def reason(run: Run) -> str:
    assert run.outcome is not None
    return run.outcome.reason


def vote(model: str, samples: int = 3) -> Strategy:
    return SelfConsistency(samples=samples, model=model)


def test_an_agreed_answer_is_accepted_and_a_doubtful_one_goes_on() -> None:
    strategy = Cascade((vote("a"), SingleShot(model="c")), (0.9,), "agreement")
    models = Models(a=[1], c=[2])
    run = done(strategy, models)
    assert (key(run), reason(run), models.asked) == ("1", "accepted", ["a"] * 3)
    models = Models(a=[1, 1, 3], c=[2])
    run = done(strategy, models)
    assert (key(run), reason(run), models.asked) == ("2", "last_stage", ["a"] * 3 + ["c"])


def test_two_cheap_models_that_agree_spare_the_dear_one() -> None:
    strategy = Cascade(tuple(SingleShot(model=m) for m in "abc"))
    models = Models(a=[1], b=[1], c=[2])
    assert key(done(strategy, models, policy=POLICY, worth=2e-3)) == "1"
    assert models.asked == ["a", "b"]
    models = Models(a=[1], b=[3], c=[2])
    assert key(done(strategy, models, policy=POLICY, worth=2e-3)) == "2"
    assert models.asked == ["a", "b", "c"]


def test_what_an_answer_is_worth_decides_how_far_it_goes() -> None:
    strategy, asked = Cascade(tuple(SingleShot(model=m) for m in "abc")), []
    for worth in (1e-6, 1e-4, 2e-3, 1e3):
        models = Models(a=[1], b=[3], c=[2])
        done(strategy, models, policy=POLICY, worth=worth)
        asked.append("".join(models.asked))
    assert asked[0] == ""
    assert asked[-1] == "abc"
    assert sorted(asked, key=len) == asked
    assert len(set(asked)) >= 3


def test_p_is_what_the_ladder_says_of_the_answer() -> None:
    run = done(
        Cascade(tuple(SingleShot(model=m) for m in "abc")), Models(a=[1], b=[1], c=[2]), policy=POLICY, worth=2e-3
    )
    assert run.decisions[-1].p == pytest.approx(0.96)
    assert run.decisions[-1].size == 0
    run = done(
        Cascade(tuple(SingleShot(model=m) for m in "abc")), Models(a=[1], b=[3], c=[1]), policy=POLICY, worth=1.0
    )
    assert run.root.belief is not None
    assert run.root.terms is not None
    assert run.root.belief.p(run.root.terms) == pytest.approx(0.9)  # two of three agree


def test_accepted_by_a_calibrated_verdict() -> None:
    def sure(task: Task, candidate: Candidate) -> Verdict:
        p = 0.97 if candidate.key == "2" else 0.3
        return Verdict(p, p)

    strategy = Cascade((BestOfN(samples=1, model="a"), SingleShot(model="c")), (0.5,))
    models = Models(a=[2], c=[7])
    assert key(done(strategy, models, sure)) == "2"
    assert models.asked == ["a"]
    models = Models(a=[1], c=[2])
    assert key(done(strategy, models, sure)) == "2"
    assert models.asked == ["a", "c"]


def test_verdicts_paid_for_are_not_asked_again() -> None:
    seen: list[str | None] = []

    def check(task: Task, candidate: Candidate) -> Verdict:
        seen.append(candidate.path)
        return Verdict(0.4)

    done(Cascade((BestOfN(samples=2, model="a"), BestOfN(samples=2, model="c"))), Models(a=[1, 2], c=[3, 4]), check)
    assert len(seen) == len(set(seen)) == 4


def test_a_verified_answer_ends_it() -> None:
    models = Models(a=[2], c=[3])
    run = done(Cascade((SingleShot(model="a"), SingleShot(model="c")), (1.0,)), models, Check(lambda n: n == 2))
    assert (key(run), reason(run), models.asked) == ("2", "verified", ["a"])


def test_a_refuted_answer_is_never_accepted_nor_given() -> None:
    models = Models(a=[3], c=[4])
    run = done(Cascade((SingleShot(model="a"), SingleShot(model="c")), (0.0,)), models, Check(lambda n: False))
    assert (key(run), models.asked) == (None, ["a", "c"])


@pytest.mark.parametrize("first", [None, ModelRefused("no")])
def test_a_stage_that_abstains_or_fails_is_passed_over(first: Any) -> None:
    for thresholds in (None, (0.0,)):
        models = Models(a=[first], c=[2])
        run = done(Cascade((SingleShot(model="a"), SingleShot(model="c")), thresholds), models)
        assert key(run) == "2"
        assert run.error is None
        models = Models(a=[2], c=[first])
        run = done(Cascade((SingleShot(model="a"), SingleShot(model="c")), (1.0,)), models)
        assert (key(run), models.asked[0], len(models.asked)) == ("2", "a", 2)


def test_all_stages_failing_says_so() -> None:
    models = Models(a=[ModelRefused("no")], c=[ModelRefused("no")])
    run = done(Cascade((SingleShot(model="a"), SingleShot(model="c"))), models)
    assert key(run) is None
    assert "2 stages" in str(run.error)


def test_a_stage_that_cannot_take_the_task_is_the_callers_fault() -> None:
    def picky(task: Task) -> Any:
        raise BadQuery("not this one")

    run = done(Cascade((picky, SingleShot())), Models(a=[1]), policy=POLICY)
    assert isinstance(run.error, BadQuery)


def test_short_of_money_the_cheap_answer_stands() -> None:
    models = Models(a=[1], c=[2])
    run = done(Cascade((SingleShot(model="a"), SingleShot(model="c")), (1.0,)), models, calls=1)
    assert (key(run), reason(run)) == ("1", "budget_calls")


def test_votes_of_a_weak_model_are_carried_only_on_request() -> None:
    stages = (vote("a"), vote("c", 2))
    said = {"a": [1, 1, 3], "c": [2]}
    assert key(done(Cascade(stages, (1.0,)), Models(**said))) == "2"
    assert key(done(Cascade(stages, (1.0,), carry=True), Models(a=[1, 1, 3], c=[2, 4]))) == "1"


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"stages": ()},
        {"stages": ("single_shot",)},
        {"thresholds": ()},
        {"thresholds": (0.5, 0.5)},
        {"thresholds": (1.5,)},
        {"thresholds": 0.5},
        {"thresholds": (True,)},
        {"stages": (SingleShot, SingleShot)},
        {"stages": "single_shot"},
        {"carry": "yes"},
        {"share": "half"},
        {"thresholds": (float("nan"),)},
        {"accept": "luck"},
        {"share": 0},
        {"seconds": -1},
    ],
)
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match="cascade"):
        Cascade(**bad)


def test_it_is_stored_and_found() -> None:
    one = Cascade((vote("a"), Fusion((SingleShot(model="b"), SingleShot(model="c")))), (0.8,), "agreement")
    assert find(address_of(one), **settings_of(one)) == one
    assert (models_of(one), one.chain) == (("a", "b", "c"), "a>b+c")
    text = 'cascade:stages=["single_shot:model=a","single_shot:model=c"],thresholds=[0.7]'
    assert strategy_of(text) == Cascade((SingleShot(model="a"), SingleShot(model="c")), (0.7,))


def test_a_ladder_that_does_not_fit_is_refused(tmp_path: Any) -> None:
    assert POLICY.cascades["a>b>c"].ladder() == LADDER
    POLICY.save(tmp_path / "p.json")
    assert Policy.load(tmp_path / "p.json") == POLICY
    text = (tmp_path / "p.json").read_text()
    (tmp_path / "q.json").write_text(text.replace('"alone": [\n        0.6,', '"alone": ['))
    with pytest.raises(BadSettings, match="cascades"):
        Policy.load(tmp_path / "q.json")


def test_a_policy_without_cascades_still_loads(tmp_path: Any) -> None:
    (tmp_path / "old.json").write_text('{"format": 1, "name": "old"}')
    assert Policy.load(tmp_path / "old.json").priors().ladders == {}


def test_lists_and_one_stage_alone_are_understood() -> None:
    assert Cascade([SingleShot(model="a"), SingleShot(model="b")], [0.7]) == Cascade(  # type: ignore[arg-type]
        (SingleShot(model="a"), SingleShot(model="b")), (0.7,)
    )
    assert Cascade(SingleShot()) == Cascade((SingleShot(),))  # type: ignore[arg-type]


class Judge:
    """A judge that asks a model once."""

    name = "judge"

    def needs(self, task: Task) -> tuple[Sample, ...]:
        return (Sample((Message("user", "judge"),), None, None, Params(max_tokens=8)),)

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        yield from self.needs(task)[0]
        return Verdict(0.5)


@pytest.mark.parametrize(
    "strategy", [Cascade(), Fusion((SingleShot(),) * 2, "vote"), Experts((SingleShot(),)), Fusion((BestOfN(),))]
)
def test_a_judge_is_in_the_price_of_every_step_that_brings_a_candidate(strategy: Any) -> None:
    task = Task.of("How much is 1 + 1?", "number", checks=(Judge(),))
    first = next(strategy(task))
    assert isinstance(first, Offer | Choose)
    for step in [first.step] if isinstance(first, Offer) else [option.step for option in first.options]:
        tariff = make_run(strategy, task).tariff
        withins = sum(isinstance(effect, Within) for effect in step)
        assert quote_step(tariff, step).worst.calls == 2 * withins, "a draw and a verdict for each, and no more"
    assert quote_step(tariff, strategy.needs(task)).worst.calls == 2
