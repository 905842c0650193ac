"""What a bank teaches of several arms: drawn from a known world, it is found again."""

from __future__ import annotations

from random import Random

import pytest

from satisfice import fit
from satisfice.core.errors import UnknownName
from satisfice.experiments.allocating import arms_of, fit_allocation
from satisfice.experiments.bank import Bank, Draw, Question

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
    policy = fit_allocation(made(300), held_out=False)
    assert policy is not None
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
    policy = fit_allocation(made(30), held_out=False)
    assert policy is not None
    assert all(abs(arm.bias) < 4 and 0 <= arm.loading < 4 for arm in policy.arms.values())


def test_repeated_draws_say_how_alike_an_arm_is_to_itself() -> None:
    policy = fit_allocation(made(120, draws=4), held_out=False)
    assert policy is not None
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
