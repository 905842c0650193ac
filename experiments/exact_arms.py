"""How often several arms' draws pass an exact check on the same questions: one joint distribution, fitted.

Two kinds of it. *Recorded*: each recorded question is a class of its own (a mixture over what was seen, as in Laird
1978, its atoms smoothed by each arm's Beta); it has room for questions that one arm always solves and another never.
*Latent*: a question's difficulty and an arm's own part of it are normal, in logits (Rasch 1960; Lord 1980). The first
is taken unless the second predicts questions clearly better that neither was fitted on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from ..budgets.successes import CLASSES, OWN, Successes, normal, of_betas, of_logits
from ..core.errors import CallerError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .bank import Bank

    Floats: TypeAlias = NDArray[np.float64]

FEWEST = 20  # questions
MOST = 64  # classes of the recorded kind
STRENGTH = 2.0  # of the Beta of an arm that was tried once per question: how far tries agree cannot be told
PARTS, ERRORS = 5, 2.0  # held out in turn; standard errors that the latent kind must be better by
EM = 200
PLACES, TINY = 400, 1e-6  # numbers of draws that are scored
Counts = Mapping[str, tuple[int, int]]  # arm -> (passed, draws)


@dataclass(frozen=True, slots=True)
class Tried:
    """One question: how many draws of each arm passed, of how many. `part`: questions that belong together (a fold, a
    passage) have the same."""

    counts: Counts
    part: int = 0


def tried(bank: Bank, arms: Mapping[str, tuple[str, str]]) -> list[Tried]:
    """A bank's questions as counts: `arms` is (model, arm) by key, as from `experiments.allocating.arms_of`. Right
    draws must be those that an exact check passes."""
    rows = []
    for name, question in bank.questions.items():
        found = {}
        for key, (model, arm) in arms.items():
            draws = bank.draws.get((name, model, arm), ())
            if draws:
                found[key] = sum(draw.correct for draw in draws), len(draws)
        rows.append(Tried(found, question.fold))
    return rows


def fit_successes(rows: Sequence[Tried], arms: Sequence[str] | None = None) -> Successes | None:
    """The joint distribution of `arms` (all that were tried); None where fewer than 20 questions were. Raises
    `CallerError` where counts make no sense."""
    names = tuple(arms) if arms is not None else tuple(dict.fromkeys(name for row in rows for name in row.counts))
    for row in rows:
        for name, (passed, draws) in row.counts.items():
            if not 0 <= passed <= draws:
                raise CallerError(f"{name}: {passed} of {draws} draws cannot have passed")
    rows = [row for row in rows if any(row.counts.get(name, (0, 0))[1] for name in names)]
    if len(rows) < FEWEST or not names:
        return None
    return replace((latent if smooth(rows, names) else recorded)(rows, names), questions=len(rows))


def smooth(rows: Sequence[Tried], names: tuple[str, ...]) -> bool:
    """Whether the latent kind predicts held-out questions clearly better: whether n draws of one arm, m of another, ...
    all fail, for what was drawn and for 1, 2, 4, ... of it. That is what courses are chosen by; the likelihood of whole
    counts is decided by how well it knows a theta that no course depends on."""
    import numpy as np

    parts = sorted({row.part for row in rows})
    less: list[Any] = []
    for k in range(min(PARTS, len(parts))):
        ours = set(parts[k::PARTS])
        inside, outside = [r for r in rows if r.part in ours], [r for r in rows if r.part not in ours]
        if not outside:
            return False
        less.extend(surprise(recorded(outside, names), inside) - surprise(latent(outside, names), inside))
    return bool(np.mean(less) > ERRORS * np.std(less) / len(less) ** 0.5)


def surprise(world: Successes, rows: Sequence[Tried]) -> Floats:
    """Log loss of each question: of whether all of so many draws of each arm fail; the mean over some numbers of
    draws, each arm's powers of two. Draws of one question count in every order."""
    import numpy as np
    from scipy.special import xlogy

    most = [max(row.counts.get(name, (0, 0))[1] for row in rows) for name in world.arms]
    grids = [[0, *(2**k for k in range(12) if 2**k < n), *([n] if n else [])] for n in most]
    places = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, len(most))
    if len(places) > PLACES:
        places = places[np.random.default_rng(0).choice(len(places), PLACES, replace=False)]
    lost, known = np.ones((len(rows), len(places))), np.ones((len(rows), len(places)), dtype=bool)
    chance = np.tile(np.asarray(world.weights)[:, None], (1, len(places)))
    for a, name in enumerate(world.arms):
        chance *= world.missed(a, most[a])[:, places[:, a]]
        for q, row in enumerate(rows):
            passed, draws = row.counts.get(name, (0, 0))
            lost[q] *= _survival(passed, draws, most[a])[places[:, a]]
            known[q] &= places[:, a] <= draws
    p = np.clip(chance.sum(axis=0), TINY, 1 - TINY)
    scores = -xlogy(lost, p) - xlogy(1 - lost, 1 - p)
    found: Floats = np.where(known, scores, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return found


def _survival(passed: int, draws: int, most: int) -> Floats:
    """P(n of the recorded draws all fail), n = 0 ... most; 0 beyond what was recorded."""
    import numpy as np

    steps = np.arange(most)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(steps < draws, (draws - passed - steps) / np.maximum(draws - steps, 1), 0.0)
    found: Floats = np.concatenate([[1.0], np.cumprod(np.clip(each, 0.0, 1.0))])
    return found


def _by_class(world: Successes, rows: Sequence[Tried]) -> Floats:
    """Log-likelihood (questions, classes)."""
    import numpy as np
    from scipy.special import logsumexp, xlog1py, xlogy

    found = np.zeros((len(rows), len(world.weights)))
    for name, rates in zip(world.arms, world.rates, strict=True):
        counts = np.asarray([row.counts.get(name, (0, 0)) for row in rows], dtype=float)
        pairs, which = np.unique(counts, axis=0, return_inverse=True)
        wins, lost = pairs[:, :1], pairs[:, 1:] - pairs[:, :1]
        for k, own in enumerate(rates):
            theta, weight = np.asarray(own).T
            each = logsumexp(xlogy(wins, theta) + xlog1py(lost, -theta), axis=1, b=weight)
            found[:, k] += each[which.ravel()]
    return found


# -- each recorded question a class ------------------------------------------------------------------------------------


def recorded(rows: Sequence[Tried], names: tuple[str, ...]) -> Successes:
    """Up to 64 of the questions as classes, each arm's theta there its Beta after what that question showed; weights by
    EM where there are more questions than classes."""
    import numpy as np

    priors = [_prior([row.counts.get(name, (0, 0)) for row in rows]) for name in names]
    chosen = rows if len(rows) <= MOST else _spread(rows)
    betas = tuple(
        tuple(
            (float(f"{a + wins:.6g}"), float(f"{b + draws - wins:.6g}"))
            for wins, draws in (row.counts.get(name, (0, 0)) for row in chosen)
        )
        for name, (a, b) in zip(names, priors, strict=True)
    )
    world = of_betas(names, (1 / len(chosen),) * len(chosen), betas)
    if len(chosen) == len(rows):
        return world
    logs, weights = _by_class(world, rows), np.asarray(world.weights)
    logs -= logs.max(axis=1, keepdims=True)
    for _ in range(EM):
        mass = np.exp(logs) * weights
        weights = (mass / mass.sum(axis=1, keepdims=True)).mean(axis=0)
    return replace(world, weights=tuple(map(float, weights)))


def _prior(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Beta(a, b) of an arm."""
    from .fitting import beta_binomial

    table = Counter((passed, draws) for passed, draws in counts if draws)
    if any(draws > 1 for _, draws in table):
        return beta_binomial(table)
    mean = (1 + sum(k * often for (k, _), often in table.items())) / (2 + table.total())
    return mean * STRENGTH, (1 - mean) * STRENGTH


def _spread(rows: Sequence[Tried]) -> list[Tried]:
    """As many as there may be classes, evenly over how easy they were."""
    ranked = sorted(rows, key=lambda row: sum((k + 0.5) / (n + 1) for k, n in row.counts.values()))
    return [ranked[i * len(ranked) // MOST] for i in range(MOST)]


# -- a latent difficulty -----------------------------------------------------------------------------------------------


def latent(rows: Sequence[Tried], names: tuple[str, ...]) -> Successes:
    """Marginal maximum likelihood (Bock & Aitkin 1981) of mean, loading and own part of each arm, lightly drawn toward
    mean 0, loading 1 and own part 1 (own parts of arms tried once per question cannot be told)."""
    import numpy as np
    from scipy.optimize import minimize

    counts = np.asarray([[row.counts.get(name, (0, 0)) for name in names] for row in rows], dtype=float)
    wins, lost, arm = counts[:, :, 0], counts[:, :, 1] - counts[:, :, 0], len(names)
    kinds = [np.unique(np.stack([wins[:, a], lost[:, a]]), axis=1, return_inverse=True) for a in range(arm)]
    (z, zw), (u, uw) = normal(CLASSES), normal(OWN)

    def loss(x: Any) -> tuple[float, Floats]:
        mean, load, own = x[:arm], x[arm : 2 * arm], np.exp(x[2 * arm :])
        each, slopes = np.zeros((len(rows), len(z))), []
        for a, (pairs, which) in enumerate(kinds):
            logit = mean[a] + load[a] * z[:, None] + own[a] * u
            good, bad = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
            logs = pairs[0][:, None, None] * good + pairs[1][:, None, None] * bad + np.log(uw)
            top = np.logaddexp.reduce(logs, axis=2)
            by = np.exp(logs - top[:, :, None]) * (
                pairs[0][:, None, None] - pairs.sum(axis=0)[:, None, None] * np.exp(good)
            )
            slopes.append((by.sum(axis=2), by @ u * own[a]))  # by the logit, and by the log of the own part
            each += top[which.ravel()]
        total = each + np.log(zw)
        likely = np.logaddexp.reduce(total, axis=1)
        share = np.exp(total - likely[:, None])
        grad = np.zeros(3 * arm)
        for a, ((pairs, which), (by, by_own)) in enumerate(zip(kinds, slopes, strict=True)):
            often = np.zeros((pairs.shape[1], len(z)))
            np.add.at(often, which.ravel(), share)
            grad[[a, arm + a, 2 * arm + a]] = (often * by).sum(), (often * by * z).sum(), (often * by_own).sum()
        drawn = (mean**2).sum() / 200 + ((load - 1) ** 2).sum() / 8 + (x[2 * arm :] ** 2).sum() / 2
        toward = np.concatenate([mean / 100, (load - 1) / 4, x[2 * arm :]])
        return float(drawn - likely.sum()), toward - grad

    rate = (wins.sum(axis=0) + 0.5) / (counts[:, :, 1].sum(axis=0) + 1)
    start = np.concatenate([np.log(rate / (1 - rate)) * 1.5, np.ones(arm), np.full(arm, 0.2)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    means, loads, owns = found[:arm], found[arm : 2 * arm], np.exp(found[2 * arm :])
    sign = 1.0 if loads.sum() >= 0 else -1.0
    rounded = [tuple(round(float(v), 6) for v in part) for part in (means, loads * sign, owns)]
    return of_logits(names, rounded[0], rounded[1], rounded[2])
