"""An ensemble without labels: error rates of binary verifiers from how they agree.

Dawid & Skene (1979) by EM, started from moments (Parisi et al. 2014; Jaffe, Nadler & Kluger 2015). It assumes that
most verifiers are better than chance: agreement alone cannot tell a set of verifiers from its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...budgets.calibrators import SURE, EnsembleModel, Part, Step, logit

if TYPE_CHECKING:
    from .data import Bools, Floats

ROUNDS, ENOUGH = 500, 1e-7  # of EM; change of a posterior below which it ends
ALIKE = 0.4  # correlation of two verifiers' errors above which one is dropped
SAME = 0.97  # Cohen's kappa of two verifiers that are one
CHANCE = 0.05  # true less false positive rate, below which a verifier tells nothing
ANCHOR = 0.1  # weight of the moments' base rate in EM, as a share of the items
FEWEST = 20  # items


@dataclass(frozen=True)
class Found:
    """What EM came to: the base rate, (verifiers,) true and false positive rates, (items,) P(right)."""

    base: float
    tpr: Floats
    fpr: Floats
    posterior: Floats


def fit_dawid_skene(
    scores: Floats, names: tuple[str, ...], base_rate: float | None
) -> tuple[EnsembleModel, dict[str, tuple[float, float]], tuple[str, ...]]:
    """The model, (true, false) positive rates of its parts, and notes. `scores`: (items, verifiers), NaN missing."""
    import numpy as np

    thresholds = np.array([threshold_of(column, base_rate) for column in scores.T])
    votes = np.where(np.isnan(scores), np.nan, (scores >= thresholds).astype(float))
    dropped: dict[str, str] = {}
    with np.errstate(invalid="ignore"):
        for i, name in enumerate(names):
            known = votes[~np.isnan(votes[:, i]), i]
            if len(known) < FEWEST or known.min() == known.max():
                dropped[name] = f"fewer than {FEWEST} scores" if len(known) < FEWEST else "it says the same of all"
    kept = [i for i, name in enumerate(names) if name not in dropped]
    notes: list[str] = []
    kept = _independent(votes, kept, names, dropped, notes)
    found, kept = _better_than_chance(votes, kept, names, base_rate, dropped)
    if found is None:
        base = base_rate if base_rate is not None else 0.5
        dropped |= {names[i]: "fewer than three usable verifiers are left" for i in kept}
        notes.append("fewer than three usable verifiers: without labels nothing can be learnt, the base rate is all")
        return EnsembleModel(method="dawid_skene", parts=(), bias=logit(base), dropped=dropped), {}, tuple(notes)
    parts, rates = [], {}
    for i, tpr, fpr in zip(kept, found.tpr.tolist(), found.fpr.tolist(), strict=True):
        rates[names[i]] = (tpr, fpr)
        parts.append(Part(name=names[i], calibrator=step(float(thresholds[i]), tpr, fpr, found.base)))
    bias = logit(found.base)
    return EnsembleModel(method="dawid_skene", parts=tuple(parts), bias=bias, dropped=dropped), rates, tuple(notes)


def step(threshold: float, tpr: float, fpr: float, base: float) -> Step:
    """What a verifier with these error rates says of a candidate, at this base rate."""
    above = base * tpr / (base * tpr + (1 - base) * fpr)
    below = base * (1 - tpr) / (base * (1 - tpr) + (1 - base) * (1 - fpr))
    low, high = sorted(min(max(p, SURE), 1 - SURE) for p in (below, above))
    return Step(threshold=threshold, below=low, above=high, base_rate=base)


def threshold_of(scores: Floats, base_rate: float | None) -> float:
    """Where a verifier's scores are cut. Two values: the higher one. More: so that the base rate's share passes, if
    it is known, else where the two sides' means lie furthest apart (Otsu 1979)."""
    import numpy as np

    known = np.sort(scores[~np.isnan(scores)])
    values = np.unique(known)
    if len(values) < 3:
        return float(values[-1]) if len(values) else 0.5
    if base_rate is not None:
        cut = float(np.quantile(known, 1 - base_rate, method="higher"))
        return cut if cut > values[0] else float(values[1])
    below = np.searchsorted(known, values[1:], side="left")  # items below each possible cut
    sums, n = np.cumsum(known), len(known)
    left, right = sums[below - 1] / below, (sums[-1] - sums[below - 1]) / (n - below)
    return float(values[1:][np.argmax(below * (n - below) * (right - left) ** 2)])


def _independent(
    votes: Floats, kept: list[int], names: tuple[str, ...], dropped: dict[str, str], notes: list[str]
) -> list[int]:
    """Drops one of each pair of verifiers that make the same errors, while three are left."""
    kept = list(kept)
    while len(kept) >= 2:
        worst = most_alike(votes[:, kept])
        if worst is None:
            break
        i, j, why = worst
        if len(kept) == 3:
            notes.append(f"{names[kept[i]]} and {names[kept[j]]} are not independent ({why}): take this with care")
            break
        gone = kept.pop(j)
        dropped[names[gone]] = f"it repeats {names[kept[i]]} ({why})"
    return kept


def most_alike(votes: Floats) -> tuple[int, int, str] | None:
    """The two verifiers whose errors are most alike (the better one first), and how alike; None if none are.

    Votes of verifiers that are independent given the truth have covariances u_i u_j (rank one). For each pair u is
    fitted to all other pairs; what the pair's covariance has beyond u_i u_j is the covariance of its errors.
    Among three verifiers only copies can be told: the other pairs then say nothing of a third one."""
    import numpy as np

    covariance, pairs = _covariance(votes)
    spread, k = np.sqrt(np.diag(covariance)), votes.shape[1]
    u = rank_one(covariance, ~np.eye(k, dtype=bool))
    found: tuple[float, int, int, str] | None = None
    for i in range(k):
        for j in range(i):
            total = covariance[i, j] / (spread[i] * spread[j])
            if total > SAME:
                alike, why = 2.0, f"they agree beyond chance in {total:.0%} of cases"
            elif k < 4:
                continue
            else:
                others = ~np.eye(k, dtype=bool)
                others[i, j] = others[j, i] = False
                v = rank_one(covariance, others)
                within = np.sqrt(np.maximum(np.diag(covariance) - v**2, 0.1 * spread**2))
                alike = float((covariance[i, j] - v[i] * v[j]) / (within[i] * within[j]))
                why = f"correlation of errors {alike:.2f}"
                if alike < max(ALIKE, 4 / np.sqrt(max(1.0, pairs[i, j]))):
                    continue
            if found is None or alike > found[0]:
                better = abs(u[i]) / spread[i] > abs(u[j]) / spread[j]
                found = (alike, i, j, why) if better else (alike, j, i, why)
    return found[1:] if found else None


def _covariance(votes: Floats) -> tuple[Floats, Floats]:
    """Covariances over the items that both verifiers scored, and how many there are."""
    import numpy as np

    known = ~np.isnan(votes)
    centred = np.where(known, votes - np.nanmean(votes, axis=0), 0.0)
    pairs = known.T.astype(float) @ known
    return centred.T @ centred / np.maximum(pairs, 1.0), pairs


def rank_one(matrix: Floats, using: Bools) -> Floats:
    """u with u_i u_j nearest to the matrix on the entries in use, by alternating least squares; most of u positive."""
    import numpy as np

    values = np.where(using, matrix, 0.0)
    leading = np.linalg.eigh(values)
    u: Floats = leading[1][:, -1] * np.sqrt(max(leading[0][-1], 1e-12))
    for _ in range(200):
        before = u.copy()
        for i in range(len(u)):
            weight = using[i] @ u**2
            if weight > 1e-15:
                u[i] = values[i] @ u / weight
        if np.abs(u - before).max() < 1e-10:
            break
    return u * (1.0 if (np.sign(u).sum(), u.sum()) >= (0, 0) else -1.0)


def moments(votes: Floats) -> tuple[float, Floats, Floats]:
    """(base rate, true positive rates, false positive rates) from the second and third moments of the votes, for
    verifiers that are independent given the truth (Jaffe, Nadler & Kluger 2015)."""
    import numpy as np

    k, mean = votes.shape[1], np.nanmean(votes, axis=0)
    u = rank_one(_covariance(votes)[0], ~np.eye(k, dtype=bool))
    centred = np.where(np.isnan(votes), 0.0, votes - mean)
    known = (~np.isnan(votes)).astype(float)
    third, product = [], []
    for i in range(k):
        for j in range(i):
            both, seen = centred[:, i] * centred[:, j], known[:, i] * known[:, j]
            third.append((both @ centred[:, :j]) / np.maximum(seen @ known[:, :j], 1.0))
            product.append(u[i] * u[j] * u[:j])
    x, y = np.concatenate(product), np.concatenate(third)
    # With b = 2 base - 1, covariances are u_i u_j and third moments -2b / sqrt(1 - b^2) u_i u_j u_k.
    skew = float(x @ y / max(x @ x, 1e-18))
    b = float(np.clip(-skew / np.sqrt(4 + skew * skew), -0.9, 0.9))
    base, v = (1 + b) / 2, u / np.sqrt(1 - b * b)
    return base, np.clip(mean + v * (1 - b), 0.02, 0.98), np.clip(mean - v * (1 + b), 0.02, 0.98)


def dawid_skene(votes: Floats, base_rate: float | None) -> Found:
    """EM from the moments. A base rate that is given is held; else that of the moments counts as a tenth of the
    items. Each error rate is smoothed by one item. Flipped where most verifiers would be worse than chance."""
    import numpy as np

    known = ~np.isnan(votes)
    yes = np.where(known, votes, 0.0)
    no = known - yes
    start, tpr, fpr = moments(votes)
    base = anchor = start if base_rate is None else base_rate
    posterior = np.full(len(votes), base)
    for _ in range(ROUNDS):
        odds = np.log(base / (1 - base)) + yes @ np.log(tpr / fpr) + no @ np.log((1 - tpr) / (1 - fpr))
        now = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
        change, posterior = float(np.abs(now - posterior).max()), now
        tpr = (posterior @ yes + 0.5) / (posterior @ known + 1)
        fpr = ((1 - posterior) @ yes + 0.5) / ((1 - posterior) @ known + 1)
        if base_rate is None:
            base = float((posterior.mean() + ANCHOR * anchor) / (1 + ANCHOR))
            base = min(max(base, SURE), 1 - SURE)
        if change < ENOUGH:
            break
    if base_rate is None and (tpr < fpr).sum() * 2 > len(tpr):  # the mirror image
        return Found(1 - base, fpr, tpr, 1 - posterior)
    return Found(base, tpr, fpr, posterior)


def _better_than_chance(
    votes: Floats, kept: list[int], names: tuple[str, ...], base_rate: float | None, dropped: dict[str, str]
) -> tuple[Found | None, list[int]]:
    """EM, again without the verifier that tells least, until all tell more than chance."""
    import numpy as np

    while len(kept) >= 3:
        found = dawid_skene(votes[:, kept], base_rate)
        right = np.maximum(1.0, found.posterior @ ~np.isnan(votes[:, kept]))
        wrong = np.maximum(1.0, (1 - found.posterior) @ ~np.isnan(votes[:, kept]))
        error = np.sqrt(found.tpr * (1 - found.tpr) / right + found.fpr * (1 - found.fpr) / wrong)
        margin = found.tpr - found.fpr - np.maximum(CHANCE, 2 * error)
        least = int(np.argmin(margin))
        if margin[least] > 0:
            return found, kept
        tpr, fpr = found.tpr[least], found.fpr[least]
        dropped[names[kept[least]]] = (
            f"not better than chance: it passes {tpr:.0%} of the right, {fpr:.0%} of the wrong"
        )
        kept = [i for k, i in enumerate(kept) if k != least]
    return None, kept
