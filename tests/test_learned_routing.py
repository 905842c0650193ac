"""Learned routing is a policy of the allocator: which model, or which way of working, by what the question looks like.

RouteLLM's rule (Ong et al. 2024, 2406.18665) is a threshold on the predicted gain of the strong model; in MasRouter's
sense (Yue et al. 2025, 2502.11133) mode and roles are chosen by the kind of question. Both come of one fit, through
the plan that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import numpy as np
import pytest

from satisfice.budgets.allocation_policy import AllocationPolicy
from satisfice.budgets.budget import Budget
from satisfice.budgets.features import MARKS, features
from satisfice.budgets.policy import Policy
from satisfice.budgets.predictor import Predictor
from satisfice.core.plans import Strategy
from satisfice.core.task import Task
from satisfice.experiments.allocating import fit_allocation
from satisfice.experiments.bank import Bank, Draw, Question
from satisfice.experiments.replaying import BankTariff, Deck, run_on
from satisfice.scheduler.offline import perform
from satisfice.strategies import Auto, Debate, Roles, SingleShot
from satisfice.testing.driver import Script, make_run

ARMS = {"weak": "cot", "strong": "cot"}
KEYS = ("single_shot@weak", "single_shot@strong")
NANOS = {"weak": 1_000_000, "strong": 20_000_000}
Kind = Callable[[int], tuple[str, str]]  # of a question's number: (topic, text)


def by_topic(i: int) -> tuple[str, str]:
    return ("sums", "physics", "law")[i // 10 % 3], f"What is the answer to number {i}?"


def by_look(i: int) -> tuple[str, str]:
    """No topics: the weak model is good at what is full of digits."""
    if i // 10 % 3:
        return "", f"Which of these rules applies where party {i} does not answer the letter of the other party?"
    return "", f"{i} + {7 * i} * {i * i} = ?"


def chance(model: str, i: int) -> float:
    """The weak one is the better at a third of the questions, and much the worse at all others."""
    if i // 10 % 3:
        return 0.95 if model == "strong" else 0.3
    return 0.8 if model == "strong" else 0.9


def bank_of(kind: Kind, questions: int = 360, seed: int = 3) -> Bank:
    dice, asked, draws = Random(seed), {}, {}
    for i in range(questions):
        topic, text = kind(i)
        asked[f"q{i}"] = Question(f"q{i}", topic, text, "A", "choice", tuple("ABCD"), i % 10)
        for model, nanos in NANOS.items():
            key = "A" if dice.random() < chance(model, i) else dice.choice("BCD")
            draws[f"q{i}", model, "cot"] = (Draw(0, key, key, key == "A", 100, 50, nanos),)
    return Bank(asked, draws)


@pytest.fixture(scope="module", params=[by_topic, by_look])
def taught(request: pytest.FixtureRequest) -> tuple[Bank, AllocationPolicy]:
    bank = bank_of(request.param)
    allocation = fit_allocation(bank, folds=range(7))
    assert allocation is not None
    return bank, allocation


def routed(bank: Bank, policy: Policy, question: str, worth: float) -> str | None:
    """Who is asked first by the plan where one call may be made; None: nobody."""
    auto = Auto(tuple(SingleShot(model=model) for model in ARMS), most=1)
    source = Deck.of(bank, question, ARMS).shuffled(0)
    run = run_on(source, auto, Budget(calls=1, worth=worth), policy, BankTariff(bank, ARMS), 0)
    first = run.decisions[0]
    return first.alternatives[first.index].name if first.size else None


def test_features_are_told_of_each_arm_where_arms_differ_in_what_they_are_good_at(
    taught: tuple[Bank, AllocationPolicy],
) -> None:
    _, allocation = taught
    assert allocation.predictor is not None and allocation.ease is None
    facts = allocation.provenance
    assert facts["by"] == "predictor"
    assert float(facts["predictor_lead"]) > float(facts["predictor_lead_error"]) > 0


@pytest.mark.parametrize("worth", [0.022, 0.05, 0.3])
def test_the_first_choice_is_a_threshold_on_the_predicted_gain(
    taught: tuple[Bank, AllocationPolicy], worth: float
) -> None:
    bank, allocation = taught
    policy, world = Policy(allocation=allocation, fitted=True), allocation.world()
    assert allocation.predictor is not None
    predictor, least = Predictor(allocation.predictor), (NANOS["strong"] - NANOS["weak"]) / 1e9 / worth
    asked, same, clear = [], 0, 0
    for question in bank.questions.values():
        if question.fold < 7:
            continue
        task = question.task()
        way = routed(bank, policy, question.id, worth)
        told = world.tables(KEYS, (), features(task), task.topic)
        right = told.chance * (1 - told.blank)
        assert way == KEYS[int(right[1] - right[0] > least)]
        # The predictor alone, without difficulty or blanks: the same wherever its gain is not within .05 of the price.
        p = predictor.chances(features(task), task.topic)
        gain = p[KEYS[1]] - p[KEYS[0]]
        if abs(gain - least) > 0.05:
            clear += 1
            same += (way == KEYS[1]) == (gain > least)
        asked.append((way == KEYS[1], chance("weak", int(question.id[1:])) < 0.5))
    assert same == clear > 50
    if (
        worth == 0.05
    ):  # the strong model's lead is worth .38 of a right answer: where the weak one is bad, and only there
        assert all(strong == needed for strong, needed in asked)


def test_routing_by_question_beats_either_model_alone(taught: tuple[Bank, AllocationPolicy]) -> None:
    bank, allocation = taught
    policy, worth = Policy(allocation=allocation, fitted=True), 0.05
    nets: dict[str, list[float]] = {"routed": [], "weak": [], "strong": []}
    for question in (q for q in bank.questions.values() if q.fold >= 7):
        way = (routed(bank, policy, question.id, worth) or "").partition("@")[2]
        for name, model in (("routed", way), ("weak", "weak"), ("strong", "strong")):
            right = bank.draws[question.id, model, "cot"][0].correct
            nets[name].append(right - NANOS[model] / 1e9 / worth)
    assert np.mean(nets["routed"]) > max(np.mean(nets["weak"]), np.mean(nets["strong"])) + 0.03


def test_what_the_engine_sees_and_the_usual_features_say_the_same(taught: tuple[Bank, AllocationPolicy]) -> None:
    bank, allocation = taught
    assert allocation.predictor is not None
    world, predictor = allocation.world(), Predictor(allocation.predictor)
    for question in list(bank.questions.values())[:40]:
        task = question.task()
        seen, warning = predictor.see(task)
        assert len(seen) == MARKS and not warning
        assert predictor.logits(seen, task.topic) == predictor.logits(features(task), task.topic)
        usual, lean = (world.tables(KEYS, (), x, task.topic).mu for x in (features(task), seen))
        assert np.array_equal(usual, lean)
        assert len(set(predictor.spreads(seen, task.topic).values())) == 2


def test_a_topic_that_is_not_known_is_told_by_what_needs_none() -> None:
    allocation = fit_allocation(bank_of(lambda i: (by_topic(i)[0], by_look(i)[1])), held_out=False, by="predictor")
    assert allocation is not None and allocation.alone is not None
    world = allocation.world()
    digits, words = (Task.of(by_look(i)[1]) for i in (0, 15))
    for topic in ("", "gardening"):
        easy, hard = (world.tables(KEYS, (), features(task), topic).chance for task in (digits, words))
        assert easy[1] - easy[0] < 0.2 < hard[1] - hard[0]


# -- ways of working ---------------------------------------------------------------------------------------------------

WAYS: Mapping[str, Strategy] = {
    "single_shot@m": SingleShot(),
    "debate@m": Debate(agents=2, rounds=1),
    "roles@m": Roles(turns=2),
}
BEST = {"facts": "single_shot@m", "ethics": "debate@m", "proofs": "roles@m"}


def ways_bank(seed: int = 5) -> Bank:
    """One model under three conditions, each the best on one topic; of plain facts debaters talk each other out of."""
    dice, asked, draws = Random(seed), {}, {}
    for i in range(360):
        topic = tuple(BEST)[i // 10 % 3]
        asked[f"q{i}"] = Question(f"q{i}", topic, f"How much is number {i}?", "1", "number", (), i % 10)
        for key, nanos in (("single_shot@m", 20_000), ("debate@m", 60_000), ("roles@m", 60_000)):
            right = dice.random() < (0.95 if BEST[topic] == key else 0.75 if topic == "facts" else 0.25)
            said = "1" if right else str(dice.randint(2, 9))
            draws[f"q{i}", "m", key.partition("@")[0]] = (Draw(0, said, said, right, 100, 50, nanos),)
    return Bank(asked, draws)


@pytest.fixture(scope="module")
def ways() -> Policy:
    arms = {key: ("m", key.partition("@")[0]) for key in WAYS}
    allocation = fit_allocation(ways_bank(), arms=arms, held_out=False)
    assert allocation is not None
    return Policy(allocation=allocation, fitted=True)


@pytest.mark.parametrize("topic", list(BEST))
def test_the_way_of_working_is_chosen_by_the_kind_of_question(ways: Policy, topic: str) -> None:
    auto = Auto(tuple(WAYS.values()), tuple(WAYS), most=1)
    task = Task.of("How much is 1 + 1?", "number", topic=topic)
    script = Script(text=lambda asked, seed: "Answer: 2")
    run = perform(make_run(auto, task, Budget(usd=1.0, worth=0.01), priors=ways), script)
    assert run.outcome is not None and run.outcome.answer is not None and run.outcome.answer.candidate is not None
    assert run.outcome.answer.candidate.key == "2"
    first = run.decisions[0]
    assert first.size and first.alternatives[first.index].name == BEST[topic]
    assert ("You are the thinker" in script.asked[0]) == (topic == "proofs")
    assert len(script.asked) > (topic != "facts")  # two debaters, or a thinker and a worker
