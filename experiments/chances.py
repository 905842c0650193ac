"""How often draws pass an exact check: a mixture over theta, where one Beta cannot tell the hopeless from the hard.

Weights are the maximum-likelihood mixing distribution on a fixed grid (EM; Laird 1978), which has a place for theta =
0: requests that no number of draws will answer. The mixture stands in for Beta(a, b) only where it predicts questions
that it was not fitted on better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

Counts = Counter[tuple[int, int]]  # (passed, draws) -> how many questions
PLACES = 41  # of the grid between the ends, evenly spaced in log odds
LEAST, MOST = 1e-4, 0.99
ROUNDS, ENOUGH, SMOOTHING = (
    3000,
    1e-9,
    2.0,
)  # of EM; log-likelihood per question; questions' worth of the Beta's weights
HOPELESS = 0.05  # share of those that stands at theta = 0
FEWEST, KEPT = 30, 1e-5  # questions with two draws or more; weights below it are none
GAIN, ERRORS = 0.002, 2.0  # nats per question, and standard errors, that the mixture must predict better by


def fit_chances(by_fold: Mapping[int, Counts]) -> tuple[tuple[float, float], ...]:
    """(theta, weight) rows that stand in for the Beta of `by_fold`'s counts; () where the Beta does as well on
    questions that were not fitted on, or fewer than 30 questions have two draws or more."""
    total = sum(by_fold.values(), Counter())
    if len(by_fold) < 2 or sum(often for (_, trials), often in total.items() if trials > 1) < FEWEST:
        return ()
    gains = [_gains(counts, total - counts) for counts in by_fold.values() if total - counts]
    n, first, second = (sum(column) for column in zip(*gains, strict=True))
    mean = first / n
    error = (max(0.0, second / n - mean**2) / n) ** 0.5
    return mixture(total) if mean > max(GAIN, ERRORS * error) else ()


def mixture(counts: Counts) -> tuple[tuple[float, float], ...]:
    """(theta, weight) rows by EM, theta = 0 among them, lightly drawn toward the weights that the fitted Beta gives."""
    import numpy as np

    from .fitting import beta_binomial

    grid, (wins, trials, often) = _grid(), _columns(counts)
    likelihood, start = np.exp(_logs(grid, wins, trials)), _start(grid, beta_binomial(counts))
    weights, before = start, -np.inf
    for _ in range(ROUNDS):
        each = likelihood @ weights
        weights = weights * (likelihood.T @ (often / each)) + SMOOTHING * start
        weights /= weights.sum()
        now = float(often @ np.log(each)) / often.sum()
        if np.isfinite(before) and now - before < ENOUGH:
            break
        before = now
    weights = np.where(weights < KEPT, 0.0, weights)
    weights /= weights.sum()
    return tuple((float(theta), float(weight)) for theta, weight in zip(grid, weights, strict=True) if weight)


def _gains(held: Counts, others: Counts) -> tuple[float, float, float]:
    """(questions, sum, sum of squares) of the log-likelihood of held-out questions: the mixture's less the Beta's."""
    import numpy as np

    from .fitting import beta_binomial

    wins, trials, often = _columns(held)
    theta, weight = np.asarray(mixture(others), dtype=float).T
    mixed = np.logaddexp.reduce(_logs(theta, wins, trials) + np.log(weight), axis=1)
    a, b = beta_binomial(others)
    beta = _rising(a, wins) + _rising(b, trials - wins) - _rising(a + b, trials) + _ways(wins, trials)
    gain = mixed - beta
    return float(often.sum()), float(often @ gain), float(often @ gain**2)


def _grid() -> Floats:
    import numpy as np

    logit = np.linspace(np.log(LEAST / (1 - LEAST)), np.log(MOST / (1 - MOST)), PLACES)
    return np.concatenate([[0.0], 1 / (1 + np.exp(-logit))])


def _start(grid: Floats, beta: tuple[float, float]) -> Floats:
    """Weights on the grid: a little at theta = 0, the rest as Beta(a, b) has it."""
    import numpy as np
    from scipy.special import betainc

    logit = np.log(grid[1:] / (1 - grid[1:]))
    edges = 1 / (1 + np.exp(-(logit[:-1] + logit[1:]) / 2))
    shares = np.diff(np.concatenate([[0.0], betainc(*beta, edges), [1.0]]))
    return np.concatenate([[HOPELESS], (1 - HOPELESS) * shares])


def _columns(counts: Counts) -> tuple[Floats, Floats, Floats]:
    import numpy as np

    wins, trials = np.asarray(list(counts), dtype=float).T
    return wins, trials, np.asarray(list(counts.values()), dtype=float)


def _logs(theta: Floats, wins: Floats, trials: Floats) -> Floats:
    """Log-likelihood (counts x kinds)."""
    from scipy.special import xlog1py, xlogy

    lost = trials - wins
    found: Floats = xlogy(wins[:, None], theta[None, :]) + xlog1py(lost[:, None], -theta[None, :])
    return found + _ways(wins, trials)[:, None]


def _ways(wins: Floats, trials: Floats) -> Floats:
    from scipy.special import gammaln

    found: Floats = gammaln(trials + 1) - gammaln(wins + 1) - gammaln(trials - wins + 1)
    return found


def _rising(x: float, steps: Floats) -> Floats:
    from scipy.special import gammaln

    found: Floats = gammaln(x + steps) - gammaln(x)
    return found
