"""Measuring: the pure unit of work of an evaluation. One strategy on some models, over a chunk of questions.

A `Job` holds all that its figures depend on, and a `Part` all that came, run by run; both can be sent to another
process. A question's runs depend on the question and the seeds alone, never on the chunk that it is in or on who else
works, so that whoever puts the parts together in order gets the same figures whatever the engine (see `engines`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from ..budgets.budget import Budget
from ..budgets.policy import Policy
from ..core.amounts import NANO
from ..core.errors import CallerError, TraceMiss
from ..core.plans import Strategy
from ..scheduler.run import Run
from .bank import Bank
from .replaying import BankSource, BankTariff, Deck, deck_of, order, run_on
from .retracing import RUNS, RunDeck, RunSource
from .teams import Missed
from .walking import Walk, bill_of, symbols_of, walk_of, walkable

CHUNK = 64  # questions of a job: small enough for progress, large enough that sending it is nothing


class Ran(NamedTuple):
    """One replayed run: whether it was right, its bill, seconds of its critical path, whether it gave an answer, why
    it stopped, and P(right) of its answer in the state in which it did (None: not known)."""

    right: bool
    nanos: int
    tokens: int
    calls: int
    seconds: float
    answered: bool
    stop: str
    claimed: float | None

    @property
    def usd(self) -> float:
        return self.nanos / NANO


@dataclass(frozen=True, slots=True)
class Job:
    """A strategy on the models of `arms`, on `questions` of a bank that may hold no more than these. `policies` and
    `tariffs` are by fold; the tariffs are of the whole bank. `verifiers`: recorded ones, the checks of every question.
    Each question is replayed with the seeds `seed` to `seed + resamples - 1`, or
    with the first alone where no model has two draws of it: all its orders are the same."""

    bank: Bank
    arms: Mapping[str, str]
    strategy: Strategy
    questions: tuple[str, ...]
    budget: Budget
    policies: Mapping[int, Policy]
    tariffs: Mapping[int, BankTariff]
    verifiers: tuple[str, ...] = ()
    resamples: int = 20
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """What came of a job, by question in its order: the runs that were replayed, in order of their seeds; how many
    `orders` were tried; and what the bank could not answer."""

    runs: Mapping[str, tuple[Ran, ...]]
    orders: Mapping[str, int]
    missed: Missed = field(default_factory=Missed)


def jobs_of(job: Job, size: int = CHUNK, slices: dict[Any, Bank] | None = None) -> Iterator[Job]:
    """The job in chunks of `size` questions, in order, each with only its own slice of the bank. `slices`, where
    given, keeps these, so that jobs on the same questions share them and an engine sends them once."""
    kept = {} if slices is None else slices
    for start in range(0, len(job.questions), size):
        questions = job.questions[start : start + size]
        key = questions, tuple(job.arms.items()), job.verifiers
        if slices is None or key not in kept:
            kept[key] = slice_of(job.bank, questions, job.arms, job.verifiers)
        yield replace(job, bank=kept[key] if slices is not None else kept.pop(key), questions=questions)


def slice_of(bank: Bank, questions: Sequence[str], arms: Mapping[str, str], verifiers: Collection[str] = ()) -> Bank:
    """The part of the bank with what these questions' runs on these arms may ask for. It still knows what is true of
    the whole bank alone: which verifiers there are, and which are free."""
    draws = {(q, m, a): row for q in questions for m, a in arms.items() if (row := bank.draws.get((q, m, a)))}
    places = ((*group, draw.sample_index) for group, row in draws.items() for draw in row) if verifiers else ()
    verdicts = {place: said for place in places if (said := bank.verdicts.get(place))}
    texts = [arm.removeprefix(RUNS) for arm in arms.values() if arm.startswith(RUNS)]
    runs = {(q, text): found for q in questions for text in texts if (found := bank.runs.get((q, text)))}
    known = {q: bank.questions[q] for q in questions}
    part = replace(bank, questions=known, draws=draws, verdicts=verdicts, runs=runs)
    vars(part).update(verifiers=bank.verifiers, free_verifiers=bank.free_verifiers)  # cached: never looked for again
    return part


def measure(job: Job, *, walking: bool = True) -> Part:
    """Replays every question of a job. `walking`: plain votes are counted where that gives the plan's very figures
    (see `walking`), about ten times as fast. Raises `CallerError` where the strategy refuses the task."""
    runs: dict[str, tuple[Ran, ...]] = {}
    orders: dict[str, int] = {}
    missed, walks = Missed(), list[Walk]()
    for question in job.questions:
        deck = deck_of(job.bank, question, job.arms, job.verifiers)
        orders[question] = _orders(job, deck)
        walk = _walk(job, deck) if walking and isinstance(deck, Deck) else None
        walks += walk[:1] if walk is not None and walk[0] not in walks[-1:] else ()
        seeds = range(job.seed, job.seed + orders[question])
        runs[question] = tuple(ran for seed in seeds if (ran := _one(job, deck, seed, missed, walk)) is not None)
    if any(walk.broken for walk in walks):  # none of it is to be trusted
        return measure(job, walking=False)
    return Part(runs, orders, missed)


def _orders(job: Job, deck: Deck | RunDeck) -> int:
    """How often a question is replayed: each recorded run of a whole strategy once."""
    if isinstance(deck, RunDeck):
        return min(job.resamples, deck.orders)
    return job.resamples if max(map(len, deck.draws.values()), default=0) > 1 else 1


def _one(job: Job, deck: Deck | RunDeck, seed: int, missed: Missed, walk: Walked | None) -> Ran | None:
    """One run; None, and a line in `missed`, where the bank could not answer it."""
    found = _counted(deck, seed, walk) if walk is not None and isinstance(deck, Deck) else None
    if found is None and walk is not None and isinstance(deck, Deck) and _explored(job, deck, seed, walk):
        found = _counted(deck, seed, walk)
    if found is None:
        try:
            found = _replayed(job, deck, seed, walk)
        except TraceMiss as miss:
            missed.add(miss)
            return None
    ended = found.stop == "budget_calls" and not _capped(job, deck)
    if ended and not found.calls:
        missed.add(TraceMiss("its first step takes more calls than were recorded", why="first"))
        return None
    missed.ended += ended
    return found


def _replayed(job: Job, deck: Deck | RunDeck, seed: int, walk: Walked | None, ahead: int = 0) -> Ran:
    """One run by the plan, from which the walk learns. The first `ahead` draws are made unasked, and at once."""
    fold = job.bank.questions[deck.question].fold
    source = deck.shuffled(seed)
    terms = job.budget, job.policies[fold], job.tariffs[fold]
    run = run_on(source, job.strategy, *terms, seed, foreseen=ahead, explained=False)
    if isinstance(run.error, CallerError):
        raise run.error
    found = ran_of(run, source)
    if walk is not None and isinstance(deck, Deck):
        assert run.outcome is not None
        met, candidate = _met(deck, seed, walk[1]), run.outcome.candidate
        place = list(source.drawn).index(candidate.path) if candidate is not None else None
        walk[0].learn(met, run, len(source.drawn), place, found.claimed, ahead)
    return found


def _explored(job: Job, deck: Deck, seed: int, walk: Walked) -> bool:
    """Lets the plan tell the walk what it does where this run comes to a state that is not known yet. It is not asked
    again what it does on the way there. False where that is all of the way."""
    ahead = walk[0].ahead(_met(deck, seed, walk[1]))
    if ahead:
        _replayed(job, deck, seed, walk, ahead)
    return ahead > 0


def _counted(deck: Deck, seed: int, walk: Walked) -> Ran | None:
    """One run by counting its draws; None where they lead to a state that is not known yet."""
    ((model, draws),) = deck.draws.items()
    places = order(len(draws), seed, deck.question, model, deck.arms[model])
    found = walk[0].along([walk[1][i] for i in places])
    if found is None:
        return None
    replies = [deck.replies[model][i] for i in places[: found.draws]]
    if walk[0].wide and any(reply.seconds for reply in replies):
        return None  # draws that were made at once do not wait for each other
    nanos, tokens, calls, seconds = bill_of(replies)
    answered = found.stop.answered and found.leader is not None
    right = answered and draws[places[found.leader or 0]].correct
    return Ran(right, nanos, tokens, calls, seconds, answered, found.stop.reason, found.stop.claimed)


Walked: TypeAlias = "tuple[Walk, tuple[int, ...]]"  # and the deck's draws in symbols


def _walk(job: Job, deck: Deck) -> Walked | None:
    """The walk that this question's runs take part in, if there is one."""
    if len(deck.draws) != 1 or not walkable(job.strategy, job.budget, len(job.arms)):
        return None
    symbols = symbols_of(deck)
    fold = job.bank.questions[deck.question].fold
    of = job.budget, job.policies[fold], job.tariffs[fold]
    return (walk_of(job.strategy, of, deck.count, len(job.verifiers)), symbols) if symbols is not None else None


def _met(deck: Deck, seed: int, symbols: Sequence[int]) -> list[int]:
    ((model, draws),) = deck.draws.items()
    return [symbols[i] for i in order(len(draws), seed, deck.question, model, deck.arms[model])]


def ran_of(run: Run, source: BankSource | RunSource) -> Ran:
    """The figures of a finished run."""
    assert run.outcome is not None
    candidate, spent = run.outcome.candidate, run.outcome.spent
    return Ran(
        source.right(candidate),
        spent.nanos,
        spent.tokens,
        spent.calls,
        spent.seconds,
        candidate is not None,
        run.outcome.reason,
        claimed(run) if candidate is not None else None,
    )


def _capped(job: Job, deck: Deck | RunDeck) -> bool:
    """Whether the caller's cap on calls comes before the end of the recorded draws."""
    return job.budget.calls is not None and job.budget.calls < deck.count * (1 + len(deck.task.checks))


def claimed(run: Run) -> float | None:
    """P(right) of the answer in the state in which the run stopped, at the policy's prior."""
    frame = run.root
    return frame.belief.p(frame.terms) if frame.belief is not None and frame.terms is not None else None
