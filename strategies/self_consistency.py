"""Self-consistency: sample several answers and take the one that most agree on (Wang et al. 2022, 2203.11171)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

from ..budgets.beliefs import Committed
from ..budgets.checking import DrawBelief
from ..budgets.overruled import Overruled
from ..budgets.voting import HORIZON
from ..core.belief import Belief
from ..core.completions import Cut, Params
from ..core.effects import Effect, Gather, Offer, Sample, Score
from ..core.errors import BadQuery, CallerError
from ..core.plans import Answer, Plan
from ..core.task import Candidate, Task
from ..verifiers.prompting import standing_in
from .consensus import Panel
from .pool import Pool
from .prompting import draw
from .steps import NOBODY, names, one_of, parameters, whole
from .tool_votes import VoteOn
from .voting import Votes, lowest_group, mean_confidence, percentile, softmax, tool_ballots

__all__ = ["SelfConsistency", "Votes"]

Weights = Literal["confidence", "group", "verdict"]


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """Votes over samples, in waves whose size the run decides. `samples`: exactly so many (the fixed-n baseline);
    None: as many as pay for themselves, `most` at the most. Candidates that the task already knows count. Checks are
    made only where they weigh (`weights="verdict"`): else what one would refute may win, as in the paper.

    `weights`: what a vote weighs. None: all alike. "confidence": the mean log-probability of the draw's tokens, by a
    softmax with the temperature `softness` (1: the geometric mean of the tokens' probabilities; lower: sharper).
    "group": likewise that of its worst `group` tokens in a row. A draw without log-probabilities weighs as the mean of
    the others.
    "verdict": the mean calibrated p of the task's checks, each asked once of each different answer.
    `window`: stops once so many draws in a row agree (ESC, Li et al. 2024, 2401.10480).
    `universal`: a model (`consensus_model`, by default the one that draws) is shown all `samples` answers and picks the
    one that most agree with (2311.17311); its choice counts where it is the same in two opposite orders.
    `vote_on`: votes over the tool call `{"name": ..., "arguments": {...}}` that each text holds: its "name", the whole
    call ("arguments"), or "hierarchical": the name first, then the arguments among those with that name. Arguments in
    `ignored` do not count.
    `cut_below`: DeepConf's online cut (2508.15260): after `warmup` whole draws, one ends early once the mean
    log-probability of `group` tokens falls below the `cut_below` percentile of the lowest such means of those. It is no
    vote, and is billed for what it used. Where no log-probabilities stream nothing is cut.
    """

    samples: int | None = None
    most: int = HORIZON
    model: str | None = None
    params: Params = Params(temperature=0.7)
    weights: Weights | None = None
    softness: float = 0.5
    window: int | None = None
    universal: bool = False
    consensus_model: str | None = None
    consensus_params: Params = Params(temperature=0.0, max_tokens=256)
    most_chars: int = 16_000
    vote_on: VoteOn | None = None
    ignored: tuple[str, ...] = ()
    cut_below: float | None = None
    warmup: int = 8
    group: int = 64
    name: ClassVar[str] = "self_consistency"
    pays: ClassVar[str] = "where answers are short, nothing can check them, and the model is right more often than not"

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        if self.weights is not None and self.weights not in get_args(Weights):
            raise CallerError(f"weights={self.weights!r}: expected None or one of {get_args(Weights)}")
        if self.vote_on is not None and self.vote_on not in get_args(VoteOn):
            raise CallerError(f"vote_on={self.vote_on!r}: expected None or one of {get_args(VoteOn)}")
        for name in ("most", "warmup", "group", "most_chars"):
            whole(name, getattr(self, name))
        whole("samples", self.samples, optional=True)
        whole("window", self.window, 2, optional=True)
        names("ignored", self.ignored)
        one_of("universal", self.universal, (True, False))
        for name in ("params", "consensus_params"):
            parameters(name, getattr(self, name))
        if not isinstance(self.softness, int | float) or not self.softness > 0:
            raise CallerError(f"softness={self.softness!r:.80}: expected a number above 0")
        cut = self.cut_below
        if cut is not None and (not isinstance(cut, int | float) or not 0 < cut < 100):
            raise CallerError(f"cut_below={cut!r:.80}: expected a percentile, above 0 and below 100")
        if self.universal and self.samples is None:
            raise CallerError("universal=True needs samples=n: how many answers the model is to be shown")
        if self.universal and (self.vote_on is not None or self.weights is not None):
            raise CallerError("universal=True lets a model decide: leave vote_on and weights out")
        if self.weights == "verdict" and self.vote_on is not None:
            raise CallerError("weights='verdict' goes by answer: it cannot be combined with vote_on")

    def needs(self, task: Task) -> tuple[Effect[Any], ...]:
        effects: tuple[Effect[Any], ...] = self._step(self._sample(task), task) * (self.samples or 1)
        if self.universal and self.samples is not None and self.samples > 1:
            effects += self._panel(task, [standing_in(task, self.most_chars)] * self.samples).samples
        return effects

    def __call__(self, task: Task) -> Plan[Answer]:
        if self.weights == "verdict" and not task.checks:
            raise BadQuery("weights='verdict' needs a check: pass checks=[...], or weights='confidence'")
        count = _Count(self, task, self._votes(), Pool.of(task) if self.weights == "verdict" else None)
        passed = yield from count.take(task.known)
        count.recent.clear()  # a window, and what a draw may fall to, are those of draws made here
        count.whole.clear()
        drawn, most = 0, self.most if self.samples is None else self.samples
        while passed is None:
            leader = count.leader()
            belief = count.belief(most - drawn, leader)
            if drawn >= most or count.unanimous(self.window):
                if self.universal:
                    leader, belief = yield from self._consensus(task, count, leader, belief)
                return Answer(leader, "agreed" if leader else count.why, belief)
            wave = self._wave(most - drawn, drawn, len(count.whole))
            step = self._step(self._sample(task, count.threshold(self)), task)
            answer = Answer(leader, "agreed", belief) if leader else None
            weighed = Committed(wave, belief) if self.samples is not None else belief
            size = yield from Offer(answer, weighed, step)
            size = min(size, wave)
            fresh: tuple[Candidate | None, ...] = yield from Gather((step[0],) * size, at_least=1)
            passed = yield from count.take(fresh)
            drawn += size
        return Answer(passed, "verified")

    def _wave(self, left: int, drawn: int, whole: int) -> int:
        """How many may be drawn before something has to be looked at."""
        wave = left
        if self.window is not None and self.samples is not None:
            wave = min(wave, self.window - drawn % self.window)
        if self.cut_below is not None and whole < self.warmup:
            wave = min(wave, self.warmup - whole)
        return wave

    def _sample(self, task: Task, least: float | None = None) -> Sample:
        params = self.params
        if self.weights in ("confidence", "group") or self.cut_below is not None:
            params = replace(params, logprobs=True)
        if least is not None:
            params = replace(params, cut=Cut(least, self.group))
        return draw(task, self.model, params)

    def _step(self, sample: Sample, task: Task) -> tuple[Effect[Any], ...]:
        checks = task.checks if self.weights == "verdict" else ()
        return (sample, *(Score(check, task, NOBODY) for check in checks))

    def _votes(self) -> Votes:
        votes = Votes() if self.vote_on is None else tool_ballots(self.vote_on, self.ignored)
        if self.weights == "confidence":
            votes.weigh = lambda drawn: softmax([mean_confidence(c) for c in drawn], self.softness)
        elif self.weights == "group":
            votes.weigh = lambda drawn: softmax([lowest_group(c, self.group) for c in drawn], self.softness)
        return votes

    def _panel(self, task: Task, answers: list[Candidate]) -> Panel:
        model = self.consensus_model or self.model
        return Panel.of(task, answers, model, self.consensus_params, self.most_chars)

    def _consensus(
        self, task: Task, count: _Count, leader: Candidate | None, belief: Belief
    ) -> Plan[tuple[Candidate | None, Belief]]:
        """The model's choice where there is something to choose, else the plurality."""
        if leader is None or len(count.votes.counts) < 2:
            return leader, belief
        panel = self._panel(task, count.votes.cast)
        yield from Offer(Answer(leader, "agreed", belief), Committed(1, belief), panel.samples)
        chosen = yield from panel.ask()
        if chosen is None:
            return leader, belief
        return chosen, count.votes.belief(self.most, chosen)


@dataclass(slots=True)
class _Count:
    """What one run has so far: the votes and, where verdicts weigh them, the pool that asks for those."""

    settings: SelfConsistency
    task: Task
    votes: Votes
    pool: Pool | None
    recent: list[str | None] = field(default_factory=list)
    whole: list[Candidate] = field(default_factory=list)  # the first draws, from which the cut's threshold is taken

    def take(self, candidates: tuple[Candidate | None, ...]) -> Plan[Candidate | None]:
        """Counts candidates. Returns one that passed every check, if verdicts weigh."""
        self.votes.add(candidates)
        for candidate in candidates:
            if candidate is None or candidate.thought:
                continue
            vote = self.votes.of(candidate)
            self.recent.append(vote)
            if candidate.finish != "cut" and len(self.whole) < self.settings.warmup:
                self.whole.append(candidate)
            if self.pool is not None and vote is not None:
                judged = yield from self.pool.take(candidate)
                if judged is not None and judged.passed:
                    return judged.candidate
        return None

    def leader(self) -> Candidate | None:
        """Who is ahead. By verdicts: the count times the mean p, where an answer of which nothing is known takes the
        mean of the others and a refuted one cannot lead."""
        if self.pool is None:
            return self.votes.leader()
        offered = [one for one in self.pool.judged.values() if not one.refuted]
        told = [one.p for one in offered if one.p is not None]
        usual = sum(told) / len(told) if told else 1.0
        best = max(offered, key=lambda one: one.count * (usual if one.p is None else one.p), default=None)
        return best.candidate if best is not None else None

    def belief(self, left: int, leader: Candidate | None) -> Belief:
        votes, pool = self.votes.belief(self.settings.most, leader), self.pool
        if pool is None or not any(one.said or one.refuted for one in pool.judged.values()):
            return votes
        belief = DrawBelief(pool.answers, tuple(pool.graded), left or self.settings.most)
        best = pool.best
        return belief if best is None or leader is None or best.candidate is leader else Overruled(belief)

    def unanimous(self, window: int | None) -> bool:
        if window is None or len(self.recent) < window:
            return False
        last = self.recent[-window:]
        return last[0] is not None and len(set(last)) == 1

    def threshold(self, settings: SelfConsistency) -> float | None:
        """What the group confidence of a further draw may not fall below; None while or where that is not known."""
        if settings.cut_below is None or len(self.whole) < settings.warmup:
            return None
        lowest = [low for c in self.whole if (low := lowest_group(c, settings.group)) is not None]
        return percentile(lowest, settings.cut_below) if lowest else None

    @property
    def why(self) -> str:
        """Why there is no answer."""
        if self.pool is not None and self.pool.judged:
            return "unverified"
        if self.votes.cuts and self.votes.cuts == self.votes.blanks:
            return "all_cut"
        return "no_tool_call" if self.settings.vote_on is not None else "unreadable"
