"""Reflexion: try, verify, reflect in words, try again with what was learnt (Shinn et al. 2023, arXiv:2303.11366)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..budgets.beliefs import Committed, Unstarted
from ..budgets.rounds import RoundsBelief
from ..core.belief import Belief
from ..core.completions import Params
from ..core.effects import Effect, Offer, Recall, Remember, Sample, Scope, Score, Within
from ..core.errors import BadQuery, CallerError, GatherFailed, ModelError, ToolError
from ..core.plans import Answer, Outcome, Plan, Strategy
from ..core.task import Candidate, Task
from ..verifiers.prompting import quoted
from .critique import SelfCritique, tellable
from .pool import Judged, Pool
from .prompting import answering, draw, speaking, thinking
from .steps import NOBODY, checks_of, one_of, parameters, strategy, whole

KEPT = 200  # lessons that one topic keeps across runs; later ones are dropped
REFUTED = 5  # wrong answers that a retry is told of
USUAL = "word " * 60  # stands in for a reflection, likewise


@dataclass(frozen=True, slots=True)
class Reflexion:
    """Tries; where the checks do not pass the answer, a model says in words why it failed; tries again with the last
    `memory` of these reflections before it. At most `rounds` retries, each only while it is worth its price: retries
    that bring nothing better count against the next.

    `actor` is who tries (any strategy; None: one completion). Without checks the model criticises its own answer, and
    its word weighs little: what it approves ends the rounds, what it rejects is retried, and may still be the answer.
    `accept`: a verdict of at least this P(right) ends the rounds too (None: only an exact pass and the price do).

    With a `topic`, a reflection whose retry was better is remembered under it and the kind of answer, for this run,
    for the task's session or for its tenant (`scope`). Raises `BadQuery` where the task does not name these. What
    is remembered is text of unknown origin: quoted, at most `most_chars` of each, never more than `memory`.

    `reflect_model` criticises and reflects (None: `model`). Prompts: "reflexion_retry", "reflexion_reflect",
    "reflexion_critique". A check's evidence is shown unless the check holds a reference answer.
    """

    rounds: int = 3
    memory: int = 3
    actor: Strategy | None = None
    model: str | None = None
    reflect_model: str | None = None
    params: Params = Params(temperature=0.7)
    reflect_params: Params = Params(temperature=0.0, max_tokens=160)
    accept: float | None = None
    topic: str | None = None
    scope: Scope = "run"
    most_chars: int = 600
    name: ClassVar[str] = "reflexion"
    pays: ClassVar[str] = "where a check says what is wrong, as tests of code do; hardly ever on a model's own word"

    def __post_init__(self) -> None:
        for what, least in (("rounds", 0), ("memory", 1), ("most_chars", 20)):
            whole(what, getattr(self, what), least)
        for what in ("params", "reflect_params"):
            parameters(what, getattr(self, what))
        strategy("actor", self.actor, optional=True)
        one_of("scope", self.scope, ("run", "session", "tenant"))
        if self.topic is not None and not isinstance(self.topic, str):
            raise CallerError(f"topic={self.topic!r:.80}: expected a text, or None")
        if self.scope != "run" and not self.topic:
            raise CallerError(f"scope={self.scope!r} needs a topic: what the remembered reflections are about")
        accept = self.accept
        if accept is not None and (not isinstance(accept, int | float) or not 0 < accept <= 1):
            raise CallerError(f"accept={accept!r:.80}: expected a probability above 0, or None")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return (self._first(task), *checks_of(task))

    def __call__(self, task: Task) -> Plan[Answer]:
        critic = None if task.checks else SelfCritique(self._reflects, self.reflect_params)
        run = _Run(self, task, _pool(task, critic), critic)
        return (yield from run.plan())

    @property
    def _reflects(self) -> str | None:
        return self.reflect_model or self.model

    def _first(self, task: Task) -> Sample | Within:
        return draw(task, self.model, self.params) if self.actor is None else Within(self.actor, task)

    def _retry(self, task: Task, lessons: Sequence[str], pool: Pool) -> Sample | Within:
        """Another try, with the last reflections and the answers that were refuted."""
        wrong = [one.candidate.answer or "" for one in pool.judged.values() if one.refuted]
        values = {
            "lessons": [quoted(lesson, self.most_chars) for lesson in lessons[-self.memory :]],
            "wrong": [quoted(answer, 80).text for answer in wrong[-REFUTED:]],
        }
        if self.actor is None:
            return answering(task, "reflexion_retry", self.model, self.params, form=True, **values)
        # The actor asks for the answer's form itself. It is to try anew, not to count what failed.
        said = speaking(task, "reflexion_retry", form=False, **values)
        return Within(self.actor, replace(task, messages=said, label=task.id, known=(), judged=()))

    def _reflection(self, task: Task, tried: Candidate, said: str) -> Sample:
        values = {
            "asked_of": quoted(task.query, 8 * self.most_chars),
            "attempt": quoted(tried.text, 4 * self.most_chars),
            "said": quoted(said, 2 * self.most_chars),
        }
        return thinking(task, "reflexion_reflect", self._reflects, self.reflect_params, **values)


@dataclass(slots=True)
class _Run:
    """One run: what was tried, what was learnt."""

    how: Reflexion
    task: Task
    pool: Pool
    critic: SelfCritique | None
    lessons: list[str] = field(default_factory=list)
    stored: int = 0
    tried: Candidate | None = None
    stalled: int = 0

    def plan(self) -> Plan[Answer]:
        passed = yield from self.pool.start()
        if passed is not None:
            return self.pool.end()
        yield from self._recall()
        self.tried = self.task.known[-1] if self.task.known else None
        if self.tried is None:
            first = self._prepared()
            yield from Offer(None, Unstarted(), (first, *checks_of(self.task)))
            passed = yield from self._try(first)
            if passed is not None and passed.passed:
                return self.pool.end()
        for done in range(self.how.rounds):
            if self._accepted():
                break
            yield from Offer(self.pool.answer(), self._belief(self.how.rounds - done), self._step())
            yield from self._criticise()
            if not self._accepted():
                yield from self._round()
        return self.pool.end()

    def _belief(self, left: int) -> Belief:
        evidence = self.pool.belief if self.pool.best is not None else None
        name = "reflexion+checks" if self.task.checks else "reflexion"
        return RoundsBelief(self.stalled, left, evidence, name, self.how.rounds - left)

    def _prepared(self) -> Sample | Within:
        """The first try, with what other runs have learnt, if anything."""
        if not self.lessons:
            return self.how._first(self.task)
        return self.how._retry(self.task, self.lessons, self.pool)

    def _step(self) -> tuple[Effect[Any], ...]:
        """One more round, as far as it is known: criticism, reflection, another try, its checks."""
        tried = self.tried or NOBODY
        critics = () if self.critic is None else (self.critic,)
        first = tuple(Score(critic, self.task, tried) for critic in critics if not self._heard())
        reflection = self.how._reflection(self.task, tried, USUAL)
        retry = self.how._retry(self.task, [*self.lessons, USUAL], self.pool)
        return (*first, reflection, retry, *(Score(c, self.task, NOBODY) for c in (*critics, *self.task.checks)))

    def _judged(self) -> Judged | None:
        key = self.tried.key if self.tried is not None else None
        return self.pool.judged.get(key) if key is not None else None

    def _heard(self) -> bool:
        """Whether the critic has nothing to say any more: it has spoken, or there is no answer."""
        one = self._judged()
        return one is None or bool(one.asked)

    def _accepted(self) -> bool:
        """Whether nothing is left to reflect on."""
        best = self.pool.best
        if best is None or best.p is None:
            return False
        enough = 0.5 if self.critic is not None else self.how.accept
        return best.passed or (enough is not None and best.p >= enough)

    def _criticise(self) -> Plan[None]:
        """Asks the critic, where there is one, of the last answer, unless it has spoken of that one."""
        one = self._judged()
        if self.critic is not None and one is not None and not self._heard():
            yield from self.pool.ask(Score(self.critic, self.pool.task, one.candidate))

    def _round(self) -> Plan[None]:
        """Reflects and tries again. A failing call costs the round, not the run."""
        before = self.pool.best
        lesson = yield from self._reflect()
        try:
            yield from self._try(self.how._retry(self.task, self.lessons, self.pool))
        except (ModelError, GatherFailed):
            self.stalled += 1
            return
        yield from self._criticise()  # else the last one would win for being the only one not yet rejected
        better = self.pool.best is not before
        self.stalled = 0 if better else self.stalled + 1
        if better and lesson:
            yield from self._remember(lesson)

    def _try(self, how: Sample | Within) -> Plan[Judged | None]:
        came: Candidate | Outcome = yield from how
        if isinstance(came, Candidate):
            self.tried = came
            return (yield from self.pool.take(came))
        self.tried = came.candidate or next(iter(came.found[::-1]), None)
        return (yield from self.pool.absorb(came))

    def _reflect(self) -> Plan[str]:
        """What the model makes of the failure; "" where it says nothing new."""
        try:
            thought: Candidate = yield from self.how._reflection(self.task, self.tried or NOBODY, self._said())
        except ModelError:
            return ""
        lesson = " ".join(thought.text.split())[: self.how.most_chars]
        if not lesson or lesson in self.lessons:
            return ""
        self.lessons.append(lesson)
        return lesson

    def _said(self) -> str:
        """What the checks said of the last try, as far as it may be told."""
        one = self._judged()
        if one is None:
            return "No answer could be read in it: it has to end in the form that was asked for."
        return tellable(one, self.pool.task)

    # -- memory across runs ---------------------------------------------------------------------------------------

    @property
    def _topic(self) -> str:
        return f"reflexion/{self.how.topic}/{self.task.contract.kind}"

    def _recall(self) -> Plan[None]:
        how = self.how
        if not how.topic:
            return
        named = {"run": 0, "tenant": 1, "session": 2}[how.scope]
        if len(self.task.scope) < named or not all(self.task.scope[:named]):
            raise BadQuery(
                f"reflexion remembers by {how.scope}, which this request does not name: solve(..., "
                f"scope=({', '.join(('TENANT', 'SESSION')[:named])},)), or leave the setting scope at 'run'"
            )
        try:
            known = yield from Recall(self._topic, how.scope)
        except ToolError:  # without memory it can still think
            return
        self.stored = len(known)
        for value in known[-how.memory :]:
            lesson = value.get("lesson") if isinstance(value, dict) else None
            if isinstance(lesson, str) and lesson.strip():
                self.lessons.append(lesson[: how.most_chars])

    def _remember(self, lesson: str) -> Plan[None]:
        """Keeps what helped. The better answer is on offer first: a stop must not lose it."""
        if not self.how.topic or self.stored >= KEPT:
            return
        effect = Remember(self._topic, {"lesson": lesson}, self.how.scope)
        yield from Offer(self.pool.answer(), Committed(1, self.pool.belief), (effect,))
        try:
            yield from effect
        except ToolError:
            return
        self.stored += 1


def _pool(task: Task, critic: SelfCritique | None) -> Pool:
    if critic is None:
        return Pool.of(task)
    # An answer is on offer before it is criticised: the critic's word is weak, and costs a call.
    pool = Pool(replace(task, checks=(critic,)), (), (critic,), True)
    pool.hear(task.judged)
    return pool
