"""Ballots: whose vote counts for what, how much it weighs, and which answer leads.

Weights by confidence are those of CISC (Taubenfeld et al. 2025, arXiv:2502.06233): a softmax over the draws of one
question, so that only differences within the question count; DeepConf's (Fu et al. 2025, arXiv:2508.15260) lowest
group confidence can stand in for the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, floor, fsum

from ..budgets.overruled import Overruled
from ..budgets.voting import VotingBelief
from ..core.belief import Belief
from ..core.task import Candidate
from .tool_votes import Calls, VoteOn, Voter, ballot, hierarchical, read_calls

CUT = "cut"  # the finish of a completion that was ended for want of confidence


def by_key(candidate: Candidate) -> str | None:
    """The usual ballot: the answer's canonical form."""
    return candidate.key


@dataclass(slots=True)
class Votes:
    """Counts of ballots in the order they were first seen, which breaks ties. `weigh` gives every draw its weight
    (None: all alike), `pick` the leader where it is not simply the ballot with the most votes."""

    ballot: Callable[[Candidate], str | None] = by_key
    weigh: Callable[[Sequence[Candidate]], Sequence[float]] | None = None
    pick: Callable[[Sequence[Candidate], Sequence[float]], Candidate | None] | None = None
    first: dict[str, Candidate] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    cast: list[Candidate] = field(default_factory=list)
    blanks: int = 0
    cuts: int = 0

    def add(self, candidates: Iterable[Candidate | None]) -> None:
        """Counts candidates; one without an answer is a blank, so is one that was cut short; a failed branch (None) and
        a thought are nothing."""
        for candidate in candidates:
            if candidate is None or candidate.thought:
                continue
            self.cuts += candidate.finish == CUT
            vote = self.of(candidate)
            if vote is None:
                self.blanks += 1
                continue
            self.first.setdefault(vote, candidate)
            self.counts[vote] = self.counts.get(vote, 0) + 1
            self.cast.append(candidate)

    def of(self, candidate: Candidate) -> str | None:
        """What a candidate votes for; None: nothing."""
        if candidate.key is None or candidate.finish == CUT:
            return None
        return self.ballot(candidate)

    def leader(self) -> Candidate | None:
        """The first candidate of the ballot with the most votes, by weight; the one seen first among equals."""
        if not self.counts:
            return None
        if self.weigh is None and self.pick is None:
            return self.first[max(self.counts, key=self.counts.__getitem__)]
        weights = self.weigh(self.cast) if self.weigh is not None else [1.0] * len(self.cast)
        if self.pick is not None:
            return self.pick(self.cast, weights)
        totals = dict.fromkeys(self.counts, 0.0)
        for candidate, weight in zip(self.cast, weights, strict=True):
            totals[self.of(candidate) or ""] += weight
        return self.first[max(totals, key=totals.__getitem__)]

    def belief(self, limit: int, leader: Candidate | None = None) -> Belief:
        """The evidence of the counts; where they are not what put the `leader` (default: `leader()`) in front, the same
        without a P(right)."""
        ranked = sorted(self.counts.values(), reverse=True)
        first, second = [*ranked, 0, 0][:2]
        votes = VotingBelief(first, second, sum(ranked[2:]), self.blanks, limit, tuple(ranked[2:]))
        leader = leader or self.leader()
        return votes if leader is None or self.counts[self.of(leader) or ""] == first else Overruled(votes)


# -- weights ----------------------------------------------------------------------------------------------------------


def mean_confidence(candidate: Candidate) -> float | None:
    """The mean log-probability of its tokens; None where none are known."""
    tokens = candidate.logprobs
    return fsum(tokens) / len(tokens) if tokens else None


def lowest_group(candidate: Candidate, group: int) -> float | None:
    """The lowest mean log-probability of `group` tokens in a row, of all of them where there are fewer."""
    tokens = candidate.logprobs
    if not tokens:
        return None
    width = min(group, len(tokens))
    total = lowest = fsum(tokens[:width])
    for new, old in zip(tokens[width:], tokens, strict=False):
        total += new - old
        lowest = min(lowest, total)
    return lowest / width


def softmax(confidences: Sequence[float | None], softness: float) -> list[float]:
    """Weights with mean 1. A draw whose confidence is not known has the mean weight of the others."""
    known = [c for c in confidences if c is not None]
    if not known:
        return [1.0] * len(confidences)
    top = max(known)
    raw = [None if c is None else exp((c - top) / softness) for c in confidences]
    mean = fsum(r for r in raw if r is not None) / len(known)
    return [1.0 if r is None else r / mean for r in raw]


def percentile(values: Sequence[float], percent: float) -> float:
    """The `percent` percentile, between two values in proportion. Raises `ValueError` for no values."""
    if not values:
        raise ValueError("no values")
    ranked = sorted(values)
    place = (len(ranked) - 1) * percent / 100
    low = min(floor(place), len(ranked) - 2) if len(ranked) > 1 else 0
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)


# -- tool calls -------------------------------------------------------------------------------------------------------


def tool_ballots(vote_on: VoteOn, ignored: tuple[str, ...]) -> Votes:
    """Votes over the tool calls that candidates make."""
    read: dict[str, Calls] = {}

    def calls(candidate: Candidate) -> Calls:
        if candidate.text not in read:
            read[candidate.text] = read_calls(candidate.text, ignored)
        return read[candidate.text]

    def called(candidates: Sequence[Candidate], weights: Sequence[float]) -> Candidate | None:
        return hierarchical([Voter(c, calls(c), w) for c, w in zip(candidates, weights, strict=True)])

    pick = called if vote_on == "hierarchical" else None
    return Votes(lambda candidate: ballot(calls(candidate), vote_on), pick=pick)
