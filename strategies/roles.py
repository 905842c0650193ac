"""Roles: a coordinator gives the turns to thinker, worker and verifier (Trinity 2025, 2512.04695; Conductor 2025,
2512.04388)."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..budgets.beliefs import Unstarted
from ..budgets.rounds import RoundsBelief
from ..core.belief import Belief
from ..core.completions import Params
from ..core.effects import Effect, Offer, Sample
from ..core.errors import BadQuery, CallerError, SatisficeError
from ..core.plans import Answer, Plan
from ..core.task import Candidate, Task
from ..verifiers.prompting import quoted
from .approval import LONGEST as RECENT
from .approval import leanings
from .coordinators import Coordinator, Fixed, Said, Sees, State, Turn
from .pool import Pool
from .prompting import answering, thinking
from .standing import standing, stands
from .steps import FAULTS, checks_of, names, parameters, whole

TURN = (*FAULTS, BadQuery)  # what may go wrong with one turn: the others may do without it
LONGEST = 4_000  # characters of what one turn said that another is shown


@dataclass(frozen=True, slots=True)
class Roles:
    """Turn by turn: a thinker's thoughts are no answers, a worker answers, a verifier accepts or says what to revise.

    `coordinator` says whose turn it is, by which of `models` (empty: the run's first) and what of the talk it sees; an
    impossible turn (no such model, nothing to verify) becomes the nearest possible one, and the last turn is a worker's
    where nobody has answered. It ends when a verifier accepts an answer that no check refutes, when `turns` are over,
    or when one more is not worth its price. `params` are the workers', `thinking` the others'.
    """

    coordinator: Coordinator = field(default_factory=Fixed)
    turns: int = 6
    models: tuple[str, ...] = ()
    params: Params = Params(temperature=0.7)
    thinking: Params = Params(temperature=0.7, max_tokens=256)
    name: ClassVar[str] = "roles"
    pays: ClassVar[str] = (
        "where models differ in what they are good at, and a coordinator was trained on such questions"
    )

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        whole("roles: turns", self.turns)
        models: Any = self.models
        object.__setattr__(self, "models", tuple(models) if isinstance(models, list) else models)
        names("roles: models", self.models)
        parameters("roles: params", self.params)
        parameters("roles: thinking", self.thinking)
        if isinstance(self.coordinator, type) or not callable(self.coordinator):
            raise CallerError(f"roles: coordinator={self.coordinator!r:.60} cannot be called: use Fixed, Linear, ...")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        first = self.work(task)
        state = State(0, self.turns, (), self.models)
        if hasattr(self.coordinator, "needs"):
            return (*self.coordinator.needs(task, state), *first)
        turn = self.coordinator(task, state)
        thinks = isinstance(turn, Turn) and turn.role == "thinker" and self.turns > 1
        return (self.effect(task, self.legal(turn, state, task), (), None), *first) if thinks else first

    def work(self, task: Task) -> tuple[Effect[Any], ...]:
        """The effects of a worker's first turn, its checks included."""
        return (self.effect(task, Turn("worker", self._model(None)), (), None), *checks_of(task))

    def __call__(self, task: Task) -> Plan[Answer]:
        answer = yield from _Talk(self, task, Pool.of(task)).plan()
        return answer

    def effect(self, task: Task, turn: Turn, said: tuple[Said, ...], best: Candidate | None) -> Sample:
        """What a turn asks of its model. A verifier is shown the answer `best`, whatever else it sees."""
        if turn.role == "verifier" and best is not None:
            said = tuple(one for one in said if one.text != best.text)  # it is shown by itself
        told = {"said": shown(said, turn.sees)}
        if turn.role == "worker":
            return answering(task, "roles_worker", turn.model, self.params, **told)
        if turn.role == "thinker":
            return thinking(task, "roles_thinker", turn.model, self.thinking, **told)
        draft = quoted(best.text if best is not None else "", LONGEST, inert=_VERDICT)
        return thinking(task, "roles_verifier", turn.model, self.thinking, draft=draft, **told)

    def legal(self, asked: Any, state: State, task: Task) -> Turn:
        """The possible turn that is nearest to what a coordinator said."""
        turn = asked if isinstance(asked, Turn) else Fixed()(task, state)
        last, answered = state.turn >= self.turns - 1, state.answer is not None
        role = turn.role
        if not answered and (last or role == "verifier"):
            role = "worker"
        return Turn(role, self._model(turn.model), turn.sees)

    def _model(self, name: str | None) -> str | None:
        """One of the models that may speak; the first where another is asked for."""
        return name if name in self.models else next(iter(self.models), None)


@dataclass(slots=True)
class _Talk:
    """The state of one run."""

    roles: Roles
    task: Task
    pool: Pool
    said: tuple[Said, ...] = ()
    latest: Candidate | None = None
    bought: bool = False
    stalled: int = 0
    error: SatisficeError | None = None

    def plan(self) -> Plan[Answer]:
        passed = yield from self.pool.start()
        if passed is not None and passed.passed:
            return Answer(passed.candidate, "verified")
        for number in range(self.roles.turns):
            end = yield from self._turn(number)
            if end is not None:
                return end
        if self.error is not None and not self.pool.judged and not self.pool.blanks:
            raise self.error
        return stands(self.pool, self.latest) or self.pool.end()

    def _turn(self, number: int) -> Plan[Answer | None]:
        """One turn. Returns an answer that ends the talk."""
        state = self._state(number)
        turn, offered = yield from self._whose(state)
        best = standing(self.pool, self.latest)
        effect = self.roles.effect(self.task, turn, self.said, best.candidate if best is not None else None)
        if not offered:
            # What a thought is bought for is the answer after it.
            after = self.roles.work(self.task) if turn.role == "thinker" and best is None else ()
            if turn.role == "worker":
                after = checks_of(self.task)
            yield from self._offer((effect, *after), number)
        self.bought = True
        try:
            reply = yield from effect
        except TURN as error:
            self.error = error
            return None
        if turn.role != "worker":
            word = accepted(reply.text) if turn.role == "verifier" else None
            self.said = (*self.said, Said(turn, reply.text, None, word))
            return stands(self.pool, self.latest, "accepted") if word else None
        one = yield from self.pool.take(reply)
        self.said = (*self.said, Said(turn, reply.text, reply.answer))
        if one is not None:
            same = self.latest is not None and self.latest.key == reply.key
            self.stalled, self.latest = (self.stalled + 1 if same else 0), reply
            if one.passed:
                return Answer(one.candidate, "verified")
        return None

    def _whose(self, state: State) -> Plan[tuple[Turn, bool]]:
        """Whose turn it is, and whether the turn was offered: before a coordinator that has to be paid, it was."""
        offered, said = False, None
        try:
            said = self.roles.coordinator(self.task, state)
            if isinstance(said, Generator):
                needs = getattr(self.roles.coordinator, "needs", lambda *_: ())(self.task, state)
                yield from self._offer((*needs, *self.roles.work(self.task)), state.turn)
                offered, self.bought = True, True
                said = yield from said
        except TURN as error:
            self.error = error
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError):
            said = None  # a policy's own mistake costs it its say in this turn, not the run
        return self.roles.legal(said, state, self.task), offered

    def _offer(self, step: tuple[Effect[Any], ...], number: int) -> Plan[None]:
        answer = stands(self.pool, self.latest)
        evidence = answer.belief if answer is not None else None
        belief: Belief = RoundsBelief(self.stalled, self.roles.turns - number, evidence)
        yield from Offer(answer, belief if answer is not None or self.bought else Unstarted(), step)

    def _state(self, number: int) -> State:
        one = standing(self.pool, self.latest)
        told: dict[str, Any] = {}
        if one is not None:
            share = one.count / max(1, self.pool.votes)
            told = {"answer": one.candidate.answer, "agreement": share, "p": one.p}
        return State(number, self.roles.turns, self.said, self.roles.models, **told)


def shown(said: tuple[Said, ...], sees: Sees) -> tuple[tuple[str, str], ...]:
    """(role, text) of what a turn may see, with no control tokens in it and nothing that could pass for a verdict."""
    part = {"all": said, "last": said[-1:], "none": ()}[sees]
    return tuple((one.turn.role, quoted(one.text.strip(), LONGEST, inert=_VERDICT).text) for one in part)


_VERDICT = re.compile(r"[\s*_#>-]*verdict[\s*_]*:(.*)", re.IGNORECASE)


def accepted(text: str) -> bool | None:
    """A verifier's word: its last line "Verdict: accept" or "Verdict: revise", else what it says in all its words; one
    that rejects is enough. None where that does not tell."""
    lines = [match[1] for line in text[-RECENT:].splitlines() if (match := _VERDICT.match(line.rstrip()))]
    for part in (*reversed(lines), text):
        if found := leanings(part):
            return all(found)
    return None
