"""Tune: what pays is found and claimed on held-out questions, what does not is refused, policies work as they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.budgets.prices import Price
from satisfice.cli import cli
from satisfice.core.errors import CallerError, MissingExtra, UnknownName
from satisfice.experiments import Bank, Draw, Question, evaluate, fit, tune
from satisfice.experiments.bank import Scored
from satisfice.experiments.replaying import BankTariff, Deck, run_on
from satisfice.experiments.tuning import searching
from satisfice.experiments.tuning.choices import FAMILIES, Choice, Space
from satisfice.experiments.tuning.nested import _policy, content_hash
from satisfice.experiments.tuning.playing import Player, comparable, points
from satisfice.experiments.tuning.standing import Standing, prompt_of, temperature
from satisfice.models import ScriptedModel
from satisfice.models.settings import Settings
from satisfice.scheduler.engine import Engine
from satisfice.strategies.registry import strategy_of


@cache
def bank(
    right: tuple[float, ...] = (0.6,),
    draws: int = 7,
    questions: int = 120,
    nanos: tuple[int, ...] = (1000,),
    seed: int = 0,
) -> Bank:
    """Questions on which each draw of model i is right with chance `right[i]`, wrong answers hardly ever agreeing."""
    dice = np.random.default_rng(seed)
    known, rows = {}, {}
    for q in range(questions):
        known[f"q{q}"] = Question(f"q{q}", "d", f"question {q}", "r", "text", (), q % 8)
        for i, (theta, cost) in enumerate(zip(right, nanos, strict=True)):
            keys = ["r" if dice.random() < theta else f"w{dice.integers(9)}" for _ in range(draws)]
            row = tuple(Draw(j, k, k, k == "r", 10, 10, cost) for j, k in enumerate(keys))
            rows[f"q{q}", f"m{i}", "direct@0.5"] = row
    return Bank(known, rows)


def test_votes_that_pay_are_claimed_and_the_policy_says_so() -> None:
    tuned = tune(bank(draws=5), trials=6, parts=3)
    assert tuned.claimed
    assert tuned.improvement is not None
    assert 0 < tuned.improvement.low < tuned.improvement.estimate < 40
    assert "model=m0" in tuned.chosen
    assert tuned.chosen.startswith("self_consistency")
    assert tuned.policy.strategy == tuned.chosen
    assert strategy_of(tuned.chosen).model == "m0"  # type: ignore[attr-defined]
    assert strategy_of(tuned.chosen).params.temperature == 0.5  # type: ignore[attr-defined]
    facts = tuned.policy.provenance
    assert facts["improvement_low"] == pytest.approx(tuned.improvement.low, abs=1e-3)
    assert (facts["tuned"], facts["questions"], facts["seed"]) == ("claimed", 120, 0)
    assert len(str(facts["bank_hash"])) == 64
    assert sum(part.questions for part in tuned.parts) == 120
    gains = [gain.estimate for gain in tuned.at_worths.values()]
    assert tuned.improvement.estimate == pytest.approx(sum(gains) / len(gains), abs=1e-6)


def test_what_does_not_pay_is_refused_with_the_smallest_effect() -> None:
    """Draws of a question are all alike: votes tell nothing."""
    alike = bank(draws=6)
    rows = {
        g: tuple(Draw(j, row[0].key or "", row[0].key, row[0].correct, 10, 10, 1000) for j in range(6))
        for g, row in alike.draws.items()
    }
    tuned = tune(Bank(alike.questions, rows), trials=6, parts=2)
    assert not tuned.claimed
    assert tuned.chosen == tuned.baseline == tuned.policy.strategy
    assert tuned.chosen.startswith("single_shot")
    assert "use single_shot" in tuned.why
    assert tuned.policy.provenance["tuned"] == "single_shot"


def test_a_refusal_says_what_the_bank_could_have_shown() -> None:
    tuned = tune(bank(questions=40, draws=2, right=(0.5,)), trials=4, parts=2, effect=5.0)
    assert not tuned.claimed
    assert tuned.smallest is not None
    assert tuned.smallest > 0
    assert tuned.needed is not None
    assert (tuned.needed / 40) ** 0.5 == pytest.approx(tuned.smallest / 5.0, rel=0.02)


SEVERAL = {"right": (0.5, 0.7), "nanos": (1000, 3000), "questions": 48, "draws": 3}


def test_the_same_seed_gives_the_same_result() -> None:
    one, again = (tune(bank(**SEVERAL), trials=6, parts=2, seed=3) for _ in range(2))  # type: ignore[arg-type]
    assert one == again
    assert one.policy == again.policy


@pytest.mark.long
def test_the_result_does_not_depend_on_how_many_processes_work() -> None:
    one, other = (tune(bank(**SEVERAL), trials=6, parts=2, seed=3, jobs=n) for n in (1, 2))  # type: ignore[arg-type]
    assert one == other


def test_what_the_policy_would_do_is_what_evaluate_measures() -> None:
    """The claim is of held-out parts; the value on all questions is that of the policy's own replay."""
    some = bank(questions=60, draws=5)
    player = Player(some, Space.of(some), (1e-4,))
    choice = Choice("self_consistency", (("m0", "direct@0.5"),), (("most", 5),))
    mine = player.gains(choice, some.folds, range(60)).mean()
    policy = player.policy(choice, some.folds)
    row = evaluate(some, {"it": choice.strategy}, policy=policy, worth=1e-4, resamples=16).row("it")
    assert row.net is not None
    assert mine == pytest.approx(row.net.estimate / 1e-4, abs=1e-9)


@pytest.mark.parametrize("worth", [2e-5, 1e-4, 1e-3])
def test_cascades_by_pattern_do_what_the_plan_does(worth: float) -> None:
    dice = np.random.default_rng(5)
    both = bank(right=(0.4, 0.7), nanos=(500, 4000), questions=60, draws=1)
    rows = {
        group: tuple(Draw(0, "", None, False, 10, 10, d.nanos) if dice.random() < 0.15 else d for d in row)
        for group, row in both.draws.items()
    }
    both = Bank(both.questions, rows)
    space = Space.of(both)
    player, choice = Player(both, space, (worth,)), Choice("cascade", space.chains[0])
    mine = player.gains(choice, both.folds, range(60))[:, 0]
    team, policy = dict(choice.team), player.policy(choice, both.folds)
    tariff = BankTariff(both, team, both)
    for i, question in enumerate(space.questions):
        source = Deck.of(both, question, team).shuffled(0)
        run = run_on(source, choice.strategy, Budget(calls=2, worth=worth), policy, tariff, 0)
        assert run.outcome is not None
        right = source.right(run.outcome.answer.candidate if run.outcome.answer else None)
        assert mine[i] == pytest.approx(right - run.outcome.spent.usd / worth)


@pytest.mark.parametrize("name", ["self_consistency", "best_of_n"])
def test_the_policy_that_is_written_plays_as_the_one_that_was_measured(name: str) -> None:
    shipped = Bank.open("small")
    some = shipped.select(models=["local/qwen2.5-coder-0.5b"], folds=shipped.folds[:4])
    said = {
        (*group, d.sample_index): {"judge": Scored((0.9 if d.correct else 0.3) - 0.01 * (i % 7), 0, 0)}
        for i, (group, row) in enumerate(some.draws.items())
        for d in row
    }
    checks = ("judge",) if name == "best_of_n" else ()
    some = Bank(some.questions, some.draws, some.manifest, verdicts=said)
    (arm,) = some.arms
    player, choice = Player(some, Space.of(some, None, checks), (1e-3,)), Choice(name, (arm,), (("most", 16),), *checks)
    measured, written = player.policy(choice, some.folds), _policy(player, choice)
    told = {"name", "provenance", "strategy"}
    assert measured.model_dump(exclude=told) == written.model_dump(exclude=told)
    tariff, came = BankTariff(some, dict([arm]), some, checks), []
    for policy in (measured, written):
        runs = []
        for question in some.questions:
            source = Deck.of(some, question, dict([arm]), checks).shuffled(0)
            run = run_on(source, choice.strategy, Budget(calls=32, worth=0.0041), policy, tariff, 0)
            assert run.outcome is not None
            answer = run.outcome.answer.candidate if run.outcome.answer else None
            runs.append((run.outcome.spent.calls, answer.key if answer else None))
        came.append(runs)
    assert came[0] == came[1]


def test_a_fixed_vote_is_the_majority_of_so_many() -> None:
    some = bank(questions=40, draws=5)
    player = Player(some, Space.of(some), (1e-3,))
    arm = ("m0", "direct@0.5")
    mine = player.gains(Choice("self_consistency", (arm,), (("samples", 3),)), some.folds, range(40)).mean()
    row = evaluate(some, [strategy_of("single_shot")], worth=1e-3, resamples=16).row("majority of 3")
    assert row.net is not None
    assert mine == pytest.approx(row.net.estimate / 1e-3, abs=1e-9)


def test_best_of_n_is_searched_with_the_checks_that_requests_bring() -> None:
    plain = bank(right=(0.3,), questions=48, draws=4)
    said = {
        (*group, d.sample_index): {"oracle": Scored(0.95 if d.correct else 0.05, 0, 0)}
        for group, row in plain.draws.items()
        for d in row
    }
    checked = Bank(plain.questions, plain.draws, verdicts=said)
    assert "best_of_n" not in Space.of(checked).possible()
    tuned = tune(checked, verifiers=["oracle"], trials=4, parts=2, worth=1e-4)
    assert tuned.claimed
    assert tuned.chosen.startswith("best_of_n")
    assert tuned.check == tuned.policy.provenance["check"] == "oracle"
    assert set(tuned.policy.verifiers) == {"oracle"}
    assert tuned.policy.worth == 1e-4


def test_every_choice_is_a_text_that_solve_takes() -> None:
    space = Space.of(bank(right=(0.5, 0.6), nanos=(1000, 2000), questions=16))
    arms = space.arms
    made = [
        Choice("single_shot", arms[:1]),
        Choice("self_consistency", arms[:1], (("samples", 3),)),
        Choice("best_of_n", arms[:1], (("most", 4),), "judge"),
        Choice("cascade", arms),
        Choice("auto", arms),
    ]
    assert {choice.name for choice in made} == set(FAMILIES)
    for choice in made:
        assert Policy(strategy=choice.text).strategy == choice.text
        assert type(strategy_of(choice.text)).name == choice.name  # type: ignore[attr-defined]
    stages = made[3].strategy.stages  # type: ignore[attr-defined]
    assert [(stage.model, stage.params.temperature) for stage in stages] == [("m0", 0.5), ("m1", 0.5)]


@pytest.mark.parametrize(("condition", "warm"), [("cot@0.7", 0.7), ("baseline", None), ("a@b", None), ("x@0", 0.0)])
def test_temperatures_of_recorded_conditions(condition: str, warm: float | None) -> None:
    assert temperature(condition) == warm


def prompted(*conditions: str, draws: int = 3, own: bool = False) -> Bank:
    """One model under these conditions, the later ones right more often."""
    made = {}
    for i, condition in enumerate(conditions):
        drawn = bank(right=(0.3 + 0.6 * i / len(conditions),), questions=32, draws=draws, seed=i)
        made |= {(q, m, condition): row for (q, m, _), row in drawn.draws.items()}
    told = {"conditions": {f"m0 {c}": {"prompts": {"text": "..."}} for c in conditions}} if own else {}
    return Bank(bank(questions=32).questions, made, told)


@pytest.mark.parametrize(
    ("conditions", "kept", "prompt"),
    [
        (("direct@0.7", "chain_of_thought@0.7"), ["direct@0.7"], ""),
        (("direct@0.7", "direct@0.3", "chain_of_thought@1"), ["direct@0.3", "direct@0.7"], ""),
        (("baseline", "retry"), ["baseline"], ""),
        (("baseline@0.7", "direct@0.7"), ["direct@0.7"], ""),
        (
            ("chain_of_thought@0.7", "chain_of_thought@1"),
            ["chain_of_thought@0.7", "chain_of_thought@1"],
            "chain_of_thought",
        ),
    ],
)
def test_what_the_text_of_a_strategy_cannot_stand_for_is_left_out(
    conditions: tuple[str, ...], kept: list[str], prompt: str
) -> None:
    space = Space.of(prompted(*conditions))
    assert sorted(condition for _, condition in space.arms) == kept
    assert space.prompt == prompt
    for condition in set(conditions) - set(kept):
        assert any("left out" in note and f"m0, {condition}" in note for note in space.notes)
    assert any("requests have to be asked by the same" in note for note in space.notes) == bool(prompt)


def test_another_prompt_is_not_what_tuning_writes() -> None:
    """However much better it was: a live run would not ask so."""
    better = prompted("direct@0.7", "chain_of_thought@0.7", draws=4)
    tuned = tune(better, trials=3, parts=2, worth=1e-4)
    plain = tune(better.select(arms=["direct@0.7"]), trials=3, parts=2, worth=1e-4)
    assert (tuned.chosen, tuned.baseline_value) == (plain.chosen, plain.baseline_value)
    assert any("chain_of_thought@0.7" in note for note in tuned.notes)
    alone = tune(better.select(arms=["chain_of_thought@0.7"]), trials=3, parts=2, worth=1e-4)
    assert alone.baseline_value > plain.baseline_value
    assert alone.policy.provenance["prompt"] == "chain_of_thought"
    assert str(alone.policy.provenance["made_by"]).startswith("satisfice ")


def test_prompts_that_no_text_can_tell_apart_are_asked_for() -> None:
    with pytest.raises(CallerError, match=r"several prompts .cot, io.*--arm"):
        Space.of(prompted("cot", "io"))
    assert not Standing.of([("m", "direct@0.7")]).notes({})
    (note,) = Space.of(prompted("direct@0.7", own=True)).notes
    assert "prompts of its own" in note
    assert [prompt_of(c) for c in ("direct@0.7", "a@b", "batch")] == ["direct", "a@b", "batch"]


def test_worths_are_log_uniform() -> None:
    found = points(1.0, 10000.0, 4)
    assert found == pytest.approx([10**0.5, 10**1.5, 10**2.5, 10**3.5])
    assert points(2.0, 2.0) == (2.0,)
    for low, high in ((2.0, 1.0), (0.0, 1.0), (1.0, float("inf"))):
        with pytest.raises(CallerError, match="worth"):
            points(low, high)


def test_arms_are_compared_on_the_same_questions() -> None:
    both = bank(right=(0.5, 0.6), nanos=(1000, 2000), questions=40)
    kept = {g: row for g, row in both.draws.items() if not (g[1] == "m1" and g[0] in ("q0", "q1"))}
    kept |= {(f"q{i}", "m2", "direct@0.5"): (Draw(0, "r", "r", True, 1, 1, 5),) for i in range(9)}
    kept |= {(f"q{i}", "m3", "direct@0.5"): (Draw(0, "r", "r", True, 1, 1),) for i in range(40)}
    mixed = Bank(both.questions, kept)
    space = Space.of(mixed)
    assert [model for model, _ in space.arms] == ["m0", "m1"]
    assert len(space.questions) == 38
    assert len(comparable(mixed, space).questions) == 38
    assert any("m2" in note and "fewer than 90%" in note for note in space.notes)
    assert any("m3" in note and "cost" in note for note in space.notes)


def test_what_cannot_be_tuned_is_said() -> None:
    some = bank(questions=16, draws=2)
    with pytest.raises(UnknownName, match="strategy that tune searches"):
        tune(some, strategies=["debate"])
    with pytest.raises(UnknownName, match="recorded verifier"):
        tune(some, verifiers=["judge"])
    with pytest.raises(CallerError, match="one fold"):
        tune(some.select(folds=[0]))
    for bad in ({"trials": 0}, {"parts": 1}, {"effect": 0.0}, {"worth": -1.0}):
        with pytest.raises(CallerError, match="expected"):
            tune(some, **bad)  # type: ignore[arg-type]
    unpriced = Bank(
        some.questions,
        {g: tuple(Draw(d.sample_index, d.answer, d.key, d.correct) for d in row) for g, row in some.draws.items()},
    )
    with pytest.raises(CallerError, match="knows no costs"):
        tune(unpriced)
    free = Bank(
        some.questions,
        {
            g: tuple(Draw(d.sample_index, d.answer, d.key, d.correct, 1, 1, 0) for d in row)
            for g, row in some.draws.items()
        },
    )
    with pytest.raises(CallerError, match="cost nothing"):
        tune(free)


def test_one_sample_of_each_question_is_no_vote() -> None:
    tuned = tune(bank(questions=64, draws=1), trials=3, parts=2)
    assert not tuned.claimed
    assert any("one sample of each question" in note for note in tuned.notes)


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"satisfice\[tune\]"):
        tune(bank())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_policy_thinks_as_it_says_in_live_runs() -> None:
    policy = tune(bank(draws=5), trials=6, parts=2).policy
    assert policy.strategy.startswith("self_consistency")
    engine = Engine("m0", settings=Settings(ledger=False), policy=policy, journal=False)
    engine.register("m0", ScriptedModel(["Answer: 7"] * 9), Price.per_million(1, 1))
    async with engine:
        done = await engine.solve("How much?", budget=Budget(calls=5, worth=1.0), answer="number")
    assert done.answer == "7"
    assert done.strategy == "self_consistency"
    assert 1 < done.spend.calls <= 5


class Stopping:
    """An interrupt after so many trials."""

    def __init__(self, after: int) -> None:
        self.after, self.said = after, [""]

    def __call__(self, done: int, total: int, best: str) -> None:
        self.said.append(best)
        if done == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("after", "judged"), [(2, 0), (12, 1)])
def test_an_interrupt_keeps_what_was_found_and_claims_what_was_judged(after: int, judged: int) -> None:
    stop = Stopping(after)
    tuned = tune(bank(draws=5), trials=5, parts=2, progress=stop)
    assert tuned.interrupted
    assert len(tuned.parts) == judged
    assert tuned.why.startswith("interrupted")
    if not judged:
        assert not tuned.claimed
        assert tuned.policy.strategy == tuned.baseline
        assert tuned.best in tuned.why


def test_a_race_gives_up_what_is_clearly_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    some = bank(questions=200, draws=3)
    player = Player(some, Space.of(some), (1e-3,))

    def gains(choice: Choice, folds: Sequence[int], at: Sequence[int]) -> object:
        asked.append(len(at))
        return np.full((len(at), 1), 0.2 if choice.name == "auto" else 0.5) + np.arange(len(at))[:, None] * 1e-4

    monkeypatch.setattr(player, "gains", gains)
    race = searching._Race(player, tuple(some.folds), 0)
    shot = Choice("single_shot", (("m0", "direct@0.5"),))
    race.enter(shot)
    asked.clear()
    assert race.enter(Choice("auto", shot.team)) is None
    assert asked == [searching.LAPS[0]] * 2


def test_hashes_tell_banks_apart() -> None:
    one, same, other = (
        bank(questions=16),
        Bank(bank(questions=16).questions, bank(questions=16).draws),
        bank(questions=17),
    )
    assert content_hash(one) == content_hash(same) != content_hash(other)
    first, second = (
        fit(b, parts=()).provenance["questions_hash"] for b in (bank(questions=32), bank(questions=32, seed=1))
    )
    assert first == second != fit(bank(questions=33), parts=()).provenance["questions_hash"]


def test_the_command_writes_a_policy_and_says_what_was_found(tmp_path: Path) -> None:
    folder, out = tmp_path / "bank", tmp_path / "policy.json"
    bank(questions=64, draws=5).save(folder)
    call = ["tune", "--bank", str(folder), "--out", str(out), "--trials", "4", "--effect", "3", "--parts", "2"]
    said = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert said.exit_code == 0
    policy = Policy.load(out)
    assert policy.strategy in said.output
    assert "held-out questions" in said.output
    assert "95% interval" in said.output
    assert "satisfice evaluate" in said.output
    data = json.loads(CliRunner().invoke(cli, [*call, "--json", "--worth", "1e-5:1e-3"], catch_exceptions=False).stdout)
    assert data["chosen"] == Policy.load(out).strategy
    assert len(data["at_worths"]) == 5
    assert Policy.load(out).worth == pytest.approx(1e-4)


def test_the_command_writes_nothing_where_the_call_is_wrong(tmp_path: Path) -> None:
    folder, out = tmp_path / "bank", tmp_path / "policy.json"
    bank(questions=16, draws=2).save(folder)
    for more in (["--worth", "cheap"], ["--verifier", "nobody"], ["--strategy", "debate"]):
        result = CliRunner().invoke(cli, ["tune", "--bank", str(folder), "--out", str(out), *more])
        assert isinstance(result.exception, CallerError)
    assert not out.exists()
