"""Fusion: several strategies answer, and what they say is made into one answer.

Four ways: a panel, a judge's comparison and a synthesis (as OpenRouter's Fusion); pairwise ranking, then generative
fusion of the best (LLM-Blender, Jiang et al. 2023, 2306.02561); layers of proposers that see all answers of the layer
before, then an aggregator (Mixture-of-Agents, Wang et al. 2024, 2406.04692); plain votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from ..budgets.rounds import RoundsBelief
from ..core.completions import Message, Params
from ..core.effects import Effect, Gather, Offer, Sample, Score, Within
from ..core.errors import CallerError, GatherFailed, ModelError
from ..core.plans import Answer, Outcome, Plan, Strategy
from ..core.task import Candidate, Task
from ..verifiers.pairwise import Pairwise, Ranking, tournament
from ..verifiers.prompting import fence_for, quoted
from .hiring import check_model, check_share, checked, hands, hire, settled
from .pool import Judged, Pool
from .prompting import answering, speaking, thinking
from .single_shot import SingleShot
from .steps import checks_of, dice, parameters, whole

Method = Literal["synthesis", "blend", "layers", "vote"]
MOST_CHARS = 4_000  # of each answer that a prompt shows
_PANEL = (SingleShot(params=Params(temperature=0.7)),) * 3


@dataclass(frozen=True, slots=True)
class Fusion:
    """A panel of strategies, fused by `method`: "synthesis", "blend", "layers" or "vote".

    `members` run side by side, each inside `share` of what is left and inside `seconds`: a slower one gives what it has
    by then, or drops out. Where the money does not reach for all, the first that fit are asked. With fewer than
    `at_least` answers nothing is fused, and the members' best stands. `model` (None: the run's first) compares and
    fuses with `params`. `top`: how many "blend" fuses. `layers`: rounds of proposers. `orders`: in how many orders the
    panel is shown to the one who fuses; where these lead to different answers, votes decide between them.
    """

    members: tuple[Strategy, ...] = _PANEL
    method: Method = "synthesis"
    at_least: int = 1
    share: float = 1.0
    seconds: float | None = None
    model: str | None = None
    params: Params = Params(temperature=0.0, max_tokens=1024)
    top: int = 3
    layers: int = 2
    orders: int = 1
    name: ClassVar[str] = "fusion"
    pays: ClassVar[str] = "where the members err differently and the one who fuses is at least as able as they are"

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        object.__setattr__(self, "members", hands("fusion", "members", self.members))
        members = len(self.members)
        if self.method not in get_args(Method):
            raise CallerError(f"fusion: method={self.method!r}, expected one of {', '.join(get_args(Method))}")
        whole("fusion: at_least", self.at_least)
        if self.at_least > members:
            raise CallerError(f"fusion: at_least={self.at_least}, expected 1 to {members}, the number of members")
        check_share("fusion", self.share, self.seconds)
        for what in ("top", "layers", "orders"):
            whole(f"fusion: {what}", getattr(self, what))
        check_model("fusion", "model", self.model)
        parameters("fusion: params", self.params)

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        return checked(self._panel(task, self.members)[: self.at_least])

    def __call__(self, task: Task) -> Plan[Answer]:
        pool = Pool.of(task)
        passed = yield from pool.start()
        if passed is not None:
            return Answer(passed.candidate, "verified")
        voted = self.method == "vote"
        # What is known has had its vote: a member that starts from it would give it another one.
        asked = replace(task, known=()) if voted else task
        outcomes = yield from hire(pool, self._panel(asked, self.members), self.at_least)
        for outcome in outcomes:
            passed = yield from (_vote(pool, outcome) if voted else pool.absorb(outcome))
            if passed is not None:
                return Answer(passed.candidate, "verified")
        panel = [o.candidate for o in outcomes if o is not None and o.candidate is not None]
        if len(panel) < self.at_least:
            return pool.end("too_few_members")
        if voted:
            return pool.end("agreed")
        answer = yield from (self._layered if self.method == "layers" else self._fused)(pool, panel)
        return answer

    def _panel(self, task: Task, members: tuple[Strategy, ...]) -> tuple[Within, ...]:
        return tuple(Within(member, task, self.share, self.seconds) for member in members)

    # -- synthesis and blend --------------------------------------------------------------------------------------

    def _fused(self, pool: Pool, panel: list[Candidate]) -> Plan[Answer]:
        task, blend = pool.task, self.method == "blend"
        texts = list({c.text: c for c in panel}.values())
        shown = shuffled(task, texts)
        step = self._priced(task, shown)
        distinct = list({c.key: c for c in panel}.values()) if blend else []
        if len(distinct) > 1:
            pairs = tuple(Score(self._against(b), task, a) for i, a in enumerate(distinct) for b in distinct[i + 1 :])
            yield from Offer(pool.answer(), RoundsBelief(0, 1, pool.belief), (*pairs, *step))
            ranking = yield from tournament(task, distinct, self._against)
            best = ranked(pool, distinct, ranking)
            panel = [distinct[i] for i in ranking.order[: self.top]]
            standing = settled(pool, best, "ranked_best") if best is not None else None
            yield from Offer(standing, RoundsBelief(0, 1, standing.belief if standing else None), step)
            answer = yield from self._synthesised(pool, views(panel, self.orders), "", standing)
            return answer
        yield from Offer(pool.answer(), RoundsBelief(0, 1, pool.belief), step)
        analysis = "" if blend else (yield from self._compared(task, shown))
        answer = yield from self._synthesised(pool, views(shown, self.orders), analysis, None)
        return answer

    def _compared(self, task: Task, shown: Sequence[Candidate]) -> Plan[str]:
        """The judge's comparison; nothing where it cannot be had: the synthesis does without."""
        try:
            thought: Candidate = yield from self._comparison(task, shown)
        except ModelError:
            return ""
        return quoted(thought.text, MOST_CHARS).text

    def _synthesised(
        self, pool: Pool, views: Sequence[Sequence[Candidate]], analysis: str, standing: Answer | None
    ) -> Plan[Answer]:
        """Asks for the fused answer, once for each order of the panel, and weighs it against what stands."""
        asked = tuple(self._synthesis(pool.task, view, analysis) for view in views)
        try:
            replies: tuple[Candidate | None, ...] = yield from Gather(asked, at_least=1)
        except GatherFailed:
            return standing or pool.end()
        made: list[Judged] = []
        for reply in replies:
            one = yield from pool.take(reply)
            if one is not None and one.passed:
                return Answer(one.candidate, "verified")
            made += [one] if one is not None else []
        return _concluded(pool, made, standing)

    def _priced(self, task: Task, shown: Sequence[Candidate]) -> tuple[Effect[Any], ...]:
        """The calls of a fusion before it is known what the comparison says, and the checks that it meets."""
        analysis = "word " * self.params.max_tokens if self.method == "synthesis" else ""
        first = (self._comparison(task, shown),) if self.method == "synthesis" else ()
        fused = (self._synthesis(task, shown, analysis[:MOST_CHARS]), *checks_of(task))
        return (*first, *fused * self.orders)

    def _comparison(self, task: Task, shown: Sequence[Candidate]) -> Sample:
        return thinking(task, "fusion_compare", self.model, self.params, **_shown(shown))

    def _synthesis(self, task: Task, shown: Sequence[Candidate], analysis: str) -> Sample:
        values = _shown(shown, analysis)
        return answering(task, "fusion_synthesis", self.model, self.params, analysis=analysis, **values)

    def _against(self, other: Candidate) -> Pairwise:
        return Pairwise(other, self.model)

    # -- layers ---------------------------------------------------------------------------------------------------

    def _layered(self, pool: Pool, panel: list[Candidate]) -> Plan[Answer]:
        stalled = 0
        for layer in range(1, self.layers):
            task = _seeing(pool.task, shuffled(pool.task, panel, str(layer)))
            step, before = self._panel(task, self.members), pool.best
            yield from Offer(pool.answer(), RoundsBelief(stalled, self.layers - layer + 1, pool.belief), checked(step))
            try:
                outcomes: tuple[Outcome | None, ...] = yield from Gather(step, at_least=1)
            except GatherFailed:
                break  # what the layer before said is fused
            for outcome in outcomes:
                passed = yield from pool.absorb(outcome)
                if passed is not None:
                    return Answer(passed.candidate, "verified")
            panel = [o.candidate for o in outcomes if o is not None and o.candidate is not None] or panel
            stalled += pool.best is before
        shown = shuffled(pool.task, panel, "last")
        yield from Offer(pool.answer(), RoundsBelief(stalled, 1, pool.belief), self._priced(pool.task, shown))
        answer = yield from self._synthesised(pool, views(shown, self.orders), "", None)
        return answer


def ranked(pool: Pool, distinct: Sequence[Candidate], ranking: Ranking) -> Judged | None:
    """What may be given and has the most votes and verdicts, times the odds of its place in the ranking."""
    odds = {c.key: s / (1 - s) for c, s in zip(distinct, ranking.strength, strict=True)}
    return max(pool.offered, key=lambda one: one.promise * odds.get(one.candidate.key, 1.0), default=None)


def shuffled(task: Task, panel: Sequence[Candidate], what: str = "") -> list[Candidate]:
    """The panel in an order that depends on the question, so that no member always comes first."""
    row = list(panel)
    dice(task, "fusion", what).shuffle(row)
    return row


def views(panel: Sequence[Candidate], orders: int) -> list[Sequence[Candidate]]:
    """Different orders of the panel, so many at the most: as given, reversed, then rotations of both."""
    found: list[Sequence[Candidate]] = []
    for i in range(orders):
        row = [*panel[i // 2 :], *panel[: i // 2]]
        row = row[::-1] if i % 2 else row
        found += [row] if row not in found else []
    return found


def _vote(pool: Pool, outcome: Outcome | None) -> Plan[Judged | None]:
    """One vote for each member, however often it drew."""
    if outcome is None:
        return None
    pool.hear(outcome.judged)
    one = yield from pool.take(outcome.candidate)
    return one if one is not None and one.passed else None


def _concluded(pool: Pool, made: Sequence[Judged], standing: Answer | None) -> Answer:
    """The fused answer, if one can be read, nothing refutes it, and its orders agree; verdicts and votes decide where
    checks have spoken or the orders differ."""
    offered = [one for one in made if any(one is other for other in pool.offered)]
    keys = {one.candidate.key for one in offered}
    spoken = any(one.said or one.passes for one in pool.offered)
    if len(keys) == 1 and not spoken:
        return settled(pool, offered[0], "fused")
    if not offered and standing is not None:
        return standing
    return pool.end()


def _shown(panel: Sequence[Candidate], *more: str) -> dict[str, Any]:
    fence = fence_for(*(c.text for c in panel), *more)
    return {"answers": [quoted(c.text, MOST_CHARS, fence=fence).text for c in panel], "fence": fence}


def _seeing(task: Task, panel: Sequence[Candidate]) -> Task:
    """The same question, asked together with the answers of the layer before; a fresh start, or a member that knows
    its last answer would give it again."""
    messages: tuple[Message, ...] = speaking(task, "fusion_layer", **_shown(panel))
    return replace(task, messages=messages, known=(), judged=(), label=task.id)
