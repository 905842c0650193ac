"""pass@k and maj@k without bias: what k draws would bring, over all ways in which they might have been drawn.

Both are means over every subset of k of a question's recorded draws, computed in closed form: no orders are sampled,
and a figure at k = 1 is the accuracy of one draw. Estimating them from the first k draws, or by 1 - (1 - share)^k, is
noisy in the first case and too low in the second (Chen et al. 2021, 2107.03374, on pass@k).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

from ..core.errors import CallerError
from .intervals import RESAMPLES, Interval, clustered

if TYPE_CHECKING:
    from .bank import Draw

EXACT = 128  # draws of a question up to which votes are counted in closed form
ORDERS = 2000  # random orders of more draws than that

Labelled: TypeAlias = "Sequence[tuple[str | None, bool]]"  # (key, right) of each draw; None: no answer


def pass_at_k(draws: int, right: int, k: int) -> float:
    """The chance that at least one of `k` of the draws is right: 1 - C(n - c, k) / C(n, k) (Chen et al. 2021).
    Raises `CallerError` unless 1 <= k <= draws and 0 <= right <= draws."""
    if not (1 <= k <= draws and 0 <= right <= draws):
        raise CallerError(
            f"pass@{k} of {draws} draws with {right} right: expected 1 <= k <= draws, 0 <= right <= draws"
        )
    return 1.0 - comb(draws - right, k) / comb(draws, k)


def maj_at_k(draws: Labelled) -> tuple[float, ...]:
    """The chance that the vote of k draws is right, for k = 1 .. len(draws): the mean over all subsets of k in all
    orders. Draws without an answer do not vote; ties go to the answer seen first, and so to each with the same chance.
    Where draws with one key differ in their labels, the vote is as right as the draw that brought it up first.

    Exact for up to 128 draws (the multivariate hypergeometric law, by polynomials in the number of draws), beyond that
    by 2,000 random orders."""
    if not draws:
        raise CallerError("maj@k needs draws")
    counts = Counter(key for key, _ in draws if key is not None)
    good = Counter(key for key, right in draws if key is not None and right)
    if len(draws) > EXACT:
        return _by_orders(draws)
    total = [0.0] * len(draws)
    for key, often in good.items():
        others = tuple(sorted(counts[other] for other in counts if other != key))
        leads = _leads(counts[key], others, len(draws))
        for k, chance in enumerate(leads):
            total[k] += chance * often / counts[key]
    return tuple(total)


@lru_cache(maxsize=4096)
def _leads(own: int, others: tuple[int, ...], draws: int) -> tuple[float, ...]:
    """P(an answer given by `own` of the draws wins the vote of k of them), k = 1 .. draws; ties count by share."""
    import numpy as np

    blanks = draws - own - sum(others)
    empty = np.array([float(comb(blanks, j)) for j in range(blanks + 1)])
    found = np.zeros(draws + 1)
    for votes in range(1, own + 1):
        # ways[j, t]: to take j draws of the others, nobody with more votes than `votes` and t answers with as many
        ways = np.zeros((draws + 1, sum(count >= votes for count in others) + 1))
        ways[: len(empty), 0] = empty
        for count in others:
            new = np.zeros_like(ways)
            for taken in range(min(count, votes - 1) + 1):
                new[taken:] += comb(count, taken) * ways[: draws + 1 - taken]
            if count >= votes:
                new[votes:, 1:] += comb(count, votes) * ways[: draws + 1 - votes, :-1]
            ways = new
        shares = ways @ (1.0 / np.arange(1, ways.shape[1] + 1))
        found[votes:] += comb(own, votes) * shares[: draws + 1 - votes]
    return tuple(float(found[k] / comb(draws, k)) for k in range(1, draws + 1))


def _by_orders(draws: Labelled) -> tuple[float, ...]:
    dice, rows, won = Random(0), list(draws), [0] * len(draws)
    for _ in range(ORDERS):
        dice.shuffle(rows)
        counts: Counter[str] = Counter()
        first: dict[str, tuple[int, bool]] = {}
        leader: str | None = None
        for k, (key, right) in enumerate(rows):
            if key is not None:
                first.setdefault(key, (k, right))
                counts[key] += 1
                if leader is None or (counts[key], -first[key][0]) > (counts[leader], -first[leader][0]):
                    leader = key
            won[k] += leader is not None and first[leader][1]
    return tuple(count / ORDERS for count in won)


@dataclass(frozen=True, slots=True)
class AtK:
    """What k draws of an arm bring, over `questions` questions: pass@k, maj@k (None where answers were not recorded),
    and the mean dollars of k draws (None: unknown)."""

    k: int
    questions: int
    passed: Interval
    majority: Interval | None
    usd: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        vote = self.majority.to_dict() if self.majority else None
        return {"k": self.k, "questions": self.questions, "pass": self.passed.to_dict(), "maj": vote, "usd": self.usd}


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """pass@k and maj@k of each question, (questions, k from 1 on), and the mean dollars of a draw of each."""

    questions: tuple[str, ...]
    passed: Any
    majority: Any | None
    usd: Any | None


def votes_of(deals: Mapping[str, Sequence[Draw]]) -> Votes:
    """Of one arm's draws by question, for k up to the fewest draws of any question, so that figures of different k are
    of the same questions. Raises `CallerError` without a question."""
    import numpy as np

    if not deals:
        raise CallerError("pass@k needs questions")
    fewest = min(map(len, deals.values()))
    passed = [[pass_at_k(len(r), sum(d.correct for d in r), k + 1) for k in range(fewest)] for r in deals.values()]
    known = all(draw.answer is not None for row in deals.values() for draw in row)
    majority = [maj_at_k([(d.key, d.correct) for d in row])[:fewest] for row in deals.values()] if known else None
    priced = all(draw.nanos is not None for row in deals.values() for draw in row)
    usd = [sum(d.nanos or 0 for d in row) / len(row) / 1e9 for row in deals.values()] if priced else None
    return Votes(
        tuple(deals),
        np.array(passed),
        np.array(majority) if majority is not None else None,
        np.array(usd) if usd is not None else None,
    )


def at_k(
    deals: Mapping[str, Sequence[Draw]], ks: Sequence[int] | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> list[AtK]:
    """pass@k and maj@k of an arm, with 95% intervals by question. `ks` (None: 1, 2, 4, ... and the most) beyond the
    fewest draws of any question are a `CallerError`."""
    votes = votes_of(deals)
    most = votes.passed.shape[1]
    wanted = list(ks) if ks is not None else sorted({2**i for i in range(most.bit_length())} | {most})
    found = []
    for k in wanted:
        if not 1 <= k <= most:
            raise CallerError(f"k={k}: every question has {most} draws or more: expected 1 <= k <= {most}")
        passed = clustered(votes.passed[:, k - 1], resamples=resamples, seed=seed)
        majority = votes.majority
        vote = clustered(majority[:, k - 1], resamples=resamples, seed=seed) if majority is not None else None
        usd = float(k * votes.usd.mean()) if votes.usd is not None else None
        found.append(AtK(k, len(votes.questions), passed, vote, usd))
    return found
