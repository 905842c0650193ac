"""Scoring on a bank: the real plan, answered by recorded draws. What the bank does not hold is not guessed.

A committed workflow that only samples the bare question, votes and branches sees of a question nothing but which of the
draws that it takes agree. So it runs once for each pattern of agreement that it meets, and what came of it (which draws
it took, which of them stood) is read off for every question with that pattern. The figures are the same as those of a
run for each question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ...budgets.budget import Budget
from ...budgets.policy import Policy
from ...budgets.purse import Purse
from ...core.amounts import NANO
from ...core.errors import CallerError, TraceMiss
from ...scheduler.decisions import Economics
from ...scheduler.offline import perform
from ...scheduler.run import Run
from ...strategies.workflow import Workflow
from ...strategies.workflows.auditing import walk
from ..bank import Bank, Draw
from ..replaying import NOMINAL, BankTariff, Deck, check_priced, order
from .scoring import Figure, Unanswerable

MANY = 1_000_000  # calls: no cap of ours; the bank's draws are one, and to ask for more is a miss
PLAIN = frozenset({"sample", "parallel", "sequence", "vote", "verify", "if", "loop", "call"})
Place: TypeAlias = "tuple[str, int]"  # model, and nth draw in the order of the run


@dataclass(frozen=True, slots=True)
class _Came:
    """What a run took, in its order, what stood at its end, and what it cost."""

    took: tuple[Place, ...]
    stood: Place | None
    usd: float


@dataclass(slots=True)
class _Known:
    """What is known of a workflow after some draws: the draw that it takes next (None: it has `ended`, and what
    `stood`), and what follows by which earlier draw that one agrees with."""

    takes: Place | None = None
    ended: bool = False
    stood: Place | None = None
    ways: dict[int, _Known] = field(default_factory=dict)


@dataclass(slots=True)
class Replay:
    """Scores workflows on the questions of a bank that have draws of all models in `arms` (model to arm).

    `verifiers`: recorded ones that are the checks of every question, billed; `policy`: what their scores are worth.
    `resamples`: orders in which each question's draws are dealt, where there are several. `expected`: the bank from
    which a step's price is expected (its training part). Raises `CallerError`, `UnknownName`, `UnpricedModel`.
    """

    bank: Bank
    arms: Mapping[str, str]
    worth: float
    wrong: float = 0.0
    verifiers: tuple[str, ...] = ()
    policy: Policy = field(default_factory=Policy)
    resamples: int = 5
    seed: int = 0
    expected: Bank | None = None
    spent: float = 0.0
    runs: int = 0
    questions: tuple[str, ...] = field(init=False)
    _budget: Budget = field(init=False, repr=False)
    _tariff: BankTariff = field(init=False, repr=False)
    _decks: dict[str, Deck] = field(init=False, repr=False, default_factory=dict)
    _dealt: dict[tuple[str, int], dict[str, tuple[Draw, ...]]] = field(init=False, repr=False, default_factory=dict)
    _known: dict[tuple[Any, ...], _Known] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise CallerError(f"resamples={self.resamples}: expected 1 or more")
        self.questions = self.bank.common(self.arms)
        if not self.questions:
            raise CallerError(f"no question of the bank has draws of all of {', '.join(self.arms)}")
        self._budget = Budget(calls=MANY, worth=self.worth, wrong=self.wrong)
        self._tariff = BankTariff(self.bank, self.arms, self.expected, self.verifiers)
        check_priced(self._budget, self._tariff)

    def keep(self, usd: float) -> bool:
        """Replay costs nothing."""
        return True

    def score(self, flow: Workflow, questions: Sequence[str]) -> list[Figure]:
        """Raises `Unanswerable` at the first run that the bank cannot answer."""
        plain = not self.verifiers and flow.committed and depends_on_votes(flow)
        if len(self._known) > 64:  # workflows come one by one
            self._known.clear()
        found = []
        for question in questions:
            deck = self._deck(question)
            orders = self.resamples if any(len(row) > 1 for row in deck.draws.values()) else 1
            runs = [self._once(flow, deck, seed, plain) for seed in range(self.seed, self.seed + orders)]
            found.append(Figure(*(sum(column) / orders for column in zip(*runs, strict=True))))
        return found

    def _deck(self, question: str) -> Deck:
        if question not in self._decks:
            self._decks[question] = Deck.of(self.bank, question, self.arms, self.verifiers)
        return self._decks[question]

    def _once(self, flow: Workflow, deck: Deck, seed: int, plain: bool) -> Figure:
        if not plain:
            came = self._run(flow, deck, seed)
            return self._figure(deck, seed, came.stood, came.usd)
        contract = deck.task.contract
        root = self._known.setdefault((flow.source, contract.kind, len(contract.choices)), _Known())
        found = self._read_off(root, deck, seed)
        if found is None:
            came = self._run(flow, deck, seed)
            self._learn(root, deck, seed, came)
            return self._figure(deck, seed, came.stood, came.usd)
        return found

    def _figure(self, deck: Deck, seed: int, stood: Place | None, usd: float) -> Figure:
        right = stood is not None and self._dealing(deck, seed)[stood[0]][stood[1]].correct
        return Figure(float(right), usd, float(stood is not None))

    def _read_off(self, known: _Known, deck: Deck, seed: int) -> Figure | None:
        """What the workflow would do, None where it met no such pattern yet."""
        dealt, labels, nanos = self._dealing(deck, seed), dict[str, int](), 0
        while known.takes is not None:
            model, nth = known.takes
            row = dealt.get(model, ())
            if nth >= len(row) or row[nth].answer is None:
                return None  # a run will say what is missing
            nanos += _nanos(row[nth])
            way = known.ways.get(_label(row[nth], labels))
            if way is None:
                return None
            known = way
        return self._figure(deck, seed, known.stood, nanos / NANO) if known.ended else None

    def _learn(self, known: _Known, deck: Deck, seed: int, came: _Came) -> None:
        dealt, labels = self._dealing(deck, seed), dict[str, int]()
        for place in came.took:
            known.takes = place
            known = known.ways.setdefault(_label(dealt[place[0]][place[1]], labels), _Known())
        known.ended, known.stood = True, came.stood

    def _run(self, flow: Workflow, deck: Deck, seed: int) -> _Came:
        """One run of the real plan."""
        self.runs += 1
        source = deck.shuffled(seed)
        economics, purse = Economics(self._budget, self.policy, self._tariff), Purse.of(self._budget)
        try:
            run = Run(flow(source.task), purse=purse, economics=economics, name=flow.name, id="search", seed=seed)
            run = perform(run, source)
        except TraceMiss as miss:
            raise Unanswerable(str(miss)) from miss
        if isinstance(run.error, CallerError):
            raise run.error
        if run.outcome is None or run.outcome.reason == "fault":
            raise Unanswerable(f"question {deck.question!r}: the run ended in a fault: {run.error}")
        places = {id(d): (m, i) for m, row in self._dealing(deck, seed).items() for i, d in enumerate(row)}
        took = tuple(places[id(draw)] for draw in source.drawn.values())
        candidate = run.outcome.answer.candidate if run.outcome.answer else None
        draw = source.drawn.get(candidate.path) if candidate is not None else None
        return _Came(took, places[id(draw)] if draw is not None else None, run.outcome.spent.usd)

    def _dealing(self, deck: Deck, seed: int) -> dict[str, tuple[Draw, ...]]:
        """The draws of each model as a run with this seed is dealt them."""
        key = (deck.question, seed)
        if key not in self._dealt:
            self._dealt[key] = {
                model: tuple(row[i] for i in order(len(row), seed, deck.question, model, deck.arms[model]))
                for model, row in deck.draws.items()
            }
        return self._dealt[key]


def _label(draw: Draw, labels: dict[str, int]) -> int:
    """Which earlier answer it agrees with, -1 for none at all."""
    if draw.key is None:
        return -1
    return labels.setdefault(draw.key, len(labels))


def _nanos(draw: Draw) -> int:
    return NOMINAL if draw.nanos is None else draw.nanos


def depends_on_votes(flow: Workflow) -> bool:
    """Whether all that steers a workflow is which answers agree: no other strategy inside, no condition on texts."""
    for _, step in walk(flow.document):
        if step.do not in PLAIN or (step.do == "sample" and (step.prompt or step.role or not step.candidate)):
            return False
        when = step.when if step.do == "if" else step.until if step.do == "loop" else None
        if when is not None and '"says":{' in when.model_dump_json(by_alias=True):
            return False
    return True
