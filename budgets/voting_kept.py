"""Tables of votes that were made on demand: those asked for last are kept, up to so many bytes."""

from __future__ import annotations

from collections import OrderedDict
from math import floor, log10
from threading import Lock
from typing import TypeAlias

from .voting_tables import Grid, Table
from .voting_world import World

BYTES, GRIDS = 64 << 20, 4  # of all tables kept; worlds whose states are kept (15 MB each, up to 40 draws)
FREE = 1e-12  # no price is below, but for nothing
COARSE = ((10, 1), (20, 2), (50, 5))  # two digits of a price, and how far apart prices are from there on

Key: TypeAlias = tuple[World, float, float, float, int, int]

_tables: OrderedDict[Key, Table] = OrderedDict()
_grids: OrderedDict[World, Grid] = OrderedDict()
_lock = Lock()


def tables_of(world: World, step: float, wave: float, wrong: float, horizon: int, widest: int) -> tuple[Table, ...]:
    """The tables of the prices on either side of this one. Each holds ways on that are real, so that the better of
    them at the price at hand is a lower bound of the best, and falls as the price rises."""
    scale = step if step > FREE else wave
    ratio = float(f"{wave / step:.1e}") if step > FREE else 0.0
    found = []
    for price in near(scale):
        at = (price, float(f"{price * ratio:.3e}")) if step > FREE else (0.0, price)
        found.append(_table((world, *at, wrong, horizon, widest)))
    return tuple(found)


def near(price: float) -> tuple[float, ...]:
    """The one or two prices nearest to this one that tables are made for: prices drift with every call's length,
    tables should not."""
    if not price > FREE:
        return (0.0,)
    power = floor(log10(price)) - 1
    digits = price / 10.0**power
    start, apart = max((row for row in COARSE if row[0] <= digits + 1e-9), default=COARSE[0])
    low = start + floor((digits - start) / apart + 1e-7) * apart
    exact = abs(digits - low) < 1e-6 * low
    return tuple(float(f"{n}e{power}") for n in ((low,) if exact else (low, low + apart)))


def _table(key: Key) -> Table:
    with _lock:
        found = _tables.get(key)
        if found is None:
            world, step, wave, wrong, horizon, widest = key
            found = _tables[key] = Table(_grid(world), step, wave, wrong, horizon, widest)
            held = sum(table.nbytes for table in _tables.values())
            while held > BYTES and len(_tables) > 1:
                held -= _tables.popitem(last=False)[1].nbytes
        _tables.move_to_end(key)
        return found


def _grid(world: World) -> Grid:
    """What the tables of a world share; tables of worlds that are not kept go with them."""
    found = _grids.get(world)
    if found is None:
        while len(_grids) >= GRIDS:
            old, _ = _grids.popitem(last=False)
            for key in [key for key in _tables if key[0] is old]:
                del _tables[key]
        found = _grids[world] = Grid(world)
    _grids.move_to_end(world)
    return found
