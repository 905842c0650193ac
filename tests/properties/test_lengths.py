"""The learned upper quantile of lengths: it covers what it says, whatever they are like, and says nothing too early."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satisfice.budgets.lengths import EDGES, Lengths

DRAWS = {
    "even": lambda dice: dice.randint(1, 2000),
    "one value": lambda dice: 37,
    "short or endless": lambda dice: 8 if dice.random() < 0.97 else 4096,
    "heavy tail": lambda dice: int(dice.paretovariate(1.2) * 10),
}


def test_edges_rise_by_a_tenth_at_the_most() -> None:
    assert EDGES[0] == 1
    assert all(a < b <= a * 1.1 + 1 for a, b in pairwise(EDGES))


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_it_waits_until_there_are_enough_replies(q: float) -> None:
    lengths = Lengths()
    fewest = round(q / (1 - q))
    for _ in range(fewest - 1):
        lengths.add(10)
        assert lengths.upper(q) is None
    lengths.add(10)
    assert lengths.upper(q) == 11


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("q", [0.8, 0.95])
def test_the_next_reply_is_within_it_as_often_as_promised(name: str, q: float) -> None:
    dice, draw, rounds = Random(7), DRAWS[name], 2000
    inside = 0
    for _ in range(rounds):
        upper = Lengths.of(draw(dice) for _ in range(60)).upper(q)
        assert upper is not None
        inside += draw(dice) < upper
    assert inside / rounds >= q - 3 * (q * (1 - q) / rounds) ** 0.5


@given(st.lists(st.integers(0, 20_000_000), min_size=1, max_size=60), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_it_rises_with_the_quantile_and_adds_up(tokens: list[int], one: float, other: float) -> None:
    lengths, (low, high) = Lengths.of(tokens), sorted((one, other))
    if (above := lengths.upper(high)) is not None:
        below = lengths.upper(low)
        assert below is not None
        assert below <= above <= 1.1 * min(max(tokens), EDGES[-1]) + 3
    halves = Lengths.of(tokens[::2])
    halves += Lengths.of(tokens[1::2])
    assert halves == lengths
