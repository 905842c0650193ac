"""Learning from feedback: what is given up beside the best choices, with and without exploring, and after a drift.

python benchmarks/learning.py [--worlds 40] [--requests 600] [--parquet selfreflection_mcqa_9models.parquet]

Simulated: five arms at declared prices. The policy's logit of each is off by N(0, 0.6) that all share and N(0, 1) of
its own, and nobody knows by how much; the features of a question move all arms alike. A request buys one draw of the
arm with the highest worth * P(right) - cost, or nothing where that is below 0. Its label comes 20 requests later, and
only for a share of them. In the world with drift, the arm that is the best on average falls by 2 logits at half time.
Regret: dollars of expected value below the best choice for each question. All ways to choose see the same worlds,
questions and luck; intervals are over worlds.

With --parquet: the nine models of that file on the questions that all have answered (`comprehensive` dropped). What
each is worth is known from three exams, and put to work on the others, which are harder. Intervals: bootstrap of the
questions, each time in another order.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from random import Random
from statistics import mean, stdev
from typing import Any

from satisfice.budgets.learning import COMMON, OWN, SD, Allowance, Joint, given_up, logit, squash
from satisfice.core.amounts import NANO

COSTS = (0.0004, 0.0012, 0.003, 0.008, 0.02)
SKILL = (-0.4, 0.0, 0.3, 0.8, 1.2)  # the policy's logits of the arms
WORTH, DELAY, FALL = 0.10, 20, 2.0


@dataclass
class Chooser:
    """`kind`: frozen, greedy, apart (greedy, arms share nothing), thompson, epsilon or ucb. `much`: the share, the
    chance, or standard deviations. `own`: standard deviation of each arm's own part."""

    kind: str
    much: float
    arms: int
    own: float = SD
    waiting: deque[tuple[int, float, float | None]] = field(default_factory=deque)
    spent: float = 0.0
    lost: float = 0.0  # as predicted, by exploring
    explored: int = 0

    def __post_init__(self) -> None:
        priors = {str(i): self.own for i in range(self.arms)}
        self.joint = Joint(SD, 0.0 if self.kind == "apart" else COMMON, priors)

    def choose(self, bases: Sequence[float], costs: Sequence[float], worth: float, random: Random, nth: int) -> int:
        """The arm; -1 for none."""
        names = [str(i) for i in range(self.arms)]
        nets = self._nets(bases, self.joint.means(names), costs, worth)
        best = chosen = _best(nets)
        if self.kind == "thompson":
            if Allowance(self.much, round(self.spent * NANO), round(self.lost * NANO)).left > 0:
                drawn = self.joint.drawn(nth, names)
                chosen = _best(self._nets(bases, [drawn[name] for name in names], costs, worth))
        elif self.kind == "ucb":
            known = [self.joint.shift(name) for name in names]
            chosen = _best(self._nets(bases, [s.mean + self.much * s.sd for s in known], costs, worth))
        elif self.kind == "epsilon" and random.random() < self.much:
            chosen = random.randrange(self.arms)
        self.lost += given_up(nets, chosen if chosen >= 0 else len(nets))
        self.explored += chosen != best
        self.spent += costs[chosen] if chosen >= 0 else 0.0
        return chosen

    def _nets(
        self, bases: Sequence[float], shifts: Sequence[float], costs: Sequence[float], worth: float
    ) -> list[float]:
        if self.kind == "frozen":
            shifts = [0.0] * self.arms
        return [worth * squash(b + s) - c for b, s, c in zip(bases, shifts, costs, strict=True)]

    def tell(self, arm: int, base: float, label: float | None) -> None:
        self.waiting.append((arm, base, label))
        if len(self.waiting) > DELAY:
            old, at, said = self.waiting.popleft()
            if said is not None and old >= 0 and self.kind != "frozen":
                self.joint.learn(str(old), at, said)


def _best(nets: Sequence[float]) -> int:
    best = max(range(len(nets)), key=lambda i: nets[i])
    return best if nets[best] > 0 else -1


WAYS: dict[str, tuple[str, float]] = {
    "never learns": ("frozen", 0.0),
    "learns, never explores": ("greedy", 0.0),
    "the same, arms apart": ("apart", 0.0),
    "Thompson, 2% of spend": ("thompson", 0.02),
    "Thompson, 5% of spend": ("thompson", 0.05),
    "Thompson, 20% of spend": ("thompson", 0.20),
    "Thompson, no limit": ("thompson", 1e9),
    "epsilon-greedy 5%": ("epsilon", 0.05),
    "epsilon-greedy 20%": ("epsilon", 0.20),
    "UCB, 1 sd": ("ucb", 1.0),
}


def world(seed: int, requests: int, drift: bool, told: float, way: tuple[str, float]) -> tuple[float, float, Chooser]:
    """(regret of the first half, of the second, the chooser) in one world."""
    random = Random(f"world{seed}")
    common = random.gauss(0, COMMON)
    true = [s + common + random.gauss(0, SD) for s in SKILL]
    values = [WORTH * squash(t) - c for t, c in zip(true, COSTS, strict=True)]
    falls = max(range(len(COSTS)), key=lambda i: values[i])
    chooser, luck = Chooser(*way, len(COSTS)), Random(f"luck{seed}")
    halves = [0.0, 0.0]
    for nth in range(requests):
        late = nth >= requests // 2
        x, label_luck, heard = random.gauss(0, 1.2), random.random(), random.random() < told
        now = [t - FALL * (drift and late and i == falls) + x for i, t in enumerate(true)]
        nets = [WORTH * squash(t) - c for t, c in zip(now, COSTS, strict=True)]
        bases = [s + x for s in SKILL]
        arm = chooser.choose(bases, COSTS, WORTH, luck, nth)
        halves[late] += max(*nets, 0.0) - (nets[arm] if arm >= 0 else 0.0)
        chooser.tell(arm, bases[arm], float(label_luck < squash(now[arm])) if heard and arm >= 0 else None)
    return halves[0], halves[1], chooser


def interval(values: Sequence[float]) -> str:
    half = 1.96 * stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{mean(values):7.3f} +- {half:.3f}"


def simulate(worlds: int, requests: int) -> None:
    for drift in (False, True):
        for told in (1.0, 0.2):
            what = "the best arm falls by 2 logits at half time" if drift else "nothing changes"
            print(
                f"\n{what}; feedback on {told:.0%} of {requests} requests, {worlds} worlds; regret in dollars per 1000"
            )
            heads = f"{'first half':>18} {'second half':>18} {'less than eps 5%':>18} {'explores':>9} {'given up':>9}"
            print(f"{'':26} {heads}")
            found = {name: [world(i, requests, drift, told, way) for i in range(worlds)] for name, way in WAYS.items()}
            scale = 2000 / requests
            base = [scale * (a + b) / 2 for a, b, _ in found["epsilon-greedy 5%"]]
            for name, rows in found.items():
                first, second = [scale * row[0] for row in rows], [scale * row[1] for row in rows]
                saved = [b - (x + y) / 2 for b, x, y in zip(base, first, second, strict=True)]
                explores = mean(row[2].explored for row in rows) / requests
                share = mean(row[2].lost / row[2].spent for row in rows)
                told_of = f"{explores:9.1%} {share:9.1%}"
                print(f"{name:26} {interval(first):>18} {interval(second):>18} {interval(saved):>18} {told_of}")


def detection(runs: int = 300) -> None:
    """How soon a drift is noticed, and how often one that is none."""
    print(f"\nalarms, {runs} streams: questions N(0.5, 1.5) logits, one label each")
    false = labels = 0
    for seed in range(runs):
        random, joint = Random(f"calm{seed}"), Joint(common=0.0)
        true = random.gauss(0, 1)
        for _ in range(1000):
            base = random.gauss(0.5, 1.5)
            joint.learn("a", base, float(random.random() < squash(base + true)))
        false, labels = false + joint.shift("a").alarms, labels + 1000
    print(f"false alarms: {1000 * false / labels:.2f} in 1000 labels ({false} in {labels})")
    for fall in (1.0, 2.0, 3.0):
        delays, offs, before = [], [], []
        for seed in range(runs):
            random, joint = Random(f"drift{seed}"), Joint(common=0.0)
            shift = joint.shift("a")
            seen = None
            for i in range(700):
                base, true = random.gauss(0.5, 1.5), 0.0 if i < 400 else -fall
                joint.learn("a", base, float(random.random() < squash(base + true)))
                alarms, shift = shift.alarms, joint.shift("a")
                seen = i - 400 if i >= 400 and shift.alarms > alarms and seen is None else seen
                if i == 450:
                    offs.append(abs(shift.mean + fall))
            before.append(abs(shift.mean + fall))
            delays.append(seen if seen is not None else 10**6)
        delays.sort()
        late = sum(d >= 10**6 for d in delays) / runs
        told = f"median {delays[runs // 2] + 1} labels, none in 300: {late:.0%}"
        print(f"a fall of {fall:g}: alarm after {told}; off by {mean(offs):.2f} after 50, {mean(before):.2f} after 300")


# -- nine models -----------------------------------------------------------------------------------------------------

KNOWN = ("arc-challenge", "hella-swag", "sat-en")


def recorded(parquet: str) -> tuple[list[str], list[tuple[str, str, list[tuple[float, float]]]]]:
    """The models, and of each question (id, exam, (correct, dollars) by model), those that all have answered."""
    import pyarrow.parquet as pq

    columns = ("dataset", "question_id", "model", "strategy", "correct", "cost_usd")
    rows = pq.read_table(parquet, columns=list(columns)).to_pylist()
    by: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for row in rows:
        if row["strategy"] == "baseline" and row["dataset"] != "comprehensive":
            key = (row["dataset"], row["question_id"])
            by.setdefault(key, {})[row["model"]] = (float(row["correct"]), float(row["cost_usd"]))
    models = sorted({model for seen in by.values() for model in seen})
    whole = [(q, exam, [seen[m] for m in models]) for (exam, q), seen in sorted(by.items()) if len(seen) == len(models)]
    return models, whole


def moved(parquet: str, splits: int = 500) -> None:
    """How far the models' logits move from half of the exams to the other half: together, and each of its own."""
    models, questions = recorded(parquet)
    exams = sorted({exam for _, exam, _ in questions})
    common, own, chance = [], [], []
    for nth in range(splits):
        chosen = set(Random(nth).sample(exams, len(exams) // 2))
        halves = [[rows for _, exam, rows in questions if (exam in chosen) == first] for first in (True, False)]
        shares = [[(sum(r[i][0] for r in half) + 0.5) / (len(half) + 1) for half in halves] for i in range(len(models))]
        moves = [logit(b) - logit(a) for a, b in shares]
        errors = [sum(1 / (len(half) * p * (1 - p)) for half, p in zip(halves, two, strict=True)) for two in shares]
        common.append(mean(moves) ** 2)
        own.append(sum((x - mean(moves)) ** 2 for x in moves) / (len(moves) - 1))
        chance.append(mean(errors))
    alone = sqrt(max(0.0, mean(own) - mean(chance)))
    told = f"{sqrt(mean(common)):.2f} logits together, {alone:.2f} each of its own ({sqrt(mean(chance)):.2f} of chance)"
    print(f"\n{len(models)} models, {len(questions)} questions, {len(exams)} exams, {splits} random halves: {told}")


def replay(parquet: str, rounds: int, worth: float) -> None:
    models, questions = recorded(parquet)
    train = [rows for _, exam, rows in questions if exam in KNOWN]
    test = [rows for _, exam, rows in questions if exam not in KNOWN]
    share = [(sum(rows[i][0] for rows in train) + 1) / (len(train) + 2) for i in range(len(models))]
    costs = [mean(rows[i][1] for rows in train) for i in range(len(models))]
    bases = [logit(p) for p in share]
    print(
        f"\n{len(models)} models; known from {len(train)} questions of {', '.join(KNOWN)}; {len(test)} of other exams"
    )
    best = max(range(len(models)), key=lambda i: mean(worth * r[i][0] - r[i][1] for r in test))
    print(
        f"worth ${worth:g}; value less cost for each question, in cents; best model of all in hindsight: {models[best]}"
    )
    names = [*WAYS, "best in hindsight"]
    values: dict[str, list[float]] = {name: [] for name in names}
    for nth in range(rounds):
        order = Random(nth).choices(test, k=len(test))
        for name in names:
            values[name].append(100 * _stream(order, bases, costs, worth, WAYS.get(name), best, nth))
    for name in names:
        diff = sorted(a - b for a, b in zip(values[name], values["learns, never explores"], strict=True))
        own, low, high = sorted(values[name]), int(0.025 * rounds), int(0.975 * rounds)
        told = f"{mean(own):7.3f} [{own[low]:.3f}, {own[high]:.3f}]"
        print(f"{name:26} {told:>26}   beside never exploring {mean(diff):+.3f} [{diff[low]:+.3f}, {diff[high]:+.3f}]")


def _stream(
    order: Sequence[Any],
    bases: Sequence[float],
    costs: Sequence[float],
    worth: float,
    way: tuple[str, float] | None,
    best: int,
    seed: int,
) -> float:
    chooser = Chooser(*way, len(bases), OWN) if way is not None else None
    luck, total = Random(f"luck{seed}"), 0.0
    for nth, rows in enumerate(order):
        arm = chooser.choose(bases, costs, worth, luck, nth) if chooser is not None else best
        right, usd = rows[arm] if arm >= 0 else (0.0, 0.0)
        total += worth * right - usd
        if chooser is not None:
            chooser.tell(arm, bases[arm], right if arm >= 0 else None)
    return total / len(order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=40)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--worth", type=float, nargs="*", default=[0.02, 0.1, 0.5])
    parser.add_argument("--parquet")
    given = parser.parse_args()
    steps: list[Callable[[], None]] = [detection, lambda: simulate(given.worlds, given.requests)]
    if given.parquet:
        steps = [lambda: moved(given.parquet)]
        steps += [lambda w=worth: replay(given.parquet, given.rounds, w) for worth in given.worth]  # type: ignore[misc]
    for step in steps:
        step()


if __name__ == "__main__":
    main()
