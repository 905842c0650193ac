"""ReAct: thought, action and observation in turns, until the model gives an answer (Yao et al. 2022, 2210.03629)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..budgets.beliefs import Unstarted
from ..budgets.resort import LastResort
from ..budgets.rounds import RoundsBelief
from ..core import templates
from ..core.belief import Belief
from ..core.completions import Message, Params
from ..core.effects import Choose, Effect, Option, Sample
from ..core.errors import CallerError, UnknownName
from ..core.plans import Answer, Plan
from ..core.task import Candidate, Task
from ..core.tools import ToolSpec
from ..core.verdict import wanted
from ..verifiers.prompting import defang
from .actions import Action, Turns, turn_of
from .hiring import check_model
from .pool import Pool
from .prompting import speaking
from .steps import checks_of, parameters, whole
from .tooling import Observation, Toolbelt, described, example

DROPPED = "(an earlier observation, left out to save room)"
BRIEF = 300  # bytes of the last turn, and as many of what came of it, that a brief transcript shows
ROOM = 1_000  # bytes that both take there with all that is said about them


@dataclass(frozen=True, slots=True)
class React:
    """Thinks and calls tools in turns (Yao et al. 2022). `steps`: turns of the model at the most; in the last one it is
    told to answer. `shown`: most characters of a result that it sees; `most_chars`: of all turns together, beyond which
    the oldest observations are left out. `format_errors`: replies in a row with neither call nor answer.

    `tools`: the names of those that it may call, of all that the request has (none named: all of them), so that sets of
    tools can be weighed against each other as arms.

    Tools are called in text ("Action: name(arguments)"), which every model can write: the tool calling of providers is
    not used. Each tool's policy and budget hold; one with the policy "ask" waits for a person. An answer that an exact
    check refutes is told to the model, which then goes on. A readable answer outside the form is kept, and given where
    no better one comes.
    """

    steps: int = 8
    model: str | None = None
    params: Params = Params(temperature=0.0, stop=("\nObservation:",))
    shown: int = 4_000
    most_chars: int = 24_000
    format_errors: int = 3
    tools: tuple[str, ...] = ()
    name: ClassVar[str] = "react"
    pays: ClassVar[str] = "where a tool knows or computes what the model does not: each step costs a call"

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        for name in ("steps", "shown", "most_chars", "format_errors"):
            whole(f"react: {name}", getattr(self, name))
        given: Any = self.tools
        names = (given,) if isinstance(given, str) else tuple(given)
        if not all(isinstance(name, str) and name for name in names):
            raise CallerError(f"react: tools={given!r}: expected names of tools")
        object.__setattr__(self, "tools", names)
        check_model("react", "model", self.model)
        parameters("react: params", self.params)

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        task = self._equipped(task)
        usable = [spec for spec in task.tools if spec.policy != "forbid"]
        start = _Transcript(task, usable, self.most_chars)
        return (self._sample(task, start.messages(last=True)), *checks_of(task))

    def __call__(self, task: Task) -> Plan[Answer]:
        """Raises `BadQuery` for a task without tools, `UnknownName` for a tool that it does not have."""
        task = self._equipped(task)
        return self._plan(task, Toolbelt.of(task, self.shown))

    def _equipped(self, task: Task) -> Task:
        """The task with the tools that may be called here."""
        if not self.tools or not task.tools:
            return task
        known = {spec.name: spec for spec in task.tools}
        for name in self.tools:
            if name not in known:
                raise UnknownName.of("tool", name, known)
        return replace(task, tools=tuple(known[name] for name in dict.fromkeys(self.tools)))

    def _sample(self, task: Task, messages: tuple[Message, ...]) -> Sample:
        asked = replace(task, contract=Turns.of(task.contract, task.tools))
        return Sample(messages, asked, self.model, wanted(task.checks, self.params))

    def _plan(self, task: Task, belt: Toolbelt) -> Plan[Answer]:
        pool = Pool.of(task)
        passed = yield from pool.start()
        if passed is not None:
            return Answer(passed.candidate, "verified")
        script, contract = _Transcript(task, belt.usable, self.most_chars), Turns.of(task.contract, task.tools)
        stalled = errors = 0
        guess: str | None = None  # the key of an answer that was only read between the lines
        for left in range(self.steps, 0, -1):
            options = self._options(pool, script, left, _belief(pool, stalled, left))
            choice = yield from Choose(pool.answer(), options)
            candidate: Candidate = yield from _first(options[choice.index])
            closing = options[choice.index].name != "turn"
            turn = turn_of(candidate.text, task.tools, task.contract)
            if candidate.key is not None:
                if guess not in (None, candidate.key):
                    pool.judged.pop(guess or "")  # what was said counts, what was guessed does not
                guess = None
                one = yield from pool.take(candidate)
                if one is None or not one.refuted:
                    return pool.end()
                stalled, errors = stalled + 1, 0
                script.add(turn.text, "react_refuted", answer=candidate.answer)
            elif turn.action is not None and closing:
                return pool.end()  # nothing would read what the tool says
            elif turn.action is not None:
                errors = 0
                yield from self._act(turn.action, turn.text, belt, script)
            else:
                stalled, errors = stalled + 1, errors + 1
                loose = _guessed(candidate, contract)
                if guess is None and loose is not None and loose.key not in pool.judged:
                    guess = loose.key
                    yield from pool.take(loose)
                if errors >= self.format_errors or closing:
                    break
                script.add(turn.text, "react_format", example=example(belt.usable))
        return pool.end()

    def _options(self, pool: Pool, script: _Transcript, left: int, belief: Belief) -> tuple[Option, ...]:
        """A turn, and second to it an answer at once: what a turn is priced with leaves enough for one after it."""
        task, checks = pool.task, checks_of(pool.task)
        turn = self._sample(task, script.messages())
        now = self._sample(task, script.messages(last=True))
        brief, reserve = self._sample(task, script.brief()), self._sample(task, script.brief(ROOM))
        ways = [Option(belief, (turn, reserve, *checks), "turn")] if left > 1 else []
        ways.append(Option(LastResort(belief) if ways else belief, (now, *checks), "answer"))
        if script.turns:
            ways.append(Option(LastResort(belief), (brief, *checks), "answer, with the last turn in brief"))
        return tuple(ways)

    @staticmethod
    def _act(action: Action, said: str, belt: Toolbelt, script: _Transcript) -> Plan[None]:
        seen = yield from belt.use(action)
        script.add(said, "react_observation", observation=seen)


def _first(option: Option) -> Sample:
    sample = option.step[0]
    assert isinstance(sample, Sample)
    return sample


def _belief(pool: Pool, stalled: int, left: int) -> Belief:
    """Until there is an answer, or one that a check refuted, the next turn is worth what a first answer is."""
    best = pool.best
    if best is None and not pool.judged:
        return Unstarted()
    return RoundsBelief(stalled, left, pool.belief if best is not None else None)


def _guessed(candidate: Candidate, contract: Turns) -> Candidate | None:
    """The reply as a candidate, where an answer can be read in it at all."""
    reading = contract.loosely(candidate.text)
    if reading is None:
        return None
    return replace(candidate, answer=reading.answer, key=reading.key, thought=False)


@dataclass(slots=True)
class _Transcript:
    """The turns so far, as chat messages: what the model said, and what it was told."""

    task: Task
    tools: list[ToolSpec]
    most: int
    turns: list[tuple[str, str]] = field(default_factory=list)
    last: tuple[str, str] = ("", "")  # the last turn in brief

    def add(self, said: str, template: str, /, **values: Any) -> None:
        told, said = self._rendered(template, values), defang(said).strip() or "(nothing)"
        self.turns.append((said, told))
        self._fit()
        if isinstance(seen := values.get("observation"), Observation):
            values["observation"] = replace(seen, text=_cut(seen.text, BRIEF))
        told = self._rendered(template, values)
        self.last = (_cut(said, BRIEF), told if len(told.encode("utf-8", "replace")) <= ROOM - BRIEF else DROPPED)

    def _rendered(self, template: str, values: Mapping[str, Any]) -> str:
        return templates.render(__package__ or "", template, self.task.prompts.get(template), **values).strip()

    def _fit(self) -> None:
        """Leaves out the oldest observations, then the oldest turns; the last one stays."""
        for i, (said, told) in enumerate(self.turns[:-1]):
            if self._size() <= self.most:
                return
            self.turns[i] = (said, told if len(told) <= len(DROPPED) else DROPPED)
        while self._size() > self.most and len(self.turns) > 1:
            del self.turns[0]

    def _size(self) -> int:
        return sum(len(said) + len(told) for said, told in self.turns)

    def messages(self, *, last: bool = False) -> tuple[Message, ...]:
        """All turns. `last`: with the word that this is the last one."""
        return self._told(self.turns, last)

    def brief(self, room: int = 0) -> tuple[Message, ...]:
        """As `messages(last=True)`, with nothing but the last turn, cut short. `room`: instead, a text of so many
        bytes in its place, for the price of what is not written yet."""
        turns = [self.last] if self.turns else []
        return self._told([("x" * BRIEF, "x" * (room - BRIEF))] if room else turns, last=True)

    def _told(self, turns: Sequence[tuple[str, str]], last: bool) -> tuple[Message, ...]:
        start = speaking(self.task, "react_start", tools=described(self.tools), example=example(self.tools))
        said = [message for one, told in turns for message in (Message("assistant", one), Message("user", told))]
        messages = (*start, *said)
        if not last:
            return messages
        note = self._rendered("react_last", {})
        return (*messages[:-1], replace(messages[-1], content=f"{messages[-1].content}\n\n{note}"))


def _cut(text: str, most: int) -> str:
    """Its first `most` bytes."""
    seen = text.encode("utf-8", "replace")
    return text if len(seen) <= most else seen[: most - 3].decode("utf-8", "ignore") + "..."
