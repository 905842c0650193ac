"""A run that dies at any write, and goes on in another process, as if nothing had happened but for what was lost."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from satisfice.budgets.beliefs import Committed
from satisfice.budgets.budget import Budget
from satisfice.budgets.prices import Price
from satisfice.budgets.purse import Purse
from satisfice.core.completions import Completion, Message, Params, Request, Response, Usage
from satisfice.core.effects import (
    Ask,
    CallTool,
    Choose,
    Gather,
    Offer,
    Option,
    Race,
    Recall,
    Remember,
    Sample,
    Score,
    Within,
)
from satisfice.core.errors import ModelUnavailable, UnknownName
from satisfice.core.plans import Answer
from satisfice.core.task import Candidate, Task
from satisfice.core.verdict import Verdict
from satisfice.scheduler.engine import Engine
from satisfice.scheduler.journal import Row
from satisfice.scheduler.paths import decode, seed_of
from satisfice.scheduler.solution import Solution
from satisfice.strategies import BestOfN, SelfConsistency, SingleShot

SEED = 11
COST, TOKENS = 9, 9  # of each call: nano-dollars at a dollar per million tokens
BACKENDS = ["asyncio", "trio"]


@pytest.fixture(autouse=True)
def _no_pause_before_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satisfice.scheduler.dispatch.attempts.BACKOFF", 0.0005)


def ask(text: str, task: Task | None = None) -> Sample:
    return Sample((Message("user", text),), task, None, Params(max_tokens=16))


def right(value: Any) -> bool:
    return bool(value == 2)


def judge(task: Task, candidate: Candidate) -> Any:
    """A verifier that asks models."""
    grades = yield from Gather((ask(f"grade {candidate.key}"), ask(f"again {candidate.key}")), at_least=1)
    return Verdict(0.9 if candidate.key == "2" else 0.2, evidence=grades[0].text if grades[0] else "")


def nested(task: Task) -> Any:
    """Plans in fans in plans."""

    def member(inner: Task) -> Any:
        first = yield from ask("member", inner)
        yield from Offer(Answer(first), Committed(2), (ask("member", inner),))
        rest = yield from Gather((ask("member 2", inner), ask("member 3", inner)), at_least=1)
        return Answer(rest[0] or first)

    branches = (
        Within(member, task, 0.4),
        Race((ask("same", task), ask("same", task))),
        Gather((ask("deep", task), Within(SelfConsistency(samples=2), task, 0.5))),
    )
    found = yield from Gather(branches)
    yield from Offer(found[0].answer, Committed(1), (ask("last", task),))
    last = yield from ask("last", task)
    winner = next(c for c in found[1] if c is not None)
    return Answer(max((found[0].answer.candidate, winner, found[2][0], last), key=lambda c: c.key))


def chooser(task: Task) -> Any:
    """Choices, memory and tools that may be called again."""
    yield from Remember("notes", {"n": 1})
    best = None
    for _ in range(3):
        options = (
            Option(Committed(1), (ask("left", task),), "left"),
            Option(Committed(1), (ask("right", task),), "right"),
        )
        choice = yield from Choose(Answer(best) if best else None, options)
        best = yield from ask(("left", "right")[choice.index], task)
        yield from Remember("notes", best.key)
    notes = yield from Recall("notes")
    total = yield from CallTool("add", (("a", len(notes)), ("b", 1)), idempotent=True)
    verdict = yield from Score(judge, task, best)
    return Answer(best, f"{json.dumps(notes)} {total} {verdict.score}")


def people(task: Task) -> Any:
    """A person, and tools that must not be called twice."""
    first = yield from ask("one", task)
    paid = yield from CallTool("pay", (("amount", 3),))
    said = yield from Ask(f"is {first.key} right?")
    replies = yield from Gather((ask("two", task), CallTool("pay", (("amount", 4),)), Ask("sure?")))
    return Answer(replies[0], f"{paid} {said} {replies[1]} {replies[2]}")


PLANS: dict[str, tuple[Any, list[Any]]] = {
    "single_shot": (SingleShot(), []),
    "self_consistency": (SelfConsistency(samples=5), []),
    "adaptive": (SelfConsistency(most=6), []),
    "best_of_n": (BestOfN(most=6), [right]),
    "judged": (BestOfN(samples=3), [judge]),
    "nested": (nested, []),
    "chooser": (chooser, []),
    "people": (people, []),
}


@dataclass
class Outside:
    """What survives a crash: what models and tools were really asked."""

    calls: Counter[int] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    flaky: bool = True

    async def complete(self, request: Request) -> Response:
        seed = request.seed or 0
        self.calls[seed] += 1
        for _ in range(seed % 3):
            await anyio.lowlevel.checkpoint()
        if self.flaky and seed % 4 == 0 and self.calls[seed] == 1:
            raise ModelUnavailable("busy")
        asked = request.messages[-1].content
        text = "Answer: 2" if asked == "same" or seed % 3 else "Answer: 1"
        return Response((Completion(text, tokens=2),), Usage(7, 2))

    def add(self, a: int, b: int) -> int:
        self.tools[f"add {a} {b}"] += 1
        return a + b

    def pay(self, amount: int) -> dict[str, int]:
        self.tools[f"pay {amount}"] += 1
        return {"paid": amount}

    def engine(self, file: Path) -> Engine:
        engine = Engine("m", journal=file, tools={"add": self.add, "pay": self.pay})
        engine.register("m", self, Price.per_million(1, 1))
        return engine


class Killed(BaseException):
    """Simulates the death of the process."""


class Mortal:
    """A journal that dies at its k-th write, before it or just after it is durable, and does nothing from then on."""

    def __init__(self, journal: Any, at: int, after: bool) -> None:
        self._journal, self._at, self._after = journal, at, after
        self.writes, self.dead = 0, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def _write(self, name: str, *arguments: Any) -> None:
        if self.dead:
            raise Killed
        self.writes += 1
        dies = self.dead = self.writes == self._at
        if dies and not self._after:
            raise Killed
        await getattr(self._journal, name)(*arguments)
        if dies or self.dead:
            raise Killed

    async def begin(self, record: Any) -> None:
        await self._write("begin", record)

    async def commit(self, rows: Any) -> None:
        await self._write("commit", rows)

    async def remember(self, *arguments: Any) -> None:
        await self._write("remember", *arguments)

    async def finish(self, *arguments: Any) -> None:
        await self._write("finish", *arguments)

    def post(self, rows: Any) -> None:
        if self.dead:
            raise Killed
        self.writes += 1
        self.dead = self.writes == self._at
        if not self.dead or self._after:
            self._journal.post(rows)
        if self.dead:
            raise Killed


def replied(question: str) -> str:
    """What the person says."""
    if "pay" in question:
        return json.dumps({"paid": 4 if "4" in question.split("under way")[0] else 3})
    return f"yes: {question}"


async def to_the_end(engine: Engine, solution: Solution, **options: Any) -> Solution:
    while solution.status == "waiting":
        solution = await engine.reply(solution.run_id, replied(solution.question or ""), **options)
    return solution


def stored(file: Path) -> tuple[str, int, list[Row]]:
    connection = sqlite3.connect(file)
    try:
        ((run, spent),) = connection.execute("SELECT id, spent_nanos FROM runs").fetchall()
        return run, spent, [Row(*r) for r in connection.execute("SELECT * FROM rows").fetchall()]
    finally:
        connection.close()


def settled(rows: list[Row]) -> set[int]:
    """The seeds of the calls to which the journal has the last word."""
    final = [r for r in rows if r.kind == "reply" and r.effect == "sample"]
    final = [r for r in final if not (data := json.loads(r.payload)).get("retry") and not data.get("cancelled")]
    return {seed_of(SEED, decode(r.path)) for r in final}


def owed(rows: list[Row]) -> tuple[int, int]:
    """What is posted and what was lost: nano-dollars and calls."""
    resolved = {(r.path, r.attempt) for r in rows if r.kind == "reply"}
    counted = [r for r in rows if r.kind == "reply" or (r.path, r.attempt) not in resolved]
    return sum(r.nanos for r in counted), sum(r.calls for r in counted)


async def undisturbed(name: str, file: Path) -> Solution:
    strategy, checks = PLANS[name]
    async with Outside().engine(file) as engine:
        solution = await engine.solve("1 + 1?", answer="number", budget=1, strategy=strategy, checks=checks, seed=SEED)
        return await to_the_end(engine, solution, strategy=strategy, checks=checks)


async def killed_at(
    name: str, file: Path, at: int, after: bool, budget: Budget
) -> tuple[Solution | Exception | None, bool]:
    """Runs, dies at a write, resumes. What came, and whether it died at all; checks everything but the answer."""
    strategy, checks = PLANS[name]
    outside, solution = Outside(), None
    options: dict[str, Any] = {"strategy": strategy, "checks": checks}
    async with outside.engine(file) as engine:
        mortal = engine._journal = Mortal(engine._journal, at, after)  # type: ignore[assignment]
        try:
            solution = await engine.solve("1 + 1?", answer="number", budget=budget, seed=SEED, **options)
            solution = await to_the_end(engine, solution, **options)
        except Killed:
            pass
        except Exception as error:
            assert not mortal.dead, error
            return error, False
        if not mortal.dead:
            return solution, False
    before = Counter(outside.calls)
    try:
        run, _, rows = stored(file)
    except ValueError:  # it died before it began
        return None, True
    known = settled(rows)
    came: Solution | Exception
    async with outside.engine(file) as engine:
        try:
            came = await to_the_end(engine, await engine.resume(run, **options), **options)
        except Exception as error:
            came = error
    again = {seed for seed in outside.calls if outside.calls[seed] > before[seed]}
    assert not again & known, "a call that is on record was performed again"
    assert all(count == 1 for tool, count in outside.tools.items() if tool.startswith("pay")), outside.tools
    _, spent, rows = stored(file)
    nanos, calls = owed(rows)
    assert spent == nanos
    # What a provider bills: every call that it answered. (One that it turned away as busy costs nothing.)
    billed = sum(n - (seed % 4 == 0 and n > 0) for seed, n in outside.calls.items())
    assert nanos >= billed * COST
    assert calls >= billed
    limit = Purse.of(budget).limit
    assert nanos <= limit[0]
    assert calls <= limit[2]
    if isinstance(came, Solution):
        assert (came.spend.nanos, came.spend.calls) == (nanos, calls)
    return came, True


def cases(backend: str, names: list[str]) -> Iterator[Any]:
    for name in names:
        yield pytest.param(name, backend, id=f"{name}-{backend}")


@pytest.mark.parametrize(
    ("name", "backend"), [*cases("asyncio", list(PLANS)), *cases("trio", ["nested", "chooser", "people"])]
)
def test_killed_at_every_write_it_comes_to_the_same(tmp_path: Path, name: str, backend: str) -> None:
    async def main() -> int:
        whole = await undisturbed(name, tmp_path / "whole.db")
        at = 0
        while True:
            at += 1
            for after in (False, True):
                file = tmp_path / f"{at}{after}.db"
                came, died = await killed_at(name, file, at, after, Budget(usd=1))
                if not died:
                    return at
                if came is None:
                    continue
                if isinstance(came, Exception):
                    raise AssertionError(f"killed at write {at}, after={after}") from came
                assert came.answer == whole.answer, (at, after)
                assert came.stop_reason == whole.stop_reason, (at, after)

    assert anyio.run(main, backend=backend) > 2


@pytest.mark.parametrize("name", ["adaptive", "nested", "judged"])
def test_killed_with_little_money_left_the_caps_hold(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        at, died = 0, True
        while died:
            at += 1
            for after in (False, True):
                came, died = await killed_at(name, tmp_path / f"{at}{after}.db", at, after, Budget(usd=1, calls=7))
                assert not isinstance(came, UnknownName)

    anyio.run(main)


# -- real processes ---------------------------------------------------------------------------------------------------

CHILD = """
import sys, anyio, importlib.util
spec = importlib.util.spec_from_file_location("kill_plans", sys.argv[1])
plans = sys.modules["kill_plans"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plans)
anyio.run(plans.child, *sys.argv[2:])
"""


class Logged(Outside):
    """Writes down each call before it is made, so that a kill loses none."""

    def __init__(self, file: Path) -> None:
        super().__init__(flaky=False)
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def complete(self, request: Request) -> Response:
        os.write(self._file, f"{request.seed}\n".encode())
        await anyio.sleep(0.006)
        return await super().complete(request)


async def child(database: str, log: str, name: str) -> None:
    strategy, checks = PLANS[name]
    await undisturbed(name, Path(f"{database}.warm"))  # imports and tables: the kill is to fall into the run
    print("ready", flush=True)
    async with Logged(Path(log)).engine(Path(database)) as engine:
        solution = await engine.solve("1 + 1?", answer="number", budget=1, strategy=strategy, checks=checks, seed=SEED)
        print("done", solution.answer, flush=True)


def killed_for_real(folder: Path, dice: random.Random, name: str) -> None:
    database, log = folder / "runs.db", folder / "calls.log"
    log.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, __file__, str(database), str(log), name], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(dice.random() * 0.04)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    first = Counter(int(line) for line in log.read_text().split())
    try:
        run, _, rows = stored(database)
    except (ValueError, sqlite3.OperationalError):
        assert not first, "a call was made before the run was on record"
        return
    intents = {seed_of(SEED, decode(r.path)) for r in rows if r.kind == "intent" and r.effect == "sample"}
    assert set(first) <= intents, "a call was made before it was on record"
    known = settled(rows)

    async def resume() -> Solution:
        strategy, checks = PLANS[name]
        async with Logged(log).engine(database) as engine:
            return await engine.resume(run, strategy=strategy, checks=checks)

    solution = anyio.run(resume)
    total = Counter(int(line) for line in log.read_text().split())
    assert not {seed for seed in total if total[seed] > first[seed]} & known
    nanos, calls = owed(stored(database)[2])
    assert nanos >= total.total() * COST
    assert (solution.spend.nanos, solution.spend.calls) == (nanos, calls)
    assert solution.answer == anyio.run(undisturbed, name, folder / "whole.db").answer


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.long)])
def test_a_process_killed_at_some_moment(tmp_path: Path, kills: int) -> None:
    for i in range(kills):
        seed = 1000 + i
        print("seed", seed)  # shown by pytest where this fails
        folder = tmp_path / str(seed)
        folder.mkdir()
        dice = random.Random(seed)
        killed_for_real(folder, dice, dice.choice(["adaptive", "nested", "judged"]))
