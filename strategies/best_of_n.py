"""Best-of-n: draw candidates, check each, and stop at the first that an exact check passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..budgets.beliefs import Committed, ExactBelief, ScoredBelief
from ..core.belief import Belief
from ..core.completions import Params
from ..core.effects import Gather, Offer, Score
from ..core.errors import BadQuery
from ..core.plans import Answer, Plan
from ..core.task import Candidate, Task
from ..core.verdict import Verdict
from .prompting import draw


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Draws in waves whose size the run decides. A candidate that passes every exact check is the answer at once;
    with graded checks the best mean score is on offer. One that fails an exact check is never offered: abstaining
    is a result. Equal candidates are checked once. `samples` and `most` as in self-consistency.
    """

    samples: int | None = None
    most: int = 64
    model: str | None = None
    params: Params = Params(temperature=0.7)
    name: ClassVar[str] = "best_of_n"

    def __call__(self, task: Task) -> Plan[Answer]:
        if not task.checks:
            raise BadQuery("best_of_n needs a check: pass checks=[...], or use self_consistency")
        sample = draw(task, self.model, self.params)
        judged: dict[str, _Judged] = {}
        fresh: tuple[Candidate | None, ...] = task.known
        drawn = failed = 0
        best: _Judged | None = None
        while True:
            for candidate in fresh:
                key = candidate.key if candidate is not None else None
                if candidate is None or key is None:
                    failed += candidate is not None
                    continue
                if key not in judged:
                    judged[key] = yield from _judge(task, candidate)
                if judged[key].passed:
                    return Answer(judged[key].candidate, "verified")
                failed += not judged[key].offered  # refuted, or no check could tell: no pass either way
                best = max((j for j in judged.values() if j.offered), key=lambda j: j.score, default=None)
            if sum(j.unknown for j in judged.values()) == len(judged) >= HOPELESS:
                return Answer(None, "checks_failed")  # no check ever told anything: more draws tell no more
            answer = Answer(best.candidate, "best_score") if best else None
            most = self.most if self.samples is None else self.samples
            if drawn >= most:
                return answer or Answer(None, "unverified")
            belief: Belief = Committed(most - drawn)
            if self.samples is None:
                belief = self._belief(judged, failed, most - drawn)
            size = yield from Offer(answer, belief, (sample, *(Score(c, task, _NOBODY) for c in task.checks)))
            fresh = yield from Gather((sample,) * size, at_least=1)
            drawn += size

    @staticmethod
    def _belief(judged: dict[str, _Judged], failed: int, left: int) -> Belief:
        scores = tuple(j.score for j in judged.values() if j.offered)
        return ScoredBelief(scores, left) if scores else ExactBelief(failed, left)


HOPELESS = 3  # different candidates on which every check failed to run
_NOBODY = Candidate("")  # stands in the step that prices a check, before there is a candidate


@dataclass(frozen=True, slots=True)
class _Judged:
    """A candidate and what its checks made of it."""

    candidate: Candidate
    score: float
    passed: bool
    offered: bool
    unknown: bool = False


def _judge(task: Task, candidate: Candidate) -> Plan[_Judged]:
    """All checks in order, exact ones first; the first exact failure ends it, so that nothing more is paid."""
    scores: list[float] = []
    all_exact = True
    for check in task.checks:
        verdict: Verdict = yield from Score(check, task, candidate)
        if verdict.exact and verdict.score is not None and verdict.score < 1.0:
            return _Judged(candidate, 0.0, passed=False, offered=False)
        all_exact &= verdict.passed
        if verdict.score is not None:
            scores.append(verdict.score)
    mean = sum(scores) / len(scores) if scores else 0.0
    return _Judged(candidate, mean, passed=all_exact, offered=bool(scores), unknown=not scores)
