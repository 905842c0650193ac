"""The parts of a batch's queries: fresh samples in each, nothing bought or forgotten twice, answers that stay."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import anyio
import pytest

from satisfice import (
    CallerError,
    Engine,
    Killed,
    Params,
    Price,
    SelfConsistency,
    SingleShot,
    Task,
    UnknownName,
)
from satisfice.budgets.purse import UNLIMITED, Purse
from satisfice.core.completions import Completion, Request, Response, Usage
from satisfice.models.settings import DispatchSettings, ModelSettings, Settings
from satisfice.scheduler.log import Log
from satisfice.scheduler.many.asked import items_of
from satisfice.scheduler.many.batch import Batch
from satisfice.scheduler.many.records import restore

pytestmark = pytest.mark.anyio
CALL = 160e-6
VOTE = SelfConsistency(params=Params(temperature=0.7, max_tokens=64))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Seeded:
    """Answers by the seed of the call, as a provider that honours seeds; or hangs."""

    def __init__(self, hangs: bool = False) -> None:
        self.asked: list[tuple[str, int | None]] = []
        self.hangs, self.waits = hangs, anyio.Event()

    async def complete(self, request: Request) -> Response:
        text = request.messages[-1].content
        self.asked.append((text, request.seed))
        await anyio.lowlevel.checkpoint()
        if self.hangs:
            self.waits.set()
            await anyio.sleep_forever()
        answer = Random(f"{request.seed}{text}").choice("AABCD")
        return Response((Completion(f"Answer: {answer}", tokens=60),), Usage(100, 60))


def engine(model: Any, tmp_path: Any, *, cache: bool = False, journal: Any = False) -> Engine:
    models = {"m": ModelSettings(model="own/m")}
    settings = Settings(models=models, dispatch=DispatchSettings(cache=cache), home=tmp_path)
    made = Engine("m", settings=settings, journal=journal)
    made.register("m", model, Price.per_million(1, 1))
    return made


def asked(count: int) -> list[dict[str, Any]]:
    return [{"query": f"item {i} ?", "answer": "choice", "choices": list("ABCD")} for i in range(count)]


# -- fresh samples ----------------------------------------------------------------------------------------------------


async def test_a_later_part_takes_no_reply_of_an_earlier_one_from_the_cache(tmp_path: Any) -> None:
    model = Seeded()
    async with engine(model, tmp_path, cache=True) as e:
        batch = await e.solve_many(asked(4), budget=24 * CALL, strategy=VOTE)
        assert all(len(runs) > 1 for runs in batch.runs)  # several parts each
        assert not any(c.cached for s in batch.solutions if s for c in s.candidates)
        bought = len(model.asked)
        again = await e.solve_many(asked(4), budget=24 * CALL, strategy=VOTE)
        assert any(c.cached for s in again.solutions if s for c in s.candidates)  # another batch's replies are known
    assert bought == batch.spend.calls == sum(len(s.candidates) for s in batch.solutions if s)


async def test_with_a_seed_each_part_draws_anew_and_the_same_each_time(tmp_path: Any) -> None:
    seen = []
    for _ in range(2):
        model = Seeded()
        async with engine(model, tmp_path) as e:
            batch = await e.solve_many(asked(4), budget=24 * CALL, strategy=VOTE, seed=1, concurrency=1)
        assert all(len(runs) > 1 for runs in batch.runs)
        assert set(Counter(model.asked).values()) == {1}
        seen.append(model.asked)
    assert seen[0] == seen[1]


# -- records ----------------------------------------------------------------------------------------------------------


def test_all_runs_that_were_cut_off_are_accounted() -> None:
    items = items_of([Task.of("a"), Task.of("b")], {}, Purse((UNLIMITED,) * 3), None)
    first, second = ({"query": i, "id": items[i].task.id} for i in (0, 1))
    end = {"part": None, "index": None, "value": 0.0, "over": False, "error": None, "spent": [5, 5, 1], "answer": None}
    lost = restore(items, [{**first, "run": "r1"}, {**second, "run": "r2"}, {**first, "run": "r3"}])
    assert lost == {"r1": items[0], "r2": items[1], "r3": items[0]}
    lost = restore(items, [{**first, "run": "r1"}, {**first, "run": "r3"}, {**first, **end}, {**second, "run": "r2"}])
    assert lost == {"r2": items[1]}


async def test_cut_off_again_and_again_it_stays_within_its_budget(tmp_path: Any) -> None:
    records: list[Any] = []
    request: dict[str, Any] = {"budget": 5e-3, "strategy": SingleShot(params=Params(max_tokens=1000))}
    for _ in range(3):
        model, fresh = Seeded(hangs=True), list(records)
        async with engine(model, tmp_path, journal=tmp_path / "j.db") as e, anyio.create_task_group() as group:

            async def work(e: Engine = e, fresh: list[Any] = fresh) -> None:
                await e.solve_many(asked(1), resume=fresh, on_record=records.append, **request)

            group.start_soon(work)
            await model.waits.wait()
            group.cancel_scope.cancel()
    assert len(records) == 3 and all("run" in record for record in records)
    async with engine(Seeded(), tmp_path, journal=tmp_path / "j.db") as e:
        batch = await e.solve_many(asked(1), resume=records, **request)
        runs = [await e.journal.load(run.id) for run in await e.journal.runs(100)]
    total = sum(Log(rows).total.nanos for _, rows in runs)
    assert batch.spend.nanos == total <= 5_000_000 and batch.answered == 1 and len(runs) == 4


@pytest.mark.parametrize("strategy", [SingleShot(), SelfConsistency(samples=2), VOTE, "auto"], ids=str)
async def test_a_finished_batch_is_not_bought_again(tmp_path: Any, strategy: Any) -> None:
    model, records = Seeded(), []
    async with engine(model, tmp_path) as e:
        first = await e.solve_many(asked(3), budget=0.05, strategy=strategy, on_record=records.append)
        bought, records = len(model.asked), json.loads(json.dumps(records))
        again = await e.solve_many(asked(3), budget=0.05, strategy=strategy, resume=records)
    assert len(model.asked) == bought and again.spend.nanos == first.spend.nanos
    assert [s and s.answer for s in again.solutions] == [s and s.answer for s in first.solutions]
    assert again.stopped == "done"


async def test_what_was_not_worth_its_price_may_be_later(tmp_path: Any) -> None:
    model, records = Seeded(), []
    async with engine(model, tmp_path) as e:
        await e.solve_many(asked(3), budget=0.05, worth=3 * CALL, strategy=VOTE, on_record=records.append)
        bought = len(model.asked)
        await e.solve_many(asked(3), budget=0.05, worth=300 * CALL, strategy=VOTE, resume=records)
    assert len(model.asked) > bought


# -- what outlives errors ---------------------------------------------------------------------------------------------


async def test_an_answer_outlives_the_error_of_a_later_part(tmp_path: Any) -> None:
    model = Seeded()
    async with engine(model, tmp_path) as e:

        def stop(progress: Any) -> None:
            if progress.spent_usd >= 10 * CALL and not e.dispatcher.switches.on:
                e.kill("strategy", "self_consistency")

        batch = await e.solve_many(asked(4), budget=40 * CALL, strategy=VOTE, concurrency=1, on_progress=stop)
    both = [solution for solution, error in zip(batch.solutions, batch.errors, strict=True) if solution and error]
    assert both and batch.answered and batch.to_dict()["failed"] == sum(error is not None for error in batch.errors)
    assert all(solution.candidates and "next part failed" in solution.warnings[-1] for solution in both)
    assert len(model.asked) == sum(len(solution.candidates) for solution in batch.solutions if solution)
    assert batch.stopped == "killed"


async def test_a_kill_switch_ends_a_batch_with_what_is_there(tmp_path: Any) -> None:
    model, records = Seeded(), []
    async with engine(model, tmp_path) as e:

        def stop(progress: Any) -> None:
            if progress.spent_usd >= 10 * CALL and not e.dispatcher.switches.on:
                e.kill("global", reason="a test")

        options: dict[str, Any] = {"budget": 40 * CALL, "strategy": VOTE, "concurrency": 1}
        batch = await e.solve_many(asked(6), on_progress=stop, on_record=records.append, **options)
        assert isinstance(batch, Batch) and batch.stopped == "killed"
        assert sum(isinstance(error, Killed) for error in batch.errors) == 1  # the others are not begun in vain
        paid = sum(len(s.candidates) for s in batch.solutions if s)
        assert paid == len(model.asked) and batch.answered >= 1
        e.revive("global")
        done = await e.solve_many(asked(6), resume=records, **options)
    assert done.stopped != "killed" and done.spend.usd > batch.spend.usd and not any(done.errors)


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [{"models": "nope"}, {"strategy": "nope"}, {"checks": ["nope"]}])
async def test_a_bad_name_says_which_query_it_is_of(tmp_path: Any, bad: dict[str, Any]) -> None:
    async with engine(Seeded(), tmp_path) as e:
        with pytest.raises(UnknownName, match=r"^query 3: unknown") as caught:
            await e.solve_many([*asked(3), {"query": "x", **bad}], budget=0.01, strategy=VOTE)
    assert caught.value.details["query"] == 3 and caught.value.details["name"] == "nope"


@pytest.mark.parametrize("bad", [{"foo": 1}, {"purse": None}, {"shadow": 1.0}, {"on_cancel": "x"}])
async def test_what_cannot_be_set_is_refused_at_once(tmp_path: Any, bad: dict[str, Any]) -> None:
    model = Seeded()
    async with engine(model, tmp_path) as e:
        with pytest.raises(CallerError, match=next(iter(bad))):
            await e.solve_many(asked(3), **{"budget": 0.01, **bad})
    assert not model.asked


# -- progress ---------------------------------------------------------------------------------------------------------


async def test_progress_counts_those_that_are_over_or_have_an_answer(tmp_path: Any) -> None:
    seen: list[tuple[int, int]] = []
    async with engine(Seeded(), tmp_path) as e:
        options: dict[str, Any] = {"budget": 24 * CALL, "strategy": VOTE, "concurrency": 1}
        records: list[Any] = []

        def hear(progress: Any) -> None:
            parts = {r["query"]: r for r in records if "answer" in r}
            seen.append((progress.answered, sum(r["over"] or r["answer"] is not None for r in parts.values())))

        await e.solve_many(asked(5), on_progress=hear, on_record=records.append, **options)
    assert len(seen) > 5 and all(told == counted for told, counted in seen) and seen[-1][0] > 0
