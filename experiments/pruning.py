"""One-shot pruning of a debate's messages: from recorded debates to the edges that are worth keeping.

After AgentPrune (Zhang et al. 2024, arXiv:2410.02506), which trains the edges of the whole graph by policy gradient
with a low-rank penalty and then prunes once. Here every recorded debate had all edges, so that their use can be read
off without sampling graphs: an edge is credited when its receiver moved to an answer that its sender held.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from ..core.errors import CallerError
from ..strategies.steps import whole
from ..strategies.topology import Edge, Mask, named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

DOUBT = 4.0  # debates' worth of evidence that an edge is as useful as the average one


@dataclass(frozen=True, slots=True)
class Debated:
    """One recorded debate in which everyone heard everyone: each agent's key after the opening and after each round
    (None: no answer), and the right key (None: not known; then the last round's majority stands for it)."""

    rounds: tuple[tuple[str | None, ...], ...]
    right: str | None = None

    @property
    def target(self) -> str | None:
        """The answer that agents should move to."""
        if self.right is not None or not self.rounds:
            return self.right
        last = [key for key in self.rounds[-1] if key is not None]
        return max(last, key=last.count, default=None)


def edge_scores(debates: Iterable[Debated], agents: int, turn: int | None = None) -> tuple[Floats, Floats]:
    """(agents, agents) sums of credit of each edge (sender, receiver), and how often it could earn any. A receiver that
    moves to the right answer credits +1, shared by the senders that held it; one that leaves it for a sender's answer
    -1, likewise. `turn`: of that round only. Raises `CallerError` for debates of another size."""
    import numpy as np

    credit, chances = np.zeros((agents, agents)), np.zeros((agents, agents))
    for debate in debates:
        if any(len(keys) != agents for keys in debate.rounds):
            raise CallerError(f"a recorded debate has other than {agents} agents: prune debates of one size together")
        steps = list(zip(debate.rounds, debate.rounds[1:], strict=False))
        for before, after in steps if turn is None else steps[turn : turn + 1]:
            for receiver in range(agents):
                _credit(before, after, receiver, debate.target, credit, chances)
    return credit, chances


def _credit(
    before: Sequence[str | None],
    after: Sequence[str | None],
    receiver: int,
    target: str | None,
    credit: Floats,
    chances: Floats,
) -> None:
    was, now = before[receiver], after[receiver]
    others = [sender for sender in range(len(before)) if sender != receiver]
    if target is None:  # nothing that a move could be judged by
        return
    for sender in others:  # agreement moves nobody, nor does one who has no answer
        chances[sender, receiver] += before[sender] is not None and before[sender] != was
    if now == was or now is None:
        return
    sign = 1.0 if now == target else -1.0 if was == target else 0.0
    held = [sender for sender in others if before[sender] == now]
    for sender in held:
        credit[sender, receiver] += sign / len(held)


def learn_edges(
    debates: Iterable[Debated],
    agents: int,
    keep: float = 0.5,
    *,
    rank: int = 1,
    by_round: bool = False,
    doubt: float = DOUBT,
) -> tuple[Mask, ...]:
    """The `keep` share of all edges with the most credit per chance: one mask, or with `by_round` one for each round.
    Fit for `Debate(edges=...)`, and JSON as it stands.

    Scores are shrunk to their mean by `doubt` chances, and smoothed to a matrix of `rank` (good senders x open
    receivers), since few recorded debates say little of a single edge. Among equals those of a ring come first, so
    that every agent hears one. Raises `CallerError` for a share outside [0, 1] and other settings that make no sense,
    and for debates of another size.
    """
    whole("agents", agents)
    whole("rank", rank)
    if not 0 <= keep <= 1:
        raise CallerError(f"keep={keep!r}: expected a share from 0 to 1")
    if not 0 < doubt < inf:
        raise CallerError(f"doubt={doubt!r}: expected a number of debates above 0")
    seen = list(debates)
    turns: list[int | None] = [None]
    if by_round:
        turns = list(range(max((1, *(len(debate.rounds) - 1 for debate in seen)))))
    return tuple(_kept(*edge_scores(seen, agents, turn), keep, rank, doubt) for turn in turns)


def _kept(credit: Floats, chances: Floats, keep: float, rank: int, doubt: float) -> Mask:
    agents = len(credit)
    everyone, ring = named("full", agents), set(named("ring", agents))
    mean = float(credit.sum()) / max(float(chances.sum()), 1.0)
    scores = smoothed((credit + doubt * mean) / (chances + doubt), rank)

    def order(edge: Edge) -> tuple[float, bool, Edge]:
        return -round(float(scores[edge]), 9), edge not in ring, edge

    return tuple(sorted(sorted(everyone, key=order)[: round(keep * len(everyone))], key=lambda e: (e[1], e[0])))


def smoothed(scores: Floats, rank: int) -> Floats:
    """The matrix of at most `rank` nearest to the scores off the diagonal, which no edge stands on: its entries are
    filled in with what the matrix itself says (a few rounds of singular value projection)."""
    import numpy as np

    if len(scores) <= rank or len(scores) < 2:
        return scores
    diagonal = np.eye(len(scores), dtype=bool)
    full = np.where(diagonal, scores[~diagonal].mean(), scores)
    for _ in range(20):
        left, values, right = np.linalg.svd(full)
        low: Floats = (left[:, :rank] * values[:rank]) @ right[:rank]
        full = np.where(diagonal, low, scores)
    return low
