"""The predictor: what it learns, what it says of other questions, and how it does without what it was fitted with."""

from __future__ import annotations

import random
from dataclasses import replace
from math import exp, inf, log, sqrt
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from satisfice import CallerError, Task
from satisfice.budgets.features import HASHED, MARKS, register_embedding
from satisfice.budgets.predictor import FARTHEST, ArmPredictor, Predictor, PredictorPolicy
from satisfice.experiments.predicting import (
    Examples,
    calibration_error,
    cross_predicted,
    fit_predictor,
)

LIGHT = ((10.0, inf), (inf, inf))


def world(count: int = 400, seed: int = 0, topics: bool = True) -> Examples:
    """Two arms: "dear" is right on 9 in 10; "cheap" only on questions without numbers, and badly on law."""
    dice = random.Random(seed)
    tasks, draws = [], []
    for i in range(count):
        hard = dice.random() < 0.5
        topic = dice.choice(["law", "art", "chess"])
        text = f"what is {i} + {dice.randrange(999)} * 7 / 3 ?" if hard else "who painted the famous picture of a lady"
        p = (0.35 if hard else 0.9) - (0.3 if topic == "law" else 0.0)
        tasks.append(Task.of(text, topic=topic if topics else ""))
        draws.append([[dice.random() < p], [dice.random() < 0.9]])
    return Examples.made(("cheap", "dear"), tasks, draws, [i % 5 for i in range(count)])


@pytest.fixture(scope="module")
def examples() -> Examples:
    return world()


@pytest.fixture(scope="module")
def policy(examples: Examples) -> PredictorPolicy:
    found = fit_predictor(examples, penalties=LIGHT)
    assert found is not None
    return found


def seen(policy: PredictorPolicy, text: str) -> tuple[float, ...]:
    return Predictor(policy).see(Task.of(text))[0]


def test_it_learns_features_and_topics_of_each_arm(policy: PredictorPolicy) -> None:
    predictor = Predictor(policy)
    sum_, picture = seen(policy, "what is 12 + 13 * 7 / 3 ?"), seen(policy, "who painted the famous picture of a lady")
    assert predictor.chances(sum_, "art")["cheap"] < 0.5 < 0.75 < predictor.chances(picture, "art")["cheap"]
    assert predictor.logits(picture, "law")["cheap"] < predictor.logits(picture, "art")["cheap"] - 0.5
    dear = [predictor.chances(x, t)["dear"] for x in (sum_, picture) for t in ("law", "art")]
    assert max(dear) - min(dear) < 0.12


def test_it_predicts_questions_left_out_better_than_the_mean_and_is_calibrated(examples: Examples) -> None:
    p = cross_predicted(examples, penalties=LIGHT)
    right = examples.share
    base = right.mean(axis=0)
    assert ((p - right) ** 2).mean(axis=0)[0] < 0.9 * ((base - right) ** 2).mean(axis=0)[0]
    assert calibration_error(p[:, 0], right[:, 0], 5) < 0.08
    assert calibration_error(p[:, 1], right[:, 1], 5) < 0.08


def test_what_it_reports_of_itself_is_out_of_fold(policy: PredictorPolicy) -> None:
    cheap = policy.arms["cheap"]
    assert 0 < cheap.loss < cheap.base
    assert 0 < cheap.brier < 0.25
    assert cheap.questions == 400


def test_noise_is_hardly_ever_learnt() -> None:
    """Chance alone may look like a pattern in one sample of eight, not in most."""
    used, effects = 0, []
    for seed in range(8):
        dice = random.Random(seed)
        tasks = [Task.of(f"{dice.random()} words {dice.choice('abc')}", topic=dice.choice("xyz")) for _ in range(150)]
        draws = [[[dice.random() < 0.6]] for _ in tasks]
        found = fit_predictor(Examples.made(("one",), tasks, draws, [i % 5 for i in range(150)]), penalties=LIGHT)
        assert found is not None
        used += bool(found.arms["one"].weights)
        effects += [abs(effect) for effect, _ in found.arms["one"].topics.values()]
    assert used <= 2
    assert sum(effects) / len(effects) < 0.25


def test_a_topic_with_few_questions_says_little_and_an_unknown_one_nothing(policy: PredictorPolicy) -> None:
    tasks = [Task.of("the same words", topic="rare" if i == 0 else "often") for i in range(100)]
    found = fit_predictor(Examples.made(("one",), tasks, [[[i != 0]] for i in range(100)], [i % 5 for i in range(100)]))
    assert found is not None
    assert -1.5 < found.arms["one"].topics["rare"][0] < 0
    predictor, x = Predictor(policy), seen(policy, "the same words")
    flat = {key: arm.model_copy(update={"topics": {}}) for key, arm in policy.arms.items()}
    without = Predictor(policy.model_copy(update={"arms": flat}))
    assert predictor.logits(x, "never seen") == without.logits(x, "law")
    assert all(predictor.spreads(x, "never seen")[a] > predictor.spreads(x, "law")[a] for a in ("cheap",))


def test_spreads_shrink_with_questions() -> None:
    few, many = (fit_predictor(world(n), penalties=LIGHT[:1]) for n in (60, 600))
    assert few is not None and many is not None
    x = seen(many, "who painted the famous picture of a lady")
    assert Predictor(many).spreads(x, "art")["cheap"] < 0.9 * Predictor(few).spreads(x, "art")["cheap"]


def test_spreads_cover_what_is_true() -> None:
    """Of worlds drawn anew, the true log odds lie within two standard deviations of the predicted in most."""
    held = []
    for seed in range(12):
        found = fit_predictor(world(200, seed, topics=False), penalties=LIGHT[:1])
        assert found is not None
        x, predictor = seen(found, "what is 5 + 100 * 7 / 3 ?"), Predictor(found)
        p = 0.35 - 0.3 / 3
        off = found.arms["cheap"].bias + predictor.logits(x)["cheap"] - log(p / (1 - p))
        held.append(abs(off) < 2 * predictor.spreads(x)["cheap"])
        assert predictor.spreads(x)["cheap"] < 0.8
    assert sum(held) >= 10


def test_nothing_is_said_of_arms_with_few_questions(examples: Examples) -> None:
    assert fit_predictor(examples.take(range(29))) is None
    weight = examples.weight.copy()
    weight[20:, 0] = 0
    found = fit_predictor(replace(examples, weight=weight), penalties=LIGHT)
    assert found is not None and list(found.arms) == ["dear"]
    p = cross_predicted(replace(examples, weight=weight), penalties=LIGHT)
    assert np.isnan(p[:, 0]).all() and np.isfinite(p[:, 1]).all()


def test_several_draws_of_a_question_count_for_less_than_as_many_questions() -> None:
    tasks = [Task.of("a question") for _ in range(40)]
    one = Examples.made(("x",), tasks, [[[i % 2 == 0]] for i in range(40)], [i % 4 for i in range(40)])
    ten = Examples.made(("x",), tasks, [[[i % 2 == 0] * 10] for i in range(40)], [i % 4 for i in range(40)])
    assert one.weight[0, 0] == 1 and 1 < ten.weight[0, 0] < 3
    assert (one.share == ten.share).all()


def test_logits_are_the_arithmetic_that_the_policy_says() -> None:
    policy = PredictorPolicy(
        centre=(0.5, 0.0),
        arms={
            "a": ArmPredictor(bias=0.2, sd=0.3, weights=(1.0, -2.0), errors=(0.1, 0.2), topics={"t": (0.7, 0.4)}),
            "b": ArmPredictor(bias=-1.0, sd=0.1, spread=0.5),
        },
    )
    predictor = Predictor(policy)
    assert predictor.logits((1.0, 0.25), "t") == pytest.approx({"a": 0.5 - 0.5 + 0.7, "b": 0.0})
    assert predictor.spreads((1.0, 0.25), "t") == pytest.approx(
        {"a": sqrt(0.09 + 0.16 + 0.25 * 0.01 + 0.0625 * 0.04), "b": sqrt(0.01 + 0.25)}
    )
    assert predictor.chances((1.0, 0.25), "t")["a"] == pytest.approx(1 / (1 + exp(-0.9)))
    assert predictor.logits((1.0,), "t") == pytest.approx({"a": 0.7, "b": 0.0})  # another length says nothing
    assert predictor.logits((1e9, 0.0))["a"] == FARTHEST


def test_a_policy_survives_its_file(policy: PredictorPolicy) -> None:
    again = PredictorPolicy.model_validate_json(policy.model_dump_json())
    assert again == policy
    x = seen(policy, "how many?")
    assert Predictor(again).logits(x, "law") == Predictor(policy).logits(x, "law")


@pytest.mark.parametrize(
    "fields",
    [
        {"centre": (0.0,), "arms": {"a": ArmPredictor(bias=0, weights=(1.0, 2.0), errors=(0.0, 0.0))}},
        {"centre": (0.0,), "arms": {"a": ArmPredictor(bias=0, weights=(1.0,))}},
        {"embedding": "x"},
        {"plain": PredictorPolicy(embedding="x", size=2)},
        {"unknown": 1},
    ],
)
def test_a_policy_that_does_not_fit_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PredictorPolicy(**fields)


@pytest.mark.parametrize("penalties", [(), ((0.0, 1.0),), ((1.0, -2.0),), ((float("nan"), 1.0),)])
def test_bad_penalties_are_refused(examples: Examples, penalties: Any) -> None:
    with pytest.raises(CallerError):
        fit_predictor(examples, penalties=penalties)


def test_examples_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CallerError):
        Examples.made(("x",), [Task.of("a")], [], [0])
    with pytest.raises(CallerError):
        Examples.made(("x",), [Task.of("a")], [[[True]]], [0], embedding="test:nobody")


def test_an_embedding_is_used_and_does_without_when_it_is_missing() -> None:
    dice = random.Random(1)
    tasks = [Task.of(f"question {dice.choice(['odd', 'even'])} {i}") for i in range(200)]
    draws = [[[("odd" in task.query) == (dice.random() < 0.9)]] for task in tasks]
    register_embedding("test:odd", lambda text: [float("odd" in text), 0.5], 2)
    try:
        made = Examples.made(("one",), tasks, draws, [i % 5 for i in range(200)], embedding="test:odd")
        policy = fit_predictor(made, penalties=((inf, 10.0), (inf, inf)))
        assert policy is not None and policy.size == 2 and policy.plain is not None
        predictor = Predictor(policy)
        x, warning = predictor.see(Task.of("question odd"))
        assert len(x) == MARKS + HASHED + 2 and not warning
        assert predictor.chances(x)["one"] > 0.7
    finally:
        register_embedding("test:odd", None)
    x, warning = predictor.see(Task.of("question odd"))
    assert len(x) == MARKS + HASHED
    assert "test:odd" in warning and "not registered" in warning
    assert predictor.logits(x) == Predictor(policy.plain).logits(x)
