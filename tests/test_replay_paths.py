"""Exact path replay: recorded runs of whole strategies answer the very same plans, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice import Budget, Policy
from satisfice.core.errors import TraceMiss, UnknownName
from satisfice.experiments.bank import Bank
from satisfice.experiments.measuring import Job, measure
from satisfice.experiments.recording.units import Plan
from satisfice.experiments.replaying import BankTariff, deck_of, replay, run_on
from satisfice.experiments.retracing import arm_of, decks_of, recorded_as
from satisfice.strategies.registry import strategy_of

from .test_recording import REFINE, Sums, recorder

STRATEGIES = (
    REFINE,
    "debate:agents=3,rounds=2,structured=false",
    "reflexion:rounds=2",
    "tree_search:width=2,depth=2,steps=4",
    "self_consistency:samples=5",
)
CALLS = 40


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> Bank:
    folder = tmp_path_factory.mktemp("paths")
    plan = Plan(("sums",), (), strategies=STRATEGIES, runs=2)
    told = anyio.run(recorder(folder, Sums(), plan, calls=CALLS).record)
    assert told.failed == []
    return Bank.open(folder / "bank")


def again(bank: Bank, question: str, text: str, run: int, budget: Budget, strategy: str = ""):
    arms = {"sums": arm_of(text)}
    source = deck_of(bank, question, arms).shuffled(run)
    return source, run_on(source, strategy_of(strategy or text), budget, Policy(), BankTariff(bank, arms), 0)


def places(bank: Bank):
    return [(q, text, run) for (q, text), runs in bank.runs.items() for run in range(len(runs))]


def test_a_recorded_run_replays_to_its_answer_spend_and_stop(bank):
    assert len(places(bank)) == 3 * len(STRATEGIES) * 2
    for question, text, number in places(bank):
        source, run = again(bank, question, text, number, Budget(calls=CALLS, worth=inf))
        recorded = bank.runs[question, text][number]
        assert source.recorded == recorded
        candidate = run.outcome.candidate
        assert (candidate.answer if candidate else None) == recorded.answer
        assert (run.outcome.spent.nanos, run.outcome.spent.tokens) == (recorded.nanos, recorded.tokens)
        assert run.outcome.reason == recorded.stop
        assert set(source.drawn) == {effect.path for effect in recorded.effects}
        assert source.right(candidate) == recorded.correct


@given(st.data())
def test_with_a_tighter_worth_it_stops_earlier_or_the_same(bank, data):
    question, text, number = data.draw(st.sampled_from(places(bank)))
    low, high = sorted(data.draw(st.tuples(*[st.floats(1e-7, 1e-1)] * 2)))
    spent = []
    for worth in (low, high, inf):
        try:
            source, run = again(bank, question, text, number, Budget(calls=CALLS, worth=worth))
        except TraceMiss as miss:  # another width of its waves: other places
            assert miss.details["why"] == "path"
            return
        recorded = {effect.path for effect in bank.runs[question, text][number].effects}
        assert set(source.drawn) <= recorded
        spent.append(run.outcome.spent.nanos)
    assert spent[1] <= spent[2]
    assert spent[2] == bank.runs[question, text][number].nanos


def test_a_tight_worth_does_stop_earlier(bank):
    text = STRATEGIES[1]
    worths = [1e-5 * 1.5**i for i in range(20)]
    calls = [again(bank, "q0", text, 0, Budget(calls=CALLS, worth=w))[1].outcome.spent.calls for w in worths]
    assert calls == sorted(calls)
    assert {0, 1} < set(calls)  # nothing, the first answer, and more
    assert calls[-1] == len(bank.runs["q0", text][0].effects)


def test_what_was_not_asked_there_is_a_miss(bank):
    text = STRATEGIES[0]
    other = text.replace("Somebody said", "A friend said")
    with pytest.raises(TraceMiss, match="something else was asked at step") as miss:
        again(bank, "q0", text, 0, Budget(calls=CALLS, worth=inf), other)
    assert miss.value.details["why"] == "path"
    with pytest.raises(TraceMiss, match="nothing was asked at step"):
        again(bank, "q0", text, 0, Budget(calls=CALLS, worth=inf), "debate:agents=4,structured=false")
    gone = replace(bank, runs={place: runs for place, runs in bank.runs.items() if place != ("q0", text)})
    with pytest.raises(TraceMiss, match="no run of this strategy was recorded on question 'q0'"):
        again(gone, "q0", text, 0, Budget(calls=CALLS))
    with pytest.raises(UnknownName):
        deck_of(bank, "q0", {"sums": arm_of("debate")})


def test_errors_are_replayed_and_what_was_given_up_is_a_miss(bank):
    question, text = "q0", STRATEGIES[4]
    run = bank.runs[question, text][0]

    def with_first(reply: str) -> Bank:
        effects = (replace(run.effects[0], reply=reply), *run.effects[1:])
        return replace(bank, runs={**bank.runs, (question, text): (replace(run, effects=effects),)})

    failed = with_first(json.dumps({"error": {"type": "ModelRefused", "message": "no", "sent": True}}))
    _, came = again(failed, question, text, 0, Budget(calls=CALLS, worth=inf))
    assert len(came.outcome.found) == len(run.effects) - 1
    with pytest.raises(TraceMiss, match="was given up"):
        again(with_first('{"cancelled": true}'), question, text, 0, Budget(calls=CALLS, worth=inf))


def test_seconds_are_those_of_the_critical_path(bank):
    question, text = "q0", STRATEGIES[1]
    run = bank.runs[question, text][0]
    effects = tuple(replace(effect, seconds=2.0) for effect in run.effects)
    slow = replace(bank, runs={**bank.runs, (question, text): (replace(run, effects=effects),)})
    _, came = again(slow, question, text, 0, Budget(calls=CALLS, worth=inf))
    rounds = len({effect.path.split(".")[0] for effect in run.effects})
    assert came.outcome.spent.seconds == 2.0 * rounds  # agents of a round speak at once
    assert rounds < len(effects)


def test_measure_replays_each_recorded_run_once_and_counts_misses(bank):
    strategy = strategy_of(STRATEGIES[1])
    assert recorded_as(bank, strategy) == {"sums": arm_of(STRATEGIES[1])}
    assert recorded_as(bank, strategy_of("debate")) == {}
    arms = recorded_as(bank, strategy)
    tariff = BankTariff(bank, arms)
    questions = bank.common(arms)
    assert len(questions) == 3
    job = Job(
        bank, arms, strategy, questions, Budget(calls=CALLS, worth=inf), dict.fromkeys(range(10), Policy()),
        dict.fromkeys(range(10), tariff),
    )  # fmt: skip
    part = measure(job)
    assert {q: len(runs) for q, runs in part.runs.items()} == dict.fromkeys(questions, 2)
    assert part.missed.count == 0
    for q, runs in part.runs.items():
        assert [r.nanos for r in runs] == [r.nanos for r in bank.runs[q, STRATEGIES[1]]]
        assert [r.right for r in runs] == [r.correct for r in bank.runs[q, STRATEGIES[1]]]
    missed = measure(replace(job, strategy=strategy_of("debate:agents=4,structured=false")))
    assert missed.missed.count == 6


def test_decks_of_are_the_runs_of_a_question(bank):
    sources = decks_of(bank, "q1", STRATEGIES[0])
    assert [source.recorded.run for source in sources] == [0, 1]


def test_draws_take_the_seconds_that_were_recorded(tmp_path):
    from satisfice.experiments.recording.conditions import Condition

    anyio.run(recorder(tmp_path, Sums(), Plan(("sums",), (Condition(),), samples=4)).record)
    bank = Bank.open(tmp_path / "bank")
    draws = {g: tuple(replace(d, seconds=1.0 + d.sample_index) for d in row) for g, row in bank.draws.items()}
    run = replay(
        replace(bank, draws=draws), "q0", strategy_of("self_consistency:samples=4"), budget=Budget(calls=4, worth=inf)
    )
    assert run.outcome.spent.calls > 1
    assert (
        run.outcome.spent.seconds == max(draws["q0", "sums", "direct@0.7"][i].seconds for i in range(4))
        or run.outcome.spent.seconds > 1.0
    )


def test_every_run_of_the_shipped_bank_replays_to_itself():
    bank = Bank.open("small")
    assert bank.runs
    for (question, text), runs in bank.runs.items():
        for source in decks_of(bank, question, text):
            tariff = BankTariff(bank, {source.recorded.model: arm_of(text)})
            run = run_on(source, strategy_of(text), Budget(calls=64, worth=inf), Policy(), tariff, 0)
            recorded, candidate = source.recorded, run.outcome.candidate
            assert (candidate.answer if candidate else None, run.outcome.reason) == (recorded.answer, recorded.stop)
            assert (run.outcome.spent.nanos, run.outcome.spent.tokens) == (recorded.nanos, recorded.tokens)
        assert runs


def test_the_shipped_bank_is_what_its_documentation_says():
    bank = Bank.open("small")
    assert len(bank.questions) == 300
    assert {(m, a) for m, a in bank.arms} >= {
        ("local/smollm2", "direct@0.7"),
        ("local/qwen2.5-coder-0.5b", "direct@0.7"),
    }
    assert {len(row) for (_, _, arm), row in bank.draws.items() if arm == "direct@0.7"} == {16}
    assert {"confidence_mean", "p_true@smollm2", "judge@smollm2"} <= set(bank.verifiers)
    assert all(d.seconds for (_, m, _), row in bank.draws.items() if m == "local/smollm2" for d in row)
    assert sum(f.stat().st_size for f in bank.path.iterdir()) < 3_000_000
