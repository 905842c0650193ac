"""The engine and its ledger: what a request is held and settled at on the accounts above it, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from satisfice.budgets.beliefs import Committed
from satisfice.budgets.budget import Budget
from satisfice.budgets.ledger.accounts import Account, Limit
from satisfice.budgets.ledger.ledger import Ledger
from satisfice.budgets.ledger.operations import Alert, Freeze, Operation, Reserve, Result, Void
from satisfice.budgets.ledger.stores import MemoryStore, Query
from satisfice.budgets.prices import Price
from satisfice.core.amounts import Amounts
from satisfice.core.completions import Completion, Message, Params, Request, Response, Usage
from satisfice.core.effects import Gather, Offer, Race, Sample
from satisfice.core.errors import BudgetTooSmall, CallerError, ModelTimeout, ModelUnavailable, StoreError, UnknownName
from satisfice.core.plans import Answer
from satisfice.models import ScriptedModel
from satisfice.scheduler.engine import Engine
from satisfice.strategies import SelfConsistency, SingleShot

pytestmark = pytest.mark.anyio
PRICE = Price.per_million(1, 1)
SEVEN = SelfConsistency(samples=7)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def tree(**limits: Limit) -> list[Account]:
    """global > acme > key, with the limits given."""
    names = [("global", None), ("acme", "global"), ("key", "acme"), ("other", "global")]
    return [Account(name, parent, (limits[name],) if name in limits else ()) for name, parent in names]


def engine(ledger: Any, model: Any = None, price: Price = PRICE, **options: Any) -> Engine:
    made = Engine("m", journal=options.pop("journal", False), ledger=ledger, account="key", **options)
    made.register("m", model or ScriptedModel(["Answer: 2"], usage=Usage(20, 10)), price)
    return made


async def balance(ledger: Ledger, name: str) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    standing = next(s for s in await ledger.standings() if s.account.name == name)
    return standing.balances[0].posted, standing.balances[0].pending


async def test_what_a_request_spends_is_posted_on_every_level() -> None:
    async with await Ledger.open(None, tree()) as ledger, engine(ledger) as e:
        first = await e.solve("q", budget=1, answer="number", strategy=SEVEN)
        await e.solve("q", budget=1, answer="number", strategy=SEVEN, account="other")
        spent = (first.spend.nanos, first.spend.tokens, first.spend.calls)
        assert spent == (7 * 30_000, 210, 7)
        nothing = (0, 0, 0)
        assert await balance(ledger, "key") == (spent, nothing)
        assert await balance(ledger, "acme") == (spent, nothing)
        assert await balance(ledger, "global") == (tuple(2 * x for x in spent), nothing)
        holds = await ledger.holds(Query(run=first.run_id))
        assert sum(h.spent[0] for h in holds) == first.spend.nanos
        assert {(h.state, h.model, h.price, h.usage) for h in holds} == {
            ("settled", "m", PRICE.version, (20, 10, 0, 0))
        }


async def test_an_account_without_room_sends_nothing_and_says_whose_it_is() -> None:
    model = ScriptedModel(["Answer: 2"])
    async with (
        await Ledger.open(None, tree(acme=Limit.of("day", usd="0.000001"))) as ledger,
        engine(ledger, model) as e,
    ):
        with pytest.raises(BudgetTooSmall, match=r"account acme has \$0\.000001000 left of \$0\.000001000 per day"):
            await e.solve("q", budget=1, strategy=SingleShot())
        await ledger.do(Freeze("global"))
        with pytest.raises(BudgetTooSmall, match="global is frozen: `satisfice ledger grant global --unfreeze`"):
            await e.solve("q", budget=1, strategy=SingleShot(), account="key")
        with pytest.raises(UnknownName, match="acme"):
            await e.solve("q", budget=1, strategy=SingleShot(), account="acne")
    assert model.requests == []


async def test_a_wave_is_no_wider_than_the_account_can_hold() -> None:
    async with await Ledger.open(None, tree(acme=Limit.of("total", calls=3))) as ledger, engine(ledger) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=SEVEN)
        assert (solution.answer, solution.spend.calls, solution.stop_reason) == ("2", 3, "budget_calls")
        assert any("account acme has 0 calls left" in warning for warning in solution.warnings)
        assert (await balance(ledger, "acme"))[0][2] == 3


async def test_the_ledger_decides_where_requests_compete() -> None:
    """Each of them saw room for all of its calls when it began."""
    model = ScriptedModel(["Answer: 2"], delay=0.001, usage=Usage(20, 10))
    answered = refused = 0
    async with await Ledger.open(None, tree(acme=Limit.of("month", calls=50))) as ledger, engine(ledger, model) as e:

        async def one() -> None:
            nonlocal answered, refused
            try:
                solution = await e.solve("q", budget=1, answer="number", strategy=SelfConsistency(samples=4))
                answered += solution.answer == "2"
            except BudgetTooSmall as error:
                assert error.details["cap"] == "calls"
                refused += 1

        async with anyio.create_task_group() as group:
            for _ in range(40):
                group.start_soon(one)
        assert await balance(ledger, "acme") == ((50 * 30_000, 1500, 50), (0, 0, 0))
    assert sum(r.n for r in model.requests) == 50
    assert answered + refused == 40
    assert refused


class Away(MemoryStore):
    """A store that cannot be reached for a while, and may have done what it could not say that it did."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.does = False, False

    def apply(self, operations: Sequence[Operation], at: int) -> list[Result]:
        if self.away and any(isinstance(op, Reserve) for op in operations):
            if self.does:
                super().apply(operations, at)
            raise StoreError("the server is gone")
        return super().apply(operations, at)


@pytest.mark.parametrize("does", [False, True])
async def test_nothing_is_sent_while_the_ledger_is_away_and_what_is_paid_for_is_kept(does: bool) -> None:
    store, ledger, sent = Away(), None, []

    class Model:
        async def complete(self, request: Request) -> Response:
            sent.append(request)
            store.away = True
            return Response((Completion("Answer: 2"),), Usage(20, 10))

    class Twice:
        name = "twice"

        def __call__(self, task: Any) -> Any:
            yield from Sample(task.messages, task)
            one = yield from Sample(task.messages, task)
            return Answer(one)

    store.does = does
    ledger = Ledger(store)
    await ledger.declare(tree())
    async with engine(ledger, Model()) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=Twice())
        assert (solution.stop_reason, len(sent), len(solution.candidates)) == ("budget_ledger", 1, 1)
        assert any("cannot be reached" in warning for warning in solution.warnings)
        assert await balance(ledger, "key") == ((30_000, 30, 1), (0, 0, 0))
        with pytest.raises(StoreError, match="the server is gone"):
            await e.solve("q", budget=1, answer="number", strategy=Twice())
        assert len(sent) == 1
        assert await balance(ledger, "key") == ((30_000, 30, 1), (0, 0, 0))


async def test_what_was_in_flight_is_billed_at_its_hold() -> None:
    """Cancelled, timed out, beaten in a race, or without a word of its usage: a provider may bill each."""

    class Model:
        async def complete(self, request: Request) -> Response:
            word = request.messages[-1].content
            if word == "hangs":
                left.set()
                await anyio.sleep_forever()
            if word == "times out":
                raise ModelTimeout("no reply")
            if word == "quick":
                await left.wait()
            return Response((Completion("Answer: 2"),), None if word == "silent" else Usage(20, 10))

    left = anyio.Event()

    class Racing:
        name = "racing"

        def __call__(self, task: Any) -> Any:
            def ask(word: str) -> Sample:
                return Sample((Message("user", word),), task, params=Params(max_tokens=10))

            silent = yield from ask("silent")
            with suppress(ModelTimeout):
                yield from ask("times out")
            yield from Race((ask("hangs"), ask("quick")))
            return Answer(silent)

    async with await Ledger.open(None, tree()) as ledger, engine(ledger, Model()) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=Racing())
        holds = sorted(await ledger.holds(), key=lambda h: h.id)
        assert sum(h.spent[0] for h in holds) == solution.spend.nanos
        assert (await balance(ledger, "key"))[1] == (0, 0, 0)
        full = [h for h in holds if h.spent == h.held]
        assert len(full) == len(holds) - 1  # only the winner has said what it used


async def test_a_call_that_never_left_is_given_back() -> None:
    class Down:
        async def complete(self, request: Request) -> Response:
            raise ModelUnavailable("down")

    async with await Ledger.open(None, tree()) as ledger, engine(ledger, Down()) as e:
        with suppress(Exception):
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        holds = await ledger.holds()
        assert {h.state for h in holds} == {"voided"}
        assert len(holds) == 3  # the first attempt and two more, each held on its own
        assert await balance(ledger, "key") == ((0, 0, 0), (0, 0, 0))


async def test_usage_above_the_hold_is_billed_and_told() -> None:
    told: list[Alert] = []
    model = ScriptedModel(["Answer: 2"], usage=Usage(20, 5000))
    async with (
        await Ledger.open(
            None, tree(acme=Limit.of("total", usd="0.002", alerts=(50,))), on_alert=told.append
        ) as ledger,
        engine(ledger, model) as e,
    ):
        solution = await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        assert solution.spend.nanos == 5_020_000
        assert (await balance(ledger, "acme"))[0][0] == 5_020_000
        assert [alert.kind for alert in told] == ["overrun", "share"]
        with pytest.raises(BudgetTooSmall):
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())


async def test_a_run_that_is_resumed_counts_once_and_what_was_lost_counts_in_full(tmp_path: Path) -> None:
    hanging = anyio.Event()

    class Hangs:
        async def complete(self, request: Request) -> Response:
            if request.messages[-1].content == "second":
                hanging.set()
                await anyio.sleep_forever()
            return Response((Completion("Answer: 2"),), Usage(20, 10))

    class Two:
        name = "two"

        def __call__(self, task: Any) -> Any:
            one = yield from Sample((Message("user", "first"),), task)
            yield from Sample((Message("user", "second"),), task)
            return Answer(one)

    journal = tmp_path / "runs.db"
    async with await Ledger.open(None, tree()) as ledger:
        async with engine(ledger, Hangs(), journal=journal) as e:
            async with anyio.create_task_group() as group:

                async def begin() -> None:
                    await e.solve("q", budget=1, answer="number", strategy=Two())

                group.start_soon(begin)
                await hanging.wait()
                group.cancel_scope.cancel()
            (record,) = await e.journal.runs(1)
        posted, pending = await balance(ledger, "key")
        hold = max(h.held[0] for h in await ledger.holds())
        assert (posted[0], pending) == (30_000 + hold, (0, 0, 0))
        async with engine(ledger, ScriptedModel(["Answer: 2"], usage=Usage(20, 10)), journal=journal) as e:
            solution = await e.resume(record.id, strategy=Two())
        assert (await balance(ledger, "key"))[0][0] == solution.spend.nanos == 60_000 + hold
    # Another ledger has not heard of the run: what it had spent before is posted there as well.
    async with await Ledger.open(None, tree()) as other, engine(other, journal=journal) as e:
        again = await e.resume(record.id, strategy=Two())
        assert again.spend.nanos == solution.spend.nanos
        assert await balance(other, "key") == ((0, 0, 0), (0, 0, 0))  # a finished run is only read


async def test_bad_use_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="grant the limit to an account"):
        Engine("m", limit=1.0, ledger=tmp_path / "ledger.db")
    e = Engine("m", journal=False)
    e.register("m", ScriptedModel(["Answer: 2"]), PRICE)
    async with e:
        with pytest.raises(CallerError, match="keeps no ledger"):
            await e.solve("q", budget=1, account="acme")
        with pytest.raises(StoreError, match="keeps no ledger"):
            _ = e.ledger


# -- shorter replies where the budget holds no longer ones -------------------------------------------------------------


class Sizes:
    """Remembers how many tokens it was asked for."""

    def __init__(self, tokens: int = 10) -> None:
        self.asked: list[int] = []
        self.tokens = tokens

    async def complete(self, request: Request) -> Response:
        self.asked.append(request.params.max_tokens)
        used = min(self.tokens, request.params.max_tokens)
        finish = "length" if used < self.tokens else "stop"
        return Response((Completion("Answer: 2", finish),) * request.n, Usage(20, used * request.n))


async def test_max_tokens_shrinks_where_the_plan_allows_it_and_the_hold_does_not_fit() -> None:
    model, cap = Sizes(), Budget(tokens=300)
    bound = 80  # of the prompt, at the most
    async with engine(False, model) as e:
        with pytest.raises(BudgetTooSmall):
            await e.solve("q", budget=cap, answer="number", strategy=SingleShot(params=Params(max_tokens=512)))
        params = Params(max_tokens=512, least_tokens=100)
        solution = await e.solve("q", budget=cap, answer="number", strategy=SingleShot(params=params))
        assert solution.answer == "2"
        assert any("max_tokens was cut from 512" in warning for warning in solution.warnings)
        with pytest.raises(BudgetTooSmall):
            await e.solve("q", budget=Budget(tokens=bound + 50), answer="number", strategy=SingleShot(params=params))
    (asked,) = model.asked
    assert 100 <= asked <= 300 - 64


async def test_a_fan_whose_first_branch_fits_only_when_it_is_cut_starts_that_one() -> None:
    class Wide:
        name = "wide"

        def __call__(self, task: Any) -> Any:
            sample = Sample(task.messages, task, params=Params(max_tokens=512, least_tokens=50))
            found = yield from Gather((sample,) * 3, at_least=1)
            return Answer(next(c for c in found if c))

    model = Sizes()
    async with engine(False, model) as e:
        solution = await e.solve("q", budget=Budget(tokens=300), answer="number", strategy=Wide())
    assert (solution.answer, len(model.asked)) == ("2", 1)
    assert solution.spend.tokens <= 300


async def test_lengths_that_were_learnt_bound_the_next_calls(tmp_path: Path) -> None:
    """Off, they are used only where nothing else fits; on, every call is held at them. A cap that cuts lifts itself."""
    model, off = Sizes(), Sizes()
    (tmp_path / "s.toml").write_text("[limits]\nlength_quantile = 0.99\n")
    settings = tmp_path / "s.toml"
    async with engine(False, off) as e, engine(False, model, settings=settings) as tight:
        for each in (e, tight):
            for _ in range(12):
                await each.solve("q", budget=1, answer="number", strategy=SelfConsistency(samples=10))
        assert set(off.asked) == {512}
        assert set(model.asked[:90]) == {512}
        assert set(model.asked[-10:]) == {11}  # 99 replies of ten tokens say so
        await e.solve("q", budget=Budget(tokens=200), answer="number", strategy=SingleShot())
        assert off.asked[-1] < 200
        model.tokens = 400
        for _ in range(3):
            await tight.solve("q", budget=1, answer="number", strategy=SelfConsistency(samples=10))
        assert model.asked[-1] == 512


# -- what was sent is what is posted -----------------------------------------------------------------------------------


class Slots:
    """Takes one call at a time, and counts what left."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    async def complete(self, request: Request) -> Response:
        word = request.messages[-1].content
        self.sent.append((word, request.n))
        if word == "slow":
            await anyio.sleep(0.05)
        return Response((Completion("Answer: 2"),) * request.n, Usage(20, 10 * request.n))


def say(word: str, task: Any) -> Sample:
    return Sample((Message("user", word),), task, params=Params(max_tokens=10))


def narrow(ledger: Any, model: Any, batch: int = 1, **options: Any) -> Engine:
    made = Engine("m", journal=options.pop("journal", False), ledger=ledger, account="key", **options)
    made.register("m", model, PRICE, batch)
    made.catalog._entries["m"] = replace(made.catalog._entries["m"], concurrency=1)
    return made


async def test_a_call_that_is_given_up_in_the_queue_is_never_sent(tmp_path: Path) -> None:
    class Racing:
        name = "racing"

        def __call__(self, task: Any) -> Any:
            won = yield from Race((say("one", task), say("two", task)))
            last = yield from say("three", task)
            return Answer(next(c for c in won if c) or last)

    model = Slots()
    async with await Ledger.open(tmp_path / "ledger.db", tree()) as ledger:
        async with narrow(ledger, model, journal=tmp_path / "runs.db") as e:
            await e.solve("q", budget=1, answer="number", strategy=Racing())
        posted, pending = await balance(ledger, "key")
        assert (posted[2], pending) == (len(model.sent), (0, 0, 0))
        assert len(model.sent) == 2


async def test_a_batch_in_the_queue_asks_for_those_only_that_are_still_wanted() -> None:
    class Racing:
        name = "racing"

        def __call__(self, task: Any) -> Any:
            first = yield from say("first", task)
            branches = (say("slow", task), Race((say("same", task), Gather((say("same", task),)))))
            yield from Gather(branches, at_least=1)
            return Answer(first)

    model = Slots()
    async with await Ledger.open(None, tree()) as ledger, narrow(ledger, model, batch=4) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=Racing())
        posted = (await balance(ledger, "key"))[0]
        assert posted[2] == sum(n for _, n in model.sent) == solution.spend.calls


async def test_a_request_that_is_cancelled_while_the_ledger_is_asked_keeps_what_it_has_paid_for(tmp_path: Path) -> None:
    asking = anyio.Event()

    class Slow(Ledger):
        slow = False

        async def perform(self, operations: Sequence[Operation]) -> list[Result]:
            results = await super().perform(operations)
            if self.slow and any(isinstance(op, Reserve) for op in operations):
                asking.set()
                await anyio.sleep_forever()
            return results

    class Two:
        name = "two"

        def __call__(self, task: Any) -> Any:
            one = yield from say("one", task)
            Slow.slow = not going
            yield from say("two", task)
            return Answer(one)

    going: list[bool] = []
    ledger = Slow(MemoryStore())
    await ledger.declare(tree())
    model = Slots()
    async with narrow(ledger, model, journal=tmp_path / "runs.db") as e:
        async with anyio.create_task_group() as group:

            async def begin() -> None:
                await e.solve("q", budget=1, answer="number", strategy=Two())

            group.start_soon(begin)
            await asking.wait()
            group.cancel_scope.cancel()
        Slow.slow = False
        (record,) = await e.journal.runs(1)
        assert await balance(ledger, "key") == ((30_000, 30, 1), (0, 0, 0))
        going.append(True)
        assert (await e.resume(record.id, strategy=Two())).answer == "2"
    assert [word for word, _ in model.sent].count("one") == 1


async def test_a_deadline_does_not_wait_for_the_ledger() -> None:
    class Stuck(Ledger):
        stuck = False

        async def perform(self, operations: Sequence[Operation]) -> list[Result]:
            if self.stuck and operations:
                await anyio.sleep_forever()
            return await super().perform(operations)

    class Two:
        name = "two"

        def __call__(self, task: Any) -> Any:
            one = yield from say("one", task)
            yield from Offer(Answer(one), Committed(1), (say("two", task),))
            Stuck.stuck = True
            yield from say("two", task)
            return Answer(one)

    ledger = Stuck(MemoryStore())
    await ledger.declare(tree())
    async with narrow(ledger, Slots()) as e:
        with anyio.fail_after(30):
            solution = await e.solve("q", budget=Budget(usd=1, seconds=0.2), answer="number", strategy=Two())
    assert (solution.answer, solution.stop_reason) == ("2", "budget_seconds")


@pytest.mark.parametrize("usage", [Usage(-5, 2), Usage(1 << 70, 2), Usage(2.5, 2)])  # type: ignore[arg-type]
async def test_usage_that_cannot_be_is_billed_at_the_hold(usage: Usage) -> None:
    model = ScriptedModel(["Answer: 2"], usage=usage)
    async with await Ledger.open(None, tree()) as ledger, engine(ledger, model) as e:
        solution = await e.solve("q", budget=1, answer="number", strategy=SelfConsistency(samples=3))
        holds = await ledger.holds()
        assert solution.answer == "2"
        assert [h.spent for h in holds] == [h.held for h in holds]
        assert solution.spend.nanos == sum(h.held[0] for h in holds)


async def test_a_request_sees_that_there_is_room_again() -> None:
    class Twice:
        name = "twice"

        def __call__(self, task: Any) -> Any:
            one = yield from say("one", task)
            freed.append(True)
            two = yield from say("two", task)
            return Answer(two or one)

    freed: list[bool] = []

    class Model(Slots):
        async def complete(self, request: Request) -> Response:
            if not freed:
                await ledger.do(Void("other"))
            return await super().complete(request)

    async with await Ledger.open(None, tree(acme=Limit.of("total", calls=3))) as ledger:
        await ledger.do(Reserve("other", "key", Amounts(0, 0, 2)))
        async with narrow(ledger, Model()) as e:
            solution = await e.solve("q", budget=1, answer="number", strategy=Twice())
        assert (solution.answer, solution.spend.calls) == ("2", 2)


async def test_a_call_is_cut_to_what_the_account_has_left() -> None:
    model = Sizes()
    async with await Ledger.open(None, tree(acme=Limit.of("total", tokens=300))) as ledger, engine(ledger, model) as e:
        strategy = SingleShot(params=Params(max_tokens=512, least_tokens=50))
        solution = await e.solve("q", budget=1, answer="number", strategy=strategy)
        (hold,) = await ledger.holds()
        assert (solution.answer, hold.state) == ("2", "settled")
        assert hold.held[1] <= 300
        assert 50 <= model.asked[0] < 300


async def test_a_ledger_that_was_away_is_asked_again_when_the_run_is_resumed(tmp_path: Path) -> None:
    store = Away()
    ledger = Ledger(store)
    await ledger.declare(tree())
    store.away = True
    model = ScriptedModel(["Answer: 2"], usage=Usage(20, 10))
    async with engine(ledger, model, journal=tmp_path / "runs.db") as e:
        with pytest.raises(StoreError):
            await e.solve("q", budget=1, answer="number", strategy=SingleShot())
        store.away = False
        (record,) = await e.journal.runs(1)
        assert (await e.resume(record.id)).answer == "2"
    assert await balance(ledger, "key") == ((30_000, 30, 1), (0, 0, 0))


async def test_replies_that_were_cut_do_not_teach_that_replies_are_short() -> None:
    model = Sizes(400)
    async with engine(False, model) as e:
        strategy = SelfConsistency(samples=10, params=Params(max_tokens=512, least_tokens=16))
        for _ in range(12):
            await e.solve("q", budget=Budget(tokens=1500), answer="number", strategy=strategy)
        upper = e.habits.upper(("m",), e.policy, 0.9)
    assert min(model.asked) < 400
    assert upper["m"]["answer"] > 400
