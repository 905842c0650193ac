from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from satisfice.scheduler.paths import decode, encode, seed_of

numbers = st.one_of(st.integers(0, 12), st.integers(0, 10**20))
paths = st.lists(numbers, max_size=6).map(tuple)
# Neighbours: paths that share a beginning, where orders are most likely to part.
pairs = st.tuples(paths, paths, paths).map(lambda three: (three[0] + three[1], three[0] + three[2]))


@given(pairs)
@example(((), (0,)))
@example(((9,), (10,)))
@example(((3,), (3, 0)))
@example(((3, 1), (31,)))
def test_text_order_is_tuple_order(pair: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    one, other = pair
    assert (encode(one) < encode(other)) == (one < other)
    assert (encode(one) == encode(other)) == (one == other)
    assert (encode(one).encode() < encode(other).encode()) == (one < other)  # SQLite compares bytes


@given(paths)
def test_decode_undoes_encode(path: tuple[int, ...]) -> None:
    assert decode(encode(path)) == path


@pytest.mark.parametrize("text", ["3", "a", "a12", "b1", "b01", "a3.", ".a3", "a-1", "A3", "a3 ", "a³", "?3"])
def test_decode_refuses_what_encode_does_not_write(text: str) -> None:
    with pytest.raises(ValueError, match="not an encoded path"):
        decode(text)


@pytest.mark.parametrize("number", [-1, 10**26])
def test_encode_refuses_numbers_out_of_range(number: int) -> None:
    with pytest.raises(ValueError, match="numbers from 0"):
        encode((1, number))


@given(st.integers(), paths)
def test_seeds_have_31_bits(run_seed: int, path: tuple[int, ...]) -> None:
    assert 0 <= seed_of(run_seed, path) < 2**31


def test_seeds_are_the_same_everywhere_and_differ_by_run_and_path() -> None:
    assert seed_of(7, (3, 12)) == 1018747681
    assert len({seed_of(run, (a, b)) for run in range(10) for a in range(10) for b in range(10)}) == 1000
