"""What the allocator expects of itself: its own choices, played in its own world before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from random import Random
from typing import TYPE_CHECKING

from ..core.belief import Terms
from .evidence import Evidence
from .lumping import near

if TYPE_CHECKING:
    from .portfolio import Portfolio
    from .portfolio_world import Tables

LONGEST = 24  # purchases of one imagined run: later ones change little
AMPLE = 1 << 16  # steps of a cap that is none
WAVES = 256  # of a course under exact checks
TINY = 1e-9  # of a run that is still going on


@dataclass(frozen=True, slots=True)
class Course:
    """What a way of choosing comes to: mean P(right) of the answer that is given (0 where none is), mean dollars, and
    mean purchases of each arm. `spread`: the standard deviation of one run's dollars; `error`: the standard error of
    `p` by chance of the imagined runs. `first`: the arm that is bought first, -1 for none."""

    p: float
    usd: float
    bought: tuple[float, ...]
    first: int = -1
    spread: float = 0.0
    error: float = 0.0


def imagined(
    portfolio: Portfolio, terms: Sequence[Terms], worst: Sequence[float], cap: float, runs: int = 200, seed: int = 0
) -> Course:
    """The mean of `runs` imagined runs: questions drawn from what the policy believes, each decided as a real one would
    be. `terms`: one for each arm. `worst`: dollars that a step of each is held at, `cap` dollars in all. Deterministic
    for a seed, and with common draws for all prices. The world is the allocator's own: what it does not know it does
    not know here."""
    table = portfolio.tables(terms[0], tuple(one.cost for one in terms))
    chosen: dict[tuple[object, ...], int] = {}
    sums = [0.0] * len(portfolio.arms)
    ps, spends, first = [], [], -1
    for i in range(runs):
        world = _Question(table, f"{seed}:{i}", portfolio.choices)
        votes: tuple[tuple[int, int], ...] = portfolio.votes
        spent, room, rest = 0.0, cap, 1.0
        for nth in range(LONGEST):
            arm = _choice(portfolio, terms, worst, votes, (room, rest), chosen)
            if nth == 0:
                first = arm
            if arm < 0:
                break
            sums[arm] += 1
            votes = (*votes, (arm, world.draw(arm)))
            spent, room = spent + terms[arm].cost, room - terms[arm].cost
            rest -= 1.0 / terms[arm].steps
        ps.append(_p(portfolio, terms[0], votes))
        spends.append(spent)
    p, usd = sum(ps) / runs, sum(spends) / runs
    spread = sqrt(sum((x - usd) ** 2 for x in spends) / runs)
    error = sqrt(sum((x - p) ** 2 for x in ps) / max(1, runs - 1) / runs)
    return Course(p, usd, tuple(n / runs for n in sums), first, spread, error)


def exactly(portfolio: Portfolio, terms: Sequence[Terms], worst: Sequence[float], cap: float) -> Course:
    """The same where exact checks settle every draw, without imagining: until the first pass, which ends it, there is
    one course of events. As long as everything fails a run decides anew after each wave; so does this."""
    n, now, room, rest = len(terms), portfolio, cap, 1.0
    alive, spent, bought, first = 1.0, 0.0, [0.0] * len(terms), -1
    ends: list[tuple[float, float]] = []  # how likely a run ends there, and what it has spent
    for _ in range(min(sum(portfolio.left) or WAVES, WAVES)):
        offer = [
            replace(one, steps=_steps(one, dollars, room, rest)) for one, dollars in zip(terms, worst, strict=True)
        ]
        ways = now.jointly(offer)
        nets = [way.net(one) if way.size else 0.0 for way, one in zip(ways, offer, strict=True)]
        best = max(range(n), key=lambda i: nets[i])
        if nets[best] <= 0 or alive < TINY:
            break
        size = ways[best].size
        first = best if first < 0 else first
        bought[best] += alive * size
        spent, room = spent + size * terms[best].cost, room - size * terms[best].cost
        before, rest = alive, rest - size / terms[best].steps
        for _ in range(size):
            alive *= 1.0 - _passes(now, terms, best)
            votes = (*now.votes, (best, -1))
            left = tuple(x - (i == best) for i, x in enumerate(now.left))
            now = replace(now, votes=votes, left=left)
        ends.append((before - alive, spent))
    ends.append((alive, spent))
    usd = sum(p * x for p, x in ends)
    return Course(1.0 - alive, usd, tuple(bought), first, sqrt(sum(p * (x - usd) ** 2 for p, x in ends)))


def _passes(portfolio: Portfolio, terms: Sequence[Terms], arm: int) -> float:
    """P(the next purchase of an arm passes), after what has failed."""
    one = [replace(t, price=1e-12, steps=int(i == arm), per_second=0.0) for i, t in enumerate(terms)]
    return min(1.0, portfolio.jointly(one)[arm].gain)


def _choice(
    portfolio: Portfolio,
    terms: Sequence[Terms],
    worst: Sequence[float],
    votes: tuple[tuple[int, int], ...],
    room: tuple[float, float],
    chosen: dict[tuple[object, ...], int],
) -> int:
    """The arm that is worth the most after these votes, -1 for none. `chosen` keeps what was found before."""
    steps = tuple(_steps(one, dollars, *room) for one, dollars in zip(terms, worst, strict=True))
    votes = alike(votes)
    key = (votes, tuple(min(n, LONGEST) for n in steps))
    if key not in chosen:
        now = near(_after(portfolio, votes), terms)
        ways = now.jointly([replace(one, steps=n) for one, n in zip(terms, steps, strict=True)])
        nets = [way.net(one) if way.size else 0.0 for way, one in zip(ways, terms, strict=True)]
        best = max(range(len(nets)), key=lambda i: nets[i])
        chosen[key] = best if nets[best] > 0 else -1
    return chosen[key]


def _steps(terms: Terms, worst: float, room: float, rest: float) -> int:
    """How many more `room` dollars can pay, and `rest`, the share that is left of the other caps."""
    steps = terms.steps if terms.steps >= AMPLE else int(terms.steps * rest + 1e-9)
    return max(0, min(steps, int(room / worst + 1e-9))) if worst > 0 else max(0, steps)


def _after(portfolio: Portfolio, votes: tuple[tuple[int, int], ...]) -> Portfolio:
    count = max((answer + 1 for _, answer in votes), default=0)
    said = tuple(Evidence(sum(a == j for _, a in votes)) for j in range(count))
    bought = [sum(arm == i for arm, _ in votes[len(portfolio.votes) :]) for i in range(len(portfolio.arms))]
    left = tuple(max(0, n - b) for n, b in zip(portfolio.left, bought, strict=True)) if portfolio.left else ()
    return replace(portfolio, votes=votes, said=said, left=left)


def _p(portfolio: Portfolio, terms: Terms, votes: tuple[tuple[int, int], ...]) -> float:
    """P(right) of what would be answered: less noise than whether it happens to be right."""
    p = _after(portfolio, alike(votes)).p(terms)
    return p if p is not None and terms.value(p) > 0 else 0.0


def alike(votes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The same votes in one order, answers numbered by who gave them: neither the order nor the numbers tell anything,
    and what is known of one such state need not be found again."""
    by: dict[int, list[int]] = {}
    for arm, answer in votes:
        if answer >= 0:
            by.setdefault(answer, []).append(arm)
    ranked = sorted((sorted(arms) for arms in by.values()), key=lambda arms: (-len(arms), arms))
    blanks = sorted((arm, -1) for arm, answer in votes if answer < 0)
    return (*((arm, j) for j, arms in enumerate(ranked) for arm in arms), *blanks)


class _Question:
    """One question of the world: how hard it is, how good each arm is at it, and its urn of wrong answers."""

    def __init__(self, tables: Tables, seed: str, choices: int) -> None:
        self._tables, self._seed, self._choices = tables, seed, choices
        weights = [float(w) for w in tables.weights]
        self._node = Random(seed).choices(range(len(weights)), weights)[0]
        self._arms: dict[int, tuple[float, Random]] = {}  # how good each is at it, and its own stream of luck
        self._right = -1  # the index of the right answer, once it was said
        self._votes: list[tuple[int, int]] = []
        self._said = 0

    def draw(self, arm: int) -> int:
        """The index of the answer that a draw gives; -1 for a blank. The n-th draw of an arm has the same luck whatever
        was bought before."""
        theta, random = self._arm(arm)
        clear, right, which = random.random(), random.random(), random.random()
        if clear < float(self._tables.blank[arm]):
            return -1
        answer = self._known(self._right) if right < theta else self._wrong(arm, which)
        self._votes.append((arm, answer))
        return answer

    def _arm(self, arm: int) -> tuple[float, Random]:
        if arm not in self._arms:
            random = Random(f"{self._seed}:{arm}")
            mu, own = float(self._tables.mu[arm, self._node]), float(self._tables.own[arm])
            self._arms[arm] = random.betavariate(max(own * mu, 1e-9), max(own * (1 - mu), 1e-9)), random
        return self._arms[arm]

    def _known(self, answer: int) -> int:
        if answer < 0:
            self._right = answer = self._new()
        return answer

    def _new(self) -> int:
        self._said += 1
        return self._said - 1

    def _wrong(self, arm: int, luck: float) -> int:
        """By the urn of `budgets.portfolio_world`."""
        tables = self._tables
        kappa, others = float(tables.kappa[arm]), self._choices - 1
        seen = [j for j in range(self._said) if j != self._right]
        each = kappa / others if others > 0 else 0.0
        weights = [each + self._weight(arm, j) for j in seen]
        fresh = each * max(0, others - len(seen)) if others > 0 else kappa
        at = luck * (sum(weights) + fresh)
        for j, weight in zip(seen, weights, strict=True):
            if at < weight:
                return j
            at -= weight
        return self._new()

    def _weight(self, arm: int, answer: int) -> float:
        tables = self._tables
        more = (float(tables.again) - 1.0) * float(tables.weight[arm])
        return sum(float(tables.weight[a]) + more * (a == arm) for a, j in self._votes if j == answer)
