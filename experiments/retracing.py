"""Exact path replay: a recorded run of a strategy answers the very same plan, call by call.

A reply is found by its place in the plan and by what was asked there (the fingerprint of the request). Stopping earlier
than when it was recorded is fine; whatever was not asked there and then is a `TraceMiss`, counted and never made up.
In a bank's terms the runs of a strategy are an arm of their own, `arm_of(text)`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..budgets.budget import Budget
from ..budgets.policy import Policy
from ..budgets.purse import Purse
from ..core.amounts import NANO, Amounts
from ..core.completions import Completion, Usage
from ..core.errors import SatisficeError, TraceMiss, UnknownName
from ..core.plans import Strategy
from ..core.task import Candidate, Task
from ..core.verdict import name_of
from ..scheduler.codec import decode_error, fingerprint
from ..scheduler.decisions import Economics
from ..scheduler.nodes import Call, Reply
from ..scheduler.offline import perform
from ..scheduler.paths import encode
from ..scheduler.run import Run
from ..scheduler.tariff import Quote, Tariff
from .bank import Bank, RecordedEffect, RecordedRun

RUNS = "runs:"
SETTINGS = "run_settings"  # in a manifest: of each recorded strategy, the prompts of its task and its cap on calls
CALLS = 64  # where the manifest does not say


def arm_of(strategy: str) -> str:
    """The arm that the recorded runs of a strategy are."""
    return RUNS + strategy


def recorded_as(bank: Bank, strategy: Strategy) -> dict[str, str]:
    """The arms under which runs of this very strategy were recorded, by their models. A bank names strategies by their
    texts, so that it is what they stand for that is compared."""
    found: dict[str, str] = {}
    for (_, text), runs in bank.runs.items():
        if runs and runs[0].model not in found and _meant(text) == strategy:
            found[runs[0].model] = arm_of(text)
    return found


@lru_cache(maxsize=256)
def _meant(text: str) -> Any:
    from ..strategies.registry import recorded_strategy

    try:
        return recorded_strategy(text)
    except SatisficeError:  # recorded where there was a plugin that is not here
        return None


@dataclass(slots=True)
class RunDeck:
    """One question's recorded runs of a strategy (as `replaying.Deck` is of draws)."""

    question: str
    task: Task
    arms: Mapping[str, str]
    runs: tuple[RecordedRun, ...]
    calls: int
    gold: str | None

    @classmethod
    def of(cls, bank: Bank, question: str, arms: Mapping[str, str]) -> RunDeck:
        """Raises `UnknownName` for a question or a strategy that the bank does not have."""
        if question not in bank.questions:
            raise UnknownName.of("question", question, bank.questions)
        ((model, arm),) = arms.items()
        text, asked = arm.removeprefix(RUNS), bank.questions[question]
        runs = tuple(run for run in bank.runs.get((question, text), ()) if run.model == model)
        if not runs and not any(strategy == text for _, strategy in bank.runs):
            raise UnknownName.of("recorded strategy", text, {strategy for _, strategy in bank.runs})
        settings = bank.manifest.get(SETTINGS, {}).get(text, {})
        bare = asked.task()
        prompts = settings.get("prompts", {})
        task = Task(bare.messages, bare.contract, prompts=prompts, label=question, topic=bare.topic)
        reading = bare.contract.read(asked.gold) if asked.gold is not None else None
        return cls(question, task, arms, runs, settings.get("calls", CALLS), reading.key if reading else None)

    @property
    def draws(self) -> Mapping[str, tuple[Any, ...]]:
        return {}

    @property
    def count(self) -> int:
        """The most calls that a run may make: what they were allowed when they were recorded."""
        return self.calls

    @property
    def orders(self) -> int:
        """How many runs there are to be replayed."""
        return max(1, len(self.runs))

    def shuffled(self, seed: int) -> RunSource:
        """The run that is this seed's turn. Raises `TraceMiss` where none was recorded."""
        if not self.runs:
            text = f"no run of this strategy was recorded on question {self.question!r}"
            raise TraceMiss(text, question=self.question, why="path")
        return RunSource(self, self.runs[seed % len(self.runs)])


def decks_of(bank: Bank, question: str, strategy: str) -> list[RunSource]:
    """A source for each recorded run of a strategy (by its text) on a question. Raises `UnknownName`."""
    models = dict.fromkeys(run.model for run in bank.runs.get((question, strategy), ()))
    decks = [RunDeck.of(bank, question, {model: arm_of(strategy)}) for model in models]
    return [RunSource(deck, run) for deck in decks for run in deck.runs]


class RunSource:
    """Answers what a recorded run was answered (a `scheduler.offline.Source`)."""

    def __init__(self, deck: RunDeck, recorded: RecordedRun) -> None:
        self.deck, self.recorded = deck, recorded
        self.task = deck.task
        self.drawn: dict[str, RecordedEffect] = {}  # replies given, by their paths
        self._replies = {effect.path: effect for effect in recorded.effects if effect.kind == "sample"}

    def answer(self, call: Call) -> Reply | Exception:
        """The reply that came at this place. Raises `TraceMiss` where nothing was asked there, or something else."""
        path, asked = encode(call.path), call.asked or call.effect
        effect = self._replies.get(path)
        if effect is None or effect.fingerprint != fingerprint(asked):
            what = "nothing was" if effect is None else "something else was"
            text = f"question {self.deck.question!r}, run {self.recorded.run}: {what} asked at step {path}"
            raise TraceMiss(text, question=self.deck.question, path=path, why="path")
        data = json.loads(effect.reply)
        if "error" in data:
            return decode_error(data["error"])
        if "text" not in data:  # cancelled, as it had lost a race: what would have come is not known
            raise TraceMiss(f"the call at step {path} was given up", question=self.deck.question, path=path, why="path")
        self.drawn[path] = effect
        return _reply(effect, data)

    def right(self, candidate: Candidate | None) -> bool:
        """Whether a candidate is right: as the run's answer was labelled, else by the gold answer's key."""
        if candidate is None or candidate.key is None:
            return False
        if candidate.key == self.recorded.key:
            return self.recorded.correct
        return candidate.key == self.deck.gold


def _reply(effect: RecordedEffect, data: Mapping[str, Any]) -> Reply:
    logprobs = tuple(data["logprobs"]) if data.get("logprobs") else None
    tops = data.get("alternatives")
    alternatives = tuple(tuple((token, p) for token, p in row) for row in tops) if tops else None
    completion = Completion(data["text"], data.get("finish", "stop"), effect.completion_tokens, logprobs, alternatives)
    usage = Usage(effect.prompt_tokens or 0, effect.completion_tokens or 0)
    return Reply(completion, usage, effect.seconds or 0.0, effect.nanos)


def quote_of(bank: Bank, model: str, arm: str, expected: Bank | None = None) -> Quote | None:
    """What a call cost in the recorded runs of an arm: the dearest as the worst case, the mean (of `expected`, where
    given) as the expectation. None where some cost is unknown. Raises `UnknownName`."""
    effects = _effects(bank, model, arm)
    if not effects:
        raise UnknownName.of("recorded strategy", arm.removeprefix(RUNS), {text for _, text in bank.runs})
    costs = [effect.nanos for effect in effects if effect.nanos is not None]
    seen = [e.nanos for e in _effects(expected, model, arm) if e.nanos is not None] if expected is not None else costs
    if len(costs) < len(effects):
        return None
    tokens = max((e.prompt_tokens or 0) + (e.completion_tokens or 0) for e in effects)
    mean = seen or costs
    return Quote(Amounts(max(costs), tokens, 1), sum(mean) / len(mean) / NANO)


def _effects(bank: Bank, model: str, arm: str) -> list[RecordedEffect]:
    text = arm.removeprefix(RUNS)
    runs = (run for (_, strategy), found in bank.runs.items() if strategy == text for run in found)
    return [effect for run in runs if run.model == model for effect in run.effects if effect.kind == "sample"]


def run_along(source: RunSource, strategy: Strategy, budget: Budget, policy: Policy, tariff: Tariff) -> Run:
    """Performs a strategy on a recorded run, with the seed that it had. Raises `TraceMiss`."""
    calls = min(budget.calls or source.deck.calls, source.deck.calls)
    budget = Budget(budget.usd, budget.tokens, calls, budget.seconds, budget.worth, budget.wrong, budget.per_second)
    run = Run(
        strategy(source.task),
        purse=Purse.of(budget),
        economics=Economics(budget, policy, tariff),
        name=name_of(strategy),
        id="replay",
        seed=source.recorded.seed,
    )
    return perform(run, source)
