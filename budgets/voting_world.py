"""The world in which votes are counted: kinds of question, states of a vote, and what either says of the other.

A question is of a kind (theta, phi, others, blank). A draw holds no answer with probability `blank`. One that does is
right with theta, hits the one systematic mistake with phi, and else is one of `others` further wrong answers, each as
likely as the next; with `others` 0 there is no end to them (open answers), so that none is ever repeated. Evidence and
P(right) are sums over kinds and over who among the answers seen is the right one and the mistake (a mixture of
multinomials with anonymous cells, as in Dawid & Skene 1979 without names). Draws are exchangeable, so counts say all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from ..core.belief import Priors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Whole: TypeAlias = NDArray[np.int64]

NAMED = 4  # answers whose counts are kept apart; of more than these the third and on count as given once each
FLOOR = 1e-9  # no probability of a kind is below
State = tuple[int, int, int, int, int]  # the four highest counts, and how many more answers were given once
Kind = tuple[float, float, int, float, float]  # (theta, phi, others, blank, weight)


class World:
    """A prior over kinds, ready to be asked. `blind`: blanks are not modelled (no kind has any)."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        import numpy as np

        table = np.asarray(kinds, dtype=float)
        self.classes, at = np.unique(table[:, 3], return_inverse=True)  # (classes,) chances of a blank
        rows, where = np.unique(table[:, :3], axis=0, return_inverse=True)
        weights = np.zeros((len(rows), len(self.classes)))
        np.add.at(weights, (where.ravel(), at.ravel()), table[:, 4])
        self.groups = [(int(m), rows[rows[:, 2] == m], weights[rows[:, 2] == m]) for m in np.unique(rows[:, 2])]
        self.blind = bool((self.classes == 0).all())
        self.open = any(m == 0 for m, _, _ in self.groups)
        self.close = any(m > 0 for m, _, _ in self.groups)
        self._known: dict[tuple[State, int], float] = {}

    @classmethod
    def of(cls, priors: Priors) -> World:
        """The world of these priors: their `kinds`, else `voting` with open answers and without blanks."""
        return _world(priors.kinds or tuple((t, f, 0, 0.0, w) for t, f, w in priors.voting))

    def state(self, counts: tuple[int, ...]) -> State:
        """The state that stands for these counts, the highest first."""
        return canonical(counts, self.close, self.open)

    def p(self, state: State, blanks: int) -> float:
        """P(the leader is right)."""
        key = state, blanks
        if key not in self._known:
            import numpy as np

            right, every = self.evidence(np.array([state]))
            fade = self.fade(sum(state), blanks)
            total = float((every @ fade)[0])
            if len(self._known) > 1 << 16:
                self._known.clear()
            self._known[key] = float((right @ fade)[0]) / total if total > 0 else 0.0
        return self._known[key]

    def fade(self, votes: int, blanks: int) -> Floats:
        """(classes,): the likelihood of so many votes and blanks in one order. In a world without blanks they tell
        nothing."""
        import numpy as np

        found: Floats = np.ones(1) if self.blind else self.classes**blanks * (1.0 - self.classes) ** votes
        return found

    def ahead(self, state: State, blanks: int, wrong: float, most: int) -> tuple[float, ...]:
        """What 1, 2, ... `most` more draws taken blindly are expected to add to the value of the answer."""
        import numpy as np

        places = {(state, blanks): 1.0}  # probabilities, times what is common to all
        values, gains = [0.0], []
        for taken in range(most + 1):
            found = list(places)
            right, every = self.evidence(np.array([at for at, _ in found]))
            fades = np.array([self.fade(sum(at), blank) for at, blank in found])
            good, total = (right * fades).sum(axis=1), (every * fades).sum(axis=1)
            p = np.divide(good, total, out=np.zeros_like(total), where=total > 0)
            chances = np.array([places[place] for place in found]) * total
            chances /= max(float(chances.sum()), 1e-300)
            values.append(float(chances @ np.maximum(0.0, p - (1.0 - p) * wrong)))
            gains += [values[-1] - values[1]] if taken else []
            places = self._after(places)
        return tuple(gains)

    def _after(self, places: dict[tuple[State, int], float]) -> dict[tuple[State, int], float]:
        """The places after one more draw, and in how many ways each is come to."""
        found: dict[tuple[State, int], float] = {}
        for (state, blanks), often in places.items():
            if not self.blind:
                found[state, blanks + 1] = found.get((state, blanks + 1), 0.0) + often
            for way, counts in _ways(state):
                if (self.close and len(counts) <= NAMED) or (self.open and sum(c > 1 for c in counts) <= 2):
                    to = canonical(counts, self.close, self.open), blanks
                    found[to] = found.get(to, 0.0) + often * way
        return found

    def evidence(self, states: Whole) -> tuple[Floats, Floats]:
        """(states x classes): the probability of one order of the votes with the leader right, and in all."""
        import numpy as np

        right = np.zeros((len(states), len(self.classes)))
        every = np.zeros_like(right)
        for others, rows, weights in self.groups:
            theta, phi = np.maximum(rows[:, 0], FLOOR), np.maximum(rows[:, 1], FLOOR)
            kind = theta, phi, np.maximum(1.0 - theta - phi, FLOOR)
            possible = (states[:, 4] == 0) if others else (states[:, 2] <= 1)
            some = states[possible]
            good, bad = closed(some, others, *kind) if others else endless(some, *kind)
            right[possible] += good @ weights
            every[possible] += (good + bad) @ weights
        return right, every


@lru_cache(maxsize=64)
def _world(kinds: tuple[Kind, ...]) -> World:
    return World(kinds)


def closed(states: Whole, others: int, t: Floats, f: Floats, q: Floats) -> tuple[Floats, Floats]:
    """Likelihoods (states x kinds) of one order of the votes with the leader right, and with it not right, where wrong
    answers other than the mistake are `others` in number."""
    counts = states[:, :NAMED]
    wrong = [closed_if(counts, good, others, t, f, q) for good in (-1, *range(1, NAMED))]
    return closed_if(counts, 0, others, t, f, q), sum(wrong[1:], wrong[0])


def closed_if(counts: Whole, good: int, others: int, t: Floats, f: Floats, q: Floats) -> Floats:
    """The same (states x kinds) of counts (states x answers, 0: not seen) with the answer in column `good` the right
    one (-1: none of them; 0 where it was not seen), summed over which is the mistake."""
    import numpy as np

    n, seen, answers = counts.sum(axis=1), (counts > 0).sum(axis=1), counts.shape[1]
    times = np.arange(int(n.max(initial=0)) + 1)[:, None]
    right, mistaken, other = (base[None, :] ** times for base in (t, f, q / others))
    ways = np.array([_falling(others, j) for j in range(answers + 1)])
    a = counts[:, good] if good >= 0 else np.zeros_like(n)
    found: Floats = np.zeros((len(counts), len(t)))
    for mistake in range(-1, answers):
        if mistake >= 0 and mistake == good:
            continue
        b = counts[:, mistake] if mistake >= 0 else np.zeros_like(n)
        real = ((a > 0) | (good < 0)) & ((b > 0) | (mistake < 0))  # only an answer that was seen can be either
        rest = seen - (good >= 0) - (mistake >= 0)
        factor = np.where(real, ways[np.maximum(rest, 0)], 0.0)[:, None]
        found += right[a] * mistaken[b] * other[np.maximum(n - a - b, 0)] * factor
    return found


def endless(states: Whole, t: Floats, f: Floats, q: Floats) -> tuple[Floats, Floats]:
    """The same where there is no end to other wrong answers: each was given once."""
    import numpy as np

    a, b = states[:, :1], states[:, 1:2]
    n = states.sum(axis=1, keepdims=True)
    r = n - a - b

    def spare(k: Whole, special: Floats) -> Floats:
        """k answers that were given once each: one of them may be the special one, or none."""
        return np.where(k > 0, q**k + k * special * q ** np.maximum(k - 1, 0), 1.0)

    def both(k: Whole) -> Floats:
        """k answers that were given once each: the mistake and the right one may be among them."""
        two = k * (k - 1) * t * f * q ** np.maximum(k - 2, 0)
        return np.where(k > 0, q**k + k * (t + f) * q ** np.maximum(k - 1, 0) + two, 1.0)

    agreed = (t**a * f**b * q**r, f**a * t**b * q**r)
    leading = (t**a * spare(b + r, f), f**a * spare(b + r, t))
    single = t * spare(np.maximum(n - 1, 0), f)
    scattered = (single, both(n) - single)
    cases = [a == 0, (a >= 2) & (b >= 2), a >= 2]
    empty = (np.zeros_like(single), np.ones_like(single))
    right, wrong = (np.select(cases, [empty[i], agreed[i], leading[i]], default=scattered[i]) for i in range(2))
    return right, wrong


def _falling(m: int, j: int) -> float:
    """m (m - 1) ... (m - j + 1): the ways in which j different ones of m come in a given order."""
    found = 1.0
    for i in range(j):
        found *= max(0, m - i)
    return found


def canonical(counts: tuple[int, ...], close: bool, open_: bool) -> State:
    """The state that stands for these counts, the highest first, where answers are few (`close`), without end
    (`open_`), or may be either."""
    a, b, *rest = (*counts, 0, 0)[: max(2, len(counts))]
    if close and (len(rest) <= NAMED - 2 or not open_):
        top = sorted((a, b, sum(rest[:1]), sum(rest[1:])), reverse=True)
        return top[0], top[1], top[2], top[3], 0
    once = sum(rest)
    return a, b, min(once, 1), int(once > 1), max(0, once - 2)


@lru_cache(maxsize=256)
def states(n: int, close: bool, open_: bool) -> tuple[State, ...]:
    """All states with n votes that some kind can bring about."""
    found = _named(n) if close else []
    if open_:
        pairs = [(a, b) for a in range(1, n + 1) for b in range(min(a, n - a) + 1) if b or a == n]
        once = ((a, b, n - a - b) for a, b in pairs)
        found += [(a, b, min(r, 1), int(r > 1), max(0, r - 2)) for a, b, r in once if r >= NAMED - 1 or not close]
    return tuple(found) or ((0, 0, 0, 0, 0),)


def _named(n: int) -> list[State]:
    """Partitions of n into at most four parts, the highest first."""
    return [
        (a, b, c, n - a - b - c, 0)
        for a in range((n + 3) // 4, n + 1)
        for b in range(min(a, n - a), -1, -1)
        for c in range(min(b, n - a - b), -1, -1)
        if n - a - b - c <= c
    ]


@lru_cache(maxsize=256)
def moves(n: int, close: bool, open_: bool) -> tuple[Whole, Whole]:
    """(states x NAMED + 1) twice: where one more vote leads from each state with n votes, as places among those with
    n + 1, and in how many ways (0: padding)."""
    import numpy as np

    after = {state: i for i, state in enumerate(states(n + 1, close, open_))}
    here = states(n, close, open_)
    places, ways = (np.zeros((len(here), NAMED + 1), dtype=np.int64) for _ in range(2))
    for i, state in enumerate(here):
        following: dict[State, int] = {}
        for way, counts in _ways(state):
            if (close and len(counts) <= NAMED) or (open_ and sum(c > 1 for c in counts) <= 2):
                to = canonical(counts, close, open_)
                following[to] = following.get(to, 0) + way
        for j, (to, way) in enumerate(following.items()):
            places[i, j], ways[i, j] = after[to], way
    return places, ways


def _ways(state: State) -> list[tuple[int, tuple[int, ...]]]:
    """(ways, counts) after a vote for one of the answers so far, or for a new one."""
    counts = (*(c for c in state[:NAMED] if c), *[1] * state[4])
    found: list[tuple[int, tuple[int, ...]]] = [(1, (*counts, 1))]
    for count in set(counts):
        i = counts.index(count)  # among equals the first grows, so that the order stays
        found.append((counts.count(count), (*counts[:i], count + 1, *counts[i + 1 :])))
    return found
