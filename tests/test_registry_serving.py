"""Engines that follow a registry: who is served by what, how soon a change is seen, and what happens when the file
cannot be read."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from satisfice.budgets.budget import Budget
from satisfice.budgets.policy import Policy
from satisfice.budgets.prices import Price
from satisfice.budgets.registry.registry import Registry
from satisfice.budgets.registry.trials import shadows
from satisfice.core.completions import Completion, Message, Request, Response, Usage
from satisfice.core.errors import BadSettings, CallerError, ModelRefused, NoAnswer, StoreError, UnknownName
from satisfice.core.task import Contract, Task
from satisfice.experiments.promoting import promote
from satisfice.models import ScriptedModel
from satisfice.models.settings import Settings
from satisfice.scheduler.engine import Engine
from satisfice.scheduler.serving.background import Background
from satisfice.scheduler.serving.served import key_of, within
from satisfice.scheduler.serving.trial import arm_of, utility, version_in

pytestmark = pytest.mark.anyio
SAMPLES = "self_consistency:samples={}"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "policies.db")


def added(registry: Registry, name: str, strategy: str = "single_shot") -> str:
    return registry.add(Policy(name=name, worth=1.0, strategy=strategy)).id


def engine(registry: Registry, **more: Any) -> Engine:
    settings = Settings(home=registry.path.parent, ledger=False)
    more.setdefault("policies", registry.path)
    made = Engine("m", settings=settings, journal=more.pop("journal", True), **more)
    made.register("m", ScriptedModel(["Answer: 7"] * 5000), Price.per_million(1, 1))
    return made


async def ask(made: Engine, query: str = "q", **more: Any) -> Any:
    more.setdefault("budget", Budget(usd=0.1))
    return await made.solve(query, answer="number", **more)


async def served(made: Engine, query: str = "q", **more: Any) -> str:
    policy: str = (await ask(made, query, **more)).policy
    return policy


async def until(made: Engine, name: str) -> None:
    with anyio.fail_after(30):
        while await served(made) != name:  # noqa: ASYNC110
            await anyio.sleep(0.02)


async def test_requests_follow_production_and_say_so(registry: Registry) -> None:
    a, b = added(registry, "a", SAMPLES.format(2)), added(registry, "b")
    async with engine(registry, policy=Policy(name="own")) as made:
        assert await served(made) == "own"
        registry.move(a, "production")
        await until(made, f"a@{a} (production)")
        solution = await ask(made)
        assert solution.spend.calls == 2  # its strategy too
        record = await made.journal.find(solution.run_id)
        assert f"a@{a}" in record.spec
        assert f"a@{a} (production)" in (record.result or "")
        registry.move(b, "production")
        await until(made, f"b@{b} (production)")
        assert (await ask(made)).spend.calls == 1
        registry.rollback()
        await until(made, f"a@{a} (production)")
        registry.rollback()
        await until(made, "own")


async def test_a_run_keeps_the_policy_that_it_began_with(registry: Registry) -> None:
    a, b = added(registry, "a", SAMPLES.format(2)), added(registry, "b")
    registry.move(a, "production")
    async with engine(registry, on_ask=None) as made:
        solution = await ask(made)
        registry.move(b, "production")
        await until(made, f"b@{b} (production)")
        again = await made.resume(solution.run_id)
        assert again.policy == f"a@{a} (production)"
        record = await made.journal.find(solution.run_id)
        spec = made._loaded(record, (), None)
        assert version_in(spec[1].policy.name) == a
        assert spec[1].policy.worth == 1.0


async def test_a_canary_gets_its_share_and_keeps_its_keys(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    registry.move(a, "production")
    registry.move(b, "canary", share=0.25)
    async with engine(registry, journal=False) as made:
        first = {q: await served(made, q) for q in (f"question {i}" for i in range(200))}
        counts = Counter("canary" in name for name in first.values())
        assert 28 <= counts[True] <= 72  # 50 are expected; the chance of fewer or more is 1 in 3,000
        assert {q: await served(made, q) for q in list(first)[:40]} == dict(list(first.items())[:40])
        people = [f"user {i}" for i in range(40)]
        by_key = {who: await served(made, "one question", sticky=who) for who in people}
        assert {who: await served(made, "another", sticky=who) for who in people} == by_key
        assert len(set(by_key.values())) == 2
        scoped = {await served(made, f"question {i}", scope=("acme", "s1")) for i in range(10)}
        assert len(scoped) == 1
        registry.move(b, "canary", share=0.6)
        made.serving._looked = float("-inf")
        wider = {q: await served(made, q) for q in first}
        assert all("canary" in wider[q] for q, name in first.items() if "canary" in name)  # who was in stays in
        with pytest.raises(CallerError, match="sticky"):
            await ask(made, sticky="")


def test_the_share_of_keys_is_the_share_that_was_asked_for() -> None:
    keys = [key_of(None, None, (), f"q{i}") for i in range(20_000)]
    for share in (0.01, 0.1, 0.5):
        inside = sum(within(key, "p-0123456789ab", share) for key in keys)
        assert abs(inside - share * len(keys)) < 4 * (len(keys) * share * (1 - share)) ** 0.5
    both = sum(within(k, "p-0123456789ab", 0.1) and within(k, "p-ba9876543210", 0.1) for k in keys)
    assert 100 < both < 300  # another version has other keys: a hundredth of all have both
    assert key_of("x", "acme", (), "q") == key_of("x", None, ("s",), "r") != key_of(None, "x", (), "q")


async def test_a_file_that_cannot_be_read_at_the_start_is_an_error(registry: Registry) -> None:
    registry.path.write_text("this is no database, though it is long enough to be looked at as one. " * 20)
    with pytest.raises(StoreError, match="policy registry"):
        engine(registry)
    with pytest.raises(StoreError, match="policy registry"):
        engine(registry, policy="production")


async def test_no_request_fails_when_the_file_goes_bad(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    a = added(registry, "a")
    registry.move(a, "production")
    async with engine(registry) as made:
        assert await served(made) == f"a@{a} (production)"
        kept = registry.path.read_bytes()
        for file in registry.path.parent.glob("policies.db*"):
            file.unlink()
        made.serving._looked = float("-inf")
        with caplog.at_level(logging.WARNING, "satisfice"):
            for _ in range(3):
                solution = await ask(made)
                made.serving._looked = float("-inf")
        assert solution.policy == f"a@{a} (production)"
        assert any("go on serving" in warning for warning in solution.warnings)
        assert sum("go on serving" in row.message for row in caplog.records) == 1  # told once
        registry.path.write_text("rubbish " * 500)
        assert (await ask(made)).policy == f"a@{a} (production)"
        registry.path.write_bytes(kept)


async def test_a_lock_of_another_process_delays_no_request(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    registry.move(a, "production")
    async with engine(registry) as made:
        assert await served(made) == f"a@{a} (production)"
        registry.move(b, "production")
        assert made.serving.follower is not None
        made.serving.follower.close()  # as after any trouble
        other = sqlite3.connect(registry.path, isolation_level=None)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        made.serving._looked = float("-inf")
        solution = await ask(made)
        assert solution.policy == f"a@{a} (production)"
        assert "locked" in " ".join(solution.warnings)
        other.execute("COMMIT")
        other.close()
        await until(made, f"b@{b} (production)")
        assert (await ask(made)).warnings == ()


async def test_a_policy_that_is_not_what_was_added_is_never_served(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    registry.move(a, "production")
    async with engine(registry) as made:
        assert await served(made) == f"a@{a} (production)"
        with sqlite3.connect(registry.path) as db:
            db.execute("DROP TRIGGER versions_update")
            db.execute("UPDATE versions SET policy = replace(policy, '1.0', '7.0') WHERE name = 'b'")
        registry.move(b, "production")
        made.serving._looked = float("-inf")
        assert await served(made) == f"a@{a} (production)"
        assert "not what was added" in made.serving.trouble


async def test_what_a_policy_may_be_called(registry: Registry, tmp_path: Path) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    with pytest.raises(CallerError, match="no policy is in production"):
        engine(registry, policy="production")
    registry.move(a, "production")
    async with engine(registry, policies=None, policy="production", journal=False) as made:  # the default place
        assert await served(made) == f"a@{a} (production)"
    async with engine(registry, policies=None, policy=b, journal=False) as made:  # that one for good
        assert await served(made) == f"b@{b}"
    async with engine(registry, policies=None, journal=False) as made:
        assert await served(made) == "declared"
    async with engine(registry, channel="batch", journal=False) as made:
        assert await served(made) == "declared"
    with pytest.raises(BadSettings):
        engine(registry, policy=str(tmp_path / "none.json"))
    settings = Settings(home=registry.path.parent, policies=True, channel="main")
    assert Engine("m", settings=settings).policy.name == f"a@{a} (production)"
    assert Engine("m", settings=settings, policy=Policy(name="mine")).policy.name == "mine"


FOLLOWING = """
import sys, time, anyio
from satisfice import Engine, Settings
from satisfice.budgets.prices import Price
from satisfice.models import ScriptedModel

async def main():
    async with Engine("m", settings=Settings(ledger=False), policies=sys.argv[1], journal=False) as engine:
        engine.register("m", ScriptedModel(["Answer: 7"] * 100000), Price.per_million(1, 1))
        last = None
        while last != "declared":
            policy = (await engine.solve("q", answer="number", budget=0.1)).policy
            if policy != last:
                print(policy, flush=True)
            last = policy
            await anyio.sleep(0.01)

anyio.run(main)
"""


def test_an_engine_of_another_process_sees_a_rollback(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    registry.move(a, "production")
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOWING, str(registry.path)], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout is not None
            lines = iter(other.stdout.readline, "")
            assert next(lines).strip() == f"a@{a} (production)"
            registry.move(b, "production")
            assert next(lines).strip() == f"b@{b} (production)"
            registry.rollback()
            assert next(lines).strip() == f"a@{a} (production)"
            registry.rollback()
            assert next(lines).strip() == "declared"
            assert other.wait(60) == 0
        finally:
            other.kill()


async def test_a_shadow_is_replayed_on_what_was_paid_for(registry: Registry) -> None:
    five, three, nine, cold = (
        added(registry, name, text)
        for name, text in (
            ("five", SAMPLES.format(5)),
            ("three", SAMPLES.format(3)),
            ("nine", SAMPLES.format(9)),
            ("cold", "single_shot"),
        )
    )
    registry.move(five, "production")
    for shadow, replayed in ((three, 4), (nine, 0), (cold, 0)):
        registry.move(shadow, "shadow")
        async with engine(registry) as made:
            for i in range(4):
                solution = await ask(made, f"q{i}")
                assert (solution.policy, solution.spend.calls) == (f"five@{five} (production)", 5)
        counts = shadows(registry, shadow)["main", five]
        assert counts["requests"] == 4
        assert counts.get("replayed", 0) == replayed
        assert counts.get("misses", 0) == 4 - replayed  # more draws, or colder ones: not on record, and said so
        if replayed:
            assert counts["same"] == 4
            assert counts["nanos_shadow"] * 5 == counts["nanos_served"] * 3
        registry.retire(shadow)


async def test_a_canary_that_is_worse_stops_itself(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    registry.move(a, "production")
    registry.move(b, "canary", share=0.4)
    dice = Random(5)
    async with engine(registry) as made:
        for i in range(400):
            solution = await ask(made, f"q{i}")
            chance = 0.2 if "canary" in solution.policy else 0.9
            await made.feedback(solution.run_id, dice.random() < chance)
            if registry.standing().canary is None:
                break
        await until(made, f"a@{a} (production)")
    last = registry.log()[-1]
    assert (last.what, last.by, last.version, last.stage) == ("stop", "satisfice", b, "shadow")
    assert last.evidence["e_value"] >= 20
    assert registry.standing().stage_of(b) == "shadow"
    assert registry.verify() == ""


async def test_exact_checks_tell_the_trial_without_anybody(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    registry.move(a, "production")
    now = registry.move(b, "canary", share=0.5)
    async with engine(registry) as made:
        for i in range(12):
            await ask(made, f"q{i}", checks="math:reference=7", strategy="best_of_n:samples=1")
        made.serving.background.drain(30)
        race = made.serving.trial.race(now) if made.serving.trial else None
    assert race is not None
    assert race.canaries + race.productions == 12
    assert race.canaries


class Choosy:
    """A model that refuses draws at a temperature, as the canary's are."""

    async def complete(self, request: Request) -> Response:
        if request.params.temperature:
            raise ModelRefused("not at this temperature")
        return Response((Completion("Answer: 7"),) * request.n, Usage(20, 10 * request.n))


async def test_a_canary_that_fails_stops_itself_without_a_word_from_anybody(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b", SAMPLES.format(2))
    registry.move(a, "production")
    registry.move(b, "canary", share=0.5)
    async with engine(registry) as made:
        made.register("m", Choosy(), Price.per_million(1, 1))
        failures = 0
        for i in range(200):
            try:
                solution = await ask(made, f"q{i}")
                await made.feedback(solution.run_id, True)
            except NoAnswer:
                failures += 1
            made.serving.background.drain(30)
            if registry.standing().canary is None:
                break
        await until(made, f"a@{a} (production)")
    assert 3 <= failures < 60
    assert registry.log()[-1].what == "stop"


def test_which_side_of_a_trial_a_run_was_on(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    now = registry.move(b, "canary", share=0.5)
    late = "2999-01-01T00:00:00.000+00:00"
    assert arm_of(f"b@{b} (canary)", late, now) == arm_of(f"b@{b}", late, now) == "canary"
    assert arm_of("declared", late, now) == "production"  # nothing is in production: the engines' own
    assert arm_of(f"a@{a}", late, now) == ""
    assert arm_of(f"b@{b}", "2020-01-01T00:00:00.000+00:00", now) == ""  # before the trial
    now = registry.move(a, "production")
    assert arm_of(f"a@{a} (production)", late, now) == "production"
    assert arm_of("declared", late, now) == ""


def test_utility_is_a_share_of_what_is_at_stake() -> None:
    plain = {"worth": 0.01, "wrong": 0.0, "usd": 0.002}
    assert utility(plain, None, 1.0, True, 0) == 1.0
    assert utility(plain, None, 0.0, True, 2_000_000) == 0.0
    assert utility(plain, None, 1.0, True, 1_000_000) == pytest.approx(0.011 / 0.012)
    hurt = {"worth": 0.01, "wrong": 0.01, "usd": None}
    assert utility(hurt, None, 0.0, True, 0) < utility(hurt, None, 0.0, False, 0) < utility(hurt, None, 1.0, True, 0)
    assert utility({}, None, 0.7, True, 10**9) == 0.7  # nobody says what it is worth: right or wrong
    assert utility({}, 0.01, 1.0, True, 5_000_000) == pytest.approx(0.75)
    wide = {"worth": 0.01, "wrong": 0.0, "usd": 1.0}  # a cap far above the worth: right and wrong still differ
    assert utility(wide, None, 1.0, True, 0) - utility(wide, None, 0.0, True, 0) == pytest.approx(0.5)


def test_work_beside_the_requests_is_bounded_and_outlives_its_failures() -> None:
    import threading

    beside, gate, done = Background(most=2), threading.Event(), []

    def fail() -> None:
        gate.wait(30)
        raise ValueError("no")

    assert beside.post(fail)
    while beside._jobs.qsize():
        pass  # until it is under way
    assert beside.post(lambda: done.append(1))
    assert beside.post(lambda: done.append(2))
    assert not beside.post(lambda: done.append(3))
    assert not beside.drain(0.01)
    gate.set()
    assert beside.drain(30)
    assert (done, beside.failed, beside.dropped) == ([1, 2], 1, 1)


async def test_a_strategy_that_nobody_knows_never_gets_to_requests(registry: Registry) -> None:
    a, bad = added(registry, "a"), added(registry, "bad", "self_consistencyy")
    with pytest.raises(UnknownName, match="self_consistency"):
        promote(registry, bad, "canary")
    registry.move(a, "production")
    async with engine(registry) as made:
        assert await served(made) == f"a@{a} (production)"
        registry.move(bad, "production")  # past `promote`
        made.serving._looked = float("-inf")
        assert await served(made) == f"a@{a} (production)"
        assert "self_consistencyy" in made.serving.trouble
    with pytest.raises(UnknownName):
        engine(registry)


async def test_a_canary_that_cannot_be_read_holds_up_no_rollback(registry: Registry) -> None:
    a, b, bad = added(registry, "a"), added(registry, "b"), added(registry, "bad", "of_a_newer_satisfice")
    registry.move(a, "production")
    registry.move(b, "production")
    async with engine(registry) as made:
        registry.move(bad, "canary", share=0.9)
        made.serving._looked = float("-inf")
        assert {await served(made, f"q{i}") for i in range(10)} == {f"b@{b} (production)"}
        assert "canary: unknown strategy" in made.serving.trouble
        registry.rollback()
        made.serving._looked = float("-inf")
        solution = await ask(made)
        assert solution.policy == f"a@{a} (production)"
        assert any("no request is served by it" in warning for warning in solution.warnings)
        registry.retire(bad)
        made.serving._looked = float("-inf")
        assert (await ask(made)).warnings == ()
    registry.move(bad, "canary", share=0.9)
    async with engine(registry) as made:  # nor does it keep an engine from starting
        assert await served(made) == f"a@{a} (production)"


async def test_a_production_that_cannot_be_read_holds_up_no_canary(registry: Registry) -> None:
    a, b, bad = added(registry, "a"), added(registry, "b"), added(registry, "bad", "of_a_newer_satisfice")
    registry.move(a, "production")
    async with engine(registry) as made:
        registry.move(bad, "production")
        registry.move(b, "canary", share=0.5)
        made.serving._looked = float("-inf")
        names = {await served(made, f"q{i}") for i in range(20)}
        assert names == {f"a@{a} (production)", f"b@{b} (canary)"}
        assert "known last goes on serving" in made.serving.trouble


@pytest.mark.parametrize("column", ["metrics", "parents"])
async def test_a_row_that_cannot_be_read_fails_no_request(registry: Registry, column: str) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    registry.move(a, "production")
    async with engine(registry) as made:
        assert await served(made) == f"a@{a} (production)"
        with sqlite3.connect(registry.path) as db:
            db.execute("DROP TRIGGER versions_update")
            db.execute(f"UPDATE versions SET {column} = '{{bad' WHERE id = ?", (b,))
            db.execute(
                "INSERT INTO log SELECT n + 1, at, \"by\", what, channel, ?, stage, share, why, override, '[', "
                "hash, '' FROM log ORDER BY n DESC LIMIT 1",
                (b,),
            )
        made.serving._looked = float("-inf")
        solution = await ask(made)
        assert solution.policy == f"a@{a} (production)"
        assert "cannot be read" in " ".join(solution.warnings)


async def test_a_name_may_hold_anything_and_the_version_is_still_known(registry: Registry) -> None:
    a, b = added(registry, "fast (v2)"), added(registry, "slow (canary)@p-0")
    registry.move(a, "production")
    now = registry.move(b, "canary", share=0.5)
    async with engine(registry, journal=False) as made:
        names = {await served(made, f"q{i}") for i in range(20)}
        assert names == {f"fast (v2)@{a} (production)", f"slow (canary)@p-0@{b} (canary)"}
    late = "2999-01-01T00:00:00.000+00:00"
    assert {arm_of(name, late, now) for name in names} == {"production", "canary"}
    assert version_in("fast (v2)") == version_in(f"{a} (production)") == ""


async def test_requests_of_one_account_are_one_outcome_of_a_trial(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    registry.move(a, "production")
    now = registry.move(b, "canary", share=0.5)
    async with engine(registry) as made:
        for i in range(12):
            solution = await ask(made, f"q{i}", sticky=f"ann {i % 3}")
            record = await made.journal.find(solution.run_id)
            assert "ann" not in record.spec  # a hash of it
            await made.feedback(solution.run_id, True)
        for i in range(4):
            await ask(made, f"q{i}", sticky="ann 0", checks="math:reference=7", strategy="best_of_n:samples=1")
        made.serving.background.drain(30)
        race = made.serving.trial.race(now) if made.serving.trial else None
    assert race is not None
    assert race.canaries + race.productions == 3
    assert race.repeats == 13


async def test_batches_and_streams_are_served_too(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    registry.move(a, "production")
    registry.move(b, "canary", share=0.5)
    async with engine(registry) as made:
        batch = await made.solve_many([f"q{i}" for i in range(12)], budget=1.0, answer="number")
        assert {s.policy for s in batch.solutions if s} == {f"a@{a} (production)", f"b@{b} (canary)"}
        one = await made.solve_many(["x", "y", "z"], budget=1.0, answer="number", sticky="user 1")
        assert len({s.policy for s in one.solutions if s}) == 1


async def test_a_task_that_has_candidates_by_now_is_served_as_before(registry: Registry) -> None:
    a, b = added(registry, "a"), added(registry, "b")
    registry.move(a, "production")
    registry.move(b, "canary", share=0.5)
    async with engine(registry, journal=False) as made:
        for i in range(20):
            plain = await ask(made, f"q{i}")
            task = Task((Message("user", f"q{i}"),), Contract("number"))
            knowing = replace(task, known=plain.candidates)
            assert [(await made.solve(t, budget=0.1)).policy for t in (task, knowing)] == [plain.policy] * 2
