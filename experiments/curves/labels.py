"""Labels beside what they name, instead of a legend: each at the nearest place where it covers least.

Greedy over candidate places round each anchor (after the eight-position model of Christensen, Marks & Shieber 1995,
with further rings). Two labels never overlap and none leaves the picture; one that finds no place is not drawn.
`page.js` does the same in the browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, sin
from typing import TypeAlias

XY: TypeAlias = tuple[float, float]
RINGS = (7.0, 14.0, 24.0, 38.0, 56.0, 80.0)  # pixels between the anchor and the label's edge
# Right first, where a line ends, then what slopes off it, then above and below; left last.
TURNS = (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8)
PAD = 2.0
COVERS, FAR, TURNED, CROSSED = (
    3.0,
    0.12,
    0.35,
    30.0,
)  # what a covered point, a pixel away, a step of turn and a leader through a label cost


@dataclass(frozen=True, slots=True)
class Box:
    """A label's rectangle, by its centre, in pixels."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Box) -> bool:
        return (
            abs(self.x - other.x) * 2 < self.width + other.width + 2 * PAD
            and abs(self.y - other.y) * 2 < self.height + other.height + 2 * PAD
        )

    def holds(self, point: XY) -> bool:
        return abs(self.x - point[0]) * 2 <= self.width + PAD and abs(self.y - point[1]) * 2 <= self.height + PAD

    def within(self, left: float, bottom: float, right: float, top: float) -> bool:
        return (
            self.x - self.width / 2 >= left
            and self.x + self.width / 2 <= right
            and self.y - self.height / 2 >= bottom
            and self.y + self.height / 2 <= top
        )


def place(
    anchors: Sequence[XY],
    sizes: Sequence[XY],
    covered: Sequence[XY],
    bounds: tuple[float, float, float, float],
    scale: float = 1.0,
) -> list[Box | None]:
    """Where each label goes, first come first served; None where there is no room.

    `anchors` and `sizes` (width, height): one a label, in pixels. `covered`: points that labels should keep off, such
    as the lines, sampled. `bounds`: left, bottom, right, top. `scale`: pixels of the picture per pixel of `RINGS`.
    """
    placed: list[Box | None] = []
    leaders: list[XY] = []
    for anchor, size in zip(anchors, sizes, strict=True):
        near = [
            p for p in covered if abs(p[0] - anchor[0]) < size[0] + 90 * scale and abs(p[1] - anchor[1]) < 130 * scale
        ]
        best, cost = None, float("inf")
        for ring in RINGS:
            if best is not None and FAR * ring >= cost:
                break
            for rank, turn in enumerate(TURNS):
                box = _box(anchor, size, ring * scale, turn)
                if not box.within(*bounds) or any(box.overlaps(other) for other in placed if other):
                    continue
                paid = FAR * ring + TURNED * rank + COVERS * sum(map(box.holds, near))
                own = leader(anchor, box)
                crossed = any(other.holds(point) for other in placed if other for point in own)
                paid += CROSSED * (crossed + any(map(box.holds, leaders)))
                if paid < cost:
                    best, cost = box, paid
        placed.append(best)
        leaders += leader(anchor, best) if best else ()
    return placed


def leader(anchor: XY, box: Box) -> list[XY]:
    """Points along the line from what is named to the nearest edge of its label."""
    x = min(max(anchor[0], box.x - box.width / 2), box.x + box.width / 2)
    y = min(max(anchor[1], box.y - box.height / 2), box.y + box.height / 2)
    return sampled([anchor, (x, y)], 6.0)


def _box(anchor: XY, size: XY, ring: float, turn: int) -> Box:
    angle = turn * pi / 8
    x, y = cos(angle), sin(angle)
    return Box(anchor[0] + x * (ring + size[0] / 2), anchor[1] + y * (ring + size[1] / 2), *size)


def sampled(line: Sequence[XY], step: float = 5.0) -> list[XY]:
    """Points along a line, about `step` pixels apart."""
    found = list(line[:1])
    for (x0, y0), (x1, y1) in pairwise(line):
        count = max(1, int(max(abs(x1 - x0), abs(y1 - y0)) / step))
        found += [(x0 + (x1 - x0) * k / count, y0 + (y1 - y0) * k / count) for k in range(1, count + 1)]
    return found
