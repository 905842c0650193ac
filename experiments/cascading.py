"""What a bank teaches of cascades: how far agreement tells that an answer is right, and that the next model's is.

FrugalGPT (Chen, Zaharia & Zou 2023, 2305.05176) learns one acceptance threshold for each stage and budget. Here the
tables that those follow from are learnt, so that a run finds the threshold for its own worth: `accepts` says which.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import TypeAlias

from ..budgets.policy import LadderPolicy
from ..core.belief import Ladder
from ..core.errors import CallerError, UnknownName
from .bank import Bank, Draw

Deals: TypeAlias = Mapping[str, tuple[Draw, ...]]  # of one model and arm, by question

CUTS = (0.3, 0.45, 0.6, 0.72, 0.8)  # of count / (draws + 1): 1 of 2, 1 of 1 or 2 of 3, 2 of 2, 3 of 3 or 4 of 4, ...
SIZES = (1, 2, 3, 5)  # draws of each stage
ORDERS = 2  # of a question's draws, where there are several
SMOOTHING = 4.0  # observations' worth of the stage's own mean, in each cell
FEWEST = 30  # questions that all models of a chain were recorded on
LONGEST = 3  # stages
FRONT = 6  # models of which chains are made, where nobody says which


@dataclass(frozen=True, slots=True)
class Climb:
    """One question on one order of its draws: after each stage the agreement, and whether its own answer is right."""

    agreement: tuple[float, ...]
    right: tuple[bool, ...]


def fit_cascades(
    bank: Bank,
    chains: Collection[Sequence[str] | str] | None = None,
    *,
    arms: dict[str, str] | None = None,
    folds: Collection[int] | None = None,
    seed: int = 0,
) -> dict[str, LadderPolicy]:
    """A ladder for each chain of models, ("cheap", "dear") or its key "cheap>dear" (`Cascade.chain`), by the key. None:
    all chains of two
    and three, in order of cost, of the models that no cheaper one beats (six at the most). `arms`: the recorded
    condition of each model (None: the one with the most questions). Chains with fewer than 30 questions are left out
    where they were not asked for by name.

    Raises `UnknownName` for a model that the bank does not have, `CallerError` for a named chain that is too short,
    names a model twice (the same recorded draws would agree with themselves), or has too few questions.
    """
    seen = bank.select(folds=folds) if folds is not None else bank
    rows = {model: seen.of_arm(model, arm) for model, arm in (arms or main_arms(seen)).items()}
    named = chains is not None
    found: dict[str, LadderPolicy] = {}
    for given in chains if chains is not None else _chains(rows):
        chain = _checked(given, rows)
        questions = [q for q in rows[chain[0]] if all(_known(rows[m].get(q)) for m in chain)]
        if len(questions) >= FEWEST:
            climbs = {q: list(_climbs([rows[m][q] for m in chain], f"{seed}/{q}")) for q in questions}
            costs = mean_costs({m: {q: rows[m][q] for q in questions} for m in chain})
            found[">".join(chain)] = _ladder(climbs, [costs[m] for m in chain])
        elif named:
            text = f"the chain {' > '.join(chain)} has {len(questions)} questions on which all were recorded"
            raise CallerError(f"{text}, and {FEWEST} are needed", questions=len(questions))
    return found


def accepts(ladder: Ladder, worth: float) -> tuple[float, ...]:
    """The thresholds that follow from a ladder where a right answer is worth so many dollars: for each stage but the
    last the least agreement, count / (draws + 1), at which its answer is accepted; above 1 where none is."""
    found = []
    for i, levels in enumerate(ladder.right[:-1]):
        paid, prices = 0.0, []
        for j in range(i + 1, len(ladder.alone)):
            paid += ladder.costs[j]
            prices.append(paid / worth if worth else float("inf"))
        going = [max(p - row[0] - price for p, price in zip(row[1:], prices, strict=True)) > 0 for row in levels]
        last = max((k for k, on in enumerate(going) if on), default=-1)
        found.append(0.0 if last < 0 else ladder.cuts[last] if last < len(ladder.cuts) else 1.01)
    return tuple(found)


def main_arms(bank: Bank) -> dict[str, str]:
    """The arm of each model that was recorded on the most questions, the first by name of equals."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for _, model, arm in bank.draws:
        counts[model][arm] += 1
    return {model: min(arms, key=lambda arm: (-arms[arm], arm)) for model, arms in sorted(counts.items())}


def mean_costs(rows: Mapping[str, Deals]) -> dict[str, float]:
    """Mean dollars of a draw of each model. Where dollars are not known of all, or all cost nothing: mean tokens (in
    millions) of all, as only proportions matter and the two do not mix."""
    draws = {model: [draw for row in deals.values() for draw in row] for model, deals in rows.items()}
    every = [draw.nanos for row in draws.values() for draw in row]
    if None not in every and any(every):
        return {m: sum(d.nanos or 0 for d in row) / max(1, len(row)) / 1e9 for m, row in draws.items()}
    return {m: sum(d.tokens for d in row) / max(1, len(row)) / 1e6 for m, row in draws.items()}


def accuracy(rows: Deals) -> float:
    """The mean over questions of the share of right draws."""
    return sum(sum(d.correct for d in row) / len(row) for row in rows.values()) / max(1, len(rows))


def front(rows: Mapping[str, Deals]) -> list[str]:
    """The models that no cheaper one beats, cheap ones first. They are compared on the questions that all were
    recorded on, where those are enough; on their own otherwise."""
    held = {model: deals for model, deals in rows.items() if deals}
    shared = set[str].intersection(*(set(deals) for deals in held.values())) if held else set()
    if len(shared) >= FEWEST:
        held = {model: {q: row for q, row in deals.items() if q in shared} for model, deals in held.items()}
    costs, right = mean_costs(held), {model: accuracy(deals) for model, deals in held.items()}
    found: list[str] = []
    for model in sorted(held, key=lambda m: (costs[m], -right[m], m)):
        if not found or right[model] > right[found[-1]]:
            found.append(model)
    return found


def _checked(chain: Sequence[str] | str, rows: Mapping[str, Deals]) -> tuple[str, ...]:
    found = tuple(chain.split(">") if isinstance(chain, str) else chain)
    for model in found:
        if model not in rows:
            raise UnknownName.of("model", model, rows)
    if len(found) < 2:
        raise CallerError(f"a cascade of {found!r} has one stage: name two models or more, cheap ones first")
    if len(set(found)) < len(found):
        raise CallerError(f"the chain {' > '.join(found)} names a model twice: its recorded draws are the same ones")
    return found


def _chains(rows: Mapping[str, Deals]) -> Iterator[tuple[str, ...]]:
    best = front(rows)
    kept = best if len(best) <= FRONT else [*best[: FRONT - 3], *best[-3:]]
    for size in range(2, LONGEST + 1):
        yield from combinations(kept, size)


def _known(row: tuple[Draw, ...] | None) -> bool:
    return row is not None and len(row) > 0 and all(draw.answer is not None for draw in row)


def _climbs(stages: list[tuple[Draw, ...]], seed: str) -> Iterator[Climb]:
    """The chain on this question with 1, 2, 3 and 5 draws of each stage, as far as they were recorded."""
    dice = Random(seed)
    least = min(map(len, stages))
    for _ in range(ORDERS if least > 1 else 1):
        shuffled = [dice.sample(row, len(row)) for row in stages]
        for size in (n for n in SIZES if n <= least):
            yield _climb([row[:size] for row in shuffled])


def _climb(stages: list[list[Draw]]) -> Climb:
    counts: Counter[str] = Counter()
    drawn, answer, right = 0, None, False
    agreement, rights = [], []
    for row in stages:
        own: Counter[str] = Counter(draw.key for draw in row if draw.key is not None)
        counts.update(own)
        drawn += len(row)
        if own:  # a stage without an answer leaves the one before
            answer = max(own, key=own.__getitem__)
            right = any(draw.correct for draw in row if draw.key == answer)
        agreement.append(counts[answer] / (drawn + 1) if answer is not None else 0.0)
        rights.append(right)
    return Climb(tuple(agreement), tuple(rights))


def _ladder(climbs: dict[str, list[Climb]], costs: list[float]) -> LadderPolicy:
    """Rates by level, each question with the same weight, drawn to the stage's own where there are few."""
    stages = len(costs)
    alone = tuple(_rate([(c.right[j], 1 / len(row)) for row in climbs.values() for c in row]) for j in range(stages))
    right, follows = [], []
    for i in range(stages):
        levels: dict[int, list[tuple[Climb, float]]] = defaultdict(list)
        after: dict[bool, list[tuple[Climb, float]]] = defaultdict(list)
        for row in climbs.values():
            for climb in row:
                weighed = (climb, 1 / len(row))
                levels[sum(climb.agreement[i] >= cut for cut in CUTS)].append(weighed)
                after[climb.right[i]].append(weighed)
        table = {
            level: tuple(_rate([(c.right[j], w) for c, w in seen], alone[j]) for j in range(i, stages))
            for level, seen in levels.items()
        }
        # A level that was never reached is like the nearest one that was, the lower of two.
        near = [min(table, key=lambda known: (abs(known - level), known)) for level in range(len(CUTS) + 1)]
        right.append(tuple(table[level] for level in near))
        follows.append(
            tuple(
                (
                    _rate([(c.right[j], w) for c, w in after[True]], alone[j]),
                    _rate([(c.right[j], w) for c, w in after[False]], alone[j]),
                )
                for j in range(i + 1, stages)
            )
        )
    return LadderPolicy(
        cuts=CUTS,
        right=tuple(right),
        follows=tuple(follows[:-1]),
        alone=alone,
        costs=tuple(float(f"{cost:.6g}") for cost in costs),
        questions=len(climbs),
    )


def _rate(seen: list[tuple[bool, float]], toward: float = 0.5) -> float:
    won = sum(weight for right, weight in seen if right) + SMOOTHING * toward
    return round(won / (sum(weight for _, weight in seen) + SMOOTHING), 6)
