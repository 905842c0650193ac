"""Calibration on simulated scores whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf, log, nan
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from satisfice.budgets.calibrators import Calibration, Identity, Platt, logit, sigmoid
from satisfice.core.errors import CallerError
from satisfice.verifiers.calibration import (
    auc,
    brier,
    expected_calibration_error,
    fit_calibrator,
    log_loss,
    rates,
    reliability,
    wilson,
)
from satisfice.verifiers.calibration.data import folds_of, group_codes
from satisfice.verifiers.calibration.families import FAMILIES, apply

Array = NDArray[Any]
NOISE = 1.4


def world(questions: int, draws: int, seed: int = 0, heat: float = 1.0) -> tuple[Array, Array, Array]:
    """(scores, labels, questions): each question has its own success rate; at heat 1 a score is exactly P(right)
    given the score alone (half of all draws are right), at other heats its log-odds are that many times too large."""
    dice = np.random.default_rng(seed)
    theta = dice.beta(0.6, 0.6, questions)
    right = dice.random((questions, draws)) < theta[:, None]
    z = np.where(right, 1.0, -1.0) + dice.normal(0, NOISE, right.shape)
    scores = 1 / (1 + np.exp(-heat * 2 * z / NOISE**2))
    return scores.ravel(), right.ravel(), np.repeat(np.arange(questions), draws)


def loss(p: Array, labels: Array) -> float:
    return float(-np.log(np.where(labels, p, 1 - p)).mean())


@pytest.mark.parametrize("heat", [0.3, 3.0])
def test_miscalibrated_scores_are_put_right_on_new_questions(heat: float) -> None:
    fitted = fit_calibrator(*world(300, 6, heat=heat))
    scores, labels, groups = world(700, 6, seed=1, heat=heat)
    truth = apply(Identity(), world(700, 6, seed=1)[0])
    raw, now, best = (loss(p, labels) for p in (apply(Identity(), scores), apply(fitted.calibrator, scores), truth))
    assert now < raw - 0.05
    assert now == pytest.approx(best, abs=0.01)
    assert fitted.gain.low > 0.04
    assert fitted.losses[fitted.family] == pytest.approx(now, abs=0.03)
    before, after = (expected_calibration_error(p, labels, groups) for p in (scores, apply(fitted.calibrator, scores)))
    assert after.estimate < 0.05 < before.estimate


def test_scores_that_are_right_already_are_left_alone() -> None:
    for seed in range(3):
        fitted = fit_calibrator(*world(300, 5, seed=seed))
        assert fitted.family == "identity"
        assert fitted.gain.estimate == 0.0


def test_a_score_that_tells_nothing_becomes_the_base_rate() -> None:
    dice = np.random.default_rng(0)
    labels = dice.random(800) < 0.3
    fitted = fit_calibrator(dice.random(800), labels, np.arange(800) // 4)
    assert fitted.family == "constant"
    assert fitted.calibrator(0.99) == pytest.approx(labels.mean(), abs=0.01)
    assert fitted.gain.low > 0.2


def test_each_family_recovers_its_own_truth() -> None:
    dice = np.random.default_rng(3)
    s = dice.random(6000)
    truths: dict[str, Callable[[float], float]] = {
        "platt": lambda x: sigmoid(5 * x - 3),
        "beta": lambda x: sigmoid(2 * log(x) - 0.4 * log(1 - x) + 1),
        "isotonic": lambda x: 0.1 if x < 0.4 else 0.5 if x < 0.7 else 0.9,
    }
    for family, truth in truths.items():
        p = np.array([truth(x) for x in s])
        labels = dice.random(len(s)) < p
        fitted = fit_calibrator(s, labels)
        assert fitted.family == family
        found = apply(fitted.calibrator, s)
        assert np.abs(found - p).mean() < 0.04
        assert np.all(np.diff(found[np.argsort(s)]) >= 0)


def test_ten_out_of_ten_is_not_certainty() -> None:
    """Each block of the isotonic one is drawn toward the base rate by two items."""
    scores, labels = [0.2] * 10 + [0.8] * 10, [0] * 10 + [1] * 10
    calibrator = fit_calibrator(scores, labels, families=("isotonic",)).calibrator
    assert [calibrator(s) for s in (0.0, 0.2, 0.5, 0.8, 1.0)] == pytest.approx([1 / 12, 1 / 12, 0.5, 11 / 12, 11 / 12])


def test_a_group_is_never_split_between_fitting_and_measuring() -> None:
    """A score that says no more than which question it is must not look as if it told right from wrong."""
    dice = np.random.default_rng(0)
    questions, draws = 60, 20
    groups = np.repeat(np.arange(questions), draws)
    labels = np.repeat(dice.random(questions) < 0.5, draws)
    scores = np.repeat(dice.random(questions), draws)
    assert fit_calibrator(scores, labels, groups).family == "constant"
    split, whole = (fit_calibrator(scores, labels, by, families=("isotonic",)).losses for by in (None, groups))
    assert split["isotonic"] < whole["isotonic"] - 0.03
    for seed in range(5):
        fold = folds_of(group_codes([f"q{g}" for g in groups], len(groups)), seed)
        assert len(set(zip(groups.tolist(), fold.tolist(), strict=True))) == questions
        assert sorted(set(fold.tolist())) == [0, 1, 2, 3, 4]


def test_a_kind_has_its_own_calibrator_only_where_that_is_better() -> None:
    dice = np.random.default_rng(4)
    scores, labels, groups = world(240, 5)
    kinds = np.where(groups < 80, "same", np.where(groups < 160, "also", "reverse")).astype(object)
    odd = kinds == "reverse"
    labels = np.where(odd, dice.random(len(labels)) < 0.1, labels)
    kinds[groups >= 235] = "rare"
    fitted = fit_calibrator(scores, labels, groups, kinds)
    assert "reverse" in fitted.calibration.kinds
    assert fitted.calibration(0.9, "reverse") < 0.2
    assert fitted.calibration(0.9, "never seen") == fitted.calibrator(0.9)
    assert "rare" not in fitted.calibration.kinds
    assert any(note.startswith("rare: 5 groups") for note in fitted.notes)


def test_kinds_that_are_alike_share_the_pooled_calibrator() -> None:
    own = 0
    for seed in range(8):
        scores, labels, groups = world(120, 4, seed=seed)
        fitted = fit_calibrator(scores, labels, groups, np.where(groups % 2, "a", "b"))
        own += len(fitted.calibration.kinds)
        assert len(fitted.calibration.kinds) + len(fitted.notes) == 2
    assert own <= 2  # of 16: chance alone beats a standard error now and then


def test_what_cannot_be_learnt_is_the_base_rate_with_a_note() -> None:
    cases: list[tuple[Any, Any, str, float]] = [
        ([], [], "no labelled scores", 0.5),
        ([0.7], [1], "only 1 groups", 2 / 3),
        ([0.5] * 40, [1, 0] * 20, "all scores are 0.5", 0.5),
        (np.linspace(0, 1, 40), np.ones(40), "all labels are right", 41 / 42),
        (np.linspace(0, 1, 40), np.zeros(40), "all labels are wrong", 1 / 42),
        ([nan] * 20, [1, 0] * 10, "no labelled scores", 0.5),
    ]
    for scores, labels, why, rate in cases:
        fitted = fit_calibrator(scores, labels)
        assert fitted.family == "constant"
        assert why in fitted.notes[-1]
        assert [fitted.calibrator(s) for s in (0.0, 0.5, 1.0, nan)] == [pytest.approx(rate)] * 4


def test_items_without_score_or_label_are_left_out_and_scores_outside_clipped() -> None:
    scores, labels, groups = world(100, 4)
    dirty = [*scores.tolist(), nan, None, 0.5, 3.0, -inf]
    fitted = fit_calibrator(dirty, [*labels.tolist(), True, False, None, True, False], [*groups.tolist(), *"abcde"])
    assert fitted.notes == (
        "3 of 405 items have no score or no label: left out",
        "2 scores lie outside [0, 1]: clipped",
    )
    assert len(fitted.held_out) == 405
    assert [p != p for p in fitted.held_out[400:]] == [True, True, True, False, False]
    assert all(0 < p < 1 for p in fitted.held_out[:400])


def test_shapes_that_do_not_match_are_the_callers_fault() -> None:
    for bad in (
        lambda: fit_calibrator([0.1, 0.2], [1]),
        lambda: fit_calibrator([0.1, 0.2], [1, 0], ["a"]),
        lambda: fit_calibrator([0.1, 0.2], [1, 0], None, ["k"]),
        lambda: fit_calibrator([[0.1], [0.2]], [1, 0]),
        lambda: fit_calibrator(["good", "bad"], [1, 0]),
        lambda: fit_calibrator([0.1], [1], families=("magic",)),
        lambda: log_loss([0.1, 0.2], [1]),
    ):
        with pytest.raises(CallerError):
            bad()


def test_fitting_again_says_the_same() -> None:
    data = world(80, 4, heat=2.0)
    assert repr(fit_calibrator(*data)) == repr(fit_calibrator(*data))


def test_a_calibration_survives_json() -> None:
    scores, labels, groups = world(120, 5, heat=3.0)
    for family in FAMILIES:
        made = fit_calibrator(scores, labels, groups, families=(family,)).calibration
        again = Calibration.model_validate_json(made.model_dump_json())
        assert again == made
        assert [again(s) for s in scores[:50]] == [made(s) for s in scores[:50]]


# -- measures ---------------------------------------------------------------------------------------------------------


def test_measures_by_hand() -> None:
    p, labels = [0.9, 0.6, 0.2], [1, 0, 0]
    assert log_loss(p, labels).estimate == pytest.approx(-(log(0.9) + log(0.4) + log(0.8)) / 3)
    assert brier(p, labels).estimate == pytest.approx((0.01 + 0.36 + 0.04) / 3)
    assert auc([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0]).estimate == pytest.approx(3.5 / 4)
    assert auc([0.9, 0.5], [1, 1]).estimate != auc([0.9, 0.5], [1, 1]).estimate  # NaN: nothing to compare
    p, labels = [0.1] * 10 + [0.8] * 10, [0] * 8 + [1] * 2 + [1] * 5 + [0] * 5
    assert expected_calibration_error(p, labels, bins=2).estimate == pytest.approx((0.1 + 0.3) / 2)
    low, high = reliability(p, labels, bins=2)
    assert (low.score, low.rate, low.count) == (pytest.approx(0.1), 0.2, 10)
    assert (high.score, high.rate, high.count) == (pytest.approx(0.8), 0.5, 10)
    assert (high.low, high.high) == pytest.approx(wilson(5, 10), abs=0.03)


def test_bins_hold_equally_many_and_ties_stay_together() -> None:
    scores, labels, groups = world(200, 5)
    rows = reliability(scores, labels, groups, bins=10)
    assert [row.count for row in rows] == [100] * 10
    assert all(a.score < b.score for a, b in pairwise(rows))
    tied = reliability([0.5] * 50 + [1.0] * 3, [1] * 53, bins=10)
    assert [row.count for row in tied] == [50, 3]
    assert reliability([], []) == ()


def test_intervals_cover_and_know_of_groups() -> None:
    """The 95% interval of the log loss holds the true one in nearly all worlds, and so does that of a rate; taking the
    draws of a question for independent would make it far too narrow."""
    truth = log_loss(*world(20000, 2, seed=99), resamples=1).estimate
    hit = missed = 0
    for seed in range(40):
        s, y, g = world(80, 12, seed=seed)
        inside = log_loss(s, y, g, resamples=300)
        hit += inside.low <= truth <= inside.high
        plain = rates(s, y, 0.5)
        grouped = rates(s, y, 0.5, g)
        assert plain.tpr == grouped.tpr
        dice = np.random.default_rng(seed)
        same = np.repeat(dice.random(80) < 0.5, 12)  # draws of a question pass or fail together
        wide, narrow = (rates(same.astype(float), np.ones(960), 0.5, by) for by in (g, None))
        missed += not wide.tpr_interval[0] <= 0.5 <= wide.tpr_interval[1]
        assert wide.tpr_interval[1] - wide.tpr_interval[0] > 2.5 * (narrow.tpr_interval[1] - narrow.tpr_interval[0])
    assert hit >= 35
    assert missed <= 5


def test_rates_by_hand() -> None:
    found = rates([0.9, 0.8, 0.3, 0.6, 0.2, 0.1], [1, 1, 1, 0, 0, 0], 0.6)
    assert (found.tpr, found.fpr, found.right, found.wrong, found.n) == (2 / 3, 1 / 3, 3, 3, 6)
    assert found.tpr_interval == pytest.approx(wilson(2, 3), abs=0.12)
    perfect = rates([1.0] * 30, [1] * 30, 0.5, [i // 10 for i in range(30)])
    assert perfect.tpr == 1.0
    assert perfect.tpr_interval[0] == pytest.approx(wilson(3, 3)[0])  # three questions, not thirty draws
    assert (perfect.fpr, perfect.fpr_interval) == (0.0, (0.0, 1.0))


def test_the_error_of_calibration_is_not_overstated_where_there_is_none() -> None:
    low = [expected_calibration_error(*world(150, 4, seed=seed), resamples=300).low for seed in range(10)]
    assert np.mean(np.array(low) < 0.02) >= 0.9
    area = auc(*world(150, 4), resamples=300)
    assert 0.75 < area.low < area.estimate < area.high < 0.9
    bad = expected_calibration_error(*world(150, 4, heat=4.0), resamples=300)
    assert 0.1 < bad.low <= bad.estimate <= bad.high


def test_log_odds_and_back() -> None:
    for p in (1e-3, 0.2, 0.5, 0.999):
        assert sigmoid(logit(p)) == pytest.approx(p)
    assert 0 < sigmoid(-1e6) < sigmoid(1e6) < 1
    assert Platt(slope=1, offset=0)(inf) == Platt(slope=1, offset=0)(1.0)
