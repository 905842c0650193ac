"""Adaptive branching (AB-MCTS-A, Inoue et al. 2025, arXiv:2503.04412): at each node Thompson sampling decides between
one more child (wider) and one of those there (deeper).

GEN has the posterior of the values of the node's own children, CONT that of everything below those, each child that of
itself and all below it. Several models are arms: each has the posterior of the values of what it made, anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from random import Random
from typing import Literal

from .nodes import ROOT, Tree

Posterior = Literal["gaussian", "beta"]
BARREN = 3  # steps in a row that brought nothing new: there is nothing more to find at this node
_MEAN, _KAPPA, _NU, _TAU2 = 0.0, 1.0, 1.0, 0.1  # the paper's normal-inverse-gamma prior
_A = _B = 0.5  # Jeffreys' prior


@dataclass(slots=True)
class Moments:
    """What was seen of an arm: how many values, their sum and their sum of squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.n += 1
        self.total += value
        self.squares += value * value

    def draw(self, dice: Random, posterior: Posterior) -> float:
        """A mean drawn from the posterior."""
        n, total = self.n, self.total
        if posterior == "beta":
            return dice.betavariate(_A + total, _B + n - total)
        mean = total / n if n else 0.0
        kappa, nu = _KAPPA + n, _NU + n
        spread = max(0.0, self.squares - total * mean)
        scale = _NU * _TAU2 + spread + n * _KAPPA / kappa * (mean - _MEAN) ** 2  # nu times tau squared
        variance = 0.5 * scale / dice.gammavariate(nu / 2, 1.0)
        return dice.gauss((_KAPPA * _MEAN + total) / kappa, sqrt(variance / kappa))


@dataclass(slots=True)
class Adaptive:
    """Wider or deeper, by Thompson sampling."""

    tree: Tree
    dice: Random
    posterior: Posterior = "gaussian"
    gen: dict[int, Moments] = field(default_factory=dict)
    cont: dict[int, Moments] = field(default_factory=dict)
    arms: dict[int, Moments] = field(default_factory=dict)  # a child's, by its number
    barren: dict[int, int] = field(default_factory=dict)

    def pick(self, most: int) -> list[int]:
        """Several at once are as many draws from the posteriors as they are now."""
        return [self._down() for _ in range(most)] if not self.tree.closed[ROOT] else []

    def _down(self) -> int:
        tree, node = self.tree, ROOT
        while children := tree.below(node):
            if not tree.spent[node] and self._draw(self.gen, node) >= self._draw(self.cont, node):
                break
            node = max(children, key=lambda child: self._draw(self.arms, child))
        return node

    def grown(self, node: int, fresh: list[int], again: list[int]) -> list[int]:
        self.barren[node] = 0 if fresh else self.barren.get(node, 0) + 1
        for child in again:
            if self.tree.parents[child] == node:  # the same once more is news of what this node generates
                _of(self.gen, node).add(self.tree.values[child])
        if self.barren[node] >= BARREN:
            self.tree.exhaust(node)
        return fresh

    def valued(self, nodes: list[int]) -> None:
        parents, values = self.tree.parents, self.tree.values
        for node in nodes:
            value, up = values[node], parents[node]
            _of(self.gen, up).add(value)
            _of(self.arms, node).add(value)
            while up > ROOT:
                _of(self.arms, up).add(value)
                up = parents[up]
                _of(self.cont, up).add(value)

    def _draw(self, arms: dict[int, Moments], node: int) -> float:
        return (arms.get(node) or _NOTHING).draw(self.dice, self.posterior)


@dataclass(slots=True)
class Arms:
    """Which of several expanders (models) makes the next step, by Thompson sampling over what each one's were worth."""

    dice: Random
    posterior: Posterior
    seen: list[Moments]

    def pick(self) -> int:
        if len(self.seen) == 1:
            return 0
        draws = [arm.draw(self.dice, self.posterior) for arm in self.seen]
        return max(range(len(draws)), key=draws.__getitem__)


_NOTHING = Moments()


def _of(arms: dict[int, Moments], node: int) -> Moments:
    arm = arms.get(node)
    if arm is None:
        arm = arms[node] = Moments()
    return arm
