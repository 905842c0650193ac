"""Posteriors of many states at once: the arithmetic of `budgets.evidence`, over arrays. A fit of verifiers asks for a
hundred thousand of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING, TypeAlias

from ..budgets.evidence import AGAIN, Answers, _capped, _log1p_sum
from ..core.belief import Priors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Places: TypeAlias = NDArray[np.intp]

CHUNK = 2048  # states at once


def leaders(states: Sequence[Answers], priors: Priors) -> tuple[Places, Floats]:
    """Of each state, which has one answer or more: the likeliest answer (the first of equals) and P(it is right), as
    `budgets.evidence.posterior` has them."""
    import numpy as np

    alike: dict[int, list[int]] = defaultdict(list)
    for i, answers in enumerate(states):
        alike[len(answers)].append(i)
    best, chance = np.zeros(len(states), dtype=np.intp), np.zeros(len(states))
    for width, places in alike.items():
        for start in range(0, len(places) if width else 0, CHUNK):
            some = places[start : start + CHUNK]
            counts = np.array([_capped(tuple(a.count for a in states[i])) for i in some], dtype=float)
            ratios = np.array([[a.ratio(priors) for a in states[i]] for i in some])
            best[some], chance[some] = _leaders(counts, ratios, np.asarray(priors.voting, dtype=float))
    return best, chance


def _leaders(counts: Floats, ratios: Floats, voting: Floats) -> tuple[Places, Floats]:
    """The same of states (states x answers) with as many answers each. Arrays below are (kinds x states x answers)."""
    import numpy as np

    theta, phi = np.maximum(voting[:, 0], 1e-6), np.maximum(voting[:, 1], 1e-6)
    fresh = np.maximum(1.0 - theta - phi, 1e-6)
    t, f, q = (np.log(x)[:, None, None] for x in (theta, phi, fresh))
    seen = counts[None]
    as_fresh = seen * q + (seen - 1) * log(AGAIN)
    as_mistake = seen * f - as_fresh
    base = as_fresh.sum(axis=2, keepdims=True)
    with np.errstate(divide="ignore"):
        told = np.log(ratios)[None]
    right = seen * t + base - as_fresh + _log1p_others(as_mistake) + told
    none = base + _log1p_sum(as_mistake)[:, :, None]
    logs = np.concatenate([right, none], axis=2) + np.log(np.maximum(voting[:, 2], 1e-300))[:, None, None]
    masses = np.exp(logs - logs.max(axis=(0, 2), keepdims=True)).sum(axis=0)
    best = masses[:, :-1].argmax(axis=1)
    return best, np.take_along_axis(masses, best[:, None], axis=1)[:, 0] / masses.sum(axis=1)


def _log1p_others(logs: Floats) -> Floats:
    """For each place of the last axis log(1 + the sum of exp of the others there)."""
    import numpy as np

    first = logs.argmax(axis=-1)[..., None]
    scale = np.maximum(logs.max(axis=-1, keepdims=True), 0.0)
    parts = np.exp(logs - scale)
    found: Floats = np.log(np.maximum(np.exp(-scale) + parts.sum(axis=-1, keepdims=True) - parts, 1e-300)) + scale
    without = logs.copy()  # taking the largest part away by subtraction would leave nothing but rounding
    np.put_along_axis(without, first, -np.inf, axis=-1)
    np.put_along_axis(found, first, _log1p_sum(without)[..., None], axis=-1)
    return found
