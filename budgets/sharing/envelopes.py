"""Value curves of requests, their concave envelopes, and the price at which a shared budget is used up.

What a request is expected to gain from money is a curve that starts at nothing. It need not be concave: one more vote
often gains nothing where two do. Its concave envelope is what a shared budget sees of it, as mixing two ways of going
on reaches every point between them; the first slope is the index of the best course (value per dollar). The fractional
relaxation (Dantzig 1957; here a Lagrangian bound, Geoffrion 1974) buys the steepest pieces of all envelopes until the
money ends. Its value bounds from above what any allocation can expect under the same predictions, and the slope of the
piece that the money ends in is the price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, isfinite

from ...core.belief import Continuation, Terms
from ...core.errors import CallerError

# Powers of two of a step's price at which a curve is looked at. Tables that come with a policy reach down to 2**-11.
GRID = (*range(3, -11, -1), -13)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Concave: (dollars, value gained) points from (0, 0) on, both rising, at falling slopes. `base`: the value that is
    there already. `whole` is False where going on is worth it at any price (a committed number of draws)."""

    points: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    base: float = 0.0
    whole: bool = True

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]], base: float = 0.0) -> Envelope:
        """The upper concave envelope of (dollars, gain) points and of (0, 0). Points that gain nothing are left out.
        Raises `CallerError` for what is negative or no number."""
        given = [(float(cost), float(gain)) for cost, gain in points]
        if any(not isfinite(x) or x < 0 for point in given for x in point):
            raise CallerError("a value curve has finite dollars and gains, none below 0")
        best: dict[float, float] = {}
        for cost, gain in given:
            best[cost] = max(gain, best.get(cost, 0.0))
        hull: list[tuple[float, float]] = [(0.0, best.pop(0.0, 0.0))]
        for cost, gain in sorted(best.items()):
            if gain <= hull[-1][1]:
                continue
            while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], (cost, gain)):
                hull.pop()
            hull.append((cost, gain))
        return cls(tuple(hull), base)

    @property
    def index(self) -> float:
        """Value per dollar of the best way to begin; 0 where nothing is to be gained."""
        if not self.whole:
            return inf
        return _slope(self.points[0], self.points[1]) if len(self.points) > 1 else 0.0

    def at(self, price: float) -> tuple[float, float]:
        """(dollars, gain) of the point with the highest net at this price, the cheapest of equals."""
        return max(self.points, key=lambda point: (point[1] - price * point[0], -point[0]))

    def pieces(self) -> list[tuple[float, float]]:
        """(slope, dollars) of each piece, the steepest first."""
        return [(_slope(a, b), b[0] - a[0]) for a, b in pairwise(self.points)]


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])


def predicted(course: Callable[[float], Continuation], terms: Terms, base: float = 0.0) -> Envelope:
    """The envelope of what going on is expected to bring: `course(price)` is the best way on at a price, `terms` are
    those of the cheapest step, `base` the value that is there already. It is looked at on a grid of prices in powers of
    two of a step's price, the same for requests of whatever cost, because beliefs keep tables by that."""
    spent = terms.cost + terms.seconds * terms.per_second
    if spent <= 0:
        return Envelope(base=base)
    found = []
    for power in GRID:
        price = 2.0**power / spent
        way, at = course(price), replace(terms, price=price)
        if way.size and way.gain == inf:
            return Envelope(((0.0, 0.0),), base, whole=False)
        if way.size and way.net(at) > 0:
            found.append((way.cost + way.seconds * terms.per_second, way.gain))
    return replace(Envelope.of(found), base=base)


def scaled(envelope: Envelope, weight: float) -> Envelope:
    """The same with every value `weight` times as high."""
    points = tuple((cost, weight * gain) for cost, gain in envelope.points)
    return Envelope(points, weight * envelope.base, envelope.whole)


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The fractional relaxation: the `price` (value per dollar; 0 where there is money for everything), the `value`
    that no allocation can be expected to pass, and the dollars that it takes."""

    price: float
    value: float
    usd: float


def relaxed(envelopes: Sequence[Envelope], usd: float) -> Relaxed:
    """Buys the steepest pieces until `usd` dollars are gone, the last one in part."""
    value, left, price = sum(e.base + e.points[0][1] for e in envelopes), usd, 0.0
    for slope, cost in sorted((piece for e in envelopes for piece in e.pieces()), reverse=True):
        if left <= 0:
            price = slope
            break
        part = min(cost, left)
        value, left = value + slope * part, left - part
        if part < cost:
            price = slope
            break
    return Relaxed(price, value, usd - max(0.0, left))
