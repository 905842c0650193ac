"""The priors that hold before any bank was seen."""

from __future__ import annotations

from ..core.belief import Priors

THETAS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
DECOYS = (0.1, 0.3, 0.6, 0.9)  # the systematic mistake's share of all that is not right


def voting_grid() -> tuple[tuple[float, float], ...]:
    """The kinds of question of the voting model: (theta, phi) pairs."""
    return tuple((theta, round((1 - theta) * share, 6)) for theta in THETAS for share in DECOYS)


def _declared() -> tuple[tuple[float, float, float], ...]:
    grid = voting_grid()
    return tuple((theta, phi, 1 / len(grid)) for theta, phi in grid)


DEFAULT_PRIORS = Priors(voting=_declared())
