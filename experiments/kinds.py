"""Which kinds of question there are, from a bank of draws: the prior of the votes (`budgets.voting_world`).

Every (question, model, arm) with two or more recorded draws is one piece of evidence: how often the right answer came,
how often each wrong one, and how many draws held no answer. Weights are the maximum-likelihood mixing distribution on
a fixed grid, by EM (Dempster, Laird & Rubin 1977; on a grid, Laird 1978), held to the declared ones by as much as
`HELD` groups weigh: few groups move them little.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from ..budgets.priors import DEFAULT_PRIORS
from ..budgets.voting_world import FLOOR, NAMED, Kind, closed_if
from .bank import Draw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

# (right, how often each wrong answer came, the commonest first, blanks)
Ballots: TypeAlias = "tuple[int, tuple[int, ...], int]"
HELD = 20.0  # groups' worth of evidence that the declared weights count for
ROUNDS, ENOUGH = 400, 1e-7  # of EM; log-likelihood per group that a round must gain
STRAY = 1e-12  # the likelihood of what no kind can bring about: it does not decide


def ballots_of(row: tuple[Draw, ...]) -> Ballots | None:
    """A group's votes; None where an answer was not recorded."""
    if any(draw.answer is None for draw in row):
        return None
    wrong = Counter(draw.key for draw in row if draw.key is not None and not draw.correct)
    blanks = sum(draw.key is None for draw in row)
    return len(row) - blanks - wrong.total(), tuple(sorted(wrong.values(), reverse=True)), blanks


def kinds(groups: Counter[Ballots]) -> tuple[Kind, ...]:
    """The declared kinds with the weights that the groups teach; they sum to 1."""
    import numpy as np

    declared = DEFAULT_PRIORS.kinds
    prior = np.array([kind[4] for kind in declared])
    logs, often = _logs(groups)
    likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights, before = prior.copy(), -np.inf
    for _ in range(ROUNDS):
        each = likelihood @ weights
        weights = weights * (likelihood.T @ (often / each)) + HELD * prior
        weights /= weights.sum()
        now = float(often @ np.log(each)) / often.sum()
        if now - before < ENOUGH and np.isfinite(before):
            break
        before = now
    rounded = [round(float(w), 9) for w in weights]
    total = sum(rounded)
    return tuple((t, f, m, b, w / total) for (t, f, m, b, _), w in zip(declared, rounded, strict=True))


def log_loss(groups: Counter[Ballots], prior: tuple[Kind, ...]) -> float:
    """Nats per group: minus the mean log-probability of what was drawn, in the order in which it was."""
    import numpy as np

    logs, often = _logs(groups)
    weights = np.array([kind[4] for kind in prior])
    each = np.logaddexp.reduce(logs + np.log(np.maximum(weights, 1e-300)), axis=1)
    return -float(often @ each / often.sum())


def _logs(groups: Counter[Ballots]) -> tuple[Floats, Floats]:
    """Log-likelihoods (groups x declared kinds), and how many groups look so."""
    import numpy as np

    table = np.asarray(DEFAULT_PRIORS.kinds)
    t, f, m, blank = (np.ascontiguousarray(table[:, i]) for i in range(4))
    q = np.maximum(1.0 - t - f, FLOOR)
    votes = [seen(right, wrong) for right, wrong, _ in groups]
    found = np.zeros((len(groups), len(table)))
    few = [i for i, (_, wrong) in enumerate(votes) if len(wrong) < NAMED]
    once = [i for i, (_, wrong) in enumerate(votes) if not wrong or sum(wrong[1:]) == len(wrong[1:])]
    for others in sorted({int(x) for x in m}):
        at = np.flatnonzero(m == others)
        rows = few if others else once
        if rows:
            some = [votes[i] for i in rows]
            parts = _closed(some, others, t[at], f[at], q[at]) if others else _endless(some, t[at], f[at], q[at])
            found[np.array(rows)[:, None], at] = parts
    blanks = np.array([b for _, _, b in groups])[:, None]
    answered = np.array([right + sum(wrong) for right, wrong in votes])[:, None]
    logs = np.log(found + STRAY ** np.maximum(1, answered / 4)) + blanks * np.log(blank) + answered * np.log(1 - blank)
    return logs, np.asarray(list(groups.values()), dtype=float)


def seen(right: int, wrong: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The votes as some kind can bring them about: of too many repeated answers the later ones count as given once."""
    if len(wrong) < NAMED or sum(count > 1 for count in wrong) <= 1:
        return right, wrong
    return right, (wrong[0], *[1] * sum(wrong[1:]))


def _closed(votes: list[tuple[int, tuple[int, ...]]], others: int, t: Floats, f: Floats, q: Floats) -> Floats:
    import numpy as np

    counts = np.array([[right, *wrong, *[0] * (NAMED - 1 - len(wrong))] for right, wrong in votes])
    known = counts[:, :1] > 0
    return np.where(known, closed_if(counts, 0, others, t, f, q), closed_if(counts, -1, others, t, f, q))


def _endless(votes: list[tuple[int, tuple[int, ...]]], t: Floats, f: Floats, q: Floats) -> Floats:
    """The right draws have theta; of the wrong ones the one that was repeated is the mistake, else any may be."""
    import numpy as np

    right, most, all_ = (
        np.array(column)[:, None] for column in zip(*((r, max(w, default=0), sum(w)) for r, w in votes), strict=True)
    )
    once = q**all_ + all_ * f * q ** np.maximum(all_ - 1, 0)
    wrong = np.where(most >= 2, f**most * q ** (all_ - most), np.where(all_ > 0, once, 1.0))
    found: Floats = t**right * wrong
    return found
