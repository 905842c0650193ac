"""Which workflow is edited next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp, log, sqrt
from random import Random
from typing import Literal

from .archive import Archive, Entry
from .scoring import Terms

Select = Literal["mixed", "ucb"]
TOP = 12  # workflows that stand for a choice, beside the best seed
EVEN = 0.2  # share of the choice that is uniform (AFlow's lambda)
SHARP = 40.0  # how much a point of net utility counts in the rest of it: AFlow's 0.4 for a per cent
BONUS = 0.05  # of UCB, in net utility: about what two workflows differ by


def choose(archive: Archive, terms: Terms, dice: Random, select: Select) -> Entry:
    """The workflow to edit. "mixed": drawn from the best and the best seed, in part evenly, in part by their scores
    (AFlow, 2410.10762). "ucb": the highest score plus what is owed to those that were seldom edited (UCB1, Auer et al.
    2002)."""
    ranked = sorted(archive.scored, key=lambda one: (-archive.value(one, terms), one.number))
    tries = Counter(entry.parent for entry in archive.entries if entry.parent is not None)
    if select == "ucb":
        total = 1 + sum(tries.values())
        return max(
            ranked, key=lambda one: archive.value(one, terms) + BONUS * sqrt(log(total + 1) / (1 + tries[one.number]))
        )
    top = ranked[:TOP]
    seed = next((one for one in ranked if one.by == "seed"), None)
    if seed is not None and seed not in top:
        top.append(seed)
    return dice.choices(top, chances([archive.value(one, terms) for one in top]))[0]


def chances(scores: Sequence[float]) -> list[float]:
    """AFlow's mixture of an even choice and a soft maximum."""
    best = max(scores)
    soft = [exp(SHARP * (score - best)) for score in scores]
    total = sum(soft)
    return [EVEN / len(scores) + (1 - EVEN) * one / total for one in soft]


def experience(archive: Archive, terms: Terms) -> dict[str, float]:
    """What each kind of edit has brought: the share of its workflows that were better than what they were made of,
    with one good and one bad try added."""
    good: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for entry in archive.entries:
        if entry.parent is None or entry.by != "grammar":
            continue
        tried[entry.kind] += 1
        if entry.status == "scored":
            good[entry.kind] += archive.value(entry, terms) > archive.value(archive.entries[entry.parent], terms)
    return {kind: (1 + good[kind]) / (2 + tried[kind]) for kind in tried}
