"""Best-of-n: draw candidates, check them, and give the one that draws and verdicts together make likeliest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..budgets.beliefs import Committed, ExactBelief
from ..budgets.checking import CheckBelief, DrawBelief
from ..budgets.overruled import Overruled
from ..core.completions import Params
from ..core.effects import Choose, Effect, Gather, Offer, Option, Sample, Score
from ..core.errors import BadQuery, CallerError
from ..core.plans import Answer, Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verifier, name_of
from .pool import Pool
from .prompting import draw
from .steps import NOBODY, checks_of, parameters, whole
from .tournament import Tournament
from .verify import in_order, samples_of


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Draws, and checks what it has drawn, as long as either is worth its price: before each step the run weighs one
    more draw against asking a verifier of an answer that is there already.

    Checks that cost nothing are made at once, in their order; those that `need` a model wait until a verdict is worth
    more than it costs. A candidate that passes every check, all of them exact, is the answer at once. One that fails an
    exact check is never given: abstaining is a result. Equal candidates are checked once, and counted as votes.
    `samples` and `most` as in self-consistency; with `samples` everything drawn is checked by every verifier.

    `tournament_model`: of `samples` draws, those that no exact check refuted are compared with one another by a model,
    each pair in both orders, and the strongest is the answer (`strategies/tournament.py`). It needs no checks; the
    scores of those that there are decide only between equals, and until it is over.
    """

    samples: int | None = None
    most: int = 64
    model: str | None = None
    params: Params = Params(temperature=0.7)
    tournament_model: str | None = None
    rubric: str | None = None
    name: ClassVar[str] = "best_of_n"
    pays: ClassVar[str] = "where a check is cheaper than an answer: exact ones most of all, small judges hardly ever"

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        whole("samples", self.samples, optional=True)
        whole("most", self.most)
        parameters("params", self.params)
        if self.tournament_model is not None and self.samples is None:
            raise CallerError("tournament_model needs samples=n: how many draws are to be compared")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return (draw(task, self.model, self.params), *checks_of(task)) * (self.samples or 1)

    def __call__(self, task: Task) -> Plan[Answer]:
        if not task.checks and self.tournament_model is None:
            raise BadQuery(
                "best_of_n needs a check: pass checks=[...], a tournament_model, or use self_consistency instead"
            )
        answer = yield from self._plan(task, draw(task, self.model, self.params))
        return answer

    def _plan(self, task: Task, sample: Sample) -> Plan[Answer]:
        task = replace(task, checks=tuple({id(c): c for c in task.checks}.values()))  # each is asked once
        paid = tuple(c for c in task.checks if self.samples is None and samples_of(c, task))
        free = tuple(c for c in in_order(task.checks, task) if not any(c is p for p in paid))
        state = Pool(task, free, paid, any(samples_of(c, task) for c in task.checks))
        state.hear(task.judged)
        fresh: tuple[Candidate | None, ...] = task.known
        most, drawn = self.most if self.samples is None else self.samples, 0
        while True:
            for candidate in fresh:
                judged = yield from state.take(candidate)
                if judged is not None and judged.passed:
                    return Answer(judged.candidate, "verified")
            if state.hopeless:
                return Answer(None, "checks_failed")  # no check ever told anything: more draws tell no more
            options = self._options(state, sample, most - drawn)
            if not options:
                answer = yield from self._ended(state)
                return answer
            if self.samples is not None:
                size = yield from Offer(state.answer(), options[0].belief, options[0].step)
            else:
                choice = yield from Choose(state.answer(), tuple(options))
                size, step = choice.size, options[choice.index].step
                if isinstance(step[0], Score):  # what may follow is decided when its verdict is known
                    one = yield from state.ask(step[0])
                    if one.passed:
                        return Answer(one.candidate, "verified")
                    fresh = ()
                    continue
            fresh = yield from Gather((sample,) * size, at_least=1)
            drawn += size

    def _ended(self, state: Pool) -> Plan[Answer]:
        """All is drawn and checked: the likeliest, or the winner of the tournament."""
        answer = state.answer()
        if self.tournament_model is None or answer is None or len(state.offered) < 2:
            return answer or Answer(None, "unverified" if state.judged or state.task.checks else "unreadable")
        pairs = Tournament(self.tournament_model, self.rubric)
        rivals = [one.candidate for one in sorted(state.offered, key=lambda one: -one.promise)]
        yield from Offer(answer, Committed(1, answer.belief), pairs.step(state.task, rivals))
        winner = yield from pairs.winner(state.task, rivals)
        if winner is None or winner is rivals[0]:
            return answer
        return Answer(winner, "won", Overruled(answer.belief) if answer.belief is not None else None)

    def _options(self, state: Pool, sample: Sample, left: int) -> list[Option]:
        answers, task = state.answers, state.task
        step: tuple[Effect[Any], ...] = (sample, *(Score(c, task, NOBODY) for c in state.free))
        if self.samples is not None:
            return [Option(Committed(left, DrawBelief(answers)), step, "draw")] if left > 0 else []
        if left <= 0:
            return _checks(state)
        if not state.weighs and not any(a.said for a in answers):
            # Only exact checks so far: what matters is how often one failed.
            return [Option(ExactBelief(state.failed, left), step, "draw")]
        bundles: list[tuple[Verifier, ...]] = [(), *((c,) for c in state.paid)]
        if len(state.paid) > 1:
            bundles.append(state.paid)
        draws = [
            Option(
                DrawBelief(answers, (*state.graded, *map(name_of, checks)), left),
                (*step, *(Score(c, task, NOBODY) for c in checks)),
                "draw" + "".join(f"+{name_of(c)}" for c in checks),
            )
            for checks in bundles
        ]
        return draws + _checks(state)


CONSIDERED = 4  # answers that are considered for a check, the most promising ones


def _checks(pool: Pool) -> list[Option]:
    """Each paid verifier of each promising answer that it was not asked of, with those that may follow it."""
    options, answers, offered = [], pool.answers, pool.offered
    for place, one in sorted(enumerate(offered), key=lambda pair: -pair[1].promise)[:CONSIDERED]:
        left = [c for c in pool.paid if pool.place(c) not in one.asked]
        # Alone too: the purse may have enough for one and not for all.
        alone = [(c,) for c in left]
        led = [(c, *(other for other in left if other is not c)) for c in left] if len(left) > 1 else []
        for checks in (*led, *alone):
            belief = CheckBelief(answers, place, tuple(map(name_of, checks)))
            step = tuple(Score(c, pool.task, one.candidate) for c in checks)
            options.append(Option(belief, step, f"check {name_of(checks[0])}"))
    return options
