"""The likelihood of many arms' draws under one latent difficulty, and its penalised maximum.

Marginal maximum likelihood (Bock & Aitkin 1981): difficulty is integrated over by quadrature, an arm's own chance on a
question analytically (a beta-binomial given the difficulty). All is drawn toward what is declared, so that thirty
questions do not overfit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..budgets.allocation_policy import DECLARED
from ..budgets.portfolio_world import nodes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

SPREAD = (2.0, 0.4, 0.7)  # standard deviations of an arm's bias, loading and log of strength around the mean of all
STEPS, ROUNDS = 200, 4  # of the optimiser; of it and the weights in turn
NORMAL = 10.0  # questions' worth of the normal distribution in that of ease


class Counted(Protocol):
    """Draws of each kind, (questions, arms) (`experiments.allocating.Records`)."""

    @property
    def right(self) -> Floats: ...

    @property
    def wrong(self) -> Floats: ...


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """(arms,) each; `gain`: what is left of what features tell; `weights` (nodes,): how often questions are how easy;
    `loss`: nats per question."""

    bias: Floats
    loading: Floats
    own: Floats
    gain: float
    weights: Floats
    loss: float

    def mu(self, told: Floats) -> Floats:
        """(questions, arms, nodes): P(right) given the difficulty. `told`: see `likeliest`."""
        import numpy as np

        z, _ = nodes()
        moved = self.gain * (told if told.ndim == 2 else self.loading[None, :] * told[:, None])
        logit = self.bias[None, :, None] + self.loading[None, :, None] * z + moved[:, :, None]
        found: Floats = 1.0 / (1.0 + np.exp(-logit))
        return found

    def losses(self, records: Counted, told: Floats) -> Floats:
        """(questions,): log loss of whether draws that hold an answer are right, by what is believed before anything is
        bought; summed over arms, each of which counts once."""
        import numpy as np

        chance = np.clip(self.mu(told) @ self.weights, 1e-6, 1 - 1e-6)
        drawn = np.maximum(records.right + records.wrong, 1.0)
        each = records.right / drawn * np.log(chance) + records.wrong / drawn * np.log(1 - chance)
        found: Floats = -each.sum(axis=1)
        return found


def likeliest(records: Counted, told: Floats | None = None) -> Fit:
    """The penalised maximum of the marginal likelihood. `told`: what features say, from other questions than itself:
    (questions,), by how many standard deviations a question is easier, for all arms; or (questions, arms), by how many
    logits each arm's chance is above its mean."""
    import numpy as np
    from scipy.optimize import minimize

    z, normal = nodes()
    n, a = records.right.shape
    several = (records.right + records.wrong).max(axis=0) > 1
    base = np.log(DECLARED.own)
    known = told if told is not None else np.zeros(n)
    apart = known.ndim == 2

    def loss(x: Floats, logw: Floats) -> tuple[float, Floats]:
        bias, loading, own = x[:a], x[a : 2 * a], x[2 * a : 3 * a]
        s0, o0, b0, gain = x[3 * a :]
        mu = Fit(bias, loading, own, gain, normal, 0.0).mu(known)
        logs, by_mu, by_own = _beta(records.right, records.wrong, mu, np.exp(own)[None, :, None], several)
        total = logs.sum(axis=1) + logw
        top = np.logaddexp.reduce(total, axis=1)
        share = np.exp(total - top[:, None])[:, None, :]
        slope = by_mu * mu * (1.0 - mu) * share
        off = (bias - b0) / SPREAD[0], (loading - s0) / SPREAD[1], (own - o0) / SPREAD[2]
        value = -top.sum() + 0.5 * sum((o**2).sum() for o in off)
        value += 0.5 * (((s0 - DECLARED.loading) / 0.5) ** 2 + (o0 - base) ** 2 + (b0 / 3.0) ** 2 + (gain - 1.0) ** 2)
        moved = slope.sum(axis=2)  # by the logit of each question and arm
        by_loading = (slope * z).sum(axis=(0, 2)) + (0.0 if apart else gain * (known @ moved))
        by_gain = (moved * known).sum() if apart else (moved @ loading) @ known
        grad = np.concatenate(
            [
                off[0] / SPREAD[0] - slope.sum(axis=(0, 2)),
                off[1] / SPREAD[1] - by_loading,
                off[2] / SPREAD[2] - (by_own * share).sum(axis=(0, 2)) * np.exp(own),
                [
                    (s0 - DECLARED.loading) / 0.25 - off[1].sum() / SPREAD[1],
                    (o0 - base) - off[2].sum() / SPREAD[2],
                    b0 / 9.0 - off[0].sum() / SPREAD[0],
                    (gain - 1.0) - by_gain,
                ],
            ]
        )
        return float(value), grad

    means = [DECLARED.loading, base, 0.0, 1.0]
    x, weights = np.concatenate([np.zeros(a), np.full(a, DECLARED.loading), np.full(a, base), means]), normal
    options, best = {"maxiter": STEPS, "ftol": 1e-7}, None
    for _ in range(ROUNDS):
        best = minimize(loss, x, args=(np.log(weights),), jac=True, method="L-BFGS-B", options=options)
        x = best.x
        fit = Fit(x[:a], x[a : 2 * a], np.exp(x[2 * a : 3 * a]), float(x[-1]), weights, float(best.fun) / n)
        weights = (_shares(records, fit, known).sum(axis=0) + NORMAL * normal) / (n + NORMAL)
    return replace(fit, weights=weights, loading=np.maximum(fit.loading, 0.0))  # difficulty makes nothing easier


def _shares(records: Counted, fit: Fit, told: Floats) -> Floats:
    """(questions, nodes): the posterior of each question's ease beside what features tell of it."""
    import numpy as np

    several = (records.right + records.wrong).max(axis=0) > 1
    logs, _, _ = _beta(records.right, records.wrong, fit.mu(told), fit.own[None, :, None], several)
    total = logs.sum(axis=1) + np.log(fit.weights)
    found: Floats = np.exp(total - np.logaddexp.reduce(total, axis=1)[:, None])
    return found


def difficulties(records: Counted, fit: Fit) -> Floats:
    """(questions,): the posterior mean of each question's ease, in standard deviations."""
    import numpy as np

    z, _ = nodes()
    found: Floats = _shares(records, fit, np.zeros(len(records.right))) @ z
    return found


def _beta(right: Floats, wrong: Floats, mu: Floats, own: Floats, several: Floats) -> tuple[Floats, Floats, Floats]:
    """Log-likelihood (questions, arms, nodes) of the draws given mu, and its slopes by mu and by the strength."""
    import numpy as np
    from scipy.special import digamma, gammaln

    r, w = right[:, :, None], wrong[:, :, None]
    mu = np.clip(mu, 1e-9, 1 - 1e-9)
    logs = r * np.log(mu) + w * np.log(1 - mu)
    by_mu, by_own = r / mu - w / (1 - mu), np.zeros_like(mu)
    if several.any():
        m, k, r, w = mu[:, several], own[:, several], r[:, several], w[:, several]
        p, q = k * m, k * (1 - m)
        n = r + w
        logs[:, several] = gammaln(p + r) - gammaln(p) + gammaln(q + w) - gammaln(q) + gammaln(k) - gammaln(k + n)
        dp, dq = digamma(p + r) - digamma(p), digamma(q + w) - digamma(q)
        by_mu[:, several] = k * (dp - dq)
        by_own[:, several] = m * dp + (1 - m) * dq + digamma(k) - digamma(k + n)
    return logs, by_mu, by_own
