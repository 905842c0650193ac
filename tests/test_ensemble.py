"""Ensembles: weak verifiers whose truth is known, with labels and without; and the verifier that asks them."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from satisfice.budgets.calibrators import EnsembleModel, Part, Step
from satisfice.core.completions import Message
from satisfice.core.effects import Gather, Sample, Score
from satisfice.core.errors import CallerError
from satisfice.core.plans import Plan
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.offline import perform
from satisfice.strategies import BestOfN
from satisfice.testing.driver import Script, make_run
from satisfice.verifiers.calibration import fit_ensemble
from satisfice.verifiers.ensemble import Ensemble

Array = NDArray[Any]
RATES = ((0.85, 0.3), (0.75, 0.2), (0.7, 0.4), (0.8, 0.25), (0.6, 0.3))  # true and false positive


def votes(items: int, seed: int, base: float = 0.6, rates: tuple[tuple[float, float], ...] = RATES) -> Any:
    """(votes, labels) of verifiers that err independently."""
    dice = np.random.default_rng(seed + 10_000)
    right = dice.random(items) < base
    table = np.column_stack([dice.random(items) < np.where(right, tpr, fpr) for tpr, fpr in rates])
    return table.astype(float), right


def alike(items: int, seed: int) -> Any:
    """(scores, labels): one good verifier and four that share their error, all noisy, none of them sure."""
    dice = np.random.default_rng(seed + 10_000)
    right = dice.random(items) < 0.5
    sign = np.where(right, 1.0, -1.0)
    shared = sign + dice.normal(0, 1.5, items)
    z = [sign + dice.normal(0, 1.3, items), *(shared + dice.normal(0, 0.5, items) for _ in range(4))]
    return 1 / (1 + np.exp(-np.column_stack(z))), right


def loss(model: EnsembleModel, scores: Array, labels: Array) -> float:
    rows = ({str(i): s for i, s in enumerate(row)} for row in scores.tolist())
    p = np.array([model.base_rate if (p := model(row)) is None else p for row in rows])
    return float(-np.log(np.where(labels, p, 1 - p)).mean())


# -- without labels ---------------------------------------------------------------------------------------------------


def test_error_rates_are_recovered_without_labels() -> None:
    for seed in range(4):
        table, _ = votes(3000, seed)
        known, unknown = fit_ensemble(table, base_rate=0.6), fit_ensemble(table)
        for fitted, near in ((known, 0.06), (unknown, 0.12)):
            assert fitted.model.dropped == {}
            for i, (tpr, fpr) in enumerate(RATES):
                assert fitted.rates[str(i)] == pytest.approx((tpr, fpr), abs=near)
        assert unknown.model.base_rate == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize("base", [0.2, 0.8])
def test_the_base_rate_comes_out_of_third_moments(base: float) -> None:
    found = [fit_ensemble(votes(3000, seed, base)[0]).model.base_rate for seed in range(5)]
    assert np.mean(found) == pytest.approx(base, abs=0.05)


def test_without_labels_it_still_beats_each_verifier_and_the_majority() -> None:
    rates = ((0.85, 0.15), (0.8, 0.25), (0.6, 0.4), (0.6, 0.45), (0.65, 0.4))
    fitted = fit_ensemble(votes(2000, 0, rates=rates)[0], base_rate=0.6)
    table, right = votes(4000, 1, rates=rates)
    said = np.array([fitted.model({str(i): s for i, s in enumerate(row)}) for row in table.tolist()])
    accuracy = ((said > 0.5) == right).mean()
    single = max(((column > 0.5) == right).mean() for column in table.T)
    majority = ((table.mean(axis=1) > 0.5) == right).mean()
    assert accuracy > max(single, majority) + 0.005
    for low, high in ((0.0, 0.2), (0.4, 0.7), (0.8, 1.0)):  # and it means what it says
        inside = (said >= low) & (said <= high)
        assert right[inside].mean() == pytest.approx(said[inside].mean(), abs=0.06)


def test_missing_votes_are_no_evidence() -> None:
    table, _ = votes(6000, 0)
    table[np.random.default_rng(5).random(table.shape) < 0.4] = nan
    fitted = fit_ensemble(table, base_rate=0.6)
    for i, (tpr, fpr) in enumerate(RATES):
        assert fitted.rates[str(i)] == pytest.approx((tpr, fpr), abs=0.08)
    model = fitted.model
    assert model({}) is None
    assert model({"0": None, "1": nan}) is None
    assert model({"0": 1.0, "1": None}) == model({"0": 1.0}) == model({"0": 1.0, "stranger": 0.0})


def test_a_coin_and_a_liar_are_dropped() -> None:
    table, right = votes(2000, 3)
    dice = np.random.default_rng(7)
    coin = dice.random(2000) < 0.5
    liar = dice.random(2000) < np.where(right, 0.2, 0.7)
    fitted = fit_ensemble(np.column_stack([table, coin, liar, np.ones(2000)]), base_rate=0.6)
    assert set(fitted.model.dropped) == {"5", "6", "7"}
    assert "not better than chance" in fitted.model.dropped["5"]
    assert "not better than chance" in fitted.model.dropped["6"]
    assert fitted.model.dropped["7"] == "it says the same of all"


def test_a_verifier_that_repeats_another_is_dropped() -> None:
    """Three copies of a mediocre verifier must not outvote the others."""
    table, right = votes(3000, 4)
    dice = np.random.default_rng(8)
    copies = [np.where(dice.random(3000) < 0.95, table[:, 2], 1 - table[:, 2]) for _ in range(2)]
    fitted = fit_ensemble(np.column_stack([table, *copies]), base_rate=0.6)
    assert len({"2", "5", "6"} - set(fitted.model.dropped)) == 1
    assert {"0", "1", "3", "4"} <= {part.name for part in fitted.model.parts}
    assert fitted.rates["0"] == pytest.approx(RATES[0], abs=0.08)
    assert right.mean() == pytest.approx(0.6, abs=0.05)


def test_the_same_verifier_twice() -> None:
    table, _ = votes(1500, 5)
    fitted = fit_ensemble(np.column_stack([table, table[:, 1]]), base_rate=0.6)
    assert set(fitted.model.dropped) == {"5"}
    assert "repeats 1" in fitted.model.dropped["5"]


def test_graded_scores_are_cut_at_their_own_thresholds() -> None:
    """The third verifier never says more than 0.3: cut at 0.5 it would say the same of all."""
    dice = np.random.default_rng(1)
    right = dice.random(3000) < 0.5
    z = np.where(right, 1.0, -1.0)[:, None] + dice.normal(0, 0.9, (3000, 4))
    scores = 1 / (1 + np.exp(-z)) * np.array([1, 1, 0.3, 1])
    for base in (None, 0.5):
        fitted = fit_ensemble(scores, base_rate=base)
        assert fitted.model.dropped == {}
        assert all(tpr > 0.75 and fpr < 0.25 for tpr, fpr in fitted.rates.values())


def test_too_little_without_labels() -> None:
    with pytest.raises(CallerError, match="at least 3"):
        fit_ensemble([[1, 0], [0, 1]])
    dice = np.random.default_rng(0)
    for table in (np.zeros((0, 4)), np.full((50, 4), nan), np.ones((50, 4)), dice.random((200, 3)) < 0.5):
        fitted = fit_ensemble(np.asarray(table, dtype=float), base_rate=0.3)
        assert fitted.model.parts == ()
        assert fitted.model.base_rate == pytest.approx(0.3)
        assert "the base rate is all" in fitted.notes[-1]


# -- with labels ------------------------------------------------------------------------------------------------------


def test_stacking_learns_that_verifiers_are_dependent() -> None:
    """Better on new items than the best single verifier, and than naive Bayes, which takes agreement of verifiers that
    share their mistakes for evidence."""
    fitted = fit_ensemble(*alike(800, 0))
    assert fitted.losses["ensemble"] < min(fitted.losses[str(i)] for i in range(5) if str(i) in fitted.losses) - 0.02
    assert fitted.losses["ensemble"] < fitted.losses["naive Bayes"] - 0.05
    scores, labels = alike(4000, 1)
    assert loss(fitted.model, scores, labels) == pytest.approx(fitted.losses["ensemble"], abs=0.04)
    p = np.array([fitted.model({str(i): s for i, s in enumerate(row)}) or 0 for row in scores.tolist()])
    sure = p > 0.9
    assert sure.sum() > 100
    assert labels[sure].mean() == pytest.approx(p[sure].mean(), abs=0.04)


def test_independent_verifiers_get_the_weights_of_naive_bayes() -> None:
    fitted = fit_ensemble(*votes(4000, 6))
    assert [part.weight for part in fitted.model.parts] == pytest.approx([1.0] * 5, abs=0.25)
    assert fitted.losses["ensemble"] == pytest.approx(fitted.losses["naive Bayes"], abs=0.005)


def test_verifiers_that_do_not_help_are_dropped() -> None:
    table, right = votes(1500, 7)
    noise = np.random.default_rng(9).random((1500, 2))
    fitted = fit_ensemble(np.column_stack([table, noise, table[:, 0]]), right, names=[*"abcde", "n1", "n2", "again"])
    assert {"n1", "n2"} <= set(fitted.model.dropped)
    assert len({"a", "again"} & set(fitted.model.dropped)) == 1
    assert len(fitted.model.parts) == 5
    assert fitted.losses["ensemble"] < fitted.losses["all verifiers"] + 0.002


def test_missing_scores_and_labels() -> None:
    scores, labels = alike(900, 2)
    dice = np.random.default_rng(3)
    scores[dice.random(scores.shape) < 0.3] = nan
    some = np.where(dice.random(900) < 0.2, nan, labels)
    fitted = fit_ensemble(scores, some, np.arange(900) // 3)
    assert fitted.losses["ensemble"] < fitted.losses["base rate"] - 0.1
    assert [p != p for p in fitted.held_out] == np.isnan(some).tolist()
    assert EnsembleModel.model_validate_json(fitted.model.model_dump_json()) == fitted.model


def test_nothing_to_learn_with_labels() -> None:
    dice = np.random.default_rng(0)
    noise = dice.random((300, 3))
    for scores, labels in ((noise, dice.random(300) < 0.2), (noise, np.ones(300)), (noise[:4], [1, 0, 1, 0])):
        fitted = fit_ensemble(scores, labels)
        assert fitted.model.parts == ()
        assert set(fitted.model.dropped) == {"0", "1", "2"}
        assert fitted.model.base_rate == pytest.approx((np.sum(labels) + 1) / (len(labels) + 2), abs=1e-3)


def test_bad_calls_are_the_callers_fault() -> None:
    good = np.ones((5, 3))
    for bad in (
        lambda: fit_ensemble(np.ones(5)),
        lambda: fit_ensemble(good, [1, 0]),
        lambda: fit_ensemble(good, [1] * 5, [1]),
        lambda: fit_ensemble(good, names=["a", "a", "b"]),
        lambda: fit_ensemble(good, names=["a"]),
        lambda: fit_ensemble(good, base_rate=1.0),
        lambda: fit_ensemble([["x", "y", "z"]]),
        lambda: fit_ensemble(np.ones((5, 99))),
    ):
        with pytest.raises(CallerError):
            bad()


# -- the verifier -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fixed:
    """Says always the same."""

    name: str
    verdict: Verdict

    def __call__(self, task: Task, candidate: Candidate) -> Verdict:
        return self.verdict


@dataclass(frozen=True)
class Asking:
    """A plan that asks a model `calls` times at once."""

    name: str = "asking"
    calls: int = 2

    def __call__(self, task: Task, candidate: Candidate) -> Plan[Verdict]:
        yield from self.needs(task)[0]
        return Verdict(0.9)

    def needs(self, task: Task) -> tuple[Gather, ...]:
        return (Gather((Sample((Message("user", "well?"),)),) * self.calls),)


def step(name: str, weight: float = 1.0) -> Part:
    return Part(name=name, weight=weight, calibrator=Step(threshold=0.5, below=0.2, above=0.8, base_rate=0.5))


MODEL = EnsembleModel(
    method="stacked", parts=(step("a"), step("b"), step("asking", 0.5)), bias=0.0, dropped={"noise": "tells nothing"}
)
TASK, CANDIDATE = Task.of("1 + 1?", "number"), Candidate("2", "2", "2")


def judged(*parts: Any, model: EnsembleModel = MODEL) -> tuple[Verdict, list[str]]:
    """The verdict, and the names of the parts in the order in which they were asked."""
    plan, asked, reply = Ensemble(parts, model)(TASK, CANDIDATE), [], None
    try:
        while True:
            effect: Any = plan.send(reply)
            assert isinstance(effect, Score)
            asked.append(effect.verifier.name)  # type: ignore[attr-defined]
            made = effect.verifier(effect.task, effect.candidate)
            reply = made if isinstance(made, Verdict) else Verdict(0.9)
    except StopIteration as done:
        return done.value, asked


def test_evidence_adds_up() -> None:
    verdict, asked = judged(Fixed("a", Verdict(0.9)), Fixed("b", Verdict(0.7)))
    assert asked == ["a", "b"]
    assert verdict.score == verdict.p == pytest.approx(16 / 17)
    assert not verdict.exact
    assert "a 0.90: +1.39" in verdict.evidence
    against, _ = judged(Fixed("a", Verdict(0.9)), Fixed("b", Verdict(0.1)))
    assert against.p == pytest.approx(0.5)


def test_an_unknown_part_is_left_out() -> None:
    verdict, asked = judged(Fixed("a", Verdict(None, evidence="no logprobs")), Fixed("b", Verdict(0.7)))
    assert asked == ["a", "b"]
    assert verdict.p == pytest.approx(0.8)
    assert "a cannot tell (no logprobs)" in verdict.evidence
    nobody, _ = judged(Fixed("a", Verdict(None)))
    assert (nobody.score, nobody.p) == (None, None)
    assert "could tell" in nobody.evidence


def test_an_exact_part_decides_at_once() -> None:
    for score, p in ((1.0, 1.0), (0.0, 0.0), (0.4, 0.0)):
        verdict, asked = judged(Fixed("a", Verdict(score, exact=True)), Fixed("b", Verdict(0.7)))
        assert asked == ["a"]
        assert (verdict.score, verdict.p, verdict.exact) == (score, p, True)


def test_the_cheapest_are_asked_first_and_dropped_ones_never() -> None:
    noise = Fixed("noise", Verdict(0.0, exact=True))
    ensemble = Ensemble((Asking(), noise, Fixed("b", Verdict(0.7))), MODEL)
    _, asked = judged(*ensemble.parts)
    assert asked == ["b", "asking"]
    assert [effect.verifier for effect in ensemble.needs(TASK)] == [ensemble.parts[2], ensemble.parts[0]]  # type: ignore[attr-defined]


def test_settings_that_cannot_work() -> None:
    known = Fixed("a", Verdict(1.0))
    for parts in ((), (known, known), (known, Fixed("stranger", Verdict(1.0))), (Fixed("noise", Verdict(1.0)),)):
        with pytest.raises(CallerError):
            Ensemble(parts, MODEL)


def test_it_runs_as_a_check_and_its_parts_are_billed() -> None:
    """In a run: the judge's completions are paid for, and the best-scored candidate is the answer."""

    def even(task: Task, candidate: Candidate) -> Verdict:
        return Verdict(0.9 if float(candidate.answer or 1) % 2 == 0 else 0.1)

    even.name = "a"  # type: ignore[attr-defined]
    texts = iter(["Answer: 1", "Answer: 2", "Answer: 3"])
    script = Script(lines={"well?": "fine"}, text=lambda asked, seed: next(texts))
    task = Task.of("1 + 1?", "number", checks=(Ensemble((Asking(), even), MODEL),))
    run = perform(make_run(BestOfN(samples=3), task), script)
    assert run.outcome
    assert run.outcome.answer
    assert run.outcome.answer.candidate
    assert run.outcome.answer.candidate.answer == "2"
    assert script.asked.count("well?") == 3 * 2
    assert run.outcome.spent.calls == 3 + 3 * 2
