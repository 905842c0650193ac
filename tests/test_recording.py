"""Recording a bank: what is asked, what is kept of it, and that nothing is asked twice."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest

from satisfice import Engine
from satisfice.budgets.prices import Price
from satisfice.core.completions import Completion, Request, Response, Usage
from satisfice.core.errors import BadQuery, CallerError, ModelUnavailable, UnknownName
from satisfice.core.task import Candidate
from satisfice.experiments.bank import Bank
from satisfice.experiments.recording.asked import Asked, asked_of, fold_of
from satisfice.experiments.recording.conditions import Condition
from satisfice.experiments.recording.estimating import estimate
from satisfice.experiments.recording.naming import fingerprint, identity, install
from satisfice.experiments.recording.recorder import Recorder
from satisfice.experiments.recording.units import Plan, Unit
from satisfice.models.scripted import ScriptedModel
from satisfice.models.settings import Settings

PRICE = Price.per_million(1.0, 2.0)
REFINE = (
    'workflow:source={"steps":[{"do":"sample","as":"draft"},{"do":"sample","prompt":"Somebody said: $draft\\n$query"}]}'
)


def tasks(path: Path, count: int = 3) -> Asked:
    rows = [
        {"id": f"q{i}", "question": f"How much is {i} + 2?", "answer": str(i + 2), "kind": "number"}
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return asked_of(str(path))


class Sums:
    """Adds the two numbers; every third reply is one too many. Counts the completions that it gave."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.given, self.requests, self.fails_after = 0, list[Request](), fails_after

    async def complete(self, request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        self.requests.append(request)
        if self.fails_after is not None and self.given >= self.fails_after:
            signal.raise_signal(signal.SIGINT)  # as Ctrl-C does
            await anyio.sleep(60)
        first = int(request.messages[-1].content.partition("How much is ")[2].split()[0])
        choices = []
        for _ in range(request.n):
            self.given += 1
            choices.append(Completion(str(first + 2 + (self.given % 3 == 0)), "stop", 3, logprobs=(-0.25, -0.75)))
        return Response(tuple(choices), Usage(10, 3 * request.n), "sums")


def recorder(tmp_path: Path, model: object, plan: Plan | None = None, **fields: object) -> Recorder:
    plan = plan or Plan(("sums",), (Condition("direct", 0.7),), samples=4)

    def prepare(engine: Engine) -> None:
        engine.register("sums", model, PRICE, batch=4)  # type: ignore[arg-type]

    settings = Settings(home=tmp_path / "home")
    made = Recorder(tmp_path / "bank", tasks(tmp_path / "tasks.jsonl"), plan, settings, prepare=prepare)
    return replace(made, **fields)  # type: ignore[arg-type]


def test_draws_their_labels_costs_and_free_verdicts_are_in_the_bank(tmp_path):
    model = Sums()
    plan = Plan(("sums",), (Condition("direct", 0.7),), samples=4, verifiers=("confidence:kind=mean",))
    progress = anyio.run(recorder(tmp_path, model, plan).record)
    bank = Bank.open(tmp_path / "bank")
    row = bank.draws["q1", "sums", "direct@0.7"]
    assert [d.sample_index for d in row] == [0, 1, 2, 3]
    assert [d.correct for d in row] == [d.key == "3" for d in row]
    # One call for four completions bills its prompt once; a draw is replayed alone, and pays for its own.
    assert {(d.prompt_tokens, d.completion_tokens, d.nanos) for d in row} == {(10, 3, PRICE.cost(Usage(10, 3)))}
    assert all(d.seconds is not None and d.logprob_mean == -0.5 and d.logprob_min == -0.75 for d in row)
    assert {said["confidence_mean"].nanos for said in bank.verdicts.values()} == {0}
    assert len(bank.verdicts) == 12
    assert (progress.done, progress.total, progress.failed) == (3, 3, [])
    assert progress.nanos == 3 * PRICE.cost(Usage(10, 12))  # what was really paid
    assert bank.manifest["models"]["sums"]["fingerprint"]
    assert all("3" not in m.content for r in model.requests for m in r.messages if "is 1 +" in m.content)  # no gold


def test_nothing_is_asked_twice_and_more_samples_are_topped_up(tmp_path):
    model = Sums()
    anyio.run(recorder(tmp_path, model).record)
    again = anyio.run(recorder(tmp_path, model).record)
    assert model.given == 12
    assert (again.done, again.kept, again.nanos) == (3, 3, 0)
    more = Plan(("sums",), (Condition("direct", 0.7), Condition("direct", 1.0)), samples=6)
    anyio.run(recorder(tmp_path, model, more).record)
    assert model.given == 12 + 3 * 2 + 3 * 6
    bank = Bank.open(tmp_path / "bank")
    assert [len(bank.draws[q, "sums", a]) for q in bank.questions for _, a in bank.arms] == [6] * 6
    assert set(bank.manifest["conditions"]) == {"sums direct@0.7", "sums direct@1"}


def test_an_interrupted_recording_keeps_what_was_paid_for_and_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        anyio.run(recorder(tmp_path, Sums(fails_after=8)).record)
    assert len(Bank.open(tmp_path / "bank").draws) == 2
    model = Sums()
    anyio.run(recorder(tmp_path, model).record)
    assert model.given == 4
    assert {len(row) for row in Bank.open(tmp_path / "bank").draws.values()} == {4}


KILLED = """
import os, sys
sys.path.insert(0, {tests!r})
import anyio
from pathlib import Path
from test_recording import Sums, recorder
import satisfice.experiments.recording.recorder as recording
recording.EVERY = 1000  # nothing was flushed yet
made = recorder(Path({folder!r}), Sums())
made.tell = lambda progress: os._exit(9) if progress.done == 2 else None
anyio.run(made.record)
"""


def test_a_killed_recording_goes_on_from_its_journal(tmp_path):
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert Bank.open(tmp_path / "bank").draws == {}
    model = Sums()
    progress = anyio.run(recorder(tmp_path, model).record)
    assert model.given == 4  # of the third question only
    assert progress.nanos == PRICE.cost(Usage(10, 12))
    assert len(Bank.open(tmp_path / "bank").draws) == 3


OTHER_TEXT = [{"id": f"q{i}", "question": f"How much is {i + 50} + 2?", "answer": str(i + 52)} for i in range(3)]


def numbered(path: Path, rows: list[dict[str, str]]) -> Asked:
    path.write_text("".join(json.dumps({**row, "kind": "number"}) + "\n" for row in rows))
    return asked_of(str(path))


def test_the_journal_of_a_bank_that_is_gone_answers_only_what_was_asked_of_the_very_same_model(tmp_path):
    class Another(Sums):
        """Another model by the same name."""

    anyio.run(recorder(tmp_path, Sums()).record)
    arm = Condition("direct", 0.7)
    asked = numbered(tmp_path / "other.jsonl", OTHER_TEXT)
    for changed, model, calls in (
        ({}, Sums(), 0),  # the same: it is on record
        ({"asked": asked}, Sums(), 12),
        ({}, Another(), 12),
        ({"plan": Plan(("sums",), (replace(arm, max_tokens=99),), 4)}, Sums(), 12),
        ({"plan": Plan(("sums",), (replace(arm, prefill="Well, "),), 4)}, Begun(), 12),
    ):
        shutil.rmtree(tmp_path / "bank")
        anyio.run(recorder(tmp_path, model, **changed).record)
        assert model.given == calls, changed
        bank = Bank.open(tmp_path / "bank")
        assert {len(row) for row in bank.draws.values()} == {4}
        assert all(
            abs(int(d.key) - int(bank.questions[q].gold)) < 2 for (q, _, _), row in bank.draws.items() for d in row
        )


class Begun(Sums):
    """Goes on from the words that its reply begins with."""

    async def complete(self, request: Request) -> Response:
        return await super().complete(replace(request, messages=request.messages[:-1]))


def test_runs_and_verdicts_in_the_journal_are_those_of_what_was_asked(tmp_path):
    judge = ScriptedModel(["4"])

    def prepared(plan: Plan, **more: object) -> Recorder:
        def prepare(engine: Engine) -> None:
            engine.register("sums", Sums(), PRICE, batch=4)
            engine.register("critic", judge, PRICE)

        return recorder(tmp_path, None, plan, prepare=prepare, **more)

    plan = Plan(("sums",), (Condition(),), 2, (REFINE,), verifiers=("judge",), judges=("critic",))
    first = anyio.run(prepared(plan).record)
    asked = len(judge.requests)
    assert first.nanos
    assert asked
    shutil.rmtree(tmp_path / "bank")
    assert anyio.run(prepared(plan).record).nanos == 0  # all of it is on record
    assert len(judge.requests) == asked
    shutil.rmtree(tmp_path / "bank")
    more = anyio.run(prepared(replace(plan, prompts={"number": "Sum up: {{ query }}"})).record)
    assert 0 < more.nanos < first.nanos  # the draws' prompts are their own
    assert len(judge.requests) == 2 * asked


def test_a_journal_that_has_fewer_draws_than_are_wanted_is_gone_on_from(tmp_path):
    model, plan = Sums(), Plan(("sums",), (Condition(),), 4)
    for samples in (2, 4):
        anyio.run(recorder(tmp_path, model, replace(plan, samples=samples)).record)
    shutil.rmtree(tmp_path / "bank")
    told = anyio.run(recorder(tmp_path, model, replace(plan, samples=6)).record)
    assert model.given == 3 * 6
    assert (told.done, told.total) == (3, 3)
    assert {len(row) for row in Bank.open(tmp_path / "bank").draws.values()} == {6}


def test_what_would_mix_two_questions_or_two_conditions_is_refused_before_anything_is_asked(tmp_path):
    anyio.run(recorder(tmp_path, Sums()).record)
    model, other = Sums(), numbered(tmp_path / "other.jsonl", OTHER_TEXT)
    primed = replace(Condition(), prefill="Answer:", max_tokens=50)
    for changed, says in (
        ({"asked": other}, "'q0' is another one in bank .* here 'How much is 50"),
        ({"plan": Plan(("sums",), (primed,), 8)}, "prefill '' there, 'Answer:' here.*--arm NAME"),
        ({"plan": Plan(("sums",), (Condition(), Condition()), 8)}, "two conditions are called 'direct@0.7'"),
    ):
        made = recorder(tmp_path, model, **changed)
        with pytest.raises(CallerError, match=says):
            anyio.run(made.record)
    made = recorder(tmp_path, model, asked=other)
    with pytest.raises(CallerError, match="is another one"):
        estimate(made.engine(), made.plan, made.asked, made.folder, made.calls)
    assert model.given == 0
    anyio.run(recorder(tmp_path, Begun(), Plan(("sums",), (replace(primed, name="primed"),), 8)).record)
    bank = Bank.open(tmp_path / "bank")
    assert bank.arms == (("sums", "direct@0.7"), ("sums", "primed@0.7"))
    assert bank.manifest["conditions"]["sums primed@0.7"]["prefill"] == "Answer:"
    with pytest.raises(CallerError, match="--arm 'a b'"):
        Condition(name="a b")


def test_a_model_under_another_name_is_known_by_what_it_is(tmp_path):
    alias = {"model": "openai/gpt-4o-mini", "price": {"prompt": 1.0, "completion": 2.0}, "params": {"top_p": 0.5}}
    settings = Settings(home=tmp_path / "home", models={"there": {**alias, "api_base": "http://localhost:1/v1"}})
    made = recorder(tmp_path, Sums(), settings=settings)
    engine = made.engine()
    install(engine, {"mine": "there"})
    assert fingerprint(engine, "mine") == "openai/gpt-4o-mini"
    assert engine.catalog.entry("mine").params == {"top_p": 0.5}
    assert "http://localhost:1/v1" in identity(engine, "mine", "there")


def test_the_budget_is_hard_and_the_rest_follows_with_the_same_command(tmp_path):
    model = Sums()
    one = PRICE.cost(Usage(10, 12)) / 1e9
    stopped = anyio.run(recorder(tmp_path, model, usd=2.5 * one + 1e-4).record)
    assert stopped.stopped
    assert stopped.usd <= 2.5 * one + 1e-4
    before = model.given
    assert before < 12
    done = anyio.run(recorder(tmp_path, model).record)
    assert not done.stopped
    assert model.given == 12
    assert {len(row) for row in Bank.open(tmp_path / "bank").draws.values()} == {4}


def test_whole_strategies_are_recorded_with_every_reply(tmp_path):
    model = Sums()
    plan = Plan(("sums",), (), strategies=(REFINE,), runs=2)
    anyio.run(recorder(tmp_path, model, plan).record)
    bank = Bank.open(tmp_path / "bank")
    runs = bank.runs["q0", REFINE]
    assert [run.run for run in runs] == [0, 1]
    assert all(len(run.effects) == 2 and run.answer in ("2", "3") for run in runs)
    assert all(run.correct == (run.answer == "2") for run in runs)
    assert all(run.nanos == sum(e.nanos for e in run.effects) for run in runs)
    assert runs[0].seed != runs[1].seed
    assert json.loads(runs[0].effects[0].reply)["text"]


def test_paid_verdicts_are_asked_once_for_each_different_answer(tmp_path):
    judge = ScriptedModel(["4"])
    plan = Plan(("sums",), (Condition("direct", 0.7),), 4, verifiers=("judge",), judges=("critic",))

    def prepare(engine: Engine) -> None:
        engine.register("sums", Sums(), PRICE, batch=4)
        engine.register("critic", judge, PRICE)

    anyio.run(recorder(tmp_path, None, plan, prepare=prepare).record)
    bank = Bank.open(tmp_path / "bank")
    answers = sum(len({d.key for d in row}) for row in bank.draws.values())
    assert len(judge.requests) == answers
    assert {name for said in bank.verdicts.values() for name in said} == {"judge@critic"}
    assert len(bank.verdicts) == 12
    assert {said["judge@critic"].score for said in bank.verdicts.values()} == {0.75}
    again = anyio.run(recorder(tmp_path, None, plan, prepare=prepare).record)
    assert len(judge.requests) == answers
    assert again.nanos == 0


def test_a_model_that_fails_leaves_a_gap_that_is_told_and_filled_later(tmp_path):
    class Down(Sums):
        async def complete(self, request):
            if "is 1 +" in request.messages[-1].content:
                raise ModelUnavailable("down")
            return await super().complete(request)

    settings = Settings(home=tmp_path / "home", models={"sums": {"model": "local/x", "retries": 0}})
    told = anyio.run(recorder(tmp_path, Down(), settings=settings).record)
    assert len(told.failed) == 1
    assert told.failed[0].startswith("q1 ")
    model = Sums()
    anyio.run(recorder(tmp_path, model).record)
    assert model.given == 4
    assert len(Bank.open(tmp_path / "bank").draws) == 3


def test_the_cost_is_known_before_and_is_what_is_left(tmp_path):
    made = recorder(tmp_path, Sums())
    before = estimate(made.engine(), made.plan, made.asked, made.folder, made.calls)
    assert [(c.calls, c.open) for c in before] == [(12, False)]
    assert 0 < before[0].usd < before[0].most
    progress = anyio.run(made.record)
    assert progress.usd <= before[0].most
    after = estimate(made.engine(), made.plan, made.asked, made.folder, made.calls)
    assert (after[0].calls, after[0].usd) == (0, 0.0)


def test_questions_of_files_and_what_is_wrong_with_them(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("question,answer,choices,dataset\nIs it?,yes,yes|no,a\nHow?,so,,b\n")
    first, second = asked_of(str(file)).questions
    assert (first.kind, first.choices, first.dataset, first.fold) == ("choice", ("yes", "no"), "a", fold_of(first.id))
    assert second.kind == "text"
    for text, says in (
        ('{"question": "1+1?"}', "no gold"),
        ('{"question": "1+1?", "answer": "two", "kind": "number", "id": "x"}\nnonsense', "line 2: not JSON"),
        ('{"question": "1+1?", "answer": "?!", "kind": "number"}', "is no number"),
        ("", "no questions"),
        ('{"question": "a", "answer": "b", "id": "x"}\n{"question": "c", "answer": "d", "id": "x"}', "stand twice"),
    ):
        (tmp_path / "bad.jsonl").write_text(text)
        with pytest.raises(BadQuery, match=says):
            asked_of(str(tmp_path / "bad.jsonl"))
    with pytest.raises(CallerError, match="no such file"):
        asked_of(str(tmp_path / "none.jsonl"))


def test_line_ends_within_cells_and_the_marks_of_other_programs_are_read(tmp_path):
    file = tmp_path / "t.csv"
    file.write_bytes(b'\xef\xbb\xbfquestion,answer,kind\r\n"List:\n12\n34\nHow many?",2,number\r\n')
    (one,) = asked_of(str(file)).questions
    assert (one.text, one.gold) == ("List:\n12\n34\nHow many?", "2")
    lines = tmp_path / "t.jsonl"
    lines.write_text(
        '\ufeff{"question": "a\u2028b\u0085c?", "answer": "d"}\r\n\r\n{"question": "e", "answer": "f"}\n', "utf-8"
    )
    assert [q.text for q in asked_of(str(lines)).questions] == ["a\u2028b\x85c?", "e"]
    file.write_bytes(b"question,answer\n\xff,1\n")
    with pytest.raises(CallerError, match="cannot be read as UTF-8"):
        asked_of(str(file))


def test_questions_of_another_bank_come_in_turn():
    asked = asked_of("bank:verifiers:size=2")
    assert len(asked.questions) == 24
    assert len({q.dataset for q in asked.questions[:12]}) == 12
    with pytest.raises(CallerError, match="bank:NAME"):
        asked_of("bank:verifiers:size=x")


class Generated(list[dict[str, str]]):
    """Questions of a generator, with its scorer."""

    def score_answer(self, *, answer: str, entry: dict[str, str]) -> float:
        return float(answer == entry["answer"])


def create_dataset(name: str, size: int, seed: int, **settings: object) -> Generated:
    """As reasoning-gym's, by the seed; some questions repeat themselves."""
    numbers = [100 * seed + i // 2 for i in range(size)]
    if name == "chain_sum":
        return Generated({"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in numbers)
    return Generated({"question": f"Spell a{n} backward.", "answer": f"a{n}"[::-1]} for n in numbers)


@pytest.fixture
def generators(monkeypatch):
    """A stand-in for reasoning-gym, whose import takes many seconds."""
    factory = SimpleNamespace(DATASETS={"chain_sum": None, "spell_backward": None})
    module = SimpleNamespace(create_dataset=create_dataset, __version__="0", factory=factory)
    monkeypatch.setitem(sys.modules, "reasoning_gym", module)
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", factory)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_reasoning_gym_labels_by_its_own_scorer():
    pytest.importorskip("reasoning_gym")
    labelled_by_its_own_scorer()


def test_generated_questions_are_labelled_by_their_own_scorer(generators):
    labelled_by_its_own_scorer()


def labelled_by_its_own_scorer():
    asked = asked_of("reasoning-gym:chain_sum,spell_backward:size=3,seed=5")
    assert len(asked.questions) == 6
    assert asked == replace(asked_of("reasoning-gym:chain_sum,spell_backward:size=3,seed=5"), scorers=asked.scorers)
    number = next(q for q in asked.questions if q.dataset == "chain_sum")
    assert number.kind == "number"
    assert asked.right(number, Candidate("x", number.gold, number.gold))
    assert not asked.right(number, Candidate("x", "1e9", "1e9"))
    with pytest.raises(UnknownName):
        asked_of("reasoning-gym:chain_sun")


def test_the_ids_of_generated_questions_are_their_own(generators):
    def ids(spec: str) -> dict[str, str]:
        return {q.id: q.text for q in asked_of(f"reasoning-gym:chain_sum:{spec}").questions}

    few, many, other = ids("size=3,seed=5"), ids("size=6,seed=5"), ids("size=3,seed=6")
    assert len(few) == 3
    assert few.items() <= many.items()  # the same questions by the same ids
    assert not few.keys() & other.keys()
    assert all(name.startswith("chain_sum-") for name in few)


def test_a_unit_is_named_for_ever():
    unit = Unit("draws", "q1", "local/smollm2", "direct@0.7", 8)
    assert Unit.of(unit.key) == unit
    assert 0 <= unit.seed < 2**31
    assert Unit.of("anything") is None
