"""A search tree in flat lists: one entry a node, parents by number, no copies of paths.

Memory is linear in the nodes. Node 0 is the root: nothing done yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ...core.task import Candidate

ROOT = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One thought, and the candidate that it is where it is a complete answer."""

    text: str
    candidate: Candidate | None = None

    @property
    def mark(self) -> str:
        """Two steps with the same mark are the same state: equal answers, or texts that differ in spacing only."""
        if self.candidate is not None and self.candidate.key is not None:
            return "=" + self.candidate.key
        return " ".join(self.text.split()).rstrip(".")


@dataclass(slots=True)
class Tree:
    """Nodes by number. `values` in [0, 1]; `visits` and `totals` are of the subtree; `spent`: nothing more is
    generated below; `closed`: nothing in the subtree is left to look at."""

    parents: list[int] = field(default_factory=lambda: [-1])
    texts: list[str] = field(default_factory=lambda: [""])
    marks: list[str] = field(default_factory=lambda: [""])
    depths: list[int] = field(default_factory=lambda: [0])
    values: list[float] = field(default_factory=lambda: [0.5])
    visits: list[int] = field(default_factory=lambda: [0])
    totals: list[float] = field(default_factory=lambda: [0.0])
    children: list[list[int] | None] = field(default_factory=lambda: [None])  # leaves have no list of their own
    spent: bytearray = field(default_factory=lambda: bytearray(1))
    closed: bytearray = field(default_factory=lambda: bytearray(1))
    candidates: dict[int, Candidate] = field(default_factory=dict)
    places: dict[tuple[int, str], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.parents)

    def add(self, parent: int, step: Step) -> tuple[int, bool]:
        """The node of a step below `parent`, and whether it is new. A step that says what a sibling says is that
        sibling; one that comes back to a state on its own path is the node there."""
        mark = step.mark
        place = self.places.get((parent, mark))
        if place is None:
            place = next((node for node in self.above(parent) if node and self.marks[node] == mark), None)
        if place is not None:
            return place, False
        node = len(self.parents)
        self.places[parent, mark] = node
        self.parents.append(parent)
        self.texts.append(step.text)
        self.marks.append(mark)
        self.depths.append(self.depths[parent] + 1)
        self.values.append(0.5)
        self.visits.append(0)
        self.totals.append(0.0)
        self.children.append(None)
        self.spent.append(0)
        self.closed.append(0)
        if step.candidate is not None:
            self.candidates[node] = step.candidate
        below = self.children[parent]
        if below is None:
            self.children[parent] = [node]
        else:
            below.append(node)
        return node, True

    def above(self, node: int) -> Iterator[int]:
        """The node itself and those above it, the root last."""
        while node >= 0:
            yield node
            node = self.parents[node]

    def path(self, node: int) -> tuple[str, ...]:
        """The thoughts from the root to the node."""
        return tuple(self.texts[one] for one in self.above(node) if one)[::-1]

    def below(self, node: int) -> list[int]:
        """The children that are still open."""
        return [child for child in self.children[node] or () if not self.closed[child]]

    def close(self, node: int) -> None:
        """Nothing is left to look at here; nor above, where this was the last thing."""
        while node >= 0:
            self.spent[node] = self.closed[node] = 1
            node = self.parents[node]
            if node < 0 or not self.spent[node] or not all(self.closed[c] for c in self.children[node] or ()):
                return

    def exhaust(self, node: int) -> None:
        """Nothing more is generated below the node; without open children it is closed."""
        self.spent[node] = 1
        if all(self.closed[child] for child in self.children[node] or ()):
            self.close(node)

    def backed(self, node: int, value: float) -> None:
        """Counts a value for the node and all above it."""
        for one in self.above(node):
            self.visits[one] += 1
            self.totals[one] += value

    def promising(self) -> int:
        """The leaf without an answer that is worth most, the deepest of equals; the root where there is none."""
        leaves = (n for n in range(1, len(self)) if self.children[n] is None and n not in self.candidates)
        return max(leaves, key=lambda n: (self.values[n], self.depths[n]), default=ROOT)


class Search(Protocol):
    """Which node is next: the pure part of an algorithm."""

    def pick(self, most: int) -> list[int]:
        """The nodes to expand, at most so many at once, none of which needs what comes of another; none where
        nothing is left. Of these the first are grown, as many as can be paid, and the rest is picked again."""
        ...

    def grown(self, node: int, fresh: list[int], again: list[int]) -> list[int]:
        """Told what came of `node`: its new children, and old ones that came again. Returns what is to be valued
        now."""
        ...

    def valued(self, nodes: list[int]) -> None:
        """Told that these nodes have their values."""
        ...
