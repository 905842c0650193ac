"""Which answer stands, where each candidate is meant to better the one before (revisions, syntheses, turns)."""

from __future__ import annotations

from ..budgets.voting import VotingBelief
from ..core.plans import Answer
from ..core.task import Candidate
from .pool import Judged, Pool


def standing(pool: Pool, latest: Candidate | None) -> Judged | None:
    """The latest answer, unless its checks say otherwise: one that passed them all goes before it, one that was
    refuted is never given, and where they graded answers the most promising one stands."""
    best = pool.best
    one = pool.judged.get(latest.key or "") if latest is not None else None
    if one is None or best is None or best.passed or one.refuted or any(j.said for j in pool.judged.values()):
        return best
    return one if any(one is other for other in pool.offered) else best


def stands(pool: Pool, latest: Candidate | None, reason: str | None = None) -> Answer | None:
    """The answer that stands, with the evidence for it; None where none may be given."""
    one = standing(pool, latest)
    if one is None or one is pool.best:
        return pool.answer(reason)
    others = sorted((j.count for j in pool.judged.values() if j is not one), reverse=True)
    # At the most as many votes against it as for it: that most draws said otherwise is why it was revised.
    belief = VotingBelief(one.count, min(one.count, others[0]), sum(others[1:]), pool.blanks)
    return Answer(one.candidate, reason or "revised", belief)
