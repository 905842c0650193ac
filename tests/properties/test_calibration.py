"""What holds of every calibration, whatever it was fitted on."""

from __future__ import annotations

from itertools import pairwise
from math import inf, isfinite, isnan, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from satisfice.budgets.calibrators import (
    Beta,
    Calibrator,
    Constant,
    Drift,
    EnsembleModel,
    Identity,
    Isotonic,
    Part,
    Platt,
    ScoreModel,
    Selected,
    Step,
)
from satisfice.verifiers.calibration import (
    auc,
    brier,
    expected_calibration_error,
    fit_calibrator,
    fit_drift,
    fit_ensemble,
    fit_selected,
    log_loss,
    rates,
    reliability,
    score_model,
)
from satisfice.verifiers.calibration.families import FAMILIES

ANY: TypeAdapter[Any] = TypeAdapter(Calibrator)
GRID = [-inf, -1.0, 0.0, 1e-9, *np.linspace(0.01, 0.99, 23).tolist(), 1 - 1e-9, 1.0, 2.0, inf]
probabilities = st.floats(0.001, 0.999)
slopes = st.floats(0, 50)
offsets = st.floats(-20, 20)
scores = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0, nan]))
row = st.tuples(scores, st.booleans(), st.integers(0, 30))
rows = st.one_of(st.lists(row, max_size=20), st.lists(row, min_size=40, max_size=60))


@st.composite
def isotonics(draw: st.DrawFn) -> Isotonic:
    xs = sorted(draw(st.sets(st.floats(0, 1), min_size=1, max_size=8)))
    ys = sorted(draw(st.lists(probabilities, min_size=len(xs), max_size=len(xs))))
    return Isotonic(scores=tuple(xs), rates=tuple(ys), base_rate=draw(probabilities))


@st.composite
def steps(draw: st.DrawFn) -> Step:
    below, above = sorted((draw(probabilities), draw(probabilities)))
    return Step(threshold=draw(st.floats(0, 1)), below=below, above=above, base_rate=draw(probabilities))


calibrators = st.one_of(
    st.builds(Constant, base_rate=probabilities),
    st.builds(Identity, base_rate=probabilities),
    st.builds(Platt, slope=slopes, offset=offsets, base_rate=probabilities),
    st.builds(Beta, a=slopes, b=slopes, c=offsets, base_rate=probabilities),
    isotonics(),
    steps(),
)


def rises(values: list[float]) -> bool:
    return all(a <= b + 1e-12 for a, b in pairwise(values))


@given(calibrators)
def test_a_calibrator_is_total_monotone_and_never_certain(calibrator: Any) -> None:
    said = [calibrator(score) for score in GRID]
    assert rises(said)
    assert all(0 < p < 1 for p in said)
    assert calibrator(nan) == calibrator.base_rate
    again = ANY.validate_json(ANY.dump_json(calibrator))
    assert again == calibrator
    assert [again(score) for score in GRID] == said


@st.composite
def selecteds(draw: st.DrawFn) -> Selected:
    sizes = sorted(draw(st.sets(st.integers(2, 64), max_size=4)))
    made = tuple((n, draw(slopes), draw(offsets)) for n in (1, *sizes))
    return Selected(rows=made, tail=draw(st.floats(0, 5)))


@given(selecteds())
def test_a_winner_is_worth_more_for_its_score_and_less_for_its_rivals(model: Selected) -> None:
    ps = [0.0, 0.001, 0.2, 0.5, 0.77, 0.999, 1.0]
    for p in ps:
        falling = [model(p, n) for n in (0, 1, 2, 3, 4, 7, 16, 40, 64, 100, 10_000)]
        assert rises(falling[::-1])
        assert all(0 < q < 1 for q in falling)
    for n in (1, 2, 5, 30, 200):
        assert rises([model(p, n) for p in ps])
    assert Selected.model_validate_json(model.model_dump_json()) == model
    assert 0 < model(nan, 3) < 1


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=16),
    st.floats(0, 1),
)
def test_a_check_changes_nothing_that_is_expected(masses: list[tuple[float, float]], prior: float) -> None:
    model = ScoreModel.of(tuple(masses))
    shown = model.checked(prior)
    assert sum(chance for chance, _ in shown) == pytest.approx(1)
    assert sum(chance * p for chance, p in shown) == pytest.approx(prior)
    assert rises([p for _, p in shown])
    assert ScoreModel.model_validate_json(model.model_dump_json()) == model
    for i, (p, _, _) in enumerate(model.levels):
        assert model.levels[model.level(p)][0] == model.levels[i][0]


@given(
    st.lists(st.tuples(calibrators, st.floats(0, 3)), min_size=1, max_size=5),
    st.data(),
)
def test_evidence_of_an_ensemble_is_monotone_and_missing_scores_are_none(
    made: list[tuple[Any, float]], data: st.DataObject
) -> None:
    parts = tuple(Part(name=str(i), calibrator=c, weight=w) for i, (c, w) in enumerate(made))
    model = EnsembleModel(method="stacked", parts=parts, bias=data.draw(offsets))
    others = {part.name: data.draw(st.one_of(st.none(), scores)) for part in parts}
    said = [model(others | {"0": score}) for score in GRID]
    assert all(p is not None and 0 < p < 1 for p in said)
    assert rises([p for p in said if p is not None])
    assert model(others | {"0": None}) == model(others | {"0": nan})
    assert EnsembleModel.model_validate_json(model.model_dump_json()) == model


@settings(deadline=None, max_examples=20)
@given(rows, st.integers(0, 3))
def test_fitting_never_fails(data: list[tuple[float, bool, int]], seed: int) -> None:
    s, y, g = ([row[i] for row in data] for i in range(3))
    fitted = fit_calibrator(s, y, g, [str(x % 2) for x in g], seed=seed)
    assert rises([fitted.calibrator(score) for score in GRID])
    assert len(fitted.held_out) == len(s)
    assert all(isnan(p) == isnan(x) and not p <= 0 and not p >= 1 for p, x in zip(fitted.held_out, s, strict=True))
    assert set(fitted.losses) in (set(), set(FAMILIES))
    chosen = fit_selected(s, y, g, fitted.calibrator, seed=seed)
    assert 0 < chosen.model(0.5, 4) < 1
    model = score_model(s, y, g)
    assert 1 <= len(model.levels) <= 16
    drift = fit_drift(s, y, g)
    assert Drift.model_validate_json(drift.model_dump_json()) == drift
    watch = drift.watch()
    for score in s:
        watch.feed(score)
    assert 0 <= watch.widen <= 1
    assert 0 <= watch(0.3) <= 1


@settings(deadline=None, max_examples=20)
@given(rows)
def test_measures_never_fail_and_keep_their_range(data: list[tuple[float, bool, int]]) -> None:
    s, y, g = ([row[i] for row in data] for i in range(3))
    for measure in (brier, expected_calibration_error, auc):
        found = measure(s, y, g, resamples=20)
        values = [v for v in (found.estimate, found.low, found.high) if isfinite(v)]
        assert all(0 <= v <= 1 for v in values)
    assert not log_loss(s, y, g, resamples=20).estimate < 0
    found_rates = rates(s, y, 0.5, g)
    assert found_rates.tpr_interval[0] <= found_rates.tpr <= found_rates.tpr_interval[1]
    assert found_rates.fpr_interval[0] <= found_rates.fpr <= found_rates.fpr_interval[1]
    assert sum(row.count for row in reliability(s, y, g)) == found_rates.n
    assert all(row.low <= row.rate <= row.high for row in reliability(s, y, g))


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 5).flatmap(lambda k: st.lists(st.lists(scores, min_size=k, max_size=k), max_size=40)), st.data())
def test_an_ensemble_is_fitted_on_anything(table: list[list[float]], data: st.DataObject) -> None:
    if not table:
        return
    labels = data.draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=len(table), max_size=len(table))))
    fitted = fit_ensemble(table, labels)
    names = {str(i) for i in range(len(table[0]))}
    assert {part.name for part in fitted.model.parts} | set(fitted.model.dropped) == names
    p = fitted.model(dict.fromkeys(names, 0.7))
    assert (p is None) == (fitted.model.parts == ())
    assert p is None or 0 < p < 1
