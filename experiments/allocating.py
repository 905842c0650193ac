"""What a bank teaches of many arms on the same questions: how good each is, how alike their mistakes are.

Marginal maximum likelihood (Bock & Aitkin 1981): difficulty is integrated over by quadrature, an arm's own chance on a
question analytically (a beta-binomial given the difficulty). All is penalised toward what is declared, so that thirty
questions do not overfit; what features tell of a question comes from `budgets.predictor`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import log10
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from ..budgets.allocation_policy import DECLARED, AllocationPolicy, ArmPolicy, EasePolicy
from ..budgets.features import features
from ..budgets.portfolio_world import Tables, nodes, state
from ..core.errors import UnknownName
from .bank import Bank
from .cascading import main_arms
from .easing import ease_of
from .urns import Urn, urn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Places: TypeAlias = NDArray[np.intp]

FEWEST = 30  # questions that two arms have in common
SHARE = 0.9  # of its model's questions that an arm must have: others were chosen by what came before
SPREAD = (2.0, 0.4, 0.7)  # standard deviations of an arm's bias, loading and log of strength around the mean of all
STEPS, ROUNDS = 200, 4  # of the optimiser; of it and the weights in turn
PREFIX = 12  # votes of a question, of which claims are compared with what came
PRIOR = 20.0  # claims' worth of taking them as they are
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

    def only(self, places: Places) -> Records:
        """Some of the questions."""
        rows = places.tolist()
        return replace(
            self,
            questions=tuple(self.questions[i] for i in rows),
            right=self.right[rows],
            wrong=self.wrong[rows],
            blank=self.blank[rows],
            votes=tuple(self.votes[i] for i in rows),
            choices=tuple(self.choices[i] for i in rows),
            seen=tuple(self.seen[i] for i in rows),
            topics=tuple(self.topics[i] for i in rows),
            folds=tuple(self.folds[i] for i in rows),
        )

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
    held_out: bool | None = None,
) -> AllocationPolicy | None:
    """What a bank's `folds` (None: all) teach of `arms` ((model, arm) by key; None: all, see `arms_of`); None where no
    two of them have 30 questions in common. `held_out`: whether to try on halves of the questions how well they predict
    one another, and to correct claims by that, which takes two more fits (None: where all folds are fitted). Raises
    `UnknownName`."""
    seen = bank.select(folds=folds) if folds is not None else bank
    chosen = arms or arms_of(seen)
    for pair in chosen.values():
        if pair not in seen.arms:
            raise UnknownName.of("(model, arm)", ", ".join(pair), (f"{m}, {a}" for m, a in seen.arms))
    records = Records.of(seen, chosen)
    drawn = (records.right + records.wrong + records.blank) > 0
    shared = drawn.T.astype(float) @ drawn.astype(float)
    if len(chosen) < 2 or max(shared[i, j] for i in range(len(chosen)) for j in range(i)) < FEWEST:
        return None
    found = fitted(records, seed)
    facts: dict[str, str | int | float] = {
        "questions": len(records.questions),
        "arms": len(records.keys),
        "draws": int((records.right + records.wrong + records.blank).sum()),
        "folds": ",".join(map(str, seen.folds)),
    }
    settled = None
    if (folds is None if held_out is None else held_out) and len(records.questions) >= 2 * FEWEST:
        losses, settled = _held_out(records, seed)
        facts |= losses
    return found.model_copy(update={"provenance": facts, "settled": settled})


def _held_out(records: Records, seed: int) -> tuple[dict[str, float], tuple[float, float]]:
    """Of halves of the questions by a fit on the other half: nats per draw that holds an answer, of predictions before
    anything is bought (`log_loss`) and of always predicting the arm's mean (`base_log_loss`); and how claims of
    P(right) are to be read (`AllocationPolicy.settled`)."""
    import numpy as np

    odd = np.asarray(records.folds) % 2
    half = odd if 0 < odd.sum() < len(odd) else np.arange(len(records.questions)) % 2
    losses, count, claims = np.zeros(2), 0.0, []
    for part in (0, 1):
        train, test = (records.only(np.flatnonzero(half == p)) for p in (1 - part, part))
        world, drawn = fitted(train, seed).world(), train.right + train.wrong
        mean = (train.right.sum(axis=0) + 1.0) / (drawn.sum(axis=0) + 2.0)
        for i in range(len(test.questions)):
            tables = world.tables(test.keys, test.costs, test.seen[i], test.topics[i])
            for column, chance in enumerate((np.clip(tables.chance, 1e-6, 1 - 1e-6), mean)):
                losses[column] -= float(test.right[i] @ np.log(chance) + test.wrong[i] @ np.log(1 - chance))
            count += float((test.right[i] + test.wrong[i]).sum())
            claims += list(_claims(test, i, tables, Random(f"{seed}/{test.questions[i]}")))
    log_loss, base = (round(float(loss) / max(count, 1.0), 5) for loss in losses)
    return {"log_loss": log_loss, "base_log_loss": base}, platt(claims)


def _claims(records: Records, i: int, tables: Tables, dice: Random) -> Iterator[tuple[float, bool]]:
    """P(right) of the likeliest answer after one vote, two, ... of this question in one order, and whether it was."""
    said = [(arm, "") for arm, n in enumerate(records.right[i].tolist()) for _ in range(int(n))]
    said += [(arm, f"wrong {answer}") for arm, answer in records.votes[i]]
    dice.shuffle(said)
    known = list(dict.fromkeys(answer for _, answer in said))
    votes = tuple((arm, known.index(answer)) for arm, answer in said[:PREFIX])
    for n in range(1, len(votes) + 1):
        p = state(tables, votes[:n], (), records.choices[i]).answers[:-1]
        yield float(p.max()), known[int(p.argmax())] == ""


def platt(claims: list[tuple[float, bool]]) -> tuple[float, float]:
    """(a, b) so that sigmoid(a + b logit p) is what came of claims of p (Platt 1999), drawn to (0, 1)."""
    import numpy as np

    if not claims:
        return 0.0, 1.0
    p, right = (np.array(column, dtype=float) for column in zip(*claims, strict=True))
    p = np.clip(p, 1e-4, 1 - 1e-4)
    x = np.stack([np.ones_like(p), np.log(p / (1 - p))], axis=1)
    at, prior = np.array([0.0, 1.0]), np.diag([PRIOR, PRIOR])
    for _ in range(20):
        q = 1.0 / (1.0 + np.exp(-x @ at))
        slope = x.T @ (right - q) - prior @ (at - np.array([0.0, 1.0]))
        at = at + np.linalg.solve((x * (q * (1 - q))[:, None]).T @ x + prior, slope)
    return round(float(at[0]), 4), round(float(max(at[1], 0.1)), 4)


def fitted(records: Records, seed: int = 0) -> AllocationPolicy:
    """Two rounds: difficulty as the arms show it, what features tell of it, and the arms again beside that."""
    fit = likeliest(records)
    known = ease_of(records, difficulties(records, fit))
    if known is not None:
        ease, held = known
        fit = likeliest(records, held)
        ease = ease.model_copy(update={"gain": round(fit.gain, 4)})
        return policy_of(records, fit, urn(records.votes, records.choices, records.costs, fit.bias, seed), ease)
    return policy_of(records, fit, urn(records.votes, records.choices, records.costs, fit.bias, seed))


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
