"""Stops: the tables that come with a policy, made offline (`budgets.voting_stops` reads them).

Those of the declared prior come with the package: `python -m satisfice.experiments.stops` writes them anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..budgets.voting import HORIZON
from ..budgets.voting_stops import packed
from ..budgets.voting_tables import Grid
from ..budgets.voting_world import Kind, World

if TYPE_CHECKING:
    from ..budgets.voting_world import Floats, Whole

# Of a draw, as a share of what a right answer is worth; closer together where a draw is dear and few states go on.
LOWEST, DEAR, HIGHEST, CHEAP_STEP, DEAR_STEP = 5e-4, 0.02, 1.0, 1.35, 1.1
LEAST = 2e-4  # states that a run meets less often than this are left out


def stops_of(kinds: tuple[Kind, ...], *, horizon: int = HORIZON) -> str:
    """When to stop at each price, for votes in the world of these kinds: what `Policy.stops` holds."""
    import numpy as np

    from .kernels import met, tabulate

    grid = Grid(World(kinds))
    right, places, odds, last = flat(grid, horizon)
    prices = np.array(grid_of_prices())
    gain, draws = tabulate(right, places, odds, last, prices)
    kept = met(draws, places, odds, LEAST)
    figures = {}
    for draw in range(horizon + 1):
        start = sum(map(len, grid.right[:draw]))
        for blanks, offset in enumerate(grid.offsets[draw]):
            for state, i in grid.index[draw - blanks].items():
                at = start + offset + i
                if kept[at]:
                    figures[state, blanks] = gain[:, at].tolist(), draws[:, at].tolist()
    return packed(prices.tolist(), figures)


def grid_of_prices() -> list[float]:
    """The prices that tables are made for, rising."""
    found = [LOWEST]
    while found[-1] < HIGHEST:
        found.append(found[-1] * (CHEAP_STEP if found[-1] < DEAR else DEAR_STEP))
    return found


def flat(grid: Grid, horizon: int) -> tuple[Floats, Whole, Floats, int]:
    """All levels of a grid in one: (right, places, odds, where the last level begins)."""
    import numpy as np

    grid.grow(horizon)
    starts = np.cumsum([0, *map(len, grid.right)])
    places = np.concatenate([places + starts[n + 1] for n, (places, _) in enumerate(grid.moves[:horizon])])
    odds = np.concatenate([odds for _, odds in grid.moves[:horizon]])
    return np.concatenate(grid.right[: horizon + 1]), places, odds, int(starts[horizon])


if __name__ == "__main__":
    from importlib.resources import files
    from pathlib import Path

    from ..budgets.priors import DEFAULT_PRIORS

    Path(str(files("satisfice.budgets").joinpath("voting_declared.txt"))).write_text(
        stops_of(DEFAULT_PRIORS.kinds) + "\n"
    )
