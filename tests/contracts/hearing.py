"""How the tests of verifiers hear a verdict: in a run of its own, with an eye on what escapes, and in time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import pytest

from ..budgets.budget import Budget
from ..core.amounts import Amounts
from ..core.completions import Completion, Request, Response, Usage
from ..core.effects import Ask, Effect, Sample, Score
from ..core.plans import Plan, Strategy
from ..core.task import Candidate, Task
from ..core.verdict import Verdict, Verifier, name_of
from ..scheduler.live import Live
from ..scheduler.nodes import Call, Reply
from ..scheduler.offline import perform
from ..scheduler.run import Run
from ..scheduler.world import World
from .driver import MODEL, make_run
from .judging import Said

T = TypeVar("T")
LONGEST = 4096  # bytes of evidence


@dataclass
class Replies:
    """A model, and the source of an offline driver: `judge` makes of a prompt what it says; asked the bare `query` it
    says `drawn`. `asked`: the prompts that came to the judge."""

    judge: Callable[[str], Said]
    query: str = ""
    drawn: str = ""
    asked: list[str] = field(default_factory=list)

    def _said(self, prompt: str) -> Said:
        if prompt == self.query:
            return self.drawn
        self.asked.append(prompt)
        return self.judge(prompt)

    def answer(self, call: Call) -> Reply | Exception:
        """As the source of an offline driver."""
        assert isinstance(call.effect, Sample)
        prompt = call.effect.messages[-1].content
        said = self._said(prompt)
        return said if isinstance(said, Exception) else Reply(_completion(said), _usage(prompt, said), 0.5)

    async def complete(self, request: Request) -> Response:
        """As a model."""
        await anyio.lowlevel.checkpoint()
        prompt = request.messages[-1].content
        said = self._said(prompt)
        if isinstance(said, Exception):
            raise said
        return Response((_completion(said),), _usage(prompt, said))


def _completion(said: str | Completion) -> Completion:
    return Completion(said) if isinstance(said, str) else said


def _usage(prompt: str, said: str | Completion) -> Usage:
    """Tokens are words; a reply has 8 at the most, as the calls of these tests allow."""
    return Usage(len(prompt.split()), min(8, len(_completion(said).text.split())))


class Watched:
    """A verifier, and what escapes from it: a run would make an unknown verdict of that, and hide it."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self.escaped: list[Exception] = []
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name == "name":
            return name_of(self._verifier)
        return getattr(self._verifier, name)

    def __call__(self, task: Task, candidate: Candidate) -> Verdict | Plan[Verdict]:
        self.calls += 1
        try:
            value = self._verifier(task, candidate)
        except Exception as error:
            raise self._noted(error) from None
        return value if isinstance(value, Verdict) else self._plan(value)

    def _plan(self, plan: Plan[Verdict]) -> Plan[Verdict]:
        try:
            verdict = yield from plan
        except Exception as error:
            raise self._noted(error) from None
        return self._checked(verdict)

    async def acall(self, task: Task, candidate: Candidate) -> Verdict:
        """The same for an async verifier."""
        self.calls += 1
        try:
            return self._checked(await self._verifier.acall(task, candidate))  # type: ignore[attr-defined]
        except Exception as error:
            raise self._noted(error) from None

    def _checked(self, verdict: Any) -> Verdict:
        if not isinstance(verdict, Verdict):
            self.escaped.append(TypeError(f"{verdict!r:.80} is no Verdict"))
        made: Verdict = verdict
        return made

    def _noted(self, error: Exception) -> Exception:
        self.escaped.append(error)
        return error


@dataclass
class Heard:
    """What one verdict came to. `verdict` is None where the run stopped before it."""

    verdict: Verdict | None
    run: Run
    escaped: list[Exception]
    asked: list[str]

    @property
    def spent(self) -> Amounts:
        """What the purse was billed."""
        return Amounts(*self.run.root.purse.posted)


def sound(verdict: Verdict | None) -> Verdict:
    """The verdict, if it is one that a run can use and keep."""
    assert isinstance(verdict, Verdict)
    for number in (verdict.score, verdict.p):
        assert number is None or (isinstance(number, float | int) and 0 <= number <= 1), verdict  # NaN is not
    assert isinstance(verdict.exact, bool)
    assert not (verdict.exact and verdict.score is None), "the truth is not unknown"
    assert isinstance(verdict.evidence, str)
    raw = verdict.evidence.encode("utf-8")  # raises for lone surrogates
    assert len(raw) < LONGEST, f"{len(raw)} bytes of evidence"
    assert json.loads(json.dumps(verdict.evidence)) == verdict.evidence
    return verdict


def alike(verdict: Verdict | None) -> tuple[Any, ...]:
    """All of a verdict but the seconds that it took."""
    verdict = sound(verdict)
    spent = verdict.spent
    return verdict.score, verdict.p, verdict.exact, verdict.evidence, spent.nanos, spent.tokens, spent.calls


def in_time(work: Callable[[], T], seconds: float) -> T:
    """What `work` returns or raises. Fails the test where it does not end: a guard, not a measurement."""
    done: list[T] = []
    failed: list[BaseException] = []

    def attempt() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        pytest.fail(f"it hangs: no verdict after {seconds:g} s")
    if failed:
        raise failed[0]
    return done[0]


def names_in(effects: tuple[Effect[Any], ...], task: Task) -> set[str]:
    """The models that these effects name."""
    names: set[str] = set()
    for effect in effects:
        if isinstance(effect, Sample) and effect.model:
            names.add(effect.model)
        inner: Any = getattr(effect, "branches", ())
        if isinstance(effect, Score):
            inner = needs_of(effect.verifier, task)
        names |= names_in(tuple(inner), task)
    return names


def needs_of(verifier: Verifier, task: Task) -> tuple[Effect[Any], ...]:
    """What a verifier declares; nothing where it declares nothing."""
    needs = getattr(verifier, "needs", None)
    declared: tuple[Effect[Any], ...] = needs(task) if needs is not None else ()
    return declared


Drive = Callable[[Run, Replies, Callable[[Ask], str]], Run]


def offline(run: Run, replies: Replies, person: Callable[[Ask], str]) -> Run:
    """In virtual time. Raises `NobodyToAsk` where a person is asked."""
    return perform(run, replies)


def living(backend: str) -> Drive:
    """With the live driver, on a loop of its own."""

    def drive(run: Run, replies: Replies, person: Callable[[Ask], str]) -> Run:
        scopes = {"run": "r", "session": "s", "tenant": "t"}
        world = World(lambda name: replies, run.tariff, scopes=scopes, on_ask=person)  # type: ignore[arg-type]

        async def main() -> None:
            await Live(run, world).drive()

        anyio.run(main, backend=backend)
        return run

    return drive


def made_run(strategy: Strategy, task: Task, budget: Budget | float, verifier: Verifier) -> Run:
    """A run at the models that the verifier names, besides the tests' own, that tries nothing twice."""
    run = make_run(strategy, task, budget, retries=0)
    rate = run.tariff.rates[MODEL]  # type: ignore[attr-defined]
    for name in names_in(needs_of(verifier, task), task):
        run.tariff.rates[name] = replace(rate, name=name)  # type: ignore[attr-defined]
    return run
