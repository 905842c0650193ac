"""What a bank teaches of many arms on the same questions: how good each is, how alike their mistakes are.

Marginal maximum likelihood (Bock & Aitkin 1981): difficulty is integrated over by quadrature, an arm's own chance on a
question analytically (a beta-binomial given the difficulty). All is penalised toward what is declared, so that thirty
questions do not overfit; what features tell of a question comes from `budgets.predictor`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log, log10
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from ..budgets.allocation_policy import DECLARED, AllocationPolicy, ArmPolicy, EasePolicy
from ..budgets.features import features
from ..budgets.portfolio_world import RANGE, nodes
from .bank import Bank
from .cascading import main_arms
from .easing import ease_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

FEWEST = 30  # questions that two arms have in common
SHARE = 0.9  # of its model's questions that an arm must have: others were chosen by what came before
SPREAD = (2.0, 0.4, 0.7)  # standard deviations of an arm's bias, loading and log of strength around the mean of all
URN_SPREAD = (1.0, 0.3, 0.3, 1.0)  # of the logs of kappa, of its and the weight's slopes, of `again`
SOME = 400  # questions that the urn is fitted on
STEPS, ROUNDS = 200, 4  # of the optimiser; of it and the weights in turn
NORMAL = 10.0  # questions' worth of the normal distribution in that of ease


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """A bank as arrays: `right`, `wrong`, `blank` (questions, arms): draws of each kind; `votes`: of each question
    its wrong answers as (arm, answer); `choices` (questions,); `costs` (arms,) mean dollars (0: not known); `seen` and
    `topics`: features of each question, and what it is about."""

    keys: tuple[str, ...]
    questions: tuple[str, ...]
    right: Floats
    wrong: Floats
    blank: Floats
    votes: tuple[tuple[tuple[int, str], ...], ...]
    choices: tuple[int, ...]
    costs: tuple[float, ...]
    seen: tuple[tuple[float, ...], ...] = ()
    topics: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()

    @classmethod
    def of(cls, bank: Bank, arms: Mapping[str, tuple[str, str]]) -> Records:
        import numpy as np

        keys, shape = tuple(arms), (len(bank.questions), len(arms))
        right, wrong, blank = (np.zeros(shape) for _ in range(3))
        votes: list[tuple[tuple[int, str], ...]] = []
        paid: list[list[int]] = [[] for _ in keys]
        for i, question in enumerate(bank.questions):
            said: list[tuple[int, str]] = []
            for a, (model, arm) in enumerate(arms.values()):
                for draw in bank.draws.get((question, model, arm), ()):
                    right[i, a] += draw.correct and draw.key is not None
                    wrong[i, a] += not draw.correct and draw.key is not None
                    blank[i, a] += draw.key is None and draw.answer is not None
                    if draw.nanos is not None:
                        paid[a].append(draw.nanos)
                    if draw.key is not None and not draw.correct:
                        said.append((a, draw.key))
            votes.append(tuple(said))
        options = tuple(len(q.choices) if q.kind == "choice" else 0 for q in bank.questions.values())
        costs = tuple(sum(row) / len(row) / 1e9 if row else 0.0 for row in paid)
        tasks = [question.task() for question in bank.questions.values()]
        seen, topics = tuple(map(features, tasks)), tuple(task.topic for task in tasks)
        folds = tuple(question.fold for question in bank.questions.values())
        return cls(keys, tuple(bank.questions), right, wrong, blank, tuple(votes), options, costs, seen, topics, folds)


def arms_of(bank: Bank) -> dict[str, tuple[str, str]]:
    """Arms by their keys: a model's main condition is "single_shot@MODEL", another one "ARM@MODEL". Conditions that
    were recorded on fewer than nine in ten of their model's questions are left out: a second try after a wrong first
    one says nothing of a first."""
    main, counts = main_arms(bank), Counter((model, arm) for _, model, arm in bank.draws)
    found: dict[str, tuple[str, str]] = {}
    for model, arm in bank.arms:
        if arm == main[model]:
            found[f"single_shot@{model}"] = model, arm
        elif counts[model, arm] >= SHARE * counts[model, main[model]]:
            found[f"{arm}@{model}"] = model, arm
    return found


def fit_allocation(
    bank: Bank,
    *,
    arms: Mapping[str, tuple[str, str]] | None = None,
    folds: Collection[int] | None = None,
    seed: int = 0,
) -> AllocationPolicy | None:
    """What a bank's `folds` (None: all) teach of `arms` ((model, arm) by key; None: all, see `arms_of`); None where no
    two of them have 30 questions in common."""
    seen = bank.select(folds=folds) if folds is not None else bank
    chosen = arms or arms_of(seen)
    records = Records.of(seen, chosen)
    drawn = (records.right + records.wrong + records.blank) > 0
    shared = drawn.T.astype(float) @ drawn.astype(float)
    if len(chosen) < 2 or max(shared[i, j] for i in range(len(chosen)) for j in range(i)) < FEWEST:
        return None
    return fitted(records)


def fitted(records: Records, seed: int = 0) -> AllocationPolicy:
    """Two rounds: difficulty as the arms show it, what features tell of it, and the arms again beside that."""
    fit = likeliest(records)
    known = ease_of(records, difficulties(records, fit))
    if known is not None:
        ease, held = known
        fit = likeliest(records, held)
        ease = ease.model_copy(update={"gain": round(fit.gain, 4)})
        return policy_of(records, fit, urn(records, fit.bias, seed), ease)
    return policy_of(records, fit, urn(records, fit.bias, seed))


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """(arms,) each; `gain`: what is left of the ease that features tell; `weights` (nodes,): how often
    questions are how easy; `loss`: nats per question."""

    bias: Floats
    loading: Floats
    own: Floats
    gain: float
    weights: Floats
    loss: float


def likeliest(records: Records, ease: Floats | None = None) -> Fit:
    """The penalised maximum of the marginal likelihood. `ease` (questions,): by how many standard deviations features
    say that a question is easier, from others than itself."""
    import numpy as np
    from scipy.optimize import minimize

    z, normal = nodes()
    n, a = records.right.shape
    several = (records.right + records.wrong).max(axis=0) > 1
    base = np.log(DECLARED.own)
    told = ease if ease is not None else np.zeros(n)

    def loss(x: Floats, logw: Floats) -> tuple[float, Floats]:
        bias, loading, own = x[:a], x[a : 2 * a], x[2 * a : 3 * a]
        s0, o0, b0, gain = x[3 * a :]
        at = z[None, :] + gain * told[:, None]  # (questions, nodes)
        mu = 1.0 / (1.0 + np.exp(-(bias[None, :, None] + loading[None, :, None] * at[:, None, :])))
        logs, by_mu, by_own = _beta(records.right, records.wrong, mu, np.exp(own)[None, :, None], several)
        total = logs.sum(axis=1) + logw
        top = np.logaddexp.reduce(total, axis=1)
        share = np.exp(total - top[:, None])[:, None, :]
        slope = by_mu * mu * (1.0 - mu) * share
        off = (bias - b0) / SPREAD[0], (loading - s0) / SPREAD[1], (own - o0) / SPREAD[2]
        value = -top.sum() + 0.5 * sum((o**2).sum() for o in off)
        value += 0.5 * (((s0 - DECLARED.loading) / 0.5) ** 2 + (o0 - base) ** 2 + (b0 / 3.0) ** 2 + (gain - 1.0) ** 2)
        by_gain = (slope.sum(axis=2) @ loading) @ told
        grad = np.concatenate(
            [
                off[0] / SPREAD[0] - slope.sum(axis=(0, 2)),
                off[1] / SPREAD[1] - (slope * at[:, None, :]).sum(axis=(0, 2)),
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
        shares = _shares(records, fit, told)
        weights = (shares.sum(axis=0) + NORMAL * normal) / (n + NORMAL)
    return replace(fit, weights=weights)


def _shares(records: Records, fit: Fit, told: Floats) -> Floats:
    """(questions, nodes): the posterior of each question's ease beside what features tell of it."""
    import numpy as np

    z, _ = nodes()
    at = z[None, :] + fit.gain * told[:, None]
    mu = 1.0 / (1.0 + np.exp(-(fit.bias[None, :, None] + fit.loading[None, :, None] * at[:, None, :])))
    several = (records.right + records.wrong).max(axis=0) > 1
    logs, _, _ = _beta(records.right, records.wrong, mu, fit.own[None, :, None], several)
    total = logs.sum(axis=1) + np.log(fit.weights)
    found: Floats = np.exp(total - np.logaddexp.reduce(total, axis=1)[:, None])
    return found


def difficulties(records: Records, fit: Fit) -> Floats:
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


@dataclass(frozen=True, slots=True)
class Urn:
    """Where wrong answers come from: fields as in `AllocationPolicy`."""

    kappa: float
    alike: tuple[float, float]
    middle: float
    again: float


def urn(records: Records, bias: Floats, seed: int = 0) -> Urn:
    """The penalised maximum of the likelihood of which wrong answers were given, cheap arms first, on no more than
    `SOME` questions."""
    import numpy as np
    from scipy.optimize import minimize

    order = {int(a): i for i, a in enumerate(np.argsort(records.costs, kind="stable"))}
    rows = [
        (sorted(votes, key=lambda vote: order[vote[0]]), choices)
        for votes, choices in zip(records.votes, records.choices, strict=True)
        if len(votes) > 1
    ]
    rows = Random(f"urn/{seed}").sample(rows, SOME) if len(rows) > SOME else rows
    middle = float(np.mean(bias))
    skill = np.clip(bias - middle, -RANGE, RANGE)
    repeated = any(len({arm for arm, _ in votes}) < len(votes) for votes, _ in rows)

    def loss(x: Floats) -> float:
        kappa, weight = np.exp(x[0] + x[1] * skill).tolist(), np.exp(x[2] * skill).tolist()
        again = float(np.exp(x[3])) if repeated else DECLARED.again
        found = -sum(_chosen(votes, choices, kappa, weight, again) for votes, choices in rows)
        off = (x - start) / np.asarray(URN_SPREAD)
        return found + 0.5 * float(off @ off)

    start = np.array([np.log(DECLARED.kappa), *DECLARED.alike, np.log(DECLARED.again)])
    simplex = np.vstack([start, start + np.diag([0.5, -0.3, 0.4, 0.7])])
    options = {"initial_simplex": simplex, "maxfev": 150, "xatol": 0.01, "fatol": 0.05}
    best = minimize(loss, start, method="Nelder-Mead", options=options).x if rows else start
    return Urn(float(np.exp(best[0])), (float(best[1]), float(best[2])), middle, float(np.exp(best[3])))


def _chosen(
    votes: Sequence[tuple[int, str]], choices: int, kappas: list[float], weights: list[float], again: float
) -> float:
    """Log-likelihood of which wrong answers were given, in this order."""
    total: dict[str, float] = {}
    own: Counter[tuple[int, str]] = Counter()
    by_arm: Counter[int] = Counter()
    value, done = 0.0, 0.0
    for arm, answer in votes:
        kappa, weight = kappas[arm], weights[arm]
        more = (again - 1.0) * weight
        each, below = kappa / (choices - 1) if choices > 1 else 0.0, kappa + done + more * by_arm[arm]
        known = total.get(answer)
        if known is None:
            value += log((each if choices > 1 else kappa) / below)
        else:
            value += log((each + known + more * own[arm, answer]) / below)
        total[answer] = (known or 0.0) + weight
        own[arm, answer] += 1
        by_arm[arm] += 1
        done += weight
    return value


def policy_of(records: Records, fit: Fit, urn: Urn, ease: EasePolicy | None = None) -> AllocationPolicy:
    import numpy as np

    drawn = records.right + records.wrong
    every = drawn + records.blank
    questions = (every > 0).sum(axis=0)
    blank = (records.blank.sum(axis=0) + 0.5) / (every.sum(axis=0) + 10.0)
    sd = 1.0 / np.sqrt(np.maximum(0.15 * questions, 0.25))
    arms = {
        key: ArmPolicy(
            bias=round(float(fit.bias[i]), 4),
            sd=round(float(sd[i]), 4),
            loading=round(float(max(fit.loading[i], 0.0)), 4),
            own=round(float(fit.own[i]), 4),
            blank=round(float(blank[i]), 4),
            usd=float(f"{records.costs[i]:.6g}"),
            questions=int(questions[i]),
        )
        for i, key in enumerate(records.keys)
    }
    return AllocationPolicy(
        arms=arms,
        curve=curve(arms),
        kappa=round(urn.kappa, 4),
        alike=(round(urn.alike[0], 4), round(urn.alike[1], 4)),
        middle=round(urn.middle, 4),
        again=round(urn.again, 4),
        ease=ease,
        weights=tuple(round(float(w), 7) for w in fit.weights),
    )


def curve(arms: Mapping[str, ArmPolicy]) -> tuple[float, float, float]:
    """(b0, b1, sd) of bias on log10 of relative cost, drawn to what is declared as by as many arms again."""
    import numpy as np

    priced = [arm for arm in arms.values() if arm.usd > 0]
    b0, b1, sd = DECLARED.curve
    if len(priced) < 2:
        return DECLARED.curve
    cheapest = min(arm.usd for arm in priced)
    x = np.array([log10(arm.usd / cheapest) for arm in priced])
    y = np.array([arm.bias for arm in priced])
    design = np.stack([np.ones_like(x), x], axis=1)
    precision = np.diag([1.0, 4.0])
    found = np.linalg.solve(design.T @ design + precision, design.T @ y + precision @ np.array([b0, b1]))
    rest = float((((y - design @ found) ** 2).sum() + 2 * sd**2) / (len(y) + 2))
    return round(float(found[0]), 4), round(float(found[1]), 4), round(rest**0.5, 4)
