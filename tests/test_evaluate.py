"""Evaluate: its figures are those of plain arithmetic on the same draws, its intervals cover, its folds are clean."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.core.effects import Sample
from satisfice.core.errors import CallerError, UnpricedModel
from satisfice.core.plans import Answer, Plan
from satisfice.core.task import Task
from satisfice.experiments import Bank, Draw, Question, clustered, evaluate, measuring, paired, wilson
from satisfice.experiments import evaluation as home
from satisfice.experiments.intervals import best
from satisfice.experiments.replaying import order
from satisfice.experiments.report import Row, difference
from satisfice.strategies import SelfConsistency, SingleShot

RESAMPLES = 4


def bank_of(count: int = 40, draws: int = 7, models: Collection[str] = ("m",), seed: int = 0) -> Bank:
    """Questions of mixed difficulty over the answers A (right) to D, blanks among them; costs in nano-dollars."""
    dice = np.random.default_rng(seed)
    questions = {f"q{i}": Question(f"q{i}", "d", f"Question {i}", "A", "choice", (), i % 4) for i in range(count)}
    rows = {}
    for name in questions:
        right = dice.beta(1, 1)
        for model in models:
            odds = np.array([right, 0.6 * (1 - right), 0.2 * (1 - right), 0.1 * (1 - right), 0.1 * (1 - right)])
            said = dice.choice(["A", "B", "C", "D", ""], size=draws, p=odds)
            cost = dice.integers(500, 1500, size=draws)
            rows[name, model, "cot"] = tuple(
                Draw(i, str(a), str(a) or None, bool(a == "A"), 10, 20 + i, int(c))
                for i, (a, c) in enumerate(zip(said, cost, strict=True))
            )
    return Bank(questions, rows)


def plain_majority(bank: Bank, n: int, seed: int = 0) -> tuple[float, float]:
    """(accuracy, dollars) of the vote of the first n draws: numpy counting, ties to the answer seen first."""
    right, usd = [], []
    for name, row in ((q, bank.draws[q, "m", "cot"]) for q in bank.questions):
        for resample in range(seed, seed + RESAMPLES):
            seen = [row[i] for i in order(len(row), resample, name, "m", "cot")[:n]]
            said = np.array([d.answer for d in seen if d.answer])
            usd.append(sum(d.nanos or 0 for d in seen) / 1e9)
            if not len(said):
                right.append(False)
                continue
            keys, first, counts = np.unique(said, return_index=True, return_counts=True)
            right.append(keys[np.lexsort((first, -counts))[0]] == "A")
    return float(np.mean(right)), float(np.mean(usd))


def test_figures_are_those_of_plain_counting() -> None:
    bank = bank_of()
    report = evaluate(bank, {f"fixed {n}": SelfConsistency(samples=n) for n in (3, 5, 7)}, resamples=RESAMPLES)
    for n in (3, 5, 7):
        accuracy, usd = plain_majority(bank, n)
        for name in (f"fixed {n}", f"majority of {n}"):
            row = report.row(name)
            assert row.accuracy.estimate == pytest.approx(accuracy)
            assert row.usd is not None
            assert row.usd.estimate == pytest.approx(usd)
            assert (row.calls, row.questions, row.misses) == (n, 40, 0)
        assert sum(report.row(f"fixed {n}").stops.values()) == 40 * RESAMPLES
    single = report.row("single_shot")
    assert single.accuracy.estimate == pytest.approx(np.mean([[d.correct for d in row] for row in bank.draws.values()]))
    assert single.usd is not None
    assert single.usd.estimate == pytest.approx(np.mean([[d.nanos for d in r] for r in bank.draws.values()]) / 1e9)


def test_adaptive_stopping_is_between_one_and_all() -> None:
    report = evaluate(bank_of(), [SelfConsistency()], resamples=RESAMPLES, policy=Policy(fitted=True))
    row = report.row("self_consistency")
    assert row.calls is not None
    assert 1 <= row.calls < 7
    assert row.calibration is not None
    assert row.calibration.fitted
    assert row.calibration.right == pytest.approx(row.accuracy.estimate / row.answered, abs=0.02)
    assert row.net is not None
    assert row.worth is not None
    assert row.usd is not None
    assert row.net.estimate == pytest.approx(row.accuracy.estimate * row.worth - row.usd.estimate)


def test_worth_moves_spending_and_every_baseline_stands_beside() -> None:
    seen: list[tuple[int, int]] = []
    report = evaluate(
        bank_of(), [SelfConsistency()], worth=[1e-6, 1e-3], resamples=2, progress=lambda i, n: seen.append((i, n))
    )
    low, high = (report.row("self_consistency", worth=w) for w in (1e-6, 1e-3))
    assert low.calls is not None
    assert high.calls is not None
    assert low.calls < high.calls
    assert seen[-1] == (80, 80)
    assert report.row("single_shot", worth=1e-6).net != report.row("single_shot", worth=1e-3).net
    json.dumps(report.to_dict(), allow_nan=False)
    assert len(report.table()) == len(report.rows)


def test_wrong_answers_cost_and_runs_abstain() -> None:
    budget = Budget(calls=7, worth=1e-4, wrong=1e-4)
    row = evaluate(bank_of(), [SelfConsistency()], budget=budget, resamples=2).row("self_consistency")
    assert 0 < row.answered < 1
    assert row.stops["abstained"] > 0


def test_models_are_compared_on_their_common_questions() -> None:
    bank = bank_of(models=("m", "n"))
    fewer = Bank(bank.questions, {g: r for g, r in bank.draws.items() if g[:2] != ("q0", "n")})
    report = evaluate(fewer, [SingleShot()], resamples=1)
    assert report.row("single_shot", "m").questions == 40
    assert report.row("single_shot", "n").questions == 39
    common = [q for q in bank.questions if q != "q0"]
    means = {m: np.mean([np.mean([d.correct for d in bank.draws[q, m, "cot"]]) for q in common]) for m in ("m", "n")}
    one, oracle = report.row("best single model"), report.row("oracle")
    assert (one.questions, oracle.questions) == (39, 39)
    assert one.accuracy.estimate == pytest.approx(max(means.values()))
    assert one.model == max(means, key=lambda m: means[m])
    assert report.row("random model").accuracy.estimate == pytest.approx(np.mean(list(means.values())))
    right = [any(d.correct for m in ("m", "n") for d in bank.draws[q, m, "cot"]) for q in common]
    assert oracle.accuracy.estimate == pytest.approx(np.mean(right))
    assert oracle.accuracy.estimate >= one.accuracy.estimate


def test_arms_are_not_mixed() -> None:
    bank = bank_of()
    retry = {(q, m, "retry"): row[:1] for (q, m, _), row in list(bank.draws.items())[:5]}
    report = evaluate(Bank(bank.questions, {**bank.draws, **retry}), [SelfConsistency()], resamples=2)
    assert report.row("self_consistency", arm="cot") == evaluate(bank, [SelfConsistency()], resamples=2).rows[0]
    assert report.row("self_consistency", arm="retry").questions == 5


@dataclass(frozen=True)
class Other:
    """Asks a model that was not recorded on every question."""

    name = "other"

    def __call__(self, task: Task) -> Plan[Answer]:
        sample = Sample(task.messages, task)
        yield from sample
        return Answer((yield from sample))


def test_misses_and_faults_are_counted() -> None:
    bank = bank_of(draws=1)
    unknown = tuple(Draw(0, None, None, True) for _ in range(1))
    some = Bank(bank.questions, {**bank.draws, ("q0", "m", "cot"): unknown})
    report = evaluate(some, [SingleShot()], resamples=3)
    row = report.rows[0]
    assert (row.misses, row.questions, row.runs) == (1, 39, 39)
    assert report.rows[1].questions == 40  # labels are enough for the plain baseline
    capped = evaluate(bank, [Other()], resamples=1).rows[0]
    assert capped.stops == {"budget_calls": 40}


def test_cross_fitting_never_sees_the_judged_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = bank_of(80)
    seen = []

    def spy(part: Bank, folds: Collection[int], parts: Collection[str]) -> Policy:
        assert not {"verifiers", "chains"} & set(parts)  # nobody asks one
        kept = part.select(folds=folds)
        seen.append((set(folds), {q.fold for q in kept.questions.values()}))
        return Policy(name=f"without {set(part.folds) - set(folds)}", fitted=True)

    used: dict[str, str] = {}
    real = measuring.run_on

    def watched(source, strategy, budget, policy, tariff, seed, **more):  # type: ignore[no-untyped-def]
        used[source.deck.question] = policy.name
        return real(source, strategy, budget, policy, tariff, seed, **more)

    monkeypatch.setattr(home, "fit", spy)

    def voting(task: Task) -> Plan[Answer]:
        return SelfConsistency()(task)

    monkeypatch.setattr(measuring, "run_on", watched)
    evaluate(bank, [voting], policy="fit", resamples=1)
    assert len(seen) == 4
    assert all(asked == given and len(given) == 3 for asked, given in seen)
    assert used == {q.id: f"without { {q.fold} }" for q in bank.questions.values()}


def test_cross_fitted_figures_do_not_depend_on_the_judged_labels() -> None:
    """Fold 0 with all its labels turned over: stops there stay as they were."""
    bank = bank_of(80)

    def turned(row: tuple[Draw, ...]) -> tuple[Draw, ...]:
        return tuple(Draw(d.sample_index, d.answer, d.key, not d.correct, 10, 20, d.nanos) for d in row)

    other = Bank(bank.questions, {g: turned(r) if bank.questions[g[0]].fold == 0 else r for g, r in bank.draws.items()})
    one, two = (evaluate(b, [SelfConsistency()], policy="fit", resamples=2).rows[0].each for b in (bank, other))
    for name, question in bank.questions.items():
        if question.fold == 0:
            assert one[name][1] == two[name][1]


def test_bad_calls() -> None:
    with pytest.raises(CallerError, match="resamples"):
        evaluate(bank_of(), [SingleShot()], resamples=0)
    with pytest.raises(CallerError, match="expected a Policy"):
        evaluate(bank_of(), [SingleShot()], policy="fitted")  # type: ignore[arg-type]
    with pytest.raises(CallerError, match="mapping"):
        evaluate(bank_of(), [SingleShot(), SingleShot()])
    free = Bank(
        bank_of().questions, {g: tuple(Draw(0, "A", "A", True) for _ in r[:1]) for g, r in bank_of().draws.items()}
    )
    with pytest.raises(UnpricedModel):
        evaluate(free, [SingleShot()], worth=1.0)
    row = evaluate(free, [SingleShot()], resamples=1).rows[0]
    assert (row.usd, row.net, row.worth) == (None, None, None)


# -- intervals ----------------------------------------------------------------------------------------------------


def test_wilson() -> None:
    assert wilson(15, 20) == pytest.approx((0.5313, 0.8881), abs=1e-4)  # by the closed formula, by hand
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    assert wilson(0, 0) == (0, 1)


def test_clustered_intervals_cover_where_draws_depend_on_their_question() -> None:
    dice = np.random.default_rng(3)
    covered = naive = 0
    for trial in range(200):
        theta = dice.beta(0.5, 0.5, size=60)
        draws = dice.random((60, 10)) < theta[:, None]
        interval = clustered(draws.mean(axis=1), resamples=400, seed=trial)
        covered += interval.low <= 0.5 <= interval.high
        low, high = wilson(int(draws.sum()), draws.size)
        naive += low <= 0.5 <= high
    assert covered >= 180
    assert naive < 150  # draws as the unit claim too much


def test_weights_pairs_and_hindsight() -> None:
    assert clustered([1.0, 0.0], weights=[3, 1]).estimate == 0.75
    assert paired([1, 1, 0], [1, 0, 0]).estimate == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="same clusters"):
        paired([1], [1, 2])
    with pytest.raises(ValueError, match="statistic"):
        clustered([[1.0, 2.0]])
    same = np.random.default_rng(0).random((50, 5)).round()
    assert clustered(same, statistic=best).low >= max(clustered(column).low for column in same.T) - 1e-12
    assert np.isnan(clustered([]).estimate)


def test_a_difference_is_over_the_questions_of_both() -> None:
    def row(each: dict[str, tuple[float, float]]) -> Row:
        return Row("r", "m", "a", "", len(each), clustered([1.0]), each=each)

    one, other = row({"a": (1.0, 2.0), "b": (0.0, 3.0)}), row({"b": (1.0, 1.0), "c": (1.0, 1.0)})
    assert difference(one, other).estimate == -1.0
    assert difference(one, other, 1).estimate == 2.0
