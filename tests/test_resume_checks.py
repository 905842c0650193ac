"""Checks that a run keeps as text, those that have to be given again, and what is refused before anything is lost."""

from __future__ import annotations

import json
from functools import partial

import anyio
import pytest
from pydantic import BaseModel

from satisfice import BadSettings, Budget, CallerError, Code, Engine, Human, Policy, Price, Schema, ScriptedModel
from satisfice.scheduler.spec import Spec, checks_needed
from satisfice.verifiers.check import as_verifier

PRICE = Price.per_million(1, 4)


def even(x):
    return x % 2 == 0


def opened(place, registered=True):
    made = Engine("m", journal=place)
    if registered:
        made.register("m", ScriptedModel(["42"]), PRICE)
    return made


async def waiting(place, checks):
    async with opened(place) as made:
        first = await made.verify("q?", "42", checks, answer="number")
        assert first.status == "waiting"
        return first.run_id, (await made.journal.find(first.run_id)).spec


def test_checks_given_as_text_are_rebuilt(tmp_path):
    async def work():
        run, spec = await waiting(tmp_path / "runs.db", ["human", "exact:reference=42"])
        assert checks_needed(spec) == ()
        async with opened(tmp_path / "runs.db") as made:
            done = await made.reply(run, "right")
        assert {j.verifier: j.verdict.score for j in done.verdicts} == {"human": 1.0, "exact": 1.0}

    anyio.run(work)


def test_objects_are_given_again_alone_or_with_the_others(tmp_path):
    async def work():
        _, spec = await waiting(tmp_path / "runs.db", ["human", even])
        assert checks_needed(spec) == ("even",)
        load = partial(Spec.load, spec, strategy=None)
        assert len(load([even]).task.checks) == len(load(["human", even]).task.checks) == 2
        with pytest.raises(CallerError, match="even cannot be stored"):
            load([])
        with pytest.raises(CallerError, match="'exact' where it used 'even'"):
            load(["exact:reference=42"])
        old = json.dumps({key: value for key, value in json.loads(spec).items() if key != "specs"})
        assert checks_needed(old) == ("human", "even")
        assert len(Spec.load(old, ["human", even], None).task.checks) == 2
        with pytest.raises(CallerError, match="human, even"):
            Spec.load(old, [], None)

    anyio.run(work)


def test_an_answer_is_not_taken_before_the_run_can_go_on(tmp_path):
    async def work():
        run, _ = await waiting(tmp_path / "runs.db", [Human(), even])
        async with opened(tmp_path / "runs.db") as made:
            with pytest.raises(CallerError, match="cannot be stored"):
                await made.reply(run, "right")
            done = await made.reply(run, "right", checks=[Human(), even])
        assert done.stop_reason == "verified"

    anyio.run(work)


def test_no_model_means_the_default_and_an_object_is_refused():
    async def work():
        made = Engine("m", journal=False)
        made.register("m", ScriptedModel(["42"]), PRICE)
        async with made:
            done = await made.solve("q?", models=(), budget=Budget(calls=1), strategy="single_shot")
            assert done.answer == "42"
            for models in (ScriptedModel(["42"]), [ScriptedModel(["42"])]):
                with pytest.raises(CallerError, match=r"engine\.register"):
                    await made.solve("q?", models=models, budget=1.0)
        with pytest.raises(CallerError, match=r"engine\.register"):
            Engine(ScriptedModel(["42"]), journal=False)

    anyio.run(work)


def test_a_class_is_no_check_but_a_pydantic_model_is():
    class City(BaseModel):
        name: str

    with pytest.raises(CallerError, match="pass an instance"):
        as_verifier(Code)
    assert isinstance(as_verifier(City), Schema)


def test_a_policy_file_says_its_format(tmp_path):
    (tmp_path / "p.json").write_text("{}")
    with pytest.raises(BadSettings, match="format"):
        Policy.load(tmp_path / "p.json")
    Policy().save(tmp_path / "p.json")
    assert Policy.load(tmp_path / "p.json") == Policy()
