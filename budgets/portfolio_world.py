"""The world of the allocator: several arms on one question, dependent through a latent difficulty.

A question has a difficulty z ~ N(0, 1), shared by all arms. Given z, a draw of arm a is right with
mu_a(z) = sigmoid(m_a + loading_a * z) on average, and the arm's own chance on this question is Beta distributed around
that with strength `own` (pseudo-draws: the smaller, the more alike are repeated draws of one arm). m_a is the arm's
bias, plus what the question's features tell, plus what was learnt since. Which wrong answer a wrong draw gives is an
urn over wrong answers (Blackwell & MacQueen 1973; with c choices, Dirichlet-multinomial over c - 1): the next equals
one seen n times in proportion to n, where a vote of the same arm counts `again` times, and is another in proportion to
kappa: so that wrong answers of several models agree as often as they were seen to. One model serves predictions and
transitions, so that P(right) of a fixed answer is a martingale. Latent difficulty and arm-specific terms as in item
response theory (Bock & Aitkin 1981), votes as in Dawid & Skene (1979).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, log10, pi, sqrt
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

NODES = 9  # of the quadrature over difficulty
PROBIT = 16 * sqrt(3) / (15 * pi)  # a logit averaged over N(m, v) is about m / sqrt(1 + PROBIT^2 v) (MacKay 1992)
FLOOR, CEILING = 1e-6, 1e6  # of `own`
KEPT = 256  # questions whose tables are kept


@dataclass(frozen=True, slots=True)
class Arm:
    """What is known of one arm. `bias`: logit of its chance on a question of mean difficulty, with standard deviation
    `sd`; `loading`: how far difficulty moves it; `own`: strength of its own chance on a question, in pseudo-draws;
    `blank`: the share of its draws that hold no answer."""

    bias: float
    loading: float = 1.3
    own: float = 1.5
    blank: float = 0.0
    sd: float = 0.0


class Predicting(Protocol):
    """What features tell of each arm (`budgets.predictor`)."""

    def logits(self, seen: tuple[float, ...], topic: str) -> Mapping[str, float]:
        """By arm, how many logits above its mean over questions its chance is."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """One question's arms as arrays: `mu` (arms, nodes), `own` and `blank` (arms,), `weights` (nodes,)."""

    mu: Floats
    own: Floats
    blank: Floats
    weights: Floats
    kappa: float
    again: float

    @property
    def chance(self) -> Floats:
        """(arms,): P(a draw that holds an answer is right), before anything was seen."""
        found: Floats = self.mu @ self.weights
        return found


@dataclass(frozen=True, eq=False)
class World:
    """The runtime of an allocation policy. `arms` by key; `curve` (b0, b1, sd): the bias of an arm that is not among
    them is b0 + b1 * log10(its cost / the cheapest arm's), and `unknown` the rest of it. `settled` turns P(right) of
    the likeliest answer as it follows from all this into what was seen to be right. `fitted`: whether a bank was
    asked."""

    arms: Mapping[str, Arm] = field(default_factory=dict)
    curve: tuple[float, float, float] = (0.0, 0.0, 0.0)
    unknown: Arm = Arm(0.0)
    kappa: float = 2.0
    again: float = 1.0
    gain: float = 1.0
    predictor: Predicting | None = None
    settled: Callable[[float], float] | None = None
    fitted: bool = False
    _kept: dict[object, Tables] = field(default_factory=dict, repr=False)

    def tables(
        self,
        arms: tuple[str, ...],
        costs: tuple[float, ...] = (),
        seen: tuple[float, ...] = (),
        topic: str = "",
        shifts: Mapping[str, float] | None = None,
    ) -> Tables:
        """The arms on a question with these features. `costs`: expected dollars of a draw of each arm (empty: not
        known, as if all cost the same); they are asked for arms that are not known otherwise. Kept for questions that
        were asked about lately."""
        moved = tuple(shifts.get(arm, 0.0) for arm in arms) if shifts else ()
        needed = costs if any(arm not in self.arms for arm in arms) else ()
        key = (arms, needed, seen, topic, moved)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            found = self._kept[key] = self._tables(arms, needed, seen, topic, moved)
        return found

    def arm(self, key: str, cost: float, cheapest: float) -> Arm:
        """What is believed of an arm, by its cost where it is not known."""
        known = self.arms.get(key)
        if known is not None:
            return known
        b0, b1, sd = self.curve
        rank = log10(cost / cheapest) if cost > 0 and cheapest > 0 else 0.0
        one = self.unknown
        return Arm(b0 + b1 * min(max(rank, 0.0), 3.0), one.loading, one.own, one.blank, sd)

    def _tables(
        self,
        arms: tuple[str, ...],
        costs: tuple[float, ...],
        seen: tuple[float, ...],
        topic: str,
        moved: tuple[float, ...],
    ) -> Tables:
        import numpy as np

        z, weights = nodes()
        cheapest = min((cost for cost in costs if cost > 0), default=0.0)
        known = [self.arm(key, costs[i] if i < len(costs) else 0.0, cheapest) for i, key in enumerate(arms)]
        told = self.predictor.logits(seen, topic) if self.predictor is not None and seen else {}
        bias = np.array([arm.bias + self.gain * told.get(key, 0.0) for key, arm in zip(arms, known, strict=True)])
        if moved:
            bias = bias + np.asarray(moved)
        loading, sd = (np.array([getattr(arm, name) for arm in known]) for name in ("loading", "sd"))
        wide = np.sqrt(1.0 + (PROBIT * sd) ** 2)
        mu = 1.0 / (1.0 + np.exp(-(bias[:, None] + loading[:, None] * z) / wide[:, None]))
        own = np.clip([arm.own for arm in known], FLOOR, CEILING)
        blank = np.array([arm.blank for arm in known])
        return Tables(mu, own, blank, weights, self.kappa, self.again)


@lru_cache(maxsize=8)
def nodes(count: int = NODES) -> tuple[Floats, Floats]:
    """(nodes, weights) of Gauss-Hermite quadrature over a standard normal."""
    import numpy as np

    x, w = np.polynomial.hermite_e.hermegauss(count)
    return x, w / w.sum()


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What votes and verdicts come to. `masses` (answers + 1, nodes): unnormalised, of each answer being the right one
    and of a difficulty; the last row is that none so far is right. `own` (arms, answers): each arm's votes."""

    masses: Floats
    own: Floats
    choices: int

    @property
    def answers(self) -> Floats:
        """(answers + 1,): P(each is the right one), and P(none so far is)."""
        mass = self.masses.sum(axis=1)
        found: Floats = mass / mass.sum()
        return found


@lru_cache(maxsize=512)
def state(tables: Tables, votes: tuple[tuple[int, int], ...], ratios: tuple[float, ...], choices: int) -> State:
    """The posterior after `votes` (arm, answer; -1: blank), in which answers are right with odds multiplied by
    `ratios` (one for each answer so far)."""
    import numpy as np

    cast = [(arm, answer) for arm, answer in votes if answer >= 0]
    k = max((answer + 1 for _, answer in cast), default=0)
    k = max(k, len(ratios))
    own = np.zeros((len(tables.mu), k))
    logs = np.zeros(k + 1)
    by_arm: dict[int, dict[int, int]] = {}
    total: dict[int, float] = {}
    for arm, answer in cast:
        logs += np.log(_urn(tables, by_arm.get(arm, {}), total, answer, k, choices))
        mine = by_arm.setdefault(arm, {})
        mine[answer] = mine.get(answer, 0) + 1
        total[answer] = total.get(answer, 0.0) + 1.0
        own[arm, answer] += 1
    told = np.array([max(ratio, 0.0) for ratio in ratios] + [1.0] * (k + 1 - len(ratios)))
    with np.errstate(divide="ignore"):
        logs += np.log(told)
    likely = logs[:, None] + np.log(tables.weights)
    for arm, mine in by_arm.items():
        n, mu, strength = sum(mine.values()), tables.mu[arm], tables.own[arm]
        right, wrong = _rising(strength * mu, n), _rising(strength * (1.0 - mu), n)
        row = np.tile(wrong[n], (k + 1, 1))
        for answer, r in mine.items():
            row[answer] = right[r] + wrong[n - r]
        likely += row
    masses = np.exp(likely - likely.max())
    masses /= masses.sum()
    return State(masses, own, choices)


def _urn(
    tables: Tables, mine: Mapping[int, int], total: Mapping[int, float], answer: int, k: int, choices: int
) -> Floats:
    """(answers + 1,): under each hypothesis, the chance that a wrong draw gives this answer (1: where it is right)."""
    import numpy as np

    weight = {j: n + (tables.again - 1.0) * mine.get(j, 0) for j, n in total.items()}
    every, kappa = sum(weight.values()), tables.kappa
    each = kappa / (choices - 1) if choices > 1 else 0.0
    found = np.ones(k + 1)
    for h in range(k + 1):
        if h == answer:
            continue
        below = kappa + every - weight.get(h, 0.0)
        if answer in total:
            found[h] = (each + weight[answer]) / below
        elif choices > 1:
            found[h] = max(each * (choices - 1 - len(total) + (h in total)), 0.0) / below
        else:
            found[h] = kappa / below
    return np.maximum(found, 1e-300)


def _rising(x: Floats, n: int) -> list[Floats]:
    """Logs of the rising factorials x (x + 1) ... (x + i - 1), for i from 0 to n."""
    import numpy as np

    found = [np.zeros_like(x)]
    for i in range(n):
        found.append(found[-1] + np.log(x + i))
    return found


def logistic(x: float) -> float:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp(-x)) if x > -700 else 0.0
