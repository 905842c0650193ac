"""Kill switches: the file, what it stops and how soon, and that nothing is left over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from satisfice.budgets.ledger.accounts import Account, Limit
from satisfice.budgets.ledger.ledger import Ledger
from satisfice.budgets.prices import Price
from satisfice.cli import cli, exit_code
from satisfice.core.completions import Completion, Request, Response, Usage
from satisfice.core.errors import CallerError, Killed, NoAnswer, StoreError, UnknownName
from satisfice.models.accounts import AccountSettings
from satisfice.models.settings import ModelSettings, Settings
from satisfice.scheduler.dispatch.switches import Identity, Switch, Switches, history
from satisfice.scheduler.engine import Engine
from satisfice.strategies import SelfConsistency, SingleShot

PRICE = Price.per_million(1, 1)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Slow:
    """Replies when it is told to, and counts who waits."""

    def __init__(self) -> None:
        self.waiting = self.sent = 0
        self.go = False

    async def complete(self, request: Request) -> Response:
        self.sent += 1
        self.waiting += 1
        try:
            while not self.go:  # noqa: ASYNC110
                await anyio.sleep(0.005)
        finally:
            self.waiting -= 1
        return Response((Completion("Answer: 7"),) * request.n, Usage(20, 10 * request.n))


def engine(home: Path, models: dict[str, Any], **more: Any) -> Engine:
    settings = Settings(
        models={name: ModelSettings(model=f"own/{name}", **facts) for name, (_, facts) in models.items()},
        home=home,
        accounts=more.pop("accounts", {}),
        ledger=False,
    )
    made = Engine("a", settings=settings, journal=more.pop("journal", False), **more)
    for name, (model, _) in models.items():
        made.register(name, model, PRICE)
    return made


async def until(true: Any) -> None:
    with anyio.fail_after(20):
        while not true():  # noqa: ASYNC110
            await anyio.sleep(0.005)


def test_a_switch_is_kept_found_and_lifted_and_all_of_it_is_on_record(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "switches.json"
    one, other = Switches(path), Switches(path)
    one.kill("tenant", "acme", reason="unpaid", by="ann")
    one.kill("model", "openai/gpt-4o", by="ann")
    one.kill("tenant", "acme", reason="still unpaid", by="bob")  # said again: one switch, two records
    other.look()
    other.look()
    assert other.changes == 1
    assert [(s.level, s.name, s.reason) for s in other.on] == [
        ("model", "openai/gpt-4o", ""),
        ("tenant", "acme", "still unpaid"),
    ]
    other.revive("tenant", "acme", by="cat")
    with pytest.raises(UnknownName, match="model openai/gpt-4o"):
        other.revive("tenant", "acme")
    one.look()
    assert [s.level for s in one.on] == ["model"]
    assert [(row["did"], row["name"], row["by"]) for row in history(path)] == [
        ("kill", "acme", "ann"),
        ("kill", "openai/gpt-4o", "ann"),
        ("kill", "acme", "bob"),
        ("revive", "acme", "cat"),
    ]


def test_what_cannot_be_a_switch(tmp_path: Path) -> None:
    switches = Switches(tmp_path / "s.json")
    for level, name in (("global", "x"), ("tenant", ""), ("model", "")):
        with pytest.raises(CallerError):
            switches.kill(level, name)
    with pytest.raises(UnknownName, match="tenant"):
        switches.kill("tenants", "x")
    assert not (tmp_path / "s.json").exists()


def test_whom_a_switch_stops() -> None:
    who = Identity("key-1", ("acme", "global"), "", "self_consistency")
    stops = [
        ("global", ""), ("tenant", "acme"), ("tenant", "key-1"), ("key", "key-1"), ("strategy", "self_consistency"),
    ]  # fmt: skip
    for level, name in stops:
        assert who.stopped_by([Switch(level, name)]) == Switch(level, name)
    for level, name in (("key", "acme"), ("tenant", "other"), ("strategy", "debate"), ("model", "acme")):
        assert who.stopped_by([Switch(level, name)]) is None


@pytest.mark.anyio
@pytest.mark.parametrize("switch", [("global", ""), ("tenant", "acme"), ("key", "k1"), ("strategy", "single_shot")])
async def test_a_new_request_is_refused_before_anything_is_spent(tmp_path: Path, switch: tuple[str, str]) -> None:
    model = Slow()
    model.go = True
    accounts = {"acme": AccountSettings(), "k1": AccountSettings(parent="acme"), "k2": AccountSettings()}
    async with await Ledger.open(None) as ledger:
        made = engine(tmp_path, {"a": (model, {})}, accounts=accounts, ledger=ledger, journal=tmp_path / "r.db")
        async with made as e:
            e.kill(*switch, reason="test", by="ann")
            with pytest.raises(Killed, match="test") as told:
                await e.solve("q", budget=1, answer="number", strategy=SingleShot(), account="k1")
            assert model.sent == 0
            assert told.value.to_dict()["level"] == switch[0]
            if switch[0] in ("tenant", "key"):  # another's goes on
                await e.solve("q", budget=1, answer="number", strategy=SingleShot(), account="k2")
            e.revive(*switch)
            solution = await e.solve("q", budget=1, answer="number", strategy=SingleShot(), account="k1")
            assert solution.answer == "7"
    assert exit_code(told.value) == 7


@pytest.mark.anyio
@pytest.mark.parametrize("by", ["this engine", "another process"])
async def test_runs_under_way_are_stopped_billed_and_can_be_resumed(tmp_path: Path, by: str) -> None:
    model, errors = Slow(), []
    ours = Switches(tmp_path / "switches.json")
    async with await Ledger.open(tmp_path / "ledger.db", [Account("global", None, (Limit.of(usd=1),))]) as ledger:
        made = engine(tmp_path, {"a": (model, {"concurrency": 6})}, ledger=ledger, journal=tmp_path / "r.db")
        async with made as e:

            async def solve() -> None:
                try:
                    await e.solve("q", budget=0.01, answer="number", strategy=SelfConsistency())
                except Killed as error:
                    errors.append(error)

            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(solve)
                await until(lambda: model.waiting == 6)
                with anyio.fail_after(10):
                    (e if by == "this engine" else ours).kill("global", reason="now", by="ann")
                    await until(lambda: len(errors) == 10)
            assert model.waiting == 0  # no task is left
            assert e.dispatcher._runs == {}
            lane = e.dispatcher.gate("a").lanes[0]
            assert (lane.active, e.dispatcher.turns._lines) == (0, {})
            pending = [tuple(s.balances[0].pending) for s in await ledger.standings() if s.account.name == "global"]
            assert pending == [(0, 0, 0)]  # no hold is left
            runs = await e.journal.runs(100)
            assert {run.status for run in runs} == {"cancelled"}
            with pytest.raises(Killed):
                await e.resume(runs[0].id)
            model.go = True
            e.revive("global")
            solutions = [await e.resume(error.details["run"]) for error in errors]
        assert {s.answer for s in solutions} == {"7"}
        (posted,) = [s.balances[0].posted for s in await ledger.standings() if s.account.name == "global"]
        assert posted[0] == sum(s.spend.nanos for s in solutions)
        assert posted[2] == model.sent  # those that waited for a turn were never sent, nor billed


@pytest.mark.anyio
async def test_the_next_run_watches_when_the_watchman_is_gone(tmp_path: Path) -> None:
    models = {name: Slow() for name in "ab"}
    ended: list[str] = []
    async with engine(tmp_path, {name: (model, {}) for name, model in models.items()}) as e:

        async def solve(name: str) -> None:
            try:
                await e.solve("q", budget=1, answer="number", strategy=SingleShot(), models=name)
                ended.append(name)
            except Killed:
                ended.append(f"{name} killed")

        async with anyio.create_task_group() as group:
            for name in "ab":
                group.start_soon(solve, name)
                await until(lambda name=name: models[name].waiting == 1)
            models["a"].go = True
            await until(lambda: ended == ["a"])
            e.kill("global")
            await until(lambda: len(ended) == 2)
    assert ended == ["a", "b killed"]


@pytest.mark.anyio
async def test_a_killed_models_calls_fail_at_once_and_the_fallback_answers(tmp_path: Path) -> None:
    a, b = Slow(), Slow()
    b.go = True
    made = engine(tmp_path, {"a": (a, {"fallbacks": ["b"]}), "b": (b, {})}, journal=tmp_path / "r.db")
    made.catalog.revise("a", provider_model="own/a")
    async with made as e:
        solutions: list[Any] = []

        async def solve() -> None:
            solutions.append(await e.solve("q", budget=1, answer="number", strategy=SingleShot()))

        async with anyio.create_task_group() as group:
            group.start_soon(solve)
            await until(lambda: a.waiting == 1)
            e.kill("model", "own/a", reason="bills twice")  # by the name that the alias stands for
            await until(lambda: len(solutions) == 1)
        assert a.waiting == 0
        await solve()
        assert [s.answer for s in solutions] == ["7", "7"]
        assert [s.spend.calls for s in solutions] == [2, 1]  # what had left is billed
        assert (a.sent, b.sent) == (1, 2)
        assert (await e.resume(solutions[0].run_id)).answer == "7"
        e.kill("model", "b")
        with pytest.raises(NoAnswer, match="model 'b' was stopped") as told:
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        assert told.value.details["cause"]["code"] == "model_killed"


@pytest.mark.anyio
async def test_a_file_that_is_none_refuses_new_requests_and_says_which(tmp_path: Path) -> None:
    model = Slow()
    model.go = True
    (tmp_path / "switches.json").write_text("{", "utf-8")
    async with engine(tmp_path, {"a": (model, {})}) as e:
        with pytest.raises(StoreError, match=r"switches\.json"):
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        (tmp_path / "switches.json").unlink()
        assert (await e.solve("q", budget=1, answer="number", strategy=SingleShot())).answer == "7"


def run(*args: str) -> Any:
    return CliRunner().invoke(cli, args, standalone_mode=False)


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATISFICE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "nothing is stopped" in run("kill", "--list").output
    said = run("kill", "tenant", "acme", "--reason", "unpaid", "--by", "ann").output
    assert "tenant 'acme' was stopped by ann" in said
    assert "satisfice revive tenant acme" in said
    (row,) = json.loads(run("kill", "--list", "--json").output)
    assert (row["level"], row["name"], row["reason"], row["by"]) == ("tenant", "acme", "unpaid", "ann")
    assert "may run again" in run("revive", "tenant", "acme", "--by", "bob").output
    assert [row["did"] for row in json.loads(run("kill", "--log", "--json").output)] == ["kill", "revive"]
    assert isinstance(run("revive", "tenant", "acme").exception, UnknownName)
    assert isinstance(run("kill").exception, CallerError)
    assert isinstance(run("kill", "tenant").exception, CallerError)
    assert isinstance(run("kill", "galaxy", "x").exception, UnknownName)
