"""What every verifier keeps to. Subclass `VerifierContract` and define its fixtures `verifier` and, where it can tell
the right from the wrong, `right` and `wrong` (`task`, `model` and `person` too, where the defaults do not fit):

    class TestMine(VerifierContract):
        @pytest.fixture
        def verifier(self) -> Verifier:
            return MyVerifier()

        @pytest.fixture
        def right(self) -> Candidate:
            return Candidate("Answer: 2", "2", "2")

Every verdict is taken through real runs: the offline driver, the live one on asyncio and on trio, and an engine with a
journal. Nothing here measures time; `seconds` only keeps a verifier that hangs from hanging the tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from ..budgets.beliefs import Committed
from ..budgets.budget import Budget
from ..budgets.prices import Price
from ..core.amounts import ZERO
from ..core.effects import Ask, Effect, Gather, Offer, Sample, Score
from ..core.errors import BadCompletion, NobodyToAsk
from ..core.plans import Answer, Strategy
from ..core.task import Candidate, Task
from ..core.verdict import Verdict, Verifier, name_of
from ..scheduler.engine import Engine
from ..scheduler.run import Run
from ..scheduler.tariff import quote_step
from ..scheduler.tools import SANDBOX
from .driver import MODEL, balanced
from .hearing import (
    Drive,
    Heard,
    Replies,
    Watched,
    alike,
    in_time,
    living,
    made_run,
    names_in,
    needs_of,
    offline,
    sound,
)
from .hostile import FAILURES, HOSTILE, MISBEHAVIOUR
from .judging import Said
from .model import BACKENDS

PAUSE = "The verdict is in. Go on?"
PRICE = Price.per_million(1, 1)

Steps = Generator[Any, Any, Answer]


class VerifierContract:
    """`seconds`: no verdict takes longer. `copes`: it comes to a verdict although every call that it made failed.
    `drives`: the drivers that can perform it, the first one in most tests."""

    seconds = 60.0
    copes = False
    drives: Sequence[Drive] = (offline, offline, *(living(backend) for backend in BACKENDS))

    @pytest.fixture
    def verifier(self) -> Verifier:
        raise NotImplementedError("define the fixture `verifier`")

    @pytest.fixture
    def task(self) -> Task:
        return Task.of("How much is 1 + 1?", "number")

    @pytest.fixture
    def right(self) -> Candidate | None:
        return None

    @pytest.fixture
    def wrong(self) -> Candidate | None:
        return None

    @pytest.fixture
    def candidate(self, right: Candidate | None) -> Candidate:
        """An ordinary one."""
        return right or Candidate("Answer: 2", "2", "2", path="a1")

    @pytest.fixture
    def model(self) -> Callable[[str], Said]:
        """What the judging model says to a prompt: the same to the same."""
        return lambda prompt: "4"

    @pytest.fixture
    def person(self) -> Callable[[Ask], str]:
        """What a person says."""
        return lambda ask: "right"

    @pytest.fixture
    def hear(self, task: Task, model: Callable[[str], Said], person: Callable[[Ask], str]) -> Callable[..., Heard]:
        """One verdict in a run of its own, in time, with nothing escaped and the books in balance."""

        def hear(verifier: Verifier, candidate: Candidate, drive: Drive | None = None, **how: Any) -> Heard:
            drive, asked = drive or self.drives[0], how.pop("model", model)
            return in_time(lambda: self.heard(verifier, task, candidate, drive, asked, person, **how), self.seconds)

        return hear

    def heard(
        self,
        verifier: Verifier,
        task: Task,
        candidate: Candidate,
        drive: Drive,
        model: Callable[[str], Said],
        person: Callable[[Ask], str],
        budget: Budget | float = 100.0,
        offered: bool = False,
        drawn: bool = False,
    ) -> Heard:
        watched, replies, verdicts = Watched(verifier), Replies(model, task.query, candidate.text), []

        def strategy(task: Task) -> Steps:
            mine = (yield from Sample(task.messages, task)) if drawn else candidate
            score = Score(watched, task, mine)
            if offered:
                yield from Offer(Answer(mine), Committed(1), (score,))
            verdicts.append((yield from score))
            return Answer(mine)

        def run() -> Run:
            return made_run(strategy, task, budget, verifier)

        try:
            done = drive(run(), replies, person)
        except NobodyToAsk:
            done = living("asyncio")(run(), replies, person)
        balanced(done)
        assert not watched.escaped, f"escaped: {watched.escaped!r:.500}"
        assert done.outcome is not None
        return Heard(verdicts[-1] if verdicts else None, done, watched.escaped, replies.asked)

    # -- verdicts -------------------------------------------------------------------------------------------------

    def test_it_has_a_name(self, verifier: Verifier) -> None:
        name = name_of(verifier)
        assert name.strip() and name.isprintable()

    def test_every_driver_comes_to_the_same_verdict(
        self, verifier: Verifier, candidate: Candidate, hear: Callable[..., Heard]
    ) -> None:
        dice = random.getstate()
        first, *others = [alike(hear(verifier, candidate, drive).verdict) for drive in self.drives]
        assert all(other == first for other in others)
        assert random.getstate() == dice, "it uses the global random state"

    def test_many_at_once_do_not_disturb_each_other(
        self,
        verifier: Verifier,
        task: Task,
        candidate: Candidate,
        model: Callable[[str], Said],
        person: Callable[[Ask], str],
        hear: Callable[..., Heard],
    ) -> None:
        blank = Candidate("I would rather not say.")
        alone = [sound(hear(verifier, one).verdict) for one in (candidate, blank)]
        together: list[Verdict] = []

        def strategy(task: Task) -> Steps:
            together.extend((yield from Gather(tuple(Score(verifier, task, c) for c in (candidate, blank) * 4))))
            return Answer(None)

        run = made_run(strategy, task, 100.0, verifier)
        in_time(lambda: living("asyncio")(run, Replies(model), person), self.seconds)
        assert [v.score for v in together] == [v.score for v in alone] * 4

    def test_what_it_costs_is_reported(
        self, verifier: Verifier, candidate: Candidate, hear: Callable[..., Heard]
    ) -> None:
        for drive in self.drives:
            heard = hear(verifier, candidate, drive)
            spent = sound(heard.verdict).spent
            assert (spent.nanos, spent.tokens, spent.calls) == tuple(heard.run.root.purse.posted)
            assert spent.calls == len(heard.asked)
            if heard.asked:
                assert min(spent.nanos, spent.tokens) > 0
            else:
                assert spent == ZERO

    def test_it_declares_what_it_needs(
        self, verifier: Verifier, task: Task, candidate: Candidate, hear: Callable[..., Heard]
    ) -> None:
        needs = needs_of(verifier, task)
        assert isinstance(needs, tuple)
        assert all(isinstance(effect, Effect) for effect in needs)
        heard = hear(verifier, candidate)
        quote = quote_step(heard.run.tariff, needs)
        spent = sound(heard.verdict).spent
        assert quote.worst.nanos >= spent.nanos
        assert quote.worst.tokens >= spent.tokens
        assert quote.worst.calls >= spent.calls
        assert (quote.usd > 0) == bool(quote.worst.calls)

    def test_the_right_one_scores_above_the_wrong_one(
        self, verifier: Verifier, right: Candidate | None, wrong: Candidate | None, hear: Callable[..., Heard]
    ) -> None:
        if right is None or wrong is None:
            return  # no candidates are given that this verifier can tell apart
        good, bad = (sound(hear(verifier, one).verdict) for one in (right, wrong))
        assert good.score is not None and bad.score is not None, (good, bad)
        assert good.score > bad.score
        assert good.passed or not good.exact
        assert not bad.passed

    # -- bad candidates -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", HOSTILE)
    def test_a_hostile_candidate_gets_a_verdict_and_is_kept(
        self, verifier: Verifier, task: Task, kind: str, hear: Callable[..., Heard]
    ) -> None:
        text = HOSTILE[kind]
        reading = task.contract.read(text)
        as_read = Candidate(text, reading.answer, reading.key, path="a1") if reading else Candidate(text, path="a1")
        for candidate in (as_read, replace(as_read, answer=text, key=text)):
            heard = hear(verifier, candidate)
            verdict = sound(heard.verdict)
            assert (verdict.spent.nanos, verdict.spent.calls) == (heard.spent.nanos, heard.spent.calls)
            assert heard.run.outcome and heard.run.outcome.answer
            assert heard.run.outcome.answer.candidate is candidate
            assert heard.run.error is None
            if not text.strip():
                assert not verdict.passed and (verdict.score or 0.0) < 0.5, "nothing is no right answer"

    def test_a_candidate_without_an_answer(self, verifier: Verifier, hear: Callable[..., Heard]) -> None:
        for text in ("", "Hm.", "Answer: "):
            verdict = sound(hear(verifier, Candidate(text)).verdict)
            assert not (verdict.passed and not text)

    # -- bad models, little money ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", MISBEHAVIOUR)
    def test_whatever_a_model_says_it_gets_a_verdict(
        self, verifier: Verifier, candidate: Candidate, kind: str, hear: Callable[..., Heard]
    ) -> None:
        said = MISBEHAVIOUR[kind]
        heard = hear(verifier, candidate, model=said if callable(said) else lambda prompt: said)
        verdict = sound(heard.verdict)
        assert verdict.spent.calls == len(heard.asked) == heard.spent.calls

    @pytest.mark.parametrize("kind", FAILURES)
    def test_a_model_that_fails_leaves_it_unknown(
        self, verifier: Verifier, candidate: Candidate, kind: str, hear: Callable[..., Heard]
    ) -> None:
        drawn = candidate.logprobs is None  # what is drawn here comes without
        heard = hear(verifier, candidate, model=lambda prompt: FAILURES[kind], drawn=drawn, offered=True)
        verdict, outcome = sound(heard.verdict), heard.run.outcome
        assert heard.run.error is None
        assert outcome and outcome.answer and outcome.answer.candidate
        assert outcome.answer.candidate.text == candidate.text, "the candidate is kept"
        if drawn:
            assert outcome.found == (outcome.answer.candidate,)
            assert [j.verdict for j in heard.run.verdicts.of(outcome.found[0].path)] == [verdict]
        if heard.asked and not self.copes:
            assert verdict.score is None, "nobody told it anything"
            assert verdict.evidence, "why it is unknown"

    @pytest.mark.parametrize("offered", [False, True])
    def test_too_little_money_leaves_the_candidate(
        self, verifier: Verifier, candidate: Candidate, offered: bool, hear: Callable[..., Heard]
    ) -> None:
        asks = bool(hear(verifier, candidate).asked)
        for budget in (Budget(usd=1e-9), Budget(usd=100, calls=1), Budget(usd=100, tokens=1)):
            heard = hear(verifier, candidate, budget=budget, offered=offered)
            outcome = heard.run.outcome
            assert outcome and outcome.answer
            assert outcome.answer.candidate is candidate
            if heard.verdict is None:
                assert offered and outcome.reason.startswith("budget")
            else:
                sound(heard.verdict)
                unpaid = asks and not heard.asked and not self.copes
                assert heard.verdict.score is None or not unpaid

    # -- the journal ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_on_resuming_it_is_not_asked_again(
        self,
        verifier: Verifier,
        task: Task,
        candidate: Candidate,
        model: Callable[[str], Said],
        person: Callable[[Ask], str],
        tmp_path: Path,
        backend: str,
    ) -> None:
        file, first, again = tmp_path / "runs.db", Watched(verifier), Watched(verifier)
        before: list[Verdict] = []
        after: list[Verdict] = []
        silent = Replies(lambda prompt: BadCompletion("asked again"))
        tools = {SANDBOX: _never}

        async def main() -> None:
            async with _engine(file, Replies(model), verifier, task) as engine:
                strategy = _pausing(first, candidate, before)
                solution = await engine.solve(task, budget=100, strategy=strategy, seed=3)
                while solution.question != PAUSE:
                    assert solution.question is not None
                    said = person(Ask(solution.question, solution.options))
                    solution = await engine.reply(solution.run_id, said, strategy=strategy)
            async with _engine(file, silent, verifier, task, tools) as engine:
                resumed = await engine.reply(solution.run_id, "yes", strategy=_pausing(again, candidate, after))
                assert resumed.status == "done"
                assert resumed.spend.nanos == solution.spend.nanos

        in_time(lambda: anyio.run(main, backend=backend), self.seconds)
        assert alike(after[-1]) == alike(before[-1])
        assert not silent.asked
        assert again.calls == (0 if getattr(verifier, "blocking", False) else 1)
        assert not [*first.escaped, *again.escaped]


def _engine(file: Path, model: Replies, verifier: Verifier, task: Task, tools: Any = None) -> Engine:
    names = [MODEL, *sorted(names_in(needs_of(verifier, task), task))]
    engine = Engine(names, journal=file, tools=tools)
    for name in names:
        engine.register(name, model, PRICE)
    return engine


def _pausing(verifier: Verifier, candidate: Candidate, heard: list[Verdict]) -> Strategy:
    """A strategy that waits once it has its verdict."""

    def pausing(task: Task) -> Steps:
        heard.append((yield from Score(verifier, task, candidate)))
        yield from Ask(PAUSE)
        return Answer(candidate)

    return pausing


def _never(**arguments: Any) -> Any:
    raise AssertionError("the sandbox was called again")
