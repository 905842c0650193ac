"""Metrics of spend: against brute force on tiny cases, sums done by hand, and their own invariants."""

from __future__ import annotations

from itertools import combinations, permutations
from math import inf, isnan
from random import Random
from statistics import mean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice import CallerError
from satisfice.experiments import Draw
from satisfice.experiments import at_k as home
from satisfice.experiments.at_k import at_k, maj_at_k, pass_at_k
from satisfice.experiments.metrics import (
    Points,
    aiq,
    envelope,
    frontier,
    gap_closed,
    held_out_aiq,
    held_out_frontier,
    interval,
    matched,
    needed,
)
from satisfice.experiments.routing import aiq as plain_aiq

KEYS = st.sampled_from(["A", "B", "C", None])


def voted(draws: Any) -> bool:
    """The vote of draws in their order, counted plainly."""
    counts: dict[str, int] = {}
    for key, _ in draws:
        if key is not None:
            counts[key] = counts.get(key, 0) + 1
    if not counts:
        return False
    winner = max(counts, key=lambda key: counts[key])  # dicts keep the order in which keys came
    return bool(next(right for key, right in draws if key == winner))


# -- pass@k and maj@k ---------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(KEYS, st.booleans()), min_size=1, max_size=6))
@settings(max_examples=60)
def test_votes_and_passes_are_means_over_every_subset_in_every_order(draws: list[tuple[str | None, bool]]) -> None:
    found = maj_at_k(draws)
    for k in range(1, len(draws) + 1):
        assert found[k - 1] == pytest.approx(mean(voted(some) for some in permutations(draws, k)))
        right = sum(right for _, right in draws)
        assert pass_at_k(len(draws), right, k) == pytest.approx(
            mean(any(r for _, r in some) for some in combinations(draws, k))
        )


def test_votes_of_many_draws_by_orders_agree_with_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = Random(1)
    draws = [(dice.choice(["A", "A", "B", "C", "D", None]), False) for _ in range(20)]
    draws = [(key, key == "A") for key, _ in draws]
    exact = maj_at_k(draws)
    monkeypatch.setattr(home, "EXACT", 10)
    assert np.allclose(exact, maj_at_k(draws), atol=0.04)  # 2,000 orders: 3.5 standard errors


def test_many_draws_stay_exact() -> None:
    found = maj_at_k([("A", True)] * 60 + [("B", False)] * 60)
    assert found == pytest.approx([0.5] * 120)
    assert maj_at_k([("A", True)] * 70 + [("B", False)] * 50)[-1] == 1.0


def test_pass_and_vote_have_one_figure_for_a_single_draw() -> None:
    deals = {f"q{i}": tuple(Draw(j, "x", "x", j < i, nanos=10) for j in range(4 + i)) for i in range(4)}
    one, two, four = at_k(deals, resamples=50)
    share = mean(i / (4 + i) for i in range(4))
    assert (one.k, two.k, four.k, four.questions) == (1, 2, 4, 4)
    assert one.passed.estimate == pytest.approx(share)
    assert one.majority is not None
    assert one.majority.estimate == pytest.approx(share)
    assert one.passed.low <= share <= one.passed.high
    assert four.usd == pytest.approx(4e-8)
    with pytest.raises(CallerError, match="every question has 4 draws"):
        at_k(deals, [5])
    with pytest.raises(CallerError):
        pass_at_k(3, 4, 1)
    unknown = {"q": (Draw(0, None, None, True), Draw(1, None, None, False))}
    assert at_k(unknown)[0].majority is None
    assert at_k(unknown)[0].usd is None


# -- envelopes ----------------------------------------------------------------------------------------------------

PLACES = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=6)


def brute(points: list[tuple[int, int]], at: float) -> float:
    """The best mix of two points (or (0, 0)) that spends no more than `at`, over a fine grid of shares."""
    every = [(0, 0), *points]
    best = 0.0
    for a, b in combinations([*every, every[0]], 2):
        for share in np.linspace(0, 1, 561):  # 8 * 7 * 10 + 1: shares of whole numbers are on it
            if (1 - share) * a[0] + share * b[0] <= at + 1e-9:
                best = max(best, (1 - share) * a[1] + share * b[1])
    return best


@given(PLACES, st.integers(0, 9))
@settings(max_examples=60)
def test_envelopes_are_the_best_mixes(points: list[tuple[int, int]], at: int) -> None:
    x, y = (np.array([column], dtype=float) for column in zip(*points, strict=True))
    height = envelope(y, x, np.array([[float(at)]]))[0, 0]
    assert height == pytest.approx(brute(points, at), abs=0.02)
    cost = needed(y, x, np.array([height]))[0]
    assert cost <= at + 1e-9
    assert envelope(y, x, np.array([[cost]]))[0, 0] == pytest.approx(height)
    assert needed(y, x, np.array([y.max() + 1]))[0] == inf


@given(PLACES)
@settings(max_examples=60)
def test_areas_are_those_of_the_plain_hull_where_the_cheapest_is_not_left_of_the_range(
    points: list[tuple[int, int]],
) -> None:
    names = tuple(map(str, range(len(points))))
    usd, right = (np.array([column], dtype=float) for column in zip(*points, strict=True))
    low = usd.min() + 0.25
    found = aiq(Points(names, right / 10, usd), names, low, 9.0, resamples=3)
    rows = [(0.0, 0.0), *((c, a / 10) for c, a in zip(usd[0], right[0], strict=True))]
    assert found.aiq.estimate == pytest.approx(plain_aiq(rows, low, 9.0))
    assert found.by_high.estimate == pytest.approx(found.aiq.estimate * (9.0 - low) / 9.0)


def table(count: int = 400, seed: int = 0) -> Points:
    """Cheap, middling, dear (all of use), and a bad one (dearer than the middle, and worse); an oracle over them."""
    dice = np.random.default_rng(seed)
    ease = dice.normal(size=(count, 1))
    right = (dice.random((count, 4)) < 1 / (1 + np.exp(-ease - np.array([-0.5, 0.8, 1.6, 0.0])))).astype(float)
    usd = np.tile([1.0, 3.0, 9.0, 5.0], (count, 1)) * dice.uniform(0.5, 1.5, (count, 1))
    right, usd = np.hstack([right, right.max(axis=1, keepdims=True)]), np.hstack([usd, usd[:, :1]])
    names = ("cheap", "middle", "dear", "bad", "oracle")
    return Points(names, right, usd, folds=[i % 5 for i in range(count)])


def test_the_frontier_leaves_out_what_is_beaten() -> None:
    points = table()
    real = Points(points.names[:4], points.right[:, :4], points.usd[:, :4], folds=points.folds)
    assert frontier(real) == ("cheap", "middle", "dear")
    often = held_out_frontier(real)
    assert often["middle"] == pytest.approx(1.0)
    assert "bad" not in often
    tied = Points(("a", "b"), [[1.0, 1.0]], [[1.0, 2.0]])
    assert frontier(tied) == ("a",)
    with pytest.raises(CallerError, match="two folds"):
        held_out_frontier(tied)


def test_matched_figures_are_of_the_straight_line_between_two_points() -> None:
    points = Points(("weak", "strong", "way"), [[0, 1, 1], [1, 1, 0]], [[1, 3, 2], [1, 3, 2]])
    found = matched(points, "way", ["weak", "strong"], resamples=20)
    assert found.accuracy.estimate == pytest.approx(0.75)  # half way from (1, .5) to (3, 1)
    assert found.lead.estimate == pytest.approx(-0.25)
    assert (found.spend.estimate, found.share.estimate) == (1.0, 2.0)  # accuracy .5 costs 1 there


def test_accuracy_that_the_baseline_never_has_costs_infinitely_much() -> None:
    points = Points(("base", "way"), [[0, 1]] * 30, [[1, 5]] * 30)
    found = matched(points, "way", ["base"], resamples=20)
    assert (found.spend.estimate, found.spend.high, found.share.estimate) == (inf, inf, 0.0)


def test_intervals_move_with_questions_and_whole_clusters() -> None:
    points = table()
    found = matched(points, "middle", ["cheap", "dear"])
    assert found.lead.low < found.lead.estimate < found.lead.high
    twice = Points(points.names, np.tile(points.right, (4, 1)), np.tile(points.usd, (4, 1)), [*range(400)] * 4)
    same = matched(twice, "middle", ["cheap", "dear"])
    assert same.lead.low == pytest.approx(found.lead.low)
    apart = matched(Points(points.names, twice.right, twice.usd), "middle", ["cheap", "dear"])
    assert apart.lead.high - apart.lead.low < 0.7 * (same.lead.high - same.lead.low)


def test_a_lead_that_is_not_there_is_covered() -> None:
    """A way that is a coin toss between two points lies on their line: the interval holds 0 in most samples."""
    held = 0
    for seed in range(60):
        dice = np.random.default_rng(seed)
        right = (dice.random((80, 2)) < [0.4, 0.8]).astype(float)
        usd, coin = np.tile([1.0, 4.0], (80, 1)), dice.random(80) < 0.5
        own = [np.where(coin, column[:, 0], column[:, 1])[:, None] for column in (right, usd)]
        points = Points(("a", "b", "mix"), np.hstack([right, own[0]]), np.hstack([usd, own[1]]))
        lead = matched(points, "mix", ["a", "b"], resamples=300).lead
        held += lead.low <= 0 <= lead.high
    assert held >= 53


def test_vertices_that_were_chosen_on_the_judged_questions_flatter() -> None:
    """Forty equal ways: the best of them in hindsight is luck, which the other folds do not share."""
    names, folds = tuple(map(str, range(40))), [i % 5 for i in range(100)]
    seen, held = [], []
    for seed in range(20):
        dice = np.random.default_rng(seed)
        points = Points(names, dice.random((100, 40)) < 0.5, np.ones((100, 40)), folds=folds)
        seen.append(aiq(points, names, 1.5, 2.0, resamples=2).aiq.estimate)
        held.append(held_out_aiq(points, names, 1.5, 2.0, resamples=50).aiq)
    assert mean(seen) > 0.58
    assert abs(mean(one.estimate for one in held) - 0.5) < 0.03
    assert all(one.low < one.estimate < one.high for one in held)


def test_held_out_areas_come_near_where_nothing_is_luck() -> None:
    points = table(2000)
    ways = ["cheap", "middle", "dear"]
    held = held_out_aiq(points, ways, 1, 9, resamples=10)
    assert held.aiq.estimate == pytest.approx(aiq(points, ways, 1, 9, resamples=10).aiq.estimate, abs=0.01)
    assert abs(held.overspend.estimate) < 0.05


def test_shares_of_the_oracle_gap() -> None:
    points = table()
    top = gap_closed(points, "oracle", ["cheap", "middle"], "oracle")
    assert (top.estimate, top.low, top.high) == (1.0, 1.0, 1.0)
    none = gap_closed(points, "middle", ["cheap", "middle"], "oracle")
    assert none.estimate == 0.0
    assert none.low <= 0.0
    assert none.high <= 0.0  # the best is chosen again: it is never below the way itself
    some = gap_closed(points, "dear", ["cheap", "middle"], "oracle")
    assert 0 < some.low < some.estimate < some.high < 1
    assert isnan(gap_closed(points, "dear", ["oracle"], "oracle", resamples=5).estimate)


def test_undefined_figures_are_no_good_news() -> None:
    found = interval([0.5, *[0.5] * 90, *[float("nan")] * 10])
    assert (found.estimate, found.low, found.high) == (0.5, -inf, inf)


def test_bad_points() -> None:
    with pytest.raises(CallerError, match="right"):
        Points(("a",), [[float("nan")]], [[1.0]])
    with pytest.raises(CallerError, match="different names"):
        Points(("a", "a"), [[1.0, 1.0]], [[1.0, 1.0]])
    with pytest.raises(CallerError, match="negative"):
        Points(("a",), [[1.0]], [[-1.0]])
    with pytest.raises(CallerError, match="called 'b'"):
        matched(Points(("a",), [[1.0]], [[1.0]]), "b", ["a"])
    with pytest.raises(CallerError, match="range"):
        aiq(Points(("a",), [[1.0]], [[1.0]]), ["a"], 2.0, 1.0)
