"""The winner of many, the value of a check, drift: against simulated truth."""

from __future__ import annotations

from math import fsum, log, nan
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from satisfice.budgets.calibrators import Drift, Identity, ScoreModel, Selected, logit, sigmoid
from satisfice.core.errors import CallerError
from satisfice.verifiers.calibration import fit_calibrator, fit_drift, fit_selected, score_model

from .test_calibration import loss, world

Array = NDArray[Any]


def winners(scores: Array, labels: Array, n: int, draws: int) -> tuple[Array, Array]:
    """The best-scored of the first n draws of each question: (scores, labels)."""
    table, right = scores.reshape(-1, draws)[:, :n], labels.reshape(-1, draws)[:, :n]
    best = table.argmax(axis=1)[:, None]
    return np.take_along_axis(table, best, 1)[:, 0], np.take_along_axis(right, best, 1)[:, 0]


def test_the_winner_of_many_is_no_longer_overrated() -> None:
    scores, labels, groups = world(400, 16)
    calibrated = fit_calibrator(scores, labels, groups).calibrator
    fitted = fit_selected(scores, labels, groups, calibrated)
    assert fitted.form != "ignored"
    assert fitted.gain.low > 0
    fresh = world(1500, 16, seed=1)
    for n in (1, 2, 4, 8, 16):
        won, right = winners(fresh[0], fresh[1], n, 16)
        p = np.array([calibrated(s) for s in won])
        now = np.array([fitted.model(x, n) for x in p])
        assert abs(now.mean() - right.mean()) < 0.04  # 400 questions know a rate to 0.02
        assert loss(now, right) < loss(p, right) + 0.002
        if n == 16:
            assert p.mean() - right.mean() > 0.1
            assert loss(now, right) < loss(p, right) - 0.05


def test_sizes_between_and_beyond_those_that_were_fitted() -> None:
    scores, labels, groups = world(400, 16)
    model = fit_selected(scores, labels, groups, sizes=(1, 4, 16)).model
    fresh = world(1500, 32, seed=2)
    for n in (8, 32):
        won, right = winners(fresh[0], fresh[1], n, 32)
        now = np.mean([model(s, n) for s in won])
        assert abs(now - right.mean()) < 0.06
        assert won.mean() - right.mean() > 0.08


def test_a_winner_by_hand() -> None:
    model = Selected(rows=((1, 1.0, 0.0), (4, 2.0, -1.0)), tail=0.5)
    assert [logit(model(0.5, n)) for n in (1, 2, 4, 8, 16)] == pytest.approx(
        [0, -0.5, -1, -1 - 0.5 * log(2), -1 - 0.5 * log(4)]
    )
    assert logit(model(sigmoid(3.0), 4)) == pytest.approx(3.0)  # the line of 4 lies above, and rivals never help


def test_draws_that_share_nothing_need_no_correction() -> None:
    """Where draws are independent, a winner is as good as its own p says, however many it beat."""
    dice = np.random.default_rng(0)
    scores = dice.random(400 * 8)
    fitted = fit_selected(scores, dice.random(len(scores)) < scores, np.repeat(np.arange(400), 8))
    assert fitted.form == "ignored"
    assert fitted.model == Selected()
    assert fitted.model(0.9, 8) == pytest.approx(0.9)


def test_the_claimed_gap_is_reported() -> None:
    gaps = fit_selected(*world(300, 8)).gaps
    assert [n for n, *_ in gaps] == [1, 2, 4, 8]
    _, claimed, now, true = gaps[-1]
    assert claimed - true > 0.06
    assert abs(now - true) < 0.01


def test_too_little_to_learn_of_winners() -> None:
    scores, labels, groups = world(200, 1)
    for fitted in (
        fit_selected(scores, labels, groups),
        fit_selected([], [], []),
        fit_selected(*world(20, 8)),
        fit_selected(scores, np.ones(200), np.arange(200) // 4),
        fit_selected([nan] * 4, [1, 0, 1, 0], [1, 1, 2, 2]),
    ):
        assert fitted.model == Selected()
        assert "n is ignored" in fitted.notes[-1]
    with pytest.raises(CallerError):
        fit_selected([0.1], [1, 0], [1, 2])


# -- what a check will say --------------------------------------------------------------------------------------------


def test_the_score_model_is_consistent() -> None:
    scores, labels, groups = world(200, 6)
    model = score_model(scores, labels, groups)
    assert 8 <= len(model.levels) <= 16
    assert model.base_rate == fsum(right for _, right, _ in model.levels)
    assert model.base_rate == pytest.approx(labels.mean(), abs=0.01)
    assert fsum(right + wrong for _, right, wrong in model.levels) == pytest.approx(1)
    assert all(p == right / (right + wrong) for p, right, wrong in model.levels)
    assert ScoreModel.model_validate_json(model.model_dump_json()) == model
    for prior in (0.05, model.base_rate, 0.9):
        shown = model.checked(prior)
        assert fsum(chance for chance, _ in shown) == pytest.approx(1)
        assert fsum(chance * p for chance, p in shown) == pytest.approx(prior)
    assert [p for _, p in model.checked(model.base_rate)] == pytest.approx([p for p, _, _ in model.levels])


def test_the_score_model_knows_how_well_a_check_separates() -> None:
    """A check that tells nothing shows the prior again; a good one nearly the truth."""
    labels = np.random.default_rng(0).random(2000) < 0.4
    assert len(score_model(np.full(2000, 0.4), labels).levels) == 1
    sure = score_model(np.where(labels, 0.99, 0.01), labels)
    assert [p for p, _, _ in sure.levels] == pytest.approx([0, 1], abs=0.01)
    assert sure.level(0.9) == 1
    assert sure.level(0.2) == 0
    assert score_model([], []).levels == ((0.5, 0.5, 0.5),)


def test_a_score_model_that_does_not_add_up_is_refused() -> None:
    for levels, base in ((((0.5, 0.5, 0.4),), 0.5), (((0.6, 0.5, 0.5),), 0.5), (((0.5, 0.5, 0.5),), 0.4)):
        with pytest.raises(ValidationError):
            ScoreModel(levels=levels, base_rate=base)


# -- drift ------------------------------------------------------------------------------------------------------------


def stream(seed: int, questions: int, draws: int, shift: float = 0.0) -> list[float]:
    """Scores whose questions differ in level."""
    dice = np.random.default_rng(seed)
    level = dice.normal(shift, 1, (questions, 1))
    z = level + dice.normal(0, 1, (questions, draws))
    scores: list[float] = (1 / (1 + np.exp(-z))).ravel().tolist()
    return scores


def reference(seed: int, questions: int, draws: int) -> Drift:
    return fit_drift(stream(seed, questions, draws), groups=np.repeat(np.arange(questions), draws))


@pytest.mark.parametrize("draws", [1, 8])
def test_no_false_alarm_over_long_streams(draws: int) -> None:
    """At most one of 30 streams of 5,000 scores, looked at again and again; measured: about 1 in 100 of 10,000."""
    alarms = 0
    for seed in range(30):
        watch = reference(seed, 400, draws).watch()
        raised = False
        for i, score in enumerate(stream(seed + 1000, 5000 // draws, draws)):
            watch.feed(score)
            raised |= i % 10 == 0 and watch.widen > 0
        alarms += raised
    assert alarms <= 1


@pytest.mark.parametrize("draws", [1, 8])
def test_a_shifted_stream_is_noticed_within_three_half_lives(draws: int) -> None:
    for seed in range(20):
        drift = reference(seed, 400, draws)
        watch = drift.watch()
        for score in stream(seed + 1000, 1600 // draws, draws):
            watch.feed(score)
        assert watch.widen == 0.0
        assert watch.note == ""
        assert watch(0.9) == 0.9
        for score in stream(seed + 2000, int(3 * drift.half_life) // draws, draws, shift=1.0):
            watch.feed(score)
        assert watch.widen > 0.2
        assert drift.base_rate < watch(0.9) < 0.9
        assert "drift" in watch.note


def test_total_drift_leaves_the_base_rate_and_is_forgotten() -> None:
    scores, labels, groups = world(300, 4)
    drift = fit_drift(scores, labels, groups)
    watch = drift.watch()
    for _ in range(int(6 * drift.half_life)):
        watch.feed(0.5)
    assert watch.widen == 1.0
    assert watch(0.99) == drift.base_rate == pytest.approx(labels.mean(), abs=0.01)
    for score in world(2500, 4, seed=5)[0].tolist():
        watch.feed(score)
    assert watch.widen == 0.0


def test_weights_are_rescaled_unnoticed() -> None:
    """After 50,000 scores weights have grown past what is kept; what was long ago must not matter."""
    drift = fit_drift(stream(0, 400, 1))
    old, scores = drift.watch(), stream(1, 52_000, 1, shift=1.0)
    for score in scores[:49_000]:
        old.feed(score)
    young = drift.watch()
    for score in scores[45_000:49_000]:
        young.feed(score)
    for score in scores[49_000:]:
        old.feed(score)
        young.feed(score)
        if young.seen % 100 == 0:
            assert old.widen == pytest.approx(young.widen, abs=1e-6)
    assert young.widen > 0


def test_few_scores_and_unknown_ones_raise_no_alarm() -> None:
    watch = reference(0, 300, 1).watch()
    for score in (nan, None, *[0.999] * 12):
        watch.feed(score)
    assert watch.seen == 12
    assert watch.widen == 0.0


@pytest.mark.parametrize("scores", [[], [0.4], [0.4] * 100, [0.0, 1.0] * 50, [0.1, 0.2, 0.3] * 30])
def test_references_with_few_values(scores: list[float]) -> None:
    drift = fit_drift(scores)
    assert Drift.model_validate_json(drift.model_dump_json()) == drift
    watch = drift.watch()
    for i in range(600):
        watch.feed(scores[i % len(scores)] if scores else 0.3)
    assert watch.widen == 0.0
    for _ in range(600):
        watch.feed(0.9)
    assert (watch.widen > 0.5) == (len(set(scores)) >= 1)


def test_a_watch_loses_no_score_between_threads() -> None:
    watch = reference(0, 300, 1).watch()
    threads = [Thread(target=lambda: [watch.feed(0.5) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.seen == 8000


def test_the_base_calibrator_of_a_winner_is_its_own_p() -> None:
    assert Selected()(Identity()(0.3), 16) == pytest.approx(0.3)
