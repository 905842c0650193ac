"""Routing's metrics: against sums done by hand, their invariants, intervals, and thresholds of other folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice import CallerError
from satisfice.experiments.routing import (
    Pair,
    aiq,
    apgr,
    compare,
    cpt,
    cross_means,
    curve,
    kept,
    neighbours,
    pgr_at,
    sent,
    sent_for,
)

# Four questions: the strong arm gains on two, loses on none; the last is dear.
HAND = Pair([0, 1, 0, 0], [1, 1, 0, 1], [1, 1, 1, 1], [3, 3, 3, 9])


def random_pair(count: int = 300, seed: int = 0) -> tuple[Pair, Any]:
    dice = np.random.default_rng(seed)
    ease = dice.normal(size=count)
    weak = dice.random(count) < 1 / (1 + np.exp(-ease))
    strong = dice.random(count) < 1 / (1 + np.exp(-ease - 2))
    return Pair(weak, strong, np.full(count, 0.1), dice.uniform(0.5, 2.0, count)), -ease


def test_a_curve_is_what_a_hand_counts() -> None:
    scores = [4, 3, 2, 1]  # sent in order
    found = curve(HAND, scores, points=5)
    assert found.shares == (0, 0.25, 0.5, 0.75, 1)
    assert found.pgr == pytest.approx((0, 0.5, 0.5, 0.5, 1))
    assert apgr(HAND, scores) == pytest.approx((0.25 + 0.5 + 0.5 + 0.75) / 4)
    assert pgr_at(HAND, scores, 0.125) == pytest.approx(0.25)
    assert cpt(HAND, scores, 0.5) == pytest.approx(0.25)
    assert cpt(HAND, scores, 0.75) == pytest.approx(0.875)


def test_dollars_are_what_strong_calls_cost_beyond_weak_ones() -> None:
    # extra dollars 2, 2, 2, 8 of 14: the last half of the gain costs 8/14
    found = curve(HAND, [4, 3, 2, 1], "usd", points=15)
    assert found.pgr[2] == pytest.approx(0.5)
    assert found.pgr[6] == pytest.approx(0.5)
    assert found.pgr[10] == pytest.approx(0.75)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_invariants(rows: list[tuple[bool, bool, int]]) -> None:
    weak, strong, scores = (np.asarray(column, dtype=float) for column in zip(*rows, strict=True))
    if (strong - weak).sum() <= 0:
        with pytest.raises(CallerError):
            Pair(weak, strong, weak, weak + 1)
        return
    pair = Pair(weak, strong, np.ones(len(weak)), np.full(len(weak), 3.0))
    assert apgr(pair, np.zeros(len(weak))) == pytest.approx(0.5)  # all tie: random
    assert apgr(pair, scores) + apgr(pair, -scores) == pytest.approx(1)
    assert apgr(pair, pair.gap) >= apgr(pair, scores) - 1e-9  # nothing beats the oracle
    assert apgr(pair, scores) == pytest.approx(apgr(pair, scores * 7 + 1))
    assert apgr(pair, scores) == pytest.approx(apgr(pair, scores, "usd"))  # prices are the same everywhere


def test_intervals_are_paired_and_hold_their_estimates() -> None:
    pair, hard = random_pair()
    dice = np.random.default_rng(1)
    routers = {"good": hard, "same": hard * 2, "noise": dice.random(300)}
    good, same, noise = compare(pair, routers, resamples=300)
    assert good.apgr.low < good.apgr.estimate < good.apgr.high
    assert good.apgr.estimate == pytest.approx(apgr(pair, hard))
    assert good.pgr.estimate == pytest.approx(pgr_at(pair, hard, 0.4))
    zero, _ = same.over["good"]
    assert zero.low == zero.high == zero.estimate == 0  # the same resamples for both
    lead, _ = good.over["noise"]
    assert lead.low > 0
    assert noise.over["good"][0].estimate == pytest.approx(-lead.estimate)


def test_clusters_are_drawn_whole() -> None:
    pair, hard = random_pair(100)
    twice = {name: np.tile(getattr(pair, name), 4) for name in ("weak", "strong", "weak_usd", "strong_usd")}
    alone = Pair(**twice)
    together = Pair(**twice, clusters=[f"passage {i}" for i in range(100)] * 4)
    wide, narrow = (compare(p, {"r": np.tile(hard, 4)}, resamples=400)[0].apgr for p in (together, alone))
    assert wide.estimate == narrow.estimate
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_thresholds_see_only_other_folds() -> None:
    pair, hard = random_pair(500)
    folds = [i % 5 for i in range(500)]
    asked = sent(hard, folds, 0.4)
    assert asked.mean() == pytest.approx(0.4, abs=0.06)
    moved = np.where(np.asarray(folds) == 0, hard + 100, hard)
    assert sent(moved, folds, 0.4)[np.asarray(folds) == 0].all()  # a fold's own scores do not move its threshold
    figures = kept(pair, sent_for(pair, hard, folds, 0.8), resamples=200)
    assert 0.6 < figures.pgr.estimate < 1.0
    assert figures.pgr.low < figures.pgr.estimate < figures.pgr.high


def test_a_gain_that_is_never_reached_asks_always() -> None:
    pair, hard = random_pair(200)
    assert sent_for(pair, hard, [i % 2 for i in range(200)], 50.0).all()


def test_what_is_kept_counts_checks() -> None:
    always = kept(HAND, [1, 1, 1, 1], resamples=50)
    assert (always.pgr.estimate, always.calls.estimate, always.usd.estimate) == (1, 1, 1)
    never = kept(HAND, [0, 0, 0, 0], resamples=50)
    assert (never.pgr.estimate, never.calls.estimate) == (0, 0)
    assert never.usd.estimate == pytest.approx(4 / 18)
    cascade = kept(HAND, [1, 0, 0, 1], right=[1, 1, 0, 1], usd=[5, 2, 2, 11], resamples=50)
    assert cascade.pgr.estimate == 1
    assert cascade.calls.estimate == 0.5
    assert cascade.usd.estimate == pytest.approx(20 / 18)
    assert cascade.accuracy.estimate == 0.75


def test_means_by_topic_come_from_other_folds() -> None:
    found = cross_means([1, 0, 0, 0], ["a", "a", "b", "b"], [0, 1, 0, 1], shrink=0)
    assert found.tolist() == [0, 1, 0, 0]
    drawn = cross_means([1, 0, 0, 0], ["a", "a", "b", "b"], [0, 1, 0, 1], shrink=1)
    assert drawn[1] == pytest.approx((1 + 0.5) / 2)


def test_neighbours_come_from_other_folds() -> None:
    table = [[1, 0], [1, 0.1], [0, 1], [0.1, 1]]
    assert neighbours(table, [1, 2, 3, 4], [0, 1, 0, 1], k=1).tolist() == [2, 1, 4, 3]


def test_aiq_is_the_area_under_the_envelope() -> None:
    assert aiq([(0, 0.5), (1, 1.0)], 0, 1) == pytest.approx(0.75)
    assert aiq([(0, 0.5), (0.5, 0.6), (1, 1.0)], 0, 1) == pytest.approx(0.75)  # below the envelope
    assert aiq([(0, 0.5), (0.5, 0.9), (1, 0.9), (2, 0.1)], 0, 1) == pytest.approx(0.8)
    assert aiq([(0.5, 1.0)], 0, 1) == pytest.approx(0.5)  # nothing to buy at less
    with pytest.raises(CallerError):
        aiq([], 0, 1)
    with pytest.raises(CallerError):
        aiq([(0, 1)], 1, 1)


@pytest.mark.parametrize(
    "fields",
    [
        ([], [], [], []),
        ([1], [0], [1], [1]),
        ([0, 0], [1, 1], [1], [1, 1]),
        ([0, float("nan")], [1, 1], [1, 1], [1, 1]),
        ([0, 0], [1, 1], [1, 1], [1, 1], ["one"]),
    ],
)
def test_pairs_that_make_no_sense_are_refused(fields: Any) -> None:
    with pytest.raises(CallerError):
        Pair(*fields)


@pytest.mark.parametrize("scores", [[1, 2], [1, 2, 3, float("nan")], [[1, 2, 3, 4]]])
def test_scores_that_do_not_fit_are_refused(scores: Any) -> None:
    with pytest.raises(CallerError):
        apgr(HAND, scores)
