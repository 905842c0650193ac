"""Tree of Thoughts (Yao et al. 2023, arXiv:2305.10601): breadth first with a beam, and depth first with pruning."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from .nodes import ROOT, Tree


def select(values: Sequence[float], keep: int) -> list[int]:
    """The places of the `keep` highest values, the first of equals first (the paper's greedy selection)."""
    return sorted(range(len(values)), key=lambda i: -values[i])[:keep]


@dataclass(slots=True)
class Levels:
    """Breadth first: all of a level are expanded, then all that is new is valued, and the `width` best are the next
    level. Also a beam search, where steps are sampled and a verifier values them."""

    tree: Tree
    width: int
    frontier: deque[int] = field(default_factory=lambda: deque((ROOT,)))
    born: list[int] = field(default_factory=list)

    def pick(self, most: int) -> list[int]:
        return list(islice(self.frontier, most))

    def grown(self, node: int, fresh: list[int], again: list[int]) -> list[int]:
        self.frontier.popleft()
        self.tree.exhaust(node)
        self.born += fresh
        return [] if self.frontier else self.born

    def valued(self, nodes: list[int]) -> None:
        chosen = [nodes[i] for i in select([self.tree.values[n] for n in nodes], self.width)]
        self.frontier.extend(node for node in chosen if not self.tree.closed[node])
        self.born = []


@dataclass(slots=True)
class Depth:
    """Depth first: the most valuable child first; those below `least` are pruned, and a dead end leads back to the
    best that was left behind nearest above."""

    tree: Tree
    least: float
    stack: list[int] = field(default_factory=lambda: [ROOT])
    pruned: int = 0

    def pick(self, most: int) -> list[int]:
        """One at a time: what comes of the best child says whether the next one is looked at at all."""
        while self.stack and self.tree.closed[self.stack[-1]]:
            self.stack.pop()
        return self.stack[-1:]

    def grown(self, node: int, fresh: list[int], again: list[int]) -> list[int]:
        self.stack.pop()
        self.tree.exhaust(node)
        return fresh

    def valued(self, nodes: list[int]) -> None:
        values = self.tree.values
        kept = [node for node in nodes if values[node] >= self.least]
        self.pruned += len(nodes) - len(kept)
        self.stack += [kept[i] for i in reversed(select([values[n] for n in kept], len(kept)))]
