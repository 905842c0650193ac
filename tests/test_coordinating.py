"""Training a coordinator: in a world where the right order depends on the question, the learned head must find it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("cmaes")

from satisfice.core.completions import Params
from satisfice.core.errors import CallerError, UnpricedModel
from satisfice.core.task import Task
from satisfice.experiments.bank import Bank, Draw
from satisfice.experiments.bank import Question as BankQuestion
from satisfice.experiments.coordinating import Question, Trained, score, train
from satisfice.experiments.evolving import evolve_gate, judge_gate
from satisfice.experiments.evolving import policy_of as gate_policy
from satisfice.experiments.gating import Rows
from satisfice.experiments.intervals import paired, wilson
from satisfice.strategies.coordinators import Coordinator, Fixed, Linear
from satisfice.strategies.experts import Experts
from satisfice.strategies.react import React
from satisfice.strategies.registry import models_of, strategy_of
from satisfice.strategies.roles import Roles
from satisfice.strategies.single_shot import SingleShot
from satisfice.testing.driver import Script

SHORT = Params(max_tokens=8)
TURNS = 2


def questions(n: int, seed: int) -> list[Question]:
    """Half short, half long. Long ones need a plan first, short ones are spoilt by one."""
    dice = random.Random(seed)
    made = []
    for i in range(n):
        padding = "please " * dice.randint(60, 90) if i % 2 else ""
        made.append(Question(Task.of(f"{padding}add {i}", "number", label=f"q{seed}.{i}"), "2"))
    return made


def world() -> Script:
    """A worker is right with probability 0.9 if it has what its question needs, else with 0.2."""

    def text(asked: str, seed: int) -> str:
        if "You are the thinker" in asked:
            return "a plan"
        if "You are the verifier" in asked:
            return "Hm."
        planned, long = "a plan" in asked, "please please" in asked
        return f"Answer: {2 if random.Random(seed).random() < (0.9 if planned == long else 0.2) else seed % 7 + 3}"

    return Script(text=text)


def accuracies(coordinator: Coordinator, asked: list[Question], seed: int) -> list[float]:
    roles = Roles(coordinator, TURNS, params=SHORT, thinking=SHORT)
    return [score(roles, [question], world(), seed=seed + i) for i, question in enumerate(asked)]


def head(evaluations: int, seed: int) -> Trained:
    asked = questions(12, 1)

    def evaluate(weights: tuple[float, ...], generation: int) -> float:
        roles = Roles(Linear(weights), TURNS, params=SHORT, thinking=SHORT)
        return score(roles, asked, world(), seed=generation, dear=0.02)

    return train(evaluate, Linear.size(), evaluations=evaluations, seed=seed)


def test_a_learned_head_beats_every_fixed_order_and_chance() -> None:
    """n = 120 questions that it was not trained on; 95% intervals of paired differences, questions resampled."""
    trained = head(200, seed=0)
    fresh = questions(120, 2)
    learned = accuracies(Linear(trained.weights), fresh, 1_000)
    assert wilson(int(sum(learned)), len(learned))[0] > 0.75
    dice = random.Random(5)
    chance = Linear(tuple(dice.gauss(0, 0.5) for _ in range(Linear.size())))
    for other in (Fixed(), Fixed(("worker",)), Fixed(("worker", "thinker")), chance):
        gain = paired(learned, accuracies(other, fresh, 1_000))
        assert gain.low > 0.1, (other, gain)


def test_the_same_seed_gives_the_same_head_and_it_is_kept_as_json(tmp_path: Path) -> None:
    one, two, other = head(36, seed=3), head(36, seed=3), head(36, seed=4)
    assert one == two != other
    assert one.evaluations <= 36
    one.save(tmp_path / "head.json")
    assert Trained.load(tmp_path / "head.json") == one
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(CallerError, match="no trained coordinator"):
        Trained.load(tmp_path / "bad.json")


@pytest.mark.parametrize("separable", [True, False])
def test_the_search_climbs_and_keeps_its_budget(separable: bool) -> None:
    calls = 0

    def evaluate(weights: tuple[float, ...], generation: int) -> float:
        nonlocal calls
        calls += 1
        return -sum((w - 1) ** 2 for w in weights)

    trained = train(evaluate, 6, evaluations=400, separable=separable)
    assert calls == trained.evaluations <= 600
    assert trained.scores[-1] > -0.05 > trained.scores[0]
    assert all(abs(w - 1) < 0.2 for w in trained.weights)


def test_a_noisy_score_of_a_head_is_not_its_luckiest_draw() -> None:
    """The mean of the distribution is given, not the best draw: pure luck leaves it near the start."""
    luck = random.Random(1)
    trained = train(lambda weights, generation: luck.random(), 8, evaluations=200, spread=0.1)
    assert all(abs(w) < 1 for w in trained.weights)


@pytest.mark.parametrize(
    "bad",
    [
        {"size": 0},
        {"size": 1},
        {"evaluations": 3},
        {"spread": 0.0},
        {"start": (1.0,)},
        {"seed": -1},
        {"population": 1},
        {"spread": float("inf")},
        {"start": (0, 0, 0, float("nan"))},
    ],
)
def test_bad_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(CallerError, match="train"):
        train(lambda weights, generation: 0.0, **{"size": 4, **bad})  # type: ignore[arg-type]


def test_scores_are_finite_and_a_refused_task_is_no_wrong_answer() -> None:
    with pytest.raises(CallerError, match="finite scores"):
        train(lambda weights, generation: float("nan"), 4)
    with pytest.raises(CallerError, match="react needs tools"):
        score(React(), questions(2, 0), world())


# -- the gate of experts, evolved on a bank ---------------------------------------------------------------------------


def _rows(n: int, told: bool, seed: int = 0) -> Rows:
    """Two models at the same price. Where the question tells, each is right on 9 of 10 questions of its kind, else both
    are right on 6 of 10, whatever is asked."""
    dice = random.Random(seed)
    tasks, success = [], []
    for i in range(n):
        sums = i % 2 == 0
        asked = (
            f"{i} + {i} * {i} = {i} - 1" if sums else f"Which animal is the {chr(97 + i % 26)} in the tale of the fox?"
        )
        tasks.append(Task.of(asked, "text", label=f"q{i}"))
        good = (0.9, 0.3) if sums else (0.3, 0.9)
        success.append(tuple(float(dice.random() < (p if told else 0.6)) for p in good))
    return Rows(tuple(tasks), tuple(success), ((1e-6, 1e-6),) * n, tuple(i % 5 for i in range(n)))


def test_an_evolved_gate_beats_the_best_single_model_where_the_question_tells() -> None:
    """n = 200, cross-fitted over five folds; 95% paired intervals."""
    judged = judge_gate(_rows(200, True), ("one", "two"), 1e-3, evaluations=250)
    assert judged.beats and judged.gain.low > 0.1 and judged.over_random.low > 0.1
    assert min(judged.loads.values()) > 0.3


def test_it_claims_nothing_where_there_is_nothing_to_learn() -> None:
    judged = judge_gate(_rows(200, False), ("one", "two"), 1e-3, evaluations=250)
    assert not judged.beats and judged.to_dict()["beats"] is False


def test_an_evolved_gate_is_the_same_for_the_same_seed_and_a_policy_asks_by_it() -> None:
    rows = _rows(60, True)
    one, two = (evolve_gate(rows, 1e-3, evaluations=120, seed=3) for _ in range(2))
    assert one == two
    policy = gate_policy(one, ("one", "two"), 1e-3, {"bank": "b"})
    made = strategy_of(policy.strategy)
    assert isinstance(made, Experts) and made.gate == one.gate
    assert models_of(made) == ("one", "two")


def test_a_gate_asks_at_the_temperature_that_was_recorded() -> None:
    evolved = evolve_gate(_rows(60, True), 1e-3, evaluations=120, seed=3)
    arms = {"one": "direct@0.7", "two": "baseline"}
    made = strategy_of(gate_policy(evolved, ("one", "two"), 1e-3, {}, arms).strategy)
    assert isinstance(made, Experts)
    shots = [arm for arm in made.arms if isinstance(arm, SingleShot)]
    assert [(shot.model, shot.params.temperature) for shot in shots] == [("one", 0.7), ("two", 0.0)]


def test_a_gate_wants_questions_folds_prices_and_a_worth() -> None:
    rows = _rows(60, True)
    with pytest.raises(CallerError, match="worth"):
        evolve_gate(rows, 0.0)
    with pytest.raises(CallerError, match="30 questions"):
        evolve_gate(_rows(10, True), 1.0)
    with pytest.raises(CallerError, match="one fold"):
        judge_gate(replace(rows, folds=(0,) * 60), ("one", "two"), 1.0)
    with pytest.raises(UnpricedModel):
        evolve_gate(replace(rows, dollars=((float("nan"), 0.0),) * 60), 1.0)


def test_the_command_writes_the_single_model_where_the_gate_is_no_better(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from satisfice.budgets.policy import Policy
    from satisfice.cli.coordinating import train_coordinator

    dice = random.Random(1)
    asked = {f"q{i}": BankQuestion(f"q{i}", "d", f"Question {i}?", "1", "number", (), i % 5) for i in range(60)}
    draws = {}
    for name in asked:
        for model, p in (("good", 0.9), ("bad", 0.1)):
            right = dice.random() < p
            row = (Draw(0, "1" if right else "2", "1" if right else "2", right, 5, 5, 1_000),)
            draws[name, model, "direct@0.5"] = row
            draws[name, model, "chain_of_thought@0.5"] = row  # another prompt than a live run would ask by
    Bank(asked, draws).save(tmp_path / "bank")
    call = ["--bank", str(tmp_path / "bank"), "--worth", "0.01", "--evaluations", "60"]
    out = tmp_path / "policy.json"
    said = CliRunner().invoke(train_coordinator, [*call, "--out", str(out)], catch_exceptions=False)
    assert "it cannot be told" in said.stdout
    assert Policy.load(out).strategy == 'single_shot:model=good,params={"temperature":0.5}'
    assert "good, chain_of_thought@0.5" in said.stdout
    assert Policy.load(out).provenance["draws"] == 120
    CliRunner().invoke(train_coordinator, [*call, "--anyway", "--json", "--out", str(out)], catch_exceptions=False)
    assert isinstance(strategy_of(Policy.load(out).strategy), Experts)
