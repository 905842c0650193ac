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
from satisfice.scheduler.dispatch.dispatcher import Dispatcher
from satisfice.scheduler.dispatch.switches import Identity, Switch, Switches, history
from satisfice.scheduler.engine import Engine
from satisfice.scheduler.nursery import nursery
from satisfice.strategies import Auto, Cascade, Fusion, SelfConsistency, SingleShot

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


@pytest.mark.parametrize("name", ["self_consistency", "self-consistency", "SelfConsistency", "a.b:SelfConsistency"])
def test_a_strategy_is_stopped_however_it_is_spelled(tmp_path: Path, name: str) -> None:
    switches = Switches(tmp_path / "s.json")
    switches.kill("strategy", name)
    for strategy in ("self_consistency", "SelfConsistency"):
        assert Identity("global", (), "", strategy).stopped_by(switches.on) is not None
    assert Identity("global", (), "", "debate").stopped_by(switches.on) is None
    if ":" not in name:
        switches.kill("strategy", "self_consistency", reason="again")
        assert [s.reason for s in switches.on] == ["again"]
    with pytest.raises(CallerError, match="name alone"):
        switches.kill("strategy", "self_consistency:samples=5")


@pytest.mark.parametrize(
    ("name", "model", "stopped"),
    [
        ("openai/gpt-4o", "openai/gpt-4o", True),
        ("gpt-4o", "openai/gpt-4o", True),
        ("openai/gpt-4o", "gpt-4o", True),
        ("azure/gpt-4o", "openai/gpt-4o", False),
        ("gpt-4", "openai/gpt-4o", False),
    ],
)
def test_a_model_is_stopped_with_or_without_its_provider(name: str, model: str, stopped: bool) -> None:
    assert Switch("model", name).stops(model) is stopped


def test_a_switch_that_stops_nothing_here_says_so(tmp_path: Path) -> None:
    e = engine(tmp_path, {"a": (Slow(), {})}, accounts={"acme": AccountSettings()})
    for level, name in (
        ("global", ""), ("strategy", "Self-Consistency"), ("strategy", "my.module:Mine"), ("model", "a"),
        ("model", "own/a"), ("tenant", "acme"), ("key", "global"),
    ):  # fmt: skip
        assert e.kill(level, name).warning == ""
    for level, name, near in (
        ("strategy", "nonsense", ""), ("strategy", "self_consistancy", "self_consistency"), ("model", "own/b", "own/a"),
        ("tenant", "acne", "acme"), ("key", "nobody", ""),
    ):  # fmt: skip
        done = e.kill(level, name)
        assert "is known by the name" in done.warning
        assert near in done.warning
    assert len(e.dispatcher.switches.on) == 12  # they are on, for whatever is called so elsewhere
    assert all("warning" not in row for row in json.loads((tmp_path / "switches.json").read_text("utf-8"))["switches"])


@pytest.mark.anyio
async def test_a_stopped_strategy_does_not_start_as_a_part_of_another(tmp_path: Path) -> None:
    model = Slow()
    model.go = True
    async with engine(tmp_path, {"a": (model, {})}, journal=tmp_path / "r.db") as e:
        e.kill("strategy", "self-consistency", reason="too dear", by="ann")
        both = Fusion(members=(SelfConsistency(samples=3), SingleShot()))
        one = await e.solve("q", budget=1, answer="number", strategy=both)
        assert one.answer == "7"
        assert any("too dear" in warning for warning in one.warnings)
        told = {candidate.strategy for candidate in one.candidates}
        assert "self_consistency" not in told
        next_stage = await e.solve(
            "q", budget=1, answer="number", strategy=Cascade(stages=(SelfConsistency(samples=3), SingleShot()))
        )
        assert next_stage.answer == "7"
        arms = Auto(arms=(SelfConsistency(samples=3), SingleShot()))
        chosen = await e.solve("q", budget=1, answer="number", strategy=arms)
        assert (chosen.answer, {c.strategy for c in chosen.candidates} & {"self_consistency"}) == ("7", set())
        before = model.sent
        with pytest.raises(NoAnswer, match="too dear"):
            await e.solve("q", budget=1, answer="number", strategy=Cascade(stages=(SelfConsistency(samples=3),) * 2))
        assert model.sent == before


@pytest.mark.anyio
async def test_a_part_that_was_stopped_is_stopped_in_the_resumed_run_too(tmp_path: Path) -> None:
    model, ended = Slow(), []
    plan = Fusion(members=(SelfConsistency(samples=3), SingleShot()))
    async with engine(tmp_path, {"a": (model, {})}, journal=tmp_path / "r.db") as e:
        e.kill("strategy", "self_consistency", reason="too dear")

        async def solve() -> None:
            try:
                await e.solve("q", budget=1, answer="number", strategy=plan)
            except Killed as error:
                ended.append(error.details["run"])

        async with anyio.create_task_group() as group:
            group.start_soon(solve)
            await until(lambda: model.waiting == 1)
            e.kill("global")
            await until(lambda: len(ended) == 1)
        e.revive("global")
        e.revive("strategy", "SelfConsistency")
        model.go = True
        solution = await e.resume(ended[0])
        assert solution.answer == "7"
        assert any("too dear" in warning for warning in solution.warnings)


class Fake:
    """A run at the dispatcher; one that is ending takes no watch."""

    identity = Identity("global")

    def __init__(self, ending: bool = False) -> None:
        self.ending, self.watches = ending, 0

    def watch(self, seconds: float) -> bool:
        self.watches += not self.ending
        return not self.ending

    def stop(self, switch: Switch) -> None: ...
    def stop_model(self, name: str, error: Any) -> None: ...
    def models(self) -> tuple[str, ...]:
        return ()


def test_the_watch_goes_to_a_run_that_can_take_it(tmp_path: Path) -> None:
    e = engine(tmp_path, {"a": (Slow(), {})})
    desk: Dispatcher = e.dispatcher
    ending, first, second, last = Fake(ending=True), Fake(), Fake(ending=True), Fake()
    for each in (ending, first, second, last):
        desk.enter(each)
    assert first.watches == 1
    desk.leave(first)
    assert last.watches == 1
    last.ending = True
    desk.patrol(last)
    late = Fake()
    desk.enter(late)
    assert late.watches == 1


@pytest.mark.anyio
async def test_a_nursery_that_is_closed_starts_nothing_and_raises_nothing() -> None:
    made: list[Any] = []

    async def work() -> None:
        made.append(1)  # pragma: no cover

    async with nursery() as tasks:
        pass
    assert tasks.start(work()) is None
    alarm = tasks.alarm(0.0, work)
    await anyio.sleep(0.02)
    if alarm is not None:
        alarm.cancel()
    assert made == []


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 2, "switches": [{"level": "provider", "name": "own"}]}',
        '{"version": 2, "switches": []}',
        '{"switches": []}',
        '{"version": 1, "switches": {}}',
        '{"version": 1, "switches": [{"level": "Global"}]}',
        '{"version": 1, "switches": [{"level": "global", "name": null}]}',
        '{"version": 1, "switches": [{"level": "tenant", "name": 5}]}',
        '{"version": 1, "switches": [{"level": "tenant"}]}',
        "[" * 100_000,
        "null",
    ],
    ids=range(10),
)
def test_a_file_that_is_not_understood_stops_what_is_new(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text, "utf-8")
    assert isinstance(Switches(path).broken, StoreError)


def test_a_file_that_may_be_there_but_cannot_be_seen_stops_what_is_new(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("", "utf-8")
    for path in (tmp_path / "loop", tmp_path / "file" / "s.json"):
        switches = Switches(path)
        assert isinstance(switches.broken, StoreError)
    (tmp_path / "loop").unlink()
    seen = Switches(tmp_path / "loop")
    assert seen.broken is None


def test_a_folder_that_is_not_there_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Engine("a", settings=Settings(home=tmp_path, switches=tmp_path / "typo" / "s.json", ledger=False))
    assert "no such folder" in caplog.text


@pytest.mark.anyio
async def test_requests_that_a_broken_file_refuses_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "switches.json").write_text("{", "utf-8")
    async with engine(tmp_path, {"a": (Slow(), {})}) as e:
        for _ in range(3):
            with pytest.raises(StoreError):
                await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        assert e.dispatcher.switches.broken is not None
        assert (
            e.dispatcher.switches.broken.__traceback__ is None
            or not e.dispatcher.switches.broken.__traceback__.tb_next.tb_next
        )  # type: ignore[union-attr]


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
    said = run("kill", "strategy", "nonsense")
    assert "no strategy is known by the name 'nonsense'" in said.stderr
    assert "no model" in json.loads(run("kill", "model", "own/typo", "--json").output)["warning"]
    assert json.loads(run("kill", "strategy", "best-of-n", "--json").output)["warning"] == ""
    assert isinstance(run("kill").exception, CallerError)
    assert isinstance(run("kill", "tenant").exception, CallerError)
    assert isinstance(run("kill", "galaxy", "x").exception, UnknownName)
