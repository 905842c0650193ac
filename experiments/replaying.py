"""Replay: a bank answers a strategy's Samples, at no cost. What was not recorded raises `TraceMiss`: never invented.

The recorded draws of a question are put in an order that the seed decides, and are handed out without replacement in
the order in which they are asked for, so that every strategy meets the same draws under the same seed. Recorded draws
are a cap: a run may make as many calls as there are draws.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from ..budgets.budget import Budget
from ..budgets.policy import Policy
from ..budgets.purse import Purse
from ..core.amounts import NANO, Amounts
from ..core.answers import Reading
from ..core.completions import Completion, Usage
from ..core.effects import Sample
from ..core.errors import CallerError, TraceMiss, UnknownName, UnpricedModel
from ..core.plans import Strategy
from ..core.task import Candidate, Task
from ..core.verdict import name_of
from ..scheduler.decisions import Economics
from ..scheduler.nodes import Call, Reply
from ..scheduler.offline import perform
from ..scheduler.paths import encode
from ..scheduler.run import Run
from ..scheduler.tariff import Quote
from .bank import Bank, Draw, Scored
from .recorded import PREFIX, FreeVerifier, RecordedVerifier
from .retracing import RUNS, RunDeck, RunSource, quote_of, run_along

NOMINAL = 1_000_000  # nano-dollars that a call of unknown cost is taken for: only the proportion to worth matters


def order(count: int, seed: int, question: str, model: str, arm: str) -> list[int]:
    """The order in which `count` recorded draws are handed out: a permutation that depends on nothing else."""
    return list(_order(count, seed, question, model, arm))


@lru_cache(maxsize=1 << 17)  # every strategy and baseline meets the same orders
def _order(count: int, seed: int, question: str, model: str, arm: str) -> tuple[int, ...]:
    places = list(range(count))
    Random(f"{seed}\x1f{question}\x1f{model}\x1f{arm}").shuffle(places)
    return tuple(places)


@dataclass(slots=True)
class Deck:
    """One question's recorded draws of one arm per model, and what was said of them by the verifiers that are the
    task's checks, ready to be dealt any number of times."""

    question: str
    task: Task
    arms: Mapping[str, str]
    draws: dict[str, tuple[Draw, ...]]
    said: dict[tuple[str, int], Mapping[str, Scored]] = field(default_factory=dict, repr=False)
    free: Collection[str] = ()  # verifiers that cost nothing
    replies: dict[str, tuple[Reply, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.replies = {model: tuple(map(_reply, row)) for model, row in self.draws.items()}

    @classmethod
    def of(cls, bank: Bank, question: str, arms: Mapping[str, str], verifiers: Collection[str] = ()) -> Deck:
        """Raises `UnknownName` for a question or verifier that the bank does not have. A model without a draw there
        is left out: asking it is a `TraceMiss`."""
        if question not in bank.questions:
            raise UnknownName.of("question", question, bank.questions)
        draws = {m: bank.draws[question, m, a] for m, a in arms.items() if (question, m, a) in bank.draws}
        task, free = bank.questions[question].task(), {name for name in verifiers if is_free(bank, name)}
        task = replace(task, checks=tuple(RecordedVerifier(name) for name in verifiers))
        places = ((m, d.sample_index) for m, row in draws.items() for d in row)
        said = {(m, i): bank.verdicts.get((question, m, arms[m], i), {}) for m, i in places} if verifiers else {}
        return cls(question, task, arms, draws, said, free)

    @property
    def checks(self) -> tuple[RecordedVerifier, ...]:
        return tuple(c for c in self.task.checks if isinstance(c, RecordedVerifier))

    @property
    def count(self) -> int:
        return sum(map(len, self.draws.values()))

    def shuffled(self, seed: int) -> BankSource:
        """The draws as a source, in the order of this seed."""
        return BankSource(self, seed)


class BankSource:
    """Answers Samples for one question from its recorded draws (a `scheduler.offline.Source`). `drawn` tells which
    draw went to which path of the run."""

    def __init__(self, deck: Deck, seed: int) -> None:
        self.deck = deck
        self.drawn: dict[str, Draw] = {}
        self._models: dict[str, str] = {}
        checks = (FreeVerifier(c.name, self._score) if c.name in deck.free else c for c in deck.checks)
        self.task = replace(deck.task, checks=tuple(checks)) if deck.free else deck.task
        self._left = {
            model: order(len(row), seed, deck.question, model, deck.arms[model])[::-1]
            for model, row in deck.draws.items()
        }

    def answer(self, call: Call) -> Reply:
        """The next recorded draw of the model. Raises `TraceMiss` where none is left, the model was not recorded
        on this question, something else is asked (a critique, a synthesis, a retry with reflections: a draw on the
        bare question is none of these), or nobody recorded what the completion answered."""
        sample = call.effect
        assert isinstance(sample, Sample)
        name = sample.model if sample.model is not None else next(iter(self.deck.arms))
        if name.startswith(PREFIX):
            return self._verdict(name.removeprefix(PREFIX), sample.messages[0].content)
        if sample.task is None or sample.messages != self.task.messages:
            text = (
                f"question {self.deck.question!r}: {name!r} is asked something else than the bare question "
                f"({sample.messages[-1].content[-60:]!r}), and only its draws on that were recorded"
            )
            raise TraceMiss(text, question=self.deck.question, model=name, why="prompt")
        left = self._left.get(name)
        if not left:
            known = len(self.deck.draws.get(name, ()))
            text = f"question {self.deck.question!r} has {known} recorded draws of {name!r}, and one more is asked for"
            raise TraceMiss(text, question=self.deck.question, model=name, draws=known, why="draws")
        place = left.pop()
        draw = self.deck.draws[name][place]
        if draw.answer is None:
            text = f"the answer of {name!r} to question {self.deck.question!r} was not recorded"
            raise TraceMiss(text, question=self.deck.question, model=name, why="answer")
        self.drawn[encode(call.path)] = draw
        self._models[encode(call.path)] = name
        return self.deck.replies[name][place]

    def _said(self, verifier: str, path: str) -> Scored:
        draw = self.drawn.get(path)
        scored = self.deck.said.get((self._models[path], draw.sample_index), {}).get(verifier) if draw else None
        if scored is None:
            text = f"verifier {verifier!r} was not asked of this draw of question {self.deck.question!r}"
            raise TraceMiss(text, question=self.deck.question, verifier=verifier, why="verdict")
        return scored

    def _score(self, verifier: str, path: str) -> float | None:
        return self._said(verifier, path).score

    def _verdict(self, verifier: str, path: str) -> Reply:
        scored = self._said(verifier, path)
        score = "" if scored.score is None else repr(scored.score)
        return Reply(Completion(score, tokens=0), Usage(scored.tokens or 0), 0.0, _nanos(scored))

    def right(self, candidate: Candidate | None) -> bool:
        """The recorded label of a candidate that this source gave. None is not right."""
        return candidate is not None and candidate.path in self.drawn and self.drawn[candidate.path].correct


def _reply(draw: Draw) -> Reply:
    reading = Reading(draw.answer or "", draw.key, draw.answer) if draw.key is not None else None
    text = draw.text if draw.text is not None else draw.answer or ""
    usage = Usage(draw.prompt_tokens or 0, draw.completion_tokens or 0)
    completion = Completion(text, draw.finish or "stop", draw.completion_tokens)
    return Reply(completion, usage, draw.seconds or 0.0, draw.nanos, reading, recorded=True)


class BankTariff:
    """What the recorded models charge (a `scheduler.tariff.Tariff`): the worst case is the arm's dearest recorded
    draw, the expectation the mean cost in `expected` (default: the bank; in cross-fitting its training folds). An
    arm with a draw of unknown cost is taken at a nominal cost per call: `nominal` names such models."""

    def __init__(
        self, bank: Bank, arms: Mapping[str, str], expected: Bank | None = None, verifiers: Collection[str] = ()
    ) -> None:
        self._quotes: dict[str, Quote] = {}
        self.nominal: set[str] = set()
        for model, arm in arms.items():
            if arm.startswith(RUNS):
                known = quote_of(bank, model, arm, expected)
                self.nominal |= {model} if known is None else set()
                self._quotes[model] = known or Quote(Amounts(NOMINAL, 0, 1), NOMINAL / NANO)
                continue
            draws = _of(bank, model, arm)
            if not draws:
                raise UnknownName.of("(model, arm)", f"{model}, {arm}", (f"{m}, {a}" for m, a in bank.arms))
            costs = _costs(draws)
            seen = _of(expected, model, arm) if expected is not None else draws
            mean = _costs(seen or draws)
            if costs is None or mean is None:
                self.nominal.add(model)
                costs = mean = [NOMINAL]
            worst = Amounts(max(costs), max(d.tokens for d in draws), 1)
            self._quotes[model] = Quote(worst, sum(mean) / len(mean) / NANO)
        for verifier in verifiers:
            self._quotes[PREFIX + verifier] = _quote_of(bank, verifier, expected or bank)

    def name(self, sample: Sample) -> str:
        if sample.model is None:
            return next(iter(self._quotes))
        if sample.model not in self._quotes:
            raise UnknownName.of("model", sample.model, self._quotes)
        return sample.model

    def quote(self, sample: Sample) -> Quote:
        return self._quotes[self.name(sample)]

    def shrunk(self, sample: Sample, room: tuple[int, int, int]) -> Sample | None:
        return None  # a recorded draw is as long as it is

    def expected(self, model: str) -> float:
        """Mean dollars of one call."""
        return self._quotes[model].usd

    def dearest(self, sample: Sample) -> float:
        return max(quote.usd for name, quote in self._quotes.items() if not name.startswith(PREFIX))

    def cost(self, sample: Sample, usage: Usage) -> int:
        return NOMINAL  # asked only for a draw whose cost is unknown

    def observe(self, sample: Sample, usage: Usage, seconds: float, cut: bool = False) -> None:
        """Nothing is learnt: the bank's mean is known already."""


def is_free(bank: Bank, verifier: str) -> bool:
    """Whether its verdicts cost nothing. Raises `UnknownName` for a verifier that the bank has not recorded."""
    if verifier not in bank.verifiers:
        raise UnknownName.of("recorded verifier", verifier, bank.verifiers)
    return verifier in bank.free_verifiers


def _quote_of(bank: Bank, verifier: str, expected: Bank) -> Quote:
    """The dearest recorded verdict, and the mean of those in `expected`; nominal where the cost is unknown."""
    said, seen = _said_in(bank, verifier), _said_in(expected, verifier)
    nanos, tokens = [_nanos(s) for s in said] or [0], [s.tokens or 0 for s in said] or [0]
    mean = [_nanos(s) for s in seen] or nanos
    calls = 0 if verifier in bank.free_verifiers else 1
    return Quote(Amounts(max(nanos), max(tokens), calls), sum(mean) / len(mean) / NANO)


def _said_in(bank: Bank, verifier: str) -> list[Scored]:
    return [scored for all_said in bank.verdicts.values() if (scored := all_said.get(verifier)) is not None]


def _nanos(scored: Scored) -> int:
    return NOMINAL if scored.nanos is None else scored.nanos


def _of(bank: Bank, model: str, arm: str) -> list[Draw]:
    return [draw for row in bank.of_arm(model, arm).values() for draw in row]


def _costs(draws: list[Draw]) -> list[int] | None:
    costs = [draw.nanos for draw in draws if draw.nanos is not None]
    return costs if len(costs) == len(draws) else None


def replay(
    bank: Bank,
    question: str,
    strategy: Strategy,
    *,
    arms: str | Mapping[str, str] | None = None,
    budget: Budget | None = None,
    policy: Policy | None = None,
    seed: int = 0,
) -> Run:
    """One question's run, answered by the bank. `arms`: the arm of each model (the first is the default model); a
    string is the arm of every model that has it there; None means that each model has only one.

    Raises `TraceMiss`; `UnknownName`; `CallerError` where the arm is not clear; `UnpricedModel` for a budget in
    dollars over draws whose cost is unknown. What happened to the run itself is in its `outcome` and `error`.
    """
    chosen = _arms(bank, question, arms)
    deck, tariff = Deck.of(bank, question, chosen), BankTariff(bank, chosen)
    budget = budget or Budget(calls=max(1, deck.count))
    check_priced(budget, tariff)
    return run_on(deck.shuffled(seed), strategy, budget, policy or Policy(), tariff, seed)


def deck_of(bank: Bank, question: str, arms: Mapping[str, str], verifiers: Collection[str] = ()) -> Deck | RunDeck:
    """What a question has on record under these arms: draws, or the runs of a whole strategy. Raises as theirs do."""
    if any(arm.startswith(RUNS) for arm in arms.values()):
        return RunDeck.of(bank, question, arms)
    return Deck.of(bank, question, arms, verifiers)


def run_on(
    source: BankSource | RunSource,
    strategy: Strategy,
    budget: Budget,
    policy: Policy,
    tariff: BankTariff,
    seed: int,
    *,
    foreseen: int = 0,
    explained: bool = True,
) -> Run:
    """Performs a strategy on a dealt deck, or on a run that was recorded of it (which has a seed of its own).
    `foreseen`: so many first draws are known to be made, and are made at once, unasked. `explained`: its decisions say
    why."""
    if isinstance(source, RunSource):
        return run_along(source, strategy, budget, policy, tariff)
    deck = source.deck
    most = deck.count * (1 + len(deck.task.checks))  # a verdict is a call too
    capped = replace(budget, calls=max(1, min(budget.calls or most, most)))
    if deck.task.checks:
        strategy = _within(strategy, deck.count)
    economics = Economics(capped, policy, tariff)
    run = Run(
        strategy(source.task),
        purse=Purse.of(capped),
        economics=economics,
        name=name_of(strategy),
        id="replay",
        seed=seed,
    )
    run.foreseen, run.explained = [foreseen] if foreseen else [], explained
    return perform(run, source)


def _within(strategy: Any, draws: int) -> Any:
    """The strategy, with no more than the recorded draws: where verdicts are calls too, the cap on calls is no help."""
    wide = is_dataclass(strategy) and not isinstance(strategy, type) and getattr(strategy, "most", 0) > draws
    return replace(strategy, most=draws) if wide else strategy


def check_priced(budget: Budget, tariff: BankTariff) -> None:
    """Dollars cannot be weighed against calls whose cost nobody knows. Raises `UnpricedModel`."""
    if tariff.nominal and (budget.usd is not None or budget.worth not in (None, float("inf"))):
        names = ", ".join(sorted(tariff.nominal))
        raise UnpricedModel(f"the bank does not know what {names} costs: import it with prices=, or set no dollars")


def _arms(bank: Bank, question: str, arms: str | Mapping[str, str] | None) -> Mapping[str, str]:
    if isinstance(arms, Mapping):
        return arms
    if question not in bank.questions:
        raise UnknownName.of("question", question, bank.questions)
    here = [(m, a) for q, m, a in bank.draws if q == question and arms in (None, a)]
    if not here:
        raise UnknownName.of("arm", str(arms), {a for _, a in bank.arms})
    if len({m for m, _ in here}) < len(here):
        found = ", ".join(f"{m}: {a}" for m, a in sorted(here))
        raise CallerError(f"a model was recorded under several conditions, which do not mix: choose arms= of {found}")
    return dict(here)
