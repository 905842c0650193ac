"""Policy curves: what each round of a strategy is worth, from runs whose rounds were recorded one by one.

The table is plain: which strategy, which question, which round (0: the first answer), was the answer on offer right. Of
the questions that were wrong (right) before a round, how many were right (wrong) after it. Chances of turning right are
made to fall from round to round, as far as the counts differ by chance (pool adjacent violators: Ayer et al. 1955), and
are drawn lightly toward the mean of all rounds. Where answers were recorded too, what a round is worth after one that
changed nothing is learnt beside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..budgets.policy import RoundPolicy
from ..core.errors import CallerError

FEWEST = 10  # questions of a strategy, below which nothing is said of its rounds
SMOOTHING = 2.0  # rounds' worth of the mean over all rounds
SURE = 20.0  # rounds that were wrong after one that changed nothing, before that is believed in full


@dataclass(frozen=True, slots=True)
class Turn:
    """The answer on offer after round `round` of one run: 0 is the first answer, before any round."""

    strategy: str
    question: str
    round: int
    right: bool
    answer: str | None = None


def fit_rounds(turns: Iterable[Turn]) -> dict[str, RoundPolicy]:
    """A curve for each strategy with 10 questions or more. A question that has two rows for one round, or a round
    without the one before it, is a `CallerError`."""
    runs: dict[str, dict[str, list[Turn]]] = defaultdict(lambda: defaultdict(list))
    for turn in turns:
        runs[turn.strategy][turn.question].append(turn)
    found = {}
    for strategy, rows in runs.items():
        ordered = [_in_order(strategy, question, row) for question, row in rows.items()]
        if len(ordered) >= FEWEST and any(len(row) > 1 for row in ordered):
            found[strategy] = _policy(ordered)
    return found


def read_turns(path: str | Path, names: Mapping[str, str] | None = None) -> list[Turn]:
    """A CSV or Parquet table with columns strategy, question, round, right and, if known, answer; `names` says which
    columns stand for these. Raises `CallerError`."""
    import pyarrow.csv as csv
    import pyarrow.parquet as parquet
    from pyarrow.lib import ArrowException

    columns = {key: (names or {}).get(key, key) for key in ("strategy", "question", "round", "right", "answer")}
    try:
        table = csv.read_csv(str(path)) if str(path).endswith(".csv") else parquet.read_table(str(path))
    except (OSError, ArrowException) as error:
        raise CallerError(f"cannot read {path}: {error}") from error
    missing = [name for key, name in columns.items() if key != "answer" and name not in table.column_names]
    if missing:
        raise CallerError(f"{path} has no column {', '.join(missing)}: it has {', '.join(table.column_names)}")
    found = []
    for row in table.to_pylist():
        answer = row.get(columns["answer"])
        key = (str(row[columns["strategy"]]), str(row[columns["question"]]), int(row[columns["round"]]))
        found.append(Turn(*key, bool(row[columns["right"]]), None if answer is None else str(answer)))
    return found


def _in_order(strategy: str, question: str, row: list[Turn]) -> list[Turn]:
    ordered = sorted(row, key=lambda turn: turn.round)
    if [turn.round for turn in ordered] != list(range(len(ordered))):
        rounds = ", ".join(str(turn.round) for turn in ordered)
        raise CallerError(f"{strategy}, question {question}: expected rounds 0, 1, 2, ... once each, found {rounds}")
    return ordered


def _policy(runs: list[list[Turn]]) -> RoundPolicy:
    longest = max(map(len, runs)) - 1
    heals, hurts = [], []  # (turned, tried) in each round
    for t in range(1, longest + 1):
        pairs = [(row[t - 1].right, row[t].right) for row in runs if len(row) > t]
        after = [now for before, now in pairs if not before]
        heals.append((sum(after), len(after)))
        lost = [not now for before, now in pairs if before]
        hurts.append((sum(lost), len(lost)))
    healing = falling(_smoothed(heals), [tried + SMOOTHING for _, tried in heals])
    curve = tuple((round(a, 6), round(b, 6)) for a, b in zip(healing, _smoothed(hurts), strict=True))
    return RoundPolicy(curve=curve, fade=_fade(runs), questions=len(runs), seen=sum(len(row) - 1 for row in runs))


def _smoothed(counts: list[tuple[int, int]]) -> list[float]:
    mean = sum(turned for turned, _ in counts) / max(1, sum(tried for _, tried in counts))
    return [(turned + SMOOTHING * mean) / (tried + SMOOTHING) for turned, tried in counts]


def falling(values: list[float], weights: list[float]) -> list[float]:
    """The nearest values that never rise (least squares, by pooling neighbours)."""
    pools: list[list[float]] = []  # mean, weight, how many
    for value, weight in zip(values, weights, strict=True):
        pools.append([value, weight, 1])
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            mean, more, n = pools.pop()
            total = pools[-1][1] + more
            pools[-1] = [(pools[-1][0] * pools[-1][1] + mean * more) / total, total, pools[-1][2] + n]
    return [mean for mean, _, n in pools for _ in range(int(n))]


def _fade(runs: list[list[Turn]]) -> float:
    """How much rarer a wrong answer turns right after a round that left it as it was; 1 where answers are not known."""
    same, other = [0, 0], [0, 0]  # turned, tried
    for row in runs:
        for before, now, then in zip(row, row[1:], row[2:], strict=False):
            if now.right or before.answer is None or now.answer is None:
                continue
            counts = same if before.answer == now.answer else other
            counts[0] += then.right
            counts[1] += 1
    if not (same[1] and other[1] and other[0]):
        return 1.0
    ratio = min(1.0, (same[0] / same[1]) / (other[0] / other[1]))
    trust = min(1.0, same[1] / SURE)
    return round(trust * ratio + 1.0 - trust, 6)
