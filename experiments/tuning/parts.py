"""Parts: each part of the questions is held out once, while a whole search runs on the others."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .playing import Player
from .searching import Found, Told, places, search

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one part: the choice and the baseline that the other parts spoke for, `questions` held out, and
    their mean improvement (points)."""

    choice: str
    baseline: str
    questions: int
    improvement: float


@dataclass(frozen=True, slots=True)
class Part:
    """Held-out differences (questions, worths) from the baseline, of the choice and of the best rival, on the questions
    at the places `at` of the space."""

    told: Judged
    at: tuple[int, ...]
    gaps: Floats
    rivals: Floats

    @classmethod
    def of(cls, player: Player, found: Found, train: Sequence[int], held: Sequence[int]) -> Part:
        at = places(player.space, player, held)
        base = player.gains(found.baseline, train, at)
        gaps = player.gains(found.choice, train, at) - base if found.choice != found.baseline else base * 0.0
        rivals = gaps
        if found.choice == found.baseline and found.rival is not None:
            rivals = player.gains(found.rival, train, at) - base
        told = Judged(found.choice.label, found.baseline.label, len(at), round(100 * float(gaps.mean()), 4))
        return cls(told, tuple(at), gaps, rivals)


def part_of(player: Player, group: Sequence[int], trials: int, seed: int, told: Told | None = None) -> Part | None:
    """A search on all folds but `group`, judged on `group`; None where it was interrupted."""
    others = [fold for fold in player.bank.folds if fold not in group]
    try:
        found = search(player, others, trials=trials, seed=seed, told=told)
        return None if found.interrupted else Part.of(player, found, others, group)
    except KeyboardInterrupt:
        return None


def _sent(player: bytes, group: Sequence[int], trials: int, seed: int) -> Part | None:
    return part_of(pickle.loads(player), group, trials, seed)


@contextmanager
def held_out(
    player: Player, groups: Sequence[Sequence[int]], trials: int, seed: int, jobs: int, told: Told
) -> Iterator[Callable[[], tuple[list[Part], bool]]]:
    """What gives the parts in order, and whether an interrupt left some of them out. With several `jobs` they are
    searched in processes of their own, from now on."""
    if jobs == 1:

        def one_by_one() -> tuple[list[Part], bool]:
            done: list[Part] = []
            for group in groups:
                part = part_of(player, group, trials, seed, told)
                if part is None:
                    return done, True
                done.append(part)
            return done, False

        yield one_by_one
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    sent = pickle.dumps(Player(player.bank, player.space, player.worths, player.seed))  # now: it is about to change
    futures = [pool.submit(_sent, sent, group, trials, seed) for group in groups]

    def gathered() -> tuple[list[Part], bool]:
        done: list[Part] = []
        try:
            for group, future in zip(groups, futures, strict=True):
                try:
                    part = future.result()
                except BrokenProcessPool:  # somebody killed a worker: the part is the same whoever searches it
                    part = part_of(player, group, trials, seed)
                if part is None:
                    return done, True
                done.append(part)
        except KeyboardInterrupt:
            return done, True
        return done, False

    try:
        yield gathered
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
