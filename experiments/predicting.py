"""Fitting a predictor from a bank: what features and topics tell of each arm, and how well it predicts.

Ridge-logistic regression for each arm by Newton's method. Effects of topics are normal with a spread that is estimated
along (empirical Bayes, as MacKay 1992 re-estimates a prior's precision); the penalties on features and hashed words
are those with the least log loss on folds that were left out. Arms are fitted apart: routing needs the difference
between them, and weights that were drawn toward a common mean told less of it (docs/measurements/routing-routellm.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isinf
from typing import TYPE_CHECKING, Any, TypeAlias

from ..budgets.features import HASHED, MARKS, embedded, embedding_size, features
from ..budgets.predictor import ArmPredictor, Predictor, PredictorPolicy
from ..core.errors import CallerError, UnknownName
from ..core.task import Task
from .bank import Bank

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

FEWEST = 30  # questions of an arm, below which nothing is said of it
# On marks, and on words and an embedding.
PENALTIES = ((10.0, inf), (50.0, inf), (250.0, inf), (inf, inf), (50.0, 500.0), (50.0, 3000.0), (inf, 500.0))
PARTS = 5  # folds within the training folds
SAME = 0.5  # correlation of draws of one arm on one question, by which several count for less than as many questions
STEPS, CLOSE = 25, 1e-4  # of Newton's method
SPREAD, ROUNDS = 0.3, 3  # of topic effects at first, and how often it is estimated anew
FEW = 2.0  # topics that the first spread counts for
DOUBT = 0.5  # standard errors of its lead that a lighter penalty must have over a heavier one
LEAST = 0.01  # spread of a feature: one that hardly varies here may vary elsewhere, and would get a huge weight
TOPICS = (1e-3, 3.0)  # least and greatest spread


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Questions as arrays: `seen` (questions, features), `topics`, `folds`; `share` and `weight` (questions, arms) of
    right draws, and how much they count (0: not drawn). `buckets` of `seen` are hashed words, `embedding` comes after
    them."""

    keys: tuple[str, ...]
    seen: Floats
    topics: tuple[str, ...]
    folds: tuple[int, ...]
    share: Floats
    weight: Floats
    buckets: int = HASHED
    embedding: str = ""

    @classmethod
    def of(
        cls, bank: Bank, arms: Mapping[str, tuple[str, str]], *, buckets: int = HASHED, embedding: str = ""
    ) -> Examples:
        """A bank's questions and these arms' draws, (model, arm) by key. Raises `CallerError`, `UnknownName`."""
        tasks = [question.task() for question in bank.questions.values()]
        counts = [
            [[d.correct for d in bank.draws.get((q, model, arm), ())] for model, arm in arms.values()]
            for q in bank.questions
        ]
        folds = [question.fold for question in bank.questions.values()]
        return cls.made(tuple(arms), tasks, counts, folds, buckets=buckets, embedding=embedding)

    @classmethod
    def made(
        cls,
        keys: Sequence[str],
        tasks: Sequence[Task],
        draws: Sequence[Sequence[Sequence[bool]]],
        folds: Sequence[int],
        *,
        buckets: int = HASHED,
        embedding: str = "",
    ) -> Examples:
        """From tasks and, for each of them and each arm, whether its draws were right."""
        import numpy as np

        if not keys or not len(tasks) == len(draws) == len(folds):
            raise CallerError(f"examples: {len(keys)} arms, {len(tasks)} tasks, {len(draws)} rows, {len(folds)} folds")
        if embedding and not embedding_size(embedding):
            raise UnknownName.of("embedding", embedding, [])
        seen = np.asarray([features(task, buckets) for task in tasks]).reshape(len(tasks), -1)
        if embedding:
            seen = np.concatenate([seen, np.asarray([_vector(task, embedding) for task in tasks])], axis=1)
        drawn = np.asarray([[len(found) for found in row] for row in draws], dtype=float).reshape(len(tasks), -1)
        right = np.asarray([[sum(found) for found in row] for row in draws], dtype=float).reshape(len(tasks), -1)
        weight = drawn / (1 + SAME * np.maximum(drawn - 1, 0))
        topics = tuple(task.topic for task in tasks)
        share = right / np.maximum(drawn, 1)
        return cls(tuple(keys), seen, topics, tuple(folds), share, weight, buckets, embedding)

    def take(self, places: Sequence[int]) -> Examples:
        """Those at these places."""
        rows = list(places)
        topics, folds = tuple(self.topics[i] for i in rows), tuple(self.folds[i] for i in rows)
        return replace(
            self, seen=self.seen[rows], topics=topics, folds=folds, share=self.share[rows], weight=self.weight[rows]
        )

    def without_embedding(self) -> Examples:
        """The same questions by their other features."""
        return replace(self, seen=self.seen[:, : MARKS + self.buckets], embedding="")


def _vector(task: Task, name: str) -> tuple[float, ...]:
    found = embedded(task, name)
    if found is None:
        raise CallerError(f"the embedding {name!r} gave no vector for {task.query[:60]!r}")
    return found


def fit_predictor(
    examples: Examples,
    *,
    penalties: Sequence[tuple[float, float]] = PENALTIES,
    topics: bool = True,
    fitted: Callable[[str, str], None] | None = None,
) -> PredictorPolicy | None:
    """The predictor for these arms; None where no arm has 30 questions. `penalties`: (on marks, on words and
    embedding) to choose from, inf for "not used"; `topics`: whether they may be used; `fitted` is told of each arm.

    Raises `CallerError`.
    """
    if not penalties or any(not x > 0 for pair in penalties for x in pair):
        raise CallerError("fit_predictor: penalties are pairs of positive numbers")
    import numpy as np

    design = _Design.of(examples, topics)
    arms: dict[str, ArmPredictor] = {}
    for i, key in enumerate(examples.keys):
        used = np.flatnonzero(examples.weight[:, i] > 0)
        if len(used) < FEWEST:
            continue
        y, w = examples.share[used, i], examples.weight[used, i]
        arms[key] = _arm(design.rows(used), y, w, [examples.folds[q] for q in used], penalties)
        if fitted is not None:
            fitted(key, f"log loss {arms[key].loss:.4f}, of the mean {arms[key].base:.4f}")
    if not arms:
        return None
    plain = None
    if examples.embedding:
        plain = fit_predictor(examples.without_embedding(), penalties=penalties, topics=topics)
    return PredictorPolicy(
        buckets=examples.buckets,
        embedding=examples.embedding,
        size=examples.seen.shape[1] - MARKS - examples.buckets if examples.embedding else 0,
        centre=tuple(float(f"{x:.6g}") for x in design.centre),
        arms=arms,
        plain=plain,
        provenance={"questions": len(examples.topics), "topics": len(design.names), "arms": len(arms)},
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Design:
    """Standardised features and topics as columns: a constant, topics, marks, words (and embedding)."""

    x: Floats
    centre: Floats
    scale: Floats
    names: tuple[str, ...]

    @classmethod
    def of(cls, examples: Examples, topics: bool) -> _Design:
        import numpy as np

        seen = examples.seen
        centre, scale = seen.mean(axis=0), seen.std(axis=0)
        scale = np.where(scale > 1e-9, np.maximum(scale, LEAST), inf)
        names = tuple(sorted({t for t in examples.topics if t})) if topics else ()
        one = np.asarray([[t == name for name in names] for t in examples.topics], dtype=float)
        constant = np.ones((len(seen), 1))
        x = np.concatenate([constant, one.reshape(len(seen), len(names)), (seen - centre) / scale], axis=1)
        return cls(x, centre, scale, names)

    def rows(self, places: Any) -> _Design:
        return replace(self, x=self.x[places])

    def columns(self, pair: tuple[float, float]) -> tuple[Any, Floats]:
        """(which columns are used, what their squares are multiplied by; NaN for topics, whose spread is estimated)."""
        import numpy as np

        count = len(self.names)
        marks, words = pair
        all_of = np.concatenate(
            [[1e-4], np.full(count, np.nan), np.full(MARKS, marks), np.full(len(self.scale) - MARKS, words)]
        )
        idle = np.concatenate([np.zeros(1 + count, dtype=bool), ~np.isfinite(self.scale)])
        used = np.flatnonzero(~(np.isinf(all_of) | idle))
        return used, all_of[used]


def _arm(
    design: _Design, y: Floats, w: Floats, folds: Sequence[int], penalties: Sequence[tuple[float, float]]
) -> ArmPredictor:
    import numpy as np

    parts = np.asarray(folds) if len(set(folds)) > 1 else np.arange(len(y))
    parts = np.searchsorted(np.unique(parts), parts) % PARTS
    # One spread of topics for all candidates: it hardly moves with the penalties, and finding it takes long.
    used, penalty = design.columns(min(penalties, key=lambda pair: len(design.columns(pair)[0])))
    _, _, spread = _newton(design.x[:, used], y, w, penalty)
    tried = [_held(design, y, w, parts, pair, spread) for pair in penalties]
    best = _chosen(tried, y, w, penalties)
    held, (used, penalty) = tried[best], design.columns(penalties[best])
    x = design.x[:, used]
    beta, cov, spread = _newton(x, y, w, penalty)
    full, wide = np.zeros(design.x.shape[1]), np.zeros(design.x.shape[1])
    count = 1 + len(design.names)
    full[used], wide[used] = beta, np.sqrt(np.maximum(np.diag(cov), 0.0)) * _shared(x, cov)
    weights, deviations = full[count:] / design.scale, wide[count:] / design.scale
    mean = float(w @ y / w.sum())
    some = bool(np.any(weights))
    return ArmPredictor(
        bias=round(float(full[0]), 5),
        sd=round(float(wide[0]), 5),
        weights=tuple(float(f"{x:.5g}") for x in weights) if some else (),
        errors=tuple(float(f"{x:.4g}") for x in deviations) if some else (),
        topics={t: (round(float(full[1 + i]), 4), round(float(wide[1 + i]), 4)) for i, t in enumerate(design.names)},
        spread=round(spread, 4),
        questions=len(y),
        loss=round(_loss(held, y, w), 5),
        base=round(_loss(np.full(len(y), mean), y, w), 5),
        brier=round(float(w @ (held - y) ** 2 / w.sum()), 5),
        ece=round(calibration_error(held, y), 5),
    )


def _held(design: _Design, y: Floats, w: Floats, parts: Any, pair: tuple[float, float], spread: float) -> Floats:
    """P(right) of each question, from a fit without its part."""
    import numpy as np

    used, penalty = design.columns(pair)
    x = design.x[:, used]
    ridge = _ridge(penalty, spread)
    start, _ = _climb(x, y, w, ridge, _start(x, y, w))
    found = np.zeros(len(y))
    for part in np.unique(parts):
        out = parts == part
        beta, _ = _climb(
            x[~out], y[~out], w[~out], ridge, start
        )  # convex: where it starts decides only how long it takes
        found[out] = 1 / (1 + np.exp(-np.clip(x[out] @ beta, -30, 30)))
    return found


def _newton(x: Floats, y: Floats, w: Floats, penalty: Floats) -> tuple[Floats, Floats, float]:
    """(coefficients, their covariance (Laplace), the spread of topics)."""
    import numpy as np

    topic = np.isnan(penalty)
    spread = SPREAD if topic.any() else 0.0
    beta = _start(x, y, w)
    cov: Any = np.eye(x.shape[1])
    for _ in range(ROUNDS if topic.any() else 1):
        beta, curve = _climb(x, y, w, _ridge(penalty, spread), beta)
        cov = np.linalg.inv(curve)
        if topic.any():
            squares = float((beta[topic] ** 2 + np.diag(cov)[topic]).sum()) + FEW * SPREAD**2
            found = (squares / (float(topic.sum()) + FEW)) ** 0.5
            spread = min(max(found, TOPICS[0]), TOPICS[1])
    return beta, cov, spread


def _shared(x: Floats, cov: Floats) -> float:
    """What standard deviations are multiplied by, so that summed as if independent they give the mean variance of a
    question's logit: features and topics go together, and the errors of their effects cancel."""
    apart = float((x**2 @ cov.diagonal()).mean())
    return (max(float(((x @ cov) * x).sum(axis=1).mean()), 0.0) / apart) ** 0.5 if apart > 0 else 1.0


def _start(x: Floats, y: Floats, w: Floats) -> Floats:
    import numpy as np

    mean = min(max(float(w @ y / w.sum()), 1e-3), 1 - 1e-3)
    beta = np.zeros(x.shape[1])
    beta[0] = np.log(mean / (1 - mean))
    return beta


def _ridge(penalty: Floats, spread: float) -> Floats:
    import numpy as np

    return np.where(np.isnan(penalty), 1 / max(spread, TOPICS[0]) ** 2, penalty)


def _climb(x: Floats, y: Floats, w: Floats, ridge: Floats, beta: Floats) -> tuple[Floats, Floats]:
    """(the penalised maximum of the likelihood, minus its second derivatives there)."""
    import numpy as np

    curve = np.diag(ridge)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        curve = (x * (w * np.maximum(p * (1 - p), 1e-6))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(curve, x.T @ (w * (p - y)) + ridge * beta)
        step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        beta = beta - step
        if np.abs(step).max() < CLOSE:
            break
    return beta, curve


def _chosen(tried: Sequence[Floats], y: Floats, w: Floats, penalties: Sequence[tuple[float, float]]) -> int:
    """The heaviest penalty that is not clearly worse than the one with the least loss (the rule of Breiman et al.
    1984, with half a standard error): chance alone favours one that uses more."""
    import numpy as np

    losses = np.asarray([_losses(held, y) for held in tried])
    means = losses @ w / w.sum()
    best = int(np.argmin(means))
    apart = losses - losses[best]
    errors = np.sqrt(((apart - (means - means[best])[:, None]) ** 2) @ w**2) / w.sum()
    near = [i for i in range(len(tried)) if means[i] - means[best] <= DOUBT * errors[i]]
    return max(near, key=lambda i: (sum(map(isinf, penalties[i])), penalties[i], i == best))


def _losses(p: Floats, y: Floats) -> Floats:
    import numpy as np

    p = np.clip(p, 1e-6, 1 - 1e-6)
    found: Floats = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    return found


def _loss(p: Floats, y: Floats, w: Floats) -> float:
    return float(w @ _losses(p, y) / w.sum())


def calibration_error(p: Any, y: Any, bins: int = 15) -> float:
    """Expected calibration error in bins of equal mass (Guo et al. 2017): the mean distance between what is predicted
    and what came."""
    import numpy as np

    p, y = np.asarray(p, dtype=float), np.asarray(y, dtype=float)
    order = np.argsort(p, kind="stable")
    groups = [part for part in np.array_split(order, min(bins, len(p))) if len(part)]
    return float(sum(len(g) * abs(p[g].mean() - y[g].mean()) for g in groups) / max(1, len(p)))


def cross_predicted(examples: Examples, **settings: Any) -> Floats:
    """P(right) of each question and arm, (questions, arms), from a predictor that was fitted on the other folds: its
    penalties were chosen there too. NaN for arms with too few questions. Takes the settings of `fit_predictor`."""
    import numpy as np

    found = np.full(examples.share.shape, np.nan)
    for i, predictor in _crossed(examples, np.asarray(examples.folds), settings):
        chances = predictor.chances(tuple(examples.seen[i].tolist()), examples.topics[i])
        found[i] = [chances.get(key, np.nan) for key in examples.keys]
    return found


def cross_logits(examples: Examples, **settings: Any) -> Floats:
    """By how many logits each arm's chance on each question is above its mean, (questions, arms), from predictors that
    were fitted on other parts, of which there are at most five; 0 for arms with too few questions."""
    import numpy as np

    folds = np.asarray(examples.folds)
    parts = np.unique(folds, return_inverse=True)[1] if len(set(examples.folds)) > 1 else np.arange(len(folds))
    found = np.zeros(examples.share.shape)
    for i, predictor in _crossed(examples, parts % PARTS, settings):
        told = predictor.logits(tuple(examples.seen[i].tolist()), examples.topics[i])
        found[i] = [told.get(key, 0.0) for key in examples.keys]
    return found


def _crossed(examples: Examples, parts: Any, settings: Mapping[str, Any]) -> Iterator[tuple[int, Predictor]]:
    """Each question with the predictor that was fitted on the other parts."""
    import numpy as np

    for part in np.unique(parts):
        policy = fit_predictor(examples.take([int(i) for i in np.flatnonzero(parts != part)]), **settings)
        predictor = Predictor(policy) if policy is not None else None
        for i in np.flatnonzero(parts == part) if predictor is not None else ():
            assert predictor is not None
            yield int(i), predictor
