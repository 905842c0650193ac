"""Kernels: the arithmetic of voting, compiled. A property test holds each against the plan or the table it stands for.

Numba is imported here and nowhere else; live request paths never import this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Whole: TypeAlias = NDArray[np.int64]
    Small: TypeAlias = NDArray[np.uint8]

NOTHING = 1e-13  # a gain below is none
UNSEEN = 255  # no draw leads


def _compiled(function: Any) -> Any:
    return numba.njit(cache=True, nogil=True)(function)


@_compiled
def tabulate(right: Floats, places: Whole, odds: Floats, last: int, prices: Floats) -> tuple[Floats, Floats]:
    """Backward induction over all states for each price: the gain of the best way on and its expected draws, (prices x
    states) each.

    `right` (states,): P(right) of the answer on offer, states with fewer draws first. `places`, `odds` (states x ways):
    the successors of the states before `last`, and their probabilities; from `last` on nothing may be drawn.
    """
    count = len(right)
    gain, draws = np.zeros((len(prices), count)), np.zeros((len(prices), count))
    value, length = np.empty(count), np.empty(count)
    for k in range(len(prices)):
        price = prices[k]
        for i in range(count - 1, -1, -1):
            value[i], length[i] = right[i], 0.0
            if i >= last:
                continue
            ahead, further = 0.0, 1.0
            for j in range(places.shape[1]):
                ahead += odds[i, j] * value[places[i, j]]
                further += odds[i, j] * length[places[i, j]]
            if ahead - price * further > right[i] + NOTHING:
                value[i], length[i] = ahead, further
        # `value` is before its price: what is maximised is value - price * length.
        gain[k], draws[k] = value - right, length
    return gain, draws


@_compiled
def met(draws: Floats, places: Whole, odds: Floats, least: float) -> NDArray[np.bool_]:
    """Which states (states,) a run from the first one meets with a chance of `least` or more at any of the prices, by
    the tables `draws` (prices x states)."""
    count = draws.shape[1]
    found = np.zeros(count, dtype=np.bool_)
    for k in range(len(draws)):
        chance = np.zeros(count)
        chance[0] = 1.0
        for i in range(count):
            if chance[i] < least:
                continue
            found[i] = True
            if draws[k, i] > 0:
                for j in range(places.shape[1]):
                    chance[places[i, j]] += chance[i] * odds[i, j]
    return found


@_compiled
def vote(answers: Small, orders: Small, named: Whole, scattered: Whole, go: Small, stops: Whole, leaders: Small) -> int:
    """Replays of adaptive voting. Returns how many draws were taken.

    `answers` (questions x draws): which answer each recorded draw holds, from 1; 0: none. `orders` (questions x runs x
    draws): the places in which a run meets them. `named` (a, b, c, d) and `scattered` (a, b, others): the row of a
    state in `go` (rows x blanks), by its four highest counts where it has no more answers, else by its two highest and
    all others' votes; `go` says whether to draw once more. Fills `stops` and `leaders` (questions x runs): draws taken,
    and the place of the first draw of the answer with the most votes, the one seen first of equals (`UNSEEN`: none).
    """
    taken = 0
    most = answers.shape[1]
    counts = np.zeros(most + 2, dtype=np.int64)
    ranks = np.zeros(most + 2, dtype=np.int64)  # of an answer, the highest count first
    ranked = np.zeros(most + 6, dtype=np.int64)  # the counts by rank
    holder = np.zeros(most + 6, dtype=np.int64)  # the answers by rank
    place = np.zeros(most + 2, dtype=np.int64)  # of an answer's first draw
    since = np.zeros(most + 2, dtype=np.int64)  # after how many draws it was first seen
    for q in range(answers.shape[0]):
        for r in range(orders.shape[1]):
            counts[:], ranked[:] = 0, 0
            different, blanks, n, leader = 0, 0, 0, 0
            while n < most:
                top = (ranked[0], ranked[1], ranked[2], ranked[3])
                if different <= 4:
                    row = named[top[0], top[1], top[2], top[3]]
                else:
                    row = scattered[top[0], top[1], n - blanks - top[0] - top[1]]
                if not go[row, blanks]:
                    break
                at = orders[q, r, n]
                answer = answers[q, at]
                n += 1
                if answer == 0:
                    blanks += 1
                    continue
                if counts[answer] == 0:
                    ranks[answer], holder[different] = different, answer
                    place[answer], since[answer] = at, n
                    different += 1
                old, rank = counts[answer], ranks[answer]
                front = rank
                while front > 0 and ranked[front - 1] == old:
                    front -= 1
                if front != rank:
                    other = holder[front]
                    holder[front], holder[rank] = answer, other
                    ranks[answer], ranks[other] = front, rank
                counts[answer] = old + 1
                ranked[front] = old + 1
                ahead = old + 1 - counts[leader]  # counts[0] is 0: nobody leads yet
                if ahead > 0 or (ahead == 0 and since[answer] < since[leader]):
                    leader = answer
            stops[q, r] = n
            leaders[q, r] = place[leader] if leader else UNSEEN
            taken += n
    return taken
