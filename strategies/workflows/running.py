"""Running a workflow: one pure plan over the candidates' pool, stopped at any time with the answer that stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...budgets.beliefs import Committed, Unstarted
from ...budgets.rounds import RoundsBelief
from ...core.belief import Belief
from ...core.completions import Params
from ...core.effects import Choice, Choose, Effect, Gather, Offer, Option, Sample, Score, Within
from ...core.errors import BadQuery, GatherFailed, SatisficeError
from ...core.plans import Answer, Outcome, Plan
from ...core.task import Candidate, Contract, Task
from ...core.verdict import wanted
from .. import steps as shared
from ..pool import Judged, Pool
from ..prompting import asking, draw, speaking
from ..standing import standing, stands
from ..verify import in_order, samples_of
from .auditing import made_of
from .conditions import View, holds
from .filling import filled
from .kinds import answers, aside, inside
from .widest import Widest

if TYPE_CHECKING:
    from ..workflow import Workflow
    from . import schema as s

FAULTS = (*shared.FAULTS, BadQuery)  # of one step: the others may still do without it
LIKELY = 0.5  # P(right) from which on checks are said to take an answer for right


class Done(Exception):
    """Internal: an answer passed every check, all of them exact."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("verified")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Branch:
    """Steps of a workflow, run inside a share of the purse with what is known by then. Its answer is its own: what the
    task knew before is none. Without one it gives the last thing said in it, which its `as` can name."""

    flow: Workflow
    steps: tuple[Any, ...]
    texts: tuple[tuple[str, str], ...] = ()
    name: str = "workflow"

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return Runner(self.flow, task, dict(self.texts)).ahead(self.steps)

    def __call__(self, task: Task) -> Plan[Answer]:
        answer = yield from Runner(self.flow, task, dict(self.texts), whole=False).perform(self.steps)
        return answer


@dataclass(slots=True)
class Runner:
    """The state of one run: the pool, texts and candidates by name, and `latest`, the last step's answer, and
    `spoken`, the last thing said at all. `whole`: it answers the question, not a branch of it."""

    flow: Workflow
    task: Task
    names: dict[str, str] = field(default_factory=dict)
    whole: bool = True
    given: dict[str, Candidate] = field(default_factory=dict)
    latest: Candidate | None = None
    spoken: Candidate | None = None
    bought: int = 0
    stalled: int = 0
    p: dict[str, float] = field(default_factory=dict)  # P(right) of answers that strategies have given, by key
    error: SatisficeError | None = None
    came: bool = False  # something that was meant for an answer
    empty: bool = False  # a strategy inside had nothing that could be given
    pool: Pool = field(init=False)
    define: dict[str, tuple[Any, ...]] = field(init=False)
    left: int = field(init=False)

    def __post_init__(self) -> None:
        task = replace(self.task, checks=tuple({id(c): c for c in self.task.checks}.values()))
        paid = tuple(c for c in task.checks if samples_of(c, task))
        free = tuple(c for c in in_order(task.checks, task) if not any(c is p for p in paid))
        self.pool = Pool(task, free, paid, bool(paid))
        self.pool.hear(task.judged)
        self.define = self.flow.document.define
        self.left = self.flow.buys

    def perform(self, steps: tuple[Any, ...]) -> Plan[Answer]:
        """Does the steps and returns the answer that stands."""
        try:
            self._passed((yield from self.pool.start()))
            yield from self.run(steps)
        except Done as done:
            return done.answer
        answer = self.answer()
        meant = self.spoken is None or any(answers(step, self.define) for step in steps)
        if answer is None and self.error is not None and meant and not self.empty and not self.came:
            raise self.error
        if answer is None and self.whole:
            end = self.pool.end()
            return replace(end, reason="unverified") if self.empty and self.task.checks and not end.candidate else end
        return answer or Answer(self.spoken, "thought")

    def run(self, steps: tuple[Any, ...]) -> Plan[None]:
        for i, step in enumerate(steps):
            yield from self._step(step, steps[i + 1 :])

    def _step(self, step: Any, rest: tuple[Any, ...]) -> Plan[None]:
        match step.do:
            case "sample" | "strategy" | "within":
                yield from self._one(step, rest)
            case "parallel":
                yield from self._parallel(step, rest)
            case "sequence":
                yield from self.run(step.steps)
                self._name_latest(step)
            case "call":
                yield from self.run(self.define[step.workflow])
                self._name_latest(step)
            case "if":
                yield from self.run(step.then if holds(step.when, self.view()) else step.otherwise)
                self._name_latest(step)
            case "loop":
                yield from self._loop(step)
            case "vote":
                self._vote(step)
            case "verify":
                yield from self._verify(step)

    # -- purchases ------------------------------------------------------------------------------------------------

    def _one(self, step: Any, rest: tuple[Any, ...]) -> Plan[None]:
        effect = self.effect(step)
        yield from self._offer((effect, *(() if answers(step) else self.ahead(rest))))
        self.bought += 1
        try:
            if isinstance(effect, Within):  # a branch that fails says why, which a strategy by itself does not
                (came,) = yield from Gather((effect,), at_least=1)
            else:
                came = yield from effect
        except FAULTS as error:
            self._failed(error)
            return
        yield from self._keep(step, came)

    def _parallel(self, step: s.Parallel, rest: tuple[Any, ...]) -> Plan[None]:
        effects = tuple(self.effect(branch) for branch in step.branches)
        after = () if any(map(answers, step.branches)) else self.ahead(rest)
        size = yield from self._choose(effects, step.at_least, after)
        self.bought += size
        try:
            came = yield from Gather(effects[:size], at_least=step.at_least)
        except FAULTS as error:
            self._failed(error)
            return
        given: list[Candidate] = []
        texts: list[str] = []
        for branch, one in zip(step.branches[:size], came, strict=True):
            if one is None:
                continue
            said = yield from self._keep(branch, one)
            if said is not None:
                texts.append(f"[{len(texts) + 1}] {said.text.strip()}")
                given += [said] if said.key is not None and not aside(branch) else []
        if step.name_ is not None:
            self.names[step.name_] = "\n\n".join(texts)
        self.latest = self._leader(given) or self.latest

    def _keep(self, step: Any, came: Candidate | Outcome) -> Plan[Candidate | None]:
        """Takes up what a step has brought; returns what it said."""
        if isinstance(came, Outcome):
            said = came.candidate
            if not came.part:
                self._passed((yield from self.pool.absorb(came)))
                if said is not None and said.key is not None and came.p is not None:
                    self.p[said.key] = came.p
        else:
            said = came
            self._passed((yield from self.pool.take(came)))
        if said is not None:
            self.spoken = said
            self.came |= not aside(step) and not said.thought
            if step.name_ is not None:
                self._name(step.name_, said)
            if said.key is not None and not aside(step):
                same = self.latest is not None and self.latest.key == said.key
                self.stalled = self.stalled + 1 if same else 0
                self.latest = said
        return said

    def _verify(self, step: s.Verify) -> Plan[None]:
        ones = [one for name in step.of if (one := self._judged(self.given.get(name))) is not None]
        best = standing(self.pool, self.latest)
        for one in ones or ([best] if best is not None and not step.of else []):
            for check in self.pool.paid:
                if self.pool.place(check) in one.asked or one.refuted:
                    continue
                score = Score(check, self.pool.task, one.candidate)
                yield from self._offer((score,))
                self._passed((yield from self.pool.ask(score)))

    def _failed(self, error: SatisficeError) -> None:
        """Nothing came of a step. That a strategy replied and has no answer is no fault of its own."""
        if isinstance(error, GatherFailed) and not error.errors:
            self.empty = True
            return
        cause = error.errors[0] if isinstance(error, GatherFailed) and len(error.errors) == 1 else error
        self.error = cause if isinstance(cause, SatisficeError) else error

    def _offer(self, step: tuple[Effect[Any], ...]) -> Plan[None]:
        yield from Offer(self.answer(), self._belief(), step)

    def _choose(self, effects: tuple[Effect[Any], ...], least: int, rest: tuple[Effect[Any], ...]) -> Plan[int]:
        """How many of the first branches are bought: the most that are worth their price and can be paid."""
        sizes = range(len(effects), least - 1, -1)
        belief = Widest(self._belief())
        options = tuple(Option(belief, (*effects[:size], *rest), f"ask {size}") for size in sizes)
        choice: Choice = yield from Choose(self.answer(), options)
        return sizes[choice.index]

    def _belief(self) -> Belief:
        answer = self.answer()
        evidence = answer.belief if answer is not None else None
        left = max(1, self.left - self.bought)
        if self.flow.committed:
            return Committed(left, evidence)
        return Unstarted() if answer is None and not self.bought else RoundsBelief(self.stalled, left, evidence)

    # -- what a step asks -----------------------------------------------------------------------------------------

    def effect(self, step: Any) -> Effect[Any]:
        """The effect of a step that buys. Steps of steps are run as a branch."""
        if step.do == "sample":
            return self._sample(step)
        known = self.pool.onward()
        if step.do == "strategy":
            inner = known
            if step.ask:
                messages = speaking(self.task, "workflow_ask", prompt=self._filled(step.ask), role="")
                inner = replace(
                    self.task, messages=messages, contract=Contract(), checks=(), known=(), judged=(), label=""
                )
            return Within(made_of(step, self.flow.trusted), inner, step.share, step.seconds, part=bool(step.ask))
        steps, share, seconds = (step,), 1.0, None
        if step.do == "within":
            steps, share, seconds = step.steps, step.share, step.seconds
        return Within(Branch(self.flow, steps, tuple(sorted(self.names.items()))), known, share, seconds)

    def _sample(self, step: s.Sample) -> Sample:
        params, task = self._params(step.params), self.task
        model = step.model if step.model is not None else self.flow.model
        if not step.prompt and not step.role and step.candidate:
            return draw(task, model, params)
        messages = speaking(task, "workflow_ask", prompt=self._filled(step.prompt or "$query"), role=step.role)
        if not step.candidate:
            return Sample(messages, None, model, params)
        # The form that an answer has to take stands after the prompt, as it does after a question.
        return Sample(asking(replace(task, messages=messages)), task, model, wanted(task.checks, params))

    def _params(self, own: s.Sampling | None) -> Params:
        return self.flow.params if own is None else replace(self.flow.params, **own.model_dump(exclude_unset=True))

    def _filled(self, prompt: str) -> str:
        """The prompt with what was said and what stands now in the place of their names."""
        best = standing(self.pool, self.latest)
        values = {
            "best": best.candidate.answer or "" if best is not None else "",
            "answers": "\n".join(f"- {one.candidate.answer} ({one.count})" for one in self.pool.judged.values()),
            "evidence": "\n".join(best.evidence.values()) if best is not None else "",
        }
        return filled(prompt, self.task.query, {**values, **self.names})

    def ahead(self, steps: Iterable[Any]) -> tuple[Effect[Any], ...]:
        """The effects of the least that brings a candidate from here on: what a thought is bought for."""
        needed: list[Effect[Any]] = []
        for step in steps:
            if step.do in ("sample", "strategy"):
                needed.append(self.effect(step))
            elif step.do == "parallel":
                needed += self.ahead(step.branches[: step.at_least])
            else:
                needed += self.ahead(inside(step, self.define))
            if answers(step, self.define):
                break
        return tuple(needed)

    # -- what stands ----------------------------------------------------------------------------------------------

    def answer(self) -> Answer | None:
        if not self.whole and self.latest is None:
            return None
        return stands(self.pool, self.latest)

    def view(self) -> View:
        one = standing(self.pool, self.latest)
        if one is None:
            return View(False, False, 0.0, None, 0, self.names)
        p = one.p if one.p is not None else self.p.get(one.candidate.key or "")
        passed = one.p is not None and one.p >= LIKELY
        return View(True, passed, one.count / max(1, self.pool.votes), p, one.count, self.names)

    def _loop(self, step: s.Loop) -> Plan[None]:
        for _ in range(step.most):
            if step.until is not None and holds(step.until, self.view()):
                break
            yield from self.run(step.steps)
        self._name_latest(step)

    def _vote(self, step: s.Vote) -> None:
        if step.of:
            winner = self._leader([self.given[name] for name in step.of if name in self.given])
        else:
            winner = self.pool.best.candidate if self.pool.best is not None else None
        self.latest = winner or self.latest
        self._name_latest(step)

    def _leader(self, candidates: list[Candidate]) -> Candidate | None:
        """The answer that most of these candidates give, the first of equals; none that was refuted."""
        counts: dict[str, int] = {}
        for candidate in candidates:
            one = self._judged(candidate)
            if one is not None and not one.refuted:
                counts[candidate.key or ""] = counts.get(candidate.key or "", 0) + 1
        if not counts:
            return None
        key = max(counts, key=counts.__getitem__)
        return next(c for c in candidates if c.key == key)

    def _judged(self, candidate: Candidate | None) -> Judged | None:
        return self.pool.judged.get(candidate.key or "") if candidate is not None else None

    def _name(self, name: str, said: Candidate) -> None:
        self.names[name] = said.text
        if said.key is not None:
            self.given[name] = said
        else:
            self.given.pop(name, None)

    def _name_latest(self, step: Any) -> None:
        if step.name_ is not None and self.latest is not None:
            self._name(step.name_, self.latest)

    def _passed(self, one: Judged | None) -> None:
        if one is not None and one.passed:
            raise Done(Answer(one.candidate, "verified"))
