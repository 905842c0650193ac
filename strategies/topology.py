"""Who hears whom in a debate: named topologies, edge masks, and what is left of them.

An edge (sender, receiver) shows the sender's last message to the receiver. Messages are most of a debate's prompt
tokens, and many of them change nothing: sparse topologies lose little (Li et al. 2024, arXiv:2406.11776), and a mask
can be learned once and kept (AgentPrune: Zhang et al. 2024, arXiv:2410.02506; `experiments.pruning.learn_edges`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from random import Random
from typing import Any

from ..core.errors import CallerError

Edge = tuple[int, int]
Mask = tuple[Edge, ...]


def _full(n: int) -> Mask:
    return tuple((a, b) for b in range(n) for a in range(n) if a != b)


def _ring(n: int) -> Mask:
    return tuple(((b - 1) % n, b) for b in range(n)) if n > 1 else ()


def _star(n: int) -> Mask:
    return (*((a, 0) for a in range(1, n)), *((0, b) for b in range(1, n)))


def _chain(n: int) -> Mask:
    return tuple((b - 1, b) for b in range(1, n))


TOPOLOGIES: Mapping[str, Callable[[int], Mask]] = {
    "full": _full,
    "ring": _ring,
    "star": _star,
    "chain": _chain,
    "none": lambda n: (),
}


def named(topology: str, agents: int) -> Mask:
    """The edges of a named topology: everyone hears everyone ("full"), the one before ("ring", "chain"), agent 0 hears
    all and all hear it ("star"), nobody hears anybody ("none"). Raises `CallerError`."""
    if topology not in TOPOLOGIES:
        raise CallerError(f"topology={topology!r}: expected one of {', '.join(TOPOLOGIES)}, or edges=(...)")
    return TOPOLOGIES[topology](agents)


def masks(edges: Sequence[Any], agents: int) -> tuple[Mask, ...]:
    """Explicit edges as one mask for each round: ((0, 1), (1, 2)) is one for all rounds, (((0, 1),), ((1, 0),)) one
    each, of which the last also holds for further rounds. Raises `CallerError` for what names no two agents."""
    try:
        one = not edges or all(len(e) == 2 and all(type(i) is int for i in e) for e in edges)
        found = tuple(tuple((int(a), int(b)) for a, b in mask) for mask in ((edges,) if one else edges))
    except (TypeError, ValueError) as error:
        raise CallerError(
            f"edges={edges!r:.80}: expected (sender, receiver) pairs, or one such tuple a round"
        ) from error
    for mask in found:
        for a, b in mask:
            if not (0 <= a < agents and 0 <= b < agents) or a == b:
                raise CallerError(f"edge {(a, b)}: expected two different agents from 0 to {agents - 1}")
    return tuple(tuple(dict.fromkeys(mask)) for mask in found)


def thinned(mask: Mask, keep: float, seed: str) -> Mask:
    """That share of the edges (rounded), drawn at random but the same for the same seed: the baseline that a learned
    mask has to beat."""
    kept = round(keep * len(mask))
    digest = blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=8).digest()  # any text is a seed
    chosen = set(Random(int.from_bytes(digest, "big")).sample(range(len(mask)), kept))
    return tuple(edge for i, edge in enumerate(mask) if i in chosen)


def senders(mask: Mask, receiver: int) -> tuple[int, ...]:
    """Whom an agent hears, in order."""
    return tuple(sorted(a for a, b in mask if b == receiver))
