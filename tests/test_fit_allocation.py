"""What a bank teaches of several arms: drawn from a known world, it is found again."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from satisfice import fit
from satisfice.budgets.allocation_policy import AllocationPolicy, SuccessesPolicy
from satisfice.budgets.features import features
from satisfice.budgets.policy import Policy
from satisfice.budgets.portfolio import Portfolio
from satisfice.budgets.portfolio_exact import exact_jointly
from satisfice.budgets.successes import of_logits
from satisfice.core.belief import Terms
from satisfice.core.errors import CallerError, UnknownName
from satisfice.experiments.allocating import By, arms_of, fit_allocation
from satisfice.experiments.bank import Bank, Draw, Question
from satisfice.experiments.exact_arms import fit_successes, tried

MODELS = {"cheap": (0.2, 1.5, 400_000), "middling": (1.2, 2.0, 4_000_000), "dear": (2.2, 2.0, 20_000_000)}


def made(questions: int, draws: int = 1, topics: int = 2, seed: int = 0) -> Bank:
    """A bank from the world itself: topics that are easier or harder, wrong answers that lump together."""
    dice = Random(seed)
    asked, found = {}, {}
    for i in range(questions):
        topic = i // 10 % topics
        ease = dice.gauss(0, 1) + (1.0 if topic else -1.0)
        decoy = dice.choice("BCD")
        asked[f"q{i}"] = Question(f"q{i}", f"topic{topic}", f"What is {i}?", "A", "choice", tuple("ABCD"), i % 10)
        for model, (bias, loading, nanos) in MODELS.items():
            chance = 1 / (1 + 2.718281828 ** -(bias + loading * ease))
            row = []
            for n in range(draws):
                key = "A" if dice.random() < chance else decoy if dice.random() < 0.6 else dice.choice("BCD")
                row.append(Draw(n, key, key, key == "A", 100, 50, nanos))
            found[f"q{i}", model, "cot"] = tuple(row)
    return Bank(asked, found)


@cache
def learnt(questions: int, draws: int = 1, by: By | None = None) -> AllocationPolicy:
    policy = fit_allocation(made(questions, draws), held_out=False, by=by)
    assert policy is not None
    return policy


def test_the_order_of_arms_and_what_topics_tell_are_found_again() -> None:
    policy = fit_allocation(made(400))
    assert policy is not None
    bias = {key: arm.bias for key, arm in policy.arms.items()}
    assert bias["single_shot@cheap"] < bias["single_shot@middling"] < bias["single_shot@dear"]
    assert all(arm.loading > 0.5 for arm in policy.arms.values())
    assert policy.arms["single_shot@dear"].usd == pytest.approx(0.02)
    assert policy.curve[1] > 0.3
    assert policy.ease is not None
    assert policy.ease.topics["topic1"] > policy.ease.topics["topic0"]
    assert policy.kappa < 4
    facts = policy.provenance
    assert facts["questions"] == 400
    assert float(facts["log_loss"]) < float(facts["base_log_loss"])


def test_claims_are_about_what_comes_on_other_questions() -> None:
    policy = learnt(300)
    from satisfice.budgets.portfolio_world import state

    other, world, keys = made(300, seed=1), policy.world(), tuple(policy.arms)
    claimed = came = 0.0
    for question in other.questions.values():
        rows = [other.draws[question.id, key.partition("@")[2], "cot"][0] for key in keys]
        known = list(dict.fromkeys(row.key for row in rows))
        votes = tuple((i, known.index(row.key)) for i, row in enumerate(rows))
        p = state(world.tables(keys, (), (), question.dataset), votes, (), 4).answers[:-1]
        claimed += float(p.max()) / 300
        came += (known[int(p.argmax())] == "A") / 300
    assert claimed == pytest.approx(came, abs=0.06)


def test_thirty_questions_do_not_overfit() -> None:
    policy = learnt(30)
    assert all(abs(arm.bias) < 4 and 0 <= arm.loading < 4 for arm in policy.arms.values())


def test_repeated_draws_say_how_alike_an_arm_is_to_itself() -> None:
    policy = learnt(90, 4)
    assert all(arm.own > 3.0 for arm in policy.arms.values())  # draws were independent given the question's ease


def test_too_few_questions_in_common_teach_nothing() -> None:
    assert fit_allocation(made(20)) is None
    assert fit_allocation(made(100).select(models=["cheap"])) is None


def test_a_second_try_after_a_wrong_first_one_is_no_arm() -> None:
    bank = made(60)
    wrong = {(q, m, "retry"): row for (q, m, _), row in bank.draws.items() if m == "cheap" and not row[0].correct}
    both = Bank(bank.questions, {**bank.draws, **wrong})
    assert set(arms_of(both)) == {f"single_shot@{model}" for model in MODELS}
    with pytest.raises(UnknownName):
        fit_allocation(both, arms={"mine": ("cheap", "nothing"), "other": ("dear", "cot")})


def test_fit_makes_it_part_of_the_policy() -> None:
    policy = fit(made(60, draws=2), stops=False)
    assert policy.allocation is not None
    assert set(policy.allocation.arms) == {f"single_shot@{model}" for model in MODELS}


def test_the_slope_of_the_likelihood_is_that_of_its_value() -> None:
    from satisfice.experiments import likeliest as module
    from satisfice.experiments.allocating import Records

    bank = made(40, draws=3)
    records = Records.of(bank, arms_of(bank))
    dice = np.random.default_rng(0)
    for told in (None, dice.normal(size=40), dice.normal(size=(40, 3))):
        seen: list[tuple[Any, ...]] = []

        def caught(loss: Any, x: Any, seen: list[tuple[Any, ...]] = seen, **options: Any) -> Any:
            seen.append((loss, x, options["args"]))
            return SimpleNamespace(x=x, fun=0.0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("scipy.optimize.minimize", caught)
            module.likeliest(records, told)
        loss, x, args = seen[0]
        at = x + dice.normal(size=len(x)) * 0.3
        _, slope = loss(at, *args)
        for i in range(len(at)):
            step = np.zeros(len(at))
            step[i] = 1e-5
            numeric = (loss(at + step, *args)[0] - loss(at - step, *args)[0]) / 2e-5
            assert slope[i] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_where_all_arms_find_the_same_questions_hard_one_ease_serves_all() -> None:
    policy = learnt(300)
    assert policy.predictor is None and policy.provenance["by"] == "ease"
    forced = learnt(300, by="predictor")
    assert forced.predictor is not None and forced.ease is None and forced.gain > 0.5
    with pytest.raises(CallerError):
        fit_allocation(made(60), by="both")  # type: ignore[arg-type]


def test_a_predictor_and_the_biases_beside_it_give_the_shares_that_were_seen() -> None:
    """Nothing counts twice, and biases are those at the predictor's centre."""
    bank = made(300)
    for by in ("ease", "predictor"):
        policy = learnt(300, by=None if by == "ease" else "predictor")
        assert (policy.predictor is not None) == (by == "predictor")
        world, keys = policy.world(), tuple(policy.arms)
        claimed = [world.tables(keys, (), features(q.task()), q.dataset).chance for q in bank.questions.values()]
        for i, key in enumerate(keys):
            model = key.partition("@")[2]
            share = sum(bank.draws[q, model, "cot"][0].correct for q in bank.questions) / 300
            assert sum(row[i] for row in claimed) / 300 == pytest.approx(share, abs=0.03)


def test_how_often_exact_checks_are_passed_needs_several_draws() -> None:
    assert learnt(300).successes is None
    both = made(60, draws=3)
    once = {place: row[:1] if place[1] == "dear" else row for place, row in both.draws.items()}
    assert fit_allocation(Bank(both.questions, once), held_out=False).successes is None  # type: ignore[union-attr]
    arms = {"single_shot@cheap": ("cheap", "cot"), "tree_search@dear": ("dear", "cot")}
    search = fit_allocation(Bank(both.questions, once), arms=arms, held_out=False)  # a search runs once
    assert search is not None and search.successes is not None
    assert search.successes.arms == tuple(arms) and search.successes.questions == 60


def test_exact_tasks_are_judged_by_what_was_fitted_for_them() -> None:
    policy = learnt(90, 4)
    assert policy.successes is not None
    again = type(policy).model_validate_json(policy.model_dump_json())
    assert again == policy
    keys, costs = tuple(policy.arms), (0.0004, 0.004, 0.02)
    portfolio = Portfolio(keys, exact=True)

    def terms(of: Policy, **shifts: float) -> tuple[Terms, ...]:
        priors = replace(of.priors(), shifts={f"single_shot@{model}": by for model, by in shifts.items()})
        return tuple(Terms(2.0, cost, 9, priors) for cost in costs)

    first, second = (Policy(allocation=one, fitted=True) for one in (policy, again))
    plain = terms(first)
    world = policy.world().exact(portfolio, plain)
    assert world is not None and world is policy.world().exact(portfolio, plain)
    assert exact_jointly(portfolio, plain) == exact_jointly(portfolio, terms(second))
    rows = tried(made(90, draws=4), arms_of(made(90, draws=4)))
    fitted = fit_successes(rows, keys)
    assert fitted is not None
    for arm in range(3):
        assert np.asarray(world.weights) @ world.missed(arm, 4) == pytest.approx(
            np.asarray(fitted.weights) @ fitted.missed(arm, 4), abs=1e-4
        )
    # What was learnt since moves it, and only the arm that it was learnt of.
    shifted = terms(first, cheap=-3.0)
    moved = policy.world().exact(portfolio, shifted)
    assert moved is not None and moved is policy.world().exact(portfolio, shifted)
    at = keys.index("single_shot@cheap")
    assert (np.asarray(moved.weights) @ moved.missed(at, 1))[1] > (np.asarray(world.weights) @ world.missed(at, 1))[1]
    assert all(np.allclose(moved.rates[a], world.rates[a]) for a in range(3) if a != at)


@pytest.mark.parametrize(
    "bad",
    [
        {"arms": ("a",)},
        {"arms": ("a",), "betas": (((1.0, 1.0),),), "logits": ((0.0, 1.0, 1.0),)},
        {"arms": ("a", "b"), "weights": (1.0,), "betas": (((1.0, 1.0),),)},
        {"arms": ("a",), "weights": (0.5, 0.5), "betas": (((1.0, 1.0),),)},
        {"arms": ("a",), "weights": (0.0,), "betas": (((1.0, 1.0),),)},
    ],
)
def test_a_file_of_successes_that_does_not_fit_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SuccessesPolicy(**bad)


def test_a_latent_difficulty_survives_its_file() -> None:
    known = of_logits(("a", "b"), (0.5, -1.0), (1.0, 2.0), (0.3, 0.4))
    again = SuccessesPolicy.model_validate_json(SuccessesPolicy.of(known).model_dump_json()).successes()
    assert again.rates == known.rates and again.weights == known.weights


def test_the_latent_fit_is_a_maximum() -> None:
    """Its slope, too, is that of its value."""
    from satisfice.experiments.exact_arms import latent

    bank = made(30, draws=3)
    seen: list[Any] = []

    def caught(loss: Any, x: Any, **options: Any) -> Any:
        seen.append((loss, x))
        return SimpleNamespace(x=x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scipy.optimize.minimize", caught)
        latent(tried(bank, arms_of(bank)), tuple(arms_of(bank)))
    loss, x = seen[0]
    at = x + np.random.default_rng(1).normal(size=len(x)) * 0.3
    for i in range(len(at)):
        step = np.zeros(len(at))
        step[i] = 1e-5
        numeric = (loss(at + step)[0] - loss(at - step)[0]) / 2e-5
        assert loss(at)[1][i] == pytest.approx(numeric, rel=1e-4, abs=1e-4)
