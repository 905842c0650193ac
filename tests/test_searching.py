"""Workflow search: edits, racing, the archive, judging on held-out questions, replay that is exact, and live within a
budget."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from satisfice.budgets.prices import Price
from satisfice.core.errors import BadQuery, CallerError, ModelRefused, NoAnswer, StoreError
from satisfice.experiments.bank import Bank, Draw, Question, Scored
from satisfice.experiments.searching.archive import Archive, Entry
from satisfice.experiments.searching.choosing import chances, choose, experience
from satisfice.experiments.searching.documents import difference, digest, made, slots, warmed
from satisfice.experiments.searching.grammar import EDITS, Grammar
from satisfice.experiments.searching.judging import judge
from satisfice.experiments.searching.live import live, read_tasks, split
from satisfice.experiments.searching.proposing import FromModel
from satisfice.experiments.searching.replayed import Replay, depends_on_votes
from satisfice.experiments.searching.scoring import Figure, Terms, Unanswerable, hopeless, rungs
from satisfice.experiments.searching.search import Proposal, search
from satisfice.experiments.searching.space import SMALL, Space, cascade, usual_seeds
from satisfice.models.scripted import ScriptedModel
from satisfice.scheduler.engine import Engine
from satisfice.strategies.orchestrate import Orchestrate
from satisfice.strategies.registry import strategy_of
from satisfice.strategies.workflow import Workflow

MODELS = ("a", "b", "c")
COST = {"a": 1_000, "b": 2_000, "c": 40_000}
WORTH = 1e-3


def bank(n: int = 60, draws: int = 1, seed: int = 0, chance: Sequence[float] = (0.6, 0.6, 0.9)) -> Bank:
    """Two cheap models and a dear one. Wrong answers seldom agree; some are blank."""
    dice = random.Random(seed)
    questions, found = {}, {}
    for i in range(n):
        name = f"q{i}"
        questions[name] = Question(name, "sums", f"How much is {i}?", "1", "number", (), i % 10)
        for model, p in zip(MODELS, chance, strict=True):
            row = []
            for k in range(draws):
                right = dice.random() < p
                key = "1" if right else dice.choice(["2", "3", "4", "5", None])
                row.append(Draw(k, key or "", key, right, 10, 10, COST[model] + dice.randrange(50)))
            found[name, model, "direct"] = tuple(row)
    return Bank(questions, found)


ARMS = dict.fromkeys(MODELS, "direct")
SPACE = Space(MODELS, draws=1, agreements=(0.6, 1.0), votes=(2, 3))


def replay(n: int = 60, draws: int = 1, **settings: Any) -> Replay:
    return Replay(bank(n, draws), ARMS, WORTH, resamples=3 if draws > 1 else 1, **settings)


def parts(scorer: Replay) -> tuple[list[str], list[str]]:
    train = [q for q in scorer.questions if scorer.bank.questions[q].fold < 7]
    return train, [q for q in scorer.questions if q not in train]


def found(scorer: Replay, steps: int = 40, first: int = 8, **settings: Any) -> Any:
    train, _ = parts(scorer)
    terms = Terms(WORTH)
    return search(scorer, usual_seeds(SPACE), train, terms=terms, space=SPACE, steps=steps, first=first, **settings)


# -- documents and edits --------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([SPACE, Space.live(("a", "b")), Space.live(), Space(checks=True)]))
def test_any_chain_of_edits_reads_back_or_is_refused_in_words(seed: int, space: Space) -> None:
    dice = random.Random(seed)
    grammar = Grammar(space, [{"steps": [space.sample(m) for m in space.models] or [space.sample()]}])
    flow = made({"steps": [space.sample(space.models[0] if space.models else None)]}, space.models, space.caps)
    for _ in range(12):
        document, kind, said = grammar.propose(flow.to_dict(), dice, {})
        assert kind in EDITS and said
        try:
            flow = made(document, space.models, space.caps)
        except CallerError as error:
            assert "workflow" in str(error)
            continue
        assert flow.committed and set(flow.models) <= set(space.models)
        assert made(flow.to_yaml(), space.models, space.caps) == flow
        assert len(slots(flow.to_dict())) <= SMALL.nodes


def test_a_bank_s_grammar_offers_only_what_a_bank_can_tell_apart() -> None:
    kinds = set(Grammar(SPACE).kinds())
    assert not kinds & {"prompt", "temperature", "think", "review", "strategy", "verify", "loop", "graft"}
    assert {"prompt", "temperature", "think"} <= set(Grammar(Space.live()).kinds())


def test_what_does_nothing_is_tidied_away_and_equal_documents_have_one_digest() -> None:
    one = {"do": "sample", "model": "a"}
    long = [{"do": "sequence", "steps": [{"do": "parallel", "branches": [one]}]}, {"do": "vote"}, {"do": "vote"}]
    short = made([one, {"do": "vote"}], MODELS, SMALL)
    assert made(long, MODELS, SMALL) == short
    assert digest(made(long, MODELS, SMALL)) == digest(short)
    other = made([{**one, "model": "b"}], MODELS, SMALL)
    assert "-  model: a" in difference(short, other) and "+  model: b" in difference(short, other)


@pytest.mark.parametrize(
    "document",
    [
        [{"do": "sample", "model": "other"}],
        [{"do": "strategy", "name": "os:system"}],
        [{"do": "strategy", "name": "workflow", "settings": {"source": "{}"}}],
        [{"do": "parallel", "branches": [{"do": "sample"}] * 60}],
        {"steps": []},
        "no workflow",
    ],
)
def test_nothing_that_a_proposer_writes_is_run_unvetted(document: Any) -> None:
    scorer = replay(20)
    searched = found(scorer, steps=3, proposers=[lambda *_: Proposal(document, "odd", "an odd edit", "odd")])
    tried = [one for one in searched.archive.entries if one.by == "odd"]
    assert [one.status for one in tried] == ["refused"] * 3 and all(one.why for one in tried)


def test_a_document_can_be_committed_but_none_that_a_model_writes_for_a_question() -> None:
    assert Workflow.of({"committed": True, "steps": [{"do": "sample"}]}).committed
    assert not Workflow.of({"steps": [{"do": "sample"}]}).committed
    assert not Orchestrate().read('{"committed": true, "steps": [{"do": "sample"}]}').committed


# -- scoring on a bank ----------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([1, 4]))
def test_reading_off_by_pattern_is_the_same_as_a_run_for_each_question(seed: int, draws: int) -> None:
    scorer = replay(25, draws)
    dice, flow = random.Random(seed), made({"steps": [{"do": "sample", "model": "a"}]}, MODELS, SMALL)
    space = Space(MODELS, draws=draws)
    for _ in range(5):
        document, _, _ = Grammar(space).propose(flow.to_dict(), dice, {})
        try:
            flow = made(document, MODELS, SMALL)
        except CallerError:
            continue
    assert depends_on_votes(flow)

    def run_each() -> list[Figure]:
        each = range(scorer.seed, scorer.seed + (3 if draws > 1 else 1))
        rows = [[scorer._once(flow, scorer._deck(q), s, False) for s in each] for q in scorer.questions]
        return [Figure(*(sum(column) / len(row) for column in zip(*row, strict=True))) for row in rows]

    try:
        slow = run_each()
    except Unanswerable:
        with pytest.raises(Unanswerable):
            scorer.score(flow, scorer.questions)
        return
    assert scorer.score(flow, scorer.questions) == slow
    runs = scorer.runs
    assert scorer.score(flow, scorer.questions) == slow and scorer.runs == runs


def test_a_cascade_is_billed_and_scored_as_by_hand() -> None:
    scorer = replay(40)
    flow = made(cascade("a", "b", "c", SPACE), MODELS, SMALL)
    for question, figure in zip(scorer.questions, scorer.score(flow, scorer.questions), strict=True):
        a, b, c = (scorer.bank.draws[question, m, "direct"][0] for m in MODELS)
        keys = [d.key for d in (a, b) if d.key is not None]
        agreed = len(set(keys)) == 1  # a blank is no vote
        nanos = (a.nanos or 0) + (b.nanos or 0) + (0 if agreed else c.nanos or 0)
        right = next(d for d in (a, b) if d.key is not None).correct if agreed else c.correct
        if agreed or c.key is not None:
            assert figure == Figure(float(right), nanos / 1e9, 1.0)


def test_recorded_verifiers_are_asked_and_billed_as_the_checks_of_a_question() -> None:
    made_of = bank(20)
    places = [(q, m, a, d.sample_index) for (q, m, a), row in made_of.draws.items() for d in row]
    said = {place: {"v": Scored(0.9 if made_of.draws[place[:3]][0].correct else 0.1, 5, 300)} for place in places}
    scorer = Replay(replace(made_of, verdicts=said), ARMS, WORTH, verifiers=("v",))
    plain = made({"steps": [SPACE.sample("a")]}, MODELS, SMALL)
    checked = made({"steps": [SPACE.sample("a"), {"do": "verify"}]}, MODELS, SMALL)
    for question, one, two in zip(
        scorer.questions,
        scorer.score(plain, scorer.questions),
        scorer.score(checked, scorer.questions),
        strict=True,
    ):
        blank = made_of.draws[question, "a", "direct"][0].key is None
        assert two.usd - one.usd == pytest.approx(0.0 if blank else 300e-9)


def test_what_the_bank_does_not_hold_is_unanswerable_and_not_wrong() -> None:
    twice = {"steps": [{"do": "sample", "model": "a"}, {"do": "sample", "model": "a"}]}
    asked = {"steps": [{"do": "sample", "model": "a", "prompt": "Think. $query"}]}
    seeds = {"one": {"steps": [{"do": "sample", "model": "a"}]}, "twice": twice, "asked": asked}
    scorer = replay(20)
    searched = search(scorer, seeds, parts(scorer)[0], terms=Terms(WORTH), space=SPACE, steps=0)
    one, two, three = searched.archive.entries
    assert (one.status, two.status, three.status) == ("scored", "unanswerable", "unanswerable")
    assert "recorded" in two.why and not two.right and searched.best == one


def test_bad_settings_are_refused() -> None:
    with pytest.raises(CallerError, match="resamples"):
        Replay(bank(5), ARMS, WORTH, resamples=0)
    with pytest.raises(CallerError, match="worth"):
        Terms(0.0)
    scorer = replay(10)
    for wrong in ({"select": "best"}, {"steps": -1}, {"first": 1}):
        with pytest.raises(CallerError):
            found(scorer, **{"steps": 1, **wrong})


# -- the search -----------------------------------------------------------------------------------------------------


def test_a_hopeless_workflow_is_given_up_early_and_a_close_one_is_not() -> None:
    assert rungs(100, 8) == [8, 16, 32, 64, 100] and rungs(5, 8) == [5]
    assert hopeless([0.0] * 8, [1.0, 1.0, 1.0, 0.9] * 2)
    assert not hopeless([0.0, 1.0] * 8, [1.0, 0.0] * 8)
    assert not hopeless([0.5] * 8, [0.5] * 8)
    scorer = replay(60)
    bad = {"bad": {"steps": [{"do": "parallel", "branches": [SPACE.sample(m) for m in MODELS]}, SPACE.sample("c")]}}
    seeds = {"one": {"steps": [SPACE.sample("a")]}, "dear": {"steps": [SPACE.sample("c")]}, **bad}
    terms = Terms(5e-5)
    searched = search(scorer, seeds, parts(scorer)[0], terms=terms, space=SPACE, steps=0, first=8)
    status = {one.name: (one.status, len(one.right)) for one in searched.archive.entries}
    assert status["one"] == ("scored", 42) and status["dear"][0] == "hopeless" and status["dear"][1] < 42


def test_the_choice_prefers_the_best_and_leaves_none_out() -> None:
    weights = chances([0.9, 0.8, 0.1])
    assert sum(weights) == pytest.approx(1) and weights[0] > weights[1] > weights[2] >= 0.2 / 3
    searched = found(replay(30), steps=30)
    archive, terms = searched.archive, searched.terms
    picked = {choose(archive, terms, random.Random(i), "mixed").number for i in range(200)}
    assert searched.best.number in picked and searched.best_seed.number in picked and len(picked) > 2
    assert choose(archive, terms, random.Random(0), "ucb").status == "scored"
    assert all(0 < weight < 1 for weight in experience(archive, terms).values())


def test_it_finds_what_is_better_and_the_held_out_questions_say_so() -> None:
    """Cheap models that are right 9 times of 10 together, and seeds that are all dear: n = 120 held out."""
    scorer = Replay(bank(400, chance=(0.85, 0.85, 0.9)), ARMS, WORTH)
    train, held = parts(scorer)
    seeds = {
        "dear": {"steps": [SPACE.sample("c")]},
        "all": {"steps": [{"do": "parallel", "branches": [SPACE.sample(m) for m in MODELS]}]},
    }
    searched = search(scorer, seeds, train, terms=Terms(2e-4), space=SPACE, steps=60)
    judged = judge(searched, scorer, held)
    assert judged.questions == 120 and judged.beats and judged.gain.low > 0.02
    assert "beats the best seed" in judged.verdict
    line = searched.archive.line(searched.best)
    assert line[0].by == "seed" and all(one.edit for one in line[1:])


def test_where_nothing_is_to_be_found_it_says_so() -> None:
    """All models alike and equally dear, a draw each: any gain on the training questions is luck."""
    scorer = replay(20)
    searched = search(
        scorer, {"one": {"steps": [SPACE.sample("a")]}}, parts(scorer)[0], terms=Terms(1e-6), space=SPACE, steps=10
    )
    judged = judge(searched, scorer, parts(scorer)[1])
    assert not judged.beats and "none of" in judged.verdict
    assert judged.gain.estimate == 0 and json.dumps(judged.to_dict())


def test_the_same_seed_gives_the_same_search_and_an_interrupted_one_goes_on(tmp_path: Path) -> None:
    whole = found(replay(30), steps=25).archive.entries
    head = {"of": "a bank"}

    class Stop(Exception):
        pass

    def stop(done: int, of: int, entry: Entry) -> None:
        if done == 20:
            raise Stop

    with pytest.raises(Stop):
        found(replay(30), steps=25, archive=Archive.open(head, tmp_path / "x"), progress=stop)
    file = tmp_path / "x" / "archive.jsonl"
    assert len(file.read_text().splitlines()) == 20
    with file.open("a") as half:
        half.write('{"number": 20, "status"')  # a crash in the middle of a line
    again = Archive.open(head, tmp_path / "x")
    assert found(replay(30), steps=25, archive=again).archive.entries == whole
    assert [e.document for e in Archive.open(head, tmp_path / "x").entries] == [e.document for e in whole]
    assert found(replay(30), steps=25, seed=1).archive.entries != whole


def test_an_archive_of_another_search_or_a_broken_one_is_refused(tmp_path: Path) -> None:
    Archive.open({"of": "a", "worth": 1.0}, tmp_path)
    with pytest.raises(CallerError, match="another search: its worth"):
        Archive.open({"of": "a", "worth": 2.0}, tmp_path)
    (tmp_path / "archive.jsonl").write_text("not JSON\n")
    with pytest.raises(StoreError, match="cannot be read"):
        Archive.open({"of": "a", "worth": 1.0}, tmp_path)


def test_a_model_proposes_and_what_it_writes_is_vetted() -> None:
    replies = iter(
        [
            'Sure:\n```json\n{"steps": [{"do": "sample", "model": "b"}]}\n```',
            "I cannot.",
            '{"steps": [{"do": "sample", "model": "expensive"}]}',
        ]
    )
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return next(replies)

    scorer, seeds = replay(20), {"one": {"steps": [SPACE.sample("a")]}}
    propose = FromModel(ask, SPACE, Terms(WORTH), "writer")
    searched = search(scorer, seeds, parts(scorer)[0], terms=Terms(WORTH), space=SPACE, steps=3, proposers=[propose])
    assert [one.status for one in searched.archive.entries[1:]].count("refused") == 2
    assert searched.archive.entries[1].by == "writer" and searched.archive.entries[1].status in ("scored", "hopeless")
    assert "one of a, b, c" in asked[0] and '"model": "a"' in asked[0]


# -- live -----------------------------------------------------------------------------------------------------------

TASKS = [{"id": f"t{i}", "query": f"How much is {i} + 1?", "gold": str(i + 1), "answer": "number"} for i in range(12)]


def tasks(folder: Path) -> Path:
    path = folder / "tasks.jsonl"
    path.write_text("\n".join(map(json.dumps, TASKS)))
    return path


def engine() -> Engine:
    """A model that is right if it is asked to think, and on half of the questions otherwise."""

    def say(asked: str) -> str:
        right = int(asked.split("How much is ")[1].split(" ")[0]) + 1
        return f"Answer: {right if right % 2 or 'step by step' in asked else 99}"

    made = Engine("m", journal=False)
    made.register("m", ScriptedModel(lambda request, index: say(request.messages[-1].content)), Price.per_million(1, 1))
    return made


def test_a_live_search_finds_the_prompt_that_helps_within_its_budget(tmp_path: Path) -> None:
    known = read_tasks(tasks(tmp_path))
    train, held = split(list(known), 0.34)
    space, terms = Space.live(), Terms(1.0)
    with live(known, [], budget=1.0, worth=1.0, engine=engine()) as scorer:
        searched = search(
            scorer,
            {"one": {"steps": [{"do": "sample"}]}},
            train,
            terms=terms,
            space=space,
            steps=25,
            first=4,
            judging=len(held),
        )
        judged = judge(searched, scorer, held)
        assert 0 < scorer.spent <= 1.0
    assert "step by step" in json.dumps(searched.best.document) and judged.found.right.estimate == 1.0
    assert sum(one.spent for one in searched.archive.entries) <= scorer.spent


def test_a_live_search_ends_with_its_budget_and_keeps_enough_to_judge(tmp_path: Path) -> None:
    known = read_tasks(tasks(tmp_path))
    train, held = split(list(known), 0.34)
    with live(known, [], budget=0.012, worth=1.0, engine=engine()) as scorer:
        searched = search(
            scorer,
            {"one": {"steps": [{"do": "sample"}]}},
            train,
            terms=Terms(1.0),
            space=Space.live(),
            steps=500,
            first=4,
            judging=len(held),
        )
        judged = judge(searched, scorer, held, spare=True)
        assert searched.why == "budget" and scorer.spent <= 0.012
    assert judged.questions == len(held)
    with pytest.raises(CallerError, match="nothing is left"), live(known, [], budget=0.01, worth=1.0, spent=0.01):
        pass


def test_a_model_that_never_answers_is_an_error_and_no_wrong_answers(tmp_path: Path) -> None:
    down = Engine("m", journal=False)
    down.register("m", ScriptedModel([ModelRefused("no credit")]), Price.per_million(1, 1))
    known = read_tasks(tasks(tmp_path))
    with live(known, [], budget=1.0, worth=1.0, engine=down) as scorer, pytest.raises(NoAnswer, match="no credit"):
        scorer.score(made({"steps": [{"do": "sample"}]}, (), SMALL), list(known))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 1"),
        ('{"query": "x"}', "gold"),
        ('{"query": "x", "gold": "1", "answer": "song"}', "song"),
        ('{"query": "x", "gold": "none", "answer": "number"}', "cannot be read"),
        ("", "no tasks"),
    ],
)
def test_bad_tasks_are_refused_with_their_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(line)
    with pytest.raises(BadQuery, match=says):
        read_tasks(path)


def test_tasks_hold_any_line_ends_and_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text('\ufeff{"query": "a\u2028b", "gold": "c"}\r\n', "utf-8")
    (one,) = read_tasks(path).values()
    assert one.task.messages[0].content == "a\u2028b"
    with pytest.raises(CallerError, match="cannot be read"):
        read_tasks(tmp_path / "none.jsonl")


def test_a_winner_asks_at_the_temperature_that_was_recorded() -> None:
    asks = [{"do": "sample", "model": "a"}, {"do": "sample", "model": "b", "params": {"max_tokens": 8}}]
    found = {"steps": [{"do": "parallel", "branches": asks}, {"do": "vote"}]}
    warm = warmed(found, {"a": "direct@0.3", "b": "direct@1", "c": "direct@0"})
    params = [slot.step.get("params") for slot in slots(warm) if slot.step["do"] == "sample"]
    assert params == [{"temperature": 0.3}, {"temperature": 1.0, "max_tokens": 8}]
    assert warmed(found, {"a": "direct", "b": "baseline"}) == found
    assert Workflow.of(warm).to_dict()["steps"][0]["branches"][0]["params"]["temperature"] == 0.3


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_winner_that_solve_runs_and_goes_on_with_its_archive(tmp_path: Path) -> None:
    from satisfice.cli.searching import search as command

    pytest.importorskip("pyarrow")
    bank(40).save(tmp_path / "bank")
    call = ["--bank", str(tmp_path / "bank"), "--worth", "0.001", "--out", str(tmp_path / "out"), "--json"]
    first = CliRunner().invoke(command, [*call, "--steps", "10"], catch_exceptions=False)
    said = json.loads(first.stdout)
    assert said["looked"] == 1 and sum(said["tried"].values()) == 10 + len(usual_seeds(SPACE))
    winner = strategy_of(said["winner"])
    assert isinstance(winner, Workflow) and winner.committed
    again = json.loads(CliRunner().invoke(command, [*call, "--steps", "12"], catch_exceptions=False).stdout)
    assert again["looked"] == 2 and sum(again["tried"].values()) == 12 + len(usual_seeds(SPACE))
    shown = CliRunner().invoke(command, [*call[:-1], "--steps", "12"], catch_exceptions=False)
    assert "workflows tried" in shown.stdout and "held-out" in shown.stdout
    for wrong in (["--worth", "1"], ["--live", "--worth", "1"], [*call[:2], "--proposer", "m", "--worth", "1"]):
        with pytest.raises(CallerError):
            CliRunner().invoke(command, [*wrong, "--out", str(tmp_path / "y")], catch_exceptions=False)
