"""Judging what a search found: on questions that no choice has seen, against the best of the hand-written seeds.

The seeds' best is chosen on the training questions too, so that both sides are chosen once; that many workflows were
tried lifts the found one's figures on the training questions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...core.errors import CallerError
from ...strategies.workflow import Workflow
from ..intervals import Interval, clustered, paired
from .archive import Entry
from .scoring import Figure, Scorer, Spent, Unanswerable
from .search import Searched

CHUNK = 16  # questions after which the other one is asked, so that both have the same where money ends


@dataclass(frozen=True, slots=True)
class Side:
    """One workflow on the held-out questions: share right, dollars and net utility per question, with 95% intervals by
    question; `trained`: its net utility on the training questions, which choosing it has lifted."""

    number: int
    name: str
    right: Interval
    usd: Interval
    net: Interval
    trained: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """`gain`: net utility of the found workflow less that of the best seed, paired by question, in right answers. It
    `beats` the seeds where all of the interval is above 0. `looked`: how often a search of this archive has been judged
    on these questions; above 1 they are no fresh judge any more."""

    questions: int
    trained_on: int
    found: Side
    seed: Side
    gain: Interval
    gain_right: Interval
    gain_usd: Interval
    tried: dict[str, int]
    looked: int = 1

    @property
    def beats(self) -> bool:
        return self.found.number != self.seed.number and self.gain.low > 0

    @property
    def verdict(self) -> str:
        """In a sentence."""
        tried = sum(self.tried.values())
        if self.found.number == self.seed.number:
            return f"none of {tried} workflows was better than the best seed on the training questions"
        told = f"{self.gain.estimate:+.4f} [{self.gain.low:+.4f}, {self.gain.high:+.4f}] right answers a question"
        if self.beats:
            return f"the workflow found beats the best seed on {self.questions} held-out questions: {told}"
        if self.gain.high < 0:
            return f"the workflow found is worse than the best seed on {self.questions} held-out questions: {told}"
        there = f"on {self.questions} held-out questions"
        return f"{there} it cannot be told that the workflow found beats the best seed: {told}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "beats": self.beats, "verdict": self.verdict}


def judge(
    searched: Searched, scorer: Scorer, questions: Sequence[str], *, spare: bool = False, looked: int = 1
) -> Judgement:
    """Runs the best workflow and the best seed on held-out questions. `spare`: so many of them as the budget lasts for.
    Raises `CallerError` where there are none, or where the bank cannot answer."""
    terms, found, seed = searched.terms, searched.best, searched.best_seed
    scorer.keep(0.0)
    one, other = _both(scorer, found, seed, questions)
    if not one:
        raise CallerError("no held-out question could be judged: the budget was used up by the search")
    if len(one) < len(questions) and not spare:
        raise CallerError(f"the budget lasted for {len(one)} of {len(questions)} held-out questions")
    a, b = terms.values(one), terms.values(other)
    return Judgement(
        len(one),
        len(seed.right),
        _side(found, one, searched),
        _side(seed, other, searched),
        paired(a, b),
        paired([f.right for f in one], [f.right for f in other]),
        paired([f.usd for f in one], [f.usd for f in other]),
        searched.archive.tried,
        looked,
    )


def _both(scorer: Scorer, found: Entry, seed: Entry, questions: Sequence[str]) -> tuple[list[Figure], list[Figure]]:
    """Figures of both on the questions that both were run on."""
    flows = [Workflow.of(entry.document or {}) for entry in (found, seed)]
    sides: tuple[list[Figure], list[Figure]] = ([], [])
    try:
        for start in range(0, len(questions), CHUNK):
            part = questions[start : start + CHUNK]
            for side, flow in zip(sides, flows, strict=True):
                if flow is flows[1] and flows[0].source == flows[1].source:
                    side += sides[0][start:]
                else:
                    side += scorer.score(flow, part)
    except Spent:
        pass
    except Unanswerable as error:
        raise CallerError(f"a held-out question cannot be judged: {error}") from error
    same = min(map(len, sides))
    return sides[0][:same], sides[1][:same]


def _side(entry: Entry, figures: Sequence[Figure], searched: Searched) -> Side:
    terms = searched.terms
    right, usd, net = map(clustered, ([f.right for f in figures], [f.usd for f in figures], terms.values(figures)))
    return Side(entry.number, entry.name or f"#{entry.number}", right, usd, net, searched.archive.value(entry, terms))
