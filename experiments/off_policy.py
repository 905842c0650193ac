"""Off-policy estimates: what another policy would have got, from decisions that were logged under this one.

Only the reward of what was chosen is known, so that logged decisions cannot be replayed as recorded draws can; what
they need instead is the chance with which each was made. Inverse propensity scoring (Horvitz & Thompson 1952) weighs
each reward by how much likelier the other policy is to choose so; self-normalised (Swaminathan & Joachims 2015), its
weights are shares; the direct method believes a prediction of every action's reward; the doubly robust estimate
(Dudik, Langford & Li 2011, 1103.4601) corrects the prediction by what came, and is right where either is. Intervals are
by bootstrap, whole questions drawn with replacement.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from ..core.errors import CallerError
from .intervals import Interval, clustered

FEW = 30.0  # effective decisions, below which an estimate says so
SUM = 1e-6  # how far probabilities may be from the sum 1
SHRINK = 5.0  # decisions' worth of the mean reward of all actions, in a cross-fitted mean


@dataclass(frozen=True, slots=True)
class Logged:
    """One logged decision: of `question`, `action` was chosen and brought `reward`. `logging`: the chance of each
    action then (of the chosen one at least); `target`: that of each under the policy to be judged; `predicted`: the
    reward predicted of each action without this question, for the direct and the doubly robust estimate. `fold`:
    which part of a cross-fit it belongs to."""

    question: str
    action: str
    reward: float
    logging: Mapping[str, float]
    target: Mapping[str, float]
    predicted: Mapping[str, float] = field(default_factory=dict)
    fold: int = 0

    def __post_init__(self) -> None:
        """Raises `CallerError`."""
        where = f"the logged decision on {self.question!r}"
        if not isfinite(self.reward):
            raise CallerError(f"{where}: reward={self.reward}: expected a finite number")
        if self.logging.get(self.action, 0.0) <= 0:
            raise CallerError(f"{where}: {self.action!r} was chosen with no chance on record: log its propensity")
        for name, chances in (("logging", self.logging), ("target", self.target)):
            if any(not 0 <= p <= 1 for p in chances.values()) or sum(chances.values()) > 1 + SUM:
                raise CallerError(f"{where}: {name}: expected chances from 0 to 1 whose sum is at most 1")
        if abs(sum(self.target.values()) - 1) > SUM:
            raise CallerError(f"{where}: target: chances have the sum {sum(self.target.values()):.6g}, not 1")

    @property
    def weight(self) -> float:
        """How much likelier the target is to choose so."""
        return self.target.get(self.action, 0.0) / self.logging[self.action]

    @property
    def direct(self) -> float | None:
        """The predicted reward of the target; None where that of an action that it may take is not predicted."""
        if any(p > 0 and action not in self.predicted for action, p in self.target.items()):
            return None
        return sum(p * self.predicted[action] for action, p in self.target.items() if p > 0)


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """Estimates of the mean reward of the target, 95% intervals: `ips`, `snips`, and, where rewards are predicted,
    `direct` (biased as the prediction is) and `doubly_robust`. `logged`: mean reward as it was. `effective`: decisions
    that the weights leave (Kish 1965); `unsupported`: the mean chance of actions that were never taken by the logging
    policy, of which no estimate but a prediction knows anything."""

    decisions: int
    questions: int
    logged: Interval
    ips: Interval
    snips: Interval
    direct: Interval | None
    doubly_robust: Interval | None
    effective: float
    largest: float
    unsupported: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {k: v.to_dict() if isinstance(v, Interval) else list(v) if k == "notes" else v for k, v in plain.items()}


def off_policy(logs: Iterable[Logged], *, clip: float | None = None, seed: int = 0) -> OffPolicy:
    """What the target policy of these logs would have got.

    `clip`: weights above it are cut off there (Ionides 2008: less variance for some bias, toward 0 where rewards are
    above 0). Raises `CallerError` without a decision, for a clip that is not above 0, or where every weight is 0: the
    target never does what was logged.
    """
    rows = list(logs)
    if not rows:
        raise CallerError("no logged decision: an estimate needs some")
    if clip is not None and not clip > 0:
        raise CallerError(f"clip={clip}: expected a weight above 0")
    weights = [min(row.weight, clip) if clip is not None else row.weight for row in rows]
    if not sum(weights):
        raise CallerError("the target never does what was logged: nothing can be estimated of it from these logs")
    direct = [row.direct for row in rows]
    known = [d for d in direct if d is not None]
    dm = dr = None
    if len(known) == len(rows) and all(row.action in row.predicted for row in rows):
        dm = _mean(rows, known, seed)
        mended = zip(rows, weights, known, strict=True)
        dr = _mean(rows, [d + w * (row.reward - row.predicted[row.action]) for row, w, d in mended], seed)
    effective = sum(weights) ** 2 / sum(w * w for w in weights)
    tried = {action for row in rows for action, p in row.logging.items() if p > 0}
    missing = sum(_missing(row, tried) for row in rows) / len(rows)
    return OffPolicy(
        len(rows),
        len({row.question for row in rows}),
        _mean(rows, [row.reward for row in rows], seed),
        _mean(rows, [w * row.reward for row, w in zip(rows, weights, strict=True)], seed),
        _ratio(rows, weights, seed),
        dm,
        dr,
        effective,
        max(weights),
        missing,
        tuple(_notes(effective, missing, bool(known) and dm is None)),
    )


def _notes(effective: float, missing: float, partly: bool) -> Iterable[str]:
    if effective < FEW:
        yield f"the weights leave {effective:.0f} effective decisions: the intervals are not to be trusted"
    if missing > 0:
        yield f"{missing:.1%} of what the target does was never tried: ips and snips know nothing of it"
    if partly:
        yield "rewards are predicted of some decisions only: no direct or doubly robust estimate"


def _missing(row: Logged, tried: Collection[str]) -> float:
    """The chance of actions that the logging policy never takes, as far as is known: where all its chances are on
    record by these, else by what it has `tried` in any decision."""
    whole = abs(sum(row.logging.values()) - 1) <= SUM
    known = [action for action, p in row.logging.items() if p > 0] if whole else tried
    return sum(p for action, p in row.target.items() if action not in known)


def _clusters(rows: Sequence[Logged], *columns: Sequence[float]) -> tuple[list[list[float]], list[float]]:
    """Means of the columns by question, and how many decisions each question has."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(columns))
    counts: dict[str, float] = defaultdict(float)
    for i, row in enumerate(rows):
        counts[row.question] += 1
        for j, column in enumerate(columns):
            sums[row.question][j] += column[i]
    return [[value / counts[q] for value in row] for q, row in sums.items()], list(counts.values())


def _mean(rows: Sequence[Logged], values: Sequence[float], seed: int) -> Interval:
    means, sizes = _clusters(rows, values)
    return clustered(means, weights=sizes, seed=seed)


def _ratio(rows: Sequence[Logged], weights: Sequence[float], seed: int) -> Interval:
    import numpy as np

    weighted = [w * row.reward for row, w in zip(rows, weights, strict=True)]
    means, sizes = _clusters(rows, weighted, weights)

    def share(found: Any) -> Any:
        # A resample without a decision that the target would make has no figure: it tells nothing either way.
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = found[:, 0] / found[:, 1]
        return np.where(np.isfinite(ratio), ratio, sum(weighted) / sum(weights))

    return clustered(means, weights=sizes, statistic=share, seed=seed)


def with_means(logs: Sequence[Logged]) -> list[Logged]:
    """The logs with a plain prediction: each action's mean reward in the other folds, drawn toward that of all actions
    by a few decisions' worth. Raises `CallerError` where there is one fold only: what is predicted from itself makes
    the doubly robust estimate too sure."""
    folds = sorted({row.fold for row in logs})
    if len(folds) < 2:
        raise CallerError("a prediction needs decisions in two folds or more: it must not be made from what it mends")
    actions = sorted({action for row in logs for action in (row.action, *row.target)})
    made: dict[int, dict[str, float]] = {}
    for fold in folds:
        others = [row for row in logs if row.fold != fold]
        overall = sum(row.reward for row in others) / len(others)
        made[fold] = {}
        for action in actions:
            seen = [row.reward for row in others if row.action == action]
            made[fold][action] = (sum(seen) + SHRINK * overall) / (len(seen) + SHRINK)
    return [replace(row, predicted=made[row.fold]) for row in logs]


def read_logs(path: str | Path) -> list[Logged]:
    """Logged decisions from JSON lines: `question`, `action`, `reward`, `propensity` (of the action) or `logging`
    (chances by action), `target` (an action, or chances by action), and, where known, `predicted` and `fold`. Raises
    `CallerError`, which names the line."""
    found = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"cannot read {path}: {error}", file=str(path)) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_logged(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else error
            raise CallerError(f"{path}, line {number}: {said}", file=str(path), line=number) from error
        except CallerError as error:
            raise CallerError(f"{path}, line {number}: {error}", file=str(path), line=number) from error
    return found


def _logged(row: Mapping[str, Any]) -> Logged:
    action, target = str(row["action"]), row["target"]
    logging = row["logging"] if "logging" in row else {action: row["propensity"]}
    chances = {target: 1.0} if isinstance(target, str) else target
    return Logged(
        str(row["question"]),
        action,
        float(row["reward"]),
        {str(k): float(v) for k, v in logging.items()},
        {str(k): float(v) for k, v in chances.items()},
        {str(k): float(v) for k, v in row.get("predicted", {}).items()},
        int(row.get("fold", 0)),
    )
