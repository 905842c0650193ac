"""Monte Carlo tree search with upper confidence bounds (UCT, Kocsis & Szepesvari 2006).

A node is expanded once; the values of its children stand for rollouts and are counted along the path to the root.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

from .nodes import ROOT, Tree


@dataclass(slots=True)
class Uct:
    """Goes down by mean value + `explore` * sqrt(ln(visits of the parent) / visits)."""

    tree: Tree
    explore: float

    def pick(self, most: int) -> list[int]:
        """Several at once by virtual losses (Chaslot et al. 2008): each pick counts as a visit that was worth nothing
        while the next is made, so that they spread."""
        found: list[int] = []
        node = self._down()
        while node is not None and node not in found:
            found.append(node)
            if len(found) == most:
                break
            self._lose(node, 1)
            node = self._down()
        for lost in found[: most - 1]:
            self._lose(lost, -1)
        return found

    def _lose(self, node: int, visits: int) -> None:
        for one in self.tree.above(node):
            self.tree.visits[one] += visits

    def _down(self) -> int | None:
        tree = self.tree
        visits, totals, closed, children = tree.visits, tree.totals, tree.closed, tree.children
        if closed[ROOT]:
            return None
        node = ROOT
        while tree.spent[node]:
            scale = self.explore * sqrt(log(max(1, visits[node])))
            best, bound = -1, float("-inf")
            for child in children[node] or ():
                if closed[child]:
                    continue
                n = visits[child]
                high = totals[child] / n + scale / sqrt(n) if n else float("inf")
                if high > bound:
                    best, bound = child, high
            node = best
        return node

    def grown(self, node: int, fresh: list[int], again: list[int]) -> list[int]:
        if not fresh:
            self.tree.backed(node, 0.0)  # a dead end
        self.tree.exhaust(node)
        return fresh

    def valued(self, nodes: list[int]) -> None:
        for node in nodes:
            self.tree.backed(node, self.tree.values[node])
