"""Tables of stopping that come with a policy: made offline at a grid of prices, read online in O(1).

A table's gain and expected draws are those of a real way to go on, so that at a price between two grid points the
better of the neighbours' ways is taken at its worth there: gain - price * draws. They are for votes that may go on to
the tables' horizon, where neither time nor a wrong answer costs anything; and they hold the states that a run at one of
these prices can meet. What they do not hold is tabulated on demand (`voting_tables`).
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from math import inf
from typing import TypeAlias

from ..core.belief import STOP, Continuation, Terms
from ..core.errors import BadSettings
from .voting_world import State

Place: TypeAlias = tuple[State, int]  # a state and the number of blanks
FORMAT = 1
GAINS, DRAWS = 1 / 60_000, 1 / 1_500  # what one unit of the stored whole numbers is


class Stops:
    """`prices` rise. `rows`: for each place where in `gains` and `draws` its figures begin, a pair for each price."""

    __slots__ = ("draws", "gains", "prices", "rows")

    def __init__(
        self, prices: Sequence[float], rows: Mapping[Place, int], gains: array[int], draws: array[int]
    ) -> None:
        self.prices, self.rows, self.gains, self.draws = tuple(prices), rows, gains, draws

    def look_up(self, state: State, blanks: int, terms: Terms, most: float = inf) -> Continuation | None:
        """The best way on, one draw at a time, that is expected to take at most `most` draws: `STOP` where none is
        worth its price, None where these tables cannot tell."""
        price = terms.step_price + terms.wave_price
        prices = self.prices
        row = self.rows.get((state, blanks))
        if row is None or price < prices[0]:
            return None
        best, gain, draws, seen = 0.0, 0.0, 0.0, 0
        for i in range(bisect_right(prices, price) - 1, len(prices)):
            length = self.draws[row + i] * DRAWS
            if length > most:
                continue
            value = self.gains[row + i] * GAINS
            net = value - price * length
            if net > best:
                best, gain, draws = net, value, length
            seen += 1
            if seen == 2:
                break
        return Continuation(1, gain, draws * terms.cost, draws * terms.seconds) if best > 0 else STOP

    def longest(self, state: State, blanks: int, price: float) -> float:
        """Draws expected of the longer of the ways that `look_up` weighs at this price; 0 where these tables cannot
        tell."""
        row = self.rows.get((state, blanks))
        return self.draws[row + max(0, bisect_right(self.prices, price) - 1)] * DRAWS if row is not None else 0.0

    def rejected(self, state: State, blanks: int, terms: Terms, most: float = inf) -> Continuation | None:
        """The way on at the highest price at which there is one, of a place that stops; None as `look_up`."""
        row = self.rows.get((state, blanks))
        if row is None:
            return None
        for i in range(len(self.prices) - 1, -1, -1):
            length = self.draws[row + i] * DRAWS
            if self.gains[row + i] and length <= most:
                return Continuation(1, self.gains[row + i] * GAINS, length * terms.cost, length * terms.seconds)
        return STOP


def packed(prices: Sequence[float], figures: Mapping[Place, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Text that `read` reads. `figures`: for each place the gains and the expected draws, one for each price."""
    gains, draws = array("H"), array("H")
    places = bytearray()
    for (state, blanks), (gained, drawn) in figures.items():
        places += bytes((*state, blanks))
        gains.extend(round(x / GAINS) for x in gained)
        draws.extend(round(x / DRAWS) for x in drawn)
    head = struct.pack("<BII", FORMAT, len(prices), len(figures)) + struct.pack(f"<{len(prices)}d", *prices)
    width = len(prices)
    columns = [_by_column(values, width) for values in (gains, draws)]
    return base64.b64encode(zlib.compress(head + bytes(places) + b"".join(columns), 9)).decode("ascii")


def _by_column(values: array[int], width: int) -> bytes:
    """High bytes, then low bytes, price by price: like beside like is what compresses."""
    raw = array("H", (values[i] for j in range(width) for i in range(j, len(values), width)))
    data = raw.tobytes() if struct.pack("=H", 1) == b"\1\0" else _swapped(raw).tobytes()
    return data[1::2] + data[::2]


def _swapped(values: array[int]) -> array[int]:
    values = array("H", values)
    values.byteswap()
    return values


@lru_cache(maxsize=16)
def read(text: str) -> Stops:
    """Raises `BadSettings` for what `packed` did not write."""
    try:
        data = zlib.decompress(base64.b64decode(text, validate=True))
        kind, width, count = struct.unpack_from("<BII", data)
        at = struct.calcsize("<BII")
        prices = struct.unpack_from(f"<{width}d", data, at)
        at += 8 * width
        if kind != FORMAT or not width or len(data) != at + 6 * count + 4 * width * count:
            raise ValueError("its parts do not fit")
        if list(prices) != sorted(set(prices)) or prices[0] <= 0:
            raise ValueError("prices must rise")
    except (ValueError, binascii.Error, zlib.error, struct.error) as error:
        raise BadSettings(f"stops: not the tables of a policy: {error}") from error
    found = struct.iter_unpack("6B", data[at : at + 6 * count])
    rows = {((a, b, c, d, once), blanks): i * width for i, (a, b, c, d, once, blanks) in enumerate(found)}
    at += 6 * count
    size = width * count
    gains, draws = (_by_row(data[start : start + 2 * size], width, count) for start in (at, at + 2 * size))
    return Stops(prices, rows, gains, draws)


def _by_row(data: bytes, width: int, count: int) -> array[int]:
    """What `_by_column` packed."""
    size = width * count
    little = struct.pack("=H", 1) == b"\1\0"
    mixed = bytearray(2 * size)
    for j in range(width):
        mixed[2 * j + little :: 2 * width] = data[j * count : (j + 1) * count]
        mixed[2 * j + (not little) :: 2 * width] = data[size + j * count : size + (j + 1) * count]
    return array("H", bytes(mixed))


@lru_cache(maxsize=1)
def declared() -> str:
    """The tables of the declared prior, that come with the package (`experiments.stops` makes them)."""
    return files(__package__ or "").joinpath("voting_declared.txt").read_text(encoding="ascii").strip()
