"""The gate: it learns which arm is good at what, and the losses of imbalance spread the load."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from random import Random

import pytest

from satisfice.core.errors import CallerError, UnknownName, UnpricedModel
from satisfice.core.task import Task
from satisfice.experiments import Bank, Draw, Question
from satisfice.experiments.gating import Rows, cross_fitted, fit_gate, measure_gate, rows_of

SUMS, TALES = "What is {} * {} + {}?", "Tell the story of the king who had {} daughters, {} sons and {} horses"
CODES = "def f(x):\n    return x[{}] + {} - {}"
GOOD = (0.95, 0.4, 0.3), (0.35, 0.9, 0.3), (0.4, 0.35, 0.85)  # of each kind, the arms' chances


def world(count: int = 240, good: tuple[tuple[float, ...], ...] = GOOD, seed: int = 0) -> Rows:
    """Arms that are good at different kinds of questions."""
    dice = Random(seed)
    tasks, success = [], []
    for i in range(count):
        kind = i % len(good)
        tasks.append(Task.of((SUMS, TALES, CODES)[kind].format(*(dice.randrange(100) for _ in range(3)))))
        success.append(tuple(float(dice.random() < p) for p in good[kind]))
    dollars = tuple((1.0, 2.0, 4.0) for _ in tasks)
    return Rows(tuple(tasks), tuple(success), dollars, tuple(i // 3 % 5 for i in range(count)))


def test_it_beats_the_best_single_arm_and_chance_on_questions_it_has_not_seen() -> None:
    gate, new = fit_gate(world()), world(300, seed=1)
    fitted, turns = measure_gate(gate, new), measure_gate(None, new)
    singles = [sum(row[i] for row in new.success) / len(new.success) for i in range(3)]
    assert fitted.accuracy > max(singles) + 0.2
    assert fitted.accuracy > turns.accuracy + 0.2
    assert fitted.accuracy > 0.8


def test_cross_fitted_choices_are_of_the_right_arm() -> None:
    rows = world()
    chosen = cross_fitted(rows)
    assert sum(arm == i % 3 for i, arm in enumerate(chosen)) > 0.9 * len(chosen)


LOPSIDED = (0.9, 0.85, 0.3), (0.6, 0.55, 0.5), (0.8, 0.75, 0.7)  # the first arm is a little better at everything


@pytest.mark.parametrize("loss", ["importance", "switch"])
def test_balance_spreads_the_load(loss: str) -> None:
    rows = world(240, LOPSIDED)
    free = measure_gate(fit_gate(rows), rows)
    spread = measure_gate(fit_gate(rows, balance=1.0, loss=loss), rows)  # type: ignore[arg-type]
    assert sum(free.loads) == pytest.approx(1)
    assert spread.variation < free.variation - 0.3
    assert max(spread.loads) < max(free.loads)


def test_a_price_moves_it_to_cheaper_arms() -> None:
    rows = world()
    assert measure_gate(fit_gate(rows, price=0.3), rows).dollars < measure_gate(fit_gate(rows), rows).dollars - 0.3


def test_it_is_the_same_each_time_and_k_loads_sum_to_k() -> None:
    rows = world(90)
    assert fit_gate(rows) == fit_gate(rows)
    assert sum(measure_gate(fit_gate(rows), rows, 2).loads) == pytest.approx(2)


def test_rows_of_a_bank() -> None:
    questions = {f"q{i}": Question(f"q{i}", "d", f"text {i}", "1", "number", (), i % 2) for i in range(3)}
    draws = {
        ("q0", "a", "x"): (Draw(0, "1", "1", True, nanos=10**9), Draw(1, "2", "2", False, nanos=10**9)),
        ("q0", "b", "x"): (Draw(0, "1", "1", True),),
        ("q1", "a", "x"): (Draw(0, "1", "1", True),),
        ("q1", "b", "x"): (Draw(0, "2", "2", False),),
        ("q2", "a", "x"): (Draw(0, "1", "1", True),),
    }
    rows = rows_of(Bank(questions, draws), ("a", "b"))
    assert (rows.success, rows.folds) == (((0.5, 1.0), (1.0, 0.0)), (0, 1))
    assert rows.dollars[0] == pytest.approx((1.0, nan), nan_ok=True)  # what nobody recorded was not free
    with pytest.raises(UnknownName):
        rows_of(Bank(questions, draws), ("a", "c"))


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(CallerError, match="30 questions"):
        fit_gate(world(12))
    with pytest.raises(CallerError, match="loss"):
        fit_gate(world(60), loss="entropy")  # type: ignore[arg-type]
    with pytest.raises(CallerError, match="0 or more"):
        fit_gate(world(60), balance=-1.0)
    with pytest.raises(CallerError, match="0 or more"):
        fit_gate(world(60), price=nan)
    with pytest.raises(CallerError, match="buckets"):
        fit_gate(world(60), buckets=2.5)  # type: ignore[arg-type]
    unpriced = replace(world(60), dollars=((1.0, nan, 4.0),) * 60)
    assert fit_gate(unpriced) == fit_gate(world(60))
    with pytest.raises(UnpricedModel):
        fit_gate(unpriced, price=0.1)


def test_a_gate_is_measured_on_its_own_arms_only() -> None:
    gate, rows = fit_gate(world(60)), world(60)
    pairs = replace(rows, success=tuple(row[:2] for row in rows.success))
    for other, k in ((pairs, 1), (rows, 0), (rows, 4), (rows.take([]), 1)):
        with pytest.raises(CallerError, match="do not fit"):
            measure_gate(gate, other, k)
