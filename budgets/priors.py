"""The priors that hold before any bank was seen."""

from __future__ import annotations

from ..core.belief import Priors

THETAS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
DECOYS = (0.1, 0.3, 0.6, 0.9)  # the systematic mistake's share of all that is not right
OTHERS = (0, 2)  # how many more wrong answers there are: no end to them (open answers), or two (a choice of four)
# The chance that a draw holds no answer, and on which share of questions it is that high.
BLANKS = ((0.01, 0.7), (0.06, 0.2), (0.25, 0.07), (0.7, 0.03))


def voting_grid() -> tuple[tuple[float, float], ...]:
    """(theta, phi) of each kind of question of the voting model."""
    return tuple((theta, round((1 - theta) * share, 6)) for theta in THETAS for share in DECOYS)


def kinds_of(voting: tuple[tuple[float, float, float], ...]) -> tuple[tuple[float, float, int, float, float], ...]:
    """(theta, phi, others, blank, weight) rows with these (theta, phi, weight), where nothing is known of the rest:
    open answers as likely as a choice of four, and blanks as `BLANKS` says."""
    return tuple(
        (theta, phi, others, blank, weight * share / len(OTHERS))
        for theta, phi, weight in voting
        for others in OTHERS
        for blank, share in BLANKS
    )


def _declared() -> tuple[tuple[float, float, float], ...]:
    grid = voting_grid()
    return tuple((theta, phi, 1 / len(grid)) for theta, phi in grid)


DEFAULT_PRIORS = Priors(voting=_declared(), kinds=kinds_of(_declared()))
