"""Chains: what recorded draws did under a verifier, from one draw to the next (`budgets.scored`).

Each question's readable draws are dealt in a few random orders. After each draw the votes and verdicts so far make one
posterior; the probability of its likeliest answer falls on one of ten levels. Counted are how often the likeliest
answer was right, and where one more draw led. Shares right rise with the level (pool adjacent violators) and are drawn
to the level's own over all numbers of draws, as transitions are, where there are few. The same is counted of the
best-scored answer. How much of the gains that a chain promises comes is seen on questions that it was not fitted on
(`ChainPolicy.kept`), and of the two chains the one whose stops were worth more on those is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from ..budgets.evidence import Answers, Evidence
from ..budgets.policy import ChainPolicy, VerifierPolicy
from ..budgets.scored import table
from ..core.belief import Priors
from .bank import Bank, Group
from .curving import falling
from .posteriors import leaders

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

LEVELS, ORDERS, MOST_DRAWS = 10, 2, 32
SMOOTHING = 5.0  # questions' worth of what holds for all numbers of draws
PRICES = (0.001, 0.003, 0.01, 0.03)  # of a draw, at which two ways of choosing the answer are compared
FEWEST, LEAST_DRAWS = 60, 3  # questions, and readable draws of each, below which no chain is made
PARTS = 5  # of the questions, each judged by a chain that was fitted on the others
LEAST_KEPT, SURE = 0.05, 2.0  # of promises; standard errors below 1 from which they are believed not to be kept in full


def fit_chains(
    bank: Bank, verifiers: Mapping[str, VerifierPolicy], priors: Priors, *, orders: int = ORDERS, seed: int = 0
) -> dict[str, ChainPolicy]:
    """A chain for each verifier that told of every draw on 60 questions or more. With `priors` of the votes."""
    found = {}
    for name, verifier in verifiers.items():
        known = Priors(priors.voting, fitted=True, channels={name: verifier.channel()})
        rows, blanks, draws = [], 0, 0
        for group in bank.draws:
            whole = _readable(bank, group, name, verifier)
            if whole is None:
                continue
            blanks, draws = blanks + whole[1], draws + len(bank.draws[group])
            rows.append((group, whole[0]))
        usual = _usual([len(row) for _, row in rows])
        dealt = [(group, row) for group, row in rows if len(row) >= usual]
        if len(dealt) >= FEWEST and usual >= LEAST_DRAWS:
            dealt_so = [_dealt(row, usual, f"{seed}/{group}", orders) for group, row in dealt]
            flat = [one for row in dealt_so for one in row]
            blank, parts = blanks / max(1, draws), _parts([bank.questions[group[0]].fold for group, _ in dealt])
            found[name] = max(
                (
                    _judged(_Walks.of(walks, orders), parts, blank, by_score)
                    for by_score, walks in ((False, _weighed(flat, name, known)), (True, [*map(_scored, flat)]))
                ),
                key=lambda pair: pair[1],
            )[0]
    return found


Dealt: TypeAlias = "list[tuple[str, float, bool]]"  # (key, calibrated p, right) of each readable draw
States: TypeAlias = "list[list[tuple[float, bool]]]"  # by row: (p of the leader, is it right) after 1, 2, ... draws


def _usual(sizes: list[int]) -> int:
    """The number of draws that four questions of five have."""
    ranked = sorted(sizes)
    return min(MOST_DRAWS, ranked[len(ranked) // 5]) if ranked else 0


def _readable(bank: Bank, group: Group, name: str, verifier: VerifierPolicy) -> tuple[Dealt, int] | None:
    """The readable draws and how many were not; None where the verifier did not tell of one of them."""
    kind, found, blanks = bank.questions[group[0]].kind, [], 0
    for draw in bank.draws[group]:
        if draw.key is None:
            blanks += 1
            continue
        said = bank.verdicts.get((*group, draw.sample_index), {}).get(name)
        if said is None or said.score is None:
            return None
        found.append((draw.key, verifier.p(said.score, kind), draw.correct))
    return found, blanks


def _dealt(row: Dealt, most: int, seed: str, orders: int) -> list[Dealt]:
    return [Random(f"{seed}/{i}").sample(row, len(row))[:most] for i in range(orders)]


def _parts(folds: list[int]) -> list[int]:
    """The part of each question: folds stay together, as they keep together what belongs together."""
    ranks = {fold: i for i, fold in enumerate(sorted(set(folds)))}
    return [(ranks[fold] if len(ranks) > 1 else i) % PARTS for i, fold in enumerate(folds)]


@dataclass(frozen=True)
class _Walks:
    """(questions, orders, draws) of the leader's p, and of whether it is right (0, 1)."""

    p: Floats
    right: Floats

    @classmethod
    def of(cls, states: States, orders: int) -> _Walks:
        import numpy as np

        pairs = np.asarray(states, dtype=float).reshape(-1, orders, len(states[0]), 2)
        return cls(pairs[..., 0], pairs[..., 1])


def _judged(walks: _Walks, parts: list[int], blank: float, by_score: bool) -> tuple[ChainPolicy, float]:
    """The chain of all questions with the share of promises that others like it kept, and what those are worth: mean
    net over some prices, each question by the chain of the other parts."""
    import numpy as np

    part, each = np.asarray(parts), []
    for k in sorted(set(parts)):
        rest = _Walks(walks.p[part != k], walks.right[part != k])
        each.append((_Walks(walks.p[part == k], walks.right[part == k]), _chain(rest, blank, by_score)))
    promised, came, _ = (np.concatenate(rows) for rows in zip(*(_played(*one) for one in each), strict=True))
    kept = _kept(promised, came)
    nets = [_played(mine, chain.model_copy(update={"kept": kept}))[2] for mine, chain in each]
    return _chain(walks, blank, by_score).model_copy(update={"kept": kept}), float(np.concatenate(nets).mean())


def _kept(promised: Floats, came: Floats) -> float:
    """The share of promises kept, by question; 1 where there are too few to tell it from that."""
    if promised.sum() <= 0:
        return 1.0
    share = float(came.sum() / promised.sum())
    error = float(((came - share * promised) ** 2).sum() ** 0.5 / promised.sum())
    return round(max(share, LEAST_KEPT), 6) if share + SURE * error < 1.0 else 1.0


def _played(walks: _Walks, chain: ChainPolicy) -> tuple[Floats, Floats, Floats]:
    """By question, mean over orders and prices: gains promised in all states after a first draw in which the chain goes
    on, what came of them by its stop, and the net at the stop."""
    import numpy as np

    level = np.searchsorted(np.asarray(chain.cuts), walks.p, side="right")
    last = level.shape[2] - 1
    found = []
    for price in PRICES:
        size, gain = table(chain.chain(), last + 1, price / (1.0 - chain.blank))
        goes = np.stack([size[n + 1][level[:, :, n]] > 0 for n in range(last)], axis=2)
        going = np.cumprod(goes, axis=2)  # after draw 1, 2, ...: has not stopped yet
        stop = going.sum(axis=2)
        at = np.take_along_axis(walks.right, stop[:, :, None], axis=2)
        hoped = np.stack([gain[n + 1][level[:, :, n]] for n in range(last)], axis=2)
        rows = ((going * hoped).sum(axis=2), (going * (at - walks.right[:, :, :last])).sum(axis=2))
        net = at[:, :, 0] - price * (stop + 1) / (1.0 - chain.blank)
        found.append([row.mean(axis=1) for row in (*rows, net)])
    promised, came, nets = np.mean(found, axis=0)
    return promised, came, nets


def _scored(row: Dealt) -> list[tuple[float, bool]]:
    """The best-scored answer so far, its first draw's score: calibrated p and whether it is right."""
    first: dict[str, tuple[float, bool]] = {}
    found = []
    for key, p, right in row:
        first.setdefault(key, (p, right))
        found.append(max(first.values(), key=lambda pair: pair[0]))
    return found


def _weighed(rows: list[Dealt], name: str, priors: Priors) -> States:
    """Of each row after each draw the likeliest answer by votes and verdicts: its posterior probability, and whether it
    is right."""
    states: list[Answers] = []
    rights: list[list[bool]] = []
    for row in rows:
        counts: dict[str, int] = {}
        first: dict[str, tuple[float, bool]] = {}
        for key, p, right in row:
            counts[key] = counts.get(key, 0) + 1
            first.setdefault(key, (p, right))
            states.append(tuple(Evidence(n, ((name, first[k][0]),)) for k, n in counts.items()))
            rights.append([right for _, right in first.values()])
    best, chance = leaders(states, priors)
    walks = iter([(float(p), right[i]) for i, p, right in zip(best, chance, rights, strict=True)])
    return [[next(walks) for _ in row] for row in rows]


def _chain(walks: _Walks, blank: float, by_score: bool) -> ChainPolicy:
    import numpy as np

    p, right = walks.p, walks.right
    cuts = np.unique(np.quantile(p, np.linspace(0, 1, LEVELS + 1)[1:-1]).round(9))
    level = np.searchsorted(cuts, p, side="right")
    share = 1.0 / p.shape[1]
    return ChainPolicy(
        cuts=tuple(map(float, cuts)),
        right=_rights(level, right, len(cuts) + 1, share),
        moves=_moves(level, len(cuts) + 1, share),
        blank=round(blank, 6),
        by_score=by_score,
        questions=len(p),
    )


def _rights(level: NDArray[np.intp], right: Floats, levels: int, share: float) -> tuple[tuple[float, ...], ...]:
    import numpy as np

    seen = np.bincount(level.ravel(), minlength=levels)
    usual = np.bincount(level.ravel(), right.ravel(), levels) / np.maximum(seen, 1)
    found = [(0.0,) * levels]
    for n in range(level.shape[2]):
        often = share * np.bincount(level[:, :, n].ravel(), minlength=levels) + SMOOTHING
        won = share * np.bincount(level[:, :, n].ravel(), right[:, :, n].ravel(), levels) + SMOOTHING * usual
        rising = falling(list((won / often)[::-1]), list(often[::-1]))[::-1]
        found.append(tuple(round(float(x), 6) for x in rising))
    return tuple(found)


def _moves(level: NDArray[np.intp], levels: int, share: float) -> tuple[tuple[tuple[float, ...], ...], ...]:
    import numpy as np

    def counts(before: NDArray[np.intp], after: NDArray[np.intp]) -> Floats:
        table = np.bincount((before * levels + after).ravel(), minlength=levels * levels)
        return share * table.reshape(levels, levels).astype(float)

    none = np.zeros_like(level[:, :, 0])
    steps = [counts(none, level[:, :, 0])]
    steps += [counts(level[:, :, n], level[:, :, n + 1]) for n in range(level.shape[2] - 1)]
    after = sum(steps[1:], np.zeros((levels, levels)))
    usual = (after + np.eye(levels)) / (after.sum(axis=1, keepdims=True) + 1.0)
    first = np.tile(steps[0][0] / steps[0][0].sum(), (levels, 1))
    tables = [
        first,
        *((step + SMOOTHING * usual) / (step.sum(axis=1, keepdims=True) + SMOOTHING) for step in steps[1:]),
    ]
    return tuple(tuple(tuple(round(float(x), 6) for x in row) for row in table) for table in tables)
