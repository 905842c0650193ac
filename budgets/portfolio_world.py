"""The world of the allocator: several arms on one question, dependent through a latent difficulty.

A question has a difficulty z ~ N(0, 1), shared by all arms. Given z, a draw of arm a is right with
mu_a(z) = sigmoid(m_a + loading_a * z) on average, and the arm's own chance on this question is Beta distributed around
that with strength `own` (pseudo-draws: the smaller, the more alike are repeated draws of one arm). m_a is the arm's
bias, plus what the question's features tell, plus what was learnt since. Which wrong answer a wrong draw gives is an
urn over wrong answers (Blackwell & MacQueen 1973; with c choices, Dirichlet-multinomial over c - 1): the next equals
one seen in proportion to the weight of its votes, where one of the same arm counts `again` times, and is another in
proportion to kappa: so that wrong answers of several models agree as often as they were seen to. The better the arm,
the more its mistakes are those that other good arms make (`alike`). One model serves predictions and transitions, so
that P(right) of a fixed answer is a martingale. Latent difficulty and arm-specific terms as in item
response theory (Bock & Aitkin 1981), votes as in Dawid & Skene (1979).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import exp, log10, pi, sqrt
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..core.belief import Terms
    from .successes import Successes

    Floats: TypeAlias = NDArray[np.float64]

NODES = 9  # of the quadrature over difficulty
PROBIT = 16 * sqrt(3) / (15 * pi)  # a logit averaged over N(m, v) is about m / sqrt(1 + PROBIT^2 v) (MacKay 1992)
FLOOR, CEILING = 1e-6, 1e6  # of `own`
RANGE = 3.0  # logits from the middle beyond which mistakes get no more alike
DEEP = 64  # votes after which they are counted in a loop
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


@dataclass(frozen=True, eq=False)
class Tables:
    """One question's arms as arrays: `mu` (arms, nodes); `own`, `blank`, `kappa` and `weight`, that of a vote in the
    urn, (arms,); `weights` (nodes,). What follows from them is kept."""

    mu: Floats
    own: Floats
    blank: Floats
    kappa: Floats
    weight: Floats
    weights: Floats
    again: float

    @cached_property
    def chance(self) -> Floats:
        """(arms,): P(a draw that holds an answer is right), before anything was seen."""
        found: Floats = self.mu @ self.weights
        return found

    @cached_property
    def rows(self) -> Floats:
        """(4 + nodes, arms + 1): `own`, `kappa`, `weight`, the chance that a draw holds an answer, and `mu` times `own`
        by nodes, in one; the last column is 1."""
        import numpy as np

        rows = np.vstack((self.own, self.kappa, self.weight, 1.0 - self.blank, self.mu.T * self.own))
        return np.hstack((rows, np.ones((len(rows), 1))))

    @cached_property
    def ranked(self) -> tuple[int, ...]:
        """The arms by their chance, the best first."""
        return tuple((-self.chance).argsort(kind="stable").tolist())


@dataclass(frozen=True, eq=False)
class World:
    """The runtime of an allocation policy. `arms` by key; `curve` (b0, b1, sd): the bias of an arm that is not among
    them is b0 + b1 * log10(its cost / the cheapest arm's), and `unknown` the rest of it. `kappa` and a vote's weight,
    1, are those of an arm with bias `middle`; `alike` is how fast the logs of both change with the bias. `ease`: by how
    many standard deviations a question is easier, by its features and topic; `weights`: how often it is how much easier
    than that, by `nodes` (empty: as a normal distribution says). `settled` turns P(right) of the likeliest answer as it
    follows from all this into what was seen to be right. `successes`: what was fitted of how often draws pass exact
    checks, the same object each time. `fitted`: whether a bank was asked."""

    arms: Mapping[str, Arm] = field(default_factory=dict)
    curve: tuple[float, float, float] = (0.0, 0.0, 0.0)
    unknown: Arm = Arm(0.0)
    kappa: float = 2.0
    alike: tuple[float, float] = (0.0, 0.0)
    middle: float = 0.0
    again: float = 1.0
    ease: Callable[[tuple[float, ...], str], float] | None = None
    weights: tuple[float, ...] = ()
    predictor: Predicting | None = None
    settled: Callable[[float], float] | None = None
    fitted: bool = False
    successes: Callable[[], Successes] | None = None
    _kept: dict[object, Tables] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=Lock, repr=False)

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
            found = self._tables(arms, needed, seen, topic, moved)
            with self._lock:  # engines in several threads share the world of a policy
                if len(self._kept) >= KEPT:
                    self._kept.pop(next(iter(self._kept)), None)
                self._kept[key] = found
        return found

    def exact(self, portfolio: object, terms: Sequence[Terms]) -> Successes | None:
        """How often the arms' draws pass an exact check, with what was learnt of them since; None where no bank said.
        Features and topic play no part in it."""
        return self.successes().shifted(terms[0].priors.shifts) if self.successes is not None else None

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
        if self.weights:
            weights = np.asarray(self.weights) / sum(self.weights)
        cheapest = min((cost for cost in costs if cost > 0), default=0.0)
        known = [self.arm(key, costs[i] if i < len(costs) else 0.0, cheapest) for i, key in enumerate(arms)]
        told = self.predictor.logits(seen, topic) if self.predictor is not None else {}
        bias = np.array([arm.bias + told.get(key, 0.0) for key, arm in zip(arms, known, strict=True)])
        if self.ease is not None:
            z = z + self.ease(seen, topic)
        if moved:
            bias = bias + np.asarray(moved)
        loading, sd = (np.array([getattr(arm, name) for arm in known]) for name in ("loading", "sd"))
        wide = np.sqrt(1.0 + (PROBIT * sd) ** 2)
        mu = 1.0 / (1.0 + np.exp(-(bias[:, None] + loading[:, None] * z) / wide[:, None]))
        own = np.clip([arm.own for arm in known], FLOOR, CEILING)
        blank = np.array([arm.blank for arm in known])
        skill = np.clip([arm.bias - self.middle for arm in known], -RANGE, RANGE)
        kappa, weight = self.kappa * np.exp(self.alike[0] * skill), np.exp(self.alike[1] * skill)
        return Tables(mu, own, blank, kappa, weight, weights, self.again)


@lru_cache(maxsize=8)
def nodes(count: int = NODES) -> tuple[Floats, Floats]:
    """(nodes, weights) of Gauss-Hermite quadrature over a standard normal."""
    import numpy as np

    x, w = np.polynomial.hermite_e.hermegauss(count)
    return x, w / w.sum()


@dataclass(frozen=True, eq=False)
class State:
    """What votes and verdicts come to. `masses` (answers + 1, nodes): unnormalised, of each answer being the right one
    and of a difficulty; the last row is that none so far is right. `own` (arms, answers): each arm's votes."""

    masses: Floats
    own: Floats
    choices: int

    @cached_property
    def answers(self) -> Floats:
        """(answers + 1,): P(each is the right one), and P(none so far is)."""
        mass = self.masses.sum(axis=1)
        found: Floats = mass / mass.sum()
        return found


def state(tables: Tables, votes: tuple[tuple[int, int], ...], ratios: tuple[float, ...], choices: int) -> State:
    """The posterior after `votes` (arm, answer; -1: blank), in which answers are right with odds multiplied by
    `ratios` (one for each answer so far)."""
    return _told(_voted(tables, votes, choices), ratios)


@lru_cache(maxsize=512)
def _voted(tables: Tables, votes: tuple[tuple[int, int], ...], choices: int) -> State:
    """One vote after the other: runs ask again after each."""
    import numpy as np

    if not votes:
        return State(tables.weights[None], np.zeros((len(tables.mu), 0)), choices)
    before = _voted(tables, votes[:-1], choices) if len(votes) < DEEP else _in_turn(tables, votes[:-1], choices)
    return _after(tables, before, *votes[-1])


def _in_turn(tables: Tables, votes: tuple[tuple[int, int], ...], choices: int) -> State:
    at = _voted(tables, (), choices)
    for vote in votes:
        at = _after(tables, at, *vote)
    return at


def _after(tables: Tables, at: State, arm: int, answer: int) -> State:
    """The posterior after one more vote."""
    import numpy as np

    if answer < 0:
        return at
    masses, own, k = at.masses, at.own, at.own.shape[1]
    if answer >= k:  # in the order in which they were given: the place of the new one
        more = answer + 1 - k
        masses = np.concatenate([masses[:k], np.zeros((more, masses.shape[1])), masses[k:]])
        own = np.concatenate([own, np.zeros((len(own), more))], axis=1)
        k = answer + 1
    mu, strength, mine = tables.mu[arm], tables.own[arm], own[arm]
    count = tables.weight @ own
    known = own.sum(axis=0) > 0
    weight = count + (tables.again - 1.0) * tables.weight[arm] * mine
    kappa, others, every = float(tables.kappa[arm]), at.choices - 1, float(weight.sum())
    each, given = kappa / others if others > 0 else 0.0, int(known.sum())
    over = np.append(kappa + every - weight, kappa + every)
    if known[answer]:
        often = np.full(k + 1, each + weight[answer])
    elif others > 0:
        often = each * np.maximum(others - given + np.append(known, False), 0.0)
    else:
        often = np.full(k + 1, kappa)
    drawn = strength + mine.sum()
    ours = np.append(mine, 0.0)[:, None]
    chance = (strength * mu + ours) / drawn
    found = masses * (1.0 - chance) * (often / over)[:, None]
    found[answer] = (masses[answer] if known[answer] else masses[k]) * chance[answer]
    own = own.copy()
    own[arm, answer] += 1.0
    total = float(found.sum())
    # More different answers than there are choices: the world knows no such thing, and learns nothing from it.
    return State(found / total if total > 0.0 else masses, own, at.choices)


def _told(at: State, ratios: tuple[float, ...]) -> State:
    """The posterior after what verifiers said of the answers."""
    import numpy as np

    k = at.own.shape[1]
    if len(ratios) > k:
        at = State(
            np.concatenate([at.masses[:k], np.zeros((len(ratios) - k, at.masses.shape[1])), at.masses[k:]]),
            np.concatenate([at.own, np.zeros((len(at.own), len(ratios) - k))], axis=1),
            at.choices,
        )
    if all(ratio == 1.0 for ratio in ratios):
        return at
    masses = at.masses.copy()
    masses[: len(ratios)] *= np.maximum(np.asarray(ratios), 0.0)[:, None]
    total = float(masses.sum())
    if total <= 0.0:  # every answer was refuted, and there is no room for another: nothing is right
        masses[-1] = at.masses.sum(axis=0)
        total = float(masses.sum())
    return State(masses / total, at.own, at.choices)


def next_right(at: State, tables: Tables) -> Floats:
    """(arms,): P(the next draw of each arm is right, if it holds an answer)."""
    plain = tables.mu @ at.masses.T  # (arms, answers + 1)
    mass, drawn = at.masses.sum(axis=1), at.own.sum(axis=1)
    own = at.own @ mass[:-1]
    found: Floats = (tables.own * plain.sum(axis=1) + own) / (tables.own + drawn) / mass.sum()
    return found


def logistic(x: float) -> float:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp(-x)) if x > -700 else 0.0
