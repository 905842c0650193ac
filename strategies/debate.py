"""Debate: agents answer, read each other, and answer again, until they agree (Du et al. 2023, arXiv:2305.14325)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from ..budgets.beliefs import Unstarted
from ..budgets.rounds import RoundsBelief
from ..core.belief import STOP, Belief, Continuation, Terms
from ..core.completions import Params
from ..core.effects import Choose, Effect, Gather, Offer, Option, Race, Sample
from ..core.errors import CallerError, GatherFailed
from ..core.plans import Answer, Plan
from ..core.task import Candidate, Task
from ..verifiers.prompting import quoted
from .pool import Judged, Pool
from .prompting import answering
from .statements import Statement
from .steps import checks_of, dice, names, one_of, parameters, whole
from .topology import Mask, masks, named, senders, thinned

STRUCTURED = ("number", "choice", "code")  # kinds whose answer stands apart from the text around it
REFUTED, SHORT = 5, 80  # wrong answers that an agent is told of, and characters of each


@dataclass(frozen=True, slots=True)
class Debater:
    """One debater: the `role` it is told to play ("" for none), and its model (None: the debate's)."""

    role: str = ""
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Debate:
    """`agents` (a number, or `Debater`s, or their roles) answer at once; in each of `rounds` every one reads those that
    it hears and answers again. Ends when all agree, and where another round is not worth its price: rounds in which
    nobody changes its answer count against the next. An agent has one vote, its last answer.

    Messages are structured (critique, synthesis, claim) where the answer stands apart from the text; one without that
    form is a claim as a whole. Who hears whom: `topology` ("full", "ring", "star", "chain", "none") or explicit
    `edges` of (sender, receiver), for all rounds or each (`topology.masks`); `keep` is the share of them that is
    kept, at random. With `dissent` an agent reads one message for each answer other than its own, and is not asked
    again where there is none (as in S2-MAD: Zeng et al. 2025, arXiv:2502.04790). An agent that hears nobody costs
    nothing, unless a check refuted its answer. A message is shown with at most `most_chars`.

    `final`: "vote", or "judge": `judge_model` reads the answers that are left, in two opposite orders; where it does
    not come to the same both times, or fails, the vote stands. With a `quorum` a round ends when so many have replied;
    the rest are cancelled, and billed. `models` are dealt to the agents in turn. Prompts: "debate_open",
    "debate_round", "debate_judge".
    """

    agents: int | tuple[Debater | str | Mapping[str, Any], ...] = 3
    rounds: int = 2
    topology: str = "full"
    edges: tuple[Any, ...] | None = None
    keep: float = 1.0
    dissent: bool = False
    final: Literal["vote", "judge"] = "vote"
    quorum: int | None = None
    most_chars: int = 500
    structured: bool = True
    model: str | None = None
    models: tuple[str, ...] = ()
    judge_model: str | None = None
    params: Params = Params(temperature=0.7)
    name: ClassVar[str] = "debate"
    pays: ClassVar[str] = "where different models make different mistakes, and can tell a good argument; else vote"

    def __post_init__(self) -> None:
        if type(self.agents) is not int:
            object.__setattr__(self, "agents", _debaters(self.agents))
        size = len(self.cast)
        if size < 1:
            raise CallerError(f"agents={self.agents!r}: expected 1 or more")
        for what, least in (("rounds", 0), ("most_chars", 20)):
            whole(what, getattr(self, what), least)
        parameters("params", self.params)
        names("models", self.models)
        one_of("final", self.final, ("vote", "judge"))
        for what in ("dissent", "structured"):
            one_of(what, getattr(self, what), (True, False))
        if isinstance(self.keep, bool) or not isinstance(self.keep, int | float) or not 0 <= self.keep <= 1:
            raise CallerError(f"keep={self.keep!r:.80}: expected a share from 0 to 1")
        whole("quorum", self.quorum, optional=True)
        if self.quorum is not None and self.quorum > size:
            raise CallerError(f"quorum={self.quorum!r}: expected 1 to {size}, the number of agents")
        named(self.topology, size)
        if self.edges is not None:
            masks(self.edges, size)
            if self.topology != "full":
                raise CallerError(f"edges and topology={self.topology!r} both say who hears whom: leave one out")

    @property
    def cast(self) -> tuple[Debater, ...]:
        """The agents, each with its model."""
        several = _debaters(self.agents) if isinstance(self.agents, tuple) else (Debater(),) * self.agents
        dealt = self.models or (self.model,)
        return tuple(replace(one, model=one.model or dealt[i % len(dealt)]) for i, one in enumerate(several))

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return (self._opening(task)[0], *checks_of(task))

    def __call__(self, task: Task) -> Plan[Answer]:
        return (yield from _Run(self, task, Pool.of(task)).plan())

    def mask(self, task: Task, turn: int) -> Mask:
        """Who hears whom in a round (0 is the first after the opening)."""
        size = len(self.cast)
        if self.edges is None:
            mask = named(self.topology, size)
        else:
            given = masks(self.edges, size)
            mask = given[min(turn, len(given) - 1)]
        return mask if self.keep == 1 else thinned(mask, self.keep, f"{task.id}/edges/{turn}")

    def _structured(self, task: Task) -> bool:
        return self.structured and task.contract.kind in STRUCTURED

    def _opening(self, task: Task) -> tuple[Sample, ...]:
        values = {"structured": self._structured(task)}
        return tuple(answering(task, "debate_open", a.model, self.params, role=a.role, **values) for a in self.cast)

    def _reply(
        self, task: Task, agent: int, own: Statement | None, heard: tuple[Statement, ...], wrong: list[str]
    ) -> Sample:
        who = self.cast[agent]
        values = {
            "role": who.role,
            "own": own.shown(self.most_chars) if own is not None else None,
            "others": [(turn.agent + 1, turn.shown(self.most_chars)) for turn in heard],
            "wrong": [quoted(answer, SHORT).text for answer in wrong[-REFUTED:]],
            "structured": self._structured(task),
        }
        return answering(task, "debate_round", who.model, self.params, **values)

    def _judge(self, task: Task, turns: tuple[Statement, ...]) -> Sample:
        claims = [turn.shown(self.most_chars) for turn in turns]
        return answering(task, "debate_judge", self.judge_model or self.model, self.params, claims=claims)


@dataclass(slots=True)
class _Run:
    """One debate: where each agent stands."""

    how: Debate
    task: Task
    pool: Pool
    stands: dict[int, Statement] = field(default_factory=dict)
    stalled: int = 0
    left: dict[str, Judged] = field(default_factory=dict)  # answers that nobody stands by any more

    def plan(self) -> Plan[Answer]:
        passed = yield from self.pool.start()
        done = passed is not None or (yield from self._open())
        for turn in range(self.how.rounds):
            asked = {} if done else self._asked(turn)
            if not asked:
                break
            belief = RoundsBelief(self.stalled, self.how.rounds - turn, self._evidence(), "debate", turn)
            yield from Offer(self.pool.answer(), belief, self._step(asked.values()))
            done = yield from self._round(asked)
        if not done and self.how.final == "judge":
            judged = yield from self._judged()
            if judged is not None:
                return judged
        return self.pool.end()

    def _evidence(self) -> Belief | None:
        return self.pool.belief if self.pool.best is not None else None

    def _step(self, asked: Iterable[Sample]) -> tuple[Effect[Any], ...]:
        samples = tuple(asked)
        return (*samples, *(checks_of(self.task) * len(samples)))

    def _open(self) -> Plan[bool]:
        """The first answers; of one agent only where a debate cannot be paid or is not worth it. Returns whether the
        debate is over."""
        opening = self.how._opening(self.task)
        whole = Option(Opening(self.how.rounds), self._step(opening), "debate")
        alone = Option(Unstarted(), self._step(opening[:1]), "one agent")
        choice = yield from Choose(self.pool.answer(), (whole, alone) if len(opening) > 1 else (whole,))
        asked = opening if choice.index == 0 else opening[:1]
        replies = yield from self._gather(asked)
        verified = yield from self._hear(dict(enumerate(replies)))
        return verified or choice.index == 1

    def _asked(self, turn: int) -> dict[int, Sample]:
        """Who is asked in a round, and what: everyone who hears somebody, or whose answer a check refuted. Nobody where
        all who speak agree on what none did."""
        refuted = [key for key, one in self.pool.judged.items() if one.refuted]
        keys = {one.key for one in self.stands.values()}
        if len(keys) == 1 and not keys & {None, *refuted} and len(self.stands) >= min(2, len(self.how.cast)):
            return {}
        wrong = [self.pool.judged[key].candidate.answer or "" for key in refuted]
        mask, asked = self.how.mask(self.task, turn), {}
        for agent in range(len(self.how.cast)):
            own = self.stands.get(agent)
            heard = tuple(self.stands[one] for one in senders(mask, agent) if one in self.stands)
            if self.how.dissent:
                heard = _dissent(own, heard)
            if heard or (own is not None and own.key in refuted):
                asked[agent] = self.how._reply(self.task, agent, own, heard, wrong)
        return asked

    def _round(self, asked: dict[int, Sample]) -> Plan[bool]:
        """One round. An agent that fails keeps what it said before. Returns whether an answer is verified."""
        before = {agent: turn.key for agent, turn in self.stands.items()}
        try:
            replies = yield from self._gather(tuple(asked.values()))
        except GatherFailed:
            self.stalled += 1
            return False
        verified = yield from self._hear(dict(zip(asked, replies, strict=True)))
        moved = any(turn.key != before.get(agent) for agent, turn in self.stands.items())
        self.stalled = 0 if moved else self.stalled + 1
        return verified

    def _gather(self, samples: tuple[Sample, ...]) -> Plan[tuple[Candidate | None, ...]]:
        quorum = self.how.quorum
        if quorum is not None and quorum < len(samples):
            replies: tuple[Candidate | None, ...] = yield from Race(samples, quorum)
        else:
            replies = yield from Gather(samples, at_least=1)
        return replies

    def _hear(self, replies: dict[int, Candidate | None]) -> Plan[bool]:
        """Takes what came. A reply without an answer does not move an agent that has one. Returns whether an answer is
        verified."""
        for agent, candidate in replies.items():
            if candidate is None:
                continue
            former = self.stands.get(agent)
            one = yield from self._take(candidate)
            if one is None and former is not None and former.key is not None:
                continue
            self.stands[agent] = Statement.of(agent, candidate)
            if one is not None and one.passed:
                return True
            if former is not None and former.key is not None:
                self._withdraw(former.key)
        return False

    def _take(self, candidate: Candidate) -> Plan[Judged | None]:
        """Counts a candidate. One that somebody comes back to is not checked again."""
        if candidate.key is not None and candidate.key in self.left:
            self.pool.judged[candidate.key] = self.left.pop(candidate.key)
        return (yield from self.pool.take(candidate))

    def _withdraw(self, key: str) -> None:
        """One vote each: who says something else takes back the former vote, and an answer without a vote is none.
        What a check refuted remains, once, as evidence that answers here may be wrong."""
        one = self.pool.judged[key]
        one.count -= 1
        if one.count < 1 and one.refuted:
            one.count = 1
        elif one.count < 1:
            self.left[key] = self.pool.judged.pop(key)

    def _judged(self) -> Plan[Answer | None]:
        """The judge's answer, if it comes to the same whichever answer it reads first; else its words count for
        nothing."""
        offered = {one.candidate.key for one in self.pool.offered}
        distinct = {turn.key: turn for turn in self.stands.values() if turn.key in offered}
        if len(distinct) < 2:
            return None
        turns = list(distinct.values())
        dice(self.task, "judge").shuffle(turns)
        asked = tuple(self.how._judge(self.task, tuple(order)) for order in (turns, turns[::-1]))
        yield from Offer(self.pool.answer(), RoundsBelief(self.stalled, 1, self._evidence()), self._step(asked))
        try:
            replies: tuple[Candidate | None, ...] = yield from Gather(asked)
        except GatherFailed:
            return None
        first, second = replies
        if first is None or second is None or first.key is None or first.key != second.key:
            return None
        one = yield from self._take(first)
        if one is None or one.refuted:
            return None
        if one.passed:
            return self.pool.end()
        return Answer(one.candidate, "judged", self.pool.belief if self.pool.best is one else None)


@dataclass(frozen=True, slots=True)
class Opening:
    """The value of beginning a debate: of a first answer, and of what the rounds after it are expected to add."""

    rounds: int

    def p(self, terms: Terms) -> float | None:
        return None

    def best(self, terms: Terms) -> Continuation:
        if terms.steps <= 0:
            return STOP
        theta = sum(weight * right for right, _, weight in terms.priors.voting)
        after = RoundsBelief(0, self.rounds, _Guess(theta), "debate").best(replace(terms, steps=terms.steps - 1))
        gain, cost, seconds = terms.value(theta) + after.gain, terms.cost + after.cost, terms.seconds + after.seconds
        return Continuation(1, gain, cost, seconds)


@dataclass(frozen=True, slots=True)
class _Guess:
    chance: float

    def p(self, terms: Terms) -> float | None:
        return self.chance

    def best(self, terms: Terms) -> Continuation:
        return STOP


def _dissent(own: Statement | None, heard: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """One message for each answer other than one's own, the first of each."""
    mine = own.key if own is not None else None
    different = {turn.key: turn for turn in heard[::-1] if turn.key is not None and turn.key != mine}
    return tuple(sorted(different.values(), key=lambda turn: turn.agent))


def _debaters(given: Any) -> tuple[Debater, ...]:
    """Debaters from debaters, roles, or mappings of both. Raises `CallerError`."""
    try:
        if isinstance(given, str):
            raise TypeError
        made: tuple[Any, ...] = tuple(Debater(one) if isinstance(one, str) else one for one in given)
        made = tuple(Debater(**one) if isinstance(one, Mapping) else one for one in made)
    except TypeError:
        made = (None,)
    if not all(isinstance(one, Debater) for one in made):
        raise CallerError(f"agents={given!r:.80}: expected a number, or a tuple of Debater(role, model) or roles")
    return made
